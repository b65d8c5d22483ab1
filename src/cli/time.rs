//! TIME as people write it, and times as they are shown: RFC 3339 with the offset of the local zone.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, Unit, Zoned};

use crate::format::UnixMillis;

/// What TIME may look like.
pub(crate) const FORMS: &str = "RFC 3339, '2026-11-20 14:05' (local zone), 'yesterday 14:05', 14:05 (today), now, \
                                or a span ago such as 3h, 2d or 90m";

/// A moment, for people.
pub(crate) fn show(moment: UnixMillis) -> String {
    format(moment, "%Y-%m-%dT%H:%M:%S%:z")
}

/// A moment, for machines: with its milliseconds.
pub(crate) fn exact(moment: UnixMillis) -> String {
    format(moment, "%Y-%m-%dT%H:%M:%S%.3f%:z")
}

fn format(moment: UnixMillis, format: &str) -> String {
    let moment = i64::try_from(moment.0).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    moment.unwrap_or(Timestamp::MAX).to_zoned(TimeZone::system()).strftime(format).to_string()
}

/// The day of a moment in the local zone, counted from 1970.
pub(crate) fn day(moment: UnixMillis) -> i64 {
    let moment = i64::try_from(moment.0).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let date = moment.unwrap_or(Timestamp::MAX).to_zoned(TimeZone::system()).date();
    date.since((Unit::Day, EPOCH)).map_or(0, |span| span.get_days().into())
}

/// The date of such a day.
pub(crate) fn date_of(day: i64) -> String {
    let date = Span::new().try_days(day).ok().and_then(|span| EPOCH.checked_add(span).ok());
    date.unwrap_or(Date::MAX).to_string()
}

const EPOCH: Date = Date::constant(1970, 1, 1);

/// A moment of a server's clock by this host's, which the server's is ahead of by `ahead` milliseconds.
pub(crate) fn of_host(moment: UnixMillis, ahead: i64) -> UnixMillis {
    UnixMillis(moment.0.saturating_add_signed(ahead.saturating_neg()))
}

/// A moment as the user wrote it, now.
pub(crate) fn parse_now(text: &str) -> Result<UnixMillis, String> {
    parse(text, &Zoned::now())
}

/// A moment as the user wrote it. A time of day without an offset is in the zone of `now`; one that a change of the
/// clocks repeats is the first of the two.
pub(crate) fn parse(text: &str, now: &Zoned) -> Result<UnixMillis, String> {
    let moment = rfc3339(text)
        .or_else(|| local(text, now))
        .or_else(|| of_day(text, now))
        .or_else(|| of_today(text, now))
        .or_else(|| ago(text, now))
        .ok_or_else(|| format!("not a time: write {FORMS}"))?;
    u64::try_from(moment.as_millisecond()).map(UnixMillis).map_err(|_| "before 1970".to_string())
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// A date and a time of day: never a date alone, which may mean its begin or its end.
fn local(text: &str, now: &Zoned) -> Option<Timestamp> {
    if !text.contains(':') {
        return None;
    }
    text.parse::<DateTime>().ok().and_then(|time| in_zone(time, now))
}

fn in_zone(time: DateTime, now: &Zoned) -> Option<Timestamp> {
    time.to_zoned(now.time_zone().clone()).ok().map(|zoned| zoned.timestamp())
}

/// `today 14:05` and `yesterday 14:05`.
fn of_day(text: &str, now: &Zoned) -> Option<Timestamp> {
    let (day, time) = text.split_once(' ')?;
    let date = match day {
        "today" => now.date(),
        "yesterday" => now.date().yesterday().ok()?,
        _ => return None,
    };
    let time: Time = time.trim_start().parse().ok()?;
    in_zone(date.to_datetime(time), now)
}

/// `14:05`, `14:05:09` and `now`.
fn of_today(text: &str, now: &Zoned) -> Option<Timestamp> {
    if text == "now" {
        return Some(now.timestamp());
    }
    let is_time = text.contains(':') && text.bytes().all(|byte| byte.is_ascii_digit() || b":.".contains(&byte));
    let time: Time = is_time.then(|| text.parse().ok())??;
    in_zone(now.date().to_datetime(time), now)
}

/// A span before now; its days are days of the calendar.
fn ago(text: &str, now: &Zoned) -> Option<Timestamp> {
    now.checked_sub(with_units(text)?).ok().map(|zoned| zoned.timestamp())
}

/// A span of numbers with their units: 6:14:31 is a time of day.
pub(crate) fn with_units(text: &str) -> Option<Span> {
    let is_span = text.starts_with(|first: char| first.is_ascii_digit()) && !text.contains("ago");
    (is_span && !text.contains(':')).then(|| text.parse().ok())?
}

/// A length of time, such as 36h, 7d or 1y6mo.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    let span = with_units(text).filter(|span| span.is_positive());
    span.ok_or_else(|| "not a length of time: write 36h, 7d, 8w, 6mo or 1y".into())
}

/// A zone by its name in the IANA database.
pub(crate) fn zone(text: &str) -> Result<TimeZone, String> {
    match text.eq_ignore_ascii_case("utc") {
        true => Ok(TimeZone::UTC),
        false => TimeZone::get(text).map_err(|error| format!("{error}: write UTC or a name such as Europe/Berlin")),
    }
}

/// What a zone is called; one without a name by its offset now.
pub(crate) fn zone_name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) => name.into(),
        None => format!("the local zone, which is at {} now", Timestamp::now().to_zoned(zone.clone()).strftime("%:z")),
    }
}

/// A length of time as the user wrote it: `24h`, `30d`, `1d12h`, or `0`. A day has 24 hours.
pub(crate) fn exact_span(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let length = with_units(text).and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let length = length.and_then(|length| Duration::try_from(length).ok());
    length.ok_or_else(|| "not a length of time: write it as 24h, 30d or 90m".to_string())
}

/// The last millisecond of the second a moment is in: seconds are what people are shown and give back.
pub(crate) fn end_of_second(moment: UnixMillis) -> UnixMillis {
    UnixMillis(moment.0 - moment.0 % 1000 + 999)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In Berlin, whose rule is written out: a host need not have a database of zones.
    fn now() -> Zoned {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("the rule of Berlin");
        "2026-11-22T12:30:15.5+01:00".parse::<Timestamp>().expect("a time").to_zoned(berlin)
    }

    fn parsed(text: &str) -> Result<String, String> {
        let moment = parse(text, &now())?;
        Ok(Timestamp::from_millisecond(moment.0 as i64).expect("a time").to_string())
    }

    #[test]
    fn every_form_of_a_time_is_understood() {
        for (text, moment) in [
            ("2026-11-20T14:05:00Z", "2026-11-20T14:05:00Z"),
            ("2026-11-20T14:05:00.250+01:00", "2026-11-20T13:05:00.25Z"),
            ("2026-11-20 14:05", "2026-11-20T13:05:00Z"),
            ("2026-11-20T14:05", "2026-11-20T13:05:00Z"),
            ("2026-07-20 14:05:09", "2026-07-20T12:05:09Z"),
            ("yesterday 14:05", "2026-11-21T13:05:00Z"),
            ("today 08:00:01", "2026-11-22T07:00:01Z"),
            ("06:14:31", "2026-11-22T05:14:31Z"),
            ("14:05", "2026-11-22T13:05:00Z"),
            ("now", "2026-11-22T11:30:15.5Z"),
            ("3h", "2026-11-22T08:30:15.5Z"),
            ("90m", "2026-11-22T10:00:15.5Z"),
            ("2d", "2026-11-20T11:30:15.5Z"),
            ("1d12h", "2026-11-20T23:30:15.5Z"),
        ] {
            assert_eq!(parsed(text), Ok(moment.into()), "{text}");
        }
    }

    #[test]
    fn a_length_of_time_is_more_than_nothing() {
        assert_eq!(span("1y6mo").map(|span| (span.get_years(), span.get_months())), Ok((1, 6)));
        assert_eq!(span("36h").map(|span| span.get_hours()), Ok(36));
        for text in ["", "0d", "-3h", "3", "3h ago", "soon", "06:14:31", "1d 06:14:31"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_zone_is_stated_by_its_name_or_its_offset() {
        assert_eq!(zone("utc").map(|zone| zone_name(&zone)), Ok("UTC".into()));
        assert!(zone("Mars/Olympus").is_err_and(|why| why.contains("Europe/Berlin")));
        let zone = TimeZone::posix("XYZ-5:30").expect("a rule");
        assert_eq!(zone_name(&zone), "the local zone, which is at +05:30 now");
    }

    #[test]
    fn a_span_in_days_keeps_the_time_of_day_when_the_clocks_change() {
        assert_eq!(parsed("30d"), Ok("2026-10-23T10:30:15.5Z".into()));
    }

    #[test]
    fn anything_else_is_refused_with_the_forms_there_are() {
        let moments =
            ["", "2026-11-20", "noon", "yesterday", "tomorrow 14:05", "2026-13-01 10:00", "24:05", "14:05:61"];
        let spans = ["-3h", "3", "3h ago", "1d 06:14:31", "6:14:31h", "06:14 ago"];
        for text in moments.into_iter().chain(spans) {
            assert!(parsed(text).is_err_and(|why| why.contains("yesterday 14:05")), "{text}");
        }
    }

    #[test]
    fn a_length_of_time_is_exact_and_has_a_unit() {
        for (text, seconds) in [("0", 0), ("90m", 5400), ("24h", 86_400), ("30d", 2_592_000), ("1d12h", 129_600)] {
            assert_eq!(exact_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "1", "-1h", "2h ago", "soon", "1mo", "01:30:00"] {
            assert!(exact_span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_repeated_time_of_day_is_the_first_and_a_skipped_one_is_after_the_gap() {
        assert_eq!(parsed("2026-10-25 02:30"), Ok("2026-10-25T00:30:00Z".into()));
        assert_eq!(parsed("2026-03-29 02:30"), Ok("2026-03-29T01:30:00Z".into()));
    }

    #[test]
    fn a_day_is_counted_and_has_its_date() {
        assert_eq!((date_of(0), date_of(20_717)), ("1970-01-01".into(), "2026-09-21".into()));
        assert!((20_716..=20_718).contains(&day(UnixMillis(1_790_000_000_123))), "in whichever zone");
        assert!(date_of(day(UnixMillis(u64::MAX))).starts_with("9999-12-3"));
        assert_eq!(date_of(i64::MAX), "9999-12-31");
    }

    #[test]
    fn shown_times_carry_an_offset_and_can_be_given_back() {
        let moment = UnixMillis(1_790_000_000_123);
        assert_eq!(parse(&exact(moment), &now()), Ok(moment));
        assert_eq!(parse(&show(moment), &now()), Ok(UnixMillis(1_790_000_000_000)));
        assert_eq!(end_of_second(moment), UnixMillis(1_790_000_000_999));
    }
}
