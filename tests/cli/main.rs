//! Each command as a user or a script meets it: text, `--json`, exit code. The real program, in directories of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod anothers_places;
mod backup;
mod backup_live;
mod calls;
mod check;
mod completions;
mod configuration;
mod damage;
mod doctor;
mod doctor_live;
mod doubt;
mod dump;
mod dumps;
mod forget;
mod full_disk;
mod help;
mod init;
mod key;
mod kills;
mod ls;
mod man;
mod memory;
mod messages;
mod moments;
mod nowhere;
mod passwords;
mod place;
mod prune;
mod refusals;
mod restore;
mod restore_refused;
mod run;
mod schedule;
mod schedule_trial;
mod settings;
mod snapshots;
mod standard_output;
mod stats;
#[path = "../support/mod.rs"]
mod support;
mod tag;
mod timeline;
mod undelete;
mod undo;
mod verify;
