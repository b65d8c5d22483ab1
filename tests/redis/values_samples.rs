//! Values of the sample dumps, read: what their servers told of every key stands in `samples/*/*.keys.json`.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use redkeep::rdb::Kind;
use redkeep::rdb::values::{Item, StreamId};
use serde_json::Value as Json;

use crate::support::records::{Record, records};

pub fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis/samples")
}

fn dump(name: &str) -> Vec<Record> {
    records(&fs::read(samples().join(name)).unwrap())
}

/// By the server: each key of each database.
pub fn told(name: &str) -> HashMap<(u64, Vec<u8>), Json> {
    let text = fs::read_to_string(samples().join(name)).unwrap();
    let keys: Vec<Json> = serde_json::from_str(&text).unwrap();
    let place = |key: &Json| {
        // Bytes are Latin-1 there.
        let bytes = key["key"].as_str().unwrap().chars().map(|sign| u8::try_from(u32::from(sign)).unwrap());
        (key["db"].as_u64().unwrap(), bytes.collect())
    };
    keys.into_iter().map(|key| (place(&key), key)).collect()
}

/// Elements that are handed on, as the server counts them: of a string its bytes. And of a stream its last name and groups.
fn counted(record: &Record) -> (u64, Option<(String, u64)>) {
    let (mut elements, mut stream, mut groups, mut fields) = (0, None, 0, 0_u64);
    let mut last = StreamId::default();
    record.each(|item| match item {
        Item::Text(text) => elements += text.len() as u64,
        Item::Entry { id, fields: now } => {
            assert_eq!(std::mem::replace(&mut fields, now), 0, "fields follow their entry");
            assert!(id > last, "entries ascend");
            last = id;
            elements += 1;
        }
        Item::Stream(facts) => {
            assert_eq!(fields, 0);
            assert!(facts.last >= last && facts.length == elements);
            stream = Some((facts.last.to_string(), facts.groups));
        }
        Item::Group(group) => {
            assert!(group.last_delivered <= facts_last(record));
            groups += 1;
        }
        Item::Consumer(_) | Item::Path(_) => {}
        Item::Module(module) => {
            assert_eq!(Some(module), record.value().module().as_ref());
            elements += 1;
        }
        Item::Field { .. } if record.value().kind() == Some(Kind::Stream) => fields -= 1,
        Item::Element(_) | Item::Member { .. } | Item::Field { .. } | Item::Placed { .. } => elements += 1,
    });
    assert_eq!(stream.as_ref().map_or(0, |(_, groups)| *groups), groups);
    (elements, stream)
}

fn facts_last(record: &Record) -> StreamId {
    let mut last = None;
    record
        .value()
        .each_of_stream(&mut |item| {
            assert!(matches!(item, Item::Stream(_)), "entries are passed over");
            if let Item::Stream(facts) = item {
                last = Some(facts.last);
            }
            ControlFlow::Break(())
        })
        .unwrap();
    last.unwrap()
}

#[test]
fn every_value_of_the_samples_has_the_type_the_elements_and_the_expiry_its_server_told() {
    let mut seen = 0;
    for (server, lists) in [
        ("redis-8.2.3", &["default", "uncompressed", "cluster"][..]),
        ("redis-unstable-e58041978", &["default", "uncompressed", "cluster", "modules-default"]),
        ("valkey-9.1.2", &["default", "uncompressed", "cluster"]),
    ] {
        for list in lists {
            let told = told(&format!("{server}/{list}.keys.json"));
            let dumps: &[&str] = match *list {
                "default" => &["default", "restart", "lru", "lfu", "unchecked"],
                "cluster" => &["cluster", "cluster-restart"],
                "modules-default" => &["modules-default", "modules-lfu"],
                other => &[other],
            };
            for dump_name in dumps {
                let dump = dump(&format!("{server}/{dump_name}.rdb"));
                assert_eq!(dump.len(), told.len(), "{server}/{dump_name}");
                dump.iter().for_each(|record| compare(record, &told[&(record.database, record.key.clone())]));
                seen += dump.len();
            }
        }
    }
    assert!(seen > 4000, "{seen}");
}

fn compare(record: &Record, told: &Json) {
    let value = record.value();
    assert_eq!(value.type_name().as_deref(), told["type"].as_str());
    assert_eq!(record.expires, told["expires_at_ms"].as_u64(), "{told}");
    let (elements, stream) = counted(record);
    let measure = value.measure().unwrap();
    match told["type"].as_str().unwrap() {
        "string" => assert_eq!((Some(elements), measure.elements), (told["length"].as_u64(), 1), "{told}"),
        // Its elements cannot be read, but are counted.
        "vectorset" => assert_eq!((elements, Some(measure.elements)), (1, told["length"].as_u64()), "{told}"),
        _ if value.module().is_some() => assert_eq!((elements, measure.elements), (1, 1), "{told}"),
        _ => assert_eq!((elements, Some(measure.elements)), (measure.elements, told["length"].as_u64()), "{told}"),
    }
    let told_stream = told["last_id"].as_str().map(|last| (last.to_owned(), told["groups"].as_u64().unwrap()));
    assert_eq!(stream, told_stream, "{told}");
    assert!(measure.bytes >= record.raw.len() as u64);
}

#[test]
fn every_value_of_every_sample_is_read_and_measured_alike() {
    let counts = fs::read_to_string(samples().join("counts.txt")).unwrap();
    let mut by_type = [0; 256];
    for name in counts.lines().skip(1).map(|line| line.split(' ').next().unwrap()) {
        for record in dump(name) {
            let (elements, _) = counted(&record);
            let measured = record.value().measure().unwrap().elements;
            match record.type_byte {
                0 | 7 => assert!(measured >= 1),
                _ => assert_eq!(elements, measured, "{name}: {}", record.key.escape_ascii()),
            }
            by_type[usize::from(record.type_byte)] += 1;
        }
    }
    for type_byte in [0, 2, 4, 5, 7, 11, 16, 17, 18, 20, 21, 22, 24, 25, 27, 28, 30, 32] {
        assert!(by_type[type_byte] > 0, "none of type {type_byte}");
    }
}

fn shown(record: &Record) -> String {
    let mut fields = Vec::new();
    record.each(|item| {
        let Item::Field { name, value, expires: None } = item else { panic!("{item:?}") };
        fields.push(format!("{}={:.12}", name.escape_ascii(), value.escape_ascii().to_string()));
    });
    format!("{}: {}", record.key.escape_ascii(), fields.join(" "))
}

#[test]
fn fields_of_templates_have_their_names_and_go_into_payloads_as_plain_ones() {
    let hashes = dump("synthetic/redis15-hash-templates.rdb");
    let of_templates: Vec<&Record> = hashes.iter().filter(|record| record.type_byte >= 30).collect();
    let told: Vec<String> = of_templates.iter().map(|record| shown(record)).collect();
    let expected = [
        "u:1: age=30 name=alice email=a@example.co",
        "u:2: age=41 name=bob email=b@example.co",
        "o:1: id=1 sku=SKU-1 total=9.99 created_at_of_the_order=xxxxxxxxxxxx",
        "o:2: id=2 sku=SKU-2 total=19.99 created_at_of_the_order=2026-09-01",
        "other db: age=5 name=carol email=",
    ];
    assert_eq!(told, expected);
    for (record, told) in of_templates.into_iter().zip(told) {
        let payload = record.value().payload(11).unwrap();
        let (value, end) = payload.split_at(payload.len() - 10);
        assert_eq!((value[0], &end[..2]), (4, &[11, 0][..]));
        let plain = Record { type_byte: 4, raw: value[1..].to_vec(), ..record.clone() };
        assert_eq!(shown(&plain), told);
    }
}

#[test]
fn elements_of_arrays_have_their_places() {
    let mut arrays = 0;
    for record in dump("redis-unstable-e58041978/default.rdb").iter().filter(|record| record.type_byte == 28) {
        let mut last = None;
        record.each(|item| {
            let Item::Placed { index, .. } = item else { panic!("{item:?}") };
            assert!(last < Some(index));
            last = Some(index);
        });
        arrays += 1;
    }
    assert_eq!(arrays, 4);
}
