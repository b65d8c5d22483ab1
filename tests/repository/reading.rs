//! Chunks out: each pack is read once, deltas are followed to their bases and no further than they may be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use redkeep::repository::{Places, Repository};
use tempfile::TempDir;

use crate::support::mini_writer::{self, MiniFile, MiniPack, MiniWriter, opaque};
use crate::support::repository::*;
use crate::support::stores::{RecordingStore, Verb};

/// How often each pack was read from, and how much.
fn reads(store: &RecordingStore) -> (BTreeMap<String, usize>, u64) {
    let (mut packs, bytes) = (BTreeMap::new(), store.bytes_read());
    for call in store.drain() {
        if call.verb == Verb::GetRange {
            *packs.entry(call.name).or_insert(0) += 1;
        }
    }
    (packs, bytes)
}

#[test]
fn a_restore_reads_each_needed_pack_once() {
    let (hands, temp) = (Hands::new(41), TempDir::new().unwrap());
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    for number in 0..15 {
        // Short enough for lists that stand in the snapshot itself.
        fs::write(data.join(number.to_string()), noise(3 << 20, number)).unwrap();
    }
    let objects = memory();
    let store = RecordingStore::new(objects.clone());
    back_up(&create(store.clone(), &hands), &data, "d").unwrap();
    let packs = objects.entries("packs/").unwrap().len();
    let repository = open(store.clone(), &hands).unwrap();
    let chosen = latest(&repository, "d").unwrap();
    reads(&store);
    restore_to(&repository, &chosen, &temp.path().join("out")).unwrap();
    let (read, _) = reads(&store);
    assert!(read.values().all(|times| *times == 1), "{read:?}");
    assert_eq!((read.len(), packs >= 3), (packs, true));
    assert_eq!(tree(&temp.path().join("out")), tree(&data));
}

/// Days of one file: each day a few bytes of every chunk change, and the day's pack holds deltas against the day before.
struct Days {
    writer: MiniWriter,
    chunks: Vec<Vec<u8>>,
    packs: Vec<MiniPack>,
}

/// Chunks in a frame.
const NEIGHBOURS: usize = 4;

impl Days {
    fn new(root: &Path, chunks: usize, length: usize) -> Days {
        let writer = MiniWriter::create(root.to_path_buf());
        let chunks: Vec<Vec<u8>> = (0..chunks).map(|n| mini_writer::noise(&format!("chunk {n}"), length)).collect();
        let whole = |some: &[Vec<u8>]| writer.whole(0, &some.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let packs = vec![writer.pack(&chunks.chunks(NEIGHBOURS).map(whole).collect::<Vec<_>>())];
        Days { writer, chunks, packs }
    }

    fn change(&mut self, day: usize) {
        let mut new = self.chunks.clone();
        for (number, chunk) in new.iter_mut().enumerate() {
            let at = (day * 977 + number) % (chunk.len() - 32);
            chunk[at..at + 32].copy_from_slice(&mini_writer::noise(&format!("{day} {number}"), 32));
        }
        let bases: Vec<[&[u8]; 1]> = self.chunks.iter().map(|base| [base.as_slice()]).collect();
        let pairs: Vec<(&[&[u8]], &[u8])> = bases.iter().zip(&new).map(|(b, c)| (&b[..], c.as_slice())).collect();
        let frames: Vec<_> = pairs.chunks(NEIGHBOURS).map(|some| self.writer.deltas(some)).collect();
        self.packs.push(self.writer.pack(&frames));
        self.chunks = new;
    }

    fn commit(&self) -> Vec<u8> {
        let content = self.chunks.concat();
        let list: Vec<u8> = self.chunks.iter().flat_map(|chunk| self.writer.entry(chunk)).collect();
        // In a pack of its own: too long for the snapshot.
        let lists = self.writer.pack(&[self.writer.whole(0, &[&list])]);
        self.writer.index(&[&self.packs[..], &[lists]].concat());
        let file = MiniFile::file("dump.rdb", &content, opaque(content.len(), 1, self.writer.entry(&list), false));
        self.writer.snapshot(1, None, &[file]);
        content
    }
}

fn open_mini(root: &Path, hands: &Hands) -> (Arc<RecordingStore>, Repository) {
    let store = RecordingStore::new(local(root));
    let secret = password(mini_writer::PASSWORD);
    let repository = Repository::open(store.clone(), secret, hands.ambient("a"), Places::default(), None).unwrap();
    (store, repository)
}

/// Restores the only file; answers with its bytes, and what was read for it.
fn restore_only(root: &Path, seed: u64) -> (Vec<u8>, BTreeMap<String, usize>, u64) {
    let (hands, temp) = (Hands::new(seed), TempDir::new().unwrap());
    let (store, repository) = open_mini(root, &hands);
    let chosen = latest(&repository, "sessions").unwrap();
    reads(&store);
    let before = store.bytes_read();
    restore_to(&repository, &chosen, &temp.path().join("out")).unwrap();
    let (packs, bytes) = reads(&store);
    (fs::read(temp.path().join("out/dump.rdb")).unwrap(), packs, bytes - before)
}

#[test]
fn deltas_over_many_days_are_restored_with_one_read_of_each_pack() {
    let temp = TempDir::new().unwrap();
    let mut days = Days::new(temp.path(), 60, 20_000);
    (1..12).for_each(|day| days.change(day));
    let content = days.commit();
    let (bytes, packs, _) = restore_only(temp.path(), 42);
    assert!(bytes == content);
    assert_eq!(packs.values().copied().collect::<Vec<_>>(), [1; 13], "those of twelve days, and that of the list");
}

#[test]
fn a_file_of_deltas_reads_at_most_twice_the_whole() {
    let temp = TempDir::new().unwrap();
    // More than fits the caches at once.
    let mut days = Days::new(temp.path(), 180, 256 << 10);
    (1..4).for_each(|day| days.change(day));
    let content = days.commit();
    let (bytes, packs, read) = restore_only(temp.path(), 43);
    assert!(bytes == content);
    assert!(read < 2 * content.len() as u64, "{read} bytes of {}", content.len());
    // Once for each 12 MiB of frames that are fetched ahead.
    assert!(packs.values().all(|times| *times <= 5), "{packs:?}");
}

/// DELTA-3
#[test]
fn deltas_deeper_than_allowed_are_refused_even_where_their_bases_were_read_before() {
    for (links, accepted) in [(32, true), (33, false)] {
        let temp = TempDir::new().unwrap();
        let writer = MiniWriter::create(temp.path().to_path_buf());
        let chunks: Vec<Vec<u8>> = (0..=links).map(|n| mini_writer::noise(&n.to_string(), 60)).collect();
        let mut frames = vec![writer.whole(0, &[&chunks[0]])];
        frames.extend(chunks.windows(2).map(|pair| writer.deltas(&[(&[&pair[0]], &pair[1])])));
        writer.index(&[writer.pack(&frames)]);
        let file = |name: &str, chunks: &[Vec<u8>]| {
            let list = chunks.iter().flat_map(|chunk| writer.entry(chunk)).collect();
            MiniFile::file(name, &chunks.concat(), opaque(60 * chunks.len(), 0, list, false))
        };
        writer.snapshot(1, None, &[file("all", &chunks), file("last", &chunks[links..])]);
        let (_, repository) = open_mini(temp.path(), &Hands::new(44));
        let chosen = latest(&repository, "sessions").unwrap();
        let elsewhere = TempDir::new().unwrap();
        let restored = restore_to(&repository, &chosen, &elsewhere.path().join("out"));
        assert_eq!(restored.is_ok(), accepted, "{links} deltas in a row: {restored:?}");
        let reader = redkeep::repository::ChunkReader::new(&repository);
        for file in &chosen.snapshot.files {
            let recipe = file.content().unwrap().1;
            assert_eq!(reader.read(recipe, &mut |_| Ok(())).is_ok(), accepted, "{links} deltas in a row");
        }
    }
}

/// CHUNK-2, DELTA-1: a base is compared with its id once what was made of it is wrong; then another copy of it is taken. Where
/// there is none, nothing is restored.
#[test]
fn a_wrong_base_is_found_by_what_was_made_of_it() {
    for (seed, has_other) in [(1, true), (2, true), (3, true), (4, true), (5, false)] {
        let temp = TempDir::new().unwrap();
        let writer = MiniWriter::create(temp.path().to_path_buf());
        let noise = |of: &str| mini_writer::noise(&format!("{of} {seed}"), 600);
        let (base, wrong, mut chunk) = (noise("base"), noise("wrong"), noise("base"));
        chunk[300..332].copy_from_slice(&[7; 32]);
        let mut frame = writer.whole(0, &[&wrong]);
        frame.chunks[0].id = writer.id(&base);
        let delta = writer.deltas(&[(&[&base], &chunk)]);
        let right = has_other.then(|| writer.pack(&[writer.whole(0, &[&base])]));
        let packs: Vec<MiniPack> = [writer.pack(&[frame]), writer.pack(&[delta])].into_iter().chain(right).collect();
        writer.index(&packs);
        writer.snapshot(1, None, &[MiniFile::file("dump.rdb", &chunk, opaque(600, 0, writer.entry(&chunk), false))]);
        let (_, repository) = open_mini(temp.path(), &Hands::new(44));
        let elsewhere = TempDir::new().unwrap();
        let (chosen, out) = (latest(&repository, "sessions").unwrap(), elsewhere.path().join("out"));
        match restore_to(&repository, &chosen, &out) {
            Ok(_) => assert!(has_other && fs::read(out.join("dump.rdb")).unwrap() == chunk, "{seed}"),
            Err(error) => assert!(!has_other && format!("{error:?}").contains("WrongChunk"), "{seed}: {error:?}"),
        }
    }
}
