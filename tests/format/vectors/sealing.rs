//! 04 sealing, and the whole objects of later chapters.

use redkeep::crypto::keys::{self, Key};
use redkeep::crypto::seal::Sealer;
use redkeep::format::object::{Kind, Name};
use redkeep::format::sealing::{Header, SEAL_OVERHEAD, WHOLE};
use redkeep::format::{Id16, ObjectHash};
use serde_json::json;

use super::vector::{Fields, Vector, bytes};
use crate::support::mini_writer::hex;

pub fn kind_named(name: &str) -> Kind {
    Kind::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or_else(|| panic!("no kind {name}"))
}

/// An object's name; empty for packs and index objects.
fn name_of(fields: Fields<'_>) -> Name {
    match fields.text("name") {
        "" => Name::Pack(ObjectHash([0; 32])),
        text => Name::parse(text).unwrap(),
    }
}

fn build_header(fields: Fields<'_>) -> Header {
    let repository = Id16(fields.array("repository"));
    Header {
        kind: kind_named(fields.text("object")),
        epoch: fields.small("epoch"),
        repository,
        salt: fields.array("salt"),
    }
}

pub fn header(vector: &Vector) -> Result<(), String> {
    vector.codec(
        build_header,
        |header| header.encode().to_vec(),
        |bytes| Header::decode(bytes).map(|(header, _)| header),
    )
}

pub fn header_at(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let (header, _) = Header::decode(&fields.bytes("header")).unwrap();
    let checked = header.check(&name_of(fields), Some(Id16(fields.array("repository"))));
    vector.answer(checked.map(|()| json!({})))
}

/// Seals a part under a header whose kind key is known.
fn seal(sealer: &Sealer, header: &Header, name: &Name, ordinal: u32, plaintext: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (aad, mut sealed) = (header.aad(name, ordinal, plaintext.len() + SEAL_OVERHEAD), Vec::new());
    sealer.seal(Some(ordinal), &aad, plaintext, &mut sealed);
    (aad, sealed)
}

pub fn object_keys(vector: &Vector) -> Result<(), String> {
    let (fields, output) = (vector.input(), vector.output().unwrap());
    // redkeep shows neither key; what it seals under both tells whether it has these.
    let stated = Sealer::from_keys(&Key::new(output.array("object_key")), Key::new(output.array("nonce_key")));
    let (mut with_stated, mut with_derived) = (Vec::new(), Vec::new());
    stated.seal(Some(7), b"aad", b"plaintext", &mut with_stated);
    let derived = Sealer::new(&Key::new(fields.array("kind_key")), &fields.array("salt"));
    derived.seal(Some(7), b"aad", b"plaintext", &mut with_derived);
    if with_stated == with_derived { Ok(()) } else { Err(format!("{}: other keys", vector.name)) }
}

fn sealer(fields: Fields<'_>, header: &Header) -> Sealer {
    Sealer::new(&Key::new(fields.array("kind_key")), &header.salt)
}

pub fn part(vector: &Vector) -> Result<(), String> {
    let (fields, name) = (vector.input(), name_of(vector.input()));
    let (header, _) = Header::decode(&fields.bytes("header")).unwrap();
    let (sealer, ordinal) = (sealer(fields, &header), fields.small("ordinal"));
    let open = |sealed: &[u8]| sealer.open(&header.aad(&name, ordinal, sealed.len()), sealed);
    let Some(output) = vector.output() else {
        return vector.answer(open(&fields.bytes("sealed")).map(|plaintext| json!(hex(&plaintext))));
    };
    let plaintext = fields.bytes("plaintext");
    assert_eq!(open(&output.bytes("sealed")), Ok(plaintext.clone()), "{}", vector.name);
    let (aad, sealed) = seal(&sealer, &header, &name, ordinal, &plaintext);
    vector.answer(Ok::<_, String>(json!({ "aad": hex(&aad), "sealed": hex(&sealed) })))
}

/// SEAL-4: equal plaintexts get equal nonces, others do not.
pub fn parts_under_one_salt(vector: &Vector) -> Result<(), String> {
    let (fields, name) = (vector.input(), name_of(vector.input()));
    let (header, _) = Header::decode(&fields.bytes("header")).unwrap();
    let (sealer, ordinal) = (sealer(fields, &header), fields.small("ordinal"));
    let plaintexts: Vec<Vec<u8>> = fields.list("plaintexts").iter().map(bytes).collect();
    let sealed = plaintexts.iter().map(|plaintext| seal(&sealer, &header, &name, ordinal, plaintext).1);
    let sealed: Vec<Vec<u8>> = sealed.collect();
    for (one, of_one) in plaintexts.iter().zip(&sealed) {
        for (other, of_other) in plaintexts.iter().zip(&sealed) {
            assert_eq!(one == other, of_one[..24] == of_other[..24], "{}", vector.name);
        }
    }
    let sealed: Vec<String> = sealed.iter().map(|sealed| hex(sealed)).collect();
    vector.answer(Ok::<_, String>(json!({ "sealed": sealed })))
}

/// An object of one part (SEAL-6), with the final hash where SNAP-1 wants it.
fn whole(fields: Fields<'_>, name: &Name) -> Vec<u8> {
    let (header, plaintext) = (build_header(fields), fields.bytes("plaintext"));
    let sealer = Sealer::new(&keys::kind_key(&fields.array("epoch_secret"), header.kind.name()), &header.salt);
    let mut object = header.encode().to_vec();
    object.extend(seal(&sealer, &header, name, WHOLE, &plaintext).1);
    if matches!(name, Name::Snapshot(_)) {
        object.extend(*blake3::hash(&object).as_bytes());
    }
    object
}

/// Kind and plaintext of an object of one part.
fn open(fields: Fields<'_>, name: &Name, object: &[u8]) -> Result<(Kind, Vec<u8>), String> {
    let object = match name {
        Name::Pack(hash) | Name::Index(hash) if *blake3::hash(object).as_bytes() != hash.0 => {
            return Err("its bytes are not what its name says".into());
        }
        Name::Snapshot(_) => match object.split_last_chunk::<32>() {
            Some((body, hash)) if blake3::hash(body).as_bytes() == hash => body,
            _ => return Err("its final hash does not agree".into()),
        },
        _ => object,
    };
    let (header, sealed) = Header::decode(object).map_err(|error| error.to_string())?;
    let repository = Id16(fields.array("repository"));
    header.check(name, Some(repository)).map_err(|error| error.to_string())?;
    let sealer = Sealer::new(&keys::kind_key(&fields.array("epoch_secret"), header.kind.name()), &header.salt);
    let opened = sealer.open(&header.aad(name, WHOLE, sealed.len()), sealed);
    opened.map(|plaintext| (header.kind, plaintext)).map_err(|error| error.to_string())
}

pub fn object(vector: &Vector) -> Result<(), String> {
    let (fields, name) = (vector.input(), name_of(vector.input()));
    let Some(output) = vector.output() else {
        let opened = open(fields, &name, &fields.bytes("bytes"));
        return vector.answer(opened.map(|(_, plaintext)| json!(hex(&plaintext))));
    };
    let expected = (kind_named(fields.text("object")), fields.bytes("plaintext"));
    assert_eq!(open(fields, &name, &output.bytes("bytes")), Ok(expected), "{}", vector.name);
    vector.answer(Ok::<_, String>(json!({ "bytes": hex(&whole(fields, &name)) })))
}

/// An object whose name is the hash of its bytes (OBJ-2).
pub fn hashed_object(vector: &Vector) -> Result<(), String> {
    let (fields, output) = (vector.input(), vector.output().unwrap());
    let object = whole(fields, &Name::Index(ObjectHash([0; 32])));
    let name = Name::Index(ObjectHash(blake3::hash(&object).into()));
    let expected = (kind_named(fields.text("object")), fields.bytes("plaintext"));
    assert_eq!(open(fields, &name, &output.bytes("bytes")), Ok(expected), "{}", vector.name);
    vector.answer(Ok::<_, String>(json!({ "name": name.to_string(), "bytes": hex(&object) })))
}
