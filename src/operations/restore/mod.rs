//! `restore --target DIR`: a snapshot's files in a directory, all of them or nothing.
//!
//! LOCAL-7: everything is written to a staging directory beside the target, synced, read back and compared, AOF manifests
//! last; then the directory takes the target's name by one rename, and what stood there is kept aside.

mod asides;
mod beside;
mod locating;
mod meant;
mod moment;
mod needs;
mod occupied;
mod place;
mod seeking;
pub mod server;
mod stage;
mod watched;
mod write_back;

use std::path::{Path, PathBuf};

pub use asides::{Aside, Removal, absolute, asides, removable, remove_asides};
pub use locating::locate;
pub use meant::{Doubt, Which, doubt, is_either, meant, settled};
pub use moment::{Cut, Goal, cut};
pub(super) use needs::Needs;
pub use place::{UndoReport, look_at_undo, undo};
pub use seeking::shown;

use super::list::Chosen;
use super::second_look::second_look;
use super::{Observer, OperationError};
use crate::format::snapshot::{File, FileKind, Role, Snapshot};
use crate::held::Held;
use crate::rdb::{Family, Header};
use crate::redis::program::{Demands, Program};
use crate::repository::Repository;
use beside::Beside;
use occupied::refuse_other;
use place::Target;
use stage::Staging;

/// Which of two datasets in one snapshot is meant, where the server's AOF may have been stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The dump; AOF files are left out.
    Rdb,
    /// The AOF; the dump is left out.
    Aof,
}

/// What is restored, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that will hold the files.
    pub target: PathBuf,
    /// Which dataset is meant.
    pub from: Option<From>,
    /// Also restore what configures the server, below `.redkeep-config` in the target.
    pub with_config: bool,
    /// Replace a directory that holds something else than a dataset, too.
    pub replace_anything: bool,
    /// Say what would be done and stop.
    pub dry_run: bool,
}

impl Options {
    /// All of a dataset into this directory, whatever stands there.
    pub fn new(target: PathBuf) -> Options {
        Options { target, from: None, with_config: false, replace_anything: true, dry_run: false }
    }
}

/// What a restore did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The target, absolute.
    pub target: PathBuf,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of the server's configuration that were left out.
    pub left_config: u64,
    /// What stood in the target's place is now here.
    pub aside: Option<PathBuf>,
    /// Owners or times that could not be set.
    pub unset: Vec<String>,
    /// Damage that was made good from other copies.
    pub made_good: Vec<String>,
    /// Paths whose content was suspect when it was stored, and why.
    pub suspects: Vec<(String, String)>,
    /// Which of its files are the dataset is not known: all of them are there, as they were.
    pub doubt: Option<Doubt>,
    /// What a server will make of the files.
    pub notes: Vec<String>,
    /// Nothing was written.
    pub dry_run: bool,
}

/// Restores a snapshot into a directory. Damage is final only after a second look.
pub fn restore(
    repository: &Repository,
    chosen: &Chosen,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report, OperationError> {
    restore_at(repository, chosen, options, None, observer).map(|(report, _)| report)
}

/// The same, cut back to an earlier moment before it is put in place. A dry run does not tell where it would be cut: [`locate`] does.
pub fn restore_at(
    repository: &Repository,
    chosen: &Chosen,
    options: &Options,
    goal: Option<&Goal>,
    observer: &dyn Observer,
) -> Result<(Report, Option<Cut>), OperationError> {
    second_look(repository, |_| true, || restore_once(repository, chosen, options, goal, observer))
}

fn restore_once(
    repository: &Repository,
    chosen: &Chosen,
    options: &Options,
    goal: Option<&Goal>,
    observer: &dyn Observer,
) -> Result<(Report, Option<Cut>), OperationError> {
    let mut files = select(chosen, options.from)?;
    let is_left = |file: &&File| file.role == Role::Config && !options.with_config;
    let left_config = files.iter().filter(|file| is_left(file) && file.kind == FileKind::File).count() as u64;
    files.retain(|file| !is_left(file));
    let target = Target::find(&options.target)?;
    target.refuse_repository(&repository.location())?;
    if !options.replace_anything {
        refuse_other(target.path(), &chosen.snapshot)?;
    }
    let regular = files.iter().filter(|file| file.kind == FileKind::File);
    let bytes = regular.clone().map(|file| file.size).sum();
    let mut report = Report {
        target: target.path().into(),
        files: regular.count() as u64,
        bytes,
        left_config,
        aside: None,
        unset: Vec::new(),
        made_good: Vec::new(),
        suspects: files.iter().filter_map(|f| Some((f.display_path(), f.suspect.clone()?))).collect(),
        doubt: doubt(&chosen.snapshot).filter(|_| options.from.is_none()),
        notes: notes(&files, &chosen.snapshot).into_iter().chain(too_new(&files, &chosen.snapshot)).collect(),
        dry_run: options.dry_run,
    };
    if options.dry_run {
        target.check_space(bytes)?;
        report.aside = target.exists().then(|| target.path().into());
        return Ok((report, None));
    }
    let claim = target.claim()?;
    claim.clear()?;
    claim.target().check_space(bytes)?;
    let staging = Staging::create(&claim)?;
    let (made_good, mut unset) = staging.fill(repository, &files, observer)?;
    let cut = goal.map(|goal| cut_held(staging.held(), &files, goal, observer)).transpose()?;
    let (aside, of_directory) = staging.put_in_place()?;
    unset.extend(of_directory);
    Ok((Report { aside, made_good, unset, ..report }, cut))
}

/// What a server would make of the files that a person may not expect: one with its AOF on loads no dump, and the other way
/// round, and says nothing of it.
fn notes(files: &[&File], snapshot: &Snapshot) -> Vec<String> {
    let has = |roles: &[Role]| files.iter().any(|file| file.kind == FileKind::File && roles.contains(&file.role));
    let had_aof = snapshot.facts.get("server.appendonly").map(String::as_str);
    let (dump, aof) = (has(&[Role::Dump]), has(&[Role::Manifest, Role::SingleAof]));
    let (what, had) = match (dump, aof) {
        (true, false) => {
            ("a server with appendonly yes starts empty on this dump, and saves over it", had_aof == Some("yes"))
        }
        (false, true) => ("a server with appendonly no starts empty on this AOF", had_aof == Some("no")),
        (true, true) | (false, false) => return Vec::new(),
    };
    let had = if had { "; the one that was captured is set so" } else { "" };
    let way = "restore --server gives it to a server, running or stopped, in the form that it loads";
    vec![format!("{what}{had}: {way}")]
}

/// Where none of this host's servers reads the dataset: it may be meant for another host.
fn too_new(files: &[&File], snapshot: &Snapshot) -> Option<String> {
    let has = |role: Role| files.iter().any(|file| file.kind == FileKind::File && file.role == role);
    let kinds = [(Role::Dump, "dump"), (Role::Base, "base"), (Role::SingleAof, "aof-file")];
    let headers = kinds.iter().filter(|(role, _)| has(*role)).filter_map(|(_, prefix)| {
        let fact = |name: &str| snapshot.facts.get(&format!("{prefix}.rdb.{name}"));
        let family = if fact("family")? == "valkey" { Family::Valkey } else { Family::Redis };
        Some(Header { family, version: fact("version")?.parse().ok()? })
    });
    let header = headers.max_by_key(|header| header.version);
    header.and_then(|header| Program::all_too_old(Demands { header: Some(header), multi_part: has(Role::Manifest) }))
}

/// What restores into a directory, or into the server that works there, replaced, as far as it is still kept. What an undo
/// needs comes last. Places that cannot be looked into are left out.
pub(super) fn kept_aside(directory: &Path, state: Option<&Path>) -> Vec<PathBuf> {
    let held = Held::open(directory).ok();
    let inside = held.as_ref().map(server::beside);
    let parent = directory.parent().and_then(|parent| Held::open(parent).ok());
    let around = parent.zip(directory.file_name()).map(|(parent, name)| Beside::new(parent, name));
    let asides = |beside: Beside| {
        let found = beside.asides().unwrap_or_default();
        found.into_iter().map(|(_, name)| beside.path_of(&name)).collect::<Vec<_>>()
    };
    let mut kept: Vec<PathBuf> = inside.into_iter().chain(around).flat_map(asides).collect();
    let needed = held.and_then(|held| server::needed_by_undo(&held, state));
    if let Some(needed) = needed.filter(|needed| kept.contains(needed)) {
        kept.retain(|path| *path != needed);
        kept.push(needed);
    }
    kept
}

/// The files of the dataset that is meant, all of them where none is.
fn select(chosen: &Chosen, from: Option<From>) -> Result<Vec<&File>, OperationError> {
    let snapshot = &chosen.snapshot;
    let is_aof =
        |file: &&File| matches!(file.role, Role::Manifest | Role::Base | Role::Incr | Role::SingleAof | Role::History);
    let wanted = |file: &&File| match from {
        None => true,
        Some(From::Rdb) => !is_aof(file),
        Some(From::Aof) => file.role != Role::Dump,
    };
    let has = |test: &dyn Fn(&&File) -> bool| snapshot.files.iter().any(|file| test(&file));
    let missing = match from {
        Some(From::Rdb) if !has(&|file| file.role == Role::Dump) => Some("dump"),
        Some(From::Aof) if !has(&is_aof) => Some("AOF"),
        _ => None,
    };
    match missing {
        Some(what) => Err(OperationError::Refused {
            what: format!("the snapshot holds no {what}"),
            hint: "leave out --from, or choose another snapshot".into(),
        }),
        None => {
            let files = snapshot.files.iter().filter(wanted);
            // The directory of the AOF's files is of no use without them.
            let is_emptied = |file: &File| {
                let below = |other: &&File| {
                    other.path.strip_prefix(file.path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
                };
                let is_left = |other: &File| other.kind != FileKind::Directory && wanted(&other);
                let mut all = snapshot.files.iter().filter(below).peekable();
                let is_usual = file.path.as_slice() == b"appendonlydir" && from.is_some();
                (all.peek().is_some() || is_usual) && !all.any(is_left)
            };
            Ok(files.filter(|file| from.is_none() || file.kind != FileKind::Directory || !is_emptied(file)).collect())
        }
    }
}

/// Cuts what lies in a directory that is held. What fails is told by the names people know.
fn cut_held(held: &Held, files: &[&File], goal: &Goal, observer: &dyn Observer) -> Result<Cut, OperationError> {
    let reached = held.reached();
    cut(&reached, files, goal, observer).map_err(|error| match error {
        OperationError::Target { action, path, source } => {
            let path = match Path::new(&path).strip_prefix(&reached) {
                Ok(below) => held.path().join(below).display().to_string(),
                Err(_) => path,
            };
            OperationError::Target { action, path, source }
        }
        other => other,
    })
}

/// The path in a directory of a path in a snapshot. Snapshot paths were checked when it was decoded.
fn below(root: &Path, file: &File) -> PathBuf {
    root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&file.path))
}
