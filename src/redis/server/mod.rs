//! A live server: how it is reached, what it says of itself, and what it is asked to do.
//!
//! The only place that speaks the protocol. No command is sent but those of [`ACL_RULES`], unless a caller asks for it by
//! name: a restore stops servers, a capture never does.
//!
//! [`capture_server`] captures the dataset of a server as it goes on: its AOF where that is live, else a fresh dump; and
//! proves that the files are those of this server and hold all it answered before a moment. [`replicate`] has the server send
//! its dump, where its files are out of reach.

mod abilities;
mod acl;
mod address;
mod answer;
mod aof;
mod capture;
mod certificate;
mod cluster;
mod config_file;
mod configuration;
mod connection;
mod discovery;
mod dump_file;
mod facts;
mod foreseen;
mod hold;
mod info;
mod keys;
mod loading;
mod look;
mod modules;
mod names;
mod nearby;
mod put;
mod replica;
mod replication;
mod room;
mod save;
mod sentinel;
mod tls;
mod trouble;
mod watch;
mod wire;

pub use abilities::LoadedModule;
pub use acl::Users;
pub(crate) use acl::acl_text;
pub use address::{Address, Tls};
pub use capture::{LiveCapture, LiveOptions, MadeDump, Mode, capture_server};
pub use cluster::{ACL_RULES_OF_CLUSTER, Cluster, Shard, slot_of};
pub use config_file::ConfigFile;
pub use connection::{Server, ServerTime};
pub use discovery::WhereOptions;
pub(in crate::redis) use foreseen::refuse_foreseen;
pub use hold::HOLD_AGAIN;
pub use info::{Info, Keyspace};
pub use keys::Types;
pub use look::{aof_elsewhere, aof_not_live, directory_behind, directory_of, wait_loaded};
pub use modules::MODULE_FILES;
pub use names::refuse_unknown_command;
pub use nearby::{config_files, find_nearby};
pub use put::{Came, Elsewhere, Goes, Put, PutBatch, SentKeys};
pub use replication::{ACL_RULES_OF_SYNC, replicate};
pub use save::SavePatience;
pub use watch::Watch;

/// What a user of the server must be allowed for a capture, as words of ACL SETUSER. Nothing here reads or writes a key.
pub const ACL_RULES: &str = "resetkeys resetchannels -@all +ping +auth +hello +info +time +bgsave +lastsave +config|get \
                             +client|setname +acl|whoami +module|list";
