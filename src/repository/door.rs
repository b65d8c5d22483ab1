//! How a repository that is far away is opened with one call: what this host remembers of `config` and of the slot that opened
//! it last. Rules: format-spec/14-local.md.

use std::time::Duration;

use super::Places;
use super::ambient::Ambient;
use super::error::RepositoryError;
use super::slots::{self, Credential, Unlocked};
use super::state::{self, Door};
use crate::format::sealing::Header;
use crate::store::Store;

/// It is read anew after so long.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The bytes of `config`, and what the slot opens.
///
/// LOCAL-37: where a LIST of `keys/` shows what it showed then. In any doubt, a password that does not fit among them, nothing.
pub(super) fn remembered(
    store: &dyn Store,
    ambient: &Ambient,
    places: &Places,
    credential: &Credential,
) -> Result<Option<(Vec<u8>, Unlocked)>, RepositoryError> {
    let Some(door) = store.is_far().then(|| state::door_of(places, &store.location())).flatten() else {
        return Ok(None);
    };
    let age = ambient.now().0.checked_sub(door.read.0).map(Duration::from_millis);
    let Ok((header, _)) = Header::decode(&door.config) else { return Ok(None) };
    if age.is_none_or(|age| age >= REMEMBERED_FOR) || slots::list(store)? != door.slots {
        return Ok(None);
    }
    let opened =
        slots::parse(door.slot, &door.sealed, header.repository).and_then(|slot| slots::open(&slot, credential));
    let Ok(Some(bag)) = opened else { return Ok(None) };
    let unlocked = Unlocked { slot: door.slot, epoch: bag.last(), bag, all: door.slots, sealed: door.sealed };
    Ok((unlocked.epoch == door.epoch).then_some((door.config, unlocked)))
}

/// What is to be remembered of a repository that was opened; nothing where its slot does not know the last epoch.
pub(super) fn to_remember(store: &dyn Store, ambient: &Ambient, config: &[u8], unlocked: &Unlocked) -> Option<Door> {
    let is_worth_it = store.is_far() && unlocked.epoch == unlocked.bag.last();
    is_worth_it.then(|| Door {
        read: ambient.now(),
        config: config.to_vec(),
        slots: unlocked.all.clone(),
        slot: unlocked.slot,
        sealed: unlocked.sealed.clone(),
        epoch: unlocked.epoch,
    })
}
