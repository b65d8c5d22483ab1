//! 07 pack and 08 index.

use redkeep::crypto::keys::{self, Key};
use redkeep::crypto::seal::Sealer;
use redkeep::format::frame::Method;
use redkeep::format::index::{Index, IndexedPack};
use redkeep::format::object::{Kind, Name};
use redkeep::format::pack::{ChunkRow, DeltaRow, Footer, FrameRow, decode_trailer, encode_trailer};
use redkeep::format::sealing::{FOOTER, Header, SEAL_OVERHEAD};
use redkeep::format::{ChunkId, Id16, ObjectHash};
use redkeep::repository::{CheckDepth, Places, Repository};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::vector::{Fields, Vector, array, bytes};
use crate::support::mini_writer::{self, MiniPack, MiniWriter, hex};
use crate::support::repository::{Hands, local, password};

fn build_delta(fields: Fields<'_>) -> DeltaRow {
    DeltaRow { length: fields.small("length"), bases: fields.list("bases").iter().map(array).collect() }
}

fn build_footer(fields: Fields<'_>) -> Footer {
    let chunk = |fields: Fields<'_>| ChunkRow {
        id: ChunkId(fields.array("id")),
        length: fields.small("length"),
        delta: fields.maybe("delta").map(|delta| build_delta(Fields(delta))),
    };
    let frame = |fields: Fields<'_>| FrameRow {
        method: Method::from_number(fields.small("method")).unwrap(),
        sealed: fields.small("sealed"),
        chunks: fields.structures("chunks").map(chunk).collect(),
    };
    Footer { padding: fields.number("padding"), frames: fields.structures("frames").map(frame).collect() }
}

pub fn footer(vector: &Vector) -> Result<(), String> {
    vector.codec(build_footer, Footer::encode, Footer::decode)
}

pub fn trailer(vector: &Vector) -> Result<(), String> {
    let size = vector.input().number("size");
    vector.codec(
        |fields| fields.small("footer"),
        |footer| encode_trailer(*footer).to_vec(),
        |bytes| decode_trailer(bytes, size),
    )
}

pub fn index(vector: &Vector) -> Result<(), String> {
    let pack = |fields: Fields<'_>| IndexedPack {
        pack: ObjectHash(fields.array("name")),
        size: fields.number("size"),
        epoch: fields.small("epoch"),
        salt: fields.array("salt"),
        footer: Footer::decode(&fields.bytes("footer")).unwrap(),
    };
    let build = |fields: Fields<'_>| Index {
        session: Id16(fields.array("session")),
        packs: fields.structures("packs").map(pack).collect(),
    };
    vector.codec(build, Index::encode, Index::decode)
}

/// A frame's row: ids and lengths follow from its chunks.
fn build_frame(frame: Fields<'_>, chunk_id_key: &Key) -> FrameRow {
    let id = |plaintext: &[u8]| ChunkId(keys::chunk_id(chunk_id_key, plaintext));
    let method = Method::from_number(frame.small("method")).unwrap();
    let mut chunks: Vec<ChunkRow> = Vec::new();
    for (place, plaintext) in frame.list("chunks").iter().map(bytes).enumerate() {
        let delta = method.has_deltas().then(|| {
            let bases = frame.list("bases")[place].as_array().unwrap().iter().map(bytes);
            let prefix = |base: Vec<u8>| *id(&base).0.first_chunk().unwrap();
            let length = frame.list("deltas")[place].as_u64().unwrap() as u32;
            DeltaRow { length, bases: bases.map(prefix).collect() }
        });
        chunks.push(ChunkRow { id: id(&plaintext), length: plaintext.len() as u32, delta });
    }
    FrameRow { method, sealed: (frame.bytes("stored").len() + SEAL_OVERHEAD) as u32, chunks }
}

/// The pack of these frames: its footer, and the object.
fn build_pack(fields: Fields<'_>) -> (Footer, Vec<u8>) {
    let (epoch, salt) = (fields.small("epoch"), fields.array("salt"));
    let header = Header { kind: Kind::Pack, epoch, repository: Id16(fields.array("repository")), salt };
    let sealer = Sealer::new(&keys::kind_key(&fields.array("epoch_secret"), Kind::Pack.name()), &salt);
    let chunk_id_key = Key::new(fields.array("chunk_id_key"));
    let frames = fields.structures("frames").map(|frame| build_frame(frame, &chunk_id_key)).collect();
    let footer = Footer { padding: fields.number("padding"), frames };
    let mut object = header.encode().to_vec();
    let seal = |ordinal, plaintext: &[u8], object: &mut Vec<u8>| {
        let aad = header.aad(&Name::Pack(ObjectHash([0; 32])), ordinal, plaintext.len() + SEAL_OVERHEAD);
        sealer.seal(Some(ordinal), &aad, plaintext, object);
    };
    for (ordinal, frame) in (0..).zip(fields.structures("frames")) {
        seal(ordinal, &frame.bytes("stored"), &mut object);
    }
    object.resize(object.len() + footer.padding as usize, 0);
    let table = footer.encode();
    seal(FOOTER, &table, &mut object);
    object.extend(encode_trailer((table.len() + SEAL_OVERHEAD) as u32));
    (footer, object)
}

/// What a check of all data says of a repository that holds this pack alone: an error where it is damaged.
fn checked(fields: Fields<'_>, name: &str, object: &[u8], footer: Option<&Footer>) -> Result<(), String> {
    let root = TempDir::new().unwrap();
    let mut writer = MiniWriter::create(root.path().join("repository"));
    writer.repository = fields.array("repository");
    writer.chunk_id_key = fields.array("chunk_id_key");
    writer.epoch_secret = fields.array("epoch_secret");
    writer.slot(mini_writer::PASSWORD, [8, 1, 1]);
    writer.config([16384, 65536, 262144]);
    writer.put(name, object);
    if let Some(footer) = footer {
        let Some(Name::Pack(hash)) = Name::parse(name) else { panic!("{name} names no pack") };
        let (size, salt, footer) = (object.len() as u64, fields.array("salt"), footer.encode());
        writer.index(&[MiniPack { name: hash.0, size, epoch: 0, salt, footer }]);
    }
    let (ambient, secret) = (Hands::new(1).ambient("a"), password(mini_writer::PASSWORD));
    let opened = Repository::open(local(&writer.root), secret, ambient, Places::default(), None);
    let opened = opened.map_err(|error| error.to_string())?;
    let report = opened.check(CheckDepth::Data, &|| false, &|_, _| {}).map_err(|error| error.to_string())?;
    assert_eq!(report.packs, 1);
    if report.damage.is_empty() { Ok(()) } else { Err(format!("{:?}", report.damage)) }
}

pub fn pack(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let Some(output) = vector.output() else {
        let checked = checked(fields, fields.text("name"), &fields.bytes("object"), None);
        return vector.answer(checked.map(|()| Value::from("no damage")));
    };
    let (footer, object) = build_pack(fields);
    checked(fields, output.text("name"), &output.bytes("object"), Some(&footer))
        .map_err(|error| format!("{}: {error}", vector.name))?;
    let name = Name::Pack(ObjectHash(blake3::hash(&object).into())).to_string();
    let answer = json!({ "footer": hex(&footer.encode()), "object": hex(&object), "name": name });
    vector.answer(Ok::<_, String>(answer))
}
