//! The server that is meant: one that runs, or one that does not, with a stand-in that tells what its configuration makes of
//! its program.

use std::path::Path;

use super::journal::Journals;
use super::scratch::{BASE, Workroom};
use super::target::Target;
use super::{Options, Started, connect};
use crate::held::Held;
use crate::operations::{Observer, OperationError};
use crate::redis::RedisError;
use crate::redis::host::{Commands, Stopped};
use crate::redis::program::Program;
use crate::redis::scratch::{Like, Loading, Scratch, Settings};
use crate::redis::server::{Server, config_files};

/// Who can be asked about the server.
pub(super) struct Reached {
    /// The server itself, or its stand-in.
    pub server: Server,
    /// What is known of one that does not run.
    pub stopped: Option<Stopped>,
    /// By which journal it was started, where an earlier, killed restore had left it stopped.
    pub started: Option<Started>,
    /// What has to live for as long as the stand-in is asked.
    pub stand_in: Option<StandIn>,
}

/// An empty server at work in a directory of its own.
pub(super) struct StandIn {
    _scratch: Scratch,
    _directory: Workroom,
}

/// The same options with the address that the server has by its configuration, and what is known of a server that a person
/// named otherwise than by its address.
pub(super) fn settle(options: &Options) -> Result<(Options, Option<Stopped>), OperationError> {
    let Some(named) = &options.named else { return Ok((options.clone(), None)) };
    let stopped = Stopped::find(named, &options.commands)?;
    let found = stopped.address(&options.address);
    let address = if options.has_address { options.address.clone() } else { found? };
    // The same words mean the same server, whatever stands in its directory by then.
    let concluded = stopped.concluded.iter().map(|(name, value)| format!(" --server-setting {name}={value}"));
    let again = [options.again.clone()].into_iter().chain(concluded).collect();
    let program = Some(stopped.program.path.clone());
    let commands = Commands { built: stopped.built(), ..options.commands.clone() };
    Ok((Options { address, program, again, commands, ..options.clone() }, Some(stopped)))
}

/// Finds the server, whether it runs or not.
pub(super) fn reach(
    options: &Options,
    stopped: Option<Stopped>,
    journals: &Journals,
    observer: &dyn Observer,
) -> Result<Reached, OperationError> {
    match (connect(options, journals, observer), stopped) {
        (Ok((server, started)), stopped) => {
            let reached = Reached { server, stopped: None, started, stand_in: None };
            reached.refusing_another(options, stopped.as_ref())
        }
        (Err(OperationError::Redis(RedisError::Connection { .. })), Some(stopped)) => {
            stand_in(options, stopped, observer)
        }
        (Err(OperationError::Redis(error @ RedisError::Connection { .. })), None) => Err(not_there(error).into()),
        (Err(error), _) => Err(error),
    }
}

impl Reached {
    /// Refuses a server that answers where another one was named.
    fn refusing_another(mut self, options: &Options, named: Option<&Stopped>) -> Result<Reached, OperationError> {
        let Some(named) = named else { return Ok(self) };
        let target = Target::ask(&mut self.server, None, options)?;
        match target.directory.canonicalize().is_ok_and(|directory| directory == named.directory) {
            true => Ok(self),
            false => Err(RedisError::Server {
                what: format!(
                    "the server at {} works in {}, and the one that is named in {}",
                    options.address,
                    target.directory.display(),
                    named.directory.display()
                ),
                hint: "say where the server that is meant listens: --server=URL".into(),
            }
            .into()),
        }
    }
}

/// What a person can do whose server does not answer.
pub(super) fn not_there(error: RedisError) -> RedisError {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let file = config_files().first().map_or("/etc/redis/redis.conf".into(), |path| path.display().to_string());
    RedisError::Server {
        what: format!("{error}{cause}"),
        hint: format!(
            "is this its address? one that is stopped, or was never started, is restored into all the same when it is \
             named: --server --server-config {file} (or --server-unit NAME, --server-dir DIR)"
        ),
    }
}

/// Starts an empty server that is configured like another one, in a directory of its own.
pub(super) fn start_like(
    program: &Program,
    user: Option<(u32, u32)>,
    like: &Like,
    go_on: &mut dyn FnMut(Loading) -> bool,
) -> Result<(Scratch, Workroom), OperationError> {
    let directory = Workroom::make(user)?;
    let settings = Settings::empty(directory.path(), Path::new(BASE), user);
    Ok((Scratch::stand_in(program, &settings, like, go_on)?, directory))
}

fn stand_in(options: &Options, stopped: Stopped, observer: &dyn Observer) -> Result<Reached, OperationError> {
    if options.starts {
        stopped.refuse_foreseen(&options.address)?;
    }
    let seen = Held::open(&stopped.directory).and_then(|held| held.seen());
    let seen = seen.map_err(|error| OperationError::target("open", &stopped.directory, error))?;
    super::super::place::refuse_users_of(&stopped.directory, seen.id()).map_err(|error| RedisError::Server {
        what: format!("{error}, and no server answers at {}", options.address),
        hint: "say where it listens: --server=URL; or stop it first".into(),
    })?;
    observer.begin("trying the server's configuration", None);
    let user = (rustix::process::geteuid().is_root() && stopped.owner.0 != 0).then_some(stopped.owner);
    let like = stopped.like(&options.address);
    let started = start_like(&stopped.program, user, &like, &mut |_| !observer.interrupted());
    let (scratch, directory) = started.map_err(|error| match error {
        OperationError::Redis(RedisError::NotLoaded { log, .. }) => RedisError::Server {
            what: format!(
                "{} ({}) does not start with the server's configuration: {log}",
                stopped.program.path.display(),
                stopped.program.version
            ),
            hint: "mend the configuration first, or name another program with --server-binary: nothing was touched"
                .into(),
        }
        .into(),
        other => other,
    })?;
    let server = scratch.connect()?;
    let stand_in = StandIn { _scratch: scratch, _directory: directory };
    Ok(Reached { server, stopped: Some(stopped), started: None, stand_in: Some(stand_in) })
}
