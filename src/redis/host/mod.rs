//! How a server is stopped and started on this host: by its service manager, as a plain process, or by commands a person
//! gave.
//!
//! A server that a manager keeps is stopped by the manager: under `Restart=always` one that was told to shut down comes
//! straight back. A plain process is told SHUTDOWN NOSAVE, and started again with the program and the configuration file
//! that it said it runs with; its command line is of no use, because servers write over it.

mod built;
mod command_line;
mod manager;
mod named;
mod process;
mod rights;
mod startable;
mod surroundings;
mod trust;

pub(crate) use built::is_same_value;
pub use command_line::{CommandLine, Ended, Output, Started};
pub use manager::{Start, Stop, is_secret};
pub use named::{Named, Stopped};
pub use process::Process;
pub(super) use process::without_mark;
pub use surroundings::Surroundings;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use super::RedisError;
use super::server::{Info, Server};

/// How long a server may take to end where nobody says: one that is stopped by a signal may save its data first.
pub const ENDING: Duration = Duration::from_secs(600);
/// How long one may take whose stopping is said to have failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);

/// Commands a person gave, run by the shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commands {
    /// Stops the server.
    pub stop: Option<String>,
    /// Starts it.
    pub start: Option<String>,
    /// How long it may take to end.
    pub patience: Option<Duration>,
    /// How it would be started by what a person names of it: for one that shows nothing of how it was.
    pub built: Option<CommandLine>,
}

/// A running server of this host, and the way to stop it and start it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its process.
    pub process: Process,
    /// The program it runs, where that is found under the name of a server.
    pub program: Option<PathBuf>,
    /// How it is stopped.
    pub stop: Stop,
    /// How it is started.
    pub start: Start,
    /// How long it may take to end.
    pub patience: Duration,
}

impl Host {
    /// Finds the process of a server that answers, and who keeps it.
    pub fn find(server: &mut Server, info: &Info, commands: &Commands) -> Result<Host, RedisError> {
        let address = server.address().to_string();
        let process = info.number("process_id").and_then(|id| u32::try_from(id).ok());
        let is_its = |process: &Process| server.address().peer().is_some_and(|peer| peer.is_process(process.id));
        let process = process.and_then(Process::find).filter(Process::is_server).filter(is_its);
        let process = process.ok_or_else(|| RedisError::Server {
            what: format!("the process of the server at {address} is not seen on this host"),
            hint: "run redkeep on the host of the server, as root or as the user of the server, and name the server's own \
                   address"
                .into(),
        })?;
        let (stop, start) = manager::of(&process, server, info, commands)?;
        let told = info.get("executable").filter(|path| !path.is_empty());
        let program = command_line::program(&process, told.map(OsStr::new));
        let patience = commands.patience.unwrap_or(ENDING);
        Ok(Host { process, program, stop, start, patience })
    }

    /// Whether the server runs.
    pub fn is_running(&self) -> bool {
        !self.process.is_gone()
    }

    /// What the server has now and will not have when it is started again, in words.
    pub fn lost(&self) -> Vec<String> {
        let Start::Process(line) = &self.start else { return Vec::new() };
        if !self.is_running() {
            return Vec::new();
        }
        let mut lost = line.lost();
        lost.extend(self.process.enclosed());
        if self.process.is_replaced() {
            lost.push(format!(
                "{} was replaced since the server was started, as by an upgrade: started again, it is the new one",
                line.program.display()
            ));
        }
        let (its, own) = (self.process.control_groups(), Process::own_control_groups());
        if its != own {
            let name = |groups: &str| groups.lines().next().and_then(|line| line.rsplit(':').next()).map(str::to_owned);
            let name = |groups: &str| name(groups).unwrap_or_default();
            lost.push(format!(
                "the server is in the control group {}: started again, it is in the one of redkeep, {}",
                name(&its),
                name(&own)
            ));
        }
        lost
    }

    /// Stops the server and waits until its process is gone, not only its port. `goes_on` is told how long it has been, and
    /// says whether to wait on.
    pub fn stop(
        &self,
        server: &mut Server,
        goes_on: &mut dyn FnMut(&mut Server, Duration) -> bool,
    ) -> Result<(), Stopping> {
        let told = self.stop.run(server, &self.process);
        let patience = if told.is_ok() { self.patience } else { AFTER_FAILURE.min(self.patience) };
        let mut was_interrupted = false;
        let is_gone = self.process.wait_gone(patience, &mut |time| {
            was_interrupted = !goes_on(server, time);
            !was_interrupted
        });
        match (is_gone, told) {
            // However it came to its end.
            (true, _) => Ok(()),
            (false, Err(error)) => Err(Stopping::Refused(error)),
            (false, Ok(())) if was_interrupted => Err(Stopping::Unsure(RedisError::Stopped {
                what: format!(
                    "interrupted while the server, process {}, was to end after {}",
                    self.process.id, self.stop
                ),
                hint: "it may still end".into(),
            })),
            (false, Ok(())) => Err(Stopping::Unsure(RedisError::Server {
                what: format!(
                    "the server, process {}, is still there {} s after {}",
                    self.process.id,
                    self.patience.as_secs(),
                    self.stop
                ),
                hint: "look at its log; give it more time with --stop-timeout, or stop it by hand".into(),
            })),
        }
    }
}

/// Why a server is not known to be stopped.
#[derive(Debug)]
pub enum Stopping {
    /// It was refused, and the server is there.
    Refused(RedisError),
    /// It was told to, and may still end.
    Unsure(RedisError),
}
