//! A dump that is there only because a capture asked for it, and does not stay.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Live;
use crate::held::Held;
use crate::redis::RedisError;
use crate::redis::server::address::Address;
use crate::redis::server::connection::Server;
use crate::redis::server::discovery::Place;
use crate::redis::server::dump_file::DumpStamp;
use crate::redis::server::save::Saver;

/// How often a save that is of no use any more is looked for, and the time between.
const CLEANING: u32 = 150;
const LOOK: Duration = Duration::from_millis(200);

/// A dump that was made for a capture only, and is in the way once that is stored: the server would load it.
#[derive(Debug, Clone)]
pub struct MadeDump {
    /// The directory it was made in, whatever has that name by now.
    directory: Held,
    path: PathBuf,
    stamp: DumpStamp,
    address: Address,
}

impl MadeDump {
    /// Removes it, unless it was replaced meanwhile, or the server has come to save by itself: it is asked once more.
    pub fn remove(&self) -> Result<(), RedisError> {
        let keeps_none = |server: &mut Server| Ok(server.setting("save")?.is_some_and(|save| save.is_empty()));
        if !self.is_there()? || !Server::connect(&self.address).and_then(|mut server| keeps_none(&mut server))? {
            return Ok(());
        }
        match self.is_there()? {
            true => {
                let removed = self.directory.remove_file(self.name());
                removed.map_err(|error| RedisError::io("remove", &self.path, error))
            }
            false => Ok(()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn name(&self) -> &OsStr {
        self.path.file_name().unwrap_or_default()
    }

    fn is_there(&self) -> Result<bool, RedisError> {
        let seen = self.directory.look(self.name()).map_err(|error| RedisError::io("look at", &self.path, error))?;
        Ok(seen.is_some_and(|seen| DumpStamp::of_seen(&seen) == self.stamp))
    }
}

impl Place {
    /// Whether the server itself said that it never saves by itself.
    pub(in crate::redis::server) fn keeps_no_dumps(&self) -> bool {
        self.is_asked && self.setting("save").is_some_and(str::is_empty)
    }

    /// What to do about a dump that could not be taken away.
    pub(in crate::redis::server) fn how_to_delete(&self) -> String {
        format!(
            "delete {} once INFO persistence says rdb_bgsave_in_progress:0, unless you want to keep it",
            self.dump().display()
        )
    }
}

impl Live<'_> {
    /// LIVE-5: does what may ask for a dump, and tells which one is there only because of it: one that the server would not have made
    /// by itself, in a place where there was none right before the request. If it comes to nothing, or is interrupted, such a
    /// dump does not stay: its save is waited for, since it cannot be stopped.
    pub(super) fn cleaning_up<T>(
        &self,
        server: &mut Server,
        work: impl FnOnce(&mut Server, &mut Saver<'_>) -> Result<(T, Option<DumpStamp>), RedisError>,
    ) -> Result<(T, Option<MadeDump>), RedisError> {
        let mut saver = Saver::new(&self.place, self.watch, self.options.patience);
        let address = server.address().clone().with_stop(None);
        let directory = Held::open(&self.place.directory);
        let directory = directory.map_err(|error| RedisError::io("open", &self.place.directory, error))?;
        let made = |stamp: DumpStamp| MadeDump { directory, path: self.place.dump(), stamp, address };
        let done = work(server, &mut saver);
        let is_ours = saver.had_dump == Some(false) && self.place.keeps_no_dumps();
        match done {
            Ok((done, stamp)) => Ok((done, stamp.filter(|_| is_ours).map(made))),
            Err(error) if !is_ours => Err(error),
            Err(error) => {
                let taken = self.take_away(server, made);
                (self.watch.leaves)("");
                Err(match (taken, error) {
                    (Ok(()), error) => error,
                    (Err(left), RedisError::Interrupted) => {
                        let what = format!("interrupted; {left}");
                        RedisError::Stopped { what, hint: self.place.how_to_delete() }
                    }
                    (Err(left), other) => {
                        (self.watch.note)(&format!("{left}: {}", self.place.how_to_delete()));
                        other
                    }
                })
            }
        }
    }

    /// Removes the dump of a save that is of no use any more, or tells why it stays.
    fn take_away(&self, server: &Server, made: impl FnOnce(DumpStamp) -> MadeDump) -> Result<(), String> {
        let path = self.place.dump();
        let path = path.display();
        // An interruption may have come while an answer was waited for.
        let tell = || {
            let seconds = LOOK.saturating_mul(CLEANING).as_secs();
            (self.watch.note)(&format!(
                "waiting up to {seconds} s for the server's save to end: the server keeps no dumps, and would load {path} \
                 when it starts"
            ));
        };
        if !server.once_more().is_ok_and(|mut server| saves_ended(&mut server, &tell)) {
            return Err(format!("the server goes on with its save, and would load {path} when it starts"));
        }
        let there = DumpStamp::of_path(&self.place.dump());
        let removed = there.and_then(|there| there.map_or(Ok(()), |(stamp, _)| made(stamp).remove()));
        removed.map_err(|error| format!("{path}, which the server would load when it starts, is still there: {error}"))
    }
}

/// Waits for saves that were asked for, as long as a person will wait, who is told once.
fn saves_ended(server: &mut Server, tell: &dyn Fn()) -> bool {
    for turn in 0..CLEANING {
        match server.info_of("persistence") {
            Ok(info) if info.is_on("rdb_bgsave_in_progress") => {
                if turn == 0 {
                    tell();
                }
                std::thread::sleep(LOOK);
            }
            answer => return answer.is_ok(),
        }
    }
    false
}
