//! Which packs are there: by a LIST of `packs/`, or by what the last one proved. Rules: format-spec/11-sessions.md.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::alarm::Alarm;
use super::catalog::{Catalog, Proof, Standing};
use super::condemned::ReadCondemned;
use super::error::RepositoryError;
use super::notes::{PackHistory, histories};
use super::objects::read_each;
use super::refreshing::millis;
use super::session::Session;
use super::{Repository, lock, object_name};
use crate::format::index::Index;
use crate::format::object::Name;
use crate::format::{ObjectHash, UnixMillis};
use crate::store::PutNew;

/// When packs were stored.
pub(super) type StoredAt = HashMap<ObjectHash, UnixMillis>;

/// An index object that a session put, and the packs it names.
pub(super) type OwnIndex = (String, Vec<(ObjectHash, u64)>);

/// A LIST proves packs for so long.
const PROVES_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// More packs than this are not asked for by name: a LIST shows a thousand at a time.
const BY_NAME: usize = 32;

impl Repository {
    /// Fills the catalog's list of usable packs; says which are missing or damaged, and when the others were stored.
    pub(super) fn prove_packs(&self, condemned: &ReadCondemned) -> Result<(Vec<Alarm>, StoredAt), RepositoryError> {
        let there = match self.carried_over(condemned)? {
            Some(packs) => packs,
            None => self.listed_now(condemned)?,
        };
        let stored_at = there.iter().filter_map(|(pack, (_, time))| Some((*pack, (*time)?))).collect();
        let listed: HashMap<_, _> = there.into_iter().map(|(pack, (size, _))| (pack, size)).collect();
        Ok((self.use_sound(&listed, &condemned.packs)?, stored_at))
    }

    /// Which packs are missing or damaged, as of now: what `check` says of them without reading any.
    pub fn pack_alarms(&self) -> Result<Vec<Alarm>, RepositoryError> {
        match self.pack_alarms_once() {
            Err(error) if error.is_of_catalog() => {
                self.rebuild_catalog()?;
                self.pack_alarms_once()
            }
            other => other,
        }
    }

    /// The same for damage that a check found, by the notes of the last refresh: nothing is asked of the store where
    /// they tell of none.
    pub fn recorded_damage(&self) -> Result<Vec<Alarm>, RepositoryError> {
        let known = || {
            let catalog = lock(&self.catalog);
            let indexed = catalog.indexed_packs()?.into_keys().collect();
            Ok(damaged_among(indexed, &histories(catalog.notes()?, self.ambient.now())))
        };
        match known() {
            Ok(damaged) if damaged.is_empty() => return Ok(Vec::new()),
            Err(error) if !RepositoryError::is_of_catalog(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let mut alarms = self.pack_alarms()?;
        alarms.retain(|alarm| matches!(alarm, Alarm::DamagedPacks { .. }));
        Ok(alarms)
    }

    fn pack_alarms_once(&self) -> Result<Vec<Alarm>, RepositoryError> {
        let condemned = self.condemned()?.packs;
        self.refresh_index()?;
        let listed = self.listed_packs()?;
        self.refresh_notes()?;
        self.use_sound(&listed, &condemned)
    }

    /// Has those packs count as usable that an index names, that are there, that nobody condemned, and that no check found
    /// damaged, by the notes of the last refresh. Says which are missing or damaged.
    ///
    /// NOTE-12: what was recorded as lost is no alarm, nor is what is known without the damaged packs.
    fn use_sound(
        &self,
        listed: &HashMap<ObjectHash, u64>,
        condemned: &HashSet<ObjectHash>,
    ) -> Result<Vec<Alarm>, RepositoryError> {
        let mut lost = lock(&self.catalog).indexed_packs()?;
        lost.retain(|pack, _| !condemned.contains(pack));
        let there: HashSet<ObjectHash> =
            lost.extract_if(|pack, size| listed.get(pack) == Some(size)).map(|(pack, _)| pack).collect();
        let now = self.ambient.now();
        let mut damaged = damaged_among(there, &histories(lock(&self.catalog).notes()?, now));
        if !damaged.is_empty() {
            // They may have been found whole since.
            damaged = damaged_among(damaged, &self.pack_histories(now)?);
        }
        lock(&self.catalog).set_usable(listed, &condemned.union(&damaged).copied().collect())?;
        if !lost.is_empty() || !damaged.is_empty() {
            let recorded = self.losses()?.packs;
            lost.retain(|pack, _| !recorded.contains(pack));
            damaged.retain(|pack| !recorded.contains(pack));
            damaged = lock(&self.catalog).with_unknown(&damaged)?;
        }
        let first =
            |packs: &mut dyn Iterator<Item = &ObjectHash>| packs.map(|pack| Name::Pack(*pack).to_string()).min();
        let (missing, wrong) = (first(&mut lost.keys()), first(&mut damaged.iter()));
        let missing = missing.map(|first| Alarm::Packs { lost: lost.len(), first });
        let wrong = wrong.map(|first| Alarm::DamagedPacks { damaged: damaged.len(), first });
        Ok(missing.into_iter().chain(wrong).collect())
    }

    /// Whether what the store answered is worth keeping.
    pub(super) fn is_far(&self) -> bool {
        self.store.is_far()
    }

    /// What a LIST proved is not carried over any more: the next session lists packs again, and notes.
    pub(super) fn end_proof(&self) -> Result<(), RepositoryError> {
        lock(&self.catalog).end_proof()?;
        let shared = self.catalog_directory().map(|directory| Catalog::open_shared(&directory, self.id()));
        match shared.transpose()?.flatten() {
            Some(mut shared) => shared.end_proof(),
            None => Ok(()),
        }
    }

    /// A LIST of `packs/`, of which the catalog keeps what it proved; and one of `notes/`, for what was found of them.
    fn listed_now(&self, condemned: &ReadCondemned) -> Result<BTreeMap<ObjectHash, Standing>, RepositoryError> {
        let listed = self.ambient.now();
        let packs: BTreeMap<ObjectHash, Standing> = self.listed_packs_with_times()?.into_iter().collect();
        self.refresh_notes()?;
        if self.is_far() && condemned.unreadable.is_empty() {
            let mut catalog = lock(&self.catalog);
            let (index, named) = (catalog.sources()?.into_iter().collect(), catalog.indexed_packs()?);
            let mut proved = packs.clone();
            proved.retain(|pack, _| named.contains_key(pack));
            let condemned = condemned.ids.iter().copied().collect();
            catalog.change_proof(|_| Some(Proof { listed, condemned, index, packs: proved }))?;
        }
        Ok(packs)
    }

    /// SESS-10: the packs that were proved before and are there still, and those that index objects name since; `None` where
    /// that cannot be told without a LIST.
    fn carried_over(
        &self,
        condemned: &ReadCondemned,
    ) -> Result<Option<BTreeMap<ObjectHash, Standing>>, RepositoryError> {
        if !self.is_far() || !condemned.unreadable.is_empty() {
            return Ok(None);
        }
        let catalog = lock(&self.catalog);
        let (proof, named, sources) = (catalog.proof()?, catalog.indexed_packs()?, catalog.sources()?);
        drop(catalog);
        let Some(mut proof) = proof else { return Ok(None) };
        let age = self.ambient.now().0.checked_sub(proof.listed.0).map(Duration::from_millis);
        let shows_the_same = proof.condemned == condemned.ids.iter().copied().collect()
            && proof.index.iter().all(|index| sources.contains(index));
        if age.is_none_or(|age| age >= PROVES_FOR) || !shows_the_same {
            return Ok(None);
        }
        let is_new = sources.iter().any(|index| !proof.index.contains(index));
        let new: Vec<ObjectHash> = match is_new {
            true => named.into_keys().filter(|pack| !proof.packs.contains_key(pack)).collect(),
            false => Vec::new(),
        };
        if new.len() > BY_NAME {
            return Ok(None);
        }
        let ask = |pack: &ObjectHash| self.store.stat(&object_name(&Name::Pack(*pack)));
        let mut found = Vec::new();
        read_each(
            &*self.store,
            &new,
            |_| 1,
            ask,
            |pack, stat| {
                found.extend(stat?.map(|stat| (*pack, (stat.size, stat.modified.map(millis)))));
                Ok(())
            },
        )?;
        proof.packs.extend(found.iter().copied());
        if is_new {
            lock(&self.catalog).change_proof(|kept| kept.map(|kept| kept.with(sources, found)))?;
        }
        Ok(Some(proof.packs))
    }
}

/// Those of these packs that the newest note calls damaged.
fn damaged_among(mut packs: HashSet<ObjectHash>, histories: &HashMap<ObjectHash, PackHistory>) -> HashSet<ObjectHash> {
    packs.retain(|pack| histories.get(pack).is_some_and(|history| history.fault().is_some()));
    packs
}

impl Proof {
    /// What else is proved now, as long as it is beside what was.
    fn with(
        mut self,
        index: impl IntoIterator<Item = String>,
        packs: impl IntoIterator<Item = (ObjectHash, Standing)>,
    ) -> Proof {
        self.index.extend(index);
        self.packs.extend(packs);
        self
    }
}

impl Session<'_> {
    /// An index object that it put.
    pub(super) fn has_put(&self, name: &Name, index: &Index) {
        let packs = index.packs.iter().map(|pack| (pack.pack, pack.size)).collect();
        lock(&self.own).push((name.to_string(), packs));
    }

    /// A commit that only one writer can have made says that no sweep has given the session up: what it stored is there.
    pub(super) fn carry_own(&self) -> Result<(), RepositoryError> {
        let repository = self.repository;
        let own = std::mem::take(&mut *lock(&self.own));
        if own.is_empty() || !repository.is_far() || repository.store.promises().put_new != PutNew::Exclusive {
            return Ok(());
        }
        let (index, packs): (Vec<String>, Vec<_>) = own.into_iter().unzip();
        let packs = packs.into_iter().flatten().map(|(pack, size)| (pack, (size, None)));
        lock(&repository.catalog).change_proof(|kept| kept.map(|kept| kept.with(index, packs)))
    }
}
