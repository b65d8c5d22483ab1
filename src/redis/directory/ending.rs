//! Where the copy of a growing file of commands ends.
//!
//! The copy ends after the last complete command outside MULTI and EXEC. What follows there, up to the length the file
//! had, is what a server was writing at that moment, or what a crash left. A server completes it within moments: then the
//! copy ends there. Of what nobody completes:
//!
//! - a piece of one command is left out, if it is short and no whole command is seen in it;
//! - whole commands behind an open MULTI, or in what a command claims to be its argument, are data, however few: nothing is
//!   left out, and a person is told. A server that was started on such a file goes on behind it, and at its next start lets
//!   go of all that follows the MULTI;
//! - nothing is left out of the file of a live server: all that it had answered when the file was measured is in these
//!   bytes;
//! - of what is no command at all nothing is left out, and reading the file will find it suspect.

use std::fs::File;
use std::io::{self, Read as _};
use std::thread;
use std::time::{Duration, Instant};

use super::opened::{PIECE, Span, first_bytes};
use crate::aof::{Commands, Ending, Scanner};
use crate::held::FileStamp;
use crate::rdb;

/// Longest unfinished tail that is left out, in bytes; also the most that may still be missing of the argument in it.
pub(super) const TAIL_MAX: u64 = 1 << 20;

/// How long a server may take to complete a tail: a short one, and one that is longer or of a file that is certainly live.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(2));

/// How many places in a tail are looked at where a command may begin.
const PLACES: usize = 64;

/// What is known of the one who writes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    /// There may be none.
    Unknown,
    /// A server that answered all that is in the file, and serves.
    Live,
}

/// Where a copy ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// Bytes of the copy.
    pub length: u64,
    /// Bytes of an unfinished command or transaction after that.
    pub left_out: u64,
    /// Why a server that starts on these bytes would let go of whole commands in them, or run some that it never answered.
    pub open: Option<String>,
}

impl End {
    fn whole(length: u64) -> Self {
        Self { length, left_out: 0, open: None }
    }
}

/// Finds the end of a copy of the first `length` bytes.
///
/// LIVE-2: whole commands are no unfinished tail.
///
/// LOCAL-25: a file that was read whole and found `complete` is not read again for this.
pub(super) fn find_end(file: &File, length: u64, writer: Writer, complete: &[FileStamp]) -> io::Result<End> {
    let is_complete = |stamp: FileStamp| stamp.size() == length && complete.contains(&stamp);
    if FileStamp::of(file).ok().flatten().is_some_and(is_complete) {
        return Ok(End::whole(length));
    }
    let Some(commands) = follow(file, length)? else { return Ok(End::whole(length)) };
    let (unfinished, cut) = (commands.unfinished(), commands.cut);
    let nested = commands.nested.map(|offset| {
        format!(
            "a crash left the transaction at {offset} open, and a later one closed it: a server that starts runs what it \
             holds, which was never answered"
        )
    });
    let whole = |length| End { open: nested.clone(), ..End::whole(length) };
    let is_short = match commands.ending {
        Ending::Complete | Ending::NotCommands { .. } => return Ok(whole(length)),
        Ending::CutShort { missing, .. } => unfinished.max(missing) <= TAIL_MAX,
        Ending::OpenTransaction { .. } => unfinished <= TAIL_MAX,
    };
    let hides = match commands.ending {
        Ending::OpenTransaction { .. } => commands.queued > 0,
        _ => is_short && hides_commands(file, cut, length)?,
    };
    if is_short && !hides && writer == Writer::Unknown {
        return Ok(End { length: cut, left_out: unfinished, open: nested });
    }
    let patience = if is_short && writer == Writer::Unknown { PATIENCE.0 } else { PATIENCE.1 };
    if let Some(completed) = wait_for_completion(file, cut, length, patience)? {
        return Ok(whole(completed));
    }
    let open = match commands.ending {
        Ending::OpenTransaction { offset } => Some(format!(
            "a crash left the transaction at {offset} open: a server that starts lets go of all that follows it, {} whole \
             commands by now",
            commands.queued
        )),
        _ if hides => Some(format!("the command at {cut} is cut short, and whole commands follow it")),
        // A server is behind with its writing, or the length is damaged.
        _ if writer == Writer::Live => Some(format!("the command at {cut} is not completed")),
        _ => None,
    };
    Ok(End { open: open.or(nested), ..End::whole(length) })
}

/// Whether whole commands stand in what is taken for the piece of one.
fn hides_commands(file: &File, cut: u64, length: u64) -> io::Result<bool> {
    let mut tail = Vec::new();
    Span::new(file, cut, length).read_to_end(&mut tail)?;
    let places = tail.windows(3).enumerate().filter(|(_, window)| *window == b"\r\n*");
    Ok(places.take(PLACES).any(|(place, _)| {
        let mut scanner = Scanner::default();
        scanner.push(tail.get(place + 2..).unwrap_or_default());
        let commands = scanner.finish();
        !commands.is_suspect() && commands.commands > 0
    }))
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

/// The last timestamp among the commands of the first `length` bytes, in seconds since the epoch.
pub(super) fn last_second(file: &File, length: u64) -> io::Result<Option<i64>> {
    let last = follow(file, length)?.and_then(|commands| commands.last_timestamp);
    Ok(last.and_then(|last| i64::try_from(last.seconds).ok()))
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
    const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

    fn file_of(parts: &[&[u8]]) -> (tempfile::NamedTempFile, u64) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&parts.concat()).unwrap();
        let length = file.as_file().metadata().unwrap().len();
        (file, length)
    }

    fn end_of(parts: &[&[u8]]) -> End {
        let (file, length) = file_of(parts);
        find_end(file.as_file(), length, Writer::Unknown, &[]).unwrap()
    }

    /// With the words of what is told cut off behind the place.
    fn told(end: &End) -> Option<&str> {
        end.open.as_deref().and_then(|open| open.split([',', ':']).next())
    }

    #[test]
    fn a_short_piece_of_a_command_is_left_out() {
        let two = 2 * SET.len() as u64;
        assert_eq!(end_of(&[SET, SET]), End::whole(two));
        assert_eq!(end_of(&[SET, SET, &SET[..7]]), End { length: two, left_out: 7, open: None });
        let head = &MULTI[..9];
        assert_eq!(end_of(&[SET, SET, MULTI, head]).left_out, (MULTI.len() + head.len()) as u64);
        assert_eq!(end_of(&[]), End::whole(0));
    }

    #[test]
    fn whole_commands_behind_an_open_multi_are_data() {
        let (one, multi) = (SET.len() as u64, MULTI.len() as u64);
        for rest in [&[SET][..], &[SET, SET, &SET[..5]], &[SET, MULTI, SET]] {
            let all = [&[SET, MULTI], rest].concat();
            let end = end_of(&all);
            assert_eq!((end.length, end.left_out), (all.iter().map(|part| part.len() as u64).sum(), 0));
            assert_eq!(told(&end), Some(format!("a crash left the transaction at {one} open").as_str()));
        }
        // A later transaction closed it.
        let end = end_of(&[SET, MULTI, SET, MULTI, SET, EXEC]);
        assert_eq!((end.length, end.left_out), (3 * one + 2 * multi + EXEC.len() as u64, 0));
        assert_eq!(told(&end), Some(format!("a crash left the transaction at {one} open").as_str()));
        assert_eq!(end_of(&[SET, MULTI, SET, EXEC, SET]).open, None);
        // It is told whatever the file ends with.
        let end = end_of(&[SET, MULTI, SET, MULTI, SET, EXEC, &SET[..7]]);
        assert_eq!(
            (end.left_out, told(&end)),
            (7, Some(format!("a crash left the transaction at {one} open").as_str()))
        );
    }

    #[test]
    fn a_transaction_that_a_later_one_closed_is_told_whatever_the_file_ends_with() {
        let closed = [SET, MULTI, SET, MULTI, SET, EXEC].concat();
        let says = Some("a crash left the transaction at 27 open");
        // The first one, of several; and by its place in the file.
        assert_eq!(told(&end_of(&[&closed, &closed])), says);
        let end = end_of(&[b"REDIS0011\xff", &[0; 8], &closed]);
        assert_eq!(told(&end), Some("a crash left the transaction at 45 open"));
        // A tail of which too much is missing to be left out.
        let end = end_of(&[&closed, b"*2\r\n$4\r\nPING\r\n$90000000\r\n"]);
        assert_eq!((end.left_out, told(&end)), (0, says));
        // One that is completed in time.
        let (file, length) = file_of(&[&closed, &SET[..7]]);
        OpenOptions::new().append(true).open(file.path()).unwrap().write_all(&SET[7..]).unwrap();
        for writer in [Writer::Unknown, Writer::Live] {
            let end = find_end(file.as_file(), length, writer, &[]).unwrap();
            let expected = if writer == Writer::Live { (length + SET.len() as u64 - 7, 0) } else { (length - 7, 7) };
            assert_eq!(((end.length, end.left_out), told(&end)), (expected, says), "{writer:?}");
        }
        // That whole commands are hidden in it is worse.
        let end = end_of(&[&closed, b"*2\r\n$4\r\nPING\r\n$900\r\n", SET]);
        let cut = format!("the command at {} is cut short", closed.len());
        assert_eq!((end.left_out, told(&end)), (0, Some(cut.as_str())));
    }

    #[test]
    fn whole_commands_in_a_cut_argument_are_data() {
        let end = end_of(&[SET, b"*2\r\n$4\r\nPING\r\n$900\r\n", SET, SET]);
        assert_eq!((end.left_out, told(&end)), (0, Some("the command at 27 is cut short")));
        // A single one.
        let end = end_of(&[SET, b"*2\r\n$4\r\nPING\r\n$900\r\n", SET]);
        assert_eq!((end.left_out, told(&end)), (0, Some("the command at 27 is cut short")));
        // Nothing that begins so goes on as a command.
        assert_eq!(end_of(&[SET, b"*2\r\n$4\r\nPING\r\n$900\r\n\r\n*2\r\nx"]).open, None);
        // Those of a transaction that is open there are data, too.
        let end = end_of(&[SET, b"*2\r\n$4\r\nPING\r\n$900\r\n", MULTI, SET]);
        assert_eq!((end.left_out, told(&end)), (0, Some("the command at 27 is cut short")));
    }

    #[test]
    fn nothing_is_left_out_of_what_a_live_server_wrote() {
        for (parts, says) in [
            (&[SET, MULTI][..], "a crash left the transaction at 27 open"),
            (&[SET, &SET[..7]], "the command at 27 is not completed"),
        ] {
            let (file, length) = file_of(parts);
            let end = find_end(file.as_file(), length, Writer::Live, &[]).unwrap();
            assert_eq!((end.length, end.left_out, told(&end)), (length, 0, Some(says)));
        }
        let (file, length) = file_of(&[SET, MULTI, SET]);
        let path = file.path().to_owned();
        let writer = thread::spawn(move || {
            OpenOptions::new().append(true).open(path).unwrap().write_all(EXEC).unwrap();
        });
        let end = find_end(file.as_file(), length, Writer::Live, &[]).unwrap();
        writer.join().unwrap();
        assert_eq!(end, End::whole(length + EXEC.len() as u64));
    }

    /// LOCAL-25
    #[test]
    fn a_file_known_to_be_complete_is_not_read_and_any_other_is() {
        let (mut file, length) = file_of(&[SET, &SET[..7]]);
        let complete = [FileStamp::of(file.as_file()).unwrap().unwrap()];
        let end = |file: &File, length| find_end(file, length, Writer::Unknown, &complete).unwrap();
        // That this is wrong shows that it was not read.
        assert_eq!(end(file.as_file(), length), End::whole(length));
        assert_eq!(end(file.as_file(), length - 1).left_out, 6, "of what it was before");
        file.write_all(&SET[7..9]).unwrap();
        assert_eq!(end(file.as_file(), length + 2).left_out, 9);
        file.as_file().set_len(length).unwrap();
        assert_eq!(end(file.as_file(), length).left_out, 7, "touched, and as long as before");
    }

    #[test]
    fn what_is_no_command_is_kept_whole() {
        let length = (2 * SET.len() + 7) as u64;
        assert_eq!(end_of(&[SET, b"garbage", SET]), End::whole(length));
    }

    #[test]
    fn nothing_is_left_out_behind_a_preamble_that_is_damaged() {
        let piece = &SET[..7];
        for (checksum, left_out) in [([0; 8], 7), ([1; 8], 0)] {
            assert_eq!(end_of(&[b"REDIS0011\xff", &checksum, SET, piece]).left_out, left_out);
        }
    }

    #[test]
    fn a_long_tail_that_nobody_completes_is_kept_whole() {
        let swallowed = SET.repeat(1 + TAIL_MAX as usize / SET.len());
        let length = (SET.len() + 22 + swallowed.len()) as u64;
        assert_eq!(end_of(&[SET, b"*2\r\n$4\r\nPING\r\n$900000", &swallowed]).left_out, 0);
        let (file, measured) = file_of(&[SET, b"*2\r\n$4\r\nPING\r\n$90000000\r\n", &swallowed]);
        assert!(measured > length);
        assert_eq!(wait_for_completion(file.as_file(), SET.len() as u64, measured, Duration::ZERO).unwrap(), None);
        assert_eq!(find_end(file.as_file(), measured, Writer::Unknown, &[]).unwrap(), End::whole(measured));
        // Little is there, but far too much is missing.
        let (file, measured) = file_of(&[SET, b"*2\r\n$4\r\nPING\r\n$90000000\r\n"]);
        assert_eq!(find_end(file.as_file(), measured, Writer::Unknown, &[]).unwrap(), End::whole(measured));
    }

    #[test]
    fn a_tail_that_grows_is_waited_for_until_it_is_completed() {
        let (one, patience) = (SET.len() as u64, Duration::from_millis(30));
        for (tail, completed) in [(SET[..20].to_vec(), None), ([SET, &SET[..9]].concat(), Some(2 * one))] {
            let (file, _) = file_of(&[SET, &tail]);
            assert_eq!(wait_for_completion(file.as_file(), one, one + 7, patience).unwrap(), completed);
        }
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
        let end = find_end(file.as_file(), length, Writer::Unknown, &[]).unwrap();
        writer.join().unwrap();
        assert!(end == End::whole(length + 2) || end == End::whole(length + 2 + SET.len() as u64), "{end:?}");
    }
}
