//! 19 canonical RDB.

use std::collections::BTreeMap;
use std::sync::Arc;

use redkeep::format::recipe::{CANONICAL_RDB, ColumnRole, Part, Stream};
use redkeep::rdb::canonical::{
    Collection, Decoder, Encoder, Gathered, Gatherer, Gathering, Hasher, Kept, Limits, OrderTokens, RecordAt, Sides,
    TemplateTags, Values, encode_order, take_event,
};
use redkeep::rdb::strings::Strings;
use redkeep::rdb::{Family, read_stretches};
use redkeep::repository::{Parameters, sort_elements};
use redkeep::spill::Scratch;
use serde_json::{Value, json};

use super::vector::{Fields, Vector, bytes};
use crate::support::mini_writer::hex;

/// A string as a dump has it, what is kept of it, and that again as the dump has it.
pub fn string(vector: &Vector) -> Result<(), String> {
    let stored = vector.input().bytes("bytes");
    let (mut strings, mut kept, mut again) = (Strings::default(), Vec::new(), Vec::new());
    let decoded = strings.decode(&stored, &mut kept).map_err(|_| "no string".to_string());
    vector.answer(decoded.map(|(form, used)| {
        strings.encode(form, &kept, &mut again);
        assert_eq!((used, &again), (stored.len(), &stored), "{}", vector.name);
        json!({ "form": form as u64, "kept": hex(&kept) })
    }))
}

fn numbers(fields: Fields<'_>, name: &str) -> Vec<u32> {
    serde_json::from_value(fields.get(name).clone()).unwrap()
}

fn places(order: &[u8], hashes: &[u32]) -> Result<Vec<u32>, String> {
    let told = |error: redkeep::rdb::canonical::NotCanonical| error.to_string();
    let mut tokens = OrderTokens::new(hashes.len() as u64).map_err(told)?;
    let (_, mut rest) = order.split_at(tokens.push(order));
    let mut order = tokens.finish().map_err(told)?;
    let places = hashes.iter().map(|hash| order.place(*hash, &mut rest).map_err(told)).collect::<Result<_, _>>()?;
    if rest.is_empty() { Ok(places) } else { Err(format!("{} bytes left over", rest.len())) }
}

/// Hashes and places of things, and their order as bytes; both ways.
pub fn order(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let hashes = numbers(fields, "hashes");
    if vector.output().is_none() {
        return vector.answer(places(&fields.bytes("bytes"), &hashes).map(|places| json!(places)));
    }
    let (stood, mut written) = (numbers(fields, "places"), Vec::new());
    assert!(encode_order(&hashes, &stood, &mut written));
    vector.answer(Ok::<_, String>(json!({ "bytes": hex(&written) })))?;
    assert_eq!(places(&written, &hashes), Ok(stood), "{}", vector.name);
    Ok(())
}

fn hasher(fields: Fields<'_>) -> Hasher {
    Hasher::new(fields.array("key_hash_key"))
}

fn family(fields: Fields<'_>) -> Family {
    if fields.text("family") == "VALKEY" { Family::Valkey } else { Family::Redis }
}

/// The templates of the file, each as in it without its opcode.
fn templates(of: Fields<'_>) -> Arc<TemplateTags> {
    let mut templates = TemplateTags::default();
    let bodies = of.maybe("templates").and_then(Value::as_array).into_iter().flatten();
    bodies.for_each(|body| templates.add(hasher(of), &bytes(body)));
    templates.into()
}

fn sides(fields: Fields<'_>) -> Sides {
    let (frequencies, order) = (fields.bytes("frequencies"), fields.bytes("order"));
    Sides { idle: numbers(fields, "idle"), frequencies, order }
}

/// The record that is made of what `kept` has of it.
fn record_again(of: Fields<'_>, kept: Fields<'_>) -> Result<Vec<u8>, String> {
    let told = |error: redkeep::rdb::canonical::NotCanonical| error.to_string();
    let is_unresolved = of.maybe("layout").is_some_and(|layout| *layout == 1);
    let values = Values { is_unresolved, templates: templates(of) };
    let mut decoder = Decoder::new(family(of), of.number("clock"), hasher(of), values);
    let (body, sides, mut out) = (kept.bytes("body"), sides(kept), Vec::new());
    let record = Kept::of(&body).map_err(told)?;
    let large = kept.maybe("large").map(bytes);
    decoder.head(record, &sides, &mut out).map_err(told)?;
    let value = large.as_deref().unwrap_or(record.value());
    decoder.value(record.value_tag(), value, &sides.order, &mut out).map_err(told)?;
    Ok(out)
}

/// A record of a dump, and what is kept of it; both ways.
pub fn record(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let Some(output) = vector.output() else {
        return vector.answer(record_again(fields, fields).map(|record| json!(hex(&record))));
    };
    let (stood, prefix) = (fields.bytes("record"), numbers(fields, "prefix"));
    let (value, database) = (fields.small("value"), fields.small("database"));
    let limits = Limits { value: fields.small("limit"), ..Limits::default() };
    let mut encoder = Encoder::new(family(fields), fields.number("clock"), limits, hasher(fields));
    encoder.know_templates(&templates(fields));
    let encoded = encoder.encode(RecordAt { bytes: &stood, prefix: &prefix, value, database, giant: None }).unwrap();
    let mut kept = json!({
        "place": hex(&encoded.place),
        "hash": hasher(fields).hash(&encoded.place),
        "body": hex(&encoded.body),
        "idle": encoded.sides.idle,
        "frequencies": hex(&encoded.sides.frequencies),
        "order": hex(&encoded.sides.order),
    });
    if let Some(large) = encoded.large {
        kept["large"] = json!(hex(&large));
    }
    vector.answer(Ok::<_, String>(kept))?;
    assert_eq!(record_again(fields, output), Ok(stood), "{}", vector.name);
    Ok(())
}

/// A collection as it stood, its elements sorted, and their order; both ways.
pub fn elements(vector: &Vector) -> Result<(), String> {
    let of = vector.input();
    let back = |kept: Fields<'_>| {
        let collection = Collection::of(of.small("type"), family(of)).ok_or("no such collection")?;
        let value = collection.as_it_stood(&kept.bytes("sorted"), &kept.bytes("order"), hasher(of));
        value.map_err(|error| error.to_string())
    };
    let Some(output) = vector.output() else {
        return vector.answer(back(of).map(|value| json!(hex(&value))));
    };
    let (value, temp) = (of.bytes("value"), tempfile::tempdir().unwrap());
    let scratch = Scratch::new(temp.path(), [7; 32]);
    let sorted = sort_elements(&scratch, hasher(of), family(of), of.small("type"), &value)?;
    let kept = sorted.map(|(sorted, order)| json!({ "sorted": hex(&sorted), "order": hex(&order) }));
    vector.answer(kept.ok_or("it stays as it stood"))?;
    assert_eq!(back(output), Ok(value), "{}", vector.name);
    Ok(())
}

/// A file, and what a part says of its begin.
pub fn dump(vector: &Vector) -> Result<(), String> {
    let dump = vector.input().bytes("bytes");
    let (mut gatherer, mut records) = (Gatherer::default(), Vec::new());
    gatherer.push(&dump);
    read_stretches(&dump[..], &mut |stretch| gatherer.stretch(stretch)).unwrap();
    gatherer.end();
    while let Some(gathering) = gatherer.hand_on() {
        match gathering {
            Gathering::Records(batch) => records.extend(batch.records().map(|(_, record)| gathered(record))),
            Gathering::After(_) => {}
            Gathering::Value(_) | Gathering::ValueEnd(..) => unreachable!("none is that long"),
        }
    }
    let Gathered { magic, clock, records: count, events, tail, length, .. } = gatherer.finish().unwrap();
    assert_eq!(count, records.len() as u64);
    let parameters = Parameters { is_unresolved: false, magic: magic.unwrap(), clock, records: count, tail }.encode();
    let part = json!({ "events": hex(&events), "parameters": hex(&parameters), "records": records, "length": length });
    vector.answer(Ok::<_, String>(part))
}

/// The opcodes before a record, and the record.
fn gathered(record: RecordAt<'_>) -> Value {
    let ends = record.prefix.iter().map(|end| *end as usize);
    let begins = std::iter::once(0).chain(ends.clone());
    let prefix: Vec<String> = begins.clone().zip(ends).map(|(begin, end)| hex(&record.bytes[begin..end])).collect();
    json!({ "prefix": prefix, "record": hex(&record.bytes[begins.last().unwrap()..]) })
}

pub fn events(vector: &Vector) -> Result<(), String> {
    let (all, mut events) = (vector.input().bytes("bytes"), Vec::new());
    let mut rest = &all[..];
    let read = loop {
        match take_event(&mut rest) {
            Ok(Some((after, event))) => events.push(json!([after, hex(event)])),
            Ok(None) => break Ok(json!({ "events": events })),
            Err(error) => break Err(error),
        }
    };
    vector.answer(read)
}

pub fn parameters(vector: &Vector) -> Result<(), String> {
    let stated = vector.input().bytes("bytes");
    let buckets = Stream { length: 0, levels: 0, top: Vec::new(), labelled: Some(true) };
    let streams = BTreeMap::from([(ColumnRole::Buckets as u64, buckets)]);
    let read = Parameters::of(&Part { method: CANONICAL_RDB, length: 9, streams, parameters: Some(stated.clone()) });
    vector.answer(read.map(|parameters| {
        assert_eq!(parameters.encode(), stated);
        let Parameters { is_unresolved, magic, clock, records, tail } = parameters;
        let layout = if is_unresolved { 1 } else { 2 };
        json!({ "layout": layout, "magic": hex(&magic), "clock": clock, "records": records, "tail": hex(&tail) })
    }))
}
