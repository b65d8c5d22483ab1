//! No decoder panics, allocates without bound or accepts two forms: on arbitrary bytes, and on good ones that were
//! changed.

#![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

use std::collections::BTreeMap;

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, proptest};
use proptest::sample::Index as Place;
use proptest::test_runner::RngSeed;

use super::config::{Config, Sizes};
use super::frame::Method;
use super::ids::DatasetTag;
use super::index::{Index, IndexedPack};
use super::keys::{About, Argon2Cost, Bag, SecretKind, Slot};
use super::ledger::Ledger;
use super::limits::{FILES_MAX, FOOTER_MAX, FRAME_MAX, SMALL_MAX, SNAPSHOT_MAX};
use super::list::{ListEntry, decode_list};
use super::object::{Kind, Name, SnapshotName};
use super::pack::{ChunkRow, DeltaRow, Footer, FrameRow, TRAILER, decode_trailer, encode_trailer};
use super::recipe::{Part, Stream};
use super::roster::Roster;
use super::sealing::{HEADER, Header, SEAL_OVERHEAD};
use super::session::{Condemned, Forgotten, Lease, Tombstone};
use super::snapshot::{File, FileKind, Mark, Role, Snapshot, Warning};
use super::summary::Summary;
use super::{ChunkId, Id16, Malformed, ObjectHash, UnixMillis};

/// A decoder by name: what it decodes, encoded again.
type Decoder = (&'static str, fn(&[u8]) -> Result<Vec<u8>, Malformed>);

const DECODERS: [Decoder; 15] = [
    ("header", |bytes| Header::decode(bytes).map(|(header, rest)| [&header.encode(), rest].concat())),
    ("config", |bytes| Config::decode(bytes).map(|config| config.encode())),
    ("bag", |bytes| Bag::decode(bytes).map(|bag| bag.encode().to_vec())),
    ("slot", |bytes| Slot::decode(bytes).map(|slot| slot.encode())),
    ("about", |bytes| About::decode(bytes).map(|about| about.encode())),
    ("footer", |bytes| Footer::decode(bytes).map(|footer| footer.encode())),
    ("index", |bytes| Index::decode(bytes).map(|index| index.encode())),
    ("snapshot", |bytes| Snapshot::decode(bytes).map(|snapshot| snapshot.encode())),
    ("lease", |bytes| Lease::decode(bytes).map(|lease| lease.encode())),
    ("tombstone", |bytes| Tombstone::decode(bytes).map(|tombstone| tombstone.encode())),
    ("condemned", |bytes| Condemned::decode(bytes).map(|condemned| condemned.encode())),
    ("forgotten", |bytes| Forgotten::decode(bytes).map(|forgotten| forgotten.encode())),
    ("ledger", |bytes| Ledger::decode(DatasetTag([7; 8]), bytes).map(|ledger| ledger.encode())),
    ("roster", |bytes| Roster::decode(bytes).map(|roster| roster.encode())),
    ("list", |bytes| list(bytes, true)),
];

/// Structures in which every byte counts: what is accepted is encoded the same. CBOR readers skip keys they do not know.
const EXACT: [&str; 5] = ["header", "slot", "footer", "index", "list"];

/// A list, encoded again.
fn list(bytes: &[u8], labelled: bool) -> Result<Vec<u8>, Malformed> {
    let mut encoded = Vec::new();
    decode_list(bytes, labelled)?.iter().for_each(|entry| entry.encode(&mut encoded));
    Ok(encoded)
}

fn footer() -> Footer {
    let chunk = |seed, length| ChunkRow { id: ChunkId([seed; 16]), length, delta: None };
    let delta = DeltaRow { length: 70, bases: vec![[1; 8], [2; 8]] };
    let deltas = vec![ChunkRow { delta: Some(delta), ..chunk(3, 9000) }];
    let overhead = SEAL_OVERHEAD as u32;
    let plain = vec![chunk(1, 300), chunk(2, 5)];
    Footer {
        padding: 0,
        frames: vec![
            FrameRow { method: Method::Zstd, sealed: 200, chunks: vec![chunk(4, 1 << 20), chunk(5, 70_000)] },
            FrameRow { method: Method::Plain, sealed: 305 + overhead, chunks: plain },
            FrameRow { method: Method::Delta, sealed: 70 + overhead, chunks: deltas },
        ],
    }
}

fn entries() -> Vec<ListEntry> {
    let entry = |seed: u8| ListEntry {
        id: ChunkId([seed; 16]),
        length: u32::from(seed) * 4001 + 1,
        label: Some(vec![seed; usize::from(seed)]),
    };
    (0..40).map(entry).collect()
}

fn snapshot() -> Snapshot {
    let file = |path: &str, kind| {
        let is_file = kind == FileKind::File;
        let stream = Stream { length: 80, levels: 1, top: vec![7; 70], labelled: None };
        File {
            path: path.as_bytes().to_vec().into(),
            kind,
            mode: 0o640,
            uid: 999,
            gid: 70_000,
            user: Some("redis".into()),
            group: None,
            mtime: -5,
            mtime_nanos: 7,
            size: if is_file { 160 } else { 0 },
            hash: is_file.then_some(ObjectHash([3; 32])),
            recipe: is_file.then(|| vec![Part::opaque(stream.clone()), Part::opaque(stream)]),
            target: (kind == FileKind::Link).then(|| b"x".to_vec().into()),
            role: Role::Incr,
            suspect: Some("cut".into()),
            form: None,
        }
    };
    Snapshot {
        dataset: "host:/var/lib/redis".into(),
        sequence: 300,
        previous: Some("snapshots/x".into()),
        begin: UnixMillis(1_790_000_000_000),
        end: UnixMillis(1_790_000_000_001),
        moment: Some(UnixMillis(1)),
        host: "host".into(),
        directory: b"/var/lib/redis".to_vec(),
        facts: BTreeMap::from([("rdb.version".into(), "10".into())]),
        files: vec![file("a", FileKind::Directory), file("a/b", FileKind::File), file("c", FileKind::Link)],
        marks: vec![Mark { path: b"a".to_vec().into(), offset: 4, time: UnixMillis(9) }],
        warnings: vec![Warning { code: "c".into(), path: vec![].into(), message: "m".into() }],
        tags: vec!["t".into()],
        made_by: "0".into(),
        summary: Summary { files: 1, ..Summary::default() },
        place: Some(2),
    }
}

/// One good example for each decoder, in their order.
fn examples() -> [Vec<u8>; DECODERS.len()] {
    let (id, time) = (Id16([9; 16]), UnixMillis(1_790_000_000_000));
    let header = Header { kind: Kind::Pack, epoch: 3, repository: id, salt: [5; 32] };
    let config =
        Config { repository: id, created: time, files: Sizes::FILES, buckets: Sizes::BUCKETS, made_by: "0".into() };
    let bag = Bag { chunk_id: [1; 32], key_hash: [2; 32], chunker: [3; 32], epochs: vec![[4; 32], [5; 32]] };
    let about = About { label: "first".into(), created: time, host: "alpha".into() };
    let slot = Slot {
        secret: SecretKind::KeyFile,
        cost: Argon2Cost::DEFAULT,
        commitment: [9; 32],
        wrapped: vec![1; 200],
        about: about.encode(),
    };
    let pack = IndexedPack { pack: ObjectHash([2; 32]), size: 99_999, epoch: 300, salt: [4; 32], footer: footer() };
    let lease = Lease { session: id, commit_name: "snapshots/x".into(), seen: Some(vec![id, id]), heartbeat: time };
    let name = |place| SnapshotName { tag: DatasetTag([7; 8]), place, sequence: 3, time, session: id };
    let entries_of = |places: &[u64]| places.iter().map(|place| (name(*place), time)).collect();
    let forgotten = BTreeMap::from([("retention".into(), entries_of(&[1, 2]))]);
    let ledger = Ledger { forgotten, void: entries_of(&[9]) };
    let mut list = Vec::new();
    entries().iter().for_each(|entry| entry.encode(&mut list));
    [
        [&header.encode()[..], b"rest"].concat(),
        config.encode(),
        bag.encode().to_vec(),
        slot.encode(),
        about.encode(),
        footer().encode(),
        Index { session: id, packs: vec![pack.clone(), pack] }.encode(),
        snapshot().encode(),
        lease.encode(),
        Tombstone { session: id, time }.encode(),
        Condemned { session: id, packs: vec![ObjectHash([1; 32]); 3] }.encode(),
        Forgotten { snapshot: "snapshots/x".into(), time, reason: "retention".into() }.encode(),
        ledger.encode(),
        Roster {
            snapshots: BTreeMap::from(
                [(name(1), Snapshot { sequence: 3, place: Some(1), ..snapshot() })]
                    .map(|(name, of)| (name, Roster::shown(&of))),
            ),
        }
        .encode(),
        list,
    ]
}

/// Bytes with some of them changed, left out, doubled or made up.
fn changed(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<Place>(), any::<u8>(), 0..5u8);
    (Just(good), prop::collection::vec(change, 1..6)).prop_map(|(mut bytes, changes)| {
        for (place, value, how) in changes {
            let place = place.index(bytes.len().max(1)).min(bytes.len());
            match how {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, value),
                2 => drop(bytes.splice(place..place, [0xff; 9])),
                3 if place < bytes.len() => drop(bytes.remove(place)),
                _ if place < bytes.len() => bytes[place] ^= value,
                _ => {}
            }
        }
        bytes
    })
}

/// Decodes, and holds the decoder to its one form.
fn decode(number: usize, bytes: &[u8]) {
    let (name, decode) = DECODERS[number];
    let Ok(encoded) = decode(bytes) else { return };
    match EXACT.contains(&name) {
        true => assert!(encoded == bytes, "{name} has two forms"),
        false => assert_eq!(decode(&encoded), Ok(encoded), "{name} does not read what it writes"),
    }
}

/// CONV-3, CONV-4
#[test]
fn every_example_is_read_and_its_every_beginning_is_not() {
    for (number, example) in examples().iter().enumerate() {
        let (name, decode) = DECODERS[number];
        assert_eq!(decode(example).as_ref(), Ok(example), "{name}");
        // A header ends where its object goes on; a slot's last field and a list have no end of their own.
        let shortest = if name == "header" { HEADER } else { example.len() };
        let (open_ended, ends) = (["slot", "list"].contains(&name), 0..shortest);
        assert!(open_ended || ends.into_iter().all(|cut| decode(&example[..cut]).is_err()), "{name}");
        let grown = [&example[..], &[0]].concat();
        assert!(decode(&grown).is_err() || ["header", "slot"].contains(&name), "{name}");
    }
}

fn refusal<T: std::fmt::Debug>(decoded: Result<T, Malformed>) -> String {
    decoded.expect_err("refused").to_string()
}

/// At a bound nothing is refused, one above it is.
///
/// LIMIT-1
#[test]
fn what_is_longer_than_its_bound_is_refused_and_what_is_as_long_is_not() {
    let directory = snapshot().files.remove(0);
    let path = |number: usize| format!("{number:06}").into_bytes().into();
    let of =
        |count| -> Vec<File> { (0..count).map(|number| File { path: path(number), ..directory.clone() }).collect() };
    let mut many = Snapshot { files: of(FILES_MAX), marks: vec![], ..snapshot() };
    assert_eq!(many.check(), Ok(()));
    many.files.push(File { path: path(FILES_MAX), ..directory.clone() });
    assert!(refusal(many.check()).contains("above FILES_MAX"));
    assert!(refusal(Snapshot::decode(&many.encode())).contains("more files than FILES_MAX"));
    assert!(refusal(Snapshot::decode(&vec![0; SNAPSHOT_MAX as usize + 1])).contains("longer than SNAPSHOT_MAX"));

    let mut slot = Slot {
        secret: SecretKind::Password,
        cost: Argon2Cost { memory: 65536, passes: 3, lanes: 4 },
        commitment: [1; 32],
        wrapped: vec![2; 100],
        about: vec![],
    };
    slot.about = vec![3; SMALL_MAX as usize - HEADER - slot.encode().len()];
    assert_eq!(Slot::decode(&slot.encode()).as_ref(), Ok(&slot));
    slot.about.push(3);
    assert!(refusal(Slot::decode(&slot.encode())).contains("longer than SMALL_MAX"));

    let mut frame = FrameRow { method: Method::Zstd, sealed: 200, chunks: vec![] };
    let beside = footer().frames.remove(0);
    let decode =
        |frame: &FrameRow| Footer::decode(&Footer { padding: 0, frames: vec![frame.clone(), beside.clone()] }.encode());
    assert!(refusal(decode(&frame)).contains("without chunks"));
    let chunk = |seed, length| ChunkRow { id: ChunkId([seed; 16]), length, delta: None };
    frame.chunks = (0..4).map(|seed| chunk(seed, FRAME_MAX as u32 / 4)).collect();
    assert!(decode(&frame).is_ok());
    frame.chunks.push(chunk(4, 1));
    assert!(refusal(decode(&frame)).contains("above FRAME_MAX"));
    assert!(refusal(Footer::decode(&vec![0; FOOTER_MAX as usize + 1])).contains("longer than FOOTER_MAX"));
    let least = (HEADER + TRAILER) as u64 + 500;
    assert_eq!(decode_trailer(&encode_trailer(500), least), Ok(500));
    assert!(decode_trailer(&encode_trailer(500), least - 1).is_err());
}

/// A number that is understood is not always one that is written so.
#[test]
fn the_name_of_an_epoch_is_ten_digits() {
    assert_eq!(Name::parse("epochs/0000000012"), Some(Name::Epoch(12)));
    for other in ["epochs/+000000012", "epochs/000000012", "epochs/00000000012", "epochs/000000001x"] {
        assert_eq!(Name::parse(other), None, "{other}");
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn arbitrary_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        (0..DECODERS.len()).for_each(|number| decode(number, &bytes));
        drop(list(&bytes, false));
        drop(decode_trailer(&bytes, bytes.len() as u64));
    }

    #[test]
    fn changed_bytes_are_refused_or_read(
        (number, bytes) in (0..DECODERS.len()).prop_flat_map(|n| (Just(n), changed(examples()[n].clone())))
    ) {
        decode(number, &bytes);
    }

    /// PACK-3
    #[test]
    fn a_changed_trailer_is_refused_or_the_same(bytes in changed(encode_trailer(500).to_vec()), size in 0u64..1000) {
        if let Ok(length) = decode_trailer(&bytes, size) {
            assert_eq!(encode_trailer(length)[..], bytes);
            assert!(u64::from(length) < size);
        }
    }

    #[test]
    fn names_are_read_back_or_nobodys(text in "(config|keys|packs|index|snapshots|leases|x)?(/|-|[0-9a-fA-F]{1,17}){0,6}") {
        if let Some(name) = Name::parse(&text) {
            assert_eq!(name.to_string(), text);
        }
        assert!(SnapshotName::parse(&text).is_none_or(|name| name.to_string() == text));
    }
}
