//! Puts that took effect and whose answer was lost: the client puts again, and is refused by what it stored itself.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use redkeep::operations::check::CheckDepth;
use redkeep::operations::list::Selector;
use redkeep::operations::{Silent, prune, repair, slots, tag};
use redkeep::store::{ObjectName, Store, StoreError};

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
