//! A fresh dump, proved to be what was asked for.
//!
//! Nothing a server says proves a save: a FLUSHALL or a signal during BGSAVE leaves every field of INFO as after a good
//! one, and two saves in one second share their time. The file proves it: another inode or modification time than before,
//! and a save that began at or after the server's time of the request.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::connection::{Server, ServerTime};
use super::discovery::Place;
use super::info::Info;
use super::watch::{Pauses, Watch};
use crate::rdb;
use crate::redis::RedisError;
use crate::redis::directory::{FileId, first_bytes};

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
const POLL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// What tells one dump from the next: its inode and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DumpStamp {
    pub id: FileId,
    written: (i64, i64),
}

impl DumpStamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { id: FileId::of(metadata), written: (metadata.mtime(), metadata.mtime_nsec()) }
    }

    /// Of the dump that is there, if there is one.
    pub(super) fn of_path(path: &Path) -> Result<Option<(Self, u64)>, RedisError> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some((Self::of(&metadata), metadata.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RedisError::io("look at", path, error)),
        }
    }

    /// When it was written, in seconds since the epoch.
    pub(super) fn written(&self) -> i64 {
        self.written.0
    }
}

/// What makes a dump the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// The server's time of the request.
    pub at: ServerTime,
    /// The dump that was there before.
    pub before: Option<DumpStamp>,
    /// The latest second in which the save may have begun, where a dump of another server could be taken for it.
    pub latest: Option<u64>,
}

impl Asked {
    /// Whether an open file is that dump, and when its save began in milliseconds since the epoch.
    pub(super) fn proves(&self, file: &File) -> io::Result<Option<u64>> {
        let stamp = DumpStamp::of(&file.metadata()?);
        let is_of_its_time =
            |began: &u64| *began >= self.at.seconds() && self.latest.is_none_or(|latest| *began <= latest);
        let began = began(file)?.filter(|began| Some(stamp) != self.before && is_of_its_time(began));
        // Everything answered before the request is in it, and before the second in which it began.
        Ok(began.map(|began| self.at.millis().max(began.saturating_mul(1000))))
    }
}

/// When the save of a dump began, in seconds since the epoch, as it says itself.
pub(super) fn began(file: &File) -> io::Result<Option<u64>> {
    Ok(rdb::read_header(&first_bytes(file)?).and_then(|peek| peek.aux.ctime))
}

/// Has the server save, and answers with what proves it.
pub(super) fn save(server: &mut Server, place: &Place, watch: &Watch<'_>) -> Result<Asked, RedisError> {
    let dump = place.dump();
    let mut busy = Pauses::new(POLL.0, POLL.1, PATIENCE);
    let mut attempt = 1;
    loop {
        let info = wait_idle(server, &mut busy, watch)?;
        let before = DumpStamp::of_path(&dump)?;
        check_room(&info, place, &dump)?;
        let mut asked = Asked { at: server.time()?, before: before.map(|(stamp, _)| stamp), latest: None };
        (watch.say)("the server saves");
        let scheduled = match request(server)? {
            Request::Started => {
                if place.is_the_servers() != Some(true) {
                    asked.latest = Some(server.time()?.seconds().saturating_add(BEGIN));
                }
                false
            }
            Request::Scheduled => true,
            Request::Busy => continue,
        };
        match wait_saved(server, &dump, asked, scheduled, watch)? {
            Ending::Saved => return Ok(asked),
            Ending::Lost if attempt < ATTEMPTS => attempt += 1,
            Ending::Lost => {
                return Err(place.not_the_servers(&format!(
                    "of {ATTEMPTS} saves that were asked for and ended, none came to be {}",
                    String::from_utf8_lossy(&place.told.dump)
                )));
            }
            // A save that is killed leaves the failure of an earlier one as it was.
            Ending::Failed if is_err(&info) && attempt < ATTEMPTS => attempt += 1,
            Ending::Failed => return Err(failed(server)),
        }
    }
}

fn failed(server: &Server) -> RedisError {
    RedisError::Server {
        what: format!("the save failed that the server at {} was asked for", server.address()),
        hint: "its log says why: a full disk, missing rights, or no memory for a fork".into(),
    }
}

/// Waits until nothing is in the way of a save.
fn wait_idle(server: &mut Server, busy: &mut Pauses, watch: &Watch<'_>) -> Result<Info, RedisError> {
    loop {
        let info = server.info()?;
        let why = match (info.is_loading(), info.is_on("rdb_bgsave_in_progress")) {
            (true, _) => "the server is loading its data",
            (_, true) => "the server saves already",
            (false, false) => return Ok(info),
        };
        (watch.say)(&format!("waiting: {why}"));
        if !busy.pause(watch)? {
            return Err(RedisError::Server { what: why.into(), hint: "try again later".into() });
        }
    }
}

/// What came of asking for a save.
enum Request {
    Started,
    /// Another child process works; the save begins after it, which INFO does not show.
    Scheduled,
    /// A save is under way that began before.
    Busy,
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
        Err(RedisError::Answer { message, .. }) if message.trim() == "ERR" => Err(failed(server)),
        Err(error) => Err(error),
    }
}

/// How a save ended.
enum Ending {
    Saved,
    /// It ended, and there is no new dump: it was killed, or the dump is elsewhere.
    Lost,
    Failed,
}

fn wait_saved(
    server: &mut Server,
    dump: &Path,
    asked: Asked,
    scheduled: bool,
    watch: &Watch<'_>,
) -> Result<Ending, RedisError> {
    // As long as a child process works there is no end to patience.
    let mut pauses = Pauses::endless(POLL.0, POLL.1);
    let mut ending = Pauses::new(POLL.0, POLL.0, ENDED);
    let (mut waits_to_begin, mut beginning) = (scheduled, Pauses::new(POLL.0, POLL.1, SCHEDULED));
    loop {
        let info = server.info_of("persistence")?;
        // A dump of another server never makes this one say that it has saved.
        let is_told = info.number("rdb_last_save_time").is_some_and(|last| last >= asked.at.seconds());
        if is_told && is_proved(dump, asked)? {
            // The server learns a little later that its child has ended, and refuses other saves until then.
            match info.is_on("rdb_bgsave_in_progress") && ending.pause(watch)? {
                true => continue,
                false => return Ok(Ending::Saved),
            }
        }
        if info.is_on("rdb_bgsave_in_progress") {
            waits_to_begin = false;
            say_progress(&info, watch);
        } else if !waits_to_begin {
            return Ok(if is_err(&info) { Ending::Failed } else { Ending::Lost });
        } else if info.is_on("aof_rewrite_in_progress") || info.is_on("module_fork_in_progress") {
            beginning = Pauses::new(POLL.0, POLL.1, SCHEDULED);
        } else if !beginning.pause(watch)? {
            return Ok(Ending::Lost);
        }
        pauses.pause(watch)?;
    }
}

fn is_err(info: &Info) -> bool {
    info.get("rdb_last_bgsave_status") == Some("err")
}

fn is_proved(dump: &Path, asked: Asked) -> Result<bool, RedisError> {
    let file = match File::open(dump) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(RedisError::io("open", dump, error)),
    };
    let proved = asked.proves(&file).map_err(|error| RedisError::io("read", dump, error))?;
    Ok(proved.is_some())
}

fn say_progress(info: &Info, watch: &Watch<'_>) {
    let done = info.number("current_save_keys_processed").zip(info.number("current_save_keys_total"));
    if let Some((done, total)) = done.filter(|(_, total)| *total > 0) {
        (watch.say)(&format!("the server saves: {done} of {total} keys"));
    }
}

/// A save that fails makes a server with save points refuse writes: what would make it fail is looked at first.
fn check_room(info: &Info, place: &Place, dump: &Path) -> Result<(), RedisError> {
    let refuse = |what: String| {
        let hint = "make room, or take the dump that is there with --no-save".to_owned();
        Err(RedisError::Server { what, hint })
    };
    let needed = expected_size(dump, info.number("used_memory").unwrap_or(0))?;
    let space = rustix::fs::statvfs(&place.directory)
        .map_err(|error| RedisError::io("look at", &place.directory, error.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < needed {
        let place = place.directory.display();
        return refuse(format!("a save may need {needed} bytes in {place}, and {free} are free"));
    }
    let memory = info.number("used_memory_rss").zip(commit_room()).filter(|_| place.is_the_servers() == Some(true));
    match memory.filter(|(used, room)| used > room) {
        Some((used, room)) => refuse(format!(
            "a fork of the server may need {used} bytes of memory, and the system, which does not overcommit, would \
             give {room}"
        )),
        None => Ok(()),
    }
}

/// How many bytes a dump may take: as the last one and somewhat more, and half of the memory that was taken since. Where
/// there is nothing to go by, half of all: what takes so much memory seldom takes more in a dump.
fn expected_size(dump: &Path, used_now: u64) -> Result<u64, RedisError> {
    let Some((_, last)) = DumpStamp::of_path(dump)? else { return Ok(used_now / 2) };
    let file = File::open(dump).map_err(|error| RedisError::io("open", dump, error))?;
    let first = first_bytes(&file).map_err(|error| RedisError::io("read", dump, error))?;
    let used_then = rdb::read_header(&first).and_then(|peek| peek.aux.used_memory).unwrap_or(0);
    Ok(last.saturating_add(last / 10 * 3).saturating_add(used_now.saturating_sub(used_then) / 2))
}

/// How much memory may still be promised, on a system that promises no more than it has.
fn commit_room() -> Option<u64> {
    let strict = fs::read_to_string("/proc/sys/vm/overcommit_memory").ok()?.trim() == "2";
    let memory = fs::read_to_string("/proc/meminfo").ok().filter(|_| strict)?;
    let kilobytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(kilobytes("CommitLimit")?.saturating_sub(kilobytes("Committed_AS")?).saturating_mul(1024))
}
