//! `backup`: one snapshot of a live server, or of a data directory.

use std::collections::BTreeMap;
use std::io;

use super::attempts::attempt;
use super::key_drop;
use super::source::{Captured, Source};
use super::timeline::proof::{GoesOn, Hasher, Joint, Proof};
use super::{Observer, OperationError};
use crate::format::form::{Form, FormState};
use crate::format::limits::FAULT_MAX;
use crate::format::object::SnapshotName;
use crate::format::recipe::Part;
use crate::format::snapshot::{File, FileKind, Role, Snapshot, Warning};
use crate::format::summary::Summary;
use crate::held::FileStamp;
use crate::redis::{Capture, CaptureOptions, CapturedFile, Content, LeftOut, Own, RedisError, Whose};
use crate::repository::{
    Alarm, Intake, IntakeOptions, Repository, RepositoryError, SeenFile, Session, Stored, StreamWriter, one_line,
};
use crate::store::Location;

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
    /// Files that were not read, because they were not touched since the previous snapshot.
    pub unread_files: u64,
    /// Their bytes.
    pub unread_bytes: u64,
    /// Why the dump is still there that the server made for this snapshot only, and that it would load.
    pub left_behind: Option<String>,
    /// What stands in the directory and was not taken.
    pub left_out: LeftOut,
}

impl Report {
    /// Whether a person has to look at something.
    pub fn has_warnings(&self) -> bool {
        !self.alarms.is_empty() || !self.snapshot.warnings.is_empty() || self.snapshot.suspects().next().is_some()
    }
}

/// Takes a snapshot of a server or a directory. The files are opened first, in one consistent state; everything is read from these
/// descriptors.
pub fn backup(repository: &Repository, options: &Options, observer: &dyn Observer) -> Result<Report, OperationError> {
    let mut wanted = CaptureOptions { own: own(repository), ..options.capture.clone() };
    if !options.read_all {
        // A catalog that fails here fails again when the session begins, which mends it: until then all is read.
        wanted.know(repository.seen_files().unwrap_or_default());
    }
    let captured = options.source.capture(&wanted, observer)?;
    let dataset = options.dataset.clone().unwrap_or_else(|| captured.dataset(&repository.ambient().host));
    // On the same captured files.
    let report = attempt(repository, || store(repository, &captured, &dataset, options, observer));
    let left_behind = captured.tidy();
    let left_out = captured.capture.left;
    match report {
        Ok(report) => Ok(Report { left_behind, left_out, ..report }),
        Err(error) => {
            if let Some(left_behind) = left_behind {
                observer.remark(&left_behind);
            }
            Err(error)
        }
    }
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

/// One session. When it fails its commit name gets a tombstone.
fn store(
    repository: &Repository,
    captured: &Captured,
    dataset: &str,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    let capture = &captured.capture;
    let session = repository.begin(dataset)?;
    let earlier = match session.previous_snapshot() {
        Ok(previous) => Earlier { session: &session, capture, snapshot: previous, read_all: options.read_all },
        Err(error) => return Err(session.give_up(error.into())),
    };
    observer.begin("backing up", Some(capture.files.iter().map(CapturedFile::expected_size).sum()));
    let stored = session.store(options.intake, &|| observer.interrupted(), |intake| {
        let store = |file| store_file(repository, intake, file, &earlier, observer);
        capture.files.iter().map(store).collect::<Result<Vec<_>, OperationError>>()
    });
    let (mut files, stored) = match stored {
        Ok(stored) => stored,
        Err(error) => return Err(session.give_up(error)),
    };
    let unread = || files.iter().filter(|stored| stored.unread).map(|stored| stored.file.size);
    let (unread_files, unread_bytes) = (unread().count() as u64, unread().sum());
    let seen: Vec<SeenFile> = files.iter_mut().filter_map(|stored| stored.seen.take()).collect();
    let proof = files.iter().fold(Proof::default(), |p, one| p.and(&one.file, &one.facts, one.continues));
    let mut snapshot = assemble(&session, captured, dataset, options, files, stored);
    proof.complete(&mut snapshot, &captured.capture, earlier.snapshot.as_ref());
    key_drop::tell_another_dump(&mut snapshot);
    if let Err(error) = key_drop::carry(repository, &mut snapshot) {
        return Err(session.give_up(error.into()));
    }
    let (mut alarms, begin) = (session.alarms().to_vec(), session.begin());
    let mut committed = session.commit(&snapshot)?;
    let noted = repository.note_seen(&committed, begin, &seen);
    let not_noted = committed.not_noted.take().or(noted.err());
    alarms.extend(not_noted.map(|error| Alarm::NotNoted { why: one_line(&error) }));
    Ok(Report {
        name: committed.name,
        snapshot,
        alarms,
        unread_files,
        unread_bytes,
        left_behind: None,
        left_out: LeftOut::default(),
    })
}

/// The dataset's previous snapshot, which the new one builds on.
struct Earlier<'a> {
    session: &'a Session<'a>,
    capture: &'a Capture,
    snapshot: Option<Snapshot>,
    read_all: bool,
}

impl Earlier<'_> {
    fn file(&self, path: &[u8]) -> Option<&File> {
        self.snapshot.as_ref()?.files.iter().find(|old| old.path.as_slice() == path)
    }

    /// A file's earlier version: of the same path, or, where the server gave it another name, the only one of its role
    /// whose path is gone.
    fn version(&self, file: &CapturedFile) -> Option<&File> {
        let is_left = |old: &&File| {
            old.role == file.role && self.capture.files.iter().all(|other| other.path != old.path.as_slice())
        };
        match (self.file(&file.path), file.role) {
            (Some(same), _) => Some(same),
            (None, Role::Dump | Role::Base | Role::SingleAof) => {
                let mut left = self.snapshot.as_ref()?.files.iter().filter(is_left);
                left.next().filter(|_| left.next().is_none())
            }
            (None, Role::Incr | Role::Manifest | Role::History | Role::Other | Role::Config) => None,
        }
    }

    /// What has to be the begin of a captured file, if the AOF of the previous snapshot goes on in it.
    fn joint(&self, file: &CapturedFile) -> Option<Joint> {
        self.snapshot.as_ref().and_then(|previous| Joint::of(previous, file))
    }

    /// The file of the previous snapshot that a captured one certainly still is, and what its content showed.
    fn unchanged(
        &self,
        intake: &Intake<'_>,
        captured: &CapturedFile,
        stamp: &FileStamp,
    ) -> Result<Option<(&File, Facts)>, RepositoryError> {
        let is_it = |old: &&File| {
            (old.kind, old.role, old.size) == (FileKind::File, captured.role, stamp.size()) && old.hash.is_some()
        };
        let Some(old) = self.file(&captured.path).filter(is_it).filter(|_| !self.read_all) else { return Ok(None) };
        let (Some(recipe), Some(facts)) = (&old.recipe, self.session.seen(&captured.path, stamp)?) else {
            return Ok(None);
        };
        Ok(intake.knows(recipe)?.then_some((old, facts)))
    }
}

/// What the content of a file showed.
type Facts = BTreeMap<String, String>;

/// A file of the snapshot, and what reading it showed.
struct StoredFile {
    file: File,
    facts: Facts,
    /// Taken over from the previous snapshot.
    unread: bool,
    /// Whether the previous snapshot's AOF goes on in it.
    continues: GoesOn,
    /// For the next backup, where the file stood still.
    seen: Option<SeenFile>,
}

fn store_file(
    repository: &Repository,
    intake: &mut Intake<'_>,
    captured: &CapturedFile,
    earlier: &Earlier<'_>,
    observer: &dyn Observer,
) -> Result<StoredFile, OperationError> {
    let file = describe(captured);
    if captured.kind != FileKind::File {
        return Ok(StoredFile {
            file,
            facts: BTreeMap::new(),
            unread: false,
            continues: GoesOn::default(),
            seen: None,
        });
    }
    let stamp = stamp(captured);
    if let Some(stamp) = &stamp
        && let Some((old, facts)) = earlier.unchanged(intake, captured, stamp)?
    {
        observer.advance(old.size);
        let continues = earlier.joint(captured).map(|_| GoesOn::unread()).unwrap_or_default();
        let File { size, hash, recipe, suspect, form, .. } = old.clone();
        let seen = Some(SeenFile { path: captured.path.clone(), stamp: stamp.clone(), facts: facts.clone() });
        let file = File { size, hash, recipe, suspect, form, ..file };
        return Ok(StoredFile { file, facts, unread: true, continues, seen });
    }
    let (file, facts, continues) = read_file(repository, intake, captured, earlier, file, observer)?;
    // The same stamp before and after, and all of the file: then these are its bytes.
    let stamp = stamp.filter(|before| before.size() == file.size && self::stamp(captured).as_ref() == Some(before));
    let seen = stamp.map(|stamp| SeenFile { path: captured.path.clone(), stamp, facts: facts.clone() });
    Ok(StoredFile { file, facts, unread: false, continues, seen })
}

/// What tells whether a file is touched, where that can be told.
fn stamp(captured: &CapturedFile) -> Option<FileStamp> {
    let Content::Open { file, length } = &captured.content else { return None };
    let stamp = FileStamp::of(file).ok().flatten()?;
    length.is_none_or(|length| length == stamp.size()).then_some(stamp)
}

fn read_file(
    repository: &Repository,
    intake: &mut Intake<'_>,
    captured: &CapturedFile,
    earlier: &Earlier<'_>,
    mut file: File,
    observer: &dyn Observer,
) -> Result<(File, Facts, GoesOn), OperationError> {
    let recipe = earlier.version(captured).and_then(|earlier| earlier.recipe.as_deref()).unwrap_or_default();
    let mut stream = StreamWriter::after(repository, recipe);
    let mut hasher = Hasher::new(earlier.joint(captured));
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
    let (hash, continues) = hasher.finish();
    file.hash = Some(hash);
    file.recipe = Some(vec![Part::opaque(content)]);
    file.form = form(file.role, &reading.facts);
    file.suspect = reading.suspect;
    Ok((file, reading.facts, continues))
}

/// How a file that a server loads as RDB is stored, and why so.
fn form(role: Role, facts: &Facts) -> Option<Form> {
    if !matches!(role, Role::Dump | Role::Base | Role::SingleAof) {
        return None;
    }
    let mut why = match (facts.get("not-understood"), facts.contains_key("rdb.version")) {
        (Some(what), _) => what.clone(),
        (None, true) => concat!("redkeep ", env!("CARGO_PKG_VERSION"), " stores dumps as they are").into(),
        (None, false) => "it does not begin as an RDB file does".into(),
    };
    why.truncate(why.floor_char_boundary(FAULT_MAX));
    Some(Form { state: FormState::Opaque, why: Some(why) })
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
        form: None,
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
        Role::Config => "config",
        Role::Other | Role::History => "other",
    }
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
