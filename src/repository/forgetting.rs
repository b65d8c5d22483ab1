//! Forgetting a snapshot: a record that it is no longer wanted. Nothing is deleted by it. Rules: format-spec/11-sessions.md.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;

use super::catalog::{Catalog, ForgottenRecord};
use super::error::{Fault, RepositoryError};
use super::opening::Alarm;
use super::{Repository, lock, object_name};
use crate::format::limits::SMALL_MAX;
use crate::format::object::{Kind, Name, SnapshotName};
use crate::format::session::Forgotten;
use crate::format::{Id16, Malformed, UnixMillis};
use crate::store::StoreError;

/// How long a forgotten snapshot can certainly be had back.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a LIST of `forgotten/` showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ForgottenRecords {
    /// Records that can be read, by snapshot name.
    pub records: Vec<ForgottenRecord>,
    /// Object names of records that cannot be read, and why: they forget nothing.
    pub unreadable: Vec<(Name, Fault)>,
}

impl ForgottenRecords {
    /// Object names of the snapshots that were forgotten.
    pub fn snapshots(&self) -> HashSet<String> {
        self.records.iter().map(|record| record.snapshot.to_string()).collect()
    }

    /// FORGET-3: a record that cannot be read is an alarm in every command.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        let alarm =
            |(name, fault): &(Name, Fault)| Alarm::Forgotten { object: name.to_string(), fault: fault.to_string() };
        self.unreadable.iter().map(alarm)
    }
}

impl Repository {
    /// LISTs `forgotten/` and brings the catalog to it. Only records the catalog does not have are read.
    pub(super) fn refresh_forgotten(&self) -> Result<ForgottenRecords, RepositoryError> {
        let session = |entry: &crate::store::Entry| match Name::parse(entry.name.as_str()) {
            Some(Name::Forgotten(session)) => Some(session),
            _ => None,
        };
        let listed: BTreeSet<Id16> = self.store.entries("forgotten/")?.iter().filter_map(session).collect();
        let have = lock(&self.catalog).forgotten()?;
        let have: HashSet<Id16> = have.into_iter().map(|record| record.snapshot.session).collect();
        let gone: Vec<Id16> = have.iter().filter(|session| !listed.contains(session)).copied().collect();
        let (mut new, mut unreadable) = (Vec::new(), Vec::new());
        for session in listed.into_iter().filter(|session| !have.contains(session)) {
            match self.read_forgotten(session) {
                Ok(record) => new.push(record),
                Err(RepositoryError::Damaged { source, .. }) => unreadable.push((Name::Forgotten(session), source)),
                Err(error) => return Err(error),
            }
        }
        let mut catalog = lock(&self.catalog);
        catalog.change_forgotten(&gone, &new)?;
        Ok(ForgottenRecords { records: catalog.forgotten()?, unreadable })
    }

    /// FORGET-1: the record of a snapshot has the snapshot's session in its name.
    fn read_forgotten(&self, session: Id16) -> Result<ForgottenRecord, RepositoryError> {
        let name = Name::Forgotten(session);
        let (_, plaintext) = self.get_object(&name, SMALL_MAX)?;
        let malformed = |malformed: Malformed| RepositoryError::damaged(name, malformed);
        let Forgotten { snapshot, time, reason } = Forgotten::decode(&plaintext).map_err(malformed)?;
        let snapshot = SnapshotName::parse(&snapshot).filter(|snapshot| snapshot.session == session);
        let snapshot = snapshot.ok_or_else(|| malformed(Malformed::new("forgotten record", "of another snapshot")))?;
        Ok(ForgottenRecord { snapshot, time, reason })
    }

    /// Records of forgotten snapshots, as of the last refresh.
    pub fn forgotten(&self) -> Result<Vec<ForgottenRecord>, RepositoryError> {
        self.ask_catalog(Catalog::forgotten)
    }

    /// Records that a snapshot is no longer wanted. Answers with the record that stands: this one, or one that was
    /// there already.
    ///
    /// FORGET-2: `put_new`, and nothing else is written or deleted.
    pub fn forget(&self, snapshot: &SnapshotName, reason: &str) -> Result<ForgottenRecord, RepositoryError> {
        let name = Name::Forgotten(snapshot.session);
        let (time, reason): (UnixMillis, String) = (self.ambient.now(), reason.into());
        let record = Forgotten { snapshot: snapshot.to_string(), time, reason: reason.clone() }.encode();
        let sealed = Bytes::from(self.keyring().seal(&name, Kind::Forgotten, self.ambient.random(), &record));
        let record = match self.with_reserve(|| self.store.put_new(&object_name(&name), sealed.clone())) {
            Ok(()) => ForgottenRecord { snapshot: *snapshot, time, reason },
            Err(StoreError::Exists { .. }) => self.read_forgotten(snapshot.session)?,
            Err(error) => return Err(error.into()),
        };
        lock(&self.catalog).change_forgotten(&[], std::slice::from_ref(&record))?;
        Ok(record)
    }
}
