//! 09 recipes.

use redkeep::format::list::{ListCutter, ListEnd, ListEntry, ListPiece, decode_list};
use redkeep::format::recipe::{Part, Recipe, Stream, check_recipe};
use redkeep::format::{ChunkId, Malformed};
use serde_json::json;

use super::vector::{Fields, Vector, bytes};
use crate::support::mini_writer::hex;

pub fn list(vector: &Vector) -> Result<(), String> {
    let labelled = vector.input().flag("labelled");
    let entry = |fields: Fields<'_>| ListEntry {
        id: ChunkId(fields.array("id")),
        length: fields.small("length"),
        label: fields.maybe("label").map(bytes),
    };
    let encode = |entries: &Vec<ListEntry>| {
        let mut list = Vec::new();
        entries.iter().for_each(|entry| entry.encode(&mut list));
        list
    };
    let build = |fields: Fields<'_>| fields.structures("entries").map(entry).collect();
    vector.codec(build, encode, |list| decode_list(list, labelled))
}

/// A list whose ids are BLAKE3 of their numbers, and how many entries each piece of it has. `odd`: no id is a border but
/// those `at` these numbers.
pub fn list_pieces(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let is_odd = fields.maybe("odd").is_some_and(|odd| odd.as_bool().unwrap());
    let at: Vec<u64> = fields.maybe("at").map_or(Vec::new(), |at| serde_json::from_value(at.clone()).unwrap());
    let (mut cutter, mut pieces) = (ListCutter::default(), Vec::new());
    for number in 0..fields.number("entries") {
        let mut id = *blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk::<16>().unwrap();
        id[0] |= u8::from(is_odd);
        if at.contains(&number) {
            id[..2].copy_from_slice(&[0x80, 0xff]);
        }
        let label = [&[0; 4], format!("user:{number:06}").as_bytes()].concat();
        let label = fields.flag("labelled").then_some(label);
        pieces.extend(cutter.push(&ListEntry { id: ChunkId(id), length: 1000 + number as u32, label }));
    }
    let count = |piece: &ListPiece| decode_list(&piece.bytes, fields.flag("labelled")).unwrap().len();
    vector.answer(Ok::<_, String>(match cutter.finish() {
        ListEnd::Top(_) => json!({ "top": true }),
        ListEnd::Pieces(last) => json!({ "pieces": pieces.iter().chain(&last).map(count).collect::<Vec<_>>() }),
    }))
}

fn build_stream(fields: Fields<'_>) -> Stream {
    Stream {
        length: fields.number("length"),
        levels: fields.small("levels"),
        top: fields.bytes("top"),
        labelled: fields.maybe("labelled").map(|flag| flag.as_bool().unwrap()),
    }
}

/// A recipe; `parts` are maps as their table has them, streams under their roles.
pub fn build_recipe(parts: &[serde_json::Value]) -> Recipe {
    let part = |fields: Fields<'_>| Part {
        method: fields.number("method"),
        length: fields.number("length"),
        streams: fields
            .get("streams")
            .as_object()
            .unwrap()
            .iter()
            .map(|(role, stream)| (role.parse().unwrap(), build_stream(Fields(stream))))
            .collect(),
        parameters: fields.maybe("parameters").map(bytes),
    };
    parts.iter().map(Fields).map(part).collect()
}

fn decode_cbor<T: for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> Result<T, Malformed> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let value = decoder.decode().map_err(|error| Malformed::new("vector", error.to_string()))?;
    if decoder.position() == bytes.len() { Ok(value) } else { Err(Malformed::new("vector", "bytes left over")) }
}

pub fn recipe(vector: &Vector) -> Result<(), String> {
    let size = vector.input().number("size");
    let decode = |bytes: &[u8]| {
        let recipe: Recipe = decode_cbor(bytes)?;
        check_recipe(&recipe, size)?;
        Ok(recipe)
    };
    let build = |fields: Fields<'_>| build_recipe(fields.list("parts"));
    vector.codec(build, |recipe| minicbor::to_vec(recipe).unwrap(), decode)
}

/// The streams of a part of method 1.
pub fn canonical_part(vector: &Vector) -> Result<(), String> {
    let part: Part = decode_cbor(&vector.input().bytes("bytes")).unwrap();
    vector.answer(part.check_canonical().map(|()| json!({ "streams": part.streams.keys().collect::<Vec<_>>() })))
}

/// The stream a reader of version 0 takes for a part's content.
pub fn opaque_part(vector: &Vector) -> Result<(), String> {
    let part: Part = decode_cbor(&vector.input().bytes("bytes")).unwrap();
    let content = part.content();
    vector.answer(content.map(|stream| json!({ "stream": hex(&minicbor::to_vec(stream).unwrap()) })))
}
