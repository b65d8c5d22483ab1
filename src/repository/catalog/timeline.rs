//! Which moments snapshots hold, so that the one that holds a moment is found without reading snapshots.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Row, Transaction, params_from_iter};

use super::Catalog;
use crate::format::UnixMillis;
use crate::format::object::SnapshotName;
use crate::format::snapshot::{Mark, Snapshot};
use crate::format::timeline::{self, Nothing, Precision, Reach};
use crate::repository::error::RepositoryError;
use crate::repository::sqlite;

/// What one snapshot holds of its dataset's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The snapshot.
    pub name: SnapshotName,
    /// Its dataset.
    pub dataset: String,
    /// What it holds, by the server's clock.
    pub reach: Result<Reach, Nothing>,
    /// Begin of its capture by the host's clock.
    pub taken: UnixMillis,
    /// Server's clock minus the host's, in milliseconds, as its neighbours bear it out.
    pub clock: i64,
    /// The same as it was when it was captured.
    pub clock_then: i64,
    /// Of the server process, where it was asked.
    pub run: Option<String>,
    /// The snapshot whose AOF it continues.
    pub continues: Option<SnapshotName>,
    /// Bytes behind what it holds are no commands, or none that a server would load.
    pub is_damaged: bool,
    /// Its AOF was carried to its place by a copy or a restore: what it holds from before then is no moment.
    pub is_carried: bool,
}

const COLUMNS: &str = "snapshot, dataset, place, sequence, begin, end, precision, annotated, stale, taken, clock, run, continues, damaged, carried";
const COLUMN_COUNT: usize = 15;

/// Forgotten ones hold nothing that may be promised.
const KEPT: &str = "NOT EXISTS (SELECT 1 FROM forgotten f WHERE f.snapshot = spans.snapshot)";

/// Adds what a snapshot holds.
pub(super) fn add(
    transaction: &Transaction<'_>,
    name: &SnapshotName,
    snapshot: Option<&Snapshot>,
) -> rusqlite::Result<()> {
    remove(transaction, &name.to_string())?;
    let Some(snapshot) = snapshot else { return Ok(()) };
    let values = values(name, snapshot);
    let sum = Value::Blob(sqlite::sum(values.iter().map(ValueRef::from)));
    let sql = format!(
        "INSERT INTO spans ({COLUMNS}, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
         ?15, ?16)"
    );
    transaction.prepare_cached(&sql)?.execute(params_from_iter(values.into_iter().chain([sum])))?;
    let mut insert = transaction.prepare_cached("INSERT INTO marks VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (number, mark) in (0..).zip(&snapshot.marks) {
        let integer = |number: u64| Value::Integer(number as i64);
        let values = [
            Value::Text(name.to_string()),
            Value::Integer(number),
            Value::Blob(mark.path.to_vec()),
            integer(mark.offset),
            integer(mark.time.0),
        ];
        let sum = Value::Blob(sqlite::sum(values.iter().map(ValueRef::from)));
        insert.execute(params_from_iter(values.into_iter().chain([sum])))?;
    }
    Ok(())
}

/// Drops what a snapshot held.
pub(super) fn remove(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM spans WHERE snapshot = ?1")?.execute([name])?;
    transaction.prepare_cached("DELETE FROM marks WHERE snapshot = ?1")?.execute([name]).map(drop)
}

impl Catalog {
    /// What all snapshots that are not forgotten hold, in the order of their datasets.
    pub fn spans(&self) -> Result<Vec<Span>, RepositoryError> {
        self.spans_where("TRUE", &[])
    }

    fn spans_of(&self, dataset: &str) -> Result<Vec<Span>, RepositoryError> {
        self.spans_where("dataset = ?1", &[dataset])
    }

    fn spans_where(&self, condition: &str, values: &[&str]) -> Result<Vec<Span>, RepositoryError> {
        let mut spans: Vec<Span> = self.run(|connection| {
            let sql = format!(
                "SELECT {COLUMNS}, sum FROM spans WHERE {condition} AND {KEPT} ORDER BY dataset, place, sequence, snapshot"
            );
            connection.prepare_cached(&sql)?.query_map(params_from_iter(values), read_row)?.collect()
        })?;
        for of_one in spans.chunk_by_mut(|one, other| one.dataset == other.dataset) {
            let offsets: Vec<i64> = of_one.iter().map(|span| span.clock).collect();
            for (span, settled) in of_one.iter_mut().zip(timeline::settled_offsets(&offsets)) {
                span.clock = settled;
            }
        }
        Ok(spans)
    }

    /// The snapshot of a dataset that holds a moment, told in milliseconds of the host's clock: of several the one that
    /// holds it the most exactly, then one that holds all of that second, then the earliest. A dump that tells no more
    /// than its second holds that second.
    pub fn span_at(&self, dataset: &str, at: UnixMillis) -> Result<Option<Span>, RepositoryError> {
        // What is asked for without milliseconds is a second: of the server's the one that it shares the most with.
        let is_second = at.0.is_multiple_of(1000);
        let of_server = |clock: i64| match at.0.saturating_add_signed(clock) {
            time if is_second => UnixMillis(time.saturating_add(500) / 1000 * 1000),
            time => UnixMillis(time),
        };
        let how_well = |span: &Span| {
            let (reach, at) = (span.reach.ok()?, of_server(span.clock));
            let second = at.0 / 1000;
            // It is held where some of it is.
            let holds = reach.holds(at, is_second);
            holds.then(|| (reach.precision_at(second), !reach.holds_all_of(second)))
        };
        let holding = self.spans_of(dataset)?.into_iter().filter_map(|span| Some((how_well(&span)?, span)));
        Ok(holding.min_by_key(|(how_well, _)| *how_well).map(|(_, span)| span))
    }

    /// The snapshots of a dataset whose last moment is the nearest before, and whose first is the nearest after one.
    pub fn spans_beside(&self, dataset: &str, at: UnixMillis) -> Result<[Option<Span>; 2], RepositoryError> {
        let of_host = |time: UnixMillis, clock: i64| time.0.saturating_add_signed(clock.saturating_neg());
        let mut before: Option<(u64, Span)> = None;
        let mut after: Option<(u64, Span)> = None;
        for span in self.spans_of(dataset)? {
            let Ok(reach) = span.reach else { continue };
            let [begin, end] = [reach.begin, reach.end].map(|time| of_host(time, span.clock));
            // Of equal ones the earliest in the order of the dataset.
            if end < at.0 && before.as_ref().is_none_or(|(latest, _)| end > *latest) {
                before = Some((end, span));
            } else if begin > at.0 && after.as_ref().is_none_or(|(first, _)| begin < *first) {
                after = Some((begin, span));
            }
        }
        Ok([before, after].map(|found| found.map(|(_, span)| span)))
    }

    /// The marks of a snapshot, in its order.
    pub fn marks(&self, name: &SnapshotName) -> Result<Vec<Mark>, RepositoryError> {
        self.run(|connection| {
            let sql = "SELECT snapshot, number, path, offset, time, sum FROM marks WHERE snapshot = ?1 ORDER BY number";
            let mut query = connection.prepare_cached(sql)?;
            let read = |row: &Row<'_>| {
                sqlite::check_sum(row, 5)?;
                let (path, unsigned) = (row.get::<_, Vec<u8>>(2)?, |column| row.get::<_, i64>(column));
                Ok(Mark { path: path.into(), offset: unsigned(3)? as u64, time: UnixMillis(unsigned(4)? as u64) })
            };
            query.query_map([name.to_string()], read)?.collect()
        })
    }
}

/// What [`COLUMNS`] hold.
fn values(name: &SnapshotName, snapshot: &Snapshot) -> [Value; COLUMN_COUNT] {
    let integer = |number: u64| Value::Integer(number as i64);
    let fact = |name: &str| snapshot.facts.get(name).cloned().into();
    let reach = Reach::of(snapshot);
    let of_reach =
        |value: fn(&Reach) -> Option<u64>| reach.ok().and_then(|reach| value(&reach)).map(|n| n as i64).into();
    [
        Value::Text(name.to_string()),
        Value::Text(snapshot.dataset.clone()),
        integer(snapshot.place()),
        integer(snapshot.sequence),
        of_reach(|reach| Some(reach.begin.0)),
        of_reach(|reach| Some(reach.end.0)),
        of_reach(|reach| Some(rank(reach.precision))),
        of_reach(|reach| reach.annotated_from),
        Value::Integer(i64::from(reach == Err(Nothing::Stale))),
        integer(snapshot.begin.0),
        Value::Integer(timeline::clock_offset(snapshot)),
        fact("server.run-id"),
        fact(timeline::CONTINUES),
        Value::Integer(i64::from(timeline::is_damaged(snapshot))),
        Value::Integer(i64::from(timeline::is_carried(snapshot))),
    ]
}

/// The most exact first.
fn rank(precision: Precision) -> u64 {
    match precision {
        Precision::Second => 0,
        Precision::Marks => 1,
        Precision::Snapshot => 2,
    }
}

fn read_row(row: &Row<'_>) -> rusqlite::Result<Span> {
    sqlite::check_sum(row, COLUMN_COUNT)?;
    let unsigned = |column: usize| row.get::<_, Option<i64>>(column).map(|value| value.map(|value| value as u64));
    let parse = |name: String| SnapshotName::parse(&name).ok_or(rusqlite::Error::QueryReturnedNoRows);
    let precision = match unsigned(6)? {
        Some(0) => Some(Precision::Second),
        Some(1) => Some(Precision::Marks),
        Some(2) => Some(Precision::Snapshot),
        _ => None,
    };
    let nothing = if row.get::<_, i64>(8)? == 1 { Nothing::Stale } else { Nothing::Unknown };
    let reach = match (unsigned(4)?, unsigned(5)?, precision) {
        (Some(begin), Some(end), Some(precision)) => {
            Ok(Reach { begin: UnixMillis(begin), end: UnixMillis(end), precision, annotated_from: unsigned(7)? })
        }
        _ => Err(nothing),
    };
    Ok(Span {
        name: parse(row.get(0)?)?,
        dataset: row.get(1)?,
        reach,
        taken: UnixMillis(unsigned(9)?.unwrap_or_default()),
        clock: row.get(10)?,
        clock_then: row.get(10)?,
        run: row.get(11)?,
        // What a snapshot says of another may be anything.
        continues: row.get::<_, Option<String>>(12)?.and_then(|name| SnapshotName::parse(&name)),
        is_damaged: row.get::<_, i64>(13)? == 1,
        is_carried: row.get::<_, i64>(14)? == 1,
    })
}
