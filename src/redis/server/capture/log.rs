//! A capture of an AOF that is live, and what proves that it is the server's.

use super::{Live, LiveCapture, MadeDump, Taken, open_file};
use crate::format::UnixMillis;
use crate::format::snapshot::{FileKind, Mark, Role};
use crate::redis::RedisError;
use crate::redis::directory::{Capture, Told};
use crate::redis::server::aof::{LiveAof, NotLive, capture_aof};
use crate::redis::server::connection::Server;
use crate::redis::server::dump_file::began;
use crate::redis::server::facts;

impl Live<'_> {
    pub(super) fn aof(&self, server: &mut Server) -> Result<Result<Taken, NotLive>, RedisError> {
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
