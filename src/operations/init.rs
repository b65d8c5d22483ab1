//! `init`: make a repository.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::OperationError;
use crate::format::Id16;
use crate::format::keys::Argon2Cost;
use crate::format::object::Name;
use crate::repository::{Ambient, Credential, Places, Repository, RepositoryError, Unkept, one_line};
use crate::store::{self, Intent, Location, Settings, Store, TEMPORARY};

/// What `init` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The repository's id.
    pub repository: Id16,
    /// Where it is.
    pub location: String,
    /// The slot of the first password or key file.
    pub slot: Id16,
    /// Whether the recovery key opens it, where one was asked for.
    pub has_recovery: bool,
    /// What it lacks all the same, or what this host cannot keep of it.
    pub warnings: Vec<String>,
    /// Why this host keeps nothing of it where it should.
    pub unkept: Unkept,
}

/// A place where a repository can be made. Dropped before one is, it leaves no directory that was not there.
pub struct Ground {
    /// The store, with no repository in it.
    pub store: Arc<dyn Store>,
    /// Directories that were made for it, the outermost last.
    _made: Made,
}

/// Directories that are removed again where they are empty: they hold a repository, or what its user put there.
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        // One that cannot be removed keeps those around it.
        let _ = self.0.iter().try_for_each(fs::remove_dir);
    }
}

impl Ground {
    /// Makes the place, and refuses one that is in use: what else is in a directory would be taken for a part of the
    /// repository by people, and the repository for a part of it.
    pub fn prepare(location: &Location, settings: &Settings) -> Result<Ground, OperationError> {
        let mut made = Made(Vec::new());
        if let Location::Local(path) = location {
            refuse_used(path, location)?;
            let path = std::path::absolute(path).map_err(|error| OperationError::target("find", path, error))?;
            made.0 = path.ancestors().take_while(|above| !above.exists()).map(PathBuf::from).collect();
        }
        let store = store::open_with(location, Intent::Create, settings).map_err(RepositoryError::from)?;
        match Repository::is_in(&*store)? {
            true => Err(RepositoryError::AlreadyThere { location: store.location() }.into()),
            false => Ok(Ground { store, _made: made }),
        }
    }
}

/// Refuses a directory that holds anything but what a killed `init` leaves, or a file system has.
fn refuse_used(path: &Path, location: &Location) -> Result<(), OperationError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OperationError::target("look into", path, error)),
    };
    let store = store::open(location, Intent::Existing).map_err(RepositoryError::from)?;
    if Repository::is_in(&*store)? {
        return Err(RepositoryError::AlreadyThere { location: store.location() }.into());
    }
    for entry in entries {
        let name = entry.map_err(|error| OperationError::target("look into", path, error))?.file_name();
        if !is_left(path, &name.to_string_lossy()) {
            return Err(OperationError::Refused {
                what: format!("{} is not empty: it holds {}", path.display(), name.to_string_lossy()),
                hint: "name an empty or new directory instead".into(),
            });
        }
    }
    Ok(())
}

/// Whether a killed `init` leaves this, or a file system has it: unfinished files, and key slots.
fn is_left(path: &Path, name: &str) -> bool {
    let is_slot = |slot: fs::DirEntry| {
        let slot = slot.file_name().to_string_lossy().into_owned();
        slot.starts_with(TEMPORARY) || matches!(Name::parse(&format!("keys/{slot}")), Some(Name::Slot(_)))
    };
    match name {
        "lost+found" => true,
        "keys" => fs::read_dir(path.join(name)).is_ok_and(|mut slots| slots.all(|slot| slot.is_ok_and(is_slot))),
        _ => name.starts_with(TEMPORARY),
    }
}

/// Makes a repository in an empty store. `recovery` is a second way in, and its label. An error means that there is none:
/// from the moment on at which it can be opened, what fails is a warning.
pub fn init(
    store: Arc<dyn Store>,
    credential: Credential,
    recovery: Option<(&Credential, &str)>,
    cost: Argon2Cost,
    ambient: Ambient,
    places: Places,
) -> Result<Report, OperationError> {
    let location = store.location();
    let repository = Repository::create(store, credential, "first", cost, ambient, places)?;
    let mut warnings = Vec::new();
    let has_recovery = recovery.is_some_and(|(recovery, label)| match repository.add_slot(recovery, label, cost) {
        Ok(_) => true,
        Err(error) => {
            warnings.push(format!("no recovery key was added: {}", one_line(&error)));
            false
        }
    });
    let short = repository.begin_reserve();
    warnings.extend(short.map(|why| format!("too little room is set aside for a full disk: {why}")));
    let (id, slot, unkept) = (repository.id(), repository.current_slot(), repository.unkept().clone());
    Ok(Report { repository: id, location, slot, has_recovery, warnings, unkept })
}
