//! The snapshot that holds an asked moment, and what is to be cut from it.

use super::super::list::{Chosen, Selector, choose};
use super::super::restore::Goal;
use super::OperationError;
use crate::format::UnixMillis;
use crate::format::timeline::{Nothing, Precision, Reach, end_of, mark_at};
use crate::repository::{Repository, Span};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// The moment, by the host's clock. Without milliseconds it stands for all of its second; the state is the one at the
    /// end of the second it is in, where there are seconds.
    pub at: UnixMillis,
    /// Only this snapshot.
    pub snapshot: Option<&'a Selector>,
    /// Of this dataset.
    pub dataset: Option<&'a str>,
    /// In a gap: the nearest moment before it. Behind a damage: the last whole command before that.
    pub nearest: bool,
}

impl Wish<'_> {
    /// Whether it stands for all of its second, as what is typed without milliseconds does.
    fn is_second(&self) -> bool {
        self.at.0.is_multiple_of(1000)
    }

    /// By the server's clock. A second is the one that it shares the most with: two looks at one clock already differ by a
    /// millisecond.
    fn of_server(&self, clock: i64) -> UnixMillis {
        let at = of_server(self.at, clock);
        if self.is_second() { UnixMillis(at.0.saturating_add(500) / 1000 * 1000) } else { at }
    }

    /// How much later its end is than that of the server's second, in milliseconds.
    fn beyond(&self, clock: i64) -> i64 {
        match self.is_second() {
            true => of_server(self.at, clock).0 as i64 - self.of_server(clock).0 as i64,
            false => 0,
        }
    }
}

/// What two looks at the same clock may differ by, in milliseconds.
const LOOKS: i64 = 10;

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
    /// It is known to be the state at the end of the asked second.
    pub is_exact: bool,
    /// It is the last whole command before a damage: `effective` is the last moment that is certain before it.
    pub is_at_damage: bool,
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
/// TIME-8: the most exact that holds it, of these one that goes on to the end of that second, of these the earliest: it
/// was captured the soonest after it.
pub fn pick(repository: &Repository, wish: &Wish<'_>) -> Result<Picked, OperationError> {
    let (span, is_nearest) = match wish.snapshot {
        Some(selector) => in_snapshot(repository, selector, wish)?,
        None => in_dataset(repository, wish)?,
    };
    let chosen = choose(repository, &Selector::Id(span.name.session.to_string()), Some(&span.dataset))?;
    let nothing = |_| unreachable(wish, "no snapshot holds a known moment");
    if is_nearest && span.is_damaged {
        return Ok(before_damage(chosen, &span, wish));
    }
    let reach = span.reach.map_err(nothing)?;
    let at = if is_nearest { reach.end } else { wish.of_server(span.clock) };
    let second = at.0 / 1000;
    let beyond = if is_nearest { 0 } else { wish.beyond(span.clock) };
    let precision = reach.precision_at(second);
    let mut is_exact = false;
    let (effective, goal) = match precision {
        Precision::Second => {
            let is_same = beyond.abs() <= LOOKS;
            is_exact = !is_nearest && is_same && reach.holds_all_of(second);
            let end = end_of(second).min(reach.end);
            // What was asked for, where nothing but the looks at the clocks is between them.
            let end = if is_same { UnixMillis(end.0.saturating_add_signed(beyond.min(0))) } else { end };
            (end, Some(Goal::Second { second, base: reach.begin.0 / 1000 }))
        }
        Precision::Marks => {
            let is_second = !is_nearest && wish.is_second();
            let until = if is_second { UnixMillis(at.0.saturating_add_signed(beyond + 999)) } else { at };
            let marks = repository.marks(&span.name)?;
            let mark = mark_at(&marks, until).ok_or_else(|| OperationError::Unreachable {
                at: wish.at,
                why: "no mark of its AOF is that old".into(),
                before: None,
                after: marks.iter().map(|mark| of_host(mark.time, span.clock)).min(),
                is_damaged: false,
            })?;
            (mark.time, Some(Goal::Mark(mark.clone())))
        }
        Precision::Snapshot => (reach.end, None),
    };
    let moment = Moment {
        asked: Some(wish.at),
        effective,
        clock: span.clock,
        precision,
        is_nearest,
        is_exact,
        is_at_damage: false,
    };
    Ok(Picked { chosen, moment, goal })
}

/// The last whole command before the damage of a snapshot's AOF.
fn before_damage(chosen: Chosen, span: &Span, wish: &Wish<'_>) -> Picked {
    let (precision, base) = match span.reach {
        Ok(reach) => (reach.precision, known_second(&reach)),
        Err(_) => (Precision::Marks, None),
    };
    let effective = span.reach.map_or(UnixMillis(0), |reach| reach.end);
    let moment = Moment {
        asked: Some(wish.at),
        effective,
        clock: span.clock,
        precision,
        is_nearest: true,
        is_exact: false,
        is_at_damage: true,
    };
    let goal = Some(Goal::LastWhole { base, marks: chosen.snapshot.marks.clone() });
    Picked { chosen, moment, goal }
}

/// The second of commands before any timestamp, where it is known.
pub(super) fn known_second(reach: &Reach) -> Option<u64> {
    let is_annotated = reach.precision == Precision::Second && reach.annotated_from.is_none();
    is_annotated.then_some(reach.begin.0 / 1000)
}

fn unreachable(wish: &Wish<'_>, why: &str) -> OperationError {
    OperationError::Unreachable { at: wish.at, why: why.into(), before: None, after: None, is_damaged: false }
}

/// A moment of the host's clock by the server's.
fn of_server(at: UnixMillis, clock: i64) -> UnixMillis {
    UnixMillis(at.0.saturating_add_signed(clock))
}

/// A moment of the server's clock by the host's.
fn of_host(at: UnixMillis, clock: i64) -> UnixMillis {
    UnixMillis(at.0.saturating_add_signed(clock.saturating_neg()))
}

fn in_snapshot(repository: &Repository, selector: &Selector, wish: &Wish<'_>) -> Result<(Span, bool), OperationError> {
    let name = choose(repository, selector, wish.dataset)?.name;
    let span = repository.spans()?.into_iter().find(|span| span.name == name);
    let Some(span) = span else { return Err(OperationError::NoSnapshot { what: "the snapshot is gone".into() }) };
    let Ok(reach) = span.reach else {
        let is_wanted = span.is_damaged && wish.nearest;
        return Ok((span, is_wanted));
    };
    let at = wish.of_server(span.clock);
    let is_past = at > reach.end;
    match reach.holds(at, wish.is_second()) {
        true => Ok((span, false)),
        false if is_past && wish.nearest => Ok((span, true)),
        false => Err(OperationError::Unreachable {
            at: wish.at,
            why: format!("snapshot {} does not hold it", name.session),
            before: Some(of_host(reach.end, span.clock)).filter(|_| is_past),
            after: Some(of_host(reach.begin, span.clock)).filter(|_| !is_past),
            is_damaged: span.is_damaged && is_past,
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
    let before = later_of(before, timeless(repository, &dataset, wish.at)?);
    match before {
        Some(before) if wish.nearest => Ok((before, true)),
        before => {
            let end = before.as_ref().and_then(|span| Some(of_host(span.reach.ok()?.end, span.clock)));
            let begin = after.and_then(|span| Some(of_host(span.reach.ok()?.begin, span.clock)));
            let is_damaged = before.is_some_and(|before| before.is_damaged);
            let why = match (end, begin) {
                (Some(_), _) if is_damaged => "the AOF that was captured is damaged before it",
                (Some(_), Some(_)) => "it lies in a gap of the timeline",
                (Some(_), None) => "it is later than all that was captured",
                (None, Some(_)) => "it is earlier than all that was captured",
                (None, None) => "no snapshot holds a known moment",
            };
            Err(OperationError::Unreachable { at: wish.at, why: why.into(), before: end, after: begin, is_damaged })
        }
    }
}

/// The newest snapshot before a moment whose AOF is damaged so that no moment of it is known.
fn timeless(repository: &Repository, dataset: &str, at: UnixMillis) -> Result<Option<Span>, OperationError> {
    let is_one = |span: &Span| {
        span.dataset == dataset && span.is_damaged && span.reach == Err(Nothing::Unknown) && span.taken <= at
    };
    Ok(repository.spans()?.into_iter().rfind(is_one))
}

/// The one that was taken later.
fn later_of(one: Option<Span>, other: Option<Span>) -> Option<Span> {
    [one, other].into_iter().flatten().max_by_key(|span| span.taken)
}

pub(super) fn one_dataset(repository: &Repository, named: Option<&str>) -> Result<String, OperationError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_the_one_of_the_server_that_it_shares_the_most_with() {
        let wish = |at| Wish { at: UnixMillis(at), snapshot: None, dataset: None, nearest: false };
        for (at, clock, expected, beyond) in [
            (50_000, 0, 50_000, 0),
            (50_000, -1, 50_000, -1),
            (50_000, 1, 50_000, 1),
            (50_000, 2_400, 52_000, 400),
            (50_000, -3_400, 47_000, -400),
            (50_001, -1, 50_000, 0),
            (50_700, 400, 51_100, 0),
        ] {
            let wish = wish(at);
            assert_eq!((wish.of_server(clock), wish.beyond(clock)), (UnixMillis(expected), beyond), "{at} {clock}");
        }
    }
}
