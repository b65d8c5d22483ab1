//! When a profile is run: once a day, or after each so many minutes or hours of the clock. As cron writes it, as systemd
//! does, and when it is next.

use std::fmt;
use std::time::Duration;

use jiff::{RoundMode, Span, Unit, Zoned, ZonedRound};

/// When a profile is run, by the host's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// At this hour and minute.
    Daily(u8, u8),
    /// At each full hour that so many divide, of a day: 1, 2, 3, 4, 6, 8 or 12.
    Hours(u8),
    /// At each minute that so many divide, of an hour: 1 to 30.
    Minutes(u8),
}

impl Timing {
    /// Each so often; `None` where the clock has no such rhythm. A day is `Daily` at the given time.
    pub fn every(span: Duration, at: (u8, u8)) -> Option<Timing> {
        let seconds = span.as_secs();
        let minutes = u8::try_from(seconds / 60).ok().filter(|minutes| *minutes > 0 && 60 % minutes == 0);
        let hours = u8::try_from(seconds / 3600).ok().filter(|hours| *hours > 0 && 24 % hours == 0);
        match (seconds, minutes, hours) {
            (86_400, _, _) => Some(Timing::Daily(at.0, at.1)),
            (_, _, Some(hours)) if seconds.is_multiple_of(3600) => Some(Timing::Hours(hours)),
            (_, Some(minutes), _) if seconds.is_multiple_of(60) => Some(Timing::Minutes(minutes)),
            _ => None,
        }
    }

    /// The five fields of cron.
    pub(super) fn cron(self) -> String {
        match self {
            Timing::Daily(hour, minute) => format!("{minute} {hour} * * *"),
            Timing::Hours(1) => "0 * * * *".into(),
            Timing::Hours(hours) => format!("0 */{hours} * * *"),
            Timing::Minutes(1) => "* * * * *".into(),
            Timing::Minutes(minutes) => format!("*/{minutes} * * * *"),
        }
    }

    /// What follows `OnCalendar=`.
    pub(super) fn calendar(self) -> String {
        match self {
            Timing::Daily(hour, minute) => format!("*-*-* {hour:02}:{minute:02}:00"),
            Timing::Hours(hours) => format!("*-*-* 00/{hours}:00:00"),
            Timing::Minutes(minutes) => format!("*-*-* *:00/{minutes}:00"),
        }
    }

    /// What was written by `cron` or `calendar`, of all there are.
    pub(super) fn of(written: &str) -> Option<Timing> {
        let daily = (0..24).flat_map(|hour| (0..60).map(move |minute| Timing::Daily(hour, minute)));
        let hours = (1..24).map(Timing::Hours);
        let minutes = (1..60).map(Timing::Minutes);
        daily.chain(hours).chain(minutes).find(|timing| timing.cron() == written || timing.calendar() == written)
    }

    /// The first time after a moment.
    pub fn next(self, now: &Zoned) -> Option<Zoned> {
        let minute = now.round(ZonedRound::new().smallest(Unit::Minute).mode(RoundMode::Trunc)).ok()?;
        // By minutes that pass, so that a change of the clocks is met as cron and systemd meet it.
        let later = (1..=48 * 60).map(|minutes| minute.checked_add(Span::new().minutes(minutes)));
        later.filter_map(Result::ok).find(|time| self.is_at(time.hour() as u8, time.minute() as u8))
    }

    fn is_at(self, hour: u8, minute: u8) -> bool {
        match self {
            Timing::Daily(at_hour, at_minute) => (hour, minute) == (at_hour, at_minute),
            Timing::Hours(hours) => minute == 0 && hour.is_multiple_of(hours),
            Timing::Minutes(minutes) => minute.is_multiple_of(minutes),
        }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Timing::Daily(hour, minute) => write!(f, "every day at {hour:02}:{minute:02}"),
            Timing::Hours(1) => f.write_str("every hour"),
            Timing::Hours(hours) => write!(f, "every {hours} hours"),
            Timing::Minutes(1) => f.write_str("every minute"),
            Timing::Minutes(minutes) => write!(f, "every {minutes} minutes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;

    const AT: (u8, u8) = (2, 30);

    #[test]
    fn a_rhythm_is_one_that_the_clock_has() {
        for (minutes, timing) in [
            (5, Timing::Minutes(5)),
            (30, Timing::Minutes(30)),
            (60, Timing::Hours(1)),
            (360, Timing::Hours(6)),
            (1440, Timing::Daily(2, 30)),
        ] {
            assert_eq!(Timing::every(Duration::from_secs(minutes * 60), AT), Some(timing), "{minutes}");
        }
        for seconds in [0, 30, 7 * 60, 90 * 60, 5 * 3600, 48 * 3600, 3601] {
            assert_eq!(Timing::every(Duration::from_secs(seconds), AT), None, "{seconds}");
        }
    }

    #[test]
    fn what_is_written_is_understood_again() {
        for timing in [Timing::Daily(2, 30), Timing::Hours(1), Timing::Hours(6), Timing::Minutes(1), Timing::Minutes(5)]
        {
            assert_eq!(Timing::of(&timing.cron()), Some(timing), "{timing}");
            assert_eq!(Timing::of(&timing.calendar()), Some(timing), "{timing}");
        }
        assert_eq!(Timing::Daily(2, 30).cron(), "30 2 * * *");
        assert_eq!(Timing::of("30 2 1 * *"), None);
    }

    #[test]
    fn the_next_time_is_after_now_by_the_local_clock() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let next = |timing: Timing, now: &str| {
            let now = now.parse::<Timestamp>().unwrap().to_zoned(berlin.clone());
            timing.next(&now).unwrap().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        };
        assert_eq!(next(Timing::Daily(2, 30), "2026-11-22T01:29:59Z"), "2026-11-22T02:30:00+01:00");
        assert_eq!(next(Timing::Daily(2, 30), "2026-11-22T01:30:00Z"), "2026-11-23T02:30:00+01:00");
        assert_eq!(next(Timing::Hours(6), "2026-11-22T10:59:59.9Z"), "2026-11-22T12:00:00+01:00");
        assert_eq!(next(Timing::Minutes(5), "2026-11-22T10:55:00Z"), "2026-11-22T12:00:00+01:00");
    }
}
