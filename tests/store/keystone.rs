//! Swift behind an identity service: a stand-in answers as Keystone does, with tokens that the real Swift takes.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use redkeep::repository::{Ambient, Places, Repository};
use redkeep::store::{
    Intent, KeystoneIdentity, Location, Settings, Store, StoreError, Swift, SwiftLogin, Trouble, open_with,
};
use serde_json::{Value, json};

use crate::name;
use crate::support::proxy::{Fate, Proxy, Seen};
use crate::support::repository::{self, CHEAP, PASSWORD, back_up, latest, noise, restore_to};
use crate::support::services::Service;

/// What the stand-in answers: a token of Swift's own that lives for long, and where the account is.
fn identity(seen: &Seen, storage: &str) -> Fate {
    token(seen, storage, "2099-11-28T08:24:33.000000Z")
}

/// The same with the end of the token, as Keystone writes it.
fn token(seen: &Seen, storage: &str, ends: &str) -> Fate {
    let asked: Value = serde_json::from_str(&seen.body).unwrap_or_default();
    let (identity, scope) = (&asked["auth"]["identity"], &asked["auth"]["scope"]);
    let user = &identity["password"]["user"];
    let credential = &identity["application_credential"];
    let domain = json!({"name": "Default"});
    let is_known = match identity["methods"][0].as_str() {
        Some("password") => {
            let project = json!({"project": {"name": "backup", "domain": domain}});
            *user == json!({"name": "anna", "domain": domain, "password": "secret"}) && *scope == project
        }
        // One of these carries its project: with a scope it is refused.
        Some("application_credential") => {
            let by_name = json!({"name": "n", "user": {"name": "anna", "domain": domain}, "secret": "secret"});
            scope.is_null() && (*credential == json!({"id": "i", "secret": "secret"}) || *credential == by_name)
        }
        _ => false,
    };
    if !is_known {
        return Fate::Answer(401);
    }
    let login =
        ureq::get(Service::Swift.address()).header("X-Auth-User", "test:tester").header("X-Auth-Key", "testing");
    let answer = login.call().unwrap();
    let token = answer.headers()["x-auth-token"].to_str().unwrap().to_owned();
    let endpoint =
        |interface: &str, region: &str, url: &str| json!({"interface": interface, "region": region, "url": url});
    let catalog = json!([
        {"type": "identity", "endpoints": [endpoint("public", "one", "http://127.0.0.1:1")]},
        {"type": "object-store", "endpoints": [
            endpoint("internal", "one", "http://127.0.0.1:1"),
            endpoint("public", "two", "http://127.0.0.1:1"),
            endpoint("public", "one", storage),
        ]},
    ]);
    let body = json!({"token": {"expires_at": ends, "catalog": catalog}}).to_string();
    Fate::Say(format!("201 Created\r\nX-Subject-Token: {token}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

fn password(password: &str) -> KeystoneIdentity {
    KeystoneIdentity::Password {
        user: "anna".into(),
        user_domain: "Default".into(),
        password: String::from(password).into(),
        project: "backup".into(),
        project_domain: "Default".into(),
    }
}

fn open(address: &str, identity: KeystoneIdentity, region: &str) -> Arc<dyn Store> {
    let auth = format!("http://{address}/v3");
    let login = SwiftLogin::Keystone { auth, identity, region: Some(region.into()) };
    let settings = Settings {
        swift: Some(Swift { login, storage_url: None }),
        put_new: Some(Service::Swift.promised()),
        ..Settings::default()
    };
    let location: Location = Service::Swift.location().parse().unwrap();
    open_with(&location, Intent::Existing, &settings).unwrap()
}

/// STORE-10
#[test]
fn users_and_application_credentials_get_a_token_and_the_place_of_their_account() {
    if Service::Swift.is_skipped() {
        return;
    }
    let storage = Service::Swift.address().replace("/auth/v1.0", "/v1/AUTH_test");
    let keystone = Proxy::start(&Service::Swift.address(), move |seen, _| identity(seen, &storage));
    let secret = |text: &str| String::from(text).into();
    let by_id = |text: &str| KeystoneIdentity::CredentialId { id: "i".into(), secret: secret(text) };
    let by_name = KeystoneIdentity::CredentialName {
        name: "n".into(),
        user: "anna".into(),
        user_domain: "Default".into(),
        secret: secret("secret"),
    };
    for identity in [password("secret"), by_id("secret"), by_name] {
        let store = open(&keystone.address, identity, "one");
        store.put_new(&name("config"), Bytes::from_static(b"x")).unwrap();
        assert_eq!(store.get(&name("config"), 9).unwrap(), b"x");
    }
    assert_eq!(keystone.drain(), ["POST tokens"; 3], "one token for all of a store's requests");
    for identity in [password("other"), by_id("other")] {
        let refused = open(&keystone.address, identity, "one").get(&name("config"), 9).unwrap_err();
        assert!(matches!(refused, StoreError::Service { trouble: Trouble::Unauthorized, .. }), "{refused:?}");
    }
    let elsewhere = open(&keystone.address, password("secret"), "three").get(&name("config"), 9).unwrap_err();
    let cause = std::error::Error::source(&elsewhere).unwrap().to_string();
    assert!(cause.contains("no object store in three"), "{cause}");
}

/// STORE-10: the catalog says anew where the account is each time a token is fetched.
#[test]
fn an_account_that_moved_is_found_when_its_old_place_refuses_the_token() {
    if Service::Swift.is_skipped() {
        return;
    }
    let has_moved = Arc::new(AtomicBool::new(false));
    let moved = Arc::clone(&has_moved);
    let old = Proxy::start(&Service::Swift.address(), move |_, _| match moved.load(Ordering::SeqCst) {
        true => Fate::Answer(401),
        false => Fate::Pass,
    });
    let new = Proxy::start(&Service::Swift.address(), |_, _| Fate::Pass);
    let places = [old.address.clone(), new.address.clone()].map(|address| format!("http://{address}/v1/AUTH_test"));
    let moved = Arc::clone(&has_moved);
    let keystone = Proxy::start(&Service::Swift.address(), move |seen, _| {
        identity(seen, &places[usize::from(moved.load(Ordering::SeqCst))])
    });
    let store = open(&keystone.address, password("secret"), "one");
    store.put(&name("leases/1"), Bytes::from_static(b"first")).unwrap();
    has_moved.store(true, Ordering::SeqCst);
    store.put(&name("leases/1"), Bytes::from_static(b"second")).unwrap();
    assert_eq!(store.get(&name("leases/1"), 9).unwrap(), b"second");
    assert_eq!(old.drain(), ["PUT 1", "PUT 1"]);
    assert_eq!(new.drain(), ["PUT 1", "GET 1"]);
}

/// STORE-10: what takes longer than its token lives never meets a refusal: another one is fetched in the last minute of the first.
#[test]
fn a_token_that_ends_in_the_middle_of_a_backup_is_renewed_before_it_does() {
    if Service::Swift.is_skipped() {
        return;
    }
    let backups = thread::scope(|scope| {
        // A minute and a little, of which the backup takes more than that little; and an hour.
        [65, 3600].map(|lives| scope.spawn(move || held_up(lives))).map(|held| held.join().unwrap())
    });
    assert_eq!(backups, [2, 1], "tokens that were fetched");
}

/// Backs up with tokens that live so many seconds, where the first pack takes longer than a token is left alone for; how many tokens
/// that took.
fn held_up(lives: i64) -> usize {
    let is_held = AtomicBool::new(false);
    let swift = Proxy::start(&Service::Swift.address(), move |seen, _| {
        if seen.method == "PUT" && seen.path.contains("/packs/") && !is_held.swap(true, Ordering::SeqCst) {
            thread::sleep(Duration::from_secs(11));
        }
        Fate::Pass
    });
    let storage = format!("http://{}/v1/AUTH_test", swift.address);
    let keystone = Proxy::start(&Service::Swift.address(), move |seen, _| {
        let ends = Timestamp::now() + SignedDuration::from_secs(lives);
        token(seen, &storage, &ends.strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string())
    });
    let store = open(&keystone.address, password("secret"), "one");
    let secret = repository::password(PASSWORD);
    let made = Repository::create(store, secret, "first", CHEAP, Ambient::system(), Places::default()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("data"), place.path().join("out"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), noise(1 << 20, 1)).unwrap();
    back_up(&made, &data, "d").unwrap();
    let fetched = keystone.drain().len();
    let puts: Vec<String> = swift.drain().into_iter().filter(|asked| asked.starts_with("PUT")).collect();
    let once: std::collections::BTreeSet<&String> = puts.iter().collect();
    assert_eq!(once.len(), puts.len(), "none was refused: {puts:?}");
    restore_to(&made, &latest(&made, "d").unwrap(), &out).unwrap();
    assert!(fs::read(out.join("file")).unwrap() == noise(1 << 20, 1));
    fetched
}
