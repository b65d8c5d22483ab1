//! The damage matrix: every kind of damage to every kind of object, met by every operation on hosts that know more or
//! less. Whatever happens, what comes out is exactly what was stored, or an error names the damaged object.
//!
//! What nobody can notice, and these tests therefore do not ask for: that the newest snapshot or a key slot is gone, by a
//! host that has never seen it; that a key slot no longer opens, without its password; and, by a backup, that bytes
//! inside a pack of the right size are wrong, which a check that reads data finds.

mod cells;
mod latest;
mod local_files;
mod sample;
mod second_copies;

use redkeep::repository::RepositoryError;
use redkeep::store::ObjectName;

use crate::support::repository::*;
use cells::{Changes, Seen, examine};
use sample::Sample;

/// What can happen to one object: a word for it, and what is left (`None`: nothing).
fn fates(bytes: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let size = bytes.len();
    let mut fates = vec![("deleted".into(), None), ("grown".into(), Some([bytes, &[0]].concat()))];
    for length in [0, 1, 63, 100, size / 2, size - 1] {
        fates.push((format!("cut to {length} of {size}"), Some(bytes[..length].to_vec())));
    }
    for place in flips(size) {
        fates.push((format!("flipped at {place} of {size}"), Some(flipped(bytes, place))));
    }
    fates
}

/// Header (magic, kind, epoch, repository, salt), what follows it, middle, table of a pack, trailer or final hash, end.
fn flips(size: usize) -> [usize; 11] {
    [0, 7, 12, 16, 40, 70, 100, size / 2, size - 60, size - 10, size - 1]
}

fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 0x04;
    bytes
}

/// Every change that puts one object's bytes under another one's name: an older one in its place, and both exchanged.
fn exchanges(sample: &Sample, older: &ObjectName, newer: &ObjectName) -> [(String, Changes); 2] {
    let (old, new) = (sample.bytes(older), sample.bytes(newer));
    let replaced = vec![(newer.clone(), Some(old.to_vec()))];
    let swapped = vec![(newer.clone(), Some(old.to_vec())), (older.clone(), Some(new.to_vec()))];
    [("replaced by an older one".into(), replaced), ("swapped with an older one".into(), swapped)]
}

fn single(name: &ObjectName, left: Option<Vec<u8>>) -> Changes {
    vec![(name.clone(), left)]
}

/// OBJ-2, SESS-2
#[test]
fn a_damaged_pack_is_named_and_costs_what_was_in_it() {
    let sample = Sample::new(1);
    let (mut methods, mut of_lists) = (Vec::new(), Vec::new());
    for name in sample.packs() {
        let size = sample.bytes(&name).len();
        let mut all = fates(sample.bytes(&name));
        let frames = sample.frames(&name);
        for frame in &frames {
            let damaged = flipped(sample.bytes(&name), frame.middle());
            all.push((format!("flipped in a frame of method {}", frame.method), Some(damaged)));
            methods.push(frame.method);
        }
        let lists = sample.frames_of_lists(&name);
        assert!(!lists.is_empty());
        of_lists.extend(lists.iter().map(|frame| frame.method));
        for (fate, left) in all {
            // Without reading bodies a pack shows its size, which a flipped bit leaves as it was, and its lists.
            let same_size = left.as_ref().filter(|left| left.len() == size);
            let place = same_size.map(|left| (0..size).find(|at| left[*at] != sample.bytes(&name)[*at]).unwrap());
            let is_of_lists = |place| lists.iter().any(|frame| frame.bytes.contains(&place));
            let plain = place.is_none_or(is_of_lists);
            let seen = Seen { plain, data: true, by_backup: same_size.is_none() };
            examine(&sample, &format!("{name} {fate}"), &single(&name, left), seen);
        }
    }
    // Of each pack its contents and lists, whole or compressed, and deltas of both kinds of all but the first.
    let of = |method: u8| methods.iter().filter(|of| **of == method).count();
    assert!(methods.len() >= 8 && of(1) >= 2 && of(2) >= 2 && of(3) >= 2, "{methods:?}");
    assert!(of_lists.iter().any(|method| *method >= 2), "lists that are deltas: {of_lists:?}");
    let [older, .., newer] = &sample.packs()[..] else { panic!("several packs") };
    for (fate, changes) in exchanges(&sample, older, newer) {
        let seen = Seen { plain: true, data: true, by_backup: true };
        examine(&sample, &format!("{newer} {fate}"), &changes, seen);
    }
}

/// INDEX-2, INDEX-3
#[test]
fn a_damaged_index_object_costs_nothing_but_time() {
    let sample = Sample::new(2);
    let everything = Seen { plain: true, data: true, by_backup: true };
    for name in sample.indexes() {
        for (fate, left) in fates(sample.bytes(&name)) {
            let lost = examine(&sample, &format!("{name} {fate}"), &single(&name, left), everything);
            assert_eq!(lost, 0, "{name} {fate}: packs have tables of their own");
        }
    }
    let [older, .., newer] = &sample.indexes()[..] else { panic!("several index objects") };
    for (fate, changes) in exchanges(&sample, older, newer) {
        assert_eq!(examine(&sample, &format!("{newer} {fate}"), &changes, everything), 0);
    }
}

/// SNAP-1, SNAP-3, SEAL-5
#[test]
fn a_damaged_snapshot_is_named_and_no_older_one_is_taken_for_it() {
    let sample = Sample::new(3);
    let everything = Seen { plain: true, data: true, by_backup: true };
    for name in sample.snapshots() {
        for (fate, left) in fates(sample.bytes(&name)) {
            // That the newest one is gone cannot be seen by who has never seen it.
            let is_seen = left.is_some() || name != sample.newest();
            let seen = Seen { plain: is_seen, data: is_seen, by_backup: true };
            let lost = examine(&sample, &format!("{name} {fate}"), &single(&name, left), seen);
            assert_eq!(lost, 0, "{name} {fate}: the others are whole");
        }
    }
    let [older, .., newer] = &sample.snapshots()[..] else { panic!("several snapshots") };
    for (fate, changes) in exchanges(&sample, older, newer) {
        assert_eq!(examine(&sample, &format!("{newer} {fate}"), &changes, everything), 0);
    }
}

/// SEAL-1, SEAL-3
#[test]
fn without_its_config_nothing_is_opened_and_the_error_names_it() {
    let sample = Sample::new(4);
    let config: ObjectName = "config".parse().unwrap();
    let mut all = fates(sample.bytes(&config));
    let other = Sample::new(5);
    all.push(("of another repository".into(), Some(other.bytes(&config).to_vec())));
    all.push(("far too large".into(), Some(vec![0; 2 << 20])));
    for (fate, left) in all {
        let cell = sample.cell(sample::Host::Kept, &single(&config, left));
        let error = cell.open().err().unwrap_or_else(|| panic!("config {fate}: it opened"));
        assert!(error.is_damage(), "config {fate}: {error:?}");
        let text = cells::text(&error);
        assert!(text.contains("config"), "config {fate}: {text}");
        assert!(cell.store.entries("leases/").unwrap().len() == sample.below("leases/").len(), "nothing was written");
    }
}

/// KEY-7, KEY-8
#[test]
fn a_damaged_slot_locks_out_its_own_password_only() {
    let sample = Sample::new(6);
    let other = sample.below("keys/").into_iter().find(|name| *name != sample.slot).unwrap();
    let mut all: Vec<(String, Changes)> = Vec::new();
    for (fate, left) in fates(sample.bytes(&sample.slot)) {
        all.push((fate, single(&sample.slot, left)));
    }
    all.extend(exchanges(&sample, &other, &sample.slot));
    for (fate, changes) in all {
        let cell = sample.cell(sample::Host::Stranger, &changes);
        let mut opens = true;
        match cell.open() {
            Ok(repository) => cells::everything_is_whole(&sample, &repository),
            // Flips in salt and commitment look like another password; what else is wrong is named.
            Err(RepositoryError::WrongSecret { .. }) => opens = false,
            Err(error) => {
                let text = cells::text(&error);
                let is_named = changes.iter().any(|(name, _)| text.contains(name.as_str()));
                assert!(error.is_damage() && is_named, "{fate}: {text}");
                opens = false;
            }
        }
        let swapped = changes.len() > 1;
        match cell.open_with(sample::SECOND) {
            Ok(repository) => {
                assert!(!swapped);
                cells::everything_is_whole(&sample, &repository);
                let found = cells::named_by_check(&repository, &sample.slot);
                // Whether a password still opens its slot only that password can tell.
                let is_header = fate.contains("at 0 ") || fate.contains("at 7 ") || fate.contains("at 16 ");
                assert!(found || !is_header && !fate.contains("cut") || opens, "{fate}: check says nothing");
            }
            Err(error) => assert!(swapped && error.is_damage(), "{fate}: {error:?}"),
        }
    }
}

/// KEY-8
#[test]
fn without_any_slot_the_error_says_that_they_are_gone() {
    let sample = Sample::new(7);
    let changes = sample.below("keys/").into_iter().map(|name| (name, None)).collect::<Changes>();
    let error = sample.cell(sample::Host::Kept, &changes).open().err().unwrap();
    assert!(error.is_damage() && cells::text(&error).contains("keys/"), "{error:?}");
}

/// LIMIT-1
#[test]
fn an_object_larger_than_its_kind_may_be_is_damage_of_that_object_only() {
    let sample = Sample::new(9);
    let [first, .., newest] = &sample.snapshots()[..] else { panic!("several snapshots") };
    let changes = vec![(first.clone(), Some(vec![0; (64 << 20) + 1])), (sample.slot.clone(), Some(vec![0; 2 << 20]))];
    let cell = sample.cell(sample::Host::Stranger, &changes);
    let error = cell.open().err().unwrap();
    assert!(error.is_damage() && cells::text(&error).contains(sample.slot.as_str()), "{error:?}");
    let repository = cell.open_with(sample::SECOND).unwrap();
    let chosen = latest(&repository, "d").unwrap();
    assert_eq!(chosen.name.to_string(), newest.to_string());
    assert!(chosen.alarms.iter().any(|alarm| alarm.to_string().contains(first.as_str())), "{:?}", chosen.alarms);
    assert!(cells::named_by_check(&repository, first) && cells::named_by_check(&repository, &sample.slot));
    back_up(&repository, &sample.data(), "d").unwrap();
}

/// An index object and its pack: what cannot be found any more is said to be lost, with the index object's name.
///
/// INDEX-3
#[test]
fn an_index_object_that_is_lost_with_its_pack_is_named_too() {
    let sample = Sample::new(8);
    let (index, pack) = (sample.indexes().remove(0), sample.packs().remove(0));
    let changes = vec![(index.clone(), Some(flipped(sample.bytes(&index), 70))), (pack, None)];
    let cell = sample.cell(sample::Host::Stranger, &changes);
    let repository = cell.open().unwrap();
    let chosen = latest(&repository, "d").unwrap();
    assert!(chosen.alarms.iter().any(|alarm| alarm.to_string().contains(index.as_str())), "{:?}", chosen.alarms);
    let error = restore_to(&repository, &chosen, &cell.target()).unwrap_err();
    assert!(error.is_damage(), "{error:?}");
    assert!(cells::named_by_check(&repository, &index));
    let report = back_up(&repository, &sample.data(), "d").unwrap();
    assert!(report.alarms.iter().any(|alarm| alarm.to_string().contains(index.as_str())));
    cells::restores_right(&sample, &cell, &report.name);
}
