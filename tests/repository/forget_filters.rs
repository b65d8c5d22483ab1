//! What is named or kept is looked for, and counted, within the dataset that is meant.

use jiff::tz::TimeZone;
use redkeep::format::UnixMillis;
use redkeep::format::object::SnapshotName;
use redkeep::format::snapshot::Snapshot;
use redkeep::operations::forget::policy::Policy;
use redkeep::operations::forget::{Options, Report, What, forget};
use redkeep::operations::list::{Filter, Selector};
use redkeep::operations::{OperationError, Silent};
use redkeep::repository::Repository;

use crate::support::repository::*;

/// A repository with snapshots of dataset `d`, and then of `e`; one of each is told by its number.
struct World {
    repository: Repository,
    names: Vec<SnapshotName>,
}

impl World {
    fn new(seed: u64, datasets: &[&str]) -> World {
        let (hands, data) = (Hands::new(seed), tempfile::tempdir().unwrap());
        let repository = create(memory(), &hands);
        let take = |(number, dataset): (usize, &&str)| {
            std::fs::write(data.path().join("file"), noise(500, number as u64)).unwrap();
            back_up(&repository, data.path(), dataset).unwrap().name
        };
        let names = datasets.iter().enumerate().map(take).collect();
        World { repository, names }
    }

    fn forget(
        &self,
        snapshots: Vec<Selector>,
        dataset: Option<&str>,
        is_empty: bool,
    ) -> Result<Report, OperationError> {
        let filter = Filter { dataset: dataset.map(Into::into), ..Filter::default() };
        let what = What::Named { snapshots, even_pinned: false, allow_empty: is_empty };
        forget(&self.repository, &Options { what, filter, dry_run: false }, &Silent)
    }

    fn id(&self, number: usize) -> Selector {
        Selector::Id(self.names[number].session.to_string())
    }

    fn kept(&self) -> Vec<SnapshotName> {
        self.repository.refresh().unwrap();
        self.repository.kept_snapshots().unwrap().into_iter().map(|info| info.name).collect()
    }
}

fn daily(count: u64) -> Options {
    let policy = Policy { daily: Some(count), ..Policy::default() };
    let what = What::Policy { policy, zone: TimeZone::UTC, ignore_key_drop: false };
    Options { what, filter: Filter::default(), dry_run: false }
}

fn told(report: &Report) -> Vec<(&str, (usize, usize))> {
    report.datasets.iter().map(|dataset| (&*dataset.name, dataset.counts())).collect()
}

#[test]
fn the_latest_of_a_dataset_is_not_that_of_another() {
    let world = World::new(901, &["d", "d", "e", "e", "d"]);
    let report = world.forget(vec![Selector::Latest(0)], Some("e"), false).unwrap();
    assert_eq!(told(&report), [("e", (1, 1))]);
    let [d1, d2, e1, _, d3] = world.names[..] else { panic!() };
    assert_eq!(world.kept(), [d1, d2, d3, e1]);
    // An id of another dataset than the one that is meant names nothing.
    let refused = world.forget(vec![world.id(0)], Some("e"), false);
    assert!(matches!(refused, Err(OperationError::NoSnapshot { .. })), "{refused:?}");
}

#[test]
fn what_is_left_is_counted_by_dataset() {
    let world = World::new(902, &["d", "d", "e"]);
    let refused = world.forget(vec![world.id(0), world.id(2)], None, false).unwrap_err();
    assert!(refused.to_string().contains("no snapshot of dataset e would be left"), "{refused}");
    assert_eq!(world.kept().len(), 3, "nothing was forgotten");
    let report = world.forget(vec![world.id(0), world.id(2)], None, true).unwrap();
    assert_eq!(told(&report), [("d", (1, 1)), ("e", (0, 1))]);
    assert_eq!(world.kept(), [world.names[1]]);
}

/// Captured within one second, of three moments by their servers' clocks.
#[test]
fn a_day_is_that_of_the_captured_moment() {
    let world = World::new(903, &["d"]);
    let day = 24 * 3600 * 1000;
    let like = world.repository.snapshot(&world.names[0]).unwrap();
    let commit = |moment: u64| {
        let session = world.repository.begin("d").unwrap();
        let (sequence, previous, moment) = (session.sequence(), session.previous(), Some(UnixMillis(moment)));
        session.commit(&Snapshot { sequence, previous, moment, ..like.clone() }).unwrap().name
    };
    let [_, second, third] = [10 * day, 10 * day + 1, 11 * day].map(commit);
    forget(&world.repository, &daily(2), &Silent).unwrap();
    assert_eq!(world.kept(), [second, third]);
}
