//! A cluster: its shards captured by one run, and taken as one by what looks at them afterwards.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

use redkeep::format::snapshot::Warning;
use redkeep::operations::backup::Options;
use redkeep::operations::backup::cluster::backup_cluster;
use redkeep::operations::source::{LiveSource, Way};
use redkeep::operations::{Observer, OperationError};
use redkeep::redis::server::LiveOptions;
use redkeep::repository::RepositoryError;

use crate::place::Place;
use crate::support::repository::{Hands, create, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

struct Cluster {
    masters: Vec<RedisServer>,
}

/// A port for the bus of a cluster: none twice, for a server is given it before it takes it.
fn bus_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let next = || (std::process::id().wrapping_mul(211).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))) % 12_000;
    (0..12_000).map(|_| 33_000 + u16::try_from(next()).unwrap()).find(free).unwrap()
}

fn command(server: &RedisServer, line: &str) -> redis::Value {
    let words: Vec<&str> = line.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut server.connection()).unwrap()
}

impl Cluster {
    /// Three masters that share all slots.
    fn start(place: &Place) -> Option<Cluster> {
        if ServerKind::Redis7.is_skipped() {
            return None;
        }
        let mut buses = Vec::new();
        let masters: Vec<RedisServer> = (1..=3)
            .map(|number| {
                let (data, bus) = (place.path(&format!("node-{number}")), bus_port());
                std::fs::create_dir(&data).unwrap();
                let bus_line = format!("cluster-port {bus}");
                let config = ["cluster-enabled yes", "repl-diskless-sync-delay 0", &bus_line];
                buses.push(bus);
                RedisServer::start_with(ServerKind::Redis7, &data, ServerOptions::with_config(&config))
            })
            .collect();
        for (master, (first, last)) in masters.iter().zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
            command(master, &format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
        }
        for (other, bus) in masters.iter().zip(&buses).skip(1) {
            command(&masters[0], &format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port()));
        }
        for master in &masters {
            wait_for("the cluster", || {
                let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut master.connection()).unwrap();
                (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")).then_some(())
            });
        }
        Some(Cluster { masters })
    }

    /// A key of each shard.
    fn set(&self, value: &str) {
        // Slots 15495, 3300 and 7365.
        for (master, key) in [(2, "a"), (0, "b"), (1, "c")] {
            command(&self.masters[master], &format!("SET {key} {value}"));
        }
    }

    /// The id of a node.
    fn id(&self, number: usize) -> String {
        redis::cmd("CLUSTER").arg("MYID").query(&mut self.masters[number].connection()).unwrap()
    }

    /// What the keys of [`Self::set`] hold, each asked of its node.
    fn values(&self) -> [Option<String>; 3] {
        [(2, "a"), (0, "b"), (1, "c")]
            .map(|(master, key)| redis::cmd("GET").arg(key).query(&mut self.masters[master].connection()).unwrap())
    }

    fn flush(&self) {
        self.masters.iter().for_each(|master| drop(command(master, "FLUSHALL")));
    }

    fn address(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.masters[number].port())
    }
}

fn secret(place: &Place, name: &str, secret: &str) {
    std::fs::write(place.path(name), format!("{secret}\n")).unwrap();
    std::fs::set_permissions(place.path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// A profile of the cluster.
fn write_profile(place: &Place, address: &str, more: &str) {
    let of_all = format!("repo = \"{}\"\npassword-file = \"password\"\n", place.repository().display());
    let of_one = format!("redis = \"{address}\"\ncluster = true\nmode = \"sync\"\ndataset = \"cache\"\n{more}");
    let text = format!("{of_all}[profile.shards]\n{of_one}");
    secret(place, "password", "correct horse");
    crate::configuration::write(&place.path("redkeep.toml"), &text);
}

/// SET-3
#[test]
fn a_profile_backs_a_cluster_up_drills_each_shard_and_forgets_whole_sets_of_its_own() {
    let place = Place::with_repository();
    let Some(mut cluster) = Cluster::start(&place) else { return };
    cluster.set("1");
    let more = "drill = true\nkeep-last = 1\nprune = true\nreport = \"page.html\"\nmetrics-file = \"shards.prom\"\n\
                after = \"env > told\"\n";
    write_profile(&place, &cluster.address(1), more);
    let run = |code: i32, more: &[&str]| {
        place.ends(code, &[&["run", "shards", "--config", &place.arg("redkeep.toml")], more].concat())
    };
    // One of another dataset, which is called as the sets are.
    place.done(&["backup", "data", "--dataset", "cache", "-q"]);
    place.done(&["backup", "data", "--dataset", "cache", "-q"]);
    let would = run(0, &["--dry-run"]).text();
    assert!(would.contains("capture every shard of the cluster of the server at "), "{would}");
    place.done(&["schedule", "test", "shards", "--config", &place.arg("redkeep.toml")]);
    let first = run(0, &["--json"]).json();
    cluster.set("2");
    let second = run(0, &["--json"]).json();
    assert_ne!(first["snapshot"], second["snapshot"]);
    let step = |name: &str| second["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap();
    assert_eq!(step("backup")["result"]["set"]["id"], second["snapshot"]);
    let drills = step("drill")["result"]["drills"].as_array().unwrap();
    let drilled: Vec<_> = drills.iter().map(|one| (one["slots"].as_str().unwrap(), one["passed"] == true)).collect();
    assert_eq!(drilled, [("0-5460", true), ("5461-10922", true), ("10923-16383", true)]);
    assert_eq!(step("forget")["result"]["forgotten"], 3);
    let listed = place.done(&["snapshots", "--json"]).json();
    assert_eq!(
        (listed["sets"][0]["id"].as_str(), listed["snapshots"].as_array().unwrap().len()),
        (second["snapshot"].as_str(), 5)
    );
    let told = std::fs::read_to_string(place.path("told")).unwrap();
    let id = second["snapshot"].as_str().unwrap();
    assert!(told.contains(&format!("REDKEEP_SNAPSHOT={id}\n")) && told.contains("REDKEEP_DATASET=cache\n"), "{told}");
    let metrics = std::fs::read_to_string(place.path("shards.prom")).unwrap();
    assert!(metrics.contains("redkeep_snapshots{profile=\"shards\",dataset=\"cache\"} 3\n"), "{metrics}");
    let page = std::fs::read_to_string(place.path("page.html")).unwrap();
    assert!(page.contains("the profile wishes one of each snapshot") && !page.contains("was not drilled"), "{page}");

    // The same of one backup.
    let backup = ["backup", "--redis", &cluster.address(0), "--cluster", "--mode", "sync", "--dataset", "cache"];
    let json = place.done(&[&backup[..], &["--drill", "--json"]].concat()).json();
    assert!(json["snapshots"].as_array().unwrap().iter().all(|one| one["drill"]["passed"] == true), "{json}");

    // After an incomplete set nothing is forgotten: what it lacks may be in older ones only.
    cluster.masters[2].kill();
    write_profile(&place, &cluster.address(0), "keep-last = 1\ndrill = true\n");
    let ran = run(3, &["--json"]);
    let (json, listed) = (ran.json(), place.run(&["snapshots", "--json"]).json());
    assert!(json["summary"].as_str().unwrap().contains("nothing was forgotten, for the set is incomplete"), "{json}");
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 10, "{listed}");
    write_profile(&place, &cluster.address(0), "sentinel-master = \"main\"\n");
    run(2, &[]).says("neither dir nor sentinel-master");
}

/// SET-5
#[test]
fn a_set_goes_into_a_running_cluster_each_key_to_the_node_of_its_slot() {
    let place = Place::with_repository();
    let Some(cluster) = Cluster::start(&place) else { return };
    cluster.set("1");
    let library = "#!lua name=own\nredis.register_function('own', function() return 7 end)";
    let functions =
        |of: fn(&RedisServer, &str) -> redis::Value| cluster.masters.iter().map(|it| of(it, "own")).collect::<Vec<_>>();
    for master in &cluster.masters {
        redis::cmd("FUNCTION").arg("LOAD").arg(library).query::<String>(&mut master.connection()).unwrap();
    }
    let address = cluster.address(1);
    place.done(&["backup", "--redis", &address, "--cluster", "--mode", "sync", "--dataset", "cache", "-q"]);
    let into = ["restore", "latest", "--dataset", "cache", "--into", &address];
    place.ends(9, &into).says("holds 3 keys").says("--merge");
    cluster.set("2");
    let kept = place.ends(3, &[&into[..], &["--merge"]].concat());
    kept.says("3 keys were left as they are there").says("functions were not put");
    place.ends(0, &[&into[..], &["--merge", "--replace"]].concat());
    assert_eq!(cluster.values(), ["1", "1", "1"].map(|value| Some(value.to_owned())));

    let forget_all = || {
        cluster.flush();
        cluster.masters.iter().for_each(|master| drop(command(master, "FUNCTION FLUSH")));
    };
    forget_all();
    let dry = place.done(&[&into[..], &["--dry-run", "--json"]].concat()).json();
    assert_eq!((&dry["put"], &dry["held_now"]), (&3.into(), &0.into()), "{dry}");
    let text = place.done(&into).text();
    assert!(text.contains("3 of 3 shards of set ") && text.contains(", 3 masters"), "{text}");
    assert_eq!(cluster.values(), ["1", "1", "1"].map(|value| Some(value.to_owned())));
    let own = |server: &RedisServer, name: &str| {
        redis::cmd("FCALL").arg(name).arg(0).query::<redis::Value>(&mut server.connection()).unwrap()
    };
    assert_eq!(functions(own), vec![redis::Value::Int(7); 3]);

    // A slot on its way: its node sends new keys of it on (ASK).
    forget_all();
    command(&cluster.masters[0], &format!("CLUSTER SETSLOT 15495 IMPORTING {}", cluster.id(2)));
    command(&cluster.masters[2], &format!("CLUSTER SETSLOT 15495 MIGRATING {}", cluster.id(0)));
    let json = place.done(&[&into[..], &["--json"]].concat()).json();
    assert_eq!((&json["put"], &json["masters"], &json["held_now"]), (&3.into(), &3.into(), &3.into()), "{json}");
    let mut there = cluster.masters[0].connection();
    let (_, found): (String, String) = redis::pipe().cmd("ASKING").cmd("GET").arg("a").query(&mut there).unwrap();
    assert_eq!(found, "1");
    redis::pipe().cmd("ASKING").cmd("DEL").arg("a").exec(&mut there).unwrap();
    for master in [0, 2] {
        command(&cluster.masters[master], "CLUSTER SETSLOT 15495 STABLE");
    }

    // A view that is wrong: the node that is named takes the slots of one for those of another (MOVED).
    forget_all();
    command(&cluster.masters[1], &format!("CLUSTER FORGET {}", cluster.id(2)));
    let wrong = cluster.id(0);
    let mut commands = redis::pipe();
    for slot in 10923..=16383 {
        commands.cmd("CLUSTER").arg("SETSLOT").arg(slot).arg("NODE").arg(&wrong).ignore();
    }
    commands.exec(&mut cluster.masters[1].connection()).unwrap();
    let json = place.done(&[&into[..], &["--json"]].concat()).json();
    assert_eq!((&json["put"], &json["masters"], &json["held_now"]), (&3.into(), &2.into(), &3.into()), "{json}");
    assert_eq!(cluster.values(), ["1", "1", "1"].map(|value| Some(value.to_owned())));
}

/// A cluster has one database, and slots that somebody has to serve.
#[test]
fn what_a_cluster_cannot_take_is_said() {
    let place = Place::with_repository();
    let Some(cluster) = Cluster::start(&place) else { return };
    std::fs::create_dir(place.path("served")).unwrap();
    let server = RedisServer::start(ServerKind::Redis7, &place.path("served"));
    command(&server, "SET a 1");
    let mut connection = server.connection();
    redis::pipe().cmd("SELECT").arg(5).cmd("SET").arg("b").arg("1").cmd("SAVE").exec(&mut connection).unwrap();
    place.done(&["backup", "served", "--dataset", "one", "-q"]);
    let into = ["restore", "latest", "--into", &cluster.address(0)];
    let ran = place.ends(3, &into);
    ran.says("1 key (database 5) was not put").says("in database 5: ");
    assert!(ran.text().contains("put 1 key"), "{}", ran.text());
    cluster.flush();
    command(&cluster.masters[0], "CLUSTER DELSLOTS 7");
    place.ends(9, &into).says("serves 1 slot: ").says("redis-cli --cluster check");
}

/// SET-3, SET-4
#[test]
fn a_set_is_tagged_copied_and_brought_back_by_its_id() {
    let place = Place::with_repository();
    let Some(cluster) = Cluster::start(&place) else { return };
    cluster.set("1");
    let backup = ["backup", "--redis", &cluster.address(1), "--cluster", "--mode", "sync", "--dataset", "cache"];
    let first = place.done(&[&backup[..], &["--json"]].concat()).json()["set"]["id"].as_str().unwrap().to_owned();
    place.done(&[&backup[..], &["-q"]].concat());
    let sets = |of: &[&str]| {
        let listed = place.run(&[&["snapshots", "--json"], of].concat()).json();
        let sets = listed["sets"].as_array().unwrap().iter();
        sets.map(|set| (set["id"].as_str().unwrap().to_owned(), set["snapshots"].as_array().unwrap().len()))
            .collect::<Vec<_>>()
    };

    let tagged = place.done(&["tag", &first, "--pin", "--add", "before-upgrade", "--json"]).json();
    assert_eq!((&tagged["set"], &tagged["complete"]), (&first.as_str().into(), &true.into()), "{tagged}");
    let tags = |one: &serde_json::Value| (one["tags"].clone(), one["changed"].clone());
    let all = serde_json::json!(["before-upgrade", "pinned"]);
    assert!(
        tagged["snapshots"].as_array().unwrap().iter().all(|one| tags(one) == (all.clone(), true.into())),
        "{tagged}"
    );
    let kept = place.done(&["forget", "--keep-last", "1", "--json"]).json();
    assert_eq!((&kept["kept"], &kept["forgotten"]), (&6.into(), &0.into()), "{kept}");
    let again = place.done(&["tag", &first, "--add", "before-upgrade"]).text();
    assert_eq!(again.matches("has these tags already").count(), 3, "{again}");
    place.ends(2, &["tag", &first, "--accept-drop"]).says("no snapshot of cache/");
    place.done(&["tag", "latest", "--dataset", "cache", "--add", "newest", "-q"]);

    secret(&place, "safe-password", "another secret");
    let there = ["--repo", "safe", "--password-file", "safe-password"];
    place.done(&[&["init"], &there[..]].concat());
    let copy = ["copy", "--to", "safe", "--to-password-file", "safe-password"];
    place.done(&[&copy[..], &[&first]].concat());
    assert_eq!(sets(&there), [(first.clone(), 3)], "a copy of a set is that set");
    place.done(&[&copy[..], &["latest", "--dataset", "cache"]].concat());
    assert_eq!(sets(&there).len(), 2);

    place.done(&["forget", &first, "--even-pinned", "-q"]);
    assert_eq!(sets(&[]).len(), 1);
    let back = place.done(&["undelete", &first[..9], "--json"]).json();
    assert_eq!((&back["set"], back["snapshots"].as_array().unwrap().len()), (&first.as_str().into(), 3), "{back}");
    assert_eq!((back["missing"].as_array().unwrap().len(), &sets(&[])[0]), (0, &(first.clone(), 3)));
    let again = place.done(&["undelete", &first]).text();
    assert!(again.contains("nothing is to be brought back"), "{again}");
    place.done(&["verify", &first, "--quiet"]);
}

/// SET-2, SET-3, SET-4
#[test]
fn a_cluster_is_captured_as_one_set_which_is_listed_verified_restored_and_forgotten_as_one() {
    let place = Place::with_repository();
    let Some(mut cluster) = Cluster::start(&place) else { return };
    cluster.set("1");
    let address = cluster.address(1);
    let backup = ["backup", "--redis", &address, "--cluster", "--mode", "sync", "--dataset", "cache"];
    let json = place.done(&[&backup[..], &["--json"]].concat()).json();
    assert_eq!((&json["set"]["shards"], &json["set"]["complete"]), (&3.into(), &true.into()), "{json}");
    assert!(json["set"]["skew_ms"].as_u64().unwrap() < 60_000);
    let datasets: Vec<&str> =
        json["snapshots"].as_array().unwrap().iter().map(|one| one["dataset"].as_str().unwrap()).collect();
    assert_eq!(datasets, ["cache/0", "cache/5461", "cache/10923"]);
    let first = json["set"]["id"].as_str().unwrap().to_owned();

    cluster.set("2");
    let text = place.done(&backup).text();
    assert!(text.contains("3 of 3 shards") && text.contains("no consistent cut"), "{text}");
    let listed = place.done(&["snapshots"]).text();
    assert!(listed.contains("cache/*") && listed.contains("set of 3 shards, "), "{listed}");
    assert_eq!(listed.lines().count(), 4, "a head, two sets, and the total: {listed}");
    let members = place.done(&["snapshots", "--dataset", "cache/*"]).text();
    assert!(members.contains("cache/10923") && members.contains("of set "), "{members}");

    place.done(&["verify", "latest", "--dataset", "cache", "--quiet"]);
    let verified = place.done(&["verify", &first, "--drill", "--json"]).json();
    assert_eq!(verified["snapshots"].as_array().unwrap().len(), 3);
    for (of, value) in [("latest", "2\n"), (first.as_str(), "1\n")] {
        let target = format!("back-{}", value.trim());
        std::fs::create_dir(place.path(&target)).unwrap();
        place.done(&["restore", of, "--target", &target, "--quiet"]);
        for (shard, key) in [("shard-1", "b"), ("shard-2", "c"), ("shard-3", "a")] {
            let server = RedisServer::start(ServerKind::Redis7, &place.path(&target).join(shard));
            let found: String = redis::cmd("GET").arg(key).query(&mut server.connection()).unwrap();
            assert_eq!(format!("{found}\n"), value, "{of} {shard}");
        }
    }
    place.ends(1, &["ls", &first]).says("is a set, and one snapshot of it is wanted");

    // One of its datasets alone is not judged: what is of a set is kept with the others.
    let one = place.done(&["forget", "--keep-last", "1", "--dataset", "cache/0", "--json"]).json();
    assert_eq!(one["forgotten"], 0, "{one}");
    let all = place.done(&["forget", "--keep-last", "1", "--json"]).json();
    assert_eq!((&all["kept"], &all["forgotten"]), (&3.into(), &3.into()));
    let last = place.done(&["snapshots", "--json"]).json();
    assert_eq!((last["sets"].as_array().unwrap().len(), last["snapshots"].as_array().unwrap().len()), (1, 3));

    // A master that is gone leaves the set incomplete.
    cluster.masters[2].kill();
    let address = cluster.address(0);
    let ran = place.ends(3, &["backup", "--redis", &address, "--cluster", "--mode", "sync", "--dataset", "cache"]);
    ran.says("the set is incomplete: slots 10923-16383");
    assert!(ran.text().contains("2 of 3 shards"), "{}", ran.text());
    let listed = place.done(&["snapshots"]).text();
    assert!(listed.contains("INCOMPLETE set: 2 of 3 shards"), "{listed}");
    place.ends(2, &["restore", "latest", "--target", "part"]).says("mkdir -p part");
    std::fs::create_dir(place.path("part")).unwrap();
    place.ends(3, &["restore", "latest", "--target", "part"]).says("the set is incomplete: of 1 of its 3 shards");
    assert!(place.path("part/shard-2/dump.rdb").exists() && !place.path("part/shard-3").exists());
    place.ends(3, &["verify"]).says("slots 10923-16383");
    let id = last["sets"][0]["id"].as_str().unwrap();
    // One of it means all of it.
    let member = last["snapshots"][0]["id"].as_str().unwrap();
    let gone = place.done(&["forget", member, "--allow-empty", "--dry-run", "--json"]).json();
    assert_eq!(gone["forgotten"], 3, "{gone}");
    let gone = place.done(&["forget", id, "--allow-empty", "--json"]).json();
    assert_eq!(gone["forgotten"], 3, "{gone}");
}

/// Has something done when a capture begins.
struct AtBegin<F>(F);

impl<F: Fn() + Sync> Observer for AtBegin<F> {
    fn begin(&self, what: &str, _: Option<u64>) {
        if what == "capturing" {
            (self.0)();
        }
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        false
    }
}

/// SET-6
#[test]
fn each_snapshot_of_a_set_tells_what_became_of_slots_while_it_was_captured() {
    let (place, repository) = (Place::new(), create(memory(), &Hands::new(77)));
    let Some(cluster) = Cluster::start(&place) else { return };
    cluster.set("1");
    let address = cluster.address(0).parse().unwrap();
    let seed = LiveSource { address, options: LiveOptions::default(), way: Way::Replication };
    let moving = format!("CLUSTER SETSLOT 5 MIGRATING {}", cluster.id(1));
    for (order, told) in [
        ("PING", vec![]),
        (&moving[..], vec![("cluster-moved", "captured, 1 slot on the way from one shard")]),
        ("CLUSTER DELSLOTS 5", vec![("cluster-moved", "captured, slots went from one shard")]),
        (
            "CONFIG SET requirepass secret",
            vec![("cluster-unserved", "serves 1 slot"), ("cluster-moved", "whether slots went")],
        ),
    ] {
        let ordered = AtBegin(|| drop(command(&cluster.masters[0], order)));
        let report = backup_cluster(&repository, &seed, &Options::default(), &ordered).unwrap();
        let captured = if order.starts_with("CONFIG") { 2 } else { 3 };
        assert_eq!(report.captured().count(), captured, "{order}: {report:?}");
        let all = report.captured().map(|one| &one.snapshot.warnings).chain([&report.warnings]);
        for warnings in all {
            let of_set: Vec<_> = warnings.iter().filter(|warning| warning.code.starts_with("cluster-")).collect();
            let is_told = |(warning, (code, says)): (&&Warning, &(&str, &str))| {
                warning.code == *code && warning.message.contains(says)
            };
            let all = of_set.len() == told.len() && of_set.iter().zip(&told).all(is_told);
            assert!(all, "{order}: {warnings:?}");
        }
    }
}

/// Interrupts when the second shard is being stored.
#[derive(Default)]
struct Interrupts(AtomicU32);

impl Observer for Interrupts {
    fn begin(&self, what: &str, _: Option<u64>) {
        self.0.fetch_add(u32::from(what == "backing up"), Ordering::Relaxed);
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}

#[test]
fn a_set_that_was_interrupted_is_not_told_as_one_that_is_incomplete() {
    let (place, repository) = (Place::new(), create(memory(), &Hands::new(78)));
    let Some(cluster) = Cluster::start(&place) else { return };
    cluster.set("1");
    let address = cluster.address(0).parse().unwrap();
    let seed = LiveSource { address, options: LiveOptions::default(), way: Way::Replication };
    let ended = backup_cluster(&repository, &seed, &Options::default(), &Interrupts::default());
    let is_it = matches!(&ended, Err(OperationError::Repository(RepositoryError::Interrupted)));
    assert!(is_it && repository.kept_snapshots().unwrap().len() == 1, "{ended:?}");
}

#[test]
fn a_server_that_is_of_no_cluster_is_said_to_be_none() {
    let place = Place::with_repository();
    if ServerKind::Redis7.is_skipped() {
        return;
    }
    std::fs::create_dir(place.path("served")).unwrap();
    let server = RedisServer::start(ServerKind::Redis7, &place.path("served"));
    let address = format!("127.0.0.1:{}", server.port());
    place.ends(9, &["backup", "--redis", &address, "--cluster"]).says("is no node of a cluster");
    place.ends(2, &["backup", "data", "--cluster"]);
}
