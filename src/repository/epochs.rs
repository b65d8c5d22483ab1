//! Which seal epoch is in force: the last one whose record stands in `epochs/`. Rules: format-spec/03-keys.md.

use super::error::{Fault, RepositoryError};
use super::keyring::Keyring;
use super::objects::{listed, read_each};
use super::{get_whole, object_name};
use crate::format::Id16;
use crate::format::keys::{Bag, EpochRecord};
use crate::format::limits::SMALL_MAX;
use crate::format::object::{Kind, Name};
use crate::format::sealing::{HEADER, SEAL_OVERHEAD};
use crate::store::Store;

/// What stands at the place of an epoch's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// Nothing: no rotation to it was finished.
    Absent,
    /// A record sealed by the bag's own secret.
    Own,
    /// A record sealed by another secret of this number, or a damaged one.
    Foreign,
    /// The begin of a record: a put that was cut off.
    Torn,
}

/// Looks for the record of an epoch above 0.
///
/// KEY-10: only what the bag's own secret of that number sealed says that the epoch is in force.
pub(super) fn record(store: &dyn Store, keyring: &Keyring, number: u32) -> Result<Record, RepositoryError> {
    let name = Name::Epoch(number);
    let opened = match get_whole(store, &name, SMALL_MAX) {
        Ok(object) if object.len() < HEADER + SEAL_OVERHEAD => return Ok(Record::Torn),
        Ok(object) => keyring.open(&name, &object).and_then(|(_, plain)| Ok(EpochRecord::decode(&plain)?)),
        Err(RepositoryError::Damaged { source: Fault::Missing, .. }) => return Ok(Record::Absent),
        Err(error) if error.is_damage() => return Ok(Record::Foreign),
        Err(error) => return Err(error),
    };
    match opened {
        Ok(record) if record.number == number => Ok(Record::Own),
        Ok(_) | Err(_) => Ok(Record::Foreign),
    }
}

/// The last epoch of a bag that is in force. Epoch 0 always was: `config` is its record.
pub(super) fn in_force(store: &dyn Store, repository: Id16, bag: &Bag) -> Result<u32, RepositoryError> {
    let keyring = Keyring::new(repository, bag.clone());
    for number in (1..=bag.last()).rev() {
        if record(store, &keyring, number)? == Record::Own {
            return Ok(number);
        }
    }
    Ok(0)
}

/// The record of a keyring's last epoch.
pub(super) fn seal(keyring: &Keyring, record: &EpochRecord, salt: [u8; 32]) -> Vec<u8> {
    keyring.seal(&Name::Epoch(record.number), Kind::Epoch, salt, &record.encode())
}

/// What is wrong with the records of a bag's epochs.
pub(super) fn inspect(store: &dyn Store, keyring: &Keyring) -> Result<Vec<RepositoryError>, RepositoryError> {
    // Below the epoch in force a record carries no weight any more.
    let in_weight = |name| match name {
        Name::Epoch(number) => Some(number).filter(|number| *number >= keyring.epoch()),
        _ => None,
    };
    let numbers: Vec<u32> = listed(store, "epochs/")?.into_iter().filter_map(|of| in_weight(of.name)).collect();
    let (read, mut damage) = (|number: &u32| record(store, keyring, *number), Vec::new());
    read_each(
        store,
        &numbers,
        |_| SMALL_MAX,
        read,
        |number, record| {
            if matches!(record?, Record::Foreign | Record::Torn) {
                let name = Name::Epoch(*number);
                let fault = get_whole(store, &name, SMALL_MAX).and_then(|object| {
                    keyring.open(&name, &object).map(drop).map_err(|fault| RepositoryError::damaged(name, fault))
                });
                damage.extend(fault.err());
            }
            Ok(())
        },
    )?;
    Ok(damage)
}

/// Stores a record; whether it stands there now is asked of the store where the answer was lost.
///
/// KEY-11: the one put that brings an epoch into force. Of two rotations to one number the first has decided.
pub(super) fn put_record(
    store: &dyn Store,
    keyring: &Keyring,
    record_of: &EpochRecord,
    salt: [u8; 32],
) -> Result<(), RepositoryError> {
    let number = record_of.number;
    let put = store.put_new(&object_name(&Name::Epoch(number)), seal(keyring, record_of, salt).into());
    let Err(error) = put else { return Ok(()) };
    match record(store, keyring, number) {
        Ok(Record::Own) => Ok(()),
        Ok(Record::Foreign) => {
            Err(RepositoryError::Rotating(format!("another rotation was first to bring epoch {number} into force")))
        }
        Ok(Record::Absent | Record::Torn) | Err(_) => Err(error.into()),
    }
}
