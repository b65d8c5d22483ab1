//! Scores are numbers of 64 bits, stored as these or as text.

use super::Unreadable;
use super::packed::Packed;
use super::raw::{Raw, Read};

/// Behind a length of a byte, which three marks take the place of.
pub(super) fn of_text(raw: &mut Raw<'_>) -> Read<f64> {
    match raw.bytes::<1>()? {
        [253] => Ok(f64::NAN),
        [254] => Ok(f64::INFINITY),
        [255] => Ok(f64::NEG_INFINITY),
        [length] => parse(raw.slice(u64::from(length))?),
    }
}

pub(super) fn of_packed(packed: Packed<'_>) -> Read<f64> {
    match packed {
        Packed::Number(number) => Ok(number as f64),
        Packed::Text(text) => parse(text),
    }
}

fn parse(text: &[u8]) -> Read<f64> {
    let score = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    score.ok_or(Unreadable::Broken("a score is no number"))
}

/// A score in the fewest digits that say it, as newer servers answer: `3`, `0.1`, `1e+21`, `-inf`.
pub fn score_text(score: f64) -> String {
    if score.is_nan() {
        return "nan".to_owned();
    }
    let size = score.abs();
    if size.is_infinite() || size == 0.0 || (1e-6..1e21).contains(&size) {
        return score.to_string();
    }
    let text = format!("{score:e}");
    match text.contains("e-") {
        true => text,
        false => text.replace('e', "e+"),
    }
}
