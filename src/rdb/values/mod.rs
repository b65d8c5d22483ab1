//! A value is read to be shown and to be counted: its elements come one at a time, decoded, whatever form they are stored in.
//!
//! Nothing of this is on the way into the repository or out of it: there values stay as they are in the file. What is read
//! here is the bytes of one value as in the file, behind its type and its key. They may be anything: each length is checked
//! against what is left, compressed text is refused where it promises more than it can hold, and the time it takes goes
//! with the bytes there are and what they decode to. Memory is that of the largest string in the value, decoded: a packed
//! form is one string.

mod digest;
mod each;
mod measure;
mod packed;
mod payload;
mod pieces;
mod plain;
mod raw;
mod records;
mod rows;
mod score;
mod stream;
mod templates;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use super::header::Family;
use super::structure::Module;
use super::value::Kind;
use raw::Raw;

pub use payload::{FUNCTION, NoPayload, functions_payload, least_version};
pub use pieces::PiecewiseDigest;
pub use raw::LONGEST_TEXT;
pub use records::{Record, read_preamble_records, read_records};
pub use score::score_text;
pub use stream::{Consumer, Group, StreamFacts, StreamId};
pub use templates::{HASH_TEMPLATE, Templates};

/// A value as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    /// The type as the file has it.
    pub type_byte: u8,
    /// Whose file it is: some types are two.
    pub family: Family,
    /// The bytes behind the key.
    pub raw: &'a [u8],
    /// What the file has of them; only hashes of Redis 8.10 need one.
    pub templates: &'a Templates,
}

/// A part of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// All of a string.
    Text(&'a [u8]),
    /// An element of a list, in order, or of a set, in the order of the file.
    Element(&'a [u8]),
    /// An element of a sorted set, in the order of the file: servers write small ones ascending, large ones descending.
    Member {
        /// What it is.
        member: &'a [u8],
        /// May be infinite; [`score_text`] makes it readable.
        score: f64,
    },
    /// A field of a hash, in the order of the file, or of an entry of a stream, in the order it was given.
    Field {
        /// Its name.
        name: &'a [u8],
        /// What it is set to.
        value: &'a [u8],
        /// When it goes, in milliseconds since the epoch; it may have gone already. Only fields of hashes do.
        expires: Option<u64>,
    },
    /// Fields of a hash of hashes follow (Valkey 9.2), those of this path.
    Path(&'a [u8]),
    /// An element of an array, at its place; places ascend.
    Placed {
        /// Its index.
        index: u64,
        /// What it is; a number as text.
        element: &'a [u8],
    },
    /// An entry of a stream, in order; its fields follow.
    Entry {
        /// Its name.
        id: StreamId,
        /// How many fields it has.
        fields: u64,
    },
    /// What is known of a stream, behind all its entries.
    Stream(StreamFacts),
    /// A consumer group of a stream; its consumers follow.
    Group(Group<'a>),
    /// A consumer of the group before.
    Consumer(Consumer<'a>),
    /// All of a module's value: only the module can read it.
    Module(&'a Module),
}

/// How much there is of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// What STRLEN's siblings LLEN, SCARD, ZCARD, HLEN, XLEN, ARCOUNT and VCARD answer, fields that have gone included; 1 for strings
    /// and for what cannot be looked into.
    pub elements: u64,
    /// Bytes in the file, if nothing in it were compressed.
    pub bytes: u64,
}

/// Why a value is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are not those of a value of this type.
    #[error("{0}")]
    Broken(&'static str),
    /// The bytes may be right: it is the reader that does not know them.
    #[error("{0}")]
    Unknown(String),
}

impl<'a> Value<'a> {
    /// What kind of value it is; `None` if the type is not known.
    pub fn kind(&self) -> Option<Kind> {
        Kind::of(self.type_byte, self.family)
    }

    /// Whether it is a hash of a form that only those have of which a field expires.
    pub fn has_volatile_fields(&self) -> bool {
        self.kind() == Some(Kind::Hash) && matches!(self.type_byte, 22..=25)
    }

    /// What TYPE answers: for a module's value the name of the module; `None` if the type is not known.
    pub fn type_name(&self) -> Option<String> {
        match self.kind()? {
            Kind::Module => Some(self.module()?.name),
            kind => Some(kind.word().to_owned()),
        }
    }

    /// The module that wrote it, if one did.
    pub fn module(&self) -> Option<Module> {
        let id = (self.kind()? == Kind::Module).then(|| Raw::of(self.raw).length())?;
        Some(Module::from_id(id.ok()?))
    }

    /// Hands on its parts, one after the other, until told to stop. An error may come after parts have been handed on: those
    /// are right, if the bytes are.
    pub fn each(&self, give: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>) -> Result<(), Unreadable> {
        each::each(self, give)
    }

    /// How much there is of it. Elements are not decoded: of a packed form it is its head that counts.
    pub fn measure(&self) -> Result<Measure, Unreadable> {
        measure::measure(self)
    }

    /// A digest of what it holds: the same for values that say the same to whoever reads them, in whatever form, order or
    /// version they are stored, and another one for others. When consumers were last seen does not count, nor what only
    /// some versions know of a stream. Of a module's value the bytes count.
    pub fn digest(&self) -> Result<[u8; 32], Unreadable> {
        digest::digest(self)
    }

    /// What is known of a stream beside its entries, which are passed over: [`Item::Stream`], then groups and consumers.
    pub fn each_of_stream(&self, give: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>) -> Result<(), Unreadable> {
        each::each_of_stream(self, give)
    }

    /// What RESTORE takes to make this value: the type, the bytes as in the file, `version` of the format, a checksum. DUMP
    /// answers the same on a server that would save the value so.
    ///
    /// A server takes no version above its own (and Valkey none of those that only Redis has); what a value looks like does
    /// not depend on it, so [`least_version`] is the one that most servers take. A hash of a template becomes a plain one.
    pub fn payload(&self, version: u16) -> Result<Vec<u8>, NoPayload> {
        payload::payload(self, version)
    }

    /// What RESTORE takes to make a value of the same content, for a server of this family that does not know the form it is
    /// stored in: strings, lists, sets, sorted sets and hashes, element by element, in the oldest version of the format that
    /// can say it. The server packs small ones itself. Without `keeps_expiry` fields of a hash stay.
    pub fn plain_payload(&self, family: Family, keeps_expiry: bool) -> Result<Vec<u8>, NoPayload> {
        plain::plain_payload(self, family, keeps_expiry)
    }
}
