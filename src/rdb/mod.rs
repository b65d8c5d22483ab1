//! An RDB file is a magic, then records and events that are told apart by their first byte, then a checksum.
//!
//! This module reads the *structure* of one: where each value ends, never what it holds. Strings stay compressed,
//! keys stay unread, and nothing is allocated by a length the file tells. The bytes are pulled through once and in
//! order, so a file can be checked on its way into the repository; a thing the reader does not know is no fault of the
//! file, and [`Finding`] keeps the two apart. Who wants to know where each record is gets it as a [`Stretch`]. [`strings`] takes strings apart;
//! [`lzf`] is how they are compressed; [`values`] reads values, to show and to count them.

mod aux_fields;
pub mod canonical;
mod coding;
mod header;
pub mod lzf;
mod reader;
mod source;
mod stretch;
pub mod strings;
mod structure;
mod value;
pub mod values;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use aux_fields::Aux;
pub use header::{Family, HEADER_PEEK, Header, Peek, looks_like_rdb, read_header};
pub use reader::{read_preamble, read_preamble_stretches, read_stretches, read_structure};
pub use stretch::{Stretch, What};
pub use structure::{Checksum, Database, Finding, Module, Structure, TypeCounts};
pub use value::Kind;
