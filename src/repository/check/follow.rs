//! Following every chunk of every snapshot: what cannot be had from any pack, and whose files it costs.

use std::collections::{BTreeMap, HashMap};

use super::{Damage, LostChunk, damage_in};
use crate::format::object::Name;
use crate::format::recipe::Stream;
use crate::format::snapshot::Snapshot;
use crate::format::{ChunkId, Id16};
use crate::repository::chunk_reader::ChunkReader;
use crate::repository::error::RepositoryError;
use crate::repository::losses::Losses;
use crate::repository::stream::walk;
use crate::repository::{Repository, SnapshotInfo, lock};

/// What following the snapshots showed.
#[derive(Default)]
pub(super) struct Followed {
    /// What each stream cannot be rebuilt without, by the hash of what is in its recipe.
    streams: HashMap<[u8; 32], BrokenStream>,
    /// Chunks that cannot be had, and files that need them.
    lost: BTreeMap<ChunkId, (Damage, Vec<(Id16, String)>)>,
    /// Whether a chunk was found only in what is left of a damaged pack, or beside one.
    pub leans_on_damage: bool,
    /// Snapshots that were followed, without those that are forgotten.
    pub snapshots: u64,
    /// Snapshots that cannot be read, and one damage for each broken stream, unless its loss was recorded.
    pub damage: Vec<Damage>,
    /// Snapshot and path of every file that cannot be rebuilt.
    pub lost_files: Vec<(Id16, String)>,
}

/// `None` where the stream is whole, else its lost chunks; there is none where its list itself makes no sense.
type BrokenStream = Option<Vec<ChunkId>>;

impl Followed {
    /// Whether something is lost, to a forgotten snapshot or to another.
    pub fn has_losses(&self) -> bool {
        !self.lost.is_empty() || !self.lost_files.is_empty()
    }

    /// Chunks that cannot be had, with the files that need them, those of forgotten snapshots among them.
    pub fn lost_chunks(&self) -> Vec<LostChunk> {
        let chunk =
            |(chunk, (_, files)): (&ChunkId, &(Damage, Vec<_>))| LostChunk { chunk: *chunk, files: files.clone() };
        self.lost.iter().map(chunk).collect()
    }
}

impl Repository {
    /// Follows every chunk of every snapshot; a stream shared by snapshots is followed once. Which chunks were found, and
    /// in which `round`, stands in a temporary table: memory grows with what is lost, not with the repository.
    pub(super) fn follow_snapshots(
        &self,
        round: i64,
        losses: &Losses,
        stop: &dyn Fn() -> Result<(), RepositoryError>,
    ) -> Result<Followed, RepositoryError> {
        let reader = ChunkReader::new(self);
        let walker = Walker { repository: self, reader: &reader, round, losses, stop };
        let mut followed = Followed::default();
        let forgotten = self.forgotten()?;
        let is_forgotten = |info: &SnapshotInfo| forgotten.iter().any(|record| record.snapshot == info.name);
        let (unwanted, wanted): (Vec<_>, Vec<_>) = self.snapshots()?.into_iter().partition(is_forgotten);
        let names = |infos: Vec<SnapshotInfo>| infos.into_iter().map(|info| info.name).collect::<Vec<_>>();
        self.read_snapshots(&names(wanted), |name, snapshot| {
            stop()?;
            match snapshot {
                Ok(snapshot) => walker.follow_files(name.session, &snapshot, &mut followed)?,
                Err(error) => followed.damage.push(damage_in(error)?),
            }
            Ok(())
        })?;
        // A sweep looks at these until their time is over; nobody else misses what they lose.
        let (damage, lost_files, snapshots) =
            (followed.damage.clone(), followed.lost_files.clone(), followed.snapshots);
        self.read_snapshots(&names(unwanted), |name, snapshot| {
            stop()?;
            match snapshot {
                Ok(snapshot) => walker.follow_files(name.session, &snapshot, &mut followed)?,
                Err(error) => drop(damage_in(error)?),
            }
            Ok(())
        })?;
        Ok(Followed { damage, lost_files, snapshots, ..followed })
    }
}

struct Walker<'w> {
    repository: &'w Repository,
    reader: &'w ChunkReader<'w>,
    round: i64,
    losses: &'w Losses,
    stop: &'w dyn Fn() -> Result<(), RepositoryError>,
}

impl Walker<'_> {
    fn follow_files(&self, id: Id16, snapshot: &Snapshot, followed: &mut Followed) -> Result<(), RepositoryError> {
        followed.snapshots += 1;
        for file in &snapshot.files {
            for stream in file.recipe.iter().flatten().flat_map(|part| part.streams.values()) {
                let key = [&stream.top[..], &stream.length.to_le_bytes(), &[stream.levels]].concat();
                let key = *blake3::hash(&key).as_bytes();
                if !followed.streams.contains_key(&key) {
                    let broken = self.follow(stream, followed)?;
                    followed.streams.insert(key, broken);
                }
                let Some(Some(chunks)) = followed.streams.get(&key) else { continue };
                let lost = (id, file.display_path());
                for chunk in chunks {
                    let files = followed.lost.get_mut(chunk).map(|(_, files)| files);
                    files.filter(|files| files.last() != Some(&lost)).into_iter().for_each(|f| f.push(lost.clone()));
                }
                followed.lost_files.push(lost);
            }
        }
        followed.lost_files.dedup();
        Ok(())
    }

    /// What a stream cannot be rebuilt without. A chunk that sound packs do not yield is tried from what is left of
    /// others. Behind a list that is lost nothing is seen: where its entries begin is told by what stands before.
    fn follow(&self, stream: &Stream, followed: &mut Followed) -> Result<BrokenStream, RepositoryError> {
        let mut lost = Vec::new();
        let result = walk(self.reader, stream, &mut |is_list, entry| {
            (self.stop)()?;
            let damage = match followed.lost.get(&entry.id) {
                Some((damage, _)) => Some(damage.clone()),
                None => self.find(is_list, &entry.id, entry.length, followed)?,
            };
            let Some(damage) = damage else { return Ok(()) };
            followed.lost.entry(entry.id).or_insert_with(|| (damage, Vec::new()));
            lost.push(entry.id);
            if is_list { Err(RepositoryError::UnknownChunk { chunk: entry.id }) } else { Ok(()) }
        });
        let of_list = match result {
            Ok(()) if lost.is_empty() => return Ok(None),
            Ok(()) => None,
            Err(error) => Some(damage_in(error)?),
        };
        let new = lost.iter().find(|chunk| !self.losses.chunks.contains(chunk));
        match new.and_then(|chunk| followed.lost.get(chunk)) {
            Some((damage, _)) => followed.damage.push(damage.clone()),
            None if lost.is_empty() => followed.damage.extend(of_list),
            None => {}
        }
        lost.sort_unstable();
        lost.dedup();
        Ok(Some(lost))
    }

    /// What is wrong with a chunk. One that holds a list is read at once, since it is read next.
    fn find(
        &self,
        is_list: bool,
        id: &ChunkId,
        length: u32,
        followed: &mut Followed,
    ) -> Result<Option<Damage>, RepositoryError> {
        let catalog = &self.repository.catalog;
        if lock(catalog).is_followed(id)? {
            return Ok(None);
        }
        let is_known = lock(catalog).is_known(id)?;
        if is_list || !is_known {
            match self.reader.chunk(id, length) {
                Ok(_) => followed.leans_on_damage |= !is_known,
                Err(error) => return damage_in(error).map(Some),
            }
        }
        lock(catalog).add_followed(id, self.round).map(|()| None)
    }
}

impl Repository {
    /// Packs among `others` that hold chunks which only the second round found.
    pub(super) fn needed_among(
        &self,
        round: i64,
        others: &std::collections::HashSet<crate::format::ObjectHash>,
    ) -> Result<Vec<String>, RepositoryError> {
        let used = lock(&self.catalog).packs_of_followed(round)?;
        let mut needed: Vec<String> =
            used.into_iter().filter(|pack| others.contains(pack)).map(|pack| Name::Pack(pack).to_string()).collect();
        needed.sort();
        Ok(needed)
    }
}
