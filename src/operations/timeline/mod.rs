//! `timeline`: the spans of time to which datasets can be restored, the gaps between them and why they are there.
//! Rules: format-spec/17-timeline.md.

mod coverage;
mod moments;
pub(super) mod proof;
mod searching;

use std::collections::BTreeMap;

use super::list::Datasets;
use super::{Observer, OperationError};
use crate::format::UnixMillis;
use crate::format::counts::{KeyCount, Uncounted};
use crate::format::object::SnapshotName;
use crate::format::timeline::{Nothing, Precision, Reach};
use crate::repository::{Alarm, Repository, Span};

pub(super) use coverage::Holdings;
pub use coverage::{Coverage, Loss};
pub use moments::{Moment, Picked, Wish, pick};
pub use searching::{Search, before_command};

/// What is shown.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these datasets.
    pub dataset: Option<Datasets>,
    /// Only spans that end at or after this moment of the host's clock.
    pub since: Option<UnixMillis>,
}

/// The timeline of one dataset. Times are those of the server's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The dataset.
    pub dataset: String,
    /// Spans in the order of their snapshots.
    pub stretches: Vec<Stretch>,
    /// What lies between them.
    pub gaps: Vec<Gap>,
    /// Snapshots that hold no moment because their AOF may be older than their dump.
    pub stale: Vec<SnapshotName>,
    /// Snapshots whose AOF is damaged: behind what they hold, there is only its last whole command.
    pub damaged: Vec<SnapshotName>,
    /// Snapshots whose AOF was copied or restored to its place: what it holds from before then is not shown.
    pub carried: Vec<SnapshotName>,
    /// How much of the last day is covered.
    pub covered: Covered,
    /// Server's clock minus the host's, as the newest snapshot tells it and others bear it out, in milliseconds.
    pub clock: i64,
}

/// A span of time without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Parts of one precision each, in order.
    pub pieces: Vec<Piece>,
    /// The snapshots it is made of, from the first to the last.
    pub snapshots: Vec<SnapshotName>,
    /// Server's clock minus the host's, in milliseconds.
    pub clock: i64,
    /// Keys of the last of its snapshots.
    pub keys: KeyCount,
    reach: Reach,
}

/// A part of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Its first moment.
    pub begin: UnixMillis,
    /// Its last moment.
    pub end: UnixMillis,
    /// How exactly moments in it can be restored.
    pub precision: Precision,
}

/// Time to which nothing can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last moment before it.
    pub begin: UnixMillis,
    /// The first moment after it.
    pub end: UnixMillis,
    /// Why it is there.
    pub cause: Cause,
}

/// Why there is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The AOF was rewritten, or switched off and on, between two captures.
    Rewrite,
    /// Another server process wrote the later AOF.
    Restart,
    /// There was an AOF on one side of it only.
    AofOff,
    /// There is no AOF: the snapshots themselves are the only moments.
    NoAof,
    /// A capture between them met an AOF that may have been of an earlier time.
    Stale,
    /// The AOF before it is damaged.
    Damage,
}

/// How much of the last day is covered, in parts of a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Covered {
    /// By an AOF.
    pub all: u64,
    /// To the second.
    pub exact: u64,
}

const DAY: u64 = 24 * 60 * 60 * 1000;

impl Stretch {
    /// Its first moment.
    pub fn begin(&self) -> UnixMillis {
        self.reach.begin
    }

    /// Its last moment.
    pub fn end(&self) -> UnixMillis {
        self.reach.end
    }

    fn of(span: &Span, reach: Reach) -> Stretch {
        Stretch {
            pieces: pieces(&reach),
            snapshots: vec![span.name],
            clock: span.clock,
            keys: KeyCount::Unknown(Uncounted::NotCounted),
            reach,
        }
    }

    /// TIME-7: the later snapshot continues the last one; or it continues one that was forgotten, and has the same begin.
    fn joins(&self, span: &Span, reach: &Reach) -> bool {
        let is_dump = |reach: &Reach| reach.precision == Precision::Snapshot;
        let same_begin = span.continues.is_some() && reach.begin == self.reach.begin;
        !is_dump(reach) && !is_dump(&self.reach) && (span.continues == self.snapshots.last().copied() || same_begin)
    }

    /// A later snapshot with the same base holds all of it, and more.
    fn extend(&mut self, span: &Span, reach: Reach) {
        let is_as_exact = self.pieces.iter().all(|piece| reach.precision_at(piece.begin.0 / 1000) <= piece.precision);
        if reach.begin <= self.reach.begin && is_as_exact {
            self.pieces = pieces(&reach);
        } else {
            let rest = pieces(&reach).into_iter().filter(|piece| piece.end > self.reach.end);
            for piece in rest.map(|piece| Piece { begin: piece.begin.max(self.reach.end), ..piece }) {
                match self.pieces.last_mut().filter(|last| last.precision == piece.precision) {
                    Some(last) => last.end = piece.end,
                    None => self.pieces.push(piece),
                }
            }
        }
        self.reach = Reach { begin: self.reach.begin.min(reach.begin), ..reach };
        self.snapshots.push(span.name);
        self.clock = span.clock;
    }
}

fn pieces(reach: &Reach) -> Vec<Piece> {
    let piece = |begin, end, precision| Piece { begin, end, precision };
    match reach.annotated_from.map(|second| UnixMillis(second.saturating_mul(1000))) {
        Some(from) if from > reach.begin && from <= reach.end => {
            vec![piece(reach.begin, from, Precision::Marks), piece(from, reach.end, reach.precision)]
        }
        Some(from) if from > reach.end => vec![piece(reach.begin, reach.end, Precision::Marks)],
        _ => vec![piece(reach.begin, reach.end, reach.precision)],
    }
}

/// The timelines of datasets, from what their snapshots hold, in the order of the datasets. `now` is of the host's clock.
pub fn timelines(spans: &[Span], now: UnixMillis) -> Vec<Timeline> {
    spans.chunk_by(|a, b| a.dataset == b.dataset).map(|of_one| timeline(of_one, now)).collect()
}

fn timeline(spans: &[Span], now: UnixMillis) -> Timeline {
    let (mut stretches, mut gaps): (Vec<Stretch>, Vec<Gap>) = (Vec::new(), Vec::new());
    let (mut stale, mut is_stale) = (Vec::new(), false);
    // The snapshot before, and the last moment of all so far.
    let mut before: Option<(&Span, Reach, UnixMillis)> = None;
    for span in spans {
        let reach = match span.reach {
            Ok(reach) => reach,
            Err(Nothing::Unknown) => continue,
            Err(Nothing::Stale) => {
                stale.push(span.name);
                is_stale = true;
                continue;
            }
        };
        if let Some(stretch) = stretches.last_mut().filter(|stretch| stretch.joins(span, &reach)) {
            stretch.extend(span, reach);
        } else {
            if let Some((earlier, of_earlier, end)) = before
                && is_gap(end, &reach)
            {
                let cause = if is_stale { Cause::Stale } else { cause((earlier, &of_earlier), (span, &reach)) };
                gaps.push(Gap { begin: end, end: reach.begin, cause });
            }
            stretches.push(Stretch::of(span, reach));
        }
        let end = before.map_or(reach.end, |(_, _, end)| end.max(reach.end));
        (before, is_stale) = (Some((span, reach, end)), false);
    }
    // A dump may stand between two captures of one AOF: the later of them holds what lies before it.
    let holds = |reach: Reach, gap: &Gap| reach.begin <= gap.begin && gap.end <= reach.end;
    gaps.retain(|gap| !spans.iter().filter_map(|span| span.reach.ok()).any(|reach| holds(reach, gap)));
    let clock = spans.last().map_or(0, |span| span.clock);
    let dataset = spans.first().map(|span| span.dataset.clone()).unwrap_or_default();
    let damaged = spans.iter().filter(|span| span.is_damaged).map(|span| span.name).collect();
    let carried = spans.iter().filter(|span| span.is_carried).map(|span| span.name).collect();
    Timeline { dataset, covered: covered(&stretches, now), stretches, gaps, stale, damaged, carried, clock }
}

/// Whether a moment lies between. Where there are seconds, the state of one is that at its end, and its begin is no gap.
fn is_gap(end: UnixMillis, next: &Reach) -> bool {
    let is_later = next.begin.0 > end.0.saturating_add(1);
    let is_second = next.precision_at(next.begin.0 / 1000) == Precision::Second;
    is_later && (!is_second || next.begin.0 / 1000 > end.0 / 1000)
}

fn cause(earlier: (&Span, &Reach), later: (&Span, &Reach)) -> Cause {
    let has_aof = |reach: &Reach| reach.precision != Precision::Snapshot;
    if earlier.0.is_damaged {
        return Cause::Damage;
    }
    match (has_aof(earlier.1), has_aof(later.1)) {
        (false, false) => Cause::NoAof,
        (true, false) | (false, true) => Cause::AofOff,
        (true, true) => match (&earlier.0.run, &later.0.run) {
            (Some(one), Some(other)) if one != other => Cause::Restart,
            _ => Cause::Rewrite,
        },
    }
}

fn covered(stretches: &[Stretch], now: UnixMillis) -> Covered {
    let share = |worst: Precision| {
        let piece = |stretch: &Stretch, piece: &Piece| {
            let host = |time: UnixMillis| time.0.saturating_add_signed(stretch.clock.saturating_neg());
            (host(piece.begin).max(now.0.saturating_sub(DAY)), host(piece.end).min(now.0))
        };
        let fits = |piece: &&Piece| piece.precision <= worst;
        let all = stretches.iter().flat_map(|s| s.pieces.iter().filter(fits).map(move |p| piece(s, p)));
        let mut times: Vec<(u64, u64)> = all.filter(|(begin, end)| begin < end).collect();
        times.sort_unstable();
        let (mut sum, mut until) = (0, 0);
        for (begin, end) in times {
            sum += end.saturating_sub(begin.max(until));
            until = until.max(end);
        }
        sum * 1000 / DAY
    };
    Covered { all: share(Precision::Marks), exact: share(Precision::Second) }
}

/// The timelines of a repository, and what it lacks.
pub fn load(repository: &Repository, filter: &Filter) -> Result<(Vec<Timeline>, Vec<Alarm>), OperationError> {
    let alarms = repository.refresh()?;
    let mut all = timelines(&repository.spans()?, repository.ambient().now());
    let keys: BTreeMap<SnapshotName, KeyCount> =
        repository.kept_snapshots()?.into_iter().map(|info| (info.name, info.keys)).collect();
    for stretch in all.iter_mut().flat_map(|timeline| &mut timeline.stretches) {
        let known = stretch.snapshots.last().and_then(|last| keys.get(last));
        stretch.keys = known.copied().unwrap_or(stretch.keys);
    }
    all.retain(|timeline| filter.dataset.as_ref().is_none_or(|datasets| datasets.fits(&timeline.dataset)));
    if let Some(since) = filter.since {
        for timeline in &mut all {
            let since = UnixMillis(since.0.saturating_add_signed(timeline.clock));
            timeline.stretches.retain(|stretch| stretch.end() >= since);
            timeline.gaps.retain(|gap| gap.end >= since);
        }
    }
    Ok((all, alarms))
}

#[cfg(test)]
mod tests;
