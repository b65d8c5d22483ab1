//! The names behind numeric owners, as this host knows them.

use std::ffi::OsStr;

use uzers::{Groups as _, Users as _, UsersCache};

/// Asks the system once for each number.
pub(super) struct Owners(UsersCache);

impl Owners {
    pub(super) fn new() -> Self {
        Self(UsersCache::new())
    }

    /// `None` if the number has no name, or one that is not text.
    pub(super) fn user(&self, uid: u32) -> Option<String> {
        self.0.get_user_by_uid(uid).and_then(|user| text(user.name()))
    }

    /// `None` if the number has no name, or one that is not text.
    pub(super) fn group(&self, gid: u32) -> Option<String> {
        self.0.get_group_by_gid(gid).and_then(|group| text(group.name()))
    }
}

fn text(name: &OsStr) -> Option<String> {
    name.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_a_number_nobody_has_has_none() {
        let owners = Owners::new();
        assert_eq!(owners.user(0).as_deref(), Some("root"));
        assert_eq!(owners.group(0).as_deref(), Some("root"));
        assert_eq!(owners.user(3_999_999_999), None);
    }
}
