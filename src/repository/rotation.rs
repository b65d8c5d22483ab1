//! Rotation of the master key: a new seal epoch, and new slots that know it. Rules: format-spec/03-keys.md, Rotation.

use std::sync::Arc;

use super::error::{Fault, RepositoryError};
use super::keyring::Keyring;
use super::slots::{self, Found};
use super::{Credential, Repository, epochs};
use crate::format::Id16;
use crate::format::keys::{Argon2Cost, Bag, EpochRecord};
use crate::format::object::Name;
use crate::store::PutNew;

/// What a rotation did.
#[derive(Debug)]
pub struct Rotation {
    /// The epoch that is in force now.
    pub epoch: u32,
    /// Slots that know it, one for each secret that was kept.
    pub added: Vec<Id16>,
    /// Slots that are gone.
    pub removed: Vec<Id16>,
    /// Slots that should be gone, and why they are not.
    pub not_removed: Vec<(Id16, RepositoryError)>,
}

/// A secret to keep, and what the best of its slots says.
struct Kept<'c> {
    credential: &'c Credential,
    bag: Bag,
    epoch: u32,
    label: String,
}

/// All slots, by what becomes of them.
#[derive(Default)]
struct Survey {
    /// Opened by a secret that is kept: another slot takes their place. Or cut off by a rotation that was killed: they
    /// open for nobody.
    superseded: Vec<Id16>,
    /// Opened by none of the secrets given.
    others: Vec<Id16>,
}

impl Survey {
    fn has(&self, id: Id16) -> bool {
        self.superseded.contains(&id) || self.others.contains(&id)
    }
}

impl Repository {
    /// Appends a seal epoch: new objects are sealed by it at once, those that are there stay readable. `keep` are the
    /// secrets that will open the repository beside the one it was opened with; slots of others go only where
    /// `drop_others` says so.
    ///
    /// KEY-16: slots that know the new epoch first, then a look at all slots, then the record that brings it into force,
    /// and only then the old slots go. Until the record stands nothing but own slots is deleted.
    /// KEY-17: not where two rotations could both win.
    pub fn rotate(
        &self,
        keep: &[Credential],
        drop_others: bool,
        cost: Argon2Cost,
    ) -> Result<Rotation, RepositoryError> {
        if self.store.promises().put_new != PutNew::Exclusive {
            let why = "the master key cannot be rotated on this store: it may let two rotations succeed at once";
            return Err(RepositoryError::Slot(why.into()));
        }
        let credentials = once([&self.credential].into_iter().chain(keep));
        let mut survey = Survey::default();
        let kept = self.survey_slots(&credentials, &mut survey)?;
        refuse_others(&survey, drop_others)?;
        let keyring = Arc::new(Keyring::new(self.id(), self.next_bag(&kept)?));
        let mut added = Vec::new();
        let prepared = self.put_slots(&keyring, &kept, cost, &mut added).and_then(|()| {
            self.survey_again(&credentials, &keyring, &added, &mut survey)?;
            refuse_others(&survey, drop_others)
        });
        if let Err(error) = prepared {
            // Nobody else knows the new epoch, so nothing depends on these. What cannot be deleted is found unfinished.
            added.iter().for_each(|id| drop(slots::delete(&*self.store, *id)));
            return Err(error);
        }
        let record = EpochRecord { number: keyring.epoch(), begun: self.ambient.now() };
        let put = epochs::put_record(&*self.store, &keyring, &record, self.ambient.random());
        if let Err(RepositoryError::Rotating(_)) = put {
            self.withdraw_losers(&kept, &added, record.number);
        }
        put?;
        if let Some(own) = added.first() {
            self.use_keys(*own, &keyring);
        }
        Ok(self.delete_old(survey, added, record))
    }

    fn delete_old(&self, survey: Survey, added: Vec<Id16>, record: EpochRecord) -> Rotation {
        let (mut removed, mut not_removed) = (Vec::new(), Vec::new());
        for id in survey.superseded.into_iter().chain(survey.others) {
            match slots::delete(&*self.store, id) {
                Ok(()) => removed.push(id),
                Err(error) => not_removed.push((id, error)),
            }
        }
        Rotation { epoch: record.number, added, removed, not_removed }
    }

    /// Takes back the slots of a rotation that lost, where the winner left one for each of their secrets. What stays
    /// is found unfinished by the next rotation.
    fn withdraw_losers(&self, kept: &[Kept<'_>], added: &[Id16], number: u32) {
        for (kept, own) in kept.iter().zip(added) {
            let best = slots::unlock(&*self.store, self.id(), kept.credential);
            if best.is_ok_and(|best| best.is_some_and(|best| best.epoch >= number)) {
                drop(slots::delete(&*self.store, *own));
            }
        }
    }

    /// Tries every secret on every slot. Each has to open one. A slot that is gone by now counts for nothing: another one
    /// may have taken its place, and whether a secret opens that is not known.
    fn survey_slots<'c>(
        &self,
        credentials: &[&'c Credential],
        survey: &mut Survey,
    ) -> Result<Vec<Kept<'c>>, RepositoryError> {
        let mut kept: Vec<Option<Kept<'c>>> = credentials.iter().map(|_| None).collect();
        let mut is_any_gone = false;
        for id in slots::list(&*self.store)? {
            let opener = match self.find_opener(id, credentials) {
                Err(error) if is_gone(&error) => {
                    is_any_gone = true;
                    continue;
                }
                other => other?,
            };
            match opener {
                None if slots::is_torn(&*self.store, id, self.id(), self.current_epoch())? => {
                    survey.superseded.push(id)
                }
                None => survey.others.push(id),
                Some((place, found, bag)) => {
                    survey.superseded.push(id);
                    let better = self.describe_kept(credentials, place, &found, bag)?;
                    if let (Some(better), Some(have)) = (better, kept.get_mut(place))
                        && have.as_ref().is_none_or(|have| have.rank() < better.rank())
                    {
                        *have = Some(better);
                    }
                }
            }
        }
        let wrong = || match is_any_gone {
            true => at_work(),
            false => RepositoryError::WrongSecret { location: self.location() },
        };
        kept.into_iter().map(|kept| kept.ok_or_else(wrong)).collect()
    }

    fn describe_kept<'c>(
        &self,
        credentials: &[&'c Credential],
        place: usize,
        found: &Found,
        bag: Bag,
    ) -> Result<Option<Kept<'c>>, RepositoryError> {
        let epoch = epochs::in_force(&*self.store, self.id(), &bag)?;
        let keyring = Keyring::new(self.id(), bag.clone());
        let label = slots::open_about(&keyring, found).map_or_else(|_| String::new(), |about| about.label);
        Ok(credentials.get(place).map(|credential| Kept { credential, bag, epoch, label }))
    }

    /// Which of the secrets opens a slot. None opens a damaged one; one that is gone is an error.
    fn find_opener(
        &self,
        id: Id16,
        credentials: &[&Credential],
    ) -> Result<Option<(usize, Found, Bag)>, RepositoryError> {
        let found = match slots::read(&*self.store, id, self.id()) {
            Ok(found) => found,
            Err(error) if error.is_damage() && !is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        for (place, credential) in credentials.iter().enumerate() {
            match slots::open(&found, credential) {
                Ok(Some(bag)) => return Ok(Some((place, found, bag))),
                Ok(None) => {}
                Err(error) if error.is_damage() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The bag that knows most, and one more epoch. Epochs that never came into force keep their numbers: their
    /// secrets cost nothing, and should a record have been lost, what it had brought into force stays readable.
    fn next_bag(&self, kept: &[Kept<'_>]) -> Result<Bag, RepositoryError> {
        let Some(best) = kept.iter().max_by_key(|kept| kept.rank()) else {
            return Err(RepositoryError::WrongSecret { location: self.location() });
        };
        let keyring = Keyring::new(self.id(), best.bag.clone());
        for number in best.epoch + 1..=best.bag.last() + 1 {
            let is_free = match epochs::record(&*self.store, &keyring, number)? {
                epochs::Record::Absent => true,
                // Should it once have been whole, the bag has the secret.
                epochs::Record::Torn => number <= best.bag.last(),
                // Absent from the bag, or there with another secret: either way somebody knows more than is given.
                epochs::Record::Foreign | epochs::Record::Own => false,
            };
            if !is_free {
                let name = Name::Epoch(number);
                let why = format!("{name} opens with none of the secrets given: give one whose slot knows that epoch");
                return Err(RepositoryError::Slot(why));
            }
        }
        let mut bag = best.bag.clone();
        bag.epochs.push(self.ambient.random());
        Ok(bag)
    }

    fn put_slots(
        &self,
        keyring: &Keyring,
        kept: &[Kept<'_>],
        cost: Argon2Cost,
        added: &mut Vec<Id16>,
    ) -> Result<(), RepositoryError> {
        for Kept { credential, label, .. } in kept {
            let put = slots::put(&*self.store, &self.ambient, keyring, credential, label, cost);
            added.push(put.map_err(|error| if is_gone(&error) { at_work() } else { error })?);
        }
        Ok(())
    }

    /// Looks for slots that came since. One of another rotation that is at work stops this one.
    fn survey_again(
        &self,
        credentials: &[&Credential],
        keyring: &Keyring,
        added: &[Id16],
        survey: &mut Survey,
    ) -> Result<(), RepositoryError> {
        for id in slots::list(&*self.store)? {
            if added.contains(&id) || survey.has(id) {
                continue;
            }
            let opener = match self.find_opener(id, credentials) {
                Err(error) if is_gone(&error) => continue,
                other => other?,
            };
            match opener {
                Some((_, found, _)) if found.header.epoch >= keyring.epoch() => return Err(at_work()),
                Some(_) => survey.superseded.push(id),
                None if slots::is_torn(&*self.store, id, self.id(), self.current_epoch())? => {
                    survey.superseded.push(id)
                }
                None => survey.others.push(id),
            }
        }
        Ok(())
    }
}

impl Kept<'_> {
    fn rank(&self) -> (u32, u32) {
        (self.epoch, self.bag.last())
    }
}

/// Each secret once.
fn once<'c>(credentials: impl Iterator<Item = &'c Credential>) -> Vec<&'c Credential> {
    let mut once: Vec<&Credential> = Vec::new();
    for credential in credentials {
        if !once.iter().any(|have| have.kind == credential.kind && have.secret == credential.secret) {
            once.push(credential);
        }
    }
    once
}

/// Whether a slot that was listed, or put, is gone by now.
fn is_gone(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::Damaged { source: Fault::Missing, .. })
}

fn at_work() -> RepositoryError {
    RepositoryError::Rotating("another rotation of the master key is at work: nothing was changed".into())
}

fn refuse_others(survey: &Survey, drop_others: bool) -> Result<(), RepositoryError> {
    if drop_others || survey.others.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = survey.others.iter().map(|id| id.to_string().chars().take(8).collect()).collect();
    let (slots, own, it) = if ids.len() == 1 { ("slot", "its", "it") } else { ("slots", "their", "them") };
    Err(RepositoryError::Slot(format!(
        "none of the secrets given opens key {slots} {}: give {own} password or key file too, or let {it} go with --drop-other-slots",
        ids.join(", ")
    )))
}
