//! Opening by the text a user writes.

use redkeep::store::{Intent, Location, StoreError, open};

use crate::name;

#[test]
fn a_named_store_in_memory_is_shared_within_the_process() {
    let location: Location = "memory:locations-shared".parse().unwrap();
    assert!(matches!(open(&location, Intent::Existing), Err(StoreError::Location { .. })));
    open(&location, Intent::Create).unwrap().put_new(&name("config"), b"x".as_slice().into()).unwrap();
    let again = open(&location, Intent::Existing).unwrap();
    assert_eq!(again.get(&name("config"), 9).unwrap(), b"x");
    assert_eq!(again.location(), "memory:locations-shared");
}

#[test]
fn a_store_in_memory_without_a_name_is_new_each_time() {
    let location: Location = "memory:".parse().unwrap();
    open(&location, Intent::Create).unwrap().put_new(&name("config"), b"x".as_slice().into()).unwrap();
    assert_eq!(open(&location, Intent::Create).unwrap().entries("").unwrap(), []);
    assert!(open(&location, Intent::Existing).is_err());
}
