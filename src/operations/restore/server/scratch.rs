//! Ways that take a scratch server: what the target's own program makes of the files, in the staging directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::Options;
use super::arrange::{arrange, dress};
use super::plan::{Way, way};
use super::source::{Expected, Form, Source};
use super::steps::WORK;
use super::target::{Names, Target};
use crate::aof::{is_temporary, manifest_name};
use crate::held::{Held, Room, replaced};
use crate::operations::restore::Needs;
use crate::operations::restore::beside::make;
use crate::operations::{Observer, OperationError};
use crate::redis::RedisError;
use crate::redis::program::{Program, is_trusted};
use crate::redis::scratch::{self, Scratch, Settings};
use crate::redis::server::{Info, Server};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// An empty directory for a scratch server to work in. It is the server's user's, and the one around it the caller's.
pub(super) struct Workroom {
    work: Held,
    _around: Room,
}

impl Workroom {
    /// Makes one for a scratch server of this user, where it has another one than the caller.
    pub fn make(user: Option<(u32, u32)>) -> Result<Workroom, OperationError> {
        let made = Room::make("", BASE.as_ref());
        let around = made.map_err(|error| OperationError::target("make a directory in", BASE.as_ref(), error))?;
        let failed = |error| OperationError::target("give away", around.path(), error);
        let held = Held::open(around.path()).map_err(failed)?;
        let work = make(&held, OsStr::new(WORK), 0o700)?;
        if let Some(user) = user {
            work.give(user).and_then(|()| held.set_mode(0o711)).map_err(failed)?;
        }
        Ok(Workroom { work, _around: around })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.work.path()
    }
}

/// Where scratch servers of other users work, and have their sockets.
pub(super) const BASE: &str = "/tmp";

/// What is in the staging directory.
pub(super) struct Staged<'a> {
    /// The directory itself.
    pub staging: &'a Held,
    /// Files as the snapshot has them.
    pub files: &'a Held,
    /// Files as the target will have them.
    pub new: &'a Held,
    /// What they need.
    pub needs: &'a Needs,
}

/// Makes the file, or the directory of the AOF, that the target will load. Answers with what the scratch server held. To
/// its user belongs only what it works on: what it made is taken out of there file by file, each looked at.
pub(super) fn convert(
    by: Way,
    source: &Source,
    target: &Target,
    options: &Options,
    staged: &Staged<'_>,
    observer: &dyn Observer,
) -> Result<Expected, OperationError> {
    let program = Program::at(&program(target, options)?)?;
    let Staged { staging, files, new, needs } = staged;
    let work = make(staging, OsStr::new(WORK), 0o700)?;
    let loads_aof = by == Way::Scratch;
    let loaded = match source.form {
        Form::Dump => Way::Dump,
        Form::Parts | Form::Single => way(source.form, true, target.is_multi_part(), false),
    };
    arrange(loaded, source, &target.names, files, &work)?;
    let user = (rustix::process::geteuid().is_root() && target.owner.0 != 0).then_some(target.owner);
    if let Some(user) = user {
        dress(&work, user, &target.held, OsStr::new(""))?;
        let given = work.give(user).and_then(|()| staging.set_mode(0o711));
        given.map_err(|error| OperationError::target("give away", work.path(), error))?;
    }
    let names = scratch::Names {
        dump: target.names.dump.clone(),
        aof: target.names.aof.clone(),
        aof_directory: target.names.aof_directory.clone().unwrap_or_else(|| "appendonlydir".into()),
    };
    let settings = Settings {
        directory: work.path().into(),
        private: BASE.into(),
        appendonly: loads_aof,
        names,
        databases: target.databases,
        user,
        renamed: renamed(source, target, needs),
        modules: modules(source, target, needs),
    };
    observer.begin("loading into a scratch server", None);
    let scratch = Scratch::start(&program, &settings, &mut |_| !observer.interrupted())?;
    let mut server = scratch.connect()?;
    let made = match loads_aof {
        true => save(&mut server, &work, &target.names.dump, observer)?,
        false => switch_on(&mut server, &work, &target.names, observer)?,
    };
    let found = server.info()?.keyspace().into_iter();
    let expected = Expected {
        databases: found
            .map(|(number, keys)| (number, (keys.keys, keys.expires.saturating_add(keys.volatile))))
            .collect(),
        and_commands: false,
        asked: source.expected.asked.clone(),
        had: source.expected.had,
    };
    scratch.stop()?;
    let owner = user.map_or_else(|| rustix::process::geteuid().as_raw(), |(user, _)| user);
    let failed = |error| OperationError::target("take", &work.path_of(&made), error);
    match work.look(&made).map_err(failed)?.is_some_and(|seen| seen.is_dir()) {
        false => take(&work, &made, new, owner).map_err(failed)?,
        true => {
            let (from, to) = (work.directory(&made).map_err(failed)?, make(new, &made, 0o700)?);
            let mut names = from.names().map_err(failed)?;
            names.sort();
            names.iter().try_for_each(|name| take(&from, name, &to, owner)).map_err(failed)?;
        }
    }
    Ok(expected)
}

/// What commands of the AOF are called: as the snapshot says, else those by names of the target that are in it.
fn renamed(source: &Source, target: &Target, needs: &Needs) -> Vec<(String, String)> {
    if !source.renamed.is_empty() {
        return source.renamed.clone();
    }
    let has = |name: &str| needs.commands.contains(name.to_ascii_lowercase().as_bytes());
    target.renamed.iter().filter(|(usual, new)| !new.is_empty() && has(new) && !has(usual)).cloned().collect()
}

/// The target's modules, where the files may need one. What is in their files is run by the user of the target, and only
/// where no other user can have put it there.
fn modules(source: &Source, target: &Target, needs: &Needs) -> Vec<PathBuf> {
    // Modules call their commands so.
    let is_of_module = |name: &Vec<u8>| name.contains(&b'.');
    if source.modules.is_none() && needs.modules.is_empty() && !needs.commands.iter().any(is_of_module) {
        return Vec::new();
    }
    let own = target.modules.iter().filter(|module| !module.is_built_in);
    let files = own.filter_map(|module| Path::new(module.path.as_ref()?).canonicalize().ok());
    files.filter(|file| file.is_file() && is_trusted(file)).collect()
}

/// Moves a file that a scratch server made: a regular one of its user's, that has no other name.
fn take(from: &Held, name: &OsStr, to: &Held, owner: u32) -> io::Result<()> {
    let made = from.file(name)?.metadata()?;
    from.rename_new(name, to, name)?;
    let seen = to.look(name)?.filter(|seen| seen.id() == (made.dev(), made.ino()) && seen.is_file());
    match seen.is_some_and(|seen| seen.owner().0 == owner && seen.names() == 1) {
        true => Ok(()),
        false => Err(replaced()),
    }
}

/// The target's own program, unless a person names another one. It is run with redkeep's rights to see its version: one
/// that others could have put there is not.
pub(super) fn program(target: &Target, options: &Options) -> Result<PathBuf, RedisError> {
    let own = || target.host.program.clone().filter(|path| is_trusted(path));
    options.program.clone().or_else(own).ok_or_else(|| RedisError::Server {
        what: "a scratch server is needed, and the server's program is not found where only root can have put it"
            .into(),
        hint: "name a program of the same version with --server-binary".into(),
    })
}

/// Has the scratch server save all it holds.
fn save(server: &mut Server, work: &Held, dump: &OsStr, observer: &dyn Observer) -> Result<OsString, OperationError> {
    observer.begin("saving from the scratch server", None);
    server.words(&["BGSAVE"])?;
    wait(server, observer, &mut |info| !info.is_on("rdb_bgsave_in_progress"))?;
    let status = server.info_of("persistence")?;
    let is_there = work.look(dump).is_ok_and(|seen| seen.is_some_and(|seen| seen.is_file()));
    match status.get("rdb_last_bgsave_status") == Some("ok") && is_there {
        true => Ok(dump.into()),
        false => Err(failed("the scratch server could not save what it loaded")),
    }
}

/// Has the scratch server write an AOF, and waits until that is whole: the answer to CONFIG SET says nothing of it, nor
/// does the status, which is ok from the beginning.
fn switch_on(
    server: &mut Server,
    work: &Held,
    names: &Names,
    observer: &dyn Observer,
) -> Result<OsString, OperationError> {
    observer.begin("switching on the AOF of the scratch server", None);
    server.words(&["CONFIG", "SET", "appendonly", "yes"])?;
    let made = names.aof_directory.as_ref().unwrap_or(&names.aof);
    let manifest = OsString::from_vec(manifest_name(names.aof.as_bytes()));
    let has_temporary = |held: &Held| held.names().unwrap_or_default().iter().any(|name| is_temporary(name.as_bytes()));
    let is_file = |held: &Held, name: &OsStr| held.look(name).is_ok_and(|seen| seen.is_some_and(|seen| seen.is_file()));
    let is_whole = || match &names.aof_directory {
        None => is_file(work, made),
        Some(name) => work.directory(name).is_ok_and(|held| is_file(&held, &manifest) && !has_temporary(&held)),
    };
    let idle = |info: &Info| !info.is_on("aof_rewrite_in_progress") && !info.is_on("aof_rewrite_scheduled");
    let refused = |info: &Info| info.get("aof_last_bgrewrite_status") == Some("err");
    wait(server, observer, &mut |info| {
        let whole = is_whole() && !has_temporary(work);
        refused(info) || (idle(info) && info.is_on("aof_enabled") && whole)
    })?;
    match refused(&server.info_of("persistence")?) {
        true => Err(failed("the scratch server could not write an AOF")),
        false => Ok(made.clone()),
    }
}

fn wait(
    server: &mut Server,
    observer: &dyn Observer,
    is_over: &mut dyn FnMut(&Info) -> bool,
) -> Result<(), OperationError> {
    while !is_over(&server.info_of("persistence")?) {
        if observer.interrupted() {
            return Err(crate::repository::RepositoryError::Interrupted.into());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

fn failed(what: &str) -> OperationError {
    let hint = "is there room on the disk of the server's directory?".into();
    RedisError::Server { what: what.into(), hint }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scratch_server_of_another_user_works_in_stands_in_a_directory_of_the_callers() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root has scratch servers of others.
        }
        let room = Workroom::make(Some((61_234, 61_235))).unwrap();
        let (work, around) = (Held::open(room.path()).unwrap(), Held::open(room.path().parent().unwrap()).unwrap());
        assert_eq!(work.seen().unwrap().owner(), (61_234, 61_235));
        assert_eq!((around.seen().unwrap().owner().0, around.seen().unwrap().mode()), (0, 0o711));
        let place = around.path().to_owned();
        drop(room);
        assert!(Held::open(&place).is_err(), "nothing of it stays");
    }
}
