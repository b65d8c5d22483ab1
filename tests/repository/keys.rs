//! The master key: rotated, raced and killed at every store call, and still nobody who should get in is kept out.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use redkeep::format::sealing::Header;
use redkeep::operations::OperationError;
use redkeep::repository::{Credential, Places, Repository, RepositoryError, SlotState};
use redkeep::store::{ObjectName, Promises, PutNew, Store, Timing};

use crate::retries::Retried;
use crate::support::repository::*;
use crate::support::sim::{Listing, PUT_NEWS, SimStore};
use crate::support::stores::{FAULTS, FaultyStore, PausableStore, RecordingStore, through};

const SECOND: &str = "second";
const THIRD: &str = "third";

struct World {
    hands: Hands,
    temp: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl World {
    /// A repository with a snapshot and a second password.
    fn new(seed: u64) -> World {
        let world = World { hands: Hands::new(seed), temp: tempfile::tempdir().unwrap(), store: memory() };
        fs::create_dir(world.data()).unwrap();
        let repository = create(world.store.clone(), &world.hands);
        repository.add_slot(&password(SECOND), "for Anna", CHEAP).unwrap();
        world.back_up(&repository, 1);
        world
    }

    fn data(&self) -> std::path::PathBuf {
        self.temp.path().join("data")
    }

    fn back_up(&self, repository: &Repository, content: u64) {
        fs::write(self.data().join("dump"), noise(100_000, content)).unwrap();
        assert_eq!(back_up(repository, &self.data(), "d").unwrap().alarms, []);
    }

    fn open_through(&self, store: Arc<dyn Store>, text: &str) -> Result<Repository, RepositoryError> {
        Repository::open(store, password(text), self.hands.ambient("beta"), Places::default(), None)
    }

    fn open(&self, text: &str) -> Result<Repository, RepositoryError> {
        self.open_through(self.store.clone(), text)
    }

    fn restores(&self, repository: &Repository, content: u64) {
        let target = self.temp.path().join("out");
        let _ = fs::remove_dir_all(&target);
        restore_to(repository, &latest(repository, "d").unwrap(), &target).unwrap();
        assert!(fs::read(target.join("dump")).unwrap() == noise(100_000, content));
    }

    /// Every password opens, reads the newest snapshot, backs up, and what it backs up is read by every password.
    fn all_work(&self, passwords: &[&str], content: u64) {
        for (round, writer) in (content..).zip(passwords) {
            let writer = self.open(writer).unwrap();
            self.restores(&writer, round);
            self.back_up(&writer, round + 1);
            passwords.iter().for_each(|reader| self.restores(&self.open(reader).unwrap(), round + 1));
        }
    }

    fn below(&self, prefix: &str) -> Vec<ObjectName> {
        self.store.entries(prefix).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    fn epoch_of(&self, name: &ObjectName) -> u32 {
        Header::decode(&self.store.get(name, u64::MAX).unwrap()).unwrap().0.epoch
    }

    /// The same objects in a store of their own.
    fn copy(&self) -> World {
        let store = memory();
        for name in self.below("") {
            store.put(&name, (self.store.get(&name, u64::MAX).unwrap()).to_vec().into()).unwrap();
        }
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("data")).unwrap();
        World { hands: self.hands.clone(), temp, store }
    }
}

fn keep(texts: &[&str]) -> Vec<Credential> {
    texts.iter().map(|text| password(text)).collect()
}

fn states(repository: &Repository) -> Vec<SlotState> {
    repository.slots().unwrap().iter().map(|slot| slot.state).collect()
}

/// KEY-19
#[test]
fn slots_of_others_go_where_one_config_wins_and_whoever_loses_takes_its_own_away() {
    let hands = Hands::new(1);
    let others = memory();
    create(others.clone(), &hands);
    let left = others.entries("keys/").unwrap().remove(0).name;
    for put_new in PUT_NEWS {
        let promises = Promises { put_new, timing: Timing::of_lag(Duration::ZERO) };
        let store = SimStore::new(&hands, promises, Listing::Late);
        store.put(&left, others.get(&left, 1 << 20).unwrap().into()).unwrap();
        let made = create(store.clone(), &hands);
        let slots = || store.entries("keys/").unwrap().len();
        let stay = if put_new == PutNew::Exclusive { 1 } else { 2 };
        assert_eq!(slots(), stay, "{put_new:?}");
        assert_eq!(made.slots().unwrap().len(), stay, "{put_new:?}");
        if put_new == PutNew::None {
            continue;
        }
        let (secret, ambient) = (password(SECOND), hands.ambient("beta"));
        let second = Repository::create(store.clone(), secret, "late", CHEAP, ambient, Places::default());
        assert!(matches!(second, Err(RepositoryError::AlreadyThere { .. })), "{put_new:?}");
        assert_eq!(slots(), stay, "{put_new:?}");
        Repository::open(store.clone(), password(PASSWORD), hands.ambient("beta"), Places::default(), None).unwrap();
    }
}

/// KEY-10, KEY-12, KEY-14
#[test]
fn after_a_rotation_new_objects_have_the_new_epoch_and_old_ones_are_read() {
    let world = World::new(1);
    let before = world.below("packs/");
    let repository = world.open(PASSWORD).unwrap();
    let rotation = repository.rotate(&keep(&[SECOND]), false, CHEAP).unwrap();
    assert_eq!((rotation.epoch, rotation.added.len(), rotation.removed.len()), (1, 2, 2));
    assert_eq!((repository.current_epoch(), rotation.not_removed.len()), (1, 0));
    assert_eq!(repository.current_slot(), rotation.added[0]);
    world.restores(&repository, 1);
    world.back_up(&repository, 2);
    for name in world.below("packs/").into_iter().chain(world.below("index/")) {
        let is_old = before.contains(&name) || world.epoch_of(&name) == 0 && name.as_str().starts_with("index/");
        assert_eq!(world.epoch_of(&name), u32::from(!is_old), "{name}");
    }
    assert_eq!(world.below("epochs/").len(), 1);
    let slots = repository.slots().unwrap();
    assert!(slots.iter().any(|slot| slot.label.as_deref() == Some("for Anna")));
    assert_eq!(states(&repository), [SlotState::Current; 2]);
    assert!(world.below("keys/").iter().all(|slot| world.epoch_of(slot) == 1));
    world.all_work(&[PASSWORD, SECOND], 2);
    assert_eq!(world.open(SECOND).unwrap().rotate(&keep(&[PASSWORD]), false, CHEAP).unwrap().epoch, 2);
    world.all_work(&[PASSWORD, SECOND], 4);
}

/// KEY-3, KEY-10
#[test]
fn a_writer_that_has_the_repository_open_goes_on_with_the_old_epoch_and_reads_the_new_one() {
    let world = World::new(2);
    let (writer, rotator) = (world.open(SECOND).unwrap(), world.open(PASSWORD).unwrap());
    rotator.rotate(&keep(&[SECOND]), false, CHEAP).unwrap();
    assert_eq!(writer.current_epoch(), 0);
    world.back_up(&rotator, 2);
    world.restores(&writer, 2);
    assert_eq!(writer.current_epoch(), 1, "it met an unknown epoch, and looked at the slots again");
    let stale = world.copy();
    stale.back_up(&writer_of(&stale), 3);
    world.all_work(&[PASSWORD, SECOND], 2);
}

fn writer_of(world: &World) -> Repository {
    world.open(SECOND).unwrap()
}

/// KEY-16
#[test]
fn a_slot_whose_secret_was_not_given_goes_only_where_it_was_given_up() {
    let world = World::new(3);
    let repository = world.open(PASSWORD).unwrap();
    let before = world.below("");
    let refused = repository.rotate(&[], false, CHEAP).unwrap_err();
    assert!(refused.to_string().contains("--drop-other-slots"), "{refused}");
    let wrong = repository.rotate(&keep(&["wrong"]), true, CHEAP);
    assert!(matches!(wrong, Err(RepositoryError::WrongSecret { .. })));
    assert_eq!(world.below(""), before, "a refusal touches nothing");
    repository.rotate(&keep(&[PASSWORD]), true, CHEAP).unwrap();
    assert_eq!(world.below("keys/").len(), 1, "a secret given twice has one slot");
    assert!(matches!(world.open(SECOND), Err(RepositoryError::WrongSecret { .. })));
    world.all_work(&[PASSWORD], 1);
}

/// KEY-9, KEY-11, KEY-16
#[test]
fn slots_are_put_and_read_back_then_listed_then_the_record_is_put_and_only_then_old_slots_go() {
    let world = World::new(4);
    let old = world.below("keys/");
    let recording = RecordingStore::new(world.store.clone());
    let repository = world.open_through(recording.clone(), PASSWORD).unwrap();
    recording.drain();
    let rotation = repository.rotate(&keep(&[SECOND]), false, CHEAP).unwrap();
    let calls: Vec<String> = recording.drain().iter().map(ToString::to_string).collect();
    let at = |call: String| calls.iter().position(|have| *have == call).unwrap();
    let record = at("put_new epochs/0000000001".into());
    let listed = calls.iter().rposition(|call| call == "list keys/").unwrap();
    for own in &rotation.added {
        assert!(at(format!("put_new keys/{own}")) < at(format!("get keys/{own}")));
        assert!(at(format!("get keys/{own}")) < listed && listed < record);
    }
    assert!(old.iter().all(|slot| record < at(format!("delete {slot}"))));
    assert_eq!(calls.iter().filter(|call| call.starts_with("delete")).count(), 2);
}

/// KEY-16
#[test]
fn a_rotation_killed_at_any_call_leaves_every_kept_password_and_the_next_one_finishes() {
    let base = World::new(5);
    let mut runs = 0;
    for fault in FAULTS {
        for n in 0.. {
            let world = base.copy();
            let store = FaultyStore::new(world.store.clone(), n, fault);
            let killed = world.open_through(store.clone(), PASSWORD);
            let killed = killed.and_then(|repository| repository.rotate(&keep(&[SECOND]), false, CHEAP));
            let label = format!("{fault:?} at {n}: {killed:?}");
            world.all_work(&[PASSWORD, SECOND], 1);
            let repository = world.open(SECOND).unwrap();
            repository.rotate(&keep(&[PASSWORD]), false, CHEAP).unwrap();
            assert_eq!(states(&repository), [SlotState::Current; 2], "{label}");
            world.all_work(&[SECOND, PASSWORD], 3);
            runs += 1;
            if !store.is_dead() {
                break;
            }
        }
    }
    assert!(runs > 45, "{runs}");
}

/// KEY-11, KEY-13, KEY-16
#[test]
fn of_two_rotations_at_once_one_wins_or_none_wherever_the_other_is_held() {
    let base = World::new(6);
    let mut outcomes = [0; 2];
    for n in 0.. {
        let world = base.copy();
        let pausing = PausableStore::new(world.store.clone(), n);
        let held = std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                let repository = world.open_through(pausing.clone(), PASSWORD);
                let done = repository.and_then(|repository| repository.rotate(&keep(&[SECOND]), false, CHEAP));
                pausing.finish();
                done
            });
            let held = pausing.wait_until_held();
            let second = world.open(SECOND).unwrap().rotate(&keep(&[PASSWORD]), false, CHEAP);
            world.all_work(&[SECOND, PASSWORD], 1);
            pausing.release();
            let first = first.join().unwrap();
            let refused = |error: &RepositoryError| {
                matches!(error, RepositoryError::Rotating(_))
                    || error.to_string().contains("opens with none of the secrets")
            };
            for outcome in [&first, &second] {
                outcomes[usize::from(outcome.is_ok())] += 1;
                assert!(outcome.as_ref().map_or_else(refused, |_| true), "at {held:?}: {first:?}, {second:?}");
            }
            held
        });
        world.all_work(&[PASSWORD, SECOND], 3);
        let repository = world.open(PASSWORD).unwrap();
        repository.rotate(&keep(&[SECOND]), false, CHEAP).unwrap();
        assert_eq!(states(&repository), [SlotState::Current; 2], "{held:?}");
        world.all_work(&[PASSWORD, SECOND], 5);
        if held.is_none() {
            break;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 5), "{outcomes:?}");
}

/// KEY-13
#[test]
fn a_password_added_beside_a_rotation_knows_the_epoch_in_force_or_is_not_added() {
    let base = World::new(7);
    let mut outcomes = std::collections::BTreeMap::new();
    for n in 0.. {
        let world = base.copy();
        let pausing = PausableStore::new(world.store.clone(), n);
        let (held, added) = std::thread::scope(|scope| {
            let adder = scope.spawn(|| {
                let repository = world.open_through(pausing.clone(), SECOND);
                let done = repository.and_then(|repository| repository.add_slot(&password(THIRD), "third", CHEAP));
                pausing.finish();
                done
            });
            let held = pausing.wait_until_held();
            let rotated = world.open(PASSWORD).unwrap().rotate(&keep(&[SECOND]), false, CHEAP);
            pausing.release();
            let added = adder.join().unwrap();
            assert!(rotated.is_ok() || added.is_ok(), "{held:?}: {rotated:?}, {added:?}");
            // Each gives way to the other, and to nothing else.
            let gives_way = |error: &RepositoryError| matches!(error, RepositoryError::Rotating(_));
            let meets_a_new_slot = |error: &RepositoryError| matches!(error, RepositoryError::Slot(_));
            assert!(added.as_ref().err().is_none_or(gives_way), "{held:?}: {added:?}");
            assert!(rotated.as_ref().err().is_none_or(meets_a_new_slot), "{held:?}: {rotated:?}");
            *outcomes.entry((rotated.is_ok(), added.is_ok())).or_insert(0) += 1;
            (held, added)
        });
        let kept: &[&str] = if added.is_ok() { &[PASSWORD, SECOND, THIRD] } else { &[PASSWORD, SECOND] };
        world.all_work(kept, 1);
        if held.is_none() {
            break;
        }
    }
    // Held early the addition comes behind a whole rotation; then it has to give way; then the rotation has to.
    let seen: Vec<_> = outcomes.iter().map(|(outcome, count)| (*outcome, *count >= 2)).collect();
    assert_eq!(seen, [((false, true), true), ((true, false), true), ((true, true), true)], "{outcomes:?}");
}

/// KEY-15
#[test]
fn the_last_slot_that_knows_the_epoch_in_force_is_not_removed() {
    let world = World::new(8);
    let behind = world.below("keys/");
    let bytes: Vec<Vec<u8>> = behind.iter().map(|name| world.store.get(name, u64::MAX).unwrap()).collect();
    let repository = world.open(PASSWORD).unwrap();
    let rotation = repository.rotate(&[], true, CHEAP).unwrap();
    // What an interrupted deletion, or a store with versions, leaves.
    behind.iter().zip(&bytes).for_each(|(name, bytes)| world.store.put(name, bytes.clone().into()).unwrap());
    let mut seen = states(&repository);
    seen.sort_by_key(|state| *state as u8);
    assert_eq!(seen, [SlotState::Current, SlotState::Behind, SlotState::Behind]);
    let refused = repository.remove_slot(rotation.added[0]).unwrap_err();
    assert!(matches!(refused, RepositoryError::Slot(_)), "{refused}");
    world.back_up(&repository, 2);
    world.restores(&world.open(PASSWORD).unwrap(), 2);
    let dropped = world.open(SECOND).unwrap();
    assert_eq!(dropped.current_epoch(), 0, "it opens what was sealed before");
    assert!(dropped.rotate(&[], true, CHEAP).is_err(), "and cannot push aside who knows more");
    repository.rotate(&keep(&[SECOND]), false, CHEAP).unwrap();
    world.all_work(&[PASSWORD, SECOND], 2);
}

/// KEY-15
#[test]
fn two_removals_at_once_leave_a_slot_wherever_one_is_held() {
    let base = World::new(12);
    let remove_own = |world: &World, store: Arc<dyn Store>, text: &str| {
        let repository = world.open_through(store, text)?;
        repository.remove_slot(repository.current_slot())
    };
    // Also through a client that repeats each put, and is refused by what it stored itself.
    for is_repeated in [false, true] {
        let mut put_back = 0;
        for n in 0.. {
            let world = base.copy();
            let store = match is_repeated {
                true => Arc::new(Retried(world.store.clone())),
                false => world.store.clone(),
            };
            let pausing = PausableStore::new(store, n);
            let (held, first, second) = std::thread::scope(|scope| {
                let first = scope.spawn(|| {
                    let removed = remove_own(&world, pausing.clone(), PASSWORD);
                    pausing.finish();
                    removed
                });
                let held = pausing.wait_until_held();
                let second = remove_own(&world, world.store.clone(), SECOND);
                pausing.release();
                (held, first.join().unwrap(), second)
            });
            assert_ne!(first.is_ok(), second.is_ok(), "{held:?}: {first:?}, {second:?}");
            put_back += usize::from(first.as_ref().is_err_and(|error| error.to_string().contains("put back")));
            let left = if first.is_ok() { SECOND } else { PASSWORD };
            assert_eq!(world.below("keys/").len(), 1, "{held:?}");
            world.all_work(&[left], 1);
            if held.is_none() {
                break;
            }
        }
        assert!(put_back > 0);
    }
}

/// KEY-15
#[test]
fn nobody_removes_the_slots_of_a_rotation_that_is_at_work() {
    let base = World::new(13);
    for n in 0.. {
        let world = base.copy();
        let pausing = PausableStore::new(world.store.clone(), n);
        let (held, rotated) = std::thread::scope(|scope| {
            let rotator = scope.spawn(|| {
                let repository = world.open_through(pausing.clone(), PASSWORD);
                let done = repository.and_then(|repository| repository.rotate(&keep(&[SECOND]), false, CHEAP));
                pausing.finish();
                done
            });
            let held = pausing.wait_until_held();
            let remover = world.open(SECOND).unwrap();
            for slot in remover.slots().unwrap().iter().filter(|slot| slot.state == SlotState::Unfinished) {
                let refused = remover.remove_slot(slot.id).unwrap_err();
                assert!(matches!(refused, RepositoryError::Rotating(_)), "{held:?}: {refused}");
            }
            pausing.release();
            (held, rotator.join().unwrap())
        });
        assert_eq!(rotated.unwrap().not_removed.len(), 0, "{held:?}");
        world.all_work(&[PASSWORD, SECOND], 1);
        if held.is_none() {
            break;
        }
    }
}

/// KEY-12
#[test]
fn a_lost_or_damaged_record_costs_nothing_that_was_stored() {
    for damaged in [None, Some(b"redkeep".to_vec()), Some(noise(200, 1))] {
        let world = World::new(9);
        let repository = world.open(PASSWORD).unwrap();
        repository.rotate(&keep(&[SECOND]), false, CHEAP).unwrap();
        world.back_up(&repository, 2);
        let record = world.below("epochs/").remove(0);
        match &damaged {
            None => world.store.delete(&record).unwrap(),
            Some(bytes) => world.store.put(&record, bytes.clone().into()).unwrap(),
        }
        world.all_work(&[PASSWORD, SECOND], 2);
        let repository = world.open(PASSWORD).unwrap();
        assert_eq!(repository.current_epoch(), 0, "nobody can tell that it was in force");
        match (&damaged, repository.rotate(&keep(&[SECOND]), false, CHEAP)) {
            (Some(bytes), rotation) if bytes.len() == 200 => {
                assert!(rotation.unwrap_err().to_string().contains("epochs/0000000001"));
            }
            (_, rotation) => assert_eq!(rotation.unwrap().epoch, 2, "its number is not given twice"),
        }
        world.all_work(&[PASSWORD, SECOND], 4);
    }
}

/// A store that may let two creators of one name succeed.
struct Settled(Arc<dyn Store>);

impl Store for Settled {
    through!(self.0: get get_range put put_new list stat delete room connections location);

    fn promises(&self) -> Promises {
        Promises { put_new: PutNew::Settled, ..self.0.promises() }
    }
}

/// KEY-17
#[test]
fn a_store_that_cannot_decide_between_two_rotations_is_not_rotated() {
    let world = World::new(10);
    let repository = world.open_through(Arc::new(Settled(world.store.clone())), PASSWORD).unwrap();
    let before = world.below("");
    assert!(matches!(repository.rotate(&keep(&[SECOND]), false, CHEAP), Err(RepositoryError::Slot(_))));
    assert_eq!(world.below(""), before);
}

/// KEY-9, KEY-15
#[test]
fn a_change_of_slots_killed_at_any_call_leaves_the_password_or_its_successor() {
    type Change = fn(&Repository) -> Result<(), OperationError>;
    let changes: [Change; 3] = [
        |repository| redkeep::operations::slots::passwd(repository, &password(THIRD), CHEAP).map(drop),
        |repository| redkeep::operations::slots::add(repository, &password(THIRD), "", CHEAP).map(drop),
        |repository| {
            let own = repository.current_slot().to_string();
            redkeep::operations::slots::remove(repository, &own, true).map(drop)
        },
    ];
    let base = World::new(11);
    for ((place, change), fault) in changes.iter().enumerate().flat_map(|of| FAULTS.map(|fault| (of, fault))) {
        let is_removal = place == 2;
        for n in 0.. {
            let world = base.copy();
            let store = FaultyStore::new(world.store.clone(), n, fault);
            if let Ok(repository) = world.open_through(store.clone(), PASSWORD) {
                assert_eq!(change(&repository).is_err(), store.is_dead(), "{fault:?} at {n}");
            }
            let open: Vec<&str> =
                [PASSWORD, SECOND, THIRD].into_iter().filter(|text| world.open(text).is_ok()).collect();
            assert!(open.contains(&SECOND) && (open.len() > 1 || is_removal), "{open:?}");
            world.all_work(&open, 1);
            if !store.is_dead() {
                break;
            }
        }
    }
}
