//! `schedule`: has cron or systemd run a profile. Only files that redkeep wrote are replaced or removed.

mod cron;
mod host;
mod systemd;
mod timing;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Zoned;

use super::OperationError;
use super::whole_file::replace;
pub use host::{User, may_put, may_write, user};
pub use timing::Timing;

/// Begin of every file that is written here, before the profile's name.
const MARK: &str = "# Written by redkeep schedule install; changes are lost with the next one. Profile: ";

/// Who runs a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An entry in /etc/cron.d.
    Cron,
    /// A service and a timer.
    Systemd,
}

/// What is run when.
#[derive(Debug, Clone)]
pub struct Job {
    /// The profile: letters, digits, `-` and `_`.
    pub profile: String,
    /// When.
    pub timing: Timing,
    /// The program, as an absolute path, and its arguments.
    pub command: Vec<String>,
    /// As whom.
    pub user: String,
    /// What it writes to, beside its own cache and state.
    pub writes: Vec<PathBuf>,
    /// Whether it runs commands of the user, which may need anything.
    pub has_commands: bool,
    /// Whether the configuration says where the cache is.
    pub has_cache: bool,
}

/// Where a job is installed.
#[derive(Debug, Clone)]
pub struct Options {
    /// The host's root directory: `/`, or that of an image.
    pub root: PathBuf,
    /// Who runs it; `None`: systemd where it runs, else cron.
    pub kind: Option<Kind>,
}

/// What is installed for a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The profile.
    pub profile: String,
    /// Who runs it.
    pub kind: Kind,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// When, where it is still as it was written.
    pub timing: Option<Timing>,
    /// What is run.
    pub command: Option<String>,
    /// Why it is never run: a timer that was switched off, a host without anybody who reads it.
    pub idle: Option<&'static str>,
    /// Whether systemd has read it; `false` also where it cannot be asked.
    pub is_verified: bool,
}

impl Installed {
    /// When it runs next, as far as is known.
    pub fn next(&self, now: &Zoned) -> Option<Zoned> {
        self.timing.filter(|_| self.idle.is_none())?.next(now)
    }
}

/// Begin of the names of all files of a profile.
fn name(profile: &str) -> String {
    format!("redkeep-{profile}")
}

/// Installs a job, over an earlier one of the same profile.
pub fn install(job: &Job, options: &Options) -> Result<Installed, OperationError> {
    refuse_words(&job.command)?;
    host::refuse_nobody(&options.root, &job.user)?;
    let (root, profile) = (&options.root, &job.profile);
    let kind = options.kind.unwrap_or(if is_booted(root) { Kind::Systemd } else { Kind::Cron });
    let paths = files(root, profile, kind);
    paths.iter().try_for_each(|path| refuse_foreign(path))?;
    let is_verified = match kind {
        Kind::Cron => {
            refuse_without_cron(root)?;
            write(&paths, &[cron::text(job)])?;
            false
        }
        Kind::Systemd => {
            let texts = systemd::texts(job);
            let is_verified = systemd::verify(profile, &texts)?;
            write(&paths, &texts)?;
            systemd::enable(root, profile)?;
            if is_live(root) {
                systemd::ask(&["daemon-reload"])?;
                systemd::ask(&["restart", &format!("{}.timer", name(profile))])?;
            }
            is_verified
        }
    };
    let other = if kind == Kind::Cron { Kind::Systemd } else { Kind::Cron };
    // Run by both it would run twice.
    remove_kind(root, profile, other)?;
    let found = of_kind(root, profile, kind)?;
    let found = found.ok_or_else(|| OperationError::NothingAside { path: root.display().to_string() })?;
    Ok(Installed { is_verified, ..found })
}

/// What is installed for a profile, or for any.
pub fn show(root: &Path, profile: Option<&str>) -> Result<Vec<Installed>, OperationError> {
    let profiles = match profile {
        Some(profile) => vec![profile.to_string()],
        None => profiles(root)?,
    };
    let mut found = Vec::new();
    for profile in &profiles {
        for kind in [Kind::Systemd, Kind::Cron] {
            found.extend(of_kind(root, profile, kind)?);
        }
    }
    Ok(found)
}

/// Removes what is installed for a profile, and answers with the files that are gone.
pub fn remove(root: &Path, profile: &str) -> Result<Vec<PathBuf>, OperationError> {
    let mut gone = Vec::new();
    for kind in [Kind::Systemd, Kind::Cron] {
        files(root, profile, kind).iter().try_for_each(|path| refuse_foreign(path))?;
    }
    for kind in [Kind::Systemd, Kind::Cron] {
        gone.extend(remove_kind(root, profile, kind)?);
    }
    Ok(gone)
}

fn files(root: &Path, profile: &str, kind: Kind) -> Vec<PathBuf> {
    match kind {
        Kind::Cron => vec![cron::path(root, profile)],
        Kind::Systemd => systemd::paths(root, profile).into(),
    }
}

/// Whether systemd runs the host.
fn is_booted(root: &Path) -> bool {
    root.join("run/systemd/system").is_dir()
}

/// Whether the systemd that runs here is the one whose files are changed.
fn is_live(root: &Path) -> bool {
    root == Path::new("/") && is_booted(root)
}

/// What a shell, cron and systemd each read otherwise is not worth the trouble.
fn refuse_words(command: &[String]) -> Result<(), OperationError> {
    let is_bad = |word: &&String| word.chars().any(|c| c.is_control() || "\\$\"'`".contains(c));
    match command.iter().find(is_bad) {
        None => Ok(()),
        Some(word) => Err(OperationError::Refused {
            what: format!("neither cron nor systemd takes {word:?} as it is"),
            hint: "use a path without quotes, backslashes, $ and control characters".into(),
        }),
    }
}

fn refuse_without_cron(root: &Path) -> Result<(), OperationError> {
    match root == Path::new("/") && !root.join(cron::DIRECTORY).is_dir() {
        false => Ok(()),
        true => Err(OperationError::Refused {
            what: "there is neither systemd nor /etc/cron.d on this host".into(),
            hint: "install cron, or have something else run: redkeep run PROFILE".into(),
        }),
    }
}

/// The text of a file; `None` where it is not there.
fn read(path: &Path) -> Result<Option<String>, OperationError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OperationError::target("read", path, source)),
    }
}

fn refuse_foreign(path: &Path) -> Result<(), OperationError> {
    match read(path)? {
        Some(text) if !text.starts_with(MARK) => Err(OperationError::Refused {
            what: format!("{} was not written by redkeep", path.display()),
            hint: "it is left as it is; move it away, or give the profile another name".into(),
        }),
        _ => Ok(()),
    }
}

fn write(paths: &[PathBuf], texts: &[String]) -> Result<(), OperationError> {
    for (path, text) in paths.iter().zip(texts) {
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(|source| OperationError::target("make", directory, source))?;
        replace(path, text.as_bytes(), 0o644).map_err(|source| OperationError::target("write", path, source))?;
    }
    Ok(())
}

/// Removes own files; others of the same name stay.
fn remove_kind(root: &Path, profile: &str, kind: Kind) -> Result<Vec<PathBuf>, OperationError> {
    let mut own = Vec::new();
    for path in files(root, profile, kind) {
        if read(&path)?.is_some_and(|text| text.starts_with(MARK)) {
            own.push(path);
        }
    }
    let is_timer = kind == Kind::Systemd && !own.is_empty();
    if is_timer && is_live(root) {
        systemd::ask(&["stop", &format!("{}.timer", name(profile))])?;
    }
    let link = systemd::link(root, profile);
    let link = (is_timer && link.is_symlink()).then_some(link);
    for path in link.iter().chain(&own) {
        fs::remove_file(path).map_err(|source| OperationError::target("remove", path, source))?;
    }
    if is_timer && is_live(root) {
        systemd::ask(&["daemon-reload"])?;
    }
    Ok(own)
}

/// What is installed for a profile by one of the two; nothing where a file is missing or is another's.
fn of_kind(root: &Path, profile: &str, kind: Kind) -> Result<Option<Installed>, OperationError> {
    let files = files(root, profile, kind);
    let texts: Vec<Option<String>> = files.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let own: Vec<&String> = texts.iter().flatten().filter(|text| text.starts_with(MARK)).collect();
    let ((timing, command), off) = match (kind, own.as_slice()) {
        (Kind::Cron, [text]) => (cron::read(text), None),
        (Kind::Systemd, [service, timer]) => {
            let is_off = !systemd::link(root, profile).is_symlink();
            (systemd::read(service, timer), is_off.then_some("the timer is not enabled"))
        }
        _ => return Ok(None),
    };
    let idle = off.or_else(|| host::idle(root, kind));
    Ok(Some(Installed { profile: profile.into(), kind, files, timing, command, idle, is_verified: false }))
}

/// Profiles for which there is any file.
fn profiles(root: &Path) -> Result<Vec<String>, OperationError> {
    let mut profiles = Vec::new();
    for path in [cron::path(root, ""), systemd::paths(root, "").into_iter().next().unwrap_or_default()] {
        let Some(directory) = path.parent() else { continue };
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(OperationError::target("list", directory, source)),
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = name.strip_suffix(".timer").unwrap_or(&name);
            profiles.extend(name.strip_prefix("redkeep-").filter(|name| !name.contains('.')).map(String::from));
        }
    }
    profiles.sort();
    profiles.dedup();
    Ok(profiles)
}
