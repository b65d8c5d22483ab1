//! One consistent capture of a live server's files, and what proves that they are its.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::Address;
use super::aof::{LiveAof, NotLive, capture_aof};
use super::configuration::take_configuration;
use super::connection::{Server, ServerTime};
use super::discovery::{Place, WhereOptions};
use super::facts;
use super::info::Info;
use super::modules;
use super::replica::prefer_replica;
use super::save::{Asked, DumpStamp, SavePatience, Saved, Saver, began};
use super::watch::Watch;
use crate::format::UnixMillis;
use crate::format::snapshot::{FileKind, Mark, Role, Warning};
use crate::redis::RedisError;
use crate::redis::directory::{
    Capture, CaptureOptions, CapturedFile, Content, Told, capture_as_told, capture_files_of,
};

/// How often a dump may be replaced between being proved and being opened.
const ATTEMPTS: u32 = 3;

/// How often a save that is of no use any more is looked for, and the time between.
const CLEANING: u32 = 150;
const LOOK: Duration = Duration::from_millis(200);

/// What of a server is captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Its AOF if that is live, else a fresh dump.
    #[default]
    Auto,
    /// A fresh dump.
    Rdb,
    /// Its AOF; a failure if that does not come to be live.
    Aof,
    /// The files as they are, without asking for anything and without proof.
    Files,
}

/// What of a server is captured, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveOptions {
    /// What is captured.
    pub mode: Mode,
    /// Only the files of the AOF, and no BGSAVE whatever happens.
    pub tail: bool,
    /// Take the dump that is there.
    pub no_save: bool,
    /// How old that may be at most.
    pub max_age: Option<Duration>,
    /// Capture a replica of the server instead, if one is online.
    pub prefer_replica: bool,
    /// Also take what configures the server, which may hold passwords.
    pub with_config: bool,
    /// How long a save may stand still.
    pub patience: SavePatience,
    /// Where its directory is.
    pub place: WhereOptions,
}

/// A capture of a live server.
#[derive(Debug)]
pub struct LiveCapture {
    /// The files, warnings and facts; among these `capture.mode` (`rdb`, `aof` or `files`) and `server.…`.
    pub capture: Capture,
    /// All that the server answered before this moment by its clock is in it.
    pub moment: Option<UnixMillis>,
    /// Where the AOF stood at that moment.
    pub marks: Vec<Mark>,
    /// A dump that the server would not have made by itself.
    pub made: Option<MadeDump>,
}

/// A dump that was made for a capture only, and is in the way once that is stored: the server would load it.
#[derive(Debug, Clone)]
pub struct MadeDump {
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
            true => fs::remove_file(&self.path).map_err(|error| RedisError::io("remove", &self.path, error)),
            false => Ok(()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_there(&self) -> Result<bool, RedisError> {
        Ok(DumpStamp::of_path(&self.path)?.is_some_and(|(stamp, _)| stamp == self.stamp))
    }
}

/// Captures a server's dataset as it goes on.
pub fn capture_server(
    server: Server,
    options: &LiveOptions,
    files: &CaptureOptions,
    watch: &Watch<'_>,
) -> Result<LiveCapture, RedisError> {
    let (mut server, told_by_master) = match options.prefer_replica {
        true => prefer_replica(server, &options.place, watch)?,
        false => (server, None),
    };
    let server = &mut server;
    let info = server.info()?;
    let place = Place::find(server, &info, &options.place)?;
    place.refuse_another()?;
    let (clock, modules) = (facts::of_clock(server)?, modules::files(server, &info)?);
    let live = Live { info, place, options, files, watch };
    let Taken { mut captured, then, end } = live.capture(server)?;
    captured.capture.warnings.extend(warnings(&then, &end));
    captured.capture.warnings.extend(live.moved(server));
    // What the master answered later may not have come to the replica yet.
    let masters = told_by_master.map(|time| UnixMillis(time.millis()));
    captured.moment = captured.moment.map(|moment| masters.map_or(moment, |told| told.min(moment)));
    if options.with_config {
        take_configuration(&mut captured.capture, &live.info, &live.place);
    }
    let mut facts = facts::of_server(&then, &live.place);
    facts.extend(clock);
    facts.extend(modules);
    facts.extend(facts::of_renamed(server.address()));
    facts.extend(std::mem::take(&mut captured.capture.facts));
    captured.capture.facts = facts;
    Ok(captured)
}

/// What was captured, and what the server said of itself.
struct Taken {
    captured: LiveCapture,
    /// At the moment that the capture stands for: at the mark of an AOF, right before the request of a dump.
    then: Info,
    /// Once the files were open.
    end: Info,
}

fn warning(code: &str, message: String) -> Warning {
    Warning { code: code.into(), path: Vec::new().into(), message }
}

/// LIVE-3: what a person has to know of a server that was captured. What was so before the capture waited for its moment is no news;
/// what is so at either end of it is.
fn warnings(then: &Info, end: &Info) -> Vec<Warning> {
    let ends = [then, end];
    let mut warnings = Vec::new();
    if ends.iter().any(|info| info.is_on("aof_enabled") && info.get("aof_last_write_status") == Some("err")) {
        warnings.push(warning("aof-write-error", "the server could not write its AOF: its log says why".into()));
    }
    if ends.iter().any(|info| info.get("role") == Some("slave") && info.get("master_link_status") != Some("up")) {
        let message = "the server is a replica without a link to its master: what the master was told since is missing";
        warnings.push(warning("replica-link-down", message.into()));
    }
    warnings
}

/// A server and what is wanted of it.
struct Live<'a> {
    /// What the server said first.
    info: Info,
    place: Place,
    options: &'a LiveOptions,
    files: &'a CaptureOptions,
    watch: &'a Watch<'a>,
}

impl Live<'_> {
    fn capture(&self, server: &mut Server) -> Result<Taken, RedisError> {
        let has_aof = self.info.is_on("aof_enabled");
        match self.options.mode {
            _ if self.options.tail => self.required_aof(server),
            Mode::Aof => self.required_aof(server),
            Mode::Auto if has_aof => match self.aof(server)? {
                Ok(captured) => Ok(captured),
                Err(NotLive { why, .. }) if self.options.no_save && self.options.max_age.is_none() => {
                    Err(RedisError::Server {
                        what: format!("the AOF cannot be captured: {why}; and how old a dump may be is not said"),
                        hint: "say it with --max-age, or leave out --no-save".into(),
                    })
                }
                Err(NotLive { why, code, hint: _ }) => {
                    let mut taken = self.dump(server)?;
                    let capture = &mut taken.captured.capture;
                    let message = || format!("a dump was captured in place of the AOF: {why}");
                    capture.warnings.extend(code.map(|code| warning(code, message())));
                    capture.facts.insert("capture.aof-not-live".into(), why.clone());
                    Ok(taken)
                }
            },
            Mode::Auto | Mode::Rdb => self.dump(server),
            Mode::Files => self.files(server),
        }
    }

    /// The files as they are. That they are not what the server goes on from is told, as far as it shows.
    fn files(&self, server: &mut Server) -> Result<Taken, RedisError> {
        let (directory, address) = (self.place.directory.display(), server.address().to_string());
        let mut capture = match capture_files_of(&self.place.directory, self.files, &self.place.told) {
            Err(RedisError::Directory { problem, .. }) => {
                return Err(RedisError::Server {
                    what: format!("{directory}, where the server at {address} works: {problem}"),
                    hint: "it has saved nothing there: leave out --mode files, and it is asked to".into(),
                });
            }
            capture => capture?,
        };
        let has = |name: &str, none: &str| capture.facts.get(name).is_some_and(|found| found != none);
        let (has_aof, has_any) = (has("aof.layout", "none"), has("authoritative", "none"));
        let lacks = match self.info.is_on("aof_enabled") {
            true if !has_aof => Some("the server has its AOF on, and there is none"),
            false if !has_any => Some("the server has saved nothing there"),
            true | false => None,
        };
        let elsewhere = self.place.aof_elsewhere().filter(|_| !has_aof);
        let elsewhere = elsewhere.map_or(String::new(), |path| format!("; it writes its AOF in {}", path.display()));
        if let Some(lacks) = lacks {
            // It says more.
            capture.warnings.retain(|warning| warning.code != "nothing-captured");
            capture.warnings.push(warning("not-the-dataset", format!("in {directory} {lacks}{elsewhere}")));
        }
        let captured = LiveCapture { capture, moment: None, marks: Vec::new(), made: None };
        Ok(Taken { captured, then: self.info.clone(), end: server.info()? })
    }

    /// That somebody changed the server's directory meanwhile.
    fn moved(&self, server: &mut Server) -> Option<Warning> {
        let before = self.place.setting("dir").filter(|_| self.place.is_asked)?;
        let now = server.setting("dir").ok().flatten().filter(|now| now != before)?;
        Some(warning(
            "directory-changed",
            format!("while it was captured the server's directory was changed from {before} to {now}"),
        ))
    }

    fn required_aof(&self, server: &mut Server) -> Result<Taken, RedisError> {
        if !self.info.is_on("aof_enabled") {
            return Err(RedisError::Server {
                what: format!("the server at {} has its AOF off", server.address()),
                hint: "capture its dump: leave out --aof-tail, or use --mode rdb".into(),
            });
        }
        self.aof(server)?.map_err(|NotLive { why, code: _, hint }| RedisError::Server {
            what: format!("the AOF cannot be captured: {why}"),
            hint: hint.into(),
        })
    }

    fn aof(&self, server: &mut Server) -> Result<Result<Taken, NotLive>, RedisError> {
        self.refuse_excluded(&self.place.told.aof_path())?;
        if !self.place.knows_names() {
            return Ok(Err(NotLive::no_news("what its files are called is not known")));
        }
        let aof = match capture_aof(server, &self.place, self.files, self.watch)? {
            Ok(aof) => aof,
            Err(why) => return Ok(Err(why)),
        };
        let made = self.prove(server, &aof)?;
        let LiveAof { mut capture, at, info, later, beyond, measure, shown: _ } = aof;
        let time = UnixMillis(at.millis());
        let marks = capture.files.iter().filter(|file| file.path == measure.path).map(|file| Mark {
            path: file.path.clone().into(),
            offset: file.expected_size(),
            time,
        });
        let marks = marks.collect();
        if self.options.tail {
            keep_aof_only(&mut capture, &self.place.told);
        } else {
            leave_older_dump(&mut capture)?;
        }
        capture.facts.extend(facts::around_mark(&info, &later, beyond));
        capture.facts.insert("capture.mode".into(), "aof".into());
        let captured = LiveCapture { capture, moment: Some(time), marks, made };
        Ok(Ok(Taken { captured, then: info, end: later }))
    }

    /// The directory is the server's: its process works there, or the AOF grew as the server counted, or a save that is
    /// asked for appears there. A dump that is there for that reason only is told.
    fn prove(&self, server: &mut Server, aof: &LiveAof) -> Result<Option<MadeDump>, RedisError> {
        if aof.shown || self.place.is_the_servers() == Some(true) {
            return Ok(None);
        }
        if self.options.tail || self.options.no_save {
            return Err(self.place.not_the_servers(&format!(
                "its process is not seen ({}), and its AOF did not grow as the server counted; without --aof-tail and \
                 --no-save a save would be the proof",
                self.place.unseen
            )));
        }
        self.cleaning_up(server, |server, saver| saver.save(server).map(|saved| ((), Some(saved.stamp))))
            .map(|(_, made)| made)
    }

    /// Whether the server itself said that it never saves by itself.
    fn keeps_no_dumps(&self) -> bool {
        self.place.is_asked && self.place.setting("save").is_some_and(str::is_empty)
    }

    /// A dataset that is left out cannot be captured, and nobody has to wait to hear so.
    fn refuse_excluded(&self, path: &[u8]) -> Result<(), RedisError> {
        match self.files.leaves_out(path)? {
            false => Ok(()),
            true => Err(RedisError::Server {
                what: format!("{} is the dataset, and a pattern leaves it out", String::from_utf8_lossy(path)),
                hint: "leave the pattern out, or capture the AOF or the dump alone with --mode".into(),
            }),
        }
    }

    /// LIVE-5: does what may ask for a dump, and tells which one is there only because of it: one that the server would not have made
    /// by itself, in a place where there was none right before the request. If it comes to nothing, or is interrupted, such a
    /// dump does not stay: its save is waited for, since it cannot be stopped.
    fn cleaning_up<T>(
        &self,
        server: &mut Server,
        work: impl FnOnce(&mut Server, &mut Saver<'_>) -> Result<(T, Option<DumpStamp>), RedisError>,
    ) -> Result<(T, Option<MadeDump>), RedisError> {
        let mut saver = Saver::new(&self.place, self.watch, self.options.patience);
        let address = server.address().clone().with_stop(None);
        let made = |stamp: DumpStamp| MadeDump { path: self.place.dump(), stamp, address };
        let done = work(server, &mut saver);
        let is_ours = saver.had_dump == Some(false) && self.keeps_no_dumps();
        match done {
            Ok((done, stamp)) => Ok((done, stamp.filter(|_| is_ours).map(made))),
            Err(error) if !is_ours => Err(error),
            Err(error) => Err(match self.take_away(server, made) {
                Ok(()) => error,
                Err(left) => match error {
                    RedisError::Interrupted => {
                        RedisError::Stopped { what: format!("interrupted; {left}"), hint: self.delete() }
                    }
                    other => {
                        (self.watch.note)(&format!("{left}: {}", self.delete()));
                        other
                    }
                },
            }),
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

    /// What to do about a dump that could not be taken away.
    fn delete(&self) -> String {
        format!(
            "delete {} once INFO persistence says rdb_bgsave_in_progress:0, unless you want to keep it",
            self.place.dump().display()
        )
    }

    fn dump(&self, server: &mut Server) -> Result<Taken, RedisError> {
        let (taken, made) = self.cleaning_up(server, |server, saver| self.proved_dump(server, saver))?;
        Ok(Taken { captured: LiveCapture { made, ..taken.captured }, ..taken })
    }

    /// A capture with a dump that is proved to be fresh and the server's.
    fn proved_dump(
        &self,
        server: &mut Server,
        saver: &mut Saver<'_>,
    ) -> Result<(Taken, Option<DumpStamp>), RedisError> {
        let mut attempt = 1;
        loop {
            self.refuse_excluded(&self.place.told.dump)?;
            let Fresh { asked, moment, info, stamp } = self.fresh_dump(server, saver)?;
            let (mut capture, _) = capture_as_told(&self.place.directory, self.files, Some(&self.place.told))?;
            if self.info.is_on("aof_enabled") {
                leave_aof(&mut capture, &self.place.told);
            }
            if let Some(file) = dump_of(&capture) {
                let proved = asked.proves(file).map_err(|error| RedisError::io("read", &self.place.dump(), error))?;
                if let Some(began) = proved {
                    capture.facts.insert("capture.mode".into(), "rdb".into());
                    capture.warnings.extend(saver.flush_meanwhile(&info));
                    let moment = Some(UnixMillis(moment.map_or(began, ServerTime::millis)));
                    let captured = LiveCapture { capture, moment, marks: Vec::new(), made: None };
                    return Ok((Taken { captured, then: info, end: server.info()? }, stamp));
                }
            }
            if attempt == ATTEMPTS {
                return Err(self.place.not_the_servers("its dump vanished or was replaced by an older one"));
            }
            attempt += 1;
        }
    }

    /// A dump that is fresh enough.
    fn fresh_dump(&self, server: &mut Server, saver: &mut Saver<'_>) -> Result<Fresh, RedisError> {
        if self.options.no_save {
            let info = server.info()?;
            return self.dump_there(server).map(|asked| Fresh { asked, moment: None, info, stamp: None });
        }
        if let Some(unchanged) = self.unchanged_dump(server)? {
            return Ok(unchanged);
        }
        let Saved { asked, info, stamp } = saver.save(server)?;
        Ok(Fresh { asked, moment: None, info, stamp: Some(stamp) })
    }

    /// The dump that is there already, if it is young enough.
    fn dump_there(&self, server: &mut Server) -> Result<Asked, RedisError> {
        let path = self.place.dump();
        let refuse = |what: String| {
            Err(RedisError::Server { what, hint: "leave out --no-save, or allow for more with --max-age".into() })
        };
        let Some((stamp, _)) = DumpStamp::of_path(&path)? else {
            return refuse(format!("there is no dump {}", path.display()));
        };
        if self.place.is_the_servers() != Some(true) && !self.is_last_save(&server.info()?, &stamp) {
            return Err(self.place.not_the_servers("the dump there was not written when the server saved last"));
        }
        let file = File::open(&path).map_err(|error| RedisError::io("open", &path, error))?;
        let Some(began) = began(&file).map_err(|error| RedisError::io("read", &path, error))? else {
            return refuse(format!("{} does not say when it was saved", path.display()));
        };
        let age = server.time()?.seconds().saturating_sub(began);
        match self.options.max_age.filter(|most| Duration::from_secs(age) > *most) {
            Some(most) => {
                refuse(format!("{} was saved {age} s ago, which is more than {} s", path.display(), most.as_secs()))
            }
            None => Ok(Asked { at: ServerTime(began.saturating_mul(1_000_000)), before: None, latest: None }),
        }
    }

    /// The dump that is there, where it certainly is the server's and nothing changed since: then a save would be equal.
    fn unchanged_dump(&self, server: &mut Server) -> Result<Option<Fresh>, RedisError> {
        let path = self.place.dump();
        let Some((stamp, _)) = DumpStamp::of_path(&path)? else { return Ok(None) };
        let moment = server.time()?;
        let info = server.info()?;
        let is_unchanged = info.number("rdb_changes_since_last_save") == Some(0)
            && !info.is_loading()
            && !info.is_on("rdb_bgsave_in_progress")
            && info.get("rdb_last_bgsave_status") == Some("ok")
            && info.get("role") == Some("master");
        if !is_unchanged || self.place.is_the_servers() != Some(true) || !self.is_last_save(&info, &stamp) {
            return Ok(None);
        }
        let file = File::open(&path).map_err(|error| RedisError::io("open", &path, error))?;
        let began = began(&file).map_err(|error| RedisError::io("read", &path, error))?;
        // Proved again when it is opened: not older than it is now.
        Ok(began.map(|began| {
            let asked = Asked { at: ServerTime(began.saturating_mul(1_000_000)), before: None, latest: None };
            Fresh { asked, moment: Some(moment), info, stamp: None }
        }))
    }

    /// Whether a dump was written when the server says that it saved last.
    fn is_last_save(&self, info: &Info, stamp: &DumpStamp) -> bool {
        let last = info.number("rdb_last_save_time").and_then(|last| i64::try_from(last).ok());
        last.is_some_and(|last| (stamp.written()..=stamp.written().saturating_add(1)).contains(&last))
    }
}

/// A dump that is fresh enough.
struct Fresh {
    /// What proves it.
    asked: Asked,
    /// The moment it stands for, where that is not when it was saved.
    moment: Option<ServerTime>,
    /// What the server said then.
    info: Info,
    /// Which one it is, if it was asked for.
    stamp: Option<DumpStamp>,
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

fn dump_of(capture: &Capture) -> Option<&File> {
    capture.files.iter().filter(|file| file.role == Role::Dump).find_map(open_file)
}

fn open_file(file: &CapturedFile) -> Option<&File> {
    match &file.content {
        Content::Open { file, .. } => Some(file),
        Content::None | Content::Link(_) | Content::Bytes(_) => None,
    }
}

/// A dump that is older than the base of the AOF says nothing that the AOF does not.
fn leave_older_dump(capture: &mut Capture) -> Result<(), RedisError> {
    let saved = |role: Role| {
        let file = capture.files.iter().filter(|file| file.role == role).find_map(open_file);
        file.map(|file| began(file).map_err(|error| RedisError::io("read", &capture.directory, error))).transpose()
    };
    let (dump, base) = (saved(Role::Dump)?.flatten(), saved(Role::Base)?.or(saved(Role::SingleAof)?).flatten());
    if dump.zip(base).is_none_or(|(dump, base)| dump <= base) {
        capture.files.retain(|file| file.role != Role::Dump);
        capture.facts.remove("rdb.name");
    }
    Ok(())
}

/// Leaves out everything but the files of the AOF and their directory.
fn keep_aof_only(capture: &mut Capture, told: &Told) {
    let directory = told.append_directory.as_deref();
    capture.files.retain(|file| match file.role {
        Role::Manifest | Role::Base | Role::Incr | Role::SingleAof => true,
        Role::Other => file.kind == FileKind::Directory && Some(file.path.as_slice()) == directory,
        Role::Dump | Role::History | Role::Config => false,
    });
}

/// Leaves out the files of the server's AOF: they are not the dataset that was asked for.
fn leave_aof(capture: &mut Capture, told: &Told) {
    let (single, directory) = (told.append_file.as_slice(), told.append_directory.as_deref());
    let is_below = |path: &[u8]| {
        directory.is_some_and(|directory| {
            path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    };
    capture.files.retain(|file| match directory {
        Some(_) => !is_below(&file.path),
        None => file.path != single,
    });
}
