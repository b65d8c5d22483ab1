//! An alarm is something that should be in the repository and is not, or cannot be read. Rules: format-spec/14-local.md,
//! 10-snapshot.md.

/// What is missing or cannot be read. Every command says so and ends with 3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    /// An index object claims nothing because it cannot be read.
    #[error("{object} cannot be read ({fault}): what its packs hold counts as missing")]
    Index {
        /// The object.
        object: String,
        /// Why.
        fault: String,
    },
    /// Index objects name packs that are not there, or have another size.
    #[error(
        "packs are missing or cut short ({lost}, among them {first}): what they hold counts as missing, and snapshots that use it cannot be restored whole"
    )]
    Packs {
        /// How many.
        lost: usize,
        /// The first of them.
        first: String,
    },
    /// A check found packs damaged, and nobody has repaired the repository since.
    #[error(
        "packs are damaged, as an earlier check found ({damaged}, among them {first}): a backup does not use them, and stores again what it has of what they hold; older snapshots that use the rest cannot be restored whole: redkeep check says which, and redkeep check --repair writes it down"
    )]
    DamagedPacks {
        /// How many.
        damaged: usize,
        /// The first of them.
        first: String,
    },
    /// A snapshot cannot be read.
    #[error("{object} cannot be read ({fault}): this snapshot is lost")]
    Snapshot {
        /// The object.
        object: String,
        /// Why.
        fault: String,
    },
    /// A record that a snapshot was forgotten cannot be read.
    #[error("{object} cannot be read ({fault}): the snapshot it is about counts as not forgotten")]
    Forgotten {
        /// The object.
        object: String,
        /// Why.
        fault: String,
    },
    /// A snapshot stands where its session was given up.
    #[error(
        "{object} was stored after its session had been given up: what it needs may be gone, and it does not count; back up again"
    )]
    Late {
        /// The object.
        object: String,
    },
    /// What this host committed was overwritten by who had given its session up.
    #[error(
        "{object} was stored, and something else stands there by now: the snapshot that was told of does not count; back up again"
    )]
    Undone {
        /// The object.
        object: String,
    },
    /// A snapshot names a predecessor that is gone.
    #[error("{missing} is missing: {snapshot} of dataset {dataset} follows it, and it was not forgotten on purpose")]
    Gap {
        /// The dataset.
        dataset: String,
        /// The snapshot that is there.
        snapshot: String,
        /// The one that is not.
        missing: String,
    },
    /// The newest snapshot this host remembers is gone.
    #[error("{missing} is missing: this host has seen it, and it was not forgotten on purpose")]
    Rollback {
        /// The snapshot that is gone.
        missing: String,
    },
    /// LOCAL-38: the newest snapshot this host remembers was seen at another location of the repository, and is not at this one.
    #[error(
        "{missing} is not here: this host has seen it in {location}, and it was not forgotten on purpose; a mirror that is behind gets it by redkeep mirror"
    )]
    Elsewhere {
        /// The snapshot that is not here.
        missing: String,
        /// Where it was seen.
        location: String,
    },
    /// This host's memory of repositories was damaged.
    #[error(
        "{path} is damaged and was put aside: what this host remembered of repositories is forgotten, and it trusts what it sees"
    )]
    State {
        /// The state file.
        path: String,
    },
    /// A snapshot was committed, and this host could not write down that it was.
    #[error("the snapshot is stored, but this host could not note it: {why}")]
    NotNoted {
        /// The catalog's or state's reason.
        why: String,
    },
    /// The state file cannot be written.
    #[error("what this host sees cannot be remembered, so that a later loss of it may stay unseen: {why}")]
    NotRemembered {
        /// The state's reason.
        why: String,
    },
}

impl Alarm {
    /// The one object that is missing or cannot be read.
    pub(super) fn object(&self) -> Option<&str> {
        match self {
            Alarm::Index { object, .. } | Alarm::Snapshot { object, .. } | Alarm::Forgotten { object, .. } => {
                Some(object)
            }
            Alarm::Gap { missing, .. } | Alarm::Rollback { missing } | Alarm::Elsewhere { missing, .. } => {
                Some(missing)
            }
            // It is there, and can be read.
            Alarm::Late { .. }
            | Alarm::Undone { .. }
            | Alarm::Packs { .. }
            | Alarm::DamagedPacks { .. }
            | Alarm::State { .. }
            | Alarm::NotNoted { .. }
            | Alarm::NotRemembered { .. } => None,
        }
    }
}
