//! Where records become buckets: cut, made of what is new and of what stood in the buckets of the earlier version, named,
//! and stored as deltas of these where that is known to be little.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::column::damaged;
use super::known::{Head, stored_length};
use super::old_buckets::OldBuckets;
use super::rewriting::rewrite;
use crate::chunker::{BucketCutter, Sizes};
use crate::format::ChunkId;
use crate::format::copies::{Copies, apply_copies};
use crate::format::limits::LABEL_MAX;
use crate::format::list::ListEntry;
use crate::format::put_varint;
use crate::format::recipe::Stream;
use crate::format::summary::Holds;
use crate::repository::error::RepositoryError;
use crate::repository::intake::Intake;
use crate::repository::labelled::{LabelledReader, LabelledWriter};

/// Bytes of buckets that are made together.
const TOGETHER: usize = 8 << 20;
/// A delta is made against so many buckets at most.
const BASES: usize = 2;

/// A piece of a bucket.
#[derive(Debug, Clone, Copy)]
enum Piece {
    /// From one place to another in a bucket of the earlier version.
    Old { bucket: usize, from: usize, to: usize },
    /// From one place to another in what is new; it may be a record that stands there instead of one of a bucket of the
    /// earlier version.
    New { from: usize, to: usize, instead: Option<OldRange> },
}

/// A record in a bucket of the earlier version.
#[derive(Debug, Clone, Copy)]
pub(super) struct OldRange {
    pub bucket: usize,
    pub from: usize,
    pub to: usize,
}

impl Piece {
    fn length(self) -> usize {
        let (Piece::Old { from, to, .. } | Piece::New { from, to, .. }) = self;
        to - from
    }
}

/// A bucket that is known in pieces.
#[derive(Debug, Default)]
struct Pieces {
    label: Vec<u8>,
    pieces: Vec<Piece>,
    new: Vec<u8>,
    length: usize,
    /// The buckets of the earlier version that most of it stood in, by their numbers.
    most: Vec<usize>,
    /// What it may be a delta of.
    bases: Vec<ListEntry>,
}

/// A record that no bucket of the earlier version has.
pub(super) struct NewRecord<'a> {
    pub hash: u32,
    pub body: &'a [u8],
    /// The record of the same key that the earlier version has.
    pub instead: Option<OldRange>,
    /// Whether it is of another database than the one before.
    pub is_other_database: bool,
}

/// Cuts buckets and stores them. Memory: 16 MiB of buckets that are made together, twice, and the longest bucket.
pub(super) struct BucketWriter<'r> {
    cutter: BucketCutter,
    labelled: LabelledWriter,
    /// Buckets of the earlier version, for who looks for what resembles one.
    beside: Option<LabelledReader<'r>>,
    pub old: Option<OldBuckets<'r>>,
    at_hand: Pieces,
    waiting: Vec<Pieces>,
    waiting_bytes: usize,
}

/// A bucket that was made.
struct Made {
    label: Vec<u8>,
    bases: Vec<ListEntry>,
    content: Content,
}

enum Content {
    /// One that the earlier version has.
    Same(ListEntry),
    /// Its id, its bytes, and these as a delta of its bases.
    Bytes { id: ChunkId, bytes: Vec<u8>, copies: Option<Vec<u8>> },
}

impl<'r> BucketWriter<'r> {
    /// Of a dump whose earlier version has these buckets.
    pub fn new(intake: &Intake<'r>, buckets: Option<&Stream>) -> Result<BucketWriter<'r>, RepositoryError> {
        let sizes = intake.session.repository().config.buckets;
        let sizes = Sizes { min: sizes.min as usize, mean: sizes.mean as usize, max: sizes.max as usize };
        let beside = match buckets.map(|stream| LabelledReader::at(intake.reader, stream, &[])) {
            // An earlier version that cannot be read offers nothing; check tells why.
            Some(Err(error)) if error.is_damage() => None,
            other => other.transpose()?,
        };
        Ok(BucketWriter {
            cutter: BucketCutter::new(sizes),
            labelled: LabelledWriter::new(Holds::Buckets),
            beside,
            old: None,
            at_hand: Pieces::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
        })
    }

    /// Whether a bucket ends before a record; then it is ended. `database`: whether the record is of another than the one
    /// before.
    fn ends_before(&mut self, hash: u32, length: usize, is_other_database: bool) -> bool {
        let is_border = self.cutter.is_border(hash, length) || is_other_database;
        if is_border {
            self.cutter.begin(length);
        }
        is_border && !self.at_hand.pieces.is_empty()
    }

    /// Takes a new record: what it is sorted by, its body, and what stood there instead of it. Answers whether a bucket ended
    /// before it.
    pub fn put_new(
        &mut self,
        intake: &mut Intake<'_>,
        place: &[u8],
        NewRecord { hash, body, instead, is_other_database }: NewRecord<'_>,
    ) -> Result<bool, RepositoryError> {
        let stored = stored_length(body.len());
        let ends = self.ends_before(hash, stored, is_other_database);
        if ends {
            self.end_bucket(intake, Some(place))?;
        }
        let Pieces { label, pieces, new, length: so_far, .. } = &mut self.at_hand;
        if pieces.is_empty() {
            label.extend_from_slice(place.get(..LABEL_MAX as usize).unwrap_or(place));
        }
        match pieces.last_mut() {
            Some(Piece::New { to, instead: None, .. }) if instead.is_none() => *to += stored,
            _ => pieces.push(Piece::New { from: new.len(), to: new.len() + stored, instead }),
        }
        put_varint(new, body.len() as u64);
        new.extend_from_slice(body);
        *so_far += stored;
        Ok(ends)
    }

    /// Takes a record of the earlier version, which begins there in its bucket. Answers whether a bucket ended before it.
    pub fn put_old(
        &mut self,
        intake: &mut Intake<'_>,
        bucket: usize,
        from: usize,
        head: Head,
        is_other_database: bool,
    ) -> Result<bool, RepositoryError> {
        let stored = head.stored();
        let ends = self.ends_before(head.hash, stored, is_other_database);
        if ends || self.at_hand.pieces.is_empty() {
            let place = self.label_at(bucket, from, stored)?;
            if ends {
                self.end_bucket(intake, Some(&place))?;
            }
            self.at_hand.label = place;
        }
        let Pieces { pieces, length, .. } = &mut self.at_hand;
        match pieces.last_mut() {
            Some(Piece::Old { bucket: last, to, .. }) if *last == bucket && *to == from => *to += stored,
            _ => pieces.push(Piece::Old { bucket, from, to: from + stored }),
        }
        *length += stored;
        Ok(ends)
    }

    /// The label of a bucket that begins with this record of the earlier version.
    fn label_at(&mut self, bucket: usize, from: usize, stored: usize) -> Result<Vec<u8>, RepositoryError> {
        let Some(old) = &mut self.old else { return Err(damaged("no earlier version")) };
        match from {
            0 => Ok(old.label(bucket).unwrap_or_default().to_vec()),
            _ => {
                let mut place = old.place_at(bucket, from, stored)?;
                place.truncate(LABEL_MAX as usize);
                Ok(place)
            }
        }
    }

    /// The bucket at hand is complete, and the next one begins with `next`.
    fn end_bucket(&mut self, intake: &mut Intake<'_>, next: Option<&[u8]>) -> Result<(), RepositoryError> {
        let mut bucket = std::mem::take(&mut self.at_hand);
        if bucket.pieces.is_empty() {
            return Ok(());
        }
        bucket.most = most_of(&bucket);
        bucket.bases = match &self.old {
            Some(old) if !bucket.most.is_empty() => {
                bucket.most.iter().filter_map(|number| old.entry(*number).cloned()).collect()
            }
            _ => self.beside(&bucket.label, next)?,
        };
        self.waiting_bytes += bucket.length;
        self.waiting.push(bucket);
        match self.waiting_bytes >= TOGETHER {
            true => self.make(intake),
            false => Ok(()),
        }
    }

    /// What the earlier version has from a label up to the next one.
    fn beside(&mut self, label: &[u8], next: Option<&[u8]>) -> Result<Vec<ListEntry>, RepositoryError> {
        let next = next.map(|next| next.get(..LABEL_MAX as usize).unwrap_or(next));
        match self.beside.as_mut().map(|beside| beside.within(label, next)) {
            Some(Err(error)) if error.is_damage() => {
                self.beside = None;
                Ok(Vec::new())
            }
            other => Ok(other.transpose()?.unwrap_or_default()),
        }
    }

    /// Makes the buckets that wait, on all cores, and stores them in order. One that is as it was has to be known: nobody has
    /// its bytes at hand.
    fn make(&mut self, intake: &mut Intake<'_>) -> Result<(), RepositoryError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if let Some(old) = &mut self.old {
            let stayed: Vec<ChunkId> = waiting.iter().filter_map(|bucket| Some(same(old, bucket)?.id)).collect();
            if let Some(first) = stayed.first()
                && !intake.has_all(&stayed)?
            {
                return Err(RepositoryError::UnknownChunk { chunk: *first });
            }
            let of = |bucket: &Pieces| bucket.pieces.clone();
            let changed = waiting.iter().filter(|bucket| same(old, bucket).is_none()).flat_map(of);
            let needed: BTreeSet<usize> = changed
                .filter_map(|piece| match piece {
                    Piece::Old { bucket, .. } => Some(bucket),
                    Piece::New { .. } => None,
                })
                .collect();
            old.hold(&needed)?;
        }
        let (old, keyring) = (self.old.as_ref(), intake.session.keyring.clone());
        let name = |bytes: &[u8]| keyring.chunk_id(bytes);
        let made = waiting.into_par_iter().map(|bucket| make(old, bucket, &name));
        for Made { label, bases, content } in made.collect::<Result<Vec<_>, RepositoryError>>()? {
            match content {
                Content::Same(entry) => self.labelled.add(intake, ListEntry { label: Some(label), ..entry })?,
                Content::Bytes { id, bytes, copies } => {
                    self.labelled.put_named(intake, id, &bytes, label, &bases, copies)?;
                }
            }
        }
        Ok(())
    }

    /// Ends the stream. No record follows.
    pub fn finish(mut self, intake: &mut Intake<'_>) -> Result<Stream, RepositoryError> {
        self.end_bucket(intake, None)?;
        self.make(intake)?;
        self.labelled.finish(intake)
    }

    /// Lets go of buckets of the earlier version before this one, unless they are still to be used.
    pub fn pass(&mut self, bucket: usize) {
        let used = self.waiting.iter().chain([&self.at_hand]).flat_map(|pieces| &pieces.pieces);
        let used = used.filter_map(|piece| match piece {
            Piece::Old { bucket, .. } => Some(*bucket),
            Piece::New { .. } => None,
        });
        let first = used.min().unwrap_or(bucket).min(bucket);
        if let Some(old) = &mut self.old {
            old.let_go_before(first);
        }
    }
}

/// The bucket of the earlier version that a bucket is, unchanged.
fn same(old: &OldBuckets<'_>, bucket: &Pieces) -> Option<ListEntry> {
    match bucket.pieces[..] {
        [Piece::Old { bucket, from: 0, to }] => old.entry(bucket).filter(|entry| entry.length as usize == to).cloned(),
        _ => None,
    }
}

/// The buckets of the earlier version that most of a bucket stood in.
fn most_of(bucket: &Pieces) -> Vec<usize> {
    let mut shares = BTreeMap::<usize, usize>::new();
    for piece in &bucket.pieces {
        if let Piece::Old { bucket, .. } = piece {
            *shares.entry(*bucket).or_default() += piece.length();
        }
    }
    let mut most: Vec<(usize, usize)> = shares.into_iter().map(|(bucket, share)| (share, bucket)).collect();
    most.sort_unstable_by(|one, other| other.cmp(one));
    let mut most: Vec<usize> = most.into_iter().take(BASES).map(|(_, bucket)| bucket).collect();
    most.sort_unstable();
    most
}

fn make(
    old: Option<&OldBuckets<'_>>,
    bucket: Pieces,
    name: &(dyn Fn(&[u8]) -> ChunkId + Sync),
) -> Result<Made, RepositoryError> {
    let same = old.and_then(|old| same(old, &bucket));
    let copied = |old| bytes_of(old, &bucket).map(|bytes| (copies(old, &bucket, &bytes), bytes));
    let content = match (same, old) {
        (Some(entry), _) => Content::Same(entry),
        (None, Some(old)) if !bucket.most.is_empty() => {
            let (copies, bytes) = copied(old)?;
            Content::Bytes { id: name(&bytes), bytes, copies }
        }
        (None, _) => Content::Bytes { id: name(&bucket.new), bytes: bucket.new, copies: None },
    };
    Ok(Made { label: bucket.label, bases: bucket.bases, content })
}

/// The bytes of a bucket, some of which stand in buckets of the earlier version.
fn bytes_of(old: &OldBuckets<'_>, bucket: &Pieces) -> Result<Vec<u8>, RepositoryError> {
    let mut bytes = Vec::with_capacity(bucket.length);
    for piece in &bucket.pieces {
        let (from, range) = match piece {
            Piece::Old { bucket, from, to } => (old.held(*bucket).map(|bytes| &bytes[..]), *from..*to),
            Piece::New { from, to, .. } => (Some(&bucket.new[..]), *from..*to),
        };
        let piece = from.and_then(|from| from.get(range));
        bytes.extend_from_slice(piece.ok_or_else(|| damaged("a bucket is shorter than it was"))?);
    }
    Ok(bytes)
}

/// A bucket as a delta of its bases, tried out.
fn copies(old: &OldBuckets<'_>, bucket: &Pieces, bytes: &[u8]) -> Option<Vec<u8>> {
    let bases: Vec<&[u8]> = bucket.most.iter().filter_map(|number| Some(&old.held(*number)?[..])).collect();
    let begin_of = |number: usize| {
        let nth = bucket.most.iter().position(|base| *base == number)?;
        Some(bases.get(..nth)?.iter().map(|base| base.len()).sum::<usize>())
    };
    let (mut copies, mut at) = (Copies::default(), 0);
    for piece in &bucket.pieces {
        let end = at + piece.length();
        let (old, place) = match piece {
            Piece::Old { bucket, from, .. } => (None, begin_of(*bucket).map(|begin| begin + from)),
            Piece::New { instead: Some(OldRange { bucket, from, to }), .. } => {
                (old.held(*bucket).and_then(|old| old.get(*from..*to)), begin_of(*bucket).map(|begin| begin + from))
            }
            Piece::New { instead: None, .. } => (None, None),
        };
        match (old, place) {
            (Some(old), Some(place)) => rewrite(old, bytes.get(at..end)?, place as u64, &mut copies),
            (None, Some(place)) => copies.copy(place as u64, piece.length() as u64),
            (_, None) => copies.insert(bytes.get(at..end)?),
        }
        at = end;
    }
    let delta = copies.finish();
    apply_copies(&bases, &delta, bytes.len()).is_ok_and(|again| again == bytes).then_some(delta)
}
