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

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails here has failed"))]

pub mod aof;
pub mod chunker;
pub mod cli;
pub mod compress;
pub mod crypto;
pub mod format;
mod held;
pub mod operations;
pub mod rdb;
pub mod redis;
pub mod repository;
pub mod spill;
pub mod store;
