//! What loses data when a dump is copied into a server's directory by hand, and does not when redkeep restores it.

use std::fs;
use std::path::Path;

use crate::restore_server::{Captured, Victim, refused, take, take_with};
use crate::support::equality::Fingerprint;
use crate::support::keyspace::Keyspace;
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

/// Versions with an AOF of several files.
const SEVERAL_FILES: [ServerKind; 4] =
    [ServerKind::Redis7, ServerKind::Redis74, ServerKind::Redis82, ServerKind::Valkey9];

fn keys(server: &RedisServer) -> usize {
    Fingerprint::of(server).len()
}

/// Keys of database 0, while they come and go.
fn dbsize(server: &RedisServer) -> Option<usize> {
    redis::cmd("DBSIZE").query(&mut server.client().get_connection().ok()?).ok()
}

/// A directory with a dump of some keys.
fn dumped(kind: ServerKind, directory: &Path) {
    let mut server = RedisServer::start(kind, directory);
    Keyspace::new(3, 100).fill(&server);
    server.stop_saving();
}

fn wait_rewritten(server: &RedisServer) {
    wait_for("the rewrite", || {
        let info = server.info();
        let idle = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"].iter().all(|name| info.get(name) == Some("0"));
        idle.then_some(())
    });
}

/// Trap 1
#[test]
fn a_dump_under_appendonly_yes_without_a_manifest_starts_empty() {
    for kind in SEVERAL_FILES.into_iter().filter(|kind| !kind.is_skipped()) {
        let dir = tempfile::tempdir().unwrap();
        dumped(kind, dir.path());
        let naive = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
        assert_eq!(keys(&naive), 0, "{kind:?}: the trap is no trap any more");
        drop(naive);

        let taken = take(kind, Captured::Dump, &[]);
        let victim = Victim::start(kind, &["appendonly yes"]);
        victim.restore(&taken).unwrap();
        taken.held.assert_equal(&victim.holds(), "restored by redkeep");
        assert!(!victim.directory().join("dump.rdb").exists(), "the old dump would be loaded once the AOF is off");
    }
}

/// Trap 2
#[test]
fn files_of_an_aof_without_their_manifest_start_empty() {
    for kind in SEVERAL_FILES.into_iter().filter(|kind| !kind.is_skipped()) {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions::with_config(&["appendonly yes"]);
        let mut server = RedisServer::start_with(kind, dir.path(), options);
        Keyspace::new(3, 100).fill(&server);
        server.stop();
        fs::remove_file(dir.path().join("appendonlydir/appendonly.aof.manifest")).unwrap();
        server.start_again();
        assert_eq!(keys(&server), 0, "{kind:?}: the trap is no trap any more");
        drop(server);

        let taken = take(kind, Captured::Aof, &[]);
        let victim = Victim::start(kind, &["appendonly yes"]);
        victim.restore(&taken).unwrap();
        assert!(victim.directory().join("appendonlydir/appendonly.aof.manifest").is_file());
        taken.held.assert_equal(&victim.holds(), "restored by redkeep");
    }
}

/// Trap 3
#[test]
fn files_under_other_names_than_the_servers_are_not_loaded() {
    for kind in SEVERAL_FILES.into_iter().filter(|kind| !kind.is_skipped()) {
        let dir = tempfile::tempdir().unwrap();
        let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
        Keyspace::new(3, 100).fill(&server);
        server.stop();
        drop(server);
        let other = ["appendonly yes", "appendfilename other.aof"];
        let naive = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&other));
        assert_eq!(keys(&naive), 0, "{kind:?}: the trap is no trap any more");
        drop(naive);

        let taken = take(kind, Captured::Aof, &[]);
        let lines = ["appendonly yes", "appendfilename other.aof", "appenddirname \"with space\""];
        let victim = Victim::start(kind, &lines);
        victim.restore(&taken).unwrap();
        taken.held.assert_equal(&victim.holds(), "restored by redkeep");
    }
}

/// Trap 7: a client is answered between the rewrite and the stop; by redkeep's classic method no client reaches the
/// server in its middle, and what was written before is kept aside.
#[test]
fn the_classic_sequence_done_by_hand_loses_what_is_written_in_its_middle() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    dumped(kind, dir.path());
    let mut middle = RedisServer::start(kind, dir.path());
    redis::cmd("BGREWRITEAOF").exec(&mut middle.connection()).unwrap();
    wait_rewritten(&middle);
    redis::cmd("SET").arg("answered").arg("OK").exec(&mut middle.connection()).unwrap();
    middle.stop();
    drop(middle);
    let naive = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
    let there: bool = redis::cmd("EXISTS").arg("answered").query(&mut naive.connection()).unwrap();
    assert!(keys(&naive) == 100 && !there, "the trap is no trap any more");
    drop(naive);

    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &["appendonly yes"]);
    victim.options.method = Some(redkeep::operations::restore::server::Method::Classic);
    let before = victim.server().info().number("process_id");
    victim.restore(&taken).unwrap();
    taken.held.assert_equal(&victim.holds(), "restored by redkeep");
    // The server was started once: nobody could write to it between the rewrite and that start.
    assert_ne!(victim.server().info().number("process_id"), before);
    assert_eq!(victim.server().log().matches("Server initialized").count(), 2, "{}", victim.server().log());
}

/// Trap 8
#[test]
fn a_kill_before_the_first_rewrite_ends_leaves_an_empty_server_though_the_status_was_ok() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    dumped(kind, dir.path());
    // Each key of the rewrite takes so many microseconds.
    let options = ServerOptions::with_config(&["rdb-key-save-delay 100000"]);
    let mut naive = RedisServer::start_with(kind, dir.path(), options);
    redis::cmd("CONFIG").arg("SET").arg("appendonly").arg("yes").exec(&mut naive.connection()).unwrap();
    let info = naive.info();
    assert_eq!((info.get("aof_enabled"), info.get("aof_last_bgrewrite_status")), (Some("1"), Some("ok")));
    naive.kill();
    drop(naive);
    let naive = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["appendonly yes"]));
    assert_eq!(keys(&naive), 0, "the trap is no trap any more");
    drop(naive);

    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &["appendonly yes"]);
    victim.options.method = Some(redkeep::operations::restore::server::Method::Classic);
    victim.restore(&taken).unwrap();
    // Killed at once, it has all of it.
    let pid = victim.server().info().number("process_id");
    let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    wait_for("its end", || victim.server().client().get_connection().is_err().then_some(()));
    victim.start_by_hand();
    taken.held.assert_equal(&victim.holds(), "after a kill");
}

/// Trap 9
#[test]
fn keys_that_expired_since_are_no_loss_and_are_told() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let fill = |server: &RedisServer| {
        redis::cmd("SET").arg("stays").arg(1).exec(&mut server.connection()).unwrap();
        redis::cmd("SET").arg("goes").arg(1).arg("PX").arg(1500).exec(&mut server.connection()).unwrap();
    };
    let dir = tempfile::tempdir().unwrap();
    let mut server = RedisServer::start(kind, dir.path());
    fill(&server);
    server.stop_saving();
    let taken = take_with(kind, Captured::Dump, &[], fill);
    assert_eq!(taken.held.len(), 2);
    let made = std::time::Instant::now();
    wait_for("the expiry", || (made.elapsed().as_millis() > 1600).then_some(()));
    server.start_again();
    assert_eq!(keys(&server), 1, "a count of what was stored does not hold: the trap is no trap any more");
    for lines in [&["appendonly yes"][..], &["appendonly no"]] {
        let victim = Victim::start(kind, lines);
        let verified = victim.restore(&taken).unwrap().verified.unwrap();
        assert!(verified.is_right(), "{verified:?}");
        wait_for("the active expiry", || (keys(victim.server()) == 1).then_some(()));
    }
}

/// Trap 10
#[test]
fn what_is_put_into_a_replica_is_replaced_by_its_master() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let master_dir = tempfile::tempdir().unwrap();
    let master =
        RedisServer::start_with(kind, master_dir.path(), ServerOptions::with_config(&["repl-diskless-sync-delay 0"]));
    redis::cmd("SET").arg("of:master").arg(1).exec(&mut master.connection()).unwrap();
    let follows = format!("replicaof 127.0.0.1 {}", master.port());
    let dir = tempfile::tempdir().unwrap();
    dumped(kind, dir.path());
    let naive = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&[&follows]));
    wait_for("the trap, which is none any more", || (dbsize(&naive) == Some(1)).then_some(()));
    drop(naive);

    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, &[]);
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(master.port()).exec(&mut victim.server().connection()).unwrap();
    victim.old = Fingerprint::of(&master);
    wait_for("the replica", || (dbsize(victim.server()) == Some(1)).then_some(()));
    refused(&victim, &taken, "is a replica", "--force replica");
}

/// Trap 11
#[test]
fn a_node_of_a_cluster_cannot_load_other_databases_than_the_first() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let lines = ["cluster-enabled yes", "cluster-require-full-coverage no"];
    let dir = tempfile::tempdir().unwrap();
    dumped(kind, dir.path());
    let mut naive = RedisServer::spawn(kind, dir.path(), ServerOptions::with_config(&lines));
    assert!(!naive.wait_exit().success(), "the trap is no trap any more");

    let taken = take(kind, Captured::Dump, &[]);
    let fill = |server: &RedisServer| {
        redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(0).arg(16383).exec(&mut server.connection()).unwrap();
        wait_for("the cluster", || {
            let set = redis::cmd("SET").arg("of:node").arg(1).exec(&mut server.connection());
            set.is_ok().then_some(())
        });
    };
    let mut victim = Victim::start_with(kind, &lines, fill);
    refused(&victim, &taken, "is a node of a cluster", "--force cluster");
    victim.options.consents.push(redkeep::operations::restore::server::Consent::Cluster);
    refused(&victim, &taken, "holds database 5", "only database 0");

    let of_node = take_with(kind, Captured::Dump, &[], |server| {
        Keyspace { databases: vec![0], ..Keyspace::new(5, 100) }.fill(server);
    });
    victim.restore(&of_node).unwrap();
    assert_eq!(dbsize(victim.server()), Some(of_node.held.len()), "the node owns every slot");
    assert!(victim.directory().join("nodes.conf").exists());
}
