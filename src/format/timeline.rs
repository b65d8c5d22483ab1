//! The stretch of time that one snapshot covers, as its facts and marks tell it. Rules: format-spec/17-timeline.md.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::UnixMillis;
use super::snapshot::{File, Mark, Role, Snapshot};

/// Most marks that a writer puts into a snapshot.
pub const MARKS_MAX: usize = 128;

/// How far the clock that gives files their times may be behind, in milliseconds.
const COARSE: u64 = 10;

/// Object name of the snapshot whose AOF is continued.
pub const CONTINUES: &str = "timeline.continues";
/// Second before which the AOF was not annotated.
pub const ANNOTATED_FROM: &str = "timeline.annotated-from";
/// The least timestamp of all increments.
pub const FIRST_TIMESTAMP: &str = "timeline.first-timestamp";
/// The greatest timestamp of all increments.
pub const LAST_TIMESTAMP: &str = "timeline.last-timestamp";
/// When the first increment came to be.
pub const BORN: &str = "timeline.born";
/// First moment, where the AOF was carried to its place and is the dataset's only since then.
pub const FROM: &str = "timeline.from";
/// The second in force where the first damage of the AOF begins, or `unknown`.
pub const DAMAGED: &str = "timeline.damaged";
/// Value of [`DAMAGED`]: no timestamp stands before the damage.
const UNKNOWN: &str = "unknown";
/// Value of [`ANNOTATED_FROM`]: no part that goes on to the end is annotated.
const NOWHERE: &str = "nowhere";

/// How exactly a moment can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// Every second.
    Second,
    /// The marks alone.
    Marks,
    /// The one moment of a dump.
    Snapshot,
}

/// Why a snapshot covers no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// Its AOF may be older than its dump.
    Stale,
    /// It has neither, or its time is not known.
    Unknown,
}

/// What a snapshot covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Its first moment.
    pub begin: UnixMillis,
    /// Its last moment.
    pub end: UnixMillis,
    /// How exactly those between can be restored.
    pub precision: Precision,
    /// Second from which on the precision is [`Precision::Second`], where that is not all of it.
    pub annotated_from: Option<u64>,
}

impl Reach {
    /// TIME-1: from the begin of the base to the moment of the capture; of a dump its one moment.
    pub fn of(snapshot: &Snapshot) -> Result<Reach, Nothing> {
        let facts = &snapshot.facts;
        match facts.get("authoritative").map(String::as_str) {
            Some("aof") => Reach::of_aof(snapshot),
            Some("rdb") => {
                let moment = seconds(facts, "dump.ctime").or(snapshot.moment).ok_or(Nothing::Unknown)?;
                Ok(Reach { begin: moment, end: moment, precision: Precision::Snapshot, annotated_from: None })
            }
            Some("unknown") => Err(Nothing::Stale),
            _ => Err(Nothing::Unknown),
        }
    }

    fn of_aof(snapshot: &Snapshot) -> Result<Reach, Nothing> {
        let facts = &snapshot.facts;
        let times = || snapshot.marks.iter().map(|mark| mark.time);
        let begin = begin(snapshot).or_else(|| times().min());
        let begin = begin.map(|begin| number(facts, FROM).map_or(begin, |from| begin.max(UnixMillis(from))));
        let mut precision = precision(facts);
        let end = if is_damaged(snapshot) {
            let sound = before_damage(facts).filter(|end| precision == Precision::Second && Some(*end) >= begin);
            if sound.is_none() {
                precision = Precision::Marks;
            }
            sound.or_else(|| times().max())
        } else {
            let end = snapshot.moment.or_else(|| times().max());
            // What a command's second says is more than what the file system says of its file.
            end.map(|end| seconds(facts, LAST_TIMESTAMP).map_or(end, |last| last.max(end)))
        };
        let (begin, end) = begin.zip(end).ok_or(Nothing::Unknown)?;
        let annotated_from = number(facts, ANNOTATED_FROM).filter(|_| precision == Precision::Second);
        Ok(Reach { begin: begin.min(end), end, precision, annotated_from })
    }

    /// Whether it holds a moment of the server's clock, or some of its second, where that is asked for. Of a dump that tells
    /// no more than its second, it is that second.
    pub fn holds(&self, at: UnixMillis, is_second: bool) -> bool {
        let second = |time: UnixMillis| time.0 / 1000;
        let is_of_second = self.precision == Precision::Snapshot && self.end.0.is_multiple_of(1000);
        let is_past = at > self.end && !(is_of_second && second(at) == second(self.end));
        let has_begun = self.begin <= at || is_second && second(self.begin) == second(at);
        has_begun && !is_past
    }

    /// Whether it goes on to the end of a second.
    pub fn holds_all_of(&self, second: u64) -> bool {
        self.end.0 >= end_of(second).0
    }

    /// How exactly a second of it can be restored.
    pub fn precision_at(&self, second: u64) -> Precision {
        match self.annotated_from {
            Some(from) if second < from => Precision::Marks,
            _ => self.precision,
        }
    }
}

/// Whether the AOF of a snapshot was carried to its place, so that what it holds of the time before is no moment.
pub fn is_carried(snapshot: &Snapshot) -> bool {
    snapshot.facts.contains_key(FROM)
}

/// Whether bytes stand in its AOF that are no commands, or commands after which others go on that a server would not load.
pub fn is_damaged(snapshot: &Snapshot) -> bool {
    snapshot.facts.contains_key(DAMAGED)
}

/// The last moment before the second in force where the damage begins: commands of that second may be lost.
fn before_damage(facts: &BTreeMap<String, String>) -> Option<UnixMillis> {
    seconds(facts, DAMAGED)?.0.checked_sub(1).map(UnixMillis)
}

/// The last millisecond of a second.
pub fn end_of(second: u64) -> UnixMillis {
    UnixMillis(second.saturating_mul(1000).saturating_add(999))
}

/// Server's clock minus the host's, in milliseconds.
pub fn clock_offset(snapshot: &Snapshot) -> i64 {
    snapshot.facts.get("server.clock-offset-ms").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Clocks that are less apart, in milliseconds, go by what each snapshot says of them.
pub const APART: u64 = 60_000;
/// Neighbours on each side that are asked about a snapshot's clocks.
const NEIGHBOURS: usize = 2;

/// What moments of snapshots are converted by, from their offsets in the order of their dataset.
///
/// TIME-11: a clock that was wrong for one backup does not count.
pub fn settled_offsets(offsets: &[i64]) -> Vec<i64> {
    let settled = |(place, own): (usize, &i64)| {
        let from = place.saturating_sub(NEIGHBOURS);
        let mut near: Vec<i64> = offsets.iter().skip(from).take(place + NEIGHBOURS + 1 - from).copied().collect();
        near.sort_unstable();
        let middle = near.len() / 2;
        let low = near.get(middle.saturating_sub(usize::from(near.len().is_multiple_of(2))));
        let [low, high] = [low, near.get(middle)].map(|offset| offset.copied().unwrap_or(*own));
        let median = if low.unsigned_abs() < high.unsigned_abs() { low } else { high };
        let is_believed = own.unsigned_abs() < APART || own.abs_diff(median) < APART;
        if is_believed { *own } else { median }
    };
    offsets.iter().enumerate().map(settled).collect()
}

/// The last mark that is not later than a moment.
///
/// TIME-4: without timestamps only marks are moments.
pub fn mark_at(marks: &[Mark], until: UnixMillis) -> Option<&Mark> {
    marks.iter().filter(|mark| mark.time <= until).max_by_key(|mark| mark.time)
}

/// The file of an AOF that grows: the last increment, or the single AOF.
pub fn last_file(snapshot: &Snapshot) -> Option<&File> {
    let increments = snapshot.files.iter().filter(|file| file.role == Role::Incr);
    let last = increments.max_by_key(|file| (sequence(&file.path), file.path.clone()));
    last.or_else(|| snapshot.files.iter().find(|file| file.role == Role::SingleAof))
}

/// The file of an AOF whose commands are the first after the base.
fn first_file(snapshot: &Snapshot) -> Option<&File> {
    let increments = snapshot.files.iter().filter(|file| file.role == Role::Incr);
    increments.min_by_key(|file| (sequence(&file.path), file.path.clone()))
}

/// The files of an AOF that hold commands after the base, in order.
pub fn growing_files(snapshot: &Snapshot) -> Vec<&File> {
    let grows = |file: &&File| matches!(file.role, Role::Incr | Role::SingleAof);
    let mut files: Vec<&File> = snapshot.files.iter().filter(grows).collect();
    files.sort_by_key(|file| (sequence(&file.path), file.path.clone()));
    files
}

/// The oldest second that the files of an AOF themselves tell of what they hold.
pub fn oldest_second(snapshot: &Snapshot) -> Option<u64> {
    let base = snapshot.files.iter().find(|file| file.role == Role::Base);
    let finished = base.and_then(|base| u64::try_from(base.mtime).ok());
    let said = said(snapshot).map(|said| said.0 / 1000);
    [said, number(&snapshot.facts, FIRST_TIMESTAMP), finished].into_iter().flatten().min()
}

/// The number in `<appendfilename>.<number>.incr.aof`.
fn sequence(path: &[u8]) -> Option<u64> {
    let mut words = path.rsplit(|byte| *byte == b'.').skip(2);
    str::from_utf8(words.next()?).ok()?.parse().ok()
}

fn number(facts: &BTreeMap<String, String>, name: &str) -> Option<u64> {
    facts.get(name).and_then(|text| text.parse().ok())
}

fn seconds(facts: &BTreeMap<String, String>, name: &str) -> Option<UnixMillis> {
    number(facts, name).and_then(|seconds| seconds.checked_mul(1000)).map(UnixMillis)
}

/// When the base begins, where it tells.
fn said(snapshot: &Snapshot) -> Option<UnixMillis> {
    let facts = &snapshot.facts;
    match first_file(snapshot) {
        Some(_) => seconds(facts, "base.ctime").or_else(|| seconds(facts, "base.aof.first-timestamp")),
        None => seconds(facts, "aof-file.ctime"),
    }
}

/// When the base begins, where it or its file system tells.
fn begin(snapshot: &Snapshot) -> Option<UnixMillis> {
    let born = || number(&snapshot.facts, BORN).map(UnixMillis).filter(|_| first_file(snapshot).is_some());
    said(snapshot).or_else(born)
}

fn precision(facts: &BTreeMap<String, String>) -> Precision {
    let off = facts.get("server.aof-timestamps").is_some_and(|word| word == "no");
    let nowhere = facts.get(ANNOTATED_FROM).is_some_and(|word| word == NOWHERE);
    match facts.contains_key(LAST_TIMESTAMP) && !off && !nowhere {
        true => Precision::Second,
        false => Precision::Marks,
    }
}

/// Where the state of the base ends and commands begin: the file, the offset and the time.
fn base_mark(snapshot: &Snapshot) -> Option<Mark> {
    let time = begin(snapshot)?;
    match first_file(snapshot) {
        Some(first) => Some(Mark { path: first.path.clone(), offset: 0, time }),
        None => {
            let single = last_file(snapshot)?;
            let offset = number(&snapshot.facts, "aof-file.preamble")?;
            Some(Mark { path: single.path.clone(), offset, time })
        }
    }
}

/// What a writer saw in the files of a new snapshot.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// When the AOF was carried to where it is, by the server's clock.
    pub carried: Option<UnixMillis>,
    /// Some of the seconds of its timestamps: at least the first and the last.
    pub timestamps: BTreeSet<u64>,
    /// Its first commands have no timestamp before them.
    pub has_unstamped: bool,
    /// Where what a server would load of it ends, if that is not its end.
    pub damage: Option<Damage>,
}

/// Where the commands of an AOF end before its files do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: Vec<u8>,
    /// Bytes of it up to the last whole command.
    pub offset: u64,
    /// The second in force there, where a timestamp stands before it.
    pub second: Option<u64>,
}

impl Damage {
    /// Whether a mark stands before it, among the files of its AOF.
    fn is_behind(&self, mark: &Mark, files: &[&File]) -> bool {
        let place = |path: &[u8]| files.iter().position(|file| file.path[..] == *path);
        let (here, there) = (place(&self.path), place(&mark.path));
        there < here || (there == here && mark.offset <= self.offset)
    }
}

impl Seen {
    fn first_after(&self, second: u64) -> Option<u64> {
        self.timestamps.range(second.saturating_add(1)..).next().copied()
    }
}

/// Completes the marks of a new snapshot and says whether it continues `previous`, whose object name is given with it.
///
/// TIME-6: the base, then what the continued snapshot knew, then the end; no more than MARKS_MAX, none behind a damage.
pub fn complete(snapshot: &mut Snapshot, previous: Option<(&str, &Snapshot)>, seen: &Seen) {
    if snapshot.facts.get("authoritative").is_none_or(|which| which != "aof") {
        return;
    }
    let own = of_capture(snapshot);
    let end = own.iter().map(|mark| mark.time).chain(seconds(&snapshot.facts, LAST_TIMESTAMP)).max();
    let carried = seen.carried.filter(|carried| Some(*carried) <= end);
    let continues = previous.filter(|(_, previous)| goes_on_from(previous, carried));
    let is_known = carried.is_none() || said(snapshot).is_some();
    let mut marks: Vec<Mark> = base_mark(snapshot).filter(|_| is_known).into_iter().collect();
    if let Some((name, previous)) = continues {
        snapshot.facts.insert(CONTINUES.into(), name.into());
        let is_there =
            |mark: &&Mark| snapshot.files.iter().any(|file| file.path == mark.path && mark.offset <= file.size);
        marks.extend(previous.marks.iter().filter(is_there).cloned());
    }
    marks.extend(own);
    if let Some(damage) = &seen.damage {
        let files = growing_files(snapshot);
        marks.retain(|mark| damage.is_behind(mark, &files));
        let second = damage.second.map_or(UNKNOWN.into(), |second| second.to_string());
        snapshot.facts.insert(DAMAGED.into(), second);
    }
    let mut known = BTreeSet::new();
    marks.retain(|mark| known.insert((mark.path.to_vec(), mark.offset, mark.time)));
    let excess = marks.len().saturating_sub(MARKS_MAX);
    if excess > 0 {
        marks.drain(1..=excess);
    }
    snapshot.marks = marks;
    annotate(snapshot, continues.map(|(_, previous)| previous), seen);
    if let Some(from) = carried.and_then(|carried| first_moment(snapshot, carried, seen)) {
        snapshot.facts.insert(FROM.into(), from.0.to_string());
    }
}

/// TIME-5: what was carried to its place later than the previous snapshot ended does not continue it, though its bytes do.
fn goes_on_from(previous: &Snapshot, carried: Option<UnixMillis>) -> bool {
    carried.is_none_or(|carried| Reach::of(previous).is_ok_and(|reach| carried <= reach.end))
}

/// The first moment of an AOF since it was carried to its place: of a mark, or of a timestamp of a later second.
fn first_moment(snapshot: &Snapshot, carried: UnixMillis, seen: &Seen) -> Option<UnixMillis> {
    let exact = match precision(&snapshot.facts) {
        Precision::Second => {
            let annotated = number(&snapshot.facts, ANNOTATED_FROM).map_or(0, |from| from.saturating_sub(1));
            seen.first_after(annotated.max(carried.0 / 1000))
        }
        Precision::Marks | Precision::Snapshot => None,
    };
    let exact = exact.and_then(|second| second.checked_mul(1000)).map(UnixMillis);
    let marks = snapshot.marks.iter().map(|mark| mark.time).filter(|time| *time >= carried);
    marks.chain(exact).min()
}

/// The mark of the capture itself: its own, or the end of the file that grows. One that was made before an unfinished
/// command was left out is at the end of what was kept.
fn of_capture(snapshot: &mut Snapshot) -> Vec<Mark> {
    let mut marks = std::mem::take(&mut snapshot.marks);
    let Some(last) = last_file(snapshot) else { return marks };
    for mark in marks.iter_mut().filter(|mark| mark.path == last.path) {
        mark.offset = mark.offset.min(last.size);
    }
    if marks.is_empty() {
        let modified = u64::try_from(last.mtime).unwrap_or_default().saturating_mul(1000);
        let modified = modified.saturating_add(u64::from(last.mtime_nanos / 1_000_000) + COARSE);
        let time = snapshot.moment.unwrap_or(UnixMillis(modified));
        marks.push(Mark { path: last.path.clone(), offset: last.size, time });
    }
    marks
}

/// From when on the AOF is annotated, where that is not from its begin: its first commands, or those of the snapshot it
/// continues, have no timestamps.
fn annotate(snapshot: &mut Snapshot, previous: Option<&Snapshot>, seen: &Seen) {
    const NEVER: u64 = u64::MAX;
    let own = seen.timestamps.first().copied().filter(|_| seen.has_unstamped);
    let earlier = previous.and_then(|previous| match precision(&previous.facts) {
        Precision::Second => number(&previous.facts, ANNOTATED_FROM),
        Precision::Marks | Precision::Snapshot => {
            let end = Reach::of(previous).map_or(NEVER, |reach| reach.end.0 / 1000);
            Some(seen.first_after(end).unwrap_or(NEVER))
        }
    });
    if let Some(from) = own.max(earlier) {
        let text = if from == NEVER { NOWHERE.into() } else { from.to_string() };
        snapshot.facts.insert(ANNOTATED_FROM.into(), text);
    }
}

#[cfg(test)]
mod tests;
