//! Snapshots of one repository in another one: what comes over, what is known there, where it stands.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redkeep::format::object::SnapshotName;
use redkeep::format::origin::{COPIED_FROM, Origin};
use redkeep::format::snapshot::Snapshot;
use redkeep::operations::copy::{Became, Copied, Options, Report, copy as copy_into};
use redkeep::operations::list::{Filter, Selector, choose, dump};
use redkeep::operations::tag;
use redkeep::operations::{OperationError, Silent, verify};
use redkeep::repository::{Places, Repository};
use redkeep::store::{ObjectName, Store};

use crate::support::dumps;
use crate::support::repository::*;
use crate::support::stores::{RecordingStore, Verb};

/// A directory of a server at some time: a dump, and files that are stored as they are.
fn write(data: &Path, version: u64) {
    fs::create_dir_all(data.join("modules")).unwrap();
    fs::write(data.join("dump.rdb"), dumps::dump(version)).unwrap();
    fs::write(data.join("modules/same"), lines(3_000, 0)).unwrap();
    let mut drifting = noise(9_000, 1);
    drifting[3_000..3_020].copy_from_slice(&noise(20, 100 + version));
    fs::write(data.join("nodes.conf"), drifting).unwrap();
}

/// Two repositories with keys of their own, and a data directory.
struct Two {
    hands: Hands,
    from: Repository,
    to: Repository,
    temp: tempfile::TempDir,
}

impl Two {
    fn new() -> Two {
        Two::over(memory(), memory())
    }

    fn over(from: Arc<dyn Store>, to: Arc<dyn Store>) -> Two {
        let hands = Hands::new(70);
        let (from, to) = (create_tiny(from, &hands), create_tiny(to, &hands.another(71, 0)));
        Two { hands, from, to, temp: tempfile::tempdir().unwrap() }
    }

    fn take(&self, repository: &Repository, version: u64, dataset: &str) -> SnapshotName {
        write(&self.temp.path().join("data"), version);
        self.hands.pass(Duration::from_secs(60));
        back_up(repository, &self.temp.path().join("data"), dataset).unwrap().name
    }

    fn copy(&self, options: &Options) -> Report {
        copy_into(&self.from, &self.to, options, &Silent).unwrap()
    }
}

fn named(names: &[SnapshotName]) -> Options {
    let snapshots = names.iter().map(|name| Selector::Id(name.session.to_string())).collect();
    Options { snapshots, ..Options::default() }
}

fn words(report: &Report) -> Vec<&'static str> {
    let word = |became: &Became| match became {
        Became::Copied(_) => "copied",
        Became::WouldBe => "would-be",
        Became::WasThere(_) => "there",
        Became::Forgotten => "forgotten",
        Became::Damaged(_) => "damaged",
        Became::NoPlace(_) => "no place",
    };
    report.snapshots.iter().map(|one| word(&one.became)).collect()
}

fn copied(report: &Report) -> Vec<Copied> {
    let of = |became: &Became| match became {
        Became::Copied(copied) => copied.clone(),
        other => panic!("{other:?}"),
    };
    report.snapshots.iter().map(|one| of(&one.became)).collect()
}

/// Every file of a snapshot with its bytes.
fn content(repository: &Repository, snapshot: &Snapshot) -> Vec<(String, Vec<u8>)> {
    let files = snapshot.files.iter().filter(|file| file.hash.is_some());
    let read = |path: &[u8]| {
        let mut bytes = Vec::new();
        dump(repository, snapshot, path, &mut bytes, &Silent).unwrap();
        bytes
    };
    files.map(|file| (file.display_path(), read(&file.path))).collect()
}

fn order(repository: &Repository, dataset: &str) -> Vec<SnapshotName> {
    repository.refresh().unwrap();
    let infos = repository.kept_snapshots().unwrap().into_iter();
    infos.filter(|info| info.dataset == dataset).map(|info| info.name).collect()
}

/// COPY-1, COPY-3
#[test]
fn a_copy_holds_every_byte_and_says_of_itself_what_the_original_says() {
    let two = Two::new();
    let names: Vec<_> = (1..=4).map(|version| two.take(&two.from, version, "d")).collect();
    let tags = tag::Options { add: vec!["pinned".into(), "release".into()], remove: vec![] };
    let last = Selector::Id(names[3].session.to_string());
    let last = tag::tag(&two.from, &last, None, &tags, &Silent).unwrap().new;
    let names = [&names[..3], &[last]].concat();

    let report = two.copy(&Options::default());
    let copies = copied(&report);
    assert_eq!(report.snapshots.iter().map(|one| one.info.name).collect::<Vec<_>>(), names);
    assert!(report.alarms.is_empty() && report.alarms_there.is_empty(), "{report:?}");
    for (name, copy) in names.iter().zip(&copies) {
        let (was, is) = (two.from.snapshot(name).unwrap(), two.to.snapshot(&copy.name).unwrap());
        assert_ne!((name.session, name.tag), (copy.name.session, copy.name.tag));
        assert_eq!(content(&two.to, &is), content(&two.from, &was));
        let origin = Origin { repository: two.from.id(), snapshot: name.session };
        assert_eq!(is.facts[COPIED_FROM], origin.to_string());
        let plain = |snapshot: &Snapshot| {
            let mut plain = snapshot.clone();
            plain.facts.remove(COPIED_FROM);
            plain.facts.remove("falls");
            (plain.previous, plain.summary) = (None, was.summary.clone());
            (plain.sequence, plain.place) = (0, Some(snapshot.place()));
            plain.files.iter_mut().for_each(|file| file.recipe = None);
            plain
        };
        assert_eq!(plain(&is), plain(&was));
        assert_eq!((is.summary.files, is.summary.bytes), (was.summary.files, was.summary.bytes));
    }
    // Canonical there too, in buckets of its own, and small: what did not change is stored once, what did as deltas.
    let last = two.to.snapshot(&copies[3].name).unwrap();
    assert!(canonical_streams(&last, "dump.rdb").iter().any(|(role, _)| *role == 3));
    let (first, second) = (&copies[0], &copies[1]);
    assert!(second.stored < first.stored / 2, "{first:?} {second:?}");
    assert!(second.read < first.read, "what is the same is not read: {second:?}");
    let chosen = choose(&two.to, &Selector::Latest(0), Some("d")).unwrap();
    assert_eq!(chosen.name, copies[3].name);
    assert!(verify::verify(&two.to, &chosen, &Silent).unwrap().is_whole());
}

/// COPY-2
#[test]
fn what_was_copied_is_known_by_its_origin_and_nothing_of_it_is_read_or_stored_again() {
    let (from, to) = (RecordingStore::new(memory()), RecordingStore::new(memory()));
    let two = Two::over(from.clone(), to.clone());
    let names: Vec<_> = (1..=3).map(|version| two.take(&two.from, version, "d")).collect();
    assert_eq!(words(&two.copy(&Options { is_dry: true, ..Options::default() })), ["would-be"; 3]);
    let is_write = |verb: Verb| matches!(verb, Verb::Put | Verb::PutNew | Verb::Delete);
    to.drain();
    assert_eq!(words(&two.copy(&named(&names[1..2]))), ["copied"]);
    assert!(to.drain().iter().any(|call| is_write(call.verb)));
    assert_eq!(words(&two.copy(&Options::default())), ["copied", "there", "copied"]);

    from.drain();
    to.drain();
    assert_eq!(words(&two.copy(&Options::default())), ["there"; 3]);
    let calls = [from.drain(), to.drain()].concat();
    let others: Vec<_> = calls.iter().filter(|call| call.verb != Verb::List).collect();
    assert!(others.is_empty(), "{others:?}");

    // A copy of a copy, and the way back, are of the same origin.
    let third = create_tiny(memory(), &two.hands.another(72, 0));
    let all = Options::default();
    assert_eq!(words(&copy_into(&two.to, &third, &all, &Silent).unwrap()), ["copied"; 3]);
    assert_eq!(words(&copy_into(&two.from, &third, &all, &Silent).unwrap()), ["there"; 3]);
    assert_eq!(words(&copy_into(&third, &two.from, &all, &Silent).unwrap()), ["there"; 3]);
    let refused = copy_into(&two.from, &two.from, &all, &Silent).unwrap_err();
    assert!(matches!(refused, OperationError::Refused { .. }), "{refused}");
}

/// COPY-2
#[test]
fn what_was_forgotten_there_stays_so_unless_it_is_named() {
    let two = Two::new();
    let names: Vec<_> = (1..=2).map(|version| two.take(&two.from, version, "d")).collect();
    let copies = copied(&two.copy(&Options::default()));
    two.to.forget(&copies[0].name, "no longer wanted").unwrap();
    assert_eq!(words(&two.copy(&Options::default())), ["forgotten", "there"]);
    assert_eq!(words(&two.copy(&named(&names[..1]))), ["copied"]);
    let again = order(&two.to, "d");
    assert_eq!(again.len(), 2);
    assert_eq!(again[1], copies[1].name, "it stands where it stood");
    two.to.forget(&again[0], "no longer wanted").unwrap();
    assert_eq!(words(&two.copy(&Options::default())), ["forgotten", "there"]);
}

/// COPY-4, SNAP-2
#[test]
fn copies_stand_in_the_order_of_their_originals_and_what_comes_next_behind_them() {
    let two = Two::new();
    let names: Vec<_> = (1..=5).map(|version| two.take(&two.from, version, "d")).collect();
    for some in [&names[3..4], &names[1..2], &names[4..], &names[..1], &names[2..3]] {
        assert_eq!(words(&two.copy(&named(some))), ["copied"]);
    }
    let origin = |name: &SnapshotName| {
        let snapshot = two.to.snapshot(name).unwrap();
        snapshot.facts[COPIED_FROM].parse::<Origin>().unwrap().snapshot
    };
    let there = order(&two.to, "d");
    assert_eq!(there.iter().map(origin).collect::<Vec<_>>(), names.iter().map(|name| name.session).collect::<Vec<_>>());
    let own = two.take(&two.to, 6, "d");
    assert_eq!(order(&two.to, "d").last(), Some(&own));
    let next = two.take(&two.from, 7, "d");
    assert_eq!(words(&two.copy(&named(&[next]))), ["copied"]);
    assert_eq!(order(&two.to, "d")[5], own);
    assert_eq!(order(&two.to, "d").len(), 7);
}

/// COPY-4: the one that was copied had others before it, which are not there.
#[test]
fn what_comes_next_is_behind_a_copy_whose_predecessors_were_not_copied() {
    let two = Two::new();
    let names: Vec<_> = (1..=5).map(|version| two.take(&two.from, version, "d")).collect();
    assert_eq!(words(&two.copy(&named(&names[4..]))), ["copied"]);
    let own = two.take(&two.to, 6, "d");
    assert_eq!((order(&two.to, "d").len(), order(&two.to, "d").last()), (2, Some(&own)));
    assert_eq!(latest(&two.to, "d").unwrap().name, own);
}

/// COPY-4
#[test]
fn beside_snapshots_of_its_own_a_copy_stands_where_its_time_belongs() {
    let two = Two::new();
    // One dataset, backed up into both in turn; places say nothing across them.
    let own: Vec<_> = (1..=3).map(|version| two.take(&two.to, version, "d")).collect();
    let first = two.take(&two.from, 4, "d");
    let fourth = two.take(&two.to, 5, "d");
    let second = two.take(&two.from, 6, "d");
    let third = two.take(&two.from, 7, "d");
    let fifth = two.take(&two.to, 8, "d");
    let ids = |report: &Report| copied(report).iter().map(|copied| copied.name).collect::<Vec<_>>();
    let copies = ids(&two.copy(&named(&[first, third])));
    assert_eq!(order(&two.to, "d"), [own[0], own[1], own[2], copies[0], fourth, copies[1], fifth]);
    // Its place is taken by one that came before it and is younger: it is not put where it does not belong.
    let report = two.copy(&Options::default());
    assert_eq!(words(&report), ["there", "no place", "there"]);
    assert_eq!(report.snapshots[1].info.name, second);
}

#[test]
fn only_what_is_asked_for_is_copied() {
    let two = Two::new();
    for dataset in ["d", "e"] {
        two.take(&two.from, 1, dataset);
    }
    let only = |dataset: &str, host: Option<&str>| Options {
        filter: Filter { dataset: Some(dataset.into()), host: host.map(String::from), ..Filter::default() },
        ..Options::default()
    };
    assert_eq!(words(&two.copy(&only("d", Some("beta")))), [""; 0]);
    assert_eq!(words(&two.copy(&only("d", Some("alpha")))), ["copied"]);
    assert_eq!(order(&two.to, "e"), []);
}

/// A bit in the middle of every pack that is there and was not there before.
fn flip(store: &Arc<dyn Store>, before: &[ObjectName]) {
    for entry in store.entries("packs/").unwrap().into_iter().filter(|entry| !before.contains(&entry.name)) {
        let mut bytes = store.get(&entry.name, u64::MAX).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        store.put(&entry.name, bytes.into()).unwrap();
    }
}

/// COPY-1
#[test]
fn a_snapshot_that_is_damaged_is_named_and_the_others_are_copied() {
    let from = memory();
    let two = Two::over(from.clone(), memory());
    let first = two.take(&two.from, 1, "d");
    let before: Vec<_> = from.entries("packs/").unwrap().into_iter().map(|entry| entry.name).collect();
    two.take(&two.from, 2, "d");
    let whole = two.take(&two.from, 1, "d");
    flip(&from, &before);
    let report = two.copy(&Options::default());
    assert_eq!(words(&report), ["copied", "damaged", "copied"]);
    let Became::Damaged(why) = &report.snapshots[1].became else { unreachable!() };
    assert!(why.contains("packs/") && why.contains("file "), "{why}");
    for (name, copy) in [first, whole].iter().zip(order(&two.to, "d")) {
        let (was, is) = (two.from.snapshot(name).unwrap(), two.to.snapshot(&copy).unwrap());
        assert_eq!(content(&two.to, &is), content(&two.from, &was));
    }
    assert!(two.to.refresh().unwrap().is_empty());
}

/// COPY-1: no copy says of bytes that they are others, as the original did.
#[test]
fn a_file_that_does_not_come_back_as_its_snapshot_says_is_not_copied() {
    let two = Two::new();
    let first = two.take(&two.from, 1, "d");
    let said = two.from.snapshot(&first).unwrap();
    for (sequence, path) in [(2, "dump.rdb"), (3, "nodes.conf")] {
        let mut other = Snapshot { sequence, previous: None, ..said.clone() };
        let file = other.files.iter_mut().find(|file| file.display_path() == path).unwrap();
        file.hash.as_mut().unwrap().0[0] ^= 1;
        two.from.begin("d").unwrap().commit(&other).unwrap();
    }
    let report = two.copy(&Options::default());
    assert_eq!(words(&report), ["copied", "damaged", "damaged"]);
    assert_eq!(two.to.snapshots().unwrap().len(), 1);
}

/// What an earlier copy holds of the same content counts while it is there.
#[test]
fn what_was_lost_of_an_earlier_copy_is_copied_again() {
    let to = memory();
    let two = Two::over(memory(), to.clone());
    two.take(&two.from, 1, "d");
    two.copy(&Options::default());
    for pack in to.entries("packs/").unwrap() {
        to.delete(&pack.name).unwrap();
    }
    let newest = two.take(&two.from, 1, "d");
    assert_eq!(words(&two.copy(&Options::default())), ["there", "copied"]);
    let copy = order(&two.to, "d").pop().unwrap();
    let (was, is) = (two.from.snapshot(&newest).unwrap(), two.to.snapshot(&copy).unwrap());
    assert_eq!(content(&two.to, &is), content(&two.from, &was));
}

/// COPY-3, COUNT-4: what a snapshot says of others it says of those beside it.
#[test]
fn a_fall_is_told_with_the_snapshots_that_are_there() {
    let two = Two::new();
    let full = two.take(&two.from, 1, "d");
    let data = two.temp.path().join("data");
    let empty = b"REDIS0011\xff\0\0\0\0\0\0\0\0";
    fs::write(data.join("dump.rdb"), empty).unwrap();
    let fallen = back_up(&two.from, &data, "d").unwrap();
    let told = |snapshot: &Snapshot| {
        let all: Vec<_> = snapshot.warnings.iter().filter(|warning| warning.code == "key-drop").collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].message.clone()
    };
    let short = |name: &SnapshotName| name.session.to_string()[..8].to_string();
    assert!(told(&fallen.snapshot).contains(&short(&full)));
    let copies = copied(&two.copy(&Options::default()));
    let copy = two.to.snapshot(&copies[1].name).unwrap();
    assert!(told(&copy).contains(&short(&copies[0].name)), "{}", told(&copy));
    assert_eq!(copy.facts["falls"], fallen.snapshot.facts["falls"]);
}

/// A host with a catalog remembers the records of a dump it copied, like those of one it backed up.
#[test]
fn the_next_copy_is_as_small_as_the_next_backup() {
    let temp = tempfile::tempdir().unwrap();
    let places = Places { cache: Some(temp.path().join("cache")), state: None, scratch: None };
    fs::create_dir_all(temp.path().join("cache")).unwrap();
    let two = Two::new();
    let store = memory();
    drop(create_tiny(store.clone(), &two.hands.another(73, 0)));
    let ambient = two.hands.another(74, 0).ambient("beta");
    let to = Repository::open(store, password(PASSWORD), ambient, places, None).unwrap();
    for version in 1..=6 {
        two.take(&two.from, version, "d");
    }
    let report = copy_into(&two.from, &to, &Options::default(), &Silent).unwrap();
    assert_eq!(words(&report), ["copied"; 6]);
    let forms = Forms::below(&temp.path().join("cache"));
    assert!(forms.deltas > 10 && forms.by_copies > 0 && forms.by_zstd > 0, "{forms:?}");
}
