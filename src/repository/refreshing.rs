//! Bringing the catalog to exactly what the repository shows, and noticing what should be there and is not.
//! Rules: format-spec/14-local.md, 10-snapshot.md, 11-sessions.md.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::alarm::Alarm;
use super::catalog::{Catalog, SnapshotInfo};
use super::error::{Fault, RepositoryError, one_line};
use super::objects::{Listed, read_each};
use super::pack_reader::{PackReader, footer_length};
use super::state::Head;
use super::{Repository, get_whole, lock};
use crate::format::ids::DatasetTag;
use crate::format::index::{Index, IndexedPack};
use crate::format::limits::{INDEX_MAX, SNAPSHOT_MAX};
use crate::format::object::{Kind, Name, SnapshotName};
use crate::format::pack::TRAILER;
use crate::format::sealing::{HEADER, Header};
use crate::format::snapshot::Snapshot;
use crate::format::{Malformed, ObjectHash, UnixMillis};

/// Index rows are added in transactions of about this many chunks.
const BATCH: usize = 256 << 10;
/// What is reckoned for a snapshot that is read.
const SNAPSHOT: u64 = 256 << 10;
/// What is reckoned for a pack's table that is read.
const FOOTER: u64 = 1 << 20;
/// How often `index/` or `forgotten/` is listed until nothing that it shows is gone.
pub(super) const LOOKS: u32 = 4;

impl Repository {
    /// Brings the catalog to exactly what LIST shows, and says what is missing.
    ///
    /// LOCAL-2: rows of what is no longer listed go, new objects are read and added.
    pub fn refresh(&self) -> Result<Vec<Alarm>, RepositoryError> {
        let refresh = || {
            let mut alarms = self.refresh_index()?;
            alarms.extend(self.refresh_snapshots(None)?);
            self.without_recorded(alarms)
        };
        self.with_catalog(refresh)
    }

    /// Does something with the catalog; with another one where that turns out damaged or full.
    fn with_catalog<T>(&self, work: impl Fn() -> Result<T, RepositoryError>) -> Result<T, RepositoryError> {
        for _ in 0..2 {
            match work() {
                Err(error) if error.is_of_catalog() => self.replace_catalog()?,
                other => return other,
            }
        }
        work()
    }

    /// From here on this process uses a catalog of its own, built from the repository alone. Other processes keep theirs.
    pub fn rebuild_catalog(&self) -> Result<Vec<Alarm>, RepositoryError> {
        self.reads_all.store(true, Ordering::Relaxed);
        *lock(&self.catalog) = Catalog::private(self.id())?;
        self.refresh()
    }

    /// A second look before something is called lost: the catalog is built again, and packs that no index object names
    /// are taken in by their own tables. Returns how many of these there were.
    pub fn second_look(&self) -> Result<usize, RepositoryError> {
        self.rebuild_catalog()?;
        let indexed = lock(&self.catalog).indexed_packs()?;
        let listed = self.listed_packs()?;
        Ok(self.take_in(listed.into_iter().filter(|(pack, _)| !indexed.contains_key(pack)), false)?.len())
    }

    /// Adds packs that no index object names to the catalog, by their own tables, until the next refresh; damaged ones
    /// are left out. `usable`: what they hold counts as known meanwhile. Answers with those that were added.
    pub(super) fn take_in(
        &self,
        packs: impl Iterator<Item = (ObjectHash, u64)>,
        usable: bool,
    ) -> Result<HashSet<ObjectHash>, RepositoryError> {
        let (mut found, packs) = (HashSet::new(), packs.collect::<Vec<_>>());
        let read = |(pack, size): &(ObjectHash, u64)| self.read_footer(*pack, *size);
        read_each(
            &*self.store,
            &packs,
            |_| FOOTER,
            read,
            |(pack, _), footer| {
                match footer {
                    Ok(indexed) => lock(&self.catalog).add_pack(&indexed, usable)?,
                    Err(error) if error.is_damage() => return Ok(()),
                    Err(error) => return Err(error),
                }
                found.insert(*pack);
                Ok(())
            },
        )?;
        Ok(found)
    }

    /// A pack's own table, in three reads: header, trailer, footer.
    pub(super) fn read_footer(&self, pack: ObjectHash, size: u64) -> Result<IndexedPack, RepositoryError> {
        let fault = |fault| RepositoryError::damaged(Name::Pack(pack), fault);
        let trailer_at = size.checked_sub(TRAILER as u64).ok_or_else(|| fault(Fault::WrongHash))?;
        let head = self.read_pack(pack, 0, (HEADER as u64).min(size))?;
        let length = footer_length(&self.read_pack(pack, trailer_at, TRAILER as u64)?, size).map_err(fault)?;
        let at = trailer_at.checked_sub(u64::from(length)).ok_or_else(|| fault(Fault::WrongHash))?;
        let sealed = self.read_pack(pack, at, u64::from(length))?;
        let (header, _) = Header::decode(&head).map_err(|malformed| fault(malformed.into()))?;
        let keyring = self.keyring_for(header.epoch)?;
        let footer = PackReader::from_head(&keyring, pack, &head).and_then(|reader| reader.footer(&sealed, size));
        Ok(IndexedPack { pack, size, epoch: header.epoch, salt: header.salt, footer: footer.map_err(fault)? })
    }

    /// Makes the catalog anew after SQLite called it damaged, or could not work with it. Done twice, or where no file can
    /// be made, this process uses one of its own.
    pub fn replace_catalog(&self) -> Result<(), RepositoryError> {
        let mut catalog = lock(&self.catalog);
        // Nothing of ours may hold the old file open while the new one is made in its place.
        *catalog = Catalog::private(self.id())?;
        if self.catalog_replaced.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(directory) = self.catalog_directory()
            && let Ok(replaced) = Catalog::replace(&directory, self.id())
        {
            *catalog = replaced;
        }
        Ok(())
    }

    /// The index part of [`Repository::refresh`]. A catalog that turns out damaged is built again.
    pub(super) fn refresh_index(&self) -> Result<Vec<Alarm>, RepositoryError> {
        self.with_catalog(|| self.try_refresh_index())
    }

    /// INDEX-4: an object that is gone between LIST and GET was merged or buried: what LIST shows now says by what.
    fn try_refresh_index(&self) -> Result<Vec<Alarm>, RepositoryError> {
        let mut looks = LOOKS;
        loop {
            looks -= 1;
            match self.look_at_index()? {
                (_, true) if looks > 0 => {}
                (alarms, _) => return Ok(alarms),
            }
        }
    }

    /// One LIST, and a GET of every object that is new. Also answers whether one of them was gone.
    fn look_at_index(&self) -> Result<(Vec<Alarm>, bool), RepositoryError> {
        let lags = !self.timing().lag.is_zero();
        let listed = self.listed("index/")?;
        let names: HashSet<String> = listed.iter().map(|of| of.name.to_string()).collect();
        let have = lock(&self.catalog).sources()?;
        let gone: Vec<String> = have.difference(&names).cloned().collect();
        lock(&self.catalog).drop_sources(&gone)?;
        let new = others(listed, |of| have.contains(&of.name.to_string()));
        let (mut alarms, mut is_gone, mut batch, mut rows) = (Vec::new(), false, Vec::new(), 0);
        self.read_listed(&new, INDEX_MAX, &decode_index, |of, read| {
            match read {
                Ok(index) => {
                    rows += index.packs.iter().flat_map(|p| &p.footer.frames).map(|f| f.chunks.len()).sum::<usize>();
                    batch.push((of.name.to_string(), index));
                }
                // Where listings lag they show for a while what a sweep replaced.
                Err(Fault::Missing) if lags => is_gone = true,
                Err(fault) => {
                    is_gone |= matches!(fault, Fault::Missing);
                    alarms.push(Alarm::Index { object: of.name.to_string(), fault: fault.to_string() });
                }
            }
            if rows >= BATCH {
                lock(&self.catalog).add_sources(std::mem::take(&mut batch))?;
                rows = 0;
            }
            Ok(())
        })?;
        lock(&self.catalog).add_sources(batch)?;
        Ok((alarms, is_gone))
    }

    /// INDEX-3: an index object that cannot be read claims nothing; the caller says so.
    pub(super) fn read_index(&self, hash: ObjectHash) -> Result<Index, RepositoryError> {
        self.read_one(&Name::Index(hash), INDEX_MAX, &decode_index)
    }

    /// The snapshot part of [`Repository::refresh`], for one dataset or all.
    ///
    /// FORGET-4: what was forgotten raises no alarm, whatever became of it. What is gone between LIST and GET may have been
    /// forgotten, or its tombstone folded, since records were listed: they are listed again.
    pub(super) fn refresh_snapshots(&self, of: Option<DatasetTag>) -> Result<Vec<Alarm>, RepositoryError> {
        let below = |folder: &str| of.map_or(format!("{folder}/"), |tag| format!("{folder}/{tag}/"));
        let prefix = &below("snapshots")[..];
        let entries = self.listed(prefix)?;
        let listed: HashSet<String> = entries.iter().map(|of| of.name.to_string()).collect();
        let mut records = self.refresh_forgotten(&below("forgotten"))?;
        let have = lock(&self.catalog).snapshot_names()?;
        let gone: Vec<String> =
            have.iter().filter(|name| name.starts_with(prefix) && !listed.contains(*name)).cloned().collect();
        lock(&self.catalog).drop_snapshots(&gone)?;
        let mut lost = Vec::new();
        let new = others(entries.clone(), |of| have.contains(&of.name.to_string()));
        let new = self.told_by_rosters(new)?;
        self.read_listed(&new, SNAPSHOT_MAX, &self.decode_snapshot(), |of, read| {
            match (of.name, read) {
                (Name::Snapshot(name), Ok(snapshot)) => lock(&self.catalog).add_snapshot(&name, snapshot.as_ref())?,
                (Name::Snapshot(name), Err(fault)) => lost.push((name, fault)),
                _ => {}
            }
            Ok(())
        })?;
        records.explain(&mut lost);
        if lost.iter().any(|(_, fault)| matches!(fault, Fault::Missing)) {
            records = self.refresh_forgotten(&below("forgotten"))?;
            records.explain(&mut lost);
        }
        let forgotten = records.snapshots();
        let mut alarms: Vec<Alarm> =
            lock(&self.state).put_aside().map(|path| Alarm::State { path }).into_iter().collect();
        alarms.extend(records.alarms());
        alarms.extend(self.settle_commits(prefix, &entries, &forgotten)?);
        let lost = lost.into_iter().map(|(name, fault)| (name.to_string(), fault.to_string()));
        alarms.extend(lost.map(|(object, fault)| Alarm::Snapshot { object, fault }));
        let late = lock(&self.catalog).late_snapshots()?.into_iter().map(|name| name.to_string());
        alarms.extend(late.filter(|name| name.starts_with(prefix)).map(|object| Alarm::Late { object }));
        let infos = lock(&self.catalog).snapshots()?;
        let infos = infos.iter().filter(|info| info.name.to_string().starts_with(prefix));
        alarms.extend(gaps(infos.clone(), &listed, &forgotten));
        alarms.extend(self.compare_heads(prefix, infos, &listed, &forgotten)?);
        Ok(alarms)
    }

    /// A snapshot, or `None` where a tombstone stands.
    pub(super) fn read_snapshot(&self, name: &SnapshotName) -> Result<Option<Snapshot>, RepositoryError> {
        self.read_one(&Name::Snapshot(*name), SNAPSHOT_MAX, &self.decode_snapshot())
    }

    /// The same of one that a new snapshot builds on. Where the store is far away it is not fetched again.
    pub fn earlier_snapshot(&self, name: &SnapshotName) -> Result<Option<Snapshot>, RepositoryError> {
        if !self.is_far() {
            return self.read_snapshot(name);
        }
        let object = Name::Snapshot(*name);
        let decode = |bytes: &[u8]| {
            let (kind, plaintext) = self.open_object(&object, bytes)?;
            self.decode_snapshot()(&object, kind, plaintext).map_err(|fault| RepositoryError::damaged(object, fault))
        };
        let kept = lock(&self.catalog).kept(&object.to_string())?;
        if let Some(Ok(snapshot)) = kept.map(|sealed| decode(&sealed)) {
            return Ok(snapshot);
        }
        let sealed = get_whole(&*self.store, &object, SNAPSHOT_MAX)?;
        let snapshot = decode(&sealed)?;
        lock(&self.catalog).keep(&object.to_string(), &sealed)?;
        Ok(snapshot)
    }

    fn decode_snapshot(&self) -> impl Fn(&Name, Kind, Vec<u8>) -> Result<Option<Snapshot>, Fault> + Sync {
        |name, kind, plaintext| {
            let (Name::Snapshot(name), Kind::Snapshot) = (name, kind) else { return Ok(None) };
            let snapshot = Snapshot::decode(&plaintext)?;
            self.keyring().check_tag(name.tag, &snapshot.dataset)?;
            if (snapshot.place(), snapshot.sequence) != (name.place, name.sequence) {
                return Err(Malformed::new("snapshot", "of another place or sequence than its name").into());
            }
            Ok(Some(snapshot))
        }
    }

    /// Some snapshots, read many at a time and handed over in order.
    pub(super) fn read_snapshots(
        &self,
        names: &[SnapshotName],
        mut each: impl FnMut(&SnapshotName, Result<Snapshot, RepositoryError>) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        read_each(&*self.store, names, |_| SNAPSHOT, |name| self.snapshot(name), &mut each)
    }

    /// LOCAL-5: the newest snapshot remembered of a dataset has to be there, or forgotten on purpose. What is newer
    /// than remembered is remembered now.
    fn compare_heads<'a>(
        &self,
        prefix: &str,
        infos: impl Iterator<Item = &'a SnapshotInfo>,
        listed: &HashSet<String>,
        forgotten: &HashSet<String>,
    ) -> Result<Vec<Alarm>, RepositoryError> {
        let state = lock(&self.state);
        let lost = |head: &Head| !listed.contains(&head.name) && !forgotten.contains(&head.name);
        let heads: HashMap<String, Head> = state.heads(self.id())?.into_iter().collect();
        let (location, places) = (self.location(), state.heads_at(self.id())?);
        let here: HashMap<&str, &Head> =
            places.iter().filter(|(at, ..)| *at == location).map(|(_, tag, head)| (tag.as_str(), head)).collect();
        let mut alarms = Vec::new();
        for (tag, head) in heads.iter().filter(|(_, head)| head.name.starts_with(prefix)) {
            let (missing, seen_here) = (head.name.clone(), here.get(tag.as_str()).copied());
            let elsewhere = places.iter().find(|(at, _, other)| *at != location && other == head);
            let elsewhere = elsewhere.filter(|_| seen_here != Some(head));
            match elsewhere {
                _ if !lost(head) => {}
                Some((at, ..)) => alarms.push(Alarm::Elsewhere { missing, location: at.clone() }),
                None => alarms.push(Alarm::Rollback { missing }),
            }
            if let Some(own) = seen_here.filter(|own| *own != head && lost(own)) {
                alarms.push(Alarm::Rollback { missing: own.name.clone() });
            }
        }
        // The newest of each dataset, where it is news: a write for each listed one would take as many syncs.
        let mut newest: HashMap<String, Head> = HashMap::new();
        for info in infos {
            let head = Head { sequence: info.sequence, name: info.name.to_string() };
            let tag = info.name.tag.to_string();
            let is_newer = |than: Option<&Head>| than.is_none_or(|than| head.is_newer_than(than));
            if is_newer(here.get(tag.as_str()).copied()) && is_newer(newest.get(&tag)) {
                newest.insert(tag, head);
            }
        }
        let remember = |(tag, head): (String, Head)| state.remember_head(self.id(), &location, &tag, &head);
        if let Err(error) = newest.into_iter().try_for_each(remember) {
            alarms.push(Alarm::NotRemembered { why: one_line(&error) });
        }
        Ok(alarms)
    }

    /// The newest snapshot of a dataset that is listed or remembered: sequence and object name.
    pub(super) fn newest(&self, tag: &str) -> Result<Option<Head>, RepositoryError> {
        let heads = lock(&self.state).heads(self.id())?;
        Ok(heads.into_iter().find(|(of, _)| of == tag).map(|(_, head)| head))
    }

    /// Packs that a LIST shows, with their sizes.
    pub(super) fn listed_packs(&self) -> Result<HashMap<ObjectHash, u64>, RepositoryError> {
        Ok(self.listed_packs_with_times()?.into_iter().map(|(pack, (size, _))| (pack, size)).collect())
    }

    /// The same with the time at which each was stored, by the store's clock, where it keeps one.
    pub(super) fn listed_packs_with_times(
        &self,
    ) -> Result<HashMap<ObjectHash, (u64, Option<UnixMillis>)>, RepositoryError> {
        let pack = |of: &Listed| match of.name {
            Name::Pack(hash) => Some((hash, (of.size, of.modified.map(millis)))),
            _ => None,
        };
        Ok(self.listed("packs/")?.iter().filter_map(pack).collect())
    }

    /// All snapshots by dataset, place, sequence and name, as of the last refresh; forgotten ones that are still there
    /// included.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>, RepositoryError> {
        self.ask_catalog(Catalog::snapshots)
    }

    /// Those of them that were not forgotten.
    ///
    /// FORGET-7: a forgotten snapshot is neither listed nor chosen, by its id either.
    pub fn kept_snapshots(&self) -> Result<Vec<SnapshotInfo>, RepositoryError> {
        let forgotten: HashSet<_> = self.forgotten()?.into_iter().map(|record| record.snapshot).collect();
        Ok(self.snapshots()?.into_iter().filter(|info| !forgotten.contains(&info.name)).collect())
    }

    /// Sums over all packs, as of the last refresh.
    pub fn totals(&self) -> Result<super::PackTotals, RepositoryError> {
        self.ask_catalog(Catalog::totals)
    }

    /// Asks the catalog, and once more when it turns out damaged and was built again.
    pub(super) fn ask_catalog<T>(
        &self,
        question: impl Fn(&Catalog) -> Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        let answer = question(&lock(&self.catalog));
        match answer {
            Err(error) if error.is_of_catalog() => {
                self.rebuild_catalog()?;
                question(&lock(&self.catalog))
            }
            other => other,
        }
    }

    /// What stands for a dataset in the names of its snapshots.
    pub fn tag(&self, dataset: &str) -> DatasetTag {
        self.keyring().tag(dataset)
    }
}

/// A time of the store's clock.
pub(super) fn millis(time: SystemTime) -> UnixMillis {
    UnixMillis(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

fn decode_index(_: &Name, _: Kind, plaintext: Vec<u8>) -> Result<Index, Fault> {
    Ok(Index::decode(&plaintext)?)
}

/// Those that are not known.
pub(super) fn others(mut listed: Vec<Listed>, is_known: impl Fn(&Listed) -> bool) -> Vec<Listed> {
    listed.retain(|of| !is_known(of));
    listed
}

/// SNAP-3: the predecessor a snapshot names has to be there, or forgotten on purpose.
fn gaps<'a>(
    infos: impl Iterator<Item = &'a SnapshotInfo>,
    listed: &HashSet<String>,
    forgotten: &HashSet<String>,
) -> Vec<Alarm> {
    let gap = |info: &SnapshotInfo| {
        let missing = info.previous.clone()?;
        let lost = !listed.contains(&missing) && !forgotten.contains(&missing);
        lost.then(|| Alarm::Gap { dataset: info.dataset.clone(), snapshot: info.name.to_string(), missing })
    };
    infos.filter_map(gap).collect()
}
