//! Where a host keeps what it remembers of dumps. Rules: format-spec/14-local.md.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, bounded};
use rayon::prelude::*;
use tempfile::NamedTempFile;

use super::known::{Entry, Head, Known, LargeValue, Memory, RECORDS_MOST, Remembering};
use crate::crypto::keys::Key;
use crate::crypto::numbered::{NumberedSealer, TAG};
use crate::format::Reader;
use crate::format::recipe::Part;
use crate::rdb::canonical::NAME;
use crate::repository::Repository;
use crate::repository::intake::Intake;

/// The directory of these files, in that of the repository's catalog.
const DIRECTORY: &str = "records";
const KEY: &str = "redkeep 2026-11 remembered records";
/// The one layout there is.
const LAYOUT: u8 = 4;
const SALT: usize = 32;
/// Layout, part, numbers of records, of buckets and of large values.
const HEAD: usize = 1 + 32 + COUNTS;
const COUNTS: usize = 3 * 4;
/// Plaintext of a frame of a list, but for the last one.
const FRAME: usize = 1 << 20;
/// A file that was not written for so long is of a dataset that is backed up no more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Where what is remembered of one file of one dataset is kept.
///
/// LOCAL-35: it is sealed under a key that follows from the repository's, names the canonical part it is of, and is of no use
/// for any other. Whatever is wrong with it, it is as if it were not there.
pub(super) struct MemoryFile {
    path: PathBuf,
    key: Key,
}

impl MemoryFile {
    /// That of a file, by the dataset's tag and its path; `None` where the host keeps nothing.
    pub fn of(repository: &Repository, slot: &[u8]) -> Option<MemoryFile> {
        let key = Key::new(repository.keyring().bag().key_hash).derive(KEY);
        let name: String = key.hash(slot).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some(MemoryFile { path: repository.catalog_directory()?.join(DIRECTORY).join(name), key })
    }

    fn sealer(&self, salt: &[u8; SALT]) -> NumberedSealer {
        NumberedSealer::new(&Key::new(self.key.hash(salt)))
    }

    /// That of the head alone, which is sealed last and read first.
    fn head_sealer(&self, salt: &[u8; SALT]) -> NumberedSealer {
        NumberedSealer::new(&Key::new(self.key.hash(&[&salt[..], &[1]].concat())))
    }

    /// What a file begins with.
    fn head(&self, part: &Part, counts: [u32; 3]) -> Vec<u8> {
        let part = self.key.hash(&minicbor::to_vec(part).unwrap_or_else(|_| unreachable!("memory has room")));
        let counts = counts.map(u32::to_le_bytes);
        [&[LAYOUT], &part[..], counts.as_flattened()].concat()
    }

    /// What is remembered of the dump of this part. Memory: what is remembered, and a frame for each core.
    pub fn read(&self, part: &Part) -> Option<Known> {
        let file = File::open(&self.path).ok()?;
        let (mut salt, mut head) = ([0; SALT], vec![0; HEAD + TAG]);
        file.read_exact_at(&mut salt, 0).ok()?;
        file.read_exact_at(&mut head, SALT as u64).ok()?;
        self.head_sealer(&salt).open(0, &mut head).ok()?;
        let mut counts = Reader::new("remembered records", head.get(HEAD - COUNTS..)?);
        let counts = [counts.u32().ok()?, counts.u32().ok()?, counts.u32().ok()?];
        let [records, buckets, large] = counts.map(|count| count as usize);
        if head != self.head(part, counts) || records as u64 > RECORDS_MOST || buckets.max(large) > records {
            return None;
        }
        let mut lists = Lists { file, sealer: self.sealer(&salt), offset: (SALT + HEAD + TAG) as u64, frames: 0 };
        let heads = lists.next(records, head_of)?;
        let entries = lists.next(records, entry_of)?;
        let buckets = lists.next(buckets, |number: &[u8; 4]| u32::from_le_bytes(*number))?;
        let large = lists.next(large, large_of)?;
        let is_end = lists.file.metadata().ok()?.len() == lists.offset;
        Known::new(Memory { buckets, heads, entries, large }).filter(|_| is_end)
    }

    /// Has what is remembered written beside the way in, but for whose it is.
    pub fn begin(self: &Arc<Self>, intake: &Intake<'_>, remembering: Remembering) -> Receiver<Begun> {
        let (to, begun) = bounded(1);
        let (of, salt) = (self.clone(), intake.session.repository().ambient.random());
        // What fails here costs the next backup time, and nothing else.
        intake.beside(move || {
            if let Some(Ok(begun)) = remembering.finish().map(|memory| of.write_lists(&memory, salt)) {
                let _ = to.send(begun);
            }
        });
        begun
    }

    /// Has it kept as that of the dump of this part.
    pub fn end(self: &Arc<Self>, intake: &Intake<'_>, begun: Receiver<Begun>, part: &Part) {
        let (of, part) = (self.clone(), part.clone());
        intake.beside(move || drop(begun.recv().map(|begun| of.write_head(begun, &part))));
    }

    fn write_lists(&self, memory: &Memory, salt: [u8; SALT]) -> io::Result<Begun> {
        let Memory { buckets, heads, entries, large } = memory;
        let directory = self.path.parent().unwrap_or(Path::new(""));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file = NamedTempFile::new_in(directory)?;
        file.write_all(&salt)?;
        file.write_all(&[0; HEAD + TAG])?;
        let sealer = self.sealer(&salt);
        put_list(&mut file, &sealer, heads, |Head { hash, meta }| {
            let [[a, b, c, d], [e, f, g, h]] = [hash.to_le_bytes(), meta.to_le_bytes()];
            [a, b, c, d, e, f, g, h]
        })?;
        put_list(&mut file, &sealer, entries, bytes_of)?;
        put_list(&mut file, &sealer, buckets, |records| records.to_le_bytes())?;
        put_list(&mut file, &sealer, large, bytes_of_large)?;
        Ok(Begun { file, salt, counts: [heads.len(), buckets.len(), large.len()].map(|count| count as u32) })
    }

    fn write_head(&self, Begun { file, salt, counts }: Begun, part: &Part) -> io::Result<()> {
        let mut head = self.head(part, counts);
        self.head_sealer(&salt).seal(&mut head);
        file.as_file().write_all_at(&head, SALT as u64)?;
        file.persist(&self.path)?;
        remove_forgotten(self.path.parent().unwrap_or(Path::new("")))
    }
}

/// A file without its head.
pub(super) struct Begun {
    file: NamedTempFile,
    salt: [u8; SALT],
    /// Of records, of buckets and of large values.
    counts: [u32; 3],
}

/// The lists of a file, one after the other.
struct Lists {
    file: File,
    sealer: NumberedSealer,
    offset: u64,
    /// How many were read.
    frames: u64,
}

impl Lists {
    /// The next list, of so many items.
    fn next<const N: usize, T: Default + Send>(&mut self, count: usize, item: fn(&[u8; N]) -> T) -> Option<Vec<T>> {
        let mut list: Vec<T> = (0..count).into_par_iter().map(|_| T::default()).collect();
        let read = |frame: &mut Vec<u8>, (number, items): (usize, &mut [T])| {
            frame.clear();
            frame.resize(items.len() * N + TAG, 0);
            let at = self.offset + (number * (FRAME / N * N + TAG)) as u64;
            self.file.read_exact_at(frame, at).ok()?;
            self.sealer.open(self.frames + number as u64, frame).ok()?;
            let bytes = frame.as_chunks().0;
            items.iter_mut().zip(bytes).for_each(|(to, bytes)| *to = item(bytes));
            Some(())
        };
        list.par_chunks_mut(FRAME / N).enumerate().try_for_each_init(Vec::new, read)?;
        let frames = count.div_ceil(FRAME / N);
        self.offset += (count * N + frames * TAG) as u64;
        self.frames += frames as u64;
        Some(list)
    }
}

fn put_list<const N: usize, T>(
    to: &mut impl Write,
    sealer: &NumberedSealer,
    list: &[T],
    bytes: fn(&T) -> [u8; N],
) -> io::Result<()> {
    let mut frame = Vec::with_capacity(FRAME + TAG);
    for items in list.chunks(FRAME / N) {
        frame.clear();
        items.iter().for_each(|item| frame.extend_from_slice(&bytes(item)));
        sealer.seal(&mut frame);
        to.write_all(&frame)?;
    }
    Ok(())
}

/// Removes files of datasets that are backed up no more, and what killed writers left.
fn remove_forgotten(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let age = SystemTime::now().duration_since(entry.metadata()?.modified()?).unwrap_or_default();
        if age > FORGOTTEN_AFTER {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn head_of(&[a, b, c, d, e, f, g, h]: &[u8; 8]) -> Head {
    Head { hash: u32::from_le_bytes([a, b, c, d]), meta: u32::from_le_bytes([e, f, g, h]) }
}

fn entry_of(bytes: &[u8; NAME + 4]) -> Entry {
    let [name @ .., a, b, c, d] = *bytes;
    Entry { name, index: u32::from_le_bytes([a, b, c, d]) }
}

fn bytes_of(Entry { name, index }: &Entry) -> [u8; NAME + 4] {
    let mut bytes = [0; NAME + 4];
    let (begin, end) = bytes.split_at_mut(NAME);
    begin.copy_from_slice(name);
    end.copy_from_slice(&index.to_le_bytes());
    bytes
}

fn large_of(&[a, b, c, d, begin @ ..]: &[u8; 12]) -> LargeValue {
    LargeValue { hash: u32::from_le_bytes([a, b, c, d]), begin: u64::from_le_bytes(begin) }
}

fn bytes_of_large(LargeValue { hash, begin }: &LargeValue) -> [u8; 12] {
    let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (hash.to_le_bytes(), begin.to_le_bytes());
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LOCAL-35: frames have whole items, of whatever length.
    #[test]
    fn lists_of_several_frames_come_back_one_behind_the_other() {
        let value = |hash| LargeValue { hash, begin: 7 * u64::from(hash) };
        let values: Vec<LargeValue> = (0..3 * FRAME as u32 / 12).map(value).collect();
        let numbers: Vec<u32> = (0..FRAME as u32 / 2).collect();
        let (sealer, mut file) = (NumberedSealer::new(&Key::new([5; 32])), tempfile::tempfile().unwrap());
        let number_of = |number: &[u8; 4]| u32::from_le_bytes(*number);
        put_list(&mut file, &sealer, &values, bytes_of_large).unwrap();
        let behind = file.metadata().unwrap().len();
        let mut lists = Lists { file, sealer, offset: 0, frames: 0 };
        assert!(lists.next(values.len(), large_of) == Some(values));
        assert_eq!(lists.offset, behind);
        // A list behind it, numbered on.
        let mut frames = Vec::new();
        let sealer = &lists.sealer;
        put_list(&mut frames, sealer, &numbers, |number| number.to_le_bytes()).unwrap();
        lists.file.write_all(&frames).unwrap();
        assert!(lists.next(numbers.len(), number_of) == Some(numbers));
        assert_eq!(lists.offset, behind + frames.len() as u64);
    }
}
