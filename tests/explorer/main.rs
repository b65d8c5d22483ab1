//! The explorer: a model of the session protocol alone, and a search through every interleaving of its steps.
//!
//! Backups, sweeps, a forget and an undelete make their store calls one at a time, in any order; a pause, and a kill, is a step not
//! taken. A LIST shows each change for certain only LAG ticks after it, and before that each change by itself or not; `put_new`
//! is of one of three kinds; a heartbeat may be found STALE at any time; a put or a repeated delete may arrive late (I1).
//! After every step each snapshot that counts must be decodable from packs that exist and that index objects name.
//! Not in it: three or more of a kind, paged LIST, S3's copies, merging of small packs, key rotation, liveness. Smaller models of their
//! own have the folding of records (`ledgers`), the merging of index objects (`merging`) and requests that end with an error (`putting`).
//!
//! `weakened` takes one correction of the protocol back at a time and finds the schedule that then loses something:
//! `cargo test --test explorer weakened -- --nocapture` prints them all.
//!
//! Larger searches by hand: words in the environment say what is searched, as in
//! `REDKEEP_EXPLORER="2+2 lag=1 grace=1 settled bound=100000000" cargo test --release --test explorer by_hand -- --nocapture`:
//! backups+sweeps; `lag=`, `grace=` in ticks; `settled` or `overwrites` for put_new; `before`, `forget`, `undelete`, `unknown`,
//! `carries`, `condemned`, `continue` for the set-up; `no-burial` for the question whether W3 and the fencing of sweeps can be spared;
//! `bound=` in states (about 25 bytes each, and 180 for each that is still to be looked at).
//!
//! Such searches have shown: `1+2` loses nothing (all 19,227,648 states), nor does `1+2 no-burial` (all 7,393,056). `2+2` and
//! `1+2 settled lag=1` were cut off after 5,000,000 states without a loss, which proves little; so W3 and the fencing stay.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails here has failed")]
#![allow(clippy::print_stdout, reason = "schedules are shown to whoever asks with --nocapture")]

mod backup;
mod ledgers;
mod merging;
mod putting;
mod search;
mod state;
mod steps;
mod store;
mod sweep;
mod weakened;

use std::collections::BTreeSet;

use search::search;
use state::{Begin, PutNew, Setup, Variant};

/// Searches stop here, so that a test cannot eat the machine.
const BOUND: usize = 4_000_000;

/// One backup and one sweep on a local store.
const ONE_EACH: Setup = Setup {
    backups: 1,
    sweeps: 1,
    before: false,
    forget: false,
    undelete: false,
    lag: 0,
    grace: 0,
    put_new: PutNew::Exclusive,
    unknown: false,
    carries: false,
    begin: Begin::Packs,
    condemned: false,
    condemns: true,
    indexed: true,
    variant: Variant::Protocol,
};

const KINDS: [PutNew; 3] = [PutNew::Exclusive, PutNew::Settled, PutNew::Overwrites];

/// No state is left to look at, and none loses anything.
fn nothing_is_lost(setup: Setup) {
    let found = search(&setup, BOUND);
    found.show(&setup);
    assert!(found.loss.is_none(), "{setup:?}: lost");
    assert!(found.exhausted, "{setup:?}: cut off after {} states", found.states);
}

/// INV-1
#[test]
fn one_backup_and_one_sweep_lose_nothing_with_any_lag_and_put_new() {
    for put_new in KINDS {
        for lag in 0..=2 {
            nothing_is_lost(Setup { lag, put_new, ..ONE_EACH });
            nothing_is_lost(Setup { lag, put_new, before: true, ..ONE_EACH });
        }
    }
}

/// INV-2
#[test]
fn a_condemnation_gone_on_with_loses_nothing() {
    for put_new in KINDS {
        for lag in 0..=1 {
            nothing_is_lost(Setup { lag, put_new, condemned: true, ..ONE_EACH });
        }
    }
}

#[test]
fn forget_and_undelete_beside_a_backup_and_a_sweep_lose_nothing() {
    nothing_is_lost(Setup { before: true, forget: true, undelete: true, ..ONE_EACH });
    nothing_is_lost(Setup { before: true, forget: true, undelete: true, condemned: true, ..ONE_EACH });
    nothing_is_lost(Setup { before: true, forget: true, undelete: true, backups: 0, lag: 1, grace: 1, ..ONE_EACH });
    nothing_is_lost(Setup { before: true, forget: true, lag: 1, grace: 1, ..ONE_EACH });
}

#[test]
fn a_put_of_unknown_outcome_loses_nothing() {
    nothing_is_lost(Setup { unknown: true, lag: 1, grace: 1, ..ONE_EACH });
    nothing_is_lost(Setup { unknown: true, lag: 1, grace: 1, condemned: true, ..ONE_EACH });
}

#[test]
fn two_sweeps_lose_nothing() {
    nothing_is_lost(Setup { backups: 0, sweeps: 2, before: true, forget: true, ..ONE_EACH });
    nothing_is_lost(Setup { sweeps: 2, before: true, forget: true, condemned: true, condemns: false, ..ONE_EACH });
}

#[test]
fn two_backups_and_a_sweep_lose_nothing() {
    nothing_is_lost(Setup { backups: 2, ..ONE_EACH });
}

/// SESS-10: the one way to begin a backup without a LIST that grows with the repository.
#[test]
fn a_proof_that_is_carried_over_loses_nothing() {
    let (carries, undelete) = (true, true);
    nothing_is_lost(Setup { carries, backups: 2, begin: Begin::Nothing, ..ONE_EACH });
    for put_new in KINDS {
        nothing_is_lost(Setup { put_new, carries, condemned: true, ..ONE_EACH });
        nothing_is_lost(Setup { put_new, carries, lag: 1, ..ONE_EACH });
        nothing_is_lost(Setup { put_new, carries, lag: 1, begin: Begin::Nothing, ..ONE_EACH });
    }
    nothing_is_lost(Setup { carries, undelete, begin: Begin::Nothing, ..ONE_EACH });
    nothing_is_lost(Setup { carries, undelete, before: true, ..ONE_EACH });
}

/// Calls that a model with a mistake in it might never come to.
const CALLS: [&str; 30] = [
    "B1 puts its lease",
    "B2 LISTs condemned/",
    "B2 LISTs index/",
    "B2 LISTs packs/",
    "B2 carries the proof of packs over",
    "B2 looks at packs of new index objects by name",
    "B2 puts its lease again, saying `seen`",
    "B3 puts pack",
    "B3 repeats the put of pack",
    "B3 seals its pack again",
    "B3 puts index object",
    "B4 commits and reports it",
    "B4 commits, not yet final",
    "B4 GETs its own bytes after LAG and reports it",
    "B4 GETs a tombstone after LAG",
    "B4 is refused, GETs a tombstone",
    "B4 does not try, its heartbeat was too old",
    "B5 puts its own tombstone",
    "S4 condemns packs",
    "W1 GETs a lease that has seen the id, of session",
    "W1 GETs what is final at the name of session",
    "W1 puts a tombstone for session",
    "W1 GETs after 2 x LAG the name of session",
    "W1 is refused a tombstone for session",
    "W2 stores again what is needed, in pack",
    "W2 LISTs forgotten/",
    "W3 is refused",
    "W4 deletes pack",
    "W5 deletes its burial",
    "W goes on after the burial of the condemned id",
];

#[test]
fn every_call_of_the_protocol_is_made_in_some_state() {
    let lagging = Setup { lag: 1, grace: 1, ..ONE_EACH };
    let setups = [
        Setup { unknown: true, condemned: true, ..lagging },
        Setup { carries: true, ..lagging },
        Setup { put_new: PutNew::Settled, ..lagging },
        Setup { put_new: PutNew::Overwrites, ..lagging },
        Setup { before: true, forget: true, undelete: true, backups: 0, condemned: true, ..ONE_EACH },
        Setup { backups: 0, sweeps: 2, before: true, ..ONE_EACH },
        Setup { backups: 0, sweeps: 2, condemned: true, condemns: false, ..ONE_EACH },
    ];
    let made = setups.iter().flat_map(|setup| search(setup, BOUND).calls).collect::<BTreeSet<_>>();
    let never = CALLS.iter().filter(|call| !made.contains(**call)).collect::<Vec<_>>();
    assert!(never.is_empty(), "{never:?}");
}

/// What the words in the environment say.
fn by_words(words: &str) -> (Setup, usize) {
    let (mut setup, mut bound) = (ONE_EACH, BOUND);
    for word in words.split_whitespace() {
        match word.split_once(['=', '+']) {
            Some(("lag", ticks)) => setup.lag = ticks.parse().unwrap(),
            Some(("grace", ticks)) => setup.grace = ticks.parse().unwrap(),
            Some(("bound", states)) => bound = states.parse().unwrap(),
            Some((backups, sweeps)) => {
                (setup.backups, setup.sweeps) = (backups.parse().unwrap(), sweeps.parse().unwrap());
            }
            None => by_word(&mut setup, word),
        }
    }
    (setup, bound)
}

fn by_word(setup: &mut Setup, word: &str) {
    match word {
        "settled" => setup.put_new = PutNew::Settled,
        "overwrites" => setup.put_new = PutNew::Overwrites,
        "before" => setup.before = true,
        "forget" => (setup.before, setup.forget) = (true, true),
        "undelete" => (setup.before, setup.undelete) = (true, true),
        "unknown" => setup.unknown = true,
        "carries" => setup.carries = true,
        "condemned" => setup.condemned = true,
        "continue" => (setup.condemned, setup.condemns) = (true, false),
        "no-burial" => setup.variant = Variant::NoBurial,
        _ => panic!("{word} says nothing to the explorer"),
    }
}

/// What the environment asks for, or one backup and one sweep; a search that its bound cuts off has found nothing either way.
#[test]
fn by_hand() {
    let (setup, bound) = by_words(&std::env::var("REDKEEP_EXPLORER").unwrap_or_else(|_| "1+1 lag=1".into()));
    let found = search(&setup, bound);
    found.show(&setup);
    assert!(found.loss.is_none(), "{setup:?}: lost");
}
