//! Canonical parts back to what they are of a dump: format-spec/09-recipes.md and 19-canonical-rdb.md.

use super::bytes::{Cursor, Outcome};
use super::chunks::{Chunks, Piece};
use super::limits::LABEL_MAX;
use super::record::{Context, Kept, Templates, hash, places};
use super::seal::{Keys, keyed};
use super::snapshot::Part;
use super::texts::read_number;

/// CANON-6
struct Parameters<'b> {
    layout: u64,
    magic: &'b [u8],
    is_valkey: bool,
    clock: u64,
    records: u64,
    tail: &'b [u8],
}

impl<'b> Parameters<'b> {
    fn read(bytes: &'b [u8]) -> Outcome<Parameters<'b>> {
        let mut cursor = Cursor::new(bytes);
        let layout = cursor.varint()?;
        if ![1, 2].contains(&layout) {
            return Err(format!("a canonical part of layout {layout}"));
        }
        let magic = cursor.take(9)?;
        let is_valkey = magic.starts_with(b"VALKEY");
        if !is_valkey && !magic.starts_with(b"REDIS") {
            return Err("a canonical part of no dump".into());
        }
        let (clock, records) = (cursor.varint()?, cursor.varint()?);
        let tail = cursor.rest();
        if !tail.is_empty() && (tail[0] != 255 || ![1, 9].contains(&tail.len())) {
            return Err(format!("a tail of {} bytes", tail.len()));
        }
        Ok(Parameters { layout, magic, is_valkey, clock, records, tail })
    }
}

/// A record on its way back.
struct Record<'b> {
    kept: Kept<'b>,
    head: Vec<u8>,
    order: Option<&'b [u8]>,
}

/// What the canonical part rebuilds.
pub(super) fn rebuild(part: &Part, keys: &Keys, chunks: &Chunks) -> Outcome<Vec<u8>> {
    // RECIPE-7
    part.check_canonical()?;
    let parameters = Parameters::read(part.parameters.as_deref().ok_or("no parameters")?)?;
    let pieces = |role: u64| part.streams.get(&role).map_or(Ok(Vec::new()), |stream| chunks.pieces(keys, stream));
    let whole =
        |role: u64| pieces(role).map(|pieces| pieces.into_iter().flat_map(|piece| piece.bytes).collect::<Vec<u8>>());
    let (events, order, orders) = (whole(1)?, whole(4)?, whole(5)?);
    let (large_orders, idle, frequencies) = (whole(7)?, whole(8)?, whole(9)?);
    let (buckets, large) = (pieces(3)?, pieces(6)?);
    let records = records(&buckets, &parameters, [&orders, &idle, &frequencies])?;
    let hashes: Vec<u32> = records.iter().map(|record| hash(&keys.key_hash, &record.kept.place)).collect();
    let mut records: Vec<(u32, Record<'_>)> = places(&order, &hashes)?.into_iter().zip(records).collect();
    records.sort_by_key(|(place, _)| *place);
    let templates = if parameters.is_valkey { Templates::default() } else { templates(&events, &keys.key_hash)? };
    let (mut larges, mut large_orders) = (large.iter(), Cursor::new(&large_orders));
    let mut values = Vec::new();
    for (_, Record { kept, head, order }) in &records {
        let elsewhere = kept.large.map(|length| large_value(&mut larges, length)).transpose()?;
        let context = Context::new(parameters.is_valkey, parameters.layout, &keys.key_hash, &templates);
        // CANON-8
        let order = if kept.is_sorted_as_it_stood() {
            let length = large_orders.varint()?;
            Some(large_orders.take(length)?)
        } else {
            *order
        };
        let value = kept.value(elsewhere.as_deref(), order, &context)?;
        values.push((kept.place.first_chunk().copied().map(u32::from_be_bytes), [&head[..], &value].concat()));
    }
    if larges.next().is_some() {
        return Err("large values of no record".into());
    }
    large_orders.finish()?;
    let file = file(&parameters, &events, &values)?;
    if file.len() as u64 == part.length {
        Ok(file)
    } else {
        Err(format!("{} bytes instead of {}", file.len(), part.length))
    }
}

/// The next large value of stream 6: whole chunks.
fn large_value<'b>(pieces: &mut impl Iterator<Item = &'b Piece>, length: u64) -> Outcome<Vec<u8>> {
    let mut value = Vec::new();
    while (value.len() as u64) < length {
        value.extend_from_slice(&pieces.next().ok_or("a large value that is not there")?.bytes);
    }
    if value.len() as u64 == length { Ok(value) } else { Err("a large value that does not begin a chunk".into()) }
}

/// The records of all buckets, in their order.
fn records<'b>(
    buckets: &'b [Piece],
    parameters: &Parameters<'_>,
    [orders, idle, frequencies]: [&'b [u8]; 3],
) -> Outcome<Vec<Record<'b>>> {
    let (mut orders, mut idle, mut frequencies) = (Cursor::new(orders), Cursor::new(idle), Cursor::new(frequencies));
    let mut records: Vec<Record<'_>> = Vec::new();
    for bucket in buckets {
        // RECIPE-5
        let label = bucket.label.as_deref().ok_or("a bucket without a label")?;
        let database = label.first_chunk().copied().map(u32::from_be_bytes).ok_or("a label without a database")?;
        let mut cursor = Cursor::new(&bucket.bytes);
        let first = records.len();
        while !cursor.is_empty() {
            let length = cursor.varint()?;
            let kept = Kept::read(cursor.take(length)?, database, parameters.is_valkey)?;
            if records.last().is_some_and(|last| last.kept.place >= kept.place) {
                return Err("records that are not sorted".into());
            }
            let head = kept.head(parameters.clock, &mut idle, &mut frequencies)?;
            let order = if kept.has_order() {
                let length = orders.varint()?;
                Some(orders.take(length)?)
            } else {
                None
            };
            records.push(Record { kept, head, order });
        }
        let place = &records.get(first).ok_or("an empty bucket")?.kept.place;
        if label != &place[..place.len().min(LABEL_MAX as usize)] {
            return Err("a bucket under the label of another".into());
        }
    }
    [orders, idle, frequencies].into_iter().try_for_each(Cursor::finish)?;
    let is_all = records.len() as u64 == parameters.records;
    if is_all { Ok(records) } else { Err(format!("{} records instead of {}", records.len(), parameters.records)) }
}

/// CANON-7: the templates among the events, by their tags.
fn templates(events: &[u8], key_hash: &[u8; 32]) -> Outcome<Templates> {
    let (mut templates, mut cursor) = (Templates::new(), Cursor::new(events));
    while !cursor.is_empty() {
        cursor.varint()?;
        let length = cursor.varint()?;
        if let Some((242, body)) = cursor.take(length)?.split_first() {
            let mut body = Cursor::new(body);
            let number = read_number(&mut body)?;
            let said = body.rest_of();
            let tag = keyed(key_hash, &[b"T", said].concat()).first_chunk().copied().unwrap();
            templates.entry(tag).or_insert((number, read_number(&mut body)?));
        }
    }
    Ok(templates)
}

/// CANON-5: records and events in the order of the file.
fn file(parameters: &Parameters<'_>, events: &[u8], records: &[(Option<u32>, Vec<u8>)]) -> Outcome<Vec<u8>> {
    let (mut file, mut database, mut rest) = (parameters.magic.to_vec(), 0, records);
    let mut cursor = Cursor::new(events);
    while !cursor.is_empty() {
        let (between, length) = (cursor.varint()?, cursor.varint()?);
        let taken = usize::try_from(between).ok().and_then(|between| rest.split_at_checked(between));
        let (before, behind) = taken.ok_or("an event behind more records than there are")?;
        append(before, database, &mut file)?;
        rest = behind;
        let event = cursor.take(length)?;
        if let Some((254, number)) = event.split_first() {
            database = read_number(&mut Cursor::new(number))?;
        }
        file.extend_from_slice(event);
    }
    append(rest, database, &mut file)?;
    file.extend_from_slice(parameters.tail);
    Ok(file)
}

fn append(records: &[(Option<u32>, Vec<u8>)], database: u64, file: &mut Vec<u8>) -> Outcome<()> {
    for (of, record) in records {
        // CANON-4
        if of.map(u64::from) != Some(database) {
            return Err(format!("a record of database {of:?} where {database} is in force"));
        }
        file.extend_from_slice(record);
    }
    Ok(())
}
