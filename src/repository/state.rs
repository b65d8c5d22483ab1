//! What this host remembers of repositories, so that a store cannot quietly show an older state or another repository.
//! Rules: format-spec/14-local.md.

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::Places;
use super::error::RepositoryError;
use super::sqlite;
use crate::format::local::STATE_FILE;
use crate::format::{Id16, UnixMillis};
use crate::store::PutNew;

/// The newest snapshot of a dataset that this host has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its sequence number.
    pub sequence: u64,
    /// Its object name.
    pub name: String,
}

impl Head {
    /// Sequence first, then name: two hosts may give one number twice.
    pub fn is_newer_than(&self, other: &Head) -> bool {
        (self.sequence, &self.name) > (other.sequence, &other.name)
    }
}

/// Every row carries a sum of its values: a bit that flips in a name must not become a snapshot nobody ever saw.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS locations (location TEXT PRIMARY KEY, repository TEXT NOT NULL, sum BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS heads (repository TEXT NOT NULL, tag TEXT NOT NULL, sequence INTEGER NOT NULL,
    name TEXT NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (repository, tag)) STRICT;
CREATE TABLE IF NOT EXISTS heads_at (repository TEXT NOT NULL, location TEXT NOT NULL, tag TEXT NOT NULL,
    sequence INTEGER NOT NULL, name TEXT NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (repository, location, tag)) STRICT;
CREATE TABLE IF NOT EXISTS promises (place TEXT PRIMARY KEY, put_new TEXT NOT NULL, sum BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS doors (location TEXT PRIMARY KEY, read INTEGER NOT NULL, config BLOB NOT NULL,
    slots TEXT NOT NULL, slot TEXT NOT NULL, sealed BLOB NOT NULL, epoch INTEGER NOT NULL, sum BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS unsettled (repository TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL,
    hash BLOB NOT NULL, since INTEGER NOT NULL, undone INTEGER NOT NULL, sum BLOB NOT NULL,
    PRIMARY KEY (repository, name)) STRICT;
";

/// What this host found out of `put_new` at a place; nothing where it cannot tell. A damaged state is left for those who say so.
pub fn promise_of(places: &Places, place: &str) -> Option<PutNew> {
    let directory = places.state.as_deref()?;
    State::connect(Some(directory), &directory.join(STATE_FILE)).ok()?.promise_of(place).ok().flatten()
}

/// How the repository at a location of a service was opened last. A damaged state is left for those who say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Door {
    /// When that was, by this host's clock.
    pub read: UnixMillis,
    /// The bytes of `config`.
    pub config: Vec<u8>,
    /// All slots that were listed.
    pub slots: Vec<Id16>,
    /// The one that opened.
    pub slot: Id16,
    /// Its bytes.
    pub sealed: Vec<u8>,
    /// Its last epoch, which is in force.
    pub epoch: u32,
}

/// What is remembered of how a repository is opened.
pub(super) fn door_of(places: &Places, location: &str) -> Option<Door> {
    let directory = places.state.as_deref()?;
    State::connect(Some(directory), &directory.join(STATE_FILE)).ok()?.door_of(location).ok().flatten()
}

/// Remembers what was found out.
pub fn remember_promise(places: &Places, place: &str, put_new: PutNew) -> Result<(), RepositoryError> {
    match places.state.as_deref() {
        Some(directory) => State::open(Some(directory))?.remember_promise(place, put_new),
        None => Ok(()),
    }
}

/// The state file of this host, or one in memory.
pub(super) struct State {
    path: PathBuf,
    connection: Connection,
    put_aside: bool,
}

impl State {
    /// Opens `state.db` in a directory, making both where missing. One that is damaged is kept as `state.db.damaged`,
    /// and an empty one takes its place.
    pub fn open(directory: Option<&Path>) -> Result<State, RepositoryError> {
        let path = directory.map_or(PathBuf::from(":memory:"), |directory| directory.join(STATE_FILE));
        match State::connect(directory, &path) {
            Err(error) if sqlite::is_corrupt(&error) => {
                let aside = path.with_extension("db.damaged");
                std::fs::rename(&path, aside).map_err(|error| sqlite::failed("state", &path, error))?;
                sqlite::remove("state", &path)?;
                Ok(State { put_aside: true, ..State::connect(directory, &path)? })
            }
            other => other,
        }
    }

    /// What is there, where it can be read.
    pub fn recall(directory: &Path) -> Option<State> {
        State::connect(Some(directory), &directory.join(STATE_FILE)).ok()
    }

    /// It is small: all of it is read and compared.
    fn connect(directory: Option<&Path>, path: &Path) -> Result<State, RepositoryError> {
        let connection = sqlite::open("state", directory, path)?;
        let state = State { path: path.into(), connection, put_aside: false };
        state.run(|connection| {
            let verdict: String = connection.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
            if verdict != "ok" {
                return Err(sqlite::corrupt(verdict));
            }
            connection.execute_batch(TABLES)?;
            for table in ["locations", "heads", "heads_at", "promises", "doors", "unsettled"] {
                let sql = &format!("SELECT * FROM {table}");
                let mut query = connection.prepare(sql)?;
                let count = query.column_count() - 1;
                let mut rows = query.query([])?;
                while let Some(row) = rows.next()? {
                    sqlite::check_sum(row, count)?;
                }
            }
            Ok(())
        })?;
        Ok(state)
    }

    /// The file's path, where it was damaged and an empty one took its place.
    pub fn put_aside(&self) -> Option<String> {
        self.put_aside.then(|| self.path.display().to_string())
    }

    pub(super) fn run<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, RepositoryError> {
        work(&self.connection).map_err(|error| sqlite::failed("state", &self.path, error))
    }

    /// The repository last seen at a location.
    pub fn repository_at(&self, location: &str) -> Result<Option<Id16>, RepositoryError> {
        let found: Option<String> = self.run(|connection| {
            let sql = "SELECT repository FROM locations WHERE location = ?1";
            connection.query_row(sql, [location], |row| row.get(0)).optional()
        })?;
        Ok(found.and_then(|id| id.parse().ok()))
    }

    /// Remembers the repository at a location.
    pub fn remember_location(&self, location: &str, repository: Id16) -> Result<(), RepositoryError> {
        let repository = repository.to_string();
        let sum = sqlite::sum([location, &repository].map(ValueRef::from));
        self.run(|connection| {
            let sql = "INSERT INTO locations VALUES (?1, ?2, ?3)
                       ON CONFLICT (location) DO UPDATE SET repository = excluded.repository, sum = excluded.sum";
            connection.execute(sql, params![location, repository, sum])
        })?;
        Ok(())
    }

    fn promise_of(&self, place: &str) -> Result<Option<PutNew>, RepositoryError> {
        let found: Option<String> = self.run(|connection| {
            let sql = "SELECT put_new FROM promises WHERE place = ?1";
            connection.query_row(sql, [place], |row| row.get(0)).optional()
        })?;
        Ok(found
            .and_then(|word| [PutNew::Exclusive, PutNew::Settled, PutNew::None].into_iter().find(|p| p.word() == word)))
    }

    fn remember_promise(&self, place: &str, put_new: PutNew) -> Result<(), RepositoryError> {
        let sum = sqlite::sum([place, put_new.word()].map(ValueRef::from));
        self.run(|connection| {
            let sql = "INSERT INTO promises VALUES (?1, ?2, ?3)
                       ON CONFLICT (place) DO UPDATE SET put_new = excluded.put_new, sum = excluded.sum";
            connection.execute(sql, params![place, put_new.word(), sum])
        })?;
        Ok(())
    }

    fn door_of(&self, location: &str) -> Result<Option<Door>, RepositoryError> {
        let row = self.run(|connection| {
            let sql = "SELECT read, config, slots, slot, sealed, epoch FROM doors WHERE location = ?1";
            let read = |row: &rusqlite::Row<'_>| {
                let texts = (row.get::<_, String>(2)?, row.get::<_, String>(3)?);
                Ok((row.get::<_, i64>(0)?, row.get(1)?, texts, row.get(4)?, row.get(5)?))
            };
            connection.query_row(sql, [location], read).optional()
        })?;
        Ok(row.and_then(|(read, config, (slots, slot), sealed, epoch)| {
            let slots = slots.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
            Some(Door { read: UnixMillis(read as u64), config, slots, slot: slot.parse().ok()?, sealed, epoch })
        }))
    }

    /// Remembers how a repository was opened.
    pub fn remember_door(&self, location: &str, door: &Door) -> Result<(), RepositoryError> {
        let (slots, slot) =
            (door.slots.iter().map(Id16::to_string).collect::<Vec<_>>().join(" "), door.slot.to_string());
        let (read, epoch) = (door.read.0 as i64, i64::from(door.epoch));
        let values = [
            ValueRef::from(location),
            ValueRef::Integer(read),
            ValueRef::Blob(&door.config),
            slots.as_str().into(),
            slot.as_str().into(),
            ValueRef::Blob(&door.sealed),
            ValueRef::Integer(epoch),
        ];
        let sum = sqlite::sum(values);
        self.run(|connection| {
            let sql = "INSERT OR REPLACE INTO doors VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            connection.execute(sql, params![location, read, door.config, slots, slot, door.sealed, epoch, sum])
        })?;
        Ok(())
    }

    /// Newest remembered snapshots by dataset tag.
    pub fn heads(&self, repository: Id16) -> Result<Vec<(String, Head)>, RepositoryError> {
        self.run(|connection| {
            let mut query = connection.prepare("SELECT tag, sequence, name FROM heads WHERE repository = ?1")?;
            let rows = query.query_map([repository.to_string()], |row| {
                Ok((row.get(0)?, Head { sequence: row.get::<_, i64>(1)? as u64, name: row.get(2)? }))
            })?;
            rows.collect()
        })
    }

    /// The same of those seen at each location: location, dataset tag and snapshot.
    pub fn heads_at(&self, repository: Id16) -> Result<Vec<(String, String, Head)>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT location, tag, sequence, name FROM heads_at WHERE repository = ?1";
            let mut query = connection.prepare(sql)?;
            let rows = query.query_map([repository.to_string()], |row| {
                Ok((row.get(0)?, row.get(1)?, Head { sequence: row.get::<_, i64>(2)? as u64, name: row.get(3)? }))
            })?;
            rows.collect()
        })
    }

    /// Remembers a snapshot that was seen at a location, unless a newer one of its dataset is remembered.
    pub fn remember_head(
        &self,
        repository: Id16,
        location: &str,
        tag: &str,
        head: &Head,
    ) -> Result<(), RepositoryError> {
        self.remember_newest(repository, tag, head)?;
        let (repository, sequence, name) = (repository.to_string(), head.sequence as i64, head.name.as_str());
        let values =
            [ValueRef::from(&*repository), location.into(), tag.into(), ValueRef::Integer(sequence), name.into()];
        let sum = sqlite::sum(values);
        self.run(|connection| {
            let sql =
                "INSERT INTO heads_at VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (repository, location, tag) DO UPDATE
                       SET sequence = excluded.sequence, name = excluded.name, sum = excluded.sum
                       WHERE (excluded.sequence, excluded.name) > (heads_at.sequence, heads_at.name)";
            connection.execute(sql, params![repository, location, tag, sequence, name, sum])
        })?;
        Ok(())
    }

    fn remember_newest(&self, repository: Id16, tag: &str, head: &Head) -> Result<(), RepositoryError> {
        let (repository, sequence, name) = (repository.to_string(), head.sequence as i64, head.name.as_str());
        let values = [ValueRef::from(&*repository), tag.into(), ValueRef::Integer(sequence), name.into()];
        let sum = sqlite::sum(values);
        self.run(|connection| {
            let sql = "INSERT INTO heads VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (repository, tag) DO UPDATE
                       SET sequence = excluded.sequence, name = excluded.name, sum = excluded.sum
                       WHERE (excluded.sequence, excluded.name) > (heads.sequence, heads.name)";
            connection.execute(sql, params![repository, tag, sequence, name, sum])
        })?;
        Ok(())
    }
}
