//! The page of a repository that was made up: its size, and that nothing in it can run or break out.

use std::collections::BTreeMap;

use roxmltree::{Document, ParsingOptions};

use super::*;
use crate::format::UnixMillis;
use crate::format::counts::{CountedBy, KeyCount};
use crate::format::ids::{DatasetTag, Id16};
use crate::format::object::SnapshotName;
use crate::format::summary::{Holds, New, Summary};
use crate::format::timeline::{Precision, Reach};
use crate::operations::overview::Overview;
use crate::operations::stats::{DatasetStats, Report};
use crate::operations::timeline::timelines;
use crate::repository::{PackReads, PackTotals, SnapshotInfo, Span, Told};

const HOUR: u64 = 60 * 60 * 1000;
const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const HOSTILE: &str = "</h2><script>alert('1')</script>\"&\u{202e}\u{0}\u{ffff}<!--";

fn name(number: u64) -> SnapshotName {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let time = UnixMillis(NOW.0 - HOUR * (1000 - number.min(1000)));
    SnapshotName { tag: DatasetTag([1; 8]), place: number, sequence: number, time, session: Id16(id) }
}

fn info(number: u64, dataset: &str) -> SnapshotInfo {
    let of = |stored| New { chunks: 3, bytes: 10_000_000, stored };
    let new = BTreeMap::from([(Holds::Buckets as u64, of(1_000_000 + number)), (Holds::Order as u64, of(30_000))]);
    let stored_bytes = 1_100_000 + number;
    SnapshotInfo {
        name: name(number),
        dataset: dataset.into(),
        sequence: number,
        place: number,
        previous: None,
        begin: name(number).time,
        end: name(number).time,
        moment: Some(name(number).time),
        host: HOSTILE.into(),
        directory: b"/".into(),
        tags: vec![HOSTILE.into()],
        warnings: 1,
        files: 1,
        bytes: 1_000_000 * number,
        new_bytes: 1000,
        stored_bytes,
        told: Told {
            summary: Summary { new: Some(new), stored_bytes, ..Summary::default() },
            forms: vec![],
            origin: None,
            set: None,
        },
        keys: KeyCount::Known { keys: 700_000 + number, by: CountedBy::Structure },
        falls: None,
    }
}

fn made_up(snapshots: u64, dataset: &str) -> Overview {
    let kept: Vec<SnapshotInfo> = (1..=snapshots).map(|number| info(number, dataset)).collect();
    let span = |info: &SnapshotInfo| Span {
        name: info.name,
        dataset: dataset.into(),
        reach: Ok(Reach { begin: info.begin, end: info.begin, precision: Precision::Snapshot, annotated_from: None }),
        taken: info.begin,
        clock: 0,
        clock_then: 0,
        run: None,
        continues: None,
        is_damaged: false,
        is_carried: false,
    };
    let spans: Vec<Span> = kept.iter().map(span).collect();
    let stats = DatasetStats { snapshots, keys: kept.last().map(|info| info.keys), ..DatasetStats::default() };
    Overview {
        repository: "0".repeat(32),
        location: HOSTILE.into(),
        now: NOW,
        stats: Report {
            totals: PackTotals::default(),
            snapshots,
            restored_bytes: 0,
            datasets: BTreeMap::from([(dataset.into(), stats)]),
            alarms: Vec::new(),
        },
        usage: None,
        kept,
        forgotten: Vec::new(),
        timelines: timelines(&spans, NOW),
        drills: BTreeMap::new(),
        reads: PackReads { packs: 3, never: 1, ..PackReads::default() },
        falls: BTreeMap::from([(dataset.into(), vec![HOSTILE.into()])]),
    }
}

fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap()
}

fn page_of(of: &Overview, wishes: &[Wishes]) -> String {
    page::page(of, &advice(of, wishes, MAX_AGE), wishes, MAX_AGE)
}

#[test]
fn a_page_of_a_thousand_snapshots_is_below_a_megabyte() {
    let page = page_of(&made_up(1000, "sessions"), &[]);
    assert!(page.len() < 1_000_000, "{}", page.len());
    let document = parsed(&page);
    let with = |class: &str| document.descendants().filter(|node| node.attribute("class") == Some(class)).count();
    assert_eq!((with("snapshot"), with("kept") - 1), (1000, 1000), "a mark each, and one in the legend");
    let rows = document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", "tr")));
    assert!(rows.count() > 1000);
}

#[test]
fn what_the_repository_says_stays_text() {
    let page = page_of(&made_up(3, HOSTILE), &[]);
    let document = parsed(&page);
    let tags: Vec<&str> =
        document.descendants().filter(|node| node.is_element()).map(|node| node.tag_name().name()).collect();
    for tag in ["script", "link", "img", "iframe", "a", "object", "form", "base"] {
        assert!(!tags.contains(&tag), "{tag}");
    }
    let attributes = document.descendants().flat_map(|node| node.attributes());
    let names: Vec<&str> = attributes.map(|attribute| attribute.name()).collect();
    assert!(names.iter().all(|name| !name.starts_with("on") && *name != "href" && *name != "src" && *name != "style"));
    assert!(!page.contains("url(") && !page.contains("@import") && !page.contains('\u{202e}'));
    let policy = document.descendants().find(|node| node.attribute("http-equiv").is_some()).unwrap();
    assert_eq!(policy.attribute("content"), Some("default-src 'none'; style-src 'unsafe-inline'"));
    let heading = document.descendants().find(|node| node.text().is_some_and(|text| text.contains("alert('1')")));
    assert!(heading.is_some(), "it is shown as it is");
}

#[test]
fn a_repository_without_a_snapshot_has_a_page_too() {
    let of = Overview { kept: Vec::new(), timelines: Vec::new(), ..made_up(1, "d") };
    let page = page_of(&of, &[]);
    parsed(&page);
    assert!(page.contains("there is no snapshot yet") && page.contains("<code>redkeep backup</code>"));
}

#[test]
fn what_is_to_be_done_is_told_the_worst_first() {
    let of = made_up(900, "sessions");
    let wish = |drill, check| Wishes { dataset: Some("sessions".into()), is_cluster: false, check, drill };
    let told = |wishes: &[Wishes]| {
        let of = advice(&of, wishes, MAX_AGE).into_iter();
        of.map(|one| format!("{} {}", one.level.word(), one.what)).collect::<Vec<_>>()
    };
    let all = told(&[wish(true, None)]);
    assert!(
        all[0].starts_with("bad ") && all.iter().any(|one| one == "bad the newest backup of sessions is 4 days old"),
        "{all:?}"
    );
    assert!(all.contains(&"warn sessions: no kept snapshot was ever booted".into()), "{all:?}");
    assert!(all.contains(&"warn no pack was ever read again since it was stored".into()), "{all:?}");
    let reads = PackReads { packs: 3, oldest: Some(UnixMillis(NOW.0 - 48 * 24 * HOUR)), ..PackReads::default() };
    let of = Overview { reads, ..made_up(1000, "sessions") };
    let wishes = [wish(false, Some(Duration::from_secs(30 * 24 * 3600)))];
    let all = advice(&of, &wishes, MAX_AGE);
    assert!(
        all.iter().any(|one| one.what == "there are packs that were last read 48 days ago; the profile wishes 30 days")
    );
    assert!(!all.iter().any(|one| one.what.contains("newest backup")), "{all:?}");
}
