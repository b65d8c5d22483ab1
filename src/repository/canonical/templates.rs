//! What a dump has beside its records, its events; the templates of hashes among them.

use super::column::{Column, LARGE_LONGEST, VARINT, damaged};
use super::parameters::Parameters;
use super::reader::not_canonical;
use crate::format::recipe::{ColumnRole, Part};
use crate::format::{Malformed, Reader};
use crate::rdb::canonical::{Hasher, TemplateTags, Values, take_event};
use crate::rdb::values::HASH_TEMPLATE;
use crate::repository::chunk_reader::ChunkReader;
use crate::repository::error::RepositoryError;

/// Hands on the events of a dump that begin with this byte, each as in the file without it.
pub(super) fn each_event(
    reader: &ChunkReader<'_>,
    part: &Part,
    opcode: u8,
    each: &mut dyn FnMut(&[u8]),
) -> Result<(), RepositoryError> {
    let mut events = Column::new(reader, part.streams.get(&(ColumnRole::Events as u64)))?;
    loop {
        let mut head = Reader::new("event", events.look(2 * VARINT)?);
        let whole = head.remaining();
        if whole == 0 {
            return Ok(());
        }
        let malformed = |malformed: Malformed| damaged(malformed.to_string());
        head.varint().map_err(malformed)?;
        let length = head.varint_max("an event", LARGE_LONGEST).map_err(malformed)?;
        let head = whole - head.remaining();
        let mut event = events.take(head + length as usize)?;
        let (_, bytes) = take_event(&mut event).map_err(not_canonical)?.unwrap_or_default();
        if let Some((_, body)) = bytes.split_first().filter(|(first, _)| **first == opcode) {
            each(body);
        }
    }
}

impl Parameters {
    /// How the values of the part are kept. The events of a dump that may have templates are read.
    pub(super) fn values(
        &self,
        reader: &ChunkReader<'_>,
        part: &Part,
        hasher: Hasher,
    ) -> Result<Values, RepositoryError> {
        let mut templates = TemplateTags::default();
        if !self.is_unresolved && self.magic.starts_with(b"R") {
            each_event(reader, part, HASH_TEMPLATE, &mut |body| templates.add(hasher, body))?;
        }
        Ok(Values { is_unresolved: self.is_unresolved, templates: templates.into() })
    }
}
