//! From where a snapshot was copied. Rules: format-spec/21-second-copies.md.

use std::fmt;
use std::str::FromStr;

use super::snapshot::Snapshot;
use super::{Id16, Malformed};

/// Under which fact a snapshot that was copied from another repository names its origin.
pub const COPIED_FROM: &str = "copied-from";

/// The snapshot that was captured, wherever it was copied to since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The repository it was captured into.
    pub repository: Id16,
    /// Its id there.
    pub snapshot: Id16,
}

impl Origin {
    /// What a snapshot says of its origin; `None`: it was captured into the repository it is in.
    pub fn of(snapshot: &Snapshot) -> Option<Origin> {
        snapshot.facts.get(COPIED_FROM)?.parse().ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.repository, self.snapshot)
    }
}

impl FromStr for Origin {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (repository, snapshot) =
            text.split_once('/').ok_or_else(|| Malformed::new("origin", "no repository and snapshot"))?;
        Ok(Origin { repository: repository.parse()?, snapshot: snapshot.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_in_one_way() {
        let origin = Origin { repository: Id16([0xa1; 16]), snapshot: Id16([7; 16]) };
        let text = format!("{}/{}", "a1".repeat(16), "07".repeat(16));
        assert_eq!((origin.to_string(), text.parse()), (text, Ok(origin)));
        for other in ["", "/", "a1/07", &"a1".repeat(16), &format!("{origin}/"), &origin.to_string().to_uppercase()] {
            assert!(other.parse::<Origin>().is_err(), "{other}");
        }
    }
}
