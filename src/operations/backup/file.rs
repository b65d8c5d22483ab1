//! A file of a backup: taken over where it certainly is what it was, else read and stored.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::earlier_version::{Older, Wanted};
use super::input::Input;
use super::rounds::{self, Round};
use super::{dump, opaque};
use crate::format::snapshot::{File, FileKind, Role, Snapshot};
use crate::held::FileStamp;
use crate::operations::timeline::proof::{GoesOn, Joint};
use crate::operations::{Observer, OperationError};
use crate::redis::{Capture, CapturedFile, Content};
use crate::repository::{Intake, Repository, RepositoryError, SeenFile, Session};

/// The dataset's previous snapshot, which the new one builds on.
pub(super) struct Earlier<'a> {
    pub session: &'a Session<'a>,
    pub capture: &'a Capture,
    pub snapshot: Option<Snapshot>,
    /// Those before it, too.
    pub older: Older<'a>,
    /// Whether nothing is taken over.
    pub read_all: bool,
}

impl Earlier<'_> {
    fn files(&self) -> &[File] {
        self.snapshot.as_ref().map(|snapshot| &snapshot.files[..]).unwrap_or_default()
    }

    /// What has to be the begin of a captured file, if the AOF of the previous snapshot goes on in it.
    pub fn joint(&self, file: &CapturedFile) -> Option<Joint> {
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
        let same = self.files().iter().find(|old| old.path.as_slice() == captured.path);
        let Some(old) = same.filter(is_it).filter(|_| !self.read_all) else { return Ok(None) };
        let (Some(recipe), Some(facts)) = (&old.recipe, self.session.seen(&captured.path, stamp)?) else {
            return Ok(None);
        };
        Ok(intake.knows(recipe)?.then_some((old, facts)))
    }
}

/// What the content of a file showed.
pub(in crate::operations) type Facts = BTreeMap<String, String>;

/// A file of the snapshot, and what reading it showed.
pub(super) struct StoredFile {
    pub file: File,
    pub facts: Facts,
    /// Taken over from the previous snapshot.
    pub unread: bool,
    /// Whether the previous snapshot's AOF goes on in it.
    pub continues: GoesOn,
    /// For the next backup, where the file stood still.
    pub seen: Option<SeenFile>,
    /// How long it took to read.
    pub read_for: Duration,
}

/// Takes over a file that was not touched, and what is no file. `None`: it is to be stored.
fn take_over(
    intake: &Intake<'_>,
    captured: &CapturedFile,
    earlier: &Earlier<'_>,
    observer: &dyn Observer,
) -> Result<Option<StoredFile>, OperationError> {
    let file = describe(captured);
    if captured.kind != FileKind::File {
        let (facts, continues) = (BTreeMap::new(), GoesOn::default());
        return Ok(Some(StoredFile { file, facts, unread: false, continues, seen: None, read_for: Duration::ZERO }));
    }
    let Some(stamp) = stamp(captured) else { return Ok(None) };
    let Some((old, facts)) = earlier.unchanged(intake, captured, &stamp)? else { return Ok(None) };
    observer.advance(old.size);
    let continues = earlier.joint(captured).map(|_| GoesOn::unread()).unwrap_or_default();
    let File { size, hash, recipe, suspect, form, .. } = old.clone();
    let seen = Some(SeenFile { path: captured.path.clone(), stamp, facts: facts.clone() });
    let file = File { size, hash, recipe, suspect, form, ..file };
    Ok(Some(StoredFile { file, facts, unread: true, continues, seen, read_for: Duration::ZERO }))
}

/// Stores a file, unless it waits for the dump of this time.
pub(super) fn store_file(
    repository: &Repository,
    intake: &mut Intake<'_>,
    captured: &CapturedFile,
    earlier: &Earlier<'_>,
    (dump, round): (Option<i64>, Round<'_>),
    observer: &dyn Observer,
) -> Result<Option<StoredFile>, OperationError> {
    let is_here = |path: &[u8]| earlier.capture.files.iter().any(|file| file.path == path);
    let wanted = Wanted { path: &captured.path, role: captured.role, is_here: &is_here };
    let old = wanted.among(earlier.files());
    let beside = match round {
        Round::First => match take_over(intake, captured, earlier, observer)? {
            None if rounds::waits(captured.role, captured.mtime, dump, old) => return Ok(None),
            None => None,
            unread => return Ok(unread),
        },
        Round::Second(beside) => beside,
    };
    let (file, stamp) = (describe(captured), stamp(captured));
    let read_for = Cell::new(Duration::ZERO);
    let previous = old.and_then(|old| old.recipe.as_deref()).unwrap_or_default();
    let input = Input {
        size: captured.expected_size(),
        earlier: previous,
        instead: &|| match beside {
            Some(beside) => Ok(Some(beside.clone())),
            None => earlier.older.canonical(&wanted, previous),
        },
        remembered: Some(&captured.path[..]).filter(|_| !earlier.read_all),
        joint: earlier.joint(captured),
        read: &|sink, each| {
            let begun = Instant::now();
            let read = captured.read_stretches(sink, each);
            read_for.set(read_for.get() + begun.elapsed());
            Ok(read?)
        },
    };
    let (file, facts, continues) = match captured.role {
        Role::Dump | Role::Base | Role::SingleAof => dump::store(repository, intake, &input, file, observer),
        Role::Other | Role::Manifest | Role::Incr | Role::History | Role::Config => {
            opaque::store(repository, intake, &input, file, observer)
        }
    }?;
    // The same before and after: then these are its bytes.
    let stamp = stamp.filter(|before| self::stamp(captured).as_ref() == Some(before));
    let seen = stamp.map(|stamp| SeenFile { path: captured.path.clone(), stamp, facts: facts.clone() });
    Ok(Some(StoredFile { file, facts, unread: false, continues, seen, read_for: read_for.get() }))
}

/// What tells whether a file is touched, where that can be told.
fn stamp(captured: &CapturedFile) -> Option<FileStamp> {
    let Content::Open { file, length } = &captured.content else { return None };
    let stamp = FileStamp::of(file).ok().flatten()?;
    length.is_none_or(|length| length == stamp.size()).then_some(stamp)
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
            Content::None | Content::Bytes(_) | Content::Open { .. } | Content::Sent(_) => None,
        },
        role: captured.role,
        suspect: None,
        form: None,
    }
}

/// Under which word of the snapshot's facts stands what reading a file showed.
pub(super) fn prefix(role: Role) -> &'static str {
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
