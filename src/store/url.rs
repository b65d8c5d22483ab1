//! Where a store is, as the user writes it.
//!
//! | text | store |
//! |---|---|
//! | `/srv/backup`, `backup` | a local directory |
//! | `file:///srv/backup` | the same |
//! | `s3://bucket`, `s3://bucket/prefix` | a bucket of an S3 service, or what lies below a prefix of it |
//! | `swift://container`, `swift://container/prefix` | the same in a container of a Swift service |
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
    /// A bucket of an S3 service, and a prefix.
    S3(Bucket),
    /// A container of a Swift service, and a prefix.
    Swift(Bucket),
}

/// A bucket or container, and the prefix of the names in it that are the repository's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
}

/// Longest prefix in bytes: with the longest name of an object it stays below what services take.
const LONGEST_PREFIX: usize = 512;

impl Bucket {
    /// STORE-1: what stands in both is safe in a URL as it is.
    fn parse(text: &str) -> Option<Bucket> {
        let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let is_name = (1..=255).contains(&name.len()) && is_plain(name) && !name.starts_with('.');
        let is_segment = |segment: &str| !segment.is_empty() && is_plain(segment) && segment != "." && segment != "..";
        let is_prefix = prefix.is_empty() || (prefix.len() <= LONGEST_PREFIX && prefix.split('/').all(is_segment));
        (is_name && is_prefix).then(|| Bucket { name: name.into(), prefix: prefix.into() })
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix.is_empty() {
            true => f.write_str(&self.name),
            false => write!(f, "{}/{}", self.name, self.prefix),
        }
    }
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
            "s3" | "swift" => match rest.strip_prefix("//").and_then(Bucket::parse) {
                Some(bucket) if scheme == "s3" => Ok(Self::S3(bucket)),
                Some(container) => Ok(Self::Swift(container)),
                None => refuse(
                    "names no bucket, or in other than letters, digits, - . and _",
                    "write s3://BUCKET/PREFIX or swift://CONTAINER/PREFIX",
                ),
            },
            _ => refuse("unknown kind of location", "write a directory of this name as ./NAME"),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Memory(name) => write!(f, "memory:{name}"),
            Self::S3(bucket) => write!(f, "s3://{bucket}"),
            Self::Swift(container) => write!(f, "swift://{container}"),
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

    /// STORE-1.
    #[test]
    fn a_bucket_or_container_may_have_a_prefix() {
        let bucket = |name: &str, prefix: &str| Bucket { name: name.into(), prefix: prefix.into() };
        for (text, location, shown) in [
            ("s3://backup", Location::S3(bucket("backup", "")), "s3://backup"),
            ("s3://backup/", Location::S3(bucket("backup", "")), "s3://backup"),
            ("s3://b.1/redis/Host_1/", Location::S3(bucket("b.1", "redis/Host_1")), "s3://b.1/redis/Host_1"),
            ("swift://c/p", Location::Swift(bucket("c", "p")), "swift://c/p"),
        ] {
            let parsed = text.parse::<Location>().expect(text);
            assert_eq!((&parsed, parsed.to_string().as_str()), (&location, shown));
        }
        let long = format!("s3://b/{}", "p".repeat(513));
        for text in [
            "s3:",
            "s3://",
            "s3:///p",
            "s3:b",
            "s3://b//p",
            "s3://b/../p",
            "s3://b/p?q",
            "swift://a b",
            "s3://k:s@b",
            &long,
        ] {
            let error = text.parse::<Location>().expect_err(text);
            assert!(error.hint().is_some_and(|hint| hint.contains("BUCKET")), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "\0", "ftp://host/x", "file:relative", "file://host/x", "file:///a%20b"] {
            assert!(text.parse::<Location>().is_err(), "{text:?}");
        }
    }
}
