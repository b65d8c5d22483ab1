//! One key of a dump is had by a few reads, however large the dump is.

use std::fs;

use redkeep::format::config::Sizes;
use redkeep::operations::Silent;
use redkeep::operations::list::Chosen;
use redkeep::operations::look_up::{Answer, get};
use redkeep::rdb::values::Item;
use redkeep::repository::{Places, Repository};
use tempfile::TempDir;

use crate::support::repository::*;
use crate::support::stores::{RecordingStore, Verb};

/// So small that 40,000 keys are in as many buckets as a million are by default, and their list is in chunks as theirs is.
const BUCKETS: Sizes = Sizes { min: 512, mean: 1536, max: 4096 };
const KEYS: u64 = 40_000;
const READ_MOST: u64 = 1 << 20;

fn key(number: u64) -> Vec<u8> {
    format!("user:{number:07}").into_bytes()
}

/// The value of a key after so many days: one key in a hundred gets another one each day.
fn value(number: u64, day: u64) -> Vec<u8> {
    let last = (1..=day).rev().find(|day| (number * 7919 + day * 31).is_multiple_of(100)).unwrap_or(0);
    noise(50, number + last * KEYS)
}

fn dump(day: u64) -> Vec<u8> {
    let mut dump = b"REDIS0004\xfe\0".to_vec();
    for number in 0..KEYS {
        // In no order of names.
        let number = number * 17_077 % KEYS;
        dump.push(0);
        for text in [key(number), value(number, day)] {
            dump.push(text.len() as u8);
            dump.extend(text);
        }
    }
    dump.push(0xff);
    dump
}

/// What a key holds.
fn value_of(repository: &Repository, chosen: &Chosen, key: &[u8]) -> Vec<u8> {
    let answer = get(repository, chosen, None, 0, key, &Silent).unwrap();
    let Answer::There(held) = answer else { panic!("{key:?}: {answer:?}") };
    let mut found = Vec::new();
    let _ = held.value().each(&mut |item| {
        if let Item::Text(text) = item {
            found = text.to_vec();
        }
        std::ops::ControlFlow::Continue(())
    });
    found
}

/// Looks for a key with nothing in memory but the catalog; says how often the store was read, and how much at most.
fn look_up(store: &RecordingStore, repository: &Repository, number: u64, day: u64) -> (usize, u64) {
    let chosen = latest(repository, "d").unwrap();
    drop((store.drain(), store.longest_read()));
    assert_eq!(value_of(repository, &chosen, &key(number)), value(number, day));
    let calls = store.drain();
    assert!(calls.iter().all(|call| call.verb == Verb::GetRange), "{calls:?}");
    (calls.len(), store.longest_read())
}

#[test]
fn a_key_takes_at_most_four_reads_and_those_of_the_bases_of_its_bucket() {
    let (hands, temp) = (Hands::new(12), TempDir::new().unwrap());
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    let store = RecordingStore::new(memory());
    let (secret, ambient) = (password(PASSWORD), hands.ambient("alpha"));
    let places = Places { cache: Some(temp.path().join("cache")), state: None, scratch: None };
    let sizes = (Sizes::FILES, BUCKETS);
    let repository =
        Repository::create_with(store.clone(), secret, "first", CHEAP, ambient, places.clone(), sizes).unwrap();
    for day in 0..3 {
        fs::write(data.join("dump.rdb"), dump(day)).unwrap();
        back_up(&repository, &data, "d").unwrap();
        let chosen = latest(&repository, "d").unwrap();
        let levels = canonical_streams(&chosen.snapshot, "dump.rdb");
        assert!(levels.contains(&(3, 1)), "{levels:?}: the list is in the snapshot");
        let reads = (0..KEYS).step_by(997).map(|number| look_up(&store, &repository, number, day));
        let reads: Vec<(usize, u64)> = reads.collect();
        // A day adds at most two bases to what a bucket and its list are made of.
        let most = 4 + 4 * day as usize;
        assert!(reads.iter().all(|(calls, longest)| *calls <= most && *longest <= READ_MOST), "{day}: {reads:?}");
    }
}

/// Their buckets have one label, and any of them may hold the key.
#[test]
fn keys_that_are_longer_than_a_label_are_found_whichever_bucket_they_are_in() {
    let (hands, data) = (Hands::new(13), TempDir::new().unwrap());
    let repository = create_tiny(memory(), &hands);
    let key = |number: u8| [&[b'n'; 300][..], &[number]].concat();
    let mut dump = b"REDIS0004\xfe\0".to_vec();
    for number in 0..50 {
        let value = noise(40, number.into());
        dump.extend([&[0, 0x41, 45], &key(number)[..], &[40], &value].concat());
    }
    dump.push(0xff);
    fs::write(data.path().join("dump.rdb"), dump).unwrap();
    back_up(&repository, data.path(), "d").unwrap();
    let chosen = latest(&repository, "d").unwrap();
    for number in 0..50 {
        assert_eq!(value_of(&repository, &chosen, &key(number)), noise(40, number.into()), "{number}");
    }
}
