//! A model of folding alone (format-spec/16-sweep.md): sweeps that put ledgers and delete what these replace, a reader, and a session
//! that slept until its tombstone was folded. Every interleaving; a sweep that is killed is one that takes no further step.
//!
//! One record says that a snapshot was forgotten, one tombstone that a name is void. At no time may a reader miss what either said, and
//! at no time may the sleeper report a commit.

use std::collections::{HashSet, VecDeque};

/// What objects say.
const FORGOTTEN: u8 = 1;
const VOID: u8 = 2;

/// Objects: the record, what stands at the commit name, and ledgers.
const RECORD: usize = 0;
const NAME: usize = 1;
const OBJECTS: usize = 6;
const SWEEPS: usize = 2;
/// How often a reader LISTs.
const LOOKS: u8 = 4;
/// Searches stop here.
const BOUND: usize = 3_000_000;

/// The protocol, or the protocol with one of its rules taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Protocol,
    /// What is to be replaced goes before the ledger is put.
    DeletedFirst,
    /// A ledger replaces one that is not older, too.
    AnyAge,
    /// Where LISTs lag, a ledger replaces at once.
    AtOnce,
    /// A reader does not LIST again where something is gone between LIST and GET.
    OneLook,
    /// A session that slept does not look whether its name is void.
    NotLooked,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    lag: u8,
    ticks: u8,
    sweeps: usize,
    reader: bool,
    sleeper: bool,
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

/// What a sweep does next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Sweep {
    #[default]
    List,
    Get {
        shown: u8,
        round: u8,
    },
    /// Deletes these, then puts a ledger that says so much, or none.
    Delete {
        these: u8,
        says: u8,
        round: u8,
    },
    Again,
    Ended,
}

/// What whoever looks below `forgotten/` does next: of these objects it knows what they say.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Looking {
    List { looks: u8, known: u8 },
    Get { looks: u8, known: u8, shown: u8 },
    Knows(u8),
}

const FIRST: Looking = Looking::List { looks: LOOKS, known: 0 };

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Sleeper {
    Asleep,
    Committed(Looking),
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Reader {
    ListSnapshots,
    Looks { saw_late: bool, looking: Looking },
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    objects: [Object; OBJECTS],
    says: [u8; OBJECTS],
    /// Whether a snapshot stands at the name, and no tombstone.
    is_late: bool,
    sweeps: [Sweep; SWEEPS],
    reader: Reader,
    sleeper: Sleeper,
    loss: Option<&'static str>,
}

impl State {
    fn start(setup: &Setup) -> State {
        let mut state = State {
            now: 1,
            objects: [Object::default(); OBJECTS],
            says: [0; OBJECTS],
            is_late: false,
            sweeps: [Sweep::List; SWEEPS],
            reader: Reader::ListSnapshots,
            sleeper: Sleeper::Asleep,
            loss: None,
        };
        state.sweeps[setup.sweeps..].fill(Sweep::Ended);
        if !setup.reader {
            state.reader = Reader::Ended;
        }
        if !setup.sleeper {
            state.sleeper = Sleeper::Ended;
        }
        for (at, says) in [(RECORD, FORGOTTEN), (NAME, VOID)] {
            // Put so long ago that every LIST shows it.
            (state.objects[at].put, state.says[at]) = (1, says);
        }
        state
    }

    fn exist(&self) -> u8 {
        (0..OBJECTS).filter(|at| self.objects[*at].exists()).fold(0, |set, at| set | 1 << at)
    }

    /// What a LIST may show: a change for certain once it is LAG old, and before that each by itself.
    fn listings(&self, setup: &Setup, among: u8) -> Vec<u8> {
        let (mut certain, mut maybe) = (0u8, 0u8);
        for (at, object) in self.objects.iter().enumerate().filter(|(at, _)| among >> at & 1 == 1) {
            let is_young = |tick: u8| tick != 0 && self.now < tick + setup.lag;
            let is_first = at <= NAME && object.put == 1;
            if is_young(object.gone) || (object.exists() && is_young(object.put) && !is_first) {
                maybe |= 1 << at;
            } else if object.exists() {
                certain |= 1 << at;
            }
        }
        let subsets = std::iter::successors(Some(maybe), move |set| set.checked_sub(1).map(|less| less & maybe));
        subsets.map(|set| set | certain).collect()
    }

    fn said_by(&self, these: u8) -> u8 {
        (0..OBJECTS).filter(|at| these >> at & 1 == 1).fold(0, |says, at| says | self.says[at])
    }

    fn delete(&mut self, at: usize) {
        if self.objects[at].exists() {
            self.objects[at].gone = self.now;
        }
    }

    /// A new name for each ledger; `None` where the model has no room for more.
    fn put_ledger(&mut self, says: u8) -> Option<usize> {
        let at = (NAME + 1..OBJECTS).find(|at| self.objects[*at].put == 0)?;
        (self.objects[at].put, self.says[at]) = (self.now, says);
        Some(at)
    }
}

const LEDGERS: u8 = !(1 << RECORD | 1 << NAME) & ((1 << OBJECTS) - 1);
const BELOW_FORGOTTEN: u8 = LEDGERS | 1 << RECORD;

fn members(set: u8) -> impl Iterator<Item = usize> {
    (0..OBJECTS).filter(move |at| set >> at & 1 == 1)
}

/// SWEEP-19 and SWEEP-20, of what a sweep has read: what goes, and what a new ledger says.
fn plan(setup: &Setup, state: &State, known: u8) -> (u8, u8) {
    let is_settled = |at: usize| {
        let wait = if setup.variant == Variant::AtOnce { 0 } else { 2 * setup.lag };
        state.now >= state.objects[at].put + wait
    };
    let settled = || members(known & LEDGERS).filter(|at| is_settled(*at));
    let replaces = |by: usize, at: usize| {
        let is_younger = state.objects[by].put > state.objects[at].put;
        let may = is_younger || (setup.variant == Variant::AnyAge && by != at);
        may && state.says[by] & state.says[at] == state.says[at]
    };
    let said = settled().fold(0, |said, at| said | state.says[at]);
    let loose = known & !LEDGERS;
    let replaced_loose = members(loose).filter(|at| said & state.says[*at] != 0);
    let replaced_ledgers = members(known & LEDGERS).filter(|at| settled().any(|by| replaces(by, *at)));
    let goes = replaced_loose.chain(replaced_ledgers).fold(0, |set, at| set | 1 << at);
    let left = known & !goes & LEDGERS;
    let uncovered = |at: &usize| !members(left).any(|by| replaces(by, *at));
    let small: Vec<usize> = members(left).filter(uncovered).collect();
    let new: Vec<usize> = members(loose & !goes).filter(|at| state.said_by(left) & state.says[*at] == 0).collect();
    let is_worth_it = !new.is_empty() || small.len() > 1;
    let says = new.iter().chain(&small).fold(0, |says, at| says | state.says[*at]);
    (goes, if is_worth_it { says } else { 0 })
}

/// All steps of a sweep.
fn sweep_steps(setup: &Setup, state: &State, at: usize, next: &mut Vec<State>) {
    let mut add = |mut state: State, sweep: Sweep| {
        state.sweeps[at] = sweep;
        next.push(state);
    };
    match state.sweeps[at] {
        Sweep::List | Sweep::Again => {
            let round = u8::from(state.sweeps[at] == Sweep::Again);
            let all = (1 << OBJECTS) - 1;
            state.listings(setup, all).into_iter().for_each(|shown| add(*state, Sweep::Get { shown, round }));
        }
        Sweep::Get { shown, round } => {
            let mut known = shown & state.exist();
            // What stands at a name is read: of a tombstone it may say that it is one.
            if state.is_late {
                known &= !(1 << NAME);
            }
            let (mut these, says) = plan(setup, state, known);
            if setup.variant == Variant::DeletedFirst {
                these |= known & !LEDGERS;
            }
            add(*state, Sweep::Delete { these, says, round });
        }
        Sweep::Delete { these, says, round } if these != 0 => {
            let mut state = *state;
            let first = these.trailing_zeros() as usize;
            state.delete(first);
            add(state, Sweep::Delete { these: these & !(1 << first), says, round });
        }
        Sweep::Delete { says, round, .. } => {
            let mut state = *state;
            let has_put = says != 0 && state.put_ledger(says).is_some();
            add(state, if has_put && round == 0 { Sweep::Again } else { Sweep::Ended });
        }
        Sweep::Ended => {}
    }
}

/// All steps of whoever looks below `forgotten/`.
fn look(setup: &Setup, state: &State, looking: Looking) -> Vec<Looking> {
    match looking {
        Looking::List { looks, known } => {
            let listings = state.listings(setup, BELOW_FORGOTTEN).into_iter();
            listings.map(|shown| Looking::Get { looks: looks - 1, known: known & shown, shown }).collect()
        }
        Looking::Get { looks, known, shown } => {
            let (known, missing) = (known | shown & state.exist(), shown & !known & !state.exist());
            let again = missing != 0 && looks > 0 && setup.variant != Variant::OneLook;
            vec![if again { Looking::List { looks, known } } else { Looking::Knows(state.said_by(known)) }]
        }
        Looking::Knows(_) => vec![],
    }
}

fn reader_steps(setup: &Setup, state: &State, next: &mut Vec<State>) {
    match state.reader {
        Reader::ListSnapshots => {
            for shown in state.listings(setup, 1 << NAME) {
                let saw_late = shown != 0 && state.is_late && state.objects[NAME].exists();
                next.push(State { reader: Reader::Looks { saw_late, looking: FIRST }, ..*state });
            }
        }
        Reader::Looks { saw_late, looking: Looking::Knows(said) } => {
            let loss = match (said & FORGOTTEN != 0, saw_late && said & VOID == 0) {
                (false, _) => Some("a reader takes a forgotten snapshot for one that is missing"),
                (true, true) => Some("a reader takes for a snapshot what stands at a void name"),
                (true, false) => None,
            };
            next.push(State { reader: Reader::Ended, loss, ..*state });
        }
        Reader::Looks { saw_late, looking } => {
            let steps = look(setup, state, looking).into_iter();
            next.extend(steps.map(|looking| State { reader: Reader::Looks { saw_late, looking }, ..*state }));
        }
        Reader::Ended => {}
    }
}

fn sleeper_steps(setup: &Setup, state: &State, next: &mut Vec<State>) {
    match state.sleeper {
        Sleeper::Asleep if state.objects[NAME].exists() => {
            next.push(State { sleeper: Sleeper::Ended, ..*state });
        }
        Sleeper::Asleep => {
            let mut state = State { is_late: true, sleeper: Sleeper::Committed(FIRST), ..*state };
            state.objects[NAME] = Object { put: state.now, gone: 0 };
            state.says[NAME] = 0;
            if setup.variant == Variant::NotLooked {
                state.sleeper = Sleeper::Committed(Looking::Knows(0));
            }
            next.push(state);
        }
        Sleeper::Committed(Looking::Knows(said)) => {
            let loss = (said & VOID == 0).then_some("a session reports a commit at a name that is void");
            next.push(State { sleeper: Sleeper::Ended, loss, ..*state });
        }
        Sleeper::Committed(looking) => {
            let steps = look(setup, state, looking).into_iter();
            next.extend(steps.map(|looking| State { sleeper: Sleeper::Committed(looking), ..*state }));
        }
        Sleeper::Ended => {}
    }
}

/// All states after one.
fn steps(setup: &Setup, state: &State, next: &mut Vec<State>) {
    (0..SWEEPS).for_each(|at| sweep_steps(setup, state, at, next));
    reader_steps(setup, state, next);
    sleeper_steps(setup, state, next);
    if state.now <= setup.ticks {
        next.push(State { now: state.now + 1, ..*state });
    }
}

/// What is said by nothing that exists any more.
fn is_unsaid(state: &State) -> Option<&'static str> {
    match FORGOTTEN & !state.said_by(state.exist()) {
        0 => state.loss,
        _ => Some("nothing says any more that the snapshot was forgotten"),
    }
}

/// The first loss that a search through every interleaving comes to, and whether it was let to its end.
fn search(setup: &Setup) -> (Option<&'static str>, bool, Seen) {
    let (mut seen, mut queue, mut next) = (HashSet::new(), VecDeque::from([State::start(setup)]), Vec::new());
    let mut effects = Seen::default();
    seen.insert(State::start(setup));
    while let Some(state) = queue.pop_front() {
        if let Some(loss) = is_unsaid(&state) {
            return (Some(loss), true, effects);
        }
        effects.note(&state);
        steps(setup, &state, &mut next);
        queue.extend(next.drain(..).filter(|state| seen.insert(*state)));
        if seen.len() > BOUND {
            return (None, false, effects);
        }
    }
    (None, true, effects)
}

/// What some state came to: a search in which nothing is ever folded proves nothing.
#[derive(Default, PartialEq, Eq, Debug)]
struct Seen {
    record_gone: bool,
    tombstone_gone: bool,
    ledger_gone: bool,
    late: bool,
    two_ledgers: bool,
}

impl Seen {
    fn note(&mut self, state: &State) {
        let gone = |at: usize| state.objects[at].put != 0 && !state.objects[at].exists();
        self.record_gone |= gone(RECORD);
        self.tombstone_gone |= gone(NAME);
        self.ledger_gone |= members(LEDGERS).any(gone);
        self.late |= state.is_late;
        self.two_ledgers |= members(LEDGERS & state.exist()).count() > 1;
    }
}

const ALL_SEEN: Seen =
    Seen { record_gone: true, tombstone_gone: true, ledger_gone: true, late: true, two_ledgers: true };

const AT_ONCE: Setup = Setup { lag: 0, ticks: 2, sweeps: 2, reader: true, sleeper: true, variant: Variant::Protocol };
const LAGGING: Setup = Setup { lag: 1, ticks: 4, ..AT_ONCE };

#[test]
fn folding_loses_nothing_that_was_said() {
    let (loss, exhausted, seen) = search(&AT_ONCE);
    assert_eq!((loss, exhausted, seen), (None, true, ALL_SEEN));
    let setups = [
        Setup { sleeper: false, ..LAGGING },
        Setup { reader: false, ..LAGGING },
        Setup { sweeps: 1, ticks: 6, ..LAGGING },
    ];
    for setup in setups {
        let (loss, exhausted, seen) = search(&setup);
        assert_eq!((loss, exhausted), (None, true), "{setup:?}");
        assert!(seen.record_gone && seen.tombstone_gone, "{setup:?}: {seen:?}");
    }
}

#[test]
fn each_rule_of_folding_is_needed() {
    let weakened = [
        (Variant::DeletedFirst, AT_ONCE, "nothing says any more that the snapshot was forgotten"),
        (Variant::AnyAge, AT_ONCE, "nothing says any more that the snapshot was forgotten"),
        (Variant::AtOnce, LAGGING, "a reader takes a forgotten snapshot for one that is missing"),
        (Variant::OneLook, AT_ONCE, "a reader takes a forgotten snapshot for one that is missing"),
        (Variant::NotLooked, AT_ONCE, "a session reports a commit at a name that is void"),
    ];
    for (variant, setup, expected) in weakened {
        let (loss, ..) = search(&Setup { variant, ..setup });
        assert_eq!(loss, Some(expected), "{variant:?}");
    }
}
