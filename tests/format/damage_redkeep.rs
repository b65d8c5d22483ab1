//! Damage at any place of any object gives right bytes or an error of redkeep's own, never other bytes and never a panic.
//!
//! By default some places of each object are tried; `REDKEEP_TEST_DAMAGE=all cargo test --release --test format damage_redkeep` tries
//! every byte, `REDKEEP_TEST_DAMAGE=100` a hundred of each object.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redkeep::format::snapshot::FileKind;
use redkeep::operations::Silent;
use redkeep::operations::list::{Filter, Selector, choose, dump, snapshots};
use redkeep::repository::{CheckDepth, Places, Repository};
use tempfile::TempDir;

use crate::reading::{read_what_can_be, sample, sample_with};
use crate::second_reader::SecondReader;
use crate::support::repository::*;
use crate::support::{dumps, mini_writer};

/// Places of each object that are tried by default.
const PLACES: usize = 2;

/// What files hold, by snapshot and path.
type Files = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// What redkeep makes of a repository: files it gave out, and whether it said that something is wrong.
struct Read {
    files: Files,
    complaints: Vec<String>,
    /// Whether a check of all data finds something too.
    is_found: bool,
}

fn read(root: &Path, secret: &str) -> Read {
    let (mut files, mut complaints) = (Files::new(), Vec::new());
    let ambient = Hands::new(9).ambient("later");
    let repository = match Repository::open(local(root), password(secret), ambient, Places::default(), None) {
        Ok(repository) => repository,
        Err(error) => return Read { files, complaints: vec![error.to_string()], is_found: true },
    };
    match snapshots(&repository, &Filter::default()) {
        Err(error) => complaints.push(error.to_string()),
        Ok((infos, alarms)) => {
            complaints.extend(alarms.iter().map(ToString::to_string));
            for info in infos {
                let id = info.name.session.to_string();
                let chosen = match choose(&repository, &Selector::Id(id.clone()), None) {
                    Ok(chosen) => chosen,
                    Err(error) => {
                        complaints.push(error.to_string());
                        continue;
                    }
                };
                complaints.extend(chosen.alarms.iter().map(ToString::to_string));
                for file in chosen.snapshot.files.iter().filter(|file| file.kind == FileKind::File) {
                    let mut bytes = Vec::new();
                    match dump(&repository, &chosen.snapshot, &file.path, &mut bytes, &Silent) {
                        Ok(_) => drop(files.insert((id.clone(), file.path.to_vec()), bytes)),
                        Err(error) => complaints.push(error.to_string()),
                    }
                }
            }
        }
    }
    let is_found = match repository.check(CheckDepth::Data, &|| false, &|_, _| {}) {
        Ok(report) => !report.is_sound(),
        Err(_) => true,
    };
    Read { files, complaints, is_found }
}

/// A repository, and what it holds while it is whole.
struct Whole {
    root: PathBuf,
    secret: String,
    files: Files,
}

impl Whole {
    fn new(root: PathBuf, secret: &str) -> Whole {
        let Read { files, complaints, is_found } = read(&root, secret);
        assert!(complaints.is_empty() && !is_found && !files.is_empty(), "{complaints:?}");
        Whole { root, secret: secret.into(), files }
    }

    /// What redkeep makes of it now: right bytes, and where not all of them, a complaint.
    fn assert_right_or_loud(&self, damage: &str) -> Read {
        let Ok(read) = catch_unwind(AssertUnwindSafe(|| read(&self.root, &self.secret))) else {
            panic!("{damage}: a panic");
        };
        let right = read.files.iter().all(|(file, content)| self.files.get(file) == Some(content));
        assert!(right, "{damage}: other bytes");
        let is_whole = read.files.len() == self.files.len();
        assert!(is_whole || !read.complaints.is_empty(), "{damage}: less, and no word of it");
        read
    }

    /// Damages every object, at some of its bytes and by cutting it. What is `needed` has to be missed.
    fn each_damage_is_told(&self, places: usize, needed: &dyn Fn(&str) -> bool) {
        let (mut seen, mut tried) = (BTreeMap::<String, usize>::new(), 0);
        for entry in walkdir::WalkDir::new(&self.root).sort_by_file_name().into_iter().map(Result::unwrap) {
            let name = entry.path().strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned();
            if !entry.file_type().is_file() || name.starts_with('.') || name.contains(".tmp-") {
                continue;
            }
            let whole = fs::read(entry.path()).unwrap();
            let step = (whole.len() / places).max(1);
            // Not the same places of each object.
            let first = tried % step;
            let flips = (first..whole.len()).step_by(step).map(|place| {
                let mut flipped = whole.clone();
                flipped[place] ^= 1 << (place / step % 8);
                (format!("{name}, byte {place}"), flipped)
            });
            let cuts = [tried % 64, whole.len() - 1]
                .map(|length| (format!("{name}, cut to {length}"), whole[..length].to_vec()));
            for (damage, bytes) in flips.chain(cuts) {
                if name.starts_with("keys/") && asks_for_much(&whole, &bytes) {
                    continue;
                }
                fs::write(entry.path(), bytes).unwrap();
                let read = self.assert_right_or_loud(&damage);
                assert!(!needed(&name) || read.is_found, "{damage}: a check finds nothing");
                tried += 1;
            }
            fs::write(entry.path(), &whole).unwrap();
            *seen.entry(name.split('/').next().unwrap().into()).or_default() += 1;
        }
        self.assert_right_or_loud("whole again");
        assert!(
            ["config", "index", "keys", "packs", "snapshots"].iter().all(|kind| seen.contains_key(*kind)),
            "{seen:?}"
        );
        println!("{}: {tried} damages of {seen:?}", self.root.display());
    }
}

/// Whether a damaged slot asks Argon2 for more memory or passes, which is allowed and slow.
fn asks_for_much(whole: &[u8], damaged: &[u8]) -> bool {
    let costs = 65..77;
    damaged.get(costs.clone()).is_some_and(|found| found != &whole[costs])
}

fn places() -> usize {
    match std::env::var("REDKEEP_TEST_DAMAGE") {
        Ok(all) if all == "all" => usize::MAX,
        Ok(number) => number.parse().unwrap(),
        Err(_) => PLACES,
    }
}

/// OBJ-2, SNAP-1, INDEX-3, SEAL-1
#[test]
fn damage_to_an_object_of_a_golden_repository_is_told_and_never_gives_other_bytes() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format/golden");
    for version in fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()) {
        let temp = TempDir::new().unwrap();
        let root = temp.path().join("repository");
        copy(&version.join("repository"), &root);
        let expected: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(version.join("expected.json")).unwrap()).unwrap();
        let whole = Whole::new(root, expected["password"].as_str().unwrap());
        // What is condemned is read by nobody any more.
        let is_condemned = expected.get("condemned").is_some();
        let needed = |name: &str| {
            let kind = name.split('/').next().unwrap();
            matches!(kind, "config" | "snapshots") || (matches!(kind, "packs" | "index") && !is_condemned)
        };
        whole.each_damage_is_told(places(), &needed);
    }
}

/// Lists in chunks, compressed frames, deltas of both kinds, deltas on deltas, and a dump in canonical form, as redkeep writes
/// them.
#[test]
fn damage_to_an_object_of_tiny_chunks_is_told_and_never_gives_other_bytes() {
    let (hands, temp) = (Hands::new(31), TempDir::new().unwrap());
    let (root, data) = (temp.path().join("repository"), temp.path().join("data"));
    fs::create_dir_all(&data).unwrap();
    let repository = create_tiny(local(&root), &hands);
    let mut bytes = [noise(20_000, 1), text(20_000, 2)].concat();
    for day in 0..4 {
        fs::write(data.join("file"), &bytes).unwrap();
        fs::write(data.join("dump.rdb"), dumps::dump(day as u64)).unwrap();
        let report = back_up(&repository, &data, "d").unwrap();
        assert!(canonical_streams(&report.snapshot, "dump.rdb").len() >= 5);
        for place in (day * 100..bytes.len() - 100).step_by(4_000) {
            bytes.splice(place..place + 3, noise(3 + place % 2, day as u64));
        }
    }
    drop(repository);
    Whole::new(root, PASSWORD)
        .each_damage_is_told(places(), &|name| !name.starts_with("leases") && !name.starts_with("keys"));
}

/// FRAME-2, CHUNK-2, DELTA-1, DELTA-7, LIST-1
///
/// What a wrong writer has sealed: each bit of the plain, the compressed and the delta frames, and of the list chunks in them.
#[test]
fn damage_beneath_the_seal_of_a_frame_is_told_by_both_readers_and_never_gives_other_bytes() {
    let temp = TempDir::new().unwrap();
    sample(temp.path());
    let whole = Whole::new(temp.path().to_path_buf(), mini_writer::PASSWORD);
    let expected = read_what_can_be(SecondReader::open(temp.path(), mini_writer::PASSWORD)).0;
    for number in 0..5 {
        let (length, told) = (Cell::new(0), Cell::new(0));
        let step = if places() == PLACES { 17 } else { 1 };
        let change = |place: Option<usize>| {
            let root = TempDir::new().unwrap();
            sample_with(root.path(), &|of, plaintext| {
                if of == number {
                    length.set(plaintext.len());
                    place.into_iter().for_each(|place| plaintext[place] ^= 1 << (place / step % 8));
                }
            });
            root
        };
        drop(change(None));
        assert!(length.get() > 20, "frame {number}");
        for place in (0..length.get()).step_by(step) {
            let (root, damage) = (change(Some(place)), format!("byte {place} of frame {number}"));
            let whole = Whole { root: root.path().into(), secret: whole.secret.clone(), files: whole.files.clone() };
            let read = whole.assert_right_or_loud(&damage);
            let is_whole = read.files.len() == whole.files.len();
            assert!(is_whole || read.is_found, "{damage}: a check finds nothing, {:?}", read.complaints);
            told.set(told.get() + usize::from(!is_whole));
            let (files, complaints) = read_what_can_be(SecondReader::open(root.path(), mini_writer::PASSWORD));
            let right = files.iter().all(|(file, content)| expected.get(file) == Some(content));
            assert!(right && (files == expected || !complaints.is_empty()), "{damage}: the second reader");
        }
        // A bit that nothing depends on is rare: a flag of zstd.
        assert!(told.get() * 20 > length.get() / step * 19, "frame {number}: {} of {}", told.get(), length.get());
    }
}
