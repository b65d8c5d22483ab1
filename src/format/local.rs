//! The files of this host in which redkeep keeps what it knows and has seen of repositories, and how they are known for what
//! they are. Rules: format-spec/14-local.md.

/// LOCAL-30: what SQLite keeps for its users in the head of a file: that it is redkeep's.
pub const APPLICATION_ID: i32 = i32::from_be_bytes(*b"rdkp");

/// The catalog of a repository, in a cache directory.
pub const CATALOG_FILE: &str = "catalog.db";

/// What a host has seen, in its state directory.
pub const STATE_FILE: &str = "state.db";

/// Bytes of the head of an SQLite file.
pub const HEAD: usize = 100;

const MAGIC: &[u8] = b"SQLite format 3\0";
const APPLICATION_ID_AT: usize = 68;

/// Whether a file that begins so is an SQLite file of redkeep's.
pub fn is_database(head: &[u8; HEAD]) -> bool {
    let id = head.get(APPLICATION_ID_AT..).and_then(|rest| rest.first_chunk());
    head.starts_with(MAGIC) && id.copied().map(i32::from_be_bytes) == Some(APPLICATION_ID)
}
