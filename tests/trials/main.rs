//! The trials: operations that die or are held at any point, on hosts of their own, on stores that promise little, and
//! on disks that fill up. What was committed has to come back bit for bit, whatever happened in between.
//!
//! `REDKEEP_TEST_LONG=1` runs all of them, for hours; without it CI runs a part, another one of each sweep.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails here has failed")]

#[path = "../support/mod.rs"]
mod support;

mod content;
mod crash_sweep;
mod full_disk;
mod model;
mod operations;
mod pause_sweep;
mod second_copies;
mod world;
