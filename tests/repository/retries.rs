//! Puts that took effect and whose answer was lost: the client puts again, and is refused by what it stored itself.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use redkeep::operations::check::{CheckDepth, check};
use redkeep::operations::list::Selector;
use redkeep::operations::{Silent, prune, repair, slots, tag};
use redkeep::store::{ObjectName, Store, StoreError, Trouble};

use crate::support::repository::*;
use crate::support::sim::SimStore;
use crate::support::stores::through;

/// A store whose client repeats every put.
pub(crate) struct Retried(pub(crate) Arc<dyn Store>);

impl Store for Retried {
    through!(self.0: get get_range list stat room connections promises location);

    fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.0.put(name, bytes.clone())?;
        self.0.put(name, bytes)
    }

    fn put_new(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.0.put_new(name, bytes.clone())?;
        self.0.put_new(name, bytes)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.0.delete(name)?;
        self.0.delete(name)
    }
}

/// A store that does not say of the first puts of packs whether they took effect, and may not be asked again.
struct Undecided {
    inner: Arc<SimStore>,
    left: AtomicUsize,
    takes_effect: bool,
}

impl Store for Undecided {
    through!(self.inner: get get_range put_new list stat delete room connections promises location);

    fn put(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        let is_left = |left: usize| left.checked_sub(1);
        if name.as_str().starts_with("packs/")
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_ok()
        {
            if self.takes_effect {
                self.inner.put(name, bytes)?;
            }
            let (name, source) = (name.as_str().to_owned(), "no answer".into());
            return Err(StoreError::Service { action: "store", name, trouble: Trouble::Undecided, source });
        }
        self.inner.put(name, bytes)
    }
}

/// STORE-15
#[test]
fn a_pack_whose_put_is_undecided_is_sealed_again_and_stored_under_another_name() {
    for (undecided, takes_effect) in [(1, false), (1, true), (5, true), (6, true)] {
        let (hands, temp) = (Hands::new(62), tempfile::tempdir().unwrap());
        let (objects, data) = (SimStore::strict(&hands), temp.path().join("data"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("dump"), noise(1 << 20, 1)).unwrap();
        let store = Undecided { inner: objects.clone(), left: AtomicUsize::new(undecided), takes_effect };
        let repository = create(Arc::new(store), &hands);
        let backed_up = back_up(&repository, &data, "d");
        let packs = objects.entries("packs/").unwrap().len();
        if undecided == 6 {
            let error = backed_up.unwrap_err();
            assert!(format!("{error:?}").contains("Undecided"), "{error:?}");
            continue;
        }
        backed_up.unwrap();
        assert_eq!(packs, if takes_effect { undecided + 1 } else { 1 }, "{undecided}");
        let found = check(&open(objects.clone(), &hands).unwrap(), CheckDepth::Data, &Silent).unwrap();
        assert!(found.is_sound() && found.unindexed_packs as usize == packs - 1, "{undecided}: {found:?}");
        let other = open(objects, &hands).unwrap();
        other.refresh().unwrap();
        restore_to(&other, &latest(&other, "d").unwrap(), &temp.path().join("out")).unwrap();
        assert!(fs::read(temp.path().join("out/dump")).unwrap() == noise(1 << 20, 1));
    }
}

#[test]
fn whatever_is_put_may_be_put_twice() {
    let (hands, temp) = (Hands::new(61), tempfile::tempdir().unwrap());
    let (objects, data): (Arc<dyn Store>, _) = (SimStore::strict(&hands), temp.path().join("data"));
    fs::create_dir(&data).unwrap();
    let store: Arc<dyn Store> = Arc::new(Retried(objects.clone()));
    let repository = create(store, &hands);
    let back_up = |content: u64| {
        fs::write(data.join("dump"), noise(1 << 20, content)).unwrap();
        back_up(&repository, &data, "d").unwrap()
    };
    let (first, _) = (back_up(1), back_up(2));
    repository.forget(&first.name, "no longer wanted").unwrap();
    let options = prune::Options { grace: std::time::Duration::ZERO, max_unused: 0.0, ..Default::default() };
    let pruned = prune::prune(&repository, &options, &Silent).unwrap().report;
    assert_eq!((pruned.deleted_snapshots, pruned.condemned_packs, pruned.deleted_packs), (1, 1, 1), "{pruned:?}");
    let id = Selector::Latest(0);
    tag::tag(&repository, &id, Some("d"), &tag::Options { add: vec!["kept".into()], remove: vec![] }, &Silent).unwrap();
    slots::add(&repository, &password("second"), "for Anna", CHEAP).unwrap();
    slots::rotate(&repository, &[password("second")], false, CHEAP).unwrap();
    // A lost pack: repair writes a note of it, and condemns it.
    back_up(3);
    let lost = objects.entries("packs/").unwrap().remove(0).name;
    objects.put(&lost, Bytes::from_static(b"damaged")).unwrap();
    let repaired = repair::repair(&repository, CheckDepth::Data, &Silent).unwrap();
    assert!(!repaired.condemned.is_empty(), "{repaired:?}");
    back_up(4);
    restore_to(&repository, &latest(&repository, "d").unwrap(), &temp.path().join("out")).unwrap();
    assert!(fs::read(temp.path().join("out/dump")).unwrap() == noise(1 << 20, 4));
}
