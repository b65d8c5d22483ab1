//! Decoders that take all their bytes at once, and have an encoder: what they accept, they accept again as written by
//! the encoder; one byte more or less they refuse.

use std::fmt::{Debug, Display};

use redkeep::aof::{Manifest, is_temporary, parse_timestamp};
use redkeep::format::config::Config;
use redkeep::format::ids::DatasetTag;
use redkeep::format::keys::{About, Bag, EpochRecord, Slot};
use redkeep::format::ledger::Ledger;
use redkeep::format::note::Note;
use redkeep::format::object::{Kind, Name};
use redkeep::format::pack::{self, Footer};
use redkeep::format::recipe::{Part, check_recipe};
use redkeep::format::roster::Roster;
use redkeep::format::sealing::Header;
use redkeep::format::session::{Burial, Condemned, Forgotten, Lease, Tombstone};
use redkeep::format::snapshot::Snapshot;
use redkeep::format::{Id16, Malformed, ObjectHash, Reader, put_varint, recovery};

/// Decode, encode, decode: the same value, the same bytes.
fn comes_back<T: PartialEq + Debug, E: Display>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = decode(bytes).map_err(|error| error.to_string()).ok()?;
    let written = encode(&value);
    match decode(&written) {
        Ok(read) => assert_eq!(read, value, "written as {}", written.escape_ascii()),
        Err(error) => panic!("{value:?} is written as {}, and refused: {error}", written.escape_ascii()),
    }
    Some(value)
}

/// The same, of a structure that fills its bytes: whatever is accepted, a byte more or less is not.
fn fills<T: PartialEq + Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Malformed>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = comes_back(bytes, &decode, encode)?;
    assert!(decode(&[bytes, &[0]].concat()).is_err(), "a byte left over is accepted");
    assert!(decode(&bytes[..bytes.len() - 1]).is_err(), "a byte too few is accepted");
    Some(value)
}

/// Where each value has one form only, what is accepted is what the encoder writes.
fn is_canonical(bytes: &[u8], written: &[u8]) {
    assert_eq!(bytes, written, "two forms of one value");
}

pub fn header(bytes: &[u8]) {
    let Ok((header, rest)) = Header::decode(bytes) else { return };
    is_canonical(bytes, &[&header.encode()[..], rest].concat());
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(kind as u8), Some(kind));
    }
    for name in [Name::Config, Name::Slot(header.repository), Name::Epoch(header.epoch)] {
        assert!(header.check(&name, Some(header.repository)).is_err() || name.allows(header.kind));
        assert!(!header.aad(&name, header.epoch, rest.len()).is_empty());
    }
}

pub fn name(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Some(name) = Name::parse(text) {
        assert_eq!(name.to_string(), text);
        assert!(Kind::ALL.into_iter().any(|kind| name.allows(kind)));
    }
    let written = [
        text.parse::<Id16>().map(|id| id.to_string()),
        text.parse::<ObjectHash>().map(|id| id.to_string()),
        text.parse::<DatasetTag>().map(|id| id.to_string()),
    ];
    written.into_iter().flatten().for_each(|written| assert_eq!(written, text));
}

pub fn varint(bytes: &[u8]) {
    let mut reader = Reader::new("test", bytes);
    let (mut values, mut written) = (Vec::new(), Vec::new());
    while let Ok(value) = reader.varint() {
        values.push(value);
        put_varint(&mut written, value);
    }
    assert!(bytes.starts_with(&written), "{values:?}");
    let mut reader = Reader::new("test", bytes);
    let limit = values.iter().max().copied().unwrap_or_default();
    assert!(values.iter().all(|value| reader.varint_max("value", limit) == Ok(*value)));
    assert_eq!(reader.remaining(), bytes.len() - written.len());
    assert!(reader.take(usize::MAX).is_err());
}

pub fn config(bytes: &[u8]) {
    fills(bytes, Config::decode, Config::encode);
}

pub fn bag(bytes: &[u8]) {
    // A bag has no `Debug`, and is compared as written.
    let decode = |bytes: &[u8]| Bag::decode(bytes).map(|bag| (bag.encode().to_vec(), bag.last()));
    fills(bytes, decode, |(written, _)| written.clone());
}

pub fn slot(bytes: &[u8]) {
    // What follows the wrapped bag is the sealed part, whatever its length: nothing can be left over.
    if let Some(slot) = comes_back(bytes, Slot::decode, Slot::encode) {
        is_canonical(bytes, &slot.encode());
        assert!(bytes.starts_with(&slot.encode_parameters()));
    }
}

pub fn about(bytes: &[u8]) {
    fills(bytes, About::decode, About::encode);
}

pub fn epoch(bytes: &[u8]) {
    fills(bytes, EpochRecord::decode, EpochRecord::encode);
}

pub fn footer(bytes: &[u8]) {
    let Some(footer) = fills(bytes, Footer::decode, Footer::encode) else { return };
    is_canonical(bytes, &footer.encode());
    assert_eq!(footer.frame_offsets().count(), footer.frames.len());
    for size in [0, bytes.len() as u64, u64::MAX] {
        let _ = footer.check_size(size, u64::from(u32::MAX));
    }
}

pub fn trailer(bytes: &[u8]) {
    for size in [bytes.len() as u64, 10_000, 128 << 20] {
        let read =
            fills(bytes, |bytes| pack::decode_trailer(bytes, size), |length| pack::encode_trailer(*length).into());
        assert!(read.is_none_or(|length| u64::from(length) < size));
    }
}

pub fn index(bytes: &[u8]) {
    use redkeep::format::index::Index;
    if let Some(index) = fills(bytes, Index::decode, Index::encode) {
        is_canonical(bytes, &index.encode());
    }
}

/// One part, as it stands in the recipe of a file.
pub fn recipe(bytes: &[u8]) {
    let decode = |bytes: &[u8]| minicbor::decode::<Vec<Part>>(bytes);
    let encode = |parts: &Vec<Part>| minicbor::to_vec(parts).unwrap();
    let Some(parts) = comes_back(bytes, decode, encode) else { return };
    let sum = parts.iter().fold(0u64, |sum, part| sum.wrapping_add(part.length));
    let fits = check_recipe(&parts, sum);
    assert!(check_recipe(&parts, sum.wrapping_add(1)).is_err());
    for part in &parts {
        if let (Ok(()), Ok(stream)) = (&fits, part.content()) {
            assert_eq!(stream.length, part.length);
        }
    }
}

pub fn snapshot(bytes: &[u8]) {
    let Some(snapshot) = fills(bytes, Snapshot::decode, Snapshot::encode) else { return };
    assert_eq!(snapshot.check(), Ok(()));
    assert!(snapshot.suspects().count() <= snapshot.files.len());
    for file in &snapshot.files {
        let path = file.display_path();
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path}");
        let _ = file.content();
    }
    let _ = snapshot.place();
}

pub fn lease(bytes: &[u8]) {
    fills(bytes, Lease::decode, Lease::encode);
}

pub fn tombstone(bytes: &[u8]) {
    fills(bytes, Tombstone::decode, Tombstone::encode);
}

pub fn condemned(bytes: &[u8]) {
    fills(bytes, Condemned::decode, Condemned::encode);
}

pub fn burial(bytes: &[u8]) {
    fills(bytes, Burial::decode, Burial::encode);
}

pub fn forgotten(bytes: &[u8]) {
    fills(bytes, Forgotten::decode, Forgotten::encode);
}

pub fn ledger(bytes: &[u8]) {
    let decode = |bytes: &[u8]| Ledger::decode(DatasetTag([7; 8]), bytes);
    fills(bytes, decode, Ledger::encode);
}

pub fn roster(bytes: &[u8]) {
    fills(bytes, Roster::decode, Roster::encode);
}

pub fn note(bytes: &[u8]) {
    fills(bytes, Note::decode, Note::encode);
}

/// What is read as a recovery key is read again, as it was written out.
pub fn recovery(bytes: &[u8]) {
    if let recovery::Reading::Key(written) = recovery::read(bytes) {
        assert!(matches!(recovery::read(written.as_bytes()), recovery::Reading::Key(again) if again == written));
    }
    if let Some(random) = bytes.first_chunk() {
        let written = recovery::write(random);
        assert!(matches!(recovery::read(written.as_bytes()), recovery::Reading::Key(again) if again == written));
    }
}

/// A manifest, and its lines as annotations and names.
pub fn manifest(bytes: &[u8]) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let _ = (parse_timestamp(line), is_temporary(line));
    }
    // A server takes a manifest of comments alone, and none that is empty.
    if Manifest::decode(bytes).is_ok_and(|manifest| manifest.entries().is_empty()) {
        return;
    }
    let Some(manifest) = comes_back(bytes, Manifest::decode, Manifest::encode) else { return };
    let copy = manifest.for_capture();
    assert_eq!(copy.history().count(), 0);
    if !copy.entries().is_empty() {
        assert_eq!(Manifest::decode(&copy.encode()).as_ref(), Ok(&copy));
        assert_eq!(Manifest::new(copy.entries().to_vec()), Ok(copy));
    }
}
