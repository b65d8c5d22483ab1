//! What is stored twice and damaged once is made good, and said.

use std::fs;

use redkeep::operations::Silent;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::list::dump;
use redkeep::operations::verify::verify;
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
        }
        store.put(&pack, whole.clone().into()).unwrap();
    }
    assert_eq!(reported, 3, "one of the two packs is read first");
}

/// Damage where the lists of a long file are, and anywhere else in its packs: no chunk that a list names wrongly, no
/// hole, no other order.
///
/// STREAM-2
#[test]
fn a_long_file_is_right_or_an_error_wherever_its_packs_are_damaged() {
    let (hands, temp, store) = (Hands::new(31), tempfile::tempdir().unwrap(), memory());
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    let content = noise(19 << 20, 31);
    fs::write(data.join("dump"), &content).unwrap();
    let report = back_up(&create(store.clone(), &hands), &data, "d").unwrap();
    let levels = report.snapshot.files[0].content().unwrap().1[0].content().unwrap().levels;
    assert!(levels > 0, "its list is stored in chunks");
    for pack in packs(&*store) {
        let whole = store.get(&pack, u64::MAX).unwrap();
        let size = whole.len();
        let damages = [flipped(&whole, 70), flipped(&whole, size / 2), whole[..size - 20_000].to_vec()];
        for (number, damaged) in damages.into_iter().enumerate() {
            store.put(&pack, damaged.clone().into()).unwrap();
            let stranger = open(store.clone(), &hands).unwrap();
            let chosen = latest(&stranger, "d").unwrap();
            let mut out = Vec::new();
            let error = dump(&stranger, &chosen.snapshot, b"dump", &mut out, &Silent).unwrap_err();
            assert!(error.is_damage() && error.to_string().contains(pack.as_str()), "{number}: {error:?}");
            assert!(content.starts_with(&out), "{number}: other bytes");
            let target = temp.path().join("out");
            let error = restore_to(&stranger, &chosen, &target).unwrap_err();
            let told = redkeep::repository::one_line(&error);
            assert!(error.is_damage() && told.contains(pack.as_str()), "{number}: {told}");
            assert!(told.starts_with("file dump: "), "{number}: {told}");
            assert!(!target.exists());
        }
        store.put(&pack, whole.clone().into()).unwrap();
    }
}
