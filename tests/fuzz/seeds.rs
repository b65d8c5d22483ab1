//! What mutation begins with: the bytes of the vectors in format-spec/vectors, dumps of real servers, and what the
//! encoders write of structures that have no vectors. They are made when the tests run, so that they follow the format.
//! Inputs that once broke something are kept in `tests/fuzz/corpus/<target>/`.

use std::fs;
use std::path::{Path, PathBuf};

use redkeep::compress::{Compressor, DeltaCompressor};
use redkeep::format::columns::to_columns;
use redkeep::format::copies::Copies;
use redkeep::format::keys::EpochRecord;
use redkeep::format::session::Burial;
use redkeep::format::{Id16, ObjectHash, UnixMillis, recovery};
use serde_json::Value;

use crate::targets::Target;

#[allow(dead_code, reason = "only the bytes are of use here")]
#[path = "../../src/rdb/samples.rs"]
mod samples;

/// Fields of vectors that hold what a decoder is fed.
const FIELDS: [&str; 7] = ["bytes", "object", "frame", "delta", "text", "wrapped", "stored"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where inputs of a target are kept.
pub fn corpus(target: &Target) -> PathBuf {
    root().join("tests/fuzz/corpus").join(target.name)
}

/// Inputs that are kept, in the order of their names.
pub fn kept(target: &Target) -> Vec<Vec<u8>> {
    let Ok(files) = fs::read_dir(corpus(target)) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// All inputs a target begins with.
pub fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let mut seeds = from_vectors(target.kinds);
    seeds.extend(match target.name {
        "slot" => without_headers(&seeds),
        "epoch" => vec![EpochRecord { number: 3, begun: UnixMillis(1_790_000_000_000) }.encode()],
        "burial" => vec![burial().encode()],
        "recovery" => vec![recovery::write(&std::array::from_fn(|place| place as u8)).as_bytes().to_vec(), vec![7; 26]],
        "zstd" => [&text()[..1], &text()[..300], &[0; 70_000]].map(frame).to_vec(),
        "delta" => {
            let base = &text()[..64];
            let delta = DeltaCompressor::new(3).unwrap().delta(base, &text()[10..100]).unwrap();
            vec![[base, &delta].concat()]
        }
        "columns" => {
            let rows: Vec<u8> = text()[..84].chunks(12).flat_map(|row| [&[12][..], row].concat()).collect();
            vec![to_columns(&rows, |_| Some(2..9)).unwrap_or_default(), vec![2, 0, 0, 0, 1, 1, 0, 0, 0, b'a']]
        }
        "copies" => {
            let mut copies = Copies::default();
            copies.insert(&text()[70..75]);
            copies.copy(3, 9);
            copies.copy(40, 5);
            vec![[&text()[..64], &copies.finish()].concat()]
        }
        "rdb" | "records" => {
            samples::SAMPLES.iter().flat_map(|sample| [sample.bytes(), preamble(&sample.bytes())]).collect()
        }
        "canonical" => samples::SAMPLES.iter().map(samples::Sample::bytes).chain(synthetic()).collect(),
        "kept" => kept_records(),
        "elements" => ELEMENTS.iter().map(|value| value.to_vec()).collect(),
        "order" => orders(),
        "lzf" => {
            [&[7; 500][..], &text(), &text().repeat(30)].iter().flat_map(|text| [text.to_vec(), lzf(text)]).collect()
        }
        "value" => samples::SAMPLES
            .iter()
            .flat_map(|sample| values(&sample.bytes()))
            .chain(OLD_VALUES.map(<[u8]>::to_vec))
            .collect(),
        "string" => STRINGS.iter().map(|text| text.to_vec()).collect(),
        "lookup" => SCANNED.iter().chain(&FOLLOWED).map(|text| text.to_vec()).collect(),
        "scanner" | "cut" => SCANNED.iter().map(|text| text.to_vec()).collect(),
        "manifest" => MANIFESTS.iter().map(|text| text.to_vec()).collect(),
        _ => Vec::new(),
    });
    seeds.extend(kept(target));
    seeds
}

/// Small dumps with what servers of the samples do not write.
fn synthetic() -> Vec<Vec<u8>> {
    let root = root().join("tests/redis/samples");
    let files = ["synthetic", "third-party"].into_iter().flat_map(|name| fs::read_dir(root.join(name)).unwrap());
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Types and families of collections, with their values.
const ELEMENTS: [&[u8]; 5] = [
    b"\x02\0\x04\x02bb\xc0\x07\xc3\x02\x05\0a\x01a",
    b"\x04\x01\x40\x03\x01f\x03vvv\x01e\xc1\x01\x02\x02ff\x40\x01x",
    b"\x16\0\x03\0\x01f\x01v\x05\x01e\x01v\x40\x50\x01f\x01w",
    b"\x16\x01\x02\x01f\x01v12345678\x01e\x01v87654321",
    b"\x18\x0012345678\x03\x01\x01c\x01v\0\x01b\x01v\x80\0\0\x50\0\x01a\x01v",
];

/// Kept records behind their families and the orders of their elements.
fn kept_records() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(root().join("format-spec/vectors/19-canonical-rdb.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
    let records = vectors.iter().filter(|vector| vector["kind"] == "record" && vector["in"]["record"].is_string());
    let seed = |vector: &Value| {
        let field = |name: &str| unhex(vector["out"][name].as_str().unwrap());
        let order = field("order");
        let family = u8::from(vector["in"]["family"] == "VALKEY");
        [&[family, order.len() as u8], &order[..], &field("body")].concat()
    };
    records.map(seed).collect()
}

/// Orders behind the number of things.
fn orders() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for count in [0u32, 1, 2, 7, 256, 300, 1000] {
        let hashes: Vec<u32> = (0..count).map(|number| number.wrapping_mul(0x9e37_79b1)).collect();
        let places: Vec<u32> = (0..count).rev().collect();
        let mut order = (count as u16).to_le_bytes().to_vec();
        assert!(redkeep::rdb::canonical::encode_order(&hashes, &places, &mut order));
        seeds.push(order);
    }
    seeds
}

fn from_vectors(kinds: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut files: Vec<PathBuf> =
        fs::read_dir(root().join("format-spec/vectors")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for path in files {
        let vectors: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        for vector in vectors.iter().filter(|vector| kinds.iter().any(|kind| vector["kind"] == *kind)) {
            collect(&vector["in"], &mut found);
            collect(&vector["out"], &mut found);
        }
    }
    found
}

/// Every text of a field of [`FIELDS`]: hexadecimal as bytes, and names as they are.
fn collect(value: &Value, found: &mut Vec<Vec<u8>>) {
    let Some(fields) = value.as_object() else { return };
    for (_, value) in fields.iter().filter(|(name, _)| FIELDS.contains(&name.as_str())) {
        let Some(text) = value.as_str() else { continue };
        let is_hex = text.len() % 2 == 0 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        found.push(if is_hex { unhex(text) } else { text.into() });
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(pair).collect()
}

/// Of objects: what stands behind the header.
fn without_headers(objects: &[Vec<u8>]) -> Vec<Vec<u8>> {
    objects.iter().filter_map(|object| object.get(64..)).map(<[u8]>::to_vec).collect()
}

fn burial() -> Burial {
    Burial {
        condemned: vec![Id16([1; 16])],
        packs: vec![ObjectHash([2; 32]), ObjectHash([3; 32])],
        rescue: vec![ObjectHash([4; 32])],
        time: UnixMillis(1_790_000_000_000),
    }
}

fn text() -> Vec<u8> {
    crate::support::repository::text(400, 1)
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    Compressor::new(3).unwrap().whole(bytes).unwrap()
}

fn lzf(text: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    redkeep::rdb::lzf::Encoder::default().encode(text, &mut stored);
    stored
}

fn preamble(dump: &[u8]) -> Vec<u8> {
    [dump, SCANNED[0]].concat()
}

/// Each value of a dump behind its type and whose it is.
fn values(dump: &[u8]) -> Vec<Vec<u8>> {
    let family = u8::from(dump.starts_with(b"VALKEY"));
    let mut values = Vec::new();
    redkeep::rdb::read_stretches(dump, &mut |stretch| {
        if let redkeep::rdb::What::Record { type_byte, value, .. } = stretch.what {
            values.push([&[type_byte, family], &dump[value as usize..stretch.end as usize]].concat());
        }
    })
    .unwrap();
    values
}

/// Values of types that those servers do not write.
const OLD_VALUES: [&[u8]; 7] = [
    b"\x01\x00\x03\x01a\xc0\xff\x00",
    b"\x03\x00\x04\x01a\x041e22\x01b\xfd\x01c\xfe\x01d\xff",
    b"\x09\x00\x11\x02\x01a\x03\x02foo..\x01b\x00\x00\xff",
    b"\x0d\x00\x10\x10\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x01a\x03\xf2\xff",
    b"\x1c\x00\x02\x01\x05\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\x07\x00\x01a",
    b"\x1e\x00\x0e\x0e\x00\x00\x00\x03\x00\x05\x01\x81a\x02\x01\x01\xff",
    b"\x20\x00\x05\x01a\xc0\x07",
];

const STRINGS: [&[u8]; 4] = [
    b"\x05hello",
    b"\x40\x24hello hello hello hello hello hello",
    b"\xc2\x15\xcd\x5b\x07",
    b"\xc3\x0c\x41\xf4\x01aa\xe0\xff\x00\xe0\xdf\x00\x01aa",
];

const SCANNED: [&[u8]; 3] = [
    b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n",
    b"#TS:1790000000\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n#TS:1790000001\r\n*1\r\n$4\r\nEXEC\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\n$4\nPING\r\n*2\r\n$0\r\n\r\n$3\r\na\r\n\r\n*1\r\n$5\r\nmulti\r\n*1\r\n$7\r\nDISCARD\r\n",
];

const FOLLOWED: [&[u8]; 3] = [
    b"*5\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n5\r\n$4\r\nPXAT\r\n$2\r\n77\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n",
    b"*1\r\n$5\r\nMULTI\r\n*3\r\n$6\r\nAPPEND\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n",
    b"*5\r\n$4\r\nMSET\r\n$1\r\nb\r\n$1\r\na\r\n$1\r\na\r\n$1\r\nb\r\n*3\r\n$7\r\nPEXPIRE\r\n$1\r\na\r\n$1\r\n9\r\n*1\r\n$7\r\nFLUSHDB\r\n",
];

const MANIFESTS: [&[u8]; 3] = [
    b"file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i startoffset 12 endoffset 90\nfile appendonly.aof.2.incr.aof seq 2 type i startoffset 90\n",
    b"# a comment\nfile \"with space\\n\\x01\" seq 7 type h later value\n",
    b"FILE 'it\\'s' SEQ 1 TYPE base startoffset -1\n",
];
