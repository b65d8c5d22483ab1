//! A Redis or Valkey data directory: which files are one consistent dataset, and how each is read.
//!
//! [`capture_directory`] works on the files alone, whether or not a server writes to them meanwhile. It opens what
//! belongs together and hands it over as [`CapturedFile`]s: from then on renames and removals do not matter.
//!
//! # What becomes of each file
//!
//! | on disk | captured as |
//! |---|---|
//! | top level, `*.rdb`, or any name that begins like an RDB file | [`Role::Dump`], one of them: `dump.rdb`, else the newest |
//! | top level, `*.aof`, or any name that begins like commands or like an RDB file for an AOF | [`Role::SingleAof`], one of them: `appendonly.aof`, else the newest |
//! | what a `*.manifest` names as base and increments, at any depth | [`Role::Manifest`], [`Role::Base`], [`Role::Incr`]; of several AOFs the one being written, else the newest |
//! | what a manifest names as history | left out; [`Role::History`] if included |
//! | files of such an AOF that its manifest does not name | left out: no server would load them |
//! | AOF files without any readable manifest | [`Role::Other`], with a warning |
//! | `temp-*` of a server, `*.pid`, `*.log`, `lost+found`, redkeep's own `.redkeep-*` | left out unless included |
//! | sockets, pipes, devices | left out |
//! | a symbolic link in place of a dump, a single AOF or an AOF directory | followed; a fact names where it points |
//! | any other symbolic link | the link |
//! | all else | [`Role::Other`] |
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
mod elsewhere;
mod ending;
mod facts;
mod listing;
mod multi_part;
mod names;
mod opened;
mod others;
mod owners;
mod patterns;
mod reading;
mod sets;
mod told;
mod top_level;

pub(super) use capture::capture_as_told;
pub use capture::{Capture, CaptureOptions, capture_directory};
pub use captured_file::{CapturedFile, Content, Reading};
pub(super) use elsewhere::Elsewhere;
pub(super) use opened::{FileId, first_bytes};
pub use reading::inspect;
pub(super) use told::{Measure, Told};
