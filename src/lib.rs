//! redkeep keeps incremental, deduplicated, encrypted snapshots of Redis and Valkey data directories.
//!
//! The crate is built in layers. A module may use any lower layer, never a sibling of its own layer (outside its
//! folder) and never a higher one; `tests/tidy.rs` holds this.
//!
//! | layer | modules | what it is |
//! |---|---|---|
//! | L0 ground | [`mod@format`], [`chunker`], [`compress`], [`crypto`], [`rdb`], [`aof`] | pure functions on bytes |
//! | L1 store | [`store`]; `held`; [`spill`] | whole objects by name; a directory of this host held by its descriptor; what does not fit in memory |
//! | L2 | [`repository`], [`redis`] | what is kept; what is captured. Neither knows the other |
//! | L3 operations | [`operations`] | backup, restore, verify, check …: the only place where the two meet |
//! | L4 cli | [`cli`] | arguments, text and JSON, progress, exit codes |
//!
//! # The way of one byte in
//!
//! 1. [`redis`] opens every file of one consistent state (`redis::server::capture` asks a live server for it,
//!    `redis::directory` takes a directory as it is), or has the server send its dump (`redis::server::replication`),
//!    and hands over what it reads, piece by piece, looking at its structure ([`rdb`], [`aof`]) as it goes by. A growing
//!    file of commands ends where `redis::directory` found the last whole one.
//! 2. `operations::backup` passes each piece to the file's hasher, and on: of a dump to [`repository::store_dump`], of any other
//!    file to a [`repository::StreamWriter`]. A file that was not touched since the previous snapshot is not read at all
//!    where all that its recipe names is known: the recipe is taken over.
//! 3. A dump is parted into records, one a key ([`rdb::canonical`]). Workers make each canonical, make it again of that, and
//!    compare. Of a set or hash that is too long for that the elements are sorted as they stand. A record that this host
//!    remembers from the earlier version is neither made canonical nor sorted. The others wait in the order of their keys ([`spill`]). When the file is read, they and what stayed of the buckets of the earlier
//!    version are merged into the buckets of this one, which end where the keys' hashes say; the order of the records in the
//!    file, and what changes at each save, become streams of their own. Where the earlier version cannot be read, the dump is
//!    read once more without what is remembered of it. One of which this cannot be made is read again as any other file is,
//!    and one that there is no room to sort is only read so, which snapshot and report say; of one that is understood up to
//!    some byte, what is behind it is stored as it stands.
//! 4. The stream writer gathers about a MiB of what is no bucket and cuts it where its content says ([`chunker`]). Each chunk,
//!    each bucket too, gets its id, a keyed hash. One that the catalog knows, or that is on its way, goes no further than into the
//!    list of its stream.
//! 5. A new one goes into the [`repository::Intake`]. Where the file's previous version had something like it at its place,
//!    workers make a delta, decode it and compare; of a bucket, whose changes are known, the one who wrote it does. Else
//!    it is stored whole. Chunks that hold the same, in one form, are gathered in a frame; workers compress frames ([`compress`]), the
//!    packer seals them ([`crypto`]) in order into a pack of at most 16 MiB and closes it with its sealed table.
//! 6. The checker opens every frame of the pack, decodes it as a restore will and compares the ids; of a delta it compares
//!    the hash with that of what was decoded when it was made. Then the pack is put into the [`store`], its chunks are
//!    known to the catalog, and an index object names it, with those stored before and after it.
//! 7. Lists of chunks that are too long for the recipe take the same way as chunks. At last the session puts the snapshot,
//!    which holds the recipes: from then on the byte is kept.
//!
//! # The way of one byte out
//!
//! 1. A snapshot is chosen from the catalog, read from the store, opened and checked; `operations::restore` plans files.
//! 2. The lists of their recipes are read, and the chunks that they name are noted in the catalog with their places. Packs of
//!    what is stored whole are then read in their order: each frame once, near ones by one read. Chunks that are deltas
//!    follow in the order of the files. They, and everything else that is read by itself, come through the
//!    [`repository::ChunkReader`], which follows bases no further than its limits, and tries each place a chunk is stored
//!    in. What is in a damaged frame is asked of it too.
//! 3. A frame is opened (a seal that does not hold is damage), decoded to the length its table promises and no further,
//!    and each chunk compared with its id.
//! 4. Chunks are written to their places in files of a staging directory beside the target. Dumps in canonical form come
//!    last, one after the other: their buckets are taken apart, each record gets back what was kept apart of it, and waits
//!    ([`spill`]) for its turn in the order of the file; then the dump is written from its first byte to its last.
//! 5. All files are read back and their hashes compared with the snapshot's; only then they are put in place of what was
//!    there. So it goes for up to 256 files at a time, manifests of AOFs last; one rename puts all of them in place. Damage
//!    that no other copy makes good is said after a second look: the catalog is built again, and all of this done once more.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails here has failed"))]

pub mod aof;
pub mod chunker;
pub mod cli;
pub mod compress;
pub mod crypto;
pub mod format;
mod held;
#[cfg(test)]
mod noise;
pub mod operations;
pub mod rdb;
pub mod redis;
pub mod repository;
pub mod spill;
pub mod store;
