//! What the encoder makes, beside what servers made of the same strings, and what the decoder makes of anything.
//! Dumps of all servers are compared by tests/redis/lzf.rs.

use proptest::prelude::{ProptestConfig, Strategy as _, any, prop, prop_oneof, proptest};
use proptest::test_runner::RngSeed;

use super::*;

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Letters, ten digits, and some letters again.
fn again(letters: usize, count: usize) -> Vec<u8> {
    [b"-", &LETTERS[..letters], b"0123456789", &LETTERS[..count]].concat()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn encoded(plain: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    Encoder::default().encode(plain, &mut out).then_some(out)
}

fn decoded(stored: &[u8], length: usize) -> Result<Vec<u8>, Undecodable> {
    let mut out = Vec::new();
    decode(stored, length, &mut out).map(|()| out)
}

/// Strings, and what the payload of DUMP had for them on Redis 7.0.15.
fn of_server() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (vec![b'a'; 21], "016161e00a00"),
        (vec![b'a'; 500], "016161e0ff00e0df00016161"),
        (b"xyz".repeat(200), "0378797a78e0ff02e1ff07e1390701797a"),
        // A copy takes no more than all but two bytes of what is left.
        (again(20, 18), "1e2d4142434445464748494a4b4c4d4e4f505152535430313233343536373839e0071d015152"),
        (again(22, 22), "1f2d4142434445464748494a4b4c4d4e4f505152535455563031323334353637380039e00b1f015556"),
        // But for nineteen of nineteen and of twenty.
        (again(20, 19), "1e2d4142434445464748494a4b4c4d4e4f505152535430313233343536373839e00a1d"),
        (again(20, 20), "1e2d4142434445464748494a4b4c4d4e4f505152535430313233343536373839e00a1d0054"),
        (again(22, 21), "1f2d4142434445464748494a4b4c4d4e4f505152535455563031323334353637380039e00a1f015455"),
        // The very first byte is copied by nobody.
        (b"ABCDEFGH....ABCDEFGH....ABCDEFGH".to_vec(), "0841424344454647482e20000041e00a0b"),
        // A run of 32 ends right before the copy.
        (
            (0..32).chain(1..32).collect(),
            "1f000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fe0141e011e1f",
        ),
    ]
}

#[test]
fn what_a_server_made_of_a_string_is_what_the_encoder_makes() {
    for (plain, hex) in of_server() {
        assert_eq!(encoded(&plain), Some(bytes(hex)), "{}", plain.escape_ascii());
        assert_eq!(decoded(&bytes(hex), plain.len()), Ok(plain));
    }
}

#[test]
fn a_string_is_compressed_from_21_bytes_on_and_where_it_gains_four() {
    assert_eq!(encoded(&[b'a'; 20]), None);
    assert!(encoded(&[b'a'; 21]).is_some());
    assert_eq!(encoded(LETTERS), None);
    assert_eq!(encoded(b""), None);
    let mut out = vec![1, 2];
    assert!(!Encoder::default().encode(LETTERS, &mut out));
    assert_eq!(out, [1, 2]);
}

#[test]
fn what_was_encoded_before_makes_no_difference_not_even_where_the_table_starts_over() {
    let mut encoder = Encoder { base: u32::MAX - 700, ..Encoder::default() };
    encoder.places.fill(u32::MAX - 701);
    for _ in 0..3 {
        for (plain, hex) in of_server() {
            let mut out = Vec::new();
            assert!(encoder.encode(&plain, &mut out));
            assert_eq!(out, bytes(hex));
        }
    }
    assert!(encoder.base < 10_000, "it did start over");
}

#[test]
fn what_is_cut_or_reaches_too_far_or_makes_another_length_is_refused() {
    for (plain, hex) in of_server() {
        let stored = bytes(hex);
        for end in 0..stored.len() {
            assert!(decoded(&stored[..end], plain.len()).is_err(), "{hex} cut to {end}");
        }
        for length in [0, plain.len() - 1, plain.len() + 1, 1 << 40, usize::MAX] {
            let mut out = vec![7; 3];
            assert!(decode(&stored, length, &mut out).is_err(), "{hex} as {length}");
            assert_eq!(out, [7; 3]);
        }
    }
    assert_eq!(decoded(&[0x20, 0], 3), Err(Undecodable::Before { at: 0 }));
    assert_eq!(decoded(&[0, b'a', 0x20, 1], 4), Err(Undecodable::Before { at: 1 }));
    assert_eq!(decoded(&[0, b'a', 0xe0], 100), Err(Undecodable::Cut));
    assert_eq!(decoded(&[], 0), Ok(vec![]));
    // What stands before in `out` is another string's.
    let mut out = b"secret".to_vec();
    assert_eq!(decode(&[0, b'a', 0x20, 1], 4, &mut out), Err(Undecodable::Before { at: 1 }));
}

#[test]
fn what_cannot_be_true_is_refused_before_anything_is_allocated() {
    let mut out = Vec::new();
    let stored = [0xff; 300];
    assert_eq!(decode(&stored, 26_401, &mut out), Err(Undecodable::Impossible { stored: 300, length: 26_401 }));
    assert_eq!(out.capacity(), 0);
    // The most there is: 264 bytes of three.
    let most = [vec![0, b'a'], [0xe0, 0xff, 0].repeat(100)].concat();
    assert_eq!(decoded(&most, 1 + 264 * 100), Ok(vec![b'a'; 26_401]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_decodes_to_itself_and_gains(
        strings in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            prop::collection::vec(0..3u8, 0..4000),
            (prop::collection::vec(any::<u8>(), 1..300), 1..60usize).prop_map(|(piece, times)| piece.repeat(times)),
        ], 1..6)
    ) {
        let mut encoder = Encoder::default();
        for plain in strings {
            let mut stored = Vec::new();
            if encoder.encode(&plain, &mut stored) {
                assert!(plain.len() > 20 && stored.len() + 4 <= plain.len());
                assert_eq!(decoded(&stored, plain.len()), Ok(plain.clone()));
            }
            assert_eq!(encoded(&plain).unwrap_or_default(), stored);
        }
    }

    #[test]
    fn anything_decodes_to_the_promised_length_or_is_refused(
        stored in prop::collection::vec(any::<u8>(), 0..200), length in 0..2000usize
    ) {
        if let Ok(plain) = decoded(&stored, length) {
            assert_eq!(plain.len(), length);
        }
    }
}

#[test]
fn the_beginning_of_a_string_is_decoded_without_the_rest() {
    for (plain, stored) in of_server() {
        let stored = bytes(stored);
        for count in [0, 1, 10, 40, plain.len(), plain.len() + 1] {
            let mut out = b"before".to_vec();
            assert_eq!(decode_beginning(&stored, count, &mut out), Ok(()));
            assert_eq!(out, [b"before", &plain[..count.min(plain.len())]].concat());
        }
    }
    for broken in [&b"\x05abc"[..], b"\x00a\xe0\xff", b"\x00a\x20\x05"] {
        assert!(decode_beginning(broken, 10, &mut Vec::new()).is_err());
    }
}
