//! What object stores promise, and what is done when a request goes wrong: real services, with a proxy before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redkeep::store::{Intent, Location, PutNew, Settings, Store, StoreError, SwiftLogin, Timing, Trouble, open_with};
use serde_json::json;

use crate::support::proxy::{Fate, Proxy, Seen};
use crate::support::services::{BUCKET, Service};
use crate::{listed, name};

/// A new store of a service, reached through a proxy.
fn behind(service: Service, proxy: &Proxy) -> Arc<dyn Store> {
    let location: Location = service.location().parse().unwrap();
    let store = open_with(&location, Intent::Existing, &through(service, proxy)).unwrap();
    proxy.drain();
    store
}

pub fn through(service: Service, proxy: &Proxy) -> Settings {
    let mut settings = Settings { put_new: Some(service.promised()), ..service.settings() };
    match &mut settings.swift {
        Some(swift) => {
            let SwiftLogin::V1 { auth, .. } = &mut swift.login else { panic!("a v1 login") };
            *auth = format!("http://{}/auth/v1.0", proxy.address);
        }
        None => settings.s3.endpoint = Some(format!("http://{}", proxy.address)),
    }
    settings
}

/// Those of the two that the developer wants tested.
fn services() -> Vec<Service> {
    [Service::Seaweed, Service::Swift].into_iter().filter(|service| !service.is_skipped()).collect()
}

fn put_is_first(seen: &Seen, before: usize) -> bool {
    seen.method == "PUT" && before == 0
}

/// STORE-4
#[test]
fn what_a_service_promises_is_found_out_where_a_repository_is_made() {
    for (service, put_new) in
        [(Service::Seaweed, PutNew::Exclusive), (Service::Swift, PutNew::Settled), (Service::S3Api, PutNew::None)]
    {
        if service.is_skipped() {
            continue;
        }
        assert_eq!(service.promised(), put_new, "{service:?}");
        let location: Location = service.location().parse().unwrap();
        let unknown = open_with(&location, Intent::Existing, &service.settings()).unwrap();
        assert_eq!(unknown.promises().put_new, PutNew::None, "who did not try assumes nothing");
        let known = Settings { put_new: Some(put_new), ..service.settings() };
        let known = open_with(&location, Intent::Existing, &known).unwrap();
        assert_eq!(known.promises().put_new, put_new);
    }
}

/// STORE-4: one that does not know the condition overwrites without a word.
#[test]
fn a_service_that_ignores_the_condition_promises_nothing() {
    // S3 signs the header, so that it cannot be taken away.
    let service = Service::Swift;
    if service.is_skipped() {
        return;
    }
    let proxy = Proxy::start(&service.address(), |_, _| Fate::Without("if-none-match"));
    let location: Location = service.location().parse().unwrap();
    let settings = Settings { put_new: None, ..through(service, &proxy) };
    let store = open_with(&location, Intent::Create, &settings).unwrap();
    assert_eq!(store.promises().put_new, PutNew::None);
    assert_eq!(listed(&*store, ""), [""; 0], "what was tried is gone");
}

/// STORE-3
#[test]
fn listings_of_services_may_be_late_and_packs_of_an_hour_are_young() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    for service in services() {
        let location: Location = service.location().parse().unwrap();
        let lag = if service == Service::Swift { minutes(360) } else { minutes(10) };
        let timing = open_with(&location, Intent::Existing, &service.settings()).unwrap().promises().timing;
        assert_eq!((timing.lag, timing.youngest), (lag, minutes(60)), "{service:?}");
        let said = Settings { timing: Some(Timing::of_service(Duration::ZERO)), ..service.settings() };
        let timing = open_with(&location, Intent::Existing, &said).unwrap().promises().timing;
        assert_eq!((timing.lag, timing.youngest), (Duration::ZERO, minutes(60)));
    }
}

/// STORE-2
#[test]
fn an_object_is_one_put_and_nothing_is_left_beside_it() {
    for service in services() {
        let proxy = Proxy::start(&service.address(), |_, _| Fate::Pass);
        let store = behind(service, &proxy);
        let pack = Bytes::from(vec![7; 20 << 20]);
        store.put_new(&name("packs/ab/1"), pack.clone()).unwrap();
        store.put(&name("packs/ab/2"), pack.clone()).unwrap();
        let puts: Vec<Seen> = proxy.seen().into_iter().filter(|seen| seen.method != "GET").collect();
        assert_eq!(puts.len(), 2, "{service:?}: {puts:?}");
        assert!(puts.iter().all(|put| put.method == "PUT" && !put.path.contains('?')), "{puts:?}");
        assert!(puts.iter().all(|put| put.headers.contains("content-length: 20971520")), "{puts:?}");
        assert!(store.get(&name("packs/ab/2"), 20 << 20).unwrap() == pack);
    }
}

/// STORE-5
#[test]
fn a_put_new_whose_answer_was_lost_is_found_and_not_made_again() {
    for service in services() {
        let fate = |seen: &Seen, before| if put_is_first(seen, before) { Fate::Lose } else { Fate::Pass };
        let proxy = Proxy::start(&service.address(), fate);
        let store = behind(service, &proxy);
        store.put_new(&name("condemned/1"), Bytes::from_static(b"own")).unwrap();
        let asked = proxy.drain();
        assert_eq!(asked.iter().filter(|asked| asked.starts_with("PUT")).count(), 1, "{service:?}: {asked:?}");
        assert!(asked.contains(&"HEAD 1".to_owned()), "{asked:?}");
        assert_eq!(store.get(&name("condemned/1"), 9).unwrap(), b"own");
    }
}

/// STORE-5: where Swift keeps versions, one that it refuses leaves its body behind, which nobody would ever see or delete.
#[test]
fn a_put_new_whose_outcome_is_unknown_leaves_one_version() {
    let service = Service::Swift;
    if service.is_skipped() {
        return;
    }
    let location: Location = service.kept_location().parse().unwrap();
    // The answer of each is lost once its body was taken; the next one never gets there.
    let proxy = Proxy::start(&service.address(), |seen, before| match (seen.method.as_str(), before % 3) {
        ("PUT", 0) => Fate::Lose,
        ("PUT", 1) => Fate::Drop,
        _ => Fate::Pass,
    });
    let store = open_with(&location, Intent::Existing, &through(service, &proxy)).unwrap();
    let objects = ["packs/ab/1", "packs/ab/2", "index/1", "snapshots/d/1"];
    for object in objects {
        store.put_new(&name(object), Bytes::from(vec![7; 1 << 20])).unwrap();
    }
    let refused = store.put_new(&name(objects[0]), Bytes::from_static(b"another"));
    assert!(matches!(refused, Err(StoreError::Exists { .. })), "{refused:?}");
    let versions = versions(&location.to_string());
    for object in objects {
        let kept: Vec<&String> = versions.iter().filter(|version| version.ends_with(object)).collect();
        // That which is there. The last one was refused in earnest: it came once, and was told at once.
        let count = if object == objects[0] { 2 } else { 1 };
        assert_eq!(kept.len(), count, "{object}: {versions:?}: {:?}", proxy.drain());
    }
}

/// The names that Swift keeps below a location, each as often as there are versions of it.
fn versions(location: &str) -> Vec<String> {
    let (container, prefix) = location.strip_prefix("swift://").unwrap().split_once('/').unwrap();
    let login =
        ureq::get(Service::Swift.address()).header("X-Auth-User", "test:tester").header("X-Auth-Key", "testing");
    let login = login.call().unwrap();
    let header = |name: &str| login.headers()[name].to_str().unwrap().to_owned();
    let address = format!("{}/{container}?versions=&format=json&prefix={prefix}/", header("x-storage-url"));
    let mut answer = ureq::get(&address).header("X-Auth-Token", &header("x-auth-token")).call().unwrap();
    let listed: Vec<serde_json::Value> = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    listed.iter().map(|version| version["name"].as_str().unwrap().to_owned()).collect()
}

/// STORE-5
#[test]
fn a_put_new_that_never_arrived_is_made_again_and_refused_where_another_came_first() {
    for service in services() {
        let direct = service.store();
        let location: Location = direct.location().parse().unwrap();
        let other = Arc::clone(&direct);
        let fate = move |seen: &Seen, before| match seen.method.as_str() {
            "PUT" if before == 0 => Fate::Drop,
            "PUT" if before == 2 => {
                other.put(&name("condemned/2"), Bytes::from_static(b"ano")).unwrap();
                Fate::Drop
            }
            _ => Fate::Pass,
        };
        let proxy = Proxy::start(&service.address(), fate);
        let store = open_with(&location, Intent::Existing, &through(service, &proxy)).unwrap();
        store.put_new(&name("condemned/1"), Bytes::from_static(b"own")).unwrap();
        assert_eq!(direct.get(&name("condemned/1"), 9).unwrap(), b"own");
        let refused = store.put_new(&name("condemned/2"), Bytes::from_static(b"own"));
        assert!(matches!(refused, Err(StoreError::Exists { .. })), "{service:?}: {refused:?}");
        assert_eq!(direct.get(&name("condemned/2"), 9).unwrap(), b"ano");
    }
}

/// STORE-6
#[test]
fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    for service in services() {
        for status in [500, 502, 503, 504, 429, 408] {
            let proxy = Proxy::start(&service.address(), move |seen, before| match before {
                0 if !seen.path.starts_with("/auth") => Fate::Answer(status),
                _ => Fate::Pass,
            });
            let store = behind(service, &proxy);
            let lease = name("leases/1");
            store.put(&lease, Bytes::from_static(b"lease")).unwrap();
            assert_eq!(store.stat(&lease).unwrap().map(|stat| stat.size), Some(5), "{service:?} {status}");
            assert_eq!(store.get(&lease, 9).unwrap(), b"lease");
            assert_eq!(store.get_range(&lease, 1, 2).unwrap(), b"ea");
            assert_eq!(listed(&*store, "leases/"), ["leases/1"]);
            store.delete(&lease).unwrap();
            assert_eq!(store.stat(&lease).unwrap(), None);
        }
        let proxy = Proxy::start(&service.address(), |seen, _| match seen.path.starts_with("/auth") {
            true => Fate::Pass,
            false => Fate::Answer(403),
        });
        let store = behind(service, &proxy);
        let refused = store.put(&name("leases/1"), Bytes::new()).unwrap_err();
        assert!(matches!(refused, StoreError::Service { trouble: Trouble::Forbidden, .. }), "{refused:?}");
        assert_eq!(proxy.drain().into_iter().filter(|asked| asked.starts_with("PUT")).count(), 1);
    }
}

/// STORE-10
#[test]
fn a_token_that_is_refused_is_renewed_once_in_the_middle_of_the_work() {
    if Service::Swift.is_skipped() {
        return;
    }
    let refusals = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&refusals);
    let fate = move |seen: &Seen, _| {
        let take = |left: usize| left.checked_sub(1);
        match !seen.path.starts_with("/auth") && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
            true => Fate::Answer(401),
            false => Fate::Pass,
        }
    };
    let proxy = Proxy::start(&Service::Swift.address(), fate);
    let store = behind(Service::Swift, &proxy);
    let pack = name("packs/ab/1");
    store.put_new(&pack, Bytes::from_static(b"first")).unwrap();
    assert_eq!(proxy.drain(), ["GET v1.0", "PUT 1"]);
    refusals.store(1, Ordering::SeqCst);
    store.put_new(&name("packs/ab/2"), Bytes::from_static(b"second")).unwrap();
    // TempAuth gives a living token once more, so it is asked for twice.
    assert_eq!(proxy.drain(), ["PUT 2", "GET v1.0", "GET v1.0", "PUT 2"]);
    refusals.store(usize::MAX, Ordering::SeqCst);
    let refused = store.get(&pack, 9).unwrap_err();
    assert!(matches!(refused, StoreError::Service { trouble: Trouble::Forbidden, .. }), "{refused:?}");
    assert_eq!(proxy.drain(), ["GET 1", "GET v1.0", "GET v1.0", "GET 1"]);
}

/// STORE-9
#[test]
fn a_404_of_swift_is_believed_when_it_was_given_three_times() {
    if Service::Swift.is_skipped() {
        return;
    }
    let fate = |seen: &Seen, before: usize| match (seen.method.as_str(), seen.path.ends_with("/leases/1")) {
        ("GET" | "HEAD", true) if before < 2 => Fate::Answer(404),
        _ => Fate::Pass,
    };
    let proxy = Proxy::start(&Service::Swift.address(), fate);
    let store = behind(Service::Swift, &proxy);
    store.put(&name("leases/1"), Bytes::from_static(b"lease")).unwrap();
    assert_eq!(store.stat(&name("leases/1")).unwrap().map(|stat| stat.size), Some(5));
    proxy.drain();
    assert_eq!(store.get(&name("leases/1"), 9).unwrap(), b"lease");
    assert_eq!(proxy.drain(), ["GET 1", "GET 1", "GET 1"]);
    assert_eq!(store.stat(&name("leases/2")).unwrap(), None);
    assert_eq!(proxy.drain().into_iter().filter(|asked| asked == "HEAD 2").count(), 3);
}

/// STORE-14
#[test]
fn a_listing_of_swift_is_one_request_where_its_first_page_is_all_of_it() {
    if Service::Swift.is_skipped() {
        return;
    }
    // Of one directory the first page is told to be full, of another it is refused: then all is asked for as usual.
    // Of two it is a page of less than was asked for: with a hundred there may be more.
    let page = |directory: &str, names: std::ops::Range<usize>| {
        let entry = |number| json!({"name": format!("x/{directory}/{number:04}"), "bytes": 1, "hash": "", "content_type": "", "last_modified": "2026-11-29T00:00:00.000000"});
        let page = serde_json::Value::Array(names.map(entry).collect()).to_string();
        Fate::Say(format!("200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{page}", page.len()))
    };
    let fate = move |seen: &Seen, _: usize| match (seen.path.contains("limit=1000"), seen.path.contains("marker=")) {
        (true, _) if seen.path.contains("index") => Fate::Answer(412),
        (true, _) if seen.path.contains("forgotten") => page("forgotten", 0..99),
        (true, _) if seen.path.contains("snapshots") => page("snapshots", 0..100),
        (false, true) if seen.path.contains("snapshots") && seen.path.contains("0099") => page("snapshots", 100..120),
        (false, true) if seen.path.contains("snapshots") => page("snapshots", 0..0),
        (true, false) if seen.path.contains("packs") => page("packs", 0..1000),
        (false, true) if seen.path.contains("marker=x%2Fpacks%2F0999") || seen.path.contains("marker=x/packs/0999") => {
            page("packs", 1000..1300)
        }
        (false, true) if seen.path.contains("packs") => page("packs", 0..0),
        _ => Fate::Pass,
    };
    let proxy = Proxy::start(&Service::Swift.address(), fate);
    let location: Location = format!("swift://{BUCKET}/x").parse().unwrap();
    let store = open_with(&location, Intent::Existing, &through(Service::Swift, &proxy)).unwrap();
    for object in ["leases/1", "leases/2", "index/1", "index/2"] {
        store.put(&name(object), Bytes::from_static(b"x")).unwrap();
    }
    let asked = |prefix: &str| {
        proxy.drain();
        (listed(&*store, prefix).len(), proxy.drain().len())
    };
    assert_eq!(asked("leases/"), (2, 1));
    assert_eq!(asked("keys/"), (0, 1));
    assert_eq!(asked("index/"), (2, 3));
    assert_eq!(asked("packs/"), (1300, 3));
    assert_eq!(asked("forgotten/"), (99, 1));
    assert_eq!(asked("snapshots/"), (120, 3));
}
