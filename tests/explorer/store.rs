//! The store of the model: LISTs that lag without order, three kinds of `put_new`, the clock, and puts and deletes that arrive late.

use crate::state::{B, BEFORE, backup_session, members};
use crate::state::{Backing, Commit, Object, PutNew, Setup, State, Sweeping, bits, decoded, session_pack};

/// What a LIST of these objects may show: a change shows for certain once it is LAG old, and each by itself before that.
pub fn listings(objects: &[Object], lag: u8) -> impl Iterator<Item = u16> + use<> {
    let certain = bits(objects, |object| object.exists() && object.age() >= lag);
    let maybe = bits(objects, |object| object != Object::NEVER && object.age() < lag);
    let subsets = std::iter::successors(Some(maybe), move |set| set.checked_sub(1).map(|less| less & maybe));
    subsets.map(move |set| set | certain)
}

/// What a `put_new` at a commit name may do: whether it reports success, and the store after it.
pub fn put_new(setup: &Setup, state: &State, session: usize, what: Commit) -> Vec<(bool, State)> {
    let old = state.commits[session];
    let mut put = *state;
    put.what[session] = what;
    put.commits[session] = Object::PUT;
    match setup.put_new {
        _ if state.what[session] == Commit::Nothing => vec![(true, put)],
        PutNew::Overwrites => vec![(true, put)],
        PutNew::Settled if old.age() < setup.lag => {
            // Creators race: the name was created when the first of them did.
            put.commits[session] = old;
            vec![(true, put), (true, *state), (false, *state)]
        }
        PutNew::Settled | PutNew::Exclusive => vec![(false, *state)],
    }
}

impl State {
    /// Put a pack. Once it was deleted, a repeated delete may be on its way still.
    pub fn put_pack(&mut self, pack: usize, content: u8) {
        if self.packs[pack].was_deleted() {
            self.again |= 1 << pack;
        }
        (self.packs[pack], self.content[pack]) = (Object::PUT, content);
    }

    pub fn put_index(&mut self, index: usize, names: u16) {
        (self.index[index], self.names[index]) = (Object::PUT, names);
    }

    pub fn delete_index(&mut self, index: usize) {
        if self.index[index].exists() {
            self.index[index] = Object::DELETED;
        }
    }

    /// One tick of the clock, or nothing if no age depends on it.
    pub fn tick(&self, setup: &Setup) -> Option<State> {
        let mut next = *self;
        let (lag, judged) = (setup.lag, setup.grace.max(setup.lag));
        let condemned = setup.grace.max(setup.two_lags());
        let mut ticked = next.forgotten.tick(judged);
        let rows: [(&mut [Object], u8); 5] = [
            (&mut next.packs, judged),
            (&mut next.index, lag),
            (&mut next.condemned, condemned),
            (&mut next.leases, lag),
            (&mut next.commits, lag),
        ];
        for (objects, limit) in rows {
            objects.iter_mut().for_each(|object| ticked |= object.tick(limit));
        }
        for backup in &mut next.backups {
            if backup.next == Backing::Confirm && backup.timer < lag {
                (backup.timer, ticked) = (backup.timer + 1, true);
            }
            if backup.flight > 0 {
                let over = backup.flight >= setup.grace;
                (backup.flight, ticked) = (if over { 0 } else { backup.flight + 1 }, true);
            }
        }
        for sweep in &mut next.sweeps {
            let limit = match sweep.next {
                Sweeping::GetTombstone => setup.two_lags(),
                Sweeping::ListAtEnd => lag,
                _ => 0,
            };
            if sweep.timer < limit {
                (sweep.timer, ticked) = (sweep.timer + 1, true);
            }
        }
        ticked.then(|| next.without_old_traces(lag))
    }

    /// Deleted index objects and leases that no LIST shows any more are as if they never were.
    pub fn without_old_traces(mut self, lag: u8) -> State {
        let unseen = |object: Object| object.was_deleted() && object.age() >= lag;
        for (object, names) in self.index.iter_mut().zip(&mut self.names).filter(|(object, _)| unseen(**object)) {
            (*object, *names) = (Object::NEVER, 0);
        }
        for object in self.leases.iter_mut().filter(|object| unseen(**object)) {
            *object = Object::NEVER;
        }
        self
    }

    /// Puts and deletes that arrive late: the pack they hit, whether it is a put, and the store after it.
    pub fn late(&self) -> Vec<(usize, bool, State)> {
        let mut late = Vec::new();
        for (at, backup) in self.backups.iter().enumerate().filter(|(_, backup)| backup.flight > 0) {
            let pack = session_pack(backup_session(at, backup.attempt), false);
            let mut next = *self;
            next.put_pack(pack, backup.content);
            late.push((pack, true, next));
        }
        for pack in members(self.again & self.existing_packs()) {
            let mut next = *self;
            next.packs[pack] = Object::DELETED;
            late.push((pack, false, next));
        }
        late
    }

    /// What the store has lost, if anything: a snapshot that counts and cannot be decoded from packs that exist, or only from
    /// packs that no index object names.
    pub fn loss(&self, setup: &Setup) -> Option<&'static str> {
        let overwritten = |session: &usize| self.what[*session] != Commit::Snapshot;
        if members(self.reported.into()).any(|session| overwritten(&session)) {
            return Some("a reported commit was overwritten");
        }
        let forgotten = self.forgotten.exists() && self.forgotten.age() >= setup.grace;
        let decided = |session: usize| match setup.put_new {
            PutNew::Exclusive => true,
            PutNew::Settled => self.commits[session].age() >= setup.lag,
            PutNew::Overwrites => false,
        };
        let counts = |session: usize| self.what[session] == Commit::Snapshot && decided(session);
        let sessions = (0..self.what.len()).filter(|session| counts(*session));
        let snapshots = sessions.fold(self.reported, |set, session| set | 1 << session);
        let snapshots = if forgotten || !setup.before { snapshots } else { snapshots | BEFORE };
        let packs = self.existing_packs();
        let named = packs & self.named(bits(&self.index, Object::exists));
        if snapshots == 0 || decoded(self.held(named)) & B != 0 {
            None
        } else if decoded(self.held(packs)) & B == 0 {
            Some("a chunk that a snapshot needs is gone")
        } else {
            setup.indexed.then_some("a pack that a snapshot needs is named by no index object")
        }
    }
}
