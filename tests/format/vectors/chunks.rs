//! 05 chunks and 06 frames.

use redkeep::chunker::{BucketCutter, Chunker, Sizes, cut_order};
use redkeep::compress::{Decompressor, undelta};
use redkeep::crypto::keys::{self, Key};
use redkeep::format::columns::from_columns;
use redkeep::format::copies::apply_copies;
use redkeep::format::frame::Method;
use redkeep::rdb::canonical::Hasher;
use serde_json::json;

use super::vector::{Fields, Vector, bytes};
use crate::support::mini_writer::{hex, keyed};

fn id_of(fields: Fields<'_>, plaintext: &[u8]) -> [u8; 16] {
    keys::chunk_id(&Key::new(fields.array("chunk_id_key")), plaintext)
}

/// With an id in `in`: whether it is the plaintext's (CHUNK-2).
pub fn chunk_id(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let id = id_of(fields, &fields.bytes("plaintext"));
    let is_other = fields.maybe("id").is_some_and(|stated| bytes(stated) != id);
    vector.answer(if is_other { Err("another chunk") } else { Ok(json!({ "id": hex(&id) })) })
}

/// Content of a stated length: BLAKE3 of a seed, extended; or bytes that repeat.
fn content(fields: Fields<'_>) -> Vec<u8> {
    let length = fields.small("length");
    match fields.maybe("repeat") {
        Some(period) => bytes(period).into_iter().cycle().take(length).collect(),
        None => {
            let mut content = vec![0; length];
            blake3::Hasher::new().update(fields.text("seed").as_bytes()).finalize_xof().fill(&mut content);
            content
        }
    }
}

/// Records as runs of how many, the first number of their keys, how long the shortest is, and how much the others are
/// longer; and the numbers of the records before which a bucket ends.
pub fn buckets(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let sizes = Sizes { min: fields.small("min"), mean: fields.small("mean"), max: fields.small("max") };
    let hasher = Hasher::new(fields.array("key_hash_key"));
    let mut cutter = BucketCutter::new(sizes);
    let (mut number, mut borders) = (0u64, Vec::new());
    for run in fields.structures("runs") {
        let (least, more): (usize, usize) = (run.small("least"), run.small("more"));
        for of_run in 0..run.small("records") {
            let key = format!("{}{:06}", run.text("prefix"), of_run);
            let place = [&u32::to_be_bytes(run.small("database"))[..], key.as_bytes()].concat();
            if cutter.is_border(hasher.hash(&place), least + of_run * 7919 % (more + 1)) {
                borders.push(number);
            }
            number += 1;
        }
    }
    vector.answer(Ok::<_, String>(json!({ "borders": borders })))
}

pub fn cuts(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let key = fields.array("chunker_key");
    let sizes = Sizes { min: fields.small("min"), mean: fields.small("mean"), max: fields.small("max") };
    let (chunker, content) = (Chunker::new(&key, sizes), content(Fields(fields.get("content"))));
    let (mut rest, mut lengths) = (content.as_slice(), Vec::new());
    while !rest.is_empty() {
        // Neither more nor less at hand than a chunk can take makes a difference.
        let length = chunker.cut(&rest[..rest.len().min(chunker.sizes().max)]);
        assert_eq!(length, chunker.cut(rest), "{}", vector.name);
        lengths.push(length);
        rest = &rest[length..];
    }
    let gear = keyed(&key, b"gear", 64);
    let gear = gear.as_chunks::<8>().0.iter().map(|entry| format!("0x{:016x}", u64::from_le_bytes(*entry)));
    vector.answer(Ok::<_, String>(json!({ "gear": gear.collect::<Vec<_>>(), "lengths": lengths })))
}

pub fn order_cuts(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let sizes = Sizes { min: fields.small("min"), mean: fields.small("mean"), max: fields.small("max") };
    let content = content(Fields(fields.get("content")));
    let (mut rest, mut lengths) = (content.as_slice(), Vec::new());
    while !rest.is_empty() {
        let length = cut_order(rest, sizes);
        lengths.push(length);
        rest = &rest[length..];
    }
    vector.answer(Ok::<_, String>(json!({ "lengths": lengths })))
}

pub fn method(vector: &Vector) -> Result<(), String> {
    let method = Method::from_number(vector.input().small("number"));
    let name = |method| match method {
        Method::Plain => "plain",
        Method::Zstd => "zstd",
        Method::Delta => "delta",
        Method::Copies => "copies",
        Method::Columns => "columns",
    };
    vector.answer(method.map(|method| json!({ "method": name(method) })))
}

/// Decoding alone: another version of zstd may compress otherwise.
pub fn zstd(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let decoded = Decompressor::default().whole(&fields.bytes("frame"), fields.small("length"));
    vector.answer(decoded.map(|plaintext| json!({ "plaintext": hex(&plaintext) })))
}

/// Columns, before they are compressed.
pub fn columns(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let decoded = from_columns(&fields.bytes("columns"), fields.small("length"));
    vector.answer(decoded.map(|rows| json!({ "rows": hex(&rows) })))
}

/// Decoding alone, and the id of what it yields.
pub fn delta(vector: &Vector) -> Result<(), String> {
    decoded(vector, |bases, delta, length| undelta(bases, delta, length).map_err(|error| error.to_string()))
}

pub fn copies(vector: &Vector) -> Result<(), String> {
    decoded(vector, |bases, delta, length| apply_copies(bases, delta, length).map_err(|error| error.to_string()))
}

type Decode = fn(&[&[u8]], &[u8], usize) -> Result<Vec<u8>, String>;

fn decoded(vector: &Vector, decode: Decode) -> Result<(), String> {
    let fields = vector.input();
    let bases: Vec<Vec<u8>> = fields.list("bases").iter().map(bytes).collect();
    let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
    let decoded = decode(&bases, &fields.bytes("delta"), fields.small("length"));
    vector.answer(decoded.and_then(|plaintext| match id_of(fields, &plaintext) == fields.array("id") {
        true => Ok(json!({ "plaintext": hex(&plaintext) })),
        false => Err("another chunk".into()),
    }))
}
