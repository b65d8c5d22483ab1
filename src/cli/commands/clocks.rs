//! Clocks of servers that were far from this host's: a time that is shown by such a clock is not the time here.

use crate::cli::human::{count, duration, plain, short};
use crate::format::object::SnapshotName;
use crate::format::timeline::APART;
use crate::repository::{Repository, RepositoryError, Span};

/// What is to be known of the times of these snapshots: a line for each dataset and for what `timeline` makes of the clocks.
pub(super) fn notes(
    repository: &Repository,
    is_shown: impl Fn(&SnapshotName) -> bool,
) -> Result<Vec<String>, RepositoryError> {
    let spans = repository.spans()?;
    Ok(of_spans(spans.iter().filter(|span| is_shown(&span.name))))
}

fn of_spans<'s>(spans: impl Iterator<Item = &'s Span>) -> Vec<String> {
    let far: Vec<&Span> = spans.filter(|span| span.clock_then.unsigned_abs() >= APART).collect();
    let of_one = far.chunk_by(|one, other| one.dataset == other.dataset);
    of_one.flat_map(|spans| [true, false].map(|counts| note(spans, counts))).flatten().collect()
}

/// Of the snapshots of a dataset those whose clock counts, or does not.
fn note(spans: &[&Span], counts: bool) -> Option<String> {
    let alike: Vec<&&Span> = spans.iter().filter(|span| (span.clock == span.clock_then) == counts).collect();
    let newest = alike.last()?;
    let others = match alike.len() as u64 - 1 {
        0 => String::new(),
        others => format!(" (and {})", count(others, "other")),
    };
    let (id, dataset) = (short(&newest.name.session), plain(&newest.dataset));
    let apart = duration(newest.clock_then.unsigned_abs());
    let direction = if newest.clock_then > 0 { "ahead of" } else { "behind" };
    let counted = match counts {
        true => "",
        false => "; timeline and --at do not count that, which the snapshots beside it do not bear out",
    };
    Some(format!(
        "the clock of the server of {dataset} was {apart} {direction} this host's at snapshot {id}{others}: times of \
         snapshots are the server's{counted}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ids::DatasetTag;
    use crate::format::timeline::Nothing;
    use crate::format::{Id16, UnixMillis};

    fn span(number: u8, dataset: &str, clock_then: i64, clock: i64) -> Span {
        Span {
            name: SnapshotName {
                tag: DatasetTag([0; 8]),
                place: number.into(),
                sequence: number.into(),
                time: UnixMillis(0),
                session: Id16([number; 16]),
            },
            dataset: dataset.into(),
            reach: Err(Nothing::Unknown),
            taken: UnixMillis(0),
            clock,
            clock_then,
            run: None,
            continues: None,
            is_damaged: false,
            is_carried: false,
        }
    }

    /// TIME-11
    #[test]
    fn a_clock_that_was_far_off_is_told_once_for_a_dataset_and_whether_it_counts() {
        let day = 86_400_000;
        let spans = [
            span(1, "a", 0, 0),
            span(2, "a", -59_999, -59_999),
            span(3, "b", day, day),
            span(4, "b", day, day),
            span(5, "b", -day, day),
        ];
        let expected = [
            "the clock of the server of b was 24 h 0 min ahead of this host's at snapshot 04040404 (and 1 other): times of \
             snapshots are the server's",
            "the clock of the server of b was 24 h 0 min behind this host's at snapshot 05050505: times of snapshots are \
             the server's; timeline and --at do not count that, which the snapshots beside it do not bear out",
        ];
        assert_eq!(of_spans(spans.iter()), expected);
    }
}
