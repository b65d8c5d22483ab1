//! The steps of a sweep: S1 to S4 condemn, W1 to W5 bury and delete.
//!
//! S2 and S3 choose what to condemn and copy parts of it; here any pack past the grace time may be condemned, needed or not, since
//! W2 stores again what is still needed. A sweep without S goes on with what an earlier one condemned, as after a crash.

use crate::state::{B, BEFORE, BURIED, Commit, Object, PutNew, Setup, State, Sweep, Sweeping, Variant, bits, decoded};
use crate::state::{known, members, rescue_pack, sweep_index, sweep_session};
use crate::steps::{Actor, Steps};
use crate::store::{listings, put_new};

/// One sweep in one state.
struct Step<'a> {
    setup: &'a Setup,
    state: &'a State,
    at: usize,
    steps: &'a mut Steps,
}

pub fn steps(setup: &Setup, state: &State, at: usize, steps: &mut Steps) {
    Step { setup, state, at, steps }.next();
}

const ENDED: Sweep = Sweep {
    next: Sweeping::Ended,
    target: 0,
    todo: 0,
    roots: 0,
    condemned: 0,
    index: 0,
    packs: 0,
    missing: 0,
    timer: 0,
};

impl Step<'_> {
    fn me(&self) -> Sweep {
        self.state.sweeps[self.at]
    }

    fn session(&self) -> usize {
        sweep_session(self.at)
    }

    fn add(&mut self, call: &'static str, set: u16, mut state: State, me: Sweep) {
        state.sweeps[self.at] = me;
        self.steps.add(Actor::Sweep(self.at), call, set, state);
    }

    fn next(&mut self) {
        match self.me().next {
            Sweeping::Start => self.start(),
            Sweeping::Condemn => self.condemn(),
            Sweeping::PutLease => self.put_lease(),
            Sweeping::ChooseTarget => self.choose_target(),
            Sweeping::ListLeases => self.list_leases(),
            Sweeping::GetNames => self.get_names(),
            Sweeping::PutTombstone => self.put_tombstone(),
            Sweeping::GetTombstone => self.get_tombstone(),
            Sweeping::ListCondemned => self.list_condemned(),
            Sweeping::ListIndex => self.list_index(),
            Sweeping::ListPacks => self.list_packs(),
            Sweeping::ListSnapshots => self.list_snapshots(),
            Sweeping::ListForgotten => self.list_forgotten(),
            Sweeping::PardonTarget => self.pardon(),
            Sweeping::PutRescue => self.put_rescue(),
            Sweeping::PutRescueIndex => self.put_rescue_index(),
            Sweeping::PutBurial => self.put_burial(),
            Sweeping::PutIndex => self.put_index(),
            Sweeping::DeleteIndexes => self.delete_indexes(),
            Sweeping::DeletePacks => self.delete_packs(),
            Sweeping::ListAtEnd => self.list_at_end(),
            Sweeping::DeleteCondemned => self.delete_condemned(),
            Sweeping::DeleteBurial => self.delete_burial(),
            Sweeping::Ended => {}
        }
    }

    fn start(&mut self) {
        let me = self.me();
        if self.state.condemned.iter().any(|condemned| condemned.exists()) {
            self.add("goes on with a condemnation", 0, *self.state, Sweep { next: Sweeping::PutLease, ..me });
        }
        for shown in listings(&self.state.condemned, self.setup.lag).filter(|_| self.setup.condemns) {
            // What S1 lists is used again by one variant only.
            let condemned = if self.setup.is(Variant::OldList) { shown as u8 } else { 0 };
            let next = Sweep { next: Sweeping::Condemn, condemned, ..me };
            self.add("S1 LISTs everything", shown, *self.state, next);
            if !self.setup.is(Variant::OldList) {
                break;
            }
        }
    }

    /// S4, of one pack or of all packs past the grace time.
    fn condemn(&mut self) {
        let judged = bits(&self.state.packs, |pack| pack.exists() && pack.age() >= self.setup.grace);
        let all = Some(judged).filter(|judged| judged.count_ones() > 1);
        for packs in members(judged).map(|pack| 1 << pack).chain(all) {
            let mut state = *self.state;
            let id = 1 + self.at;
            (state.condemned[id], state.doomed[id]) = (Object::PUT, packs);
            self.add("S4 condemns packs", packs, state, Sweep { next: Sweeping::PutLease, ..self.me() });
        }
    }

    fn put_lease(&mut self) {
        let mut state = *self.state;
        state.leases[self.session()] = Object::PUT;
        self.add("puts its lease", 0, state, Sweep { next: Sweeping::ChooseTarget, ..self.me() });
    }

    /// The LIST with which W begins: what it shows is `seen`, and a condemnation old enough is worked on.
    fn choose_target(&mut self) {
        let age = self.setup.grace.max(self.setup.two_lags());
        let old = bits(&self.state.condemned, |object| object.exists() && object.age() >= age);
        for shown in listings(&self.state.condemned, self.setup.lag) {
            for id in members(shown & old) {
                let mut state = *self.state;
                state.seen[self.session()] = shown as u8;
                let me = Sweep { next: Sweeping::ListLeases, target: id as u8, ..self.me() };
                self.add("W begins with the condemned id", 1 << id, state, me);
                if self.is_buried(id) {
                    let me = Sweep { next: Sweeping::ListIndex, todo: BURIED, ..me };
                    self.add("W goes on after the burial of the condemned id", 1 << id, state, me);
                }
            }
        }
    }

    fn is_buried(&self, id: usize) -> bool {
        let buries = |at: usize| self.state.what[sweep_session(at)] == Commit::Burial;
        (0..self.state.sweeps.len()).any(|at| buries(at) && usize::from(self.state.sweeps[at].target) == id)
    }

    fn list_leases(&mut self) {
        let sweeps = (0..self.state.sweeps.len()).map(|at| 1 << sweep_session(at)).sum::<u16>();
        let others = !(1 << self.session()) & if self.setup.is(Variant::NoBurial) { !sweeps } else { !0 };
        for shown in listings(&self.state.leases, self.setup.lag) {
            let mut me = self.me();
            me.todo = (shown & others) as u8;
            me.next = if me.todo == 0 { self.after_decisions() } else { Sweeping::GetNames };
            self.add("W1 LISTs leases/", shown & others, *self.state, me);
        }
    }

    fn after_decisions(&self) -> Sweeping {
        if self.setup.is(Variant::OldList) { Sweeping::ListIndex } else { Sweeping::ListCondemned }
    }

    /// The session W1 looks at.
    fn other(&self) -> usize {
        self.me().todo.trailing_zeros() as usize
    }

    fn decided(&mut self, call: &'static str, state: State) {
        let (mut me, other) = (self.me(), self.other());
        if state.what[other] == Commit::Snapshot && !self.setup.is(Variant::NoGet) {
            me.roots |= 1 << other;
        }
        self.done_with(call, state, me);
    }

    fn done_with(&mut self, call: &'static str, state: State, mut me: Sweep) {
        let other = self.other();
        me.todo &= !(1 << other);
        me.timer = 0;
        me.next = if me.todo == 0 { self.after_decisions() } else { Sweeping::GetNames };
        self.add(call, 1 << other, state, me);
    }

    fn get_names(&mut self) {
        let (me, other) = (self.me(), self.other());
        let mut state = *self.state;
        let old = state.commits[other].age() >= self.setup.lag;
        let is_final = old || self.setup.put_new == PutNew::Exclusive || self.setup.is(Variant::NoGet);
        if !state.leases[other].exists() {
            self.done_with("W1 GETs a lease that is gone, of session", state, me);
        } else if state.seen[other] >> me.target & 1 == 1 {
            self.done_with("W1 GETs a lease that has seen the id, of session", state, me);
        } else if state.what[other] == Commit::Nothing && self.setup.is(Variant::NoFence) {
            self.done_with("W1 finds nothing at the name and a STALE lease, of session", state, me);
        } else if state.what[other] == Commit::Nothing {
            if self.setup.put_new == PutNew::Overwrites {
                state.stale |= 1 << other;
            }
            let me = Sweep { next: Sweeping::PutTombstone, ..me };
            self.add("W1 finds nothing at the name and a STALE lease, of session", 1 << other, state, me);
        } else if is_final {
            // B5, where another sweep could notice.
            if old && self.setup.sweeps > 1 {
                state.leases[other] = Object::DELETED;
                state = state.without_old_traces(self.setup.lag);
            }
            self.decided("W1 GETs what is final at the name of session", state);
        }
    }

    fn put_tombstone(&mut self) {
        let (me, other) = (self.me(), self.other());
        for (done, state) in put_new(self.setup, self.state, other, Commit::Tombstone) {
            if !done {
                let me = Sweep { next: Sweeping::GetNames, ..me };
                self.add("W1 is refused a tombstone for session", 1 << other, state, me);
            } else if self.setup.put_new == PutNew::Exclusive {
                self.decided("W1 puts a tombstone for session", state);
            } else {
                let me = Sweep { next: Sweeping::GetTombstone, timer: 0, ..me };
                self.add("W1 puts a tombstone, not yet final, for session", 1 << other, state, me);
            }
        }
    }

    fn get_tombstone(&mut self) {
        if self.me().timer >= self.setup.two_lags() {
            self.decided("W1 GETs after 2 x LAG the name of session", *self.state);
        }
    }

    fn list_condemned(&mut self) {
        for shown in listings(&self.state.condemned, self.setup.lag) {
            let me = Sweep { next: Sweeping::ListIndex, condemned: shown as u8, ..self.me() };
            let there = shown >> me.target & 1 == 1;
            self.add("W2 LISTs condemned/", shown, *self.state, if there { me } else { ENDED });
        }
    }

    fn list_index(&mut self) {
        for shown in listings(&self.state.index, self.setup.lag) {
            let me = Sweep { next: Sweeping::ListPacks, index: shown, ..self.me() };
            self.add("W2 LISTs index/", shown, *self.state, me);
        }
    }

    fn list_packs(&mut self) {
        for shown in listings(&self.state.packs, self.setup.lag) {
            let me = Sweep { packs: shown, ..self.me() };
            if me.todo == BURIED {
                let me = Sweep { next: Sweeping::PutIndex, todo: 0, ..self.to_replace(me) };
                self.add("LISTs packs/", shown, *self.state, me);
            } else {
                let me = Sweep { next: Sweeping::ListSnapshots, ..me };
                self.add("W2 LISTs packs/", shown, *self.state, me);
            }
        }
    }

    fn list_snapshots(&mut self) {
        let snapshots = (0..).zip(&self.state.what).filter(|(_, what)| **what == Commit::Snapshot);
        let snapshots = snapshots.fold(0, |set, (session, _)| set | 1 << session);
        for shown in listings(&self.state.commits, self.setup.lag) {
            let mut me = self.me();
            me.roots |= (shown & snapshots) as u8 | if self.setup.before { BEFORE } else { 0 };
            me.next = Sweeping::ListForgotten;
            let me = if self.setup.forget { me } else { self.conclude(me) };
            self.add("W2 LISTs snapshots/", shown & snapshots, *self.state, me);
        }
    }

    fn list_forgotten(&mut self) {
        let past_grace = self.state.forgotten.age() >= self.setup.grace;
        for shown in listings(&[self.state.forgotten], self.setup.lag) {
            let mut me = self.me();
            if shown == 1 && past_grace {
                me.roots &= !BEFORE;
            }
            self.add("W2 LISTs forgotten/", shown, *self.state, self.conclude(me));
        }
    }

    /// I4: what is needed and not known without condemned packs is stored again, unless it cannot be decoded at all.
    fn conclude(&self, me: Sweep) -> Sweep {
        let needed = if me.roots == 0 { 0 } else { B };
        let usable = self.state.named(me.index) & me.packs & !self.state.doomed(me.condemned | 1 << me.target);
        let missing = needed & !known(self.state.held(usable), self.setup);
        if needed & !decoded(self.state.held(me.packs)) != 0 {
            return ENDED;
        }
        let buries = !matches!(self.setup.variant, Variant::NoBurial | Variant::OldList);
        let next = match (missing != 0, buries) {
            (true, _) if self.setup.is(Variant::Pardon) => Sweeping::PardonTarget,
            (true, _) => Sweeping::PutRescue,
            (false, true) => Sweeping::PutBurial,
            (false, false) => Sweeping::PutIndex,
        };
        Sweep { next, missing, ..self.to_replace(me) }
    }

    /// W4's work: the index objects to delete, and the packs that the one in their place names.
    fn to_replace(&self, me: Sweep) -> Sweep {
        let buried = self.state.doomed[usize::from(me.target)];
        let there = if self.setup.is(Variant::GoneByList) { me.packs } else { self.state.existing_packs() };
        let goes = |index: &usize| {
            let names = self.state.names[*index];
            names & buried != 0 || names & there == 0
        };
        let index = members(me.index).filter(goes).fold(0, |set, index| set | 1 << index);
        let packs = self.state.named(index) & there & !buried;
        Sweep { roots: 0, condemned: 0, index, packs, ..me }
    }

    fn pardon(&mut self) {
        let mut state = *self.state;
        state.condemned[usize::from(self.me().target)] = Object::DELETED;
        self.add("pardons the condemned id", 1 << self.me().target, state, ENDED);
    }

    fn put_rescue(&mut self) {
        let (mut state, me) = (*self.state, self.me());
        let pack = rescue_pack(self.at);
        state.put_pack(pack, me.missing);
        let readable = decoded(state.held(self.state.existing_packs())) & me.missing != 0;
        let me = if readable { Sweep { next: Sweeping::PutRescueIndex, missing: 0, ..me } } else { ENDED };
        let state = if readable { state } else { *self.state };
        self.add("W2 stores again what is needed, in pack", 1 << pack, state, me);
    }

    fn put_rescue_index(&mut self) {
        let mut state = *self.state;
        let index = sweep_index(self.at, false);
        state.put_index(index, 1 << rescue_pack(self.at));
        let buries = !matches!(self.setup.variant, Variant::NoBurial | Variant::OldList);
        let next = if buries { Sweeping::PutBurial } else { Sweeping::PutIndex };
        self.add("W2 puts index object", 1 << index, state, Sweep { next, ..self.me() });
    }

    fn put_burial(&mut self) {
        for (done, state) in put_new(self.setup, self.state, self.session(), Commit::Burial) {
            let me = if done { Sweep { next: Sweeping::PutIndex, ..self.me() } } else { ENDED };
            self.add(if done { "W3 puts its burial" } else { "W3 is refused" }, 0, state, me);
        }
    }

    /// W4: first what takes the place of the index objects, then these go, then the packs.
    fn put_index(&mut self) {
        let (mut state, me) = (*self.state, self.me());
        let buried = state.doomed[usize::from(me.target)];
        let index = sweep_index(self.at, true);
        if me.packs != 0 {
            state.put_index(index, me.packs);
        }
        let next = if me.index == 0 { Sweeping::DeletePacks } else { Sweeping::DeleteIndexes };
        let set = u16::from(me.packs != 0) << index;
        self.add("W4 puts the index without the buried packs", set, state, Sweep { next, packs: buried, ..me });
    }

    fn delete_indexes(&mut self) {
        let (mut state, mut me) = (*self.state, self.me());
        let index = me.index.trailing_zeros() as usize;
        state.delete_index(index);
        me.index &= !(1 << index);
        me.next = if me.index == 0 { Sweeping::DeletePacks } else { Sweeping::DeleteIndexes };
        self.add("W4 deletes index object", 1 << index, state.without_old_traces(self.setup.lag), me);
    }

    fn delete_packs(&mut self) {
        let (mut state, mut me) = (*self.state, self.me());
        let pack = me.packs.trailing_zeros() as usize;
        if state.packs[pack].exists() {
            state.packs[pack] = Object::DELETED;
        }
        me.packs &= !(1 << pack);
        me.next = if me.packs == 0 { Sweeping::ListAtEnd } else { Sweeping::DeletePacks };
        self.add("W4 deletes pack", 1 << pack, state, me);
    }

    fn list_at_end(&mut self) {
        let me = self.me();
        if me.timer < self.setup.lag {
            return;
        }
        let buried = self.state.doomed[usize::from(me.target)];
        for shown in listings(&self.state.index, self.setup.lag) {
            let clean = self.state.named(shown) & buried == 0 && self.state.existing_packs() & buried == 0;
            let me = if clean { Sweep { next: Sweeping::DeleteCondemned, timer: 0, ..me } } else { ENDED };
            self.add("W5 LISTs packs/ and index/", shown, *self.state, me);
        }
    }

    fn delete_condemned(&mut self) {
        let mut state = *self.state;
        state.condemned[usize::from(self.me().target)] = Object::DELETED;
        self.add("W5 deletes the condemned id", 1 << self.me().target, state, self.after_condemned());
    }

    fn after_condemned(&self) -> Sweep {
        if self.state.what[self.session()] == Commit::Burial {
            Sweep { next: Sweeping::DeleteBurial, ..ENDED }
        } else {
            ENDED
        }
    }

    fn delete_burial(&mut self) {
        let mut state = *self.state;
        (state.what[self.session()], state.commits[self.session()]) = (Commit::Nothing, Object::NEVER);
        self.add("W5 deletes its burial", 0, state, ENDED);
    }
}
