//! The name of an object: a relative path that is safe as a file name, in a URL and in a message.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name in bytes.
const OBJECT_NAME_MAX: usize = 200;

/// Segments of `a-z 0-9 . - _` separated by `/`; none is empty or begins with a dot; at most 200 bytes.
///
/// So no name climbs out of its store, means a temporary file, or differs from another by case only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(Arc<str>);

impl ObjectName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Directory and last segment; the directory is empty for a name of one segment.
    pub(super) fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('/').unwrap_or(("", &self.0))
    }
}

impl FromStr for ObjectName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.len() <= OBJECT_NAME_MAX && text.split('/').all(is_segment) {
            Ok(Self(text.into()))
        } else {
            Err(BadName { name: text.chars().take(OBJECT_NAME_MAX).collect() })
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Text that names no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a name of an object")]
pub struct BadName {
    name: String,
}

/// Whether `text` can be one segment of a name.
pub(super) fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('.')
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

/// The directory a listing is asked for, without its slash: empty for the whole store.
pub(super) fn directory_of(prefix: &str) -> Result<&str, BadName> {
    if prefix.is_empty() {
        return Ok("");
    }
    let bad = || BadName { name: prefix.chars().take(OBJECT_NAME_MAX).collect() };
    let directory = prefix.strip_suffix('/').ok_or_else(bad)?;
    directory.parse::<ObjectName>().map_err(|_| bad())?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_segments_of_safe_characters() {
        for good in ["config", "packs/ab/0123", "snapshots/00ff/1700000000000-a_b", "a.b", "-", "a/b/c/d", "x."] {
            assert_eq!(good.parse::<ObjectName>().expect(good).as_str(), good);
        }
        assert!("a".repeat(OBJECT_NAME_MAX).parse::<ObjectName>().is_ok());
    }

    #[test]
    fn anything_else_is_refused() {
        let long = "a".repeat(OBJECT_NAME_MAX + 1);
        let bad = [
            "",
            "/",
            "/config",
            "config/",
            "a//b",
            ".",
            "..",
            "../x",
            "a/../b",
            "a/./b",
            ".tmp-1",
            "a/.tmp-1",
            "A",
            "a b",
            "a\\b",
            "a\0",
            "ä",
            "a\n",
            "a:b",
            "lost+found",
            &long,
        ];
        for name in bad {
            assert!(name.parse::<ObjectName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_prefix_is_empty_or_a_name_and_a_slash() {
        assert_eq!(directory_of(""), Ok(""));
        assert_eq!(directory_of("packs/ab/"), Ok("packs/ab"));
        for bad in ["packs", "/", "packs//", "../", ".tmp/"] {
            assert!(directory_of(bad).is_err(), "{bad:?}");
        }
    }
}
