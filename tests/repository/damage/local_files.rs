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
    let mut all = fates(&good, 1499);
    all.push(("replaced by an older one".into(), Some(older)));
    for (fate, left) in all {
        is_as_if_nothing_happened(&sample, &format!("catalog {fate}"), &|cell| {
            leave(&cell.local("catalog.db"), left.clone());
        });
    }
}

/// What SQLite cannot see: pages that fit together, around values that are not what was written.
///
/// LOCAL-4
#[test]
fn a_catalog_whose_values_changed_changes_nothing() {
    let sample = Sample::new(42);
    for change in [
        "UPDATE snapshots SET sequence = 9 WHERE sequence = 1",
        "UPDATE snapshots SET sequence = 0 WHERE sequence = 3",
        "UPDATE snapshots SET tombstone = 1 WHERE sequence = 3",
        "UPDATE snapshots SET dataset = 'e' WHERE sequence = 3",
        "UPDATE snapshots SET name = replace(name, '0', '1') WHERE sequence = 3",
        "DELETE FROM snapshots WHERE sequence = 3",
        "UPDATE chunks SET id = zeroblob(32) WHERE rowid_of(id)",
        "UPDATE chunks SET position = position + 1",
        "UPDATE chunks SET position = 4294967295",
        "UPDATE chunks SET position = -1",
        "UPDATE chunks SET length = length + 1",
        "UPDATE chunks SET frame = 7",
        "UPDATE chunks SET delta = 5, bases = zeroblob(12)",
        "DELETE FROM chunks",
        "UPDATE frames SET offset = offset + 7",
        "UPDATE frames SET offset = -5",
        "UPDATE frames SET offset = 9223372036854775807",
        "UPDATE frames SET sealed = 4294967295",
        "UPDATE frames SET sealed = 1",
        "UPDATE frames SET plaintext = 1",
        "UPDATE frames SET plaintext = 4294967295",
        "UPDATE frames SET method = 1 - method",
        "UPDATE frames SET method = 77",
        "DELETE FROM frames",
        "UPDATE packs SET hash = zeroblob(32) WHERE id = 1",
        "UPDATE packs SET hash = zeroblob(31) WHERE id = 1",
        "UPDATE packs SET size = size + 1",
        "UPDATE packs SET epoch = 3",
        "UPDATE packs SET salt = zeroblob(32)",
        "DELETE FROM packs",
        "DELETE FROM named",
        "UPDATE sources SET name = replace(name, '0', '1')",
        "DELETE FROM sources",
        "UPDATE meta SET repository = 'x'",
        "DROP TABLE chunks",
    ] {
        let change = change.replace("rowid_of(id)", "(id, pack) IN (SELECT id, pack FROM chunks LIMIT 1)");
        let is_first = std::cell::Cell::new(true);
        is_as_if_nothing_happened(&sample, &change, &|cell| {
            let catalog = rusqlite::Connection::open(cell.local("catalog.db")).unwrap();
            let changed = catalog.execute_batch(&change);
            // A catalog that was put right may have no use for the same change twice.
            assert!(changed.is_ok() || !is_first.replace(false), "{change}: {changed:?}");
            is_first.set(false);
        });
    }
}

/// LOCAL-5
#[test]
fn a_state_whose_values_changed_is_put_aside() {
    let sample = Sample::new(43);
    for change in [
        "UPDATE heads SET name = replace(name, '0', '1')",
        "UPDATE heads SET sequence = -1",
        "UPDATE heads SET tag = 'x'",
        "UPDATE locations SET repository = replace(repository, '0', '1')",
        "UPDATE locations SET repository = 'x'",
    ] {
        let cell = sample.cell(Host::Kept, &Vec::new());
        rusqlite::Connection::open(cell.local("state.db")).unwrap().execute_batch(change).unwrap();
        let repository = cell.open().unwrap_or_else(|error| panic!("{change}: {}", text(&error)));
        let report = back_up(&repository, &sample.data(), "d").unwrap();
        assert!(matches!(&report.alarms[..], [Alarm::State { .. }]), "{change}: {:?}", report.alarms);
        assert_eq!(report.snapshot.sequence, 4, "{change}");
        restores_right(&sample, &cell, &report.name);
        drop(repository);
        let (_, alarms) = snapshots(&cell.open().unwrap(), &Filter::default()).unwrap();
        assert_eq!(alarms, [], "{change}: said once");
    }
}

/// LOCAL-5
#[test]
fn a_damaged_state_never_forgets_in_silence() {
    let sample = Sample::new(41);
    let newest: ObjectName = sample.newest();
    let good = fs::read(sample.cell(Host::Kept, &Vec::new()).local("state.db")).unwrap();
    for (fate, left) in fates(&good, 97) {
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
