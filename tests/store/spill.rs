//! What does not fit in memory, where it does not fit on the disk either.

use std::fs;
use std::path::Path;

use redkeep::spill::{Partitions, Scratch, Sorter, SpillError};

use crate::support::small_disk::on_a_small_disk;

const BUDGET: usize = 64 << 10;
const RECORDS: u32 = 8000;

/// Keys in no order.
fn key(number: u32) -> [u8; 4] {
    number.wrapping_mul(0x9e37_79b9).to_be_bytes()
}

fn payload(number: u32) -> [u8; 80] {
    let mut payload = [1; 80];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

/// About as many bytes as a run of this budget takes.
const RUN: u64 = 36 << 10;

/// Takes records with `push` on a disk that something else fills, up to the one that is refused; then that one and all
/// others once the disk has room.
fn filled(scratch: &Scratch, ballast: &Path, mut push: impl FnMut(u32) -> Result<(), SpillError>) -> bool {
    let mut was_full = false;
    for number in 0..RECORDS {
        let free = scratch.free().unwrap();
        let Err(error) = push(number) else { continue };
        // A run was written before, or all the room that was taken is given back.
        let taken = free - scratch.free().unwrap();
        assert!(taken == 0 || taken >= RUN, "{taken} bytes are not given back");
        assert!(!was_full, "{number} is refused by an empty disk: {error}");
        assert!(matches!(error, SpillError::Full { .. }), "{error:?}");
        assert!(error.hint().is_some());
        assert!(matches!(push(number), Err(SpillError::Full { .. })), "it is taken though the disk is still full");
        fs::remove_file(ballast).unwrap();
        push(number).unwrap();
        was_full = true;
    }
    was_full
}

#[test]
fn a_full_disk_refuses_a_record_and_loses_none() {
    on_a_small_disk("spill::a_full_disk_refuses_a_record_and_loses_none", 2, refuses_and_loses_none);
}

fn refuses_and_loses_none(disk: &Path) {
    let mut expected: Vec<u32> = (0..RECORDS).collect();
    expected.sort_by_key(|number| key(*number));
    let (scratch, ballast) = (Scratch::new(disk, [1; 32]), disk.join("ballast"));
    let free = scratch.free().unwrap();
    // So full that the first run does not fit, or a later one, or runs that become one.
    for kibibytes in [2000, 1900, 1700, 1600, 1500, 1400] {
        fs::write(&ballast, vec![1; kibibytes << 10]).unwrap();
        let mut sorter = Sorter::new(&scratch, BUDGET);
        assert!(
            filled(&scratch, &ballast, |number| sorter.push(&key(number), &payload(number))),
            "{kibibytes} KiB are no harm"
        );
        let mut sorted = sorter.finish().unwrap();
        for number in &expected {
            let record = sorted.next_record().unwrap().unwrap();
            assert_eq!((record.key, record.payload), (&key(*number)[..], &payload(*number)[..]));
        }
        assert!(sorted.next_record().unwrap().is_none());
        drop(sorted);
        assert_eq!(scratch.free().unwrap(), free, "room is not given back");
    }
}

#[test]
fn a_full_disk_refuses_a_numbered_record_and_gives_back_its_room() {
    on_a_small_disk("spill::a_full_disk_refuses_a_numbered_record_and_gives_back_its_room", 2, refuses_numbered);
}

fn refuses_numbered(disk: &Path) {
    let (scratch, ballast) = (Scratch::new(disk, [1; 32]), disk.join("ballast"));
    for kibibytes in [2000, 1900, 1700] {
        fs::write(&ballast, vec![1; kibibytes << 10]).unwrap();
        let free = scratch.free().unwrap();
        let partitions = Partitions::new(&scratch, RECORDS.into(), u64::from(RECORDS) * 80, BUDGET);
        let refused = (0..RECORDS).find_map(|number| partitions.push(number, &payload(number)).err());
        let error = refused.unwrap_or_else(|| panic!("{kibibytes} KiB are no harm"));
        assert!(matches!(error, SpillError::Full { .. }) && error.hint().is_some(), "{error:?}");
        drop(partitions);
        assert_eq!(scratch.free().unwrap(), free, "room is not given back");
    }
}

#[test]
fn a_sorter_that_cannot_finish_says_so() {
    on_a_small_disk("spill::a_sorter_that_cannot_finish_says_so", 1, cannot_finish);
}

fn cannot_finish(disk: &Path) {
    let scratch = Scratch::new(disk, [1; 32]);
    let mut sorter = Sorter::new(&scratch, BUDGET);
    (0..900).for_each(|number| sorter.push(&key(number), &payload(number)).unwrap());
    assert!(sorter.usage().scratch > 0);
    let room = scratch.free().unwrap();
    fs::write(disk.join("ballast"), vec![1; room as usize]).unwrap();
    let error = sorter.finish().err().unwrap();
    assert_eq!(error.to_string(), format!("no space in {} for what does not fit in memory", disk.display()));
}
