//! A Redis or Valkey server and what it keeps on disk.
//!
//! | module | what it is |
//! |---|---|
//! | `directory` | a data directory: which files are one consistent dataset, and how each is read |
//! | `processes` | what /proc shows of servers at work in a directory |
//! | [`server`] | a live server: how it is reached, what it says, what it is asked to do |
//! | `error` | what can go wrong with any of it |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed"))]

mod directory;
mod error;
mod processes;
pub mod server;

pub use directory::{Capture, CaptureOptions, CapturedFile, Content, Reading, capture_directory, inspect};
pub use error::RedisError;
