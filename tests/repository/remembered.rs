//! Dumps of which this host remembers the records: what is remembered saves work, and changes nothing of what is stored.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use redkeep::format::config::Sizes;
use redkeep::format::recipe::Part;
use redkeep::rdb::read_stretches;
use redkeep::repository::{
    ChunkReader, DumpStored, Earlier, Intake, IntakeOptions, NotStored, Places, Repository, RepositoryError, store_dump,
};

use crate::support::repository::*;

const BUCKETS: Sizes = Sizes { min: 256, mean: 1024, max: 4096 };

pub struct Place {
    temp: tempfile::TempDir,
    repository: Repository,
}

impl Place {
    pub fn new() -> Place {
        Place::of(TINY)
    }

    pub fn of(chunks: Sizes) -> Place {
        let (temp, hands) = (tempfile::tempdir().unwrap(), Hands::new(1));
        let places = Places { cache: Some(temp.path().join("cache")), state: None, scratch: None };
        let (store, ambient) = (local(&temp.path().join("repository")), hands.ambient("alpha"));
        let repository =
            Repository::create_with(store, password(PASSWORD), "first", CHEAP, ambient, places, (chunks, BUCKETS));
        Place { repository: repository.unwrap(), temp }
    }

    /// Stores a dump, with what is remembered of its earlier version or without; it has to come back.
    pub fn store(&self, dump: &[u8], parts: &[Part], remembered: bool) -> Result<DumpStored, NotStored> {
        let session = self.repository.begin("d").unwrap();
        let earlier = Earlier { parts, remembered: remembered.then_some(&b"dump.rdb"[..]), recalled: None };
        let work = |intake: &mut Intake<'_>| {
            let (_, stored) = store_dump(intake, earlier, 2, |take, each| {
                let failed = Cell::new(None);
                let tee = Tee { dump, take, failed: &failed };
                read_stretches(tee, each).unwrap();
                failed.take().map_or(Ok(()), Err::<(), RepositoryError>)
            })?;
            Ok::<_, RepositoryError>(stored)
        };
        let (stored, _) = session.store(IntakeOptions::default(), &|| false, work).unwrap();
        if let Ok(stored) = &stored {
            assert!(self.read(&stored.parts).unwrap() == dump, "it does not come back");
        }
        stored
    }

    pub fn read(&self, parts: &[Part]) -> Result<Vec<u8>, RepositoryError> {
        let mut back = Vec::new();
        let read = ChunkReader::new(&self.repository).read(parts, &mut |bytes| {
            back.extend_from_slice(bytes);
            Ok(())
        });
        read.map(|()| back)
    }

    /// What the host remembers: one file.
    fn file(&self) -> PathBuf {
        let files = walkdir::WalkDir::new(self.temp.path().join("cache")).into_iter().map(Result::unwrap);
        let is_one = |path: &Path| path.is_file() && path.parent().is_some_and(|parent| parent.ends_with("records"));
        let mut files = files.map(walkdir::DirEntry::into_path).filter(|path| is_one(path));
        let file = files.next().unwrap();
        assert_eq!(files.next(), None, "there is one file of one dump");
        file
    }
}

/// A dump that is handed on as it is read.
struct Tee<'a, 't> {
    dump: &'a [u8],
    take: &'a mut redkeep::repository::TakeBytes<'t>,
    failed: &'a Cell<Option<RepositoryError>>,
}

impl Read for Tee<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let some = buffer.len().min(1000);
        let count = self.dump.read(&mut buffer[..some])?;
        let taken = (self.take)(&buffer[..count]).map_err(|error| self.failed.set(Some(error)));
        taken.map(|()| count).map_err(|()| io::Error::other("the repository failed"))
    }
}

#[derive(Clone)]
struct Record {
    fields: Vec<(String, Vec<u8>)>,
    expiry: Option<u64>,
    idle: Option<u32>,
    frequency: Option<u8>,
}

/// Keys by database and name.
#[derive(Clone)]
struct Keyspace(BTreeMap<(u8, String), Record>);

fn length(length: u32) -> Vec<u8> {
    match length {
        0..64 => vec![length as u8],
        64..16384 => vec![0x40 | (length >> 8) as u8, length as u8],
        _ => [&[0x80], &length.to_be_bytes()[..]].concat(),
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    [&length(text.len() as u32)[..], text].concat()
}

impl Keyspace {
    fn new(keys: u32) -> Keyspace {
        let record = |number: u32| {
            let fields = if number.is_multiple_of(5) { number as usize % 23 + 2 } else { 1 };
            let value = |field: usize| noise(30 + number as usize % 40, u64::from(number) << 8 | field as u64);
            Record {
                fields: (0..fields).map(|field| (format!("field:{field}"), value(field))).collect(),
                expiry: number.is_multiple_of(3).then_some(1_800_000_000_000 + u64::from(number)),
                idle: None,
                frequency: None,
            }
        };
        let key = |number: u32| ((number % 7 == 6) as u8, format!("user:{:05}", number * 10));
        let mut keyspace: BTreeMap<_, _> = (0..keys).map(|number| (key(number), record(number))).collect();
        let large = |field: usize| (format!("large:{field}"), noise(100, 1 << 40 | field as u64));
        let large = Record { fields: (0..80).map(large).collect(), expiry: None, idle: None, frequency: None };
        keyspace.insert((0, "user:00333-large".into()), large);
        Keyspace(keyspace)
    }

    /// As a server of this start writes it down at a time.
    fn dump(&self, start: u64, time: u32) -> Vec<u8> {
        let mut dump = [b"REDIS0011\xfa\x05ctime\xc2", &time.to_le_bytes()[..]].concat();
        let by = |name: &str| *blake3::hash(&[&start.to_le_bytes(), name.as_bytes()].concat()).as_bytes();
        for database in 0..2 {
            let mut keys: Vec<_> = self.0.iter().filter(|((of, _), _)| *of == database).collect();
            keys.sort_by_key(|((_, key), _)| by(key));
            dump.extend([0xfe, database]);
            for ((_, key), record) in keys {
                record.write(key, &by, &mut dump);
            }
        }
        dump.extend([0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
        dump
    }

    fn values(&mut self, every: usize, change: impl Fn(&mut Record)) {
        self.0.values_mut().step_by(every).for_each(change);
    }
}

impl Record {
    fn write(&self, key: &str, by: &dyn Fn(&str) -> [u8; 32], dump: &mut Vec<u8>) {
        if let Some(expiry) = self.expiry {
            dump.push(252);
            dump.extend(expiry.to_le_bytes());
        }
        if let Some(idle) = self.idle {
            dump.push(248);
            dump.extend(length(idle));
        }
        dump.extend(self.frequency.iter().flat_map(|frequency| [249, *frequency]));
        match &self.fields[..] {
            [(_, value)] => dump.extend([&[0], &string(key.as_bytes())[..], &string(value)].concat()),
            _ => {
                dump.extend([&[4], &string(key.as_bytes())[..], &length(self.fields.len() as u32)].concat());
                let mut fields: Vec<_> = self.fields.iter().collect();
                fields.sort_by_key(|(name, _)| by(name));
                fields.iter().for_each(|(name, value)| dump.extend([string(name.as_bytes()), string(value)].concat()));
            }
        }
    }
}

/// A name for each day, the dump, and how many of its records are those of the day before at least; `None`: none is known.
fn days() -> Vec<(&'static str, Vec<u8>, usize)> {
    let mut keys = Keyspace::new(1500);
    let mut days = vec![("first", keys.dump(1, 1000), 0)];
    days.push(("unchanged", keys.dump(1, 2000), 1500));
    keys.values(100, |record| record.fields[0].1[3] ^= 1);
    (0..20).for_each(|number| {
        drop(keys.0.insert((0, format!("user:{:05}", number * 701 + 1)), keys.0.values().next().unwrap().clone()))
    });
    keys.0.retain(|(_, key), _| !key.ends_with("770"));
    days.push(("a few", keys.dump(1, 3000), 1450));
    days.push(("restart", keys.dump(2, 4000), 1200));
    keys.values(2, |record| record.idle = Some(5));
    keys.values(3, |record| (record.idle, record.frequency) = (None, Some(7)));
    days.push(("a policy", keys.dump(2, 5000), 400));
    keys.0.values_mut().for_each(|record| {
        record.idle = record.idle.map(|idle| idle * 7 + 100_000);
        record.frequency = record.frequency.map(|frequency| frequency + 1);
    });
    days.push(("read", keys.dump(2, 6000), 1490));
    keys.0.retain(|(_, key), _| !("user:04000".."user:06000").contains(&&key[..]));
    (0..300)
        .for_each(|number| drop(keys.0.insert((0, format!("a:{number}")), keys.0.values().nth(7).unwrap().clone())));
    (0..300)
        .for_each(|number| drop(keys.0.insert((1, format!("z:{number}")), keys.0.values().nth(9).unwrap().clone())));
    let moved = keys.0.remove(&(0, "user:09000".into())).unwrap();
    keys.0.insert((1, "user:09000".into()), moved);
    days.push(("ranges", keys.dump(2, 7000), 1200));
    keys.0.values_mut().for_each(|record| record.expiry = Some(1));
    days.push(("all", keys.dump(2, 8000), 0));
    keys.0.retain(|(database, key), _| *database == 1 && key == "user:09000");
    days.push(("one left", keys.dump(2, 9000), 1));
    keys.0.clear();
    days.push(("none left", keys.dump(2, 9100), 0));
    days.push(("back", Keyspace::new(1500).dump(2, 9200), 0));
    days
}

/// LOCAL-35
#[test]
fn what_is_remembered_of_a_dump_changes_nothing_of_what_is_stored() {
    let (place, mut parts) = (Place::new(), Vec::new());
    for (name, dump, known) in days() {
        let stored = place.store(&dump, &parts, true).unwrap();
        assert!(stored.remembered >= known as u64, "{name}: {}", stored.remembered);
        assert!(known > 0 || stored.remembered <= 1, "{name}: {}", stored.remembered);
        let without = place.store(&dump, &parts, false).unwrap();
        assert_eq!(without.remembered, 0);
        assert!(without.parts == stored.parts, "{name}");
        parts = stored.parts;
    }
}

/// Bytes of all packs.
pub fn packed(place: &Place) -> u64 {
    let packs = walkdir::WalkDir::new(place.temp.path().join("repository/packs")).into_iter().map(Result::unwrap);
    packs.filter(|entry| entry.file_type().is_file()).map(|entry| entry.metadata().unwrap().len()).sum()
}

/// DELTA-6: copies go on for more than ten steps, each of which takes what the first ones took; and they come back.
#[test]
fn a_row_of_days_is_stored_as_what_changed_since_the_day_before() {
    let (place, mut keys) = (Place::new(), Keyspace::new(1500));
    let mut parts = place.store(&keys.dump(1, 1000), &[], true).unwrap().parts;
    let (mut days, mut before) = (Vec::new(), packed(&place));
    for day in 1..16 {
        // One record of nearly every bucket.
        keys.0.values_mut().skip(day).step_by(20).for_each(|record| {
            let value = &mut record.fields[0].1;
            *value = noise(value.len(), 1 << 50 | day as u64);
        });
        parts = place.store(&keys.dump(1, 1000 + day as u32), &parts, true).unwrap().parts;
        days.push(packed(&place) - before);
        before = packed(&place);
    }
    let most = days[0] * 21 / 20;
    assert!(days.iter().all(|day| *day < most), "{days:?}");
}

/// DELTA-6, LOCAL-35
#[test]
fn a_large_value_is_stored_against_that_of_its_key_wherever_both_stand() {
    // Of 40 chunks each, one byte of each of which changes, and one goes.
    let value = |key: u64, day: u64| {
        let mut value = noise(40 * 1024, key);
        (0..day).for_each(|_| {
            (0..50).rev().map(|part| part * 800).for_each(|at| {
                value[at] ^= 1;
                value.remove(at + 9);
            });
        });
        value
    };
    let dump = |order: &[u64], day: u64| {
        let record =
            |key: &u64| [&[0], &string(format!("key:{key}").as_bytes())[..], &string(&value(*key, day))].concat();
        [b"REDIS0011".to_vec(), order.iter().flat_map(record).collect(), vec![0xff; 9]].concat()
    };
    let taken = |remembered: bool| {
        let place = Place::new();
        let first = place.store(&dump(&[0, 1, 2, 3, 4, 5, 6, 7], 0), &[], true).unwrap().parts;
        let before = packed(&place);
        // A key that is new, and one that is gone; then one day more in the same order.
        let second = place.store(&dump(&[8, 5, 3, 7, 2, 1, 6, 4], 1), &first, remembered).unwrap().parts;
        let restarted = packed(&place) - before;
        place.store(&dump(&[8, 5, 3, 7, 2, 1, 6, 4], 2), &second, remembered).unwrap();
        (restarted, packed(&place) - before - restarted)
    };
    let ((restarted, same), (unknown, _)) = (taken(true), taken(false));
    assert!(restarted < 3 * 40 * 1024 && same < 2 * 40 * 1024, "{restarted} {same}");
    assert!(unknown * 2 > restarted * 3, "{unknown} {restarted}");
}

/// CANON-3, LOCAL-35: a value that no record is made of stands behind the large ones before it, wherever a restart puts it.
#[test]
fn a_value_that_is_handed_on_in_pieces_is_stored_in_its_place_and_against_that_of_its_key() {
    let place = Place::of(Sizes { min: 16 << 10, mean: 64 << 10, max: 256 << 10 });
    let mut giant = noise((48 << 20) + 70_000, 7);
    let dump = |order: &[&str], giant: &[u8]| {
        let value = |key: &str| if key == "giant" { giant.to_vec() } else { noise(200_000, key.len() as u64) };
        let record = |key: &&str| [&[0], &string(key.as_bytes())[..], &string(&value(key))].concat();
        [b"REDIS0011".to_vec(), order.iter().flat_map(record).collect(), vec![0xff; 9]].concat()
    };
    let first = place.store(&dump(&["a", "bb", "ccc", "giant", "dddd"], &giant), &[], true).unwrap().parts;
    let before = packed(&place);
    giant[30 << 20] ^= 1;
    place.store(&dump(&["dddd", "ccc", "giant", "a", "bb"], &giant), &first, true).unwrap();
    let restarted = packed(&place) - before;
    assert!(restarted < 400_000, "{restarted}");
}

/// LOCAL-35
#[test]
fn what_is_remembered_of_another_dump_or_was_damaged_is_of_no_use() {
    let (place, days) = (Place::new(), days());
    let first = place.store(&days[0].1, &[], true).unwrap().parts;
    let kept = fs::read(place.file()).unwrap();
    let second = place.store(&days[2].1, &first, true).unwrap();
    assert!(second.remembered > 1400);
    let own = fs::read(place.file()).unwrap();
    let next = |kept: &[u8]| {
        fs::write(place.file(), kept).unwrap();
        place.store(&days[3].1, &second.parts, true).unwrap().remembered
    };
    assert_eq!(next(&kept), 0, "of the first dump");
    for at in (0..own.len()).step_by(own.len() / 8) {
        let mut flipped = own.clone();
        flipped[at] ^= 0x10;
        assert_eq!((next(&flipped), next(&own[..at])), (0, 0), "{at}");
    }
    assert_eq!(next(&[&own[..], b"x"].concat()), 0);
    assert!(next(&own) > 1200);
    fs::remove_file(place.file()).unwrap();
    assert_eq!(place.store(&days[3].1, &second.parts, true).unwrap().remembered, 0);
}

#[test]
fn a_key_that_stands_twice_is_found_whatever_is_remembered() {
    let (place, keys) = (Place::new(), Keyspace::new(300));
    let dump = keys.dump(1, 1000);
    let parts = place.store(&dump, &[], true).unwrap().parts;
    let end = dump.len() - 9;
    let mut same = Vec::new();
    keys.0[&(1, "user:00060".to_owned())].write(
        "user:00060",
        &|name| *blake3::hash(name.as_bytes()).as_bytes(),
        &mut same,
    );
    let other = [&[0], &string(b"user:00060")[..], &string(b"another")].concat();
    for twice in [same, other] {
        let dump = [&dump[..end], &twice, &dump[end..]].concat();
        for (parts, remembered) in [(&parts[..], true), (&parts, false), (&[], false)] {
            let not = place.store(&dump, parts, remembered).unwrap_err();
            assert!(not.is_suspect && not.why.contains("stands twice"), "{not:?}");
        }
    }
}

/// LOCAL-35
#[test]
fn where_the_earlier_version_cannot_be_read_the_dump_is_to_be_read_once_more() {
    let (place, days) = (Place::new(), days());
    let parts = place.store(&days[0].1, &[], true).unwrap().parts;
    let kept = fs::read(place.file()).unwrap();
    let packs = walkdir::WalkDir::new(place.temp.path().join("repository/packs")).into_iter().map(Result::unwrap);
    for pack in packs.filter(|entry| entry.file_type().is_file()) {
        let mut bytes = fs::read(pack.path()).unwrap();
        let middle = bytes.len() / 2;
        bytes[64..middle].fill(0);
        fs::set_permissions(pack.path(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(pack.path(), bytes).unwrap();
    }
    fs::write(place.file(), kept).unwrap();
    let not = place.store(&days[2].1, &parts, true).unwrap_err();
    assert!(not.again, "{not:?}");
}

/// LOCAL-35
#[test]
fn where_a_bucket_that_is_as_it_was_is_not_known_the_dump_is_to_be_read_once_more() {
    let mut place = Place::new();
    let record = |key: u8| [&[0], &string(&[b'k', key])[..], &string(&noise(200, key.into()))].concat();
    let dump = [b"REDIS0011\xfe\0".to_vec(), (0..40).flat_map(record).collect(), vec![0xff; 9]].concat();
    let parts = place.store(&dump, &[], true).unwrap().parts;
    assert_eq!(place.store(&dump, &parts, true).unwrap().remembered, 40);
    // All that was stored is lost, and the catalog is made anew; what is remembered stays.
    let (kept, file) = (fs::read(place.file()).unwrap(), place.file());
    for lost in ["repository/packs", "repository/index"] {
        let files = walkdir::WalkDir::new(place.temp.path().join(lost)).into_iter().flatten();
        files.filter(|entry| entry.file_type().is_file()).for_each(|entry| fs::remove_file(entry.path()).unwrap());
    }
    let cache = place.temp.path().join("cache");
    fs::remove_dir_all(&cache).unwrap();
    let places = Places { cache: Some(cache), state: None, scratch: None };
    let store = local(&place.temp.path().join("repository"));
    place.repository = open_at(store, &Hands::new(2), "alpha", places).unwrap();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, kept).unwrap();
    let not = place.store(&dump, &parts, true).unwrap_err();
    assert!(not.again, "{not:?}");
    assert_eq!(place.store(&dump, &parts, false).unwrap().remembered, 0);
}

/// LOCAL-35: labels are cut there, and do not tell between which buckets such a key belongs.
#[test]
fn of_a_dump_with_a_very_long_key_nothing_is_remembered() {
    let stored = |longest: usize| {
        let (place, short) = (Place::new(), |key: u8| string(&[b'k', key]));
        let record = |key: u8| [&[0], &short(key)[..], &string(&noise(200, key.into()))].concat();
        let long = [&[0], &string(&vec![b'x'; longest])[..], &[1, b'v']].concat();
        let dump = [b"REDIS0011\xfe\0".to_vec(), (0..40).flat_map(record).collect(), long, vec![0xff; 9]].concat();
        let parts = place.store(&dump, &[], true).unwrap().parts;
        place.store(&dump, &parts, true).unwrap().remembered
    };
    assert_eq!((stored(251), stored(252)), (41, 0));
}
