//! What a page about a repository tells: what it holds, what it costs, and when it was last tried.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::key_drop::told_falls;
use super::list::{self, Filter, Forgotten};
use super::stats::{self, Report};
use super::timeline::{self, Timeline};
use super::whole_file::replace;
use super::{Observer, OperationError};
use crate::format::UnixMillis;
use crate::format::object::SnapshotName;
use crate::repository::{DrillRecord, PackReads, Repository, RepositoryError, SnapshotInfo, Used};

/// What is known of a repository, all of the same refresh or a later one.
#[derive(Debug)]
pub struct Overview {
    /// The repository's id.
    pub repository: String,
    /// Where it is.
    pub location: String,
    /// When it was looked at, by this host's clock.
    pub now: UnixMillis,
    /// What it holds, as `stats` tells.
    pub stats: Report,
    /// Whose the stored bytes are; `None` where something that is needed cannot be read.
    pub usage: Option<Used>,
    /// Kept snapshots, by dataset and age.
    pub kept: Vec<SnapshotInfo>,
    /// Forgotten ones, in the same order; those that are gone last.
    pub forgotten: Vec<Forgotten>,
    /// The timelines of all datasets.
    pub timelines: Vec<Timeline>,
    /// The newest drill of each snapshot.
    pub drills: BTreeMap<SnapshotName, DrillRecord>,
    /// When packs were last read.
    pub reads: PackReads,
    /// By dataset, what is lost by each fall of its keys that nobody has settled.
    pub falls: BTreeMap<String, Vec<String>>,
}

/// Looks at all of it. Memory as of `stats`.
pub fn overview(repository: &Repository, observer: &dyn Observer) -> Result<Overview, OperationError> {
    let (timelines, _) = timeline::load(repository, &timeline::Filter::default())?;
    let (forgotten, _) = list::forgotten(repository, &Filter::default())?;
    let stats = stats::stats(repository)?;
    let usage = stats::usage(repository, observer)?;
    let of = |name: &String| Filter { dataset: Some(name.clone().into()), ..Filter::default() };
    let falls_of = |name: &String| told_falls(repository, &of(name)).map(|falls| (name.clone(), falls));
    let falls = stats.datasets.keys().map(falls_of).collect::<Result<_, RepositoryError>>()?;
    Ok(Overview {
        repository: repository.id().to_string(),
        location: repository.location(),
        now: repository.ambient().now(),
        falls,
        stats,
        usage,
        kept: repository.kept_snapshots()?,
        forgotten,
        timelines,
        drills: repository.drill_results()?,
        reads: repository.pack_reads()?,
    })
}

/// Writes a page as a whole. One that is there keeps its mode; a new one is its owner's alone, for it names what the
/// repository keeps secret. Where a link is, the page is written to the file that it leads to; what is no file is left alone.
pub fn write_page(path: &Path, page: &str) -> io::Result<()> {
    let is_link = path.symlink_metadata().is_ok_and(|there| there.is_symlink());
    let place = if is_link { path.canonicalize()? } else { path.to_owned() };
    let there = match place.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => Some(other?),
    };
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return Err(io::Error::other("it is there and no regular file"));
    }
    replace(&place, page.as_bytes(), there.map_or(0o600, |there| there.permissions().mode() & 0o666))
}
