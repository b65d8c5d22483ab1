//! What a file is expected to resemble. Rules: format-spec/06-frames.md.
//!
//! DELTA-9: of a dump it is something in canonical form, be it of an older snapshot or of another file.

use std::cell::{OnceCell, RefCell};

use super::input::Instead;
use crate::format::form::FormState;
use crate::format::object::SnapshotName;
use crate::format::recipe::{CANONICAL_RDB, Part};
use crate::format::snapshot::{File, Role, Snapshot};
use crate::repository::{RepositoryError, Session, SnapshotInfo};

/// Snapshots of a dataset that are asked for a version of a dump in canonical form: three months of daily ones, a day of one
/// every quarter of an hour. What the catalog says of them decides which one is read.
const LOOK_BACK: usize = 100;

/// A file that is stored, among those it is stored with.
#[derive(Clone, Copy)]
pub(in crate::operations) struct Wanted<'a> {
    pub path: &'a [u8],
    pub role: Role,
    /// Whether a file of that path is stored with it.
    pub is_here: &'a dyn Fn(&[u8]) -> bool,
}

impl Wanted<'_> {
    /// Its earlier version among the files of a snapshot: of the same path, or, where the server gave it another name, the
    /// only one of its role whose path is gone.
    pub fn among<'f>(&self, files: &'f [File]) -> Option<&'f File> {
        let same = files.iter().find(|old| old.path.as_slice() == self.path);
        let is_left = |old: &&File| old.role == self.role && !(self.is_here)(old.path.as_slice());
        match self.role {
            Role::Dump | Role::Base | Role::SingleAof => same.or_else(|| {
                let mut left = files.iter().filter(is_left);
                left.next().filter(|_| left.next().is_none())
            }),
            Role::Incr | Role::Manifest | Role::History | Role::Other | Role::Config => same,
        }
    }
}

/// Whether a file is stored in canonical form, or begins so.
pub(in crate::operations) fn is_canonical(parts: &[Part]) -> bool {
    parts.iter().any(|part| part.method == CANONICAL_RDB)
}

/// The snapshots of a dataset, for a dump whose version in the previous one is not in canonical form, or that has none there.
pub(in crate::operations) struct Older<'a> {
    session: &'a Session<'a>,
    /// The newest first.
    all: OnceCell<Vec<SnapshotInfo>>,
    /// The one that was read last, if it can be.
    read: RefCell<Option<(SnapshotName, Option<Snapshot>)>>,
}

impl<'a> Older<'a> {
    /// Those that a session sees. Nothing is looked up yet.
    pub fn new(session: &'a Session<'a>) -> Older<'a> {
        Older { session, all: OnceCell::new(), read: RefCell::new(None) }
    }

    /// A dump's newest version in canonical form, where the previous snapshot's, of these parts, is none. Reads one snapshot at
    /// the most.
    pub fn canonical(&self, wanted: &Wanted<'_>, previous: &[Part]) -> Result<Option<Instead>, RepositoryError> {
        if is_canonical(previous) {
            return Ok(None);
        }
        let may_be = |path: &[u8]| path == wanted.path || !(wanted.is_here)(path);
        let has_it = |info: &&SnapshotInfo| {
            info.told.forms.iter().any(|of| of.form.state != FormState::Opaque && may_be(&of.path))
        };
        let Some(name) = self.all()?.iter().find(has_it).map(|info| info.name) else { return Ok(None) };
        let mut read = self.read.borrow_mut();
        let snapshot = match &mut *read {
            Some((held, snapshot)) if *held == name => snapshot,
            other => &mut other.insert((name, self.session.earlier_snapshot(&name)?)).1,
        };
        let version = snapshot.as_ref().and_then(|snapshot| wanted.among(&snapshot.files));
        Ok(version.and_then(|file| file.recipe.clone()).map(|parts| Instead { parts, path: None }))
    }

    fn all(&self) -> Result<&[SnapshotInfo], RepositoryError> {
        if let Some(all) = self.all.get() {
            return Ok(all);
        }
        let all = self.session.earlier_snapshots(LOOK_BACK)?;
        Ok(self.all.get_or_init(|| all))
    }
}
