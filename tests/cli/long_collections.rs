//! Collections of servers that are too long to be made canonical: backed up on both sides of a restart, looked into, restored.

use std::fs;

use redkeep::format::recipe::ColumnRole;
use redkeep::operations::list::{Selector, choose};
use redkeep::repository::{Ambient, Places, Repository};

use crate::place::{Place, noise, objects};
use crate::support::repository::{local, password};
use crate::support::server::{RedisServer, ServerKind};

/// More elements than a repository of tiny buckets has made canonical at once.
const MANY: u64 = 2_500;

/// A set that takes more bytes than that has made canonical at once, a hash, and where fields can expire one of such.
fn fill(server: &RedisServer) {
    let mut pipe = redis::pipe();
    for number in 0..3 * MANY {
        pipe.cmd("SADD").arg("set").arg(noise(number, 20)).ignore();
    }
    for number in 0..MANY {
        pipe.cmd("HSET").arg("hash").arg(format!("field {number}")).arg(number % 50).ignore();
        pipe.cmd("SADD").arg("numbers").arg(1_000_000 + number * 3).ignore();
        if server.kind().has_field_expiry() {
            let field = format!("field {number}");
            pipe.cmd("HSET").arg("volatile").arg(&field).arg("value").ignore();
            let times = 40_000_000 + number % 3;
            pipe.cmd("HEXPIRE").arg("volatile").arg(times).arg("FIELDS").arg(1).arg(&field).ignore();
        }
    }
    pipe.cmd("SET").arg("text").arg("a").ignore().exec(&mut server.connection()).unwrap();
}

/// Backs the stopped server up; its dump comes back. Answers with how many bytes that took.
fn back_up(place: &Place) -> u64 {
    let packed = || objects(place, "packs").iter().map(|pack| fs::metadata(pack).unwrap().len()).sum::<u64>();
    let before = packed();
    place.done(&["backup", "served", "--dataset", "d"]);
    let stored = packed() - before;
    let ran = place.done(&["dump", "latest", "dump.rdb"]);
    assert!(ran.stdout == fs::read(place.path("served/dump.rdb")).unwrap(), "other bytes come back");
    stored
}

/// Whether the newest snapshot has orders of collections that are too long to be made canonical.
fn has_long_orders(place: &Place) -> bool {
    let (store, secret) = (local(&place.repository()), password("correct horse"));
    let repository = Repository::open(store, secret, Ambient::system(), Places::default(), None).unwrap();
    let newest = choose(&repository, &Selector::Latest(0), None).unwrap().snapshot;
    let parts = newest.files.iter().flat_map(|file| file.recipe.iter().flatten());
    parts.flat_map(|part| part.streams.keys()).any(|role| *role == ColumnRole::LargeOrder as u64)
}

/// CANON-8
#[test]
fn a_restart_of_a_server_costs_the_order_of_its_long_collections() {
    for kind in [ServerKind::Redis7, ServerKind::Redis74, ServerKind::Valkey9] {
        if kind.is_skipped() {
            continue;
        }
        let place = Place::with_tiny_buckets();
        fs::create_dir(place.path("served")).unwrap();
        let mut server = RedisServer::start(kind, &place.path("served"));
        fill(&server);
        server.stop_saving();
        let first = back_up(&place);
        assert!(has_long_orders(&place), "{}", kind.name());
        server.start_again();
        server.stop_saving();
        let restarted = back_up(&place);
        assert!(restarted * 3 < first, "{}: {restarted} of {first}", kind.name());
        assert_eq!(place.done(&["diff", "latest~1", "latest", "--keys"]).text(), "0 added, 0 removed, 0 changed\n");
        server.start_again();
        let mut pipe = redis::pipe();
        pipe.cmd("SREM").arg("set").arg(noise(7, 20)).cmd("HSET").arg("hash").arg("field 7").arg("another");
        pipe.exec(&mut server.connection()).unwrap();
        server.stop_saving();
        back_up(&place);
        let mut text = place.done(&["diff", "latest~1", "latest", "--keys"]).text();
        text = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect();
        assert_eq!(text, "changed 0 hash\nchanged 0 set\n0 added, 0 removed, 2 changed\n");
        assert_eq!(place.ends(0, &["get", "set", "--json"]).json()["elements"], 3 * MANY - 1);
        let hash = place.ends(0, &["get", "hash", "--json"]).json();
        assert_eq!((&hash["elements"], &hash["type"]), (&MANY.into(), &"hash".into()));
        assert!(hash.to_string().contains("another"), "{}", kind.name());
        for command in [&["check", "--read-data"][..], &["verify", "latest~1"]] {
            place.done(command);
        }
        place.done(&["restore", "latest", "--target", "back"]);
        assert!(fs::read(place.path("back/dump.rdb")).unwrap() == fs::read(place.path("served/dump.rdb")).unwrap());
    }
}
