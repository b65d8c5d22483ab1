//! Values that are too long for a bucket, on their way in: whole, or in pieces as they are read.

use std::collections::BTreeMap;

use super::element_sorter::ElementSorter;
use super::known::{Known, LargeValue};
use super::merging::MergeError;
use super::workers::LargeKept;
use super::writer::column;
use crate::format::recipe::{ColumnRole, Part, Stream};
use crate::format::summary::Holds;
use crate::rdb::Family;
use crate::rdb::canonical::{Hasher, put_varint};
use crate::repository::Repository;
use crate::repository::error::RepositoryError;
use crate::repository::intake::Intake;
use crate::repository::stream::StreamWriter;
use crate::spill::Scratch;

/// Memory for the elements of a value that comes in pieces: nothing else is under way then.
const SORTED: usize = 96 << 20;

/// Large values in the order of the file. Each begins a chunk: where they stand in the file changes with each restart. Where each
/// of them was is remembered.
pub(super) struct Large<'s> {
    stream: StreamWriter,
    /// Orders of elements that were sorted as they stood.
    orders: StreamWriter,
    known: Option<&'s Known>,
    values: Vec<LargeValue>,
    /// Whether the last one has not ended.
    is_open: bool,
    giant: Option<Giant<'s>>,
    hasher: Hasher,
    scratch: &'s Scratch,
}

/// A value that comes in pieces.
enum Giant<'s> {
    /// Its elements are sorted.
    Sorting(Box<ElementSorter<'s>>),
    AsItStands,
}

/// The streams of large values by their roles, and where each value begins.
pub(super) type LargeStored = (BTreeMap<u64, Stream>, Vec<LargeValue>);

impl<'s> Large<'s> {
    pub fn new(
        old: Option<&Part>,
        known: Option<&'s Known>,
        repository: &Repository,
        scratch: &'s Scratch,
    ) -> Large<'s> {
        let stream = column(old, ColumnRole::LargeValues, Holds::Buckets, repository);
        let orders = column(old, ColumnRole::LargeOrder, Holds::Order, repository);
        let (values, hasher) = (Vec::new(), repository.name_hasher());
        Large { stream, orders, known, values, is_open: false, giant: None, hasher, scratch }
    }

    /// A whole value.
    pub fn put(&mut self, intake: &mut Intake<'_>, kept: &LargeKept) -> Result<(), RepositoryError> {
        self.append(intake, kept.hash, &kept.value)?;
        kept.order.as_ref().map_or(Ok(()), |order| self.put_order(intake, order))?;
        self.end(intake)
    }

    /// More of a value whose record begins with this type and key.
    pub fn put_piece(
        &mut self,
        intake: &mut Intake<'_>,
        family: Family,
        type_and_key: &[u8],
        piece: &[u8],
    ) -> Result<(), MergeError> {
        let hash = self.hasher.hash(type_and_key);
        let giant = self.giant.take().unwrap_or_else(|| {
            let type_byte = type_and_key.first().copied().unwrap_or_default();
            let sorter = ElementSorter::new(self.scratch, SORTED, self.hasher, type_byte, family);
            sorter.map_or(Giant::AsItStands, |sorter| Giant::Sorting(Box::new(sorter)))
        });
        self.giant = Some(match giant {
            Giant::AsItStands => {
                self.append(intake, hash, piece)?;
                Giant::AsItStands
            }
            Giant::Sorting(mut sorter) => match sorter.push(piece)? {
                true => Giant::Sorting(sorter),
                false => {
                    sorter.give_back(&mut |bytes| self.append(intake, hash, bytes))?;
                    Giant::AsItStands
                }
            },
        });
        Ok(())
    }

    /// The value that came in pieces is whole. Answers whether its elements were sorted.
    pub fn end_pieces(&mut self, intake: &mut Intake<'_>, type_and_key: &[u8]) -> Result<bool, MergeError> {
        let (giant, hash) = (self.giant.take(), self.hasher.hash(type_and_key));
        let is_sorted = match giant {
            Some(Giant::Sorting(sorter)) => {
                let order = sorter.finish(&mut |bytes| self.append(intake, hash, bytes))?;
                self.put_order(intake, &order)?;
                true
            }
            Some(Giant::AsItStands) | None => false,
        };
        self.end(intake)?;
        Ok(is_sorted)
    }

    /// A value, or more of the one that has not ended, of a key with this hash.
    ///
    /// It is stored against what was the value of the same key, wherever that stood.
    fn append(&mut self, intake: &mut Intake<'_>, hash: u32, value: &[u8]) -> Result<(), RepositoryError> {
        if !std::mem::replace(&mut self.is_open, true) {
            if let Some(known) = self.known {
                self.stream.goes_on_like(known.large(hash));
            }
            self.values.push(LargeValue { hash, begin: self.stream.length() });
        }
        self.stream.write(intake, value)
    }

    /// Behind its length.
    fn put_order(&mut self, intake: &mut Intake<'_>, order: &[u8]) -> Result<(), RepositoryError> {
        let mut length = Vec::new();
        put_varint(&mut length, order.len() as u64);
        self.orders.write(intake, &length)?;
        self.orders.write(intake, order)
    }

    fn end(&mut self, intake: &mut Intake<'_>) -> Result<(), RepositoryError> {
        self.is_open = false;
        self.stream.cut_here(intake)
    }

    /// All values came; streams that hold nothing are none.
    pub fn finish(self, intake: &mut Intake<'_>) -> Result<LargeStored, RepositoryError> {
        let mut streams = BTreeMap::new();
        for (role, stream) in [(ColumnRole::LargeValues, self.stream), (ColumnRole::LargeOrder, self.orders)] {
            if stream.length() > 0 {
                streams.insert(role as u64, stream.finish(intake)?);
            }
        }
        Ok((streams, self.values))
    }
}
