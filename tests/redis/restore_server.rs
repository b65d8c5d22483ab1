//! `restore --server` with real servers: every cell of the table, key by key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redkeep::operations::list::Chosen;
use redkeep::operations::restore::server::{
    Method, Options, ServerReport, Ttl, restore_into_server, undo_directory, undo_server,
};
use redkeep::operations::{Observer, OperationError, Silent};
use redkeep::redis::server::Address;
use redkeep::repository::Repository;
use tempfile::TempDir;

use crate::support::equality::{Fingerprint, KeyState, Place};
use crate::support::keyspace::Keyspace;
use crate::support::repository::{Hands, back_up, create, latest, local};
use crate::support::server::{Info, RedisServer, ServerKind, ServerOptions, wait_for};

/// A snapshot of a server's directory, and what the server held.
pub struct Taken {
    pub repository: Repository,
    pub chosen: Chosen,
    pub held: Fingerprint,
    /// Where the repository is.
    pub location: TempDir,
}

/// In which form a dataset is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    Dump,
    Aof,
}

/// Fills a server, stops it and backs its directory up.
pub fn take(kind: ServerKind, captured: Captured, extra: &[&str]) -> Taken {
    take_with(kind, captured, extra, |server| Keyspace::new(5, 400).fill(server))
}

pub fn take_with(kind: ServerKind, captured: Captured, extra: &[&str], fill: impl Fn(&RedisServer)) -> Taken {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = vec!["appendfilename \"old.aof\"", "dbfilename old.rdb"];
    if captured == Captured::Aof {
        lines.push("appendonly yes");
    }
    lines.extend(extra);
    let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&lines));
    fill(&server);
    if captured == Captured::Aof && kind.is_7_or_later() {
        // Base, and an increment with commands of its own.
        redis::cmd("BGREWRITEAOF").exec(&mut server.connection()).unwrap();
        wait_for("the rewrite", || {
            let info = server.info();
            let idle =
                info.get("aof_rewrite_in_progress") == Some("0") && info.get("aof_rewrite_scheduled") == Some("0");
            idle.then_some(())
        });
        redis::cmd("SET").arg("after:rewrite").arg("1").exec(&mut server.connection()).unwrap();
    }
    let held = Fingerprint::of(&server);
    match captured {
        Captured::Dump => server.stop_saving(),
        Captured::Aof => server.stop(),
    }
    let location = tempfile::tempdir().unwrap();
    let repository = create(local(location.path()), &Hands::new(1));
    back_up(&repository, dir.path(), "sessions").unwrap();
    let chosen = latest(&repository, "sessions").unwrap();
    Taken { repository, chosen, held, location }
}

/// A server that is restored into, and holds something else. Started by redkeep, it is no child of this process.
pub struct Victim {
    pub dir: TempDir,
    pub server: Option<RedisServer>,
    pub options: Options,
    pub old: Fingerprint,
    state: TempDir,
}

impl Victim {
    pub fn start(kind: ServerKind, lines: &[&str]) -> Victim {
        Victim::start_with(kind, lines, Victim::fill)
    }

    fn fill(server: &RedisServer) {
        Keyspace { databases: vec![0, 1], ..Keyspace::new(77, 60) }.fill(server);
    }

    pub fn start_with(kind: ServerKind, lines: &[&str], fill: impl Fn(&RedisServer)) -> Victim {
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions::with_config(lines);
        let server = RedisServer::start_with(kind, dir.path(), options);
        fill(&server);
        let old = Fingerprint::of(&server);
        redis::cmd("SAVE").exec(&mut server.connection()).unwrap();
        let address: Address = server.url().parse().unwrap();
        let state = tempfile::tempdir().unwrap();
        let mut options = Options { may_stop: true, state: Some(state.path().into()), ..Options::new(address) };
        // Some programs need libraries that only their start script names.
        let (program, config) = (kind.executable(), server.config_file());
        options.commands.start =
            Some(format!("setsid --fork {} {} >/dev/null 2>&1", program.display(), config.display()));
        options.program = Some(program);
        Victim { dir, server: Some(server), options, old, state }
    }

    pub fn directory(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// The state directory, with the journal.
    pub fn state(&self) -> Option<&Path> {
        self.options.state.as_deref()
    }

    pub fn restore(&self, taken: &Taken) -> Result<ServerReport, OperationError> {
        self.restore_watched(taken, &Silent)
    }

    pub fn restore_watched(&self, taken: &Taken, observer: &dyn Observer) -> Result<ServerReport, OperationError> {
        restore_into_server(&taken.repository, &taken.chosen, &self.options, observer)
    }

    pub fn server(&self) -> &RedisServer {
        self.server.as_ref().unwrap()
    }

    pub fn holds(&self) -> Fingerprint {
        Fingerprint::of(self.server())
    }

    pub fn is_running(&self) -> bool {
        self.server().client().get_connection().is_ok()
    }

    /// Starts the server, if it is stopped, as somebody would who knows nothing of the restore.
    pub fn start_by_hand(&self) {
        if !self.is_running() {
            let config = self.server().config_file();
            let mut command = std::process::Command::new("setsid");
            command.arg("--fork").arg(self.server().kind().executable()).arg(config);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            assert!(command.status().unwrap().success());
        }
        wait_for("the server", || {
            let mut connection = self.server().client().get_connection().ok()?;
            (Info::of(&mut connection).ok()?.get("loading") == Some("0")).then_some(())
        });
    }
}

/// A server that redkeep started is ended by its number: it is no child of ours.
impl Drop for Victim {
    fn drop(&mut self) {
        if let Some(server) = &self.server
            && let Ok(mut connection) = server.client().get_connection()
        {
            let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut connection);
        }
        let _ = self.state.path();
    }
}

/// Restores into a server of this kind and configuration, compares every key, restarts it, undoes it.
fn restores(taken: &Taken, kind: ServerKind, lines: &[&str], change: impl Fn(&mut Options)) {
    let mut victim = Victim::start(kind, lines);
    change(&mut victim.options);
    restores_into(&victim, taken, &format!("{kind:?} {lines:?}"));
}

pub fn restores_into(victim: &Victim, taken: &Taken, what: &str) {
    let report = victim.restore(taken).unwrap_or_else(|error| panic!("{what}: {error} {:?}", error.hint()));
    let verified = report.verified.unwrap();
    assert!(verified.is_right(), "{verified:?}");
    assert!(report.aside.unwrap().is_dir());
    taken.held.assert_equal(&victim.holds(), what);
    // It goes on as a server does: what is written now is there after a restart.
    redis::cmd("SET").arg("written:since").arg("1").exec(&mut victim.server().connection()).unwrap();
    redis::cmd("DEL").arg("written:since").exec(&mut victim.server().connection()).unwrap();
    let undone = undo_server(&victim.options, &Silent).unwrap();
    assert!(undone.is_old);
    victim.old.assert_equal(&victim.holds(), "after the undo");
    let redone = undo_server(&victim.options, &Silent).unwrap();
    assert!(!redone.is_old);
    taken.held.assert_equal(&victim.holds(), "after the undo of the undo");
}

const AOF_ON: &[&str] = &["appendonly yes", "appendfilename \"mine.aof\"", "dbfilename mine.rdb"];
const AOF_OFF: &[&str] = &["appendonly no", "appendfilename \"mine.aof\"", "dbfilename mine.rdb"];

fn every_cell_of(kind: ServerKind) {
    if kind.is_skipped() {
        return;
    }
    let dump = take(kind, Captured::Dump, &[]);
    restores(&dump, kind, AOF_OFF, |_| {});
    restores(&dump, kind, AOF_ON, |_| {});
    restores(&dump, kind, AOF_ON, |options| options.method = Some(Method::Classic));
    restores(&dump, kind, AOF_ON, |options| options.ttl = Some(Ttl::Keep));
    let aof = take(kind, Captured::Aof, &[]);
    restores(&aof, kind, AOF_ON, |_| {});
    restores(&aof, kind, AOF_OFF, |_| {});
}

#[test]
fn every_cell_of_the_table_on_redis_6_2() {
    every_cell_of(ServerKind::Redis62);
}

#[test]
fn every_cell_of_the_table_on_redis_7() {
    every_cell_of(ServerKind::Redis7);
}

#[test]
fn every_cell_of_the_table_on_redis_7_4() {
    every_cell_of(ServerKind::Redis74);
}

#[test]
fn every_cell_of_the_table_on_redis_8_2() {
    every_cell_of(ServerKind::Redis82);
}

#[test]
fn every_cell_of_the_table_on_valkey_9() {
    every_cell_of(ServerKind::Valkey9);
}

#[test]
fn what_an_older_server_wrote_goes_into_newer_ones() {
    let old = ServerKind::Redis62;
    if old.is_skipped() {
        return;
    }
    let (dump, aof) = (take(old, Captured::Dump, &[]), take(old, Captured::Aof, &[]));
    let commands = take(old, Captured::Aof, &["aof-use-rdb-preamble no"]);
    for kind in [ServerKind::Redis7, ServerKind::Redis82, ServerKind::Valkey9] {
        if kind.is_skipped() {
            continue;
        }
        let same = |taken: &Taken, lines: &[&str]| {
            let victim = Victim::start(kind, lines);
            assert!(victim.restore(taken).unwrap().verified.unwrap().is_right());
            let (was, is) = (&taken.held.keys, victim.holds().keys);
            // Versions count the entries of streams, and write the scores that go into a digest, in ways of their own.
            let plain = |keys: &BTreeMap<Place, KeyState>| -> BTreeMap<Place, (String, Option<u64>, String)> {
                let digest = |state: &KeyState| match state.kind.as_str() {
                    "stream" | "zset" => String::new(),
                    _ => state.digest.clone(),
                };
                let one = |(place, state): (&Place, &KeyState)| {
                    (place.clone(), (state.kind.clone(), state.expires, digest(state)))
                };
                keys.iter().map(one).collect()
            };
            assert!(plain(was) == plain(&is), "{kind:?} {lines:?}");
        };
        for lines in [AOF_ON, AOF_OFF] {
            same(&dump, lines);
            same(&aof, lines);
            same(&commands, lines);
        }
    }
}

/// Values that every version writes to its AOF alike.
fn simple(server: &RedisServer) {
    let mut pipeline = redis::pipe();
    for number in 0..200 {
        pipeline.cmd("SET").arg(format!("text:{number}")).arg("#TS:1\r\n").ignore();
        pipeline.cmd("RPUSH").arg(format!("list:{number}")).arg(number).arg("#").ignore();
        pipeline.cmd("HSET").arg(format!("hash:{number}")).arg("field").arg(number).ignore();
        pipeline.cmd("PEXPIREAT").arg(format!("hash:{number}")).arg(4_102_444_800_000_u64 + number).ignore();
    }
    pipeline.exec(&mut server.connection()).unwrap();
}

#[test]
fn the_files_of_an_aof_are_joined_for_a_server_before_7() {
    if ServerKind::Redis62.is_skipped() || ServerKind::Redis7.is_skipped() {
        return;
    }
    let lines = ["aof-use-rdb-preamble no", "aof-timestamp-enabled yes"];
    let taken = take_with(ServerKind::Redis7, Captured::Aof, &lines, simple);
    restores(&taken, ServerKind::Redis62, AOF_ON, |_| {});
    restores(&taken, ServerKind::Redis62, AOF_OFF, |_| {});
}

/// A dump, and another server of that kind which redkeep would start again as the plain process it is.
pub fn plain(kind: ServerKind) -> Option<(Taken, Victim)> {
    if kind.is_skipped() {
        return None;
    }
    let mut victim = Victim::start(kind, &[]);
    victim.options.commands.start = None;
    Some((take(kind, Captured::Dump, &[]), victim))
}

/// Refused dry and in earnest, by a restore and by an undo.
pub fn is_left_alone(victim: &mut Victim, taken: &Taken, words: &str) {
    for dry_run in [true, false] {
        victim.options.dry_run = dry_run;
        refused(victim, taken, words, "nothing was touched");
        let options = Options { dry_run, ..victim.options.clone() };
        let error = undo_server(&options, &Silent).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    victim.options.dry_run = false;
}

/// What is refused leaves the server as it was, with the same process.
pub fn refused(victim: &Victim, taken: &Taken, words: &str, hint: &str) {
    let before = (victim.server().info().number("process_id"), files(&victim.directory()));
    let error = victim.restore(taken).expect_err(words);
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint().is_some_and(|said| said.contains(hint)), "{:?}", error.hint());
    // A word that is missing is wrong usage (2); all else is the server's state (9).
    let is_usage = matches!(error, OperationError::Refused { .. });
    let is_server = matches!(error, OperationError::Redis(redkeep::redis::RedisError::Server { .. }));
    assert_eq!((is_usage, is_server), (hint == "--yes", hint != "--yes"), "{error}");
    assert_eq!((victim.server().info().number("process_id"), files(&victim.directory())), before);
}

fn files(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_server_that_cannot_read_it_or_may_not_be_stopped_is_left_alone() {
    if ServerKind::ALL.into_iter().any(ServerKind::is_skipped) {
        return;
    }
    let of = |kind| take(kind, Captured::Dump, &[]);
    let (redis_7, redis_82, valkey_9) = (of(ServerKind::Redis7), of(ServerKind::Redis82), of(ServerKind::Valkey9));
    let on_62 = Victim::start(ServerKind::Redis62, &[]);
    refused(&on_62, &redis_7, "cannot read a dump that begins with REDIS0010", "Redis 7.0");
    refused(&on_62, &valkey_9, "cannot read", "Valkey 9.0");
    let on_valkey = Victim::start(ServerKind::Valkey9, &["appendonly yes"]);
    refused(&on_valkey, &redis_82, "cannot read a dump that begins with REDIS0012", "Redis 7.4");

    let mut victim = Victim::start(ServerKind::Redis7, &["databases 4"]);
    refused(&victim, &redis_7, "holds database 5", "raise databases");
    victim = Victim::start(ServerKind::Redis7, &[]);
    victim.options.may_stop = false;
    refused(&victim, &redis_7, "would be stopped", "--yes");
    victim.options.may_stop = true;
    let master = Victim::start(ServerKind::Redis7, &[]);
    let port = master.server().port().to_string();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).exec(&mut victim.server().connection()).unwrap();
    refused(&victim, &redis_7, "is a replica", "--force replica");
}

#[test]
fn settings_that_a_restart_would_lose_are_seen_before_anything_is_stopped() {
    let Some((taken, victim)) = plain(ServerKind::Redis7) else { return };
    redis::cmd("CONFIG").arg("SET").arg("appendonly").arg("yes").exec(&mut victim.server().connection()).unwrap();
    wait_for("the rewrite", || {
        let info = victim.server().info();
        (info.get("aof_rewrite_in_progress") == Some("0")).then_some(())
    });
    refused(&victim, &taken, "says no: started again, it would look for other data", "CONFIG REWRITE");
    redis::cmd("CONFIG").arg("REWRITE").exec(&mut victim.server().connection()).unwrap();
    victim.restore(&taken).unwrap();
    taken.held.assert_equal(&victim.holds(), "once the file says so");
    assert_eq!(victim.server().info().get("aof_enabled"), Some("1"));
}

#[test]
fn a_dry_run_tells_every_step_and_does_nothing() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, AOF_ON);
    (victim.options.dry_run, victim.options.may_stop) = (true, false);
    let before = (victim.server().info().number("process_id"), files(&victim.directory()));
    let report = victim.restore(&taken).unwrap();
    assert_eq!((victim.server().info().number("process_id"), files(&victim.directory())), before);
    let text = report.steps.join("\n");
    for words in ["staging directory", "appendonlydir/mine.aof.1.base.rdb", "SHUTDOWN NOSAVE", "one rename", "ask it"] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    assert!(report.notes.iter().any(|note| note.contains("expired since")), "{:?}", report.notes);
    assert!(report.verified.is_none() && report.aside.is_none());
}

#[test]
fn a_plain_process_is_started_as_it_was_and_outlives_who_started_it() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let mut victim = Victim::start(kind, AOF_ON);
    victim.options.commands.start = None;
    std::os::unix::fs::chown(victim.directory(), Some(4321), Some(8765)).unwrap_or_default();
    victim.restore(&taken).unwrap();
    taken.held.assert_equal(&victim.holds(), "a plain process");
    let info = victim.server().info();
    let pid = info.number("process_id");
    let config = victim.server().config_file();
    assert_eq!(info.get("config_file"), config.to_str());
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), victim.directory());
    // The sixth field is its session: its own, or that of its parent that is gone, but not this one.
    let session = |pid: u64| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned()
    };
    assert_ne!(session(pid), session(std::process::id().into()));
    // Its files belong to whom the directory belongs, and only he and his group read them.
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(victim.directory()).unwrap();
    for name in ["appendonlydir", "appendonlydir/mine.aof.1.base.rdb"] {
        let found = std::fs::metadata(victim.directory().join(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (owner.uid(), owner.gid()), "{name}");
        assert!(found.mode() & 0o600 == 0o600, "{name}");
    }
}

/// LOCAL-13
#[test]
fn the_old_files_are_put_back_in_the_directory_of_a_stopped_server() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    let victim = Victim::start(kind, &["appendonly yes"]);
    let stop = || {
        let pid = victim.server().info().number("process_id");
        redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut victim.server().connection()).unwrap_err();
        wait_for("its end", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
    };
    assert_eq!(undo_directory(&victim.directory(), None, victim.state()).unwrap(), None, "nothing was restored");
    victim.restore(&taken).unwrap();
    assert!(
        matches!(undo_directory(&victim.directory(), None, victim.state()), Err(OperationError::InUse { .. })),
        "the server runs"
    );
    for round in 0..2 {
        stop();
        let undone = undo_directory(&victim.directory(), None, victim.state()).unwrap().unwrap();
        assert_eq!(undone.is_old, round == 0);
        victim.start_by_hand();
        let wanted = if round == 0 { &victim.old } else { &taken.held };
        wanted.assert_equal(&victim.holds(), "after an undo in the directory");
    }
}
