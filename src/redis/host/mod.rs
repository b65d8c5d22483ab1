//! How a server is stopped and started on this host: by its service manager, as a plain process, or by commands a person
//! gave.
//!
//! A server that a manager keeps is stopped by the manager: under `Restart=always` one that was told to shut down comes
//! straight back. A plain process is told SHUTDOWN NOSAVE, and started again with the program and the configuration file
//! that it said it runs with; its command line is of no use, because servers write over it.

mod command_line;
mod manager;
mod process;

pub use command_line::CommandLine;
pub use manager::{Start, Stop};
pub use process::Process;

use std::time::Duration;

use super::RedisError;
use super::server::{Info, Server};

/// How long a server may take to end: one that is stopped by a signal may save its data first.
const ENDING: Duration = Duration::from_secs(600);
/// Between two looks at a process.
const LOOK: Duration = Duration::from_millis(20);

/// Commands a person gave, run by the shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commands {
    /// Stops the server.
    pub stop: Option<String>,
    /// Starts it.
    pub start: Option<String>,
}

/// A running server of this host, and the way to stop it and start it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its process.
    pub process: Process,
    /// How it is stopped.
    pub stop: Stop,
    /// How it is started.
    pub start: Start,
}

impl Host {
    /// Finds the process of a server that answers, and who keeps it.
    pub fn find(server: &mut Server, info: &Info, commands: &Commands) -> Result<Host, RedisError> {
        let address = server.address().to_string();
        let process = info.number("process_id").and_then(|id| u32::try_from(id).ok());
        let process = process.and_then(Process::find).filter(Process::is_server).ok_or_else(|| RedisError::Server {
            what: format!("the process of the server at {address} is not seen on this host"),
            hint: "run redkeep on the host of the server, as root or as the user of the server".into(),
        })?;
        let (stop, start) = manager::of(&process, server, info, commands)?;
        Ok(Host { process, stop, start })
    }

    /// Stops the server and waits until its process is gone, not only its port.
    pub fn stop(&self, server: Server) -> Result<(), RedisError> {
        self.stop.run(server, &self.process)?;
        match self.process.wait_gone(ENDING) {
            true => Ok(()),
            false => Err(RedisError::Server {
                what: format!("process {} is still there {} s after {}", self.process.id, ENDING.as_secs(), self.stop),
                hint: "look at its log; stop it by hand, then run the same command again".into(),
            }),
        }
    }
}
