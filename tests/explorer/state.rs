//! What there is in the model: the store's objects with their ages, the actors with what they remember, and the set-up.
//!
//! Two chunks: *a*, and *b*, which is stored whole or as a delta on *a*. Every snapshot needs *b*. At the start pack 0 holds *a*
//! whole, pack 1 holds *b* as a delta, index object 0 names both, and the snapshot `before` needs *b*.
//! Ages count ticks since an object was put or deleted, and stop where nothing depends on them any more.

/// Bits of a pack's content.
pub const WHOLE_A: u8 = 1;
pub const WHOLE_B: u8 = 2;
pub const DELTA_B: u8 = 4;

/// Bits of a set of chunks.
pub const A: u8 = 1;
pub const B: u8 = 2;

pub const BACKUPS: usize = 2;
pub const SWEEPS: usize = 2;
/// Each backup may start over once, as a new session; the undelete and the sweeps have one session each.
pub const SESSIONS: usize = 2 * BACKUPS + 1 + SWEEPS;
pub const PACKS: usize = 12;
pub const INDEXES: usize = 1 + 2 * BACKUPS + 2 * SWEEPS;
pub const CONDEMNED: usize = 1 + SWEEPS;

/// The bit of the snapshot `before` in a set of snapshots; the others have the bits of their sessions.
pub const BEFORE: u8 = 1 << 7;

/// In place of sessions to be decided: another sweep's burial allows the deletion already.
pub const BURIED: u8 = 1 << 7;

/// What `put_new` promises (A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutNew {
    Exclusive,
    Settled,
    Overwrites,
}

/// The protocol, or the protocol with one of its corrections taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Protocol,
    NoFence,
    IndexFirst,
    LeaseDeletedAtCommit,
    SeenLater,
    BasesIgnored,
    OneLag,
    NoGet,
    Pardon,
    OldList,
    FinalAtOnce,
    PutRepeated,
    SnapshotProves,
    GoneByList,
    CarriedUnnamed,
    CarriedNewUnproved,
    CarriedNotCompared,
    CarriedBeforeCommit,
    Revived,
    NoBurial,
}

/// What there is at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Two packs, and an index object that names both.
    Packs,
    /// Nothing.
    Nothing,
    /// Two packs, each condemned by another prune; each chunk is whole.
    Condemned,
}

/// Who works on what kind of store.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub backups: usize,
    pub sweeps: usize,
    /// Whether the snapshot `before` stands there at the start; otherwise its chunks are there and nobody needs them.
    pub before: bool,
    pub forget: bool,
    pub undelete: bool,
    /// Ticks until a LIST shows a change for certain.
    pub lag: u8,
    /// Ticks before a pack is judged, and for which a forgotten snapshot remains a root.
    pub grace: u8,
    pub put_new: PutNew,
    /// Whether the put of a pack may end with its outcome unknown (I1).
    pub unknown: bool,
    /// All sessions of backups are of one host, which carries the proof of packs over from one session to the next.
    pub carries: bool,
    pub begin: Begin,
    /// An earlier prune has condemned pack 0, long ago.
    pub condemned: bool,
    /// Whether the sweeps condemn anew; otherwise they only go on with what is condemned.
    pub condemns: bool,
    /// Whether it is a loss, too, when a pack that exists and is needed is named by no index object (`check --repair` mends that).
    pub indexed: bool,
    pub variant: Variant,
}

impl Setup {
    pub fn is(&self, variant: Variant) -> bool {
        self.variant == variant
    }

    /// How long the sweep waits where the page says 2 x LAG.
    pub fn two_lags(&self) -> u8 {
        if self.is(Variant::OneLag) { self.lag } else { 2 * self.lag }
    }

    /// Age from which nothing depends on the age any more.
    pub fn settled(&self) -> u8 {
        self.grace.max(2 * self.lag)
    }
}

/// An object that is there, was there, or never was, with its age.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Object(pub u8);

const HERE: u8 = 0x40;
const GONE: u8 = 0x80;
const AGE: u8 = 0x0f;

impl Object {
    pub const NEVER: Object = Object(0);
    pub const PUT: Object = Object(HERE);
    pub const DELETED: Object = Object(GONE);

    pub fn old(age: u8) -> Object {
        Object(HERE | age)
    }

    pub fn exists(self) -> bool {
        self.0 & HERE != 0
    }

    pub fn was_deleted(self) -> bool {
        self.0 & GONE != 0
    }

    pub fn age(self) -> u8 {
        self.0 & AGE
    }

    /// One tick more, up to a limit. Whether anything changed.
    pub fn tick(&mut self, limit: u8) -> bool {
        let ages = self.0 != 0 && self.age() < limit;
        self.0 += u8::from(ages);
        ages
    }
}

/// What stands at a commit name.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Commit {
    #[default]
    Nothing,
    Snapshot,
    Tombstone,
    Burial,
}

/// Where a backup is: the store call it makes next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Backing {
    #[default]
    PutLease,
    ListCondemned,
    ListIndex,
    ListPacks,
    StatPacks,
    ListSnapshots,
    ListCondemnedAgain,
    Heartbeat,
    PutPack,
    PutPackAgain,
    PutIndex,
    Commit,
    Confirm,
    DeleteLease,
    GiveUp,
    Ended,
}

/// A backup, and what it remembers between two calls.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Backup {
    pub next: Backing,
    /// 0, or 1 after it has started over.
    pub attempt: u8,
    /// Condemned ids it saw.
    pub seen: u8,
    /// Packs that index objects name.
    pub named: u16,
    /// These index objects, where a proof is carried over.
    pub index: u16,
    /// What it has to store.
    pub content: u8,
    /// Whether its pack was sealed again under a new name.
    pub resealed: bool,
    /// Ticks since its commit.
    pub timer: u8,
    /// A put of its pack on the way: 1 + ticks since the first try; 0 if there is none.
    pub flight: u8,
}

/// Where a sweep is: the store call it makes next.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Sweeping {
    #[default]
    Start,
    Condemn,
    PutLease,
    ChooseTarget,
    ListLeases,
    GetNames,
    PutTombstone,
    GetTombstone,
    ListCondemned,
    ListIndex,
    ListPacks,
    ListSnapshots,
    ListForgotten,
    PardonTarget,
    PutRescue,
    PutRescueIndex,
    PutBurial,
    PutIndex,
    DeleteIndexes,
    DeletePacks,
    ListAtEnd,
    DeleteCondemned,
    DeleteBurial,
    Ended,
}

/// A sweep, and what it remembers between two calls.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Sweep {
    pub next: Sweeping,
    /// The condemned id it works on.
    pub target: u8,
    /// Sessions still to be decided; or `BURIED`.
    pub todo: u8,
    /// Snapshots found.
    pub roots: u8,
    /// Condemned ids listed.
    pub condemned: u8,
    /// Index objects listed, later those to be deleted.
    pub index: u16,
    /// Packs listed, later those the new index object names.
    pub packs: u16,
    /// Chunks to store again.
    pub missing: u8,
    /// Ticks since its tombstone or its last deletion.
    pub timer: u8,
}

/// What a host remembers of its last LISTs of condemned/, index/ and packs/: the packs that were named and listed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    pub condemned: u8,
    pub index: u16,
    pub packs: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    pub packs: [Object; PACKS],
    pub content: [u8; PACKS],
    pub index: [Object; INDEXES],
    pub names: [u16; INDEXES],
    pub condemned: [Object; CONDEMNED],
    pub doomed: [u16; CONDEMNED],
    pub leases: [Object; SESSIONS],
    pub seen: [u8; SESSIONS],
    pub commits: [Object; SESSIONS],
    pub what: [Commit; SESSIONS],
    /// The record that `before` is forgotten.
    pub forgotten: Object,
    /// Sessions a sweep has found STALE.
    pub stale: u8,
    /// Sessions that reported success.
    pub reported: u8,
    /// Packs that were put after their deletion: a late delete may still hit them.
    pub again: u16,
    pub backups: [Backup; BACKUPS + 1],
    pub sweeps: [Sweep; SWEEPS],
    /// Of the host, where a proof is carried over.
    pub memory: Memory,
}

/// The actor of `State::backups` that only undeletes.
pub const UNDELETE: usize = BACKUPS;

/// The session of a backup's attempt.
pub fn backup_session(backup: usize, attempt: u8) -> usize {
    2 * backup + usize::from(attempt)
}

pub fn sweep_session(sweep: usize) -> usize {
    2 * BACKUPS + 1 + sweep
}

/// The pack a backup session stores, or stores again under a new name.
pub fn session_pack(session: usize, resealed: bool) -> usize {
    2 + session + if resealed { 2 * BACKUPS + SWEEPS } else { 0 }
}

pub fn rescue_pack(sweep: usize) -> usize {
    2 + 2 * BACKUPS + sweep
}

pub fn session_index(session: usize) -> usize {
    1 + session
}

/// The index object of what a sweep rescued, and the one that takes the place of those it deletes.
pub fn sweep_index(sweep: usize, rewritten: bool) -> usize {
    1 + 2 * BACKUPS + 2 * sweep + usize::from(rewritten)
}

/// Members of a set of bits.
pub fn members(set: u16) -> impl Iterator<Item = usize> {
    (0..16).filter(move |bit| set >> bit & 1 == 1)
}

impl State {
    pub fn start(setup: &Setup) -> State {
        let mut state = State::default();
        let old = Object::old(setup.settled());
        let is_condemned = setup.begin == Begin::Condemned;
        if setup.begin != Begin::Nothing {
            (state.packs[0], state.content[0]) = (old, WHOLE_A);
            (state.packs[1], state.content[1]) = (old, if is_condemned { WHOLE_B } else { DELTA_B });
            (state.index[0], state.names[0]) = (old, 0b11);
        }
        if setup.carries && setup.begin != Begin::Nothing {
            state.memory = Memory { condemned: setup.condemned.into(), index: 0b1, packs: 0b11 };
        }
        if setup.condemned || is_condemned {
            (state.condemned[0], state.doomed[0]) = (old, 0b01);
        }
        if is_condemned {
            (state.condemned[1], state.doomed[1]) = (old, 0b10);
        }
        for backup in &mut state.backups[setup.backups..] {
            backup.next = Backing::Ended;
        }
        if setup.undelete {
            state.backups[UNDELETE].next = Backing::PutLease;
        }
        for sweep in &mut state.sweeps[setup.sweeps..] {
            sweep.next = Sweeping::Ended;
        }
        state
    }

    /// What a set of packs holds together.
    pub fn held(&self, packs: u16) -> u8 {
        members(packs).fold(0, |held, pack| held | self.content[pack])
    }

    pub fn existing_packs(&self) -> u16 {
        bits(&self.packs, |pack| pack.exists())
    }

    /// Packs that any of these index objects names.
    pub fn named(&self, indexes: u16) -> u16 {
        members(indexes).fold(0, |named, index| named | self.names[index])
    }

    /// Packs that any of these condemned objects names.
    pub fn doomed(&self, condemned: u8) -> u16 {
        members(condemned.into()).fold(0, |doomed, id| doomed | self.doomed[id])
    }

    /// Everything in a row of words: the same words, the same state.
    pub fn words(&self) -> [u64; 17] {
        let mut bytes = [0; 136];
        let mut at = bytes.iter_mut();
        let mut put = |value: u8| *at.next().expect("a state has at most 136 bytes") = value;
        self.packs.iter().for_each(|pack| put(pack.0));
        self.content.iter().for_each(|content| put(*content));
        self.index.iter().chain(&self.condemned).chain(&self.leases).for_each(|object| put(object.0));
        self.seen.iter().for_each(|seen| put(*seen));
        self.commits.iter().zip(&self.what).for_each(|(object, what)| put(object.age() | (*what as u8) << 4));
        [self.forgotten.0, self.stale, self.reported].into_iter().for_each(&mut put);
        for backup in &self.backups {
            put(backup.next as u8 | backup.attempt << 5 | u8::from(backup.resealed) << 6);
            put(backup.timer | backup.flight << 4);
            put(backup.seen | backup.content << 4);
            backup.named.to_le_bytes().into_iter().chain(backup.index.to_le_bytes()).for_each(&mut put);
        }
        for sweep in &self.sweeps {
            [sweep.next as u8, sweep.target | sweep.missing << 4, sweep.todo, sweep.roots]
                .into_iter()
                .for_each(&mut put);
            put(sweep.condemned | sweep.timer << 4);
            sweep.index.to_le_bytes().into_iter().for_each(&mut put);
            sweep.packs.to_le_bytes().into_iter().for_each(&mut put);
        }
        let Memory { condemned, index, packs } = self.memory;
        put(condemned);
        for set in self.names.iter().chain(&self.doomed).chain([&self.again, &index, &packs]) {
            set.to_le_bytes().into_iter().for_each(&mut put);
        }
        let mut words = [0; 17];
        for (word, eight) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        }
        words
    }
}

/// The objects of a row for which something holds.
pub fn bits(objects: &[Object], holds: impl Fn(Object) -> bool) -> u16 {
    let members = objects.iter().enumerate().filter(|(_, object)| holds(**object));
    members.fold(0, |set, (at, _)| set | 1 << at)
}

/// Chunks that can be decoded from what packs hold, bases included.
pub fn decoded(held: u8) -> u8 {
    let base = held & WHOLE_A != 0;
    let delta = base && held & DELTA_B != 0;
    (u8::from(base) * A) | (u8::from(held & WHOLE_B != 0 || delta) * B)
}

/// Chunks a session or sweep holds known, given what the usable packs hold.
pub fn known(held: u8, setup: &Setup) -> u8 {
    let without_base = setup.is(Variant::BasesIgnored) && held & DELTA_B != 0;
    decoded(held) | (u8::from(without_base) * B)
}
