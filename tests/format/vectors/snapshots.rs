//! 10 snapshot and 11 sessions.

use redkeep::crypto::keys::{self, Key};
use redkeep::format::form::{Form, FormState};
use redkeep::format::ids::DatasetTag;
use redkeep::format::ledger::Ledger;
use redkeep::format::object::SnapshotName;
use redkeep::format::roster::Roster;
use redkeep::format::session::{Condemned, Forgotten, Lease, Tombstone};
use redkeep::format::snapshot::{File, FileKind, Mark, Role, Snapshot, Warning};
use redkeep::format::summary::{New, News, Summary};
use redkeep::format::{Id16, ObjectHash, UnixMillis};
use serde_json::{Value, json};

use super::recipes::build_recipe;
use super::vector::{Fields, Vector, array, bytes, text};

fn file_kind(number: u64) -> FileKind {
    match number {
        0 => FileKind::File,
        1 => FileKind::Directory,
        2 => FileKind::Link,
        other => panic!("no kind of file {other}"),
    }
}

fn role(number: u64) -> Role {
    match number {
        0 => Role::Other,
        1 => Role::Dump,
        2 => Role::Manifest,
        3 => Role::Base,
        4 => Role::Incr,
        5 => Role::SingleAof,
        6 => Role::History,
        7 => Role::Config,
        other => panic!("no role {other}"),
    }
}

fn form(value: &Value) -> Form {
    let state = match value["state"].as_u64().unwrap() {
        0 => FormState::Canonical,
        1 => FormState::Prefix,
        2 => FormState::Opaque,
        other => panic!("no form {other}"),
    };
    Form { state, why: value.get("why").map(text) }
}

/// New chunks by kind: a list of kind, chunks, bytes and stored bytes.
fn news(value: &Value) -> News {
    let one = |new: &Value| {
        let numbers: Vec<u64> = new.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect();
        let [kind, chunks, bytes, stored] = numbers.try_into().unwrap();
        (kind, New { chunks, bytes, stored })
    };
    value.as_array().unwrap().iter().map(one).collect()
}

fn build_file(fields: Fields<'_>) -> File {
    File {
        path: fields.bytes("path").into(),
        kind: file_kind(fields.number("kind")),
        mode: fields.small("mode"),
        uid: fields.small("uid"),
        gid: fields.small("gid"),
        user: fields.maybe("user").map(text),
        group: fields.maybe("group").map(text),
        mtime: fields.get("mtime").as_i64().unwrap(),
        mtime_nanos: fields.small("mtime_nanos"),
        size: fields.number("size"),
        hash: fields.maybe("hash").map(|hash| ObjectHash(array(hash))),
        recipe: fields.maybe("recipe").map(|parts| build_recipe(parts.as_array().unwrap())),
        target: fields.maybe("target").map(|target| bytes(target).into()),
        role: role(fields.number("role")),
        suspect: fields.maybe("suspect").map(text),
        form: fields.maybe("form").map(form),
    }
}

fn build_snapshot(fields: Fields<'_>) -> Snapshot {
    let mark = |fields: Fields<'_>| Mark {
        path: fields.bytes("path").into(),
        offset: fields.number("offset"),
        time: UnixMillis(fields.number("time")),
    };
    let warning = |fields: Fields<'_>| Warning {
        code: fields.text("code").into(),
        path: fields.bytes("path").into(),
        message: fields.text("message").into(),
    };
    let facts = fields.get("facts").as_object().unwrap();
    let summary: Vec<u64> = fields.list("summary").iter().map(|number| number.as_u64().unwrap()).collect();
    let [files, bytes, new_chunks, new_bytes, stored_bytes, packs, millis] = summary.try_into().unwrap();
    let new = fields.maybe("new").map(news);
    Snapshot {
        dataset: fields.text("dataset").into(),
        sequence: fields.number("sequence"),
        previous: fields.maybe("previous").map(text),
        begin: UnixMillis(fields.number("begin")),
        end: UnixMillis(fields.number("end")),
        moment: fields.maybe("moment").map(|moment| UnixMillis(moment.as_u64().unwrap())),
        host: fields.text("host").into(),
        directory: fields.bytes("directory"),
        facts: facts.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        files: fields.structures("files").map(build_file).collect(),
        marks: fields.structures("marks").map(mark).collect(),
        warnings: fields.structures("warnings").map(warning).collect(),
        tags: fields.list("tags").iter().map(text).collect(),
        made_by: fields.text("made_by").into(),
        summary: Summary { files, bytes, new_chunks, new_bytes, stored_bytes, packs, millis, new },
        place: fields.maybe("place").map(|place| place.as_u64().unwrap()),
    }
}

pub fn snapshot(vector: &Vector) -> Result<(), String> {
    vector.codec(build_snapshot, Snapshot::encode, Snapshot::decode)
}

/// SNAP-7: a snapshot's dataset belongs to the tag in its name, and place and sequence are the name's.
pub fn snapshot_at(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let snapshot = Snapshot::decode(&fields.bytes("bytes")).unwrap();
    let name = SnapshotName::parse(fields.text("name")).unwrap();
    let tag = keys::dataset_tag(&Key::new(fields.array("chunk_id_key")), &snapshot.dataset);
    let is_its_own = (tag, snapshot.place(), snapshot.sequence) == (name.tag.0, name.place, name.sequence);
    vector.answer(if is_its_own { Ok(json!({ "dataset": snapshot.dataset })) } else { Err("another name") })
}

pub fn lease(vector: &Vector) -> Result<(), String> {
    let build = |fields: Fields<'_>| Lease {
        session: Id16(fields.array("session")),
        commit_name: fields.text("commit_name").into(),
        seen: fields.maybe("seen").map(|ids| ids.as_array().unwrap().iter().map(|id| Id16(array(id))).collect()),
        heartbeat: UnixMillis(fields.number("heartbeat")),
    };
    vector.codec(build, Lease::encode, Lease::decode)
}

pub fn tombstone(vector: &Vector) -> Result<(), String> {
    let build = |fields: Fields<'_>| Tombstone {
        session: Id16(fields.array("session")),
        time: UnixMillis(fields.number("time")),
    };
    vector.codec(build, Tombstone::encode, Tombstone::decode)
}

pub fn condemned(vector: &Vector) -> Result<(), String> {
    let build = |fields: Fields<'_>| Condemned {
        session: Id16(fields.array("session")),
        packs: fields.list("packs").iter().map(|pack| ObjectHash(array(pack))).collect(),
    };
    vector.codec(build, Condemned::encode, Condemned::decode)
}

pub fn forgotten(vector: &Vector) -> Result<(), String> {
    let build = |fields: Fields<'_>| Forgotten {
        snapshot: fields.text("snapshot").into(),
        time: UnixMillis(fields.number("time")),
        reason: fields.text("reason").into(),
    };
    vector.codec(build, Forgotten::encode, Forgotten::decode)
}

pub fn ledger(vector: &Vector) -> Result<(), String> {
    let tag = DatasetTag(vector.input().array("tag"));
    let entry = |fields: Fields<'_>| {
        let (place, sequence) = (fields.number("place"), fields.number("sequence"));
        let (time, session) = (UnixMillis(fields.number("time")), Id16(fields.array("session")));
        (SnapshotName { tag, place, sequence, time, session }, UnixMillis(fields.number("since")))
    };
    let build = |fields: Fields<'_>| Ledger {
        forgotten: fields
            .structures("forgotten")
            .map(|group| (group.text("reason").into(), group.structures("entries").map(entry).collect()))
            .collect(),
        void: fields.structures("void").map(entry).collect(),
    };
    vector.codec(build, Ledger::encode, |bytes| Ledger::decode(tag, bytes))
}

pub fn roster(vector: &Vector) -> Result<(), String> {
    let entry = |fields: Fields<'_>| {
        let snapshot = build_snapshot(Fields(fields.get("snapshot")));
        let (place, sequence) = (snapshot.place(), snapshot.sequence);
        let (time, session) = (UnixMillis(fields.number("time")), Id16(fields.array("session")));
        (SnapshotName { tag: DatasetTag(fields.array("tag")), place, sequence, time, session }, snapshot)
    };
    let build = |fields: Fields<'_>| Roster { snapshots: fields.structures("entries").map(entry).collect() };
    vector.codec(build, Roster::encode, Roster::decode)
}
