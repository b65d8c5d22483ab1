//! A key of a snapshot is put into a running server.

use std::fs;
use std::io::{self, Read as _};
use std::net::{TcpListener, TcpStream};

use crate::place::Place;
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

fn order<T: redis::FromRedisValue>(server: &RedisServer, line: &str) -> T {
    let words: Vec<&str> = line.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut server.connection()).unwrap_or_else(|why| panic!("{line}: {why}"))
}

/// A server, and a snapshot of it.
fn scene(lines: &[&str], config: &[&str]) -> Option<(Place, RedisServer, String)> {
    if ServerKind::Redis7.is_skipped() {
        return None;
    }
    let place = Place::with_tiny_repository();
    fs::create_dir(place.path("served")).unwrap();
    let options = ServerOptions::with_config(config);
    let server = RedisServer::start_with(ServerKind::Redis7, &place.path("served"), options);
    lines.iter().for_each(|line| drop(order::<redis::Value>(&server, line)));
    let address = format!("127.0.0.1:{}", server.port());
    place.done(&["backup", "--redis", &address, "--dataset", "d", "-q"]);
    Some((place, server, address))
}

#[test]
fn nothing_is_overwritten_unless_it_is_asked_for() {
    let lines = ["SET k old PXAT 4102444800000", "RPUSH l a b"];
    let Some((place, server, address)) = scene(&lines, &[]) else { return };
    order::<()>(&server, "SET k new");
    let ran = place.ends(9, &["get", "k", "--into", &address]);
    ran.says("has a key of that name already").says("--replace").says("--as NAME");
    assert_eq!(order::<String>(&server, "GET k"), "new");

    let ran = place.ends(0, &["get", "k", "--into", &address, "--as", "k:before"]);
    assert!(ran.text().starts_with(&format!("put k:before into database 0 of the server at {address} (Redis 7.0.")));
    ran.says("expires 2100-01-01");
    assert_eq!(order::<String>(&server, "GET k:before"), "old");
    let ran = place.ends(0, &["get", "k", "--into", &address, "--replace", "--json", "-q"]);
    let into = &ran.json()["into"];
    assert_eq!((&into["replaced"], &into["remade"], &into["expires"]), (&true.into(), &false.into(), &true.into()));
    assert_eq!((&into["db"], &into["key"], &into["expired_fields"]), (&0.into(), &"k".into(), &0.into()));
    assert_eq!(order::<i64>(&server, "PEXPIRETIME k"), 4_102_444_800_000);
    place.ends(0, &["get", "k", "--into", &address, "--replace", "--no-expiry"]).says("it does not expire there");
    assert_eq!(order::<i64>(&server, "PTTL k"), -1);

    // The database is that of the option, else of the address, else the one it was in.
    place.ends(0, &["get", "l", "--into", &format!("redis://{address}/3")]);
    place.ends(0, &["get", "l", "--into", &format!("redis://{address}/3"), "--into-db", "4"]);
    let mut connection = server.connection();
    for database in [3, 4] {
        redis::cmd("SELECT").arg(database).exec(&mut connection).unwrap();
        let list: Vec<String> = redis::cmd("LRANGE").arg(&["l", "0", "-1"]).query(&mut connection).unwrap();
        assert_eq!(list, ["a", "b"]);
    }
    place.ends(9, &["get", "l", "--into", &address, "--into-db", "99"]).says("fewer databases");
    place.ends(2, &["get", "l", "--into", &address, "--raw"]);
    place.ends(2, &["get", "l", "--replace"]);
    place.ends(2, &["get", "l", "--redis-user", "x"]).says("name it with --into");
}

#[test]
fn a_server_that_refuses_says_why_and_what_to_do() {
    let Some((place, server, address)) = scene(&["SET k v", "SET lost v"], &[]) else { return };
    let put = |key: &str, code: i32| place.ends(code, &["get", key, "--into", &address]);
    order::<()>(&server, "DEL k");
    order::<()>(&server, "CONFIG SET maxmemory 1");
    put("k", 9).says("OOM").says("maxmemory");
    order::<()>(&server, "CONFIG SET maxmemory 0");
    order::<()>(&server, "REPLICAOF 127.0.0.1 1");
    put("k", 9).says("READONLY").says("name the master, 127.0.0.1:1");
    order::<()>(&server, "REPLICAOF NO ONE");
    order::<()>(&server, "ACL SETUSER app on nopass ~other* +restore +ping");
    place.ends(9, &["get", "k", "--into", &format!("redis://app@{address}")]).says("ACL SETUSER app ~PATTERN");
    place.ends(0, &["get", "k", "--into", &format!("redis://app@{address}"), "--as", "other"]);
    place.ends(9, &["get", "k", "--into", "127.0.0.1:1"]).says("is it running");
    place.ends(2, &["get", "k", "--into", "http://x"]);
    place.ends(1, &["get", "none", "--into", &address]).says("no key none");
    let mut connection = server.connection();
    redis::cmd("CONFIG").arg(&["SET", "requirepass", "secret"]).exec(&mut connection).unwrap();
    put("k", 9).says("refuses the login").says("--redis-password-file");
    fs::write(place.path("wrong"), "wrong\n").unwrap();
    fs::write(place.path("right"), "secret\n").unwrap();
    place.ends(9, &["get", "k", "--into", &address, "--redis-password-file", "wrong"]).says("WRONGPASS");
    redis::cmd("EXISTS").arg("k").query::<u64>(&mut connection).map(|count| assert_eq!(count, 0)).unwrap();
    place.ends(0, &["get", "k", "--into", &address, "--redis-password-file", "right"]);
    assert_eq!(redis::cmd("GET").arg("k").query::<String>(&mut connection).unwrap(), "v");
}

#[test]
fn a_server_that_is_full_in_the_midst_of_it_is_told_how_it_goes_on() {
    let Some((place, server, address)) = scene(&[], &[]) else { return };
    let mut fill = redis::pipe();
    for number in 0..30_000 {
        fill.set(format!("key:{number}"), &[7u8; 100]).ignore();
    }
    fill.exec(&mut server.connection()).unwrap();
    place.done(&["backup", "--redis", &address, "--dataset", "d", "-q"]);
    order::<()>(&server, "FLUSHALL");
    let used = server.info().number("used_memory");
    order::<()>(&server, &format!("CONFIG SET maxmemory {}", used + (2 << 20)));
    place
        .ends(9, &["restore", "--into", &address])
        .says("OOM")
        .says("at least ")
        .says("keys went into the server")
        .says("--merge");
    order::<()>(&server, "CONFIG SET maxmemory 0");
    place.ends(3, &["restore", "--into", &address, "--merge"]).says("were left as they are there");
    assert_eq!(order::<u64>(&server, "DBSIZE"), 30_000);
}

/// Keys that go in a far year, so that none is missing because it went.
fn many(keys: usize, server: &RedisServer) {
    let mut fill = redis::pipe();
    for number in 0..keys {
        fill.cmd("SET").arg(format!("key:{number}")).arg(&[7u8; 100]).arg("PXAT").arg(4_102_444_800_000u64).ignore();
    }
    fill.exec(&mut server.connection()).unwrap();
}

/// The address of a server behind which, once so many bytes were sent there, something is done before more are.
fn interrupted(server: &RedisServer, behind: usize, act: impl FnOnce() + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, port) = (listener.local_addr().unwrap().to_string(), server.port());
    std::thread::spawn(move || {
        let (mut client, mut server) = (listener.accept().unwrap().0, TcpStream::connect(("127.0.0.1", port)).unwrap());
        let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || io::copy(&mut answers, &mut back));
        io::copy(&mut (&mut client).take(behind as u64), &mut server).unwrap();
        act();
        io::copy(&mut client, &mut server)
    });
    address
}

/// One database is emptied or changes places with another while keys are put into it, and all that was sent was taken.
#[test]
fn a_server_that_is_emptied_in_the_midst_of_it_does_not_pass_for_one_that_holds_the_keys() {
    let Some((place, server, address)) = scene(&[], &[]) else { return };
    many(30_000, &server);
    place.done(&["backup", "--redis", &address, "--dataset", "d", "-q"]);
    for (line, own) in [("FLUSHALL", false), ("FLUSHDB", true), ("SWAPDB 0 3", true)] {
        order::<()>(&server, "FLUSHALL");
        if own {
            order::<()>(&server, "SET own 1");
        }
        let mut connection = server.connection();
        let act = move || {
            redis::cmd(line.split(' ').next().unwrap())
                .arg(line.split(' ').skip(1).collect::<Vec<_>>())
                .exec(&mut connection)
                .unwrap()
        };
        let through = interrupted(&server, 1 << 20, act);
        let ran = place.ends(3, &["restore", "--into", &through, "--merge", "--json"]);
        ran.says("where 30000 were put that have not expired").says("FLUSHALL");
        let missing = &ran.json()["missing"][0];
        assert_eq!((&missing["db"], &missing["put"]), (&0.into(), &30_000.into()), "{line}: {missing}");
        place.ends(0, &["restore", "--into", &address, "--merge", "--replace"]);
        assert_eq!(order::<u64>(&server, "DBSIZE"), 30_000, "{line}");
    }
}

#[test]
fn a_server_that_throws_keys_away_for_want_of_memory_is_told() {
    let Some((place, server, address)) = scene(&[], &[]) else { return };
    many(20_000, &server);
    place.done(&["backup", "--redis", &address, "--dataset", "d", "-q"]);
    order::<()>(&server, "FLUSHALL");
    // It holds so many of its own that it has as many as were put, whatever it throws away.
    let mut fill = redis::pipe();
    for number in 0..30_000 {
        fill.set(format!("own:{number}"), 1).ignore();
    }
    fill.exec(&mut server.connection()).unwrap();
    let used = server.info().number("used_memory");
    order::<()>(&server, "CONFIG SET maxmemory-policy volatile-lru");
    order::<()>(&server, &format!("CONFIG SET maxmemory {}", used + (2 << 20)));
    let ran = place.ends(3, &["restore", "--into", &address, "--merge", "--json"]);
    ran.says("threw away").says("maxmemory");
    let json = ran.json();
    let number = |name: &str| json[name].as_u64().unwrap();
    assert_eq!((number("put"), number("held_now") + number("evicted")), (20_000, 50_000), "{json}");
    order::<()>(&server, "CONFIG SET maxmemory 0");
    place.ends(0, &["restore", "--into", &address, "--merge", "--replace"]);
    assert_eq!(order::<u64>(&server, "DBSIZE"), 50_000);
}

/// The password of one server is not given to another that it names.
#[test]
fn of_a_cluster_the_node_is_named_that_has_the_key() {
    let config = ["cluster-enabled yes", "cluster-require-full-coverage no"];
    let Some((place, server, address)) = scene(&[], &config) else { return };
    fs::create_dir(place.path("other")).unwrap();
    let options = ServerOptions::with_config(&config);
    let other = RedisServer::start_with(ServerKind::Redis7, &place.path("other"), options);
    // k is of slot 7629.
    order::<()>(&server, "CLUSTER ADDSLOTSRANGE 0 8000");
    wait_for("the cluster", || order::<String>(&server, "CLUSTER INFO").contains("cluster_state:ok").then_some(()));
    order::<()>(&server, "SET k v");
    place.done(&["backup", "--redis", &address, "--dataset", "d", "-q"]);
    order::<()>(&other, "CLUSTER ADDSLOTSRANGE 8001 16383");
    order::<()>(&other, &format!("CLUSTER MEET 127.0.0.1 {}", server.port()));
    let elsewhere = format!("127.0.0.1:{}", other.port());
    wait_for("the other node to know who has the slot", || {
        let answer = redis::cmd("GET").arg("k").query::<redis::Value>(&mut other.connection());
        answer.is_err_and(|error| error.to_string().contains("Moved") || error.code() == Some("MOVED")).then_some(())
    });
    place.ends(9, &["get", "k", "--into", &elsewhere]).says("MOVED").says(&format!("name that one, {address}"));
    place.ends(9, &["get", "k", "--into", &address, "--into-db", "1"]).says("database 0 only");
    place.ends(0, &["get", "k", "--into", &address, "--replace"]);
}

/// What a look-up can tell can be put, whoever wrote it last.
#[test]
fn what_the_commands_behind_a_dump_left_is_put() {
    let Some((place, server, address)) = scene(&["SET a 1"], &["appendonly yes"]) else { return };
    for line in ["SET a 2", "PEXPIREAT a 4102444800000", "SET b 3 EX 1000", "RPUSH l a", "DEL c"] {
        order::<redis::Value>(&server, line);
    }
    place.done(&["backup", "--redis", &address, "--dataset", "d", "-q"]);
    order::<()>(&server, "FLUSHALL");
    place.ends(0, &["get", "a", "--into", &address]);
    place.ends(0, &["get", "b", "--into", &address]);
    assert_eq!((order::<u64>(&server, "GET a"), order::<i64>(&server, "PEXPIRETIME a")), (2, 4_102_444_800_000));
    assert!((1..=1_000_000).contains(&order::<i64>(&server, "PTTL b")));
    place.ends(1, &["get", "l", "--into", &address]).says("cannot be told without a restore").says("rpush");
    place.ends(1, &["get", "c", "--into", &address]).says("no key c");
    assert_eq!(order::<u64>(&server, "EXISTS l c"), 0);
}

#[test]
fn a_snapshot_is_put_into_a_running_server_key_by_key() {
    let lines = ["SET user:1 one", "SET user:2 two", "RPUSH l a b"];
    let Some((place, server, address)) = scene(&lines, &[]) else { return };
    let ran = place.ends(9, &["restore", "--into", &address]);
    ran.says("holds 3 keys").says("--merge");
    order::<()>(&server, "FLUSHALL");
    let ran = place.ends(0, &["restore", "latest", "--into", &address, "--dry-run"]);
    assert!(ran.text().contains("would put 3 keys"), "{}", ran.text());
    assert_eq!(order::<u64>(&server, "DBSIZE"), 0);
    let ran = place.ends(0, &["restore", "--into", &address, "--match", "user:*"]);
    assert!(ran.text().contains("put 2 keys") && ran.text().contains("2 keys now, 0 before"), "{}", ran.text());
    order::<()>(&server, "SET user:2 new");
    let ran = place.ends(3, &["restore", "--into", &address, "--merge", "--json"]);
    ran.says("2 keys were left as they are there");
    let json = ran.json();
    assert_eq!((&json["put"], &json["there"], &json["held_now"]), (&1.into(), &2.into(), &3.into()));
    assert_eq!(order::<String>(&server, "GET user:2"), "new");
    place.ends(0, &["restore", "--into", &address, "--merge", "--replace"]);
    assert_eq!(order::<String>(&server, "GET user:2"), "two");
    // What belongs to another way of restoring says so.
    for others in [&["--target", "x"][..], &["--server"], &["--at", "now"], &["--yes"]] {
        place.ends(2, &[&["restore", "--into", &address], others].concat());
    }
    place.ends(2, &["restore", "--target", "x", "--merge"]);
    place.ends(2, &["restore", "--into", &format!("redis://{address}/3")]).says("leave the number out");
}

#[test]
fn a_dry_run_says_what_the_version_of_the_server_does_not_take() {
    let Some((place, server, address)) = scene(&[], &[]) else { return };
    // A string, and a hash of Redis 7.4 of which a field expires.
    let mut dump = b"REDIS0012\xfe\x00\x00\x01s\x01v\x18\x01h".to_vec();
    dump.extend_from_slice(&4_102_444_800_000u64.to_le_bytes());
    dump.extend_from_slice(b"\x01\x01\x01f\x01v\xff");
    let checksum = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(&dump);
    dump.extend_from_slice(&checksum.to_le_bytes());
    fs::write(place.data().join("dump.rdb"), dump).unwrap();
    place.done(&["backup", "data", "--dataset", "new"]);
    let put = |more: &[&str]| {
        let ran = place.ends(3, &[&["restore", "--dataset", "new", "--into", &address, "--json"], more].concat());
        let json = ran.json();
        assert_eq!((&json["put"], &json["not_taken"][0]["keys"]), (&1.into(), &1.into()), "{json}");
        assert_eq!((&json["not_taken"][0]["what"], &json["not_taken"][0]["key"]), (&"hash".into(), &"h".into()));
        assert_eq!(json["not_taken"].as_array().unwrap().len(), 1);
        ran
    };
    put(&["--dry-run"]).says("1 key (hash) would not be put").says("Redis 7.0.").says("does not know this type");
    assert_eq!(order::<u64>(&server, "DBSIZE"), 0);
    put(&[]).says("1 key (hash) was not put").says("checksum are wrong (this version of the server does not know");
}
