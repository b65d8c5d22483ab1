//! `key`: the passwords and key files a repository opens with.

use zeroize::Zeroizing;

use super::OperationError;
use crate::crypto::passphrase::Secret;
use crate::format::keys::{Argon2Cost, SecretKind};
use crate::format::{Id16, recovery};
use crate::repository::{Ambient, Credential, Repository, Rotation, SlotInfo};

/// All slots.
pub fn list(repository: &Repository) -> Result<Vec<SlotInfo>, OperationError> {
    Ok(repository.slots()?)
}

/// Adds a password or key file.
pub fn add(
    repository: &Repository,
    credential: &Credential,
    label: &str,
    cost: Argon2Cost,
) -> Result<Id16, OperationError> {
    Ok(repository.add_slot(credential, label, cost)?)
}

/// Removes the slot whose id begins with `prefix`, but neither the last one nor, unless `even_current`, the one in use.
pub fn remove(repository: &Repository, prefix: &str, even_current: bool) -> Result<Id16, OperationError> {
    let slots = repository.slots()?;
    let mut fitting = slots.iter().filter(|slot| !prefix.is_empty() && slot.id.to_string().starts_with(prefix));
    let slot = match (fitting.next(), fitting.next()) {
        (Some(slot), None) => slot,
        (None, _) => {
            let hint = "list the slots with: redkeep key list".to_string();
            return Err(OperationError::Refused { what: format!("no key slot {prefix}"), hint });
        }
        (Some(_), Some(_)) => {
            return Err(OperationError::Ambiguous { what: format!("several key slots begin with {prefix}") });
        }
    };
    if slot.current && !even_current {
        return Err(OperationError::Refused {
            what: format!("key slot {} is the one this command opened the repository with", slot.id),
            hint: "use another password or key file to remove it, or change it with: redkeep key passwd".into(),
        });
    }
    repository.remove_slot(slot.id)?;
    Ok(slot.id)
}

/// Replaces the slot in use by one for another password or key file: the new one is read back and opened before the
/// old one goes.
pub fn passwd(
    repository: &Repository,
    credential: &Credential,
    cost: Argon2Cost,
) -> Result<(Id16, Id16), OperationError> {
    let old = repository.current_slot();
    let label = repository.slots()?.into_iter().find(|slot| slot.id == old).and_then(|slot| slot.label);
    let new = repository.add_slot(credential, &label.unwrap_or_default(), cost)?;
    repository.remove_slot(old)?;
    Ok((old, new))
}

/// Rotates the master key: `keep` are the secrets that open the repository afterwards, beside the one in use.
pub fn rotate(
    repository: &Repository,
    keep: &[Credential],
    drop_others: bool,
    cost: Argon2Cost,
) -> Result<Rotation, OperationError> {
    Ok(repository.rotate(keep, drop_others, cost)?)
}

/// A recovery key, and the password it is. It is stored nowhere but in whose hands it is put.
pub fn recovery_key(ambient: &Ambient) -> (Zeroizing<String>, Credential) {
    let text = recovery::write(&ambient.random());
    let secret = Secret::new(text.as_bytes().to_vec());
    (text, Credential { kind: SecretKind::Password, secret })
}
