//! Changed chunks of opaque files as deltas: what they cost, that they come back, and when none is made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redkeep::operations::list::{Selector, choose};
use redkeep::operations::{Silent, prune};
use redkeep::repository::{CheckDepth, Repository};

use crate::support::repository::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory with one file of these bytes.
fn file(temp: &Path, bytes: &[u8]) -> (PathBuf, PathBuf) {
    let data = temp.join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("file"), bytes).unwrap();
    (data.clone(), data.join("file"))
}

/// Overwrites `runs` runs of 4 KiB with noise, at places that look random.
fn overwrite(bytes: &mut [u8], runs: usize, seed: u64) {
    let places = noise(runs * 8, seed);
    for (run, place) in places.chunks_exact(8).enumerate() {
        let place = u64::from_le_bytes(place.try_into().unwrap()) as usize % (bytes.len() - 4096);
        bytes[place..place + 4096].copy_from_slice(&noise(4096, seed * 10_000 + run as u64));
    }
}

fn assert_restores(repository: &Repository, selector: &Selector, temp: &Path, content: &[u8]) {
    let target = temp.join("restored");
    restore_to(repository, &choose(repository, selector, Some("d")).unwrap(), &target).unwrap();
    assert!(fs::read(target.join("file")).unwrap() == content, "{selector:?} restores something else");
    fs::remove_dir_all(&target).unwrap();
}

fn deltas(repository: &Repository) -> u64 {
    repository.refresh().unwrap();
    repository.totals().unwrap().deltas
}

/// DELTA-6
#[test]
fn one_percent_overwritten_in_scattered_runs_costs_less_than_five_percent() {
    for (kind, mut content) in [("noise", noise(64 << 20, 1)), ("text", text(64 << 20, 2))] {
        let (hands, temp) = (Hands::new(1), tempfile::tempdir().unwrap());
        let (data, path) = file(temp.path(), &content);
        let repository = create(memory(), &hands);
        let first = back_up(&repository, &data, "d").unwrap().snapshot.summary;
        let before = content.clone();
        overwrite(&mut content, (64 << 20) / 100 / 4096, 3);
        fs::write(&path, &content).unwrap();
        let second = back_up(&repository, &data, "d").unwrap().snapshot.summary;
        let (whole, cost) = (first.stored_bytes, second.stored_bytes);
        assert!(cost * 20 < whole, "{kind}: {cost} bytes after {whole}");
        assert!(deltas(&repository) > 100);
        assert_restores(&repository, &Selector::Latest(0), temp.path(), &content);
        assert_restores(&repository, &Selector::Latest(1), temp.path(), &before);
    }
}

/// DELTA-6: steps, leaps and roots, again and again.
#[test]
fn sixty_daily_versions_all_come_back() {
    let (hands, temp) = (Hands::new(1), tempfile::tempdir().unwrap());
    let mut content = [noise(1 << 20, 1), text(1 << 20, 2)].concat();
    let (data, path) = file(temp.path(), &content);
    let store = memory();
    let repository = create(store.clone(), &hands);
    let mut versions = Vec::new();
    let mut stored = 0;
    for day in 0..60 {
        // The same places every day, so that deltas follow on deltas; and some bytes more, so that places move.
        for place in [100_000, 700_000, 1_500_000] {
            content[place..place + 600].copy_from_slice(&noise(600, day * 10 + place as u64));
        }
        content.splice(400_000..400_000, noise(7, day));
        fs::write(&path, &content).unwrap();
        stored += back_up(&repository, &data, "d").unwrap().snapshot.summary.new_bytes;
        versions.push(content.clone());
        hands.pass(DAY);
    }
    assert!(deltas(&repository) > 100, "{}", deltas(&repository));
    assert!(stored > 10 << 20, "{stored}");
    let packed: u64 = store.entries("packs/").unwrap().iter().map(|entry| entry.size).sum();
    assert!(packed < 4 << 20, "{packed} bytes for {stored}");
    let report = repository.check(CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    let elsewhere = open(store, &hands).unwrap();
    elsewhere.refresh().unwrap();
    for (back, version) in versions.iter().rev().enumerate() {
        assert_restores(&elsewhere, &Selector::Latest(back), temp.path(), version);
    }
}

/// DELTA-8: what a day costs beside the content, with one chunk in five changed, with most of them changed, and with none;
/// and everything comes back, from lists that are deltas on deltas, when their roots are swept, and elsewhere.
#[test]
fn lists_of_which_some_entries_change_are_stored_as_deltas() {
    const CHUNKS: usize = 3_000;
    let (hands, temp) = (Hands::new(1), tempfile::tempdir().unwrap());
    let mut content = noise(CHUNKS * 128, 1);
    let (data, path) = file(temp.path(), &content);
    let store = memory();
    let repository = create_tiny(store.clone(), &hands);
    let first = back_up(&repository, &data, "d").unwrap();
    assert!(levels(&first.snapshot, "file") >= 1);
    let mut versions = vec![content.clone()];
    for day in 1..=7 {
        hands.pass(DAY);
        // The last day most chunks change, and some bytes more move all that is behind them every third day.
        let step = if day == 7 { 100 } else { 1_500 };
        for (number, place) in (day * 40..content.len() - 16).step_by(step).enumerate() {
            content[place..place + 8].copy_from_slice(&noise(8, (day * CHUNKS + number) as u64));
        }
        if day % 3 == 0 {
            content.splice(100_000..100_000, noise(1_000, day as u64));
        }
        fs::write(&path, &content).unwrap();
        let summary = back_up(&repository, &data, "d").unwrap().snapshot.summary;
        let (kinds, tables) = summary.by_kind();
        let kinds: BTreeMap<&str, _> = kinds.map(|(holds, new)| (holds.word(), new)).collect();
        let (changed, lists) = (kinds["opaque"].chunks, kinds["lists"].stored);
        let share = CHUNKS as u64 / changed;
        assert!(if day == 7 { share <= 1 } else { (4..=7).contains(&share) }, "{day}: {changed} chunks changed");
        // Whole, lists take 18 bytes an entry: 90 for each changed one of five.
        let most = if (1..=5).contains(&day) || day == 7 { 28 } else { 95 };
        assert!(lists < most * changed, "{day}: {} of lists and {} of tables each", lists / changed, tables / changed);
        versions.push(content.clone());
    }
    assert_eq!(back_up(&repository, &data, "d").unwrap().snapshot.summary.stored_bytes, 0);
    versions.push(content);
    repository.forget(&first.name, "test").unwrap();
    let options = prune::Options { grace: Duration::ZERO, max_unused: 0.0, ..prune::Options::default() };
    assert!(prune::prune(&repository, &options, &Silent).unwrap().report.deleted_packs > 0);
    let report = repository.check(CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
    assert!(report.is_sound(), "{:?}", report.damage);
    let elsewhere = open(store, &hands).unwrap();
    elsewhere.refresh().unwrap();
    for (back, version) in versions[1..].iter().rev().enumerate() {
        assert_restores(&elsewhere, &Selector::Latest(back), temp.path(), version);
    }
}

#[test]
fn a_chunk_stored_as_a_delta_is_as_known_as_any_other() {
    let (hands, temp) = (Hands::new(1), tempfile::tempdir().unwrap());
    let mut content = noise(4 << 20, 1);
    let (data, path) = file(temp.path(), &content);
    let repository = create(memory(), &hands);
    back_up(&repository, &data, "d").unwrap();
    overwrite(&mut content, 5, 2);
    fs::write(&path, &content).unwrap();
    assert!(back_up(&repository, &data, "d").unwrap().snapshot.summary.new_chunks >= 3);
    assert!(deltas(&repository) >= 3);
    assert_eq!(back_up(&repository, &data, "another").unwrap().snapshot.summary.new_chunks, 0);
}

/// DELTA-6: a root older than 45 days by the store's clock gets no more deltas.
#[test]
fn an_old_root_is_left_alone() {
    for (years, expected) in [(0, true), (20, false)] {
        let (hands, temp) = (Hands::new(1), tempfile::tempdir().unwrap());
        let mut content = noise(4 << 20, 1);
        let (data, path) = file(temp.path(), &content);
        let repository = create(local(&temp.path().join("repository")), &hands);
        back_up(&repository, &data, "d").unwrap();
        hands.pass(DAY * 365 * years);
        overwrite(&mut content, 5, 2);
        fs::write(&path, &content).unwrap();
        back_up(&repository, &data, "d").unwrap();
        assert_eq!(deltas(&repository) > 0, expected, "after {years} years");
        assert_restores(&repository, &Selector::Latest(0), temp.path(), &content);
    }
}

/// DELTA-4: what is not known is no base.
#[test]
fn a_lost_base_is_no_base() {
    let (hands, temp) = (Hands::new(1), tempfile::tempdir().unwrap());
    let mut content = noise(4 << 20, 1);
    let (data, path) = file(temp.path(), &content);
    let store = memory();
    let repository = create(store.clone(), &hands);
    back_up(&repository, &data, "d").unwrap();
    for pack in store.entries("packs/").unwrap() {
        store.delete(&pack.name).unwrap();
    }
    overwrite(&mut content, 5, 2);
    fs::write(&path, &content).unwrap();
    back_up(&repository, &data, "d").unwrap();
    assert_eq!(deltas(&repository), 0);
    assert_restores(&repository, &Selector::Latest(0), temp.path(), &content);
}

#[test]
fn what_resembles_nothing_is_stored_whole() {
    let (hands, temp) = (Hands::new(1), tempfile::tempdir().unwrap());
    let (data, path) = file(temp.path(), &noise(8 << 20, 1));
    let repository = create(memory(), &hands);
    back_up(&repository, &data, "d").unwrap();
    let content = noise(8 << 20, 2);
    fs::write(&path, &content).unwrap();
    back_up(&repository, &data, "d").unwrap();
    assert_eq!(deltas(&repository), 0);
    assert_restores(&repository, &Selector::Latest(0), temp.path(), &content);
}
