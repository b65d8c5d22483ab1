//! Key slots: the passwords and key files a repository opens with. Rules: format-spec/03-keys.md.

use super::ambient::Ambient;
use super::error::{Fault, RepositoryError};
use super::keyring::Keyring;
use super::{get_whole, object_name};
use crate::crypto::passphrase::{Secret, SlotKey};
use crate::format::keys::{About, Argon2Cost, Bag, SecretKind, Slot};
use crate::format::limits::{SLOTS_MAX, SMALL_MAX};
use crate::format::object::{Kind, Name};
use crate::format::sealing::{Header, SEAL_OVERHEAD};
use crate::format::{Id16, Malformed, UnixMillis};
use crate::store::Store;

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
    /// Whether the repository was opened with it.
    pub current: bool,
}

/// Which slot opened, and what was in it.
pub(super) struct Unlocked {
    pub slot: Id16,
    pub bag: Bag,
}

/// How often slots are listed anew because one was gone by the time it was read: somebody replaced it.
const LISTINGS: usize = 3;

/// Tries a credential on every slot; `None` when it fits none. A damaged slot, or one of another repository (left by an
/// `init` that was killed), is an error only when no other opens.
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
    let slots = list(store)?;
    if slots.is_empty() {
        return Err(RepositoryError::damaged("keys/ (every key slot)", Fault::Missing));
    }
    let mut fault = None;
    for id in slots {
        match try_slot(store, id, repository, credential) {
            Ok(Some(unlocked)) => return Ok(Some(unlocked)),
            Ok(None) => {}
            // One that asks for more memory than there is, too, is passed over while another may open.
            Err(error) if error.is_damage() || matches!(error, RepositoryError::CannotDerive(_)) => {
                fault = fault.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    fault.map_or(Ok(None), Err)
}

/// Ids of all slots.
pub(super) fn list(store: &dyn Store) -> Result<Vec<Id16>, RepositoryError> {
    let listed = store.list("keys/")?;
    let slots: Vec<Id16> = listed
        .iter()
        .filter_map(|entry| match Name::parse(entry.name.as_str()) {
            Some(Name::Slot(id)) => Some(id),
            _ => None,
        })
        .collect();
    match slots.len() > SLOTS_MAX {
        true => Err(RepositoryError::Limit(format!("{} key slots, more than {SLOTS_MAX}", slots.len()))),
        false => Ok(slots),
    }
}

fn read(store: &dyn Store, id: Id16, repository: Id16) -> Result<(Header, Slot), RepositoryError> {
    let name = Name::Slot(id);
    let object = get_whole(store, &name, SMALL_MAX)?;
    let parse = || {
        let (header, rest) = Header::decode(&object)?;
        header.check(&name, None)?;
        if header.repository != repository {
            let why = format!("it belongs to repository {}, config to {repository}", header.repository);
            return Err(Malformed::new("header", why));
        }
        Ok((header, Slot::decode(rest)?))
    };
    parse().map_err(|malformed: Malformed| RepositoryError::damaged(name, malformed))
}

fn try_slot(
    store: &dyn Store,
    id: Id16,
    repository: Id16,
    credential: &Credential,
) -> Result<Option<Unlocked>, RepositoryError> {
    let (header, slot) = read(store, id, repository)?;
    if slot.secret != credential.kind {
        return Ok(None);
    }
    let key = derive(&credential.secret, &header.salt, slot.cost)?;
    if !key.is_committed_to(&slot.commitment) {
        return Ok(None);
    }
    let name = Name::Slot(id);
    let open = || {
        let bytes = key.unwrap(&wrap_aad(&header, &slot, &name), &slot.wrapped)?;
        Ok(Bag::decode(&bytes)?)
    };
    let bag = open().map_err(|fault: Fault| RepositoryError::damaged(name, fault))?;
    Ok(Some(Unlocked { slot: id, bag }))
}

fn derive(secret: &Secret, salt: &[u8; 32], cost: Argon2Cost) -> Result<SlotKey, RepositoryError> {
    Ok(SlotKey::derive(secret, salt, cost.memory, cost.passes, cost.lanes)?)
}

/// What the wrapped bag is bound to: header, parameters and name.
fn wrap_aad(header: &Header, slot: &Slot, name: &Name) -> Vec<u8> {
    [&header.encode()[..], &slot.encode_parameters(), name.to_string().as_bytes()].concat()
}

/// Stores a slot for a credential, reads it back and opens it.
///
/// KEY-9: only a slot that was read back and opened may be followed by the removal of another.
pub(super) fn add(
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
    store.put_new(&object_name(&name), &object)?;
    match try_slot(store, id, keyring.repository(), credential)? {
        Some(_) => Ok(id),
        None => Err(RepositoryError::damaged(name, Fault::WrongHash)),
    }
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
    let one = |id: Id16| {
        let (secret, about) = match read(store, id, keyring.repository()) {
            Ok((header, slot)) => (Some(slot.secret), open_about(keyring, id, &header, &slot).ok()),
            Err(error) if error.is_damage() => (None, None),
            Err(error) => return Err(error),
        };
        Ok(SlotInfo {
            id,
            secret,
            label: about.as_ref().map(|about| about.label.clone()),
            created: about.as_ref().map(|about| about.created),
            host: about.map(|about| about.host),
            current: id == current,
        })
    };
    list(store)?.into_iter().map(one).collect()
}

fn open_about(keyring: &Keyring, id: Id16, header: &Header, slot: &Slot) -> Result<About, Fault> {
    let aad = header.aad(&Name::Slot(id), ABOUT, slot.about.len());
    Ok(About::decode(&keyring.sealer(header)?.open(&aad, &slot.about)?)?)
}

/// What is wrong with each damaged slot, as far as can be told without its password.
pub(super) fn inspect(store: &dyn Store, keyring: &Keyring) -> Result<Vec<RepositoryError>, RepositoryError> {
    let one = |id: Id16| {
        let (header, slot) = read(store, id, keyring.repository())?;
        let about = open_about(keyring, id, &header, &slot);
        about.map(drop).map_err(|fault| RepositoryError::damaged(Name::Slot(id), fault))
    };
    let failed = list(store)?.into_iter().filter_map(|id| one(id).err());
    failed.map(|error| if error.is_damage() { Ok(error) } else { Err(error) }).collect()
}

/// Removes a slot, unless no other is left that belongs to this repository and can be read.
pub(super) fn remove(store: &dyn Store, keyring: &Keyring, id: Id16) -> Result<(), RepositoryError> {
    let slots = list(store)?;
    if !slots.contains(&id) {
        return Err(RepositoryError::Slot(format!("no key slot {id}")));
    }
    let opens = |other: &Id16| match read(store, *other, keyring.repository()) {
        Ok((header, slot)) => Ok(open_about(keyring, *other, &header, &slot).is_ok()),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
    };
    let mut is_last = true;
    for other in slots.iter().filter(|other| **other != id) {
        is_last = is_last && !opens(other)?;
    }
    if is_last {
        return Err(RepositoryError::Slot(
            "the last key slot cannot be removed: nothing would open the repository".into(),
        ));
    }
    Ok(store.delete(&object_name(&Name::Slot(id)))?)
}
