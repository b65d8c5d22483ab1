//! What is known of an RDB file once it has gone past.

use std::collections::BTreeMap;
use std::fmt;

use super::aux_fields::Aux;
use super::header::Header;

/// Databases told apart in one file; each costs memory.
pub(super) const DATABASES_MAX: usize = 65_536;

/// Modules told apart in one file.
pub(super) const MODULES_MAX: usize = 256;

/// Templates of hashes told apart in one file; each costs memory.
pub(super) const TEMPLATES_MAX: usize = 65_536;

/// The structure of one RDB file: what was counted, where it ends, and what is to be thought of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    /// The magic; `None` if the file begins with none.
    pub header: Option<Header>,
    /// What the server said of itself and of the moment.
    pub aux: Aux,
    /// Counts by database number. Only whole records are counted.
    pub databases: BTreeMap<u64, Database>,
    /// Function libraries.
    pub functions: u64,
    /// The modules whose data the file holds, by name. A server without them refuses the file.
    pub modules: Vec<Module>,
    /// Offset after the checksum (before version 5: after the EOF mark), if the reader came that far.
    pub end: Option<u64>,
    /// What became of the checksum.
    pub checksum: Checksum,
    /// Bytes after `end`.
    pub trailing: u64,
    /// The bytes after `end` begin like commands or annotations: a single-file AOF with a preamble.
    pub trailing_is_commands: bool,
    /// Bytes of the whole input.
    pub length: u64,
    /// What is to be thought of the file.
    pub finding: Finding,
}

impl Structure {
    /// Nothing known yet.
    pub(super) fn empty() -> Self {
        Self {
            header: None,
            aux: Aux::default(),
            databases: BTreeMap::new(),
            functions: 0,
            modules: Vec::new(),
            end: None,
            checksum: Checksum::NotReached,
            trailing: 0,
            trailing_is_commands: false,
            length: 0,
            finding: Finding::Whole,
        }
    }

    /// Whether the file is damaged, as far as can be told: a backup of it ends with exit code 3.
    pub fn is_suspect(&self) -> bool {
        matches!(self.finding, Finding::Suspect { .. })
    }

    /// Whether every byte up to the checksum was understood and nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.finding == Finding::Whole
    }

    /// One line on why the file is not whole.
    pub fn reason(&self) -> Option<String> {
        match &self.finding {
            Finding::Whole => None,
            Finding::NotUnderstood { .. } | Finding::Suspect { .. } => Some(self.finding.to_string()),
        }
    }

    /// Keys of all databases.
    pub fn keys(&self) -> u64 {
        self.databases.values().map(|database| database.keys).sum()
    }
}

/// What one database holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Database {
    /// Keys, expired ones included.
    pub keys: u64,
    /// Keys with an expiry of their own (not: hashes with expiring fields).
    pub expiring: u64,
    /// Keys without one that can go all the same: hashes of the types that are written where fields expire.
    pub volatile: u64,
    /// Keys by what their value is.
    pub types: TypeCounts,
}

impl Database {
    /// Adds the counts of another stretch of the same database.
    pub(super) fn add(&mut self, other: &Self) {
        self.keys += other.keys;
        self.expiring += other.expiring;
        self.volatile += other.volatile;
        let (mine, theirs) = (&mut self.types, &other.types);
        mine.string += theirs.string;
        mine.list += theirs.list;
        mine.set += theirs.set;
        mine.zset += theirs.zset;
        mine.hash += theirs.hash;
        mine.stream += theirs.stream;
        mine.array += theirs.array;
        mine.module += theirs.module;
        mine.other += theirs.other;
    }
}

/// Keys by the answer of the TYPE command; `module` stands for every type a module brings, `other` for what only special
/// builds and KeyDB have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the TYPE command")]
pub struct TypeCounts {
    pub string: u64,
    pub list: u64,
    pub set: u64,
    pub zset: u64,
    pub hash: u64,
    pub stream: u64,
    pub array: u64,
    pub module: u64,
    pub other: u64,
}

/// A module type as the file names it: nine characters and the version of its coding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Module {
    /// Nine characters of `A-Z a-z 0-9 - _`.
    pub name: String,
    /// Version of the module's own coding, 0 to 1023.
    pub version: u16,
}

impl Module {
    /// A module id holds nine characters of six bits each, then ten bits of version.
    pub(super) fn from_id(id: u64) -> Self {
        const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let name = (0..9)
            .map(|place| (id >> (10 + 6 * (8 - place))) & 63)
            .filter_map(|index| CHARACTERS.get(index as usize))
            .map(|&character| char::from(character))
            .collect();
        Self { name, version: (id & 1023) as u16 }
    }
}

/// What became of the checksum at the end of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// It is right, at the EOF mark or, where that was not reached, as the last eight bytes of the file.
    Verified,
    /// Zero is stored: the server was told not to compute it (`rdbchecksum no`).
    Unchecked,
    /// The format has none (before version 5).
    Absent,
    /// It is wrong.
    Wrong,
    /// The file ends, or could not be followed, before it.
    NotReached,
}

/// What is to be thought of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Understood from the magic to the checksum, and nothing is wrong.
    Whole,
    /// A thing this reader does not know, in a file that gives no reason for doubt. What was counted before it holds.
    NotUnderstood {
        /// Where the record or event with the unknown thing begins.
        offset: u64,
        /// What is not known.
        what: String,
    },
    /// Damaged: cut short, a wrong checksum, or a form no server writes.
    Suspect {
        /// Where the record or event with the damage begins.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => out.write_str("whole"),
            Self::NotUnderstood { offset, what } => write!(out, "not understood from {offset} on: {what}"),
            Self::Suspect { offset, what } => write!(out, "suspect at {offset}: {what}"),
        }
    }
}
