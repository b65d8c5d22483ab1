//! The part of the page about one dataset.

use std::time::Duration;

use super::chart::{self, Axis, Mark};
use super::page::{ends, escaped, figure, moment, perhaps, tiles};
use super::{Wishes, age};
use crate::cli::commands::timeline::precision;
use crate::cli::human::{duration, short, size};
use crate::cli::{key_count, time};
use crate::format::UnixMillis;
use crate::format::timeline::Precision;
use crate::operations::list::Forgotten;
use crate::operations::overview::Overview;
use crate::operations::timeline::{Cause, Timeline};
use crate::repository::SnapshotInfo;

/// Snapshots of one dataset: `infos` are all kept ones, by age.
pub(super) fn section(of: &Overview, infos: &[SnapshotInfo], wishes: &[Wishes], max_age: Duration) -> String {
    let Some(last) = infos.last() else { return String::new() };
    let number = of.stats.datasets.keys().position(|name| *name == last.dataset).unwrap_or_default();
    let timeline = of.timelines.iter().find(|timeline| timeline.dataset == last.dataset);
    let gone: Vec<&SnapshotInfo> = of.forgotten.iter().filter_map(|one| one.info.as_ref()).collect();
    let gone: Vec<&SnapshotInfo> = gone.into_iter().filter(|info| info.dataset == last.dataset).collect();
    let mut text = format!("<section id=\"d{number}\"><h2>{}</h2>", escaped(&last.dataset));
    text.push_str(&facts(of, infos, number, timeline, wishes, max_age));
    text.push_str(&line_of_time(of, infos, &gone, timeline));
    text.push_str(&growth(infos));
    text.push_str(&kinds(of, &last.dataset, number));
    text.push_str(&snapshots(of, infos));
    text + "</section>"
}

fn when(info: &SnapshotInfo) -> UnixMillis {
    info.captured_at()
}

fn facts(
    of: &Overview,
    infos: &[SnapshotInfo],
    number: usize,
    timeline: Option<&Timeline>,
    wishes: &[Wishes],
    max_age: Duration,
) -> String {
    let Some(last) = infos.last() else { return String::new() };
    let id = |name: &str| format!("d{number}-{name}");
    let since = |time: UnixMillis| of.now.0.saturating_sub(time.0);
    let stats = of.stats.datasets.get(&last.dataset).cloned().unwrap_or_default();
    let usage = of.usage.as_ref().and_then(|(all, _)| all.get(&last.dataset));
    let newest = infos.iter().map(|info| info.begin).max().unwrap_or(last.begin);
    let class = if u128::from(since(newest)) > max_age.as_millis() { "bad" } else { "good" };
    let drill = infos.iter().filter_map(|info| of.drills.get(&info.name)).max_by_key(|drill| drill.time);
    let drilled = match drill {
        Some(drill) if drill.passed() => {
            format!("<span class=\"good\">{} ago</span>", escaped(&age(since(drill.time))))
        }
        Some(drill) => format!("<span class=\"bad\">FAILED {} ago</span>", escaped(&age(since(drill.time)))),
        None => "never".into(),
    };
    let is_wished = wishes.iter().any(|wish| wish.drill && wish.is_of(last));
    let wished = if is_wished { "the profile wishes one of each snapshot" } else { "" };
    let percent = |share: u64| format!("{}.{} %", share / 10, share % 10);
    let covered = timeline.map(|timeline| timeline.covered).unwrap_or_default();
    let keys = stats.keys.and_then(|keys| keys.keys());
    tiles(&[
        (
            "newest backup",
            format!("<span class=\"{class}\">{} ago</span>", escaped(&age(since(newest)))),
            moment(newest),
        ),
        ("last drill", drilled, wished.into()),
        (
            "of the last day",
            escaped(&format!("{} covered", percent(covered.all))),
            escaped(&format!("{} to the second", percent(covered.exact))),
        ),
        (
            "snapshots",
            figure(&id("snapshots"), stats.snapshots, &stats.snapshots.to_string()),
            format!(
                "{} if each were restored",
                figure(&id("restored_bytes"), stats.restored_bytes, &size(stats.restored_bytes))
            ),
        ),
        (
            "stored by its backups",
            figure(&id("stored_bytes"), stats.stored_bytes, &size(stats.stored_bytes)),
            format!(
                "needed now: unique {}, shared {}",
                perhaps(&id("unique_bytes"), usage.map(|usage| usage.unique)),
                perhaps(&id("shared_bytes"), usage.map(|usage| usage.shared))
            ),
        ),
        (
            "keys",
            keys.map_or("?".into(), |keys| figure(&id("keys"), keys, &keys.to_string())),
            escaped(&format!("{} to restore", size(last.bytes))),
        ),
    ])
}

/// To which moments it can be restored, and below them the snapshots that tell so.
fn line_of_time(of: &Overview, infos: &[SnapshotInfo], gone: &[&SnapshotInfo], timeline: Option<&Timeline>) -> String {
    let here = |time: UnixMillis, clock: i64| time::of_host(time, clock).0;
    let spans = || timeline.into_iter().flat_map(|timeline| &timeline.stretches);
    let begins = spans().map(|stretch| here(stretch.begin(), stretch.clock));
    let times = infos.iter().chain(gone.iter().copied()).map(|info| when(info).0).chain(begins).chain([of.now.0]);
    let axis = Axis::over(times);
    let clock = timeline.map_or(0, |timeline| timeline.clock);
    // Between dumps nothing can be covered: that is no news.
    let gaps = timeline.into_iter().flat_map(|timeline| &timeline.gaps).filter(|gap| gap.cause != Cause::NoAof);
    let gaps = gaps.map(|gap| {
        let length = duration(gap.end.0.saturating_sub(gap.begin.0));
        let title = format!("gap of {length}: {}", crate::cli::commands::timeline::cause(gap.cause));
        let (from, to) = (here(gap.begin, clock), here(gap.end, clock));
        Mark { from, to, class: "gap", row: (0, 20), title }
    });
    let pieces = spans().flat_map(|stretch| stretch.pieces.iter().map(move |piece| (piece, stretch.clock)));
    let pieces = pieces.map(|(piece, clock)| {
        let (from, to) = (here(piece.begin, clock), here(piece.end, clock));
        let class = match piece.precision {
            Precision::Second => "second",
            Precision::Marks => "marks",
            Precision::Snapshot => "snapshot",
        };
        let title = match piece.precision {
            Precision::Snapshot => time::show(UnixMillis(from)),
            other => {
                format!("{} to {}: {}", time::show(UnixMillis(from)), time::show(UnixMillis(to)), precision(other))
            }
        };
        Mark { from, to, class, row: (0, 20), title }
    });
    let tick =
        |info: &SnapshotInfo, class, title| Mark { from: when(info).0, to: when(info).0, class, row: (26, 10), title };
    let kept = infos.iter().map(|info| tick(info, "kept", short(&info.name.session)));
    let lost = gone.iter().map(|info| tick(info, "gone", format!("{} forgotten", short(&info.name.session))));
    let chart = chart::marks(axis, 38, gaps.chain(pieces).chain(lost).chain(kept));
    format!(
        "<h3>Timeline</h3><figure>{chart}{}<div class=\"legend\"><span><i class=\"second\"></i>every second, or the one \
         moment of a dump</span><span><i class=\"marks\"></i>marks of the AOF</span><span><i class=\"gap\"></i>a gap between \
         AOFs</span><span>below: <i class=\"kept\"></i>snapshots, <i class=\"gone\"></i>forgotten ones</span></div></figure>",
        ends(axis.ends())
    )
}

/// Keys and size of the dumps, snapshot by snapshot.
fn growth(infos: &[SnapshotInfo]) -> String {
    let axis = Axis::over(infos.iter().map(|info| when(info).0));
    let dump = |info: &SnapshotInfo| match info.told.forms.is_empty() {
        true => info.bytes,
        false => info.told.forms.iter().map(|form| form.size).fold(0, u64::saturating_add),
    };
    let keys = infos.iter().map(|info| (when(info).0, info.keys.keys()));
    let sizes = infos.iter().map(|info| (when(info).0, Some(dump(info))));
    let most_keys =
        keys.clone().filter_map(|(_, keys)| keys).max().map_or("not known".into(), |keys| format!("0 to {keys}"));
    let most = format!("0 to {}", size(sizes.clone().filter_map(|(_, size)| size).max().unwrap_or_default()));
    let one = |name: &str, most: &str, line: String| {
        format!("<figure><figcaption>{name}: {}</figcaption>{line}{}</figure>", escaped(most), ends(axis.ends()))
    };
    format!(
        "<h3>Growth</h3><div class=\"pair\">{}{}</div>",
        one("keys", &most_keys, chart::line(axis, keys)),
        one("size of what is loaded", &most, chart::line(axis, sizes))
    )
}

/// What its backups stored, by what it is.
fn kinds(of: &Overview, dataset: &str, number: usize) -> String {
    let Some(stats) = of.stats.datasets.get(dataset) else { return String::new() };
    let row = |(kind, new): (&'static str, crate::format::summary::New)| {
        let stored = figure(&format!("d{number}-{kind}"), new.stored, &size(new.stored));
        format!(
            "<tr><td>{kind}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{stored}</td></tr>",
            new.chunks,
            escaped(&size(new.bytes))
        )
    };
    let rows: String = stats.by_kind().into_iter().map(row).collect();
    format!(
        "<details><summary>What was stored, by kind</summary><div class=\"wide\"><table><thead><tr><th>kind</th>\
         <th class=\"n\">chunks</th><th class=\"n\">size</th><th class=\"n\">stored</th></tr></thead><tbody>{rows}</tbody>\
         </table></div></details>"
    )
}

fn snapshots(of: &Overview, infos: &[SnapshotInfo]) -> String {
    let row = |info: &SnapshotInfo| {
        let drill = of.drills.get(&info.name).map(|drill| if drill.passed() { "drill passed" } else { "drill FAILED" });
        let warnings = (info.warnings > 0).then(|| format!("{} warnings", info.warnings));
        let notes: Vec<String> = warnings.into_iter().chain(drill.map(String::from)).collect();
        format!(
            "<tr><td><code>{}</code></td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td>{}</td><td>{}</td></tr>",
            short(&info.name.session),
            escaped(&time::show(when(info))),
            escaped(&key_count::cell(info.keys)),
            escaped(&size(info.bytes)),
            escaped(&size(info.stored_bytes)),
            escaped(&info.tags.join(", ")),
            escaped(&notes.join(", "))
        )
    };
    let rows: String = infos.iter().rev().map(row).collect();
    format!(
        "<details><summary>Snapshots, the newest first</summary><div class=\"wide\"><table><thead><tr><th>id</th><th>time</th>\
         <th class=\"n\">keys</th><th class=\"n\">size</th><th class=\"n\">new</th><th>tags</th><th>notes</th></tr></thead>\
         <tbody>{rows}</tbody></table></div></details>"
    )
}

/// A forgotten snapshot that is there.
pub(super) fn forgotten_row(one: &Forgotten) -> Option<String> {
    let info = one.info.as_ref()?;
    Some(format!(
        "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        short(&info.name.session),
        escaped(&time::show(when(info))),
        escaped(&info.dataset),
        moment(one.until()),
        escaped(&one.record.reason)
    ))
}
