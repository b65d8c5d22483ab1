//! A real Redis or Valkey server, started for one test and gone with it.
//!
//! `tests/setup.sh` installs the binaries. A missing one fails the test, unless its name is in `REDKEEP_TEST_SKIP`.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Client, Connection, RedisResult};
use tempfile::TempDir;

/// Loading a large dataset on a busy machine must fit; a server that hangs must not hold a test run for long.
const DEADLINE: Duration = Duration::from_secs(60);

/// In what the client says of a wait that was cut short.
const INTERRUPTED: &str = "os error 4";

/// A server program, by the version it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    Redis62,
    /// The distribution's.
    Redis7,
    Redis74,
    Redis82,
    Valkey9,
}

impl ServerKind {
    pub const ALL: [Self; 5] = [Self::Redis62, Self::Redis7, Self::Redis74, Self::Redis82, Self::Valkey9];

    /// The name in `REDKEEP_TEST_SKIP` and in the directory of test servers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis62 => "redis-6.2",
            Self::Redis7 => "redis-7",
            Self::Redis74 => "redis-7.4",
            Self::Redis82 => "redis-8.2",
            Self::Valkey9 => "valkey-9",
        }
    }

    /// Whether the developer asked for tests without this server. A test that needs it returns at once then.
    pub fn is_skipped(self) -> bool {
        env::var("REDKEEP_TEST_SKIP").is_ok_and(|names| names.split(',').any(|name| name == self.name()))
    }

    pub fn executable(self) -> PathBuf {
        let found = match self {
            Self::Redis7 => env::split_paths(&env::var_os("PATH").unwrap_or_default())
                .map(|dir| dir.join("redis-server"))
                .find(|file| file.is_file()),
            Self::Redis62 | Self::Redis74 | Self::Redis82 | Self::Valkey9 => {
                Some(servers_dir().join("bin").join(self.name())).filter(|file| file.is_file())
            }
        };
        let name = self.name();
        found.unwrap_or_else(|| {
            panic!(
                "the test server {name} is not installed: run tests/run.sh, which installs it, or name it in \
                 REDKEEP_TEST_SKIP to leave its tests out"
            )
        })
    }

    /// A multi-part AOF, PEXPIRETIME and `enable-debug-command` came together.
    pub fn is_7_or_later(self) -> bool {
        self != Self::Redis62
    }

    /// Whether single fields of a hash can expire.
    pub fn has_field_expiry(self) -> bool {
        matches!(self, Self::Redis74 | Self::Redis82 | Self::Valkey9)
    }
}

fn servers_dir() -> PathBuf {
    env::var_os("REDKEEP_TEST_SERVERS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-servers"), PathBuf::from)
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// 127.0.0.1, on a port of its own.
    #[default]
    Loopback,
    /// A Unix socket in a private directory, and no port.
    UnixSocket,
}

/// How a server is started beyond the test defaults: no save points, DEBUG for local clients, AOF off.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    pub listen: Listen,
    /// Lines of redis.conf, after those of the defaults, so that they win.
    pub config: Vec<String>,
    /// Becomes `requirepass`, and is what this server's own connections use.
    pub password: Option<String>,
}

impl ServerOptions {
    pub fn with_config(lines: &[&str]) -> Self {
        Self { config: lines.iter().map(|&line| line.to_owned()).collect(), ..Self::default() }
    }
}

/// One server on one data directory. It can be stopped and started again: address and configuration stay.
/// Dropped while it runs, it is killed.
pub struct RedisServer {
    kind: ServerKind,
    options: ServerOptions,
    data: PathBuf,
    /// Holds redis.conf, the log and the socket: nothing of ours lies in the data directory.
    run: TempDir,
    port: Option<u16>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server on `data` with the test defaults and waits until it serves.
    pub fn start(kind: ServerKind, data: &Path) -> Self {
        Self::start_with(kind, data, ServerOptions::default())
    }

    /// Starts a server on `data` and waits until it serves.
    pub fn start_with(kind: ServerKind, data: &Path, options: ServerOptions) -> Self {
        for _ in 0..20 {
            let mut server = Self::spawn(kind, data, options.clone());
            match server.serving() {
                Ok(()) => return server,
                Err(_) if server.log().contains("Address already in use") => {}
                Err(reason) => panic!("{}", server.failure(&reason)),
            }
        }
        panic!("found no free port on 127.0.0.1 for {}", kind.name());
    }

    /// Starts a server on `data` and does not wait: for a server that must refuse its data, or be seen loading.
    pub fn spawn(kind: ServerKind, data: &Path, options: ServerOptions) -> Self {
        let port = match options.listen {
            Listen::Loopback => Some(free_port()),
            Listen::UnixSocket => None,
        };
        let data = fs::canonicalize(data).expect("the data directory exists");
        let run = tempfile::Builder::new().prefix("rk-").tempdir().expect("a directory for the server's log");
        let mut server = Self { kind, options, data, run, port, child: None };
        server.launch();
        server
    }

    /// Starts the stopped server again as it was and waits until it serves.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} still runs", self.kind.name());
        self.launch();
        self.wait_ready();
    }

    fn launch(&mut self) {
        let config = self.run.path().join("redis.conf");
        fs::write(&config, self.config_text()).expect("redis.conf is written");
        let output = File::create(self.run.path().join("output.log")).expect("a file for what the server prints");
        let errors = output.try_clone().expect("one more handle on that file");
        let child = Command::new(self.kind.executable())
            .arg(config)
            .current_dir(&self.data)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.kind.name()));
        self.child = Some(child);
    }

    fn config_text(&self) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").expect("a String takes every line");
        line(format_args!("port {}", self.port.unwrap_or(0)));
        line(format_args!("bind 127.0.0.1"));
        if self.options.listen == Listen::UnixSocket {
            line(format_args!("unixsocket {}", self.socket().display()));
            line(format_args!("unixsocketperm 700"));
        }
        line(format_args!("dir \"{}\"", self.data.display()));
        line(format_args!("logfile \"{}\"", self.run.path().join("server.log").display()));
        line(format_args!("save \"\""));
        if self.kind.is_7_or_later() {
            line(format_args!("enable-debug-command local"));
        }
        if let Some(password) = &self.options.password {
            line(format_args!("requirepass {password}"));
        }
        for extra in &self.options.config {
            line(format_args!("{extra}"));
        }
        text
    }

    /// Waits until the server has loaded its data and answers.
    pub fn wait_ready(&mut self) {
        if let Err(reason) = self.serving() {
            panic!("{}", self.failure(&reason));
        }
    }

    /// Another test's server may have taken the port: it is ours only if it has our process id.
    fn serving(&mut self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return Err(format!("it exited: {status}"));
            }
            let state = match self.try_info() {
                Ok(info) if info.get("process_id") != Some(self.pid().to_string().as_str()) => {
                    "another server has its port".to_owned()
                }
                Ok(info) if info.get("loading") == Some("0") && info.get("async_loading") != Some("1") => return Ok(()),
                Ok(_) => "still loading".to_owned(),
                Err(error) => error.to_string(),
            };
            if started.elapsed() > DEADLINE {
                return Err(format!("not ready after {} s: {state}", DEADLINE.as_secs()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The client hands on that a wait was cut short (EINTR), as it may be where there is a timeout: it is begun again then.
    fn try_info(&self) -> RedisResult<Info> {
        loop {
            let connection = self.client().get_connection_with_timeout(Duration::from_secs(5));
            match connection.and_then(|mut connection| Info::of(&mut connection)) {
                Err(error) if error.is_io_error() && error.to_string().contains(INTERRUPTED) => {}
                other => return other,
            }
        }
    }

    /// The process's end, if it ended by itself.
    fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("the state of our own child process")
    }

    /// Waits until the process has ended by itself: for a server that must refuse to start.
    pub fn wait_exit(&mut self) -> ExitStatus {
        let status = wait_for("the server to exit", || self.exited());
        self.child = None;
        status
    }

    fn failure(&self, reason: &str) -> String {
        format!("{} on {}: {reason}\n{}", self.kind.name(), self.data.display(), self.log())
    }

    /// SHUTDOWN NOSAVE, until the process is gone.
    pub fn stop(&mut self) {
        self.shut_down("NOSAVE");
    }

    /// SHUTDOWN SAVE, until the process is gone.
    pub fn stop_saving(&mut self) {
        self.shut_down("SAVE");
    }

    fn shut_down(&mut self, how: &str) {
        // A server that obeys closes the connection instead of answering, so only its end tells.
        let answer = redis::cmd("SHUTDOWN").arg(how).query::<redis::Value>(&mut self.connection());
        let started = Instant::now();
        while self.exited().is_none() {
            assert!(
                started.elapsed() < DEADLINE,
                "{}",
                self.failure(&format!("still there after SHUTDOWN {how}: {answer:?}"))
            );
            thread::sleep(Duration::from_millis(2));
        }
        self.child = None;
    }

    /// SIGKILL, until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn kind(&self) -> ServerKind {
        self.kind
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn is_running(&mut self) -> bool {
        self.child.is_some() && self.exited().is_none()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.expect("the server listens on a port, not only on a Unix socket")
    }

    /// The Unix socket, which is there under `Listen::UnixSocket` only.
    pub fn socket(&self) -> PathBuf {
        self.run.path().join("redis.sock")
    }

    /// The configuration file it was started with.
    pub fn config_file(&self) -> PathBuf {
        self.run.path().join("redis.conf")
    }

    /// What the server has logged and printed so far.
    pub fn log(&self) -> String {
        ["server.log", "output.log"]
            .map(|name| fs::read(self.run.path().join(name)).unwrap_or_default())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat()
    }

    /// `redis://…` or `redis+unix://…`, with the password.
    pub fn url(&self) -> String {
        let password = self.options.password.as_deref();
        match self.options.listen {
            Listen::Loopback => {
                let user = password.map(|password| format!(":{password}@")).unwrap_or_default();
                format!("redis://{user}127.0.0.1:{}/", self.port())
            }
            Listen::UnixSocket => {
                let query = password.map(|password| format!("?pass={password}")).unwrap_or_default();
                format!("redis+unix://{}{query}", self.socket().display())
            }
        }
    }

    pub fn client(&self) -> Client {
        Client::open(self.url()).expect("the server's own address is valid")
    }

    pub fn connection(&self) -> Connection {
        self.client().get_connection().unwrap_or_else(|error| panic!("{}", self.failure(&error.to_string())))
    }

    /// What INFO answers.
    pub fn info(&self) -> Info {
        self.try_info().unwrap_or_else(|error| panic!("{}", self.failure(&error.to_string())))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The answer of INFO.
pub struct Info(String);

impl Info {
    pub fn of(connection: &mut Connection) -> RedisResult<Self> {
        redis::cmd("INFO").query(connection).map(Self)
    }

    pub fn get(&self, field: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
    }

    /// A field that holds a number.
    pub fn number(&self, field: &str) -> u64 {
        let text = self.get(field).unwrap_or_else(|| panic!("INFO has no {field}"));
        text.parse().unwrap_or_else(|_| panic!("{field} in INFO is no number: {text}"))
    }

    /// The databases that hold keys.
    pub fn databases(&self) -> Vec<u32> {
        let names = self.0.lines().filter_map(|line| line.strip_prefix("db")?.split_once(':'));
        names.filter_map(|(number, _)| number.parse().ok()).collect()
    }
}

/// Asks again and again until there is an answer, and fails the test when that takes too long.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "waited {} s for {what}", DEADLINE.as_secs());
        thread::sleep(Duration::from_millis(2));
    }
}

/// A port that nothing listens on. Below the ports the kernel hands to outgoing connections, so that none of those
/// takes it before the server does; test processes start at different places, and the caller tries again.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(step < 12_000, "no port between 20000 and 32000 is free");
        let place = (std::process::id().wrapping_mul(211).wrapping_add(step)) % 12_000;
        let port = 20_000 + u16::try_from(place).expect("below 12000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
