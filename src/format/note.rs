//! A note: what a check found, or a loss that was recorded. Layout: format-spec/15-notes.md.

use super::ids::{ChunkId, ObjectHash, UnixMillis};
use super::limits::FAULT_MAX;
use super::object::Name;
use super::{Malformed, decode_cbor, encode_cbor};

const CHECK: u64 = 1;
const LOSS: u64 = 2;

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
}

impl Read {
    /// A pack and what is wrong with it, cut to what a note may say.
    pub fn new(pack: ObjectHash, fault: Option<&str>) -> Read {
        let cut = |fault: &str| fault.get(..fault.floor_char_boundary(FAULT_MAX)).unwrap_or_default().to_string();
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
        let mut fields = Fields { sort: 0, time, host, reads: None, packs: None, chunks: None, objects: None };
        match body {
            Body::Check(reads) => (fields.sort, fields.reads) = (CHECK, Some(reads)),
            Body::Loss(Loss { packs, chunks, objects }) => {
                (fields.sort, fields.packs) = (LOSS, Some(packs));
                (fields.chunks, fields.objects) = (Some(chunks), Some(objects));
            }
            Body::Other(sort) => fields.sort = sort,
        }
        encode_cbor(&fields)
    }

    /// The same, read back and checked.
    ///
    /// NOTE-2: each sort has its fields, in order; a sort that is not known says nothing.
    pub fn decode(bytes: &[u8]) -> Result<Note, Malformed> {
        let fields: Fields = decode_cbor("note", bytes)?;
        let body = match (fields.sort, fields.reads, fields.packs, fields.chunks, fields.objects) {
            (CHECK, Some(reads), _, _, _) => Body::Check(checked_reads(reads)?),
            (LOSS, _, Some(packs), Some(chunks), Some(objects)) => {
                Body::Loss(Loss { packs, chunks, objects }.checked()?)
            }
            (CHECK | LOSS, ..) => return Err(Malformed::new("note", "it lacks a field of its sort")),
            (other, ..) => Body::Other(other),
        };
        Ok(Note { time: fields.time, host: fields.host, body })
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
            chunks: vec![ChunkId([3; 32]), ChunkId([4; 32])],
            objects: vec!["config".into(), format!("index/{}", ObjectHash([5; 32]))],
        }
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
            Body::Loss(Loss { chunks: vec![ChunkId([1; 32]); 2], ..loss() }),
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
