//! `import`: dumps that were put aside become snapshots, each of the time when it was made.

use std::path::{Path, PathBuf};

use super::attempts::attempt;
use super::backup::{self, Dated};
use super::source::Captured;
use super::{Observer, OperationError};
use crate::format::object::SnapshotName;
use crate::format::snapshot::Role;
use crate::format::{ObjectHash, UnixMillis};
use crate::redis::{Lone, LoneDump, RedisError};
use crate::repository::{Alarm, IntakeOptions, Repository, SnapshotInfo};

/// How far ahead of this host's clock a dump's may be, in milliseconds.
const AHEAD: u64 = 60_000;

/// What is imported, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Dumps, in any order.
    pub files: Vec<PathBuf>,
    /// Name of the dataset; by default the host's name and the directory that they are in.
    pub dataset: Option<String>,
    /// A person's words for the snapshots.
    pub tags: Vec<String>,
    /// When the one file was made, whatever it says.
    pub time: Option<UnixMillis>,
    /// Files that are no dumps are left out.
    pub skips_others: bool,
    /// Nothing is stored.
    pub is_dry: bool,
    /// How chunks are stored.
    pub intake: IntakeOptions,
}

/// Who says when a dump was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldBy {
    /// The dump.
    Dump,
    /// The file system: when it was last written.
    File,
    /// A person.
    Person,
}

/// What became of a file.
#[derive(Debug)]
pub enum Became {
    /// A snapshot.
    Stored(Box<backup::Report>),
    /// It would be one.
    WouldBe,
    /// It was one before.
    WasThere(SnapshotName),
    /// Another one of these files has the same content.
    SameAs(PathBuf),
}

/// A dump, and what became of it.
#[derive(Debug)]
pub struct Imported {
    /// Where it is.
    pub path: PathBuf,
    /// When it was made.
    pub time: UnixMillis,
    /// Who says so.
    pub told_by: ToldBy,
    /// Its bytes.
    pub size: u64,
    /// What became of it.
    pub became: Became,
}

/// What was done.
#[derive(Debug)]
pub struct Report {
    /// The dataset's name.
    pub dataset: String,
    /// In the order in which they were made.
    pub files: Vec<Imported>,
    /// Files that are no dumps, and what they are.
    pub left_out: Vec<LeftOut>,
    /// What the repository lacks.
    pub alarms: Vec<Alarm>,
}

/// A file that is no dump, and what it is.
pub type LeftOut = (PathBuf, String);

/// A dump that was looked at.
struct Found {
    dump: LoneDump,
    time: UnixMillis,
    told_by: ToldBy,
}

/// Stores dumps in the order in which they were made. All are looked at before the first is stored; those that are there
/// already are not stored again, so that whoever was interrupted does the same again.
pub fn import(repository: &Repository, options: &Options, observer: &dyn Observer) -> Result<Report, OperationError> {
    let mut alarms = repository.refresh()?;
    let (mut found, left_out) = look(options, repository.ambient().now())?;
    // Who has the same time keeps the order in which he was named.
    found.sort_by_key(|one| one.time);
    let dataset = match &options.dataset {
        Some(dataset) => dataset.clone(),
        None => dataset_of(&found, &repository.ambient().host)?,
    };
    let mut files: Vec<Imported> = Vec::new();
    let mut hashed: Vec<(UnixMillis, u64, ObjectHash, PathBuf)> = Vec::new();
    let twice = |one: &Found, all: &[Found]| {
        all.iter().filter(|other| (other.time, other.dump.size) == (one.time, one.dump.size)).count() > 1
    };
    let is_twice: Vec<bool> = found.iter().map(|one| twice(one, &found)).collect();
    let total = found.len();
    for (place, (one, is_twice)) in found.into_iter().zip(is_twice).enumerate() {
        let (path, time, told_by, size) = (one.dump.place.clone(), one.time, one.told_by, one.dump.size);
        observer.say(&format!("{} of {total}", place + 1));
        let became = import_one(repository, options, &dataset, one, is_twice, &mut hashed, observer);
        let became = became.inspect_err(|_| tell_done(&files, observer))?;
        if let Became::Stored(report) = &became {
            alarms.extend(report.alarms.iter().filter(|alarm| !alarms.contains(alarm)).cloned().collect::<Vec<_>>());
        }
        files.push(Imported { path, time, told_by, size, became });
    }
    Ok(Report { dataset, files, left_out, alarms })
}

/// What stands although the rest failed.
fn tell_done(files: &[Imported], observer: &dyn Observer) {
    let done = files.iter().filter(|file| matches!(file.became, Became::Stored(_))).count();
    if done > 0 {
        observer.remark(&format!("{done} of the dumps are snapshots now; the same command goes on behind them"));
    }
}

fn import_one(
    repository: &Repository,
    options: &Options,
    dataset: &str,
    one: Found,
    is_twice: bool,
    hashed: &mut Vec<(UnixMillis, u64, ObjectHash, PathBuf)>,
    observer: &dyn Observer,
) -> Result<Became, OperationError> {
    let (time, size) = (one.time, one.dump.size);
    let infos: Vec<SnapshotInfo> =
        repository.kept_snapshots()?.into_iter().filter(|info| info.dataset == dataset).collect();
    let same_time: Vec<&SnapshotInfo> = infos.iter().filter(|info| info.begin == time).collect();
    if is_twice || !same_time.is_empty() {
        let hash = hash_of(&one.dump, observer)?;
        let before = hashed.iter().find(|(at, length, other, _)| (*at, *length, *other) == (time, size, hash));
        if let Some((_, _, _, path)) = before {
            return Ok(Became::SameAs(path.clone()));
        }
        for info in same_time {
            let snapshot = repository.snapshot(&info.name)?;
            if snapshot.files.iter().any(|file| file.role == Role::Dump && file.hash == Some(hash)) {
                return Ok(Became::WasThere(info.name));
            }
        }
        hashed.push((time, size, hash, one.dump.place.clone()));
    }
    let place = place_among(&infos, time, &one.dump.place, dataset)?;
    if options.is_dry {
        return Ok(Became::WouldBe);
    }
    let captured = Captured::of_files(one.dump.into_capture());
    let wanted = backup::Options {
        tags: options.tags.clone(),
        intake: options.intake,
        read_all: true,
        ..backup::Options::default()
    };
    let dated = Some(Dated { time, place });
    let report = attempt(repository, || backup::store(repository, &captured, dataset, &wanted, dated, observer))?;
    Ok(Became::Stored(Box::new(report)))
}

/// The place of a snapshot that is older than others of its dataset: that of the last one before it, among whose copies it
/// is the newest. `None` if it is behind all.
fn place_among(
    infos: &[SnapshotInfo],
    time: UnixMillis,
    path: &Path,
    dataset: &str,
) -> Result<Option<u64>, OperationError> {
    let is_before = |info: &SnapshotInfo| info.captured_at() <= time;
    let before = infos.iter().rposition(is_before);
    let behind = infos.get(before.map_or(0, |last| last + 1)..).unwrap_or_default();
    let place = before.and_then(|last| infos.get(last)).map_or(0, |info| info.place);
    match behind.first() {
        None => Ok(None),
        Some(next) if next.place > place => Ok(Some(place)),
        Some(next) => Err(OperationError::Refused {
            what: format!(
                "{} belongs before the snapshot {} of {dataset}, which was imported or brought back there already",
                path.display(),
                next.name.session
            ),
            hint: "import it as another dataset, with --dataset".into(),
        }),
    }
}

fn hash_of(dump: &LoneDump, observer: &dyn Observer) -> Result<ObjectHash, OperationError> {
    let mut hasher = blake3::Hasher::new();
    let mut stopped = false;
    dump.each_piece(&mut |piece| {
        stopped |= observer.interrupted();
        if !stopped {
            hasher.update(piece);
        }
    })?;
    match stopped {
        true => Err(RedisError::Interrupted.into()),
        false => Ok(ObjectHash(hasher.finalize().into())),
    }
}

/// Opens all files. One that is no dump stops everything, unless such are left out.
fn look(options: &Options, now: UnixMillis) -> Result<(Vec<Found>, Vec<LeftOut>), OperationError> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for path in &options.files {
        match LoneDump::open(path)? {
            Lone::Other(what) => others.push((path.clone(), what.to_owned())),
            Lone::Dump(dump) => match time_of(&dump, options.time, now) {
                Ok((time, told_by)) => found.push(Found { dump: *dump, time, told_by }),
                Err(what) => others.push((path.clone(), what)),
            },
        }
    }
    if !others.is_empty() && (!options.skips_others || found.is_empty()) {
        let all: Vec<String> = others.iter().map(|(path, what)| format!("{}: {what}", path.display())).collect();
        let hint = if found.is_empty() {
            "name dumps of servers, like *.rdb"
        } else {
            "leave such files out with --skip-others"
        };
        let what = format!("nothing was imported: {}", all.join("; "));
        return Err(OperationError::Refused { what, hint: hint.into() });
    }
    Ok((found, others))
}

/// When a dump was made, and who says so.
fn time_of(dump: &LoneDump, given: Option<UnixMillis>, now: UnixMillis) -> Result<(UnixMillis, ToldBy), String> {
    let of_file = u64::try_from(dump.mtime).ok().filter(|mtime| *mtime > 0);
    let (time, told_by) = match (given, dump.ctime, of_file) {
        (Some(time), ..) => (time, ToldBy::Person),
        (None, Some(ctime), _) => (UnixMillis(ctime.saturating_mul(1000)), ToldBy::Dump),
        (None, None, Some(mtime)) => (UnixMillis(mtime.saturating_mul(1000)), ToldBy::File),
        (None, None, None) => return Err("it does not say when it was made: say it with --time".into()),
    };
    match time.0 <= now.0.saturating_add(AHEAD) {
        true => Ok((time, told_by)),
        false => Err("it says that it was made at a time to come: give the right one with --time".into()),
    }
}

/// The name of their dataset, where a person gives none.
fn dataset_of(found: &[Found], host: &str) -> Result<String, OperationError> {
    let mut directories: Vec<&Path> = found.iter().filter_map(|one| one.dump.place.parent()).collect();
    directories.sort();
    directories.dedup();
    match directories.as_slice() {
        [directory] => Ok(format!("{host}:{}", directory.display())),
        _ => Err(OperationError::Refused {
            what: "the dumps are in several directories: of which dataset they are is not told".into(),
            hint: "name it with --dataset".into(),
        }),
    }
}
