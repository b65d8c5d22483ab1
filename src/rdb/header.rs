//! The first bytes of an RDB file: nine of magic, then the AUX fields.

use std::fmt;

use super::aux_fields::Aux;
use super::coding::{Step, Stop};
use super::reader::OPCODE_AUX;
use super::source::Source;

/// As many first bytes as a peek needs to see every AUX field a server writes on top.
pub const HEADER_PEEK: usize = 4096;

/// Length of the magic with its version.
pub(super) const MAGIC: usize = 9;

/// Whose format it is. The two part ways above version 11: the same type number means different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `REDIS` and four digits; Valkey up to 8 writes it too.
    Redis,
    /// `VALKEY` and three digits.
    Valkey,
}

/// The magic of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose format it is.
    pub family: Family,
    /// Version of the format, at least 1.
    pub version: u16,
}

impl Header {
    pub(super) fn parse(magic: &[u8; MAGIC]) -> Option<Self> {
        let (family, digits) = if let Some(digits) = magic.strip_prefix(b"REDIS") {
            (Family::Redis, digits)
        } else {
            (Family::Valkey, magic.strip_prefix(b"VALKEY")?)
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let version = str::from_utf8(digits).ok()?.parse().ok()?;
        (version > 0).then_some(Self { family, version })
    }

    /// Whether a checksum follows the EOF mark.
    pub(super) fn has_checksum(self) -> bool {
        self.version >= 5
    }

    /// Consumes the magic.
    pub(super) fn read(source: &mut Source<'_>) -> Step<Self> {
        let magic = source.bytes::<MAGIC>()?;
        if magic.starts_with(CONTAINER) {
            return Err(Stop::unknown("a compressed dump of Valkey (a container VCS 1)"));
        }
        Self::parse(&magic).ok_or_else(|| Stop::broken(format!("it begins with \"{}\"", magic.escape_ascii())))
    }
}

impl fmt::Display for Header {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            Family::Redis => write!(out, "REDIS{:04}", self.version),
            Family::Valkey => write!(out, "VALKEY{:03}", self.version),
        }
    }
}

/// What the first bytes of a file tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// The magic.
    pub header: Header,
    /// The AUX fields on top, as far as the bytes reached.
    pub aux: Aux,
}

/// How a file of Valkey 9.2 begins that holds a compressed RDB file (`rdbcompression lz4`).
pub(super) const CONTAINER: &[u8] = b"VCS\x01";

/// Whether a file that begins like this is an RDB file, perhaps in a container, or an AOF with an RDB preamble. Nine bytes
/// are enough.
pub fn looks_like_rdb(first: &[u8]) -> bool {
    let magic = first.first_chunk::<MAGIC>();
    magic.is_some_and(|magic| Header::parse(magic).is_some() || magic.starts_with(CONTAINER))
}

/// Reads the magic and the AUX fields on top from the first bytes of a file ([`HEADER_PEEK`] of them reach far enough
/// for `ctime`); `None` if they are not those of an RDB file.
pub fn read_header(first: &[u8]) -> Option<Peek> {
    let mut first = first.get(..HEADER_PEEK).unwrap_or(first);
    let mut source = Source::new(&mut first, HEADER_PEEK);
    let header = Header::read(&mut source).ok()?;
    let mut aux = Aux::default();
    while matches!(source.byte(), Ok(OPCODE_AUX)) && aux.read_field(&mut source).is_ok() {}
    Some(Peek { header, aux })
}
