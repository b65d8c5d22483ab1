//! 01 conventions and 02 objects.

use redkeep::format::config::{Config, Sizes};
use redkeep::format::ids::DatasetTag;
use redkeep::format::keys::About;
use redkeep::format::object::{Name, SnapshotName};
use redkeep::format::{Id16, Malformed, ObjectHash, Reader, UnixMillis, put_varint};
use serde_json::{Value, json};

use super::vector::{Fields, Vector};

/// A structure that is one number.
fn one<'b, T>(bytes: &'b [u8], read: impl Fn(&mut Reader<'b>) -> Result<T, Malformed>) -> Result<T, Malformed> {
    let mut reader = Reader::new("vector", bytes);
    let value = read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

pub fn varint(vector: &Vector) -> Result<(), String> {
    let encode = |value: &u64| {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, *value);
        bytes
    };
    // As text: most readers of JSON do not keep 64 bits.
    vector.codec(|fields| fields.text("value").parse().unwrap(), encode, |bytes| one(bytes, Reader::varint))
}

pub fn u32(vector: &Vector) -> Result<(), String> {
    let encode = |value: &u32| value.to_le_bytes().to_vec();
    vector.codec(|fields| fields.small("value"), encode, |bytes| one(bytes, Reader::u32))
}

pub fn id(vector: &Vector) -> Result<(), String> {
    let Some(output) = vector.output() else {
        let parsed = vector.input().text("text").parse::<DatasetTag>();
        return vector.answer(parsed.map(|id| json!(id.to_string())));
    };
    let numbers: Vec<u8> = vector.input().list("numbers").iter().map(|n| n.as_u64().unwrap() as u8).collect();
    let id = DatasetTag(numbers.try_into().unwrap());
    assert_eq!(output.text("text").parse(), Ok(id), "{}", vector.name);
    vector.answer(Ok::<_, String>(json!({ "text": id.to_string() })))
}

fn build_about(fields: Fields<'_>) -> About {
    About {
        label: fields.text("label").into(),
        created: UnixMillis(fields.number("created")),
        host: fields.text("host").into(),
    }
}

pub fn about(vector: &Vector) -> Result<(), String> {
    vector.codec(build_about, About::encode, About::decode)
}

pub fn about_read(vector: &Vector) -> Result<(), String> {
    let read = About::decode(&vector.input().bytes("bytes"));
    let fields = |about: About| json!({"label": about.label, "created": about.created.0, "host": about.host});
    vector.answer(read.map(fields))
}

fn build_name(fields: Fields<'_>) -> Name {
    let id = || Id16(fields.array("id"));
    let hash = || ObjectHash(fields.array("hash"));
    let snapshot = || SnapshotName {
        tag: DatasetTag(fields.array("tag")),
        place: fields.number("place"),
        sequence: fields.number("sequence"),
        time: UnixMillis(fields.number("time")),
        session: Id16(fields.array("session")),
    };
    match fields.text("object") {
        "config" => Name::Config,
        "slot" => Name::Slot(id()),
        "pack" => Name::Pack(hash()),
        "index" => Name::Index(hash()),
        "snapshot" => Name::Snapshot(snapshot()),
        "lease" => Name::Lease(id()),
        "condemned" => Name::Condemned(id()),
        "burial" => Name::Burial(id()),
        "forgotten" => Name::Forgotten(snapshot()),
        "ledger" => Name::Ledger(DatasetTag(fields.array("tag")), id()),
        "note" => Name::Note(id()),
        "roster" => Name::Roster(id()),
        "epoch" => Name::Epoch(fields.small("number")),
        other => panic!("no object {other}"),
    }
}

pub fn name(vector: &Vector) -> Result<(), String> {
    let Some(output) = vector.output() else {
        let text = vector.input().text("text");
        return vector.answer(Name::parse(text).map(|name| Value::from(name.to_string())).ok_or("ignored"));
    };
    let name = build_name(vector.input());
    assert_eq!(Name::parse(output.text("text")), Some(name), "{}", vector.name);
    vector.answer(Ok::<_, String>(json!({ "text": name.to_string() })))
}

fn sizes(fields: Fields<'_>, name: &str) -> Sizes {
    match fields.list(name) {
        [min, mean, max] => {
            let size = |value: &Value| value.as_u64().unwrap();
            Sizes { min: size(min), mean: size(mean), max: size(max) }
        }
        _ => panic!("{name} are three sizes"),
    }
}

pub fn config(vector: &Vector) -> Result<(), String> {
    let build = |fields: Fields<'_>| Config {
        repository: Id16(fields.array("repository")),
        created: UnixMillis(fields.number("created")),
        files: sizes(fields, "files"),
        buckets: sizes(fields, "buckets"),
        made_by: fields.text("made_by").into(),
    };
    vector.codec(build, Config::encode, Config::decode)
}
