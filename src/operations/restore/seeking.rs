//! Where in the files of an AOF a moment ends, wherever they are read from.
//! Rules: format-spec/17-timeline.md.

use std::io::{self, Read};

use super::moment::{Cut, Goal, nothing};
use crate::aof::{Aim, CutFinder, Ending, Entry, Found, FoundCommand, Manifest, append_word};
use crate::format::UnixMillis;
use crate::format::snapshot::{File, Role};
use crate::operations::OperationError;
use crate::rdb;

/// One file of commands, in the order in which they are replayed.
pub(super) struct Part {
    /// As in the snapshot.
    pub path: Vec<u8>,
    pub role: Role,
}

impl Part {
    /// The increments that a manifest names, in order.
    pub fn of_manifest(file: &File, manifest: &Manifest) -> Vec<Part> {
        let directory = file.path.iter().rposition(|byte| *byte == b'/').and_then(|end| file.path.get(..=end));
        let path = |entry: &Entry| [directory.unwrap_or_default(), &entry.name].concat();
        manifest.increments().map(|entry| Part { path: path(entry), role: Role::Incr }).collect()
    }

    /// The single AOF among files.
    pub fn of_single(files: &[&File]) -> Vec<Part> {
        let single = files.iter().filter(|file| file.role == Role::SingleAof);
        single.map(|file| Part { path: file.path.to_vec(), role: Role::SingleAof }).collect()
    }

    /// The last part of its path.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    pub fn display(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}

/// A place to cut.
pub(super) struct Place {
    /// Number of the part.
    pub part: usize,
    /// Bytes that are left of it.
    pub offset: u64,
    second: Option<u64>,
    command: Option<FoundCommand>,
}

impl Place {
    /// What a cut here is.
    pub fn cut(self, part: &Part, goal: &Goal, dropped: u64) -> Cut {
        Cut {
            path: part.path.clone(),
            length: self.offset,
            dropped,
            second: self.second.or_else(|| known_before(goal, part, self.offset)),
            is_annotated: self.second.is_some(),
            command: self.command,
        }
    }
}

/// What is found in a file of commands, and where its commands begin; `None` where that is not known, and why.
pub(super) type Followed = Result<(u64, Found), String>;

/// Follows a part.
pub(super) type Follow<'a> = dyn FnMut(&Part, &Aim, Option<u64>) -> Result<Followed, OperationError> + 'a;

/// Finds where to cut.
pub(super) fn find(parts: &[Part], goal: &Goal, follow: &mut Follow<'_>) -> Result<Place, OperationError> {
    let (aim, mut second) = match goal {
        Goal::Mark(mark) => {
            let part = parts.iter().position(|part| part.path == mark.path[..]);
            let place = |part| Place { part, offset: mark.offset, second: None, command: None };
            return part.map(place).ok_or_else(|| nothing("the file of the mark is not there".into()));
        }
        Goal::Second { second, base } if base > second => {
            return Err(nothing("the base of the AOF is younger".into()));
        }
        Goal::Second { second, base } => (Aim::Second(*second), Some(*base)),
        // Up to the end of what can be read.
        Goal::LastWhole { base, .. } => (Aim::Second(u64::MAX), *base),
        Goal::Before { words, base, .. } => (Aim::Before(words.clone()), *base),
    };
    let (mut place, mut alike) = (None, None);
    for (number, part) in parts.iter().enumerate() {
        let unknown = |why| nothing(format!("{}: where its commands begin is not known: {why}", part.display()));
        let (begin, found) = follow(part, &aim, second)?.map_err(unknown)?;
        let in_force = found.commands.last_timestamp.map(|timestamp| timestamp.seconds).or(second);
        if !matches!(goal, Goal::LastWhole { .. }) {
            refuse_unread(part, &aim, &found, in_force)?;
        }
        let is_second = matches!(aim, Aim::Second(_));
        // Nothing of the first file is old enough: what is left is the base.
        let floor = (is_second && number == 0).then_some(Place { part: 0, offset: begin, second: None, command: None });
        let Found { cut, command, alike: similar, .. } = found;
        let cut = cut.map(|cut| Place { part: number, offset: begin + cut.offset, second: cut.second, command });
        (place, alike) = (cut.or(place).or(floor), similar.or(alike));
        if let (Goal::Before { words, .. }, Some(found), 0, Role::SingleAof) = (goal, &place, begin, part.role) {
            refuse_rewritten(goal, words, part, found.offset)?;
        }
        if matches!(goal, Goal::LastWhole { .. }) && found.commands.ending != Ending::Complete {
            break;
        }
        second = found.second;
    }
    match (place, aim) {
        (Some(place), _) => Ok(place),
        (None, Aim::Second(_)) => Err(nothing("the snapshot has no commands".into())),
        (None, Aim::Before(words)) => {
            let alike = alike.map(|command| shown(&command));
            Err(OperationError::NoCommand { words: line(&words), alike, snapshots: 1 })
        }
    }
}

/// A command as `redis-cli` takes it.
pub fn shown(command: &FoundCommand) -> String {
    let more = if command.is_cut_short { " ..." } else { "" };
    format!("{}{more}", line(&command.words))
}

fn line(words: &[Vec<u8>]) -> String {
    let mut line = Vec::new();
    for (place, word) in words.iter().enumerate() {
        if place > 0 {
            line.push(b' ');
        }
        append_word(&mut line, word);
    }
    String::from_utf8_lossy(&line).into_owned()
}

/// Follows the commands of a file from its begin to its end.
pub(super) fn follow(input: &mut dyn Read, aim: &Aim, second: Option<u64>) -> io::Result<Followed> {
    let mut finder = CutFinder::new(aim.clone(), second);
    let mut first = Vec::new();
    (&mut *input).take(FIRST).read_to_end(&mut first)?;
    let is_rdb = rdb::looks_like_rdb(&first);
    let mut input = first.as_slice().chain(input);
    if !is_rdb {
        pull(&mut input, &mut |piece| finder.push(piece))?;
        return Ok(Ok((0, finder.finish())));
    }
    let structure = rdb::read_preamble(input, &mut |piece| finder.push(piece))?;
    Ok(match structure.end.filter(|_| structure.is_whole()) {
        Some(end) => Ok((end, finder.finish())),
        None => Err(structure.reason().unwrap_or_default()),
    })
}

fn pull(input: &mut impl Read, see: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match input.read(&mut piece)? {
            0 => return Ok(()),
            count => see(piece.get(..count).unwrap_or_default()),
        }
    }
}

/// Commands that could not be read, or that a server would not load, may be what is looked for. They are of the
/// second in force where they begin, or of a later one.
fn refuse_unread(part: &Part, aim: &Aim, found: &Found, in_force: Option<u64>) -> Result<(), OperationError> {
    let is_harmless = match (aim, &found.commands.ending) {
        (_, Ending::Complete) => true,
        (Aim::Second(second), _) => in_force.is_some_and(|in_force| in_force > *second),
        // What is cut short or not completed was never done by a server that loads it.
        (Aim::Before(_), ending) => !matches!(ending, Ending::NotCommands { .. }),
    };
    if is_harmless {
        return Ok(());
    }
    let why = found.commands.reason().unwrap_or_default();
    Err(nothing(format!("{}: {why}; --at with --nearest cuts at the last whole command before it", part.display())))
}

/// A single AOF without an RDB file at its begin may hold a rewritten dataset there, and does not say where that ends:
/// to cut within it would leave a part of a dataset.
fn refuse_rewritten(goal: &Goal, words: &[Vec<u8>], part: &Part, offset: u64) -> Result<(), OperationError> {
    let Goal::Before { marks, .. } = goal else { return Ok(()) };
    let name = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    let is_written_by_rewrites = REWRITTEN.iter().any(|word| word.as_bytes() == name);
    let is_past = marks.iter().any(|mark| mark.path[..] == part.path[..] && mark.offset <= offset);
    match is_written_by_rewrites && !is_past {
        true => {
            Err(nothing("the last such command may be of a rewritten dataset, and not one that a client sent".into()))
        }
        false => Ok(()),
    }
}

/// Commands that a rewrite writes.
const REWRITTEN: [&str; 14] = [
    "SELECT",
    "SET",
    "RPUSH",
    "SADD",
    "ZADD",
    "HMSET",
    "HSET",
    "XADD",
    "XGROUP",
    "XSETID",
    "XCLAIM",
    "PEXPIREAT",
    "RESTORE",
    "FUNCTION",
];

/// Bytes that tell an RDB file.
const FIRST: u64 = 4096;
/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// The last known time before a place.
fn known_before(goal: &Goal, part: &Part, offset: u64) -> Option<u64> {
    let seconds = |time: UnixMillis| time.0 / 1000;
    match goal {
        Goal::Second { .. } => None,
        Goal::Mark(mark) => Some(seconds(mark.time)),
        Goal::Before { marks, .. } | Goal::LastWhole { marks, .. } => {
            let before = marks.iter().filter(|mark| mark.path[..] == part.path[..] && mark.offset <= offset);
            before.map(|mark| seconds(mark.time)).max()
        }
    }
}
