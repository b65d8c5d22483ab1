//! Checking the repository itself: that everything a snapshot needs is there and, on request, that every byte of it is
//! what was stored.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::chunk_reader::ChunkReader;
use super::error::{Fault, RepositoryError};
use super::opening::Alarm;
use super::pack_reader::check_pack;
use super::stream::walk;
use super::{Repository, epochs, get_whole, lock, slots};
use crate::format::limits::PACK_MAX;
use crate::format::object::Name;
use crate::format::recipe::Stream;
use crate::format::snapshot::Snapshot;
use crate::format::{ChunkId, Id16, ObjectHash};

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
        let mut report = CheckReport::default();
        for alarm in self.rebuild_catalog()? {
            report.damage.push(damage_of(&alarm));
        }
        let keys = slots::inspect(&*self.store, &self.keyring())?;
        for error in keys.into_iter().chain(epochs::inspect(&*self.store, &self.keyring())?) {
            report.damage.push(damage_in(error)?);
        }
        let listed = self.listed_packs()?;
        let indexed = lock(&self.catalog).indexed_packs()?;
        let mut sound = self.compare_packs(&listed, &indexed, &mut report);
        if depth == CheckDepth::Data {
            self.read_packs(&listed, &mut sound, &mut report, stop, progress)?;
        }
        lock(&self.catalog).set_usable(&sound, &HashSet::new())?;
        lock(&self.catalog).clear_followed()?;
        let mut followed = self.follow_snapshots(depth, FIRST, stop)?;
        if !followed.lost_files.is_empty() {
            let is_damaged = |pack: &ObjectHash| report.has(&Name::Pack(*pack).to_string());
            let others = listed.into_iter().filter(|(pack, _)| !indexed.contains_key(pack));
            let (damaged, whole): (Vec<_>, Vec<_>) = others.partition(|(pack, _)| is_damaged(pack));
            let mut others = self.take_in(whole.into_iter(), true)?;
            others.extend(self.take_in(damaged.into_iter(), false)?);
            followed = self.follow_snapshots(depth, AGAIN, stop)?;
            self.report_needed(&others, &mut report)?;
        }
        report.chunks = lock(&self.catalog).followed_count()?;
        report.snapshots = followed.snapshots;
        report.damage.extend(followed.damage);
        report.lost_files = followed.lost_files;
        Ok(report)
    }

    /// Packs that no index object names, but that snapshots cannot do without. A restore finds them; a backup does not
    /// use what they hold.
    fn report_needed(&self, others: &HashSet<ObjectHash>, report: &mut CheckReport) -> Result<(), RepositoryError> {
        let used = lock(&self.catalog).packs_of_followed(AGAIN)?;
        let needed: BTreeSet<ObjectHash> = used.into_iter().filter(|pack| others.contains(pack)).collect();
        report.unindexed_packs -= needed.len() as u64;
        let problem = "no index object names it, and snapshots need it: the index object that did is lost or damaged";
        let damage = |pack| Damage { object: Name::Pack(pack).to_string(), problem: problem.into() };
        report.damage.extend(needed.into_iter().map(damage));
        Ok(())
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
                    if !report.has(&name.to_string()) {
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
        let object = get_whole(&*self.store, &name, PACK_MAX)?;
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

    /// Follows every chunk of every snapshot; a stream shared by snapshots is followed once. Which chunks were found, and
    /// in which `round`, stands in a temporary table: memory does not grow with the repository.
    fn follow_snapshots(
        &self,
        depth: CheckDepth,
        round: i64,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Followed, RepositoryError> {
        let reader = ChunkReader::new(self);
        let mut followed = Followed::new(depth, round);
        for info in self.snapshots()? {
            if stop() {
                return Err(RepositoryError::Interrupted);
            }
            match self.snapshot(&info.name) {
                Ok(snapshot) => self.follow_files(&reader, info.name.session, &snapshot, &mut followed, stop)?,
                Err(error) => followed.damage.push(damage_in(error)?),
            }
        }
        Ok(followed)
    }

    fn follow_files(
        &self,
        reader: &ChunkReader<'_>,
        id: Id16,
        snapshot: &Snapshot,
        followed: &mut Followed,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), RepositoryError> {
        followed.snapshots += 1;
        for file in &snapshot.files {
            for stream in file.recipe.iter().flatten().flat_map(|part| part.streams.values()) {
                let key = [&stream.top[..], &stream.length.to_le_bytes(), &[stream.levels]].concat();
                let key = *blake3::hash(&key).as_bytes();
                let is_whole = match followed.streams.get(&key) {
                    Some(is_whole) => *is_whole,
                    None => {
                        let damage = self.follow(reader, stream, followed, stop)?;
                        let is_whole = damage.is_none();
                        followed.streams.insert(key, is_whole);
                        followed.damage.extend(damage);
                        is_whole
                    }
                };
                if !is_whole {
                    followed.lost_files.push((id, file.display_path()));
                }
            }
        }
        followed.lost_files.dedup();
        Ok(())
    }

    /// The first chunk of a stream that cannot be decoded: from sound packs or, where packs are read, from what is left of
    /// damaged ones.
    fn follow(
        &self,
        reader: &ChunkReader<'_>,
        stream: &Stream,
        followed: &mut Followed,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Damage>, RepositoryError> {
        let result = walk(reader, stream, &mut |_, entry| {
            if stop() {
                return Err(RepositoryError::Interrupted);
            }
            if lock(&self.catalog).is_followed(&entry.id)? {
                return Ok(());
            }
            if !lock(&self.catalog).is_known(&entry.id)? {
                match followed.depth {
                    CheckDepth::Structure => return Err(RepositoryError::UnknownChunk { chunk: entry.id }),
                    CheckDepth::Data => drop(reader.chunk(&entry.id, entry.length)?),
                }
            }
            lock(&self.catalog).add_followed(&entry.id, followed.round)
        });
        match result {
            Ok(()) => Ok(None),
            Err(error) => damage_in(error).map(Some),
        }
    }
}

/// What following the snapshots showed.
struct Followed {
    depth: CheckDepth,
    round: i64,
    /// Whether each stream is whole, by the hash of what is in its recipe.
    streams: HashMap<[u8; 32], bool>,
    snapshots: u64,
    damage: Vec<Damage>,
    lost_files: Vec<(Id16, String)>,
}

impl Followed {
    fn new(depth: CheckDepth, round: i64) -> Followed {
        let streams = HashMap::new();
        Followed { depth, round, streams, snapshots: 0, damage: Vec::new(), lost_files: Vec::new() }
    }
}

impl CheckReport {
    /// Whether damage of an object was reported.
    fn has(&self, object: &str) -> bool {
        self.damage.iter().any(|damage| damage.object == object)
    }
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
        Alarm::Index { object, .. } | Alarm::Snapshot { object, .. } => object.clone(),
        Alarm::Gap { missing, .. } | Alarm::Rollback { missing } => missing.clone(),
        Alarm::Packs { first, .. } => first.clone(),
        Alarm::State { path } => path.clone(),
        Alarm::NotNoted { .. } => "catalog".into(),
    };
    Damage { object, problem: alarm.to_string() }
}
