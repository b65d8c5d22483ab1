//! Headers, the key bag and sealed parts: format-spec/03-keys.md and 04-sealing.md.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};

use super::bytes::{Cursor, Outcome, list, read, unhex};
use super::cbor::{self, Map};
use super::limits::{ARGON2_LANES_MAX, ARGON2_MEMORY_MAX, ARGON2_PASSES_MAX, SLOTS_MAX, SMALL_MAX};

pub(super) const SEAL_OVERHEAD: u64 = 40;
pub(super) const HEADER: u64 = 64;
const SLOT_FIXED: usize = 113;

pub(super) const CONFIG: u8 = 1;
pub(super) const SLOT: u8 = 2;
pub(super) const PACK: u8 = 3;
pub(super) const INDEX: u8 = 4;
pub(super) const SNAPSHOT: u8 = 5;
pub(super) const CONDEMNED: u8 = 7;
pub(super) const BURIAL: u8 = 8;
pub(super) const FORGOTTEN: u8 = 9;
pub(super) const NOTE: u8 = 10;
pub(super) const TOMBSTONE: u8 = 11;
pub(super) const LEDGER: u8 = 13;

/// The first 64 bytes of an object.
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) epoch: u32,
    pub(super) repository: [u8; 16],
    salt: [u8; 32],
    raw: Vec<u8>,
}

/// The secrets of a repository.
pub(super) struct Keys {
    pub(super) repository: [u8; 16],
    pub(super) chunk_id: [u8; 32],
    pub(super) key_hash: [u8; 32],
    epochs: Vec<[u8; 32]>,
}

pub(super) fn keyed(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key, message).as_bytes()
}

/// Opens nonce || ciphertext || tag.
fn unseal(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Outcome<Vec<u8>> {
    // SEAL-3
    let (nonce, msg) = sealed.split_first_chunk::<24>().ok_or("a sealed part is shorter than its nonce")?;
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher.decrypt(nonce.into(), Payload { msg, aad }).map_err(|_| "authentication failed".into())
}

impl Header {
    /// Reads a header whose kind has to be one of `kinds`.
    pub(super) fn read(object: &[u8], kinds: &[u8], repository: Option<&[u8; 16]>) -> Outcome<Header> {
        let mut cursor = Cursor::new(object);
        // SEAL-1
        if cursor.take(7).is_ok_and(|magic| magic != b"redkeep") {
            return Err("not a redkeep object".into());
        }
        let kind = cursor.u8()?;
        let version = cursor.u32()?;
        let header = Header {
            kind,
            epoch: cursor.u32()?,
            repository: cursor.array()?,
            salt: cursor.array()?,
            raw: Cursor::new(object).take(HEADER)?.to_vec(),
        };
        if version != 0 {
            return Err(format!("format version {version}"));
        }
        if !kinds.contains(&kind) {
            return Err(format!("kind {kind} does not belong to this name"));
        }
        if repository.is_some_and(|ours| *ours != header.repository) {
            return Err("an object of another repository".into());
        }
        Ok(header)
    }
}

impl Keys {
    /// Tries the password on each slot.
    pub(super) fn open(root: &Path, password: &str, repository: [u8; 16]) -> Outcome<Keys> {
        let names: Vec<String> =
            list(root, "keys")?.into_iter().filter(|name| unhex::<16>(name.get(5..).unwrap_or("")).is_some()).collect();
        let mut refusals = Vec::new();
        for name in names.iter().take(SLOTS_MAX) {
            let slot = read(root, name, SMALL_MAX);
            match slot.and_then(|object| Keys::from_slot(&object, name, password.as_bytes(), repository)) {
                Ok(Some(keys)) => return Ok(keys),
                Ok(None) => {}
                Err(refusal) => refusals.push(format!("{name}: {refusal}")),
            }
        }
        Err(format!("the password opens none of {} slots {refusals:?}", names.len()))
    }

    /// The bag of a slot, or nothing where the slot is not for this password.
    fn from_slot(object: &[u8], name: &str, secret: &[u8], repository: [u8; 16]) -> Outcome<Option<Keys>> {
        let header = Header::read(object, &[SLOT], Some(&repository))?;
        let mut cursor = Cursor::new(object);
        cursor.take(HEADER)?;
        match cursor.u8()? {
            0 => {}
            1 => return Ok(None),
            other => return Err(format!("secret of kind {other}")),
        }
        let (memory, passes, lanes) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        // KEY-6
        if !(1..=ARGON2_LANES_MAX).contains(&lanes)
            || !(1..=ARGON2_PASSES_MAX).contains(&passes)
            || !(8 * lanes..=ARGON2_MEMORY_MAX).contains(&memory)
        {
            return Err(format!("Argon2 costs out of bounds: {memory} KiB, {passes} passes, {lanes} lanes"));
        }
        // KEY-5
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(|error| error.to_string())?;
        let mut slot_key = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(secret, &header.salt, &mut slot_key)
            .map_err(|error| error.to_string())?;
        // KEY-7: blake3::Hash compares in constant time.
        let commitment = blake3::Hash::from(blake3::derive_key("redkeep 2026-11 slot commitment", &slot_key));
        if commitment != blake3::Hash::from(cursor.array::<32>()?) {
            return Ok(None);
        }
        let length = cursor.u32()?;
        let wrapped = cursor.take(u64::from(length))?;
        // KEY-8
        let wrap = blake3::derive_key("redkeep 2026-11 slot wrap", &slot_key);
        let aad = [&object[..SLOT_FIXED - 4], name.as_bytes()].concat();
        let bag = unseal(&wrap, &aad, wrapped).map_err(|error| format!("bag: {error}"))?;
        let keys = cbor::whole(&bag, |decoder| Keys::from_bag(&Map::read(decoder)?, repository))?;
        let about = keys.open_part(&header, name, 1, &object[SLOT_FIXED + wrapped.len()..])?;
        cbor::whole(&about, |decoder| {
            let map = Map::read(decoder)?;
            map.required(0, cbor::text)?;
            map.required(1, cbor::uint)?;
            map.required(2, cbor::text)
        })?;
        Ok(Some(keys))
    }

    fn from_bag(map: &Map<'_>, repository: [u8; 16]) -> Outcome<Keys> {
        let chunk_id = map.required(0, cbor::exact)?;
        let key_hash = map.required(1, cbor::exact)?;
        map.required(2, cbor::exact::<32>)?;
        let epochs = map.required(3, |decoder| {
            cbor::array(decoder, u64::from(u32::MAX), |decoder| {
                if decoder.array().ok().flatten() != Some(2) {
                    return Err("an epoch is not a pair".to_string());
                }
                Ok((cbor::uint(decoder)?, cbor::exact::<32>(decoder)?))
            })
        })?;
        // KEY-1
        if epochs.is_empty() || epochs.iter().zip(0..).any(|((number, _), place)| *number != place) {
            return Err("epochs do not rise by one from 0".into());
        }
        Ok(Keys { repository, chunk_id, key_hash, epochs: epochs.into_iter().map(|(_, secret)| secret).collect() })
    }

    /// Opens one sealed part. `name` is empty for packs and index objects.
    pub(super) fn open_part(&self, header: &Header, name: &str, ordinal: u32, sealed: &[u8]) -> Outcome<Vec<u8>> {
        // KEY-3, without the second look: the slots were read by this same opening.
        let place = usize::try_from(header.epoch).map_err(|_| "an epoch beyond memory".to_string())?;
        let secret = self.epochs.get(place).ok_or_else(|| format!("unknown epoch {place}"))?;
        // KEY-2
        let context = match header.kind {
            CONFIG => "redkeep 2026-11 seal config",
            SLOT => "redkeep 2026-11 seal slot",
            PACK => "redkeep 2026-11 seal pack",
            INDEX => "redkeep 2026-11 seal index",
            SNAPSHOT => "redkeep 2026-11 seal snapshot",
            CONDEMNED => "redkeep 2026-11 seal condemned",
            BURIAL => "redkeep 2026-11 seal burial",
            FORGOTTEN => "redkeep 2026-11 seal forgotten",
            LEDGER => "redkeep 2026-11 seal ledger",
            NOTE => "redkeep 2026-11 seal note",
            TOMBSTONE => "redkeep 2026-11 seal tombstone",
            other => return Err(format!("no key for kind {other}")),
        };
        // SEAL-2: the first half is the object key; the nonce key is a writer's.
        let object_key = keyed(&blake3::derive_key(context, secret), &header.salt);
        // SEAL-5
        let mut aad = header.raw.clone();
        aad.push(u8::try_from(name.len()).map_err(|_| "a name of more than 255 bytes".to_string())?);
        aad.extend_from_slice(name.as_bytes());
        aad.extend_from_slice(&ordinal.to_le_bytes());
        aad.extend_from_slice(&u32::try_from(sealed.len()).map_err(|_| "a part beyond 4 GiB")?.to_le_bytes());
        unseal(&object_key, &aad, sealed)
    }

    // SEAL-6
    pub(super) fn open_object(&self, object: &[u8], name: &str, kinds: &[u8]) -> Outcome<(Header, Vec<u8>)> {
        let header = Header::read(object, kinds, Some(&self.repository))?;
        let sealed = object.get(header.raw.len()..).unwrap_or_default();
        let plaintext = self.open_part(&header, name, 0, sealed)?;
        Ok((header, plaintext))
    }
}
