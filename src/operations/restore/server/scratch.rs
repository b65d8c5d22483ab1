//! Ways that take a scratch server: what the target's own program makes of the files, in the staging directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::Options;
use super::arrange::arrange;
use super::plan::{Way, way};
use super::source::{Expected, Form, Source};
use super::steps::{FILES, NEW, WORK};
use super::target::{Names, Target};
use crate::aof::{is_temporary, manifest_name};
use crate::operations::{Observer, OperationError};
use crate::redis::RedisError;
use crate::redis::program::{Program, is_trusted};
use crate::redis::scratch::{self, Scratch, Settings};
use crate::redis::server::{Info, Server};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Makes the file, or the directory of the AOF, that the target will load. Answers with what the scratch server held.
pub(super) fn convert(
    by: Way,
    source: &Source,
    target: &Target,
    options: &Options,
    staging: &Path,
    observer: &dyn Observer,
) -> Result<Expected, OperationError> {
    let program = Program::at(&program(target, options)?)?;
    let (files, work, new) = (staging.join(FILES), staging.join(WORK), staging.join(NEW));
    let made = fs::DirBuilder::new().mode(0o700).create(&work);
    made.map_err(|error| OperationError::target("create", &work, error))?;
    let loads_aof = by == Way::Scratch;
    let loaded = match source.form {
        Form::Dump => Way::Dump,
        Form::Parts | Form::Single => way(source.form, true, target.is_multi_part(), false),
    };
    arrange(loaded, source, &target.names, &files, &work)?;
    let user = (rustix::process::geteuid().is_root() && target.owner.0 != 0).then_some(target.owner);
    if user.is_some() {
        give(staging, &work, target.owner)?;
    }
    let names = scratch::Names {
        dump: target.names.dump.clone(),
        aof: target.names.aof.clone(),
        aof_directory: target.names.aof_directory.clone().unwrap_or_else(|| "appendonlydir".into()),
    };
    let settings = Settings {
        directory: work.clone(),
        private: staging.into(),
        appendonly: loads_aof,
        names,
        databases: target.databases,
        user,
        renamed: Vec::new(),
        modules: Vec::new(),
    };
    observer.begin("loading into a scratch server", None);
    let scratch = Scratch::start(&program, &settings, &mut |_| !observer.interrupted())?;
    let mut server = scratch.connect()?;
    let made = match loads_aof {
        true => save(&mut server, &work.join(&target.names.dump), observer)?,
        false => switch_on(&mut server, &work, &target.names, observer)?,
    };
    let found = server.info()?.keyspace().into_iter();
    let expected = Expected {
        databases: found
            .map(|(number, keys)| (number, (keys.keys, keys.expires.saturating_add(keys.volatile))))
            .collect(),
        and_commands: false,
    };
    scratch.stop()?;
    let name = made.file_name().map(OsStr::to_owned).unwrap_or_default();
    let to = new.join(name);
    fs::rename(&made, &to).map_err(|error| OperationError::target("create", &to, error))?;
    Ok(expected)
}

/// The target's own program, unless another is named.
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

fn give(staging: &Path, work: &Path, owner: (u32, u32)) -> Result<(), OperationError> {
    let below = walkdir::WalkDir::new(work).into_iter();
    for entry in below {
        let entry = entry.map_err(|error| OperationError::target("list", work, error))?;
        let path = entry.path();
        chown(path, Some(owner.0), Some(owner.1)).map_err(|error| OperationError::target("give away", path, error))?;
    }
    chown(staging, Some(owner.0), Some(owner.1)).map_err(|error| OperationError::target("give away", staging, error))
}

/// Has the scratch server save all it holds.
fn save(server: &mut Server, dump: &Path, observer: &dyn Observer) -> Result<PathBuf, OperationError> {
    observer.begin("saving from the scratch server", None);
    server.words(&["BGSAVE"])?;
    wait(server, observer, &mut |info| !info.is_on("rdb_bgsave_in_progress"))?;
    let status = server.info_of("persistence")?;
    match status.get("rdb_last_bgsave_status") == Some("ok") && dump.is_file() {
        true => Ok(dump.into()),
        false => Err(failed("the scratch server could not save what it loaded")),
    }
}

/// Has the scratch server write an AOF, and waits until that is whole: the answer to CONFIG SET says nothing of it, nor
/// does the status, which is ok from the beginning.
fn switch_on(
    server: &mut Server,
    work: &Path,
    names: &Names,
    observer: &dyn Observer,
) -> Result<PathBuf, OperationError> {
    observer.begin("switching on the AOF of the scratch server", None);
    server.words(&["CONFIG", "SET", "appendonly", "yes"])?;
    let made = work.join(names.aof_directory.as_ref().unwrap_or(&names.aof));
    let last = match &names.aof_directory {
        Some(_) => made.join(OsString::from_vec(manifest_name(names.aof.as_bytes()))),
        None => made.clone(),
    };
    let busy = |directory: &Path| {
        let mut entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.any(|entry| is_temporary(entry.file_name().as_bytes()))
    };
    let idle = |info: &Info| !info.is_on("aof_rewrite_in_progress") && !info.is_on("aof_rewrite_scheduled");
    let refused = |info: &Info| info.get("aof_last_bgrewrite_status") == Some("err");
    wait(server, observer, &mut |info| {
        let whole = last.is_file() && !busy(work) && !busy(&made);
        refused(info) || (idle(info) && info.is_on("aof_enabled") && whole)
    })?;
    match refused(&server.info_of("persistence")?) {
        true => Err(failed("the scratch server could not write an AOF")),
        false => Ok(made),
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
