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

/// A score in the fewest digits that say it, as servers answer since 7.2: `3`, `0.1`, `1e+21`, `-inf`.
pub fn score_text(score: f64) -> String {
    if score.is_nan() {
        return "nan".to_owned();
    }
    // Whole numbers with all their digits, as far as servers take them for some; 0 with a minus keeps it.
    if score.fract() == 0.0 && score.abs() <= (i64::MAX / 2) as f64 && score.to_bits() != (-0.0_f64).to_bits() {
        return (score as i64).to_string();
    }
    let scientific = format!("{score:e}");
    let Some((digits, power)) = scientific.split_once('e') else { return scientific };
    let (count, power) = (digits.bytes().filter(u8::is_ascii_digit).count() as i32, power.parse::<i32>().unwrap_or(0));
    // Where the last digit is: before the point, or behind.
    let last = power - (count - 1);
    match last {
        0.. if power < count + 7 => score.to_string(),
        ..0 if last > -7 || power.abs() < 4 => score.to_string(),
        _ if power < 0 => scientific,
        _ => format!("{digits}e+{power}"),
    }
}
