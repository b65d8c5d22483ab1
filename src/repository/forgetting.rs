//! Forgetting a snapshot: a record that it is no longer wanted. Nothing is deleted by it. What records and ledgers say is
//! brought into the catalog here. Rules: format-spec/11-sessions.md.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;

use super::alarm::Alarm;
use super::catalog::{Catalog, ForgottenRecord, Said};
use super::error::{Fault, RepositoryError};
use super::refreshing::{LOOKS, others};
use super::{Repository, lock, object_name};
use crate::format::ledger::Ledger;
use crate::format::limits::{LEDGER_MAX, SMALL_MAX};
use crate::format::object::{Kind, Name, SnapshotName};
use crate::format::session::Forgotten;
use crate::format::{Malformed, UnixMillis};
use crate::store::StoreError;

/// How long a forgotten snapshot can certainly be had back.
pub const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a LIST of `forgotten/` showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ForgottenRecords {
    /// What records and ledgers say was forgotten, by snapshot name.
    pub records: Vec<ForgottenRecord>,
    /// Names at which nothing counts.
    pub void: HashSet<SnapshotName>,
    /// Records and ledgers that cannot be read, and why: they say nothing.
    pub unreadable: Vec<(Name, Fault)>,
}

impl ForgottenRecords {
    /// Object names of the snapshots that were forgotten.
    pub fn snapshots(&self) -> HashSet<String> {
        self.records.iter().map(|record| record.snapshot.to_string()).collect()
    }

    /// Takes out what was forgotten, and what nothing counts of.
    pub fn explain(&self, lost: &mut Vec<(SnapshotName, Fault)>) {
        if !lost.is_empty() {
            let forgotten: HashSet<SnapshotName> = self.records.iter().map(|record| record.snapshot).collect();
            lost.retain(|(name, _)| !forgotten.contains(name) && !self.void.contains(name));
        }
    }

    /// FORGET-3: one that cannot be read is an alarm in every command.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        let alarm =
            |(name, fault): &(Name, Fault)| Alarm::Forgotten { object: name.to_string(), fault: fault.to_string() };
        self.unreadable.iter().map(alarm)
    }
}

impl Repository {
    /// LISTs what is below `forgotten/`, of all datasets or of one, and brings the catalog to it.
    ///
    /// LEDGER-3: one that is gone between LIST and GET was taken into a ledger: what LIST shows now says into which.
    pub(super) fn refresh_forgotten(&self, prefix: &str) -> Result<ForgottenRecords, RepositoryError> {
        let (mut looks, lag) = (LOOKS, self.timing().lag);
        loop {
            looks -= 1;
            let mut unreadable = self.look_at_forgotten(prefix)?;
            if looks == 0 || !unreadable.iter().any(|(_, fault)| matches!(fault, Fault::Missing)) {
                // Where listings lag they show for a while what was taken into a ledger.
                unreadable.retain(|(_, fault)| lag.is_zero() || !matches!(fault, Fault::Missing));
                let catalog = lock(&self.catalog);
                return Ok(ForgottenRecords { records: catalog.forgotten()?, void: catalog.void()?, unreadable });
            }
        }
    }

    /// One LIST, and a GET of every record and ledger that is new. Answers with those that cannot be read.
    fn look_at_forgotten(&self, prefix: &str) -> Result<Vec<(Name, Fault)>, RepositoryError> {
        let listed = self.listed(prefix)?;
        let there: HashSet<Name> = listed.iter().map(|of| of.name).collect();
        let mut have: HashSet<Name> = lock(&self.catalog).said()?.into_keys().collect();
        have.retain(|source| source.to_string().starts_with(prefix));
        let gone: Vec<Name> = have.difference(&there).copied().collect();
        let (mut new, mut unreadable) = (Vec::new(), Vec::new());
        let missing = others(listed, |of| have.contains(&of.name));
        self.read_listed(&missing, LEDGER_MAX, &decode, |of, read| {
            match read {
                Ok(said) => new.push((of.name, said)),
                Err(fault) => unreadable.push((of.name, fault)),
            }
            Ok(())
        })?;
        lock(&self.catalog).change_forgotten(&gone, &new)?;
        Ok(unreadable)
    }

    /// What was said to be forgotten, as of the last refresh.
    pub fn forgotten(&self) -> Result<Vec<ForgottenRecord>, RepositoryError> {
        self.ask_catalog(Catalog::forgotten)
    }

    /// Records that a snapshot is no longer wanted. Answers with the record that stands: this one, or one that was
    /// there already.
    ///
    /// FORGET-2: `put_new`, and nothing else is written or deleted.
    pub fn forget(&self, snapshot: &SnapshotName, reason: &str) -> Result<ForgottenRecord, RepositoryError> {
        let name = Name::Forgotten(*snapshot);
        let (time, reason): (UnixMillis, String) = (self.ambient.now(), reason.into());
        let record = Forgotten { snapshot: snapshot.to_string(), time, reason: reason.clone() }.encode();
        let sealed = Bytes::from(self.keyring().seal(&name, Kind::Forgotten, self.ambient.random(), &record));
        let said = match self.with_reserve(|| self.store.put_new(&object_name(&name), sealed.clone())) {
            Ok(()) => vec![Said { snapshot: *snapshot, time, reason: Some(reason.clone()) }],
            Err(StoreError::Exists { .. }) => self.read_one(&name, SMALL_MAX, &decode)?,
            Err(error) => return Err(error.into()),
        };
        lock(&self.catalog).change_forgotten(&[], &[(name, said.clone())])?;
        let (time, reason) =
            said.into_iter().next().map_or((time, reason), |of| (of.time, of.reason.unwrap_or_default()));
        Ok(ForgottenRecord { snapshot: *snapshot, time, reason })
    }
}

/// What a record or a ledger says.
fn decode(name: &Name, _: Kind, plaintext: Vec<u8>) -> Result<Vec<Said>, Fault> {
    match name {
        Name::Ledger(tag, _) => Ok(said_by(&Ledger::decode(*tag, &plaintext)?)),
        _ => Ok(vec![decode_record(name, &plaintext)?]),
    }
}

/// FORGET-1: a record names the snapshot that its own name says.
fn decode_record(name: &Name, plaintext: &[u8]) -> Result<Said, Malformed> {
    let Forgotten { snapshot, time, reason } = Forgotten::decode(plaintext)?;
    let snapshot = SnapshotName::parse(&snapshot).filter(|snapshot| Name::Forgotten(*snapshot) == *name);
    let snapshot = snapshot.ok_or_else(|| Malformed::new("forgotten record", "of another snapshot"))?;
    Ok(Said { snapshot, time, reason: Some(reason) })
}

/// All that a ledger says.
fn said_by(ledger: &Ledger) -> Vec<Said> {
    let forgotten = ledger.forgotten.iter().flat_map(|(reason, entries)| {
        entries.iter().map(|(snapshot, time)| Said { snapshot: *snapshot, time: *time, reason: Some(reason.clone()) })
    });
    let void = ledger.void.iter().map(|(snapshot, time)| Said { snapshot: *snapshot, time: *time, reason: None });
    forgotten.chain(void).collect()
}
