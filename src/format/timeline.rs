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
            Some("aof") => {
                let end = snapshot.moment.or_else(|| snapshot.marks.iter().map(|mark| mark.time).max());
                let begin = begin(snapshot).or_else(|| snapshot.marks.iter().map(|mark| mark.time).min());
                let (begin, end) = begin.zip(end).ok_or(Nothing::Unknown)?;
                let begin = number(facts, FROM).map_or(begin, |from| begin.max(UnixMillis(from)));
                // What a command's second says is more than what the file system says of its file.
                let end = seconds(facts, LAST_TIMESTAMP).map_or(end, |last| last.max(end));
                let precision = precision(facts);
                let annotated_from = number(facts, ANNOTATED_FROM).filter(|_| precision == Precision::Second);
                Ok(Reach { begin: begin.min(end), end, precision, annotated_from })
            }
            Some("rdb") => {
                let moment = seconds(facts, "dump.ctime").or(snapshot.moment).ok_or(Nothing::Unknown)?;
                Ok(Reach { begin: moment, end: moment, precision: Precision::Snapshot, annotated_from: None })
            }
            Some("unknown") => Err(Nothing::Stale),
            _ => Err(Nothing::Unknown),
        }
    }

    /// Whether it holds a second of the server's clock.
    pub fn holds(&self, second: u64) -> bool {
        (self.begin.0 / 1000..=self.end.0 / 1000).contains(&second)
    }

    /// How exactly a second of it can be restored.
    pub fn precision_at(&self, second: u64) -> Precision {
        match self.annotated_from {
            Some(from) if second < from => Precision::Marks,
            _ => self.precision,
        }
    }
}

/// Server's clock minus the host's, in milliseconds.
pub fn clock_offset(snapshot: &Snapshot) -> i64 {
    snapshot.facts.get("server.clock-offset-ms").and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The last mark whose second is at most this one.
///
/// TIME-4: without timestamps only marks are moments.
pub fn mark_at(marks: &[Mark], second: u64) -> Option<&Mark> {
    marks.iter().filter(|mark| mark.time.0 / 1000 <= second).max_by_key(|mark| mark.time)
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
}

impl Seen {
    fn first_after(&self, second: u64) -> Option<u64> {
        self.timestamps.range(second.saturating_add(1)..).next().copied()
    }
}

/// Completes the marks of a new snapshot and says whether it continues `previous`, whose object name is given with it.
///
/// TIME-6: the base, then what the continued snapshot knew, then the end; no more than MARKS_MAX.
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
mod tests {
    use super::*;
    use crate::format::ObjectHash;
    use crate::format::snapshot::{FileKind, Summary};

    fn file(path: &str, role: Role, size: u64) -> File {
        File {
            path: path.as_bytes().to_vec().into(),
            kind: FileKind::File,
            mode: 0o600,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            mtime: 2000,
            mtime_nanos: 500_000_000,
            size,
            hash: Some(ObjectHash([0; 32])),
            recipe: Some(Vec::new()),
            target: None,
            role,
            suspect: None,
        }
    }

    fn snapshot(files: &[File], facts: &[(&str, &str)]) -> Snapshot {
        Snapshot {
            dataset: "d".into(),
            sequence: 1,
            previous: None,
            begin: UnixMillis(3_000_000),
            end: UnixMillis(3_000_001),
            moment: None,
            host: "h".into(),
            directory: Vec::new(),
            facts: facts.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            files: files.to_vec(),
            marks: Vec::new(),
            warnings: Vec::new(),
            tags: Vec::new(),
            made_by: String::new(),
            summary: Summary::default(),
            place: None,
        }
    }

    fn mark(path: &str, offset: u64, time: u64) -> Mark {
        Mark { path: path.as_bytes().to_vec().into(), offset, time: UnixMillis(time) }
    }

    fn multi_part(facts: &[(&str, &str)]) -> Snapshot {
        let files = [
            file("a/x.1.base.rdb", Role::Base, 90),
            // By number, not by name.
            file("a/x.10.incr.aof", Role::Incr, 70),
            file("a/x.9.incr.aof", Role::Incr, 50),
        ];
        snapshot(&files, &[&[("authoritative", "aof")], facts].concat())
    }

    fn reach(begin: u64, end: u64, precision: Precision, annotated_from: Option<u64>) -> Result<Reach, Nothing> {
        Ok(Reach { begin: UnixMillis(begin), end: UnixMillis(end), precision, annotated_from })
    }

    /// TIME-1, TIME-4, TIME-6
    #[test]
    fn what_a_snapshot_holds_follows_from_its_facts_and_marks() {
        let of = |facts: &[(&str, &str)], moment: Option<u64>| {
            let mut snapshot = Snapshot { moment: moment.map(UnixMillis), ..multi_part(facts) };
            complete(&mut snapshot, None, &Seen::default());
            Reach::of(&snapshot)
        };
        let (ctime, stamps) = (("base.ctime", "1000"), (LAST_TIMESTAMP, "1500"));
        assert_eq!(of(&[ctime], None), reach(1_000_000, 2_000_510, Precision::Marks, None));
        assert_eq!(of(&[ctime], Some(2_345_678)), reach(1_000_000, 2_345_678, Precision::Marks, None));
        assert_eq!(of(&[ctime, stamps], None), reach(1_000_000, 2_000_510, Precision::Second, None));
        let off = ("server.aof-timestamps", "no");
        assert_eq!(of(&[ctime, stamps, off], None), reach(1_000_000, 2_000_510, Precision::Marks, None));
        let from = (ANNOTATED_FROM, "1400");
        assert_eq!(of(&[ctime, stamps, from], None), reach(1_000_000, 2_000_510, Precision::Second, Some(1400)));
        let commands = ("base.aof.first-timestamp", "1100");
        assert_eq!(of(&[commands, (BORN, "7")], None), reach(1_100_000, 2_000_510, Precision::Marks, None));
        assert_eq!(of(&[(BORN, "1200300")], None), reach(1_200_300, 2_000_510, Precision::Marks, None));

        let dump = |facts: &[(&str, &str)]| Reach::of(&snapshot(&[file("dump.rdb", Role::Dump, 9)], facts));
        let rdb = ("authoritative", "rdb");
        assert_eq!(dump(&[rdb, ("dump.ctime", "5")]), reach(5000, 5000, Precision::Snapshot, None));
        assert_eq!(dump(&[rdb]), Err(Nothing::Unknown));
        assert_eq!(dump(&[("authoritative", "unknown"), ("dump.ctime", "5")]), Err(Nothing::Stale));
        assert_eq!(dump(&[("authoritative", "none")]), Err(Nothing::Unknown));
    }

    /// TIME-6
    #[test]
    fn marks_are_those_of_the_base_of_what_is_continued_and_of_the_end() {
        let mut first = multi_part(&[("base.ctime", "1000")]);
        complete(&mut first, None, &Seen::default());
        let wanted = [mark("a/x.9.incr.aof", 0, 1_000_000), mark("a/x.10.incr.aof", 70, 2_000_510)];
        assert_eq!(first.marks, wanted);

        let mut second = multi_part(&[("base.ctime", "1000")]);
        second.files[1].size = 80;
        // Made before an unfinished command was left out.
        second.marks = vec![mark("a/x.10.incr.aof", 85, 2_600_000)];
        complete(&mut second, Some(("name", &first)), &Seen::default());
        assert_eq!(second.marks, [&wanted[..], &[mark("a/x.10.incr.aof", 80, 2_600_000)]].concat());
        assert_eq!(second.facts.get(CONTINUES).map(String::as_str), Some("name"));

        let mut many = first.clone();
        many.marks.extend((0..500).map(|n| mark("a/x.10.incr.aof", 70, 3_000_000 + n)));
        let mut third = multi_part(&[("base.ctime", "1000")]);
        third.marks = vec![mark("a/x.10.incr.aof", 70, 9_000_000)];
        complete(&mut third, Some(("name", &many)), &Seen::default());
        assert_eq!(third.marks.len(), MARKS_MAX);
        assert_eq!(third.marks[0], wanted[0]);
        assert_eq!(third.marks[1].time, UnixMillis(3_000_000 + 500 - (MARKS_MAX as u64 - 2)));
        assert_eq!(third.marks.last(), Some(&mark("a/x.10.incr.aof", 70, 9_000_000)));
    }

    #[test]
    fn a_single_aof_is_known_from_behind_its_rdb_file_or_from_its_first_mark() {
        let single = |facts: &[(&str, &str)]| {
            let facts = [&[("authoritative", "aof")], facts].concat();
            let mut snapshot = snapshot(&[file("appendonly.aof", Role::SingleAof, 500)], &facts);
            complete(&mut snapshot, None, &Seen::default());
            (Reach::of(&snapshot), snapshot.marks)
        };
        let end = mark("appendonly.aof", 500, 2_000_510);
        let (held, marks) = single(&[("aof-file.ctime", "1000"), ("aof-file.preamble", "90")]);
        assert_eq!(held, reach(1_000_000, 2_000_510, Precision::Marks, None));
        assert_eq!(marks, [mark("appendonly.aof", 90, 1_000_000), end.clone()]);
        let (held, marks) = single(&[(BORN, "5")]);
        assert_eq!(held, reach(2_000_510, 2_000_510, Precision::Marks, None));
        assert_eq!(marks, [end]);
    }

    /// TIME-4
    #[test]
    fn a_moment_stands_for_the_last_mark_whose_second_it_reaches() {
        let marks = [mark("a", 0, 1_000_900), mark("a", 5, 1_007_000), mark("a", 9, 1_007_400)];
        let offset = |second| mark_at(&marks, second).map(|mark| mark.offset);
        assert_eq!([999, 1000, 1006, 1007, 2000].map(offset), [None, Some(0), Some(0), Some(9), Some(9)]);
    }

    fn stamped(timestamps: &[u64]) -> Seen {
        Seen { timestamps: timestamps.iter().copied().collect(), ..Seen::default() }
    }

    /// An AOF with timestamps that was captured at a second.
    fn stamped_at(second: u64, timestamps: &[u64], facts: &[(&str, &str)]) -> Snapshot {
        let mut snapshot = multi_part(&[&[("base.ctime", "1000")], facts].concat());
        snapshot.moment = Some(UnixMillis(second * 1000));
        let ends = [(FIRST_TIMESTAMP, timestamps.iter().min()), (LAST_TIMESTAMP, timestamps.iter().max())];
        let ends = ends.into_iter().filter_map(|(name, second)| Some((name.to_owned(), second?.to_string())));
        snapshot.facts.extend(ends);
        snapshot
    }

    /// TIME-4
    #[test]
    fn an_aof_that_was_annotated_later_is_exact_only_from_then_on() {
        let mut first = stamped_at(1500, &[], &[]);
        complete(&mut first, None, &Seen::default());
        let mut second = stamped_at(2000, &[1800, 1900], &[]);
        complete(&mut second, Some(("name", &first)), &stamped(&[1800, 1900]));
        let held = Reach::of(&second).unwrap();
        assert_eq!((held.annotated_from, held.precision), (Some(1800), Precision::Second));
        assert_eq!([1799, 1800].map(|second| held.precision_at(second)), [Precision::Marks, Precision::Second]);
        let mut third = stamped_at(2200, &[1800, 2100], &[]);
        complete(&mut third, Some(("name", &second)), &stamped(&[1800, 2100]));
        assert_eq!(Reach::of(&third).unwrap().annotated_from, Some(1800));

        let mut alone = stamped_at(2000, &[1800, 1900], &[]);
        complete(&mut alone, None, &Seen { has_unstamped: true, ..stamped(&[1800, 1900]) });
        assert_eq!(Reach::of(&alone).unwrap().annotated_from, Some(1800));
    }

    /// TIME-4
    #[test]
    fn what_was_annotated_before_a_capture_without_annotations_is_not_exact_after_it() {
        let off = ("server.aof-timestamps", "no");
        let mut first = stamped_at(1500, &[1200, 1300], &[off]);
        complete(&mut first, None, &stamped(&[1200, 1300]));
        assert_eq!(Reach::of(&first).unwrap().precision, Precision::Marks);
        // Not known to be on again, then on again.
        let mut second = stamped_at(1600, &[1200, 1300], &[]);
        complete(&mut second, Some(("name", &first)), &stamped(&[1200, 1300]));
        assert_eq!(Reach::of(&second).unwrap().precision, Precision::Marks);
        let mut third = stamped_at(2000, &[1200, 1900], &[]);
        complete(&mut third, Some(("name", &second)), &stamped(&[1200, 1300, 1800, 1900]));
        assert_eq!(Reach::of(&third), reach(1_000_000, 2_000_000, Precision::Second, Some(1800)));
    }

    /// TIME-10
    #[test]
    fn an_aof_that_was_carried_begins_with_the_first_moment_after_that() {
        let carried = |millis, timestamps: &[u64]| Seen { carried: Some(UnixMillis(millis)), ..stamped(timestamps) };
        let mut first = stamped_at(1500, &[1200, 1400], &[]);
        complete(&mut first, None, &stamped(&[1200, 1400]));
        let mut second = stamped_at(2000, &[1200, 1900], &[]);
        complete(&mut second, Some(("name", &first)), &carried(1_700_400, &[1200, 1400, 1700, 1800, 1900]));
        assert_eq!(Reach::of(&second), reach(1_800_000, 2_000_000, Precision::Second, None));
        assert_eq!(second.facts.get(CONTINUES), None);
        let mut third = stamped_at(2400, &[1200, 2200], &[]);
        complete(&mut third, Some(("name", &second)), &carried(1_700_400, &[1200, 1800, 2200]));
        assert_eq!(Reach::of(&third), reach(1_800_000, 2_400_000, Precision::Second, None));
        assert_eq!(third.facts.get(CONTINUES).map(String::as_str), Some("name"));

        let mut idle = stamped_at(2000, &[1200], &[]);
        complete(&mut idle, Some(("name", &first)), &carried(1_700_400, &[1200]));
        assert_eq!(Reach::of(&idle), reach(2_000_000, 2_000_000, Precision::Second, None));
        // Nobody wrote to it since.
        let mut copy = stamped_at(1600, &[1200], &[]);
        complete(&mut copy, Some(("name", &first)), &carried(1_700_400, &[1200]));
        assert_eq!(Reach::of(&copy), reach(1_000_000, 1_600_000, Precision::Second, None));
        assert!(copy.facts.contains_key(CONTINUES));
        // Only marks are moments.
        let mut marks = multi_part(&[(BORN, "1700400")]);
        marks.moment = Some(UnixMillis(2_000_000));
        complete(&mut marks, None, &carried(1_700_400, &[]));
        assert_eq!(Reach::of(&marks), reach(2_000_000, 2_000_000, Precision::Marks, None));
        assert_eq!(marks.marks.len(), 1);
    }
}
