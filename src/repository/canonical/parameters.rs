//! The parameters of a canonical part. Layout: format-spec/19-canonical-rdb.md.

use crate::format::recipe::Part;
use crate::format::{Malformed, Reader, put_varint};

/// The one layout there is.
const LAYOUT: u64 = 1;
/// Bytes a dump begins with.
const MAGIC: usize = 9;
/// The mark of the end.
const END: u8 = 0xff;
/// That and the checksum.
const TAIL_LONGEST: usize = 9;

/// What a part needs beside its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// What the dump begins with.
    pub magic: [u8; MAGIC],
    /// When it was saved: seconds since the epoch, or 0.
    pub clock: u64,
    /// How many records it has.
    pub records: u64,
    /// What the part ends with.
    pub tail: Vec<u8>,
}

impl Parameters {
    /// CANON-6: as a part has them.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, LAYOUT);
        bytes.extend_from_slice(&self.magic);
        put_varint(&mut bytes, self.clock);
        put_varint(&mut bytes, self.records);
        bytes.extend_from_slice(&self.tail);
        bytes
    }

    /// Those of a part.
    pub fn of(part: &Part) -> Result<Parameters, Malformed> {
        part.check_canonical()?;
        let mut reader = Reader::new("parameters", part.parameters.as_deref().unwrap_or_default());
        let layout = reader.varint()?;
        if layout != LAYOUT {
            return Err(Malformed::new("parameters", format!("layout {layout} of a dump needs a newer redkeep")));
        }
        let magic = reader.array()?;
        let (clock, records) = (reader.varint()?, reader.varint()?);
        let tail = reader.take(reader.remaining())?.to_vec();
        match tail.first() {
            Some(&END) if [1, TAIL_LONGEST].contains(&tail.len()) => Ok(Parameters { magic, clock, records, tail }),
            None => Ok(Parameters { magic, clock, records, tail }),
            Some(_) => Err(Malformed::new("parameters", "other bytes than a dump ends with")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::format::recipe::{CANONICAL_RDB, ColumnRole, Stream};

    fn part(parameters: Vec<u8>) -> Part {
        let buckets = Stream { length: 0, levels: 0, top: Vec::new(), labelled: Some(true) };
        let streams = BTreeMap::from([(ColumnRole::Buckets as u64, buckets)]);
        Part { method: CANONICAL_RDB, length: 9, streams, parameters: Some(parameters) }
    }

    /// CANON-6
    #[test]
    fn parameters_are_read_as_they_were_written_and_others_refused() {
        let parameters = Parameters { magic: *b"REDIS0011", clock: 1_700_000_000, records: 300, tail: vec![0xff; 9] };
        let bytes = parameters.encode();
        assert_eq!(bytes, [b"\x01REDIS0011\x80\xe2\xcf\xaa\x06\xac\x02", &[0xff; 9][..]].concat());
        assert_eq!(Parameters::of(&part(bytes.clone())), Ok(parameters));
        let newer = Parameters::of(&part([&[2], &bytes[1..]].concat())).unwrap_err();
        assert!(newer.why.contains("layout 2 of a dump needs a newer redkeep"), "{newer}");
        let tails = [&bytes[..bytes.len() - 1], &[&bytes[..bytes.len() - 9], b"\x00"].concat()];
        for wrong in [&bytes[..9], &[&bytes[..], b"x"].concat(), &[]].into_iter().chain(tails) {
            assert!(Parameters::of(&part(wrong.to_vec())).is_err());
        }
    }
}
