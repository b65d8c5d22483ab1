//! Forgetting a snapshot: a record that it is no longer wanted. Nothing is deleted by it. Rules: format-spec/11-sessions.md.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use super::catalog::{Catalog, ForgottenRecord};
use super::error::{Fault, RepositoryError};
use super::objects::Listed;
use super::opening::{Alarm, others};
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
        let session = |of: &Listed| match of.name {
            Name::Forgotten(session) => Some(session),
            _ => None,
        };
        let listed = self.listed("forgotten/")?;
        let there: HashSet<Id16> = listed.iter().filter_map(session).collect();
        let have = lock(&self.catalog).forgotten()?;
        let have: HashSet<Id16> = have.into_iter().map(|record| record.snapshot.session).collect();
        let gone: Vec<Id16> = have.difference(&there).copied().collect();
        let (mut new, mut unreadable) = (Vec::new(), Vec::new());
        let missing = others(listed, |of| session(of).is_none_or(|session| have.contains(&session)));
        self.read_listed(&missing, SMALL_MAX, &decode_forgotten, |of, read| {
            match read {
                Ok(record) => new.push(record),
                Err(fault) => unreadable.push((of.name, fault)),
            }
            Ok(())
        })?;
        let mut catalog = lock(&self.catalog);
        catalog.change_forgotten(&gone, &new)?;
        Ok(ForgottenRecords { records: catalog.forgotten()?, unreadable })
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
            Err(StoreError::Exists { .. }) => self.read_one(&name, SMALL_MAX, &decode_forgotten)?,
            Err(error) => return Err(error.into()),
        };
        lock(&self.catalog).change_forgotten(&[], std::slice::from_ref(&record))?;
        Ok(record)
    }
}

/// FORGET-1: the record of a snapshot has the snapshot's session in its name.
fn decode_forgotten(name: &Name, _: Kind, plaintext: Vec<u8>) -> Result<ForgottenRecord, Fault> {
    let Forgotten { snapshot, time, reason } = Forgotten::decode(&plaintext)?;
    let snapshot = SnapshotName::parse(&snapshot).filter(|snapshot| Name::Forgotten(snapshot.session) == *name);
    let snapshot = snapshot.ok_or_else(|| Malformed::new("forgotten record", "of another snapshot"))?;
    Ok(ForgottenRecord { snapshot, time, reason })
}
