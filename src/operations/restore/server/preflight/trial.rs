//! Whether a running server would come up again: what starts it is tried beforehand, as for one that does not run. Its
//! program, with the environment of the restart, is started on its configuration, but for what would have it load, keep,
//! serve or follow anything, in an empty directory and as its user.

use std::path::Path;

use super::refuse;
use crate::operations::OperationError;
use crate::operations::restore::server::Options;
use crate::operations::restore::server::reach::start_like;
use crate::operations::restore::server::target::Target;
use crate::redis::RedisError;
use crate::redis::compatibility::ServerVersion;
use crate::redis::host::{CommandLine, Start};
use crate::redis::program::Program;
use crate::redis::server::ConfigFile;

const HINT: &str = "mend it first, or say how the server is started with --start-command: nothing was touched";

/// LOCAL-24: refuses where it would stay down. What a manager or a person's command starts it with is theirs to know.
pub(in crate::operations::restore::server) fn restart(
    target: &Target,
    options: &Options,
    written: &ConfigFile,
) -> Result<Option<String>, RedisError> {
    let Start::Process(line) = &target.host.start else { return Ok(None) };
    if line.gains_rights() {
        let what = "started again by redkeep, the server would have more rights (capabilities) than it has".into();
        return refuse(
            what,
            "run redkeep as root, with setpriv installed; or say how it is started with --start-command",
        );
    }
    let of = |name: &str| written.directives.get(name).map(String::as_str).filter(|value| !value.is_empty());
    if let Some(log) = of("logfile").map(|path| target.directory.join(path))
        && log.parent().is_some_and(|parent| !parent.is_dir())
    {
        return refuse(format!("started again, the server could not write its log {}", log.display()), HINT);
    }
    if of("replicaof").or_else(|| of("slaveof")).is_some_and(|master| *master != *"no one") {
        return Ok(Some("whether the server starts again was not tried: it would follow its master".into()));
    }
    let Err(error) = start(target, line, options, written) else { return Ok(None) };
    let what = match error {
        // It is up, and has another password than the server has now.
        OperationError::Redis(RedisError::Login { .. }) => return Ok(None),
        OperationError::Redis(RedisError::NotLoaded { log, .. }) => format!(
            "{} does not start with the server's configuration and the environment that it would have: {log}",
            line.program.display()
        ),
        error => return Ok(Some(format!("whether the server starts again could not be tried: {error}"))),
    };
    // Groups that the one which is tried does not have may be what the server reads its files by.
    let has_more = line.surroundings.groups.iter().flatten().any(|group| *group != line.user.1);
    match has_more && line.user.0 != 0 {
        true => Ok(Some(format!("whether the server starts again is not known: {what}"))),
        false => refuse(what, HINT),
    }
}

fn start(target: &Target, line: &CommandLine, options: &Options, written: &ConfigFile) -> Result<(), OperationError> {
    let program = match ServerVersion::of(&target.info) {
        Some(version) => Program { path: line.program.clone(), version },
        None => Program::at(&line.program)?,
    };
    let is_other = rustix::process::geteuid().is_root() && line.user.0 != 0;
    let like = line.like(&options.address, &target.directory, written);
    let (scratch, _room) = start_like(&program, is_other.then_some(line.user), &like, &mut |_| true)?;
    Ok(scratch.stop()?)
}

/// Refuses a configuration file that is gone: a server without one would start with other data, or not at all.
pub(in crate::operations::restore::server) fn must_be_there(target: &Target, path: &str) -> Result<(), RedisError> {
    match (&target.host.start, Path::new(path).exists()) {
        (Start::Process(_), false) => refuse(
            format!("started again, the server would look for its configuration file {path}, which is gone"),
            HINT,
        ),
        _ => Ok(()),
    }
}
