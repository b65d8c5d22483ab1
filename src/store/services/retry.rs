//! How often a call is tried, and how long apart.

use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::failure::Failure;

/// STORE-6: all tries of a call begin within this time. It stays well below the hour for which packs are too young to be judged, and
/// below the ten minutes within which a put of unknown outcome may be repeated.
pub(super) const RETRY_FOR: Duration = Duration::from_secs(5 * 60);

/// The first wait, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What never answered is likely to be the wrong address: it is tried so often only.
const TRIES_UNREACHED: u32 = 3;

/// The tries of one call.
pub(super) struct Tries {
    begun: Duration,
    within: Duration,
    count: u32,
}

impl Tries {
    /// The first try begins now.
    pub fn begin(within: Duration) -> Tries {
        Tries { begun: now(), within, count: 1 }
    }

    /// Waits until the next try should begin. `false`: there is none, or it would come too late.
    pub fn again(&mut self, failure: &Failure, was_reached: bool) -> bool {
        if !failure.is_temporary() || (!was_reached && self.count >= TRIES_UNREACHED) {
            return false;
        }
        let wait = failure.heard.retry_after.unwrap_or_default().max(pause(self.count, jitter()));
        if now().saturating_sub(self.begun) + wait > self.within {
            return false;
        }
        thread::sleep(wait);
        self.count += 1;
        // This host may have slept meanwhile.
        now().saturating_sub(self.begun) <= self.within
    }
}

/// The wait behind try number `count`: twice as long each time, times something between a half and one and a half.
fn pause(count: u32, jitter: f64) -> Duration {
    let (first, longest) = WAITS;
    first.saturating_mul(1 << (count - 1).min(10)).min(longest).mul_f64(0.5 + jitter)
}

/// Something from 0 to 1, so that many hosts do not come back together.
fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

/// By a clock that goes on while this host sleeps.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_differ() {
        let at = |count| [pause(count, 0.0), pause(count, 1.0)].map(|pause| pause.as_millis());
        assert_eq!(at(1), [100, 300]);
        assert_eq!(at(3), [400, 1200]);
        assert_eq!(at(7), [5000, 15000]);
        assert_eq!(at(40), [5000, 15000]);
    }

    /// STORE-6
    #[test]
    fn what_cannot_end_otherwise_is_not_tried_again() {
        let refused = Failure::of(
            &opendal::Error::new(opendal::ErrorKind::PermissionDenied, "x"),
            Some(super::super::transport::Heard { status: Some(http::StatusCode::FORBIDDEN), ..Default::default() }),
        );
        assert!(!Tries::begin(RETRY_FOR).again(&refused, true));
        let slow = Failure::timed_out(Duration::from_secs(1));
        assert!(!Tries::begin(Duration::ZERO).again(&slow, true), "it would come too late");
        assert!(Tries::begin(RETRY_FOR).again(&slow, true));
        let mut tries = Tries::begin(RETRY_FOR);
        assert!(tries.again(&slow, false) && tries.again(&slow, false) && !tries.again(&slow, false));
    }
}
