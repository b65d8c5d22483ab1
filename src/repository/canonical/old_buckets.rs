//! The buckets of a dump's earlier version, decoded as they are needed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread::Scope;

use crossbeam_channel::{Receiver, bounded};
use rayon::prelude::*;

use crate::format::list::ListEntry;
use crate::format::recipe::Stream;
use crate::rdb::canonical::Kept;
use crate::repository::chunk_reader::ChunkReader;
use crate::repository::error::RepositoryError;
use crate::repository::labelled::LabelledReader;

use super::reader::not_canonical;

/// Buckets of an earlier version. Memory: their entries, about 100 bytes for each; those that are held; 8 MiB of those that are
/// decoded ahead.
pub(super) struct OldBuckets<'r> {
    reader: &'r ChunkReader<'r>,
    entries: Vec<ListEntry>,
    held: BTreeMap<usize, Arc<Vec<u8>>>,
}

/// Buckets that are decoded ahead.
pub(super) struct Coming {
    groups: Receiver<Result<Decoded, RepositoryError>>,
    /// All wanted ones below this have come.
    before: usize,
}

/// A bucket's number, and its bytes.
type Bucket = (usize, Arc<Vec<u8>>);

struct Decoded {
    buckets: Vec<Bucket>,
    /// The first one of the next group.
    before: usize,
}

/// Bytes of buckets that are decoded ahead together, and how many such groups wait.
const GROUP: u64 = 2 << 20;
const GROUPS_AHEAD: usize = 2;

/// How many of these make a group.
fn group_of<'e>(entries: impl Iterator<Item = &'e (usize, ListEntry)>) -> usize {
    let mut bytes = 0;
    let is_room = |(_, entry): &&(usize, ListEntry)| {
        bytes += u64::from(entry.length);
        bytes <= GROUP
    };
    entries.take_while(is_room).count().max(1)
}

/// Decodes buckets on all cores.
fn decode(reader: &ChunkReader<'_>, buckets: &[(usize, &ListEntry)]) -> Result<Vec<Bucket>, RepositoryError> {
    let (mut rest, mut decoded) = (buckets, Vec::with_capacity(buckets.len()));
    while !rest.is_empty() {
        let taken = reader.warm(rest.iter().map(|(_, entry)| entry.id))?;
        let (some, after) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
        decoded.append(&mut decode_fetched(reader, some)?);
        rest = after;
    }
    Ok(decoded)
}

fn decode_fetched(reader: &ChunkReader<'_>, buckets: &[(usize, &ListEntry)]) -> Result<Vec<Bucket>, RepositoryError> {
    let read = |(number, entry): &(usize, &ListEntry)| Ok((*number, Arc::new(reader.chunk(&entry.id, entry.length)?)));
    buckets.par_iter().map(read).collect()
}

impl<'r> OldBuckets<'r> {
    /// Those of a stream, none of them decoded.
    pub fn new(reader: &'r ChunkReader<'r>, stream: &Stream) -> Result<OldBuckets<'r>, RepositoryError> {
        let (mut entries, mut labelled) = (Vec::new(), LabelledReader::at(reader, stream, &[])?);
        while let Some(entry) = labelled.next_entry()? {
            entries.push(entry);
        }
        Ok(OldBuckets { reader, entries, held: BTreeMap::new() })
    }

    pub fn entries(&self) -> &[ListEntry] {
        &self.entries
    }

    pub fn entry(&self, number: usize) -> Option<&ListEntry> {
        self.entries.get(number)
    }

    /// The label of a bucket; none behind the last.
    pub fn label(&self, number: usize) -> Option<&[u8]> {
        self.entries.get(number)?.label.as_deref()
    }

    /// Decodes what is not held of these, on all cores.
    pub fn hold(&mut self, numbers: &BTreeSet<usize>) -> Result<(), RepositoryError> {
        let missing = numbers.iter().filter(|number| !self.held.contains_key(number));
        let missing = missing.filter_map(|number| Some((*number, self.entries.get(*number)?)));
        let missing: Vec<(usize, &ListEntry)> = missing.collect();
        self.held.extend(decode(self.reader, &missing)?);
        Ok(())
    }

    /// Decodes these, in order, while others are walked along, and what some are made of is fetched while others are decoded;
    /// stops where nobody takes what comes.
    pub fn coming<'scope>(&self, scope: &'scope Scope<'scope, '_>, numbers: impl Iterator<Item = usize>) -> Coming
    where
        'r: 'scope,
    {
        let wanted = numbers.filter_map(|number| Some((number, self.entries.get(number)?.clone())));
        let (reader, mut wanted): (_, VecDeque<(usize, ListEntry)>) = (self.reader, wanted.collect());
        let (to_decode, fetched) = bounded(0);
        scope.spawn(move || {
            while !wanted.is_empty() {
                let group = group_of(wanted.iter());
                let taken = reader.warm(wanted.iter().take(group).map(|(_, entry)| entry.id));
                let group = taken.map(|taken| wanted.drain(..taken.clamp(1, group)).collect::<Vec<_>>());
                let before = wanted.front().map_or(usize::MAX, |(number, _)| *number);
                let is_last = group.is_err();
                if to_decode.send(group.map(|group| (group, before))).is_err() || is_last {
                    return;
                }
            }
        });
        let (to, groups) = bounded(GROUPS_AHEAD);
        scope.spawn(move || {
            for group in fetched {
                let decoded = group.and_then(|(group, before)| {
                    let group: Vec<_> = group.iter().map(|(number, entry)| (*number, entry)).collect();
                    Ok(Decoded { buckets: decode_fetched(reader, &group)?, before })
                });
                let is_last = decoded.is_err();
                if to.send(decoded).is_err() || is_last {
                    return;
                }
            }
        });
        Coming { groups, before: 0 }
    }

    /// Holds those that come, up to this one, if it is one of them.
    pub fn take_coming(&mut self, coming: &mut Coming, number: usize) -> Result<(), RepositoryError> {
        while coming.before <= number {
            let Ok(group) = coming.groups.recv() else {
                coming.before = usize::MAX;
                break;
            };
            let Decoded { buckets, before } = group?;
            self.held.extend(buckets);
            coming.before = before;
        }
        Ok(())
    }

    /// One that is held.
    pub fn held(&self, number: usize) -> Option<&Arc<Vec<u8>>> {
        self.held.get(&number)
    }

    /// Lets go of those before one.
    pub fn let_go_before(&mut self, number: usize) {
        self.held = self.held.split_off(&number);
    }

    /// By what a record is sorted: `body` of one that stands in this bucket.
    pub fn place_of(&self, number: usize, body: &[u8]) -> Result<Vec<u8>, RepositoryError> {
        let database = self.label(number).and_then(|label| label.first_chunk()).copied().unwrap_or_default();
        Ok(Kept::of(body).map_err(not_canonical)?.place(u32::from_be_bytes(database)))
    }

    /// The same of the record that begins with its length at this place, and takes so many bytes.
    pub fn place_at(&mut self, number: usize, from: usize, stored: usize) -> Result<Vec<u8>, RepositoryError> {
        if !self.held.contains_key(&number) {
            self.hold(&BTreeSet::from([number]))?;
        }
        let bytes = self.held.get(&number).map(|bytes| bytes.as_slice()).unwrap_or_default();
        let record = bytes.get(from..from + stored).unwrap_or_default();
        let head = record.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        self.place_of(number, record.get(head..).unwrap_or_default())
    }
}
