//! Checking the repository itself: that everything a snapshot needs is there and, on request, that every byte of it is
//! what was stored.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::chunk_reader::ChunkReader;
use super::error::{Fault, RepositoryError};
use super::opening::Alarm;
use super::pack_reader::check_pack;
use super::stream::walk;
use super::{Repository, lock, object_name};
use crate::format::limits::PACK_MAX;
use crate::format::object::Name;
use crate::format::recipe::Stream;
use crate::format::snapshot::Snapshot;
use crate::format::{ChunkId, Id16, ObjectHash};
use crate::store::StoreError;

/// How much of a repository is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckDepth {
    /// Objects are there with the right size, snapshots and index objects can be read, every chunk is known.
    Structure,
    /// Also every pack is read and decoded, and every chunk compared with its id.
    Data,
}

/// Something that is damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Packs that were looked at.
    pub packs: u64,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// Snapshots whose chunks were followed.
    pub snapshots: u64,
    /// Distinct chunks they use.
    pub chunks: u64,
    /// Packs no index object names: left by a killed session, or their index object is lost.
    pub unindexed_packs: u64,
    /// Objects that are damaged or missing.
    pub damage: Vec<Damage>,
    /// Snapshot id and path of every file that cannot be restored whole.
    pub lost_files: Vec<(Id16, String)>,
}

impl Repository {
    /// Checks the repository. `progress` gets bytes of packs read and to read.
    pub fn check(
        &self,
        depth: CheckDepth,
        stop: &(dyn Fn() -> bool + Sync),
        progress: &dyn Fn(u64, u64),
    ) -> Result<CheckReport, RepositoryError> {
        let mut report = CheckReport::default();
        for alarm in self.rebuild_catalog()? {
            report.damage.push(damage_of(&alarm));
        }
        let listed = self.listed_packs()?;
        let indexed = lock(&self.catalog).indexed_packs()?;
        let mut sound = self.compare_packs(&listed, &indexed, &mut report);
        if depth == CheckDepth::Data {
            self.read_packs(&listed, &mut sound, &mut report, stop, progress)?;
        }
        lock(&self.catalog).set_usable(&sound, &HashSet::new())?;
        self.follow_snapshots(&mut report, stop)?;
        Ok(report)
    }

    /// Indexed packs that are listed with their size.
    fn compare_packs(
        &self,
        listed: &HashMap<ObjectHash, u64>,
        indexed: &HashMap<ObjectHash, u64>,
        report: &mut CheckReport,
    ) -> HashMap<ObjectHash, u64> {
        report.packs = listed.len() as u64;
        report.unindexed_packs = listed.keys().filter(|pack| !indexed.contains_key(pack)).count() as u64;
        let mut sound = HashMap::new();
        for (pack, size) in indexed {
            let fault = match listed.get(pack) {
                Some(found) if found == size => {
                    sound.insert(*pack, *size);
                    continue;
                }
                Some(found) => Fault::WrongSize { expected: *size, found: *found },
                None => Fault::Missing,
            };
            report.damage.push(Damage { object: Name::Pack(*pack).to_string(), problem: fault.to_string() });
        }
        report.damage.sort_by(|a, b| a.object.cmp(&b.object));
        sound
    }

    /// Reads every listed pack whole. Memory: one pack, and a decoded frame a core.
    fn read_packs(
        &self,
        listed: &HashMap<ObjectHash, u64>,
        sound: &mut HashMap<ObjectHash, u64>,
        report: &mut CheckReport,
        stop: &(dyn Fn() -> bool + Sync),
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), RepositoryError> {
        let total = listed.values().sum();
        let packs: BTreeMap<_, _> = listed.iter().collect();
        for (pack, size) in packs {
            if stop() {
                return Err(RepositoryError::Interrupted);
            }
            let name = Name::Pack(*pack);
            match self.check_one_pack(*pack) {
                Ok(()) => {}
                Err(RepositoryError::Damaged { source, .. }) => {
                    sound.remove(pack);
                    let problem = source.to_string();
                    // Reported above when its size was wrong already.
                    if report.damage.iter().all(|damage| damage.object != name.to_string()) {
                        report.damage.push(Damage { object: name.to_string(), problem });
                    }
                }
                Err(error) => return Err(error),
            }
            report.bytes_read += size;
            progress(report.bytes_read, total);
        }
        Ok(())
    }

    fn check_one_pack(&self, pack: ObjectHash) -> Result<(), RepositoryError> {
        let name = Name::Pack(pack);
        let damaged = |fault: Fault| RepositoryError::damaged(name, fault);
        let object = match self.store.get(&object_name(&name), PACK_MAX) {
            Err(StoreError::NotFound { .. }) => return Err(damaged(Fault::Missing)),
            Err(StoreError::TooLarge { .. }) => return Err(damaged(Fault::WrongHash)),
            other => other?,
        };
        let reader = ChunkReader::new(self);
        let epoch = crate::format::sealing::Header::decode(&object).map_or(0, |(header, _)| header.epoch);
        let keyring = self.keyring_for(epoch)?;
        let bases = |_: ChunkId, bases: &[_], delta: &[u8], length| {
            reader.undelta(bases, delta, length).map_err(|error| Fault::Bases(error.to_string()))
        };
        let found = check_pack(&keyring, pack, &object, &bases).map_err(damaged)?;
        // What the index claims of a pack has to be what the pack says itself.
        match lock(&self.catalog).agrees_with(&found)? {
            true => Ok(()),
            false => Err(damaged(crate::format::Malformed::new("index", "it describes this pack otherwise").into())),
        }
    }

    /// Follows every chunk of every snapshot; a stream shared by snapshots is followed once. Which chunks were followed
    /// stands in a temporary table: memory does not grow with the repository.
    fn follow_snapshots(
        &self,
        report: &mut CheckReport,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), RepositoryError> {
        let reader = ChunkReader::new(self);
        lock(&self.catalog).clear_followed()?;
        let mut followed: HashMap<[u8; 32], Option<Damage>> = HashMap::new();
        for info in self.snapshots()? {
            if stop() {
                return Err(RepositoryError::Interrupted);
            }
            let snapshot = match self.snapshot(&info.name) {
                Ok(snapshot) => snapshot,
                Err(RepositoryError::Damaged { object, source }) => {
                    report.damage.push(Damage { object, problem: source.to_string() });
                    continue;
                }
                Err(error) => return Err(error),
            };
            report.snapshots += 1;
            self.follow_files(&reader, info.name.session, &snapshot, &mut followed, report, stop)?;
        }
        report.chunks = lock(&self.catalog).followed_count()?;
        Ok(())
    }

    fn follow_files(
        &self,
        reader: &ChunkReader<'_>,
        id: Id16,
        snapshot: &Snapshot,
        followed: &mut HashMap<[u8; 32], Option<Damage>>,
        report: &mut CheckReport,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), RepositoryError> {
        for file in &snapshot.files {
            for stream in file.recipe.iter().flatten().flat_map(|part| part.streams.values()) {
                let key = *blake3::hash(&[&stream.top[..], &stream.length.to_le_bytes()].concat()).as_bytes();
                let damage = match followed.entry(key) {
                    Entry::Occupied(earlier) => earlier.into_mut(),
                    Entry::Vacant(unknown) => {
                        let damage = self.follow(reader, stream, stop)?;
                        report.damage.extend(damage.clone());
                        unknown.insert(damage)
                    }
                };
                if damage.is_some() {
                    report.lost_files.push((id, file.display_path()));
                }
            }
        }
        report.lost_files.dedup();
        Ok(())
    }

    /// The first chunk of a stream that cannot be decoded from sound packs.
    fn follow(
        &self,
        reader: &ChunkReader<'_>,
        stream: &Stream,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Damage>, RepositoryError> {
        let result = walk(reader, stream, &mut |_, entry| {
            if stop() {
                return Err(RepositoryError::Interrupted);
            }
            let catalog = lock(&self.catalog);
            if catalog.is_followed(&entry.id)? {
                return Ok(());
            }
            match catalog.is_known(&entry.id)? {
                true => catalog.add_followed(&entry.id),
                false => Err(RepositoryError::UnknownChunk { chunk: entry.id }),
            }
        });
        match result {
            Ok(()) => Ok(None),
            Err(RepositoryError::UnknownChunk { chunk }) => {
                Ok(Some(Damage { object: format!("chunk {chunk}"), problem: "it is in no sound pack".into() }))
            }
            Err(RepositoryError::Damaged { object, source }) => {
                Ok(Some(Damage { object, problem: source.to_string() }))
            }
            Err(error) => Err(error),
        }
    }
}

fn damage_of(alarm: &Alarm) -> Damage {
    let object = match alarm {
        Alarm::Index { object, .. } | Alarm::Snapshot { object, .. } => object.clone(),
        Alarm::Gap { missing, .. } | Alarm::Rollback { missing } => missing.clone(),
        Alarm::Packs { .. } => "packs".into(),
    };
    Damage { object, problem: alarm.to_string() }
}
