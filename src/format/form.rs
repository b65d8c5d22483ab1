//! How a file that a server loads as RDB is stored. Rules: format-spec/10-snapshot.md.

use super::limits::FAULT_MAX;

/// How much of a file that a server loads as RDB is stored in canonical form, and why not all of it.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Form {
    /// How much.
    #[n(0)]
    pub state: FormState,
    /// Why not all of it, for people.
    #[n(1)]
    pub why: Option<String>,
}

/// How much of a dump is stored in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum FormState {
    /// All of it that is RDB.
    #[n(0)]
    Canonical,
    /// What stands before the first thing that was not understood.
    #[n(1)]
    Prefix,
    /// Nothing.
    #[n(2)]
    Opaque,
}

impl FormState {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            FormState::Canonical => "canonical",
            FormState::Prefix => "prefix",
            FormState::Opaque => "opaque",
        }
    }
}

impl Form {
    /// SNAP-11: whether it says why it is not all canonical, and is that of a recipe that has a canonical part, or none.
    pub(super) fn fits(&self, has_canonical: bool) -> bool {
        let is_told = self.why.as_ref().is_some_and(|why| !why.is_empty() && why.len() <= FAULT_MAX);
        match self.state {
            FormState::Canonical => has_canonical && self.why.is_none(),
            FormState::Prefix => has_canonical && is_told,
            FormState::Opaque => !has_canonical && is_told,
        }
    }
}
