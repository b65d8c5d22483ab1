//! A live server: how it is reached, what it says of itself, and what it is asked to do.
//!
//! The only place that speaks the protocol. No command is sent but those of [`ACL_RULES`], unless a caller asks for it by
//! name: a restore stops servers, a capture never does.

mod address;
mod connection;
mod info;
mod keys;

pub use address::{Address, Tls};
pub use connection::{Server, ServerTime};
pub use info::{Info, Keyspace};
pub use keys::Types;

/// What a user of the server must be allowed for a capture, as words of ACL SETUSER. Nothing here reads or writes a key.
pub const ACL_RULES: &str = "resetkeys resetchannels -@all +ping +auth +hello +info +time +bgsave +lastsave +config|get \
                             +client|setname +acl|whoami";
