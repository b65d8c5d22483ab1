//! Where a snapshot comes from: a live server, or a directory that nobody is asked about.

use std::path::PathBuf;

use super::{Observer, OperationError, watching};
use crate::format::UnixMillis;
use crate::format::snapshot::Mark;
use crate::redis::server::{Address, LiveCapture, LiveOptions, MadeDump, Server, Watch, capture_server, replicate};
use crate::redis::{Capture, CaptureOptions, RedisError, capture_directory};
use crate::repository::Repository;

/// Where a snapshot comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A data directory; no server is asked.
    Directory(PathBuf),
    /// A live server.
    Server(Box<LiveSource>),
}

/// A live server, and what of it is captured.
#[derive(Debug, Clone)]
pub struct LiveSource {
    /// Where it is.
    pub address: Address,
    /// What is captured.
    pub options: LiveOptions,
    /// How its data come here.
    pub way: Way,
}

/// How the data of a live server come here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// By its files.
    #[default]
    Files,
    /// As to a replica: the server sends its dump.
    Replication,
    /// By its files, and where these are out of reach through replication.
    Either,
}

impl Default for Source {
    fn default() -> Self {
        Source::Directory(PathBuf::new())
    }
}

/// What was captured.
#[derive(Debug)]
pub(super) struct Captured {
    pub capture: Capture,
    pub moment: Option<UnixMillis>,
    pub marks: Vec<Mark>,
    server: Option<Box<LiveSource>>,
    made: Option<MadeDump>,
}

impl Source {
    /// Captures it.
    pub(super) fn capture(
        &self,
        repository: &Repository,
        files: &CaptureOptions,
        observer: &dyn Observer,
    ) -> Result<Captured, OperationError> {
        let source = match self {
            Source::Directory(directory) => {
                return Ok(Captured::of_files(capture_directory(directory, files)?));
            }
            Source::Server(source) => source,
        };
        observer.begin("capturing", None);
        let captured = watching(observer, |watch| source.capture(repository, files, watch))?;
        let LiveCapture { capture, moment, marks, made } = captured;
        Ok(Captured { capture, moment, marks, server: Some(source.clone()), made })
    }

    /// The name of its dataset, where a person gives none.
    pub fn dataset(&self, host: &str) -> String {
        match self {
            Source::Server(source) => source.dataset(host),
            Source::Directory(directory) => {
                let directory = directory.canonicalize().unwrap_or_else(|_| directory.clone());
                format!("{host}:{}", directory.display())
            }
        }
    }
}

impl LiveSource {
    /// Connects to it, wherever a Sentinel says that it is.
    pub fn connect(&self) -> Result<Server, RedisError> {
        match &self.options.sentinel_master {
            Some(name) => Server::of_sentinel(&self.address, name),
            None => Server::connect(&self.address),
        }
    }

    fn capture(
        &self,
        repository: &Repository,
        files: &CaptureOptions,
        watch: &Watch<'_>,
    ) -> Result<LiveCapture, OperationError> {
        let connect = || self.connect();
        let sent = |server| replicate(server, &self.options, files, &|| repository.scratch(), watch);
        match self.way {
            Way::Files => Ok(capture_server(connect()?, &self.options, files, watch)?),
            Way::Replication => Ok(sent(connect()?)?),
            Way::Either => match capture_server(connect()?, &self.options, files, watch) {
                Err(RedisError::OutOfReach { what, hint }) => {
                    (watch.note)(&format!("{what}: its dump is captured through replication"));
                    sent(connect()?).map_err(|error| match error {
                        // Which of the two is mended is up to a person.
                        RedisError::Answer { message, hint: Some(other), .. } if message.starts_with("NOPERM") => {
                            RedisError::OutOfReach { what, hint: format!("{hint}; or, through replication: {other}") }
                                .into()
                        }
                        error => error.into(),
                    })
                }
                captured => Ok(captured?),
            },
        }
    }

    /// The name of its dataset, where a person gives none: of the host it is reached from, whose port it is; of a server
    /// that may be anywhere its own, and of one that Sentinels know the name they know.
    pub(super) fn dataset(&self, host: &str) -> String {
        if let Some(name) = &self.options.sentinel_master {
            return name.clone();
        }
        match self.way {
            Way::Replication if !self.address.is_of_this_host() => self.address.place(),
            Way::Files | Way::Either | Way::Replication => format!("{host}:{}", name_of(&self.address)),
        }
    }
}

fn name_of(address: &Address) -> String {
    address.port().map_or_else(|| address.to_string(), |port| port.to_string())
}

impl Captured {
    /// Files that nobody wrote just now.
    pub(super) fn of_files(capture: Capture) -> Captured {
        Captured { capture, moment: None, marks: Vec::new(), server: None, made: None }
    }

    /// The name of its dataset, where a person gives none.
    pub(super) fn dataset(&self, host: &str) -> String {
        match &self.server {
            Some(server) => server.dataset(host),
            None => format!("{host}:{}", self.capture.directory.display()),
        }
    }

    /// Removes what the server made for the capture only, and tells why that did not succeed.
    pub(super) fn tidy(&self) -> Option<String> {
        let made = self.made.as_ref()?;
        let error = made.remove().err()?;
        let path = made.path().display();
        Some(format!(
            "the server made {path} for this snapshot only, and would load it when it starts: delete it ({error})"
        ))
    }
}
