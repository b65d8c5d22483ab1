//! A profile: what one dataset's daily run does, under a name.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::values::{self, Commands, Switch};
use super::{Access, beside, placed};
use crate::cli::commands::backup::{LiveArguments, OfSnapshot};
use crate::cli::commands::forget::Keep;
use crate::cli::commands::{check, prune};
use crate::cli::server::{Login, ServerArguments};

/// `[profile.NAME]`: options of the commands as they are written there, and what only a run does.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Profile {
    /// How its repository is opened, as far as it says.
    #[serde(flatten)]
    pub access: Access,
    #[serde(deserialize_with = "values::server")]
    redis: Option<String>,
    #[serde(flatten)]
    login: Login,
    /// How the server is captured; without one, its directory is what is captured.
    #[serde(flatten)]
    pub live: LiveArguments,
    /// What a snapshot is called, and what it takes in.
    #[serde(flatten)]
    pub of: OfSnapshot,
    /// What is kept; where it says nothing, nothing is ever forgotten.
    #[serde(flatten)]
    pub keep: Keep,

    /// Whether space is given back.
    pub prune: Switch<prune::Rule>,
    /// Whether the repository is checked.
    pub check: Switch<check::Rule>,
    /// Whether the new snapshot is restored into a scratch server.
    pub drill: bool,

    /// The profile that says where the dataset's snapshots are copied to.
    pub copy_to: Option<String>,
    /// The profile that says where the repository is mirrored to.
    pub mirror_to: Option<String>,

    /// Commands that run first.
    pub before: Commands,
    /// Commands that run once all is done.
    pub after: Commands,
    /// Commands that run when something failed.
    pub on_failure: Commands,
    /// Where the numbers of the last run are written for Prometheus.
    pub metrics_file: Option<PathBuf>,
    /// Where a page about the repository is written after each run.
    pub report: Option<PathBuf>,
    /// What is called at the end of each run.
    #[serde(deserialize_with = "values::web_address")]
    pub health_url: Option<String>,
}

impl Profile {
    /// The live server, and how it is logged in to.
    pub fn server(&self) -> ServerArguments {
        let has_password = self.login.redis_password_file.is_some() || self.login.redis_password_command.is_some();
        let login = Login { is_configured: has_password, ..self.login.clone() };
        ServerArguments { redis: self.redis.clone(), login }
    }

    /// Whether a run of it runs commands of the user.
    pub fn has_commands(&self) -> bool {
        let commands = [&self.before, &self.after, &self.on_failure];
        commands.iter().any(|commands| !commands.0.is_empty())
            || self.access.password_command.is_some()
            || self.login.redis_password_command.is_some()
    }

    /// What it says that cannot be meant.
    pub(super) fn refuse(&self) -> Result<(), String> {
        if self.check.0.as_ref().is_some_and(|rule| !rule.is_one()) {
            return Err("check: give one of max-age, subset and read-data".into());
        }
        if self.login.tls_cert.is_some() != self.login.tls_key.is_some() {
            return Err("tls-cert and tls-key: give both or neither".into());
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
        self.access = placed(std::mem::take(&mut self.access), file);
        let login = &mut self.login;
        let of_login = [&mut login.redis_password_file, &mut login.tls_ca, &mut login.tls_cert, &mut login.tls_key];
        let paths = of_login.into_iter().chain([&mut self.live.dir, &mut self.metrics_file, &mut self.report]);
        for path in paths.flatten() {
            *path = beside(file, path);
        }
    }
}
