//! From options, environment and configuration to an opened repository.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::configuration::{Access, Configuration, Profile, usual_places};
use super::context::Context;
use super::exit::{Hinted, UsageError};
use super::secrets;
use crate::repository::{Ambient, Credential, Places, Repository, RepositoryError, Unkept};
use crate::store::{self, Intent, Location, Settings, Store};

/// Brings a credential, and where it came from if that is told; what it is given comes before a person is asked.
pub(crate) type Ask<'a> = dyn Fn(&dyn Fn() -> anyhow::Result<()>) -> anyhow::Result<(Credential, Option<String>)> + 'a;

/// A variable of the environment; an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

impl Context {
    /// Where configuration files are looked for.
    pub fn configuration_files(&self) -> Vec<PathBuf> {
        match self.globals.config.as_deref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => vec![path.into()],
            None => usual_places(base("XDG_CONFIG_HOME", ".config").as_deref()),
        }
    }

    /// What the configuration files say. They are read when something of them is asked for first.
    pub fn configuration(&self) -> Result<&Configuration, UsageError> {
        if let Some(known) = self.configuration.get() {
            return Ok(known);
        }
        let configuration = match self.globals.config.as_deref().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => Configuration::of_file(path)?,
            None => Configuration::of_places(&usual_places(base("XDG_CONFIG_HOME", ".config").as_deref()))?,
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

    /// Where this host keeps what it knows of repositories; nowhere, where there is no such place.
    pub fn places(&self) -> Result<Places, UsageError> {
        let cache = self.globals.cache_dir.clone().filter(|path| !path.as_os_str().is_empty());
        let cache = cache.map_or_else(|| Ok(self.access()?.cache_dir), |cache| Ok(Some(cache)))?;
        let below = |base: PathBuf| base.join("redkeep");
        let scratch = self.scratch_dir()?.map(|(path, _)| path).filter(|path| path.is_dir());
        Ok(Places {
            cache: cache.or_else(|| base("XDG_CACHE_HOME", ".cache").map(below)),
            state: variable("REDKEEP_STATE_DIR")
                .map(PathBuf::from)
                .or_else(|| base("XDG_STATE_HOME", ".local/state").map(below)),
            scratch,
        })
    }

    /// The directory that was named for what does not fit in memory, and by what.
    fn scratch_dir(&self) -> Result<Option<(PathBuf, &'static str)>, UsageError> {
        let said = self.globals.tmp_dir.clone().filter(|path| !path.as_os_str().is_empty());
        // It has an option and a variable, and the option comes first.
        let of_environment = variable("REDKEEP_TMPDIR").map(PathBuf::from);
        match said {
            Some(named) if of_environment.as_ref() == Some(&named) => Ok(Some((named, "REDKEEP_TMPDIR"))),
            Some(named) => Ok(Some((named, "--tmp-dir"))),
            None => Ok(self.access()?.tmp_dir.map(|named| (named, "tmp-dir in the configuration"))),
        }
    }

    /// Opens the repository. The first contact with one is told: from then on it is recognised.
    pub fn open(&self) -> anyhow::Result<Repository> {
        self.open_with(None)
    }

    /// The same with a credential that is known already.
    pub fn open_with(&self, credential: Option<Credential>) -> anyhow::Result<Repository> {
        let location = self.location()?;
        let settings = self.store_settings(&location)?;
        let repository = self.open_at(&location, &settings, &|before_asking| match &credential {
            Some(known) => Ok((known.clone(), None)),
            None => secrets::credential(self, before_asking).map(|(credential, from)| (credential, Some(from))),
        })?;
        let places = repository.places();
        if places.cache.is_none() {
            self.note(NO_CACHE);
        }
        if places.state.is_none() {
            self.note(NO_STATE);
        }
        // One that is not there would be missed only by what is too large. It costs no backup.
        if let Some((named, by)) = self.scratch_dir()?.filter(|_| places.scratch.is_none()) {
            let named = named.display();
            self.warn(&format!("{named} ({by}) is no directory: what does not fit in memory waits with the caches"));
        }
        Ok(repository)
    }

    /// Opens the repository at a location with the credential that `ask` brings, after it did what is to be done before a person
    /// is asked.
    pub fn open_at(&self, location: &Location, settings: &Settings, ask: &Ask<'_>) -> anyhow::Result<Repository> {
        let places = self.places()?;
        let has_state = places.state.is_some();
        let store = store::open_with(location, Intent::Existing, settings)?;
        let store = self.acquainted(location, store, settings)?;
        let (credential, from) = ask(&|| match Repository::is_in(&*store)? {
            false => Err(RepositoryError::NoRepository { location: store.location() }.into()),
            true => Ok(()),
        })?;
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
        for note in unkept_notes(repository.unkept()) {
            self.note(&note);
        }
        // Where nothing is remembered every time is the first.
        if repository.is_first_contact() && has_state && repository.unkept().state.is_none() {
            let (location, id) = (repository.location(), repository.id());
            self.note(&format!(
                "this host uses {location} for the first time and trusts what it shows: repository {id}"
            ));
        }
        Ok(repository)
    }
}

const NO_CACHE: &str = "there is no HOME, so no catalog is kept and each command builds its own; \
     name a directory for it with --cache-dir or REDKEEP_CACHE_DIR";
const NO_STATE: &str = "there is no HOME, so this host does not remember what it saw, and a repository that was set back \
     stays unseen; name a directory for that with REDKEEP_STATE_DIR";

/// What it costs that a directory of this host cannot be used, and why.
pub(crate) fn unkept_notes(unkept: &Unkept) -> Vec<String> {
    let catalog = unkept.catalog.as_ref().map(|why| {
        format!("the catalog cannot be kept, and is built for this command alone ({why}); another place: --cache-dir")
    });
    let state = unkept.state.as_ref().map(|why| {
        format!(
            "this host cannot remember what it saw, so that a repository that was set back stays unseen ({why}); \
             another place: REDKEEP_STATE_DIR"
        )
    });
    catalog.into_iter().chain(state).collect()
}

/// A base directory of the user, by the XDG rules: only absolute ones count.
pub(super) fn base(name: &str, below_home: &str) -> Option<PathBuf> {
    let named = variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    named.or_else(|| env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(below_home)))
}
