//! Every operation is held at every one of its store calls, while others run to their end and days pass: it goes on with
//! what it knew before. Whatever it then does, every committed snapshot restores bit for bit.
//!
//! Every call by hand: `REDKEEP_TEST_LONG=1 cargo test --release --test trials pause_sweep`, which says how far it is. Seen
//! on 2026-11-25, on 2 cores in about half an hour: 49 pairs on a local store, held at 3,283 calls, and 36 pairs on each of
//! six kinds of lagging stores, at 13,032; nothing was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Write, stderr};
use std::thread;
use std::time::Duration;

use redkeep::operations::OperationError;
use redkeep::repository::RepositoryError;
use redkeep::store::{PutNew, Store};

use crate::crash_sweep::{effects, history};
use crate::operations::*;
use crate::support::sim::{Listing, PUT_NEWS};
use crate::support::stores::{Call, PausableStore, Verb};
use crate::world::{DAY, DAYS, Failure, Kind, STRICT, World, is_long};

/// What a remote store may take.
const LAG: Duration = Duration::from_secs(600);

/// What is held, and what runs meanwhile. Where listings lag, a new key slot cannot replace another at once.
fn operations(kind: Kind) -> Vec<Operation> {
    let changes_of_keys = if kind.lag.is_zero() { &[CHANGE_KEY, ROTATE][..] } else { &[ADD_KEY] };
    [&[BACKUP, FIRST_BACKUP, PRUNE, UNDELETE, REPAIR], changes_of_keys].concat()
}

/// How much time passes between what is done meanwhile.
#[derive(Clone, Copy, Debug)]
struct Pace {
    step: Duration,
    grace: Duration,
}

/// So that the one that is held counts as dead by then, and so that it does not.
fn paces(kind: Kind) -> [Pace; 2] {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let quick = if kind.lag.is_zero() { minutes(5) } else { minutes(21) };
    let grace = if kind.lag.is_zero() { minutes(0) } else { minutes(1) };
    [Pace { step: DAYS, grace: DAY }, Pace { step: quick, grace }]
}

/// Every kind of store: listings at once or as late as they may be, each kind of `put_new`.
fn kinds() -> impl Iterator<Item = Kind> {
    let lags = [(Duration::ZERO, Listing::Late), (LAG, Listing::Late), (LAG, Listing::Scattered(1))];
    let of_lag = |(lag, listing)| PUT_NEWS.map(|put_new: PutNew| Kind { lag, put_new, listing });
    lags.into_iter().flat_map(of_lag)
}

/// What others did to the repository while one was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// A snapshot was forgotten.
    Forgotten,
    /// Packs were condemned.
    Condemned,
    /// Packs were buried, and deleted.
    Buried,
    /// A session of the one that is held was given up: something stands at its commit name.
    Fenced,
}

/// What others did, by call at which the operation was held.
type Effects = Vec<BTreeSet<Effect>>;

/// Holds one operation at its n-th call, for every n, while another one and what comes after it run to their end. With a
/// stride only each so many-th call is tried, and which ones is another for each pair and kind of store. Answers with what
/// was done at each.
fn sweep(world: &World, held: Operation, other: Operation, kind: Kind, pace: Pace, first: u64, stride: u64) -> Effects {
    let mut tried = Vec::new();
    for n in (first % stride..).step_by(stride as usize) {
        let mut run = world.fork();
        run.grace = pace.grace;
        let place = format!("{} held at call {n} during {}, {kind:?}, {pace:?}", held.name, other.name);
        let (call, effects) = hold(&run, held, other, n, pace, &place);
        run.has_slept = true;
        run.check(&place);
        run.next_backup(&place);
        run.next_prune(&place);
        run.has_slept = false;
        run.check(&place);
        if call.is_none() {
            assert!(n > 3, "{place}: the sweep has tried calls");
            break;
        }
        tried.push(effects);
    }
    tried
}

/// The call at which it was held, where it has so many, and what others did then.
fn hold(
    run: &World,
    held: Operation,
    other: Operation,
    n: u64,
    pace: Pace,
    place: &str,
) -> (Option<Call>, BTreeSet<Effect>) {
    let paused = PausableStore::new(run.store.clone(), n);
    let before = run.store.names();
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let result = (held.run)(run, &run.host("alpha"), paused.clone());
            paused.finish();
            result
        });
        // Also when the test fails here, or it would wait for its own thread.
        let _release = Release(&paused);
        let call = paused.wait_until_held();
        let mut done_meanwhile = BTreeSet::new();
        if call.as_ref().is_some_and(|call| !is_unprotected(call, run.store.promises().put_new)) {
            let open = undecided(run, &before);
            done_meanwhile = meanwhile(run, held, other, pace, place);
            let left = undecided(run, &before);
            let fenced = open.iter().filter(|session| !left.contains(*session)).count();
            done_meanwhile.extend((fenced > 0).then_some(Effect::Fenced));
            if pace.step > run.store.promises().timing.abandoned {
                assert_eq!(fenced, open.len(), "{place} ({call:?}): nobody gave the sleeper up: {done_meanwhile:?}");
            }
        }
        paused.release();
        let result = sleeper.join().unwrap();
        if held.is_backup || call.is_none() {
            result.unwrap_or_else(|error| panic!("{place} ({call:?}): {error:?}"));
        }
        if call.is_none() {
            let done = effects(&before, &run.store.names());
            let lacks = held.does.iter().find(|does| !done.iter().any(|done| done == *does));
            assert_eq!(lacks, None, "{place}: when it is not held it does {done:?}");
        }
        (call, done_meanwhile)
    })
}

/// The sessions with a lease at whose commit names nothing stands, of those that began since.
fn undecided(run: &World, since: &[String]) -> Vec<String> {
    let names = run.store.names();
    let new = names.iter().filter(|name| !since.contains(name)).filter_map(|name| name.strip_prefix("leases/"));
    let is_commit = |name: &&String| name.starts_with("snapshots/") || name.starts_with("burials/");
    let is_undecided = |session: &&str| !names.iter().filter(is_commit).any(|name| name.ends_with(session));
    new.filter(is_undecided).map(str::to_owned).collect()
}

/// The one moment nothing protects: a store that refuses nothing takes a commit however late it arrives.
fn is_unprotected(call: &Call, put_new: PutNew) -> bool {
    let is_commit = call.name.starts_with("snapshots/") || call.name.starts_with("burials/");
    put_new == PutNew::None && call.verb == Verb::PutNew && is_commit
}

struct Release<'a>(&'a PausableStore);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// What others do while one is held: afterwards nothing that could go is there any more. The one that is held wakes in
/// another world than the one it knew.
fn meanwhile(run: &World, held: Operation, other: Operation, pace: Pace, place: &str) -> BTreeSet<Effect> {
    let mut found = BTreeSet::new();
    for (operation, host) in [(other, "beta"), (FORGET, "beta"), (PRUNE, "beta"), (PRUNE, "beta"), (BACKUP, "gamma")] {
        let before = run.store.names();
        match (operation.run)(run, &run.host(host), run.store.clone()) {
            // KEY-13, KEY-16: beside a rotation that is at work no other change of keys need succeed.
            Err(error) if held.name == ROTATE.name && is_refused_beside_a_rotation(&error) => {}
            other => other.unwrap_or_else(|error| panic!("{place}: {}: {error:?}", operation.name)),
        }
        for done in effects(&before, &run.store.names()) {
            found.extend(match done.as_str() {
                "+forgotten" => &[Effect::Forgotten][..],
                "+condemned" => &[Effect::Condemned],
                "-packs" => &[Effect::Condemned, Effect::Buried],
                _ => &[],
            });
        }
        run.hands.pass(pace.step);
    }
    let lacks = |effect: &Effect| !found.contains(effect);
    let lacking = [Effect::Forgotten, Effect::Condemned].into_iter().find(lacks);
    assert_eq!(lacking, None, "{place}: not done meanwhile, but {found:?}");
    if pace.step > run.store.promises().timing.abandoned {
        assert!(!lacks(&Effect::Buried), "{place}: nothing was buried meanwhile, but {found:?}");
    }
    found
}

fn is_refused_beside_a_rotation(error: &Failure) -> bool {
    matches!(error.downcast_ref(), Some(OperationError::Repository(RepositoryError::Rotating(_))))
}

/// All pairs on some kinds of store, each operation that is held in a thread of its own.
fn sweep_pairs(kinds: &[Kind], stride: u64) {
    let stride = if is_long() { 1 } else { stride };
    let mut seen: BTreeMap<&str, BTreeSet<Effect>> = BTreeMap::new();
    for (at, kind) in kinds.iter().enumerate() {
        let world = World::new(*kind);
        history(&world);
        let pairs = operations(*kind).len().pow(2) * paces(*kind).len();
        // Each pair on one of the kinds, and another pair on the next.
        let chosen = |pair: usize| (is_long() || pair % kinds.len() == at).then_some((at * pairs + pair) as u64);
        thread::scope(|scope| {
            let sweep = |held| sweep_beside_all(&world, held, *kind, stride, chosen);
            let threads: Vec<_> = (0..operations(*kind).len()).map(|held| scope.spawn(move || sweep(held))).collect();
            for (held, thread) in operations(*kind).into_iter().zip(threads) {
                seen.entry(held.name).or_default().extend(thread.join().unwrap());
            }
        });
    }
    for (held, effects) in seen {
        let has_session = ![ADD_KEY.name, CHANGE_KEY.name, ROTATE.name].contains(&held);
        let expected = [Effect::Forgotten, Effect::Condemned, Effect::Buried].into_iter();
        let expected: BTreeSet<Effect> = expected.chain(has_session.then_some(Effect::Fenced)).collect();
        assert_eq!(effects, expected, "{held}: what it was held beside");
    }
}

/// One operation, by its number, is held beside those that are chosen: by the number of the pair at its pace, from which comes
/// another one that says which calls it is held at.
#[allow(clippy::explicit_write, reason = "the test harness keeps what eprintln prints to itself")]
fn sweep_beside_all(
    world: &World,
    held: usize,
    kind: Kind,
    stride: u64,
    chosen: impl Fn(usize) -> Option<u64>,
) -> BTreeSet<Effect> {
    let operations = operations(kind);
    let (mut calls, mut seen) = (0, BTreeSet::new());
    for (number, other) in operations.iter().enumerate() {
        for (at, pace) in paces(kind).into_iter().enumerate() {
            let pair = (held * operations.len() + number) * 2 + at + 1;
            if let Some(first) = chosen(pair) {
                let effects = sweep(world, operations[held], *other, kind, pace, first, stride);
                calls += effects.len();
                seen.extend(effects.into_iter().flatten());
            }
        }
        if is_long() {
            let (held, other) = (operations[held].name, other.name);
            writeln!(stderr(), "{kind:?}, {held} held during {other}: {calls} calls so far").unwrap();
        }
    }
    seen
}

#[test]
fn an_operation_held_anywhere_on_a_local_store_costs_nothing() {
    sweep_pairs(&[STRICT], 17);
}

#[test]
fn an_operation_held_anywhere_on_a_store_that_lags_costs_nothing() {
    let lags: Vec<Kind> = kinds().filter(|kind| kind.lag > Duration::ZERO).collect();
    sweep_pairs(&lags, 41);
}
