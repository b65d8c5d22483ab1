//! Records while they wait in scratch for their turn: as they are sorted to be stored, and as they are sorted to be written.

use super::known::Head;
use crate::format::{Malformed, Reader, put_varint};
use crate::rdb::canonical::{Encoded, RecordName, Sides};

/// A record that waits for its turn by key. What it is sorted by is its place.
pub(super) struct ToStore<'a> {
    /// Where it stood in the file.
    pub place: u32,
    /// The hash of what it is sorted by, and what its body has.
    pub head: Head,
    /// The name of its bytes, or zeros.
    pub name: RecordName,
    pub sides: Sides,
    pub body: &'a [u8],
}

impl ToStore<'_> {
    /// Puts it where another one was.
    pub fn encode(place: u32, hash: u32, name: RecordName, record: &Encoded, bytes: &mut Vec<u8>) {
        let Sides { idle, frequencies, order } = &record.sides;
        bytes.clear();
        [place, hash, Head::meta_of(record)].iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes.extend_from_slice(&name);
        put_varint(bytes, idle.len() as u64);
        idle.iter().for_each(|idle| bytes.extend_from_slice(&idle.to_le_bytes()));
        for part in [frequencies, order] {
            put_varint(bytes, part.len() as u64);
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&record.body);
    }

    pub fn decode(bytes: &[u8]) -> Result<ToStore<'_>, Malformed> {
        let mut reader = Reader::new("record", bytes);
        let (place, head) = (reader.u32()?, Head { hash: reader.u32()?, meta: reader.u32()? });
        let name = reader.array()?;
        let count = reader.varint_max("last accesses", reader.remaining() as u64)?;
        let idle = (0..count).map(|_| reader.u32());
        let idle = idle.collect::<Result<Vec<u32>, Malformed>>()?;
        let mut part = || {
            let length = reader.varint_max("bytes", reader.remaining() as u64)?;
            Ok::<_, Malformed>(reader.take(length as usize)?.to_vec())
        };
        let (frequencies, order) = (part()?, part()?);
        let body = reader.take(reader.remaining())?;
        Ok(ToStore { place, head, name, sides: Sides { idle, frequencies, order }, body })
    }
}

/// A record that waits for its turn in the file. What it is sorted by is its place there.
pub(super) enum ToWrite<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It begins with this; its value stands among the large ones.
    Large { tag: [u8; 2], length: u64, order: &'a [u8], head: &'a [u8] },
}

const WHOLE: u8 = 0;
const LARGE: u8 = 1;

impl<'a> ToWrite<'a> {
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        match self {
            ToWrite::Whole(record) => {
                bytes.push(WHOLE);
                bytes.extend_from_slice(record);
            }
            ToWrite::Large { tag, length, order, head } => {
                bytes.push(LARGE);
                bytes.extend_from_slice(tag);
                put_varint(bytes, *length);
                put_varint(bytes, order.len() as u64);
                bytes.extend_from_slice(order);
                bytes.extend_from_slice(head);
            }
        }
    }

    pub fn decode(bytes: &'a [u8]) -> Result<ToWrite<'a>, Malformed> {
        let mut reader = Reader::new("record", bytes);
        if reader.u8()? == WHOLE {
            return Ok(ToWrite::Whole(reader.take(reader.remaining())?));
        }
        let (tag, length) = (reader.array()?, reader.varint()?);
        let order = reader.varint_max("bytes", reader.remaining() as u64)?;
        let order = reader.take(order as usize)?;
        Ok(ToWrite::Large { tag, length, order, head: reader.take(reader.remaining())? })
    }
}
