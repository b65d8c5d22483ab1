//! A spool keeps a stream as it comes in: it is read meanwhile, by somebody slower, and may be read again.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::error::SpillError;
use super::scratch::{Frame, Scratch, ScratchFile};
use crate::crypto::numbered::TAG;

/// Bytes of a piece.
const PIECE: usize = 256 << 10;

/// What is kept of a stream. Its clones are the same spool.
///
/// Memory: the bytes that were given for that, beyond which it waits in a scratch file; a piece for the writer and each reader;
/// 32 bytes a piece.
#[derive(Clone)]
pub struct Spool(Arc<Shared>);

struct Shared {
    kept: Mutex<Kept>,
    more: Condvar,
}

#[derive(Default)]
struct Kept {
    pieces: Vec<Piece>,
    file: Option<Arc<ScratchFile>>,
    length: u64,
    end: Option<End>,
}

#[derive(Clone)]
enum Piece {
    Memory(Arc<[u8]>),
    Sealed(Frame),
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

/// Takes a stream. Dropped without [`SpoolWriter::finish`] the stream is broken, and whoever reads it is told so.
pub struct SpoolWriter {
    spool: Spool,
    scratch: Scratch,
    /// Bytes that may still be kept in memory.
    memory: usize,
    piece: Vec<u8>,
}

impl Spool {
    /// An empty one, which touches no disk as long as `memory` bytes are enough; with its one writer.
    pub fn new(scratch: Scratch, memory: usize) -> (SpoolWriter, Spool) {
        let spool = Spool(Arc::new(Shared { kept: Mutex::default(), more: Condvar::new() }));
        (SpoolWriter { spool: spool.clone(), scratch, memory, piece: Vec::new() }, spool)
    }

    /// Reads it from its first byte, waits for what has not come yet, and fails where it broke off.
    pub fn reader(&self) -> impl Read {
        Reader { spool: self.clone(), next: 0, piece: Vec::new(), at: 0 }
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.kept().length
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: End) {
        self.kept().end.get_or_insert(end);
        self.0.more.notify_all();
    }

    /// The piece of this number, and the file where that is; `None` behind the last.
    fn piece(&self, number: usize) -> io::Result<Option<(Piece, Option<Arc<ScratchFile>>)>> {
        let mut kept = self.kept();
        loop {
            match (kept.pieces.get(number), kept.end) {
                (Some(piece), _) => return Ok(Some((piece.clone(), kept.file.clone()))),
                (None, Some(End::Whole)) => return Ok(None),
                (None, Some(End::Broken)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (None, None) => kept = self.0.more.wait(kept).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl SpoolWriter {
    /// Appends. Never waits for a reader.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), SpillError> {
        while !bytes.is_empty() {
            self.piece.reserve_exact((PIECE + TAG).saturating_sub(self.piece.len()));
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// Hands on what came so far.
    fn cut(&mut self) -> Result<(), SpillError> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let (length, shared) = (self.piece.len(), &self.spool);
        let piece = match self.memory.checked_sub(length) {
            Some(left) => {
                self.memory = left;
                let piece = Piece::Memory(self.piece.as_slice().into());
                self.piece.clear();
                piece
            }
            None => {
                let known = shared.kept().file.clone();
                let file = known.map_or_else(|| self.scratch.file().map(Arc::new), Ok)?;
                let frame = file.append(&mut self.piece)?;
                shared.kept().file.get_or_insert(file);
                Piece::Sealed(frame)
            }
        };
        let mut kept = shared.kept();
        kept.pieces.push(piece);
        kept.length += length as u64;
        drop(kept);
        shared.0.more.notify_all();
        Ok(())
    }

    /// The stream is whole.
    pub fn finish(mut self) -> Result<(), SpillError> {
        self.cut()?;
        self.spool.end(End::Whole);
        Ok(())
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.spool.end(End::Broken);
    }
}

struct Reader {
    spool: Spool,
    /// The piece after the one that is held.
    next: usize,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            let Some((piece, file)) = self.spool.piece(self.next)? else { return Ok(0) };
            // Whoever asks again after a failure gets the same piece, and not what was left of it.
            (self.at, self.next) = (0, self.next + 1);
            self.piece.clear();
            match (piece, file) {
                (Piece::Memory(bytes), _) => self.piece.extend_from_slice(&bytes),
                (Piece::Sealed(frame), Some(file)) => {
                    if let Err(error) = file.read(frame, &mut self.piece) {
                        self.piece.clear();
                        self.next -= 1;
                        return Err(io::Error::other(error));
                    }
                }
                (Piece::Sealed(_), None) => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let (count, mut rest) = (rest.len().min(buffer.len()), rest);
        rest.read_exact(buffer.get_mut(..count).unwrap_or_default())?;
        self.at += count;
        Ok(count)
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spool({} bytes)", self.length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn spool(memory: usize) -> (SpoolWriter, Spool, tempfile::TempDir) {
        let place = tempfile::tempdir().unwrap();
        let (writer, spool) = Spool::new(Scratch::new(place.path(), [7; 32]), memory);
        (writer, spool, place)
    }

    fn all(spool: &Spool) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        spool.reader().read_to_end(&mut bytes).map(|_| bytes)
    }

    /// LOCAL-32
    #[test]
    fn a_stream_is_read_while_it_comes_and_again_be_it_in_memory_or_sealed() {
        for memory in [usize::MAX, 2 * PIECE, 0] {
            let (mut writer, spool, place) = spool(memory);
            let bytes: Vec<u8> = (0..5 * PIECE + 77).map(|n| (n % 251) as u8).collect();
            let meanwhile = thread::spawn({
                let spool = spool.clone();
                move || all(&spool)
            });
            bytes.chunks(100_003).for_each(|piece| writer.write(piece).unwrap());
            let on_disk = writer.spool.kept().file.as_ref().map_or(0, |file| file.length());
            assert_eq!(on_disk > 0, memory < 5 * PIECE, "{memory}");
            writer.finish().unwrap();
            assert!(meanwhile.join().unwrap().unwrap() == bytes && all(&spool).unwrap() == bytes);
            assert_eq!((spool.length(), std::fs::read_dir(place.path()).unwrap().count()), (bytes.len() as u64, 0));
        }
    }

    #[test]
    fn a_stream_that_broke_off_never_looks_whole() {
        let (mut writer, spool, _place) = spool(0);
        writer.write(&[1; PIECE + 1]).unwrap();
        drop(writer);
        assert_eq!(all(&spool).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let (writer, spool, _place) = self::spool(0);
        writer.finish().unwrap();
        assert_eq!(all(&spool).unwrap(), b"");
    }

    #[test]
    fn what_was_changed_on_the_disk_is_not_handed_on() {
        use std::os::unix::fs::FileExt as _;
        let (mut writer, spool, _place) = spool(0);
        writer.write(&[1; PIECE]).unwrap();
        let file = spool.kept().file.clone().unwrap();
        writer.finish().unwrap();
        file.file.write_all_at(b"x", 9).unwrap();
        assert!(all(&spool).unwrap_err().to_string().contains("authentication failed"));
    }
}
