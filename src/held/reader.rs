//! Whose rights count where a path is another user's word: redkeep opens nothing for him that he could not open himself.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use super::{Seen, is_ours};

/// Nobody, and not the user of that name.
const NOBODY: u32 = u32::MAX;

/// A user who names paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reader {
    user: u32,
    groups: Vec<u32>,
}

impl Reader {
    /// A user with all groups that are known of it.
    pub fn new(user: u32, groups: Vec<u32>) -> Reader {
        Reader { user, groups }
    }

    /// Somebody of whom nothing is known: what everybody may read.
    pub fn nobody() -> Reader {
        Reader::new(NOBODY, Vec::new())
    }

    /// Who can write to a file, if that is anybody but root and the caller: what the file says is his word.
    pub fn writer_of(file: &Metadata) -> Option<Reader> {
        let (mode, group) = (file.mode(), file.gid());
        let is_groups = mode & 0o020 != 0 && ![0, rustix::process::getegid().as_raw()].contains(&group);
        match (is_ours(file.uid()), is_groups, mode & 0o002 != 0) {
            (false, _, _) => Some(Reader::new(file.uid(), vec![group])),
            (true, _, true) => Some(Reader::nobody()),
            (true, true, false) => Some(Reader::new(NOBODY, vec![group])),
            (true, false, false) => None,
        }
    }

    /// Whether it is root or the caller, whose own rights the kernel looks after.
    pub fn is_ours(&self) -> bool {
        is_ours(self.user)
    }

    pub(super) fn may_read(&self, seen: &Seen) -> bool {
        self.may(seen, 0o4)
    }

    /// Whether names in a directory lead anywhere for it.
    pub(super) fn may_search(&self, seen: &Seen) -> bool {
        self.may(seen, 0o1)
    }

    fn may(&self, seen: &Seen, right: u32) -> bool {
        let (user, group) = seen.owner();
        let shift = match (user == self.user, self.groups.contains(&group)) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        (seen.mode() >> shift) & right == right
    }
}
