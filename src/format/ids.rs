//! Names and times as types. Written as lowercase hexadecimal where people or stores see them.

use std::{fmt, str::FromStr};

use super::Malformed;

/// Appends two lowercase digits for each byte.
///
/// CONV-5: hashes and ids are shown and named in lowercase hexadecimal.
fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], Malformed> {
    let digits = text.as_bytes();
    let lower = digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'));
    if digits.len() != 2 * N || !lower {
        return Err(Malformed::new("id", format!("not {} lowercase hexadecimal digits", 2 * N)));
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |value, digit| (value << 4) | ((digit & 0xf) + 9 * (digit >> 6)));
    }
    Ok(bytes)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $size:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                parse_hex(text).map($name)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                bytes.try_into().map($name).map_err(|_| minicbor::decode::Error::message("an id of the wrong length"))
            }
        }
    };
}

id!(
    /// Keyed hash of a chunk's plaintext. Appears only inside sealed parts (05-chunks).
    ChunkId, 16
);
id!(
    /// BLAKE3 of an object's bytes: the name of a pack or index object, or of a file's content.
    ObjectHash, 32
);
id!(
    /// Sixteen random bytes: a repository, session, slot or condemnation.
    Id16, 16
);
id!(
    /// Eight bytes that stand for a dataset's name in object names.
    DatasetTag, 8
);
id!(
    /// What a server's DEBUG DIGEST says of all its keys.
    KeysDigest, 20
);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct UnixMillis(#[n(0)] pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    /// CONV-5
    #[test]
    fn an_id_is_lowercase_hexadecimal_and_nothing_else() {
        let id = DatasetTag([0, 1, 0x9f, 0xa0, 0xff, 0x10, 0x7e, 0xc3]);
        assert_eq!(id.to_string(), "00019fa0ff107ec3");
        assert_eq!("00019fa0ff107ec3".parse(), Ok(id));
        for bad in ["", "00019FA0ff107ec3", "00019fa0ff107ec", "00019fa0ff107ec3a", "g0019fa0ff107ec3"] {
            assert!(bad.parse::<DatasetTag>().is_err(), "{bad}");
        }
    }
}
