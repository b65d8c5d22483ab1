//! Which snapshots of a dataset a policy keeps, and why: pure rules on times, tags and counts.

use std::collections::BTreeSet;
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use crate::format::UnixMillis;
use crate::format::counts::Fall;

/// The tag of a snapshot that no policy forgets.
///
/// FORGET-6: `pinned` is a tag like any other, but for this.
pub const PINNED: &str = "pinned";

/// Whether a snapshot with these tags is pinned.
pub fn is_pinned(tags: &[String]) -> bool {
    tags.iter().any(|tag| tag == PINNED)
}

/// How many snapshots are kept of what. A count of nothing keeps nothing.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The newest ones.
    pub last: Option<u64>,
    /// The newest of each of so many hours, days, weeks (ISO 8601), months and years in which there are snapshots.
    pub hourly: Option<u64>,
    /// Days.
    pub daily: Option<u64>,
    /// Weeks.
    pub weekly: Option<u64>,
    /// Months.
    pub monthly: Option<u64>,
    /// Years.
    pub yearly: Option<u64>,
    /// Those that are at most so much older than the dataset's newest. Days and longer are of the calendar.
    pub within: Option<Span>,
    /// Those that hold what can be restored of so much time before the dataset's newest.
    pub timeline: Option<Span>,
    /// Those with one of these tags.
    pub tags: Vec<String>,
}

impl Policy {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        let counts = [self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        counts.iter().all(Option::is_none) && self.within.is_none() && self.timeline.is_none() && self.tags.is_empty()
    }
}

/// What a policy looks at.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The captured moment.
    pub time: UnixMillis,
    /// Its tags.
    pub tags: &'a [String],
    /// Where it stands in the dataset.
    pub place: u64,
    /// Whether the timeline that is kept needs it.
    pub is_needed: bool,
    /// Whether the policy is about it: others are looked at and left alone.
    pub is_meant: bool,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is the n-th newest.
    Last(u64),
    /// It is the newest of a period: what it is called, and which.
    Period(&'static str, String),
    /// It is recent enough.
    Within,
    /// The timeline that is kept needs it.
    Timeline,
    /// It has a tag that is kept.
    Tag(String),
    /// It is pinned.
    Pinned,
    /// A snapshot after it has less than half of its keys, and nobody has said that this was meant: how many it has, and
    /// how many were left.
    KeyDrop(u64, u64),
    /// Another of its set is kept, or is not judged.
    Set,
}

impl Reason {
    /// Whether the policy itself keeps it.
    pub fn is_policy(&self) -> bool {
        match self {
            Reason::Last(_) | Reason::Period(..) | Reason::Within | Reason::Timeline | Reason::Tag(_) => true,
            Reason::Pinned | Reason::KeyDrop(..) | Reason::Set => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Last(number) => write!(f, "last {number}"),
            Reason::Period(name, which) => write!(f, "{name} {which}"),
            Reason::Within => f.write_str("within"),
            Reason::Timeline => f.write_str("timeline"),
            Reason::Tag(tag) => write!(f, "tag {tag}"),
            Reason::Pinned => f.write_str(PINNED),
            Reason::Set => f.write_str("of a set that is kept"),
            Reason::KeyDrop(had, left) => {
                write!(f, "predecessor of a snapshot whose keys fell by more than half ({had} to {left})")
            }
        }
    }
}

/// A period: its name, how many are kept, and how one is written.
type Period = (&'static str, Option<u64>, fn(&Zoned) -> String);

/// The reasons for which each snapshot of a dataset is kept, in their order; none for those to be forgotten.
///
/// `candidates` are all of the dataset, oldest first; `falls` those that keep the snapshot before them.
///
/// COUNT-6: the full snapshot of a fall that nobody has settled is kept by every policy, however many follow.
pub fn decide(policy: &Policy, candidates: &[Candidate<'_>], zone: &TimeZone, falls: &[Fall]) -> Vec<Vec<Reason>> {
    let mut kept: Vec<Vec<Reason>> = vec![Vec::new(); candidates.len()];
    let meant = || kept_order(candidates);
    for (number, place) in (1..=policy.last.unwrap_or(0)).zip(meant()) {
        add(&mut kept, place, Reason::Last(number));
    }
    let periods: [Period; 5] = [
        ("hourly", policy.hourly, |time| time.strftime("%Y-%m-%dT%H%:z").to_string()),
        ("daily", policy.daily, |time| time.strftime("%Y-%m-%d").to_string()),
        ("weekly", policy.weekly, |time| time.strftime("%G-W%V").to_string()),
        ("monthly", policy.monthly, |time| time.strftime("%Y-%m").to_string()),
        ("yearly", policy.yearly, |time| time.strftime("%Y").to_string()),
    ];
    for (name, count, key) in periods {
        let mut seen = BTreeSet::new();
        for (place, candidate) in meant().filter_map(|place| Some((place, candidates.get(place)?))) {
            let which = key(&zoned(candidate.time, zone));
            if (seen.len() as u64) < count.unwrap_or(0) && seen.insert(which.clone()) {
                add(&mut kept, place, Reason::Period(name, which));
            }
        }
    }
    let newest = candidates.iter().rfind(|candidate| candidate.is_meant);
    let since = policy.within.zip(newest).and_then(|(span, newest)| before(newest.time, span, zone));
    for (place, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.is_meant) {
        if since.is_some_and(|since| timestamp(candidate.time) >= since) {
            add(&mut kept, place, Reason::Within);
        }
        if candidate.is_needed {
            add(&mut kept, place, Reason::Timeline);
        }
        for tag in policy.tags.iter().filter(|tag| candidate.tags.contains(tag)) {
            add(&mut kept, place, Reason::Tag(tag.clone()));
        }
        if is_pinned(candidate.tags) {
            add(&mut kept, place, Reason::Pinned);
        }
    }
    for (place, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.is_meant) {
        for fall in falls.iter().filter(|fall| fall.full == candidate.place) {
            add(&mut kept, place, Reason::KeyDrop(fall.had, fall.left));
        }
    }
    kept
}

/// So much before a moment; days and longer are of the calendar.
fn before(moment: UnixMillis, span: Span, zone: &TimeZone) -> Option<Timestamp> {
    zoned(moment, zone).checked_sub(span).ok().map(|since| since.timestamp())
}

/// From when on the timeline is kept, counted from the moment of the dataset's newest snapshot.
pub(super) fn timeline_since(policy: &Policy, newest: UnixMillis, zone: &TimeZone) -> Option<UnixMillis> {
    let since = before(newest, policy.timeline?, zone);
    // A span that goes back beyond all time is all of it.
    let millis = since.map_or(0, |since| since.as_millisecond());
    Some(UnixMillis(u64::try_from(millis).unwrap_or(0)))
}

/// Places of those the policy is about, newest first.
fn kept_order<'a>(candidates: &'a [Candidate<'_>]) -> impl Iterator<Item = usize> + 'a {
    candidates.iter().enumerate().rev().filter(|(_, candidate)| candidate.is_meant).map(|(place, _)| place)
}

fn add(kept: &mut [Vec<Reason>], place: usize, reason: Reason) {
    if let Some(reasons) = kept.get_mut(place) {
        reasons.push(reason);
    }
}

fn timestamp(time: UnixMillis) -> Timestamp {
    let time = i64::try_from(time.0).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    time.unwrap_or(Timestamp::MAX)
}

fn zoned(time: UnixMillis, zone: &TimeZone) -> Zoned {
    timestamp(time).to_zoned(zone.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In Berlin, whose rule is written out: a host need not have a database of zones.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("the rule of Berlin")
    }

    fn at(text: &str) -> UnixMillis {
        UnixMillis(text.parse::<Timestamp>().expect("a time").as_millisecond() as u64)
    }

    fn candidates<'a>(times: &[&str], tags: &'a [String]) -> Vec<Candidate<'a>> {
        let one =
            |(place, time): (u64, &&str)| Candidate { time: at(time), tags, place, is_needed: false, is_meant: true };
        (1..).zip(times).map(one).collect()
    }

    /// The reasons as people read them; oldest first, as given.
    fn told(policy: &Policy, candidates: &[Candidate<'_>], zone: &TimeZone) -> Vec<String> {
        let kept = decide(policy, candidates, zone, &[]);
        let text = |reasons: Vec<Reason>| reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join(", ");
        kept.into_iter().map(text).collect()
    }

    const TIMES: [&str; 7] = [
        "2025-12-28T10:00:00Z",
        "2025-12-31T23:30:00Z",
        "2026-01-01T08:00:00Z",
        "2026-01-01T08:20:00Z",
        "2026-02-01T00:00:00Z",
        "2026-02-01T09:00:00Z",
        "2026-02-02T09:00:00Z",
    ];

    #[test]
    fn each_rule_keeps_the_newest_of_each_of_its_periods() {
        let none = Policy::default;
        let table: [(Policy, [&str; 7]); 7] = [
            (Policy { last: Some(2), ..none() }, ["", "", "", "", "", "last 2", "last 1"]),
            (
                Policy { hourly: Some(4), ..none() },
                [
                    "",
                    "",
                    "",
                    "hourly 2026-01-01T08+00:00",
                    "hourly 2026-02-01T00+00:00",
                    "hourly 2026-02-01T09+00:00",
                    "hourly 2026-02-02T09+00:00",
                ],
            ),
            (
                Policy { daily: Some(3), ..none() },
                ["", "", "", "daily 2026-01-01", "", "daily 2026-02-01", "daily 2026-02-02"],
            ),
            // 2025-12-29 to 2026-01-04 is the first ISO week of 2026; 2026-02-01 is a Sunday.
            (
                Policy { weekly: Some(9), ..none() },
                ["weekly 2025-W52", "", "", "weekly 2026-W01", "", "weekly 2026-W05", "weekly 2026-W06"],
            ),
            (Policy { monthly: Some(2), ..none() }, ["", "", "", "monthly 2026-01", "", "", "monthly 2026-02"]),
            (Policy { yearly: Some(2), ..none() }, ["", "yearly 2025", "", "", "", "", "yearly 2026"]),
            (
                Policy { last: Some(1), daily: Some(1), yearly: Some(1), ..none() },
                ["", "", "", "", "", "", "last 1, daily 2026-02-02, yearly 2026"],
            ),
        ];
        for (policy, expected) in table {
            assert_eq!(told(&policy, &candidates(&TIMES, &[]), &TimeZone::UTC), expected, "{policy:?}");
        }
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let policy = Policy { daily: Some(9), ..Policy::default() };
        let times = ["2026-01-01T22:30:00Z", "2026-01-01T23:30:00Z", "2026-01-02T22:59:00Z"];
        let utc = ["", "daily 2026-01-01", "daily 2026-01-02"];
        assert_eq!(told(&policy, &candidates(&times, &[]), &TimeZone::UTC), utc);
        let local = ["daily 2026-01-01", "", "daily 2026-01-02"];
        assert_eq!(told(&policy, &candidates(&times, &[]), &berlin()), local);
    }

    #[test]
    fn the_hour_that_a_change_of_the_clocks_repeats_is_two_hours() {
        let policy = Policy { hourly: Some(9), ..Policy::default() };
        let times = ["2026-10-25T00:10:00Z", "2026-10-25T00:50:00Z", "2026-10-25T01:10:00Z"];
        let expected = ["", "hourly 2026-10-25T02+02:00", "hourly 2026-10-25T02+01:00"];
        assert_eq!(told(&policy, &candidates(&times, &[]), &berlin()), expected);
    }

    #[test]
    fn within_counts_from_the_newest_and_not_from_now() {
        let times = ["2026-02-01T08:59:59Z", "2026-02-01T09:00:00Z", "2026-02-02T09:00:00Z"];
        let policy = Policy { within: Some(Span::new().days(1)), ..Policy::default() };
        assert_eq!(told(&policy, &candidates(&times, &[]), &TimeZone::UTC), ["", "within", "within"]);
    }

    #[test]
    fn what_the_timeline_needs_is_kept() {
        let policy = Policy { timeline: Some(Span::new().days(1)), ..Policy::default() };
        let mut all = candidates(&TIMES, &[]);
        all[4].is_needed = true;
        assert_eq!(told(&policy, &all, &TimeZone::UTC), ["", "", "", "", "timeline", "", ""]);
        assert!(Reason::Timeline.is_policy() && !policy.is_empty());
        let since = |text| timeline_since(&policy, at(text), &berlin());
        assert_eq!(since("2026-10-25T11:00:00Z"), Some(at("2026-10-24T10:00:00Z")), "a day of 25 hours");
        let all_time = Policy { timeline: Some(Span::new().years(5000)), ..Policy::default() };
        assert_eq!(timeline_since(&all_time, at(TIMES[0]), &TimeZone::UTC), Some(UnixMillis(0)));
        assert_eq!(timeline_since(&Policy::default(), at(TIMES[0]), &TimeZone::UTC), None);
    }

    #[test]
    fn a_day_within_is_one_of_the_calendar() {
        let times = ["2026-10-24T10:00:00Z", "2026-10-25T11:00:00Z"];
        let policy = Policy { within: Some(Span::new().days(1)), ..Policy::default() };
        assert_eq!(told(&policy, &candidates(&times, &[]), &berlin()), ["within", "within"], "it has 25 hours");
        assert_eq!(told(&policy, &candidates(&times, &[]), &TimeZone::UTC), ["", "within"]);
    }

    /// FORGET-6
    #[test]
    fn tags_that_are_kept_and_pins_keep() {
        let tags = ["a".to_string(), "b".into(), PINNED.into()];
        let policy = Policy { tags: vec!["b".into(), "x".into()], ..Policy::default() };
        assert_eq!(told(&policy, &candidates(&TIMES[..1], &tags), &TimeZone::UTC), ["tag b, pinned"]);
        assert_eq!(told(&policy, &candidates(&TIMES[..1], &tags[..1]), &TimeZone::UTC), [""]);
        assert!(!Reason::Pinned.is_policy());
    }

    #[test]
    fn what_is_not_meant_is_neither_kept_nor_counted() {
        let mut all = candidates(&TIMES, &[]);
        all[6].is_meant = false;
        let within = Some(Span::new().hours(9));
        let policy = Policy { last: Some(1), daily: Some(2), within, ..Policy::default() };
        let expected = ["", "", "", "daily 2026-01-01", "within", "last 1, daily 2026-02-01, within", ""];
        assert_eq!(told(&policy, &all, &TimeZone::UTC), expected);
    }

    /// COUNT-6
    #[test]
    fn the_full_snapshot_of_a_fall_is_kept_where_the_policy_is_about_it() {
        let falls = [Fall { full: 2, had: 100, after: 3, left: 4 }];
        let mut all = candidates(&TIMES, &[]);
        let kept = decide(&Policy { last: Some(1), ..Policy::default() }, &all, &TimeZone::UTC, &falls);
        let places: Vec<usize> = (0..TIMES.len()).filter(|place| !kept[*place].is_empty()).collect();
        assert_eq!(places, [1, 6]);
        assert_eq!(kept[1], [Reason::KeyDrop(100, 4)]);
        assert!(kept[1][0].to_string().ends_with("fell by more than half (100 to 4)"));
        all[1].is_meant = false;
        assert!(decide(&Policy::default(), &all, &TimeZone::UTC, &falls).iter().all(Vec::is_empty));
    }

    #[test]
    fn a_policy_without_a_rule_is_empty() {
        assert!(Policy::default().is_empty());
        assert!(!Policy { last: Some(1), ..Policy::default() }.is_empty());
        assert!(!Policy { within: Some(Span::new().hours(1)), ..Policy::default() }.is_empty());
        assert!(!Policy { tags: vec!["a".into()], ..Policy::default() }.is_empty());
    }

    #[test]
    fn a_timeline_that_goes_back_beyond_all_time_is_all_of_it() {
        let policy = |years| Policy { timeline: Some(Span::new().years(years)), ..Policy::default() };
        let since = |years| timeline_since(&policy(years), at("2026-11-22T10:00:00Z"), &berlin());
        assert_eq!(since(1), Some(at("2025-11-22T10:00:00Z")));
        assert_eq!([since(100), since(19_000)], [Some(UnixMillis(0)); 2]);
    }
}
