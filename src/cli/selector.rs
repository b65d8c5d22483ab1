//! SNAPSHOT as people write it.

use crate::operations::list::Selector;

use super::time;

/// Digits an id has to begin with: what fits one snapshot by fewer today may fit another tomorrow.
const ID_MIN: usize = 4;
/// Digits of a whole id.
const ID_MAX: usize = 32;

/// An id prefix, `latest`, `latest~N` or `@TIME`.
pub(crate) fn parse(text: &str) -> Result<Selector, String> {
    if let Some(moment) = text.strip_prefix('@') {
        return time::parse_now(moment).map(time::end_of_second).map(Selector::At);
    }
    if text == "latest" {
        return Ok(Selector::Latest(0));
    }
    if let Some(back) = text.strip_prefix("latest~") {
        let is_number = !back.is_empty() && back.bytes().all(|digit| digit.is_ascii_digit());
        let number = is_number.then(|| back.parse().ok()).flatten();
        return number.map(Selector::Latest).ok_or_else(|| "write latest~N with a number N, such as latest~1".into());
    }
    let id = text.to_ascii_lowercase();
    if !id.bytes().all(|digit| digit.is_ascii_hexdigit()) || id.is_empty() || id.len() > ID_MAX {
        return Err("not a snapshot: write its id or the begin of it, latest, latest~N or @TIME".into());
    }
    match id.len() < ID_MIN {
        true => Err(format!("give at least {ID_MIN} digits of the id")),
        false => Ok(Selector::Id(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::UnixMillis;

    #[test]
    fn every_form_of_a_snapshot_is_understood() {
        for (text, selector) in [
            ("latest", Selector::Latest(0)),
            ("latest~0", Selector::Latest(0)),
            ("latest~12", Selector::Latest(12)),
            ("8F3a", Selector::Id("8f3a".into())),
            ("@2026-09-21T14:13:20Z", Selector::At(UnixMillis(1_790_000_000_999))),
        ] {
            assert_eq!(parse(text), Ok(selector), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "8f3", "newest", "latest~", "latest~-1", "latest~x", "@", "@noon", &"a".repeat(33)] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
