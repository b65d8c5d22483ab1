//! Where the copy of a growing file of commands ends.
//!
//! The copy ends after the last complete command outside MULTI and EXEC. What follows there, up to the length the file
//! had, is what the server was writing at that moment, or what a crash left: one command, or one transaction. It is
//! left out if it is short. If it is long, a damaged length may have swallowed commands that are whole, so the server
//! is given time to complete it; if that does not happen, or if what follows is no command at all, nothing is left
//! out, and reading the file will find it suspect.

use std::fs::File;
use std::io::{self, Read as _};
use std::thread;
use std::time::{Duration, Instant};

use super::opened::{PIECE, Span, first_bytes};
use crate::aof::{Commands, Ending, Scanner};
use crate::rdb;

/// Longest unfinished tail that is left out without asking further, in bytes; also the most that may still be missing of
/// the argument in it.
pub(super) const TAIL_MAX: u64 = 1 << 20;

/// How long a server may take to complete a longer tail.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a copy ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Bytes of the copy.
    pub length: u64,
    /// Bytes of an unfinished command or transaction after that.
    pub left_out: u64,
}

impl End {
    fn whole(length: u64) -> Self {
        Self { length, left_out: 0 }
    }
}

/// Finds the end of a copy of the first `length` bytes.
pub(super) fn find_end(file: &File, length: u64) -> io::Result<End> {
    let Some(commands) = follow(file, length)? else { return Ok(End::whole(length)) };
    let unfinished = commands.unfinished();
    let is_short = match commands.ending {
        Ending::Complete | Ending::NotCommands { .. } => return Ok(End::whole(length)),
        Ending::CutShort { missing, .. } => unfinished.max(missing) <= TAIL_MAX,
        Ending::OpenTransaction { .. } => unfinished <= TAIL_MAX,
    };
    if is_short {
        return Ok(End { length: commands.cut, left_out: unfinished });
    }
    let completed = wait_for_completion(file, commands.cut, length, PATIENCE)?;
    Ok(End::whole(completed.unwrap_or(length)))
}

/// The commands of the first `length` bytes; `None` if they begin with an RDB file that cannot be followed to its end.
fn follow(file: &File, length: u64) -> io::Result<Option<Commands>> {
    let mut scanner = Scanner::default();
    if !rdb::looks_like_rdb(&first_bytes(file)?) {
        push(&mut scanner, Span::new(file, 0, length))?;
        return Ok(Some(scanner.finish()));
    }
    let structure = rdb::read_preamble(Span::new(file, 0, length), &mut |piece| scanner.push(piece))?;
    let end = structure.end.filter(|_| structure.is_whole());
    Ok(end.map(|end| scanner.finish().after(end)))
}

fn push(scanner: &mut Scanner, mut span: Span<'_>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = span.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        scanner.push(piece.get(..count).unwrap_or_default());
    }
}

/// Where a command ends that begins at `cut`, was unfinished at `length`, and is completed in time.
fn wait_for_completion(file: &File, cut: u64, length: u64, patience: Duration) -> io::Result<Option<u64>> {
    let (started, mut seen) = (Instant::now(), length);
    while started.elapsed() < patience {
        let size = file.metadata()?.len();
        if size > seen {
            let mut scanner = Scanner::default();
            push(&mut scanner, Span::new(file, cut, size))?;
            if cut + scanner.cut() >= length {
                return Ok(Some(cut + scanner.cut()));
            }
            seen = size;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;

    use super::*;

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
    const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";

    fn file_of(parts: &[&[u8]]) -> (tempfile::NamedTempFile, u64) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&parts.concat()).unwrap();
        let length = file.as_file().metadata().unwrap().len();
        (file, length)
    }

    fn end_of(parts: &[&[u8]]) -> End {
        let (file, length) = file_of(parts);
        find_end(file.as_file(), length).unwrap()
    }

    #[test]
    fn a_short_unfinished_tail_is_left_out() {
        let two = 2 * SET.len() as u64;
        assert_eq!(end_of(&[SET, SET]), End::whole(two));
        assert_eq!(end_of(&[SET, SET, &SET[..7]]), End { length: two, left_out: 7 });
        let open = (MULTI.len() + SET.len()) as u64;
        assert_eq!(end_of(&[SET, SET, MULTI, SET]), End { length: two, left_out: open });
        assert_eq!(end_of(&[]), End::whole(0));
    }

    #[test]
    fn what_is_no_command_is_kept_whole() {
        let length = (2 * SET.len() + 7) as u64;
        assert_eq!(end_of(&[SET, b"garbage", SET]), End::whole(length));
    }

    #[test]
    fn a_long_tail_that_nobody_completes_is_kept_whole() {
        let swallowed = SET.repeat(1 + TAIL_MAX as usize / SET.len());
        let length = (SET.len() + 22 + swallowed.len()) as u64;
        assert_eq!(end_of(&[SET, b"*2\r\n$4\r\nPING\r\n$900000", &swallowed]).left_out, 0);
        let (file, measured) = file_of(&[SET, b"*2\r\n$4\r\nPING\r\n$90000000\r\n", &swallowed]);
        assert!(measured > length);
        assert_eq!(wait_for_completion(file.as_file(), SET.len() as u64, measured, Duration::ZERO).unwrap(), None);
        assert_eq!(find_end(file.as_file(), measured).unwrap(), End::whole(measured));
        // Little is there, but far too much is missing.
        let (file, measured) = file_of(&[SET, b"*2\r\n$4\r\nPING\r\n$90000000\r\n"]);
        assert_eq!(find_end(file.as_file(), measured).unwrap(), End::whole(measured));
    }

    #[test]
    fn a_long_tail_is_taken_once_the_server_has_completed_it() {
        let value = vec![b'x'; 2 * TAIL_MAX as usize];
        let head = format!("*2\r\n$4\r\nPING\r\n${}\r\n", value.len()).into_bytes();
        let (file, length) = file_of(&[SET, &head, &value]);
        let path = file.path().to_owned();
        let writer = thread::spawn(move || {
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(&[b"\r\n", SET, &SET[..9]].concat()).unwrap();
        });
        let end = find_end(file.as_file(), length).unwrap();
        writer.join().unwrap();
        assert!(end == End::whole(length + 2) || end == End::whole(length + 2 + SET.len() as u64), "{end:?}");
    }
}
