//! The trial of crashes: servers killed in mid-transaction, started again, written to and captured live. Every write that was
//! answered before the moment is in a server started on the capture, or a person is told that it may not be.
//!
//! `REDKEEP_TEST_KILLS=500` makes so many captures over all versions; without it a few of each are made.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use redkeep::aof::Manifest;
use redkeep::redis::server::{LiveCapture, LiveOptions, Mode};

use crate::capture::{fact, materialise};
use crate::live::{as_backup_user, boot, live_at, of_mode, order};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

/// How many captures of each version: at least as many that one is of a transaction which the server had left open.
fn captures() -> u64 {
    let all = std::env::var("REDKEEP_TEST_KILLS").map_or(25, |text| text.parse().expect("a number"));
    all / ServerKind::ALL.len() as u64
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len());
    for word in words {
        bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    bytes.into_bytes()
}

/// What a server was writing when it was killed: a transaction, up to any byte of it. It was never answered.
fn torn_transaction(dice: &mut Dice, turn: u64) -> Vec<u8> {
    let mut bytes = command(&["MULTI"]);
    for step in 0..=dice.roll(4) {
        bytes.extend(command(&["SET", &format!("torn:{turn}:{step}"), "never answered"]));
        bytes.extend(command(&["SET", "shared", &format!("torn {turn}")]));
    }
    bytes.extend(command(&["EXEC"]));
    let end = 1 + dice.roll(bytes.len() as u64 - 1);
    bytes.truncate(usize::try_from(end).unwrap());
    bytes
}

fn growing_file(kind: ServerKind, data: &Path) -> PathBuf {
    if kind == ServerKind::Redis62 {
        return data.join("appendonly.aof");
    }
    let directory = data.join("appendonlydir");
    let manifest = Manifest::decode(&fs::read(directory.join("appendonly.aof.manifest")).unwrap()).unwrap();
    directory.join(std::ffi::OsStr::from_bytes(&manifest.last_increment().unwrap().name))
}

/// Plain writes and transactions, all of them answered.
fn write(server: &RedisServer, dice: &mut Dice, turn: u64) {
    let mut connection = server.connection();
    for step in 0..20 + dice.roll(30) {
        let mut pipe = redis::pipe();
        if dice.roll(3) == 0 {
            pipe.atomic();
        }
        pipe.cmd("SELECT").arg(dice.roll(3)).ignore();
        pipe.cmd("SET").arg(format!("key:{turn}:{step}")).arg(step).ignore();
        pipe.cmd("SET").arg("shared").arg(format!("answered {turn} {step}")).ignore();
        pipe.cmd("RPUSH").arg("log").arg(step).ignore();
        pipe.exec(&mut connection).unwrap();
    }
}

fn digest(server: &RedisServer) -> String {
    redis::cmd("DEBUG").arg("DIGEST").query(&mut server.connection()).unwrap()
}

fn counter(server: &RedisServer) -> u64 {
    let value: Option<u64> = redis::cmd("GET").arg("counter").query(&mut server.connection()).unwrap();
    value.unwrap_or(0)
}

/// Whether nothing was to be doubted, and the server that starts on it.
fn restored(kind: ServerKind, captured: &LiveCapture) -> (bool, Option<RedisServer>, tempfile::TempDir) {
    let (copy, readings) = materialise(&captured.capture);
    let is_clean = captured.capture.warnings.is_empty() && readings.values().all(|reading| reading.suspect.is_none());
    // What is doubted may not start at all.
    let mode = fact(&captured.capture, "capture.mode");
    let server = (is_clean || mode == "rdb").then(|| boot(kind, copy.path(), mode, &[]));
    (is_clean, server, copy)
}

#[derive(Debug, Default)]
struct Score {
    clean: u64,
    told: u64,
    refused: u64,
}

/// One capture of a server that was killed and started again.
fn turn(server: &mut RedisServer, dice: &mut Dice, turn: u64, score: &mut Score) {
    let kind = server.kind();
    write(server, dice, turn);
    server.kill();
    let torn = torn_transaction(dice, turn);
    OpenOptions::new().append(true).open(growing_file(kind, server.data())).unwrap().write_all(&torn).unwrap();
    server.start_again();
    write(server, dice, turn + 1_000_000);
    if dice.roll(6) == 0 {
        order(server, "BGREWRITEAOF");
        wait_for("the rewrite", || {
            let info = server.info();
            (["aof_rewrite_in_progress", "aof_rewrite_scheduled"].iter().all(|name| info.get(name) == Some("0")))
                .then_some(())
        });
    }
    let options = match dice.roll(5) {
        0 => of_mode(Mode::Aof),
        1 => LiveOptions { tail: true, ..LiveOptions::default() },
        2 => of_mode(Mode::Rdb),
        _ => LiveOptions::default(),
    };
    let address = as_backup_user(server);
    let is_busy = dice.roll(2) == 0;
    let (stop, answered) = (AtomicBool::new(false), AtomicU64::new(counter(server)));
    let (before, captured) = thread::scope(|scope| {
        if is_busy {
            scope.spawn(|| {
                let mut connection = server.connection();
                while !stop.load(Ordering::SeqCst) {
                    let now: u64 = redis::cmd("INCR").arg("counter").query(&mut connection).unwrap();
                    answered.store(now, Ordering::SeqCst);
                }
            });
        }
        let before = answered.load(Ordering::SeqCst);
        let captured = live_at(&address, &options);
        stop.store(true, Ordering::SeqCst);
        (before, captured)
    });
    let captured = match captured {
        Ok(captured) => captured,
        Err(error) => {
            let is_of_it =
                error.to_string().contains("left the transaction") && (options.tail || options.mode == Mode::Aof);
            assert!(is_of_it, "{} turn {turn} {options:?}: {error}", kind.name());
            score.refused += 1;
            return;
        }
    };
    let (is_clean, copy, _directory) = restored(kind, &captured);
    *(if is_clean { &mut score.clean } else { &mut score.told }) += 1;
    let Some(copy) = copy else { return };
    let words = format!("{} turn {turn} {options:?}, torn {}", kind.name(), torn.escape_ascii());
    assert!(counter(&copy) >= before, "{words}: {} of {before} counted", counter(&copy));
    if !is_busy {
        assert_eq!(digest(&copy), digest(server), "{words}");
        return;
    }
    order(server, "DEL counter");
    order(&copy, "DEL counter");
    assert_eq!(digest(&copy), digest(server), "{words}");
}

fn captures_after_kills(kind: ServerKind) {
    if kind.is_skipped() {
        return;
    }
    let mut score = Score::default();
    let mut dice = Dice(0x5eed + kind as u64);
    for number in 0..captures() {
        let stamps: &[&str] = match kind.is_7_or_later() && dice.roll(2) == 0 {
            true => &["appendonly yes", "aof-timestamp-enabled yes"],
            false => &["appendonly yes"],
        };
        let dir = tempfile::tempdir().unwrap();
        let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(stamps));
        turn(&mut server, &mut dice, number, &mut score);
    }
    assert_eq!(score.clean + score.told + score.refused, captures(), "{}: {score:?}", kind.name());
}

/// LIVE-1.
#[test]
fn redis_6_2_killed_in_mid_transaction() {
    captures_after_kills(ServerKind::Redis62);
}

#[test]
fn redis_7_killed_in_mid_transaction() {
    captures_after_kills(ServerKind::Redis7);
}

#[test]
fn redis_7_4_killed_in_mid_transaction() {
    captures_after_kills(ServerKind::Redis74);
}

#[test]
fn redis_8_2_killed_in_mid_transaction() {
    captures_after_kills(ServerKind::Redis82);
}

#[test]
fn valkey_9_killed_in_mid_transaction() {
    captures_after_kills(ServerKind::Valkey9);
}
