//! A record that was written anew, told by what stayed of the one it replaces.

use crate::format::copies::Copies;

/// What stays is copied from so many bytes on: less is told as shortly by itself, once it is compressed.
const COPIED: usize = 16;
/// What is looked for is found by so many bytes.
const GRAM: usize = 8;
/// Records of more bytes are not looked through.
const LONGEST: usize = 1 << 20;

/// Appends `new` to a delta, as copies of what stands in `old`, which begins at `place` of the bases, and what is new between
/// them. Memory: up to 8 bytes for each of `old`.
pub(super) fn rewrite(old: &[u8], new: &[u8], place: u64, copies: &mut Copies) {
    let before = same_begin(old, new);
    let (old_rest, new_rest) = (old.get(before..).unwrap_or_default(), new.get(before..).unwrap_or_default());
    let after = same_end(old_rest, new_rest);
    let old_rest = old_rest.get(..old_rest.len() - after).unwrap_or_default();
    let new_rest = new_rest.get(..new_rest.len() - after).unwrap_or_default();
    put(before, new, place, copies);
    within(old_rest, new_rest, place + before as u64, copies);
    let behind = new.get(new.len() - after..).unwrap_or_default();
    put(after, behind, place + (old.len() - after) as u64, copies);
}

/// The first bytes of `new`, so many of which stand at `place`.
fn put(length: usize, new: &[u8], place: u64, copies: &mut Copies) {
    match length < COPIED {
        true => copies.insert(new.get(..length).unwrap_or_default()),
        false => copies.copy(place, length as u64),
    }
}

/// What differs at its begin and its end: what stands in both is looked for from the begin on, and taken as long as it is.
fn within(old: &[u8], new: &[u8], place: u64, copies: &mut Copies) {
    if old.len() < COPIED || new.len() < COPIED || old.len() > LONGEST {
        return copies.insert(new);
    }
    let slots = (2 * old.len()).next_power_of_two();
    let slot = |gram: u64| (gram.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (slots - 1);
    // One more than where each group stands last.
    let mut found = vec![0u32; slots];
    for (at, gram) in old.windows(GRAM).enumerate() {
        if let Some(last) = number(gram).and_then(|gram| found.get_mut(slot(gram))) {
            *last = at as u32 + 1;
        }
    }
    let (mut at, mut literal) = (0, 0);
    while let Some(gram) = new.get(at..at + GRAM).and_then(number) {
        let from = found.get(slot(gram)).and_then(|from| from.checked_sub(1)).map(|from| from as usize);
        let length =
            from.map_or(0, |from| same_begin(old.get(from..).unwrap_or_default(), new.get(at..).unwrap_or_default()));
        match from {
            Some(from) if length >= COPIED => {
                copies.insert(new.get(literal..at).unwrap_or_default());
                copies.copy(place + from as u64, length as u64);
                at += length;
                literal = at;
            }
            _ => at += 1,
        }
    }
    copies.insert(new.get(literal..).unwrap_or_default());
}

fn number(gram: &[u8]) -> Option<u64> {
    gram.first_chunk().map(|gram| u64::from_le_bytes(*gram))
}

fn same_begin(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn same_end(one: &[u8], other: &[u8]) -> usize {
    one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::copies::apply_copies;

    /// The length of the delta, which is undone.
    fn length(old: &[u8], new: &[u8]) -> usize {
        let bases = [b"before".as_slice(), old, b"behind"].concat();
        let mut copies = Copies::default();
        copies.copy(0, 6);
        rewrite(old, new, 6, &mut copies);
        copies.copy(6 + old.len() as u64, 6);
        let delta = copies.finish();
        let again = apply_copies(&[&bases], &delta, new.len() + 12).unwrap();
        assert_eq!(again, [b"before".as_slice(), new, b"behind"].concat());
        delta.len()
    }

    fn fields(changed: &[usize]) -> Vec<u8> {
        let value = |field: usize| blake3::hash(&[field as u8, changed.contains(&field) as u8]).to_hex();
        (0..100).flat_map(|field| format!("field:{field:04}={}", value(field)).into_bytes()).collect()
    }

    #[test]
    fn what_stayed_of_a_record_is_copied_and_the_rest_stands_as_it_is() {
        let old = fields(&[]);
        assert!(length(&old, &old) < 20);
        assert!((64..90).contains(&length(&old, &fields(&[7]))));
        assert!((192..240).contains(&length(&old, &fields(&[0, 50, 99]))));
        let without: Vec<u8> = [&old[..300], &old[900..]].concat();
        assert!(length(&old, &without) < 30 && length(&without, &old) < 640);
        for (old, new) in
            [(&b""[..], &b"a"[..]), (b"a", b""), (b"aaaaaaaaaaaaaaaaaaaa", b"aaaaaaaaaaaaaaaaaaaaaaaa"), (b"x", b"y")]
        {
            assert!(length(old, new) <= new.len() + 16);
        }
    }
}
