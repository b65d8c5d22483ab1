//! What is known of a sequence of commands once it has gone past.

use super::timestamps::Timestamp;

/// What a scanner saw. Counts and timestamps are those before the cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Offset after the last complete command or annotation outside MULTI and EXEC.
    pub cut: u64,
    /// Bytes pushed.
    pub length: u64,
    /// Commands, with MULTI and EXEC.
    pub commands: u64,
    /// Pairs of MULTI and EXEC.
    pub transactions: u64,
    /// The first timestamp.
    pub first_timestamp: Option<Timestamp>,
    /// The last timestamp.
    pub last_timestamp: Option<Timestamp>,
    /// The first timestamp that is later than the second the scanner was given.
    pub later_timestamp: Option<Timestamp>,
    /// Commands behind the MULTI without EXEC, without it: a loading server lets go of all of them.
    pub queued: u64,
    /// Where a MULTI begins in which another one stands. No server writes that: a crash left the first one open.
    pub nested: Option<u64>,
    /// Why the cut is not the end.
    pub ending: Ending,
}

impl Commands {
    /// Whether bytes were met that are no commands; merely ending early is what a growing file does.
    pub fn is_suspect(&self) -> bool {
        matches!(self.ending, Ending::NotCommands { .. })
    }

    /// Bytes after the cut.
    pub fn unfinished(&self) -> u64 {
        self.length.saturating_sub(self.cut)
    }

    /// One line on why the cut is not the end.
    pub fn reason(&self) -> Option<String> {
        match &self.ending {
            Ending::Complete => None,
            Ending::CutShort { offset, .. } => Some(format!("the command at {offset} is cut short")),
            Ending::OpenTransaction { offset } => Some(format!("the transaction at {offset} is cut short")),
            Ending::NotCommands { offset, what } => Some(format!("not a command at {offset}: {what}")),
        }
    }

    /// The same with every offset counted from a place `bytes` earlier: commands after an RDB preamble of that length.
    pub fn after(mut self, bytes: u64) -> Self {
        self.cut += bytes;
        self.length += bytes;
        let timestamps = [&mut self.first_timestamp, &mut self.last_timestamp, &mut self.later_timestamp];
        for timestamp in timestamps.into_iter().flatten() {
            timestamp.offset += bytes;
        }
        self.nested = self.nested.map(|offset| offset + bytes);
        match &mut self.ending {
            Ending::Complete => {}
            Ending::CutShort { offset, .. }
            | Ending::OpenTransaction { offset }
            | Ending::NotCommands { offset, .. } => *offset += bytes,
        }
        self
    }
}

/// How a sequence of commands ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// At the cut.
    Complete,
    /// Within a command outside any transaction.
    CutShort {
        /// Where the command begins.
        offset: u64,
        /// Bytes still missing of the argument being read: more than a server can have under way speaks of a damaged
        /// length.
        missing: u64,
    },
    /// After a MULTI without EXEC.
    OpenTransaction {
        /// Where the MULTI begins.
        offset: u64,
    },
    /// With bytes that are no command. They were passed over unread.
    NotCommands {
        /// Where they begin.
        offset: u64,
        /// What is wrong with them.
        what: &'static str,
    },
}
