//! A fresh dump, proved to be what was asked for.
//!
//! Nothing a server says proves a save: a FLUSHALL or a signal during BGSAVE leaves every field of INFO as after a good
//! one, and two saves in one second share their time. The file proves it: another inode or modification time than before,
//! and a save that began at or after the server's time of the request. A server with save points replaces what it was
//! saving by a dump without keys when it is flushed; that is not taken for the one that was asked for.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::connection::{Server, ServerTime};
use super::discovery::Place;
use super::dump_file::{self, DumpStamp, began, holds_no_keys};
use super::info::Info;
use super::room::Room;
use super::watch::{Pauses, Watch};
use crate::format::counts::count;
use crate::format::snapshot::Warning;
use crate::redis::RedisError;

/// How often a save is asked for that comes to nothing.
const ATTEMPTS: u32 = 3;
/// How long loading, or a save of somebody else, may take.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long a scheduled save may wait after all that was in its way: a server tries again after five seconds.
const SCHEDULED: Duration = Duration::from_secs(7);
/// How long a server may take to see that a save has ended; another one may have begun.
const ENDED: Duration = Duration::from_secs(1);
/// How many seconds after the request a save may begin that was not put off.
const BEGIN: u64 = 5;
/// Between two looks at a save: growing from the first to the second.
pub(super) const POLL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// What makes a dump the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// The server's time of the request.
    pub at: ServerTime,
    /// The dump that was there before.
    pub before: Option<DumpStamp>,
    /// The latest second in which the save may have begun, where a dump of another server could be taken for it.
    pub latest: Option<u64>,
    /// The server held keys then.
    pub had_keys: bool,
}

impl Asked {
    /// Whether an open file is that dump, and when its save began in milliseconds since the epoch. One without keys is
    /// not, where there were some: a server with save points writes such a one itself, at a FLUSHALL, be it in the
    /// middle of a transaction.
    pub(super) fn proves(&self, file: &File) -> io::Result<Option<u64>> {
        let stamp = DumpStamp::of(&file.metadata()?);
        let is_of_its_time =
            |began: &u64| *began >= self.at.seconds() && self.latest.is_none_or(|latest| *began <= latest);
        let began = began(file)?.filter(|began| Some(stamp) != self.before && is_of_its_time(began));
        if began.is_some() && self.had_keys && holds_no_keys(file)? {
            return Ok(None);
        }
        // Everything answered before the request is in it, and before the second in which it began.
        Ok(began.map(|began| self.at.millis().max(began.saturating_mul(1000))))
    }
}

/// How long a save may stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePatience {
    /// Until a person is told.
    pub told: Duration,
    /// Until it is given up: a server that writes one very large value, or has its disk flush, moves all the same.
    pub given_up: Duration,
}

impl Default for SavePatience {
    fn default() -> Self {
        Self { told: Duration::from_secs(60), given_up: Duration::from_secs(15 * 60) }
    }
}

/// A save that came to be.
#[derive(Debug)]
pub(super) struct Saved {
    pub asked: Asked,
    /// What the server said right before the request.
    pub info: Info,
    /// The dump.
    pub stamp: DumpStamp,
}

/// Asks for saves, and remembers what that did.
#[derive(Debug)]
pub(super) struct Saver<'a> {
    place: &'a Place,
    watch: &'a Watch<'a>,
    patience: SavePatience,
    /// Whether there was a dump right before the last request that the server took. `None`: it took none.
    pub had_dump: Option<bool>,
    /// Saves that were ended before they were done.
    lost: u32,
    /// Requests that the server took, and the keys there were at the first.
    requests: u32,
    first_keys: Option<u64>,
}

impl<'a> Saver<'a> {
    pub(super) fn new(place: &'a Place, watch: &'a Watch<'a>, patience: SavePatience) -> Self {
        Self { place, watch, patience, had_dump: None, lost: 0, requests: 0, first_keys: None }
    }

    /// Has the server save, and answers with what proves it.
    pub(super) fn save(&mut self, server: &mut Server) -> Result<Saved, RedisError> {
        let dump = self.place.dump();
        let mut busy = Pauses::new(POLL.0, POLL.1, PATIENCE);
        loop {
            let info = self.wait_idle(server, &mut busy)?;
            // Others may have saved meanwhile: what is there now is not ours.
            let before = DumpStamp::of_path(&dump)?.map(|(stamp, _)| stamp);
            let mut room = Room::check(&info, self.place, &dump)?;
            let mut asked = Asked { at: server.time()?, before, latest: None, had_keys: info.keys() > 0 };
            (self.watch.say)("the server saves");
            let scheduled = match request(server)? {
                Request::Started => {
                    if self.place.is_the_servers() != Some(true) {
                        asked.latest = Some(server.time()?.seconds().saturating_add(BEGIN));
                    }
                    false
                }
                Request::Scheduled => true,
                Request::Busy => continue,
                Request::Failed => return Err(self.failed(server, &room)),
            };
            self.had_dump = Some(before.is_some());
            if before.is_none() && self.place.keeps_no_dumps() {
                let (dump, told) = (dump.display(), self.place.how_to_delete());
                (self.watch.leaves)(&format!(
                    "{dump}, which the server would load when it starts, will appear: {told}"
                ));
            }
            self.requests += 1;
            self.first_keys.get_or_insert(info.keys());
            match self.wait_saved(server, &dump, asked, scheduled, &mut room)? {
                Ending::Saved(stamp) => return Ok(Saved { asked, info, stamp }),
                // A save that is killed leaves the failure of an earlier one as it was.
                Ending::Failed if !is_err(&info) => return Err(self.failed(server, &room)),
                Ending::Lost | Ending::Failed if self.lost + 1 < ATTEMPTS => self.lost += 1,
                Ending::Failed => return Err(self.failed(server, &room)),
                Ending::Lost => return Err(self.lost()),
            }
        }
    }

    /// What a person has to hear of a save that was ended, and of the one that was asked for after it: a flush ends one.
    pub(super) fn flush_meanwhile(&self, now: &Info) -> Option<Warning> {
        let (before, after) = (self.first_keys.unwrap_or_default(), now.keys());
        (self.requests > 1 && after < before - before / 2).then(|| Warning {
            code: "flush-while-saving".into(),
            path: Vec::new().into(),
            message: format!(
                "a save was ended before it was done, and of {} the next one found {after}: was it flushed on purpose?",
                count(before, "key")
            ),
        })
    }

    fn lost(&self) -> RedisError {
        // Where name and place are known nothing else is left.
        if self.place.is_asked && self.place.is_the_servers() == Some(true) {
            return RedisError::Server {
                what: format!("{ATTEMPTS} saves that were asked for were ended before they were done"),
                hint:
                    "somebody ends them, by FLUSHALL, BGSAVE CANCEL or a signal: the server's log says how; try again \
                       when that is over"
                        .into(),
            };
        }
        self.place.not_the_servers(&format!(
            "of {ATTEMPTS} saves that were asked for and ended, none came to be {}",
            String::from_utf8_lossy(&self.place.told.dump)
        ))
    }

    /// A save that was asked for has failed. With save points that makes a server refuse all writes, by default.
    fn failed(&self, server: &mut Server, room: &Room<'_>) -> RedisError {
        let shortage = room.shortage().map_or(String::new(), |shortage| format!(": {shortage}"));
        let what = format!("the save failed that the server at {} was asked for{shortage}", server.address());
        let goes_on = server.setting("stop-writes-on-bgsave-error").is_ok_and(|set| set.as_deref() == Some("no"));
        match self.place.setting("save") {
            Some("") => RedisError::Server { what, hint: LOG.into() },
            _ if goes_on => RedisError::Server { what, hint: LOG.into() },
            known => {
                let refuses = match known {
                    Some(_) => "until one succeeds the server refuses all writes (MISCONF)",
                    None => "until one succeeds a server with save points refuses all writes (MISCONF)",
                };
                RedisError::Server {
                    what: format!("{what}; {refuses}"),
                    hint: format!(
                        "make room, then BGSAVE: writes are refused as long as INFO persistence says \
                         rdb_last_bgsave_status:err; {LOG}"
                    ),
                }
            }
        }
    }

    /// Waits until nothing is in the way of a save.
    fn wait_idle(&self, server: &mut Server, busy: &mut Pauses) -> Result<Info, RedisError> {
        let mut movement = Movement::new(self.patience);
        loop {
            let info = server.info()?;
            let why = match (info.is_loading(), info.is_on("rdb_bgsave_in_progress")) {
                (true, _) => "the server is loading its data",
                (_, true) => "the server saves already",
                (false, false) => return Ok(info),
            };
            (self.watch.say)(&format!("waiting: {why}"));
            movement.look(why, &info, written(&self.place.directory), self.watch)?;
            if !busy.pause(self.watch)? {
                return Err(RedisError::Server { what: why.into(), hint: "try again later".into() });
            }
        }
    }

    fn wait_saved(
        &self,
        server: &mut Server,
        dump: &Path,
        asked: Asked,
        scheduled: bool,
        room: &mut Room<'_>,
    ) -> Result<Ending, RedisError> {
        // As long as a child process works and comes on there is no end to patience.
        let mut pauses = Pauses::endless(POLL.0, POLL.1);
        let mut movement = Movement::new(self.patience);
        let mut ending = Pauses::new(POLL.0, POLL.0, ENDED);
        let (mut waits_to_begin, mut beginning) = (scheduled, Pauses::new(POLL.0, POLL.1, SCHEDULED));
        loop {
            let info = server.info_of("persistence")?;
            // A dump of another server never makes this one say that it has saved.
            let is_told = info.number("rdb_last_save_time").is_some_and(|last| last >= asked.at.seconds());
            if is_told && let Some(stamp) = proved(dump, asked)? {
                // The server learns a little later that its child has ended, and refuses other saves until then.
                match info.is_on("rdb_bgsave_in_progress") && ending.pause(self.watch)? {
                    true => continue,
                    false => return Ok(Ending::Saved(stamp)),
                }
            }
            let written = written(&self.place.directory);
            room.look(written, self.watch);
            if info.is_on("rdb_bgsave_in_progress") {
                waits_to_begin = false;
                say_progress(&info, self.watch);
                movement.look("the server saves", &info, written, self.watch)?;
            } else if !waits_to_begin {
                return Ok(if is_err(&info) { Ending::Failed } else { Ending::Lost });
            } else if info.is_on("aof_rewrite_in_progress") || info.is_on("module_fork_in_progress") {
                beginning = Pauses::new(POLL.0, POLL.1, SCHEDULED);
                movement.look("the server does other work before it saves", &info, written, self.watch)?;
            } else if !beginning.pause(self.watch)? {
                return Ok(Ending::Lost);
            }
            pauses.pause(self.watch)?;
        }
    }
}

/// Where the reason of a failed save is found.
const LOG: &str = "its log says why: a full disk, missing rights, or no memory for a fork";

/// Bytes of the temporary files that a server writes in a directory while it saves or rewrites.
fn written(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().as_bytes().starts_with(b"temp-"));
    ours.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Whether what a server does comes on.
pub(super) struct Movement {
    patience: SavePatience,
    /// Keys and bytes it has done.
    seen: (Option<u64>, Option<u64>, u64),
    since: Instant,
    told: bool,
}

impl Movement {
    pub(super) fn new(patience: SavePatience) -> Self {
        Self { patience, seen: (None, None, 0), since: Instant::now(), told: false }
    }

    /// Tells a person once that nothing moves, and fails when that goes on.
    pub(super) fn look(&mut self, what: &str, info: &Info, written: u64, watch: &Watch<'_>) -> Result<(), RedisError> {
        let now = (info.number("current_save_keys_processed"), info.number("loading_loaded_bytes"), written);
        if now != self.seen {
            (self.seen, self.since, self.told) = (now, Instant::now(), false);
        }
        let still = self.since.elapsed();
        let keys = info.number("current_save_keys_processed").zip(info.number("current_save_keys_total"));
        let keys = keys.map_or(String::new(), |(done, total)| format!(" ({done} of {})", count(total, "key")));
        if still >= self.patience.given_up {
            return Err(RedisError::Server {
                what: format!("{what}, and has not come on for {} s{keys}", still.as_secs()),
                hint: "look at the server's child process and its disk: is it stopped, or does the disk hang?".into(),
            });
        }
        if still >= self.patience.told && !self.told {
            self.told = true;
            (watch.note)(&format!("{what}, and has not come on for {} s{keys}", still.as_secs()));
        }
        Ok(())
    }
}

/// What came of asking for a save.
enum Request {
    Started,
    /// Another child process works; the save begins after it, which INFO does not show.
    Scheduled,
    /// A save is under way that began before.
    Busy,
    /// It could not begin.
    Failed,
}

fn request(server: &mut Server) -> Result<Request, RedisError> {
    let answer = match server.words(&["BGSAVE", "SCHEDULE"]) {
        Err(RedisError::Answer { message, .. }) if message.to_ascii_lowercase().contains("syntax") => {
            server.words(&["BGSAVE"])
        }
        answer => answer,
    };
    match answer {
        Ok(said) if said.contains("scheduled") => Ok(Request::Scheduled),
        Ok(_) => Ok(Request::Started),
        Err(RedisError::Answer { message, .. }) if message.contains("already in progress") => Ok(Request::Busy),
        Err(RedisError::Answer { message, .. }) if message.contains("child process") => Ok(Request::Busy),
        Err(RedisError::Answer { message, .. }) if message.trim() == "ERR" => Ok(Request::Failed),
        Err(error) => Err(error),
    }
}

/// How a save ended.
enum Ending {
    Saved(DumpStamp),
    /// It ended, and there is no new dump: it was killed, or the dump is elsewhere.
    Lost,
    Failed,
}

fn is_err(info: &Info) -> bool {
    info.get("rdb_last_bgsave_status") == Some("err")
}

/// The dump, if it is the one that was asked for.
fn proved(dump: &Path, asked: Asked) -> Result<Option<DumpStamp>, RedisError> {
    let Some(file) = dump_file::open(dump)? else { return Ok(None) };
    let read = |error| RedisError::io("read", dump, error);
    let proved = asked.proves(&file).map_err(read)?;
    proved.map(|_| file.metadata().map(|metadata| DumpStamp::of(&metadata)).map_err(read)).transpose()
}

fn say_progress(info: &Info, watch: &Watch<'_>) {
    let done = info.number("current_save_keys_processed").zip(info.number("current_save_keys_total"));
    if let Some((done, total)) = done.filter(|(_, total)| *total > 0) {
        (watch.say)(&format!("the server saves: {done} of {}", count(total, "key")));
    }
}
