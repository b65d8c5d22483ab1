//! Forms of strings that servers write, and of those they only read. Dumps of all servers are compared by tests/redis.

use proptest::prelude::{Just, Strategy as _};
use proptest::prelude::{ProptestConfig, any, prop, prop_oneof, proptest};
use proptest::test_runner::RngSeed;

use super::*;
use crate::noise::noise;

/// The form of a string, what is kept of it, and that it comes back from that.
fn taken_apart(stored: &[u8]) -> (StringForm, Vec<u8>) {
    let (mut strings, mut kept, mut again) = (Strings::default(), b"before".to_vec(), b"ahead".to_vec());
    let (form, length) = strings.decode(&[stored, b"behind"].concat(), &mut kept).unwrap();
    assert_eq!(length, stored.len());
    let kept = kept.strip_prefix(b"before").unwrap().to_vec();
    strings.encode(form, &kept, &mut again);
    assert_eq!(again, [b"ahead", stored].concat());
    (form, kept)
}

fn plain(text: &[u8]) -> Vec<u8> {
    let mut stored = Vec::new();
    encode_plain(text, &mut stored);
    stored
}

/// RSTR-1, RSTR-2
#[test]
fn what_servers_write_is_usual_and_its_text_is_all_there_is_to_keep() {
    let usual: &[(&[u8], &[u8])] = &[
        (b"\x00", b""),
        (b"\x05hello", b"hello"),
        (b"\xc0\x0c", b"12"),
        (b"\xc0\x80", b"-128"),
        (b"\xc1\x80\x00", b"128"),
        (b"\xc1\x00\x80", b"-32768"),
        (b"\xc2\x00\x80\x00\x00", b"32768"),
        (b"\xc2\x00\x00\x00\x80", b"-2147483648"),
        (b"\xc2\xff\xff\xff\x7f", b"2147483647"),
        // No numbers of 32 bits, or not written as one.
        (b"\x0a2147483648", b"2147483648"),
        (b"\x0b-2147483649", b"-2147483649"),
        (b"\x0201", b"01"),
        (b"\x02-0", b"-0"),
        (b"\x02+1", b"+1"),
        (b"\x02 1", b" 1"),
        (b"\xc3\x06\x15\x01aa\xe0\x0a\x00", &[b'a'; 21]),
        (b"\x14aaaaaaaaaaaaaaaaaaaa", &[b'a'; 20]),
    ];
    for (stored, text) in usual {
        assert_eq!(taken_apart(stored), (StringForm::Usual, text.to_vec()), "{}", stored.escape_ascii());
    }
    let heads: [(usize, &[u8]); 5] = [
        (63, b"\x3f"),
        (64, b"\x40\x40"),
        (16_383, b"\x7f\xff"),
        (16_384, b"\x80\x00\x00\x40\x00"),
        (100_000, b"\x80\x00\x01\x86\xa0"),
    ];
    for (length, head) in heads {
        let text = noise(length, 0);
        assert_eq!(taken_apart(&[head, &text].concat()), (StringForm::Usual, text));
    }
}

/// RSTR-1
#[test]
fn what_could_be_stored_shorter_is_plain() {
    for text in [&b"12"[..], b"-2147483648", &[b'a'; 21], &[b'a'; 70_000]] {
        assert_eq!(taken_apart(&plain(text)), (StringForm::Plain, text.to_vec()));
    }
}

/// RSTR-1
#[test]
fn what_no_rule_makes_is_kept_as_it_is() {
    let odd: &[&[u8]] = &[
        b"\x40\x05hello",
        b"\x80\x00\x00\x00\x05hello",
        b"\x81\x00\x00\x00\x00\x00\x00\x00\x05hello",
        b"\xc1\x0c\x00",
        b"\xc2\x0c\x00\x00\x00",
        // LZF that another encoder made, that is of too short a text, with a long length, that decodes to something else.
        b"\xc3\x16\x15\x14aaaaaaaaaaaaaaaaaaaaa",
        b"\xc3\x06\x14\x01aa\xe0\x09\x00",
        b"\xc3\x06\x40\x15\x01aa\xe0\x0a\x00",
        b"\xc3\x06\x16\x01aa\xe0\x0a\x00",
        b"\xc3\x00\x00",
    ];
    for stored in odd {
        assert_eq!(taken_apart(stored), (StringForm::Verbatim, stored.to_vec()), "{}", stored.escape_ascii());
    }
    let mut text = Vec::new();
    assert_eq!(text_of(odd[0], &mut text), Ok(true));
    assert_eq!(text_of(odd[4], &mut text), Ok(true));
    assert_eq!(text_of(odd[8], &mut text), Ok(false));
    assert_eq!(text, b"hello12");
}

/// RSTR-3
#[test]
fn a_compressed_string_of_more_than_16_mib_is_not_decoded() {
    for (length, expected) in [(16 << 20, StringForm::Usual), ((16 << 20) + 1, StringForm::Verbatim)] {
        let mut stored = Vec::new();
        Strings::default().encode(StringForm::Usual, &vec![b'x'; length], &mut stored);
        assert_eq!(stored[0], MARK_LZF);
        let (form, kept) = taken_apart(&stored);
        assert_eq!((form, kept.len()), (expected, if form == StringForm::Usual { length } else { stored.len() }));
    }
}

#[test]
fn what_is_cut_off_is_no_string() {
    for stored in [
        &b"\x05hello"[..],
        b"\xc2\x00\x00\x01\x00",
        b"\xc3\x06\x15\x01aa\xe0\x0a\x00",
        b"\x81\x00\x00\x00\x00\x00\x00\x00\x01a",
    ] {
        for end in 0..stored.len() {
            let mut kept = vec![1];
            assert_eq!(Strings::default().decode(&stored[..end], &mut kept), Err(NoString));
            assert_eq!(kept, [1]);
        }
    }
    for stored in [&b"\xc4\x00\x00"[..], b"\x82\x00\x00\x00\x00", b"\xff", b"\x81\xff\xff\xff\xff\xff\xff\xff\xff"] {
        assert_eq!(Strings::default().decode(stored, &mut Vec::new()), Err(NoString));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_a_string_comes_back_byte_for_byte(
        first in prop_oneof![any::<u8>(), 0xc0..=0xc3u8, Just(0xc3)], rest in prop::collection::vec(any::<u8>(), 0..80)
    ) {
        let bytes = [&[first], &rest[..]].concat();
        let mut kept = Vec::new();
        if let Ok((_, length)) = Strings::default().decode(&bytes, &mut kept) {
            taken_apart(&bytes[..length]);
        }
    }

    #[test]
    fn every_text_has_a_usual_form(text in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60), any::<i64>().prop_map(|number| number.to_string().into_bytes())
    ]) {
        let mut stored = Vec::new();
        Strings::default().encode(StringForm::Usual, &text, &mut stored);
        assert_eq!(taken_apart(&stored), (StringForm::Usual, text));
    }
}
