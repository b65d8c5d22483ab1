//! Time, randomness and the host's name, as arguments: tests own them.

use std::sync::Arc;
use std::time::Duration;

use crate::format::{Id16, UnixMillis};

/// Fills a buffer.
pub type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// What a repository is told about the world.
#[derive(Clone)]
pub struct Ambient {
    /// The host's wall clock: names and times that are shown, never safety.
    pub now: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
    /// Time since some moment, running on while the host sleeps (CLOCK_BOOTTIME).
    pub uptime: Arc<dyn Fn() -> Duration + Send + Sync>,
    /// Fills a buffer with bytes nobody can guess.
    pub random: Arc<Fill>,
    /// Name of this host.
    pub host: String,
}

impl Ambient {
    /// The system's clocks, generator and host name.
    pub fn system() -> Ambient {
        Ambient {
            now: Arc::new(system_now),
            uptime: Arc::new(system_uptime),
            random: Arc::new(system_random),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }

    /// Now, by the host's wall clock.
    pub fn now(&self) -> UnixMillis {
        (self.now)()
    }

    /// An array of random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.random)(&mut bytes);
        bytes
    }

    /// A new id.
    pub fn id(&self) -> Id16 {
        Id16(self.random())
    }
}

fn system_now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMillis(since.map_or(0, |since| since.as_millis() as u64))
}

fn system_uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

/// Without a generator there are no keys and no salts: nothing sensible can go on.
fn system_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system's random generator answers on every supported kernel");
}
