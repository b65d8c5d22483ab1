//! A model of one commit name (format-spec/11-sessions.md): a session commits there by `put_new`, a sweep may give it up by a tombstone there.
//! Every request may end with an error whose outcome is unknown: not done, done, done late, or, where a store is not what it should be,
//! done in part (torn). A store client repeats it, so that a session may be refused by its own put. Every interleaving.
//!
//! A session may report a commit only where its snapshot stands, whole and for good, and no sweep has given it up; what was reported as
//! failed never comes to be a snapshot, unless the session could not put its tombstone either, and then a sweep's is the last word.

use std::collections::{BTreeSet, HashSet, VecDeque};

/// The protocol, or the protocol with one of its rules taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Protocol,
    /// SESS-5: a refused session does not read what is there.
    NotRead,
    /// SESS-5: whatever is there counts as its own.
    AnythingIsOwn,
    /// SESS-5: what has the begin of its own bytes counts as its own.
    BeginIsOwn,
    /// SESS-5: a put of unknown outcome counts as failed, with no tombstone in its place.
    NoTombstone,
    /// SESS-5: a put of unknown outcome counts as done.
    UnknownIsDone,
    /// SESS-1: a repeated put replaces what is there.
    RetryReplaces,
}

/// What stands at the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum There {
    Nothing,
    Whole,
    Torn,
    OwnTombstone,
    SweepsTombstone,
}

/// A request that is on its way or was answered by an error: it may still be done.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Flight {
    None,
    Snapshot,
    Tombstone,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Session {
    /// Tries of the request that are left.
    Commits {
        tries: u8,
    },
    Reads,
    PutsTombstone {
        tries: u8,
    },
    Reported,
    /// Fenced: begins anew.
    Fenced,
    /// The command fails, and it was said that the outcome is unknown, or not.
    Failed {
        is_settled: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Sweep {
    Looks,
    PutsTombstone,
    GaveUp,
    FoundSnapshot,
    /// Says that it cannot be read, and stops.
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    there: There,
    late: Flight,
    session: Session,
    sweep: Sweep,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    /// Whether a request may be done in part.
    tears: bool,
    variant: Variant,
}

const TRIES: u8 = 3;
const START: State = State {
    there: There::Nothing,
    late: Flight::None,
    session: Session::Commits { tries: TRIES },
    sweep: Sweep::Looks,
};

/// How a put_new ends, for whoever asked for it: done, refused, or an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    Refused,
    Error,
}

/// All that a put_new of the session may do.
fn put_new(setup: &Setup, state: &State, what: There, is_retry: bool) -> Vec<(Answer, State)> {
    let flight = if what == There::Whole { Flight::Snapshot } else { Flight::Tombstone };
    let replaces = setup.variant == Variant::RetryReplaces && is_retry;
    if state.there != There::Nothing && !replaces {
        return vec![(Answer::Refused, *state), (Answer::Error, *state)];
    }
    let done = State { there: what, ..*state };
    let mut all = vec![(Answer::Done, done), (Answer::Error, done), (Answer::Error, *state)];
    if state.late == Flight::None {
        all.push((Answer::Error, State { late: flight, ..*state }));
    }
    if setup.tears && what == There::Whole {
        all.push((Answer::Error, State { there: There::Torn, ..*state }));
    }
    all
}

fn session_steps(setup: &Setup, state: &State, next: &mut Vec<(&'static str, State)>) {
    let mut add = |call, state: State, session| next.push((call, State { session, ..state }));
    match state.session {
        Session::Commits { tries } => {
            for (answer, state) in put_new(setup, state, There::Whole, tries < TRIES) {
                match answer {
                    Answer::Done => add("commits", state, Session::Reported),
                    Answer::Refused if setup.variant == Variant::NotRead => {
                        add("is refused", state, Session::Failed { is_settled: true });
                    }
                    Answer::Refused => add("is refused and reads", state, Session::Reads),
                    Answer::Error if tries > 1 => add("tries again", state, Session::Commits { tries: tries - 1 }),
                    Answer::Error => add("does not know", state, unknown(setup)),
                }
            }
        }
        Session::Reads => {
            let is_own = match setup.variant {
                Variant::AnythingIsOwn => true,
                Variant::BeginIsOwn => matches!(state.there, There::Whole | There::Torn),
                _ => state.there == There::Whole,
            };
            match state.there {
                _ if is_own => add("reads its own bytes", *state, Session::Reported),
                There::SweepsTombstone | There::OwnTombstone => add("reads a tombstone", *state, Session::Fenced),
                There::Torn => add("reads what is torn", *state, Session::Failed { is_settled: true }),
                There::Nothing | There::Whole => {}
            }
        }
        Session::PutsTombstone { tries } => {
            for (answer, state) in put_new(setup, state, There::OwnTombstone, tries < TRIES) {
                match answer {
                    Answer::Done => add("puts its tombstone", state, Session::Failed { is_settled: true }),
                    Answer::Refused => add("is refused its tombstone and reads", state, Session::Reads),
                    Answer::Error if tries > 1 => {
                        add("tries its tombstone again", state, Session::PutsTombstone { tries: tries - 1 });
                    }
                    Answer::Error => add("cannot put its tombstone", state, Session::Failed { is_settled: false }),
                }
            }
        }
        Session::Reported | Session::Fenced | Session::Failed { .. } => {}
    }
}

fn unknown(setup: &Setup) -> Session {
    match setup.variant {
        Variant::NoTombstone => Session::Failed { is_settled: true },
        Variant::UnknownIsDone => Session::Reported,
        _ => Session::PutsTombstone { tries: TRIES },
    }
}

/// All states after one, with the call that leads there.
fn steps(setup: &Setup, state: &State, next: &mut Vec<(&'static str, State)>) {
    session_steps(setup, state, next);
    let mut add = |call, state: State| next.push((call, state));
    match (state.sweep, state.there) {
        (Sweep::Looks | Sweep::PutsTombstone, There::Whole) => {
            add("a sweep finds the snapshot", State { sweep: Sweep::FoundSnapshot, ..*state });
        }
        (Sweep::Looks | Sweep::PutsTombstone, There::OwnTombstone) => {
            add("a sweep finds the session's tombstone", State { sweep: Sweep::GaveUp, ..*state });
        }
        (Sweep::Looks | Sweep::PutsTombstone, There::Torn) => {
            add("a sweep cannot read what is there", State { sweep: Sweep::Refused, ..*state });
        }
        (Sweep::Looks, There::Nothing) => {
            add("a sweep finds nothing", State { sweep: Sweep::PutsTombstone, ..*state });
        }
        (Sweep::PutsTombstone, There::Nothing) => {
            let (there, sweep) = (There::SweepsTombstone, Sweep::GaveUp);
            add("a sweep gives the session up", State { there, sweep, ..*state });
        }
        _ => {}
    }
    let late = State { late: Flight::None, ..*state };
    match (state.late, state.there) {
        (Flight::Snapshot, There::Nothing) => add("the snapshot arrives late", State { there: There::Whole, ..late }),
        (Flight::Tombstone, There::Nothing) => {
            add("the tombstone arrives late", State { there: There::OwnTombstone, ..late });
        }
        (Flight::Snapshot | Flight::Tombstone, _) => add("what arrives late is refused", late),
        (Flight::None, _) => {}
    }
}

fn loss(state: &State) -> Option<&'static str> {
    let is_whole = state.there == There::Whole;
    match state.session {
        Session::Reported if !is_whole => Some("a commit was reported, and its snapshot does not stand there"),
        Session::Reported if state.sweep == Sweep::GaveUp => {
            Some("a commit was reported of a session that was given up")
        }
        Session::Failed { is_settled: true } if is_whole => Some("what was reported as failed is a snapshot"),
        Session::Fenced if is_whole => Some("a session begins anew, and its snapshot stands"),
        _ if is_whole && state.sweep == Sweep::GaveUp => Some("a snapshot stands where its session was given up"),
        _ => None,
    }
}

/// The first loss, whatever calls were made until then or until the end, and how many states there were.
fn search(setup: &Setup) -> (Option<&'static str>, BTreeSet<&'static str>, usize) {
    let (mut seen, mut queue) = (HashSet::from([START]), VecDeque::from([START]));
    let (mut next, mut calls) = (Vec::new(), BTreeSet::new());
    while let Some(state) = queue.pop_front() {
        if let Some(loss) = loss(&state) {
            return (Some(loss), calls, seen.len());
        }
        steps(setup, &state, &mut next);
        for (call, state) in next.drain(..) {
            calls.insert(call);
            if seen.insert(state) {
                queue.push_back(state);
            }
        }
    }
    (None, calls, seen.len())
}

/// Calls that a model with a mistake in it might never come to.
const CALLS: [&str; 20] = [
    "commits",
    "is refused and reads",
    "tries again",
    "does not know",
    "reads its own bytes",
    "reads a tombstone",
    "reads what is torn",
    "puts its tombstone",
    "is refused its tombstone and reads",
    "tries its tombstone again",
    "cannot put its tombstone",
    "a sweep finds the snapshot",
    "a sweep finds the session's tombstone",
    "a sweep cannot read what is there",
    "a sweep finds nothing",
    "a sweep gives the session up",
    "the snapshot arrives late",
    "the tombstone arrives late",
    "what arrives late is refused",
    "is refused",
];

/// SESS-5, INV-3, OBJ-8
#[test]
fn a_commit_of_unknown_outcome_is_reported_as_what_it_is() {
    let mut made = BTreeSet::new();
    for tears in [false, true] {
        let (loss, calls, states) = search(&Setup { tears, variant: Variant::Protocol });
        assert_eq!(loss, None, "{tears}: {states} states");
        made.extend(calls);
    }
    let never: Vec<_> = CALLS.iter().filter(|call| !made.contains(**call)).collect();
    assert_eq!(never, [&"is refused"], "which is of a weakened variant alone");
}

#[test]
fn each_rule_of_putting_is_needed() {
    let weakened = [
        (Variant::NotRead, false, "what was reported as failed is a snapshot"),
        (Variant::AnythingIsOwn, false, "a commit was reported, and its snapshot does not stand there"),
        (Variant::BeginIsOwn, true, "a commit was reported, and its snapshot does not stand there"),
        (Variant::NoTombstone, false, "what was reported as failed is a snapshot"),
        (Variant::UnknownIsDone, false, "a commit was reported, and its snapshot does not stand there"),
        (Variant::RetryReplaces, false, "a commit was reported of a session that was given up"),
    ];
    for (variant, tears, expected) in weakened {
        let (loss, ..) = search(&Setup { tears, variant });
        assert_eq!(loss, Some(expected), "{variant:?}");
    }
}
