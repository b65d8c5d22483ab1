//! `snapshots`, `ls` and `dump`: finding a snapshot and looking inside.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use super::look_up::glob;
use super::second_look::second_look;
use super::sets::members_of;
use super::{Observer, OperationError};
use crate::format::UnixMillis;
use crate::format::object::SnapshotName;
use crate::format::snapshot::{File, FileKind, Snapshot};
use crate::repository::{Alarm, ChunkReader, ForgottenRecord, GRACE, Repository, RepositoryError, SnapshotInfo};

/// How it is said that a repository holds no snapshot.
pub const NONE_YET: &str = "there is no snapshot yet";
/// How it is said that a dataset has to be named, before their names.
pub const SEVERAL_DATASETS: &str = "there are several datasets: ";

/// Which snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest, or the n-th before it.
    Latest(usize),
    /// The last one captured at or before a moment.
    At(UnixMillis),
    /// The one whose id begins so.
    Id(String),
}

/// Which datasets are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datasets {
    /// The one of this name.
    Named(String),
    /// All whose names fit a pattern, in which `*` stands for any letters, `?` for one, and `\\` takes both their meaning.
    Like(String),
}

impl From<&str> for Datasets {
    fn from(name: &str) -> Datasets {
        Datasets::Named(name.into())
    }
}

impl From<String> for Datasets {
    fn from(name: String) -> Datasets {
        Datasets::Named(name)
    }
}

impl Datasets {
    /// As a person writes it: a name, or a pattern.
    pub fn written(text: &str) -> Datasets {
        match text.contains(['*', '?']) {
            true => Datasets::Like(text.into()),
            false => Datasets::Named(text.into()),
        }
    }

    /// The only one there can be.
    pub fn name(&self) -> Option<&str> {
        match self {
            Datasets::Named(name) => Some(name),
            Datasets::Like(_) => None,
        }
    }

    /// Whether a dataset is meant.
    pub fn fits(&self, dataset: &str) -> bool {
        match self {
            Datasets::Named(name) => name == dataset,
            // Brackets are those of addresses: they have no other meaning here.
            Datasets::Like(pattern) => glob::fits(pattern.replace('[', "\\[").as_bytes(), dataset.as_bytes()),
        }
    }
}

impl fmt::Display for Datasets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Datasets::Named(text) | Datasets::Like(text) => f.write_str(text),
        }
    }
}

/// Which snapshots are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of these datasets.
    pub dataset: Option<Datasets>,
    /// Only of the sets of this name.
    pub set: Option<String>,
    /// Only those that this host took.
    pub host: Option<String>,
    /// Only those that began at or after this moment.
    pub since: Option<UnixMillis>,
    /// Only those with this tag.
    pub tag: Option<String>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.dataset.is_none()
            && self.set.is_none()
            && self.host.is_none()
            && self.since.is_none()
            && self.tag.is_none()
    }

    /// Whether a snapshot fits it.
    pub fn fits(&self, info: &SnapshotInfo) -> bool {
        self.dataset.as_ref().is_none_or(|datasets| datasets.fits(&info.dataset))
            && self.set.as_ref().is_none_or(|set| info.told.set.as_ref().is_some_and(|of| of.name == *set))
            && self.host.as_ref().is_none_or(|host| *host == info.host)
            && self.since.is_none_or(|since| info.begin >= since)
            && self.tag.as_ref().is_none_or(|tag| info.tags.contains(tag))
    }
}

/// Snapshots that fit a filter, by dataset and age, and what the repository lacks.
pub fn snapshots(repository: &Repository, filter: &Filter) -> Result<(Vec<SnapshotInfo>, Vec<Alarm>), OperationError> {
    let alarms = repository.refresh()?;
    let infos = repository.kept_snapshots()?;
    Ok((infos.into_iter().filter(|info| filter.fits(info)).collect(), alarms))
}

/// A forgotten snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// When and why.
    pub record: ForgottenRecord,
    /// The snapshot, while it is there and can be read.
    pub info: Option<SnapshotInfo>,
}

impl Forgotten {
    /// Until when it can certainly be brought back.
    pub fn until(&self) -> UnixMillis {
        UnixMillis(self.record.time.0.saturating_add(GRACE.as_millis() as u64))
    }
}

/// Forgotten snapshots that fit a filter, in the order of listings; those that are gone only where nothing is asked of
/// them.
pub fn forgotten(repository: &Repository, filter: &Filter) -> Result<(Vec<Forgotten>, Vec<Alarm>), OperationError> {
    let alarms = repository.refresh()?;
    let mut records: BTreeMap<SnapshotName, ForgottenRecord> =
        repository.forgotten()?.into_iter().map(|record| (record.snapshot, record)).collect();
    let mut found = Vec::new();
    for info in repository.snapshots()? {
        let record = records.remove(&info.name);
        found.extend(record.filter(|_| filter.fits(&info)).map(|record| Forgotten { record, info: Some(info) }));
    }
    if filter.is_empty() {
        found.extend(records.into_values().map(|record| Forgotten { record, info: None }));
    }
    Ok((found, alarms))
}

/// A chosen snapshot.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// Its object name.
    pub name: SnapshotName,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What the repository lacks.
    pub alarms: Vec<Alarm>,
}

/// The one snapshot that is meant.
pub fn choose(repository: &Repository, selector: &Selector, dataset: Option<&str>) -> Result<Chosen, OperationError> {
    choose_among(repository, snapshots(repository, &Filter::default())?, selector, dataset)
}

/// The same of all snapshots as they were listed.
pub(super) fn choose_among(
    repository: &Repository,
    (all, alarms): (Vec<SnapshotInfo>, Vec<Alarm>),
    selector: &Selector,
    dataset: Option<&str>,
) -> Result<Chosen, OperationError> {
    let fits = |info: &&SnapshotInfo| dataset.is_none_or(|dataset| info.dataset == dataset);
    let infos: Vec<SnapshotInfo> = all.iter().filter(fits).cloned().collect();
    let tag = dataset.map(|dataset| repository.tag(dataset));
    let lost = lost_snapshots(&alarms).filter(|(name, _)| tag.is_none_or(|tag| name.tag == tag));
    let lost: Vec<(SnapshotName, &Alarm)> = lost.collect();
    if let (Some(dataset), true, true) = (dataset, infos.is_empty(), lost.is_empty()) {
        return Err(unknown_dataset(&all, dataset));
    }
    let chosen = select(&infos, selector);
    if let (Err(OperationError::NoSnapshot { .. }), Selector::Id(prefix)) = (&chosen, selector)
        && let Some(forgotten) = find_forgotten(repository, prefix)?
    {
        return Err(forgotten);
    }
    if let Some(alarm) = lost_instead(chosen.as_ref(), selector, &lost) {
        return Err(OperationError::LostSnapshot { alarm: alarm.clone() });
    }
    read(repository, chosen?.name, alarms)
}

/// A snapshot that is listed.
pub(super) fn read(repository: &Repository, name: SnapshotName, alarms: Vec<Alarm>) -> Result<Chosen, OperationError> {
    let snapshot = repository.snapshot(&name).map_err(|error| match error {
        RepositoryError::Damaged { object, source } => {
            OperationError::LostSnapshot { alarm: Alarm::Snapshot { object, fault: source.to_string() } }
        }
        other => other.into(),
    })?;
    Ok(Chosen { name, snapshot, alarms })
}

/// What is said of the forgotten snapshot whose id begins so.
fn find_forgotten(repository: &Repository, prefix: &str) -> Result<Option<OperationError>, OperationError> {
    let record = repository.forgotten()?.into_iter().find(|record| record.has_id(prefix));
    let Some(record) = record else { return Ok(None) };
    let is_there = repository.snapshots()?.iter().any(|info| info.name == record.snapshot);
    Ok(Some(OperationError::Forgotten { record, is_there }))
}

/// Snapshots that are missing or cannot be read.
pub(super) fn lost_snapshots(alarms: &[Alarm]) -> impl Iterator<Item = (SnapshotName, &Alarm)> {
    alarms.iter().filter_map(|alarm| match alarm {
        Alarm::Snapshot { object: name, .. }
        | Alarm::Undone { object: name }
        | Alarm::Gap { missing: name, .. }
        | Alarm::Rollback { missing: name }
        | Alarm::Elsewhere { missing: name, .. } => Some((SnapshotName::parse(name)?, alarm)),
        Alarm::Index { .. }
        | Alarm::Packs { .. }
        | Alarm::DamagedPacks { .. }
        | Alarm::Forgotten { .. }
        | Alarm::Late { .. }
        | Alarm::State { .. }
        | Alarm::NotNoted { .. }
        | Alarm::NotRemembered { .. } => None,
    })
}

/// A lost snapshot that may be the one that is meant, rather than the one that was chosen among those that are left:
/// what is older than asked for must not be taken for it. Its place among them is told by its name.
fn lost_instead<'a>(
    chosen: Result<&&SnapshotInfo, &OperationError>,
    selector: &Selector,
    lost: &[(SnapshotName, &'a Alarm)],
) -> Option<&'a Alarm> {
    let is_ambiguous = matches!(chosen, Err(OperationError::Ambiguous { .. }));
    let fits = |name: &SnapshotName| match selector {
        Selector::Id(prefix) => name.session.to_string().starts_with(prefix.as_str()),
        Selector::Latest(_) => true,
        Selector::At(moment) => name.time <= *moment,
    };
    // One of another dataset may be meant as long as none is named.
    let instead = |name: &SnapshotName| match chosen {
        Ok(chosen) => name.tag != chosen.name.tag || *name >= chosen.name,
        Err(_) => true,
    };
    let by_id = matches!(selector, Selector::Id(_));
    let found = lost.iter().find(|(name, _)| fits(name) && (by_id || instead(name)));
    found.filter(|_| !is_ambiguous).map(|(_, alarm)| *alarm)
}

pub(super) fn select<'a>(infos: &'a [SnapshotInfo], selector: &Selector) -> Result<&'a SnapshotInfo, OperationError> {
    let none = |what: String| OperationError::NoSnapshot { what };
    match selector {
        Selector::Id(prefix) => {
            let mut fitting = infos.iter().filter(|info| info.name.session.to_string().starts_with(prefix.as_str()));
            match (fitting.next(), fitting.next()) {
                (Some(info), None) => Ok(info),
                (None, _) => Err(none(no_id(infos, selector, prefix))),
                _ => Err(OperationError::Ambiguous { what: format!("several snapshots begin with {prefix}") }),
            }
        }
        Selector::Latest(back) => {
            let of_one = one_dataset(infos)?;
            let place = of_one.len().checked_sub(back + 1);
            place.and_then(|place| of_one.get(place)).ok_or_else(|| match of_one.len() {
                0 => none(NONE_YET.into()),
                count => none(format!("latest~{back} goes too far back: the oldest snapshot is latest~{}", count - 1)),
            })
        }
        Selector::At(moment) => {
            let of_one = one_dataset(infos)?;
            let captured = |info: &&SnapshotInfo| info.captured_at() <= *moment;
            of_one.iter().rev().find(captured).ok_or_else(|| match of_one.first() {
                Some(oldest) => OperationError::NoMoment { oldest: oldest.name },
                None => none(NONE_YET.into()),
            })
        }
    }
}

/// Why an id names no snapshot: it may be a set's.
fn no_id(infos: &[SnapshotInfo], selector: &Selector, prefix: &str) -> String {
    let members = members_of(infos, selector).unwrap_or_default();
    let member = |info: &&SnapshotInfo| format!("{} of {}", info.name.session, info.dataset);
    match members.is_empty() {
        true => format!("no snapshot has an id that begins with {prefix}"),
        false => {
            let members: Vec<String> = members.iter().map(member).collect();
            format!("{prefix} is a set, and one snapshot of it is wanted: {}", members.join(", "))
        }
    }
}

fn unknown_dataset(infos: &[SnapshotInfo], dataset: &str) -> OperationError {
    let mut names: Vec<&str> = infos.iter().map(|info| info.dataset.as_str()).collect();
    names.dedup();
    let there = if names.is_empty() { NONE_YET.into() } else { format!("there are: {}", names.join(", ")) };
    OperationError::NoSnapshot { what: format!("no snapshot of dataset {dataset}; {there}") }
}

fn one_dataset(infos: &[SnapshotInfo]) -> Result<&[SnapshotInfo], OperationError> {
    let mut names: Vec<&str> = infos.iter().map(|info| info.dataset.as_str()).collect();
    names.dedup();
    match names.len() {
        0 | 1 => Ok(infos),
        _ => Err(OperationError::Ambiguous { what: format!("{SEVERAL_DATASETS}{}", names.join(", ")) }),
    }
}

/// Files of a snapshot at or below a path (all for an empty one).
pub fn files<'a>(snapshot: &'a Snapshot, below: &[u8]) -> Vec<&'a File> {
    let below = below.strip_suffix(b"/").unwrap_or(below);
    let fits = |file: &&File| {
        let path: &[u8] = &file.path;
        below.is_empty() || path.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    snapshot.files.iter().filter(fits).collect()
}

/// What a dump did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dumped {
    /// Bytes written.
    pub bytes: u64,
    /// Damage that was made good from other copies.
    pub made_good: Vec<String>,
}

/// Writes the content of one file; the hash of what was written is compared at the end. Every byte is written once, also
/// where damage was met and a second look made it good.
pub fn dump(
    repository: &Repository,
    snapshot: &Snapshot,
    path: &[u8],
    out: &mut dyn Write,
    observer: &dyn Observer,
) -> Result<Dumped, OperationError> {
    let file = snapshot.files.iter().find(|file| file.path[..] == *path && file.kind == FileKind::File);
    let file = file.ok_or_else(|| OperationError::NoSnapshot {
        what: format!("the snapshot has no file {}", String::from_utf8_lossy(path)),
    })?;
    let mut written = Written { bytes: 0, hasher: blake3::Hasher::new() };
    let whole = |_: &Vec<String>| true;
    let made_good = second_look(repository, whole, || dump_from(repository, file, &mut written, out, observer))?;
    Ok(Dumped { bytes: written.bytes, made_good })
}

/// What was written so far.
struct Written {
    bytes: u64,
    hasher: blake3::Hasher,
}

/// Writes what follows what was written before. Answers with damage that was made good.
fn dump_from(
    repository: &Repository,
    file: &File,
    written: &mut Written,
    out: &mut dyn Write,
    observer: &dyn Observer,
) -> Result<Vec<String>, OperationError> {
    let (hash, recipe) = file.content().map_err(|malformed| RepositoryError::damaged("snapshot", malformed))?;
    observer.begin("reading", Some(file.size));
    let reader = ChunkReader::new(repository);
    let mut at = 0;
    reader.read(recipe, &mut |bytes| {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        let end = at + bytes.len() as u64;
        let rest = bytes.get(written.bytes.saturating_sub(at) as usize..).unwrap_or_default();
        out.write_all(rest).map_err(|error| RepositoryError::Sink(Box::new(error)))?;
        written.hasher.update(rest);
        (at, written.bytes) = (end, end.max(written.bytes));
        observer.advance(bytes.len() as u64);
        Ok(())
    })?;
    match *written.hasher.finalize().as_bytes() == hash.0 {
        true => Ok(reader.made_good()),
        false => Err(OperationError::WrongBytes { path: file.display_path() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_all_datasets_that_fit_it_and_a_name_one() {
        for (text, dataset, is_meant) in [
            ("web1:6379", "web1:6379", true),
            ("web1:6379", "web2:6379", false),
            ("web*", "web2:6379", true),
            ("web?:6379", "web2:6379", true),
            ("web?:6379", "web22:6379", false),
            ("[::1]:*", "[::1]:6379", true),
            ("[::1]:*", "1:6379", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ] {
            assert_eq!(Datasets::written(text).fits(dataset), is_meant, "{text} {dataset}");
        }
        assert!(Datasets::from("a*").fits("a*") && !Datasets::from("a*").fits("ab"), "a program means what it names");
    }
}
