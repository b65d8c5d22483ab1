//! redkeep against real servers of several versions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails by panicking"
)]

mod anothers_words;
mod aof_lookup;
mod capture;
mod capture_authority;
mod capture_choice;
mod capture_damage;
mod capture_links;
mod capture_manifests;
mod capture_names;
mod capture_scope;
mod capture_traps;
mod doctor;
mod doubt;
mod drill;
mod drill_counts;
mod drill_surroundings;
mod hostile_owner;
mod hostile_owner_attacker;
mod hostile_owner_planted;
mod hostile_owner_scene;
mod key_drop;
mod live;
mod live_ages;
mod live_hostile;
mod live_impostors;
mod live_interrupted;
mod live_kills;
mod live_links;
mod live_loading;
mod live_moments;
mod live_neighbour;
mod live_truth;
mod look_ups;
mod lzf;
mod moments;
mod moments_edges;
mod preflight;
mod put_all;
mod put_back;
mod rdb_samples;
mod restart_loss;
mod restore_progress;
mod restore_remnants;
mod restore_server;
mod restore_server_asides;
mod restore_server_built;
mod restore_server_coming;
mod restore_server_elsewhere;
mod restore_server_faults;
mod restore_server_fit;
mod restore_server_goes_on;
mod restore_server_gone;
mod restore_server_hostile;
mod restore_server_kills;
mod restore_server_links;
mod restore_server_moments;
mod restore_server_past;
mod restore_server_process;
mod restore_server_program;
mod restore_server_renamed;
mod restore_server_shutdown;
mod restore_server_startable;
mod restore_server_stopped;
mod restore_server_suspect;
mod restore_server_traps;
mod restore_server_trial;
mod scratch;
mod scratch_left;
mod secrets;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod sync;
mod sync_interrupted;
mod tls;
mod tls_stopped;
mod values;
mod values_samples;
