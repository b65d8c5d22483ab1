//! A model of index objects alone (format-spec/08-index.md, 16-sweep.md): sweeps that replace what names buried or lost packs and merge
//! what is small, a session that stores a pack and names it, one that slept and names late a pack that is gone, and a reader. Every
//! interleaving; a sweep that is killed is one that takes no further step.
//!
//! At no time may a pack that is needed be named by nothing, and merging hides none from a reader. Two index objects are enough to be merged.

use std::collections::{HashSet, VecDeque};

/// Packs: one that is needed, one that a burial names, and one that the session stores.
const HELD: usize = 0;
const BURIED: usize = 1;
const NEW: usize = 2;
const PACKS: usize = 3;

/// Index objects: two at the start, the session's, the sleeper's, and those of sweeps.
const OF_SESSION: usize = 2;
const OF_SLEEPER: usize = 3;
const FIRST_FREE: usize = 4;
const INDEXES: usize = 9;
const SWEEPS: usize = 2;
/// How often a reader LISTs.
const LOOKS: u8 = 4;
/// Searches stop here.
const BOUND: usize = 3_000_000;

/// A set of index objects, or of packs.
type Set = u16;

/// The protocol, or the protocol with one of its rules taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Protocol,
    /// SWEEP-9: what is to be replaced goes before its replacement is put.
    DeletedFirst,
    /// SWEEP-11: one goes in favour of another one of the same age, too.
    AnyAge,
    /// SWEEP-11: where LISTs lag, what was merged goes at once.
    AtOnce,
    /// SWEEP-11: where LISTs lag, one goes in favour of one that not every LIST shows yet.
    YoungReplaces,
    /// SWEEP-16: what a young index object names is called gone, too.
    YoungIsGone,
    /// SWEEP-16: packs are LISTed before index objects.
    PacksFirst,
    /// INDEX-4: a reader does not LIST again where something is gone between LIST and GET.
    OneLook,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    lag: u8,
    ticks: u8,
    sweeps: usize,
    /// Whether the first sweep carries out a burial.
    buries: bool,
    session: bool,
    sleeper: bool,
    reader: bool,
    /// Two sweeps that were killed have left two index objects of one age that name the same.
    twice: bool,
    variant: Variant,
}

/// When an object was put and deleted: 1 + the tick; 0 where it was not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Object {
    put: u8,
    gone: u8,
}

impl Object {
    fn exists(self) -> bool {
        self.put != 0 && self.gone == 0
    }
}

/// Index objects that are being replaced: older ones deleted, others read one by one, put anew, deleted one by one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Replacing {
    older: Set,
    read: Set,
    delete: Set,
    kept: Set,
    gone: Set,
    has_put: bool,
    /// Whether this is the merge, with which a sweep ends.
    is_merge: bool,
}

/// What a sweep does next, and what it remembers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Sweep {
    ListIndex { listed: Set },
    ListPacks { clock: u8, listed: Set },
    GetIndex { clock: u8, shown: Set, listed: Set },
    Replace(Replacing),
    DeletePack,
    MergeListIndex,
    MergeGetIndex(Set),
    MergeListAgain(Set),
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Reader {
    List { looks: u8, known: Set },
    Get { looks: u8, known: Set, shown: Set },
    Ended,
}

/// How far the session is: nothing, its pack, its index object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd)]
enum Session {
    Begun,
    Stored,
    Named,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    index: [Object; INDEXES],
    names: [Set; INDEXES],
    packs: [Object; PACKS],
    sweeps: [Sweep; SWEEPS],
    session: Session,
    reader: Reader,
    loss: Option<&'static str>,
}

fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..16).filter(move |at| set >> at & 1 == 1)
}

fn lowest(set: Set) -> Option<(usize, Set)> {
    (set != 0).then(|| (set.trailing_zeros() as usize, set & (set - 1)))
}

/// What a LIST may show: a change for certain once it is LAG old, and before that each by itself.
fn listings(setup: &Setup, now: u8, objects: &[Object]) -> Vec<Set> {
    let (mut certain, mut maybe) = (0, 0);
    for (at, object) in objects.iter().enumerate() {
        // What stood there at the start every LIST shows.
        let is_young = |tick: u8| tick > 1 && now < tick + setup.lag;
        if is_young(object.gone) || (object.exists() && is_young(object.put)) {
            maybe |= 1 << at;
        } else if object.exists() {
            certain |= 1 << at;
        }
    }
    let subsets = std::iter::successors(Some(maybe), move |set: &Set| set.checked_sub(1).map(|less| less & maybe));
    subsets.map(|set| set | certain).collect()
}

impl State {
    fn start(setup: &Setup) -> State {
        let mut state = State {
            // Tick 1 was long ago.
            now: 2 + 2 * setup.lag,
            index: [Object::default(); INDEXES],
            names: [0; INDEXES],
            packs: [Object::default(); PACKS],
            sweeps: [Sweep::ListIndex { listed: 0 }; SWEEPS],
            session: if setup.session { Session::Begun } else { Session::Named },
            reader: if setup.reader { Reader::List { looks: LOOKS, known: 0 } } else { Reader::Ended },
            loss: None,
        };
        state.sweeps[setup.sweeps..].fill(Sweep::Ended);
        if setup.variant == Variant::PacksFirst {
            state.sweeps[..setup.sweeps].fill(Sweep::ListPacks { clock: state.now, listed: 0 });
        }
        (state.packs[HELD].put, state.packs[BURIED].put) = (1, 1);
        for (at, names) in [(0, 1 << HELD), (1, 1 << if setup.twice { HELD } else { BURIED })] {
            (state.index[at].put, state.names[at]) = (1, names);
        }
        state
    }

    fn exist(&self) -> Set {
        (0..INDEXES).filter(|at| self.index[*at].exists()).fold(0, |set, at| set | 1 << at)
    }

    fn named_by(&self, these: Set) -> Set {
        members(these).fold(0, |named, at| named | self.names[at])
    }

    fn put_index(&mut self, at: usize, names: Set) {
        (self.index[at].put, self.names[at]) = (self.now, names);
    }

    fn delete_index(&mut self, at: usize) {
        if self.index[at].exists() {
            self.index[at].gone = self.now;
        }
    }

    /// A name of its own for each; `None` where the model has no room for more.
    fn free(&self) -> Option<usize> {
        (FIRST_FREE..INDEXES).find(|at| self.index[*at].put == 0)
    }

    /// Needed packs that are there.
    fn needed(&self) -> Set {
        1 << HELD | if self.packs[NEW].exists() && self.session == Session::Named { 1 << NEW } else { 0 }
    }
}

/// One sweep's steps.
struct Steps<'a> {
    setup: &'a Setup,
    state: &'a State,
    at: usize,
    next: &'a mut Vec<State>,
}

impl Steps<'_> {
    fn add(&mut self, mut state: State, sweep: Sweep) {
        state.sweeps[self.at] = sweep;
        self.next.push(state);
    }

    fn all(&mut self) {
        let (setup, state) = (self.setup, *self.state);
        let first = setup.variant == Variant::PacksFirst;
        match state.sweeps[self.at] {
            Sweep::ListIndex { listed } => {
                for shown in listings(setup, state.now, &state.index) {
                    let clock = state.now;
                    let next = Sweep::ListPacks { clock, listed: shown };
                    self.add(state, if first { Sweep::GetIndex { clock, shown, listed } } else { next });
                }
            }
            Sweep::ListPacks { clock, listed } => {
                for packs in listings(setup, state.now, &state.packs) {
                    let next = Sweep::GetIndex { clock, shown: listed, listed: packs };
                    self.add(state, if first { Sweep::ListIndex { listed: packs } } else { next });
                }
            }
            Sweep::GetIndex { clock, shown, listed } => {
                let naming = shown & state.exist();
                self.add(state, self.unname(clock, naming, listed));
            }
            Sweep::Replace(replacing) => self.replace(replacing),
            Sweep::DeletePack => {
                let mut state = state;
                if state.packs[BURIED].exists() {
                    state.packs[BURIED].gone = state.now;
                }
                self.add(state, Sweep::MergeListIndex);
            }
            Sweep::MergeListIndex => {
                let shown = listings(setup, state.now, &state.index).into_iter();
                shown.for_each(|shown| self.add(state, Sweep::MergeGetIndex(shown)));
            }
            Sweep::MergeGetIndex(shown) => self.add(state, Sweep::MergeListAgain(shown & state.exist())),
            Sweep::MergeListAgain(naming) => {
                for shown in listings(setup, state.now, &state.index) {
                    // Each is looked at by name where a LIST may show what is gone.
                    self.add(state, self.merge(naming, shown & state.exist()));
                }
            }
            Sweep::Ended => {}
        }
    }

    /// SWEEP-9 of a burial, SWEEP-16 of what was lost: index objects that name what is gone.
    fn unname(&self, clock: u8, naming: Set, listed: Set) -> Sweep {
        let (setup, state) = (self.setup, self.state);
        let wait = if setup.variant == Variant::YoungIsGone { 0 } else { 2 * setup.lag };
        let is_old = |at: &usize| clock.saturating_sub(state.index[*at].put) >= wait;
        let of_old = members(naming).filter(is_old).fold(0, |set, at| set | state.names[at]);
        let buries = setup.buries && self.at == 0;
        let gone = of_old & !listed | if buries { 1 << BURIED } else { 0 };
        let sources = members(naming).filter(|at| state.names[*at] & gone != 0).fold(0, |set, at| set | 1 << at);
        let replacing =
            Replacing { older: 0, read: sources, delete: sources, kept: 0, gone, has_put: false, is_merge: false };
        if sources == 0 { self.after(replacing) } else { Sweep::Replace(replacing) }
    }

    /// SWEEP-11: those that younger ones replace go; the others, if there are two or more, are merged.
    fn merge(&self, naming: Set, there: Set) -> Sweep {
        let (setup, state) = (self.setup, self.state);
        let known = naming & there;
        let is_settled = |at: usize| match setup.variant {
            Variant::YoungReplaces => true,
            _ => state.now >= state.index[at].put + 2 * setup.lag,
        };
        let is_younger = |by: usize, than: usize| match setup.variant {
            Variant::AnyAge => by != than && state.index[by].put >= state.index[than].put,
            _ => state.index[by].put > state.index[than].put,
        };
        let named_by_others = |at: usize, among: &dyn Fn(usize) -> bool| {
            let by = members(known).filter(|by| among(*by) && is_younger(*by, at));
            state.names[at] & !by.fold(0, |named, by| named | state.names[by]) == 0
        };
        let set =
            |holds: &dyn Fn(usize) -> bool| members(known).filter(|at| holds(*at)).fold(0, |set, at| set | 1 << at);
        let goes = set(&|at| named_by_others(at, &is_settled));
        // What waits for its replacement to grow old is not merged once more.
        let small = known & !set(&|at| named_by_others(at, &|_| true));
        let deletes = setup.lag == 0 || setup.variant == Variant::AtOnce;
        let merged = if small.count_ones() > 1 { small } else { 0 };
        let delete = if deletes { merged } else { 0 };
        let replacing =
            Replacing { older: goes, read: merged, delete, kept: 0, gone: 0, has_put: merged == 0, is_merge: true };
        if merged | goes == 0 { Sweep::Ended } else { Sweep::Replace(replacing) }
    }

    fn replace(&mut self, replacing: Replacing) {
        let mut state = *self.state;
        let Replacing { older, read, delete, kept, gone, has_put, .. } = replacing;
        let early = self.setup.variant == Variant::DeletedFirst && read == 0;
        if let Some((at, rest)) = lowest(older) {
            state.delete_index(at);
            let next = Replacing { older: rest, ..replacing };
            let is_done = rest == 0 && has_put;
            self.add(state, if is_done { self.after(next) } else { Sweep::Replace(next) });
        } else if let Some((at, rest)) = lowest(read) {
            let named = if state.index[at].exists() { state.names[at] & !gone } else { 0 };
            self.add(state, Sweep::Replace(Replacing { read: rest, kept: kept | named, ..replacing }));
        } else if !has_put && (!early || delete == 0) {
            let next = Replacing { has_put: true, ..replacing };
            match (kept, state.free()) {
                (0, _) => {}
                (_, Some(at)) => state.put_index(at, kept),
                (_, None) => return self.add(state, Sweep::Ended),
            }
            let next = if delete == 0 { self.after(next) } else { Sweep::Replace(next) };
            self.add(state, next);
        } else if let Some((at, rest)) = lowest(delete) {
            state.delete_index(at);
            let next = Replacing { delete: rest, ..replacing };
            let next = if rest == 0 && has_put { self.after(next) } else { Sweep::Replace(next) };
            self.add(state, next);
        }
    }

    fn after(&self, replacing: Replacing) -> Sweep {
        match (replacing.is_merge, self.setup.buries && self.at == 0) {
            (true, _) => Sweep::Ended,
            (false, true) => Sweep::DeletePack,
            (false, false) => Sweep::MergeListIndex,
        }
    }
}

fn reader_steps(setup: &Setup, state: &State, next: &mut Vec<State>) {
    match state.reader {
        Reader::List { looks, known } => {
            for shown in listings(setup, state.now, &state.index) {
                let reader = Reader::Get { looks: looks - 1, known: known & shown, shown };
                next.push(State { reader, ..*state });
            }
        }
        Reader::Get { looks, known, shown } => {
            let (known, missing) = (known | shown & state.exist(), shown & !known & !state.exist());
            if missing != 0 && looks > 0 && setup.variant != Variant::OneLook {
                next.push(State { reader: Reader::List { looks, known }, ..*state });
                return;
            }
            let misses = state.named_by(known) & 1 << HELD == 0;
            let loss = misses.then_some("a reader finds a needed pack named by nothing");
            next.push(State { reader: Reader::Ended, loss, ..*state });
        }
        Reader::Ended => {}
    }
}

/// All states after one.
fn steps(setup: &Setup, state: &State, next: &mut Vec<State>) {
    (0..SWEEPS).for_each(|at| Steps { setup, state, at, next }.all());
    reader_steps(setup, state, next);
    let mut with = *state;
    match state.session {
        Session::Begun => {
            (with.packs[NEW].put, with.session) = (state.now, Session::Stored);
            next.push(with);
        }
        Session::Stored => {
            with.put_index(OF_SESSION, 1 << NEW);
            with.session = Session::Named;
            next.push(with);
        }
        Session::Named => {}
    }
    if setup.sleeper && state.index[OF_SLEEPER].put == 0 {
        let mut with = *state;
        with.put_index(OF_SLEEPER, 1 << BURIED);
        next.push(with);
    }
    if state.now < State::start(setup).now + setup.ticks {
        next.push(State { now: state.now + 1, ..*state });
    }
}

/// What some state came to: a search in which nothing is ever merged proves nothing.
#[derive(Default, PartialEq, Eq, Debug)]
struct Seen {
    merged: bool,
    merged_twice: bool,
    pack_gone: bool,
    unnamed: bool,
}

impl Seen {
    fn note(&mut self, state: &State) {
        let by_sweeps = || (FIRST_FREE..INDEXES).map(|at| state.index[at]);
        self.merged |= by_sweeps().any(Object::exists) && !state.index[0].exists();
        self.merged_twice |= by_sweeps().any(|object| object.gone != 0);
        self.pack_gone |= state.packs[BURIED].gone != 0;
        self.unnamed |= state.index[OF_SLEEPER].gone != 0;
    }
}

/// The first loss that a search through every interleaving comes to, and whether it was let to its end.
fn search(setup: &Setup) -> (Option<&'static str>, bool, Seen) {
    let start = State::start(setup);
    let (mut seen, mut queue, mut next) = (HashSet::from([start]), VecDeque::from([start]), Vec::new());
    let mut effects = Seen::default();
    while let Some(state) = queue.pop_front() {
        if state.needed() & !state.named_by(state.exist()) != 0 {
            return (Some("a needed pack is named by nothing"), true, effects);
        }
        if state.loss.is_some() {
            return (state.loss, true, effects);
        }
        effects.note(&state);
        steps(setup, &state, &mut next);
        queue.extend(next.drain(..).filter(|state| seen.insert(*state)));
        if seen.len() > BOUND {
            return (None, false, effects);
        }
    }
    println!("{setup:?}\n{} states, all", seen.len());
    (None, true, effects)
}

const AT_ONCE: Setup = Setup {
    lag: 0,
    ticks: 2,
    sweeps: 2,
    buries: true,
    session: true,
    sleeper: false,
    reader: false,
    twice: false,
    variant: Variant::Protocol,
};
const TWICE: Setup = Setup { twice: true, buries: false, session: false, ..AT_ONCE };
const LAGGING: Setup = Setup { lag: 1, ticks: 3, ..AT_ONCE };
const READ: Setup = Setup { session: false, reader: true, ..AT_ONCE };
/// A burial replaces at once, so that a reader may miss for LAG what it replaces; what merging replaces it never misses.
const LAGGING_READ: Setup = Setup { session: false, reader: true, buries: false, ..LAGGING };

/// SWEEP-9, SWEEP-11, SWEEP-16, INDEX-4
#[test]
fn merging_and_unnaming_leave_every_needed_pack_named() {
    let setups = [
        AT_ONCE,
        READ,
        TWICE,
        Setup { sleeper: true, session: false, ..AT_ONCE },
        LAGGING,
        LAGGING_READ,
        Setup { sleeper: true, session: false, ..LAGGING },
    ];
    for setup in setups {
        let (loss, exhausted, seen) = search(&setup);
        assert_eq!((loss, exhausted), (None, true), "{setup:?}");
        let Seen { merged, merged_twice, pack_gone, unnamed } = seen;
        assert!(merged && (merged_twice || setup.lag > 0 || setup.twice), "{setup:?}");
        assert_eq!((pack_gone, unnamed), (setup.buries, setup.sleeper), "{setup:?}");
    }
}

#[test]
fn each_rule_of_merging_is_needed() {
    let unnamed = "a needed pack is named by nothing";
    let missed = "a reader finds a needed pack named by nothing";
    let weakened = [
        (Variant::DeletedFirst, AT_ONCE, unnamed),
        (Variant::AnyAge, TWICE, unnamed),
        (Variant::AtOnce, LAGGING_READ, missed),
        (Variant::YoungReplaces, LAGGING_READ, missed),
        (Variant::YoungIsGone, LAGGING, unnamed),
        (Variant::PacksFirst, AT_ONCE, unnamed),
        (Variant::OneLook, READ, missed),
    ];
    for (variant, setup, expected) in weakened {
        let (loss, ..) = search(&Setup { variant, ..setup });
        assert_eq!(loss, Some(expected), "{variant:?}");
    }
}
