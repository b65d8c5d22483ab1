//! What the program asks of a repository, counted from outside: every file it opens, lists, puts and deletes there.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::mem::MaybeUninit;
use std::path::PathBuf;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::look_ups::dump_of_strings;
use crate::place::{Place, noise};

/// How often each folder was listed, and objects in it were read, put and deleted.
type Calls = BTreeMap<String, usize>;

/// The folders of a repository under watch, by the number of the watch.
struct Watch {
    queue: std::os::fd::OwnedFd,
    folders: HashMap<i32, String>,
}

impl Watch {
    fn new(place: &Place) -> Watch {
        let root = place.repository();
        // Those that come during the watch would not be under it.
        let packs = (0..=255).map(|first| format!("packs/{first:02x}"));
        let others = ["burials", "condemned", "epochs", "forgotten", "index", "leases", "notes", "snapshots"];
        for folder in packs.chain(others.map(String::from)) {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let queue = inotify::init(CreateFlags::NONBLOCK).unwrap();
        let flags = WatchFlags::OPEN
            | WatchFlags::ACCESS
            | WatchFlags::CLOSE_NOWRITE
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE;
        let below = walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap);
        let folders: Vec<PathBuf> =
            below.filter(|entry| entry.file_type().is_dir()).map(walkdir::DirEntry::into_path).collect();
        let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
        let watched = folders.iter().map(|path| (inotify::add_watch(&queue, path, flags).unwrap(), name(path)));
        let folders = watched.collect();
        Watch { queue, folders }
    }

    fn calls(self) -> Calls {
        let (mut calls, mut opened) = (Calls::new(), HashMap::<i32, bool>::new());
        let mut buffer = [MaybeUninit::uninit(); 1 << 16];
        let mut reader = Reader::new(&self.queue, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return calls,
                Err(error) => panic!("{error}"),
            };
            assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW), "too much to watch");
            let folder = self.folders[&event.wd()].as_str();
            let (top, is_top) = folder.split_once('/').map_or((folder, true), |(top, _)| (top, false));
            let mut count = |verb: &str, what: &str| *calls.entry(format!("{verb} {what}")).or_default() += 1;
            let events = event.events();
            let Some(name) = event.file_name().map(|name| name.to_str().unwrap()) else {
                // A folder is opened for what is in it as well: only what is read of it after that is a list.
                if events.contains(ReadFlags::OPEN) {
                    opened.insert(event.wd(), true);
                } else if events.contains(ReadFlags::ACCESS) && opened.insert(event.wd(), false) == Some(true) {
                    match (is_top, top) {
                        (true, _) => count("list", top),
                        (false, "snapshots" | "forgotten") => count("list", &format!("{top} of a dataset")),
                        (false, _) => {}
                    }
                }
                continue;
            };
            if events.contains(ReadFlags::ISDIR) || name.starts_with('.') {
                continue;
            }
            let what = if top.is_empty() { name } else { top };
            if events.contains(ReadFlags::OPEN) {
                count("get", what);
            } else if events.intersects(ReadFlags::MOVED_TO | ReadFlags::CREATE) {
                count("put", what);
            } else if events.contains(ReadFlags::DELETE) {
                count("delete", what);
            }
        }
    }
}

fn calls(place: &Place, arguments: &[&str]) -> Calls {
    let watch = Watch::new(place);
    place.ends(0, arguments);
    watch.calls()
}

/// Compares what a command calls with what it may, as `verb folder` with how often.
#[track_caller]
fn assert_calls(place: &Place, arguments: &[&str], expected: &[(&str, usize)]) {
    let expected: Calls = expected.iter().map(|(call, count)| ((*call).to_owned(), *count)).collect();
    assert_eq!(calls(place, arguments), expected, "{arguments:?}");
}

const BACKUP: &[&str] = &["backup", "data", "--dataset", "d"];

/// Where the list of a file does not fit into the snapshot. Every command opens the repository: three calls.
///
/// SESS-3, SESS-4
#[test]
fn a_command_makes_these_calls_and_no_others() {
    let place = Place::with_tiny_repository();
    let change = |seed| fs::write(place.data().join("modules/table.bin"), noise(seed, 40_000)).unwrap();
    change(1);
    place.done(BACKUP);
    place.done(BACKUP);
    // Its folder is there from now on.
    place.done(&["forget", "latest~1"]);
    let opens = [("get config", 1), ("get keys", 1), ("list keys", 1)];
    let looks = [("list index", 1), ("list forgotten of a dataset", 1), ("list snapshots of a dataset", 1)];
    let of = |others: &[(&'static str, usize)]| [&opens[..], &looks[..], others].concat();
    // Where packs are listed, so is what checks found of them (NOTE-12).
    let begins = [("list condemned", 1), ("list packs", 1), ("list notes", 1), ("put leases", 1), ("get snapshots", 2)];
    let unchanged = of(&[&begins[..], &[("put snapshots", 1)]].concat());
    assert_calls(&place, BACKUP, &unchanged);
    change(2);
    // The list of what was there before is read, to see what is at the place of each chunk.
    let stores = [("get packs", 2), ("put packs", 1), ("put index", 1)];
    assert_calls(&place, BACKUP, &[&unchanged[..], &stores[..]].concat());
    assert_calls(&place, BACKUP, &unchanged);
    let lists = [("list snapshots", 1), ("list forgotten", 1)];
    let looks = |others: &[(&'static str, usize)]| of(&[&lists[..], others].concat());
    let restores = looks(&[("get snapshots", 1), ("get packs", 3)]);
    assert_calls(&place, &["restore", "latest", "--target", "back"], &restores);
    assert_calls(&place, &["snapshots"], &looks(&[("list notes", 1)]));
    assert_calls(&place, &["forget", "--keep-last", "1"], &looks(&[("put forgotten", 3)]));
}

/// One key of many is one bucket: nothing else of the dump is read.
#[test]
fn a_look_up_reads_a_few_pieces_of_the_store() {
    let place = Place::with_repository();
    let value = |number: u32| blake3::hash(&number.to_be_bytes()).to_hex().to_string();
    let keys = (0..100_000).map(|number| (format!("user:{number:06}").into_bytes(), value(number).into_bytes()));
    fs::write(place.data().join("dump.rdb"), dump_of_strings(keys)).unwrap();
    place.done(BACKUP);
    place.done(&["snapshots"]);
    for number in [0, 31_415, 99_999] {
        let key = format!("user:{number:06}");
        let calls = calls(&place, &["get", &key, "--raw"]);
        assert!((1..=4).contains(&calls["get packs"]), "{calls:?}");
        assert_eq!(place.done(&["get", &key, "--raw"]).text(), value(number));
    }
    place.ends(1, &["get", "user:100000"]).says("has no key user:100000 in database 0");
}
