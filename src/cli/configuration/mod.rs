//! The configuration file: TOML, with the repository and its password at the top and a table for each profile.
//!
//! `/etc/redkeep.toml` is read first, then the user's own `redkeep/config.toml`, whose settings and profiles come before
//! those of the same name; with `--config` only that file is. Options and the environment come before any of them.

pub(in crate::cli) mod example;
mod faults;
mod profile;
pub(in crate::cli) mod values;

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::exit::UsageError;
use crate::held::{Reader, is_ours};
pub(crate) use faults::{Fault, faults};
pub(crate) use profile::Profile;
use values::has_scheme;
pub(crate) use values::password_in_url;

/// Where the configuration of a host is.
const SYSTEM: &str = "/etc/redkeep.toml";

/// A configuration file has no more bytes.
const LARGEST: u64 = 1 << 20;

/// Where the repository is and how it is opened.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Access {
    /// Where the repository is.
    pub repo: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Command whose first line of output is the password.
    pub password_command: Option<String>,
    /// File whose bytes are used instead of a password.
    pub key_file: Option<PathBuf>,
    /// Where catalogs are kept.
    pub cache_dir: Option<PathBuf>,
    /// Where what does not fit in memory waits.
    pub tmp_dir: Option<PathBuf>,
    /// The address of the service that keeps it.
    pub endpoint: Option<String>,
    /// The region of that service.
    pub region: Option<String>,
    /// Whether a bucket stands in the path of requests.
    pub path_style: Option<bool>,
    /// The class that objects are stored in.
    pub storage_class: Option<String>,
    /// Certificates that are trusted in place of the host's.
    pub ca_file: Option<PathBuf>,
    /// Variables with what logs in to the service.
    pub credentials_file: Option<PathBuf>,
    /// How late listings of the service may be.
    #[serde(deserialize_with = "values::exact_span")]
    pub lag: Option<Duration>,
    /// Bytes a second that may go there.
    #[serde(deserialize_with = "values::rate")]
    pub limit_upload: Option<u64>,
    /// Bytes a second that may come from there.
    #[serde(deserialize_with = "values::rate")]
    pub limit_download: Option<u64>,
    /// How long the service is tried again.
    #[serde(deserialize_with = "values::exact_span")]
    pub retry_for: Option<Duration>,
}

/// What the configuration files say. It may hold passwords, and has no way to be shown.
#[derive(Default)]
pub(crate) struct Configuration {
    access: Access,
    profiles: BTreeMap<String, Profile>,
    /// The file of each profile, as it was named.
    written_in: BTreeMap<String, PathBuf>,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// What a person should know of them.
    pub warnings: Vec<String>,
}

/// A file as it is written.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    #[serde(flatten)]
    access: Access,
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

/// The files of this host and user; those that are not there say nothing.
pub(crate) fn usual_places(user: Option<&Path>) -> Vec<PathBuf> {
    let user = user.map(|base| base.join("redkeep/config.toml"));
    [Some(PathBuf::from(SYSTEM)), user].into_iter().flatten().collect()
}

impl Configuration {
    /// Reads the one file that was named.
    pub fn of_file(path: &Path) -> Result<Configuration, UsageError> {
        let mut configuration = Configuration::default();
        match configuration.take_in(path)? {
            true => Ok(configuration),
            false => Err(UsageError {
                what: format!("no configuration file at {}", path.display()),
                hint: "check --config and REDKEEP_CONFIG".into(),
            }),
        }
    }

    /// Reads those of several files that are there; later ones come first.
    pub fn of_places(places: &[PathBuf]) -> Result<Configuration, UsageError> {
        let mut configuration = Configuration::default();
        for path in places {
            match may_be_read(path) {
                true => configuration.take_in(path).map(|_| ())?,
                // Nobody named it: a job with the HOME of another user needs nothing of it, or will say what it misses.
                false => {
                    configuration.warnings.push(format!("{} cannot be read by this user: passed over", path.display()))
                }
            }
        }
        Ok(configuration)
    }

    /// `false`: there is no such file.
    fn take_in(&mut self, path: &Path) -> Result<bool, UsageError> {
        let Some(text) = read(path, &mut self.warnings)? else { return Ok(false) };
        let written = parse(&text).map_err(|fault| UsageError {
            what: format!("{}:{fault}", path.display()),
            hint: "each key is explained by: redkeep config example".into(),
        })?;
        let named = path;
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        let Written { access, profile: profiles } = written;
        self.access = merged(placed(access, &path), std::mem::take(&mut self.access));
        for (name, mut profile) in profiles {
            profile.place(&path);
            self.written_in.insert(name.clone(), named.into());
            self.profiles.insert(name, profile);
        }
        self.refuse_shared_metrics(&path)?;
        self.files.push(path);
        Ok(true)
    }

    /// Each run replaces its file whole: two profiles with one would take turns.
    fn refuse_shared_metrics(&self, path: &Path) -> Result<(), UsageError> {
        let mut seen: BTreeMap<&Path, &str> = BTreeMap::new();
        for (name, profile) in &self.profiles {
            let Some(file) = profile.metrics_file.as_deref() else { continue };
            if let Some(other) = seen.insert(file, name) {
                return Err(UsageError {
                    what: format!("{}: profiles {other} and {name} have one metrics-file", path.display()),
                    hint: "give each a file of its own: a run replaces it whole".into(),
                });
            }
        }
        Ok(())
    }

    /// The names of all profiles.
    pub fn profiles(&self) -> impl Iterator<Item = &str> {
        self.profiles.keys().map(String::as_str)
    }

    /// The profile of a name.
    pub fn profile(&self, name: &str) -> Result<&Profile, UsageError> {
        self.profiles.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.profiles().collect();
            let files: Vec<String> = self.files.iter().map(|path| path.display().to_string()).collect();
            let hint = match (files.is_empty(), names.is_empty()) {
                (true, _) => {
                    format!(
                        "write [profile.NAME] into {SYSTEM} or name a file with --config; see: redkeep config example"
                    )
                }
                (false, true) => format!("{} has no [profile.NAME]; see: redkeep config example", files.join(" and ")),
                (false, false) => format!("there are: {}", names.join(", ")),
            };
            UsageError { what: format!("no profile is called {name}"), hint }
        })
    }

    /// The file that a profile is written in, where that is not the one of the host, which everybody reads.
    pub fn own_file(&self, profile: &str) -> Option<&Path> {
        self.written_in.get(profile).map(PathBuf::as_path).filter(|path| *path != Path::new(SYSTEM))
    }

    /// How a repository is opened: as the profile says, else as is said for all. Of the ways to give a password, those
    /// of the profile replace the others.
    pub fn access(&self, profile: Option<&str>) -> Result<Access, UsageError> {
        match profile {
            None => Ok(self.access.clone()),
            Some(name) => Ok(merged(self.profile(name)?.access.clone(), self.access.clone())),
        }
    }
}

/// What comes first, and behind it what it leaves open.
fn merged(first: Access, then: Access) -> Access {
    let has_secret = first.password_file.is_some() || first.password_command.is_some() || first.key_file.is_some();
    let secrets = if has_secret { first.clone() } else { then.clone() };
    Access {
        repo: first.repo.or(then.repo),
        password_file: secrets.password_file,
        password_command: secrets.password_command,
        key_file: secrets.key_file,
        cache_dir: first.cache_dir.or(then.cache_dir),
        tmp_dir: first.tmp_dir.or(then.tmp_dir),
        endpoint: first.endpoint.or(then.endpoint),
        region: first.region.or(then.region),
        path_style: first.path_style.or(then.path_style),
        storage_class: first.storage_class.or(then.storage_class),
        ca_file: first.ca_file.or(then.ca_file),
        credentials_file: first.credentials_file.or(then.credentials_file),
        lag: first.lag.or(then.lag),
        limit_upload: first.limit_upload.or(then.limit_upload),
        limit_download: first.limit_download.or(then.limit_download),
        retry_for: first.retry_for.or(then.retry_for),
    }
}

/// Relative paths are relative to the file they are written in: a cron job works elsewhere than a person.
fn placed(mut access: Access, file: &Path) -> Access {
    access.repo = access.repo.map(|repo| match has_scheme(&repo) {
        true => repo,
        false => beside(file, Path::new(&repo)).display().to_string(),
    });
    let of_service = [&mut access.ca_file, &mut access.credentials_file];
    let paths = [&mut access.password_file, &mut access.key_file, &mut access.cache_dir, &mut access.tmp_dir];
    for path in paths.into_iter().chain(of_service).flatten() {
        *path = beside(file, path);
    }
    access
}

/// A path as it is meant in a configuration file.
fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).join(path)
}

/// Whether this user may read a file, or there is none.
fn may_be_read(path: &Path) -> bool {
    !File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The text of a file that is there. Warns where others may read a password in it, or write what is run from it.
fn read(path: &Path, warnings: &mut Vec<String>) -> Result<Option<String>, UsageError> {
    let shown = path.display();
    let refuse = |error: io::Error| UsageError {
        what: format!("cannot read the configuration file {shown}: {error}"),
        hint: "run as a user who may read it, or name another with --config".into(),
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(refuse(error)),
    };
    let metadata = file.metadata().map_err(refuse)?;
    // What is no file, such as /dev/null, keeps nothing that others write.
    let mode = if metadata.is_file() { metadata.permissions().mode() } else { 0 };
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(refuse)?;
    if text.len() as u64 > LARGEST {
        return Err(refuse(io::Error::other("it is larger than 1 MiB")));
    }
    if mode & 0o004 != 0 && text.lines().any(password_in_url) {
        warnings.push(format!(
            "{shown} holds a password and can be read by every user of this host; change that with: chmod o-r {shown}"
        ));
    }
    warnings.extend(writers(path, &metadata).map(|Writers { who, what, way }| {
        format!("{shown} can be {what} by {who}, who can so run commands as you; {way}")
    }));
    Ok(Some(text))
}

/// Who but root and this user can write a file, or put another one in its place.
struct Writers {
    who: String,
    /// What they can do with it.
    what: &'static str,
    /// What changes that.
    way: String,
}

fn writers(path: &Path, file: &Metadata) -> Option<Writers> {
    if !file.is_file() {
        return None;
    }
    let written = |who: String, command: &str| {
        let way = format!("change that with: {command} {}", path.display());
        Some(Writers { who, what: "written", way })
    };
    let name = |uid: u32| match uzers::get_user_by_uid(uid) {
        Some(user) => format!("the user {}", user.name().display()),
        None => format!("the user {uid}"),
    };
    match file.permissions().mode() {
        mode if mode & 0o002 != 0 => return written("every user of this host".into(), "chmod o-w"),
        _ if !is_ours(file.uid()) => return written(name(file.uid()), "chown root"),
        _ if Reader::writer_of(file).is_some() => return written("its group".into(), "chmod g-w"),
        _ => {}
    }
    let place = fs::canonicalize(path).ok()?;
    let directory = place.parent()?;
    let owner = directory.metadata().ok()?.uid();
    (!is_ours(owner)).then(|| Writers {
        who: format!("{}, who owns {}", name(owner), directory.display()),
        what: "replaced",
        way: "move it into a directory that belongs to root or to you, such as /etc, and name it with --config".into(),
    })
}

/// A file, or the first thing in it that cannot be meant.
fn parse(text: &str) -> Result<Written, Fault> {
    if let Some(first) = faults(text).into_iter().next() {
        return Err(first);
    }
    toml::from_str(text).map_err(|error| Fault { line: 1, column: 1, what: error.message().into() })
}

/// What in a file cannot be meant; `None`: there is no such file.
pub(crate) fn faults_of(path: &Path) -> Result<Option<Vec<Fault>>, UsageError> {
    // Who else can read or write it is told where it is used.
    Ok(read(path, &mut Vec::new())?.map(|text| faults(&text)))
}

/// A profile's name becomes part of names of files that cron and systemd read.
pub(crate) fn refuse_name(name: &str) -> Result<(), String> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match !name.is_empty() && name.len() <= 64 && !name.starts_with('-') && name.bytes().all(is_fine) {
        true => Ok(()),
        false => Err("a name has letters, digits, - and _, at most 64 of them".into()),
    }
}

#[cfg(test)]
mod tests;
