//! From options and environment to an opened repository.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::context::Context;
use super::exit::UsageError;
use super::secrets;
use crate::repository::{Ambient, Credential, Places, Repository, RepositoryError};
use crate::store::{self, Intent, Location, Store};

/// A variable of the environment; an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

impl Context {
    /// Where the repository is.
    pub fn location(&self) -> Result<Location, UsageError> {
        let text = self.globals.repo.as_deref().filter(|text| !text.is_empty()).ok_or_else(|| UsageError {
            what: "no repository was named".into(),
            hint: "name it with --repo LOCATION or REDKEEP_REPO".into(),
        })?;
        text.parse().map_err(|error: store::StoreError| UsageError {
            what: error.to_string(),
            hint: error.hint().unwrap_or("give a directory such as /srv/redkeep").into(),
        })
    }

    /// Where this host keeps what it knows of repositories.
    pub fn places(&self) -> Result<Places, UsageError> {
        let cache = self.globals.cache_dir.clone().filter(|path| !path.as_os_str().is_empty());
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
        let credential = credential.map_or_else(ask, Ok)?;
        let is_mistyped = secrets::is_mistyped(&credential);
        self.detail(&format!("opening {}", store.location()));
        let store: Arc<dyn Store> = store.clone();
        let repository = Repository::open(store, credential, Ambient::system(), places, self.globals.accept_repository);
        if is_mistyped && matches!(repository, Err(RepositoryError::WrongSecret { .. })) {
            self.warn("if that was a recovery key, it has a typing error: its last four symbols do not fit the others");
        }
        let repository = repository?;
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
