//! The header of every object, and what its sealed parts are bound to. Layout: format-spec/04-sealing.md.

use super::ids::Id16;
use super::object::{Kind, Name};
use super::{Malformed, Reader};

/// Bytes of a header.
pub const HEADER: usize = 64;
/// Bytes a sealed part has above its plaintext: nonce and tag.
pub const SEAL_OVERHEAD: usize = 40;
/// Ordinal of the part of an object that has only one.
pub const WHOLE: u32 = 0;
/// Ordinal of a pack's footer.
pub const FOOTER: u32 = u32::MAX;

const MAGIC: &[u8; 7] = b"redkeep";
/// The format version these readers and writers speak.
pub const FORMAT_VERSION: u32 = 0;

/// What stands in the clear at the start of every object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Kind of the object.
    pub kind: Kind,
    /// Seal epoch whose secret opens it.
    pub epoch: u32,
    /// The repository it belongs to.
    pub repository: Id16,
    /// Random for each object.
    pub salt: [u8; 32],
}

impl Header {
    /// The 64 bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(MAGIC);
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(&self.repository.0);
        bytes.extend_from_slice(&self.salt);
        let mut header = [0; HEADER];
        header.copy_from_slice(&bytes);
        header
    }

    /// The header of `object`, and the bytes behind it.
    pub fn decode(object: &[u8]) -> Result<(Header, &[u8]), Malformed> {
        let mut reader = Reader::new("header", object);
        if reader.array()? != *MAGIC {
            return Err(reader.malformed("not written by redkeep"));
        }
        let kind = reader.u8()?;
        match reader.u32()? {
            FORMAT_VERSION => {}
            other => {
                return Err(reader.malformed(format!("format version {other}, this redkeep reads {FORMAT_VERSION}")));
            }
        }
        let kind = Kind::from_number(kind).ok_or_else(|| reader.malformed(format!("unknown kind {kind}")))?;
        let header = Header { kind, epoch: reader.u32()?, repository: Id16(reader.array()?), salt: reader.array()? };
        let rest = reader.take(reader.remaining())?;
        Ok((header, rest))
    }

    /// SEAL-1: the kind has to belong to the name, the id to the repository (`None`: not known yet).
    pub fn check(&self, name: &Name, repository: Option<Id16>) -> Result<(), Malformed> {
        if !name.allows(self.kind) {
            return Err(Malformed::new("header", format!("a {} stands under the name {name}", self.kind.name())));
        }
        match repository {
            Some(id) if id != self.repository => {
                Err(Malformed::new("header", format!("it belongs to repository {}", self.repository)))
            }
            _ => Ok(()),
        }
    }

    /// SEAL-5: what a sealed part of `sealed_length` bytes is bound to.
    pub fn aad(&self, name: &Name, ordinal: u32, sealed_length: usize) -> Vec<u8> {
        let name = match name {
            Name::Pack(_) | Name::Index(_) => String::new(),
            other => other.to_string(),
        };
        let mut aad = Vec::with_capacity(HEADER + 1 + name.len() + 8);
        aad.extend_from_slice(&self.encode());
        aad.push(name.len() as u8);
        aad.extend_from_slice(name.as_bytes());
        aad.extend_from_slice(&ordinal.to_le_bytes());
        aad.extend_from_slice(&(sealed_length as u32).to_le_bytes());
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ids::ObjectHash;

    fn header() -> Header {
        Header { kind: Kind::Pack, epoch: 3, repository: Id16([9; 16]), salt: [5; 32] }
    }

    #[test]
    fn a_header_comes_back_as_written() {
        let mut object = header().encode().to_vec();
        object.push(42);
        assert_eq!(Header::decode(&object), Ok((header(), &[42u8][..])));
    }

    /// SEAL-1
    #[test]
    fn another_magic_version_kind_or_repository_is_refused() {
        let good = header().encode();
        for (place, value) in [(0, b'R'), (7, 0), (7, 99), (8, 1)] {
            let mut bad = good;
            bad[place] = value;
            assert!(Header::decode(&bad).is_err(), "byte {place}");
        }
        assert!(Header::decode(&good[..63]).is_err());
        let pack = Name::Pack(ObjectHash([0; 32]));
        assert_eq!(header().check(&pack, Some(Id16([9; 16]))), Ok(()));
        assert!(header().check(&pack, Some(Id16([8; 16]))).is_err());
        assert!(header().check(&Name::Config, None).is_err());
    }
}
