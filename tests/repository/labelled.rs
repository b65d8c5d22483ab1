//! Labelled streams: what the caller cut is stored and found by label, and changed pieces against the old ones of the same
//! labels.

use redkeep::format::list::ListEntry;
use redkeep::format::recipe::Stream;
use redkeep::format::summary::Holds;
use redkeep::repository::{
    ChunkReader, Intake, IntakeOptions, LabelledReader, LabelledWriter, Repository, RepositoryError, Stored,
};

use crate::support::repository::*;

/// Pieces of the records of keys, by the first key of each: cut before every key that the caller likes.
fn pieces(records: &[(u32, Vec<u8>)], is_border: impl Fn(u32) -> bool) -> Vec<(u32, Vec<u8>)> {
    let mut pieces: Vec<(u32, Vec<u8>)> = Vec::new();
    for (key, record) in records {
        match pieces.last_mut() {
            Some((_, piece)) if !is_border(*key) => piece.extend_from_slice(record),
            _ => pieces.push((*key, record.clone())),
        }
    }
    pieces
}

fn label(key: u32) -> Vec<u8> {
    key.to_be_bytes().to_vec()
}

/// Stores pieces, each against those of an earlier stream that have its keys.
fn store(repository: &Repository, pieces: &[(u32, Vec<u8>)], earlier: Option<&Stream>) -> (Stream, Stored, Vec<usize>) {
    let session = repository.begin("d").unwrap();
    let reader = ChunkReader::new(repository);
    let mut counts = Vec::new();
    let work = |intake: &mut Intake<'_>| {
        let mut writer = LabelledWriter::new(Holds::Buckets);
        let mut old = earlier.map(|stream| LabelledReader::at(&reader, stream, &[])).transpose()?;
        for (number, (key, piece)) in pieces.iter().enumerate() {
            let end = pieces.get(number + 1).map(|(key, _)| label(*key));
            let bases = old.as_mut().map(|old| old.within(&label(*key), end.as_deref())).transpose()?;
            let bases: Vec<ListEntry> = bases.unwrap_or_default();
            counts.push(bases.len());
            writer.put(intake, piece, label(*key), &bases)?;
        }
        writer.finish(intake)
    };
    let (stream, stored) = session.store(IntakeOptions::default(), &|| false, work).unwrap();
    session.give_up(());
    (stream, stored, counts)
}

fn is_border(key: u32) -> bool {
    key.is_multiple_of(40)
}

fn records() -> Vec<(u32, Vec<u8>)> {
    (0..40_000).map(|key| (key * 3, noise(100, u64::from(key)))).collect()
}

#[test]
fn what_changed_is_stored_against_what_had_the_same_labels() {
    let (hands, store_) = (Hands::new(1), memory());
    let repository = create(store_, &hands);
    let mut records = records();
    let before = pieces(&records, is_border);
    let (first, whole, _) = store(&repository, &before, None);
    assert!(first.levels >= 1 && first.has_labels());
    assert_eq!(whole.new[&(Holds::Buckets as u64)].bytes, 4_000_000);
    // One record of each fiftieth piece changes, a border goes, and a border comes.
    for (number, (_, record)) in records.iter_mut().enumerate() {
        if number % 2000 == 7 {
            record[40..60].copy_from_slice(&noise(20, number as u64));
        }
    }
    let after = pieces(&records, |key| (is_border(key) && key != 2400) || key == 6060);
    let (second, deltas, counts) = store(&repository, &after, Some(&first));
    let new = deltas.new[&(Holds::Buckets as u64)];
    assert!(new.chunks >= 20 && new.stored < 8_000, "{new:?}");
    assert_eq!(counts.iter().filter(|count| **count == 2).count(), 1, "of two pieces that became one");
    assert!(counts.iter().all(|count| (1..=2).contains(count)));
    // It is found by label, and holds what it held.
    let reader = ChunkReader::new(&repository);
    for sought in [0, 2400, 6059, 6060, 6061, 119_997] {
        let mut found = LabelledReader::at(&reader, &second, &label(sought)).unwrap();
        let entry = found.within(&label(sought), Some(&label(sought + 1))).unwrap().pop().unwrap();
        let (key, piece) = after.iter().rfind(|(key, _)| *key <= sought).unwrap();
        assert_eq!(entry.label, Some(label(*key)));
        assert!(reader.chunk(&entry.id, entry.length).unwrap() == *piece, "{sought}");
    }
    let mut all = LabelledReader::at(&reader, &second, &[]).unwrap();
    for (key, _) in &after {
        assert_eq!(all.next_entry().unwrap().unwrap().label, Some(label(*key)));
    }
    assert_eq!(all.next_entry().unwrap(), None);
}

#[test]
fn labels_that_go_down_or_are_too_long_are_refused() {
    let repository = create(memory(), &Hands::new(1));
    for labels in [[vec![2], vec![1]], [vec![1], vec![1; 1 << 16]]] {
        let session = repository.begin("d").unwrap();
        let refused = session.store(IntakeOptions::default(), &|| false, |intake| {
            let mut writer = LabelledWriter::new(Holds::Buckets);
            labels.iter().try_for_each(|label| writer.put(intake, b"records", label.clone(), &[]))
        });
        assert!(matches!(refused, Err(RepositoryError::Limit(_))), "{labels:?}");
        session.give_up(());
    }
}
