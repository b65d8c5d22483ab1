//! The AOF of a live server: captured without a lock, proved to be what the server writes to, and up to a known moment.
//!
//! Files on disk are the dataset only while the server writes to them. While a server turns its AOF on, after a replica
//! was filled anew, the files are an older dataset until a rewrite has ended; commands go to a temporary increment
//! meanwhile. So the server is asked before, at the mark, and after.
//!
//! The mark: one INFO tells how many bytes the server has for its AOF, written and buffered. Once it says that so many are
//! written, every command it answered before that INFO is in the files, and they are opened. The copy never ends before
//! that: where a crash left a transaction open in them, a server that starts would let go of all behind it, so they are no
//! capture of what it holds.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use super::connection::{Server, ServerTime};
use super::discovery::Place;
use super::dump_file;
use super::info::Info;
use super::watch::{Pauses, Watch};
use crate::aof::MANIFEST_MAX;
use crate::redis::RedisError;
use crate::redis::directory::{Capture, CaptureOptions, FileId, Measure, OPEN_TRANSACTION, Told, capture_as_told};

/// How long a server may take to have its AOF live: a rewrite of a large dataset takes minutes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks: growing from the first to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// How often the server may be seen writing to other files than those that are there.
const OTHERS: u32 = 20;
/// How long buffered commands may take to be written: the operating system may be writing since a second.
const WRITTEN: Duration = Duration::from_secs(10);

/// An AOF of which every command is known to be there that was answered before a moment.
#[derive(Debug)]
pub(super) struct LiveAof {
    pub capture: Capture,
    /// The moment, by the server's clock.
    pub at: ServerTime,
    /// What the server said of itself at that moment.
    pub info: Info,
    /// What it said after the files were opened.
    pub later: Info,
    /// Bytes of commands in the files that came after that moment, where that is known.
    pub beyond: Option<u64>,
    /// The file that grew.
    pub measure: Measure,
    /// Whether the file grew by what this server counted, which shows that it is the one that writes it. If nothing was
    /// written meanwhile, nothing is shown.
    pub shown: bool,
}

/// Why the AOF of a server that has it on was not captured.
#[derive(Debug)]
pub(super) struct NotLive {
    pub why: String,
    /// Under which code a person is told of it where a dump was captured in its place; none where it is no news.
    pub code: Option<&'static str>,
    /// What to do about it.
    pub hint: &'static str,
}

impl NotLive {
    const LATER: &'static str = "try again later, or capture the dump with --mode rdb";
    const REWRITE: &'static str =
        "have the server write it anew with BGREWRITEAOF, or capture its dump with --mode rdb";

    /// It did not come to be live in time.
    fn news(why: impl Into<String>) -> Self {
        Self { why: why.into(), code: Some("aof-not-live"), hint: Self::LATER }
    }

    /// It is not looked at.
    pub(super) fn no_news(why: &str) -> Self {
        Self { why: why.into(), code: None, hint: Self::LATER }
    }

    /// LIVE-4: the server writes to other files than those that are there.
    fn elsewhere(place: &Place, why: &str) -> Self {
        let where_it_is = place.aof_elsewhere().map_or(String::new(), |directory| {
            format!("; it writes its AOF in {} until a rewrite, as after CONFIG SET dir", directory.display())
        });
        let here = place.directory.display();
        Self { hint: Self::REWRITE, ..Self::news(format!("in {here} {why}{where_it_is}")) }
    }

    /// LIVE-1: what a crash left in it has swallowed the commands behind.
    fn open_transaction(capture: &Capture) -> Option<Self> {
        let warning = capture.warnings.iter().find(|warning| warning.code == OPEN_TRANSACTION)?;
        let (path, message) = (String::from_utf8_lossy(&warning.path), &warning.message);
        let why = format!("{path}: {message}; so it stays until a BGREWRITEAOF");
        Some(Self { why, code: Some(OPEN_TRANSACTION), hint: Self::REWRITE })
    }
}

/// What came of an attempt.
enum Attempt {
    Captured(Box<LiveAof>),
    /// Something changed meanwhile, or the AOF is not live now.
    Again(&'static str),
    /// The server writes to other files. Seen once, a rewrite may be behind it.
    Other(&'static str),
    /// Waiting changes nothing.
    Never(NotLive),
}

/// Captures the AOF; `Err` inside if it does not come to be live in time, or is not what the server holds.
pub(super) fn capture_aof(
    server: &mut Server,
    place: &Place,
    options: &CaptureOptions,
    watch: &Watch<'_>,
) -> Result<Result<LiveAof, NotLive>, RedisError> {
    let told = Told { aof_counts: true, ..place.told.clone() };
    let mut pauses = Pauses::new(POLL.0, POLL.1, PATIENCE);
    let mut others = 0;
    loop {
        let why = match attempt(server, place, &told, options, watch)? {
            Attempt::Captured(aof) => return Ok(Ok(*aof)),
            Attempt::Again(why) => why,
            Attempt::Never(why) => return Ok(Err(why)),
            Attempt::Other(why) if others == OTHERS => return Ok(Err(NotLive::elsewhere(place, why))),
            Attempt::Other(why) => {
                others += 1;
                why
            }
        };
        (watch.say)(&format!("waiting: {why}"));
        if !pauses.pause(watch)? {
            return Ok(Err(NotLive::news(why)));
        }
    }
}

fn attempt(
    server: &mut Server,
    place: &Place,
    told: &Told,
    options: &CaptureOptions,
    watch: &Watch<'_>,
) -> Result<Attempt, RedisError> {
    let before = State::ask(server)?;
    let first = last_file(place, told);
    // Where rewrites follow each other there is little time between them.
    let (at, info) = server.time_and_info()?;
    let mark = State::of(&info);
    if !mark.enabled && !mark.loading {
        return Ok(Attempt::Other("there is none any more: the AOF was turned off"));
    }
    if let Some(why) = mark.is_not_live() {
        return Ok(Attempt::Again(why));
    }
    if mark.rewrites && place.temporary_increment().is_some_and(|path| path.exists()) {
        return Ok(Attempt::Again("the AOF is being turned on"));
    }
    let written = match wait_written(server, &mark, watch)? {
        Ok(written) => written,
        Err(why) => return Ok(Attempt::Again(why)),
    };
    let captured = capture_as_told(&place.directory, options, Some(told));
    let later = server.info()?;
    let after = State::of(&later);
    if let Some(why) = after.is_other_than(&mark) {
        return Ok(Attempt::Again(why));
    }
    // Only a rewrite brings files that are not there.
    let lacks = |why| if mark.rewrites || after.rewrites { Attempt::Again(why) } else { Attempt::Other(why) };
    let (capture, measure) = match captured {
        Err(RedisError::MissingAofFile { .. }) => return Ok(lacks("files of the AOF are missing")),
        Err(RedisError::Directory { .. }) => return Ok(lacks("there are no files at all")),
        captured => captured?,
    };
    let Some(measure) = measure else {
        let is_left_out = capture.warnings.iter().any(|warning| warning.code == "aof-left-out");
        return Ok(match is_left_out {
            true => Attempt::Never(NotLive::no_news("a pattern leaves out a part of it")),
            false => lacks("there is no AOF that can be read"),
        });
    };
    let counts = Counted { before: &before, mark: &mark, written: &written, after: &after };
    let counted = counts.compare(first, &measure);
    // Where the length does not fit what the server counts, it does not tell what came after the mark either.
    let beyond = counts.beyond(&measure).filter(|_| counted != Growth::Other);
    match (place.writes(&measure), counted) {
        // After CONFIG SET dir, or where somebody put other files in place of its own.
        (Some(false), _) => Ok(Attempt::Other("the server does not write to the file that is there")),
        (None, Growth::Other) => Ok(Attempt::Other("the file there is not as long as the server counts")),
        (Some(true), _) | (None, Growth::Shown | Growth::None) => Ok(match NotLive::open_transaction(&capture) {
            Some(why) => Attempt::Never(why),
            None => {
                let shown = counted == Growth::Shown;
                Attempt::Captured(Box::new(LiveAof { capture, at, info, later, beyond, measure, shown }))
            }
        }),
    }
}

/// Waits until all is written that the server had at the mark.
fn wait_written(
    server: &mut Server,
    mark: &State,
    watch: &Watch<'_>,
) -> Result<Result<State, &'static str>, RedisError> {
    if mark.buffered == 0 {
        return Ok(Ok(mark.clone()));
    }
    let goal = mark.size.saturating_add(mark.buffered);
    let mut pauses = Pauses::new(POLL.0, POLL.1, WRITTEN);
    loop {
        let now = State::ask(server)?;
        if let Some(why) = now.is_other_than(mark).or_else(|| now.went_on_from(mark)) {
            return Ok(Err(why));
        }
        if now.size >= goal {
            return Ok(Ok(now));
        }
        if !pauses.pause(watch)? {
            return Ok(Err("the server does not write its AOF"));
        }
    }
}

/// What a server says of its AOF at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    run_id: Option<String>,
    loading: bool,
    syncing: bool,
    enabled: bool,
    scheduled: bool,
    /// A rewrite is under way.
    rewrites: bool,
    /// Rewrites that began, from 7.0 on.
    begun: Option<u64>,
    /// Bytes after the last rewrite.
    base: u64,
    size: u64,
    buffered: u64,
    is_multi_part: bool,
}

impl State {
    fn ask(server: &mut Server) -> Result<Self, RedisError> {
        server.info().map(|info| Self::of(&info))
    }

    fn of(info: &Info) -> Self {
        let number = |name: &str| info.number(name).unwrap_or(0);
        Self {
            run_id: info.get("run_id").map(str::to_owned),
            loading: info.is_loading(),
            syncing: info.is_on("master_sync_in_progress"),
            enabled: info.is_on("aof_enabled"),
            scheduled: info.is_on("aof_rewrite_scheduled"),
            rewrites: info.is_on("aof_rewrite_in_progress"),
            begun: info.number("aof_rewrites"),
            base: number("aof_base_size"),
            size: number("aof_current_size"),
            buffered: number("aof_buffer_length"),
            is_multi_part: info.version().is_none_or(|version| version.0 >= 7),
        }
    }

    /// Why the files on disk may not be what the server writes to. With no rewrite under way or to come they are, for
    /// turning an AOF on begins with one.
    fn is_not_live(&self) -> Option<&'static str> {
        match self {
            _ if self.loading => Some("the server is loading its data"),
            _ if self.syncing => Some("the replica is being filled by its master"),
            _ if !self.enabled => Some("the AOF is off"),
            _ if self.scheduled && !self.rewrites => Some("a rewrite of the AOF is about to begin"),
            _ if self.rewrites && !self.is_multi_part => Some("the AOF is being rewritten"),
            _ => None,
        }
    }

    /// Whether a rewrite ended since an earlier moment: counters begin anew then, and the manifest is another one.
    fn went_on_from(&self, earlier: &Self) -> Option<&'static str> {
        let same = (self.begun, self.rewrites, self.base) == (earlier.begun, earlier.rewrites, earlier.base);
        (!same || self.size < earlier.size).then_some("a rewrite of the AOF began or ended just now")
    }

    /// Whether this is not the same server, serving, any more.
    fn is_other_than(&self, earlier: &Self) -> Option<&'static str> {
        match self {
            _ if self.run_id != earlier.run_id => Some("the server was started again"),
            _ if self.loading => Some("the server is loading its data"),
            _ if self.syncing => Some("the replica is being filled by its master"),
            _ if !self.enabled => Some("the AOF is off"),
            _ => None,
        }
    }
}

/// Which file grew before the mark, and how long it was.
fn last_file(place: &Place, told: &Told) -> Option<(FileId, u64)> {
    let path = match &told.append_directory {
        None => place.directory.join(os(&told.append_file)),
        Some(directory) => {
            let mut manifest = Vec::new();
            let file = dump_file::open(&place.directory.join(os(&told.aof_path()))).ok()??;
            file.take(MANIFEST_MAX as u64 + 1).read_to_end(&mut manifest).ok()?;
            let manifest = crate::aof::Manifest::decode(&manifest).ok()?;
            place.directory.join(os(directory)).join(os(&manifest.last_increment()?.name))
        }
    };
    let metadata = fs::metadata(path).ok()?;
    Some((FileId::of(&metadata), metadata.len()))
}

fn os(bytes: &[u8]) -> &Path {
    Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

/// What the server counted: around the first measure of a file, and around the second.
struct Counted<'a> {
    before: &'a State,
    mark: &'a State,
    written: &'a State,
    after: &'a State,
}

/// What the length of a file shows, beside what the server counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growth {
    /// It grew as the server counted.
    Shown,
    /// It did not grow, or counters began anew meanwhile.
    None,
    /// It is another file than the server writes to.
    Other,
}

impl Counted<'_> {
    /// The file's length and the server's count differ by a constant, the bytes of the files before it; each measure lies
    /// between two counts, so both have to fit it.
    fn compare(&self, first: Option<(FileId, u64)>, second: &Measure) -> Growth {
        if self.after.is_other_than(self.before).or_else(|| self.after.went_on_from(self.before)).is_some() {
            return Growth::None;
        }
        let constant = self.constant(second);
        let fits = |low: u64, length: u64, high: u64| {
            low <= constant.saturating_add(length) && constant.saturating_add(length) <= high
        };
        if !fits(self.written.size, second.length, self.after.size) {
            return Growth::Other;
        }
        match first.filter(|(file, _)| *file == second.file) {
            Some((_, length)) if !fits(self.before.size, length, self.mark.size) => Growth::Other,
            Some((_, length)) if second.length > length => Growth::Shown,
            Some(_) | None => Growth::None,
        }
    }

    /// Bytes that the server counts and that stand in other files. One that began with nothing does not count the base it
    /// made then, until a rewrite or a restart.
    fn constant(&self, measure: &Measure) -> u64 {
        if self.mark.base == 0 { measure.before.saturating_sub(measure.base) } else { measure.before }
    }

    /// Bytes of the file that the server had not counted at the mark; `None` where counters began anew meanwhile.
    fn beyond(&self, measure: &Measure) -> Option<u64> {
        if self.after.went_on_from(self.mark).is_some() {
            return None;
        }
        let counted = self.mark.size.saturating_add(self.mark.buffered);
        Some(self.constant(measure).saturating_add(measure.length).saturating_sub(counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(fields: &str) -> State {
        State::of(&Info::parse(&format!("redis_version:7.2.0\nrun_id:a\naof_enabled:1\n{fields}")))
    }

    #[test]
    fn an_aof_is_live_unless_it_is_being_turned_on() {
        assert_eq!(state("aof_rewrite_in_progress:1").is_not_live(), None);
        for fields in ["loading:1", "async_loading:1", "master_sync_in_progress:1", "aof_rewrite_scheduled:1"] {
            assert!(state(fields).is_not_live().is_some(), "{fields}");
        }
        assert!(State::of(&Info::parse("redis_version:7.2.0\naof_enabled:0")).is_not_live().is_some());
        let older = "redis_version:6.2.5\naof_enabled:1\naof_rewrite_in_progress:1";
        assert!(State::of(&Info::parse(older)).is_not_live().is_some());
    }

    #[test]
    fn a_rewrite_between_two_moments_is_seen() {
        let earlier = state("aof_rewrites:3\naof_rewrite_in_progress:1\naof_current_size:50");
        assert_eq!(
            state("aof_rewrites:3\naof_rewrite_in_progress:1\naof_current_size:60").went_on_from(&earlier),
            None
        );
        for fields in [
            "aof_rewrites:3\naof_rewrite_in_progress:0\naof_current_size:60",
            "aof_rewrites:4\naof_rewrite_in_progress:1\naof_current_size:60",
            "aof_rewrites:3\naof_rewrite_in_progress:1\naof_current_size:40",
        ] {
            assert!(state(fields).went_on_from(&earlier).is_some(), "{fields}");
        }
    }

    #[test]
    fn a_file_is_the_servers_if_it_grew_as_the_server_counted() {
        let dir = tempfile::tempdir().unwrap();
        let file = FileId::of(&fs::metadata(dir.path()).unwrap());
        let of = |size: u64| state(&format!("aof_base_size:40\naof_current_size:{size}"));
        let (before, mark, written, after) = (of(100), of(110), of(150), of(160));
        let counted = Counted { before: &before, mark: &mark, written: &written, after: &after };
        let second =
            |length: u64| Measure { path: Vec::new(), own_name: Vec::new(), file, length, before: 40, base: 40 };
        assert_eq!(counted.compare(Some((file, 65)), &second(115)), Growth::Shown);
        assert_eq!(counted.compare(Some((file, 65)), &second(109)), Growth::Other);
        assert_eq!(counted.compare(Some((file, 59)), &second(115)), Growth::Other);
        assert_eq!(counted.compare(None, &second(115)), Growth::None);
        assert_eq!((counted.beyond(&second(115)), counted.beyond(&second(70))), (Some(45), Some(0)));
        let begun = |size: u64| state(&format!("aof_current_size:{size}"));
        let (before, mark, written, after) = (begun(60), begun(70), begun(110), begun(120));
        let counted = Counted { before: &before, mark: &mark, written: &written, after: &after };
        assert_eq!(counted.compare(Some((file, 65)), &second(115)), Growth::Shown, "the base it began with");
        let before = of(100);
        let idle = Counted { before: &before, mark: &before, written: &before, after: &before };
        assert_eq!(idle.compare(Some((file, 60)), &second(60)), Growth::None);
    }
}
