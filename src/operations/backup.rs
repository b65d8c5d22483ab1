//! `backup`: one snapshot of a data directory.

use std::io;
use std::path::PathBuf;

use super::{Observer, OperationError};
use crate::format::ObjectHash;
use crate::format::object::SnapshotName;
use crate::format::recipe::Part;
use crate::format::snapshot::{File, FileKind, Role, Snapshot, Summary, Warning};
use crate::redis::{Capture, CaptureOptions, CapturedFile, Content, Reading, RedisError, capture_directory};
use crate::repository::{
    Alarm, Intake, IntakeOptions, Repository, RepositoryError, Session, Stored, StreamWriter, one_line,
};

/// How often a session that was given up by a sweep, or met a damaged catalog, is begun anew on the same captured files.
const ATTEMPTS: usize = 3;

/// What is backed up, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The data directory.
    pub directory: PathBuf,
    /// Name of the dataset; by default the host's name and the directory.
    pub dataset: Option<String>,
    /// A person's words for the snapshot.
    pub tags: Vec<String>,
    /// What is taken and left out.
    pub capture: CaptureOptions,
    /// How chunks are stored.
    pub intake: IntakeOptions,
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
}

impl Report {
    /// Whether a person has to look at something.
    pub fn has_warnings(&self) -> bool {
        !self.alarms.is_empty() || !self.snapshot.warnings.is_empty() || self.snapshot.suspects().next().is_some()
    }
}

/// Takes a snapshot of a directory. The files are opened first, in one consistent state; everything is read from these
/// descriptors.
pub fn backup(repository: &Repository, options: &Options, observer: &dyn Observer) -> Result<Report, OperationError> {
    let capture = capture_directory(&options.directory, &options.capture)?;
    let host = &repository.ambient().host;
    let dataset = options.dataset.clone().unwrap_or_else(|| format!("{host}:{}", capture.directory.display()));
    for _ in 1..ATTEMPTS {
        match attempt(repository, &capture, &dataset, options, observer) {
            Err(OperationError::Repository(RepositoryError::Fenced)) => {}
            Err(OperationError::Repository(error)) if error.is_of_catalog() => repository.replace_catalog()?,
            other => return other,
        }
    }
    attempt(repository, &capture, &dataset, options, observer)
}

/// One session. When it fails its commit name gets a tombstone.
fn attempt(
    repository: &Repository,
    capture: &Capture,
    dataset: &str,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    let session = repository.begin(dataset)?;
    let previous = match session.previous_snapshot() {
        Ok(previous) => previous,
        Err(error) => return Err(session.give_up(error.into())),
    };
    observer.begin("backing up", Some(capture.files.iter().map(CapturedFile::expected_size).sum()));
    let stored = session.store(options.intake, &|| observer.interrupted(), |intake| {
        capture
            .files
            .iter()
            .map(|file| {
                let earlier = previous.as_ref().and_then(|previous| earlier_version(previous, capture, file));
                store_file(repository, intake, file, earlier, observer)
            })
            .collect::<Result<Vec<_>, OperationError>>()
    });
    let (files, stored) = match stored {
        Ok(stored) => stored,
        Err(error) => return Err(session.give_up(error)),
    };
    let snapshot = assemble(&session, capture, dataset, options, files, stored);
    let mut alarms = session.alarms().to_vec();
    let committed = session.commit(&snapshot)?;
    alarms.extend(committed.not_noted.map(|error| Alarm::NotNoted { why: one_line(&error) }));
    Ok(Report { name: committed.name, snapshot, alarms })
}

/// A file as it was in an earlier snapshot: of the same path, or, where the server gave it another name, the only one of
/// its role that has no successor by name.
fn earlier_version<'a>(earlier: &'a Snapshot, capture: &Capture, file: &CapturedFile) -> Option<&'a File> {
    let same = earlier.files.iter().find(|old| old.path.as_slice() == file.path);
    let is_left =
        |old: &&File| old.role == file.role && capture.files.iter().all(|other| other.path != old.path.as_slice());
    match (same, file.role) {
        (Some(_), _) => same,
        (None, Role::Dump | Role::Base | Role::SingleAof) => {
            let mut left = earlier.files.iter().filter(is_left);
            left.next().filter(|_| left.next().is_none())
        }
        (None, Role::Incr | Role::Manifest | Role::History | Role::Other) => None,
    }
}

/// A file of the snapshot, and what reading it showed.
type StoredFile = (File, Reading);

fn store_file(
    repository: &Repository,
    intake: &mut Intake<'_>,
    captured: &CapturedFile,
    earlier: Option<&File>,
    observer: &dyn Observer,
) -> Result<StoredFile, OperationError> {
    let mut file = describe(captured);
    if captured.kind != FileKind::File {
        return Ok((file, Reading::default()));
    }
    let recipe = earlier.and_then(|earlier| earlier.recipe.as_deref()).unwrap_or_default();
    let mut stream = StreamWriter::after(repository, recipe);
    let mut hasher = blake3::Hasher::new();
    let mut failed = None;
    let read = captured.read(&mut |bytes| {
        hasher.update(bytes);
        observer.advance(bytes.len() as u64);
        stream.write(intake, bytes).map_err(|error| {
            failed = Some(error);
            io::Error::other("the repository failed")
        })
    });
    let reading = match (read, failed) {
        (Err(RedisError::Sink(_)), Some(error)) => return Err(error.into()),
        (read, _) => read?,
    };
    let content = stream.finish(intake)?;
    file.size = reading.length;
    file.hash = Some(ObjectHash(hasher.finalize().into()));
    file.recipe = Some(vec![Part::opaque(content)]);
    file.suspect = reading.suspect.clone();
    Ok((file, reading))
}

fn describe(captured: &CapturedFile) -> File {
    File {
        path: captured.path.clone().into(),
        kind: captured.kind,
        mode: captured.mode,
        uid: captured.uid,
        gid: captured.gid,
        user: captured.user.clone(),
        group: captured.group.clone(),
        mtime: captured.mtime,
        mtime_nanos: captured.mtime_nanos,
        size: 0,
        hash: None,
        recipe: None,
        target: match &captured.content {
            Content::Link(target) => Some(target.clone().into()),
            Content::None | Content::Bytes(_) | Content::Open { .. } => None,
        },
        role: captured.role,
        suspect: None,
    }
}

/// Under which word of the snapshot's facts stands what reading a file showed.
fn prefix(role: Role) -> &'static str {
    match role {
        Role::Dump => "dump",
        Role::Base => "base",
        Role::Incr => "incr",
        Role::SingleAof => "aof-file",
        Role::Manifest => "manifest",
        Role::Other | Role::History => "other",
    }
}

fn assemble(
    session: &Session<'_>,
    capture: &Capture,
    dataset: &str,
    options: &Options,
    stored_files: Vec<StoredFile>,
    stored: Stored,
) -> Snapshot {
    let ambient = session.repository().ambient();
    let (begin, end) = (session.begin(), ambient.now());
    let mut facts = capture.facts.clone();
    let mut warnings = capture.warnings.clone();
    let mut files = Vec::with_capacity(stored_files.len());
    for (file, reading) in stored_files {
        facts.extend(reading.facts.into_iter().map(|(name, value)| (format!("{}.{name}", prefix(file.role)), value)));
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
        new_chunks: stored.new_chunks,
        new_bytes: stored.new_bytes,
        stored_bytes: stored.stored_bytes,
        packs: stored.packs,
        millis: end.0.saturating_sub(begin.0),
    };
    Snapshot {
        dataset: dataset.into(),
        sequence: session.sequence(),
        previous: session.previous(),
        begin,
        end,
        moment: None,
        host: ambient.host.clone(),
        directory: std::os::unix::ffi::OsStrExt::as_bytes(capture.directory.as_os_str()).to_vec(),
        facts,
        files,
        marks: Vec::new(),
        warnings,
        tags: options.tags.clone(),
        made_by: env!("CARGO_PKG_VERSION").into(),
        summary,
        place: None,
    }
}
