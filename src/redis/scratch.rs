//! A scratch server: a server program at work on a directory of ours, for nobody but us, to be asked what it makes of the
//! files in it.
//!
//! It listens on a Unix socket in a private directory and on no port, saves nothing unasked, follows nobody, and is
//! killed when it is dropped. Only a kill of redkeep itself can leave one behind: without a port, with a socket that
//! only the same user reaches, and until the next one is started.
//!
//! Where it is another user's process than redkeep's, that user may do with it what it likes: to it belong its data directory
//! and one that holds its socket and its log. Around them and its configuration stands a directory of the caller's, and what
//! is read back is a regular file or nothing.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::RedisError;
use super::program::Program;
use super::scratch_log;
use super::server::{Address, Info, Server};
use crate::aof::append_word;
use crate::held::{Held, Room, give};
use crate::redis::program::{lacks, without_secrets};

/// For how long a server that is loading may show no progress. A value is read whole between two signs of life.
const STANDSTILL: Duration = Duration::from_secs(120);
/// How long a server may take to end when told to.
const ENDING: Duration = Duration::from_secs(10);
/// Between two looks at a server that is loading.
const LOOK: Duration = Duration::from_millis(20);
/// How long the child processes of a killed server are waited for, and between two looks at them.
const DYING: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(1);
/// What `sockaddr_un` has room for, with the zero at its end.
const SOCKET_PATH: usize = 108;
const SIGKILL: i32 = 9;
/// Bytes of the end of a log in which is looked for what to tell.
const LOG_END: u64 = 64 << 10;

pub use super::scratch_log::Lack;
pub(crate) use super::scratch_log::told;

/// On what a scratch server works, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The data directory, absolute.
    pub directory: PathBuf,
    /// Below this a private directory is made for the socket and the log; `/tmp` where its path is too long for a socket, or
    /// the process is another user's.
    pub private: PathBuf,
    /// Whether it loads the AOF, and not the dump.
    pub appendonly: bool,
    /// The files' names.
    pub names: Names,
    /// How many databases there may be: loading fails where the files have a higher one.
    pub databases: u32,
    /// Whose process it is, where that can be chosen: user and group.
    pub user: Option<(u32, u32)>,
    /// What commands of the AOF are called there: the usual name, and the other one.
    pub renamed: Vec<(String, String)>,
    /// Files of modules that it loads, absolute. It runs what is in them.
    pub modules: Vec<PathBuf>,
}

impl Settings {
    /// Of a server that loads nothing.
    pub fn empty(directory: &Path, private: &Path, user: Option<(u32, u32)>) -> Settings {
        Settings {
            directory: directory.into(),
            private: private.into(),
            appendonly: false,
            names: Names::default(),
            databases: 16,
            user,
            renamed: Vec::new(),
            modules: Vec::new(),
        }
    }
}

/// The fact that tells commands that were renamed: a line of words `NAME=NEW`.
pub const RENAMED: &str = "server.renamed-commands";

/// Whether a command is one that a scratch server is asked by, or that servers write into AOFs by its usual name. It is
/// never renamed there.
pub fn is_of_scratch(command: &str) -> bool {
    const OURS: [&str; 22] = [
        "ACL",
        "AUTH",
        "BGREWRITEAOF",
        "BGSAVE",
        "CLIENT",
        "COMMAND",
        "CONFIG",
        "DBSIZE",
        "DEBUG",
        "EXEC",
        "HELLO",
        "INFO",
        "LASTSAVE",
        "MODULE",
        "MULTI",
        "PING",
        "SAVE",
        "SCAN",
        "SELECT",
        "SHUTDOWN",
        "TIME",
        "TYPE",
    ];
    OURS.iter().any(|ours| command.eq_ignore_ascii_case(ours))
}

/// Of a stand-in for a server that does not run: what that is started with. It gets all of the configuration but what
/// would have it load, keep, serve or follow anything.
#[derive(Debug, Clone)]
pub struct Like {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Settings besides the file: name and value.
    pub words: Vec<(String, String)>,
    /// It knows of TLS.
    pub has_tls: bool,
    /// Its ACL file, where that is not found from elsewhere.
    pub aclfile: Option<PathBuf>,
    /// Whose login is used.
    pub login: Address,
    /// Its variables, where they are not those of redkeep.
    pub environment: Option<Vec<OsString>>,
}

/// What a dataset's files are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// `dbfilename`.
    pub dump: OsString,
    /// `appendfilename`.
    pub aof: OsString,
    /// `appenddirname`, which servers before 7.0 do not have.
    pub aof_directory: OsString,
}

/// What servers call them unless they are told otherwise.
impl Default for Names {
    fn default() -> Self {
        Self { dump: "dump.rdb".into(), aof: "appendonly.aof".into(), aof_directory: "appendonlydir".into() }
    }
}

/// How far a server has come with loading, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loading {
    /// What is loaded.
    pub loaded: u64,
    /// What there is, as far as the server knows.
    pub total: u64,
}

/// A server at work on a directory. Dropped, it is killed.
pub struct Scratch {
    child: Child,
    /// Removed with all that is in it.
    _private: Room,
    held: Held,
    run: Held,
    program: Program,
    login: Option<Address>,
}

impl Scratch {
    /// Starts a server and waits until it has loaded. `go_on` is told how far it has come and may say no, which ends the
    /// wait with [`RedisError::Server`]. A server that ends before it serves, or stands still, is
    /// [`RedisError::NotLoaded`].
    pub fn start(
        program: &Program,
        settings: &Settings,
        go_on: &mut dyn FnMut(Loading) -> bool,
    ) -> Result<Self, RedisError> {
        Self::launch(program, settings, None, go_on)
    }

    /// The same for a server that is configured like another one, and empty. One that does not start so is
    /// [`RedisError::NotLoaded`].
    pub fn stand_in(
        program: &Program,
        settings: &Settings,
        like: &Like,
        go_on: &mut dyn FnMut(Loading) -> bool,
    ) -> Result<Self, RedisError> {
        Self::launch(program, settings, Some(like), go_on)
    }

    fn launch(
        program: &Program,
        settings: &Settings,
        like: Option<&Like>,
        go_on: &mut dyn FnMut(Loading) -> bool,
    ) -> Result<Self, RedisError> {
        let private = private_directory(settings)?;
        let io = |action: &'static str, path: &Path| {
            let path = path.to_path_buf();
            move |error| RedisError::io(action, &path, error)
        };
        let held = Held::open(private.path()).map_err(io("open", private.path()))?;
        let run = held.make(OsStr::new(RUN), 0o700).map_err(io("create", &held.path().join(RUN)))?;
        let config = held.path().join(CONFIG);
        let text = config_text(program, settings, like, run.path());
        let written = held.create(OsStr::new(CONFIG), 0o600).and_then(|mut file| {
            file.write_all(&text)?;
            // Where it is like another server's there may be a password in it.
            settings.user.map_or(Ok(()), |user| give(&file, user))
        });
        written.map_err(io("write", &config))?;
        let printed = held.create(OsStr::new(PRINTED), 0o600).map_err(io("write", &held.path().join(PRINTED)))?;
        let printed_too = printed.try_clone().map_err(io("write", &config))?;
        let mut command = Command::new(&program.path);
        without_secrets(&mut command);
        if let Some(variables) = like.and_then(|like| like.environment.as_ref()) {
            let pairs = variables.iter().filter_map(|variable| {
                let mut parts = variable.as_bytes().splitn(2, |byte| *byte == b'=').map(OsStr::from_bytes);
                Some((parts.next().filter(|name| !name.is_empty())?, parts.next()?))
            });
            command.env_clear().envs(pairs);
        }
        command.arg(&config).current_dir(&settings.directory).process_group(0);
        command.stdin(Stdio::null()).stdout(printed).stderr(printed_too);
        if let Some((user, group)) = settings.user {
            held.set_mode(0o711).map_err(io("set the mode of", held.path()))?;
            run.give((user, group)).map_err(io("give away", run.path()))?;
            command.uid(user).gid(group);
        }
        let child = command.spawn().map_err(|error| RedisError::Server {
            what: format!(
                "cannot start {}: {}",
                program.path.display(),
                lacks(&program.path, &settings.directory).unwrap_or_else(|| error.to_string())
            ),
            hint: "name another program with --server-binary".into(),
        })?;
        let login = like.map(|like| like.login.clone());
        let mut scratch = Self { child, _private: private, held, run, program: program.clone(), login };
        scratch.wait_loaded(go_on)?;
        Ok(scratch)
    }

    fn wait_loaded(&mut self, go_on: &mut dyn FnMut(Loading) -> bool) -> Result<(), RedisError> {
        let (mut last, mut since) = (None, Instant::now());
        loop {
            if !go_on(last.unwrap_or_default()) {
                return Err(self.trouble("was not waited for".into(), "start it again".into()));
            }
            if let Some(status) = self.ended()? {
                return Err(self.gone(status));
            }
            // Before the socket is there, and while one large value is being read, there is no answer.
            let info = match self.connect().and_then(|mut server| server.info_of("persistence")) {
                Err(error @ RedisError::Login { .. }) => return Err(error),
                other => other.ok(),
            };
            if info.as_ref().is_some_and(has_loaded) {
                return Ok(());
            }
            let state = info.as_ref().map(loading);
            if state.is_some() && state != last {
                (last, since) = (state, Instant::now());
            }
            if since.elapsed() > STANDSTILL {
                let what = format!("showed no progress in loading for {} s", STANDSTILL.as_secs());
                return Err(self.not_loaded(&what));
            }
            thread::sleep(LOOK);
        }
    }

    /// A connection of its own.
    pub fn connect(&self) -> Result<Server, RedisError> {
        let path = self.run.path().join(SOCKET);
        let path = path.to_str().unwrap_or_default();
        let address = match &self.login {
            Some(login) => login.elsewhere(path)?,
            None => path.parse()?,
        };
        Server::connect(&address)
    }

    /// The program it runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// SHUTDOWN NOSAVE, and a kill where that does not end it, or is refused: one that is configured like another server may
    /// not know it.
    pub fn stop(mut self) -> Result<(), RedisError> {
        // A server that obeys closes the connection instead of answering: only its end tells.
        let asked = self.connect().and_then(|mut server| server.words(&["SHUTDOWN", "NOSAVE"]));
        if matches!(asked, Err(RedisError::Answer { .. } | RedisError::Login { .. })) {
            return Ok(());
        }
        let asked = Instant::now();
        while self.ended()?.is_none() && asked.elapsed() < ENDING {
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, RedisError> {
        self.child.try_wait().map_err(|error| RedisError::io("wait for", &self.program.path, error))
    }

    /// Of what it logged and printed, the lines that tell why it did not come up, and the last ones.
    pub fn log(&self) -> Vec<String> {
        scratch_log::told(&self.logged())
    }

    fn logged(&self) -> String {
        let read = |held: &Held, name| held.file(OsStr::new(name)).ok().and_then(end_of).unwrap_or_default();
        let text = [read(&self.run, LOGGED), read(&self.held, PRINTED)].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn gone(&self, status: ExitStatus) -> RedisError {
        // Nothing but the system's memory killer, or a person, ends it so.
        if status.signal() == Some(SIGKILL) {
            return self.trouble("was killed while it was loading".into(), "does this host have enough memory?".into());
        }
        self.not_loaded(&format!("ended while it was loading ({status})"))
    }

    fn not_loaded(&self, what: &str) -> RedisError {
        let what = format!("the scratch server ({}) {what}", self.program.version);
        RedisError::NotLoaded { what, log: self.log().join(" | "), lack: scratch_log::lack(&self.logged()) }
    }

    fn trouble(&self, what: String, hint: String) -> RedisError {
        RedisError::Server { what: format!("the scratch server ({}) {what}", self.program.version), hint }
    }
}

impl Drop for Scratch {
    /// With the child processes it saves by: one left alone would go on writing into a directory that is being removed.
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        // Until it was waited for its number is nobody else's.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Errors mean that it has ended already.
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.child.wait();
            let killed = Instant::now();
            while test_kill_process_group(group).is_ok() && killed.elapsed() < DYING {
                thread::sleep(SOON);
            }
        }
    }
}

/// The server's own, in the private directory.
const RUN: &str = "run";
const CONFIG: &str = "server.conf";
const SOCKET: &str = "s";
const LOGGED: &str = "server.log";
const PRINTED: &str = "printed.log";

/// The end of a file that has no other name: one in a directory of another user's may be anybody's.
fn end_of(mut file: File) -> Option<Vec<u8>> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = file.metadata().ok().filter(|metadata| metadata.nlink() == 1)?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(LOG_END))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_END).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// For its user only, and with a path short enough for a socket.
fn private_directory(settings: &Settings) -> Result<Room, RedisError> {
    let fits = |base: &&Path| base.as_os_str().len() + "/redkeep-XXXXXX/run/".len() + SOCKET.len() < SOCKET_PATH;
    // A socket's path is handed on as text.
    let is_text = |base: &&Path| base.is_absolute() && base.to_str().is_some();
    let own = Some(settings.private.as_path()).filter(|_| settings.user.is_none());
    let base = own.filter(fits).filter(is_text).unwrap_or(Path::new("/tmp"));
    Room::make("", base).map_err(|error| RedisError::io("make a directory in", base, error))
}

fn config_text(program: &Program, settings: &Settings, like: Option<&Like>, private: &Path) -> Vec<u8> {
    match like {
        Some(like) => text_like(like, settings, private),
        None => own_text(program, settings, private),
    }
}

/// The last line of a name counts.
fn text_like(like: &Like, settings: &Settings, private: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    let path = |name: &str| private.join(name).into_os_string();
    let file = |name: &'static str, path: &Option<PathBuf>| {
        path.as_ref().map(|path| (name, path.as_os_str().as_bytes().to_vec()))
    };
    for (name, value) in [file("include", &like.config), file("aclfile", &like.aclfile)].into_iter().flatten() {
        append_line(&mut text, name, &[&value]);
    }
    for (name, value) in &like.words {
        let words: Vec<&[u8]> = value.split_whitespace().map(str::as_bytes).collect();
        append_line(&mut text, name, if words.is_empty() { &[b""] } else { &words });
    }
    let mut line = |name: &str, value: &[u8]| append_line(&mut text, name, &[value]);
    if like.has_tls {
        line("tls-port", b"0");
    }
    for (name, value) in [("port", "0"), ("daemonize", "no"), ("supervised", "no"), ("syslog-enabled", "no")] {
        line(name, value.as_bytes());
    }
    for (name, value) in [("appendonly", "no"), ("cluster-enabled", "no"), ("save", ""), ("unixsocketperm", "700")] {
        line(name, value.as_bytes());
    }
    line("unixsocket", path(SOCKET).as_bytes());
    line("logfile", path(LOGGED).as_bytes());
    line("pidfile", path("pid").as_bytes());
    line("dir", settings.directory.as_os_str().as_bytes());
    text
}

fn append_line(text: &mut Vec<u8>, name: &str, words: &[&[u8]]) {
    text.extend_from_slice(name.as_bytes());
    for word in words {
        text.push(b' ');
        append_word(text, word);
    }
    text.push(b'\n');
}

fn own_text(program: &Program, settings: &Settings, private: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    let mut line = |name: &str, value: &[u8]| append_line(&mut text, name, &[value]);
    let path = |name: &str| private.join(name).into_os_string();
    line("port", b"0");
    line("unixsocket", path(SOCKET).as_bytes());
    line("unixsocketperm", b"700");
    line("daemonize", b"no");
    line("logfile", path(LOGGED).as_bytes());
    line("dir", settings.directory.as_os_str().as_bytes());
    line("save", b"");
    line("databases", settings.databases.to_string().as_bytes());
    line("dbfilename", settings.names.dump.as_bytes());
    line("appendfilename", settings.names.aof.as_bytes());
    line("appendonly", if settings.appendonly { b"yes" } else { b"no" });
    // It is asked what the files hold, all of them: what is cut off is an error, and nothing is rewritten unasked.
    line("aof-load-truncated", b"no");
    line("auto-aof-rewrite-percentage", b"0");
    if program.version.has_multi_part_aof() {
        line("appenddirname", settings.names.aof_directory.as_bytes());
    }
    if program.version.restricts_debug() {
        line("enable-debug-command", b"local");
    }
    for path in &settings.modules {
        line("loadmodule", path.as_os_str().as_bytes());
    }
    for (usual, new) in settings.renamed.iter().filter(|(usual, _)| !is_of_scratch(usual)) {
        text.extend_from_slice(b"rename-command ");
        append_word(&mut text, usual.as_bytes());
        text.push(b' ');
        append_word(&mut text, new.as_bytes());
        text.push(b'\n');
    }
    text
}

fn has_loaded(info: &Info) -> bool {
    info.get("loading").is_some() && !info.is_loading()
}

fn loading(info: &Info) -> Loading {
    let number = |name| info.number(name).unwrap_or(0);
    Loading { loaded: number("loading_loaded_bytes"), total: number("loading_total_bytes") }
}
