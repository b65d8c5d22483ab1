//! What is stored twice and damaged once is made good, and said.

use std::fs;

use redkeep::operations::Silent;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::list::dump;
use redkeep::operations::verify::verify;
use redkeep::repository::Places;
use redkeep::store::{ObjectName, Store};

use super::flipped;
use crate::support::repository::*;

fn packs(store: &dyn Store) -> Vec<ObjectName> {
    store.entries("packs/").unwrap().into_iter().map(|entry| entry.name).collect()
}

/// CHUNK-2, DELTA-5
#[test]
fn damage_in_one_copy_is_made_good_from_the_other_and_reported() {
    let (hands, temp, store) = (Hands::new(30), tempfile::tempdir().unwrap(), memory());
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("dump"), noise(400_000, 30)).unwrap();
    let repository = create(store.clone(), &hands);
    back_up(&repository, &data, "d").unwrap();
    let first = packs(&*store).remove(0);
    let whole = store.get(&first, u64::MAX).unwrap();
    store.delete(&first).unwrap();
    back_up(&repository, &data, "d").unwrap();
    store.put(&first, whole.clone().into()).unwrap();
    let mut reported = 0;
    for pack in packs(&*store) {
        let whole = store.get(&pack, u64::MAX).unwrap();
        for damaged in [flipped(&whole, 100), whole[..whole.len() / 2].to_vec(), vec![]] {
            store.put(&pack, damaged.clone().into()).unwrap();
            let stranger = open(store.clone(), &hands).unwrap();
            let chosen = latest(&stranger, "d").unwrap();
            let target = temp.path().join("out");
            let _ = fs::remove_dir_all(&target);
            let restored = restore_to(&stranger, &chosen, &target).unwrap().made_good;
            assert_eq!(tree(&target), tree(&data));
            let mut out = Vec::new();
            let dumped = dump(&stranger, &chosen.snapshot, b"dump", &mut out, &Silent).unwrap().made_good;
            assert!(out == noise(400_000, 30));
            let verified = verify(&stranger, &chosen, &Silent).unwrap();
            assert!(verified.is_whole());
            // Which of two copies is read first is nobody's business, but whoever reads the damaged one says so.
            for made_good in [&restored, &dumped, &verified.made_good] {
                assert_eq!(made_good.is_empty(), restored.is_empty());
                assert!(made_good.iter().all(|line| line.contains(pack.as_str())), "{made_good:?}");
            }
            reported += usize::from(!restored.is_empty());
            let report = check(&stranger, CheckDepth::Data, &Silent).unwrap();
            assert!(report.damage.iter().any(|damage| damage.object == pack.to_string()), "{report:?}");
            assert_eq!(report.lost_files, [], "nothing is lost");
            // What a check found is not told again by whoever reads it.
            store.entries("notes/").unwrap().iter().for_each(|note| store.delete(&note.name).unwrap());
        }
        store.put(&pack, whole.clone().into()).unwrap();
    }
    assert_eq!(reported, 3, "one of the two packs is read first");
}

/// Damage where the lists of a long file are, those of lists among them, where its deltas and their bases are, and anywhere else in its packs: no chunk that a list names wrongly, no
/// hole, no other order.
///
/// STREAM-2
#[test]
fn a_long_file_is_right_or_an_error_wherever_its_packs_are_damaged() {
    let (hands, temp, store) = (Hands::new(31), tempfile::tempdir().unwrap(), memory());
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    // The same stretch again and again, and then with a few bytes changed: lists of lists, and deltas.
    let mut content = noise(150_000, 31).repeat(20);
    let cache = temp.path().join("cache");
    create_tiny(store.clone(), &hands);
    for number in 0..3 {
        content[20_000..20_016].copy_from_slice(&noise(16, 32 + number));
        fs::write(data.join("dump"), &content).unwrap();
        let places = Places { cache: Some(cache.clone()), state: None, scratch: None };
        let report = back_up(&open_at(store.clone(), &hands, "alpha", places).unwrap(), &data, "d").unwrap();
        assert_eq!(levels(&report.snapshot, "dump"), 2);
    }
    let (forms, frames) = (Forms::below(&cache), frames(&cache));
    assert!(forms.deltas >= 2 && forms.on_deltas >= 1, "{forms:?}");
    for pack in packs(&*store) {
        let whole = store.get(&pack, u64::MAX).unwrap();
        let middles = frames.iter().filter(|frame| frame.pack == pack).map(|frame| flipped(&whole, frame.middle()));
        let damages: Vec<_> = middles.chain([flipped(&whole, 70), whole[..whole.len() / 2].to_vec()]).collect();
        assert!(damages.len() >= 4, "contents or deltas, and lists");
        let mut missed = 0;
        for (number, damaged) in damages.into_iter().enumerate() {
            store.put(&pack, damaged.clone().into()).unwrap();
            let stranger = open(store.clone(), &hands).unwrap();
            let chosen = latest(&stranger, "d").unwrap();
            let (mut out, target) = (Vec::new(), temp.path().join("out"));
            let dumped = dump(&stranger, &chosen.snapshot, b"dump", &mut out, &Silent);
            let restored = restore_to(&stranger, &chosen, &target);
            assert!(content.starts_with(&out), "{number}: other bytes");
            // What only older versions need is not missed.
            if dumped.is_ok() {
                assert!(out.len() == content.len() && fs::read(target.join("dump")).unwrap() == content, "{number}");
                fs::remove_dir_all(&target).unwrap();
                continue;
            }
            missed += 1;
            let error = dumped.unwrap_err();
            assert!(error.is_damage() && error.to_string().contains(pack.as_str()), "{number}: {error:?}");
            let error = restored.unwrap_err();
            let told = redkeep::repository::one_line(&error);
            assert!(error.is_damage() && told.contains(pack.as_str()), "{number}: {told}");
            assert!(told.starts_with("file dump: "), "{number}: {told}");
            assert!(!target.exists());
        }
        assert!(missed >= 2, "{pack}: {missed}, its lists or contents and half of it");
        store.put(&pack, whole.clone().into()).unwrap();
    }
}
