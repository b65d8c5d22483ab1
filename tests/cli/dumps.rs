//! Dumps of all servers there are samples of, stored in canonical form one after the other and given back.

use std::fs;
use std::path::{Path, PathBuf};

use redkeep::rdb::lzf::Encoder;

use crate::place::{Place, noise, run};
use crate::support::small_disk::on_a_small_disk;

/// Files that begin as dumps, dumps of versions nobody knows, and one in a container.
fn samples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis/samples");
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(Result::unwrap);
    let paths = entries.map(walkdir::DirEntry::into_path);
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "rdb")).collect()
}

/// Backs up a dump, and gives back the state it is stored in. That keys are missing of which the one before had some may be
/// told: it is another server's.
fn state(place: &Place, dump: &[u8]) -> String {
    fs::write(place.data().join("dump.rdb"), dump).unwrap();
    let ran = place.run(&["backup", "data", "--dataset", "d", "--json"]);
    assert!(matches!(ran.code, 0 | 3), "{}", ran.stderr);
    assert!(!ran.json()["warnings"].to_string().contains("suspect"), "{}", ran.stderr);
    ran.json()["forms"][0]["form"].as_str().unwrap().to_owned()
}

#[test]
fn dumps_of_all_servers_are_stored_in_canonical_form_and_come_back() {
    let (place, samples) = (Place::with_tiny_repository(), samples());
    assert!(samples.len() >= 40, "{}", samples.len());
    for path in &samples {
        let dump = fs::read(path).unwrap();
        let expected = match path.file_name().and_then(|name| name.to_str()) {
            Some("redis19-unknown-type.rdb") => "prefix",
            Some("valkey92-stream-lz4.rdb") => "opaque",
            _ => "canonical",
        };
        assert_eq!(state(&place, &dump), expected, "{}", path.display());
        let ran = place.run(&["dump", "latest", "dump.rdb"]);
        assert!(ran.code == 0 && ran.stdout == dump, "{}: {} {}", path.display(), ran.code, ran.stderr);
    }
    for (back, path) in samples.iter().rev().enumerate().step_by(7) {
        place.done(&["restore", &format!("latest~{back}"), "--target", "back", "--replace-anything"]);
        assert!(fs::read(place.path("back/dump.rdb")).unwrap() == fs::read(path).unwrap(), "{}", path.display());
    }
    place.done(&["check", "--read-data"]);
}

#[test]
fn a_dump_that_may_not_be_sorted_for_want_of_scratch_room_is_stored_as_it_is() {
    let test = "dumps::a_dump_that_may_not_be_sorted_for_want_of_scratch_room_is_stored_as_it_is";
    on_a_small_disk(test, 100, |disk| {
        let place = Place::with_tiny_repository();
        // 65 MiB of zeros: chunks that are all alike.
        let value = vec![0; 65 << 20];
        let length = (value.len() as u32).to_be_bytes();
        let dump = [b"REDIS0011\xfe\x00\x00\x01k\x80", &length[..], &value, b"\xff", &[0; 8]].concat();
        fs::write(place.data().join("dump.rdb"), &dump).unwrap();
        let small = disk.display().to_string();
        let ran = place.ends(0, &["backup", "data", "--dataset", "d", "--json", "--tmp-dir", &small]);
        let form = &ran.json()["forms"][0];
        assert_eq!(form["form"], "opaque");
        let why = form["why"].as_str().unwrap();
        assert!(why.contains(&format!("MiB are free for scratch files in {small}, where")), "{form}");
        assert!(why.ends_with("name a directory with more by --tmp-dir"), "{form}");
        place.ends(0, &["backup", "data", "--dataset", "other", "--json"]);
        let both = place.done(&["snapshots", "--json"]).json();
        let forms: Vec<_> = both["snapshots"].as_array().unwrap().iter().map(|one| &one["forms"][0]["form"]).collect();
        assert_eq!(forms, ["opaque", "canonical"]);
    });
}

/// A dump of 65 MiB that takes little to store: a value of zeros, and keys of noise, one of which is another in each version.
fn large_dump(version: u64) -> Vec<u8> {
    let zeros = vec![0; 65 << 20];
    let mut dump = [b"REDIS0011\xfe\x00\x00\x01k\x80", &(zeros.len() as u32).to_be_bytes()[..], &zeros].concat();
    put_noise(&mut dump, 1_000, |number| if number == 7 { version } else { 0 });
    [&dump[..], b"\xff", &[0; 8]].concat()
}

/// Keys with 300 bytes of noise each, as of the version that is given for the number of each.
fn put_noise(dump: &mut Vec<u8>, keys: u64, version: impl Fn(u64) -> u64) {
    for number in 0..keys {
        let value = noise(10_000 * version(number) + number, 300);
        dump.extend_from_slice(&[&[0, 8], format!("key {number:04}").as_bytes(), &[0x41, 0x2c], &value].concat());
    }
}

/// DELTA-9
#[test]
fn a_dump_is_compared_with_its_newest_version_in_canonical_form() {
    let test = "dumps::a_dump_is_compared_with_its_newest_version_in_canonical_form";
    on_a_small_disk(test, 100, |disk| {
        let place = Place::with_tiny_repository();
        let small = disk.display().to_string();
        let backup = |version, options: &[&str]| {
            fs::write(place.data().join("dump.rdb"), large_dump(version)).unwrap();
            let ran = place.done(&[&["backup", "data", "--dataset", "d", "--json"], options].concat());
            let form = ran.json()["forms"][0]["form"].as_str().unwrap().to_owned();
            (form, ran.json()["stored_bytes"].as_u64().unwrap())
        };
        let (form, whole) = backup(1, &[]);
        assert!(form == "canonical" && whole > 300_000, "{form} {whole}");
        for version in [2, 3] {
            assert_eq!(backup(version, &["--tmp-dir", &small]).0, "opaque");
        }
        let (form, changed) = backup(4, &[]);
        assert!(form == "canonical" && changed < whole / 10, "{form} {changed} of {whole}");
        place.done(&["restore", "latest", "--target", "back"]);
        assert!(fs::read(place.path("back/dump.rdb")).unwrap() == large_dump(4));
        place.done(&["check", "--read-data"]);
    });
}

/// 6,000 values of 60,000 bytes, each stored as the servers' LZF in some 700: 5 MiB that become 343.
fn dump_that_grows() -> Vec<u8> {
    let mut dump = b"REDIS0011\xfe\x00".to_vec();
    let mut encoder = Encoder::default();
    for number in 0..6_000u32 {
        let mut value = vec![b'-'; 60_000];
        value[..10].copy_from_slice(format!("{number:010}").as_bytes());
        let mut compressed = Vec::new();
        assert!(encoder.encode(&value, &mut compressed));
        let lengths = [0x4000 | compressed.len() as u16].map(u16::to_be_bytes).concat();
        dump.extend_from_slice(&[&[0, 8], format!("key {number:04}").as_bytes(), &[0xc3], &lengths].concat());
        dump.extend_from_slice(&[&[0x80], &60_000u32.to_be_bytes()[..], &compressed].concat());
    }
    [&dump[..], b"\xff", &[0; 8]].concat()
}

/// LOCAL-32
#[test]
fn what_does_not_fit_in_memory_waits_where_it_was_told_to() {
    on_a_small_disk("dumps::what_does_not_fit_in_memory_waits_where_it_was_told_to", 8, |disk| {
        let place = Place::with_repository();
        let small = disk.display().to_string();
        fs::write(place.data().join("dump.rdb"), dump_that_grows()).unwrap();
        let backup = ["backup", "data", "--dataset", "d", "--json"];
        let ran = place.ends(0, &[&backup[..], &["--tmp-dir", &small]].concat());
        let form = &ran.json()["forms"][0];
        assert_eq!(form["form"], "opaque");
        let why = form["why"].as_str().unwrap();
        assert!(why.contains(&format!("no space in {small} for what does not fit in memory")), "{form}");
        // Where there is room it is sorted.
        fs::write(place.path("redkeep.toml"), "tmp-dir = \"scratch\"\n").unwrap();
        let config = place.arg("redkeep.toml");
        let again = [&backup[..], &["--config", &config, "--read-all"]].concat();
        // One that is not there costs no backup.
        let ran = place.ends(0, &again);
        ran.says(
            "scratch (tmp-dir in the configuration) is no directory: what does not fit in memory waits with the caches",
        );
        assert_eq!(ran.json()["forms"][0]["form"], "canonical");
        let absent = place.arg("absent");
        place.ends(0, &["snapshots", "--tmp-dir", &absent]).says("absent (--tmp-dir) is no directory");
        let mut command = place.command(&["snapshots"]);
        let ran = run(command.env("REDKEEP_TMPDIR", &absent));
        assert!(ran.stderr.contains("absent (REDKEEP_TMPDIR) is no directory"), "{}", ran.stderr);
        fs::create_dir(place.path("scratch")).unwrap();
        let ran = place.ends(0, &again);
        assert!(!ran.stderr.contains("is no directory"));
        assert_eq!(ran.json()["forms"][0]["form"], "canonical");
        place.ends(0, &["restore", "latest", "--target", "back"]);
        assert!(fs::read(place.path("back/dump.rdb")).unwrap() == dump_that_grows());
    });
}

/// A data directory with both a dump and a base, in which one key in a hundred is another: each bucket is.
fn put_both(place: &Place, dump: u64, base: u64) -> [Vec<u8>; 2] {
    let parts = place.data().join("appendonlydir");
    fs::create_dir_all(&parts).unwrap();
    fs::write(
        parts.join("appendonly.aof.manifest"),
        format!("file appendonly.aof.{base}.base.rdb seq {base} type b\n"),
    )
    .unwrap();
    let names = [place.data().join("dump.rdb"), parts.join(format!("appendonly.aof.{base}.base.rdb"))];
    [(0, dump), (1, base)].map(|(which, version)| {
        let mut bytes = b"REDIS0011\xfe\x00".to_vec();
        put_noise(&mut bytes, 3_000, |number| if number % 100 == 7 { version } else { 0 });
        let bytes = [&bytes[..], b"\xff", &[0; 8]].concat();
        fs::write(&names[which], &bytes).unwrap();
        bytes
    })
}

/// DELTA-9
#[test]
fn a_base_is_stored_beside_the_dump_that_is_captured_with_it() {
    let place = Place::with_repository();
    fs::remove_dir_all(place.data().join("modules")).unwrap();
    let backup = || {
        let ran = place.run(&["backup", "data", "--dataset", "d", "--json"]);
        assert!(matches!(ran.code, 0 | 3), "{}", ran.stderr);
        let json = ran.json();
        let forms: Vec<_> = json["forms"].as_array().unwrap().iter().map(|of| of["form"].clone()).collect();
        assert_eq!(forms, ["canonical", "canonical"]);
        ["stored_bytes", "new_bytes"].map(|bytes| json[bytes].as_u64().unwrap())
    };
    let first = put_both(&place, 1, 2);
    let [both, new] = backup();
    // The dump alone takes 900,000, and nothing in either is in the other but keys of the same buckets.
    assert!((900_000..1_000_000).contains(&both) && new > 1_700_000, "{both} {new}");
    let second = put_both(&place, 3, 4);
    fs::remove_file(place.data().join("appendonlydir/appendonly.aof.2.base.rdb")).unwrap();
    let [next, _] = backup();
    assert!(next < 60_000, "{next}");
    for (snapshot, files, base) in [("latest~1", first, 2), ("latest", second, 4)] {
        let base = format!("appendonlydir/appendonly.aof.{base}.base.rdb");
        for (path, bytes) in ["dump.rdb", &base].iter().zip(files) {
            assert!(place.done(&["dump", snapshot, path]).stdout == bytes, "{snapshot} {path}");
        }
    }
    place.done(&["check", "--read-data"]);
    // A second copy of them takes no more.
    fs::write(place.path("password"), "correct horse\n").unwrap();
    place.done(&["init", "--repo", "safe"]);
    let ran = place.run(&["copy", "--to", "safe", "--to-password-file", "password", "--json"]);
    let copies = ran.json()["snapshots"].as_array().unwrap().clone();
    let stored: Vec<u64> = copies.iter().map(|copy| copy["stored_bytes"].as_u64().unwrap()).collect();
    assert!(matches!(stored[..], [900_000..1_000_000, 0..60_000]), "{stored:?} {}", ran.stderr);
    place.done(&["check", "--read-data", "--repo", "safe"]);
}
