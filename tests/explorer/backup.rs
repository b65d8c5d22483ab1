//! The steps of a backup, B1 to B4, and of an undelete, which is a backup that has only chunks that are known.

use crate::state::{
    A, B, Backing, Backup, Commit, DELTA_B, Memory, Object, PutNew, Setup, State, UNDELETE, Variant, WHOLE_B,
};
use crate::state::{backup_session, known, session_index, session_pack};
use crate::steps::{Actor, Steps};
use crate::store::{listings, put_new};

/// Chunks a backup stores, so that *b* can be decoded.
fn to_store(known: u8) -> u8 {
    match (known & B != 0, known & A != 0) {
        (true, _) => 0,
        (false, true) => DELTA_B,
        (false, false) => WHOLE_B,
    }
}

/// One backup in one state.
struct Step<'a> {
    setup: &'a Setup,
    state: &'a State,
    at: usize,
    steps: &'a mut Steps,
}

pub fn steps(setup: &Setup, state: &State, at: usize, steps: &mut Steps) {
    Step { setup, state, at, steps }.next();
}

impl Step<'_> {
    fn me(&self) -> Backup {
        self.state.backups[self.at]
    }

    fn session(&self) -> usize {
        backup_session(self.at, self.me().attempt)
    }

    fn add(&mut self, call: &'static str, shows: u16, mut state: State, me: Backup) {
        state.backups[self.at] = me;
        let actor = if self.at == UNDELETE { Actor::Undelete } else { Actor::Backup(self.at) };
        self.steps.add(actor, call, shows, state);
    }

    fn next(&mut self) {
        match self.me().next {
            Backing::PutLease => self.put_lease(),
            Backing::ListCondemned | Backing::ListCondemnedAgain => self.list_condemned(),
            Backing::ListIndex => self.list_index(),
            Backing::ListPacks => self.list_packs(),
            Backing::StatPacks => self.stat_packs(),
            Backing::ListSnapshots => self.list_snapshots(),
            Backing::Heartbeat => self.heartbeat(),
            Backing::PutPack => self.put_pack(),
            Backing::PutPackAgain => self.put_pack_again(),
            Backing::PutIndex => self.put_index(),
            Backing::Commit => self.commit(),
            Backing::Confirm => self.confirm(),
            Backing::DeleteLease => self.delete_lease(),
            Backing::GiveUp => self.give_up(),
            Backing::Ended => {}
        }
    }

    fn put_lease(&mut self) {
        let (mut state, mut me) = (*self.state, self.me());
        state.leases[self.session()] = Object::PUT;
        me.next = if self.setup.is(Variant::IndexFirst) { Backing::ListIndex } else { Backing::ListCondemned };
        self.add("B1 puts its lease", 0, state, me);
    }

    fn list_condemned(&mut self) {
        for shown in listings(&self.state.condemned, self.setup.lag) {
            let mut me = self.me();
            me.seen = shown as u8;
            if me.next == Backing::ListCondemnedAgain {
                me.next = Backing::Heartbeat;
                self.add("LISTs condemned/ once more", shown, *self.state, me);
            } else if self.setup.is(Variant::IndexFirst) {
                let usable = me.named & !self.state.doomed(me.seen);
                self.plan(&mut me, usable);
                self.add("B2 LISTs condemned/", shown, *self.state, me);
            } else {
                me.next = Backing::ListIndex;
                self.add("B2 LISTs condemned/", shown, *self.state, me);
            }
        }
    }

    fn list_index(&mut self) {
        for shown in listings(&self.state.index, self.setup.lag) {
            let mut me = self.me();
            me.named = self.state.named(shown);
            me.next = if self.setup.is(Variant::IndexFirst) { Backing::ListCondemned } else { Backing::ListPacks };
            if self.setup.carries {
                me.index = shown;
                self.carry_over(me);
            }
            self.add("B2 LISTs index/", shown, *self.state, me);
        }
    }

    /// Where condemned/ shows what it showed at the host's last LIST of packs/, and index/ no object less, the packs named then
    /// are there still: whoever deletes one deletes first what names it. Those of new index objects are looked at by name. Once
    /// in a while packs/ is LISTed all the same.
    fn carry_over(&mut self, mut me: Backup) {
        let (memory, index) = (self.state.memory, me.index);
        let lacks = memory.index & !index != 0 && !self.setup.is(Variant::CarriedNotCompared);
        if me.seen != memory.condemned || lacks {
            return;
        }
        me.next = Backing::StatPacks;
        if index & !memory.index == 0 {
            let usable = memory.packs & me.named & !self.state.doomed(me.seen);
            self.plan(&mut me, usable);
        }
        self.add("B2 carries the proof of packs over", index, *self.state, me);
    }

    fn stat_packs(&mut self) {
        let (mut state, mut me) = (*self.state, self.me());
        let new = state.named(me.index & !state.memory.index);
        let there = if self.setup.is(Variant::CarriedNewUnproved) { new } else { new & state.existing_packs() };
        state.memory.index |= me.index;
        state.memory.packs |= there;
        let usable = state.memory.packs & me.named & !state.doomed(me.seen);
        self.plan(&mut me, usable);
        self.add("B2 looks at packs of new index objects by name", there, state, me);
    }

    fn list_packs(&mut self) {
        for shown in listings(&self.state.packs, self.setup.lag) {
            let (mut state, mut me) = (*self.state, self.me());
            if self.setup.carries {
                let proved = if self.setup.is(Variant::CarriedUnnamed) { shown } else { shown & me.named };
                state.memory = Memory { condemned: me.seen, index: me.index, packs: proved };
            }
            let usable = me.named & shown & !self.state.doomed(me.seen);
            self.plan(&mut me, usable);
            self.add("B2 LISTs packs/", shown, state, me);
        }
    }

    /// I3: what is not known by the usable packs will be stored.
    fn plan(&self, me: &mut Backup, usable: u16) {
        me.content = to_store(known(self.state.held(usable), self.setup));
        (me.named, me.index) = (0, 0);
        me.next = match self.setup.variant {
            Variant::SnapshotProves => Backing::ListSnapshots,
            Variant::SeenLater => Backing::ListCondemnedAgain,
            _ => Backing::Heartbeat,
        };
    }

    fn list_snapshots(&mut self) {
        let mut me = self.me();
        if !self.state.forgotten.exists() {
            me.content = 0;
        }
        me.next = Backing::Heartbeat;
        self.add("LISTs snapshots/, where one that is not forgotten uses the chunk", 0, *self.state, me);
    }

    fn heartbeat(&mut self) {
        let (mut state, mut me) = (*self.state, self.me());
        state.seen[self.session()] = me.seen;
        me.next = match (me.content == 0, self.at == UNDELETE) {
            (true, _) => Backing::Commit,
            (false, true) => Backing::GiveUp,
            (false, false) => Backing::PutPack,
        };
        let seen = std::mem::take(&mut me.seen);
        self.add("B2 puts its lease again, saying `seen`", seen.into(), state, me);
    }

    fn put_pack(&mut self) {
        let (mut state, me) = (*self.state, self.me());
        let pack = session_pack(self.session(), me.resealed);
        state.put_pack(pack, me.content);
        self.add("B3 puts pack", 1 << pack, state, Backup { next: Backing::PutIndex, ..me });
        if self.setup.unknown && !me.resealed {
            let next = Backing::PutPackAgain;
            self.add("B3 puts pack, outcome unknown", 1 << pack, *self.state, Backup { next, flight: 1, ..me });
        }
    }

    /// I1: the same put again within the bound, after it the pack is sealed again.
    fn put_pack_again(&mut self) {
        let me = self.me();
        let pack = session_pack(self.session(), false);
        if me.flight > 0 || self.setup.is(Variant::PutRepeated) {
            let mut state = *self.state;
            state.put_pack(pack, me.content);
            self.add("B3 repeats the put of pack", 1 << pack, state, Backup { next: Backing::PutIndex, ..me });
        } else {
            let again = Backup { next: Backing::PutPack, resealed: true, ..me };
            self.add("B3 seals its pack again", 1 << pack, *self.state, again);
        }
    }

    fn put_index(&mut self) {
        let (mut state, me) = (*self.state, self.me());
        let index = session_index(self.session());
        state.put_index(index, 1 << session_pack(self.session(), me.resealed));
        if self.setup.is(Variant::CarriedBeforeCommit) {
            self.remember_own(&mut state);
        }
        self.add("B3 puts index object", 1 << index, state, Backup { next: Backing::Commit, ..me });
    }

    fn commit(&mut self) {
        let (session, me) = (self.session(), self.me());
        let stale = self.state.stale >> session & 1 == 1;
        if self.setup.put_new == PutNew::Overwrites && stale && !self.setup.is(Variant::Revived) {
            return self.start_over("B4 does not try, its heartbeat was too old");
        }
        let final_at_once = self.setup.put_new != PutNew::Settled || self.setup.lag == 0;
        for (done, state) in put_new(self.setup, self.state, session, Commit::Snapshot) {
            if !done {
                self.start_over("B4 is refused, GETs a tombstone");
            } else if final_at_once || self.setup.is(Variant::FinalAtOnce) {
                self.report("B4 commits and reports it", state);
            } else {
                let me = Backup { next: Backing::Confirm, timer: 0, ..me };
                self.add("B4 commits, not yet final", 0, state, me);
            }
        }
    }

    fn confirm(&mut self) {
        if self.me().timer < self.setup.lag {
            return;
        }
        match self.state.what[self.session()] {
            Commit::Snapshot => self.report("B4 GETs its own bytes after LAG and reports it", *self.state),
            Commit::Nothing | Commit::Tombstone | Commit::Burial => {
                self.start_over("B4 GETs a tombstone after LAG");
            }
        }
    }

    fn report(&mut self, call: &'static str, mut state: State) {
        state.reported |= 1 << self.session();
        if self.setup.carries && self.setup.put_new == PutNew::Exclusive {
            self.remember_own(&mut state);
        }
        let deletes = self.setup.is(Variant::LeaseDeletedAtCommit);
        let mut me = Backup { next: Backing::Ended, flight: 0, ..Backup::default() };
        if deletes {
            me = Backup { next: Backing::DeleteLease, attempt: self.me().attempt, ..me };
        }
        self.add(call, 0, state, me);
    }

    /// A commit that nobody else can have won says that no sweep has given the session up: what it stored is there, and whoever
    /// deletes it later deletes first what names it.
    fn remember_own(&self, state: &mut State) {
        let me = self.me();
        if me.content != 0 {
            state.memory.index |= 1 << session_index(self.session());
            state.memory.packs |= 1 << session_pack(self.session(), me.resealed);
        }
    }

    fn delete_lease(&mut self) {
        let mut state = *self.state;
        state.leases[self.session()] = Object::DELETED;
        let state = state.without_old_traces(self.setup.lag);
        self.add("deletes its lease", 0, state, Backup { next: Backing::Ended, ..Backup::default() });
    }

    fn start_over(&mut self, call: &'static str) {
        let last = self.me().attempt == 1 || self.at == UNDELETE;
        let next = if last { Backing::Ended } else { Backing::PutLease };
        let attempt = u8::from(!last);
        self.add(call, 0, *self.state, Backup { next, attempt, ..Backup::default() });
    }

    fn give_up(&mut self) {
        for (_, state) in put_new(self.setup, self.state, self.session(), Commit::Tombstone) {
            let me = Backup { next: Backing::Ended, ..Backup::default() };
            self.add("B5 puts its own tombstone", 0, state, me);
        }
    }
}
