//! The doctor asks a live server with the rights it prints, and finds what will bite.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use redkeep::format::UnixMillis;
use redkeep::operations::Silent;
use redkeep::operations::doctor::{Options, Report, Severity, doctor};
use redkeep::redis::server::{ACL_RULES, ACL_RULES_OF_SYNC};

use crate::support::server::{RedisServer, ServerKind, wait_for};

/// What is wrong with the host that runs the tests is not the server's.
const OF_HOST: [&str; 2] = ["overcommit", "hugepages"];

fn ask(server: &RedisServer, login: &str) -> Report {
    let address = format!("redis://{login}@127.0.0.1:{}", server.port()).parse().unwrap();
    let options = Options { root: "/".into(), server: Some(address), read_up_to: u64::MAX, ..Options::default() };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let mut report = doctor(&options, UnixMillis(now), &Silent);
    report.findings.retain(|finding| !OF_HOST.contains(&finding.code.as_str()));
    report
}

fn codes(report: &Report) -> Vec<(Severity, &str)> {
    report.findings.iter().map(|finding| (finding.severity, finding.code.as_str())).collect()
}

/// Where the AOF of a server is.
fn aof(kind: ServerKind, data: &Path) -> PathBuf {
    data.join(if kind.is_7_or_later() { "appendonlydir" } else { "appendonly.aof" })
}

fn finds_what_bites(kind: ServerKind) {
    if kind.is_skipped() {
        return;
    }
    let (dir, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = RedisServer::start(kind, dir.path());
    let mut admin = server.connection();
    let mut send = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).exec(&mut admin).unwrap();
    };
    send(&format!("ACL SETUSER redkeep on >secret {ACL_RULES}"));
    send("ACL LOG RESET");
    let ask = || ask(&server, "redkeep:secret");

    let users = (Severity::Warning, "users");
    assert!(codes(&ask()).contains(&users) && codes(&self::ask(&server, "default:")).contains(&users));
    send("CONFIG REWRITE");
    let report = ask();
    assert_eq!(codes(&report), [(Severity::Warning, "no-persistence")]);
    assert!(
        report.notes.iter().any(|note| note.contains("is empty: a backup has the server save first, and removes that dump again once")),
        "{report:?}"
    );
    redis::cmd("CONFIG").arg(&["SET", "save", "3600 1"]).exec(&mut server.connection()).unwrap();
    send("SET key value");
    send("SAVE");
    let report = ask();
    assert_eq!((codes(&report), report.directories.clone()), (Vec::new(), vec![dir.path().canonicalize().unwrap()]));

    // The files of the AOF go: from 7.0 on a start would find nothing, and the next save overwrite the dump.
    // Slow enough to be looked at while it is written.
    send("CONFIG SET rdb-key-save-delay 2000000");
    send("CONFIG SET appendonly yes");
    let report = ask();
    assert_eq!(codes(&report), [(Severity::Warning, "aof-first-rewrite")], "{report:?}");
    send("CONFIG SET rdb-key-save-delay 0");
    wait_for("the AOF", || (server.info().number("aof_rewrite_in_progress") == 0).then_some(()));
    wait_for("its files", || aof(kind, dir.path()).exists().then_some(()));
    assert_eq!(codes(&ask()), []);
    fs::rename(aof(kind, dir.path()), away.path().join("aof")).unwrap();
    // Where they went is told too, as far as their names say it.
    assert!(codes(&ask()).contains(&(Severity::Serious, "aof-missing")));
    send("CONFIG SET appendonly no");

    // A save that cannot be put in place.
    fs::rename(dir.path().join("dump.rdb"), away.path().join("dump.rdb")).unwrap();
    fs::create_dir_all(dir.path().join("dump.rdb/x")).unwrap();
    send("BGSAVE");
    wait_for("the failed save", || (server.info().get("rdb_last_bgsave_status") == Some("err")).then_some(()));
    assert!(codes(&ask()).contains(&(Severity::Serious, "bgsave")));

    let log: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query(&mut server.connection()).unwrap();
    assert_eq!(log, [], "nothing was asked that the printed rights do not allow");
    assert!(codes(&self::ask(&server, "redkeep:wrong")).contains(&(Severity::Serious, "server")));
}

#[test]
fn of_a_server_that_is_to_send_its_dump_the_right_to_be_sent_it_is_looked_at_and_not_its_files() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let dir = tempfile::tempdir().unwrap();
        let server = RedisServer::start(kind, dir.path());
        let send = |words: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
        };
        send(&format!("ACL SETUSER redkeep on >secret {ACL_RULES}"));
        send("CONFIG REWRITE");
        send("CONFIG SET repl-diskless-sync no");
        let ask = || {
            let address = format!("redis://redkeep:secret@127.0.0.1:{}", server.port()).parse().unwrap();
            let options = Options { root: "/".into(), server: Some(address), is_sent: true, ..Options::default() };
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
            let mut report = doctor(&options, UnixMillis(now), &Silent);
            report.findings.retain(|finding| !OF_HOST.contains(&finding.code.as_str()));
            report
        };
        let report = ask();
        assert_eq!(codes(&report), [(Severity::Serious, "server")]);
        assert!(report.findings[0].advice.contains("+psync +replconf"), "{report:?}");
        send(&format!("ACL SETUSER redkeep {ACL_RULES_OF_SYNC}"));
        send("CONFIG REWRITE");
        let report = ask();
        assert_eq!((codes(&report), report.directories.len()), (Vec::new(), 0));
        assert!(report.notes.iter().any(|note| note.contains("with repl-diskless-sync yes it does not")), "{report:?}");
        assert_eq!(server.info().get("connected_slaves"), Some("0"));
    }
}

#[test]
fn of_redis_6_2() {
    finds_what_bites(ServerKind::Redis62);
}

#[test]
fn of_redis_7() {
    finds_what_bites(ServerKind::Redis7);
}

#[test]
fn of_redis_7_4() {
    finds_what_bites(ServerKind::Redis74);
}

#[test]
fn of_redis_8_2() {
    finds_what_bites(ServerKind::Redis82);
}

#[test]
fn of_valkey_9() {
    finds_what_bites(ServerKind::Valkey9);
}
