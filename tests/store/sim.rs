//! The simulated store is as late, and as careless, as it may be, and no more.

use std::sync::Arc;
use std::time::Duration;

use redkeep::store::{Promises, PutNew, Store, StoreError, Timing};

use crate::support::repository::{Clock, Hands};
use crate::support::sim::{LISTINGS, Listing, PUT_NEWS, SimStore};
use crate::support::stores::{Fault, FaultyStore};
use crate::{listed, name};

const LAG: Duration = Duration::from_secs(600);
const TICK: Duration = Duration::from_millis(1);

fn store(hands: &Hands, put_new: PutNew, listing: Listing) -> Arc<SimStore> {
    SimStore::new(hands, Promises { put_new, timing: Timing::of_lag(LAG) }, listing)
}

#[test]
fn a_change_shows_in_listings_after_the_lag_and_by_name_at_once() {
    for (listing, put_shows, delete_shows) in
        [(Listing::Late, false, false), (Listing::DeletesLate, true, false), (Listing::PutsLate, false, true)]
    {
        let hands = Hands::new(1);
        let store = store(&hands, PutNew::Exclusive, listing);
        let shows = || !listed(&*store, "packs/").is_empty();
        store.put_new(&name("packs/1"), b"x".as_slice().into()).unwrap();
        assert_eq!(store.get(&name("packs/1"), 1).unwrap(), b"x");
        assert_eq!(shows(), put_shows, "{listing:?}");
        hands.pass(LAG - TICK);
        assert_eq!(shows(), put_shows, "{listing:?}");
        hands.pass(TICK);
        assert!(shows(), "{listing:?}");
        store.delete(&name("packs/1")).unwrap();
        assert!(matches!(store.get(&name("packs/1"), 1), Err(StoreError::NotFound { .. })));
        assert_eq!(shows(), !delete_shows, "{listing:?}");
        hands.pass(LAG - TICK);
        assert_eq!(shows(), !delete_shows, "{listing:?}");
        hands.pass(TICK);
        assert!(!shows(), "{listing:?}");
    }
}

#[test]
fn scattered_changes_show_in_any_order_and_all_after_the_lag() {
    let hands = Hands::new(1);
    let store = store(&hands, PutNew::Exclusive, Listing::Scattered(1));
    for object in 0..100 {
        store.put_new(&name(&format!("packs/{object:02}")), b"x".as_slice().into()).unwrap();
    }
    hands.pass(LAG / 2);
    let half = listed(&*store, "packs/").len();
    assert!((30..70).contains(&half), "{half}");
    hands.pass(LAG / 2);
    assert_eq!(listed(&*store, "packs/").len(), 100);
    // What is deleted before it shows may show for a while, and not for longer than the lag.
    store.delete(&name("packs/00")).unwrap();
    store.put(&name("packs/00"), b"yy".as_slice().into()).unwrap();
    store.delete(&name("packs/00")).unwrap();
    hands.pass(LAG);
    assert_eq!(listed(&*store, "packs/").len(), 99);
    assert_eq!(store.names().len(), 99);
}

#[test]
fn a_name_that_exists_is_refused_as_far_as_promised() {
    for put_new in PUT_NEWS {
        let hands = Hands::new(1);
        let store = store(&hands, put_new, Listing::Late);
        let object = name("snapshots/1");
        let again = |bytes: &[u8]| match store.put_new(&object, bytes.to_vec().into()) {
            Ok(()) => true,
            Err(StoreError::Exists { name }) => name != object,
            Err(error) => panic!("{error:?}"),
        };
        assert!(again(b"a"));
        hands.pass(LAG - TICK);
        assert_eq!(again(b"b"), put_new != PutNew::Exclusive);
        hands.pass(LAG - TICK);
        assert_eq!(again(b"c"), put_new != PutNew::Exclusive, "{put_new:?}: the last one counts");
        hands.pass(LAG);
        assert_eq!(again(b"d"), put_new == PutNew::None);
        let last = match put_new {
            PutNew::Exclusive => b"a",
            PutNew::Settled => b"c",
            PutNew::None => b"d",
        };
        assert_eq!(store.get(&object, 1).unwrap(), last);
        store.delete(&object).unwrap();
        assert!(again(b"e"), "{put_new:?}: what is deleted exists no more");
        assert_eq!(store.promises(), Promises { put_new, timing: Timing::of_lag(LAG) });
    }
}

#[test]
fn the_store_has_the_time_of_the_hosts_and_hosts_may_be_ahead_or_behind() {
    let hands = Hands::new(1);
    let store = SimStore::strict(&hands);
    let (ahead, behind) = (hands.another(2, 90_000).ambient("ahead"), hands.another(3, -90_000).ambient("behind"));
    assert_eq!(ahead.now().0 + 1 - behind.now().0, 180_000);
    hands.pass(LAG);
    store.put(&name("leases/1"), b"x".as_slice().into()).unwrap();
    let modified = store.entries("").unwrap()[0].modified.unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap() - Clock::START;
    assert_eq!(since, hands.clock().passed());
    assert!(since >= LAG && (ahead.uptime)() == since);
    assert_ne!(ahead.random::<16>(), behind.random::<16>());
}

#[test]
fn what_is_done_to_a_copy_does_not_show() {
    for listing in LISTINGS {
        let hands = Hands::new(1);
        let store = store(&hands, PutNew::Exclusive, listing);
        store.put_new(&name("a"), b"1".as_slice().into()).unwrap();
        let (other_hands, faulty_hands) = (hands.fork(), hands.fork());
        let copy = store.fork(&other_hands);
        other_hands.pass(LAG);
        copy.delete(&name("a")).unwrap();
        copy.put_new(&name("b"), b"2".as_slice().into()).unwrap();
        assert_eq!(store.names(), ["a"]);
        assert_eq!(hands.clock().passed(), Duration::ZERO);
        assert_eq!(hands.ambient("x").random::<8>(), other_hands.ambient("x").random::<8>());
        let torn = store.fork(&faulty_hands);
        FaultyStore::new(torn.clone(), 0, Fault::Torn).put_new(&name("c"), b"1234".as_slice().into()).unwrap_err();
        assert_eq!(torn.get(&name("c"), 9).unwrap(), b"12");
        assert_eq!(store.names(), ["a"]);
    }
}
