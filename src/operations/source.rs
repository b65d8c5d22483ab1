//! Where a snapshot comes from: a live server, or a directory that nobody is asked about.

use std::path::PathBuf;

use super::{Observer, OperationError};
use crate::format::UnixMillis;
use crate::format::snapshot::Mark;
use crate::redis::server::{Address, LiveCapture, LiveOptions, MadeDump, Server, Watch, capture_server};
use crate::redis::{Capture, CaptureOptions, capture_directory};

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
    /// The server's address as a name of a dataset: `:6379`, or the path of its socket.
    server: Option<String>,
    made: Option<MadeDump>,
}

impl Source {
    /// Captures it.
    pub(super) fn capture(&self, files: &CaptureOptions, observer: &dyn Observer) -> Result<Captured, OperationError> {
        let source = match self {
            Source::Directory(directory) => {
                return Ok(Captured::of_files(capture_directory(directory, files)?));
            }
            Source::Server(source) => source,
        };
        observer.begin("capturing", None);
        let interrupted = || observer.interrupted();
        let (say, note) = (|how: &str| observer.say(how), |what: &str| observer.remark(what));
        let leaves = |what: &str| observer.leaves(what);
        let watch = Watch { say: &say, note: &note, leaves: &leaves, interrupted: &interrupted };
        let server = Server::connect(&source.address)?;
        let live = capture_server(server, &source.options, files, &watch)?;
        let LiveCapture { capture, moment, marks, made } = live;
        Ok(Captured { capture, moment, marks, server: Some(name_of(&source.address)), made })
    }

    /// The name of its dataset, where a person gives none.
    pub fn dataset(&self, host: &str) -> String {
        match self {
            Source::Server(source) => format!("{host}:{}", name_of(&source.address)),
            Source::Directory(directory) => {
                let directory = directory.canonicalize().unwrap_or_else(|_| directory.clone());
                format!("{host}:{}", directory.display())
            }
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
            Some(server) => format!("{host}:{server}"),
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
