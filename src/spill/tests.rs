//! What is spilled, beside a plain sort and a plain grouping; and what becomes of it on its way.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::RngSeed;

use super::scratch::ScratchFile;
use super::*;

const KIB: usize = 1 << 10;
/// The least there is: it holds 55 KiB of records, and reads eight runs at once.
const LEAST: usize = 64 * KIB;

type Owned = (Vec<u8>, Vec<u8>);

fn scratch(directory: &Path) -> Scratch {
    Scratch::new(directory, [7; 32])
}

fn owned(record: Record<'_>) -> Owned {
    (record.key.to_vec(), record.payload.to_vec())
}

fn rest(sorted: &mut Sorted) -> Result<Vec<Owned>, SpillError> {
    let mut records = Vec::new();
    while let Some(record) = sorted.next_record()? {
        records.push(owned(record));
    }
    Ok(records)
}

fn sorter<'a>(scratch: &'a Scratch, budget: usize, records: &[Owned]) -> Sorter<'a> {
    let mut sorter = Sorter::new(scratch, budget);
    records.iter().for_each(|(key, payload)| sorter.push(key, payload).unwrap());
    sorter
}

fn plainly_sorted(records: &[Owned]) -> Vec<Owned> {
    let mut records = records.to_vec();
    // The standard library's is stable.
    records.sort_by(|a, b| a.0.cmp(&b.0));
    records
}

/// Records that take some bytes each, numbered in the order they come, with keys in no order.
fn numbered(count: usize, length: usize) -> Vec<Owned> {
    let record = |number: usize| {
        let key = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[..3].to_vec();
        (key, [&number.to_le_bytes()[..], &vec![number as u8; length]].concat())
    };
    (0..count).map(record).collect()
}

/// Keys that are equal, empty, each other's beginnings, alike for long, or end in zeros.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        prop::collection::vec(0..2u8, 0..20),
        (0..40u32).prop_map(|number| format!("user:profile:{number}").into_bytes()),
        (0..5usize, prop::collection::vec(any::<u8>(), 0..3))
            .prop_map(|(times, end)| [vec![0; 15 * times], end].concat()),
        (Just(vec![b'k'; 80]), 0..9u8).prop_map(|(mut key, last)| {
            key.push(last);
            key
        }),
    ]
}

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let payload = prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..40),
        2 => (any::<u8>(), 0..2000usize).prop_map(|(byte, length)| vec![byte; length]),
        1 => (any::<u8>(), 4000..8000usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    prop::collection::vec((key(), payload), 0..1500)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn records_come_back_sorted_by_key_and_those_of_one_key_in_the_order_they_came(
        mut records in records(), budget in prop_oneof![Just(LEAST), Just(100 * KIB), Just(2048 * KIB)]
    ) {
        // Payloads that tell which came first.
        records.iter_mut().enumerate().for_each(|(number, record)| record.1.extend(number.to_le_bytes()));
        let directory = tempfile::tempdir().unwrap();
        let scratch = scratch(directory.path());
        let mut sorted = sorter(&scratch, budget, &records).finish().unwrap();
        prop_assert_eq!(rest(&mut sorted).unwrap(), plainly_sorted(&records));
        prop_assert!(sorted.next_record().unwrap().is_none());
        prop_assert!(sorted.usage().memory <= budget, "{:?} of {}", sorted.usage(), budget);
    }

    #[test]
    fn several_sorters_are_joined_as_if_they_were_one(parts in prop::collection::vec(records(), 1..4)) {
        let directory = tempfile::tempdir().unwrap();
        let scratch = scratch(directory.path());
        let sorted = parts.iter().map(|records| sorter(&scratch, LEAST, records).finish().unwrap());
        let mut sorted = Sorted::join(sorted.collect());
        prop_assert_eq!(rest(&mut sorted).unwrap(), plainly_sorted(&parts.concat()));
    }

    #[test]
    fn records_come_back_by_group_in_the_order_they_came(
        records in records(), count in 1..20usize, budget in prop_oneof![Just(LEAST), Just(2048 * KIB)]
    ) {
        let directory = tempfile::tempdir().unwrap();
        let scratch = scratch(directory.path());
        let mut partitions = Partitions::new(&scratch, count, budget);
        let of = |record: &Owned| record.0.iter().map(|byte| usize::from(*byte)).sum::<usize>() % count;
        records.iter().for_each(|record| partitions.push(of(record), &record.0, &record.1).unwrap());
        let grouped = partitions.finish().unwrap();
        prop_assert!(grouped.usage().memory <= budget, "{:?} of {}", grouped.usage(), budget);
        for partition in (0..count).rev() {
            let mut group = grouped.group(partition).unwrap();
            let mut back = Vec::new();
            while let Some(record) = group.next_record().unwrap() {
                back.push(owned(record));
            }
            let expected: Vec<Owned> = records.iter().filter(|record| of(record) == partition).cloned().collect();
            prop_assert_eq!(back, expected);
        }
    }
}

#[test]
fn what_fits_in_memory_touches_no_disk() {
    let nowhere = scratch(Path::new("/nowhere/at/all"));
    let records = numbered(300, 100);
    let mut sorted = sorter(&nowhere, LEAST, &records).finish().unwrap();
    assert_eq!(rest(&mut sorted).unwrap(), plainly_sorted(&records));
    assert_eq!(sorted.usage().scratch, 0);
    let error = records.iter().cycle().try_for_each({
        let mut sorter = Sorter::new(&nowhere, LEAST);
        move |(key, payload)| sorter.push(key, payload)
    });
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "cannot make a scratch file in /nowhere/at/all");
    assert!(error.hint().is_some());
}

#[test]
fn memory_stays_below_the_budget_while_runs_are_merged_and_merged_again() {
    let directory = tempfile::tempdir().unwrap();
    let scratch = scratch(directory.path());
    let records = numbered(40_000, 100);
    let mut sorter = Sorter::new(&scratch, LEAST);
    for (key, payload) in &records {
        sorter.push(key, payload).unwrap();
        assert!(sorter.usage().memory <= LEAST);
    }
    let data: usize = records.iter().map(|(key, payload)| key.len() + payload.len() + 2).sum();
    assert!(sorter.usage().scratch > data as u64, "runs were never merged: {:?}", sorter.usage());
    let mut sorted = sorter.finish().unwrap();
    assert!(sorted.held() <= LEAST / 2);
    // Enough to see that the budget is made use of.
    assert!((LEAST * 2 / 3..=LEAST).contains(&sorted.usage().memory), "{:?}", sorted.usage());
    assert_eq!(rest(&mut sorted).unwrap(), plainly_sorted(&records));
}

#[test]
fn a_record_may_take_an_eighth_of_the_budget_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let scratch = scratch(directory.path());
    let most = LEAST / 8 - 16;
    // Its lengths take three bytes.
    let records: Vec<Owned> = (0..30).rev().map(|number| (vec![number], vec![number; most - 4])).collect();
    let mut sorter = sorter(&scratch, LEAST, &records);
    let longer = sorter.push(&[0; 2], &vec![0; most - 4]).unwrap_err();
    assert!(matches!(longer, SpillError::TooLong { length, most: m } if length == most + 1 && m == most), "{longer:?}");
    let mut sorted = sorter.finish().unwrap();
    assert_eq!(rest(&mut sorted).unwrap(), plainly_sorted(&records));
    assert!(sorted.usage().memory <= LEAST && sorted.usage().scratch > 0);
    let mut partitions = Partitions::new(&scratch, 3, LEAST);
    assert!(matches!(partitions.push(0, &[0; 2], &vec![0; most - 4]), Err(SpillError::TooLong { .. })));
    assert!(matches!(partitions.push(3, b"", b""), Err(SpillError::NoPartition { partition: 3, count: 3 })));
    assert!(matches!(partitions.finish().unwrap().group(3), Err(SpillError::NoPartition { .. })));
}

/// The file a sorter has spilled to.
fn file_of(sorter: &Sorter<'_>) -> Arc<ScratchFile> {
    sorter.file().expect("it has spilled")
}

/// LOCAL-32
#[test]
fn a_scratch_file_has_no_name_and_nothing_in_it_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let scratch = scratch(directory.path());
    let records: Vec<Owned> = (0..5000).map(|_| (b"a key in plain".to_vec(), b"a payload in plain".to_vec())).collect();
    let sorter = sorter(&scratch, LEAST, &records);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let file = file_of(&sorter);
    let mut bytes = vec![0; file.length() as usize];
    file.file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.len() > LEAST);
    assert!(!bytes.windows(5).any(|window| window == b"plain"));
    // Two frames of the same records have nothing in common, and neither have two files.
    assert!(bytes.chunks(16).zip(bytes[4 * KIB..].chunks(16)).all(|(one, other)| one != other));
    let other = Scratch::new(directory.path(), [7; 32]);
    other.file().unwrap();
    let second = other.file().unwrap();
    let frame = second.append(&mut vec![7; 64]).unwrap();
    let mut first = Vec::new();
    assert!(second.read(frame, &mut first).is_ok() && first == [7; 64]);
    let third = other.file().unwrap();
    let mut sealed = vec![0; frame.length];
    second.file.read_exact_at(&mut sealed, 0).unwrap();
    third.file.write_all_at(&sealed, 0).unwrap();
    assert!(third.read(frame, &mut first).is_err(), "a frame of another file opens");
}

/// What is done to a scratch file behind its back.
type Harm = fn(&ScratchFile, u64);

#[test]
fn a_frame_that_was_changed_cut_off_moved_or_set_back_is_an_error_and_none_of_it_is_given_out() {
    fn flip(file: &ScratchFile, at: u64) {
        let mut byte = [0];
        file.file.read_exact_at(&mut byte, at).unwrap();
        file.file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
    fn cut(file: &ScratchFile, at: u64) {
        file.file.set_len(at).unwrap();
    }
    fn move_a_frame(file: &ScratchFile, at: u64) {
        let mut bytes = vec![0; 8 * KIB];
        file.file.read_exact_at(&mut bytes, at).unwrap();
        bytes.rotate_left(3 * KIB);
        file.file.write_all_at(&bytes, at).unwrap();
    }
    fn clear(file: &ScratchFile, at: u64) {
        file.file.write_all_at(&[0; 500], at).unwrap();
    }
    let records = numbered(3000, 100);
    let expected = plainly_sorted(&records);
    for (harm, places) in [(flip as Harm, 40), (cut, 10), (move_a_frame, 10), (clear, 10)] {
        for place in 0..places {
            let directory = tempfile::tempdir().unwrap();
            let scratch = scratch(directory.path());
            let sorter = sorter(&scratch, LEAST, &records);
            let file = file_of(&sorter);
            harm(&file, (file.length() - 9 * KIB as u64) * place / places);
            drop(file);
            let mut given = Vec::new();
            // The first frames are read while it is finished.
            let error = match sorter.finish() {
                Err(error) => error,
                Ok(mut sorted) => loop {
                    match sorted.next_record() {
                        Ok(record) => given.push(owned(record.expect("an error before the end"))),
                        Err(error) => {
                            assert!(matches!(sorted.next_record(), Err(SpillError::Broken)));
                            break error;
                        }
                    }
                },
            };
            assert!(matches!(error, SpillError::Changed { .. }), "{error:?}");
            assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
            assert!(expected.starts_with(&given));
        }
    }
}

#[test]
fn a_group_whose_frame_was_changed_fails_again_and_the_others_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let scratch = scratch(directory.path());
    let mut partitions = Partitions::new(&scratch, 4, LEAST);
    let records = numbered(4000, 100);
    records.iter().for_each(|(key, payload)| partitions.push(usize::from(key[0] % 4), key, payload).unwrap());
    let grouped = partitions.finish().unwrap();
    let file = grouped.file().expect("it has spilled");
    // The first frame is of the first group.
    file.file.write_all_at(&[0; 9], 100).unwrap();
    let mut group = grouped.group(0).unwrap();
    for _ in 0..3 {
        assert!(matches!(group.next_record(), Err(SpillError::Changed { offset: 0, .. })));
    }
    for partition in 1..4 {
        let mut group = grouped.group(partition).unwrap();
        let mut count = 0;
        while group.next_record().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, records.iter().filter(|(key, _)| usize::from(key[0] % 4) == partition).count());
    }
}

#[test]
fn sorters_and_what_they_sorted_can_be_handed_to_other_threads() {
    fn is_send<T: Send>() {}
    is_send::<Sorter<'_>>();
    is_send::<Sorted>();
    is_send::<Partitions<'_>>();
    is_send::<Group<'_>>();
}

#[test]
fn sorting_goes_on_where_keys_are_alike_for_very_long() {
    let nowhere = scratch(Path::new("/nowhere"));
    let record = |number: u32| {
        let end = number.wrapping_mul(0x9e37_79b9).to_be_bytes();
        ([&vec![b'x'; 3000][..], &end[..(number % 4) as usize]].concat(), number.to_be_bytes().to_vec())
    };
    let records: Vec<Owned> = (0..2000).map(record).collect();
    let mut sorted = sorter(&nowhere, 16 << 20, &records).finish().unwrap();
    assert_eq!(rest(&mut sorted).unwrap(), plainly_sorted(&records));
}
