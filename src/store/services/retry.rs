//! How often a call is tried, and how long apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::failure::{Failure, Trouble};
use crate::store::settings::{Settings, Tell};

/// STORE-6: all tries of a call begin within this time. It stays well below the hour for which packs are too young to be judged, and
/// below the ten minutes within which a put of unknown outcome may be repeated.
pub(super) const RETRY_FOR: Duration = Duration::from_secs(5 * 60);

/// The first wait, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What never answered is likely to be the wrong address: it is tried so often only.
const TRIES_UNREACHED: u32 = 3;

/// A waiting call looks so often whether it is to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// A call that is tried again for longer is told.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// How long the calls of a store are tried again.
#[derive(Clone)]
pub(super) struct Patience {
    within: Duration,
    /// Whether a person asked to stop: then no call is tried again.
    stop: Option<Arc<AtomicBool>>,
    /// Whom to tell what is waited for, and whether that was done.
    waits: Option<Tell>,
    is_told: Arc<AtomicBool>,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { within: RETRY_FOR, stop: None, waits: None, is_told: Arc::default() }
    }
}

impl Patience {
    pub fn of(settings: &Settings) -> Patience {
        let within = settings.retry_for.unwrap_or(RETRY_FOR);
        Patience { within, stop: settings.stop.clone(), waits: settings.waits.clone(), ..Patience::default() }
    }

    fn tell(&self, failure: &Failure) {
        if let Some(tell) = self.waits.as_ref().filter(|_| !self.is_told.swap(true, Ordering::Relaxed)) {
            tell(&format!(
                "{failure}: it is tried again, each call for up to {} s (--retry-for)",
                self.within.as_secs()
            ));
        }
    }

    fn is_over(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

/// The tries of one call.
pub(super) struct Tries {
    patience: Patience,
    begun: Duration,
    count: u32,
    stores: bool,
    /// When a put failed first of which nobody knows whether it took effect.
    unsure_since: Option<Duration>,
    /// Whether that alone is why there is no other try: under another name there may be one.
    is_name_spent: bool,
}

impl Tries {
    /// The first try begins now.
    pub fn begin(patience: &Patience) -> Tries {
        let patience = patience.clone();
        Tries { patience, begun: now(), count: 1, stores: false, unsure_since: None, is_name_spent: false }
    }

    /// The same of a call that stores.
    pub fn of_put(patience: &Patience) -> Tries {
        Tries { stores: true, ..Tries::begin(patience) }
    }

    /// Waits until the next try should begin. `false`: there is none, or it would come too late.
    pub fn again(&mut self, failure: &Failure, was_reached: bool) -> bool {
        if self.stores && !failure.is_without_effect() {
            self.unsure_since.get_or_insert(now());
        }
        if !failure.is_temporary() || (!was_reached && self.count >= TRIES_UNREACHED) {
            return false;
        }
        let wait = failure.heard.retry_after.unwrap_or_default().max(pause(self.count, jitter()));
        if !self.has_time(wait) {
            return self.ends(wait);
        }
        let until = now() + wait;
        if until.saturating_sub(self.begun) > SILENT_FOR {
            self.patience.tell(failure);
        }
        while !self.patience.is_over() && now() < until {
            thread::sleep(GLANCE.min(until.saturating_sub(now())));
        }
        self.count += 1;
        // This host may have slept meanwhile.
        match self.patience.is_over() || self.has_time(Duration::ZERO) {
            true => !self.patience.is_over(),
            false => self.ends(Duration::ZERO),
        }
    }

    /// There is no try after that wait.
    fn ends(&mut self, wait: Duration) -> bool {
        self.is_name_spent = self.is_patient(wait);
        false
    }

    /// Whether a try may begin after a wait. However long a person waits for a service: a put that may have taken effect is not
    /// repeated for longer than [`RETRY_FOR`].
    fn has_time(&self, wait: Duration) -> bool {
        let is_late = |since: Duration| (now() + wait).saturating_sub(since) > RETRY_FOR;
        self.is_patient(wait) && !self.unsure_since.is_some_and(is_late)
    }

    /// Whether a person would wait so long.
    fn is_patient(&self, wait: Duration) -> bool {
        (now() + wait).saturating_sub(self.begun) <= self.patience.within
    }

    /// What is told of the last try: that it was the last because a person asked to stop, or because its name may be used no
    /// longer, where that is so.
    pub fn last(&self, failure: Failure) -> Failure {
        match failure.is_temporary() {
            true if self.patience.is_over() => Failure { trouble: Trouble::Stopped, ..failure },
            true if self.is_name_spent => Failure { trouble: Trouble::Undecided, ..failure },
            _ => failure,
        }
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
        let (usual, none) = (Patience::default(), Patience { within: Duration::ZERO, ..Patience::default() });
        assert!(!Tries::begin(&usual).again(&refused, true));
        let slow = Failure::timed_out(Duration::from_secs(1));
        assert!(!Tries::begin(&none).again(&slow, true), "it would come too late");
        assert!(Tries::begin(&usual).again(&slow, true));
        let mut tries = Tries::begin(&usual);
        assert!(tries.again(&slow, false) && tries.again(&slow, false) && !tries.again(&slow, false));
    }

    /// STORE-6
    #[test]
    fn a_put_that_may_have_taken_effect_is_not_repeated_for_longer_however_patient_a_person_is() {
        let patient = Patience { within: 100 * RETRY_FOR, ..Patience::default() };
        let late = now().saturating_sub(RETRY_FOR + Duration::from_secs(1));
        let unsure = |tries| Tries { unsure_since: Some(late), begun: late, ..tries };
        let slow = Failure::timed_out(Duration::from_secs(1));
        assert!(!unsure(Tries::of_put(&patient)).again(&slow, true));
        assert!(Tries { begun: late, ..Tries::of_put(&patient) }.again(&slow, true), "it may be the first to arrive");
        assert!(Tries { begun: late, ..Tries::begin(&patient) }.again(&slow, true));
        assert!(!Tries { begun: late, ..Tries::begin(&Patience::default()) }.again(&slow, true));
    }

    /// STORE-15
    #[test]
    fn that_nothing_but_its_name_keeps_a_put_from_being_tried_again_is_told() {
        let late = now().saturating_sub(RETRY_FOR + Duration::from_secs(1));
        let told = |within: Duration, unsure_since: Option<Duration>| {
            let patience = Patience { within, ..Patience::default() };
            let mut tries = Tries { unsure_since, begun: late, ..Tries::of_put(&patience) };
            let slow = Failure::timed_out(Duration::from_secs(1));
            assert!(!tries.again(&slow, true));
            tries.last(slow).trouble
        };
        assert_eq!(told(100 * RETRY_FOR, Some(late)), Trouble::Undecided);
        assert_eq!(told(RETRY_FOR, Some(late)), Trouble::TimedOut, "a person waits no longer either");
        assert_eq!(told(RETRY_FOR, None), Trouble::TimedOut);
    }

    #[test]
    fn who_is_asked_to_stop_waits_no_longer() {
        let stop = Arc::new(AtomicBool::new(true));
        let mut tries = Tries::begin(&Patience { stop: Some(stop), ..Patience::default() });
        let begun = now();
        let mut busy = Failure::timed_out(Duration::from_secs(1));
        busy.heard.retry_after = Some(Duration::from_secs(60));
        assert!(!tries.again(&busy, true) && now() < begun + Duration::from_secs(10));
        assert_eq!(tries.last(busy).trouble, Trouble::Stopped);
    }
}
