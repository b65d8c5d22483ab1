//! Snapshots in the catalog: what listings show. The object itself is read where its files are needed.

use std::collections::HashSet;

use rusqlite::types::{Type, Value, ValueRef};
use rusqlite::{Row, params_from_iter};

use super::{Catalog, timeline};
use crate::format::counts::{ACCEPTED, CountedBy, FALLS, Fall, KeyCount, Seen, Uncounted, decode_falls};
use crate::format::form::Form;
use crate::format::object::SnapshotName;
use crate::format::origin::Origin;
use crate::format::set::OfSet;
use crate::format::snapshot::{File, PathBytes, Snapshot};
use crate::format::summary::Summary;
use crate::format::{Id16, UnixMillis, decode_cbor, encode_cbor};
use crate::repository::error::RepositoryError;
use crate::repository::sqlite;

/// One snapshot as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its object name; the session in it is the snapshot's id.
    pub name: SnapshotName,
    /// The dataset.
    pub dataset: String,
    /// Position in the dataset, from 1.
    pub sequence: u64,
    /// Where it stands in the order of the dataset: its sequence number, or that of the snapshot it is a copy of.
    pub place: u64,
    /// Object name of the dataset's previous snapshot.
    pub previous: Option<String>,
    /// Begin of the capture by the host's clock.
    pub begin: UnixMillis,
    /// End of the capture by the host's clock.
    pub end: UnixMillis,
    /// The captured moment by the server's clock.
    pub moment: Option<UnixMillis>,
    /// Host that took it.
    pub host: String,
    /// Directory that was captured.
    pub directory: Vec<u8>,
    /// A person's words for it.
    pub tags: Vec<String>,
    /// Number of warnings.
    pub warnings: u64,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Plaintext bytes of chunks that were new.
    pub new_bytes: u64,
    /// Bytes stored for them.
    pub stored_bytes: u64,
    /// What was new, and how its dumps are stored.
    pub told: Told,
    /// Keys of the dataset it holds.
    pub keys: KeyCount,
    /// The falls of the dataset that it carries; `None` where whoever took it did not look for them.
    pub falls: Option<Vec<Fall>>,
}

/// What a snapshot tells of what it cost.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Told {
    /// What its backup did.
    #[n(0)]
    pub summary: Summary,
    /// The files that a server loads as RDB.
    #[n(1)]
    pub forms: Vec<FormOf>,
    /// Where it was captured, if it was copied from another repository: an [`Origin`].
    #[n(2)]
    pub origin: Option<String>,
    /// The set it is of.
    #[n(3)]
    pub set: Option<OfSet>,
}

/// How a file that a server loads as RDB is stored.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct FormOf {
    /// The file.
    #[n(0)]
    pub path: PathBytes,
    /// How.
    #[n(1)]
    pub form: Form,
    /// Its bytes.
    #[n(2)]
    pub size: u64,
}

impl Told {
    /// What a snapshot tells.
    pub fn of(snapshot: &Snapshot) -> Told {
        let of_file = |file: &File| Some(FormOf { path: file.path.clone(), form: file.form.clone()?, size: file.size });
        Told {
            summary: snapshot.summary.clone(),
            forms: snapshot.files.iter().filter_map(of_file).collect(),
            origin: Origin::of(snapshot).map(|origin| origin.to_string()),
            set: OfSet::of(&snapshot.facts),
        }
    }
}

impl SnapshotInfo {
    /// The moment it stands for: the captured one by the server's clock, where that is known, else the begin of the capture.
    pub fn captured_at(&self) -> UnixMillis {
        self.moment.unwrap_or(self.begin)
    }

    /// The snapshot that was captured: of a copy from another repository the one there, else this one.
    pub fn origin(&self, repository: Id16) -> Origin {
        let own = Origin { repository, snapshot: self.name.session };
        self.told.origin.as_deref().and_then(|origin| origin.parse().ok()).unwrap_or(own)
    }

    /// What tells of falls.
    pub fn seen(&self) -> Seen<'_> {
        Seen {
            place: self.place,
            keys: self.keys.keys(),
            falls: self.falls.as_deref(),
            is_accepted: self.tags.iter().any(|tag| tag == ACCEPTED),
        }
    }
}

const COLUMNS: &str = "name, dataset, sequence, previous, begin, end, moment, host, directory, tags, warnings, files,
    bytes, new_bytes, stored_bytes, tombstone, place, keys, counted, falls, told";
const COLUMN_COUNT: usize = 21;

impl Catalog {
    /// Object names below `snapshots/` that the catalog has, tombstones included.
    pub fn snapshot_names(&self) -> Result<HashSet<String>, RepositoryError> {
        Ok(self.rows()?.into_iter().map(|(info, _)| info.name.to_string()).collect())
    }

    /// Names at which tombstones stand.
    pub fn tombstones(&self) -> Result<HashSet<SnapshotName>, RepositoryError> {
        Ok(self.rows()?.into_iter().filter(|(_, is_tombstone)| *is_tombstone).map(|(info, _)| info.name).collect())
    }

    /// Names of snapshots that stand at void names.
    pub fn late_snapshots(&self) -> Result<Vec<SnapshotName>, RepositoryError> {
        let void = self.void()?;
        if void.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.rows()?.into_iter().filter(|(info, is_tombstone)| !is_tombstone && void.contains(&info.name));
        Ok(rows.map(|(info, _)| info.name).collect())
    }

    /// Drops snapshots that are no longer listed.
    pub fn drop_snapshots(&mut self, gone: &[String]) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM snapshots WHERE name = ?1")?;
            gone.iter().try_for_each(|name| {
                delete.execute([name])?;
                timeline::remove(transaction, name)
            })
        })
    }

    /// Adds a snapshot, or a tombstone (`None`).
    pub fn add_snapshot(&mut self, name: &SnapshotName, snapshot: Option<&Snapshot>) -> Result<(), RepositoryError> {
        let sql = format!(
            "INSERT OR REPLACE INTO snapshots ({COLUMNS}, sum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19, ?20, ?21, ?22)"
        );
        let values = values(name, snapshot);
        let sum = sqlite::sum(values.iter().map(ValueRef::from));
        self.write(|transaction| {
            let mut insert = transaction.prepare_cached(&sql)?;
            insert.execute(params_from_iter(values.into_iter().chain([Value::Blob(sum)])))?;
            timeline::add(transaction, name, snapshot)
        })
    }

    /// All snapshots by dataset, place, sequence and name; tombstones left out, and what stands at void names.
    ///
    /// SESS-8: a tombstone is no snapshot. LEDGER-2: nor is what came after it.
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>, RepositoryError> {
        let void = self.void()?;
        let counts = |(info, is_tombstone): &(SnapshotInfo, bool)| !is_tombstone && !void.contains(&info.name);
        Ok(self.rows()?.into_iter().filter(counts).map(|(info, _)| info).collect())
    }

    /// All rows, and which are tombstones. Names and listings come from this one query, so that a row that a damaged
    /// index hides from one of them is read anew for both.
    fn rows(&self) -> Result<Vec<(SnapshotInfo, bool)>, RepositoryError> {
        self.run(|connection| {
            let sql = format!("SELECT {COLUMNS}, sum FROM snapshots ORDER BY dataset, place, sequence, name");
            let mut query = connection.prepare(&sql)?;
            query.query_map([], |row| sqlite::check_sum(row, COLUMN_COUNT).and_then(|()| read_row(row)))?.collect()
        })
    }
}

/// What [`COLUMNS`] hold.
fn values(name: &SnapshotName, snapshot: Option<&Snapshot>) -> [Value; COLUMN_COUNT] {
    let name = Value::Text(name.to_string());
    let number = |number: u64| Value::Integer(number as i64);
    let text = |text: &str| Value::Text(text.into());
    let Some(s) = snapshot else {
        let (none, zero, empty) = (|| Value::Null, || number(0), || text(""));
        let (directory, is_tombstone) = (Value::Blob(Vec::new()), number(1));
        let (sequence, begin, end, host, tags) = (zero(), zero(), zero(), empty(), empty());
        return [
            name,
            empty(),
            sequence,
            none(),
            begin,
            end,
            none(),
            host,
            directory,
            tags,
            zero(),
            zero(),
            zero(),
            zero(),
            zero(),
            is_tombstone,
            zero(),
            none(),
            text(Uncounted::NoDataset.word()),
            none(),
            none(),
        ];
    };
    let keys = KeyCount::of(s);
    [
        name,
        text(&s.dataset),
        number(s.sequence),
        s.previous.clone().into(),
        number(s.begin.0),
        number(s.end.0),
        s.moment.map(|moment| moment.0 as i64).into(),
        text(&s.host),
        Value::Blob(s.directory.clone()),
        text(&s.tags.join("\n")),
        number(s.warnings.len() as u64),
        number(s.summary.files),
        number(s.summary.bytes),
        number(s.summary.new_bytes),
        number(s.summary.stored_bytes),
        number(0),
        number(s.place()),
        keys.keys().map(|keys| keys as i64).into(),
        text(counted(keys)),
        s.facts.get(FALLS).cloned().into(),
        Value::Blob(encode_cbor(&Told::of(s))),
    ]
}

/// Who counted the keys, or why nobody did: a word.
fn counted(keys: KeyCount) -> &'static str {
    match keys {
        KeyCount::Known { by, .. } => by.word(),
        KeyCount::Unknown(why) => why.word(),
    }
}

/// The count that a number and a word were written for.
fn read_count(keys: Option<u64>, counted: &str) -> KeyCount {
    let by = [CountedBy::Structure, CountedBy::Server].into_iter().find(|by| by.word() == counted);
    let why = || Uncounted::ALL.into_iter().find(|why| why.word() == counted).unwrap_or(Uncounted::NotCounted);
    match keys.zip(by) {
        Some((keys, by)) => KeyCount::Known { keys, by },
        None => KeyCount::Unknown(why()),
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<(SnapshotInfo, bool)> {
    let unsigned = |column: usize| row.get::<_, i64>(column).map(|value| value as u64);
    let name: String = row.get(0)?;
    let tags: String = row.get(9)?;
    // A tombstone tells nothing, and is never shown.
    let nothing = || Ok(Told { summary: Summary::default(), forms: Vec::new(), origin: None, set: None });
    let told =
        row.get::<_, Option<Vec<u8>>>(20)?.map_or_else(nothing, |told| decode_cbor("what a snapshot cost", &told));
    let told = told.map_err(|error| rusqlite::Error::FromSqlConversionFailure(20, Type::Blob, Box::new(error)))?;
    let info = SnapshotInfo {
        name: SnapshotName::parse(&name).ok_or(rusqlite::Error::QueryReturnedNoRows)?,
        dataset: row.get(1)?,
        sequence: unsigned(2)?,
        previous: row.get(3)?,
        begin: UnixMillis(unsigned(4)?),
        end: UnixMillis(unsigned(5)?),
        moment: row.get::<_, Option<i64>>(6)?.map(|moment| UnixMillis(moment as u64)),
        host: row.get(7)?,
        directory: row.get(8)?,
        tags: tags.lines().map(String::from).collect(),
        warnings: unsigned(10)?,
        files: unsigned(11)?,
        bytes: unsigned(12)?,
        new_bytes: unsigned(13)?,
        stored_bytes: unsigned(14)?,
        told,
        place: unsigned(16)?,
        keys: read_count(row.get::<_, Option<i64>>(17)?.map(|keys| keys as u64), &row.get::<_, String>(18)?),
        falls: row.get::<_, Option<String>>(19)?.map(|falls| decode_falls(&falls)),
    };
    Ok((info, unsigned(15)? != 0))
}
