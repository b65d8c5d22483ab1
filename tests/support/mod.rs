//! What the test binaries share.

#![allow(dead_code, reason = "each test binary includes all of it and uses its own part")]

pub mod dumps;
pub mod equality;
pub mod keyspace;
pub mod mini_writer;
pub mod program;
pub mod proxy;
pub mod rdb_strings;
pub mod records;
pub mod repository;
pub mod server;
pub mod services;
pub mod sim;
pub mod small_disk;
pub mod stores;
pub mod sweeps;
pub mod writers;
