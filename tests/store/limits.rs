//! How fast bytes pass to a service and from it where a person set a limit.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redkeep::store::{Intent, Limits, Location, Settings, open_with};

use crate::name;
use crate::support::services::Service;

/// STORE-13
#[test]
fn bytes_pass_no_faster_than_they_may() {
    const BYTES: usize = 400 << 10;
    let rate = Some(200 << 10);
    for service in [Service::Seaweed, Service::Swift] {
        if service.is_skipped() {
            continue;
        }
        let location: Location = service.location().parse().unwrap();
        let store = |limits| {
            let settings = Settings { limits, put_new: Some(service.promised()), ..service.settings() };
            open_with(&location, Intent::Existing, &settings).unwrap()
        };
        let (slow_up, slow_down) =
            (store(Limits { upload: rate, download: None }), store(Limits { upload: None, download: rate }));
        let (bytes, of) = (Bytes::from(vec![7; BYTES]), name("notes/x"));
        let took = |work: &dyn Fn()| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        };
        // Two seconds by the limit: a loopback takes none of them by itself, and a busy host only more.
        let least = Duration::from_millis(1900);
        assert!(took(&|| slow_up.put(&of, bytes.clone()).unwrap()) >= least, "{service:?}");
        assert!(took(&|| assert_eq!(slow_down.get(&of, 1 << 20).unwrap(), bytes)) >= least, "{service:?}");
        assert_eq!(slow_up.stat(&of).unwrap().map(|stat| stat.size), Some(BYTES as u64));
    }
}
