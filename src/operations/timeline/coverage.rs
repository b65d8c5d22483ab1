//! How much of a dataset's time snapshots cover, and which of them are needed for a stretch of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Piece, Stretch, pieces, timelines};
use crate::format::UnixMillis;
use crate::format::object::SnapshotName;
use crate::format::timeline::Precision;
use crate::operations::OperationError;
use crate::repository::{Repository, Span};

/// What a set of snapshots holds of the time of their dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Milliseconds that an AOF covers.
    pub time: u64,
    /// Milliseconds of that which are known to the second.
    pub exact: u64,
    /// Single moments: those of dumps, of captures of an AOF without timestamps, and of one that covers no time yet.
    pub moments: u64,
}

/// The same before and after some of them are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// With all of them.
    pub before: Coverage,
    /// With those that are kept.
    pub after: Coverage,
}

impl Loss {
    /// What goes.
    pub fn gone(&self) -> Coverage {
        Coverage {
            time: self.before.time.saturating_sub(self.after.time),
            exact: self.before.exact.saturating_sub(self.after.exact),
            moments: self.before.moments.saturating_sub(self.after.moments),
        }
    }
}

/// What snapshots hold, with the times of their marks.
pub(in crate::operations) struct Holdings<'a> {
    spans: Vec<&'a Span>,
    /// Milliseconds of the host's clock.
    marks: BTreeMap<SnapshotName, BTreeSet<u64>>,
}

impl<'a> Holdings<'a> {
    /// What the snapshots of a dataset hold. Marks are asked for where they alone are moments.
    pub fn of(repository: &Repository, spans: &'a [Span], dataset: &str) -> Result<Holdings<'a>, OperationError> {
        let spans: Vec<&Span> = spans.iter().filter(|span| span.dataset == dataset).collect();
        let mut marks = BTreeMap::new();
        let has_marks = |span: &&&Span| parts(span).iter().any(|piece| piece.precision == Precision::Marks);
        for span in spans.iter().filter(has_marks) {
            let times = repository.marks(&span.name)?.into_iter().map(|mark| host(span, mark.time));
            marks.insert(span.name, times.collect());
        }
        Ok(Holdings { spans, marks })
    }

    /// What is lost if only those are kept for which `keeps` says so; nothing where no moment is known.
    pub fn loss(&self, keeps: impl Fn(&SnapshotName) -> bool) -> Option<Loss> {
        let all = || self.spans.iter().copied();
        let kept: Vec<&Span> = all().filter(|span| keeps(&span.name)).collect();
        let exact: Vec<_> = union(all().flatten_exact()).into_iter().filter(|(begin, end)| begin < end).collect();
        let coverage = |spans: &[&Span]| {
            let exactly = union(spans.iter().copied().flatten_exact());
            let any = union(spans.iter().flat_map(|span| parts(span)).filter(is_of_aof).map(|piece| ends(&piece)));
            let moments: BTreeSet<u64> = spans.iter().flat_map(|span| self.moments(span)).collect();
            let is_single = |time: &&u64| !exact.iter().any(|(begin, end)| (begin..=end).contains(time));
            let moments = moments.iter().filter(is_single).count() as u64;
            Coverage { time: length(&any), exact: length(&exactly), moments }
        };
        let before = coverage(&self.spans);
        (before != Coverage::default()).then(|| Loss { before, after: coverage(&kept) })
    }

    /// The single moments of a snapshot.
    fn moments(&self, span: &Span) -> BTreeSet<u64> {
        let parts = parts(span);
        let marks = self.marks.get(&span.name).into_iter().flatten().copied();
        let is_in = |time: &u64, precision| {
            parts.iter().any(|piece| piece.precision == precision && piece.begin.0 <= *time && *time <= piece.end.0)
        };
        // A stretch without length, as of an AOF that was captured as soon as it was restored, is one too.
        let is_one = |piece: &&Piece| match piece.precision {
            Precision::Snapshot => true,
            Precision::Second => piece.begin == piece.end,
            Precision::Marks => false,
        };
        let alone = parts.iter().filter(is_one).map(|piece| piece.begin.0);
        marks.filter(|time| is_in(time, Precision::Marks)).chain(alone).collect()
    }

    /// The fewest snapshots, newest first, that hold all moments from `since` on that these hold. `since` is of the host's
    /// clock.
    pub fn needed(&self, since: UnixMillis) -> BTreeSet<SnapshotName> {
        let spans: Vec<Span> = self.spans.iter().map(|span| (*span).clone()).collect();
        let stretches: Vec<Stretch> = timelines(&spans, since).into_iter().flat_map(|of| of.stretches).collect();
        let by_name: BTreeMap<SnapshotName, &Span> = self.spans.iter().map(|span| (span.name, *span)).collect();
        let mut needed: Vec<&Span> = Vec::new();
        for stretch in &stretches {
            // Later ones of the same AOF hold what earlier ones do, as far as their own base and marks reach.
            let mut kept: Vec<&Span> = Vec::new();
            for span in stretch.snapshots.iter().rev().filter_map(|name| by_name.get(name)) {
                if !is_dump(span) && self.adds(span, &kept, since) {
                    kept.push(span);
                }
            }
            needed.extend(kept);
        }
        let exact = union(needed.iter().copied().flatten_exact());
        let is_known = |time: u64| exact.iter().any(|(begin, end)| *begin <= time && time / 1000 * 1000 + 999 <= *end);
        let dumps = self.spans.iter().filter(|span| is_dump(span));
        let single = dumps.filter(|span| self.moments(span).iter().any(|time| *time >= since.0 && !is_known(*time)));
        needed.iter().map(|span| span.name).chain(single.map(|span| span.name)).collect()
    }

    /// Whether a snapshot holds moments that those which are kept do not.
    fn adds(&self, span: &Span, kept: &[&Span], since: UnixMillis) -> bool {
        let holds = |kept: &Span, begin: u64, end: u64| {
            let exact = parts(kept).into_iter().filter(|piece| piece.precision == Precision::Second);
            exact.map(|piece| ends(&piece)).any(|(first, last)| first <= begin && end <= last)
        };
        let exact = parts(span).into_iter().filter(|piece| piece.precision == Precision::Second);
        let mut exact = exact.map(|piece| ends(&piece)).filter(|(_, end)| *end >= since.0);
        if exact.any(|(begin, end)| !kept.iter().any(|kept| holds(kept, begin.max(since.0), end))) {
            return true;
        }
        let moments = self.moments(span);
        // The one before stands for the begin of the stretch.
        let first = moments.range(..=since.0).next_back().copied().unwrap_or(since.0);
        let is_kept = |kept: &Span, time: u64| self.moments(kept).contains(&time) || holds(kept, time, time);
        let ends_before = moments.last().is_none_or(|last| *last < since.0);
        !ends_before && moments.range(first..).any(|time| !kept.iter().any(|kept| is_kept(kept, *time)))
    }
}

/// Stretches of milliseconds that are known to the second.
trait FlattenExact {
    fn flatten_exact(self) -> Vec<(u64, u64)>;
}

impl<'a, I: Iterator<Item = &'a Span>> FlattenExact for I {
    fn flatten_exact(self) -> Vec<(u64, u64)> {
        let exact = self.flat_map(parts).filter(|piece| piece.precision == Precision::Second);
        exact.map(|piece| ends(&piece)).collect()
    }
}

/// Its parts by the host's clock.
fn parts(span: &Span) -> Vec<Piece> {
    let here = |time: UnixMillis| UnixMillis(host(span, time));
    let of_host = |piece: Piece| Piece { begin: here(piece.begin), end: here(piece.end), ..piece };
    span.reach.iter().flat_map(pieces).map(of_host).collect()
}

fn host(span: &Span, time: UnixMillis) -> u64 {
    time.0.saturating_add_signed(span.clock.saturating_neg())
}

fn ends(piece: &Piece) -> (u64, u64) {
    (piece.begin.0, piece.end.0)
}

fn is_of_aof(piece: &Piece) -> bool {
    piece.precision != Precision::Snapshot
}

fn is_dump(span: &Span) -> bool {
    span.reach.is_ok_and(|reach| reach.precision == Precision::Snapshot)
}

/// Stretches in order that do not touch.
fn union(stretches: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut sorted: Vec<(u64, u64)> = stretches.into_iter().collect();
    sorted.sort_unstable();
    let mut union: Vec<(u64, u64)> = Vec::new();
    for (begin, end) in sorted {
        match union.last_mut().filter(|last| begin <= last.1) {
            Some(last) => last.1 = last.1.max(end),
            None => union.push((begin, end)),
        }
    }
    union
}

fn length(union: &[(u64, u64)]) -> u64 {
    union.iter().map(|(begin, end)| end - begin).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::name;
    use super::*;
    use crate::format::timeline::Reach;

    fn span(number: u8, (begin, end): (u64, u64), precision: Precision, continues: Option<u8>) -> Span {
        let reach = Reach { begin: UnixMillis(begin), end: UnixMillis(end), precision, annotated_from: None };
        Span {
            name: name(number),
            dataset: "d".into(),
            reach: Ok(reach),
            taken: UnixMillis(end),
            clock: 0,
            clock_then: 0,
            run: None,
            continues: continues.map(name),
            is_damaged: false,
            is_carried: false,
        }
    }

    fn needed(spans: &[Span], marks: &[(u8, &[u64])], since: u64) -> Vec<u8> {
        let marks = marks.iter().map(|(number, times)| (name(*number), times.iter().copied().collect())).collect();
        let holdings = Holdings { spans: spans.iter().collect(), marks };
        holdings.needed(UnixMillis(since)).iter().map(|name| name.session.0[0]).collect()
    }

    use Precision::{Marks, Second, Snapshot};

    #[test]
    fn of_an_aof_that_grows_the_last_capture_is_needed_and_of_each_that_was_rewritten_one() {
        let spans = [
            span(1, (0, 10_000), Second, None),
            span(2, (0, 20_000), Second, Some(1)),
            // Rewritten: another begin.
            span(3, (25_000, 30_000), Second, None),
            span(4, (25_000, 40_000), Second, Some(3)),
            // The base was changed while the last increment went on: only the one before has the time before that.
            span(5, (35_000, 50_000), Second, Some(4)),
        ];
        assert_eq!(needed(&spans, &[], 0), [2, 4, 5]);
        assert_eq!(needed(&spans, &[], 20_001), [4, 5]);
        assert_eq!(needed(&spans, &[], 36_000), [5]);
        // Another history of the same time: it does not hold what the first one does.
        let other = [spans[1].clone(), span(6, (0, 30_000), Second, None)];
        assert_eq!(needed(&[other[0].clone(), Span { continues: None, ..other[1].clone() }], &[], 0), [2, 6]);
    }

    #[test]
    fn an_aof_that_covers_no_time_yet_is_a_moment_that_can_be_lost() {
        let spans = [span(1, (5_978, 5_978), Second, None), span(2, (10_000, 20_000), Second, None)];
        let holdings = Holdings { spans: spans.iter().collect(), marks: BTreeMap::new() };
        let loss = holdings.loss(|kept| *kept == name(2)).unwrap();
        assert_eq!((loss.before.moments, loss.gone()), (1, Coverage { time: 0, exact: 0, moments: 1 }));
        assert_eq!(needed(&spans, &[], 0), [1, 2]);
    }

    #[test]
    fn dumps_are_needed_where_no_aof_knows_their_second() {
        let spans = [
            span(1, (5_000, 5_000), Snapshot, None),
            span(2, (10_000, 20_000), Second, None),
            span(3, (15_000, 15_000), Snapshot, None),
            span(4, (20_000, 20_000), Snapshot, None),
        ];
        assert_eq!(needed(&spans, &[], 0), [1, 2, 4], "the second of the last one goes on behind the AOF");
        assert_eq!(needed(&spans, &[], 6_000), [2, 4]);
    }

    #[test]
    fn without_timestamps_those_are_needed_whose_marks_later_ones_have_no_more() {
        let spans = [
            span(1, (0, 10_000), Marks, None),
            span(2, (0, 20_000), Marks, Some(1)),
            span(3, (0, 30_000), Marks, Some(2)),
        ];
        let all: [(u8, &[u64]); 3] = [(1, &[0, 10_000]), (2, &[0, 10_000, 20_000]), (3, &[0, 20_000, 30_000])];
        assert_eq!(needed(&spans, &all, 0), [2, 3]);
        assert_eq!(needed(&spans, &all, 20_000), [3]);
        let holdings = |spans| {
            let marks = all.iter().map(|(number, times)| (name(*number), times.iter().copied().collect())).collect();
            Holdings { spans, marks }
        };
        let loss = holdings(spans.iter().collect()).loss(|kept| kept.session.0[0] == 3).unwrap();
        assert_eq!((loss.gone().time, loss.gone().exact, loss.gone().moments), (0, 0, 1));
        assert_eq!(loss.before, Coverage { time: 30_000, exact: 0, moments: 4 });
        let loss = holdings(spans.iter().collect()).loss(|kept| kept.session.0[0] == 1).unwrap();
        assert_eq!(loss.gone(), Coverage { time: 20_000, exact: 0, moments: 2 });
    }

    #[test]
    fn what_goes_is_told_of_the_time_and_of_single_moments() {
        let spans = [
            span(1, (0, 10_000), Second, None),
            span(2, (15_000, 20_000), Second, None),
            span(3, (18_000, 18_000), Snapshot, None),
            span(4, (70_000, 70_000), Snapshot, None),
        ];
        let holdings = Holdings { spans: spans.iter().collect(), marks: BTreeMap::new() };
        let loss = holdings.loss(|kept| kept.session.0[0] == 2).unwrap();
        assert_eq!(loss.before, Coverage { time: 15_000, exact: 15_000, moments: 1 });
        assert_eq!(loss.gone(), Coverage { time: 10_000, exact: 10_000, moments: 1 });
        assert_eq!(Holdings { spans: Vec::new(), marks: BTreeMap::new() }.loss(|_| true), None);
    }
}
