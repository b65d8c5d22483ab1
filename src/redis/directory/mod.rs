//! A Redis or Valkey data directory: which files are one consistent dataset, and how each is read.
//!
//! [`capture_directory`] works on the files alone, whether or not a server writes to them meanwhile. It opens what
//! belongs together and hands it over as [`CapturedFile`]s: from then on renames and removals do not matter.
//!
//! # What becomes of each file
//!
//! | on disk | captured as |
//! |---|---|
//! | what a server calls its dump, its AOF or its AOF directory, whatever the name | what it says |
//! | top level, any file that begins like an RDB file, else `*.rdb` | [`Role::Dump`], one of them: `dump.rdb`, else the newest |
//! | top level, any file that begins like commands or like an RDB file for an AOF, else `*.aof` | [`Role::SingleAof`], one of them: `appendonly.aof`, else the newest |
//! | what a `*.manifest` names as base and increments, at any depth | [`Role::Manifest`], [`Role::Base`], [`Role::Incr`]; of several AOFs the one being written, else the newest |
//! | a single AOF beside a manifest of its name | [`Role::Other`]: no server reads it again |
//! | what a manifest names as history | left out; [`Role::History`] if included |
//! | files of such an AOF that its manifest does not name | left out: no server would load them |
//! | a manifest that lacks files, beside another dataset, and AOF files without any readable manifest | [`Role::Other`], with a warning |
//! | `temp-<pid>.rdb` and the like of a server, `*.pid`, `*.log`, `lost+found`, redkeep's own `.redkeep-*` | left out unless included; a warning for a temporary file that begins like a dataset |
//! | sockets, pipes, devices | left out |
//! | the repository, its cache and state | left out |
//! | where another file system is mounted, unless it holds an AOF | left out unless included, with a warning |
//! | a symbolic link in place of a dump, a single AOF or an AOF directory | followed; a fact names where it points |
//! | any other symbolic link | the link |
//! | all else | [`Role::Other`]; of a live server only `nodes.conf`, `users.acl` and what is included |
//! | what configures a live server, wherever it stands, where it is asked for | [`Role::Config`] |
//!
//! [`Role::Dump`]: crate::format::snapshot::Role::Dump
//! [`Role::SingleAof`]: crate::format::snapshot::Role::SingleAof
//! [`Role::Manifest`]: crate::format::snapshot::Role::Manifest
//! [`Role::Base`]: crate::format::snapshot::Role::Base
//! [`Role::Incr`]: crate::format::snapshot::Role::Incr
//! [`Role::History`]: crate::format::snapshot::Role::History
//! [`Role::Config`]: crate::format::snapshot::Role::Config
//! [`Role::Other`]: crate::format::snapshot::Role::Other

mod authority;
mod capture;
mod captured_file;
mod choice;
mod elsewhere;
mod ending;
mod facts;
mod left;
mod listing;
mod lone;
mod multi_part;
mod names;
mod opened;
mod options;
mod others;
mod owners;
mod patterns;
mod reading;
mod sets;
mod told;
mod top_level;

pub use authority::{AOF_NOT_WRITTEN, SEVERAL_AOFS};
pub use capture::{Capture, capture_directory};
pub(super) use capture::{capture_as_told, capture_files_of};
pub use captured_file::{CapturedFile, Content, Reading};
pub(super) use elsewhere::Elsewhere;
pub use left::{Left, LeftOut, Why};
pub use lone::{Lone, LoneDump};
pub use names::{Guise, guise, stands_beside_data};
pub(super) use opened::{FileId, Opening, Span, first_bytes, open, place_of};
pub use options::{CaptureOptions, Own, Whose};
pub use reading::{inspect, inspect_into};
pub(super) use sets::OPEN_TRANSACTION;
pub use sets::UNREADABLE;
pub(super) use told::{Measure, Told};
