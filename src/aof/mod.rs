//! An append-only file is the commands a server ran, as RESP arrays; from Redis 7.0 on it is a set of files that a
//! manifest holds together.
//!
//! [`Manifest`] reads and writes the manifest, [`Scanner`] finds where the last complete command ends, so that a copy
//! of a growing file can be cut there, [`CutFinder`] where an earlier moment ends, [`UseFinder`] what the commands ask of a server,
//! [`Lookup`] what became of a key. An older single file may begin as an RDB file: its reader hands what follows to a scanner.

mod commands;
mod cutting;
mod lookup;
mod manifest;
mod names;
mod quoting;
mod scanner;
mod timestamps;
mod uses;

#[cfg(test)]
mod tests;

pub use commands::{Commands, Ending};
pub use cutting::{Aim, CutFinder, CutPoint, Found, FoundCommand};
pub use lookup::{Expiry, Fate, Lookup, Obstacle};
pub use manifest::{Entry, FileType, MANIFEST_MAX, Malformed, Manifest};
pub use names::{aof_of_temporary, is_temporary, is_unfinished_save, manifest_name};
pub(crate) use quoting::append_word;
pub use quoting::split_words;
pub use scanner::{BULK_MAX, Scanner};
pub use timestamps::{Timestamp, parse_timestamp};
pub use uses::{MOST_NAMES, UseFinder, Uses};
