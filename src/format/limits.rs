//! Every bound a reader enforces. Values and reasons: format-spec/12-limits.md.
//!
//! LIMIT-1: each constant here whose name ends in `_MAX` has a row there, and each row a constant here.

/// Plaintext of a chunk, bytes.
pub const CHUNK_MAX: u64 = 1 << 20;
/// Decoded chunks of a frame, bytes.
pub const FRAME_MAX: u64 = 4 << 20;
/// A pack, bytes.
pub const PACK_MAX: u64 = 128 << 20;
/// Plaintext of a pack's footer, bytes.
pub const FOOTER_MAX: u64 = 16 << 20;
/// An index object, bytes.
pub const INDEX_MAX: u64 = 256 << 20;
/// A snapshot, bytes.
pub const SNAPSHOT_MAX: u64 = 64 << 20;
/// Config, slot, lease, tombstone or forgotten record, bytes.
pub const SMALL_MAX: u64 = 1 << 20;
/// A condemned object, bytes.
pub const CONDEMNED_MAX: u64 = 16 << 20;
/// A ledger, bytes.
pub const LEDGER_MAX: u64 = 16 << 20;
/// A roster, bytes.
pub const ROSTER_MAX: u64 = 16 << 20;
/// Sequence and place of a snapshot: what fits into its name.
pub const SEQUENCE_MAX: u64 = 9_999_999_999;
/// A note, bytes.
pub const NOTE_MAX: u64 = 64 << 20;
/// A text of a note: what is wrong with a pack or a drill, which server, bytes.
pub const FAULT_MAX: usize = 1024;
/// Falls that a snapshot carries.
pub const FALLS_MAX: usize = 256;
/// Files of a snapshot.
pub const FILES_MAX: usize = 200_000;
/// A path, bytes.
pub const PATH_MAX: usize = 4096;
/// Levels of lists above the lowest.
pub const LEVELS_MAX: u8 = 4;
/// The top list of a stream, bytes.
pub const LIST_INLINE_MAX: usize = 1024;
/// A label of a list entry, bytes: short enough that a list of one is a top list.
pub const LABEL_MAX: u64 = 256;
/// Depth of a delta.
pub const DELTA_DEPTH_MAX: usize = 32;
/// Chunks to decode before a delta can be.
pub const DELTA_CLOSURE_MAX: usize = 64;
/// Argon2 memory, KiB.
pub const ARGON2_MEMORY_MAX: u32 = 4 << 20;
/// Argon2 passes.
pub const ARGON2_PASSES_MAX: u32 = 64;
/// Argon2 lanes.
pub const ARGON2_LANES_MAX: u32 = 16;
/// Key slots a reader tries.
pub const SLOTS_MAX: usize = 64;
