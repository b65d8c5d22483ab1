//! What is spilled, beside a plain sort and a plain list; and what becomes of it on its way.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;

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

/// Those that are fetched. Behind the last one there is none, however often one is asked for.
fn all(fetched: &mut Fetched) -> Result<Vec<Owned>, SpillError> {
    let mut records = Vec::new();
    assert_eq!(fetched.record(), None);
    loop {
        fetched.advance()?;
        let Some(record) = fetched.record() else { break };
        records.push(owned(record));
    }
    fetched.advance()?;
    assert_eq!(fetched.record(), None);
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
    fn records_that_a_thread_fetches_are_the_same_in_the_same_order(
        records in records(), budget in prop_oneof![Just(LEAST), Just(2048 * KIB)]
    ) {
        let directory = tempfile::tempdir().unwrap();
        let scratch = scratch(directory.path());
        let sorted = sorter(&scratch, budget, &records).finish().unwrap();
        let fetched = thread::scope(|scope| all(&mut sorted.fetched(scope))).unwrap();
        prop_assert_eq!(fetched, plainly_sorted(&records));
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
    fn numbered_records_come_back_in_the_order_of_their_numbers(
        count in 0..3000u32, lengths in 0..4usize, stride in prop_oneof![Just(1u64), Just(7), Just(3001)],
        budget in prop_oneof![Just(LEAST), Just(512 * KIB), Just(4096 * KIB)]
    ) {
        let directory = tempfile::tempdir().unwrap();
        let scratch = scratch(directory.path());
        let length = |number: u32| [12, number as usize % 300, number as usize % 7 * 900, number as usize % 41 * 2000][lengths];
        // One in nine is not given.
        let record = |number: u32| (number % 9 != 5).then(|| vec![number as u8; length(number)]);
        let all: u64 = (0..count).filter_map(record).map(|record| record.len() as u64).sum();
        let partitions = Partitions::new(&scratch, count.into(), all, budget);
        let numbers = (0..u64::from(count)).map(|nth| (nth * stride % u64::from(count)) as u32);
        let numbers: Vec<u32> = match u64::from(count) % stride == 0 {
            true => (0..count).rev().collect(),
            false => numbers.collect(),
        };
        for number in numbers {
            if let Some(record) = record(number) {
                partitions.push(number, &record).unwrap();
            }
        }
        let numbered = partitions.finish();
        let usage = numbered.usage();
        let longest = (0..count).map(length).max().unwrap_or(0);
        prop_assert!(usage.memory <= budget + longest.max(32 * KIB) + KIB, "{usage:?} of {budget}");
        prop_assert!(all > budget as u64 * 9 / 10 || usage.scratch == 0, "{usage:?} of {budget} for {all}");
        prop_assert_eq!(in_order(numbered, count).unwrap(), (0..count).map(record).collect::<Vec<_>>());
    }
}

/// So many records in the order of their numbers.
fn in_order(numbered: Numbered, count: u32) -> Result<Vec<Option<Vec<u8>>>, SpillError> {
    thread::scope(|scope| {
        let mut records = numbered.in_order(scope);
        (0..count).map(|_| Ok(records.next_record()?.map(<[u8]>::to_vec))).collect()
    })
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
    assert!(sorted.held() <= LEAST);
    // Enough to see that the budget is made use of.
    assert!((LEAST * 2 / 3..=LEAST).contains(&sorted.usage().memory), "{:?}", sorted.usage());
    assert_eq!(rest(&mut sorted).unwrap(), plainly_sorted(&records));
}

#[test]
fn a_sorter_that_is_to_take_less_makes_room_at_once() {
    let place = tempfile::tempdir().unwrap();
    let (scratch, records) = (scratch(place.path()), numbered(4000, 900));
    let mut sorter = sorter(&scratch, 8 << 20, &records[..2000]);
    assert!(sorter.file().is_none());
    sorter.take_less(16 << 20).unwrap();
    assert!(sorter.file().is_none(), "it has that much");
    sorter.take_less(256 * KIB).unwrap();
    assert!(file_of(&sorter).length() > 2000 * 900);
    records[2000..].iter().for_each(|(key, payload)| sorter.push(key, payload).unwrap());
    let mut sorted = sorter.finish().unwrap();
    assert!(sorted.held() <= 256 * KIB, "{}", sorted.held());
    assert!(rest(&mut sorted).unwrap() == plainly_sorted(&records));
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
}

#[test]
fn a_number_that_there_is_not_or_that_comes_twice_is_an_error() {
    let nowhere = scratch(Path::new("/nowhere"));
    let partitions = Partitions::new(&nowhere, 3, 100, LEAST);
    assert!(matches!(partitions.push(3, b""), Err(SpillError::NoNumber { number: 3, count: 3 })));
    partitions.push(1, b"once").unwrap();
    partitions.push(1, b"again").unwrap();
    assert!(matches!(in_order(partitions.finish(), 3), Err(SpillError::Twice)));
    let none = Partitions::new(&nowhere, 0, 0, LEAST).finish();
    assert_eq!(in_order(none, 2).unwrap(), [None, None]);
}

#[test]
fn numbered_records_come_from_several_threads() {
    let directory = tempfile::tempdir().unwrap();
    let scratch = scratch(directory.path());
    let record = |number: u32| vec![number as u8; number as usize % 500];
    let partitions = Partitions::new(&scratch, 20_000, 5_000_000, 1024 * KIB);
    thread::scope(|scope| {
        for thread in 0..4 {
            let numbers = (0..20_000).filter(move |number| number / 3 % 4 == thread).rev();
            let partitions = &partitions;
            scope.spawn(move || numbers.for_each(|number| partitions.push(number, &record(number)).unwrap()));
        }
    });
    let numbered = partitions.finish();
    assert!(numbered.usage().scratch > 3_000_000, "{:?}", numbered.usage());
    assert_eq!(in_order(numbered, 20_000).unwrap(), (0..20_000).map(|n| Some(record(n))).collect::<Vec<_>>());
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
fn of_records_that_a_thread_fetches_an_error_stays_and_who_takes_no_more_is_not_waited_for() {
    let records = numbered(20_000, 100);
    let directory = tempfile::tempdir().unwrap();
    let scratch = scratch(directory.path());
    let sorter = sorter(&scratch, LEAST, &records);
    let file = file_of(&sorter);
    let sorted = sorter.finish().unwrap();
    // In the midst of them; and some frames were read by then.
    file.file.write_all_at(&[0; 500], file.length() * 9 / 10).unwrap();
    thread::scope(|scope| {
        let mut fetched = sorted.fetched(scope);
        let error = all(&mut fetched).unwrap_err();
        assert!(matches!(error, SpillError::Changed { .. }), "{error:?}");
        assert_eq!(fetched.record(), None);
        assert!(matches!(fetched.advance(), Err(SpillError::Broken)));
    });
    thread::scope(|scope| {
        let mut fetched = self::sorter(&scratch, 16 << 20, &records).finish().unwrap().fetched(scope);
        fetched.advance().unwrap();
        assert!(fetched.record().is_some());
    });
}

#[test]
fn numbered_records_whose_frame_was_changed_are_an_error_that_stays() {
    let directory = tempfile::tempdir().unwrap();
    let scratch = scratch(directory.path());
    // The longest ones wait alone.
    for (length, count) in [(100, 8000), (40 * KIB, 60)] {
        let partitions = Partitions::new(&scratch, count.into(), u64::from(count) * length as u64, LEAST);
        (0..count).for_each(|number| partitions.push(number, &vec![number as u8; length]).unwrap());
        let numbered = partitions.finish();
        let file = numbered.file().expect("it has spilled");
        file.file.write_all_at(&[0; 9], 100).unwrap();
        thread::scope(|scope| {
            let (mut records, mut given) = (numbered.in_order(scope), 0);
            let error = loop {
                match records.next_record() {
                    Ok(record) => assert_eq!(record.unwrap(), vec![given as u8; length]),
                    Err(error) => break error,
                }
                given += 1;
            };
            assert!(matches!(error, SpillError::Changed { offset: 0, .. }), "{error:?}");
            assert!(given < count);
            if length == 100 {
                assert!(matches!(records.next_record(), Err(SpillError::Broken)));
            }
        });
    }
}

#[test]
fn sorters_and_what_they_sorted_can_be_handed_to_other_threads() {
    fn is_send<T: Send>() {}
    is_send::<Sorter<'_>>();
    is_send::<Sorted>();
    is_send::<Numbered>();
    is_send::<InOrder>();
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
