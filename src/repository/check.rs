//! Checking the repository itself: that everything a snapshot needs is there and, on request, that every byte of it is
//! what was stored. Rules: format-spec/15-notes.md.

mod follow;
mod reading;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::alarm::Alarm;
use super::condemned::ReadCondemned;
use super::error::{Fault, RepositoryError};
use super::losses::Losses;
use super::{Repository, epochs, lock, slots};
use crate::format::limits::{CONDEMNED_MAX, LEDGER_MAX, ROSTER_MAX, SMALL_MAX};
use crate::format::object::Name;
use crate::format::{ChunkId, Id16, ObjectHash};

pub use reading::Reading;

/// How much of a repository is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckDepth {
    /// Objects are there with the right size, small ones can be read, every chunk is known.
    Structure,
    /// Also every pack is read and decoded, and every chunk compared with its id.
    Data,
    /// Also one of several parts of the packs is read; a pack is always in the same part.
    Subset {
        /// Which part, from 1.
        part: u64,
        /// How many there are.
        of: u64,
    },
    /// Also a share of the packs is read: those that were not read for longest.
    Share {
        /// Hundredths of a per cent.
        hundredths: u32,
    },
    /// Also packs are read that no check found whole within this time, the longest unread first.
    MaxAge(Duration),
}

/// Something that is damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A chunk that cannot be had from any pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// Snapshot id and path of each file that needs it.
    pub files: Vec<(Id16, String)>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Packs that were looked at.
    pub packs: u64,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// Which packs were read, and which were not.
    pub reading: Reading,
    /// Snapshots whose chunks were followed.
    pub snapshots: u64,
    /// Distinct chunks they use.
    pub chunks: u64,
    /// Packs no index object names: left by a killed session, or their index object is lost.
    pub unindexed_packs: u64,
    /// Objects that are damaged or missing, unless their loss was recorded.
    pub damage: Vec<Damage>,
    /// Snapshots that were seen at another location of the repository, and are not at this one: no damage.
    pub elsewhere: Vec<Damage>,
    /// Packs that an earlier check found damaged, and that nobody needs: what snapshots need of them is elsewhere, too.
    pub replaced: Vec<Damage>,
    /// Snapshot id and path of every file that cannot be restored whole.
    pub lost_files: Vec<(Id16, String)>,
    /// Chunks that cannot be had, by their ids.
    pub lost_chunks: Vec<LostChunk>,
}

impl CheckReport {
    /// Whether nothing is damaged, missing or lost.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.lost_files.is_empty()
    }
}

/// A report, and what a repair needs besides.
pub(super) struct Findings {
    pub report: CheckReport,
    /// Condemned packs, and the ids that name them.
    pub condemned: ReadCondemned,
    pub listed: HashMap<ObjectHash, u64>,
    pub indexed: HashMap<ObjectHash, u64>,
    /// Packs that are missing, cut short or damaged, recorded or not.
    pub lost_packs: BTreeSet<ObjectHash>,
    /// Chunks that cannot be had, those of forgotten snapshots too.
    pub lost_chunks: Vec<LostChunk>,
    /// Objects that are missing or cannot be read, and were not recorded.
    pub lost_objects: BTreeSet<String>,
    pub losses: Losses,
}

/// The round in which only packs that index objects name are followed.
const FIRST: i64 = 1;
/// The round after packs were taken in that none names.
const AGAIN: i64 = 2;

impl Repository {
    /// Checks the repository. `progress` gets bytes of packs read and to read.
    pub fn check(
        &self,
        depth: CheckDepth,
        stop: &(dyn Fn() -> bool + Sync),
        progress: &dyn Fn(u64, u64),
    ) -> Result<CheckReport, RepositoryError> {
        self.rebuild_catalog()?;
        let reading = self.read_due(depth, stop, progress)?;
        let go_on = || if stop() { Err(RepositoryError::Interrupted) } else { Ok(()) };
        Ok(self.survey(reading, &go_on)?.report)
    }

    /// Looks at everything but the bodies of packs, given what reading them showed.
    ///
    /// NOTE-7: what was recorded as lost is no damage; files that need it are named.
    pub(super) fn survey(
        &self,
        reading: Reading,
        stop: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<Findings, RepositoryError> {
        // Before packs are listed: one that a sweep deletes from here on is named here, or by no index object then.
        let condemned = self.read_condemned()?;
        let alarms = self.refresh()?;
        let losses = self.losses()?;
        let mut report = CheckReport { bytes_read: reading.bytes, reading, ..CheckReport::default() };
        let mut lost_objects = BTreeSet::new();
        for alarm in alarms {
            lost_objects.extend(alarm.object().map(String::from));
            let is_elsewhere = matches!(alarm, Alarm::Elsewhere { .. });
            let told = if is_elsewhere { &mut report.elsewhere } else { &mut report.damage };
            told.push(damage_of(&alarm));
        }
        for (name, fault) in self.unreadable_objects(&condemned)? {
            if !losses.has(&name.to_string()) {
                lost_objects.insert(name.to_string());
                report.damage.push(Damage { object: name.to_string(), problem: fault.to_string() });
            }
        }
        let keys = slots::inspect(&*self.store, &self.keyring())?;
        for error in
            self.inspect_config()?.into_iter().chain(keys).chain(epochs::inspect(&*self.store, &self.keyring())?)
        {
            report.damage.push(damage_in(error)?);
        }
        let (listed, indexed) = (self.listed_packs()?, lock(&self.catalog).indexed_packs()?);
        let (lost_packs, lost_chunks) = (BTreeSet::new(), Vec::new());
        let mut findings =
            Findings { report, condemned, listed, indexed, lost_packs, lost_chunks, lost_objects, losses };
        self.compare_packs(&mut findings)?;
        self.follow_all(&mut findings, stop)?;
        Ok(findings)
    }

    /// Small objects that cannot be read. One that is gone between LIST and GET was done with.
    fn unreadable_objects(&self, condemned: &ReadCondemned) -> Result<Vec<(Name, Fault)>, RepositoryError> {
        let mut unreadable = condemned.unreadable.clone();
        unreadable.extend(self.refresh_notes()?);
        let small =
            [("forgotten/", LEDGER_MAX), ("leases/", SMALL_MAX), ("burials/", CONDEMNED_MAX), ("rosters/", ROSTER_MAX)];
        for (prefix, limit) in small {
            for (of, read) in self.read_all(prefix, limit, &|_, _, _| Ok(()))? {
                match read {
                    Ok(()) | Err(Fault::Missing) => {}
                    Err(fault) => unreadable.push((of.name, fault)),
                }
            }
        }
        Ok(unreadable)
    }

    /// Finds indexed packs that are not listed with their size, and makes all that are sound count as known.
    fn compare_packs(&self, findings: &mut Findings) -> Result<(), RepositoryError> {
        let is_missing = |(pack, _): (&ObjectHash, &u64)| !findings.listed.contains_key(pack);
        if findings.indexed.iter().any(is_missing) {
            // A sweep deletes index objects before the packs they name: they may have gone since index/ was listed.
            self.refresh_index()?;
            findings.indexed = lock(&self.catalog).indexed_packs()?;
        }
        let Findings { report, condemned, listed, indexed, lost_packs, losses, .. } = findings;
        report.packs = listed.len() as u64;
        report.unindexed_packs = listed.keys().filter(|pack| !indexed.contains_key(pack)).count() as u64;
        let mut damage: BTreeMap<ObjectHash, String> = BTreeMap::new();
        for (pack, size) in indexed.iter() {
            match listed.get(pack) {
                Some(found) if found == size => {}
                Some(found) => drop(damage.insert(*pack, wrong_size(*size, *found))),
                // What is condemned may be deleted, and what is still needed of it was stored elsewhere.
                None if condemned.packs.contains(pack) => {}
                None => drop(damage.insert(*pack, Fault::Missing.to_string())),
            }
        }
        for (pack, fault) in report.reading.damaged.iter().filter(|(pack, _)| listed.contains_key(pack)) {
            damage.entry(*pack).or_insert_with(|| fault.clone());
        }
        lost_packs.extend(damage.keys());
        damage.retain(|pack, _| !losses.packs.contains(pack));
        let told = |(pack, problem)| Damage { object: Name::Pack(pack).to_string(), problem };
        report.damage.extend(damage.into_iter().map(told));
        let mut sound = listed.clone();
        sound.retain(|pack, _| !lost_packs.contains(pack) && !losses.packs.contains(pack));
        lock(&self.catalog).set_usable(&sound, &HashSet::new())
    }

    /// Follows the snapshots, and once more with packs that no index object names where something is lost.
    ///
    /// NOTE-13: then it is known whether anybody still needs what is damaged.
    fn follow_all(
        &self,
        findings: &mut Findings,
        stop: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        lock(&self.catalog).clear_followed()?;
        let mut followed = self.follow_snapshots(FIRST, &findings.losses, stop)?;
        if followed.has_losses() {
            // A sweep may have stored elsewhere what it then deleted.
            self.refresh_index()?;
            let (listed, indexed) = (self.listed_packs()?, lock(&self.catalog).indexed_packs()?);
            let is_lost =
                |pack: &ObjectHash| findings.lost_packs.contains(pack) || findings.losses.packs.contains(pack);
            let mut sound = listed.clone();
            sound.retain(|pack, _| !is_lost(pack));
            lock(&self.catalog).set_usable(&sound, &HashSet::new())?;
            let others = listed.into_iter().filter(|(pack, _)| !indexed.contains_key(pack));
            let (damaged, whole): (Vec<_>, Vec<_>) = others.partition(|(pack, _)| is_lost(pack));
            let mut others = self.take_in(whole.into_iter(), true)?;
            others.extend(self.take_in(damaged.into_iter(), false)?);
            let leans_on_damage = followed.leans_on_damage;
            followed = self.follow_snapshots(AGAIN, &findings.losses, stop)?;
            followed.leans_on_damage |= leans_on_damage;
            let needed = self.needed_among(AGAIN, &others)?;
            findings.report.unindexed_packs = findings.report.unindexed_packs.saturating_sub(needed.len() as u64);
            findings.report.damage.extend(needed.into_iter().map(unnamed));
        }
        let report = &mut findings.report;
        report.chunks = lock(&self.catalog).followed_count()?;
        report.snapshots = followed.snapshots;
        findings.lost_chunks = followed.lost_chunks();
        // Said when it was found, and harmless by now.
        if !followed.has_losses() && !followed.leans_on_damage {
            let known = &report.reading.known_damaged;
            let is_known =
                |of: &Damage| matches!(Name::parse(&of.object), Some(Name::Pack(pack)) if known.contains(&pack));
            report.replaced = report.damage.extract_if(.., |of| is_known(of)).collect();
        }
        report.damage.extend(followed.damage);
        let missed: HashSet<Id16> = followed.lost_files.iter().map(|(id, _)| *id).collect();
        let is_missed = |lost: &&LostChunk| lost.files.iter().any(|(id, _)| missed.contains(id));
        report.lost_chunks = findings.lost_chunks.iter().filter(is_missed).cloned().collect();
        report.lost_files = followed.lost_files;
        Ok(())
    }
}

fn wrong_size(expected: u64, found: u64) -> String {
    Fault::WrongSize { expected, found }.to_string()
}

/// A pack that snapshots cannot do without. A restore finds it; a backup does not use what it holds.
fn unnamed(object: String) -> Damage {
    let problem = "no index object names it, and snapshots need it: the index object that did is lost or damaged";
    Damage { object, problem: problem.into() }
}

/// An error as damage; trouble in reaching the repository stays an error.
fn damage_in(error: RepositoryError) -> Result<Damage, RepositoryError> {
    match error {
        RepositoryError::Damaged { object, source } => Ok(Damage { object, problem: source.to_string() }),
        RepositoryError::UnknownChunk { chunk } => {
            Ok(Damage { object: format!("chunk {chunk}"), problem: "it is in no sound pack".into() })
        }
        other => Err(other),
    }
}

fn damage_of(alarm: &Alarm) -> Damage {
    let object = match alarm {
        Alarm::Index { object, .. }
        | Alarm::Snapshot { object, .. }
        | Alarm::Forgotten { object, .. }
        | Alarm::Undone { object }
        | Alarm::Late { object } => object.clone(),
        Alarm::Gap { missing, .. } | Alarm::Rollback { missing } | Alarm::Elsewhere { missing, .. } => missing.clone(),
        Alarm::Packs { first, .. } | Alarm::DamagedPacks { first, .. } => first.clone(),
        Alarm::State { path } => path.clone(),
        Alarm::NotNoted { .. } => "catalog".into(),
        Alarm::NotRemembered { .. } => "state".into(),
    };
    // Its name stands beside it.
    let text = alarm.to_string();
    let problem = text.strip_prefix(&format!("{object} ")).map(|rest| format!("it {rest}"));
    Damage { object, problem: problem.unwrap_or(text) }
}
