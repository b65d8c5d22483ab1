//! `init`: make a repository.

use std::sync::Arc;

use super::OperationError;
use crate::format::Id16;
use crate::format::keys::Argon2Cost;
use crate::repository::{Ambient, Credential, Places, Repository};
use crate::store::Store;

/// What a new repository sets aside for a prune on a full disk, in bytes: enough as long as it is small.
const RESERVE: u64 = 1 << 20;

/// What `init` made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The repository's id.
    pub repository: Id16,
    /// Where it is.
    pub location: String,
    /// The slot of the first password or key file.
    pub slot: Id16,
}

/// Makes a repository in an empty store. `recovery` is a second way in, and its label.
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
    if let Some((recovery, label)) = recovery {
        repository.add_slot(recovery, label, cost)?;
    }
    repository.keep_reserve(RESERVE)?;
    Ok(Report { repository: repository.id(), location, slot: repository.current_slot() })
}
