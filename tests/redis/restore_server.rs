//! `restore --server` with real servers: every cell of the table, key by key.

use std::path::PathBuf;

use redkeep::operations::list::Chosen;
use redkeep::operations::restore::server::{Method, Options, ServerReport, Ttl, restore_into_server, undo_server};
use redkeep::operations::{Observer, OperationError, Silent};
use redkeep::redis::server::Address;
use redkeep::repository::Repository;
use tempfile::TempDir;

use crate::support::equality::Fingerprint;
use crate::support::keyspace::Keyspace;
use crate::support::repository::{Hands, back_up, create, latest, memory};
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

/// A snapshot of a server's directory, and what the server held.
pub struct Taken {
    pub repository: Repository,
    pub chosen: Chosen,
    pub held: Fingerprint,
}

/// In which form a dataset is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    Dump,
    Aof,
}

/// Fills a server, stops it and backs its directory up.
pub fn take(kind: ServerKind, captured: Captured, extra: &[&str]) -> Taken {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = vec!["appendfilename \"old.aof\"", "dbfilename old.rdb"];
    if captured == Captured::Aof {
        lines.push("appendonly yes");
    }
    lines.extend(extra);
    let mut server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&lines));
    Keyspace::new(5, 400).fill(&server);
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
    let repository = create(memory(), &Hands::new(1));
    back_up(&repository, dir.path(), "sessions").unwrap();
    let chosen = latest(&repository, "sessions").unwrap();
    Taken { repository, chosen, held }
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
        let dir = tempfile::tempdir().unwrap();
        let options = ServerOptions::with_config(lines);
        let server = RedisServer::start_with(kind, dir.path(), options);
        Keyspace::new(77, 60).fill(&server);
        let old = Fingerprint::of(&server);
        redis::cmd("SAVE").exec(&mut server.connection()).unwrap();
        let address: Address = server.url().parse().unwrap();
        let state = tempfile::tempdir().unwrap();
        let mut options =
            Options { may_stop: true, memory: Some(state.path().join("memory")), ..Options::new(address) };
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
    let report = victim.restore(taken).unwrap_or_else(|error| panic!("{kind:?} {lines:?}: {error} {:?}", error.hint()));
    let verified = report.verified.unwrap();
    assert!(verified.is_right(), "{verified:?}");
    assert!(report.aside.unwrap().is_dir());
    taken.held.assert_equal(&victim.holds(), &format!("{kind:?} {lines:?}"));
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
