//! The repository format as bytes: a second reader that was written from format-spec/ alone, and what it makes of
//! repositories that are whole, damaged or malformed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may stop at the first surprise and say what it saw"
)]

#[path = "../support/mod.rs"]
mod support;

mod canonical;
mod damage;
mod damage_redkeep;
mod golden;
mod reading;
mod refusals;
mod second_reader;
mod two_readers;
mod vectors;
