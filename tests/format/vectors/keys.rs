//! 03 keys.

use redkeep::crypto::keys::{self, Key};
use redkeep::crypto::passphrase::{Block, Secret, SlotKey};
use redkeep::crypto::seal::Sealer;
use redkeep::format::Id16;
use redkeep::format::keys::{Argon2Cost, Bag, SecretKind, Slot};
use redkeep::format::object::{Kind, Name};
use redkeep::format::sealing::{Header, SEAL_OVERHEAD};
use serde_json::json;

use super::sealing::kind_named;
use super::vector::{Fields, Vector, array};
use crate::support::mini_writer::hex;

pub fn kind_key(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let key = keys::kind_key(&fields.array("epoch_secret"), kind_named(fields.text("object")).name());
    vector.answer(Ok::<_, String>(json!({ "key": hex(key.expose()) })))
}

pub fn dataset_tag(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let tag = keys::dataset_tag(&Key::new(fields.array("chunk_id_key")), fields.text("dataset"));
    vector.answer(Ok::<_, String>(json!({ "tag": hex(&tag) })))
}

/// A bag's secrets, which the bag itself neither shows nor compares.
type Secrets = ([[u8; 32]; 3], Vec<[u8; 32]>);

pub fn bag(vector: &Vector) -> Result<(), String> {
    let build = |fields: Fields<'_>| -> Secrets {
        let three = ["chunk_id_key", "key_hash_key", "chunker_key"].map(|name| fields.array(name));
        (three, fields.list("epochs").iter().map(array).collect())
    };
    let encode = |([chunk_id, key_hash, chunker], epochs): &Secrets| {
        let bag = Bag { chunk_id: *chunk_id, key_hash: *key_hash, chunker: *chunker, epochs: epochs.clone() };
        bag.encode().to_vec()
    };
    let secrets = |bag: Bag| ([bag.chunk_id, bag.key_hash, bag.chunker], bag.epochs.clone());
    vector.codec(build, encode, |bytes| Bag::decode(bytes).map(secrets))
}

fn cost(fields: Fields<'_>) -> Argon2Cost {
    Argon2Cost { memory: fields.small("memory"), passes: fields.small("passes"), lanes: fields.small("lanes") }
}

fn derive(secret: &[u8], salt: &[u8; 32], cost: Argon2Cost) -> Result<SlotKey, String> {
    let secret = Secret::new(secret.to_vec());
    let mut blocks = vec![Block::default(); cost.memory as usize];
    SlotKey::derive(&secret, salt, &mut blocks, cost.passes, cost.lanes).map_err(|error| error.to_string())
}

pub fn slot_key(vector: &Vector) -> Result<(), String> {
    let (fields, output) = (vector.input(), vector.output().unwrap());
    let key = derive(&fields.bytes("secret"), &fields.array("salt"), cost(fields))?;
    // redkeep shows no slot key; two answers that follow from it tell whether it has this one.
    let stated = Key::new(output.array("slot_key"));
    assert_eq!(key.commitment(), *stated.derive("redkeep 2026-11 slot commitment").expose(), "{}", vector.name);
    let derived = |purpose: &str| stated.derive(&format!("redkeep 2026-11 slot {purpose}"));
    let mut wrapped = Vec::new();
    Sealer::from_keys(&derived("wrap"), derived("nonce")).seal(None, b"aad", b"bag", &mut wrapped);
    assert_eq!(key.wrap(b"aad", b"bag"), wrapped, "{}", vector.name);
    let slot_key = output.text("slot_key");
    vector.answer(Ok::<_, String>(json!({ "slot_key": slot_key, "commitment": hex(&key.commitment()) })))
}

fn secret_kind(fields: Fields<'_>) -> SecretKind {
    match fields.number("secret_kind") {
        0 => SecretKind::Password,
        1 => SecretKind::KeyFile,
        other => panic!("no kind of secret {other}"),
    }
}

fn wrap_aad(header: &Header, slot: &Slot, name: &Name) -> Vec<u8> {
    [&header.encode()[..], &slot.encode_parameters(), name.to_string().as_bytes()].concat()
}

/// The bag of a slot, as a reader of the repository gets it.
fn open(fields: Fields<'_>, object: &[u8]) -> Result<Vec<u8>, String> {
    let name = Name::parse(fields.text("name")).unwrap();
    let (header, rest) = Header::decode(object).map_err(|error| error.to_string())?;
    header.check(&name, None).map_err(|error| error.to_string())?;
    let slot = Slot::decode(rest).map_err(|error| error.to_string())?;
    let key = derive(&fields.bytes("secret"), &header.salt, slot.cost)?;
    if slot.secret != secret_kind(fields) || !key.is_committed_to(&slot.commitment) {
        return Err("another secret".into());
    }
    let bag = key.unwrap(&wrap_aad(&header, &slot, &name), &slot.wrapped).map_err(|error| error.to_string())?;
    Bag::decode(&bag).map_err(|error| error.to_string())?;
    Ok(bag.to_vec())
}

pub fn slot_read(vector: &Vector) -> Result<(), String> {
    let bag = open(vector.input(), &vector.input().bytes("object"));
    vector.answer(bag.map(|bag| json!({ "bag": hex(&bag) })))
}

pub fn slot(vector: &Vector) -> Result<(), String> {
    let fields = vector.input();
    let Some(output) = vector.output() else { return slot_read(vector) };
    let name = Name::parse(fields.text("name")).unwrap();
    let (bag, about) = (fields.bytes("bag"), fields.bytes("about"));
    let (epoch, salt) = (fields.small("epoch"), fields.array("salt"));
    let header = Header { kind: Kind::Slot, epoch, repository: Id16(fields.array("repository")), salt };
    let sealer = Sealer::new(&keys::kind_key(&fields.array("epoch_secret"), Kind::Slot.name()), &salt);
    let mut sealed = Vec::new();
    sealer.seal(Some(1), &header.aad(&name, 1, about.len() + SEAL_OVERHEAD), &about, &mut sealed);
    let key = derive(&fields.bytes("secret"), &salt, cost(fields))?;
    let (commitment, wrapped) = (key.commitment(), Vec::new());
    let mut slot = Slot { secret: secret_kind(fields), cost: cost(fields), commitment, wrapped, about: sealed };
    let aad = wrap_aad(&header, &slot, &name);
    slot.wrapped = key.wrap(&aad, &bag);
    let object = [&header.encode()[..], &slot.encode()].concat();
    assert_eq!(open(fields, &output.bytes("object")), Ok(bag), "{}", vector.name);
    let (aad, wrapped, about) = (hex(&aad), hex(&slot.wrapped), hex(&slot.about));
    let answer = json!({"aad": aad, "wrapped": wrapped, "about": about, "object": hex(&object)});
    vector.answer(Ok::<_, String>(answer))
}
