//! What cannot work is refused before a server is touched: databases it does not have, commands it does not know, modules
//! it has not loaded.

use redkeep::operations::Silent;
use redkeep::operations::drill::{Options as DrillOptions, drill};
use redkeep::operations::restore::server::Consent;

use crate::restore_server::{Captured, Taken, Victim, refused, take_with};
use crate::support::equality::Fingerprint;
use crate::support::repository::{Hands, back_up, create, latest, local};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

fn kinds() -> impl Iterator<Item = ServerKind> {
    ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped())
}

fn order(server: &RedisServer, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

/// A snapshot of an AOF that is all commands, sent by one client.
pub fn commands(kind: ServerKind, config: &[&str], lines: &[&str]) -> Taken {
    let dir = tempfile::tempdir().unwrap();
    let config: Vec<&str> = ["appendonly yes"].iter().chain(config).copied().collect();
    let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&config));
    let mut connection = server.connection();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = redis::cmd(words[0]).arg(&words[1..]).exec(&mut connection);
        done.unwrap_or_else(|error| panic!("{kind:?} {line}: {error}"));
    }
    let held = Fingerprint::of(&server);
    server.stop();
    let location = tempfile::tempdir().unwrap();
    let repository = create(local(location.path()), &Hands::new(1));
    back_up(&repository, dir.path(), "commands").unwrap();
    let chosen = latest(&repository, "commands").unwrap();
    Taken { repository, chosen, held, location }
}

/// The dry run says the same as the restore.
fn refused_dry_too(victim: &mut Victim, taken: &Taken, words: &str, hint: &str) {
    for dry_run in [true, false] {
        victim.options.dry_run = dry_run;
        refused(victim, taken, words, hint);
    }
}

/// Every command that names a database, into a server with its AOF on and off.
#[test]
fn a_database_that_only_commands_name_is_refused_where_the_server_does_not_have_it() {
    for kind in kinds() {
        let last: &[&str] = match kind {
            ServerKind::Redis62 | ServerKind::Redis82 => &["COPY user:1 c DB 40"],
            ServerKind::Redis7 => &["MOVE user:1 40"],
            ServerKind::Redis74 => &["SWAPDB 40 0"],
            ServerKind::Valkey9 => &["SELECT 40", "SET user:1 forty"],
        };
        let far = commands(kind, &["databases 64"], &[&["SET user:1 zero"], last].concat());
        for lines in [&["appendonly yes"][..], &["appendonly no"]] {
            let mut victim = Victim::start(kind, lines);
            let words = "holds database 40, the server has only 16";
            refused_dry_too(&mut victim, &far, words, "raise databases to 41");
        }
        let victim = Victim::start(kind, &["appendonly yes", "databases 41"]);
        victim.restore(&far).unwrap();
        far.held.assert_equal(&victim.holds(), "in a server that has them");
    }
}

/// A dump of more databases than a snapshot tells of one by one.
#[test]
fn every_database_of_a_dump_counts_and_not_only_those_that_are_told() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let many = take_with(kind, Captured::Dump, &["databases 300"], |server| {
        let mut all = redis::pipe();
        for number in 0..300 {
            all.cmd("SELECT").arg(number).cmd("SET").arg("a").arg(number);
        }
        all.exec(&mut server.connection()).unwrap();
    });
    let mut victim = Victim::start(kind, &["databases 299"]);
    refused_dry_too(&mut victim, &many, "holds database 299, the server has only 299", "raise databases to 300");
    let victim = Victim::start(kind, &["databases 300"]);
    victim.restore(&many).unwrap();
    many.held.assert_equal(&victim.holds(), "in a server that has them");
}

#[test]
fn a_drill_has_as_many_databases_as_the_commands_name() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let far = commands(kind, &["databases 3000"], &["SET user:1 zero", "SELECT 2999", "SET user:1 far"]);
    let scratch = tempfile::tempdir().unwrap();
    let (scratch, server_binary) = (scratch.path().to_path_buf(), Some(kind.executable()));
    let options = DrillOptions { server_binary, private: scratch.clone(), scratch, ..DrillOptions::default() };
    let report = drill(&far.repository, &far.chosen, &options, &Silent).unwrap();
    assert!(report.passed(), "{:?}", report.problems);
    assert_eq!(report.databases.keys().copied().collect::<Vec<_>>(), [0, 2999], "nothing is mixed");
}

/// Renamed where the AOF was written, disabled where it is to be loaded, of a newer version, or not to be seen.
#[test]
fn commands_that_the_server_does_not_know_are_refused_while_it_serves() {
    for kind in kinds() {
        let renamed = commands(kind, &["rename-command DEL remove"], &["SET a 1", "SET b 1", "remove a"]);
        let mut victim = Victim::start(kind, &["appendonly yes"]);
        refused_dry_too(
            &mut victim,
            &renamed,
            "does not know, and at which it would end while loading: REMOVE",
            "renamed",
        );
        let flushed = commands(kind, &[], &["SET a 1", "FLUSHALL", "SET b 1"]);
        let mut victim = Victim::start(kind, &["appendonly yes", "rename-command FLUSHALL \"\""]);
        refused_dry_too(&mut victim, &flushed, "FLUSHALL", "disabled");
        // By the same name both know it.
        let victim = Victim::start(kind, &["appendonly yes", "rename-command DEL remove"]);
        victim.restore(&renamed).unwrap();
        renamed.held.assert_equal(&victim.holds(), "the same names");
    }
}

#[test]
fn a_server_that_does_not_tell_its_commands_is_left_alone_until_a_person_says_so() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = commands(kind, &[], &["SET a 1"]);
    let mut victim = Victim::start(kind, &["appendonly yes", "rename-command COMMAND \"\""]);
    refused_dry_too(&mut victim, &taken, "cannot be seen", "--force commands");
    victim.options.consents.push(Consent::Commands);
    victim.restore(&taken).unwrap();
    taken.held.assert_equal(&victim.holds(), "forced");
}

/// Vector sets are a part of Redis 8, and no other module brings them.
#[test]
fn data_of_a_module_is_refused_where_that_module_is_not_loaded() {
    let newest = ServerKind::Redis82;
    if newest.is_skipped() || ServerKind::Redis74.is_skipped() {
        return;
    }
    let vectors = take_with(newest, Captured::Dump, &[], |server| {
        order(server, "VADD vs VALUES 3 1 2 3 e");
    });
    let mut victim = Victim::start(ServerKind::Redis74, &[]);
    refused_dry_too(&mut victim, &vectors, "module vectorset (type vectorset)", "a part of Redis from 8.0 on");
    let victim = Victim::start(newest, &[]);
    assert!(victim.restore(&vectors).unwrap().verified.unwrap().is_right());
    // A server that cannot read the dump at all is told so first.
    let mut victim = Victim::start(ServerKind::Redis7, &[]);
    refused_dry_too(&mut victim, &vectors, "cannot read a dump that begins with REDIS0012", "Redis 7.4");
}

/// A module that comes with one of the test servers.
pub fn module(name: &str) -> String {
    let servers = ServerKind::Redis74.executable();
    let servers = servers.parent().and_then(std::path::Path::parent).unwrap();
    let mut files = walkdir::WalkDir::new(servers).into_iter().map(|entry| entry.unwrap().into_path());
    files.find(|path| path.ends_with(name)).unwrap().display().to_string()
}

/// By types and modules that are real, in both directions.
#[test]
fn another_module_than_that_of_the_data_will_not_do() {
    let (older, newer) = (ServerKind::Redis74, ServerKind::Redis82);
    if older.is_skipped() || newer.is_skipped() {
        return;
    }
    let load = |name: &str| format!("loadmodule {}", module(name));
    let (bloom, series) = (load("redisbloom.so"), load("redistimeseries.so"));
    let blooms = take_with(older, Captured::Dump, &[&bloom], |server| order(server, "BF.ADD b 1"));
    let mut victim = Victim::start(newer, &[]);
    refused_dry_too(&mut victim, &blooms, "module bf (type MBbloom--)", "load the module");
    let mut victim = Victim::start(older, &[&series]);
    refused_dry_too(&mut victim, &blooms, "module bf (type MBbloom--)", "load the module");
    let vectors = take_with(newer, Captured::Dump, &[], |server| order(server, "VADD vs VALUES 3 1 2 3 e"));
    let mut victim = Victim::start(older, &[&bloom]);
    refused_dry_too(&mut victim, &vectors, "module vectorset (type vectorset)", "a part of Redis from 8.0 on");
    let victim = Victim::start(older, &[&bloom]);
    assert!(victim.restore(&blooms).unwrap().verified.unwrap().is_right());
    // Its commands in an AOF say the same where no value of it was saved yet.
    let added = commands(older, &[&bloom], &["BF.ADD b 1"]);
    let mut victim = Victim::start(newer, &["appendonly yes"]);
    refused_dry_too(&mut victim, &added, "BF.ADD", "of a module it has not loaded");
    // Without an AOF of its own it is given what a server of its kind has made of them.
    let victim = Victim::start(newer, &[]);
    let error = victim.restore(&added).unwrap_err();
    assert!(error.to_string().contains("Unknown command 'BF.ADD'"), "{error}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("a command that the server does not know")),
        "{:?}",
        error.hint()
    );
    order(victim.server(), "PING");
}

#[test]
fn a_node_of_a_cluster_has_its_own_number_of_databases() {
    for kind in kinds() {
        let taken = commands(kind, &[], &["SET a 1", "SET b 2"]);
        let mut victim = Victim::start_with(kind, &["appendonly yes", "cluster-enabled yes"], |server| {
            let slots: Vec<String> = (0..16384).map(|slot| slot.to_string()).collect();
            redis::cmd("CLUSTER").arg("ADDSLOTS").arg(slots).exec(&mut server.connection()).unwrap();
        });
        // As a plain process: its file is compared with what it says. The program of one needs what its wrapper sets.
        if kind != ServerKind::Redis74 {
            victim.options.commands.start = None;
        }
        victim.options.consents.push(Consent::Cluster);
        victim.options.dry_run = kind != ServerKind::Redis82;
        victim.restore(&taken).unwrap_or_else(|error| panic!("{kind:?}: {error} {:?}", error.hint()));
        if !victim.options.dry_run {
            wait_for("the cluster", || {
                let state: String = redis::cmd("CLUSTER").arg("INFO").query(&mut victim.server().connection()).ok()?;
                state.contains("cluster_state:ok").then_some(())
            });
            taken.held.assert_equal(&victim.holds(), "the node owns every slot");
        }
        let far = commands(kind, &[], &["SELECT 1", "SET a 1"]);
        if kind != ServerKind::Valkey9 {
            refused(&victim, &far, "holds database 1, the server has only 1", "a node of a cluster");
        }
    }
}
