//! Where two creators of one name may both succeed, a commit is final only once everybody sees it: until then a host keeps it in
//! mind. Rules: format-spec/11-sessions.md.

use std::collections::HashSet;

use rusqlite::params;
use rusqlite::types::ValueRef;

use super::alarm::Alarm;
use super::error::RepositoryError;
use super::objects::Listed;
use super::state::State;
use super::{Repository, get_whole, lock, sqlite};
use crate::format::UnixMillis;
use crate::format::ids::{DatasetTag, Id16};
use crate::format::limits::SNAPSHOT_MAX;
use crate::format::object::{Name, SnapshotName};
use crate::store::{Promises, PutNew};

/// A commit of this host that another creator of its name may have overwritten.
struct Unsettled {
    name: String,
    size: u64,
    /// BLAKE3 of the object.
    hash: [u8; 32],
    /// When it was committed, by this host's clock.
    since: UnixMillis,
    /// Whether something else was found in its place.
    is_undone: bool,
}

impl Repository {
    /// When a commit is final that succeeded just now; `None` where it is at once.
    pub(super) fn final_at(&self) -> Option<UnixMillis> {
        let Promises { put_new, timing } = self.store.promises();
        let is_late = put_new == PutNew::Settled && !timing.lag.is_zero();
        is_late.then(|| UnixMillis(self.ambient.now().0.saturating_add(timing.lag.as_millis() as u64)))
    }

    /// Keeps a commit in mind. What had become of earlier ones of the dataset counts no more: this one holds what is there now.
    pub(super) fn note_unsettled(&self, name: &SnapshotName, sealed: &[u8]) -> Result<(), RepositoryError> {
        let of = Unsettled {
            name: name.to_string(),
            size: sealed.len() as u64,
            hash: *blake3::hash(sealed).as_bytes(),
            since: self.ambient.now(),
            is_undone: false,
        };
        let state = lock(&self.state);
        let below = below(name.tag);
        let mut undone =
            state.unsettled(self.id())?.into_iter().filter(|of| of.is_undone && of.name.starts_with(&below));
        undone.try_for_each(|of| state.settle(self.id(), &of.name))?;
        state.keep_unsettled(self.id(), &of)
    }

    /// Holds what was committed 2 LAG ago and more against what a LIST below `prefix` shows, and says what was overwritten.
    ///
    /// SESS-11: what is listed with its size is final; else the object itself tells.
    pub(super) fn settle_commits(
        &self,
        prefix: &str,
        listed: &[Listed],
        forgotten: &HashSet<String>,
    ) -> Result<Vec<Alarm>, RepositoryError> {
        let (now, wait) = (self.ambient.now(), 2 * self.timing().lag.as_millis() as u64);
        let of_here = lock(&self.state).unsettled(self.id())?;
        let due = of_here.into_iter().filter(|of| of.name.starts_with(prefix));
        let mut alarms = Vec::new();
        for of in due.filter(|of| of.is_undone || now.0.saturating_sub(of.since.0) >= wait) {
            let there = listed.iter().find(|listed| listed.name.to_string() == of.name);
            // One that is not listed is missed by who remembers the newest (LOCAL-5), or was forgotten.
            let is_final = match there {
                None => forgotten.contains(&of.name),
                Some(listed) => listed.size == of.size || self.holds(&of)?,
            };
            let state = lock(&self.state);
            match (is_final, there) {
                (true, _) => state.settle(self.id(), &of.name)?,
                (false, None) => {}
                (false, Some(_)) => {
                    let of = Unsettled { is_undone: true, ..of };
                    state.keep_unsettled(self.id(), &of)?;
                    drop(state);
                    self.show_tombstone(&of)?;
                    alarms.push(Alarm::Undone { object: of.name });
                }
            }
        }
        Ok(alarms)
    }

    /// The catalog still shows what was committed: from here on what stands there, where that is a tombstone.
    fn show_tombstone(&self, of: &Unsettled) -> Result<(), RepositoryError> {
        let Some(name) = SnapshotName::parse(&of.name) else { return Ok(()) };
        match self.read_snapshot(&name) {
            Ok(None) => lock(&self.catalog).add_snapshot(&name, None),
            Err(error) if !error.is_damage() => Err(error),
            _ => Ok(()),
        }
    }

    fn holds(&self, of: &Unsettled) -> Result<bool, RepositoryError> {
        let Some(name) = SnapshotName::parse(&of.name) else { return Ok(true) };
        match get_whole(&*self.store, &Name::Snapshot(name), SNAPSHOT_MAX) {
            Ok(object) => Ok(*blake3::hash(&object).as_bytes() == of.hash),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn below(tag: DatasetTag) -> String {
    format!("snapshots/{tag}/")
}

impl State {
    fn unsettled(&self, repository: Id16) -> Result<Vec<Unsettled>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT name, size, hash, since, undone FROM unsettled WHERE repository = ?1 ORDER BY name";
            let mut query = connection.prepare(sql)?;
            let rows = query.query_map([repository.to_string()], |row| {
                Ok(Unsettled {
                    name: row.get(0)?,
                    size: row.get::<_, i64>(1)? as u64,
                    hash: row.get(2)?,
                    since: UnixMillis(row.get::<_, i64>(3)? as u64),
                    is_undone: row.get::<_, i64>(4)? == 1,
                })
            })?;
            rows.collect()
        })
    }

    fn keep_unsettled(&self, repository: Id16, of: &Unsettled) -> Result<(), RepositoryError> {
        let (repository, size, since) = (repository.to_string(), of.size as i64, of.since.0 as i64);
        let values = [
            ValueRef::from(&*repository),
            of.name.as_str().into(),
            ValueRef::Integer(size),
            ValueRef::Blob(&of.hash),
            ValueRef::Integer(since),
            ValueRef::Integer(i64::from(of.is_undone)),
        ];
        let sum = sqlite::sum(values);
        self.run(|connection| {
            let sql = "INSERT OR REPLACE INTO unsettled VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            connection.execute(sql, params![repository, of.name, size, of.hash, since, of.is_undone, sum])
        })?;
        Ok(())
    }

    /// It is final, or does not matter any more.
    fn settle(&self, repository: Id16, name: &str) -> Result<(), RepositoryError> {
        self.run(|connection| {
            let sql = "DELETE FROM unsettled WHERE repository = ?1 AND name = ?2";
            connection.execute(sql, params![repository.to_string(), name])
        })?;
        Ok(())
    }
}
