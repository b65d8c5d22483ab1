//! The second repository of a command: where it is, and how it is reached and opened.

use std::path::PathBuf;

use clap::Args;

use super::configuration::Access;
use super::context::Context;
use super::exit::UsageError;
use super::secrets;
use super::services::First;
use crate::repository::Repository;
use crate::store::{Location, Settings, StoreError};

/// How it is opened.
#[derive(Debug, Default, Args)]
pub(crate) struct SecretArguments {
    /// File whose first line is the other repository's password [env: REDKEEP_TO_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    pub to_password_file: Option<PathBuf>,
    /// Command whose first line of output is that password [env: REDKEEP_TO_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND")]
    pub to_password_command: Option<String>,
    /// File whose bytes are used instead of that password [env: REDKEEP_TO_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    pub to_key_file: Option<PathBuf>,
}

/// A place, and what is said of it.
pub(crate) struct Second {
    pub location: Location,
    pub settings: Settings,
    /// What the profile says that names it.
    access: Option<Access>,
}

impl Second {
    /// Whether a command of the user is run for its password.
    pub fn runs_command(&self) -> bool {
        self.access.as_ref().is_some_and(|access| access.password_command.is_some())
    }
}

impl Context {
    /// The other place that is meant: the one that is named, else that of a profile, which may also say how it is reached.
    pub fn second(&self, location: Option<&str>, profile: Option<&str>, option: &str) -> Result<Second, UsageError> {
        let access = profile.map(|name| self.configuration()?.access(Some(name))).transpose()?;
        let of_profile = || access.as_ref().and_then(|access| access.repo.clone());
        let text = location.map(String::from).or_else(of_profile).ok_or_else(|| UsageError {
            what: "the other place was not named".into(),
            hint: format!("name it with {option}, or with --to-profile a profile of the configuration that has a repo"),
        })?;
        let location: Location = text.parse().map_err(|error: StoreError| UsageError {
            what: error.to_string(),
            hint: error.hint().unwrap_or("give a directory such as /srv/redkeep").into(),
        })?;
        let reached = match &access {
            Some(access) => access.clone(),
            None => self.configuration()?.access(None)?,
        };
        let first = if access.is_some() { First::File } else { First::Environment };
        let settings = self.settings_of(&location, &reached, first)?;
        Ok(Second { location, settings, access })
    }

    /// Opens the repository at the other place.
    pub fn open_second(&self, second: &Second, secrets: &SecretArguments) -> anyhow::Result<Repository> {
        self.open_at(&second.location, &second.settings, &|before_asking| {
            let found = secrets::second_credential(self, secrets, second.access.clone(), before_asking);
            found.map(|(credential, from)| (credential, Some(from)))
        })
    }
}
