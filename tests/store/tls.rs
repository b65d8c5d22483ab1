//! Services that are reached by TLS: a private authority is trusted where it is named, and nobody else without a word.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use redkeep::store::{Intent, Location, Settings, StoreError, Tls, Trouble, open_with};

use crate::name;
use crate::services::through;
use crate::support::proxy::Proxy;
use crate::support::services::Service;

/// A certificate of this host, signed by itself: `NAME.pem` and `NAME.key`.
fn certificate(place: &Path, file: &str) {
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
                 -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
    let (key, pem) = (format!("{file}.key"), format!("{file}.pem"));
    let mut command = Command::new("openssl");
    command.args(words.split_whitespace()).args(["-keyout", &key, "-out", &pem]);
    let made = command.current_dir(place).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// STORE-7
#[test]
fn a_private_authority_is_trusted_where_it_is_named_and_anybody_only_by_that_word() {
    if Service::Seaweed.is_skipped() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    for file in ["own", "other"] {
        certificate(place.path(), file);
    }
    let at = |file: &str| place.path().join(file);
    let proxy = Proxy::start_tls(&Service::Seaweed.address(), &at("own.pem"), &at("own.key"));
    let location: Location = Service::Seaweed.location().parse().unwrap();
    let mut settings = through(Service::Seaweed, &proxy);
    settings.s3.endpoint = Some(format!("https://{}", proxy.address));
    let with = |ca: Option<&str>, insecure: bool| {
        let settings = Settings { tls: Tls { ca_file: ca.map(at), insecure }, ..settings.clone() };
        let store = open_with(&location, Intent::Existing, &settings)?;
        store.put(&name("leases/1"), Bytes::from(vec![1; 3 << 20]))?;
        store.get(&name("leases/1"), 3 << 20)
    };
    for (ca, insecure) in [(Some("own.pem"), false), (None, true)] {
        assert!(with(ca, insecure).unwrap() == vec![1; 3 << 20], "{ca:?}");
    }
    for ca in [None, Some("other.pem")] {
        let error = with(ca, false).unwrap_err();
        assert!(matches!(error, StoreError::Service { trouble: Trouble::Untrusted, .. }), "{ca:?}: {error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("ca-file")), "{error:?}");
    }
    for unusable in ["own.key", "none.pem"] {
        assert!(matches!(with(Some(unusable), false), Err(StoreError::Io { .. })), "{unusable}");
    }
}
