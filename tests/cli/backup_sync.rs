use crate::place::Place;
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

fn start(place: &Place, lines: &[&str]) -> Option<RedisServer> {
    if ServerKind::Redis7.is_skipped() {
        return None;
    }
    std::fs::create_dir(place.path("served")).unwrap();
    let lines = [&["repl-diskless-sync-delay 0"], lines].concat();
    Some(RedisServer::start_with(ServerKind::Redis7, &place.path("served"), ServerOptions::with_config(&lines)))
}

fn order(server: &RedisServer, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

#[test]
fn a_server_sends_its_dump_which_is_looked_into_and_restored_as_any_other() {
    let place = Place::with_repository();
    let Some(server) = start(&place, &["appendonly yes"]) else { return };
    order(&server, "MSET a 1 b 2");
    order(&server, "HSET h field value");
    let address = format!("127.0.0.1:{}", server.port());
    let sync = ["backup", "--redis", &address, "--mode", "sync"];
    let text = place.done(&sync).text();
    assert!(text.contains("by the server's clock, as it was sent") && text.contains("3 keys"), "{text}");
    let json = place.done(&[&sync[..], &["--json"]].concat()).json();
    assert_eq!((&json["mode"], &json["holds"], &json["files"]), (&"sync".into(), &"rdb".into(), &1.into()));
    assert_eq!(json["replication"]["payload"], "diskless");
    assert!(json["replication"]["id"].as_str().unwrap().len() == 40 && json["replication"]["offset"].is_u64());
    assert!(text.contains("sent     from its memory, without a file there, of replication "), "{text}");
    assert_eq!((&json["keys"], &json["forms"][0]["form"]), (&3.into(), &"canonical".into()));
    assert_eq!(place.done(&["ls", "latest", "--json"]).json()["files"][0]["path"], "dump.rdb");
    assert_eq!(place.ends(0, &["get", "a"]).text(), "1\n");

    order(&server, "SET c 3");
    place.done(&[&sync[..], &["--drill", "--quiet"]].concat());
    let keys = place.run(&["diff", "latest~1", "latest", "--keys"]).text();
    assert!(keys.contains('c'), "{keys}");
    place.done(&["restore", "latest", "--target", "back", "--quiet"]);
    let restored = RedisServer::start(ServerKind::Redis7, &place.path("back"));
    assert_eq!(redis::cmd("DBSIZE").query::<u64>(&mut restored.connection()).unwrap(), 4);
    order(&server, "FLUSHALL");
    place.ends(3, &sync).says("was that meant?");
}

#[test]
fn what_needs_files_is_refused_with_a_server_that_sends_its_dump() {
    let place = Place::with_repository();
    for more in [&["--no-save"][..], &["--with-config"], &["--dir", "data"], &["--path-map", "/a=/b"]] {
        let sync = ["backup", "--redis", "127.0.0.1:1", "--mode", "sync"];
        place.ends(2, &[&sync, more].concat()).says("there are no files of the server");
    }
    place.ends(2, &["backup", "data", "--mode", "sync"]);
}

/// As of a server elsewhere, its directory is not found here.
#[test]
fn a_server_out_of_reach_sends_its_dump_unasked_where_the_user_may_be_sent_it() {
    let place = Place::with_repository();
    let Some(server) = start(&place, &[]) else { return };
    order(&server, "SET a 1");
    std::fs::remove_dir(place.path("served")).unwrap();
    let address = format!("127.0.0.1:{}", server.port());
    let ran = place.ends(0, &["backup", "--redis", &address, "--json"]);
    ran.says("keeps its files is not known: its dump is captured through replication");
    assert_eq!(ran.json()["mode"], "sync");
    place.ends(9, &["backup", "--redis", &address, "--mode", "rdb"]).says("--mode sync");
    let told = place.run(&["doctor", "--redis", &address]);
    assert!(told.text().contains("warning:") && told.text().contains("+psync +replconf"), "{}", told.text());

    let rights = redkeep::redis::server::ACL_RULES;
    order(&server, &format!("ACL SETUSER few reset on nopass {rights}"));
    let ran = place.ends(9, &["backup", "--redis", &format!("redis://few:x@{address}")]);
    ran.says("keeps its files is not known")
        .says("name its directory with --dir")
        .says("ACL SETUSER few +psync +replconf");
}
