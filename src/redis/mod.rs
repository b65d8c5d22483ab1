//! A Redis or Valkey server and what it keeps on disk.
//!
//! | module | what it is |
//! |---|---|
//! | `directory` | a data directory: which files are one consistent dataset, and how each is read |
//! | `peer` | which process of this host is at the other end of a connection |
//! | `processes` | what /proc shows of servers at work in a directory |
//! | [`server`] | a live server: how it is reached, what it says, what it is asked to do |
//! | [`compatibility`] | which server reads which RDB file |
//! | [`program`] | a server program of this host, and which one is right for a dataset |
//! | [`scratch`] | a server of our own on a directory of ours |
//! | `scratch_log` | what its log tells |
//! | `sent` | a dump that a server sends, while it comes |
//! | [`host`] | how a server is stopped and started on this host |
//! | `error` | what can go wrong with any of it |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed"))]

pub mod compatibility;
mod directory;
mod error;
pub mod host;
mod peer;
mod processes;
pub mod program;
pub mod scratch;
mod scratch_log;
mod sent;
pub mod server;

pub use compatibility::ServerVersion;
pub use directory::{
    AOF_NOT_WRITTEN, Capture, CaptureOptions, CapturedFile, Content, Guise, Left, LeftOut, Lone, LoneDump, Own,
    Reading, SEVERAL_AOFS, UNREADABLE, Whose, Why, capture_directory, guise, inspect, inspect_into, stands_beside_data,
};
pub use error::RedisError;
pub use sent::Sent;
