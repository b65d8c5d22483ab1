//! STORE-8: how the service of an `s3://` or `swift://` location is reached: by the variables that its own tools take, then by the
//! configuration, whose `credentials-file` may say the same variables.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::configuration::Access;
use super::context::Context;
use super::exit::UsageError;
use super::settings::variable;
use crate::repository::{Repository, promise_of, remember_promise};
use crate::store::{
    self, Intent, KeystoneIdentity, Limits, Location, S3, S3Keys, SecretText, Settings, Store, StoreError, Swift,
    SwiftLogin, Timing, Tls, Trouble,
};

/// A file of credentials has no more bytes.
const LARGEST: u64 = 64 << 10;

/// What counts where both the environment and a file of variables say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// The environment.
    Environment,
    /// The file, where there is one: the environment speaks of another service.
    File,
}

/// Variables, by name. A file that comes first is taken alone: half of a login from elsewhere would be none.
struct Variables {
    of_file: BTreeMap<String, SecretText>,
    first: First,
}

impl Variables {
    fn get(&self, name: &str) -> Result<Option<SecretText>, UsageError> {
        let is_alone = self.first == First::File && !self.of_file.is_empty();
        match variable(name).filter(|_| !is_alone).map(std::ffi::OsString::into_string) {
            Some(Ok(value)) => Ok(Some(Zeroizing::new(value))),
            Some(Err(_)) => Err(UsageError { what: format!("{name} is no text"), hint: format!("check {name}") }),
            None => Ok(self.of_file.get(name).filter(|value| !value.is_empty()).cloned()),
        }
    }

    /// The first that is set.
    fn first(&self, names: &[&str]) -> Result<Option<String>, UsageError> {
        for name in names {
            if let Some(value) = self.get(name)? {
                return Ok(Some(value.to_string()));
            }
        }
        Ok(None)
    }

    /// One that goes with others that are set.
    fn needed(&self, name: &str, with: &str) -> Result<SecretText, UsageError> {
        self.get(name)?.ok_or_else(|| UsageError {
            what: format!("{with} is set, but {name} is not"),
            hint: format!("set {name} too, in the environment or in the credentials-file of the configuration"),
        })
    }
}

impl Context {
    /// What is needed to reach the store of a location; nothing where it is a directory.
    pub fn store_settings(&self, location: &Location) -> Result<Settings, UsageError> {
        self.settings_of(location, &self.access()?, First::Environment)
    }

    /// The same of the second repository of a command.
    pub fn settings_of(&self, location: &Location, access: &Access, first: First) -> Result<Settings, UsageError> {
        let settings = match location {
            Location::Local(_) | Location::Memory(_) => return Ok(Settings::default()),
            Location::S3(_) => {
                let variables = self.variables(access, first)?;
                Settings { s3: s3(&variables, access)?, tls: self.tls(&variables, access)?, ..Settings::default() }
            }
            Location::Swift(_) => {
                let variables = self.variables(access, first)?;
                let swift = swift(&variables, access)?;
                Settings { swift, tls: self.tls(&variables, access)?, ..Settings::default() }
            }
        };
        let timing = access.lag.map(Timing::of_service);
        let put_new = promise_of(&self.places()?, &promise_key(location, &settings));
        let limits = Limits {
            upload: self.globals.limit_upload.or(access.limit_upload),
            download: self.globals.limit_download.or(access.limit_download),
        };
        let (retry_for, stop) = (self.globals.retry_for.or(access.retry_for), Some(self.progress.stop_flag()));
        let waits = Some(self.progress.teller());
        Ok(Settings { timing, put_new, limits, retry_for, stop, waits, ..settings })
    }

    /// Notes what was found out about a store, for the next command.
    pub fn remember_promise(&self, location: &Location, store: &dyn Store) -> Result<(), UsageError> {
        let is_remote = matches!(location, Location::S3(_) | Location::Swift(_));
        let settings = self.store_settings(location)?;
        if is_remote && settings.put_new.is_none() {
            // Where nothing can be kept the next command assumes nothing, which is safe.
            let _ = remember_promise(&self.places()?, &promise_key(location, &settings), store.promises().put_new);
        }
        Ok(())
    }

    /// A host that meets a place at a service for the first time finds out what it promises, where a repository is
    /// there, and notes it.
    pub fn acquainted(
        &self,
        location: &Location,
        store: Arc<dyn Store>,
        settings: &Settings,
    ) -> anyhow::Result<Arc<dyn Store>> {
        let places = self.places()?;
        let (None, Some(service), Some(_)) = (settings.put_new, store.service(), &places.state) else {
            return Ok(store);
        };
        if !Repository::is_in(&*store)? {
            return Ok(store);
        }
        let put_new = match service.try_put_new() {
            Ok(put_new) => put_new,
            // Who may only read has nothing to rely on.
            Err(StoreError::Service { trouble: Trouble::Forbidden, .. }) => return Ok(store),
            Err(error) => return Err(error.into()),
        };
        self.note(&format!("what {location} promises to several writers was tried: put_new is {}", put_new.word()));
        // Where nothing can be kept the next command tries again.
        let _ = remember_promise(&places, &promise_key(location, settings), put_new);
        let settings = Settings { put_new: Some(put_new), ..settings.clone() };
        Ok(store::open_with(location, Intent::Existing, &settings)?)
    }

    fn variables(&self, access: &Access, first: First) -> Result<Variables, UsageError> {
        let of_file = access.credentials_file.as_deref().map(|path| self.credentials(path)).transpose()?;
        Ok(Variables { of_file: of_file.unwrap_or_default(), first })
    }

    /// `NAME=VALUE` lines, as service managers and shells read them too.
    fn credentials(&self, path: &Path) -> Result<BTreeMap<String, SecretText>, UsageError> {
        let shown = path.display();
        let refuse = |why: String| UsageError {
            what: format!("cannot read the credentials-file {shown}: {why}"),
            hint: "it holds lines such as AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=…".into(),
        };
        let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| refuse(error.to_string()))?;
        if metadata.is_file() && metadata.permissions().mode() & 0o004 != 0 {
            self.warn(&format!("{shown} can be read by every user of this host; change that with: chmod o-r {shown}"));
        }
        let mut text = SecretText::default();
        file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| refuse(error.to_string()))?;
        if text.len() as u64 > LARGEST {
            return Err(refuse("it is larger than 64 KiB".into()));
        }
        let mut found = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            let (name, value) =
                line.split_once('=').ok_or_else(|| refuse(format!("line {} is no NAME=VALUE", number + 1)))?;
            let value = value.trim();
            let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
            found.insert(name.trim().to_owned(), Zeroizing::new(bare.unwrap_or(value).to_owned()));
        }
        Ok(found)
    }

    fn tls(&self, variables: &Variables, access: &Access) -> Result<Tls, UsageError> {
        let named = variables.first(&["AWS_CA_BUNDLE", "OS_CACERT"])?.map(PathBuf::from);
        Ok(Tls { ca_file: named.or_else(|| access.ca_file.clone()), insecure: self.globals.insecure_tls })
    }
}

/// A promise is one of a place at a service, not of a name that several services may have.
fn promise_key(location: &Location, settings: &Settings) -> String {
    let service = match &settings.swift {
        Some(Swift { login: SwiftLogin::V1 { auth, .. } | SwiftLogin::Keystone { auth, .. }, .. }) => auth.clone(),
        Some(Swift { storage_url, .. }) => storage_url.clone().unwrap_or_default(),
        None => settings.s3.endpoint.clone().unwrap_or_default(),
    };
    format!("{location} at {service}")
}

fn s3(variables: &Variables, access: &Access) -> Result<S3, UsageError> {
    let endpoint = variables.first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])?.or_else(|| access.endpoint.clone());
    let region = variables.first(&["AWS_REGION", "AWS_DEFAULT_REGION"])?.or_else(|| access.region.clone());
    let keys = match variables.get("AWS_ACCESS_KEY_ID")? {
        None => None,
        Some(id) => Some(S3Keys {
            id: id.to_string(),
            secret: variables.needed("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")?,
            session_token: variables.get("AWS_SESSION_TOKEN")?,
        }),
    };
    Ok(S3 {
        endpoint: endpoint.map(|text| address(&text)).transpose()?,
        region,
        path_style: access.path_style,
        storage_class: access.storage_class.clone(),
        keys,
    })
}

fn swift(variables: &Variables, access: &Access) -> Result<Option<Swift>, UsageError> {
    let storage_url = variables.first(&["OS_STORAGE_URL", "ST_STORAGE_URL"])?;
    let storage_url = storage_url.map(|text| address(&text)).transpose()?;
    let login = match (variables.get("OS_AUTH_TOKEN")?, storage_url.is_some()) {
        (Some(token), true) => Some(SwiftLogin::Token { token }),
        _ => match variables.first(&["ST_AUTH"])? {
            Some(auth) => Some(SwiftLogin::V1 {
                auth: address(&auth)?,
                user: variables.needed("ST_USER", "ST_AUTH")?.to_string(),
                key: variables.needed("ST_KEY", "ST_AUTH")?,
            }),
            None => keystone(variables, access)?,
        },
    };
    Ok(login.map(|login| Swift { login, storage_url }))
}

fn keystone(variables: &Variables, access: &Access) -> Result<Option<SwiftLogin>, UsageError> {
    const AUTH: &str = "OS_AUTH_URL";
    const CREDENTIAL: &str = "OS_APPLICATION_CREDENTIAL_SECRET";
    let Some(auth) = variables.first(&[AUTH])?.or_else(|| access.endpoint.clone()) else { return Ok(None) };
    let user_domain = || Ok(variables.first(&["OS_USER_DOMAIN_NAME"])?.unwrap_or_else(|| "Default".into()));
    let identity = match (variables.first(&["OS_APPLICATION_CREDENTIAL_ID"])?, variables.get(CREDENTIAL)?) {
        (Some(id), _) => {
            KeystoneIdentity::CredentialId { id, secret: variables.needed(CREDENTIAL, "OS_APPLICATION_CREDENTIAL_ID")? }
        }
        (None, Some(secret)) => KeystoneIdentity::CredentialName {
            name: variables.needed("OS_APPLICATION_CREDENTIAL_NAME", CREDENTIAL)?.to_string(),
            user: variables.needed("OS_USERNAME", CREDENTIAL)?.to_string(),
            user_domain: user_domain()?,
            secret,
        },
        (None, None) => KeystoneIdentity::Password {
            user: variables.needed("OS_USERNAME", AUTH)?.to_string(),
            user_domain: user_domain()?,
            password: variables.needed("OS_PASSWORD", AUTH)?,
            project: variables.needed("OS_PROJECT_NAME", AUTH)?.to_string(),
            project_domain: variables.first(&["OS_PROJECT_DOMAIN_NAME"])?.unwrap_or_else(|| "Default".into()),
        },
    };
    let region = variables.first(&["OS_REGION_NAME"])?.or_else(|| access.region.clone());
    Ok(Some(SwiftLogin::Keystone { auth: address(&auth)?, identity, region }))
}

/// An address that can be asked.
fn address(text: &str) -> Result<String, UsageError> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_fine = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
    match is_fine {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err(UsageError {
            // It may hold a password.
            what: "the address of the service cannot be meant".into(),
            hint: "write it as https://HOST:PORT, without user or password".into(),
        }),
    }
}
