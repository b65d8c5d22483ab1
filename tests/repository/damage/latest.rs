//! Which snapshot is meant, when one that may be is missing or cannot be read.

use std::time::Duration;

use redkeep::format::UnixMillis;
use redkeep::operations::OperationError;
use redkeep::operations::list::{Chosen, Selector, choose};
use redkeep::repository::Repository;
use redkeep::store::ObjectName;

use super::cells::{Changes, text};
use super::sample::{Host, Sample};
use super::{flipped, single};
use crate::support::repository::*;

fn unreadable(sample: &Sample, name: &ObjectName) -> Changes {
    single(name, Some(flipped(sample.bytes(name), 80)))
}

/// The error names the snapshot, and says how to take another one.
fn refused(chosen: Result<Chosen, OperationError>, lost: &ObjectName) {
    let error = chosen.err().unwrap();
    assert!(error.is_damage() && text(&error).contains(lost.as_str()), "{error:?}");
    assert!(error.hint().unwrap().contains("by its id"), "{error:?}");
}

fn at(repository: &Repository, moment: UnixMillis) -> Result<Chosen, OperationError> {
    choose(repository, &Selector::At(moment), Some("d"))
}

#[test]
fn latest_is_refused_when_the_newest_cannot_be_read_and_older_ones_are_had_by_their_id() {
    let sample = Sample::new(20);
    for host in [Host::Stranger, Host::Kept, Host::Stale] {
        let cell = sample.cell(host, &unreadable(&sample, &sample.newest()));
        let repository = cell.open().unwrap();
        refused(latest(&repository, "d"), &sample.newest());
        refused(choose(&repository, &Selector::Latest(0), None), &sample.newest());
        let [.., older, newest] = &sample.taken[..] else { panic!("several") };
        refused(at(&repository, newest.name.time), &sample.newest());
        assert_eq!(at(&repository, UnixMillis(newest.name.time.0 - 1)).unwrap().name, older.name);
        let by_id = |session: &str| choose(&repository, &Selector::Id(session.into()), Some("d"));
        refused(by_id(&newest.name.session.to_string()), &sample.newest());
        assert_eq!(by_id(&older.name.session.to_string()).unwrap().name, older.name);
        // A newer backup settles it: what is lost is no longer what is meant.
        let report = back_up(&repository, &sample.data(), "d").unwrap();
        assert_eq!(latest(&repository, "d").unwrap().name, report.name);
    }
}

#[test]
fn counting_back_and_moments_do_not_step_over_a_missing_snapshot() {
    let sample = Sample::new(21);
    let [first, middle, newest] = &sample.taken[..] else { panic!("three") };
    let lost = &sample.snapshots()[1];
    for changes in [single(lost, None), unreadable(&sample, lost)] {
        let cell = sample.cell(Host::Stranger, &changes);
        let repository = cell.open().unwrap();
        let back = |count| choose(&repository, &Selector::Latest(count), Some("d"));
        let chosen = back(0).unwrap();
        assert_eq!((chosen.name, chosen.alarms.is_empty()), (newest.name, false), "the newest is not in doubt");
        refused(back(1), lost);
        refused(back(2), lost);
        refused(at(&repository, middle.name.time), lost);
        assert_eq!(at(&repository, first.name.time).unwrap().name, first.name);
        assert_eq!(at(&repository, newest.name.time).unwrap().name, newest.name);
        assert!(matches!(at(&repository, UnixMillis(5)), Err(OperationError::NoMoment { .. })));
    }
}

/// LOCAL-5
#[test]
fn a_newest_snapshot_that_this_host_remembers_is_not_replaced_by_an_older_one() {
    let sample = Sample::new(22);
    let cell = sample.cell(Host::Kept, &single(&sample.newest(), None));
    refused(latest(&cell.open().unwrap(), "d"), &sample.newest());
}

#[test]
fn a_dataset_of_which_nothing_is_left_is_not_an_empty_one() {
    let sample = Sample::new(23);
    let all = sample.snapshots().into_iter().map(|name| (name.clone(), Some(flipped(sample.bytes(&name), 80))));
    let cell = sample.cell(Host::Stranger, &all.collect());
    let repository = cell.open().unwrap();
    let errors = [latest(&repository, "d"), choose(&repository, &Selector::Latest(0), None)];
    for error in errors.map(|chosen| chosen.err().unwrap()) {
        assert!(matches!(error, OperationError::LostSnapshot { .. }), "{error:?}");
    }
}

#[test]
fn damage_of_one_dataset_does_not_stand_in_the_way_of_another() {
    let sample = Sample::new(24);
    let cell = sample.cell(Host::Stranger, &unreadable(&sample, &sample.newest()));
    let repository = cell.open().unwrap();
    sample.hands.pass(Duration::from_secs(60));
    let report = back_up(&repository, &sample.data(), "other").unwrap();
    assert_eq!(latest(&repository, "other").unwrap().name, report.name);
    refused(latest(&repository, "d"), &sample.newest());
    let unnamed = choose(&repository, &Selector::Latest(0), None);
    assert!(matches!(unnamed, Err(OperationError::Ambiguous { .. })));
}
