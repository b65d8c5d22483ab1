//! What a snapshot holds of time follows from its facts and marks.

#![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

use super::*;
use crate::format::ObjectHash;
use crate::format::snapshot::FileKind;
use crate::format::summary::Summary;

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
        form: None,
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
    let later = (LAST_TIMESTAMP, "2500");
    assert_eq!(of(&[ctime, later], None), reach(1_000_000, 2_500_000, Precision::Second, None));
    let off = ("server.aof-timestamps", "no");
    assert_eq!(of(&[ctime, stamps, off], None), reach(1_000_000, 2_000_510, Precision::Marks, None));
    let from = (ANNOTATED_FROM, "1400");
    assert_eq!(of(&[ctime, stamps, from], None), reach(1_000_000, 2_000_510, Precision::Second, Some(1400)));
    let commands = ("base.aof.first-timestamp", "1100");
    assert_eq!(of(&[commands, (BORN, "7")], None), reach(1_100_000, 2_000_510, Precision::Marks, None));
    assert_eq!(of(&[(BORN, "1200300")], None), reach(1_200_300, 2_000_510, Precision::Marks, None));

    // Damage: up to the second in force there, or where there is none, the last mark before it.
    let damaged = |second: Option<u64>| {
        let facts = [ctime, stamps, ("server.aof-timestamps", "yes")];
        let mut snapshot = Snapshot { moment: Some(UnixMillis(2_345_678)), ..multi_part(&facts) };
        let damage = Damage { path: b"a/x.9.incr.aof".to_vec(), offset: 20, second };
        complete(&mut snapshot, None, &Seen { damage: Some(damage), ..Seen::default() });
        assert_eq!(snapshot.marks, [mark("a/x.9.incr.aof", 0, 1_000_000)]);
        (Reach::of(&snapshot), snapshot.facts.get(DAMAGED).cloned())
    };
    let told = |text: &str| Some(text.to_string());
    assert_eq!(damaged(Some(1400)), (reach(1_000_000, 1_399_999, Precision::Second, None), told("1400")));
    assert_eq!(damaged(Some(1000)), (reach(1_000_000, 1_000_000, Precision::Marks, None), told("1000")));
    assert_eq!(damaged(None), (reach(1_000_000, 1_000_000, Precision::Marks, None), told("unknown")));

    let dump = |facts: &[(&str, &str)]| Reach::of(&snapshot(&[file("dump.rdb", Role::Dump, 9)], facts));
    let rdb = ("authoritative", "rdb");
    assert_eq!(dump(&[rdb, ("dump.ctime", "5")]), reach(5000, 5000, Precision::Snapshot, None));
    assert_eq!(dump(&[rdb]), Err(Nothing::Unknown));
    assert_eq!(dump(&[("authoritative", "unknown"), ("dump.ctime", "5")]), Err(Nothing::Stale));
    assert_eq!(dump(&[("authoritative", "none")]), Err(Nothing::Unknown));
}

/// TIME-8
#[test]
fn a_moment_is_held_up_to_the_millisecond() {
    let held = reach(1_000_000, 2_000_510, Precision::Second, None).unwrap();
    let holds = |at| held.holds(UnixMillis(at), false);
    assert_eq!([999_999, 1_000_000, 2_000_000, 2_000_510, 2_000_511].map(holds), [false, true, true, true, false]);
    assert_eq!([1000, 1999, 2000].map(|second| held.holds_all_of(second)), [true, true, false]);
    let dump = reach(700_000, 700_000, Precision::Snapshot, None).unwrap();
    assert_eq!(
        [699_999, 700_000, 700_999, 701_000].map(|at| dump.holds(UnixMillis(at), false)),
        [false, true, true, false]
    );
    let dump = reach(700_001, 700_001, Precision::Snapshot, None).unwrap();
    assert!(dump.holds(UnixMillis(700_000), true) && !dump.holds(UnixMillis(700_002), false));
    // What was carried to its place begins within a second: before that it holds nothing of it.
    let carried = reach(700_978, 700_990, Precision::Second, None).unwrap();
    assert!(carried.holds(UnixMillis(700_000), true) && carried.holds(UnixMillis(700_978), false));
    assert!(!carried.holds(UnixMillis(700_300), false) && !carried.holds(UnixMillis(699_000), true));
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

/// TIME-6
#[test]
fn marks_of_bytes_that_a_file_does_not_have_or_that_stand_behind_a_damage_are_dropped() {
    let mut first = multi_part(&[("base.ctime", "1000")]);
    complete(&mut first, None, &Seen::default());
    let begin = mark("a/x.9.incr.aof", 0, 1_000_000);
    first.marks.extend([mark("a/x.9.incr.aof", 20, 1_100_000), mark("a/x.9.incr.aof", 21, 1_200_000)]);
    // A file of the same name that is shorter is another file.
    let mut second = multi_part(&[("base.ctime", "1000")]);
    (second.files[1].size, second.files[2].size) = (60, 20);
    complete(&mut second, Some(("name", &first)), &Seen::default());
    let kept = [begin.clone(), mark("a/x.9.incr.aof", 20, 1_100_000)];
    assert_eq!(second.marks, [&kept[..], &[mark("a/x.10.incr.aof", 60, 2_000_510)]].concat());

    let mut third = multi_part(&[("base.ctime", "1000")]);
    let damage = Damage { path: b"a/x.9.incr.aof".to_vec(), offset: 20, second: None };
    complete(&mut third, Some(("name", &first)), &Seen { damage: Some(damage), ..Seen::default() });
    assert_eq!(third.marks, kept);
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
    let offset = |second| mark_at(&marks, end_of(second)).map(|mark| mark.offset);
    assert_eq!([999, 1000, 1006, 1007, 2000].map(offset), [None, Some(0), Some(0), Some(9), Some(9)]);
    assert_eq!(mark_at(&marks, UnixMillis(1_007_000)), Some(&marks[1]), "in the very millisecond");
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

/// TIME-11
#[test]
fn a_clock_that_was_wrong_for_one_backup_does_not_count() {
    const DAY: i64 = 86_400_000;
    for (offsets, expected) in [
        (&[][..], &[][..]),
        (&[DAY], &[DAY]),
        (&[3, -2, 59_999, 0], &[3, -2, 59_999, 0]),
        // The last one, one in the middle, the first of two.
        (&[1, 2, 3, DAY], &[1, 2, 3, 3]),
        (&[1, 2, -DAY, 3, 4], &[1, 2, 2, 3, 4]),
        (&[DAY, 5], &[5, 5]),
        // Apart and staying so: each goes by its own.
        (&[3 * DAY, 3 * DAY + 7, 3 * DAY - 9], &[3 * DAY, 3 * DAY + 7, 3 * DAY - 9]),
        // Put right, which counts at once; went wrong, which counts when it is seen again.
        (&[DAY, DAY, DAY, 0], &[DAY, DAY, DAY, 0]),
        (&[0, 0, 0, DAY], &[0, 0, 0, 0]),
        (&[0, 0, 0, DAY, DAY], &[0, 0, 0, 0, DAY]),
        (&[0, 0, 0, DAY, DAY, DAY], &[0, 0, 0, DAY, DAY, DAY]),
    ] {
        assert_eq!(settled_offsets(offsets), expected, "{offsets:?}");
    }
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
