//! What this host saw of a repository last, told without opening it: for words that a shell completes. It may be old, and is
//! no more secret than the catalog that lies there.

use super::catalog::Catalog;
use super::state::State;
use super::{Places, SnapshotInfo};
use crate::format::local::{CATALOG_FILE, STATE_FILE};

/// The kept snapshots of the repository last seen at a location, by dataset and age. `None` where nothing is known of it;
/// nothing is made, and what is damaged is left for those who say so.
pub fn recalled(places: &Places, location: &str) -> Option<Vec<SnapshotInfo>> {
    let state = places.state.as_deref().filter(|state| state.join(STATE_FILE).is_file())?;
    let id = State::recall(state)?.repository_at(location).ok().flatten()?;
    let cache = places.cache.as_ref()?.join(id.to_string());
    let catalog = Some(cache).filter(|cache| cache.join(CATALOG_FILE).is_file())?;
    let catalog = Catalog::open_shared(&catalog, id).ok().flatten()?;
    let forgotten = catalog.forgotten().ok()?;
    let is_kept = |info: &SnapshotInfo| !forgotten.iter().any(|record| record.snapshot == info.name);
    Some(catalog.snapshots().ok()?.into_iter().filter(is_kept).collect())
}
