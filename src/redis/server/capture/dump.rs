//! A capture of a dump that is fresh enough and the server's.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use super::foreign::{bounds, bounds_of_unchanged, counts_changes_since, sign_of_another};
use super::{Live, LiveCapture, Taken, open_file};
use crate::format::UnixMillis;
use crate::format::snapshot::Role;
use crate::redis::RedisError;
use crate::redis::directory::{Capture, Told, capture_as_told};
use crate::redis::server::connection::{Server, ServerTime};
use crate::redis::server::dump_file::{self, DumpStamp, began};
use crate::redis::server::info::Info;
use crate::redis::server::save::{Asked, Saved, Saver};

/// How often a dump may be replaced between being proved and being opened.
const ATTEMPTS: u32 = 3;

impl Live<'_> {
    pub(super) fn dump(&self, server: &mut Server) -> Result<Taken, RedisError> {
        let (taken, made) = self.cleaning_up(server, |server, saver| self.proved_dump(server, saver))?;
        Ok(Taken { captured: LiveCapture { made, ..taken.captured }, ..taken })
    }

    /// A capture with a dump that is proved to be fresh and the server's.
    fn proved_dump(
        &self,
        server: &mut Server,
        saver: &mut Saver<'_>,
    ) -> Result<(Taken, Option<DumpStamp>), RedisError> {
        let (mut attempt, mut another) = (1, None);
        loop {
            self.refuse_excluded(&self.place.told.dump)?;
            let Fresh { asked, moment, info, stamp } = self.fresh_dump(server, saver)?;
            let (mut capture, _) = capture_as_told(&self.place.directory, self.files, Some(&self.place.told))?;
            if self.info.is_on("aof_enabled") {
                leave_aof(&mut capture, &self.place.told);
            }
            if let Some(file) = dump_of(&capture) {
                let proved = asked.proves(file).map_err(|error| RedisError::io("read", &self.place.dump(), error))?;
                let end = server.info()?;
                // One that nobody asked for is known by its directory and its time.
                let sign = match stamp {
                    Some(_) => sign_of_another(file, &info, &end),
                    None => Ok(None),
                };
                another = sign.map_err(|error| RedisError::io("read", &self.place.dump(), error))?;
                if let Some(began) = proved.filter(|_| another.is_none()) {
                    capture.facts.extend(match (stamp, moment) {
                        (Some(_), _) => bounds(&info, &end),
                        (None, Some(_)) => bounds_of_unchanged(&info, &end),
                        (None, None) => BTreeMap::new(),
                    });
                    capture.facts.insert("capture.mode".into(), "rdb".into());
                    capture.warnings.extend(saver.flush_meanwhile(&info));
                    let moment = Some(UnixMillis(moment.map_or(began, ServerTime::millis)));
                    let captured = LiveCapture { capture, moment, marks: Vec::new(), made: None };
                    return Ok((Taken { captured, then: info, end }, stamp));
                }
            }
            if attempt == ATTEMPTS {
                if let Some(sign) = another {
                    return Err(RedisError::Server {
                        what: format!("{} was written by another server: {sign}", self.place.dump().display()),
                        hint: "two servers that work in one directory replace what the other saves: give each a directory \
                               (dir) of its own"
                            .into(),
                    });
                }
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
        let Some(file) = dump_file::open(&path)? else { return refuse(format!("{} is gone", path.display())) };
        let Some(began) = began(&file).map_err(|error| RedisError::io("read", &path, error))? else {
            return refuse(format!("{} does not say when it was saved", path.display()));
        };
        let age = server.time()?.seconds().saturating_sub(began);
        match self.options.max_age.filter(|most| Duration::from_secs(age) > *most) {
            Some(most) => {
                refuse(format!("{} was saved {age} s ago, which is more than {} s", path.display(), most.as_secs()))
            }
            None => Ok(Asked {
                at: ServerTime(began.saturating_mul(1_000_000)),
                before: None,
                latest: None,
                had_keys: false,
            }),
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
        let Some(file) = dump_file::open(&path)? else { return Ok(None) };
        let read = |error| RedisError::io("read", &path, error);
        if sign_of_another(&file, &info, &info).map_err(read)?.is_some()
            || !counts_changes_since(&file, &info).map_err(read)?
        {
            return Ok(None);
        }
        let began = began(&file).map_err(read)?;
        // Proved again when it is opened: not older than it is now.
        Ok(began.map(|began| {
            let asked =
                Asked { at: ServerTime(began.saturating_mul(1_000_000)), before: None, latest: None, had_keys: false };
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

fn dump_of(capture: &Capture) -> Option<&File> {
    capture.files.iter().filter(|file| file.role == Role::Dump).find_map(open_file)
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
