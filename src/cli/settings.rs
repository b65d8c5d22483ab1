//! From options, environment and configuration to an opened repository.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::configuration::{Access, Configuration, Profile, usual_places};
use super::context::Context;
use super::exit::{Hinted, UsageError};
use super::secrets;
use crate::repository::{Ambient, Credential, Places, Repository, RepositoryError};
use crate::store::{self, Intent, Location, Store};

/// A variable of the environment; an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

impl Context {
    /// What the configuration files say. They are read when something of them is asked for first.
    pub fn configuration(&self) -> Result<&Configuration, UsageError> {
        if let Some(known) = self.configuration.get() {
            return Ok(known);
        }
        let configuration = match self.globals.config.as_deref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => Configuration::of_file(path)?,
            None => Configuration::of_places(&usual_places(base("XDG_CONFIG_HOME", ".config", "").ok().as_deref()))?,
        };
        configuration.warnings.iter().for_each(|warning| self.warn(warning));
        Ok(self.configuration.get_or_init(|| configuration))
    }

    /// The name of the chosen profile.
    pub fn profile_name(&self) -> Option<&str> {
        self.globals.profile.as_deref().filter(|name| !name.is_empty())
    }

    /// The chosen profile.
    pub fn profile(&self) -> Result<Option<&Profile>, UsageError> {
        self.profile_name().map(|name| self.configuration()?.profile(name)).transpose()
    }

    /// How the configuration says that the repository is opened.
    pub fn access(&self) -> Result<Access, UsageError> {
        self.configuration()?.access(self.profile_name())
    }

    /// Where the repository is.
    pub fn location(&self) -> Result<Location, UsageError> {
        let named = self.globals.repo.clone().filter(|text| !text.is_empty());
        let text = named.map_or_else(|| Ok(self.access()?.repo), |text| Ok(Some(text)))?;
        let text = text.filter(|text| !text.is_empty()).ok_or_else(|| UsageError {
            what: "no repository was named".into(),
            hint: "name it with --repo LOCATION or REDKEEP_REPO, or as repo in the configuration".into(),
        })?;
        text.parse().map_err(|error: store::StoreError| UsageError {
            what: error.to_string(),
            hint: error.hint().unwrap_or("give a directory such as /srv/redkeep").into(),
        })
    }

    /// Where this host keeps what it knows of repositories.
    pub fn places(&self) -> Result<Places, UsageError> {
        let cache = self.globals.cache_dir.clone().filter(|path| !path.as_os_str().is_empty());
        let cache = cache.map_or_else(|| Ok(self.access()?.cache_dir), |cache| Ok(Some(cache)))?;
        let cache = match cache {
            Some(cache) => cache,
            None => base("XDG_CACHE_HOME", ".cache", "REDKEEP_CACHE_DIR")?.join("redkeep"),
        };
        let state = match variable("REDKEEP_STATE_DIR") {
            Some(state) => state.into(),
            None => base("XDG_STATE_HOME", ".local/state", "REDKEEP_STATE_DIR")?.join("redkeep"),
        };
        Ok(Places { cache: Some(cache), state: Some(state) })
    }

    /// Opens the repository. The first contact with one is told: from then on it is recognised.
    pub fn open(&self) -> anyhow::Result<Repository> {
        self.open_with(None)
    }

    /// The same with a credential that is known already.
    pub fn open_with(&self, credential: Option<Credential>) -> anyhow::Result<Repository> {
        let location = self.location()?;
        let places = self.places()?;
        let store = store::open(&location, Intent::Existing)?;
        let is_there = || Ok(Repository::is_in(&*store)?);
        let ask = || {
            secrets::credential(self, &|| match is_there() {
                Ok(false) => Err(RepositoryError::NoRepository { location: store.location() }.into()),
                other => other.map(|_| ()),
            })
        };
        let (credential, from) = match credential {
            Some(known) => (known, None),
            None => ask().map(|(credential, from)| (credential, Some(from)))?,
        };
        let is_mistyped = secrets::is_mistyped(&credential);
        self.detail(&format!("opening {}", store.location()));
        let store: Arc<dyn Store> = store.clone();
        let repository = Repository::open(store, credential, Ambient::system(), places, self.globals.accept_repository);
        if is_mistyped && matches!(repository, Err(RepositoryError::WrongSecret { .. })) {
            self.warn("if that was a recovery key, it has a typing error: its last four symbols do not fit the others");
        }
        let repository = match (repository, from) {
            (Err(error @ RepositoryError::WrongSecret { .. }), Some(from)) => {
                return Err(Hinted::new(error, format!("it came from {from}")).into());
            }
            (repository, _) => repository?,
        };
        self.detail(&format!("repository {}", repository.id()));
        if repository.is_first_contact() {
            let (location, id) = (repository.location(), repository.id());
            self.note(&format!(
                "this host uses {location} for the first time and trusts what it shows: repository {id}"
            ));
        }
        Ok(repository)
    }
}

/// A base directory of the user, by the XDG rules: only absolute ones count.
fn base(name: &str, below_home: &str, instead: &str) -> Result<PathBuf, UsageError> {
    let named = variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = named.or_else(|| env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(below_home)));
    base.ok_or_else(|| UsageError {
        what: format!("neither {name} nor HOME is set"),
        hint: format!("set one of them, or {instead}"),
    })
}
