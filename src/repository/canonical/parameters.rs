//! The parameters of a canonical part. Layout: format-spec/19-canonical-rdb.md.

use crate::format::recipe::Part;
use crate::format::{Malformed, Reader, put_varint};

/// The layout that is written.
const LAYOUT: u64 = 2;
/// The one before: numbers of templates and expiries of fields are kept as they are.
const UNRESOLVED: u64 = 1;
/// Bytes a dump begins with.
const MAGIC: usize = 9;
/// The mark of the end.
const END: u8 = 0xff;
/// That and the checksum.
const TAIL_LONGEST: usize = 9;

/// What a part needs beside its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// It is of layout 1.
    pub is_unresolved: bool,
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
        put_varint(&mut bytes, if self.is_unresolved { UNRESOLVED } else { LAYOUT });
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
        if ![UNRESOLVED, LAYOUT].contains(&layout) {
            return Err(Malformed::new("parameters", format!("layout {layout} of a dump needs a newer redkeep")));
        }
        let is_unresolved = layout == UNRESOLVED;
        let magic = reader.array()?;
        let (clock, records) = (reader.varint()?, reader.varint()?);
        let tail = reader.take(reader.remaining())?.to_vec();
        match tail.first() {
            Some(&END) if [1, TAIL_LONGEST].contains(&tail.len()) => {}
            None => {}
            Some(_) => return Err(Malformed::new("parameters", "other bytes than a dump ends with")),
        }
        Ok(Parameters { is_unresolved, magic, clock, records, tail })
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
        let (magic, tail) = (*b"REDIS0011", vec![0xff; 9]);
        let parameters = Parameters { is_unresolved: false, magic, clock: 1_700_000_000, records: 300, tail };
        let bytes = parameters.encode();
        assert_eq!(bytes, [b"\x02REDIS0011\x80\xe2\xcf\xaa\x06\xac\x02", &[0xff; 9][..]].concat());
        assert_eq!(Parameters::of(&part(bytes.clone())), Ok(parameters.clone()));
        let older = Parameters { is_unresolved: true, ..parameters };
        assert_eq!(Parameters::of(&part([&[1], &bytes[1..]].concat())), Ok(older.clone()));
        assert_eq!(older.encode(), [&[1], &bytes[1..]].concat());
        let newer = Parameters::of(&part([&[3], &bytes[1..]].concat())).unwrap_err();
        assert!(newer.why.contains("layout 3 of a dump needs a newer redkeep"), "{newer}");
        let tails = [&bytes[..bytes.len() - 1], &[&bytes[..bytes.len() - 9], b"\x00"].concat()];
        for wrong in [&bytes[..9], &[&bytes[..], b"x"].concat(), &[]].into_iter().chain(tails) {
            assert!(Parameters::of(&part(wrong.to_vec())).is_err());
        }
    }
}
