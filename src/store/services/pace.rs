//! How fast bytes pass where a person set a limit: one pace for all calls of a store.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Bytes that pass at once, at most: what is faster looks like a burst to everybody else on the link.
const PIECE: u64 = 64 << 10;

/// Bytes a second, together.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<u64>,
    /// When what was let through has passed.
    free: Mutex<Instant>,
}

impl Pace {
    /// STORE-13: so many bytes a second; without a number, as fast as they come.
    pub fn new(rate: Option<u64>) -> Pace {
        Pace { rate: rate.map(|rate| rate.max(1)), free: Mutex::new(Instant::now()) }
    }

    /// Bytes a second.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// How many bytes pass at once: an eighth of a second of them.
    pub fn piece(&self) -> usize {
        self.rate.map_or(PIECE, |rate| (rate / 8).clamp(1 << 10, PIECE)) as usize
    }

    /// Waits until so many bytes have had their time. Turns are given in the order in which they are asked for.
    pub async fn pass(&self, bytes: usize) {
        if let Some(rate) = self.rate {
            sleep(self.turn(rate, bytes, Instant::now())).await;
        }
    }

    fn turn(&self, rate: u64, bytes: usize, now: Instant) -> Duration {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        *free = now.max(*free) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        free.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_as_much_as_the_limit_allows_and_idle_time_is_not_saved_up() {
        let (pace, begin) = (Pace::new(Some(1000)), Instant::now() + Duration::from_secs(9));
        let turn = |bytes, after| pace.turn(1000, bytes, begin + Duration::from_millis(after)).as_millis();
        assert_eq!([turn(500, 0), turn(500, 0), turn(100, 0)], [500, 1000, 1100]);
        assert_eq!(turn(100, 600), 600);
        assert_eq!([turn(1000, 60_000), turn(1, 60_000)], [1000, 1001]);
        assert_eq!((pace.piece(), Pace::new(Some(80_000)).piece()), (1 << 10, 10_000));
        assert_eq!((Pace::new(Some(u64::MAX)).piece(), Pace::new(None).piece()), (64 << 10, 64 << 10));
    }
}
