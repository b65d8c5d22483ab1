//! Damage to what a host keeps for itself: the catalog is made again, the state is begun anew and said to be.

use std::fs;
use std::path::PathBuf;

use redkeep::operations::OperationError;
use redkeep::operations::list::{Filter, snapshots};
use redkeep::operations::stats::stats;
use redkeep::repository::Alarm;
use redkeep::store::ObjectName;

use super::cells::{everything_is_whole, restores_right, text};
use super::sample::{Cell, Host, Sample};
use super::single;
use crate::support::repository::*;

/// What can happen to a file: every fate of an object, and flips all over it.
fn fates(bytes: &[u8], step: usize) -> Vec<(String, Option<Vec<u8>>)> {
    let mut fates = vec![("deleted".into(), None), ("grown".into(), Some([bytes, &[0]].concat()))];
    for length in [0, 1, 100, 4096, bytes.len() / 2, bytes.len() - 1] {
        fates.push((format!("cut to {length}"), Some(bytes[..length].to_vec())));
    }
    // The first hundred bytes say how all others are read.
    for place in (0..100).step_by(3).chain((100..bytes.len()).step_by(step)) {
        let mut flipped = bytes.to_vec();
        flipped[place] ^= 1 << (place % 8);
        fates.push((format!("flipped at {place}"), Some(flipped)));
    }
    fates
}

fn leave(path: &PathBuf, left: Option<Vec<u8>>) {
    match left {
        Some(bytes) => fs::write(path, bytes).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
}

/// Every operation on a host whose catalog is damaged. Each begins with the damage.
fn is_as_if_nothing_happened(sample: &Sample, label: &str, damage: &dyn Fn(&Cell)) {
    let cell = sample.cell(Host::Kept, &Vec::new());
    let open = || {
        damage(&cell);
        cell.open().unwrap_or_else(|error| panic!("{label}: {}", text(&error)))
    };
    let fail = |error: OperationError| -> ! { panic!("{label}: {}", text(&error)) };
    let (infos, alarms) = snapshots(&open(), &Filter::default()).unwrap_or_else(|error| fail(error));
    let names: Vec<_> = infos.iter().map(|info| info.name).collect();
    assert_eq!(names, sample.taken.iter().map(|taken| taken.name).collect::<Vec<_>>(), "{label}");
    assert_eq!(alarms, [], "{label}");
    assert_eq!(stats(&open()).unwrap_or_else(|error| fail(error)).snapshots, 3, "{label}");
    everything_is_whole(sample, &open());
    let repository = open();
    let chosen = latest(&repository, "d").unwrap_or_else(|error| fail(error));
    assert_eq!(chosen.name.to_string(), sample.newest().to_string(), "{label}");
    let target = cell.target();
    restore_to(&repository, &chosen, &target).unwrap_or_else(|error| fail(error));
    assert!(tree(&target) == sample.taken[2].tree, "{label}: other bytes");
    drop(repository);
    let report = back_up(&open(), &sample.data(), "d").unwrap_or_else(|error| fail(error));
    assert_eq!(report.snapshot.sequence, 4, "{label}");
    restores_right(sample, &cell, &report.name);
}

/// LOCAL-1, LOCAL-4
#[test]
fn a_damaged_catalog_changes_nothing() {
    let sample = Sample::new(40);
    let good = fs::read(sample.cell(Host::Kept, &Vec::new()).local("catalog.db")).unwrap();
    let older = fs::read(sample.cell(Host::Stale, &Vec::new()).local("catalog.db")).unwrap();
    let mut all = fates(&good, 4003);
    all.push(("replaced by an older one".into(), Some(older)));
    for (fate, left) in all {
        is_as_if_nothing_happened(&sample, &format!("catalog {fate}"), &|cell| {
            leave(&cell.local("catalog.db"), left.clone());
        });
    }
}

/// LOCAL-5
#[test]
fn a_damaged_state_never_forgets_in_silence() {
    let sample = Sample::new(41);
    let newest: ObjectName = sample.newest();
    let good = fs::read(sample.cell(Host::Kept, &Vec::new()).local("state.db")).unwrap();
    for (fate, left) in fates(&good, 499) {
        // An empty or missing file is a host that has seen nothing yet; it says so when it opens.
        let is_gone = left.as_ref().is_none_or(Vec::is_empty);
        let cell = sample.cell(Host::Kept, &single(&newest, None));
        leave(&cell.local("state.db"), left.clone());
        let repository = cell.open().unwrap_or_else(|error| panic!("{fate}: {}", text(&error)));
        let (_, alarms) = snapshots(&repository, &Filter::default()).unwrap_or_else(|e| panic!("{fate}: {}", text(&e)));
        let is_remembered = alarms.contains(&Alarm::Rollback { missing: newest.to_string() });
        let is_put_aside = alarms.iter().any(|alarm| matches!(alarm, Alarm::State { .. }));
        match is_gone {
            true => assert!(repository.is_first_contact() && alarms.is_empty(), "{fate}"),
            false => assert!(is_remembered || is_put_aside, "{fate}: {alarms:?}"),
        }
        assert!(is_remembered || repository.is_first_contact(), "{fate}");
        let whole = sample.cell(Host::Kept, &Vec::new());
        leave(&whole.local("state.db"), left);
        let repository = whole.open().unwrap();
        everything_is_whole(&sample, &repository);
        let report = back_up(&repository, &sample.data(), "d").unwrap_or_else(|e| panic!("{fate}: {}", text(&e)));
        assert_eq!(report.snapshot.sequence, 4, "{fate}");
        assert_eq!(report.snapshot.previous.as_deref(), Some(newest.as_str()), "{fate}");
        restores_right(&sample, &whole, &report.name);
    }
}
