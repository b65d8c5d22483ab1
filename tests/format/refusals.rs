//! Repositories that are sealed as they should be and break one rule inside.

use std::fs;

use tempfile::TempDir;

use crate::reading::{read_all, sample};
use crate::second_reader::SecondReader;
use crate::support::mini_writer::{
    self, MiniChunk, MiniFile, MiniFrame, MiniPack, MiniStream, MiniWriter, PACK, PASSWORD, TOMBSTONE, footer, hex,
    noise, opaque, recipe, varint,
};

/// How many files are read of a repository that `write` fills, or what either way of opening it complains of.
fn verdict(write: impl FnOnce(&MiniWriter)) -> Result<usize, String> {
    let root = TempDir::new().unwrap();
    write(&MiniWriter::create(root.path().to_path_buf()));
    let by_footers = read_all(SecondReader::open_from_footers(root.path(), PASSWORD));
    match read_all(SecondReader::open(root.path(), PASSWORD)) {
        Ok(files) if by_footers.as_ref() == Ok(&files) => Ok(files.len()),
        by_index => Err(format!("{:?} and {:?}", by_index.err(), by_footers.err())),
    }
}

fn refused(reason: &str, write: impl FnOnce(&MiniWriter)) {
    let error = verdict(write).unwrap_err();
    assert!(error.contains(reason), "{error:?} does not say {reason:?}");
}

/// A snapshot of one file with this recipe.
fn one_file(writer: &MiniWriter, content: &[u8], recipe: Vec<u8>) {
    writer.snapshot(1, None, &[MiniFile::file("dump.rdb", content, recipe)]);
}

/// A file that is one chunk, stored in `pack`.
fn one_chunk(writer: &MiniWriter, chunk: &[u8], packs: &[MiniPack]) {
    writer.index(packs);
    one_file(writer, chunk, opaque(chunk.len(), 0, writer.entry(chunk), false));
}

fn footer_refused(reason: &str, change: impl Fn(&mut Vec<MiniFrame>, &mut Vec<u8>)) {
    let chunk = noise("chunk", 50);
    refused(reason, |writer| {
        let mut frames = vec![writer.whole(0, &[&chunk])];
        let mut table = footer(3, &frames);
        change(&mut frames, &mut table);
        one_chunk(writer, &chunk, &[writer.pack_as(&frames, table, 3)]);
    });
}

/// PACK-1 PACK-6 FRAME-1 FRAME-3 CONV-2 CONV-3
#[test]
fn footers_that_break_a_rule_are_refused() {
    footer_refused("leftover", |_, table| table.push(0));
    footer_refused("do not fill", |_, table| table[0] = 4);
    footer_refused("too early", |_, table| table[1] = 2);
    footer_refused("unknown frame method 5", |_, table| table[2] = 5);
    footer_refused("holds chunks of", |_, table| table[3] -= 1);
    footer_refused("without chunks", |_, table| table[4] = 0);
    footer_refused("a chunk of 0 bytes", |_, table| table[21] = 0);
    footer_refused("longer than it need be", |_, table| drop(table.splice(0..1, [0x83, 0])));
    footer_refused("does not fit", |_, table| drop(table.splice(0..1, [[0xff; 9].as_slice(), &[2]].concat())));
    footer_refused("more than 4194304", |frames, table| {
        let chunk = MiniChunk { id: [1; 16], length: 1 << 20, delta: None };
        frames[0].chunks = vec![chunk; 5];
        *table = footer(3, frames);
    });
}

/// PACK-3 OBJ-2
#[test]
fn a_trailer_whose_lengths_differ_is_refused() {
    let root = TempDir::new().unwrap();
    let writer = MiniWriter::create(root.path().to_path_buf());
    let chunk = noise("chunk", 50);
    let pack = writer.pack(&[writer.whole(0, &[&chunk])]);
    let name = format!("packs/{}/{}", hex(&pack.name[..1]), hex(&pack.name));
    let mut object = fs::read(root.path().join(&name)).unwrap();
    let last = object.len() - 4;
    object[last] ^= 1;
    fs::remove_file(root.path().join(name)).unwrap();
    one_chunk(&writer, &chunk, &[writer.put_pack(&object, pack.footer)]);
    for open in [SecondReader::open, SecondReader::open_from_footers] {
        assert!(read_all(open(root.path(), PASSWORD)).unwrap_err().contains("trailer"));
    }
}

/// SEAL-3 SEAL-5
#[test]
fn frames_are_opened_only_where_they_were_sealed() {
    let [chunk, other] = [noise("chunk", 50), noise("other", 50)];
    // A flipped bit, and two frames of the same length in each other's place.
    let flip: fn(&mut [u8]) = |object| object[64 + 30] ^= 1;
    let swap: fn(&mut [u8]) = |object| object[64..64 + 180].rotate_left(90);
    for change in [flip, swap] {
        refused("frame 0: authentication failed", |writer| {
            let pack = writer.pack(&[writer.whole(0, &[&chunk]), writer.whole(0, &[&other])]);
            let name = writer.root.join(format!("packs/{}/{}", hex(&pack.name[..1]), hex(&pack.name)));
            let mut object = fs::read(&name).unwrap();
            fs::remove_file(name).unwrap();
            change(&mut object);
            one_chunk(writer, &chunk, &[writer.put_pack(&object, pack.footer)]);
        });
    }
}

/// INDEX-2
#[test]
fn an_index_that_differs_from_the_footer_is_refused() {
    let chunk = noise("chunk", 50);
    refused("does not repeat the footer", |writer| {
        let mut pack = writer.pack(&[writer.whole(0, &[&chunk, b"second"])]);
        // Same sums, other id for the second chunk.
        pack.footer[25] ^= 1;
        one_chunk(writer, &chunk, &[pack]);
    });
    refused("do not fill", |writer| {
        let mut pack = writer.pack(&[writer.whole(0, &[&chunk])]);
        pack.size += 1;
        one_chunk(writer, &chunk, &[pack]);
    });
}

/// FRAME-2 CHUNK-2
#[test]
fn frames_that_decode_to_something_else_are_refused() {
    let chunk = noise("chunk", 50);
    let changed = |reason: &str, method, change: &dyn Fn(&mut MiniFrame)| {
        refused(reason, |writer| {
            let mut frame = writer.whole(method, &[&chunk]);
            change(&mut frame);
            one_chunk(writer, &chunk, &[writer.pack(&[frame])]);
        });
    };
    changed("not what its id says", 0, &|frame| frame.plaintext[0] ^= 1);
    changed("too few", 1, &|frame| frame.chunks.push(MiniChunk { id: [0; 16], length: 1, delta: None }));
    changed("zstd", 1, &|frame| frame.chunks[0].length -= 1);
    changed("not one zstd frame", 1, &|frame| frame.plaintext.extend(frame.plaintext.clone()));
    changed("not one zstd frame", 1, &|frame| frame.plaintext[0] ^= 1);
    changed("bytes of columns for 50 of rows", 4, &|frame| frame.plaintext[0] = 51);
    changed("rows of another length than promised", 4, &|frame| {
        frame.plaintext = [vec![5], mini_writer::zstd(&[1, 0, 0, 0, 0])].concat();
    });
}

/// Chunks of which each is a delta of the one before it.
fn chain(writer: &MiniWriter, links: usize) {
    let chunks: Vec<Vec<u8>> = (0..=links).map(|n| noise(&n.to_string(), 60)).collect();
    let mut frames = vec![writer.whole(0, &[&chunks[0]])];
    frames.extend(chunks.windows(2).map(|pair| writer.deltas(&[(&[&pair[0]], &pair[1])])));
    one_chunk(writer, &chunks[links], &[writer.pack(&frames)]);
}

/// A tree of deltas of two bases over `width` whole chunks: 2 * width - 2 chunks are the closure of the last one.
fn bush(writer: &MiniWriter, width: usize) {
    let mut frames = Vec::new();
    let mut level: Vec<Vec<u8>> = (0..width).map(|n| noise(&n.to_string(), 60)).collect();
    frames.push(writer.whole(0, &level.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    while level.len() > 1 {
        let above: Vec<Vec<u8>> = level.chunks(2).map(|pair| noise(&hex(&pair[0]), 60)).collect();
        for (pair, chunk) in level.chunks(2).zip(&above) {
            frames.push(writer.deltas(&[(&[&pair[0], &pair[1]], chunk)]));
        }
        level = above;
    }
    one_chunk(writer, &level[0], &[writer.pack(&frames)]);
}

/// DELTA-3
#[test]
fn depth_and_closure_are_bounded() {
    assert_eq!(verdict(|writer| chain(writer, 32)), Ok(1));
    refused("deeper than 32", |writer| chain(writer, 33));
    assert_eq!(verdict(|writer| bush(writer, 32)), Ok(1));
    refused("a closure of 126 chunks", |writer| bush(writer, 64));
}

/// DELTA-3 DELTA-4
#[test]
fn a_delta_never_precedes_its_base() {
    let [base, chunk] = [noise("base", 60), noise("chunk", 60)];
    refused("is not stored before its delta", |writer| {
        let frames = [writer.deltas(&[(&[&base], &chunk)]), writer.whole(0, &[&base])];
        one_chunk(writer, &chunk, &[writer.pack(&frames)]);
    });
    refused("is its own base", |writer| {
        let packs = [(&base, &chunk), (&chunk, &base)].map(|(from, to)| {
            let frame = writer.deltas(&[(&[from], to)]);
            writer.pack(&[frame])
        });
        one_chunk(writer, &chunk, &packs);
    });
}

/// DELTA-2
#[test]
fn an_ambiguous_base_is_settled_by_the_chunk_id() {
    let base = noise("base", 60);
    let chunk = [base.as_slice(), &noise("more", 9)].concat();
    for change in [1, 0x80] {
        let read = verdict(|writer| {
            let mut frame = writer.whole(0, &[&base, b"other"]);
            // A second id with the base's first bytes, before or after it in id order.
            frame.chunks[1].id = writer.id(&base);
            frame.chunks[1].id[15] ^= change;
            one_chunk(writer, &chunk, &[writer.pack(&[frame, writer.deltas(&[(&[&base], &chunk)])])]);
        });
        assert_eq!(read, Ok(1));
    }
}

/// STREAM-2 RECIPE-1 RECIPE-2 CHUNK-2 SNAP-5
#[test]
fn lengths_and_hashes_that_disagree_are_refused() {
    let chunk = noise("chunk", 50);
    let short = &chunk[1..];
    let stored = |writer: &MiniWriter| writer.index(&[writer.pack(&[writer.whole(0, &[&chunk, short])])]);
    let with = |reason: &str, build: &dyn Fn(&MiniWriter) -> Vec<u8>| {
        refused(reason, |writer| {
            stored(writer);
            one_file(writer, &chunk, build(writer));
        });
    };
    let stream = |length, top| MiniStream { length, levels: 0, top, labelled: false };
    with("parts do not add up", &|w| recipe(&[(0, 49, stream(49, w.entry(short)))]));
    with("not one stream of its length", &|w| recipe(&[(0, 50, stream(49, w.entry(short)))]));
    with("list do not add up", &|w| opaque(50, 0, w.entry(short), false));
    with("is not 50 bytes long", &|w| opaque(50, 0, [&w.id(short)[..], &[50]].concat(), false));
    with("a chunk of 0 bytes", &|w| opaque(50, 0, [&w.id(short)[..], &[0]].concat(), false));
    with("ends too early", &|w| opaque(50, 0, w.entry(&chunk)[..16].to_vec(), false));
    with("ends too early", &|w| opaque(50, 0, w.entry(&chunk), true));
    with("a label of 257 bytes", &|w| opaque(50, 0, w.labelled_entry(&chunk, &[1; 257]), true));
    with("a top list of 1025 bytes", &|_| opaque(50, 0, vec![0; 1025], false));
    with("5 is more than 4", &|w| opaque(50, 5, w.entry(&chunk), false));
    with("method 1 (canonical RDB)", &|w| recipe(&[(1, 50, stream(50, w.entry(&chunk)))]));
    with("method 7", &|w| recipe(&[(7, 50, stream(50, w.entry(&chunk)))]));
    refused("what its hash says", |writer| {
        stored(writer);
        let file = MiniFile::file("dump.rdb", short, opaque(50, 0, writer.entry(&chunk), false));
        writer.snapshot(1, None, &[MiniFile { size: 50, ..file }]);
    });
}

/// LIST-1 LIST-2
#[test]
fn chunks_of_a_list_that_are_not_what_is_said_of_them_are_refused() {
    let chunk = noise("chunk", 50);
    let with = |label: Option<&[u8]>, list: &dyn Fn(&MiniWriter) -> Vec<u8>| {
        verdict(|writer| {
            let list = list(writer);
            writer.index(&[writer.pack(&[writer.whole(0, &[&chunk, &list])])]);
            let upper = match label {
                Some(label) => writer.labelled_entry(&list, label),
                None => writer.entry(&list),
            };
            one_file(writer, &chunk, opaque(50, 1, upper, label.is_some()));
        })
    };
    assert_eq!(with(None, &|w| w.entry(&chunk)), Ok(1));
    assert_eq!(with(Some(b"a"), &|w| w.labelled_entry(&chunk, b"a")), Ok(1));
    assert!(with(Some(b"a"), &|w| w.labelled_entry(&chunk, b"b")).unwrap_err().contains("not what is said of it"));
    assert!(with(None, &|w| w.entry(&chunk)[..16].to_vec()).unwrap_err().contains("ends too early"));
    assert!(with(None, &|w| [w.entry(&chunk), vec![7]].concat()).unwrap_err().contains("ends too early"));
}

/// OBJ-6
#[test]
fn another_draft_of_the_format_is_refused() {
    for draft in [None, Some(2), Some(3), Some(5)] {
        refused("draft", |writer| writer.config_of_draft([16384, 65536, 262144], draft));
    }
}

/// RECIPE-1
#[test]
fn parts_are_put_together_in_order() {
    let [first, second] = [noise("first", 30), noise("second", 20)];
    let read = verdict(|writer| {
        writer.index(&[writer.pack(&[writer.whole(1, &[&second, &first])])]);
        let parts = [&first, &second].map(|part| {
            let length = part.len() as u64;
            (0, length, MiniStream { length, levels: 0, top: writer.entry(part), labelled: false })
        });
        one_file(writer, &[first.as_slice(), &second].concat(), recipe(&parts));
    });
    assert_eq!(read, Ok(1));
}

/// SNAP-4
#[test]
fn paths_that_leave_the_directory_are_refused() {
    let with = |reason: &str, paths: &[&str]| {
        let files: Vec<MiniFile> = paths.iter().map(|path| MiniFile::link(path, "x")).collect();
        refused(reason, |writer| writer.snapshot(1, None, &files));
    };
    for path in ["", "/etc", "..", "a/..", "./a", "a//b", "a/", "a\0b", &"x".repeat(4097)] {
        with("leaves the directory", &[path]);
    }
    with("not below a directory", &["a/b"]);
    with("not below a directory", &["a", "a/b"]);
    with("not unique", &["a", "a"]);
    with("not unique", &["b", "a"]);
    refused("do not go with its kind", |writer| {
        let file = MiniFile { target: None, ..MiniFile::link("a", "b") };
        writer.snapshot(1, None, &[file]);
    });
}

/// SNAP-9
#[test]
fn configuration_elsewhere_than_below_its_directory_is_refused() {
    let of_config = |path: &str| MiniFile { role: 7, ..MiniFile::directory(path) };
    let below = [of_config(".redkeep-config"), of_config(".redkeep-config/etc")];
    verdict(|writer| writer.snapshot(1, None, &below)).unwrap();
    for path in ["etc", ".redkeep-configuration"] {
        refused("configuration at", |writer| writer.snapshot(1, None, &[of_config(path)]));
    }
}

/// SEAL-1 SEAL-5
#[test]
fn objects_under_a_name_that_is_not_theirs_are_refused() {
    let root = TempDir::new().unwrap();
    let writer = sample(root.path());
    let read = || read_all(SecondReader::open(root.path(), PASSWORD)).unwrap_err();
    let [from, to] = [writer.snapshot_name(4), writer.snapshot_name(7)];
    let object = fs::read(root.path().join(from)).unwrap();
    writer.put(&to, &object);
    assert!(read().contains("authentication failed"), "a snapshot under another name");
    for (place, reason) in [(0, "not a redkeep object"), (7, "kind"), (8, "format version"), (16, "another repository")]
    {
        let mut changed = object[..object.len() - 32].to_vec();
        changed[place] ^= 1 << 4;
        let hash = *blake3::hash(&changed).as_bytes();
        writer.put(&to, &[changed.as_slice(), &hash].concat());
        assert!(read().contains(reason), "{reason}");
    }
    writer.put_hashed(&to, PACK, b"");
    assert!(read().contains("kind 3 does not belong"));
    writer.put_hashed(&to, TOMBSTONE, b"\xa0");
    assert!(read().contains("field 0 is missing"));
}

/// CONV-4
#[test]
fn cbor_is_read_as_numbered() {
    let tombstone = |plaintext: &[u8]| verdict(|w| w.put_hashed(&w.snapshot_name(1), TOMBSTONE, plaintext));
    let session = [&[0, 0x50], [5u8; 16].as_slice()].concat();
    assert_eq!(tombstone(&[&[0xa2], session.as_slice(), &[1, 5]].concat()), Ok(0));
    assert_eq!(tombstone(&[&[0xa3], session.as_slice(), &[1, 5, 2, 0x81, 0xa0]].concat()), Ok(0));
    for wrong in [
        [&[0xa1], session.as_slice()].concat(),
        [&[0xa2, 1, 5], session.as_slice()].concat(),
        [&[0xa3], session.as_slice(), &[1, 5, 1, 5]].concat(),
        [&[0xbf], session.as_slice(), &[1, 5, 0xff]].concat(),
        [&[0xa2], session.as_slice(), &[1, 5, 0]].concat(),
        [&[0xa2], session.as_slice(), &[1, 0x20]].concat(),
    ] {
        assert!(tombstone(&wrong).is_err(), "{}", hex(&wrong));
    }
}

/// OBJ-5
#[test]
fn chunk_sizes_out_of_bounds_are_refused() {
    let sizes = |files: [u64; 3]| verdict(|w| w.config(files));
    assert_eq!(sizes([64, 128, 1 << 20]), Ok(0));
    for wrong in [[62, 128, 256], [65, 128, 256], [64, 130, 256], [256, 128, 64], [64, 128, (1 << 20) + 2]] {
        assert!(sizes(wrong).is_err(), "{wrong:?}");
    }
}

/// KEY-6
#[test]
fn argon2_costs_out_of_bounds_are_refused_before_they_are_paid() {
    let root = TempDir::new().unwrap();
    sample(root.path());
    let name = root.path().join("keys/00112233445566778899aabbccddeeff");
    let whole = fs::read(&name).unwrap();
    for costs in [[4_194_305, 1, 1], [64, 65, 1], [256, 1, 17], [64, 0, 1], [64, 1, 0], [7, 1, 1]] {
        let mut changed = whole.clone();
        changed[65..77].copy_from_slice(&costs.map(u32::to_le_bytes).concat());
        fs::write(&name, changed).unwrap();
        let error = read_all(SecondReader::open(root.path(), PASSWORD)).unwrap_err();
        assert!(error.contains("out of bounds"), "{costs:?}: {error}");
    }
}

/// CONV-2
#[test]
fn varints_of_every_length_are_written_in_the_fewest_bytes() {
    for (value, bytes) in [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (u64::MAX, "ffffffffffffffffff01")] {
        assert_eq!(hex(&varint(value)), bytes);
    }
}
