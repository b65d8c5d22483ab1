//! What can go wrong with an operation.

use crate::format::object::SnapshotName;
use crate::format::{Id16, UnixMillis};
use crate::redis::RedisError;
use crate::repository::{Alarm, ForgottenRecord, RepositoryError};

/// What can go wrong with an operation.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The data directory or server.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// No snapshot fits what was asked for.
    #[error("{what}")]
    NoSnapshot {
        /// What was asked for, and what there is.
        what: String,
    },
    /// The dataset's first snapshot is younger than the moment that was asked for.
    #[error("no snapshot is as old as the asked moment")]
    NoMoment {
        /// The oldest snapshot there is.
        oldest: SnapshotName,
    },
    /// No snapshot holds the asked moment.
    #[error("the asked moment cannot be restored: {why}")]
    Unreachable {
        /// What was asked for, by the host's clock.
        at: UnixMillis,
        /// Why not.
        why: String,
        /// The nearest moment before it.
        before: Option<UnixMillis>,
        /// The nearest moment after it.
        after: Option<UnixMillis>,
        /// The AOF is damaged behind the one before.
        is_damaged: bool,
    },
    /// A snapshot does not hold the moment it was to be cut back to.
    #[error("the snapshot cannot be cut back to the asked moment: {why}")]
    NotThere {
        /// Why not.
        why: String,
    },
    /// No command begins with the words that were asked for.
    #[error("no command of the AOF begins with {words}{}", in_how_many(*snapshots))]
    NoCommand {
        /// The words, quoted.
        words: String,
        /// The last command that differs from them in capitals only.
        alike: Option<String>,
        /// Snapshots that were looked into.
        snapshots: u64,
    },
    /// A snapshot that fits what was asked for, or may fit it, is missing or cannot be read.
    #[error("{alarm}; it may be the snapshot that was asked for")]
    LostSnapshot {
        /// Which one, and what is wrong with it.
        alarm: Alarm,
    },
    /// The snapshot that is meant was forgotten.
    #[error("snapshot {} was forgotten: {}", record.snapshot.session, record.reason)]
    Forgotten {
        /// When and why.
        record: ForgottenRecord,
        /// Whether it is still there.
        is_there: bool,
    },
    /// A snapshot cannot be committed again, because something it needs is on its way out, or gone.
    #[error("snapshot {snapshot} cannot be committed again")]
    NotWhole {
        /// Its id.
        snapshot: Id16,
        /// Whether it is a forgotten one.
        is_forgotten: bool,
        /// The file and the chunk.
        source: RepositoryError,
    },
    /// Snapshots would be forgotten while others are lost.
    #[error("nothing is forgotten while the repository lacks something: {}", one_of(alarms))]
    Lacking {
        /// What is missing or unreadable.
        alarms: Vec<Alarm>,
    },
    /// Several snapshots or datasets fit.
    #[error("{what}")]
    Ambiguous {
        /// What was asked for, and what fits.
        what: String,
    },
    /// The operation will not be done as asked.
    #[error("{what}")]
    Refused {
        /// Why.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// The snapshot is not one for that: it holds no dataset, or which of its files are the dataset is not known.
    #[error("{what}")]
    Unfit {
        /// What is the matter with it.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// A process uses the place that is to be replaced.
    #[error("{what}")]
    InUse {
        /// Who uses what.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// Another restore or undo works on the place.
    #[error("{what}")]
    Busy {
        /// On what.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The disk is too small for what was asked for.
    #[error("{what}")]
    NoRoom {
        /// Which, and what is needed.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// A path of the target.
    #[error("cannot {action} {path}")]
    Target {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The path.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A restored file is not what was stored.
    #[error("{path}: its restored bytes do not match the snapshot")]
    WrongBytes {
        /// The file.
        path: String,
    },
    /// There is nothing to put back.
    #[error("nothing was set aside for {path}")]
    NothingAside {
        /// The target.
        path: String,
    },
}

impl OperationError {
    /// An action on a path of the target that failed.
    pub(super) fn target(action: &'static str, path: &std::path::Path, source: impl Into<std::io::Error>) -> Self {
        OperationError::Target { action, path: path.display().to_string(), source: source.into() }
    }

    /// Whether this is damage in the repository, rather than trouble in reaching it or in the target.
    pub fn is_damage(&self) -> bool {
        match self {
            OperationError::Repository(error) => error.is_damage(),
            OperationError::LostSnapshot { .. } | OperationError::Lacking { .. } => true,
            _ => false,
        }
    }

    /// Whether a damaged catalog can be behind it.
    pub(super) fn may_be_of_catalog(&self) -> bool {
        match self {
            OperationError::Repository(error) => error.is_of_catalog(),
            OperationError::WrongBytes { .. } => true,
            _ => false,
        }
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            OperationError::Repository(error) => error.hint(),
            OperationError::Redis(error) => error.hint().map(String::from),
            OperationError::Refused { hint, .. }
            | OperationError::Unfit { hint, .. }
            | OperationError::InUse { hint, .. }
            | OperationError::Busy { hint, .. }
            | OperationError::NoRoom { hint, .. } => Some(hint.clone()),
            OperationError::NoMoment { oldest } => {
                Some(format!("the oldest one is {}: list them with: redkeep snapshots", oldest.session))
            }
            OperationError::Unreachable { before: Some(_), .. } => {
                Some("take the nearest moment before it with --nearest".into())
            }
            OperationError::NoCommand { alike: Some(alike), .. } => {
                Some(format!("one does that differs in capitals; write it as it is there: {alike}"))
            }
            OperationError::NoCommand { alike: None, .. } => Some(
                "see what can be restored with: redkeep timeline; a command since the last backup is found after: \
                     redkeep backup --aof-tail"
                    .into(),
            ),
            OperationError::Unreachable { .. } | OperationError::NotThere { .. } => {
                Some("see what can be restored with: redkeep timeline".into())
            }
            OperationError::LostSnapshot { .. } => {
                Some("to take another one instead, name it by its id: redkeep snapshots lists them".into())
            }
            OperationError::Forgotten { record, is_there: true } => {
                Some(format!("bring it back with: redkeep undelete {}", record.snapshot.session))
            }
            OperationError::Forgotten { is_there: false, .. } => {
                Some("it is no longer in the repository; list those that are with: redkeep snapshots".into())
            }
            // A sweep stores again what is condemned and needed; a forgotten snapshot needs it for the time of the grace.
            OperationError::NotWhole { is_forgotten, .. } => {
                let (prune, grace) = match is_forgotten {
                    true => ("redkeep prune --grace 30d", ", with a grace that is longer than it has been forgotten"),
                    false => ("redkeep prune", ""),
                };
                Some(format!(
                    "a prune may be on its way to delete what it needs: run {prune}{grace}, which stores that again, and then \
                     the same again; where it is not there any more, run: redkeep check"
                ))
            }
            OperationError::Lacking { .. } => {
                Some(
                    "what is elsewhere is brought here first, by redkeep mirror; see what is lost with: redkeep check; then record it \
                     with: redkeep check --repair"
                        .into(),
                )
            }
            OperationError::NoSnapshot { .. } => Some("list them with: redkeep snapshots".into()),
            OperationError::Ambiguous { .. } => Some("name one of them with --dataset, or give more of the id".into()),
            OperationError::Target { source, .. } => Some(target_hint(source.kind()).into()),
            OperationError::WrongBytes { .. } => Some(
                "nothing was put in place; look at the disk of the target, and run: redkeep check --read-data".into(),
            ),
            OperationError::NothingAside { .. } => Some(
                "a restore sets aside what it replaces, and nothing where nothing stood; what is kept is listed by: redkeep undo \
                 DIR --list"
                    .into(),
            ),
        }
    }
}

fn one_of(alarms: &[Alarm]) -> String {
    let more = alarms.len().saturating_sub(1);
    let first = alarms.first().map(Alarm::to_string).unwrap_or_default();
    if more == 0 { first } else { format!("{first} (and {more} more)") }
}

fn in_how_many(snapshots: u64) -> String {
    match snapshots {
        0 | 1 => String::new(),
        _ => format!(", in none of the {snapshots} snapshots that hold other commands"),
    }
}

fn target_hint(kind: std::io::ErrorKind) -> &'static str {
    use std::io::ErrorKind;
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space there, or restore to another disk",
        ErrorKind::PermissionDenied => "run it as root or as the owner of the directory, or restore elsewhere",
        ErrorKind::ReadOnlyFilesystem => "mount it for writing, or restore elsewhere",
        ErrorKind::NotFound => "check that it is mounted and that nobody removes it meanwhile",
        _ => "check the path, its owner and the disk it is on",
    }
}
