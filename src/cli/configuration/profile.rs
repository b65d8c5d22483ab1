//! A profile: what one dataset's daily run does, under a name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Span;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::values::{self, Commands, Switch};
use super::{Access, beside, placed};
use crate::cli::server::Login;
use crate::operations::check::CheckDepth;
use crate::operations::forget::policy::Policy;
use crate::redis::server::refuse_unknown_command;

/// `[profile.NAME]`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Profile {
    repo: Option<String>,
    password_file: Option<PathBuf>,
    password_command: Option<String>,
    key_file: Option<PathBuf>,
    cache_dir: Option<PathBuf>,

    /// The live server.
    pub redis: Option<String>,
    redis_user: Option<String>,
    redis_password_file: Option<PathBuf>,
    redis_password_command: Option<String>,
    /// The data directory.
    pub dir: Option<PathBuf>,
    /// How a live server is captured.
    pub mode: Option<Mode>,
    /// Whether what configures the server is taken too.
    pub with_config: bool,
    /// Only the AOF, and never a save.
    pub aof_tail: bool,
    /// Whether an online replica is captured instead.
    pub prefer_replica: bool,
    /// What commands are called there that were renamed.
    renamed_commands: BTreeMap<String, String>,
    tls_ca: Option<PathBuf>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    /// Where a directory of the server is on this host, by what the server calls it.
    pub path_map: BTreeMap<PathBuf, PathBuf>,
    /// Name of the dataset.
    #[serde(deserialize_with = "values::name")]
    pub dataset: Option<String>,
    /// Words for each snapshot.
    #[serde(deserialize_with = "values::names")]
    pub tags: Vec<String>,
    /// Patterns to take in.
    pub include: Vec<String>,
    /// Patterns to leave out.
    pub exclude: Vec<String>,
    /// Whether the other files of a live server's directory are taken too.
    pub all_files: bool,

    #[serde(deserialize_with = "values::count")]
    keep_last: Option<u64>,
    #[serde(deserialize_with = "values::count")]
    keep_hourly: Option<u64>,
    #[serde(deserialize_with = "values::count")]
    keep_daily: Option<u64>,
    #[serde(deserialize_with = "values::count")]
    keep_weekly: Option<u64>,
    #[serde(deserialize_with = "values::count")]
    keep_monthly: Option<u64>,
    #[serde(deserialize_with = "values::count")]
    keep_yearly: Option<u64>,
    #[serde(deserialize_with = "values::span")]
    keep_within: Option<Span>,
    #[serde(deserialize_with = "values::span")]
    keep_timeline: Option<Span>,
    #[serde(deserialize_with = "values::names")]
    keep_tags: Vec<String>,
    /// Zone in which days begin.
    #[serde(deserialize_with = "values::zone")]
    pub zone: Option<TimeZone>,

    /// Whether space is given back.
    pub prune: Switch<PruneRule>,
    /// Whether the repository is checked.
    pub check: Switch<CheckRule>,
    /// Whether the new snapshot is restored into a scratch server.
    pub drill: bool,

    /// Commands that run first.
    pub before: Commands,
    /// Commands that run once all is done.
    pub after: Commands,
    /// Commands that run when something failed.
    pub on_failure: Commands,
    /// Where the numbers of the last run are written for Prometheus.
    pub metrics_file: Option<PathBuf>,
    /// What is called at the end of each run.
    #[serde(deserialize_with = "values::web_address")]
    pub health_url: Option<String>,
}

/// How a live server is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// The AOF where it is live, else a dump.
    Auto,
    /// A dump.
    Rdb,
    /// The AOF.
    Aof,
    /// The files as they are.
    Files,
}

/// `prune = { … }`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct PruneRule {
    /// How long what may be deleted stays.
    #[serde(deserialize_with = "values::exact_span")]
    pub grace: Option<Duration>,
    /// Share of unneeded bytes that is lived with.
    #[serde(deserialize_with = "values::percent")]
    pub max_unused: Option<f64>,
}

/// `check = { … }`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct CheckRule {
    #[serde(deserialize_with = "values::age")]
    max_age: Option<CheckDepth>,
    #[serde(deserialize_with = "values::subset")]
    subset: Option<CheckDepth>,
    read_data: bool,
}

impl CheckRule {
    /// How much is read.
    pub fn depth(&self) -> CheckDepth {
        let all = self.read_data.then_some(CheckDepth::Data);
        all.or(self.subset).or(self.max_age).unwrap_or(CheckDepth::Structure)
    }
}

impl Profile {
    /// How its repository is opened, as far as it says.
    pub fn access(&self) -> Access {
        Access {
            repo: self.repo.clone(),
            password_file: self.password_file.clone(),
            password_command: self.password_command.clone(),
            key_file: self.key_file.clone(),
            cache_dir: self.cache_dir.clone(),
        }
    }

    /// How its server is logged in to.
    pub fn login(&self) -> Login {
        Login {
            redis_user: self.redis_user.clone(),
            redis_password_file: self.redis_password_file.clone(),
            redis_password_command: self.redis_password_command.clone(),
            tls_ca: self.tls_ca.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            renamed_command: self.renamed_commands.clone().into_iter().collect(),
            is_configured: self.redis_password_file.is_some() || self.redis_password_command.is_some(),
        }
    }

    /// Whether a run of it runs commands of the user.
    pub fn has_commands(&self) -> bool {
        let commands = [&self.before, &self.after, &self.on_failure];
        commands.iter().any(|commands| !commands.0.is_empty())
            || self.password_command.is_some()
            || self.redis_password_command.is_some()
    }

    /// What is kept; `None` where nothing is ever forgotten.
    pub fn policy(&self) -> Option<Policy> {
        let policy = Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            timeline: self.keep_timeline,
            tags: self.keep_tags.clone(),
        };
        (!policy.is_empty()).then_some(policy)
    }

    /// What it says that cannot be meant.
    pub(super) fn refuse(&self) -> Result<(), String> {
        let check = self.check.0.as_ref();
        let depths = check.map_or(0, |rule| {
            [rule.max_age.is_some(), rule.subset.is_some(), rule.read_data].iter().filter(|is_said| **is_said).count()
        });
        if depths > 1 {
            return Err("check: give one of max-age, subset and read-data".into());
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("tls-cert and tls-key: give both or neither".into());
        }
        for usual in self.renamed_commands.keys() {
            refuse_unknown_command(usual).map_err(|why| format!("renamed-commands: {why}"))?;
        }
        let is_read = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "prom");
        match &self.metrics_file {
            Some(path) if !is_read(path) => {
                Err(format!("metrics-file: {} has to end in .prom, or it is never read", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Makes relative paths relative to the file they are written in.
    pub(super) fn place(&mut self, file: &Path) {
        let access = placed(self.access(), file);
        self.repo = access.repo;
        self.password_file = access.password_file;
        self.key_file = access.key_file;
        self.cache_dir = access.cache_dir;
        let tls = [&mut self.tls_ca, &mut self.tls_cert, &mut self.tls_key];
        let others = [&mut self.redis_password_file, &mut self.dir, &mut self.metrics_file];
        let paths = tls.into_iter().chain(others);
        for path in paths.flatten() {
            *path = beside(file, path);
        }
    }
}
