//! A store that is busy, or is given up: how long a command waits, and how it ends.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use crate::object_stores::Far;
use crate::place::{noise, tree};
use crate::support::proxy::Fate;
use crate::support::services::{Service, wait_for};

const BUSY_FOR_LONG: &str = "503 Slow Down\r\nRetry-After: 200\r\nContent-Length: 0\r\n\r\n";

/// A repository in a service that is too busy for anything once the flag is set, and asks to be left alone for long.
fn busy_at_will() -> Option<(Far, Arc<AtomicBool>)> {
    let is_busy = Arc::new(AtomicBool::new(false));
    let busy = Arc::clone(&is_busy);
    let fate = move |_: &_, _| match busy.load(Ordering::SeqCst) {
        true => Fate::Say(BUSY_FOR_LONG.into()),
        false => Fate::Pass,
    };
    if Service::Seaweed.is_skipped() {
        return None;
    }
    let far = Far::behind(Service::Seaweed, fate);
    far.done(&["init"]);
    far.done(&["backup", "data", "--dataset", "d"]);
    Some((far, is_busy))
}

/// STORE-6: a person says how long, on the command line or in the configuration.
#[test]
fn a_store_that_stays_busy_ends_a_command_with_5_when_its_time_is_up() {
    let Some((far, is_busy)) = busy_at_will() else { return };
    is_busy.store(true, Ordering::SeqCst);
    let ran = far.ends(5, &["snapshots", "--retry-for", "1s"]);
    assert!(ran.stderr.contains("503") && ran.stderr.contains("run it again later"), "{}", ran.stderr);
    fs::write(far.place.path("redkeep.toml"), "[profile.far]\nretry-for = \"1s\"\nlimit-upload = \"20M\"\n").unwrap();
    far.ends(5, &["snapshots", "--config", "redkeep.toml", "--profile", "far"]);
    is_busy.store(false, Ordering::SeqCst);
    far.done(&["snapshots", "--retry-for", "1s"]);
    far.ends(2, &["snapshots", "--limit-upload", "1K"]).says("at least 16K");
    far.ends(2, &["snapshots", "--limit-download", "fast"]).says("512K");
}

/// Nobody has to wait minutes for a command that waits for a store.
#[test]
fn who_interrupts_a_command_that_waits_for_a_store_waits_no_longer() {
    if Service::Seaweed.is_skipped() {
        return;
    }
    let [is_armed, is_busy] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (armed, busy) = (Arc::clone(&is_armed), Arc::clone(&is_busy));
    let far = Far::behind(Service::Seaweed, move |seen, _| {
        if busy.load(Ordering::SeqCst) {
            return Fate::Say(BUSY_FOR_LONG.into());
        }
        // From the lease of a backup on.
        let is_lease = seen.method == "PUT" && seen.path.contains("/leases/");
        busy.store(is_lease && armed.load(Ordering::SeqCst), Ordering::SeqCst);
        Fate::Pass
    });
    far.done(&["init"]);
    is_armed.store(true, Ordering::SeqCst);
    let mut command = far.command(&["backup", "data", "--dataset", "d"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let proxy = far.proxy.as_ref().unwrap();
    wait_for("a request that is refused", || {
        let seen = proxy.seen();
        Ok(seen.iter().skip_while(|seen| !seen.path.contains("/leases/")).count() > 1)
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut ended = None;
    // It was asked to be left alone for longer than this waits.
    wait_for("its end", || {
        ended = child.try_wait()?;
        Ok(ended.is_some())
    });
    assert_eq!(ended.and_then(|ended| ended.code()), Some(130));
    let told = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(told.matches("note: the service answers 503").count(), 1, "{told}");
    is_armed.store(false, Ordering::SeqCst);
    is_busy.store(false, Ordering::SeqCst);
    far.done(&["check"]);
}

/// STORE-6: one request in seven fails, in one way after the other; a lost answer is one of them.
fn now_and_then(service: Service) {
    if service.is_skipped() {
        return;
    }
    let (is_armed, count) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let armed = Arc::clone(&is_armed);
    let far = Far::behind(service, move |_, _| {
        let number = if armed.load(Ordering::SeqCst) { count.fetch_add(1, Ordering::SeqCst) } else { 0 };
        match (number % 7, number / 7 % 5) {
            (6, 0) => Fate::Lose,
            (6, 1) => Fate::Answer(503),
            (6, 2) => Fate::Drop,
            (6, 3) => Fate::Answer(500),
            (6, _) => Fate::Answer(429),
            _ => Fate::Pass,
        }
    });
    far.done(&["init"]);
    is_armed.store(true, Ordering::SeqCst);
    for seed in 1..=3 {
        fs::write(far.place.data().join("modules/table.bin"), noise(seed, 2 << 20)).unwrap();
        far.ends(0, &["backup", "data", "--dataset", "d"]);
    }
    far.ends(0, &["forget", "--keep-last", "1"]);
    far.ends(0, &["prune"]);
    far.ends(0, &["restore", "latest", "--target", "back"]);
    assert_eq!(tree(&far.place.path("back")), tree(&far.place.data()));
    far.ends(0, &["check", "--read-data"]);
    let seen = far.proxy.as_ref().unwrap().seen();
    let mut packs = BTreeMap::<&str, usize>::new();
    let puts = seen.iter().filter(|seen| seen.method == "PUT" && seen.path.contains("/packs/"));
    puts.for_each(|seen| *packs.entry(&seen.path).or_default() += 1);
    let again: usize = packs.values().map(|puts| puts - 1).sum();
    assert!(!packs.is_empty() && again <= seen.len() / 7, "a pack is sent again only after a fault: {packs:?}");
}

#[test]
fn an_s3_that_fails_now_and_then_costs_time_and_nothing_else() {
    now_and_then(Service::Seaweed);
}

#[test]
fn a_swift_that_fails_now_and_then_costs_time_and_nothing_else() {
    now_and_then(Service::Swift);
}
