//! A recovery key: a password that redkeep draws, written so that a person can copy it by hand. Rules:
//! format-spec/03-keys.md, Recovery key.

use zeroize::Zeroizing;

/// Symbols that are hard to take for one another.
const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Symbols that are random: 130 bits.
const RANDOM: usize = 26;
/// Symbols that tell a slip of the pen.
const CHECK: usize = 4;
/// Symbols of the whole.
const LENGTH: usize = RANDOM + CHECK;
/// Symbols between two hyphens.
const GROUP: usize = 5;

/// A text that somebody gave as a password, as far as it looks like a recovery key.
#[derive(Clone, PartialEq, Eq)]
pub enum Reading {
    /// It is one: this is its written form.
    Key(Zeroizing<String>),
    /// It has the symbols of one, but they do not fit together: a typing error, or an ordinary password.
    Mistyped,
    /// It is an ordinary password.
    Other,
}

/// The recovery key of random bytes, of which each gives a symbol.
pub fn write(random: &[u8; RANDOM]) -> Zeroizing<String> {
    let symbols: Zeroizing<Vec<u8>> = Zeroizing::new(random.iter().map(|byte| symbol(u32::from(*byte))).collect());
    grouped(&symbols, check(&symbols))
}

/// KEY-18: case, spaces and hyphens do not count, nor which of two symbols that look alike was typed.
pub fn read(text: &[u8]) -> Reading {
    let counts = |byte: &&u8| !matches!(**byte, b' ' | b'-' | b'\t');
    let mut symbols = Zeroizing::new(Vec::with_capacity(RANDOM + CHECK + 1));
    symbols.extend(text.iter().filter(counts).take(RANDOM + CHECK + 1).map(|byte| match byte.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    }));
    let random = match symbols.get(..RANDOM) {
        Some(random) if symbols.len() == LENGTH && symbols.iter().all(|byte| SYMBOLS.contains(byte)) => random,
        _ => return Reading::Other,
    };
    match symbols.ends_with(&check(random)) {
        true => Reading::Key(grouped(random, check(random))),
        false => Reading::Mistyped,
    }
}

fn symbol(bits: u32) -> u8 {
    let [symbol, ..] = SYMBOLS.get((bits & 31) as usize..).unwrap_or(SYMBOLS) else { unreachable!("32 symbols") };
    *symbol
}

fn check(symbols: &[u8]) -> [u8; CHECK] {
    let [a, b, c, ..] = *blake3::hash(symbols).as_bytes();
    let bits = u32::from_be_bytes([0, a, b, c]) >> 4;
    [15, 10, 5, 0].map(|shift| symbol(bits >> shift))
}

fn grouped(random: &[u8], check: [u8; CHECK]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(LENGTH + LENGTH / GROUP));
    for (place, symbol) in random.iter().chain(&check).enumerate() {
        if place > 0 && place % GROUP == 0 {
            text.push('-');
        }
        text.push(char::from(*symbol));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> String {
        write(&std::array::from_fn(|place| (place as u8).wrapping_mul(37))).to_string()
    }

    fn is_key(text: &str) -> bool {
        matches!(read(text.as_bytes()), Reading::Key(written) if *written == key())
    }

    /// KEY-18
    #[test]
    fn a_recovery_key_is_read_however_a_person_types_it() {
        let key = key();
        assert_eq!(key.len(), 35);
        assert!(key.split('-').all(|group| group.len() == 5), "{key}");
        let loose = key.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        for text in [key.clone(), key.replace('-', ""), loose.clone(), format!("  {loose} ")] {
            assert!(is_key(&text), "{text}");
        }
    }

    /// KEY-18
    #[test]
    fn every_wrong_or_swapped_symbol_is_told_from_a_wrong_key() {
        let key = key().replace('-', "").into_bytes();
        for place in 0..key.len() {
            for symbol in *SYMBOLS {
                let mut wrong = key.clone();
                wrong[place] = symbol;
                assert!(wrong == key || read(&wrong) == Reading::Mistyped);
            }
        }
        for place in 1..key.len() {
            let mut swapped = key.clone();
            swapped.swap(place - 1, place);
            assert!(swapped == key || read(&swapped) == Reading::Mistyped);
        }
    }

    #[test]
    fn ordinary_passwords_are_left_alone() {
        let long = "x".repeat(31);
        for text in ["", "correct horse battery staple", "0123456789012345678901234567é", &long, &key()[..34]] {
            assert!(read(text.as_bytes()) == Reading::Other, "{text}");
        }
    }
}
