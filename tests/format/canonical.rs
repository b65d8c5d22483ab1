//! Dumps that redkeep stored in canonical form, rebuilt by redkeep and by the second reader.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use redkeep::format::config::Sizes;
use redkeep::operations::Silent;
use redkeep::operations::list::{Selector, choose, dump};
use redkeep::repository::{Places, Repository};
use tempfile::TempDir;

use crate::second_reader::SecondReader;
use crate::support::repository::*;

type Open = fn(&Path, &str) -> Result<SecondReader, String>;

/// Dumps of servers, one after the other, each like the one before it.
fn samples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis/samples");
    let files = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rdb")).collect()
}

/// Backs each sample up as the dump of a day; both readers give each day's back. Tells how many files are canonical as a whole, in
/// part, and not at all, and which streams they have.
fn assert_rebuilt(root: &Path, repository: &Repository, open: Open) -> ([usize; 3], Vec<u64>) {
    let temp = TempDir::new().unwrap();
    let samples = samples();
    for sample in &samples {
        fs::copy(sample, temp.path().join("dump.rdb")).unwrap();
        back_up(repository, temp.path(), "d").unwrap();
    }
    let (mut forms, mut streams) = ([0; 3], BTreeSet::new());
    let reader = open(root, PASSWORD).unwrap();
    assert!(reader.deltas() > 0);
    let views = reader.snapshots().unwrap();
    assert_eq!(views.len(), samples.len());
    for (view, sample) in views.iter().zip(&samples) {
        let (state, why) = view.files[0].form.clone().unwrap();
        forms[state as usize] += 1;
        streams.extend(view.files[0].canonical_streams());
        let (rebuilt, original) = (reader.file(view, b"dump.rdb"), fs::read(sample).unwrap());
        let is_same = rebuilt.as_ref().is_ok_and(|rebuilt| *rebuilt == original);
        assert!(is_same, "{} ({state}, {why:?}): {:?}", sample.display(), rebuilt.map(drop));
    }
    for (back, sample) in samples.iter().rev().enumerate() {
        let chosen = choose(repository, &Selector::Latest(back), None).unwrap();
        let mut bytes = Vec::new();
        dump(repository, &chosen.snapshot, b"dump.rdb", &mut bytes, &Silent).unwrap();
        assert!(bytes == fs::read(sample).unwrap(), "{}", sample.display());
    }
    (forms, streams.into_iter().collect())
}

/// CANON-2, CANON-3, CANON-4, CANON-5, CANON-6, ORDER-1, RSTR-1, RSTR-2, RECIPE-5, RECIPE-7, RECIPE-8
#[test]
fn both_readers_rebuild_dumps_of_every_server_from_their_canonical_form() {
    // One sample is within another container; one holds a type that no server knows.
    let forms = [samples().len() - 2, 1, 1];
    let tiny = Sizes { min: 64, mean: 128, max: 1024 };
    let usual: (Sizes, &[u64], Open) = (Sizes::BUCKETS, &[1, 3, 4, 5, 8, 9], SecondReader::open);
    let tiny: (Sizes, &[u64], Open) = (tiny, &[1, 3, 4, 5, 6, 8, 9], SecondReader::open_from_footers);
    for (buckets, streams, open) in [usual, tiny] {
        let temp = TempDir::new().unwrap();
        let root = temp.path().join("repository");
        let (secret, ambient) = (password(PASSWORD), Hands::new(5).ambient("alpha"));
        let sizes = (Sizes::FILES, buckets);
        let made = Repository::create_with(local(&root), secret, "first", CHEAP, ambient, Places::default(), sizes);
        assert_eq!(assert_rebuilt(&root, &made.unwrap(), open), (forms, streams.to_vec()));
    }
}
