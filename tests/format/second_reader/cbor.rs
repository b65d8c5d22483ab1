//! CBOR maps with integer keys (CONV-4), on top of minicbor's token decoder.

use std::collections::BTreeMap;

use minicbor::Decoder;

use super::bytes::Outcome;

/// One structure: the encoded value of each key.
pub(super) struct Map<'b> {
    fields: BTreeMap<u64, &'b [u8]>,
}

/// Runs `read` over all of `bytes` and refuses what it leaves (CONV-3).
pub(super) fn whole<'b, T>(bytes: &'b [u8], read: impl FnOnce(&mut Decoder<'b>) -> Outcome<T>) -> Outcome<T> {
    let mut decoder = Decoder::new(bytes);
    let value = read(&mut decoder)?;
    if decoder.position() == bytes.len() { Ok(value) } else { Err("leftover bytes after CBOR".into()) }
}

fn told(error: minicbor::decode::Error) -> String {
    format!("CBOR: {error}")
}

/// The encoded bytes of the next item.
fn item<'b>(decoder: &mut Decoder<'b>) -> Outcome<&'b [u8]> {
    let start = decoder.position();
    decoder.skip().map_err(told)?;
    decoder.input().get(start..decoder.position()).ok_or_else(|| "CBOR ends too early".into())
}

/// A map's entries in the order they stand; `key` reads a key.
fn entries<'b, K: Ord>(
    decoder: &mut Decoder<'b>,
    key: impl Fn(&mut Decoder<'b>) -> Outcome<K>,
) -> Outcome<BTreeMap<K, &'b [u8]>> {
    let count = decoder.map().map_err(told)?.ok_or("a map of indefinite length")?;
    let mut fields = BTreeMap::new();
    for _ in 0..count {
        let key = key(decoder)?;
        if fields.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err("keys of a map are not in ascending order".into());
        }
        fields.insert(key, item(decoder)?);
    }
    Ok(fields)
}

pub(super) fn uint(decoder: &mut Decoder<'_>) -> Outcome<u64> {
    decoder.u64().map_err(told)
}

pub(super) fn int(decoder: &mut Decoder<'_>) -> Outcome<i64> {
    decoder.i64().map_err(told)
}

pub(super) fn boolean(decoder: &mut Decoder<'_>) -> Outcome<bool> {
    decoder.bool().map_err(told)
}

pub(super) fn text(decoder: &mut Decoder<'_>) -> Outcome<String> {
    decoder.str().map(String::from).map_err(told)
}

pub(super) fn bytes(decoder: &mut Decoder<'_>) -> Outcome<Vec<u8>> {
    decoder.bytes().map(<[u8]>::to_vec).map_err(told)
}

pub(super) fn exact<const N: usize>(decoder: &mut Decoder<'_>) -> Outcome<[u8; N]> {
    decoder.bytes().map_err(told)?.try_into().map_err(|_| format!("bytes that are not {N} long"))
}

/// An array of at most `limit` items.
pub(super) fn array<'b, T>(
    decoder: &mut Decoder<'b>,
    limit: u64,
    read: impl Fn(&mut Decoder<'b>) -> Outcome<T>,
) -> Outcome<Vec<T>> {
    let count = decoder.array().map_err(told)?.ok_or("an array of indefinite length")?;
    if count > limit {
        return Err(format!("an array of {count} items, more than {limit}"));
    }
    // Nothing is reserved: an item takes a byte at least, so the object's own size bounds the list.
    (0..count).map(|_| read(decoder)).collect()
}

/// A map that is not a structure: its keys are data.
pub(super) fn keyed<'b, K: Ord, V>(
    decoder: &mut Decoder<'b>,
    key: impl Fn(&mut Decoder<'b>) -> Outcome<K>,
    value: impl Fn(&mut Decoder<'b>) -> Outcome<V>,
) -> Outcome<BTreeMap<K, V>> {
    entries(decoder, key)?.into_iter().map(|(key, item)| Ok((key, whole(item, &value)?))).collect()
}

impl<'b> Map<'b> {
    // CONV-4: keys that are not asked for are skipped.
    pub(super) fn read(decoder: &mut Decoder<'b>) -> Outcome<Self> {
        Ok(Map { fields: entries(decoder, uint)? })
    }

    pub(super) fn optional<T>(
        &self,
        key: u64,
        read: impl FnOnce(&mut Decoder<'b>) -> Outcome<T>,
    ) -> Outcome<Option<T>> {
        let field = self.fields.get(&key);
        field.map(|item| whole(item, read).map_err(|error| format!("field {key}: {error}"))).transpose()
    }

    pub(super) fn required<T>(&self, key: u64, read: impl FnOnce(&mut Decoder<'b>) -> Outcome<T>) -> Outcome<T> {
        self.optional(key, read)?.ok_or_else(|| format!("field {key} is missing"))
    }

    /// A number of at most `limit`.
    pub(super) fn bounded(&self, key: u64, limit: u64) -> Outcome<u64> {
        let value = self.required(key, uint)?;
        if value > limit { Err(format!("field {key}: {value} is more than {limit}")) } else { Ok(value) }
    }
}
