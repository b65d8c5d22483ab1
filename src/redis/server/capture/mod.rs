//! One consistent capture of a live server's files, and what proves that they are its.

mod dump;
mod foreign;
mod log;
mod made;

use std::fs::File;
use std::time::Duration;

pub(super) use foreign::bounds;
pub use made::MadeDump;

use super::aof::NotLive;
use super::configuration::take_configuration;
use super::connection::Server;
use super::discovery::{Place, WhereOptions};
use super::facts;
use super::info::Info;
use super::loading::{as_set, loaded};
use super::modules;
use super::replica::prefer_replica;
use super::save::SavePatience;
use super::watch::Watch;
use crate::format::UnixMillis;
use crate::format::snapshot::{Mark, Warning};
use crate::redis::RedisError;
use crate::redis::directory::{Capture, CaptureOptions, CapturedFile, Content, capture_files_of};

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
    /// The address is a Sentinel's: capture the master that it knows by this name.
    pub sentinel_master: Option<String>,
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
    /// The files, warnings and facts; among these `capture.mode` (`rdb`, `aof`, `files` or `sync`) and `server.…`.
    pub capture: Capture,
    /// All that the server answered before this moment by its clock is in it.
    pub moment: Option<UnixMillis>,
    /// Where the AOF stood at that moment.
    pub marks: Vec<Mark>,
    /// A dump that the server would not have made by itself.
    pub made: Option<MadeDump>,
}

/// Captures a server's dataset as it goes on.
pub fn capture_server(
    server: Server,
    options: &LiveOptions,
    files: &CaptureOptions,
    watch: &Watch<'_>,
) -> Result<LiveCapture, RedisError> {
    let (mut server, master) = match options.prefer_replica {
        true => prefer_replica(server, &options.place, watch)?,
        false => (server, None),
    };
    let told_by_master = master.map(|master| master.time());
    let server = &mut server;
    let info = server.info()?;
    let place = Place::find(server, &info, &options.place)?;
    place.refuse_another()?;
    let info = match options.mode {
        Mode::Files => as_set(info, &place),
        Mode::Auto | Mode::Rdb | Mode::Aof => loaded(server, info, options.patience, watch)?,
    };
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
    let mut facts = facts::of_server(&then, &live.place.settings);
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
pub(super) fn warnings(then: &Info, end: &Info) -> Vec<Warning> {
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
                // After a FLUSHALL the dump is the last good state, and a save writes over it.
                hint: "if keys were lost, keep its last dump first: redkeep backup --no-save; else have it save: leave out \
                       --aof-tail, or use --mode rdb"
                    .into(),
            });
        }
        self.aof(server)?.map_err(|NotLive { why, code: _, hint }| RedisError::Server {
            what: format!("the AOF cannot be captured: {why}"),
            hint: hint.into(),
        })
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
}

fn open_file(file: &CapturedFile) -> Option<&File> {
    match &file.content {
        Content::Open { file, .. } => Some(file),
        Content::None | Content::Link(_) | Content::Bytes(_) | Content::Sent(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_at_either_end_is_told_once() {
        let well = Info::parse("aof_enabled:1\naof_last_write_status:ok\nrole:slave\nmaster_link_status:up");
        let ill = Info::parse("aof_enabled:1\naof_last_write_status:err\nrole:slave\nmaster_link_status:down");
        for (then, end, expected) in [(&well, &well, 0), (&ill, &well, 2), (&well, &ill, 2), (&ill, &ill, 2)] {
            let codes: Vec<String> = warnings(then, end).into_iter().map(|warning| warning.code).collect();
            assert_eq!(codes, ["aof-write-error", "replica-link-down"][..expected]);
        }
    }
}
