//! What a backup did, as its snapshot tells. Layout: format-spec/10-snapshot.md.

use std::collections::BTreeMap;

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Summary {
    /// Regular files.
    #[n(0)]
    pub files: u64,
    /// Bytes of regular files.
    #[n(1)]
    pub bytes: u64,
    /// Chunks the repository did not have.
    #[n(2)]
    pub new_chunks: u64,
    /// Their plaintext bytes.
    #[n(3)]
    pub new_bytes: u64,
    /// Bytes of packs and index objects stored.
    #[n(4)]
    pub stored_bytes: u64,
    /// Packs stored.
    #[n(5)]
    pub packs: u64,
    /// Milliseconds from begin to commit.
    #[n(6)]
    pub millis: u64,
    /// The new chunks by what they hold.
    #[n(7)]
    pub new: Option<News>,
}

/// New chunks by what they hold: numbers of [`Holds`], and others that a later redkeep may write.
pub type News = BTreeMap<u64, New>;

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holds {
    /// A piece of a file as it is.
    Opaque = 0,
    /// Records of a dump in the order of their keys.
    Buckets = 1,
    /// The order in which they stood in the dump.
    Order = 2,
    /// What else it takes to rebuild the dump.
    Columns = 3,
    /// A list of chunks.
    Lists = 4,
}

impl Holds {
    /// All of them.
    pub const ALL: [Holds; 5] = [Holds::Opaque, Holds::Buckets, Holds::Order, Holds::Columns, Holds::Lists];

    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Holds::Opaque => "opaque",
            Holds::Buckets => "buckets",
            Holds::Order => "order",
            Holds::Columns => "columns",
            Holds::Lists => "lists",
        }
    }
}

/// New chunks that hold the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct New {
    /// Chunks.
    #[n(0)]
    pub chunks: u64,
    /// Their plaintext bytes.
    #[n(1)]
    pub bytes: u64,
    /// Bytes of the sealed frames they are in.
    #[n(2)]
    pub stored: u64,
}

impl New {
    /// Adds what another snapshot, or another frame, has; whoever has the keys may have written any number.
    pub fn add(&mut self, other: New) {
        self.chunks = self.chunks.saturating_add(other.chunks);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.stored = self.stored.saturating_add(other.stored);
    }
}

impl Summary {
    /// SNAP-10: by what they hold, the new chunks; by what remains, the bytes of headers, tables and index objects.
    pub fn by_kind(&self) -> (impl Iterator<Item = (Holds, New)> + '_, u64) {
        let news = move || self.new.iter().flatten();
        let frames = news().map(|(_, new)| new.stored).fold(0, u64::saturating_add);
        let kinds = Holds::ALL.into_iter().filter_map(move |holds| {
            let (_, new) = news().find(|(number, _)| **number == holds as u64)?;
            Some((holds, *new))
        });
        (kinds, self.stored_bytes.saturating_sub(frames))
    }
}
