//! What every store promises, what the local one promises beyond that, and the stores that tests are made of.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod conformance;
mod crash;
mod crowd;
mod doubles;
mod full;
mod keystone;
mod limits;
mod local;
mod locations;
mod model;
mod pause;
mod services;
mod sim;
mod spill;
mod sweeping;
mod tls;

use std::sync::Arc;

use redkeep::store::{Intent, Location, ObjectName, Store, open};

fn name(text: &str) -> ObjectName {
    text.parse().unwrap()
}

/// A store in memory that nobody else has.
fn memory() -> Arc<dyn Store> {
    open(&Location::Memory(String::new()), Intent::Create).unwrap()
}

/// The names of a listing.
fn listed(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.entries(prefix).unwrap().into_iter().map(|entry| entry.name.to_string()).collect()
}
