//! Dumps in canonical form and back, and what is read of one that is stored.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};

use redkeep::format::recipe::{CANONICAL_RDB, ColumnRole, Part, Stream};
use redkeep::rdb::canonical::{
    Collection, Decoder, Encoded, Encoder, Gathered, Gatherer, Gathering, Hasher, Kept, Limits, NotCanonical,
    OrderTokens, RecordAt, Sides, TemplateTags, Values, encode_order, put_varint, take_event,
};
use redkeep::rdb::values::HASH_TEMPLATE;
use redkeep::rdb::{Family, read_stretches};
use redkeep::repository::Parameters;

fn hasher() -> Hasher {
    Hasher::new([7; 32])
}

fn family_of(magic: &[u8]) -> Family {
    if magic.starts_with(b"VALKEY") { Family::Valkey } else { Family::Redis }
}

/// Pieces of a dump, each handed to the gatherer before it is read.
struct Pieces<'a, F: FnMut(&[u8])> {
    rest: &'a [u8],
    ready: &'a [u8],
    size: usize,
    comes: F,
}

impl<F: FnMut(&[u8])> Read for Pieces<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() && !self.rest.is_empty() {
            (self.ready, self.rest) = self.rest.split_at(self.size.min(self.rest.len()));
            (self.comes)(self.ready);
        }
        self.ready.read(buffer)
    }
}

/// A dump as it is kept.
struct Taken {
    gathered: Gathered,
    records: Vec<(Encoded, u32)>,
    order: Vec<u8>,
    after: Vec<u8>,
}

/// The canonical form of a dump, where it has one.
fn take_apart(dump: &[u8], size: usize, limits: Limits) -> Option<Taken> {
    let gatherer = RefCell::new(Gatherer::new(limits));
    let (mut records, mut after, mut refused) = (Vec::new(), Vec::new(), false);
    let (mut encoder, mut templates, mut value) = (None, TemplateTags::default(), Vec::new());
    let mut take = || {
        while let Some(gathering) = { gatherer.borrow_mut().hand_on() } {
            let batch = match gathering {
                Gathering::Records(batch) => Some(batch),
                Gathering::After(bytes) => {
                    after.extend(bytes);
                    None
                }
                Gathering::Value(piece) => {
                    value.extend(piece);
                    None
                }
                Gathering::ValueEnd(piece, batch) => {
                    value.extend(piece);
                    Some(batch)
                }
            };
            if let Some(batch) = batch {
                let (header, clock) = gatherer.borrow().header().unwrap();
                let encoder = encoder.get_or_insert_with(|| Encoder::new(header.family, clock, limits, hasher()));
                gatherer.borrow_mut().take_templates().iter().for_each(|body| templates.add(hasher(), body));
                encoder.know_templates(&templates.clone().into());
                for (place, record) in batch.records() {
                    match encoder.encode(record) {
                        Ok(mut encoded) => {
                            if record.giant.is_some() {
                                encoded.large = Some(std::mem::take(&mut value));
                            }
                            records.push((encoded, place));
                        }
                        Err(_) => refused = true,
                    }
                }
                gatherer.borrow_mut().take_back(batch);
            }
        }
    };
    let comes = |bytes: &[u8]| {
        gatherer.borrow_mut().push(bytes);
        take();
    };
    let mut pieces = Pieces { rest: dump, ready: &[], size, comes };
    read_stretches(&mut pieces, &mut |stretch| gatherer.borrow_mut().stretch(stretch)).unwrap();
    gatherer.borrow_mut().end();
    take();
    let gathered = gatherer.into_inner().finish()?;
    assert_eq!(gathered.length + after.len() as u64, dump.len() as u64, "bytes that are neither");
    gathered.magic?;
    records.sort_by(|one: &(Encoded, u32), other| one.0.place.cmp(&other.0.place));
    let is_told = !refused && records.windows(2).all(|pair| pair[0].0.place < pair[1].0.place);
    let (hashes, places): (Vec<u32>, Vec<u32>) =
        records.iter().map(|(record, place)| (hasher().hash(&record.place), *place)).unzip();
    let mut order = Vec::new();
    let is_told = is_told && encode_order(&hashes, &places, &mut order);
    is_told.then_some(Taken { gathered, records, order, after })
}

fn put_together(taken: &Taken) -> Result<Vec<u8>, NotCanonical> {
    let Gathered { magic, clock, events, tail, .. } = &taken.gathered;
    let magic = magic.unwrap();
    let mut tokens = OrderTokens::new(taken.records.len() as u64)?;
    let (_, mut picks) = taken.order.split_at(tokens.push(&taken.order));
    let mut order = tokens.finish()?;
    let (mut templates, mut rest) = (TemplateTags::default(), &events[..]);
    while let Some((_, event)) = take_event(&mut rest)? {
        if event[0] == HASH_TEMPLATE && family_of(&magic) == Family::Redis {
            templates.add(hasher(), &event[1..]);
        }
    }
    let values = Values { templates: templates.into(), ..Values::default() };
    let mut decoder = Decoder::new(family_of(&magic), *clock, hasher(), values);
    let mut records = vec![Vec::new(); taken.records.len()];
    for (encoded, _) in &taken.records {
        let kept = Kept::of(&encoded.body)?;
        let out = &mut records[order.place(hasher().hash(&encoded.place), &mut picks)? as usize];
        decoder.head(kept, &encoded.sides, out)?;
        let value = encoded.large.as_deref().unwrap_or(kept.value());
        assert_eq!(kept.large(), encoded.large.as_ref().map(|large| large.len() as u64));
        assert_eq!(kept.sides(), (encoded.sides.idle.len(), encoded.sides.frequencies.len()));
        assert_eq!(kept.has_order(), !encoded.sides.order.is_empty());
        decoder.value(kept.value_tag(), value, &encoded.sides.order, out)?;
    }
    assert!(picks.is_empty());
    let (mut file, mut rest, mut records) = (magic.to_vec(), &events[..], records.into_iter());
    while let Some((gap, event)) = take_event(&mut rest)? {
        file.extend(records.by_ref().take(gap as usize).flatten());
        file.extend_from_slice(event);
    }
    file.extend(records.flatten());
    Ok([&file[..], tail, &taken.after].concat())
}

/// Whatever the bytes: they come back, or are not canonical; the pieces they come in make no difference.
pub fn dump(bytes: &[u8]) {
    let values_of = |value| Limits { value, ..Limits::default() };
    let taken = [(usize::MAX, 1 << 20), (7, 20)].map(|(size, value)| take_apart(bytes, size, values_of(value)));
    // Where every record of more than some bytes is handed on in pieces. What ends within one is none.
    let pieces = take_apart(bytes, 7, Limits { value: 20, record: 50, elements: 3 });
    assert!(pieces.is_none_or(|taken| put_together(&taken).unwrap() == bytes), "other bytes come back from pieces");
    for taken in taken.iter().flatten() {
        assert!(put_together(taken).unwrap() == bytes, "other bytes come back");
    }
    let [one, other] =
        taken.map(|taken| taken.map(|taken| (taken.gathered.length, taken.gathered.events, taken.order)));
    assert!(one == other, "pieces of another size make a difference");
}

/// A kept record: the family, how long its order is, the order, the record. What is made of it is no longer than it can be, and
/// comes back as every record does.
pub fn kept(bytes: &[u8]) {
    let [family, length, rest @ ..] = bytes else { return };
    let family = if family % 2 == 0 { Family::Redis } else { Family::Valkey };
    let (order, body) = rest.split_at(rest.len().min(usize::from(*length)));
    let Ok(record) = Kept::of(body) else { return };
    let (idle, frequencies) = record.sides();
    assert!(idle + frequencies <= 15);
    let sides = Sides { idle: vec![5; idle], frequencies: vec![7; frequencies], order: order.to_vec() };
    let _ = (record.expiry(), record.place(3));
    let mut decoder = Decoder::new(family, 1_790_000_000, hasher(), values());
    let mut out = Vec::new();
    if decoder.head(record, &sides, &mut out).is_err() {
        return;
    }
    let value = out.len();
    if decoder.value(record.value_tag(), record.value(), order, &mut out).is_ok() {
        assert!(out.len() <= 9 * body.len() + 80, "{} bytes of {}", out.len(), body.len());
        // Nothing stands before it.
        if out.first() == Some(&record.type_byte()) && body[0] & 0x2f == 0 {
            again(&out, value, family);
        }
    }
}

/// Two templates, the fields of which are known here.
fn values() -> Values {
    let mut templates = TemplateTags::default();
    [&b"\x01\x02\x01a\x01b"[..], b"\x40\x80\x01\x01c"].iter().for_each(|body| templates.add(hasher(), body));
    Values { templates: templates.into(), ..Values::default() }
}

fn again(record: &[u8], value: usize, family: Family) {
    let at = RecordAt { bytes: record, prefix: &[], value, database: 3, giant: None };
    let mut encoder = Encoder::new(family, 0, Limits { value: 1 << 20, ..Limits::default() }, hasher());
    encoder.know_templates(&values().templates);
    let Ok(encoded) = encoder.encode(at) else { return };
    let (mut decoder, mut out) = (Decoder::new(family, 0, hasher(), values()), Vec::new());
    let kept = Kept::of(&encoded.body).unwrap();
    decoder.head(kept, &encoded.sides, &mut out).unwrap();
    decoder.value(kept.value_tag(), kept.value(), &encoded.sides.order, &mut out).unwrap();
    assert_eq!(out, record);
}

/// ORDER-1: an order of as many things as the first two bytes say, in pieces: each has a place of its own, and the order is
/// written the same.
pub fn order(bytes: &[u8]) {
    let [low, high, stored @ ..] = bytes else { return };
    let count = u32::from(u16::from_le_bytes([*low, *high]));
    let hashes: Vec<u32> = (0..count).map(|number| number.wrapping_mul(0x9e37_79b1)).collect();
    for size in [1, usize::MAX] {
        let mut tokens = OrderTokens::new(count.into()).unwrap();
        let taken: usize = stored.chunks(size).map(|piece| tokens.push(piece)).sum();
        let (mut rest, Ok(mut order)) = (&stored[taken..], tokens.finish()) else { return };
        let places: Result<Vec<u32>, _> = hashes.iter().map(|hash| order.place(*hash, &mut rest)).collect();
        let Ok(places) = places else { return };
        let mut sorted = places.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..count), "no permutation");
        let mut written = Vec::new();
        assert!(encode_order(&hashes, &places, &mut written));
        assert_eq!(written, stored[..stored.len() - rest.len()], "two forms of one order");
    }
    if let Some(count) = bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)) {
        let refused = OrderTokens::new(count).and_then(|mut tokens| {
            tokens.push(stored);
            tokens.finish()
        });
        assert!(refused.is_err() || count < 1 << 16, "an order of {count} things");
    }
}

/// CANON-8: the type of a collection, and its value: sorted elements are parted as those of the file are, and go back.
pub fn elements(bytes: &[u8]) {
    let [type_byte, family, raw @ ..] = bytes else { return };
    let family = if family % 2 == 0 { Family::Redis } else { Family::Valkey };
    let Some(of) = Collection::of(*type_byte, family) else { return };
    let Some((begin, count)) = of.begin(raw) else { return };
    let parted = |mut rest: &'_ [u8]| {
        let (whole, mut elements) = (rest, Vec::new());
        while let Some(at) = of.element(rest).filter(|_| (elements.len() as u64) < count) {
            let from = whole.len() - rest.len();
            elements.push((from + at.name.0..from + at.end, from + at.name.0..from + at.name.1, from..from + at.end));
            rest = &rest[at.end..];
        }
        (elements, rest.len())
    };
    let rest = &raw[begin..];
    let (mut elements, behind) = parted(rest);
    let places_by =
        |elements: &[(_, _, std::ops::Range<usize>)]| elements.iter().map(|one| one.2.start).collect::<Vec<_>>();
    let begins = places_by(&elements);
    elements.sort_by(|one, other| rest[one.0.clone()].cmp(&rest[other.0.clone()]));
    let sorted: Vec<u8> = elements.iter().flat_map(|(.., whole)| &rest[whole.clone()]).copied().collect();
    let hashes: Vec<u32> = elements.iter().map(|(_, name, _)| hasher().hash(&rest[name.clone()])).collect();
    let places: Vec<u32> =
        elements.iter().map(|(.., whole)| begins.binary_search(&whole.start).unwrap() as u32).collect();
    let mut order = Vec::new();
    assert!(encode_order(&hashes, &places, &mut order) || hashes.len() > 4096);
    let (again, left) = parted(&sorted);
    assert_eq!((again.len(), left), (elements.len(), 0), "other elements, once they are sorted");
    let mut tokens = OrderTokens::new(again.len() as u64).unwrap();
    let (_, mut picks) = order.split_at(tokens.push(&order));
    let (mut order, mut back) = (tokens.finish().unwrap(), vec![&[][..]; again.len()]);
    for (_, name, whole) in again {
        back[order.place(hasher().hash(&sorted[name]), &mut picks).unwrap() as usize] = &sorted[whole];
    }
    assert_eq!(back.concat(), rest[..rest.len() - behind], "other bytes come back");
}

pub fn events(bytes: &[u8]) {
    let (mut rest, mut written) = (bytes, Vec::new());
    while let Ok(Some((gap, event))) = take_event(&mut rest) {
        put_varint(&mut written, gap);
        put_varint(&mut written, event.len() as u64);
        written.extend_from_slice(event);
        assert_eq!(written, bytes[..bytes.len() - rest.len()], "two forms of one event");
    }
}

pub fn parameters(bytes: &[u8]) {
    let buckets = Stream { length: 0, levels: 0, top: Vec::new(), labelled: Some(true) };
    let streams = BTreeMap::from([(ColumnRole::Buckets as u64, buckets)]);
    let part = Part { method: CANONICAL_RDB, length: 9, streams, parameters: Some(bytes.to_vec()) };
    if let Ok(parameters) = Parameters::of(&part) {
        assert_eq!(parameters.encode(), bytes, "two forms of the same parameters");
    }
}
