//! Patterns name paths below the directory that a person wants in or out.
//!
//! A pattern without `/` is about a name at any depth, one with `/` about the whole path relative to the directory.
//! `*` and `?` do not cross a `/`, `**` does. A pattern that names a directory is about all that is below it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::redis::error::RedisError;

/// Paths that match one of several patterns.
pub(super) struct Patterns(GlobSet);

impl Patterns {
    pub(super) fn new(patterns: &[String]) -> Result<Self, RedisError> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let bad = |problem: String| RedisError::Pattern { pattern: pattern.clone(), problem };
            let place = pattern.trim_end_matches('/');
            let place = if place.contains('/') {
                place.trim_start_matches("./").trim_start_matches('/').to_owned()
            } else {
                format!("**/{place}")
            };
            if matches!(place.as_str(), "" | "**/" | "**/.") {
                return Err(bad("it names nothing below the directory".to_owned()));
            }
            for glob in [place.clone(), format!("{place}/**")] {
                let glob = GlobBuilder::new(&glob).literal_separator(true).build();
                set.add(glob.map_err(|error| bad(error.kind().to_string()))?);
            }
        }
        let all = || patterns.join(" ");
        set.build().map(Self).map_err(|error| RedisError::Pattern { pattern: all(), problem: error.to_string() })
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path relative to the directory matches.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        self.0.is_match(OsStr::from_bytes(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_about_a_name_at_any_depth_or_about_a_whole_path() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("*.log", &["a.log", "x/a.log", "a.log/below"], &["a.logs", "log"]),
            ("/a.log", &["a.log"], &["x/a.log"]),
            ("x/*.log", &["x/a.log"], &["a.log", "x/y/a.log", "y/x/a.log"]),
            ("x/**", &["x/a", "x/y/z"], &["y/x/a"]),
            ("x/", &["x", "x/a", "y/x/a"], &["xy"]),
            ("./x/y", &["x/y", "x/y/z"], &["x"]),
            ("temp-?.rdb", &["temp-1.rdb"], &["temp-12.rdb", "temp-/.rdb"]),
        ];
        for (pattern, matching, others) in cases {
            let patterns = Patterns::new(&[(*pattern).to_owned()]).expect("a pattern");
            for path in *matching {
                assert!(patterns.matches(path.as_bytes()), "{pattern} {path}");
            }
            for path in *others {
                assert!(!patterns.matches(path.as_bytes()), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn names_that_are_not_text_can_match() {
        let patterns = Patterns::new(&["*.bin".to_owned()]).expect("a pattern");
        assert!(patterns.matches(b"\xff\xfe.bin"));
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_named() {
        for pattern in ["[", "", "/", "{a"] {
            let Err(error) = Patterns::new(&["fine".to_owned(), pattern.to_owned()]) else {
                panic!("{pattern} was taken");
            };
            assert!(error.to_string().starts_with(&format!("pattern \"{pattern}\": ")), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
