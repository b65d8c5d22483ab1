//! How the chunks of a frame are stored. Layout: format-spec/06-frames.md.

use super::Malformed;

/// Bytes of a base's id that a delta names (DELTA-2).
pub const BASE_PREFIX: usize = 8;

/// First bytes of the id of a delta's base.
pub type BasePrefix = [u8; BASE_PREFIX];

/// How the plaintext of a sealed frame becomes chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Chunks one after the other.
    Plain = 0,
    /// The same in one zstd frame.
    Zstd = 1,
    /// One delta for each chunk.
    Delta = 2,
    /// One delta of copies and insertions for each chunk, in one zstd frame.
    Copies = 3,
    /// Records column by column, in one zstd frame.
    Columns = 4,
}

impl Method {
    /// Whether its chunks are deltas.
    pub fn has_deltas(self) -> bool {
        matches!(self, Method::Delta | Method::Copies)
    }

    /// FRAME-3: a method nobody defined is refused.
    pub fn from_number(number: u8) -> Result<Method, Malformed> {
        match number {
            0 => Ok(Method::Plain),
            1 => Ok(Method::Zstd),
            2 => Ok(Method::Delta),
            3 => Ok(Method::Copies),
            4 => Ok(Method::Columns),
            other => Err(Malformed::new("frame", format!("unknown method {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FRAME-3
    #[test]
    fn an_unknown_method_is_refused() {
        assert_eq!(Method::from_number(4), Ok(Method::Columns));
        assert!(Method::from_number(5).is_err());
    }
}
