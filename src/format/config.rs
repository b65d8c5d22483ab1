//! What is in `config`: the parameters of a repository. Layout: format-spec/02-objects.md.

use super::ids::{Id16, UnixMillis};
use super::limits::CHUNK_MAX;
use super::{Malformed, decode_cbor, encode_cbor};

/// Smallest, mean and largest piece a chunker cuts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// No piece but the last is smaller.
    pub min: u64,
    /// Where the masks change from strict to loose; a power of two.
    pub mean: u64,
    /// No piece is larger.
    pub max: u64,
}

impl Sizes {
    /// Files: 16, 64 and 256 KiB.
    pub const FILES: Sizes = Sizes { min: 16 << 10, mean: 64 << 10, max: 256 << 10 };

    /// Buckets of records: 32, 96 and 256 KiB.
    pub const BUCKETS: Sizes = Sizes { min: 32 << 10, mean: 96 << 10, max: 256 << 10 };

    /// Ascending, from 64 bytes to CHUNK_MAX.
    pub(crate) fn in_order(self) -> Result<Sizes, Malformed> {
        match 64 <= self.min && self.min < self.mean && self.mean < self.max && self.max <= CHUNK_MAX {
            true => Ok(self),
            false => Err(Malformed::new("config", format!("sizes {}, {}, {}", self.min, self.mean, self.max))),
        }
    }

    /// OBJ-5: even, ascending, from 64 bytes to CHUNK_MAX, the mean a power of two.
    pub fn checked(self) -> Result<Sizes, Malformed> {
        let even = [self.min, self.mean, self.max].iter().all(|size| size % 2 == 0);
        if even && self.mean.is_power_of_two() {
            self.in_order()
        } else {
            Err(Malformed::new("config", format!("chunk sizes {}, {}, {}", self.min, self.mean, self.max)))
        }
    }
}

/// The rule by which buckets are cut (format-spec/05-chunks.md).
const BUCKET_RULE: u64 = 1;

/// The draft of format version 0 that these readers and writers speak.
const DRAFT: u64 = 4;

/// What `config` holds: drawn when the repository is created, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The repository's id.
    pub repository: Id16,
    /// When it was created.
    pub created: UnixMillis,
    /// Where files are cut.
    pub files: Sizes,
    /// Where the records of dumps are cut.
    pub buckets: Sizes,
    /// Version of redkeep that made it.
    pub made_by: String,
}

#[derive(minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
struct ConfigFields {
    #[n(0)]
    repository: Id16,
    #[n(1)]
    created: UnixMillis,
    #[n(2)]
    file_min: u64,
    #[n(3)]
    file_mean: u64,
    #[n(4)]
    file_max: u64,
    #[n(5)]
    bucket_min: u64,
    #[n(6)]
    bucket_mean: u64,
    #[n(7)]
    bucket_max: u64,
    #[n(8)]
    made_by: String,
    #[n(9)]
    draft: u64,
    #[n(10)]
    bucket_rule: u64,
}

/// The fields that tell one draft of a format version from the next.
#[derive(minicbor::Decode)]
#[cbor(map)]
struct DraftFields {
    #[n(8)]
    made_by: String,
    #[n(9)]
    draft: Option<u64>,
}

impl Config {
    /// The plaintext of the config object.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(&ConfigFields {
            repository: self.repository,
            created: self.created,
            file_min: self.files.min,
            file_mean: self.files.mean,
            file_max: self.files.max,
            bucket_min: self.buckets.min,
            bucket_mean: self.buckets.mean,
            bucket_max: self.buckets.max,
            made_by: self.made_by.clone(),
            draft: DRAFT,
            bucket_rule: BUCKET_RULE,
        })
    }

    /// OBJ-6: the version of redkeep that made a repository in another draft of format version 0.
    pub fn of_other_draft(bytes: &[u8]) -> Option<String> {
        let fields: DraftFields = decode_cbor("config", bytes).ok()?;
        (fields.draft != Some(DRAFT)).then_some(fields.made_by)
    }

    /// The same, read back and checked.
    pub fn decode(bytes: &[u8]) -> Result<Config, Malformed> {
        let fields: ConfigFields = decode_cbor("config", bytes)?;
        if fields.draft != DRAFT {
            return Err(Malformed::new("config", format!("draft {} of the format, not {DRAFT}", fields.draft)));
        }
        Ok(Config {
            repository: fields.repository,
            created: fields.created,
            files: Sizes { min: fields.file_min, mean: fields.file_mean, max: fields.file_max }.checked()?,
            buckets: buckets(&fields)?,
            made_by: fields.made_by,
        })
    }
}

/// OBJ-7: of the one rule there is, with sizes in order and bounds.
fn buckets(fields: &ConfigFields) -> Result<Sizes, Malformed> {
    if fields.bucket_rule != BUCKET_RULE {
        return Err(Malformed::new("config", format!("rule {} for buckets is not known", fields.bucket_rule)));
    }
    Sizes { min: fields.bucket_min, mean: fields.bucket_mean, max: fields.bucket_max }.in_order()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            repository: Id16([7; 16]),
            created: UnixMillis(1_790_000_000_000),
            files: Sizes::FILES,
            buckets: Sizes::BUCKETS,
            made_by: "0.1.0".into(),
        }
    }

    #[test]
    fn a_config_comes_back_as_written() {
        assert_eq!(Config::decode(&config().encode()), Ok(config()));
    }

    /// OBJ-6
    #[test]
    fn a_config_of_another_draft_is_told_from_a_malformed_one() {
        assert_eq!(Config::of_other_draft(&config().encode()), None);
        let mut bytes = config().encode();
        let draft = bytes.len() - 3;
        bytes[draft] += 1;
        assert_eq!(Config::of_other_draft(&bytes).as_deref(), Some("0.1.0"));
        assert!(Config::decode(&bytes).is_err());
        // The first draft had no such field.
        bytes.truncate(draft - 1);
        *bytes.first_mut().unwrap() -= 2;
        assert_eq!(Config::of_other_draft(&bytes).as_deref(), Some("0.1.0"));
        assert_eq!(Config::of_other_draft(b"x"), None);
    }

    /// OBJ-5
    #[test]
    fn chunk_sizes_out_of_order_or_bounds_are_refused() {
        for (min, mean, max) in [(64, 128, 1 << 21), (62, 128, 256), (128, 128, 256), (64, 96, 256), (65, 128, 256)] {
            let bad = Config { files: Sizes { min, mean, max }, ..config() };
            assert!(Config::decode(&bad.encode()).is_err(), "{min} {mean} {max}");
        }
    }

    /// OBJ-7
    #[test]
    fn bucket_sizes_out_of_order_or_bounds_and_other_rules_are_refused() {
        for (min, mean, max) in [(64, 128, 1 << 21), (63, 128, 256), (128, 128, 256), (64, 256, 256)] {
            let bad = Config { buckets: Sizes { min, mean, max }, ..config() };
            assert!(Config::decode(&bad.encode()).is_err(), "{min} {mean} {max}");
        }
        let odd = Config { buckets: Sizes { min: 65, mean: 99, max: 1001 }, ..config() };
        assert_eq!(Config::decode(&odd.encode()), Ok(odd));
        let mut other = config().encode();
        *other.last_mut().unwrap() = 2;
        assert!(Config::decode(&other).is_err());
    }
}
