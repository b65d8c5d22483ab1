//! Where a store is, as the user writes it.
//!
//! | text | store |
//! |---|---|
//! | `/srv/backup`, `backup` | a local directory |
//! | `file:///srv/backup` | the same |
//! | `memory:NAME` | in memory, shared by name within this process; `memory:` is a new one at each opening |

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::StoreError;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A directory. Relative to the working directory of the process until it is opened.
    Local(PathBuf),
    /// In memory, under a name that may be empty.
    Memory(String),
}

impl FromStr for Location {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let refuse = |problem, hint| Err(StoreError::Location { location: text.to_owned(), problem, hint });
        if text.is_empty() || text.contains('\0') {
            return refuse("not a location", "give a directory such as /srv/redkeep");
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            return Ok(Self::Local(text.into()));
        };
        match scheme {
            "memory" => Ok(Self::Memory(rest.to_owned())),
            "file" => match rest.strip_prefix("//") {
                Some(path) if path.starts_with('/') && !path.contains('%') => Ok(Self::Local(path.into())),
                _ => refuse("not a file URL of this machine in plain characters", "write the path itself instead"),
            },
            "s3" | "swift" => {
                refuse("not supported yet by this version", "use a local directory, or mirror one to the object store")
            }
            _ => refuse("unknown kind of location", "write a directory of this name as ./NAME"),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Memory(name) => write!(f, "memory:{name}"),
        }
    }
}

/// `scheme` and the rest where the text is a URL: `scheme://…` with any scheme, or `scheme:…` with one of ours.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_name = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let is_ours = matches!(scheme, "memory" | "file" | "s3" | "swift");
    (is_name && (is_ours || rest.starts_with("//"))).then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_or_a_file_url_is_a_local_directory() {
        for (text, path) in [
            ("/srv/backup", "/srv/backup"),
            ("backup", "backup"),
            ("./s3://x", "./s3://x"),
            ("C:x", "C:x"),
            ("file:///srv/a b", "/srv/a b"),
        ] {
            assert_eq!(text.parse::<Location>().expect(text), Location::Local(path.into()));
        }
    }

    #[test]
    fn memory_has_a_name_or_none() {
        for text in ["memory:", "memory:one"] {
            assert_eq!(text.parse::<Location>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn remote_locations_are_known_but_refused_with_a_hint() {
        for text in ["s3://bucket/prefix", "swift://container"] {
            let error = text.parse::<Location>().expect_err(text);
            assert_eq!(error.to_string(), format!("{text}: not supported yet by this version"));
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "\0", "ftp://host/x", "file:relative", "file://host/x", "file:///a%20b"] {
            assert!(text.parse::<Location>().is_err(), "{text:?}");
        }
    }
}
