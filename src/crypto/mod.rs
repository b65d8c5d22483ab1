//! Keys, sealing and passwords. Rules: format-spec/03-keys.md and 04-sealing.md. Knows no layout: what is sealed,
//! and what it is bound to, are bytes to it.

pub mod keys;
pub mod numbered;
pub mod passphrase;
pub mod seal;

/// A seal did not open, or a secret is not right. Says nothing more on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct NotAuthentic;
