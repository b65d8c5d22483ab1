//! Patterns of key names, as servers read them.

/// Whether a name fits a pattern: `*` any bytes, `?` one, `[a-z]` and `[^a-z]` one of some, a backslash the byte behind it.
///
/// Time: at most the product of both lengths.
pub(in crate::operations) fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern_at, mut name_at) = (0, 0);
    // Where to go on behind the last star, if what follows does not fit.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let rest = pattern.get(pattern_at..).unwrap_or_default();
        if rest.first() == Some(&b'*') {
            pattern_at += 1;
            star = Some((pattern_at, name_at));
            continue;
        }
        match (name.get(name_at), one(rest)) {
            (None, _) if rest.is_empty() => return true,
            (Some(byte), Some((length, fits))) if fits(*byte) => {
                (pattern_at, name_at) = (pattern_at + length, name_at + 1);
            }
            (None, _) => return false,
            _ => {
                let Some((behind, from)) = star else { return false };
                star = Some((behind, from + 1));
                (pattern_at, name_at) = (behind, from + 1);
            }
        }
    }
}

/// What a pattern asks of one byte, and how long that is in the pattern.
fn one(pattern: &[u8]) -> Option<(usize, impl Fn(u8) -> bool + '_)> {
    let (length, is_set) = match pattern {
        [] => return None,
        [b'[', ..] => (set_length(pattern), true),
        [b'\\', _, ..] => (2, false),
        _ => (1, false),
    };
    let of = pattern.get(..length).unwrap_or(pattern);
    let fits = move |byte: u8| match (of, is_set) {
        (_, true) => is_in_set(of, byte),
        ([b'?'], _) => true,
        _ => of.last() == Some(&byte),
    };
    Some((length, fits))
}

/// A set ends with the first bracket that no backslash is before, or with the pattern.
fn set_length(pattern: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = pattern.get(at) {
        match byte {
            b']' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    pattern.len()
}

fn is_in_set(set: &[u8], byte: u8) -> bool {
    let mut rest = set.get(1..).unwrap_or_default();
    let is_not = rest.first() == Some(&b'^');
    if is_not {
        rest = rest.get(1..).unwrap_or_default();
    }
    let mut is_in = false;
    loop {
        rest = match rest {
            [] | [b']', ..] => return is_in != is_not,
            [b'\\', escaped, behind @ ..] => {
                is_in |= *escaped == byte;
                behind
            }
            [from, b'-', to, behind @ ..] if *to != b']' => {
                is_in |= (*from.min(to)..=*from.max(to)).contains(&byte);
                behind
            }
            [plain, behind @ ..] => {
                is_in |= *plain == byte;
                behind
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_are_read_as_servers_read_them() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("user:*", "user:1", true),
            ("user:*", "user", false),
            ("*:1", "a:1:1", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("h?llo", "hallo", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hello", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hallo", false),
            ("[\\]]", "]", true),
            ("[ab", "b", true),
            ("a\\", "a\\", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_long_time() {
        assert!(!fits("a*".repeat(2000).as_bytes(), &[b'a'; 1999]));
        assert!(!fits(["*a".repeat(1000), "b".into()].concat().as_bytes(), &[b'a'; 4000]));
    }
}
