//! What can go wrong with a store.

use std::error::Error;
use std::io;

use super::name::{BadName, ObjectName};
use super::services::Trouble;

/// A call to a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No object has the name.
    #[error("no object {name}")]
    NotFound {
        /// The object asked for.
        name: ObjectName,
    },
    /// An object has the name already, and keeps its bytes.
    #[error("object {name} exists already")]
    Exists {
        /// The object that is there.
        name: ObjectName,
    },
    /// The object is larger than the caller allows.
    #[error("object {name} is larger than the {limit} bytes allowed for its kind")]
    TooLarge {
        /// The object asked for.
        name: ObjectName,
        /// What the caller allows, in bytes.
        limit: u64,
    },
    /// The object ends before the range asked for does.
    #[error("object {name} has no {length} bytes at {offset}")]
    Range {
        /// The object asked for.
        name: ObjectName,
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        length: u64,
    },
    /// The disk or the quota is used up.
    #[error("no space to {action} {name}")]
    Full {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The object, or the directory.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The store may not be used this way.
    #[error("no permission to {action} {name}")]
    Denied {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The object, or the directory.
        name: String,
        /// What the system or the service said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The location cannot hold a store, or holds none.
    #[error("{location}: {problem}")]
    Location {
        /// The location as it was written.
        location: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// Nothing says how to log in to the service.
    #[error("{location}: nothing says how to log in")]
    Unset {
        /// The location.
        location: String,
        /// What to set.
        hint: &'static str,
    },
    /// The place cannot refuse a second object of one name, so concurrent backups would overwrite each other.
    #[error("{location}: cannot create a file only where none exists")]
    Unsupported {
        /// The location.
        location: String,
    },
    /// The operating system failed.
    #[error("cannot {action} {name}")]
    Io {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The object, or the directory.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The remote service failed.
    #[error("cannot {action} {name}")]
    Service {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The object, or the prefix.
        name: String,
        /// What kind of trouble it is.
        trouble: Trouble,
        /// What the service said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A prefix to list is not a directory of objects.
    #[error(transparent)]
    Name(#[from] BadName),
}

impl StoreError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Location { hint, .. } | Self::Unset { hint, .. } => Some(hint),
            Self::Service { trouble, .. } => trouble_hint(*trouble),
            Self::Unsupported { .. } => Some("use a file system with hard links or renameat2, or an object store"),
            Self::Full { .. } => Some(
                "free some space; or, from the room set aside for a full disk: redkeep forget, then redkeep prune --grace 0, \
                 which deletes at once what was forgotten",
            ),
            Self::Denied { .. } => Some("check the owner and the mode of the repository, and the user you run as"),
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::TooLarge { .. }
            | Self::Range { .. }
            | Self::Io { .. }
            | Self::Name(_) => None,
        }
    }
}

fn trouble_hint(trouble: Trouble) -> Option<&'static str> {
    match trouble {
        Trouble::Unreachable => Some(
            "check the address of the service (AWS_ENDPOINT_URL, ST_AUTH or OS_AUTH_URL, or endpoint in the \
             configuration), the network and its name server",
        ),
        Trouble::Untrusted => Some(
            "where the service has a certificate of your own authority, name that: AWS_CA_BUNDLE, OS_CACERT or ca-file",
        ),
        Trouble::Broken | Trouble::TimedOut | Trouble::Undecided => {
            Some("it was tried again for minutes; check the network, then run it again")
        }
        Trouble::Throttled => Some("the service is busy, or wants fewer requests: run it again later"),
        Trouble::Failing => Some(
            "the service failed by itself, each time it was tried: look at its state and its log, and run it again when it is well",
        ),
        Trouble::Unauthorized => Some(
            "check the credentials, and the clock of this host: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ST_USER \
             and ST_KEY, or OS_USERNAME and OS_PASSWORD",
        ),
        Trouble::Forbidden => Some(
            "the credentials are known but not allowed to do this: check the policy or the ACL; forget, prune and key need the \
             rights of a keeper, which redkeep doctor prints",
        ),
        Trouble::Stopped | Trouble::Other => None,
    }
}
