//! A note: what a check found, a loss that was recorded, or what a drill showed. Layout: format-spec/15-notes.md.

use super::ids::{ChunkId, KeysDigest, ObjectHash, UnixMillis};
use super::limits::FAULT_MAX;
use super::object::{Name, SnapshotName};
use super::{Malformed, decode_cbor, encode_cbor};

const CHECK: u64 = 1;
const LOSS: u64 = 2;
const DRILL: u64 = 3;

/// A note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When it was written, by the writer's clock.
    pub time: UnixMillis,
    /// Where.
    pub host: String,
    /// What it says.
    pub body: Body,
}

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Packs that were read, by their names.
    Check(Vec<Read>),
    /// What is lost.
    Loss(Loss),
    /// What a server made of a snapshot.
    Drill(Drill),
    /// Something that this version does not know; never written.
    Other(u64),
}

/// A pack that was read.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Read {
    /// The pack.
    #[n(0)]
    pub pack: ObjectHash,
    /// What is wrong with it.
    #[n(1)]
    pub fault: Option<String>,
}

/// What is lost, and is to be lived with. Each list ascends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loss {
    /// Packs that are missing, cut short or damaged.
    pub packs: Vec<ObjectHash>,
    /// Chunks that readable snapshots need and that cannot be had from any pack.
    pub chunks: Vec<ChunkId>,
    /// Full names of objects that are missing or cannot be read.
    pub objects: Vec<String>,
}

/// What a server made of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drill {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// The server, as `Redis 7.0.15`.
    pub server: String,
    /// Keys it held.
    pub keys: u64,
    /// Why it failed; without that it passed.
    pub fault: Option<String>,
    /// What tells its data apart, where it passed.
    pub digest: Option<KeysDigest>,
}

#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct Fields {
    #[n(0)]
    sort: u64,
    #[n(1)]
    time: UnixMillis,
    #[n(2)]
    host: String,
    #[n(3)]
    reads: Option<Vec<Read>>,
    #[n(4)]
    packs: Option<Vec<ObjectHash>>,
    #[n(5)]
    chunks: Option<Vec<ChunkId>>,
    #[n(6)]
    objects: Option<Vec<String>>,
    #[n(7)]
    snapshot: Option<String>,
    #[n(8)]
    server: Option<String>,
    #[n(9)]
    keys: Option<u64>,
    #[n(10)]
    fault: Option<String>,
    #[n(11)]
    digest: Option<KeysDigest>,
}

impl Fields {
    fn new(sort: u64, time: UnixMillis, host: String) -> Fields {
        let (reads, packs, chunks, objects) = (None, None, None, None);
        let (snapshot, server, keys, fault, digest) = (None, None, None, None, None);
        Fields { sort, time, host, reads, packs, chunks, objects, snapshot, server, keys, fault, digest }
    }
}

/// Text cut to what a note may say.
fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(FAULT_MAX)).unwrap_or_default().to_string()
}

impl Read {
    /// A pack and what is wrong with it, cut to what a note may say.
    pub fn new(pack: ObjectHash, fault: Option<&str>) -> Read {
        Read { pack, fault: fault.map(cut) }
    }
}

impl Loss {
    /// Whether nothing is lost.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.chunks.is_empty() && self.objects.is_empty()
    }
}

impl Note {
    /// CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let Note { time, host, body } = self.clone();
        let fields = |sort| Fields::new(sort, time, host);
        encode_cbor(&match body {
            Body::Check(reads) => Fields { reads: Some(reads), ..fields(CHECK) },
            Body::Loss(Loss { packs, chunks, objects }) => {
                Fields { packs: Some(packs), chunks: Some(chunks), objects: Some(objects), ..fields(LOSS) }
            }
            Body::Drill(Drill { snapshot, server, keys, fault, digest }) => {
                let snapshot = Some(Name::Snapshot(snapshot).to_string());
                Fields { snapshot, server: Some(server), keys: Some(keys), fault, digest, ..fields(DRILL) }
            }
            Body::Other(sort) => fields(sort),
        })
    }

    /// The same, read back and checked.
    ///
    /// NOTE-2: each sort has its fields, in order; a sort that is not known says nothing.
    pub fn decode(bytes: &[u8]) -> Result<Note, Malformed> {
        let fields: Fields = decode_cbor("note", bytes)?;
        let (time, host) = (fields.time, fields.host.clone());
        let body = match fields.sort {
            CHECK => fields.reads.map(|reads| checked_reads(reads).map(Body::Check)),
            LOSS => fields
                .packs
                .zip(fields.chunks)
                .zip(fields.objects)
                .map(|((packs, chunks), objects)| Loss { packs, chunks, objects }.checked().map(Body::Loss)),
            DRILL => fields.snapshot.zip(fields.server).zip(fields.keys).map(|((snapshot, server), keys)| {
                Drill::checked(&snapshot, server, keys, fields.fault, fields.digest).map(Body::Drill)
            }),
            other => Some(Ok(Body::Other(other))),
        };
        let body = body.ok_or_else(|| Malformed::new("note", "it lacks a field of its sort"))??;
        Ok(Note { time, host, body })
    }
}

impl Drill {
    /// A drill, its texts cut to what a note may say.
    pub fn new(
        snapshot: SnapshotName,
        server: &str,
        keys: u64,
        fault: Option<&str>,
        digest: Option<KeysDigest>,
    ) -> Drill {
        let digest = digest.filter(|_| fault.is_none());
        Drill { snapshot, server: cut(server), keys, fault: fault.map(cut), digest }
    }

    /// NOTE-9: a drill names a snapshot, and one that failed has no digest.
    fn checked(
        snapshot: &str,
        server: String,
        keys: u64,
        fault: Option<String>,
        digest: Option<KeysDigest>,
    ) -> Result<Drill, Malformed> {
        let snapshot = SnapshotName::parse(snapshot)
            .ok_or_else(|| Malformed::new("note", "a drill of something that is no snapshot"))?;
        if server.len() > FAULT_MAX || fault.as_ref().is_some_and(|fault| fault.len() > FAULT_MAX) {
            return Err(Malformed::new("note", "a text of a drill takes more than FAULT_MAX bytes"));
        }
        match fault.is_some() && digest.is_some() {
            true => Err(Malformed::new("note", "a drill that failed has a digest")),
            false => Ok(Drill { snapshot, server, keys, fault, digest }),
        }
    }
}

fn checked_reads(reads: Vec<Read>) -> Result<Vec<Read>, Malformed> {
    ascending(reads.iter().map(|read| read.pack))?;
    match reads.iter().flat_map(|read| &read.fault).all(|fault| fault.len() <= FAULT_MAX) {
        true => Ok(reads),
        false => Err(Malformed::new("note", "what is wrong with a pack takes more than FAULT_MAX bytes")),
    }
}

impl Loss {
    fn checked(self) -> Result<Loss, Malformed> {
        ascending(self.packs.iter())?;
        ascending(self.chunks.iter())?;
        ascending(self.objects.iter())?;
        match self.objects.iter().all(|name| Name::parse(name).is_some()) {
            true => Ok(self),
            false => Err(Malformed::new("note", "a lost object whose name is none")),
        }
    }
}

fn ascending<T: PartialOrd>(items: impl Iterator<Item = T>) -> Result<(), Malformed> {
    match items.is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => Err(Malformed::new("note", "a list that does not ascend")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(body: Body) -> Note {
        Note { time: UnixMillis(1_790_000_000_000), host: "alpha".into(), body }
    }

    fn loss() -> Loss {
        Loss {
            packs: vec![ObjectHash([1; 32]), ObjectHash([2; 32])],
            chunks: vec![ChunkId([3; 16]), ChunkId([4; 16])],
            objects: vec!["config".into(), format!("index/{}", ObjectHash([5; 32]))],
        }
    }

    fn drill() -> Drill {
        let tag = crate::format::ids::DatasetTag([1; 8]);
        let snapshot =
            SnapshotName { tag, place: 1, sequence: 1, time: UnixMillis(7), session: crate::format::Id16([2; 16]) };
        Drill::new(snapshot, "Redis 7.0.15", 12, None, Some(KeysDigest([3; 20])))
    }

    /// NOTE-9
    #[test]
    fn a_drill_that_failed_has_no_digest() {
        assert_eq!(Drill::new(drill().snapshot, "x", 0, Some("y"), drill().digest).digest, None);
        let both = Drill { fault: Some("y".into()), ..drill() };
        assert!(Note::decode(&note(Body::Drill(both)).encode()).is_err());
        let told = |server: usize, fault: usize| {
            let (server, fault) = ("x".repeat(server), Some("y".repeat(fault)));
            Note::decode(&note(Body::Drill(Drill { server, fault, digest: None, ..drill() })).encode())
        };
        assert!(told(FAULT_MAX, FAULT_MAX).is_ok());
        assert!(told(FAULT_MAX + 1, 0).is_err() && told(0, FAULT_MAX + 1).is_err());
    }

    /// NOTE-2
    #[test]
    fn a_note_comes_back_as_written_and_every_cut_is_refused() {
        let whole = Read::new(ObjectHash([1; 32]), None);
        let damaged = Read::new(ObjectHash([2; 32]), Some("it is missing"));
        let bodies = [
            Body::Check(vec![]),
            Body::Check(vec![whole, damaged]),
            Body::Loss(Loss::default()),
            Body::Loss(loss()),
            Body::Drill(drill()),
            Body::Drill(Drill { fault: Some("it came up empty".into()), digest: None, ..drill() }),
            Body::Other(9),
        ];
        for body in bodies {
            let bytes = note(body.clone()).encode();
            assert_eq!(Note::decode(&bytes), Ok(note(body)));
            for cut in 0..bytes.len() {
                assert!(Note::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    /// NOTE-2
    #[test]
    fn lists_out_of_order_and_names_that_are_none_are_refused() {
        let reads = |packs: [u8; 2]| packs.map(|pack| Read::new(ObjectHash([pack; 32]), None)).to_vec();
        let long = Read { pack: ObjectHash([1; 32]), fault: Some("x".repeat(FAULT_MAX + 1)) };
        let bad = [
            Body::Check(reads([2, 1])),
            Body::Check(reads([1, 1])),
            Body::Check(vec![long]),
            Body::Loss(Loss { packs: vec![ObjectHash([1; 32]); 2], ..loss() }),
            Body::Loss(Loss { chunks: vec![ChunkId([1; 16]); 2], ..loss() }),
            Body::Loss(Loss { objects: vec!["index/x".into()], ..loss() }),
            Body::Loss(Loss { objects: vec!["config".into(); 2], ..loss() }),
        ];
        for body in bad {
            assert!(Note::decode(&note(body.clone()).encode()).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_long_fault_is_cut_between_letters() {
        let read = Read::new(ObjectHash([1; 32]), Some(&"é".repeat(FAULT_MAX)));
        assert_eq!(read.fault.unwrap().len(), FAULT_MAX);
    }
}
