//! How a store kept by a service is opened, and whether what should hold it is there. Rules: format-spec/20-object-stores.md.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use opendal::Operator;
use opendal::options::ListOptions;
use opendal::raw::Service as _;
use opendal::services::Memory;

use super::failure::Failure;
use super::retry::Patience;
use super::token::Tokens;
use super::transport::{self, Transport};
use super::{Kind, ServiceStore, failed, probe, s3, swift};
use crate::store::error::StoreError;
use crate::store::name::ObjectName;
use crate::store::settings::Settings;
use crate::store::url::Bucket;
use crate::store::{Intent, PutNew, Timing};

/// The named stores in memory of this process.
static NAMED: LazyLock<Mutex<HashMap<String, Operator>>> = LazyLock::new(Mutex::default);

/// STORE-3: how late the listings of a service may be, where nobody says otherwise.
const S3_LAG: Duration = Duration::from_secs(10 * 60);
const SWIFT_LAG: Duration = Duration::from_secs(6 * 60 * 60);

impl ServiceStore {
    /// The store in memory of that name; an empty name is a new store that nobody else can open.
    pub(in crate::store) fn memory(name: &str, intent: Intent) -> Result<Self, StoreError> {
        let location = format!("memory:{name}");
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        let operator = match (named.get(name), intent) {
            (Some(operator), _) => operator.clone(),
            (None, Intent::Existing) => {
                let problem = "no such store in this process";
                return Err(StoreError::Location {
                    location,
                    problem,
                    hint: "stores in memory end with their process",
                });
            }
            (None, Intent::Create) => {
                let operator = Operator::new(Memory::default()).map_err(|error| unusable(&location, &error))?;
                if !name.is_empty() {
                    named.insert(name.to_owned(), operator.clone());
                }
                operator
            }
        };
        let timing = Timing::of_lag(Duration::ZERO);
        Ok(Self { put_new: PutNew::Exclusive, timing, ..Self::new(Kind::Memory, operator, None, location) })
    }

    /// The bucket of an S3 service.
    pub(in crate::store) fn s3(bucket: &Bucket, intent: Intent, settings: &Settings) -> Result<Self, StoreError> {
        let location = format!("s3://{bucket}");
        let operator =
            s3::operator(&bucket.name, &bucket.prefix, settings).map_err(|error| unusable(&location, &error))?;
        let client = transport::client(&settings.tls).map_err(|error| bad_tls(&location, error))?;
        let transport = Transport::new(client, None, settings.limits);
        let store = Self::new(Kind::S3, operator.layer(transport.clone()), Some(transport), location);
        store.opened(intent, settings, S3_LAG)
    }

    /// The container of a Swift service.
    pub(in crate::store) fn swift(container: &Bucket, intent: Intent, settings: &Settings) -> Result<Self, StoreError> {
        let location = format!("swift://{container}");
        let Some(login) = settings.swift.clone() else {
            return Err(StoreError::Unset {
                location,
                hint: "set ST_AUTH, ST_USER and ST_KEY, or the OS_ variables of an OpenStack RC file",
            });
        };
        let operator =
            swift::operator(&container.name, &container.prefix).map_err(|error| unusable(&location, &error))?;
        let client = transport::client(&settings.tls).map_err(|error| bad_tls(&location, error))?;
        let transport = Transport::new(client.clone(), Some(Arc::new(Tokens::new(client, login))), settings.limits);
        let store = Self::new(Kind::Swift, operator.layer(transport.clone()), Some(transport), location);
        store.opened(intent, settings, SWIFT_LAG)
    }

    pub(super) fn new(kind: Kind, operator: Operator, transport: Option<Transport>, location: String) -> Self {
        Self {
            kind,
            operator,
            transport,
            location,
            put_new: PutNew::None,
            timing: Timing::of_lag(SWIFT_LAG),
            patience: Patience::default(),
            is_proved: AtomicBool::new(kind == Kind::Memory),
            has_no_condition: AtomicBool::new(false),
        }
    }

    /// STORE-4: what a service promises is tried where a repository is made. Who did not try assumes nothing.
    pub(super) fn opened(mut self, intent: Intent, settings: &Settings, lag: Duration) -> Result<Self, StoreError> {
        self.patience = Patience::of(settings);
        self.timing = settings.timing.unwrap_or_else(|| Timing::of_service(lag));
        if intent == Intent::Create {
            self.prove()?;
        }
        self.put_new = match (settings.put_new, intent) {
            (Some(known), _) => known,
            (None, Intent::Create) => probe::put_new(&self)?,
            (None, Intent::Existing) => PutNew::None,
        };
        Ok(self)
    }

    /// That the bucket is there. Some services make a missing one at the first PUT, so that a typo seems to work.
    pub(super) fn prove(&self) -> Result<(), StoreError> {
        if self.is_proved.load(Ordering::Relaxed) {
            return Ok(());
        }
        let first = self.tries(async || {
            let one = ListOptions { limit: Some(1), recursive: true, ..ListOptions::default() };
            let mut lister = self.operator.service().list(self.operator.context(), "/", one.into())?;
            lister.next_dyn().await.map(|_| ())
        });
        match first {
            Ok(()) => {
                self.is_proved.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(failure) if failure.is_not_found() => Err(self.no_bucket()),
            Err(failure) => Err(failed("list", &self.location, failure)),
        }
    }

    pub(super) fn no_bucket(&self) -> StoreError {
        let (problem, hint) = match self.kind {
            Kind::Swift => ("no such container", "check its name, or make it first: swift post CONTAINER"),
            Kind::S3 | Kind::Memory => {
                ("no such bucket", "check its name, the endpoint and the region, or make the bucket first")
            }
        };
        StoreError::Location { location: self.location.clone(), problem, hint }
    }

    /// What is missing: the object, or all that should hold it.
    pub(super) fn missing(&self, name: &ObjectName) -> StoreError {
        match self.prove() {
            Ok(()) => StoreError::NotFound { name: name.clone() },
            Err(error) => error,
        }
    }

    pub(super) fn unread(&self, name: &ObjectName, failure: Failure) -> StoreError {
        if failure.is_not_found() { self.missing(name) } else { failed("read", name.as_str(), failure) }
    }

    pub(super) fn unstored(&self, name: &ObjectName, failure: Failure) -> StoreError {
        if failure.is_not_found() { self.no_bucket() } else { failed("store", name.as_str(), failure) }
    }
}

fn unusable(location: &str, error: &opendal::Error) -> StoreError {
    failed("open", location, Failure::of(error, None))
}

fn bad_tls(location: &str, error: String) -> StoreError {
    StoreError::Io { action: "open", name: location.to_owned(), source: io::Error::other(error) }
}
