//! The snapshot that holds an asked moment, and what is to be cut from it.

use super::super::list::{Chosen, Selector, choose};
use super::super::restore::Goal;
use super::OperationError;
use crate::format::UnixMillis;
use crate::format::timeline::{Precision, Reach, clock_offset, mark_at};
use crate::repository::{Repository, Span};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// The moment, by the host's clock. The second it is in is meant.
    pub at: UnixMillis,
    /// Only this snapshot.
    pub snapshot: Option<&'a Selector>,
    /// Of this dataset.
    pub dataset: Option<&'a str>,
    /// In a gap: the nearest moment before it.
    pub nearest: bool,
}

/// A moment that can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What was asked for, by the host's clock.
    pub asked: Option<UnixMillis>,
    /// The state is the one of this time, by the server's clock. Of a command that is searched for: what is known before
    /// it is found.
    pub effective: UnixMillis,
    /// Server's clock minus the host's, in milliseconds.
    pub clock: i64,
    /// How exact it is.
    pub precision: Precision,
    /// It lies in a gap, and the nearest one before it is taken.
    pub is_nearest: bool,
}

/// A snapshot and what to make of it.
pub struct Picked {
    /// The snapshot.
    pub chosen: Chosen,
    /// The moment that is restored.
    pub moment: Moment,
    /// Where to cut; `None`: nowhere.
    pub goal: Option<Goal>,
}

/// Finds the snapshot that holds a moment by asking the catalog.
///
/// TIME-8: the most exact that holds all of that second, of these the earliest: it was captured the soonest after it.
pub fn pick(repository: &Repository, wish: &Wish<'_>) -> Result<Picked, OperationError> {
    let (span, is_nearest) = match wish.snapshot {
        Some(selector) => in_snapshot(repository, selector, wish)?,
        None => in_dataset(repository, wish)?,
    };
    let reach = span.reach.map_err(|_| OperationError::Unreachable {
        at: wish.at,
        why: "no snapshot holds a known moment".into(),
        before: None,
        after: None,
    })?;
    let second = if is_nearest { reach.end.0 / 1000 } else { of_server(wish.at, span.clock) };
    let chosen = choose(repository, &Selector::Id(span.name.session.to_string()), Some(&span.dataset))?;
    let precision = reach.precision_at(second);
    let (effective, goal) = match precision {
        Precision::Second => {
            let end = UnixMillis(second.saturating_mul(1000).saturating_add(999));
            (end.min(reach.end), Some(Goal::Second { second, base: reach.begin.0 / 1000 }))
        }
        Precision::Marks => {
            let marks = repository.marks(&span.name)?;
            let mark = mark_at(&marks, second).ok_or_else(|| OperationError::Unreachable {
                at: wish.at,
                why: "no mark of its AOF is that old".into(),
                before: None,
                after: marks.iter().map(|mark| of_host(mark.time, span.clock)).min(),
            })?;
            (mark.time, Some(Goal::Mark(mark.clone())))
        }
        Precision::Snapshot => (reach.end, None),
    };
    let moment = Moment { asked: Some(wish.at), effective, clock: span.clock, precision, is_nearest };
    Ok(Picked { chosen, moment, goal })
}

/// The snapshot that is meant, cut before the last command that begins with `words`.
pub fn before_command(
    repository: &Repository,
    selector: &Selector,
    dataset: Option<&str>,
    words: Vec<Vec<u8>>,
) -> Result<Picked, OperationError> {
    let chosen = choose(repository, selector, dataset)?;
    let reach = Reach::of(&chosen.snapshot).ok().filter(|reach| reach.precision != Precision::Snapshot);
    let reach = reach.ok_or_else(|| OperationError::Refused {
        what: "the snapshot has no AOF that is known to be its dataset: there are no commands to look among".into(),
        hint: "name a snapshot that has one: redkeep timeline shows what each holds".into(),
    })?;
    let (begin, marks) = (reach.begin, chosen.snapshot.marks.clone());
    let base = (reach.precision == Precision::Second && reach.annotated_from.is_none()).then_some(begin.0 / 1000);
    let clock = clock_offset(&chosen.snapshot);
    let moment = Moment { asked: None, effective: begin, clock, precision: reach.precision, is_nearest: false };
    Ok(Picked { chosen, moment, goal: Some(Goal::Before { words, base, marks }) })
}

/// The second of the server's clock.
fn of_server(at: UnixMillis, clock: i64) -> u64 {
    at.0.saturating_add_signed(clock) / 1000
}

/// A moment of the server's clock by the host's.
fn of_host(at: UnixMillis, clock: i64) -> UnixMillis {
    UnixMillis(at.0.saturating_add_signed(clock.saturating_neg()))
}

fn in_snapshot(repository: &Repository, selector: &Selector, wish: &Wish<'_>) -> Result<(Span, bool), OperationError> {
    let name = choose(repository, selector, wish.dataset)?.name;
    let span = repository.spans()?.into_iter().find(|span| span.name == name);
    let Some(span) = span else { return Err(OperationError::NoSnapshot { what: "the snapshot is gone".into() }) };
    let Ok(reach) = span.reach else { return Ok((span, false)) };
    let second = of_server(wish.at, span.clock);
    match (reach.holds(second), second > reach.end.0 / 1000) {
        (true, _) => Ok((span, false)),
        (false, true) if wish.nearest => Ok((span, true)),
        (false, _) => Err(OperationError::Unreachable {
            at: wish.at,
            why: format!("snapshot {} does not hold it", name.session),
            before: Some(of_host(reach.end, span.clock)).filter(|_| second > reach.end.0 / 1000),
            after: Some(of_host(reach.begin, span.clock)).filter(|_| second < reach.begin.0 / 1000),
        }),
    }
}

fn in_dataset(repository: &Repository, wish: &Wish<'_>) -> Result<(Span, bool), OperationError> {
    repository.refresh()?;
    let dataset = one_dataset(repository, wish.dataset)?;
    if let Some(span) = repository.span_at(&dataset, wish.at)? {
        return Ok((span, false));
    }
    let [before, after] = repository.spans_beside(&dataset, wish.at)?;
    match before {
        Some(before) if wish.nearest => Ok((before, true)),
        before => {
            let end = before.and_then(|span| Some(of_host(span.reach.ok()?.end, span.clock)));
            let begin = after.and_then(|span| Some(of_host(span.reach.ok()?.begin, span.clock)));
            let why = match (end, begin) {
                (Some(_), Some(_)) => "it lies in a gap of the timeline",
                (Some(_), None) => "it is later than all that was captured",
                (None, Some(_)) => "it is earlier than all that was captured",
                (None, None) => "no snapshot holds a known moment",
            };
            Err(OperationError::Unreachable { at: wish.at, why: why.into(), before: end, after: begin })
        }
    }
}

fn one_dataset(repository: &Repository, named: Option<&str>) -> Result<String, OperationError> {
    let mut names: Vec<String> = repository.kept_snapshots()?.into_iter().map(|info| info.dataset).collect();
    names.dedup();
    match (named, names.as_slice()) {
        (_, []) => Err(OperationError::NoSnapshot { what: "there is no snapshot yet".into() }),
        (Some(named), names) if names.iter().any(|name| name == named) => Ok(named.into()),
        (Some(named), names) => Err(OperationError::NoSnapshot {
            what: format!("no snapshot of dataset {named}; there are: {}", names.join(", ")),
        }),
        (None, [one]) => Ok(one.clone()),
        (None, names) => {
            Err(OperationError::Ambiguous { what: format!("there are several datasets: {}", names.join(", ")) })
        }
    }
}
