//! What can go wrong with a repository.

use crate::crypto::NotAuthentic;
use crate::crypto::passphrase::CannotDerive;
use crate::format::object::Name;
use crate::format::{ChunkId, Id16, Malformed};
use crate::store::StoreError;

/// What a [`RepositoryError::Local`] of the catalog says it is.
pub(super) const CATALOG: &str = "catalog";
/// What is missing where no listing shows a key slot.
pub(super) const EVERY_SLOT: &str = "keys/ (every key slot)";

/// Why the bytes of an object cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They do not follow the specification.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// They were not sealed by this repository under this name.
    #[error(transparent)]
    NotAuthentic(#[from] NotAuthentic),
    /// They are not the bytes the object is named after, or that its last bytes promise.
    #[error("its bytes do not match its hash")]
    WrongHash,
    /// They decode to something else than the chunk they should be.
    #[error("it decodes to other bytes than chunk {0}")]
    WrongChunk(ChunkId),
    /// They were compressed by something else, or cut.
    #[error(transparent)]
    Undecodable(#[from] crate::compress::Undecodable),
    /// No slot knows the seal epoch.
    #[error("it is sealed by epoch {0}, which no key slot knows")]
    UnknownEpoch(u32),
    /// The object is not there.
    #[error("it is missing")]
    Missing,
    /// The object is larger than its kind may be.
    #[error("it has more than the {limit} bytes its kind may have")]
    TooLarge {
        /// What its kind may have.
        limit: u64,
    },
    /// The object is there with another length than recorded.
    #[error("it has {found} bytes instead of {expected}")]
    WrongSize {
        /// Bytes the index gives.
        expected: u64,
        /// Bytes the store shows.
        found: u64,
    },
    /// A delta refers to bases in a circle, too deep, or to none that exist.
    #[error("its delta bases cannot be followed: {0}")]
    Bases(String),
}

/// What can go wrong with a repository.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is no `config`.
    #[error("no repository at {location}")]
    NoRepository {
        /// Where one was looked for.
        location: String,
    },
    /// A repository is already there.
    #[error("there is a repository at {location} already")]
    AlreadyThere {
        /// Where one was to be made.
        location: String,
    },
    /// No slot opens.
    #[error("wrong password or key file for the repository at {location}")]
    WrongSecret {
        /// The repository.
        location: String,
    },
    /// The location held another repository before.
    #[error("{location} holds repository {found}, but held {expected} when this host last used it")]
    OtherRepository {
        /// The location.
        location: String,
        /// The id remembered for it.
        expected: Id16,
        /// The id found.
        found: Id16,
    },
    /// It was made before the format of version 0 was what it is now, or after.
    #[error("the repository at {location} was made by redkeep {made_by}, in another draft of the format")]
    OtherDraft {
        /// The repository.
        location: String,
        /// The version of redkeep.
        made_by: String,
    },
    /// An object cannot be used.
    #[error("{object}")]
    Damaged {
        /// The object and the place in it.
        object: String,
        /// What is wrong with it.
        source: Fault,
    },
    /// A file cannot be rebuilt.
    #[error("file {path}")]
    InFile {
        /// Its path in the snapshot.
        path: String,
        /// Why.
        source: Box<RepositoryError>,
    },
    /// A part of a file is stored in a way that this version does not know.
    #[error("it is stored with method {method}, which this version of redkeep does not know")]
    NeedsNewer {
        /// The method's number.
        method: u64,
    },
    /// What does not fit in memory cannot wait in scratch files.
    #[error(transparent)]
    Scratch(crate::spill::SpillError),
    /// Rows of the catalog went while a restore worked from them, because another process brought it up to date.
    #[error("the local catalog changed during the restore")]
    CatalogChanged,
    /// A chunk is in no pack.
    #[error("chunk {chunk} is in no pack of the repository")]
    UnknownChunk {
        /// The chunk.
        chunk: ChunkId,
    },
    /// A sweep may not go on: something that may matter cannot be read, or is missing.
    #[error("nothing was deleted, because the repository is not whole: {}", reasons.join("; "))]
    NotWhole {
        /// What cannot be read or is missing.
        reasons: Vec<String>,
    },
    /// Somebody decided that this session will not commit.
    #[error("the session was given up by a sweep before it committed")]
    Fenced,
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A bound of format-spec/12-limits.md would be broken.
    #[error("{0}")]
    Limit(String),
    /// A key slot cannot be changed as asked.
    #[error("{0}")]
    Slot(String),
    /// Another rotation of the master key is at work, or was left unfinished.
    #[error("{0}")]
    Rotating(String),
    /// Argon2 could not be run.
    #[error(transparent)]
    CannotDerive(#[from] CannotDerive),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A local file (catalog or state) failed.
    #[error("{what} {path}")]
    Local {
        /// Catalog or state.
        what: &'static str,
        /// The file.
        path: String,
        /// SQLite's or the system's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What the caller does with restored bytes failed.
    #[error(transparent)]
    Sink(Box<dyn std::error::Error + Send + Sync>),
}

impl RepositoryError {
    /// An object and what is wrong with it.
    pub fn damaged(object: impl ToString, fault: impl Into<Fault>) -> Self {
        RepositoryError::Damaged { object: object.to_string(), source: fault.into() }
    }

    /// Whether this is damage in the repository, rather than trouble in reaching it.
    pub fn is_damage(&self) -> bool {
        use RepositoryError::{CatalogChanged, Damaged, NotWhole, UnknownChunk};
        match self {
            RepositoryError::InFile { source, .. } => source.is_damage(),
            other => matches!(other, Damaged { .. } | UnknownChunk { .. } | NotWhole { .. } | CatalogChanged),
        }
    }

    /// Whether the disk or the quota of the repository is used up.
    pub fn is_full(&self) -> bool {
        match self {
            RepositoryError::InFile { source, .. } => source.is_full(),
            other => matches!(other, RepositoryError::Store(StoreError::Full { .. })),
        }
    }

    /// Whether the local catalog is what is damaged, or cannot be written: built again, it may answer otherwise.
    pub fn is_of_catalog(&self) -> bool {
        use super::sqlite::{is_corrupt, is_unusable};
        matches!(self, RepositoryError::Local { what: CATALOG, .. }) && (is_corrupt(self) || is_unusable(self))
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            RepositoryError::InFile { source, .. } => return source.hint(),
            RepositoryError::NeedsNewer { .. } => {
                "install the version of redkeep that took the snapshot, or a newer one"
            }
            RepositoryError::NoRepository { .. } => "make one with: redkeep init --repo LOCATION",
            RepositoryError::AlreadyThere { .. } => "use it as it is, or choose another location",
            RepositoryError::WrongSecret { .. } => {
                "they come from --password-file, --password-command, --key-file or the variables of these names"
            }
            RepositoryError::OtherRepository { found, .. } => {
                return Some(format!("if it was replaced on purpose, say so once with: --accept-repository {found}"));
            }
            RepositoryError::OtherDraft { .. } => {
                "nothing in it is lost: the program that made it still reads it, so keep that one to restore from it; from now \
                 on back up into a new repository: redkeep init --repo LOCATION"
            }
            RepositoryError::Damaged { object, .. } if *object == Name::Config.to_string() => {
                "nothing can be opened without it: put back a copy from a mirror of the repository"
            }
            RepositoryError::Damaged { object, .. } if object == EVERY_SLOT => {
                "nothing can be opened without one: put back a copy from a mirror of the repository; if the repository was made a \
                 moment ago, its store may not list them yet: try again in a minute"
            }
            RepositoryError::Damaged { .. } | RepositoryError::UnknownChunk { .. } => {
                "see what is affected with: redkeep check --read-data"
            }
            RepositoryError::NotWhole { .. } => {
                "what is elsewhere is brought here first, by redkeep mirror; see what is lost with: redkeep check --read-data; a \
                 backup stores again what is at hand of it; then record the rest with: redkeep check --repair"
            }
            RepositoryError::Fenced | RepositoryError::CatalogChanged => "run the command again",
            RepositoryError::Rotating(_) => "when no other rotation runs, finish with: redkeep key rotate",
            RepositoryError::CannotDerive(_) => "opening a repository needs the memory its key slot asks for",
            RepositoryError::Local { .. } => {
                "check the space and rights of the cache and state directories (--cache-dir)"
            }
            RepositoryError::Store(error) => return error.hint().map(String::from),
            RepositoryError::Scratch(error) => return error.hint().map(String::from),
            RepositoryError::Interrupted
            | RepositoryError::Limit(_)
            | RepositoryError::Slot(_)
            | RepositoryError::Sink(_) => return None,
        };
        Some(hint.into())
    }
}

/// An error and its causes on one line, for reports.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
