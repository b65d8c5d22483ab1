//! `backup`: one snapshot of a live server, or of a data directory. Each file of it is stored by `file`, its content by what
//! knows its form: `dump` those that a server loads as RDB, `opaque` all others as they are.

pub mod cluster;
pub(super) mod dump;
pub(super) mod earlier_version;
mod file;
pub(super) mod input;
pub(super) mod opaque;
pub(super) mod rounds;

use std::time::{Duration, Instant};

use super::attempts::attempt;
use super::key_drop;
use super::source::{Captured, Source};
use super::timeline::proof::Proof;
use super::{Observer, OperationError};
use crate::format::UnixMillis;
use crate::format::object::SnapshotName;
use crate::format::snapshot::{FileKind, Snapshot, Warning};
use crate::format::summary::Summary;
use crate::redis::{CaptureOptions, CapturedFile, LeftOut, Own, Whose};
use crate::repository::{Alarm, Intake, IntakeOptions, Repository, SeenFile, Session, Stored, one_line};
use crate::store::Location;
use earlier_version::Older;
use file::{Earlier, StoredFile, prefix, store_file};
use rounds::Round;

/// What is backed up, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where it comes from.
    pub source: Source,
    /// Name of the dataset; by default the host's name and the directory, or the server's port.
    pub dataset: Option<String>,
    /// A person's words for the snapshot.
    pub tags: Vec<String>,
    /// What is taken and left out.
    pub capture: CaptureOptions,
    /// How chunks are stored.
    pub intake: IntakeOptions,
    /// Also read files that were not touched since the previous snapshot.
    pub read_all: bool,
}

/// What a backup did.
#[derive(Debug, Clone)]
pub struct Report {
    /// The snapshot's object name; its session is the id.
    pub name: SnapshotName,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What is missing or unreadable in the repository.
    pub alarms: Vec<Alarm>,
    /// When it is final, where that is not at once.
    pub final_at: Option<UnixMillis>,
    /// Files that were not read, because they were not touched since the previous snapshot.
    pub unread_files: u64,
    /// Their bytes.
    pub unread_bytes: u64,
    /// Why the dump is still there that the server made for this snapshot only, and that it would load.
    pub left_behind: Option<String>,
    /// What stands in the directory and was not taken.
    pub left_out: LeftOut,
    /// What took how long.
    pub spent: Spent,
}

/// How long the parts of a backup took, one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Until the files were captured; of a cluster nothing, for that is done for all shards at once.
    pub capture: Duration,
    /// Until the session had begun, and the earlier snapshot was there.
    pub begin: Duration,
    /// Reading the files, and storing what needs no other part of its file.
    pub read: Duration,
    /// Storing what is stored when all of a file was read.
    pub store: Duration,
    /// Until the snapshot was there.
    pub commit: Duration,
}

/// Takes a snapshot of a server or a directory. The files are opened first, in one consistent state; everything is read from these
/// descriptors.
pub fn backup(repository: &Repository, options: &Options, observer: &dyn Observer) -> Result<Report, OperationError> {
    let mut wanted = CaptureOptions { own: own(repository), ..options.capture.clone() };
    if !options.read_all {
        // A catalog that fails here fails again when the session begins, which mends it: until then all is read.
        wanted.know(repository.seen_files().unwrap_or_default());
    }
    let begun = Instant::now();
    let captured = options.source.capture(repository, &wanted, observer)?;
    let capture = begun.elapsed();
    let dataset = options.dataset.clone().unwrap_or_else(|| captured.dataset(&repository.ambient().host));
    // On the same captured files.
    let report = attempt(repository, || store(repository, &captured, &dataset, options, None, observer));
    let left_behind = captured.tidy();
    observer.leaves("");
    let left_out = captured.capture.left;
    match report {
        Ok(report) => Ok(Report { left_behind, left_out, spent: Spent { capture, ..report.spent }, ..report }),
        Err(error) => {
            if let Some(left_behind) = left_behind {
                observer.remark(&left_behind);
            }
            Err(error)
        }
    }
}

/// How long it took since then, until now.
fn lap(since: &mut Instant) -> Duration {
    let now = Instant::now();
    now - std::mem::replace(since, now)
}

/// CAPTURE-3: what no snapshot in this repository holds, for it would grow by all of itself each time.
pub(super) fn own(repository: &Repository) -> Vec<Own> {
    let location = match repository.location().parse() {
        Ok(Location::Local(path)) => Some(path),
        Ok(_) | Err(_) => None,
    };
    let places = repository.places();
    let all =
        [(location, Whose::Repository), (places.cache.clone(), Whose::Cache), (places.state.clone(), Whose::State)];
    all.into_iter().filter_map(|(path, whose)| Some(Own { path: path?, whose })).collect()
}

/// When files were written that nobody watched, and their place among the dataset's snapshots, where that is not behind all of
/// them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dated {
    pub time: UnixMillis,
    pub place: Option<u64>,
}

/// One session. When it fails its commit name gets a tombstone.
pub(super) fn store(
    repository: &Repository,
    captured: &Captured,
    dataset: &str,
    options: &Options,
    dated: Option<Dated>,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    let (capture, begun) = (&captured.capture, repository.ambient().now());
    let (mut spent, mut since) = (Spent::default(), Instant::now());
    let session = match dated {
        None => repository.begin(dataset)?,
        Some(Dated { time, place }) => repository.begin_dated(dataset, time, place)?,
    };
    let earlier = match session.previous_snapshot() {
        Ok(snapshot) => {
            let older = Older::new(&session);
            Earlier { session: &session, capture, snapshot, older, read_all: options.read_all }
        }
        Err(error) => return Err(session.give_up(error.into())),
    };
    spent.begin = lap(&mut since);
    let what = if dated.is_none() { "backing up" } else { "importing" };
    let is_sized = capture.files.iter().all(CapturedFile::is_sized);
    observer.begin(what, is_sized.then(|| capture.files.iter().map(CapturedFile::expected_size).sum()));
    let dump = rounds::dump_time(capture.files.iter().map(|file| (file.role, file.kind, file.mtime)));
    let store = |intake: &mut Intake<'_>, file: &CapturedFile, round: Round<'_>| {
        store_file(repository, intake, file, &earlier, (dump, round), observer)
    };
    let stored =
        rounds::in_rounds(&session, options.intake, observer, &capture.files, &store, &|stored: &StoredFile| {
            &stored.file
        });
    let (mut files, stored) = match stored {
        Ok(stored) => stored,
        Err(error) => return Err(session.give_up(error)),
    };
    spent.read = files.iter().map(|stored| stored.read_for).sum();
    spent.store = lap(&mut since).saturating_sub(spent.read);
    let unread = || files.iter().filter(|stored| stored.unread).map(|stored| stored.file.size);
    let (unread_files, unread_bytes) = (unread().count() as u64, unread().sum());
    let seen: Vec<SeenFile> = files.iter_mut().filter_map(|stored| stored.seen.take()).collect();
    let proof = files.iter().fold(Proof::default(), |p, one| p.and(&one.file, &one.facts, one.continues));
    let mut snapshot = assemble(&session, captured, dataset, options, files, stored);
    proof.complete(&mut snapshot, &captured.capture, earlier.snapshot.as_ref());
    match dated {
        None => {
            key_drop::tell_another_dump(&mut snapshot);
            if let Err(error) = key_drop::carry(repository, &mut snapshot) {
                return Err(session.give_up(error.into()));
            }
        }
        // How long it took is known, and when it was done then.
        Some(Dated { time, place }) => {
            (snapshot.place, snapshot.end) = (place, time);
            snapshot.summary.millis = repository.ambient().now().0.saturating_sub(begun.0);
        }
    }
    let (mut alarms, begin) = (session.alarms().to_vec(), session.begin());
    let mut committed = session.commit(&snapshot)?;
    let noted = if dated.is_none() { repository.note_seen(&committed, begin, &seen) } else { Ok(()) };
    let not_noted = committed.not_noted.take().or(noted.err());
    alarms.extend(not_noted.map(|error| Alarm::NotNoted { why: one_line(&error) }));
    spent.commit = lap(&mut since);
    Ok(Report {
        name: committed.name,
        snapshot,
        spent,
        alarms,
        final_at: committed.final_at,
        unread_files,
        unread_bytes,
        left_behind: None,
        left_out: LeftOut::default(),
    })
}

fn assemble(
    session: &Session<'_>,
    captured: &Captured,
    dataset: &str,
    options: &Options,
    stored_files: Vec<StoredFile>,
    stored: Stored,
) -> Snapshot {
    let capture = &captured.capture;
    let ambient = session.repository().ambient();
    let (begin, end) = (session.begin(), ambient.now());
    let mut facts = capture.facts.clone();
    let mut warnings = capture.warnings.clone();
    let mut files = Vec::with_capacity(stored_files.len());
    for StoredFile { file, facts: of_file, .. } in stored_files {
        facts.extend(of_file.into_iter().map(|(name, value)| (format!("{}.{name}", prefix(file.role)), value)));
        if let Some(why) = &file.suspect {
            let message = format!("stored as it is, but suspect: {why}");
            warnings.push(Warning { code: "suspect".into(), path: file.path.clone(), message });
        }
        files.push(file);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let regular = files.iter().filter(|file| file.kind == FileKind::File);
    let summary = Summary {
        files: regular.clone().count() as u64,
        bytes: regular.map(|file| file.size).sum(),
        new_chunks: stored.total().chunks,
        new_bytes: stored.total().bytes,
        stored_bytes: stored.stored_bytes,
        packs: stored.packs,
        millis: end.0.saturating_sub(begin.0),
        new: Some(stored.new).filter(|new| !new.is_empty()),
    };
    Snapshot {
        dataset: dataset.into(),
        sequence: session.sequence(),
        previous: session.previous(),
        begin,
        end,
        moment: captured.moment,
        host: ambient.host.clone(),
        directory: std::os::unix::ffi::OsStrExt::as_bytes(capture.directory.as_os_str()).to_vec(),
        facts,
        files,
        marks: captured.marks.clone(),
        warnings,
        tags: options.tags.clone(),
        made_by: env!("CARGO_PKG_VERSION").into(),
        summary,
        place: None,
    }
}
