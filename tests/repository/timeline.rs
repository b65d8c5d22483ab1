//! Which snapshot holds a moment: answered by the catalog, also by one that was built again.

use redkeep::format::UnixMillis;
use redkeep::format::object::SnapshotName;
use redkeep::format::snapshot::{Mark, Snapshot};
use redkeep::format::timeline::Precision;
use redkeep::operations::OperationError;
use redkeep::operations::Silent;
use redkeep::operations::forget::{self, What};
use redkeep::operations::list::{Filter, Selector};
use redkeep::operations::restore::Goal;
use redkeep::operations::timeline::{Wish, pick};
use redkeep::repository::Repository;

use crate::support::repository::{Hands, back_up, create, memory, open};

/// Datasets of snapshots that hold nothing but what they say of their time.
struct Said<'a> {
    repository: &'a Repository,
    template: Snapshot,
}

impl<'a> Said<'a> {
    fn new(repository: &'a Repository) -> Said<'a> {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("file"), "x").unwrap();
        let template = back_up(repository, data.path(), "template").unwrap().snapshot;
        Said { repository, template: Snapshot { files: Vec::new(), ..template } }
    }

    /// A snapshot with an AOF from a second on up to milliseconds.
    fn aof(&self, dataset: &str, begin: u64, end: u64, facts: &[(&str, &str)], marks: &[(u64, u64)]) -> SnapshotName {
        let begin = begin.to_string();
        let facts = [&[("authoritative", "aof"), ("aof-file.ctime", &*begin)], facts].concat();
        let mark = |(offset, time): &(u64, u64)| Mark {
            path: b"appendonly.aof".to_vec().into(),
            offset: *offset,
            time: UnixMillis(*time),
        };
        self.commit(dataset, Some(end), &facts, marks.iter().map(mark).collect())
    }

    fn commit(&self, dataset: &str, moment: Option<u64>, facts: &[(&str, &str)], marks: Vec<Mark>) -> SnapshotName {
        let session = self.repository.begin(dataset).unwrap();
        let snapshot = Snapshot {
            dataset: dataset.into(),
            sequence: session.sequence(),
            previous: session.previous(),
            begin: session.begin(),
            moment: moment.map(UnixMillis),
            facts: facts.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            marks,
            ..self.template.clone()
        };
        session.commit(&snapshot).unwrap().name
    }
}

const STAMPED: &[(&str, &str)] = &[("timeline.last-timestamp", "150")];

fn picked(repository: &Repository, dataset: &str, second: u64) -> Option<(SnapshotName, Precision, u64)> {
    let wish = Wish { at: UnixMillis(second * 1000 + 500), snapshot: None, dataset: Some(dataset), nearest: false };
    match pick(repository, &wish) {
        Ok(picked) => Some((picked.chosen.name, picked.moment.precision, picked.moment.effective.0)),
        Err(OperationError::Unreachable { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// TIME-8
#[test]
fn of_several_snapshots_the_most_exact_is_taken_and_of_these_the_earliest_that_holds_the_whole_second() {
    let repository = create(memory(), &Hands::new(21));
    let said = Said::new(&repository);
    let first = said.aof("d", 100, 200_300, STAMPED, &[]);
    let second = said.aof("d", 100, 300_300, STAMPED, &[]);
    said.aof("d", 100, 400_300, STAMPED, &[]);
    let marks = said.aof("d", 90, 500_000, &[], &[(0, 90_000), (70, 250_000), (90, 500_000)]);
    let dump = said.commit("d", None, &[("authoritative", "rdb"), ("dump.ctime", "700")], vec![]);
    said.commit("d", Some(600_000), &[("authoritative", "unknown"), ("dump.ctime", "600")], vec![]);
    let of = |second| picked(&repository, "d", second);
    assert_eq!(of(89), None);
    assert_eq!(of(95), Some((marks, Precision::Marks, 90_000)));
    assert_eq!(of(150), Some((first, Precision::Second, 150_999)));
    assert_eq!(of(199), Some((first, Precision::Second, 199_999)));
    // The first one ends within this second.
    assert_eq!(of(200), Some((second, Precision::Second, 200_999)));
    assert_eq!(of(450), Some((marks, Precision::Marks, 250_000)));
    assert_eq!(of(600), None);
    assert_eq!(of(700), Some((dump, Precision::Snapshot, 700_000)));
    assert_eq!(of(701), None);
}

/// The state of a second that a span ends within is not the one at its end, and nothing is known behind that.
///
/// TIME-8
#[test]
fn a_second_that_is_covered_in_part_is_not_exact_and_what_follows_in_it_is_a_gap() {
    let repository = create(memory(), &Hands::new(26));
    let said = Said::new(&repository);
    said.aof("d", 100, 200_300, STAMPED, &[]);
    // The next one is known from the middle of the second after it on, as after a restore.
    let restored = [STAMPED, &[("timeline.from", "201500")]].concat();
    let later = said.aof("d", 100, 300_000, &restored, &[(0, 201_500)]);
    let at = |millis, nearest| {
        let wish = Wish { at: UnixMillis(millis), snapshot: None, dataset: Some("d"), nearest };
        pick(&repository, &wish).map(|picked| (picked.chosen.name, picked.moment))
    };
    let (_, moment) = at(199_950, false).unwrap();
    assert_eq!((moment.effective.0, moment.is_exact), (199_999, true));
    for millis in [200_000, 200_300] {
        let (_, moment) = at(millis, false).unwrap();
        assert_eq!((moment.effective.0, moment.is_exact, moment.is_nearest), (200_300, false, false));
    }
    for millis in [200_301, 200_950] {
        let Err(OperationError::Unreachable { before: Some(before), after: Some(after), .. }) = at(millis, false)
        else {
            panic!("{millis} is in the gap");
        };
        assert_eq!((before.0, after.0), (200_300, 201_500));
        let (_, moment) = at(millis, true).unwrap();
        assert_eq!((moment.effective.0, moment.is_exact, moment.is_nearest), (200_300, false, true));
    }
    let (name, moment) = at(201_000, false).unwrap();
    assert_eq!((name, moment.effective.0, moment.is_exact), (later, 201_999, true));

    // Marks, told to the millisecond where the asked time is.
    let marks = [(0, 90_000), (70, 100_950)];
    said.aof("m", 90, 110_000, &[], &marks);
    let at = |millis| {
        let wish = Wish { at: UnixMillis(millis), snapshot: None, dataset: Some("m"), nearest: false };
        let moment = pick(&repository, &wish).unwrap().moment;
        assert!(!moment.is_exact);
        moment.effective.0
    };
    assert_eq!([100_949, 100_950, 100_000].map(at), [90_000, 100_950, 100_950]);
}

#[test]
fn a_forgotten_snapshot_holds_nothing_and_a_catalog_that_is_built_again_says_the_same() {
    let (store, hands) = (memory(), Hands::new(22));
    let repository = create(store.clone(), &hands);
    let said = Said::new(&repository);
    let first = said.aof("d", 100, 200_000, STAMPED, &[(3, 100_000)]);
    said.aof("d", 300, 400_000, STAMPED, &[(5, 300_000), (9, 400_000)]);
    let again = open(store, &hands).unwrap();
    again.refresh().unwrap();
    assert_eq!(repository.spans().unwrap().len(), 3);
    assert_eq!(again.spans().unwrap(), repository.spans().unwrap());
    assert_eq!(again.marks(&first).unwrap(), repository.marks(&first).unwrap());
    assert_eq!(again.marks(&first).unwrap().len(), 1);
    assert!(picked(&again, "d", 150).is_some());
    let snapshots = vec![Selector::Id(first.session.to_string())];
    let what = What::Named { snapshots, even_pinned: false, allow_empty: false };
    forget::forget(&repository, &forget::Options { what, filter: Filter::default(), dry_run: false }, &Silent).unwrap();
    assert_eq!(picked(&again, "d", 150), None);
    assert_eq!(picked(&again, "d", 350).map(|(_, precision, _)| precision), Some(Precision::Second));
}

/// Moments are of the server's clock; what a person types is of this host's.
#[test]
fn a_typed_time_is_converted_by_the_offset_of_the_clocks() {
    let repository = create(memory(), &Hands::new(23));
    let said = Said::new(&repository);
    let ahead = [STAMPED, &[("server.clock-offset-ms", "3600000")]].concat();
    said.aof("d", 10_000, 11_000_000, &ahead, &[]);
    let at = |second: u64, nearest| {
        let at = UnixMillis(second * 1000);
        pick(&repository, &Wish { at, snapshot: None, dataset: Some("d"), nearest })
    };
    let picked = at(7_000, false).unwrap();
    assert_eq!((picked.moment.effective.0, picked.moment.clock), (10_600_999, 3_600_000));
    assert_eq!(picked.goal, Some(Goal::Second { second: 10_600, base: 10_000 }));
    let refused = at(10_500, false).map(drop);
    let Err(OperationError::Unreachable { before: Some(before), after: None, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(before, UnixMillis(7_400_000), "told as it is to be typed");
    let nearest = at(10_500, true).unwrap();
    assert_eq!((nearest.moment.effective.0, nearest.moment.is_nearest), (11_000_000, true));
    assert!(at(before.0 / 1000, false).is_ok());
}

/// TIME-11: this host's clock was a day behind when the newest was captured.
#[test]
fn a_clock_that_was_set_back_for_one_backup_moves_no_moment() {
    let repository = create(memory(), &Hands::new(29));
    let said = Said::new(&repository);
    let mut first = None;
    for (end, offset) in [(100_500, "1"), (200_500, "-2"), (300_500, "86400000")] {
        let continues = first.map_or(String::new(), |name: SnapshotName| name.to_string());
        let facts = [STAMPED, &[("server.clock-offset-ms", offset), ("timeline.continues", &continues)]].concat();
        first = Some(said.aof("d", 100, end, &facts, &[]));
    }
    assert_eq!(picked(&repository, "d", 299), Some((first.unwrap(), Precision::Second, 299_999)));
    let Err(OperationError::Unreachable { before: Some(before), .. }) =
        pick(&repository, &Wish { at: UnixMillis(400_000), snapshot: None, dataset: Some("d"), nearest: false })
            .map(drop)
    else {
        panic!("it is later than all that was captured");
    };
    assert!(before.0.abs_diff(300_500) < 5, "{before:?}");
}

#[test]
fn the_dataset_has_to_be_named_where_there_are_several() {
    let repository = create(memory(), &Hands::new(24));
    let said = Said::new(&repository);
    said.aof("d", 100, 200_000, STAMPED, &[]);
    let ask = |dataset| {
        pick(&repository, &Wish { at: UnixMillis(150_000), snapshot: None, dataset, nearest: false }).map(drop)
    };
    assert!(matches!(ask(None), Err(OperationError::Ambiguous { .. })));
    assert!(matches!(ask(Some("e")), Err(OperationError::NoSnapshot { .. })));
    assert!(ask(Some("d")).is_ok());
}

#[test]
fn what_was_not_annotated_from_the_begin_is_exact_only_from_then_on() {
    let repository = create(memory(), &Hands::new(25));
    let said = Said::new(&repository);
    let later = [STAMPED, &[("timeline.annotated-from", "140")]].concat();
    said.aof("d", 100, 200_000, &later, &[(0, 100_000), (8, 120_000)]);
    let of = |second| picked(&repository, "d", second).map(|(_, precision, effective)| (precision, effective));
    assert_eq!(of(130), Some((Precision::Marks, 120_000)));
    assert_eq!(of(140), Some((Precision::Second, 140_999)));
}
