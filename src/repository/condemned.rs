//! What is written below `condemned/`: the packs that a sweep takes out of use before it deletes them.
//! Rules: format-spec/11-sessions.md.

use std::collections::HashSet;

use super::Repository;
use super::error::{Fault, RepositoryError};
use super::objects::Read;
use crate::format::limits::CONDEMNED_MAX;
use crate::format::object::Name;
use crate::format::session::Condemned;
use crate::format::{Id16, ObjectHash};

/// What `condemned/` holds.
#[derive(Default)]
pub(super) struct ReadCondemned {
    /// Ids that were read.
    pub ids: Vec<Id16>,
    /// All packs they name.
    pub packs: HashSet<ObjectHash>,
    /// Objects that cannot be read.
    pub unreadable: Vec<(Name, Fault)>,
}

impl Repository {
    /// What `condemned/` holds. One that cannot be read stops the caller, unless its loss was recorded: nothing may be taken
    /// for usable past it.
    ///
    /// NOTE-4: an id that was not read is not among the ids.
    pub(super) fn condemned(&self) -> Result<ReadCondemned, RepositoryError> {
        let read = self.read_condemned()?;
        if !read.unreadable.is_empty() {
            let losses = self.losses()?;
            if let Some((name, fault)) = read.unreadable.iter().find(|(name, _)| !losses.has(&name.to_string())) {
                return Err(RepositoryError::damaged(name, fault.clone()));
            }
        }
        Ok(read)
    }

    /// All of `condemned/`. One that is gone between LIST and GET was done with.
    pub(super) fn read_condemned(&self) -> Result<ReadCondemned, RepositoryError> {
        let mut read = ReadCondemned::default();
        for (of, condemned) in self.condemnations()? {
            match (of.name, condemned) {
                (Name::Condemned(id), Ok(condemned)) => {
                    read.ids.push(id);
                    read.packs.extend(condemned.packs);
                }
                (_, Err(Fault::Missing)) | (_, Ok(_)) => {}
                (name, Err(fault)) => read.unreadable.push((name, fault)),
            }
        }
        Ok(read)
    }

    /// What stands below `condemned/`.
    pub(super) fn condemnations(&self) -> Result<Read<Condemned>, RepositoryError> {
        self.read_all("condemned/", CONDEMNED_MAX, &|_, _, plaintext| Ok(Condemned::decode(&plaintext)?))
    }
}
