//! What spans, joins and gaps follow from what snapshots hold.

#![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

use super::*;
use crate::format::Id16;
use crate::format::ids::DatasetTag;

pub(super) fn name(number: u8) -> SnapshotName {
    SnapshotName {
        tag: DatasetTag([0; 8]),
        place: number.into(),
        sequence: number.into(),
        time: UnixMillis(number.into()),
        session: Id16([number; 16]),
    }
}

/// A snapshot that holds what lies between two seconds.
fn span(number: u8, times: (u64, u64), precision: Precision, continues: Option<u8>) -> Span {
    let (begin, end) = (UnixMillis(times.0 * 1000), UnixMillis(times.1 * 1000));
    Span {
        name: name(number),
        dataset: "d".into(),
        reach: Ok(Reach { begin, end, precision, annotated_from: None }),
        taken: end,
        clock: 0,
        clock_then: 0,
        run: None,
        continues: continues.map(name),
        is_damaged: false,
        is_carried: false,
    }
}

fn only(spans: &[Span]) -> Timeline {
    let mut all = timelines(spans, UnixMillis(DAY));
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// Pieces in seconds.
fn shape(timeline: &Timeline) -> Vec<Vec<(u64, u64, Precision)>> {
    let piece = |piece: &Piece| (piece.begin.0 / 1000, piece.end.0 / 1000, piece.precision);
    timeline.stretches.iter().map(|stretch| stretch.pieces.iter().map(piece).collect()).collect()
}

fn gaps(timeline: &Timeline) -> Vec<(u64, u64, Cause)> {
    timeline.gaps.iter().map(|gap| (gap.begin.0 / 1000, gap.end.0 / 1000, gap.cause)).collect()
}

use Precision::{Marks, Second, Snapshot};

/// TIME-7
#[test]
fn snapshots_that_continue_one_another_are_one_span() {
    let spans =
        [span(1, (100, 200), Second, None), span(2, (100, 300), Second, Some(1)), span(3, (100, 400), Second, Some(2))];
    let timeline = only(&spans);
    assert_eq!(shape(&timeline), [[(100, 400, Second)]]);
    assert_eq!(timeline.stretches[0].snapshots, [name(1), name(2), name(3)]);
    assert_eq!(gaps(&timeline), []);
    // The one in the middle was forgotten.
    assert_eq!(shape(&only(&[spans[0].clone(), spans[2].clone()])), [[(100, 400, Second)]]);
}

/// TIME-7
#[test]
fn a_span_that_does_not_continue_the_one_before_leaves_a_gap_with_a_cause() {
    let first = span(1, (100, 200), Second, None);
    let run = |run: &str, span: Span| Span { run: Some(run.into()), ..span };
    for (spans, cause) in [
        ([first.clone(), span(2, (250, 300), Second, None)], Cause::Rewrite),
        ([run("a", first.clone()), run("a", span(2, (250, 300), Second, None))], Cause::Rewrite),
        ([run("a", first.clone()), run("b", span(2, (250, 300), Second, None))], Cause::Restart),
        ([first.clone(), span(2, (250, 250), Snapshot, None)], Cause::AofOff),
        ([span(1, (200, 200), Snapshot, None), span(2, (250, 300), Marks, None)], Cause::AofOff),
        ([span(1, (200, 200), Snapshot, None), span(2, (250, 250), Snapshot, None)], Cause::NoAof),
    ] {
        let timeline = only(&spans);
        assert_eq!(timeline.stretches.len(), 2, "{cause:?}");
        assert_eq!(gaps(&timeline), [(200, 250, cause)]);
    }
    let stale = Span { reach: Err(Nothing::Stale), ..span(2, (0, 0), Marks, None) };
    let timeline = only(&[first.clone(), stale, span(3, (250, 300), Second, None)]);
    assert_eq!((gaps(&timeline), timeline.stale), (vec![(200, 250, Cause::Stale)], vec![name(2)]));
    // A dump between two captures of one AOF: what lies before it is in the later one.
    let dump = span(2, (250, 250), Snapshot, None);
    let timeline = only(&[first.clone(), dump, span(3, (100, 300), Second, None)]);
    assert_eq!((timeline.stretches.len(), gaps(&timeline)), (3, vec![]));
    // One that begins before the other ended: another history, and no gap.
    let timeline = only(&[first, span(2, (150, 300), Second, None)]);
    assert_eq!((timeline.stretches.len(), gaps(&timeline)), (2, vec![]));
}

#[test]
fn a_span_falls_into_pieces_where_its_precision_changes() {
    let later = |from| {
        let mut span = span(2, (100, 300), Second, Some(1));
        span.reach = span.reach.map(|reach| Reach { annotated_from: from, ..reach });
        span
    };
    let timeline = only(&[span(1, (100, 200), Marks, None), later(Some(220))]);
    assert_eq!(shape(&timeline), [[(100, 220, Marks), (220, 300, Second)]]);
    let timeline = only(&[span(1, (100, 200), Marks, None), later(None)]);
    assert_eq!(shape(&timeline), [[(100, 300, Second)]]);
    // Annotations were switched off: what was exact stays so.
    let timeline = only(&[span(1, (100, 200), Second, None), span(2, (100, 300), Marks, Some(1))]);
    assert_eq!(shape(&timeline), [[(100, 200, Second), (200, 300, Marks)]]);
}

#[test]
fn the_covered_share_of_the_last_day_counts_no_time_twice() {
    let day = DAY / 1000;
    let spans = [
        span(1, (0, day / 10), Second, None),
        span(2, (day / 20, day / 5), Marks, None),
        span(3, (day / 2, day / 2), Snapshot, None),
        // Beyond now.
        span(4, (day - day / 10, day * 2), Second, None),
    ];
    assert_eq!(only(&spans).covered, Covered { all: 300, exact: 200 });
    let ahead = |span: &Span| Span { clock: 1000 * (day / 10) as i64, ..span.clone() };
    assert_eq!(only(&spans.iter().map(ahead).collect::<Vec<_>>()).covered, Covered { all: 300, exact: 200 });
    assert_eq!(timelines(&[], UnixMillis(0)), []);
}
