//! Dumps made by servers.
