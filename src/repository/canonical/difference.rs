//! What two dumps differ in: the buckets they do not share are read, and nothing else of them.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ops::ControlFlow;

use super::column::damaged;
use super::lookup::{DumpLookup, Records};
use super::reader::not_canonical;
use crate::format::ChunkId;
use crate::format::recipe::ColumnRole;
use crate::rdb::canonical::Kept;
use crate::repository::error::RepositoryError;
use crate::repository::lists::Lists;

/// How a key differs in a later dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the later one has it.
    Added,
    /// Only the earlier one has it.
    Removed,
    /// It has another value, whatever the form it is stored in, or another expiry.
    Changed,
    /// Its value is stored in other bytes, and cannot be read to compare what they say.
    NotCompared,
}

/// Takes a change, the database and the key.
pub type TakeChange<'t> = dyn FnMut(Change, u64, &[u8]) -> ControlFlow<()> + 't;

/// Buckets that two dumps share, by label and content.
type Shared = HashSet<(Vec<u8>, ChunkId)>;

/// Hands on how `later` differs from `earlier`, by database and key, until told to stop; keys of which only a value too long
/// for a bucket differs may come behind the others.
///
/// Memory: 300 bytes a bucket, a bucket of each, the longest value twice; one of more than 65 MiB is not held, but its longest
/// element twice. Where both have values too long for a bucket that
/// differ, all buckets are read, and 8 bytes a record are held of each.
pub fn difference(
    earlier: &DumpLookup<'_>,
    later: &DumpLookup<'_>,
    each: &mut TakeChange<'_>,
) -> Result<(), RepositoryError> {
    let same_templates = earlier.templates()? == later.templates()?;
    // The same bytes may mean fields of other names.
    let shared = if same_templates { shared(earlier, later)? } else { Shared::new() };
    let comparing = Comparing { earlier, later, same_templates, long: other_long_values(earlier, later)? };
    let mut sides = [Walk::new(earlier, &shared)?, Walk::new(later, &shared)?];
    let mut seen = BTreeSet::new();
    let [one, other] = &mut sides;
    loop {
        one.fill()?;
        other.fill()?;
        let (change, place) = match (one.records.front(), other.records.front()) {
            (None, None) => break,
            (Some((place, _)), None) => (Some(Change::Removed), place.clone()),
            (None, Some((place, _))) => (Some(Change::Added), place.clone()),
            (Some((before, _)), Some((after, _))) if before < after => (Some(Change::Removed), before.clone()),
            (Some((before, _)), Some((after, _))) if before > after => (Some(Change::Added), after.clone()),
            (Some((place, before)), Some((_, after))) => (comparing.change(place, before, after)?, place.clone()),
        };
        for side in [&mut *one, &mut *other] {
            if side.records.front().is_some_and(|(front, _)| *front == place) {
                side.records.pop_front();
            }
        }
        if let Some(change) = change
            && tell(change, &place, each)?.is_break()
        {
            return Ok(());
        }
        if comparing.long.contains(&place) {
            seen.insert(place);
        }
    }
    for place in comparing.long.difference(&seen) {
        // In buckets that both share.
        if let (Some(before), Some(after)) = (earlier.record_at(place)?, later.record_at(place)?)
            && let Some(change) = comparing.change(place, &before, &after)?
            && tell(change, place, each)?.is_break()
        {
            return Ok(());
        }
    }
    Ok(())
}

fn tell(change: Change, place: &[u8], each: &mut TakeChange<'_>) -> Result<ControlFlow<()>, RepositoryError> {
    let (database, key) = place.split_first_chunk().ok_or_else(|| damaged("a place that is too short"))?;
    Ok(each(change, u32::from_be_bytes(*database).into(), key))
}

fn shared(earlier: &DumpLookup<'_>, later: &DumpLookup<'_>) -> Result<Shared, RepositoryError> {
    let (before, after) = (buckets(earlier)?, buckets(later)?);
    Ok(before.intersection(&after).cloned().collect())
}

fn buckets(of: &DumpLookup<'_>) -> Result<Shared, RepositoryError> {
    let (mut buckets, mut lists) = (Shared::new(), of.buckets()?);
    while let Some(entry) = lists.as_mut().map_or(Ok(None), |lists| of.next_entry(lists))? {
        buckets.insert((entry.label.unwrap_or_default(), entry.id));
    }
    Ok(buckets)
}

/// Keys whose values in both are too long for a bucket, equally long, and not the same bytes.
fn other_long_values(earlier: &DumpLookup<'_>, later: &DumpLookup<'_>) -> Result<BTreeSet<Vec<u8>>, RepositoryError> {
    let [before, after] = [earlier, later].map(|of| of.stream(ColumnRole::LargeValues));
    if before.is_none() || after.is_none() || before == after && earlier.has_order_of(later) {
        return Ok(BTreeSet::new());
    }
    let (before, after) = (earlier.long_values()?, later.long_values()?);
    let differs = |(place, chunks): &(Vec<u8>, Vec<(ChunkId, u32)>)| {
        let length = |chunks: &[(ChunkId, u32)]| chunks.iter().map(|(_, length)| u64::from(*length)).sum::<u64>();
        after.get(place).is_some_and(|other| other != chunks && length(other) == length(chunks))
    };
    Ok(before.into_iter().filter(differs).map(|(place, _)| place).collect())
}

struct Comparing<'l, 'r> {
    earlier: &'l DumpLookup<'r>,
    later: &'l DumpLookup<'r>,
    same_templates: bool,
    /// As [`other_long_values`] gives them.
    long: BTreeSet<Vec<u8>>,
}

/// What a key is compared by: when it goes, and a digest of its value where it can be read.
type Sum = (Option<u64>, Option<[u8; 32]>);

impl Comparing<'_, '_> {
    /// How a key of both differs.
    fn change(&self, place: &[u8], before: &[u8], after: &[u8]) -> Result<Option<Change>, RepositoryError> {
        let kept = Kept::of(before).map_err(not_canonical)?;
        let is_of_template = matches!(kept.type_byte(), 30 | 32) && !self.same_templates;
        if before == after && !is_of_template && !self.long.contains(place) {
            return Ok(None);
        }
        let (expires, before) = sum(self.earlier, kept, place)?;
        let (expires_later, after) = sum(self.later, Kept::of(after).map_err(not_canonical)?, place)?;
        Ok(match (before, after) {
            _ if expires != expires_later => Some(Change::Changed),
            (Some(before), Some(after)) => (before != after).then_some(Change::Changed),
            (None, _) | (_, None) => Some(Change::NotCompared),
        })
    }
}

fn sum(of: &DumpLookup<'_>, kept: Kept<'_>, place: &[u8]) -> Result<Sum, RepositoryError> {
    let (mut sum, mut is_read) = ((None, None), true);
    let _ = of.give(&mut of.decoder(), kept, place, &mut |record| {
        is_read = record.value.is_some();
        sum = (record.expires, record.value.and_then(|value| value.digest().ok()));
        ControlFlow::Break(())
    })?;
    if !is_read {
        sum.1 = of.long_digest(kept, place)?;
    }
    Ok(sum)
}

/// The records of a dump in buckets that are not shared, in order: places and what is kept.
struct Walk<'l, 'r> {
    of: &'l DumpLookup<'r>,
    shared: &'l Shared,
    lists: Option<Lists>,
    records: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl<'l, 'r> Walk<'l, 'r> {
    fn new(of: &'l DumpLookup<'r>, shared: &'l Shared) -> Result<Walk<'l, 'r>, RepositoryError> {
        Ok(Walk { of, shared, lists: of.buckets()?, records: VecDeque::new() })
    }

    /// That the next record is there, if there is one.
    fn fill(&mut self) -> Result<(), RepositoryError> {
        while self.records.is_empty()
            && let Some(lists) = &mut self.lists
        {
            let Some(entry) = self.of.next_entry(lists)? else {
                self.lists = None;
                break;
            };
            if self.shared.contains(&(entry.label.clone().unwrap_or_default(), entry.id)) {
                continue;
            }
            let bytes = self.of.chunk(&entry)?;
            let mut records = Records::of(&entry, &bytes)?;
            while let Some((bytes, kept)) = records.next()? {
                self.records.push_back((kept.place(records.database), bytes.to_vec()));
            }
        }
        Ok(())
    }
}
