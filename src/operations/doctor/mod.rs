//! `doctor`: what about this host, its servers and their data will bite, before it does.
//!
//! Everything is read below a root directory, so that an image or a container can be looked at from outside. Nothing is
//! changed. A server that is named is asked what a backup user may ask, and no other.

mod configured;
mod data;
mod host;
mod live;
mod secrets;
pub mod service;
mod settings;
mod users;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sets::newest_whole;
use super::{Observer, OperationError, list};
use crate::format::UnixMillis;
use crate::redis::server::{Address, WhereOptions};
use crate::repository::{Repository, SnapshotInfo};

/// What is looked at.
#[derive(Clone, Default)]
pub struct Options {
    /// The host's root directory: `/`, or that of an image.
    pub root: PathBuf,
    /// Data directories, as they are called on that host; where none is named, those that the servers' configuration
    /// files name, else those that distributions use.
    pub directories: Vec<PathBuf>,
    /// Dumps and AOFs up to this size are read whole; of larger ones the first bytes.
    pub read_up_to: u64,
    /// A live server to ask.
    pub server: Option<Address>,
    /// What is said of that server's directory.
    pub place: WhereOptions,
    /// Backups have that server send its dump: its files are nobody's concern.
    pub is_sent: bool,
    /// Where a repository on this host is: what a backup may have to store there has to fit.
    pub repository: Option<PathBuf>,
    /// Files of redkeep that hold a password, such as a password file.
    pub secrets: Vec<PathBuf>,
    /// The state directory, which knows of restores.
    pub state: Option<PathBuf>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Data is or will be lost, or no backup can be taken.
    Serious,
    /// It will bite on a bad day.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Serious => "serious",
            Severity::Warning => "warning",
        })
    }
}

/// Something that will bite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for programs.
    pub code: String,
    /// What it is, and what comes of it.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Finding {
    /// Something that loses data.
    pub fn serious(code: &str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { severity: Severity::Serious, code: code.into(), what: what.into(), advice: advice.into() }
    }

    /// Something that bites on a bad day.
    pub fn warning(code: &str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, code: code.into(), what: what.into(), advice: advice.into() }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The worst first.
    pub findings: Vec<Finding>,
    /// What was not looked at, and why; and what is good to know.
    pub notes: Vec<String>,
    /// Data directories that were looked at.
    pub directories: Vec<PathBuf>,
    /// Configuration files of servers that were read.
    pub files: Vec<PathBuf>,
}

impl Report {
    /// Adds something that was found elsewhere.
    pub fn add(&mut self, finding: impl IntoIterator<Item = Finding>) {
        self.findings.extend(finding);
        self.findings.sort_by_key(|finding| finding.severity);
    }
}

/// Looks at a host.
pub fn doctor(options: &Options, now: UnixMillis, observer: &dyn Observer) -> Report {
    let mut report = Report::default();
    // What a server does now counts, not what a file of some server says.
    let asked = options.server.as_ref().map(|address| live::ask(address, options, now, &mut report));
    let live = asked.as_ref().and_then(|asked| asked.directory.clone());
    let (servers, found) = match asked {
        // A server that does not answer is no reason to look at another's data.
        Some(asked) => (asked.file.into_iter().collect(), asked.directory.into_iter().collect()),
        None => {
            let servers = configured::find(&options.root, &mut report);
            let named = servers.iter().filter_map(configured::ServerFile::directory);
            let found = data::directories(&options.root, named);
            (servers, found)
        }
    };
    report.directories = if options.directories.is_empty() { found } else { options.directories.clone() };
    if report.directories.is_empty() && options.server.is_none() {
        report.notes.push("no data directory was found: name one with --dir".into());
    }
    let mut largest = 0;
    for directory in report.directories.clone() {
        observer.begin(&format!("looking at {}", directory.display()), None);
        let is_live = live.as_ref() == Some(&directory);
        largest = largest.max(data::look(options, &directory, is_live, now, &mut report));
    }
    for server in &servers {
        settings::judge(&options.root, server, &mut report);
    }
    host::look(&options.root, &servers, &mut report);
    if let Some(repository) = &options.repository {
        data::judge_room_of_repository(repository, largest, &mut report);
    }
    secrets::look(&options.secrets, &mut report);
    report.findings.sort_by_key(|finding| finding.severity);
    report
}

/// Whose backups are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    /// A dataset, by its name.
    Dataset(String),
    /// The sets of a name: those of a cluster.
    Sets(String),
    /// A data directory of a host, whatever its dataset is called.
    Directory {
        /// The host.
        host: String,
        /// The directory, without links.
        directory: PathBuf,
    },
}

impl Of {
    fn fits(&self, info: &SnapshotInfo) -> bool {
        match self {
            Of::Dataset(dataset) => info.dataset == *dataset,
            Of::Sets(name) => info.told.set.as_ref().is_some_and(|of| of.name == *name),
            Of::Directory { host, directory } => {
                info.host == *host && info.directory == directory.as_os_str().as_encoded_bytes()
            }
        }
    }
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Of::Dataset(dataset) | Of::Sets(dataset) => f.write_str(dataset),
            Of::Directory { directory, .. } => write!(f, "{}", directory.display()),
        }
    }
}

/// Whether the newest snapshot is young enough.
pub fn backups(
    repository: &Repository,
    of: &Of,
    max_age: Duration,
    now: UnixMillis,
) -> Result<Vec<Finding>, OperationError> {
    let (infos, alarms) = list::snapshots(repository, &list::Filter::default())?;
    let known: BTreeSet<&str> = infos.iter().map(|info| info.dataset.as_str()).collect();
    let known = known.into_iter().collect::<Vec<_>>().join(", ");
    let mut found: Vec<Finding> =
        alarms.iter().map(|alarm| Finding::serious("repository", alarm.to_string(), "see: redkeep check")).collect();
    let fitting: Vec<SnapshotInfo> = infos.iter().filter(|info| of.fits(info)).cloned().collect();
    let newest = match of {
        Of::Sets(_) => newest_whole(&fitting),
        Of::Dataset(_) | Of::Directory { .. } => fitting.iter().map(|info| info.begin).max(),
    };
    match newest {
        None if known.is_empty() => found.push(Finding::serious(
            "no-backup",
            format!("there is no backup of {of}: the repository holds no snapshot"),
            "take one with: redkeep backup",
        )),
        None => found.push(Finding::serious(
            "no-backup",
            format!("there is no backup of {of}; the repository has {known}"),
            "take one with: redkeep backup; or name the dataset that is meant with --dataset",
        )),
        Some(newest) if newest > now => found.push(Finding::serious(
            "clock",
            format!("the newest snapshot of {of} is of {}, which is to come", in_hours(newest.0 - now.0)),
            "set this host's clock, or that of the host that took it: ages and retention go by them",
        )),
        Some(newest) if now.0 - newest.0 > max_age.as_millis() as u64 => found.push(Finding::serious(
            "old-backup",
            format!("the newest snapshot of {of} is {} old", in_hours(now.0 - newest.0)),
            "look at the last run of its job; redkeep schedule show says when it is run",
        )),
        Some(_) => {}
    }
    Ok(found)
}

/// A span of time, as roughly as it is worth.
fn in_hours(millis: u64) -> String {
    match millis / 3_600_000 {
        0 => format!("{} min", millis / 60_000),
        hours @ 1..72 => format!("{hours} h"),
        hours => format!("{} days", hours / 24),
    }
}

/// A path of the host that is looked at, here.
fn below(root: &Path, path: &Path) -> PathBuf {
    match root == Path::new("/") {
        true => path.into(),
        false => root.join(path.strip_prefix("/").unwrap_or(path)),
    }
}
