//! What redkeep does: one module for each command. Plain options in, a report out; the only place where the repository
//! and Redis meet.

mod attempts;
pub mod backup;
pub mod changes;
pub mod check;
pub mod copy;
pub mod doctor;
pub mod drill;
mod error;
pub mod forget;
pub mod hooks;
pub mod import;
pub mod init;
pub mod key_drop;
pub mod list;
pub mod look_up;
pub mod mirror;
mod module_types;
pub mod overview;
pub mod prune;
pub mod repair;
pub mod restore;
pub mod schedule;
mod second_look;
pub mod sets;
pub(crate) mod shell;
pub mod slots;
pub mod source;
pub mod stats;
pub mod tag;
pub mod timeline;
pub mod undelete;
pub mod verify;
pub mod watch;
mod whole_file;

pub use error::OperationError;

use crate::redis::server::Watch;

/// Is told how far long work has come, and says when to stop. Implemented by the command line's progress bar and by
/// [`Silent`].
pub trait Observer: Sync {
    /// A stretch of work begins: what is done, and its bytes where they are known.
    fn begin(&self, what: &str, bytes: Option<u64>);
    /// How the present work stands, where that cannot be told in bytes.
    fn say(&self, _how: &str) {}
    /// Something a person who waits has to hear, whether or not it is shown how the work stands.
    fn remark(&self, _what: &str) {}
    /// What a person has to do if the program ends now, and not in good order; empty where there is nothing.
    fn leaves(&self, _what: &str) {}
    /// So many more bytes are done.
    fn advance(&self, bytes: u64);
    /// Whether the user asked to stop.
    fn interrupted(&self) -> bool;
}

/// Says nothing and never stops.
pub struct Silent;

/// What waits for a server tells this observer.
fn watching<T>(observer: &dyn Observer, wait: impl FnOnce(&Watch<'_>) -> T) -> T {
    let interrupted = || observer.interrupted();
    let (say, note) = (|how: &str| observer.say(how), |what: &str| observer.remark(what));
    let leaves = |what: &str| observer.leaves(what);
    wait(&Watch { say: &say, note: &note, leaves: &leaves, interrupted: &interrupted })
}

impl Observer for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        false
    }
}
