//! One consistent capture of a live server's files, and what proves that they are its.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;
use super::aof::{LiveAof, capture_aof};
use super::configuration::take_configuration;
use super::connection::{Server, ServerTime};
use super::discovery::{Place, WhereOptions};
use super::facts;
use super::info::Info;
use super::modules;
use super::replica::prefer_replica;
use super::save::{Asked, DumpStamp, began, save};
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
    let mut facts = facts::of_server(server, &info, &place)?;
    let live = Live { info, place, options, files, watch };
    let mut captured = live.capture(server)?;
    captured.capture.warnings.extend(live.warnings());
    // What the master answered later may not have come to the replica yet.
    let masters = told_by_master.map(|time| UnixMillis(time.millis()));
    captured.moment = captured.moment.map(|moment| masters.map_or(moment, |told| told.min(moment)));
    if options.with_config {
        take_configuration(&mut captured.capture, &live.info, &live.place);
    }
    if captured.capture.facts.contains_key("server.keys") {
        facts.retain(|name, _| !facts::is_of_keys(name));
    }
    facts.extend(modules::files(server, &live.info)?);
    facts.extend(facts::of_renamed(server.address()));
    facts.extend(std::mem::take(&mut captured.capture.facts));
    captured.capture.facts = facts;
    Ok(captured)
}

/// A server and what is wanted of it.
struct Live<'a> {
    info: Info,
    place: Place,
    options: &'a LiveOptions,
    files: &'a CaptureOptions,
    watch: &'a Watch<'a>,
}

impl Live<'_> {
    fn capture(&self, server: &mut Server) -> Result<LiveCapture, RedisError> {
        let has_aof = self.info.is_on("aof_enabled");
        match self.options.mode {
            _ if self.options.tail => self.required_aof(server),
            Mode::Aof => self.required_aof(server),
            Mode::Auto if has_aof => match self.aof(server)? {
                Ok(captured) => Ok(captured),
                Err(why) if self.options.no_save && self.options.max_age.is_none() => Err(RedisError::Server {
                    what: format!("the AOF did not come to be live: {why}; and how old a dump may be is not said"),
                    hint: "say it with --max-age, or leave out --no-save".into(),
                }),
                Err(why) => {
                    let mut captured = self.dump(server)?;
                    captured.capture.facts.insert("capture.aof-not-live".into(), why.into());
                    Ok(captured)
                }
            },
            Mode::Auto | Mode::Rdb => self.dump(server),
            Mode::Files => {
                let capture = capture_files_of(&self.place.directory, self.files, &self.place.told)?;
                Ok(LiveCapture { capture, moment: None, marks: Vec::new(), made: None })
            }
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        let warning = |code: &str, message: String| Warning { code: code.into(), path: Vec::new().into(), message };
        let mut warnings = Vec::new();
        if self.info.is_on("aof_enabled") && self.info.get("aof_last_write_status") == Some("err") {
            warnings.push(warning("aof-write-error", "the server could not write its AOF: its log says why".into()));
        }
        if self.info.get("role") == Some("slave") && self.info.get("master_link_status") != Some("up") {
            let message =
                "the server is a replica without a link to its master: what the master was told since is missing";
            warnings.push(warning("replica-link-down", message.into()));
        }
        warnings
    }

    fn required_aof(&self, server: &mut Server) -> Result<LiveCapture, RedisError> {
        if !self.info.is_on("aof_enabled") {
            return Err(RedisError::Server {
                what: format!("the server at {} has its AOF off", server.address()),
                hint: "capture its dump: leave out --aof-tail, or use --mode rdb".into(),
            });
        }
        self.aof(server)?.map_err(|why| RedisError::Server {
            what: format!("the AOF did not come to be live: {why}"),
            hint: "try again later, or capture the dump with --mode rdb".into(),
        })
    }

    fn aof(&self, server: &mut Server) -> Result<Result<LiveCapture, &'static str>, RedisError> {
        self.refuse_excluded(&self.place.told.aof_path())?;
        if !self.place.knows_names() {
            return Ok(Err("what its files are called is not known"));
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
        Ok(Ok(LiveCapture { capture, moment: Some(time), marks, made }))
    }

    /// The directory is the server's: its process works there, or the AOF grew as the server counted, or a save that is
    /// asked for appears there. A dump that is there for that reason only is told.
    fn prove(&self, server: &mut Server, aof: &LiveAof) -> Result<Option<MadeDump>, RedisError> {
        if aof.shown || self.place.is_the_servers() == Some(true) {
            return Ok(None);
        }
        if self.options.tail || self.options.no_save {
            return Err(self.place.not_the_servers(
                "its process cannot be looked into, and its AOF did not grow as the server counted; without --aof-tail \
                 and --no-save a save would be the proof",
            ));
        }
        self.cleaning_up(server, |server| save(server, &self.place, self.watch)).map(|(_, made)| made)
    }

    /// Whether the server itself said that it never saves by itself.
    fn keeps_no_dumps(&self) -> bool {
        self.place.is_asked && self.place.setting("save").is_some_and(str::is_empty)
    }

    /// The dump that is there now, if the server would not have made it.
    fn made_dump(&self, server: &Server) -> Result<Option<MadeDump>, RedisError> {
        let path = self.place.dump();
        let stamp = DumpStamp::of_path(&path)?.filter(|_| self.keeps_no_dumps());
        Ok(stamp.map(|(stamp, _)| MadeDump { path, stamp, address: server.address().clone() }))
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

    /// Does what may ask for a dump, and tells which one is there only because of it. If that comes to nothing, or is
    /// interrupted, a dump that the server would load does not stay: its save is waited for, since it cannot be stopped.
    fn cleaning_up<T>(
        &self,
        server: &mut Server,
        work: impl FnOnce(&mut Server) -> Result<T, RedisError>,
    ) -> Result<(T, Option<MadeDump>), RedisError> {
        let had_dump = DumpStamp::of_path(&self.place.dump())?.is_some();
        let made = |server: &Server| if had_dump { Ok(None) } else { self.made_dump(server) };
        match work(server) {
            Ok(done) => Ok((done, made(server)?)),
            Err(error) => {
                if !had_dump && self.keeps_no_dumps() {
                    (self.watch.say)("waiting for the save, whose dump would be loaded and has to go");
                }
                if !had_dump && self.keeps_no_dumps() && saves_ended(server) {
                    // What went wrong before is the error that is told.
                    let _ = made(server).and_then(|made| made.map_or(Ok(()), |made| made.remove()));
                }
                Err(error)
            }
        }
    }

    fn dump(&self, server: &mut Server) -> Result<LiveCapture, RedisError> {
        let ((mut capture, moment), made) = self.cleaning_up(server, |server| self.proved_dump(server))?;
        capture.facts.insert("capture.mode".into(), "rdb".into());
        Ok(LiveCapture { capture, moment: Some(moment), marks: Vec::new(), made })
    }

    /// A capture with a dump that is proved to be fresh and the server's.
    fn proved_dump(&self, server: &mut Server) -> Result<(Capture, UnixMillis), RedisError> {
        let mut attempt = 1;
        loop {
            self.refuse_excluded(&self.place.told.dump)?;
            let (asked, moment) = self.fresh_dump(server)?;
            let (mut capture, _) = capture_as_told(&self.place.directory, self.files, Some(&self.place.told))?;
            if self.info.is_on("aof_enabled") {
                leave_aof(&mut capture, &self.place.told);
            }
            if let Some(file) = dump_of(&capture) {
                let proved = asked.proves(file).map_err(|error| RedisError::io("read", &self.place.dump(), error))?;
                if let Some(began) = proved {
                    return Ok((capture, UnixMillis(moment.map_or(began, ServerTime::millis))));
                }
            }
            if attempt == ATTEMPTS {
                return Err(self.place.not_the_servers("its dump vanished or was replaced by an older one"));
            }
            attempt += 1;
        }
    }

    /// A dump that is fresh enough: what proves it, and the moment it stands for where that is not when it was saved.
    fn fresh_dump(&self, server: &mut Server) -> Result<(Asked, Option<ServerTime>), RedisError> {
        if self.options.no_save {
            return self.dump_there(server).map(|asked| (asked, None));
        }
        if let Some((asked, moment)) = self.unchanged_dump(server)? {
            return Ok((asked, Some(moment)));
        }
        save(server, &self.place, self.watch).map(|asked| (asked, None))
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
    fn unchanged_dump(&self, server: &mut Server) -> Result<Option<(Asked, ServerTime)>, RedisError> {
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
            (Asked { at: ServerTime(began.saturating_mul(1_000_000)), before: None, latest: None }, moment)
        }))
    }

    /// Whether a dump was written when the server says that it saved last.
    fn is_last_save(&self, info: &Info, stamp: &DumpStamp) -> bool {
        let last = info.number("rdb_last_save_time").and_then(|last| i64::try_from(last).ok());
        last.is_some_and(|last| (stamp.written()..=stamp.written().saturating_add(1)).contains(&last))
    }
}

/// Waits for saves that were asked for, as long as a person will wait.
fn saves_ended(server: &mut Server) -> bool {
    for _ in 0..CLEANING {
        match server.info_of("persistence") {
            Ok(info) if info.is_on("rdb_bgsave_in_progress") => std::thread::sleep(LOOK),
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
