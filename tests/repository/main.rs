//! The repository as a whole: what goes in comes out, what a session calls, what damage does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails here has failed")]

#[path = "../support/mod.rs"]
mod support;

mod carried;
mod check;
mod damage;
mod deltas;
mod finality;
mod forget;
mod forget_filters;
mod forget_refused;
mod index;
mod keys;
mod labelled;
mod ledgers;
mod local;
mod long_collections;
mod look_up;
mod mirrors;
mod plain_copies;
mod read_all;
mod reading;
mod remembered;
mod repair;
mod retries;
mod rosters;
mod round_trip;
mod second_copies;
mod sessions;
mod sweep;
mod sweep_hostile;
mod sweep_order;
mod sweep_waits;
mod timeline;
mod unread;
mod verifying;
