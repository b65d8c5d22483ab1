//! redkeep and the second reader on the same bytes: each reads what the other's side wrote.

use std::fs;

use redkeep::operations::list::{Selector, choose, dump};
use redkeep::repository::{Places, Repository};
use tempfile::TempDir;

use crate::reading::{contents, read_all, sample};
use crate::second_reader::SecondReader;
use crate::support::mini_writer;
use crate::support::repository::*;

/// A repository that redkeep made is opened, and its files printed, by a reader that knows only the specification.
#[test]
fn the_second_reader_reads_what_redkeep_wrote() {
    let (hands, temp) = (Hands::new(5), TempDir::new().unwrap());
    let (root, data) = (temp.path().join("repository"), temp.path().join("data"));
    fs::create_dir_all(data.join("sub")).unwrap();
    // Long enough for a list that is cut into chunks, whose own list is not inline.
    fs::write(data.join("large"), text(24 << 20, 1)).unwrap();
    fs::write(data.join("sub/noise"), noise(300_000, 2)).unwrap();
    fs::write(data.join("empty"), b"").unwrap();
    std::os::unix::fs::symlink("large", data.join("link")).unwrap();
    let repository = create(local(&root), &hands);
    back_up(&repository, &data, "d").unwrap();
    fs::write(data.join("sub/noise"), noise(300_001, 2)).unwrap();
    back_up(&repository, &data, "d").unwrap();
    for reader in [SecondReader::open, SecondReader::open_from_footers] {
        let files = read_all(reader(&root, PASSWORD)).unwrap();
        assert_eq!(files.len(), 6);
        for ((sequence, path), bytes) in files {
            match (sequence, path.as_str()) {
                (1, "sub/noise") => assert!(bytes == noise(300_000, 2)),
                _ => assert!(bytes == fs::read(data.join(&path)).unwrap(), "{path}"),
            }
        }
    }
}

/// Deltas with one and two bases, chains of them, labelled streams and two levels of lists, from the specification's
/// own writer.
#[test]
fn redkeep_reads_what_was_written_from_the_specification() {
    let temp = TempDir::new().unwrap();
    let root = temp.path().join("repository");
    fs::create_dir(&root).unwrap();
    sample(&root);
    let hands = Hands::new(6);
    let open =
        || Repository::open(local(&root), password(mini_writer::PASSWORD), hands.ambient("a"), Places::default(), None);
    let repository = open().unwrap();
    let chosen = choose(&repository, &Selector::Latest(0), None).unwrap();
    assert_eq!(chosen.alarms, []);
    for (path, expected) in contents() {
        let mut bytes = Vec::new();
        dump(&repository, &chosen.snapshot, path.as_bytes(), &mut bytes, &redkeep::operations::Silent).unwrap();
        assert!(bytes == expected, "{path}");
    }
    let target = temp.path().join("restored");
    let report = restore_to(&repository, &chosen, &target).unwrap();
    assert_eq!(report.made_good, Vec::<String>::new());
    for (path, expected) in contents() {
        assert!(fs::read(target.join(path)).unwrap() == expected, "{path}");
    }
    let check = repository.check(redkeep::repository::CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
    assert_eq!((check.damage.as_slice(), check.lost_files.as_slice()), (&[][..], &[][..]));
    // The same without index objects, from the packs' own tables.
    fs::remove_dir_all(root.join("index")).unwrap();
    let repository = open().unwrap();
    assert_eq!(repository.second_look().unwrap(), 2);
    let mut bytes = Vec::new();
    dump(&repository, &chosen.snapshot, b"both", &mut bytes, &redkeep::operations::Silent).unwrap();
    assert!(bytes == contents()["both"]);
}
