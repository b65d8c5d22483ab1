//! A verification tells of each file of a snapshot whether it comes back, and whether what was stored was whole.

use std::fs;

use redkeep::format::snapshot::{File, Snapshot};
use redkeep::operations::list::{Selector, choose};
use redkeep::operations::{Silent, verify};

use crate::support::dumps;
use crate::support::repository::*;

#[test]
fn bytes_that_are_not_those_of_the_snapshot_are_damage_and_what_was_suspect_stays_so() {
    let hands = Hands::new(74);
    let repository = create_tiny(memory(), &hands);
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("dump.rdb"), dumps::dump(1)).unwrap();
    fs::write(data.path().join("nodes.conf"), noise(9_000, 1)).unwrap();
    fs::write(data.path().join("users.acl"), "").unwrap();
    let name = back_up(&repository, data.path(), "d").unwrap().name;
    let said = repository.snapshot(&name).unwrap();
    let paths = ["dump.rdb", "nodes.conf", "users.acl"];
    let mut sequence = 1;
    let mut other = |change: &dyn Fn(&mut File), path: &str| {
        sequence += 1;
        let mut other = Snapshot { sequence, previous: None, ..said.clone() };
        change(other.files.iter_mut().find(|file| file.display_path() == path).unwrap());
        let name = repository.begin("d").unwrap().commit(&other).unwrap().name;
        let chosen = choose(&repository, &Selector::Id(name.session.to_string()), None).unwrap();
        verify::verify(&repository, &chosen, &Silent).unwrap()
    };
    for path in paths {
        let lies = |file: &mut File| file.hash.as_mut().unwrap().0[0] ^= 1;
        let report = other(&lies, path);
        let damaged: Vec<&str> =
            report.files.iter().filter(|file| file.damage.is_some()).map(|file| file.path.as_str()).collect();
        assert_eq!((damaged, report.is_whole(), report.files.len()), (vec![path], false, 3));
        // What does not come back is no longer called suspect.
        let suspect = |file: &mut File| file.suspect = Some("its end was torn".into());
        let both = |file: &mut File| {
            lies(file);
            suspect(file);
        };
        let report = other(&suspect, path);
        let suspects: Vec<&str> =
            report.files.iter().filter(|file| file.suspect.is_some()).map(|file| file.path.as_str()).collect();
        assert_eq!((suspects, report.is_whole(), report.has_suspects()), (vec![path], true, true));
        let report = other(&both, path);
        assert_eq!((report.is_whole(), report.has_suspects()), (false, false));
    }
}

/// A file that was taken for whole is read again, and what its reader finds is told.
#[test]
fn what_a_reader_finds_in_a_stored_file_is_told_whatever_its_snapshot_says() {
    let hands = Hands::new(75);
    let repository = create_tiny(memory(), &hands);
    let data = tempfile::tempdir().unwrap();
    let dump = dumps::dump(1);
    fs::write(data.path().join("dump.rdb"), &dump[..dump.len() - 20]).unwrap();
    let name = back_up(&repository, data.path(), "d").unwrap().name;
    let mut said = repository.snapshot(&name).unwrap();
    assert!(said.files.iter().any(|file| file.suspect.is_some()));
    said.files.iter_mut().for_each(|file| file.suspect = None);
    let said = Snapshot { sequence: 2, previous: None, ..said };
    let name = repository.begin("d").unwrap().commit(&said).unwrap().name;
    let chosen = choose(&repository, &Selector::Id(name.session.to_string()), None).unwrap();
    let report = verify::verify(&repository, &chosen, &Silent).unwrap();
    assert!(report.is_whole() && report.has_suspects(), "{:?}", report.files);
}
