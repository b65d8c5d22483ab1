//! Values of dumps, read to be shown, and keys followed through commands.

use std::ops::ControlFlow;

use redkeep::aof::{Expiry, Fate, Lookup};
use redkeep::rdb::values::{Item, PiecewiseDigest, Templates, Value, read_records};
use redkeep::rdb::{Family, What, read_structure};

/// Records are those of the structure, each with the same bytes if all of them are kept.
pub fn records(bytes: &[u8]) {
    let structure = read_structure(bytes).unwrap();
    for longest in [0, 40, usize::MAX] {
        let mut keys = 0;
        let told = read_records(bytes, longest, &mut |record| {
            if let (What::Record { value: at, .. }, Some(value)) = (record.stretch.what, record.value) {
                assert_eq!(value.raw, &bytes[at as usize..record.stretch.end as usize]);
            }
            assert!(longest < usize::MAX || record.value.is_some());
            keys += 1;
            ControlFlow::Continue(())
        });
        assert_eq!(told.unwrap().as_ref(), Some(&structure));
        assert_eq!(keys, structure.keys());
    }
}

/// A value behind its type and whose it is: what is handed on to the end is measured alike, and goes into a payload.
pub fn value(bytes: &[u8]) {
    let [type_byte, family, raw @ ..] = bytes else { return };
    let (type_byte, family) = (*type_byte, if family % 2 == 0 { Family::Redis } else { Family::Valkey });
    let mut templates = Templates::default();
    templates.add(b"\x05\x02\x01a\x01b").unwrap();
    let _ = templates.add(raw);
    let value = Value { type_byte, family, raw, templates: &templates };
    let (mut elements, mut paths, mut text) = (0_u64, 0_u64, 0_u64);
    let ended = value.each(&mut |item| {
        match item {
            Item::Text(bytes) | Item::Element(bytes) | Item::Member { member: bytes, .. } => text += bytes.len() as u64,
            Item::Path(_) => paths += 1,
            Item::Entry { .. }
            | Item::Field { .. }
            | Item::Placed { .. }
            | Item::Stream(_)
            | Item::Group(_)
            | Item::Consumer(_)
            | Item::Module(_) => {}
        }
        elements += 1;
        ControlFlow::Continue(())
    });
    assert!(text <= 88 * raw.len() as u64 + 20 * elements);
    let measured = value.measure();
    let payload = value.payload(11);
    if ended.is_ok() {
        let measure = measured.unwrap();
        match (type_byte, family) {
            (7 | 15 | 19 | 21 | 26 | 27, _) => {}
            (23, Family::Valkey) => assert_eq!(measure.elements, paths),
            _ => assert_eq!(measure.elements, elements),
        }
        assert!(measure.bytes >= raw.len() as u64);
        let payload = payload.unwrap();
        assert_eq!(payload[payload.len() - 10..payload.len() - 8], [11, 0]);
        assert!([30, 32].contains(&type_byte) || payload[1..].starts_with(raw));
    }
    assert_eq!(value.digest().is_ok(), ended.is_ok() || (family == Family::Redis && [33, 64].contains(&type_byte)));
    let _ = value.each_of_stream(&mut |_| ControlFlow::Continue(()));
    // Text that is not stored as it is has no digest in pieces.
    let has_one = type_byte != 0 || raw.first().is_some_and(|first| *first < 0xc0);
    for size in [1, 7, 1000] {
        let Some(mut digest) = PiecewiseDigest::new(type_byte, family) else { break };
        let pushed = raw.chunks(size).try_for_each(|piece| digest.push(piece));
        let in_pieces = pushed.and_then(|()| digest.finish()).ok();
        assert_eq!(in_pieces, value.digest().ok().filter(|_| has_one), "in pieces of {size}");
    }
}

/// Pieces of any size give the same answer; what a key is set to was there.
pub fn lookup(bytes: &[u8]) {
    let before = Fate::Kept { value: Some(b"4".to_vec()), expiry: Expiry::Never };
    for begin in [Fate::Untouched, Fate::Gone, before] {
        let follow = |size: usize| {
            let mut lookup = Lookup::starting_from(begin.clone(), 0, b"a", 100);
            bytes.chunks(size).for_each(|piece| lookup.push(piece));
            lookup.finish()
        };
        let fate = follow(usize::MAX);
        for size in [1, 7] {
            assert_eq!(follow(size), fate);
        }
        match fate {
            Fate::Kept { value: Some(value), .. } => assert!(value.len() <= bytes.len() + 21),
            Fate::Untold(obstacle) => {
                assert!(obstacle.file == 0 && obstacle.offset >= 100 && obstacle.offset < 100 + bytes.len() as u64);
            }
            Fate::Untouched | Fate::Gone | Fate::Kept { value: None, .. } => {}
        }
    }
}
