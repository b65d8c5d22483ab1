//! Before a server is stopped: what it holds is saved, and what clients write after the save is not answered.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::thread;
use std::time::{Duration, Instant};

use super::steps::Waiting;
use super::target::Target;
use super::{Consent, Options};
use crate::operations::{Observer, OperationError, watching};
use crate::redis::RedisError;
use crate::redis::server::{HOLD_AGAIN, Info, Server, aof_not_live};

/// How long a save may take.
const SAVING: Duration = Duration::from_secs(24 * 3600);
/// How long a server that is ending may take to answer.
const ENDING: Duration = Duration::from_secs(2);
/// Between two looks at a save.
const LOOK: Duration = Duration::from_millis(100);
/// What a person has to hear of a server that cannot be kept from answering.
const LOSES: &str = "the server cannot hold clients back: what they write from now on until it is stopped is lost";
/// From this version on clients can be held back from writing only.
const HOLDS_WRITES: (u32, u32, u32) = (6, 2, 0);

/// What becomes of writes until the server has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writes {
    /// They are in its AOF, or a person said that they may be lost.
    Kept,
    /// They are held back.
    Held,
    /// They are answered and in no save.
    Answered,
}

/// LOCAL-39: refuses to stop a server whose AOF is on and is not what it would load again: what it holds stands nowhere else.
pub(super) fn refuse_unkept(
    server: &mut Server,
    target: &Target,
    options: &Options,
    observer: &dyn Observer,
) -> Result<(), OperationError> {
    if !target.appendonly || options.consents.contains(&Consent::Unsaved) {
        return Ok(());
    }
    observer.begin("looking at the server's AOF", None);
    let why = watching(observer, |watch| aof_not_live(server, &target.directory, watch))?;
    let Some(why) = why else { return Ok(()) };
    Err(RedisError::Server {
        what: format!("what the server holds would be lost: its AOF is not what it would load again: {why}"),
        hint: "wait for a rewrite or a sync that is under way; else have the server write it anew with BGREWRITEAOF, or say \
               that it may be lost with --force unsaved"
            .into(),
    }
    .into())
}

/// Has a server without an AOF save what it holds, so that it can be put back: it is stopped without saving, because what
/// stands there then may be replaced already. Clients cannot write from here on, where the server can hold them back.
pub(super) fn save_old(
    server: &mut Server,
    target: &Target,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Writes, OperationError> {
    if target.appendonly || options.consents.contains(&Consent::Unsaved) {
        return Ok(Writes::Kept);
    }
    loop {
        wait_for_another(server, observer)?;
        let writes = match target.version >= HOLDS_WRITES && server.hold_writes().is_ok() {
            true => Writes::Held,
            false => Writes::Answered,
        };
        match save(server, target, writes, observer) {
            Ok(()) => {
                if writes == Writes::Answered && !target.host.stop.can_save() {
                    observer.remark(LOSES);
                }
                return Ok(writes);
            }
            Err(error) => {
                writes.release(server);
                if !is_another_under_way(&error) {
                    let what = format!("the server cannot save what it holds, which would be lost: {error}");
                    let hint = "its log says why; make room, or say that it may be lost with --force unsaved".into();
                    return Err(RedisError::Server { what, hint }.into());
                }
            }
        }
    }
}

/// Waits until no save is under way: it may be of before the last writes, and none can be asked for beside it.
fn wait_for_another(server: &mut Server, observer: &dyn Observer) -> Result<(), OperationError> {
    let (begun, mut waiting) = (Instant::now(), Waiting::new(observer, Duration::MAX));
    while server.info()?.is_on("rdb_bgsave_in_progress") {
        if observer.interrupted() {
            return Err(RedisError::Interrupted.into());
        }
        if begun.elapsed() < LOOK {
            observer.begin("waiting until the server has saved", None);
        }
        waiting.tell(begun.elapsed(), "the server saves already, and is waited for");
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Whether a save was refused because one had begun since.
fn is_another_under_way(error: &RedisError) -> bool {
    matches!(error, RedisError::Answer { message, .. } if message.contains("save already in progress"))
}

fn save(server: &mut Server, target: &Target, writes: Writes, observer: &dyn Observer) -> Result<(), RedisError> {
    let info = server.info()?;
    let is_saved = info.number("rdb_changes_since_last_save") == Some(0)
        && !info.was_replica()
        && (has_its_dump(target, &info) || info.keyspace().values().all(|database| database.keys == 0));
    if is_saved {
        return Ok(());
    }
    observer.begin("saving what the server holds", None);
    match writes {
        Writes::Held => server.save_and_hold(SAVING),
        Writes::Kept | Writes::Answered => {
            server.wait_up_to(SAVING)?;
            server.words(&["SAVE"]).map(drop)
        }
    }
}

/// Whether what stands there as its dump is as old as its last save, or the start at which it loaded it: what somebody put there
/// since is not what the server holds.
fn has_its_dump(target: &Target, info: &Info) -> bool {
    let (held, name) = (&target.held, &target.names.dump);
    let changed = match held.look(name) {
        Ok(Some(seen)) if seen.is_link() => {
            fs::metadata(held.path_of(name)).map(|behind| behind.ctime().max(seen.changed().0)).ok()
        }
        Ok(seen) => seen.map(|seen| seen.changed().0),
        Err(_) => None,
    };
    let saved = info.number("rdb_last_save_time").and_then(|saved| i64::try_from(saved).ok());
    changed.zip(saved).is_some_and(|(changed, saved)| changed <= saved)
}

impl Writes {
    /// Lets clients write again: the server goes on.
    pub fn release(self, server: &mut Server) {
        if self == Writes::Held {
            // Of one that does not answer they are released within a minute.
            let _ = server.release_writes();
        }
    }

    /// While the server is ending: holds them back further.
    pub fn hold_on(self, server: &mut Server, since: Duration, last: &mut Duration) {
        if self == Writes::Held && since.saturating_sub(*last) >= HOLD_AGAIN {
            *last = since;
            let _ = server.wait_up_to(ENDING).and_then(|()| server.hold_writes());
        }
    }
}

/// In the words of a plan.
pub(super) fn step(target: &Target) -> String {
    let saves = "have the server save what it holds (SAVE), so that an undo brings all of it back";
    match (target.version >= HOLDS_WRITES, target.host.stop.can_save()) {
        (true, _) => format!("hold back what clients write (CLIENT PAUSE), and {saves}"),
        (false, true) => {
            format!("{saves}; it cannot hold back clients, and saves once more what they write when it is shut down")
        }
        (false, false) => {
            format!("{saves}; it cannot hold back clients: what they write after the save until it is stopped is lost")
        }
    }
}
