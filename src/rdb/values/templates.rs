//! Hashes of Redis 8.10 may leave out the names of their fields: these stand in a template on top of the file.

use std::collections::HashMap;

use super::Unreadable;
use super::raw::{Raw, Read};

/// The opcode of the event that holds a template, in files of Redis.
pub const HASH_TEMPLATE: u8 = 242;

/// Most fields that the templates of a file may have together, and bytes that their names may be.
pub const MOST_FIELDS: usize = 1 << 20;
const MOST_BYTES: usize = 64 << 20;

/// The templates of a file, by their numbers. Another file has others under the same numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Templates {
    fields: HashMap<u64, Vec<Vec<u8>>>,
    count: usize,
    bytes: usize,
}

impl Templates {
    /// Notes the template of an event with the opcode [`HASH_TEMPLATE`]: its bytes as in the file, without the opcode.
    pub fn add(&mut self, body: &[u8]) -> Result<(), Unreadable> {
        let mut raw = Raw::of(body);
        let (number, mut names) = (raw.length()?, Vec::new());
        raw.counted(|raw| {
            let name = raw.string()?;
            (self.count, self.bytes) = (self.count + 1, self.bytes + name.len());
            if self.count > MOST_FIELDS || self.bytes > MOST_BYTES {
                return Err(Unreadable::Unknown("more templates of hashes than are kept".to_owned()));
            }
            names.push(name.into_owned());
            Ok(())
        })?;
        raw.end()?;
        self.fields.insert(number, names);
        Ok(())
    }

    /// The names of the fields, in order.
    pub fn fields(&self, number: u64) -> Option<&[Vec<u8>]> {
        self.fields.get(&number).map(Vec::as_slice)
    }

    pub(super) fn need(&self, number: u64) -> Read<&[Vec<u8>]> {
        self.fields(number)
            .ok_or_else(|| Unreadable::Unknown(format!("a hash of template {number}, which is not at hand")))
    }
}
