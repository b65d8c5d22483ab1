//! Key slots: the passwords and key files a repository opens with. Rules: format-spec/03-keys.md.

use rayon::prelude::*;
use zeroize::Zeroize;

use super::ambient::Ambient;
use super::epochs;
use super::error::{EVERY_SLOT, Fault, RepositoryError};
use super::keyring::Keyring;
use super::objects::{listed, put_own, read_each};
use super::{get_whole, object_name};
use crate::crypto::passphrase::{Block, CannotDerive, Secret, SlotKey};
use crate::format::keys::{About, Argon2Cost, Bag, SecretKind, Slot};
use crate::format::limits::{SLOTS_MAX, SMALL_MAX};
use crate::format::object::{Kind, Name};
use crate::format::sealing::{Header, SEAL_OVERHEAD};
use crate::format::{Id16, Malformed, UnixMillis};
use crate::store::{PutNew, Store};

/// Ordinal of a slot's `about` part.
const ABOUT: u32 = 1;

/// A password or the bytes of a key file.
#[derive(Clone)]
pub struct Credential {
    /// Which of the two.
    pub kind: SecretKind,
    /// Its bytes.
    pub secret: Secret,
}

/// One slot as `key list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotInfo {
    /// Its id.
    pub id: Id16,
    /// Password or key file; `None` where the slot is damaged, or left by an `init` that was killed.
    pub secret: Option<SecretKind>,
    /// A person's word for it; `None` where it cannot be read.
    pub label: Option<String>,
    /// When it was made.
    pub created: Option<UnixMillis>,
    /// Where it was made.
    pub host: Option<String>,
    /// The last epoch it knows.
    pub epoch: Option<u32>,
    /// What that is worth.
    pub state: SlotState,
    /// Whether the repository was opened with it.
    pub current: bool,
}

/// What a slot knows of the master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// The epoch in force.
    Current,
    /// Earlier epochs only: what was sealed since is closed to it.
    Behind,
    /// An epoch that never came into force: a rotation is at work, or was left unfinished.
    Unfinished,
    /// It cannot be read.
    Damaged,
}

/// Which slot opened, what was in it, and which of its epochs is in force.
pub(super) struct Unlocked {
    pub slot: Id16,
    pub bag: Bag,
    pub epoch: u32,
    /// The slots that were listed.
    pub all: Vec<Id16>,
    /// The bytes of the slot.
    pub sealed: Vec<u8>,
}

/// A slot as it stands in the store.
pub(super) struct Found {
    pub id: Id16,
    pub header: Header,
    pub slot: Slot,
}

/// A slot, or how it is damaged.
type ReadSlot = Result<Found, RepositoryError>;

/// How often slots are listed anew because one was gone by the time it was read: somebody replaced it.
const LISTINGS: usize = 3;

/// Tries a credential on every slot; `None` when it fits none. A damaged slot, or one of another repository (left by an
/// `init` that was killed), is an error only when no other opens.
///
/// KEY-12: slots that name later epochs are tried first, until one opens whose last epoch is in force; else of those
/// that open the one that knows most.
pub(super) fn unlock(
    store: &dyn Store,
    repository: Id16,
    credential: &Credential,
) -> Result<Option<Unlocked>, RepositoryError> {
    for _ in 1..LISTINGS {
        match try_slots(store, repository, credential) {
            Err(RepositoryError::Damaged { source: Fault::Missing, .. }) => {}
            other => return other,
        }
    }
    try_slots(store, repository, credential)
}

fn try_slots(
    store: &dyn Store,
    repository: Id16,
    credential: &Credential,
) -> Result<Option<Unlocked>, RepositoryError> {
    let slots = read_all(store, repository)?;
    if slots.is_empty() {
        return Err(RepositoryError::damaged(EVERY_SLOT, Fault::Missing));
    }
    let all: Vec<Id16> = slots.iter().map(|(id, _)| *id).collect();
    let (mut found, mut fault, mut best) = (Vec::new(), None, None::<Unlocked>);
    for (_, slot) in slots {
        match slot {
            Ok(slot) => found.push(slot),
            Err(damage) => fault = fault.or(Some(damage)),
        }
    }
    // Among equals what is tried in no time goes first.
    let cost = |cost: Argon2Cost| u64::from(cost.memory) * u64::from(cost.passes);
    found.sort_by_key(|found| (std::cmp::Reverse(found.header.epoch), cost(found.slot.cost)));
    for found in found {
        let bag = match open(&found, credential) {
            Ok(Some(bag)) => bag,
            Ok(None) => continue,
            // One that asks for more memory than there is, too, is passed over while another may open.
            Err(error) if error.is_damage() || matches!(error, RepositoryError::CannotDerive(_)) => {
                fault = fault.or(Some(error));
                continue;
            }
            Err(error) => return Err(error),
        };
        let epoch = epochs::in_force(store, repository, &bag)?;
        let sealed = [&found.header.encode()[..], &found.slot.encode()].concat();
        let unlocked = Unlocked { slot: found.id, bag, epoch, all: all.clone(), sealed };
        if unlocked.epoch == unlocked.bag.last() {
            return Ok(Some(unlocked));
        }
        if best.as_ref().is_none_or(|best| best.epoch < unlocked.epoch) {
            best = Some(unlocked);
        }
    }
    match best {
        None => fault.map_or(Ok(None), Err),
        best => Ok(best),
    }
}

/// Ids of all slots.
pub(super) fn list(store: &dyn Store) -> Result<Vec<Id16>, RepositoryError> {
    let slot = |name| match name {
        Name::Slot(id) => Some(id),
        _ => None,
    };
    let slots: Vec<Id16> = listed(store, "keys/")?.into_iter().filter_map(|of| slot(of.name)).collect();
    match slots.len() > SLOTS_MAX {
        true => Err(RepositoryError::Limit(format!("{} key slots, more than {SLOTS_MAX}", slots.len()))),
        false => Ok(slots),
    }
}

/// All slots, not opened, and what is damaged about the others. Trouble in reaching the repository is an error.
fn read_all(store: &dyn Store, repository: Id16) -> Result<Vec<(Id16, ReadSlot)>, RepositoryError> {
    let (ids, mut slots) = (list(store)?, Vec::new());
    read_each(
        store,
        &ids,
        |_| SMALL_MAX,
        |id| read(store, *id, repository),
        |id, slot| match slot {
            Err(error) if !error.is_damage() => Err(error),
            slot => {
                slots.push((*id, slot));
                Ok(())
            }
        },
    )?;
    Ok(slots)
}

/// A slot, not opened.
pub(super) fn read(store: &dyn Store, id: Id16, repository: Id16) -> Result<Found, RepositoryError> {
    parse(id, &get_whole(store, &Name::Slot(id), SMALL_MAX)?, repository)
}

/// The same from its bytes.
pub(super) fn parse(id: Id16, object: &[u8], repository: Id16) -> Result<Found, RepositoryError> {
    let name = Name::Slot(id);
    let parse = || {
        let (header, rest) = Header::decode(object)?;
        header.check(&name, None)?;
        if header.repository != repository {
            let why = format!(
                "it belongs to repository {}, config to {repository}; if a killed init left it: redkeep key remove {id}",
                header.repository
            );
            return Err(Malformed::new("header", why));
        }
        Ok(Found { id, header, slot: Slot::decode(rest)? })
    };
    parse().map_err(|malformed: Malformed| RepositoryError::damaged(name, malformed))
}

/// The bag of a slot, or `None` where the credential is for another.
pub(super) fn open(found: &Found, credential: &Credential) -> Result<Option<Bag>, RepositoryError> {
    let Found { id, header, slot } = found;
    if slot.secret != credential.kind {
        return Ok(None);
    }
    let key = derive(&credential.secret, &header.salt, slot.cost)?;
    if !key.is_committed_to(&slot.commitment) {
        return Ok(None);
    }
    let name = Name::Slot(*id);
    let open = || {
        let bytes = key.unwrap(&wrap_aad(header, slot, &name), &slot.wrapped)?;
        Ok(Bag::decode(&bytes)?)
    };
    open().map(Some).map_err(|fault: Fault| RepositoryError::damaged(name, fault))
}

fn derive(secret: &Secret, salt: &[u8; 32], cost: Argon2Cost) -> Result<SlotKey, RepositoryError> {
    let (mut blocks, count) = (Vec::new(), cost.memory as usize);
    blocks.try_reserve_exact(count).map_err(|_| CannotDerive { memory: cost.memory })?;
    // The system gives memory page by page: all cores ask for it, and wipe it.
    (0..count).into_par_iter().map(|_| Block::default()).collect_into_vec(&mut blocks);
    let key = SlotKey::derive(secret, salt, &mut blocks, cost.passes, cost.lanes);
    blocks.par_iter_mut().for_each(Zeroize::zeroize);
    Ok(key?)
}

/// What the wrapped bag is bound to: header, parameters and name.
fn wrap_aad(header: &Header, slot: &Slot, name: &Name) -> Vec<u8> {
    [&header.encode()[..], &slot.encode_parameters(), name.to_string().as_bytes()].concat()
}

/// Stores a slot for a credential, reads it back, opens it and compares its bag.
///
/// KEY-9: only a slot that was read back and opened may be followed by the removal of another.
pub(super) fn put(
    store: &dyn Store,
    ambient: &Ambient,
    keyring: &Keyring,
    credential: &Credential,
    label: &str,
    cost: Argon2Cost,
) -> Result<Id16, RepositoryError> {
    let id = ambient.id();
    let name = Name::Slot(id);
    let header = keyring.header(Kind::Slot, ambient.random());
    let key = derive(&credential.secret, &header.salt, cost)?;
    let mut slot = Slot {
        secret: credential.kind,
        cost,
        commitment: key.commitment(),
        wrapped: Vec::new(),
        about: seal_about(ambient, keyring, &header, &name, label)?,
    };
    slot.wrapped = key.wrap(&wrap_aad(&header, &slot, &name), &keyring.bag().encode());
    let object = [&header.encode()[..], &slot.encode()].concat();
    put_own(store, &name, object)?;
    match open(&read(store, id, keyring.repository())?, credential)? {
        Some(bag) if *bag.encode() == *keyring.bag().encode() => Ok(id),
        Some(_) | None => Err(RepositoryError::damaged(name, Fault::WrongHash)),
    }
}

/// Adds a slot.
///
/// KEY-13: whoever puts a slot looks at all slots afterwards, and takes it back where one names a later epoch than its
/// bag knows. So a rotation that has not seen the new slot is seen by it.
pub(super) fn add(
    store: &dyn Store,
    ambient: &Ambient,
    keyring: &Keyring,
    credential: &Credential,
    label: &str,
    cost: Argon2Cost,
) -> Result<Id16, RepositoryError> {
    let id = put(store, ambient, keyring, credential, label, cost)?;
    match newest_named(store, keyring.repository())? > keyring.bag().last() {
        false => Ok(id),
        true => {
            let added = match delete_unless_last(store, keyring, id)? {
                true => "no key slot was added",
                false => "the new key slot is the only one left",
            };
            let what = format!("the master key is being rotated, or a rotation was left unfinished: {added}");
            Err(RepositoryError::Rotating(what))
        }
    }
}

/// The latest epoch that the header of any slot names.
///
/// KEY-14: the header of a slot names the last epoch of its bag.
pub(super) fn newest_named(store: &dyn Store, repository: Id16) -> Result<u32, RepositoryError> {
    let slots = read_all(store, repository)?.into_iter().filter_map(|(_, slot)| slot.ok());
    Ok(slots.map(|found| found.header.epoch).max().unwrap_or(0))
}

/// Whether this is the begin of a slot for an epoch that is not in force: a killed rotation on a store whose puts are
/// not whole or nothing.
pub(super) fn is_torn(store: &dyn Store, id: Id16, repository: Id16, epoch: u32) -> Result<bool, RepositoryError> {
    let name = Name::Slot(id);
    let object = match get_whole(store, &name, SMALL_MAX) {
        Err(error) if error.is_damage() => return Ok(false),
        other => other?,
    };
    Ok(Header::decode(&object).is_ok_and(|(header, rest)| {
        let ours = header.check(&name, Some(repository)).is_ok() && header.epoch > epoch;
        ours && Slot::decode(rest).is_err()
    }))
}

/// Deletes a slot.
pub(super) fn delete(store: &dyn Store, id: Id16) -> Result<(), RepositoryError> {
    Ok(store.delete(&object_name(&Name::Slot(id)))?)
}

/// Deletes what stands beside the slot of a repository that was made now: slots that killed `init`s left. One that stays is passed
/// over, and a check names it.
///
/// KEY-19: only where a store lets one `config` win, so that no slot goes whose `config` may yet take the place of this one.
pub(super) fn clear(store: &dyn Store, repository: Id16, own: Id16) {
    if store.promises().put_new != PutNew::Exclusive {
        return;
    }
    let is_others = |id: &Id16| {
        let object = get_whole(store, &Name::Slot(*id), SMALL_MAX);
        object.is_ok_and(|object| !Header::decode(&object).is_ok_and(|(header, _)| header.repository == repository))
    };
    let left = list(store).unwrap_or_default().into_iter().filter(|id| *id != own && is_others(id));
    left.for_each(|id| drop(delete(store, id)));
}

fn seal_about(
    ambient: &Ambient,
    keyring: &Keyring,
    header: &Header,
    name: &Name,
    label: &str,
) -> Result<Vec<u8>, RepositoryError> {
    let about = About { label: label.into(), created: ambient.now(), host: ambient.host.clone() }.encode();
    let aad = header.aad(name, ABOUT, about.len() + SEAL_OVERHEAD);
    let sealer = keyring.sealer(header).map_err(|fault| RepositoryError::damaged(name, fault))?;
    let mut sealed = Vec::new();
    sealer.seal(Some(ABOUT), &aad, &about, &mut sealed);
    Ok(sealed)
}

/// What is known about every slot. A slot that cannot be read is shown without its label.
pub(super) fn describe(store: &dyn Store, keyring: &Keyring, current: Id16) -> Result<Vec<SlotInfo>, RepositoryError> {
    let one = |(id, found): (Id16, ReadSlot)| {
        let found = found.ok();
        let about = found.as_ref().and_then(|found| open_about(keyring, found).ok());
        SlotInfo {
            id,
            secret: found.as_ref().map(|found| found.slot.secret),
            label: about.as_ref().map(|about| about.label.clone()),
            created: about.as_ref().map(|about| about.created),
            host: about.as_ref().map(|about| about.host.clone()),
            epoch: found.as_ref().map(|found| found.header.epoch),
            state: match found {
                None => SlotState::Damaged,
                Some(found) if found.header.epoch < keyring.epoch() => SlotState::Behind,
                Some(found) if found.header.epoch > keyring.epoch() => SlotState::Unfinished,
                // Sealed by another secret of this number: its rotation lost against the one in force.
                Some(_) if about.is_none() => SlotState::Unfinished,
                Some(_) => SlotState::Current,
            },
            current: id == current,
        }
    };
    Ok(read_all(store, keyring.repository())?.into_iter().map(one).collect())
}

/// What a slot says of itself.
pub(super) fn open_about(keyring: &Keyring, found: &Found) -> Result<About, Fault> {
    let Found { id, header, slot } = found;
    let aad = header.aad(&Name::Slot(*id), ABOUT, slot.about.len());
    Ok(About::decode(&keyring.sealer(header)?.open(&aad, &slot.about)?)?)
}

/// What is wrong with each damaged slot, as far as can be told without its password.
pub(super) fn inspect(store: &dyn Store, keyring: &Keyring) -> Result<Vec<RepositoryError>, RepositoryError> {
    let damage = |(id, found): (Id16, ReadSlot)| match found {
        Ok(found) if found.header.epoch > keyring.epoch() => None,
        Ok(found) => open_about(keyring, &found).err().map(|fault| RepositoryError::damaged(Name::Slot(id), fault)),
        Err(damage) => Some(damage),
    };
    Ok(read_all(store, keyring.repository())?.into_iter().filter_map(damage).collect())
}

/// Removes a slot.
///
/// KEY-15: not unless another is left that belongs to this repository, can be read, and knows the epoch in force, before
/// and after; nor one of an epoch that this bag does not know: a rotation at work may be about to bring it into force.
pub(super) fn remove(store: &dyn Store, keyring: &Keyring, id: Id16) -> Result<(), RepositoryError> {
    if !list(store)?.contains(&id) {
        return Err(RepositoryError::Slot(format!("no key slot {id}")));
    }
    if read(store, id, keyring.repository()).is_ok_and(|found| found.header.epoch > keyring.bag().last()) {
        let what =
            format!("key slot {id} is of a rotation at work, or left unfinished: the next key rotate deletes it");
        return Err(RepositoryError::Rotating(what));
    }
    if !has_another(store, keyring, id)? {
        let why = "the last key slot cannot be removed: nothing would open the repository";
        return Err(RepositoryError::Slot(why.into()));
    }
    match delete_unless_last(store, keyring, id)? {
        true => Ok(()),
        false => Err(RepositoryError::Slot(format!(
            "key slot {id} was put back: others were removed or replaced at the same time, and it would have been the last"
        ))),
    }
}

/// Whether a slot beside this one knows the epoch in force.
fn has_another(store: &dyn Store, keyring: &Keyring, id: Id16) -> Result<bool, RepositoryError> {
    let opens = |found: &Found| found.header.epoch >= keyring.epoch() && open_about(keyring, found).is_ok();
    let mut others = read_all(store, keyring.repository())?.into_iter().filter(|(other, _)| *other != id);
    Ok(others.any(|(_, slot)| slot.is_ok_and(|found| opens(&found))))
}

/// Deletes a slot, looks whether another is left, and puts it back if none is; whether it is gone.
///
/// Two removals at once may each count on the slot of the other. Whoever deletes last looks after every deletion, so that
/// it finds a slot that stays, or puts its own back. What no order of calls without a lock can exclude: that it dies
/// between the two.
fn delete_unless_last(store: &dyn Store, keyring: &Keyring, id: Id16) -> Result<bool, RepositoryError> {
    let name = Name::Slot(id);
    let bytes = match get_whole(store, &name, SMALL_MAX) {
        Err(RepositoryError::Damaged { source: Fault::Missing, .. }) => return Ok(true),
        // Nobody opens it: it is no loss.
        Err(RepositoryError::Damaged { .. }) => return delete(store, id).map(|()| true),
        other => other?,
    };
    delete(store, id)?;
    if has_another(store, keyring, id)? {
        return Ok(true);
    }
    put_own(store, &name, bytes.clone())?;
    // As for every slot on which somebody may have to rely: it is there once it was read.
    match get_whole(store, &name, SMALL_MAX)? == bytes {
        true => Ok(false),
        false => Err(RepositoryError::damaged(name, Fault::WrongHash)),
    }
}
