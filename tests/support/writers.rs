//! What goes on in a server while it is captured: writes, and rewrites and saves of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis::{Connection, RedisResult};

use crate::support::keyspace::Random;
use crate::support::server::{Info, RedisServer, wait_for};

/// Writes without pause until stopped: `writer:a` and `writer:b` are raised by one in one MULTI/EXEC, so they are equal
/// in every consistent copy; between them come random writes to `writer:noise:…`.
pub struct ConstantWriter {
    shared: Arc<WriterState>,
    thread: JoinHandle<RedisResult<()>>,
}

#[derive(Default)]
struct WriterState {
    stop: AtomicBool,
    pair: AtomicU64,
    noise: AtomicU64,
}

/// What a writer was answered until it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The value of `writer:a` and `writer:b`.
    pub pair: u64,
    /// How many of the other writes.
    pub noise: u64,
}

impl ConstantWriter {
    pub fn start(server: &RedisServer, seed: u64) -> Self {
        let shared = Arc::new(WriterState::default());
        let mut connection = server.connection();
        let state = Arc::clone(&shared);
        let thread = thread::spawn(move || write_until_stopped(&mut connection, seed, &state));
        let writer = Self { shared, thread };
        writer.wait_past(0);
        writer
    }

    /// The value of the pair that the server answered last. A copy made between two calls of this holds a value that is
    /// at least what the first gave, and at most one above what the second gave: that one was not yet answered.
    pub fn answered(&self) -> u64 {
        self.shared.pair.load(Ordering::SeqCst)
    }

    /// Waits until the server has answered a higher value than this one.
    pub fn wait_past(&self, value: u64) {
        wait_for("the writer to be answered", || {
            assert!(!self.thread.is_finished(), "the writer ended early");
            (self.answered() > value).then_some(())
        });
    }

    /// Stops after a whole pair. The server must have answered every write.
    pub fn stop(self) -> Written {
        let (written, outcome) = self.end();
        outcome.expect("the server answers every write");
        written
    }

    /// Ends a writer whose server was killed or stopped.
    pub fn abandon(self) -> Written {
        self.end().0
    }

    fn end(self) -> (Written, RedisResult<()>) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let outcome = self.thread.join().expect("the writer does not panic");
        let written =
            Written { pair: self.shared.pair.load(Ordering::SeqCst), noise: self.shared.noise.load(Ordering::SeqCst) };
        (written, outcome)
    }
}

fn write_until_stopped(connection: &mut Connection, seed: u64, state: &WriterState) -> RedisResult<()> {
    let mut random = Random::new(seed);
    while !state.stop.load(Ordering::SeqCst) {
        let mut pair = redis::pipe();
        pair.atomic().cmd("INCR").arg("writer:a").cmd("INCR").arg("writer:b");
        let (a, b): (u64, u64) = pair.query(connection)?;
        assert_eq!(a, b, "one transaction raises both");
        state.pair.store(a, Ordering::SeqCst);
        noise(&mut random, a).exec(connection)?;
        state.noise.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

fn noise(random: &mut Random, turn: u64) -> redis::Cmd {
    let place = random.below(500);
    let key = |form: &str| format!("writer:noise:{form}:{place}");
    let mut command;
    match random.below(7) {
        0 => {
            command = redis::cmd("SET");
            command.arg(key("text")).arg(random.words(6));
        }
        1 => {
            command = redis::cmd("SET");
            command.arg(key("expiring")).arg(turn).arg("PX").arg(30 * 86_400_000_u64);
        }
        2 => {
            command = redis::cmd("HSET");
            command.arg(key("hash")).arg(random.below(40)).arg(random.words(2));
        }
        3 => {
            command = redis::cmd("RPUSH");
            command.arg(key("list")).arg(turn);
        }
        4 => {
            command = redis::cmd("LPOP");
            command.arg(key("list"));
        }
        5 => {
            command = redis::cmd("ZADD");
            command.arg(key("zset")).arg(turn).arg(random.below(40));
        }
        _ => {
            command = redis::cmd("DEL");
            command.arg(key("text"));
        }
    }
    command
}

/// What `ConstantWriter` left in a server: equal in every consistent copy. `None` before the first write.
pub fn writer_pair(server: &RedisServer) -> (Option<u64>, Option<u64>) {
    redis::cmd("MGET").arg("writer:a").arg("writer:b").query(&mut server.connection()).expect("the pair is numbers")
}

/// Rewrites the AOF and saves the RDB in turns, one right after the other, until stopped.
pub struct PersistenceChurn {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    thread: JoinHandle<RedisResult<()>>,
}

impl PersistenceChurn {
    pub fn start(server: &RedisServer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicU64::new(0));
        let mut connection = server.connection();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&turns));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                for command in ["BGREWRITEAOF", "BGSAVE"] {
                    churn(&mut connection, command)?;
                }
                counted.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        });
        Self { stop, turns, thread }
    }

    /// Rewrites with a save each, so far.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::SeqCst)
    }

    /// Waits until there were more turns than this.
    pub fn wait_past(&self, turns: u64) {
        wait_for("a rewrite and a save", || {
            assert!(!self.thread.is_finished(), "the churn ended early");
            (self.turns() > turns).then_some(())
        });
    }

    /// Stops after a whole turn and returns how many there were.
    pub fn stop(self) -> u64 {
        let (turns, outcome) = self.end();
        outcome.expect("the server rewrites and saves");
        turns
    }

    /// Ends a churn whose server was killed or stopped.
    pub fn abandon(self) -> u64 {
        self.end().0
    }

    fn end(self) -> (u64, RedisResult<()>) {
        self.stop.store(true, Ordering::SeqCst);
        let outcome = self.thread.join().expect("the churn does not panic");
        (self.turns.load(Ordering::SeqCst), outcome)
    }
}

/// Refused while another child process of the server works, which may be a save that the test itself asked for: then
/// that one is waited for instead.
fn churn(connection: &mut Connection, command: &str) -> RedisResult<()> {
    if let Err(error) = redis::cmd(command).exec(connection)
        && !error.to_string().contains("already in progress")
        && !error.to_string().contains("child process is active")
    {
        return Err(error);
    }
    loop {
        let info = Info::of(connection)?;
        let busy = ["aof_rewrite_in_progress", "aof_rewrite_scheduled", "rdb_bgsave_in_progress"];
        if busy.iter().all(|&field| info.get(field) == Some("0")) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
