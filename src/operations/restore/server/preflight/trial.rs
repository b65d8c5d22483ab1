//! Whether a running server would come up again: what starts it is tried beforehand, as for one that does not run. Its
//! program, with the environment of the restart, is started on its configuration, but for what would have it load, keep,
//! serve or follow anything, in an empty directory and as its user. Of a unit, a script and a person's command only what is
//! sure counts: they may give the server more than is seen here.

use std::path::{Path, PathBuf};

use super::refuse;
use crate::operations::OperationError;
use crate::operations::restore::server::Options;
use crate::operations::restore::server::reach::start_like;
use crate::operations::restore::server::target::Target;
use crate::rdb::Header;
use crate::redis::RedisError;
use crate::redis::compatibility::ServerVersion;
use crate::redis::host::{CommandLine, Start};
use crate::redis::program::{Program, is_trusted};
use crate::redis::scratch::{Like, Scratch};
use crate::redis::server::ConfigFile;

const HINT: &str = "mend it first, or say how the server is started with --start-command: nothing was touched";

/// LOCAL-24: refuses where it would stay down. `header`: how the RDB file begins that it is to load.
pub(in crate::operations::restore::server) fn restart(
    target: &Target,
    options: &Options,
    written: &ConfigFile,
    header: Option<Header>,
) -> Result<Vec<String>, RedisError> {
    let of = |name: &str| written.directives.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let is_replica = of("replicaof").or_else(|| of("slaveof")).is_some_and(|master| *master != *"no one");
    let Start::Process(line) = &target.host.start else {
        return if is_replica { Ok(Vec::new()) } else { kept(target, options, written, header) };
    };
    if line.gains_rights() {
        let what = "started again by redkeep, the server would have more rights (capabilities) than it has".into();
        return refuse(
            what,
            "run redkeep as root, with setpriv installed; or say how it is started with --start-command",
        );
    }
    let log = of("logfile").map(|path| target.directory.join(path));
    if let Some(log) = log.as_ref().filter(|log| log.parent().is_some_and(|parent| !parent.is_dir())) {
        return refuse(format!("started again, the server could not write its log {}", log.display()), HINT);
    }
    for path in [log.map(|log| written_at(&log)), Some(target.directory.clone())].into_iter().flatten() {
        if line.may_write(&path) == Some(false) {
            let what = format!("started again, the server could not write to {}: its user may not", path.display());
            return refuse(what, HINT);
        }
    }
    if is_replica {
        return Ok(vec!["whether the server starts again was not tried: it would follow its master".into()]);
    }
    let error = match start(target, line, options, written) {
        Ok(version) => return serves(target, version, header),
        Err(error) => error,
    };
    let what = match error {
        // It is up, and has another password than the server has now.
        OperationError::Redis(RedisError::Login { .. }) => return Ok(Vec::new()),
        OperationError::Redis(RedisError::NotLoaded { log, .. }) => format!(
            "{} does not start with the server's configuration and the environment that it would have: {log}",
            line.program.display()
        ),
        error => return Ok(vec![format!("whether the server starts again could not be tried: {error}")]),
    };
    // Groups that the one which is tried does not have may be what the server reads its files by.
    let has_more = line.surroundings.groups.iter().flatten().any(|group| *group != line.user.1);
    match has_more && line.user.0 != 0 {
        true => Ok(vec![format!("whether the server starts again is not known: {what}")]),
        false => refuse(what, HINT),
    }
}

/// The file, or where it is not there yet the directory in which it would be made.
fn written_at(log: &Path) -> PathBuf {
    let parent = log.parent().filter(|_| !log.exists());
    parent.unwrap_or(log).to_owned()
}

fn start(
    target: &Target,
    line: &CommandLine,
    options: &Options,
    written: &ConfigFile,
) -> Result<Option<ServerVersion>, OperationError> {
    let like = line.like(&options.address, &target.directory, written);
    tried(target, &line.program, line.user, &like)
}

/// Starts it, and asks it what it is.
fn tried(
    target: &Target,
    program: &Path,
    user: (u32, u32),
    like: &Like,
) -> Result<Option<ServerVersion>, OperationError> {
    let program = match ServerVersion::of(&target.info) {
        Some(version) => Program { path: program.into(), version },
        None => Program::at(program)?,
    };
    let is_other = rustix::process::geteuid().is_root() && user.0 != 0;
    let (scratch, _room) = start_like(&program, is_other.then_some(user), like, &mut |_| true)?;
    // One that may not be asked is not known.
    let version = version(&scratch);
    scratch.stop()?;
    Ok(version)
}

fn version(scratch: &Scratch) -> Option<ServerVersion> {
    let info = scratch.connect().and_then(|mut server| server.info_of("server")).ok()?;
    ServerVersion::of(&info)
}

/// The program on the disk may be another one than the one that runs.
fn serves(target: &Target, version: Option<ServerVersion>, header: Option<Header>) -> Result<Vec<String>, RedisError> {
    let now = ServerVersion::of(&target.info);
    match (version, now) {
        (Some(then), Some(now)) if then != now => {
            if let Some(header) = header {
                then.must_read(header, "started again, the server")?;
            }
            Ok(vec![format!(
                "started again, the server is {then}, and it is {now} now: an older one may not read what a newer one wrote"
            )])
        }
        _ => Ok(Vec::new()),
    }
}

/// Of one that a manager or a person starts: a configuration that no program of its version understands, or that its user may
/// not read.
fn kept(
    target: &Target,
    options: &Options,
    written: &ConfigFile,
    header: Option<Header>,
) -> Result<Vec<String>, RedisError> {
    let process = &target.host.process;
    let config = target.info.get("config_file").filter(|file| !file.is_empty()).map(PathBuf::from);
    let Some((config, program)) = config.zip(target.host.program.clone().filter(|path| is_trusted(path))) else {
        return Ok(Vec::new());
    };
    let aclfile = written.directives.get("aclfile").filter(|path| !path.is_empty() && !path.starts_with('/'));
    let like = Like {
        words: Vec::new(),
        has_tls: written.directives.contains_key("tls-port"),
        aclfile: aclfile.map(|path| target.directory.join(path)),
        config: Some(config),
        login: options.address.clone(),
        environment: None,
    };
    let log = match tried(target, &program, process.user, &like) {
        Ok(version) => return serves(target, version, header),
        Err(OperationError::Redis(RedisError::NotLoaded { log, .. })) => log,
        Err(_) => return Ok(Vec::new()),
    };
    let lower = log.to_lowercase();
    let is_by_groups = process.groups().len() > 1 || matches!(target.host.start, Start::Command(_));
    let is_sure = lower.contains("fatal config file error") && !lower.contains("loadmodule")
        || lower.contains("can't open config file") && !is_by_groups;
    match is_sure {
        true => refuse(format!("{} does not start with the server's configuration: {log}", program.display()), HINT),
        false => Ok(Vec::new()),
    }
}

/// Refuses what starts it where that is gone, and a configuration file that is gone: a server without one would start with
/// other data, or not at all.
pub(in crate::operations::restore::server) fn must_be_there(
    target: &Target,
    config: Option<&str>,
) -> Result<(), RedisError> {
    if let Some(lacks) = target.host.start.lacks() {
        return refuse(format!("started again, the server would stay down: {lacks}"), HINT);
    }
    let is_named = |config: &str| match &target.host.start {
        Start::Process(_) | Start::Script(_) => true,
        Start::Command(command) => command.contains(config),
        Start::Unit(_) => false,
    };
    match config.filter(|config| is_named(config) && !Path::new(config).exists()) {
        Some(config) => refuse(
            format!("started again, the server would look for its configuration file {config}, which is gone"),
            HINT,
        ),
        None => Ok(()),
    }
}
