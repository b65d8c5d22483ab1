//! Damage at any place of any object is an error, never other bytes.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::reading::{expected, read_what_can_be, sample};
use crate::second_reader::SecondReader;
use crate::support::mini_writer::PASSWORD;

/// All objects below one name of the sample.
fn objects(root: &Path, name: &str) -> Vec<PathBuf> {
    let path = root.join(name);
    if path.is_file() {
        return vec![path];
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(&path).unwrap() {
        paths.extend(objects(&path, entry.unwrap().file_name().to_str().unwrap()));
    }
    paths.retain(|path| !path.to_str().unwrap().contains(".tmp-"));
    paths
}

/// Flips one bit in every `step`th byte of each object below `name`, except where `spare` says so.
fn each_flip_is_an_error(name: &str, step: usize, spare: impl Fn(usize, u8) -> bool, footers: bool) {
    let root = TempDir::new().unwrap();
    sample(root.path());
    let open = || match footers {
        true => SecondReader::open_from_footers(root.path(), PASSWORD),
        false => SecondReader::open(root.path(), PASSWORD),
    };
    let expected = expected();
    let noticed = |damage: &str| {
        let (files, complaints) = read_what_can_be(open());
        assert!(!complaints.is_empty(), "{name}: {damage} is not noticed");
        let right = files.iter().all(|(file, content)| expected.get(file) == Some(content));
        assert!(right, "{name}: {damage} gives other bytes");
    };
    for path in objects(root.path(), name) {
        let whole = fs::read(&path).unwrap();
        for place in (0..whole.len()).step_by(step) {
            let bit = (place / step % 8) as u8;
            if spare(place, bit) {
                continue;
            }
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << bit;
            fs::write(&path, &flipped).unwrap();
            noticed(&format!("bit {bit} of byte {place} of {}", path.display()));
        }
        for length in [0, 1, 63, 64, 103, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            noticed(&format!("{} cut to {length} bytes", path.display()));
        }
        fs::write(&path, [whole.as_slice(), &[0]].concat()).unwrap();
        noticed(&format!("{} with a byte more", path.display()));
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(read_what_can_be(open()), (expected, Vec::new()));
}

/// SEAL-1 SEAL-3 CONV-3
#[test]
fn a_flipped_bit_of_config_is_an_error() {
    each_flip_is_an_error("config", 1, |_, _| false, false);
}

/// KEY-7 KEY-8
#[test]
fn a_flipped_bit_of_a_slot_is_an_error() {
    // Flips that ask Argon2 for more than 2 MiB are allowed and slow.
    let costly = |place, bit| matches!(place, 67 | 68) || (place == 66 && bit > 2);
    each_flip_is_an_error("keys", 1, costly, false);
}

/// OBJ-2 INDEX-3
#[test]
fn a_flipped_bit_of_an_index_object_is_an_error() {
    each_flip_is_an_error("index", 3, |_, _| false, false);
}

/// OBJ-2 SNAP-1
#[test]
fn a_flipped_bit_of_a_pack_is_an_error() {
    each_flip_is_an_error("packs", 5, |_, _| false, false);
    each_flip_is_an_error("packs", 7, |_, _| false, true);
}

/// SNAP-1
#[test]
fn a_flipped_bit_below_snapshots_is_an_error() {
    each_flip_is_an_error("snapshots", 3, |_, _| false, false);
    each_flip_is_an_error("forgotten", 1, |_, _| false, false);
}
