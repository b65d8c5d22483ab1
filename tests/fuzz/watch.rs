//! Whoever runs hostile inputs watches the process: an input that panics, does not come back, or takes memory that no
//! limit allows is named.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Address space that may be asked for on top of what the process has when the watch begins: what zstd, SQLite and the
/// test itself need, and well below what any length field can claim.
const ALLOWANCE: u64 = 1 << 30;

/// Nothing takes this long but a loop without an end.
const ENDLESS: Duration = Duration::from_secs(120);

/// Inputs between two looks at the memory.
const LOOK_EVERY: u64 = 64;

struct Running {
    what: String,
    input: Vec<u8>,
    since: Instant,
}

/// Runs inputs.
pub struct Watch {
    running: Arc<Mutex<Option<Running>>>,
    most: u64,
    runs: u64,
}

impl Watch {
    /// Begins to watch.
    pub fn new() -> Watch {
        let most = peak() + ALLOWANCE;
        let running = Arc::new(Mutex::new(None));
        let watched = Arc::downgrade(&running);
        thread::spawn(move || stand_guard(&watched, most));
        Watch { running, most, runs: 0 }
    }

    /// Runs what is done with one input; the complaint where it breaks its promise.
    pub fn run(&mut self, what: &str, input: &[u8], run: impl FnOnce()) -> Result<(), String> {
        let now = Running { what: what.into(), input: input.to_vec(), since: Instant::now() };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        let outcome = catch_unwind(AssertUnwindSafe(run));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.runs += 1;
        if outcome.is_err() {
            return Err(complaint(what, "it panics", input));
        }
        match self.runs.is_multiple_of(LOOK_EVERY) && peak() > self.most {
            true => Err(complaint(
                what,
                "memory was asked for beyond all limits, by this input or one shortly before",
                input,
            )),
            false => Ok(()),
        }
    }
}

/// Keeps an input for the tests of days to come.
pub fn keep(directory: &Path, input: &[u8]) {
    let name = blake3::hash(input).to_hex();
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join(&name.as_str()[..16]), input).unwrap();
}

fn complaint(what: &str, why: &str, input: &[u8]) -> String {
    format!("{what}: {why}: {} bytes, \"{}\"", input.len(), input.escape_ascii())
}

/// Ends the process where an input does not come back, or eats all memory on its way.
fn stand_guard(watched: &Weak<Mutex<Option<Running>>>, most: u64) {
    while let Some(running) = watched.upgrade() {
        let now = running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Running { what, input, since }) = &*now
            && (since.elapsed() > ENDLESS || peak() > 2 * most)
        {
            keep(&std::env::temp_dir().join("redkeep-fuzz"), input);
            // Not by `eprintln!`, which the test harness holds back and an abort would lose.
            let complaint = complaint(what, "it does not end, or takes all memory", input);
            let _ = std::io::stderr().write_all(complaint.as_bytes());
            std::process::abort();
        }
        drop(now);
        drop(running);
        thread::sleep(Duration::from_millis(100));
    }
}

/// The most address space this process ever had, in bytes. Reserved memory counts even if it was never touched.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes << 10
}
