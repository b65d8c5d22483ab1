//! The page: HTML that is well-formed XML too, without a script and without anything from elsewhere.
//!
//! What comes from the repository is hostile: every word passes [`escaped`], and the page itself forbids what could load or
//! run.

use std::fmt::Write as _;
use std::time::Duration;

use super::advice::{Advice, Level};
use super::dataset;
use super::{Wishes, age};
use crate::cli::commands::report::chart;
use crate::cli::human::{plain, size};
use crate::cli::time;
use crate::format::UnixMillis;
use crate::format::summary::Holds;
use crate::operations::overview::Overview;
use crate::repository::SnapshotInfo;

const STYLE: &str = include_str!("style.css");

/// The page has no more bars in a chart.
const BARS: i64 = 110;

/// Text as it stands in the page: nothing in it is a tag, an entity, a quote, or cannot be seen.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in plain(text).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // No letters, and not allowed in XML.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A number that programs read, too.
pub(super) fn figure(id: &str, value: u64, shown: &str) -> String {
    format!("<data id=\"{id}\" value=\"{value}\">{}</data>", escaped(shown))
}

/// The same of what may not be known.
pub(super) fn perhaps(id: &str, value: Option<u64>) -> String {
    value.map_or("?".into(), |value| figure(id, value, &size(value)))
}

/// A moment, which may be broken between the day and the time only.
pub(super) fn moment(moment: UnixMillis) -> String {
    let shown = time::show(moment);
    let (day, time) = shown.split_at_checked("2026-11-29".len()).unwrap_or((&shown, ""));
    let parts = [day, time].map(|part| format!("<span>{}</span>", escaped(part))).join("<wbr/>");
    format!("<time datetime=\"{}\">{parts}</time>", escaped(&time::exact(moment)))
}

/// Names and values in boxes; what the values hold is HTML.
pub(super) fn tiles(tiles: &[(&str, String, String)]) -> String {
    let tile = |(name, value, more): &(&str, String, String)| {
        let more = if more.is_empty() { String::new() } else { format!("<small>{more}</small>") };
        format!("<div><dt>{}</dt><dd>{value}{more}</dd></div>", escaped(name))
    };
    format!("<dl class=\"tiles\">{}</dl>", tiles.iter().map(tile).collect::<String>())
}

/// The ends of a chart, as dates.
pub(super) fn ends(times: [u64; 2]) -> String {
    let [from, to] = times.map(|time| moment(UnixMillis(time)));
    format!("<div class=\"axis\"><span>{from}</span><span>{to}</span></div>")
}

/// The whole page.
pub(super) fn page(of: &Overview, advice: &[Advice], wishes: &[Wishes], max_age: Duration) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta charset=\"utf-8\"/>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <meta name=\"referrer\" content=\"no-referrer\"/><title>redkeep: {place}</title><style>{STYLE}</style></head>\
         <body><main><h1>redkeep report</h1><p class=\"soft\">{place}, repository {id}, as of {now}</p>",
        place = escaped(&of.location),
        id = escaped(&of.repository),
        now = moment(of.now),
    );
    page.push_str(&overall(of));
    page.push_str(&todo(advice));
    page.push_str(&by_day(of));
    for of_one in of.kept.chunk_by(|one, other| one.dataset == other.dataset) {
        page.push_str(&dataset::section(of, of_one, wishes, max_age));
    }
    page.push_str(&forgotten(of));
    let _ = writeln!(
        page,
        "<p class=\"soft\">Written by redkeep {}. It shows what the repository said then, and asks nobody.</p>\
         </main></body></html>",
        env!("CARGO_PKG_VERSION")
    );
    page
}

fn overall(of: &Overview) -> String {
    let (stats, totals, reads) = (&of.stats, &of.stats.totals, &of.reads);
    let all = of.usage.as_ref().map(|(_, all)| all);
    let ago = |time: Option<UnixMillis>| {
        time.map_or("never".into(), |time| format!("{} ago", age(of.now.0.saturating_sub(time.0))))
    };
    let read = match reads.never {
        0 => format!("the longest unread {}", ago(reads.oldest)),
        never => format!("{never} of {} packs never read again", reads.packs),
    };
    tiles(&[
        ("snapshots", figure("snapshots", stats.snapshots, &stats.snapshots.to_string()), String::new()),
        (
            "if each were restored",
            figure("restored_bytes", stats.restored_bytes, &size(stats.restored_bytes)),
            String::new(),
        ),
        (
            "stored in packs",
            figure("pack_bytes", totals.pack_bytes, &size(totals.pack_bytes)),
            format!("{} packs", figure("packs", totals.packs, &totals.packs.to_string())),
        ),
        (
            "chunks",
            figure("chunks", totals.chunks, &totals.chunks.to_string()),
            format!(
                "{} before compression, {} deltas",
                figure("chunk_bytes", totals.chunk_bytes, &size(totals.chunk_bytes)),
                figure("deltas", totals.deltas, &totals.deltas.to_string())
            ),
        ),
        (
            "prune can give back",
            perhaps("reclaimable_bytes", all.map(|all| all.unneeded)),
            format!(
                "shared {}, bases {}",
                perhaps("shared_bytes", all.map(|all| all.shared)),
                perhaps("base_bytes", all.map(|all| all.bases))
            ),
        ),
        ("last read by a check", escaped(&ago(reads.newest)), escaped(&read)),
    ])
}

fn todo(advice: &[Advice]) -> String {
    let item = |one: &Advice| {
        let command =
            one.command.as_deref().map_or(String::new(), |command| format!("<code>{}</code>", escaped(command)));
        format!("<li class=\"{}\">{}{command}</li>", one.level.word(), escaped(&one.what))
    };
    let items: String = match advice {
        [] => format!("<li class=\"{}\">Nothing: all is as it should be.</li>", Level::Good.word()),
        some => some.iter().map(item).collect(),
    };
    format!("<h2>What to do next</h2><ul class=\"todo\">{items}</ul>")
}

/// What a snapshot stored, by kind; at last tables.
fn kinds(info: &SnapshotInfo) -> [u64; Holds::ALL.len() + 1] {
    let mut stored = [0; Holds::ALL.len() + 1];
    let (kinds, tables) = info.told.summary.by_kind();
    for (holds, new) in kinds {
        if let Some(place) = stored.get_mut(holds as usize) {
            *place = new.stored;
        }
    }
    if let Some(last) = stored.last_mut() {
        *last = tables;
    }
    stored
}

/// Bytes stored per day, or per so many days that they can be seen.
fn by_day(of: &Overview) -> String {
    let day = time::day;
    let (Some(first), Some(last)) =
        (of.kept.iter().map(|info| day(info.begin)).min(), of.kept.iter().map(|info| day(info.begin)).max())
    else {
        return String::new();
    };
    let days = last.saturating_sub(first).saturating_add(1);
    let step = [1, 7, 30].into_iter().find(|step| days / step < BARS).unwrap_or(days / BARS + 1);
    let mut bars =
        vec![[0_u64; Holds::ALL.len() + 1]; days.saturating_add(step - 1).div_euclid(step).unsigned_abs() as usize];
    for info in &of.kept {
        if let Some(bar) = bars.get_mut(((day(info.begin) - first) / step).unsigned_abs() as usize) {
            bar.iter_mut().zip(kinds(info)).for_each(|(sum, part)| *sum = sum.saturating_add(part));
        }
    }
    let names: Vec<&str> = Holds::ALL.iter().map(|holds| holds.word()).chain(["tables"]).collect();
    let sum = |bar: &[u64]| bar.iter().copied().fold(0, u64::saturating_add);
    let title = |(number, bar): (usize, &[u64; Holds::ALL.len() + 1])| {
        let parts = bar.iter().zip(&names).filter(|(part, _)| **part > 0);
        let parts: Vec<String> = parts.map(|(part, name)| format!("{name} {}", size(*part))).collect();
        format!("{}: {} ({})", time::date_of(first + number as i64 * step), size(sum(bar)), parts.join(", "))
    };
    let titles: Vec<String> = bars.iter().enumerate().map(title).collect();
    let most = bars.iter().map(|bar| sum(bar)).max().unwrap_or(0);
    let per = if step == 1 { "day".into() } else { format!("{step} days") };
    let legend: String = names
        .iter()
        .enumerate()
        .map(|(number, name)| format!("<span><i class=\"k{number}\"></i>{}</span>", escaped(name)))
        .collect();
    format!(
        "<h2>Stored per {per}, by kind</h2><figure><figcaption>by kept snapshots; the highest bar is {}</figcaption>{}\
         <div class=\"axis\"><span>{}</span><span>{}</span></div><div class=\"legend\">{legend}</div></figure>",
        escaped(&size(most)),
        chart::bars(&bars, &titles),
        escaped(&time::date_of(first)),
        escaped(&time::date_of(last)),
    )
}

/// What was forgotten and can be had back, of all datasets.
fn forgotten(of: &Overview) -> String {
    let rows: String = of.forgotten.iter().filter_map(dataset::forgotten_row).collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!(
            "<h2>Forgotten, and not yet gone</h2><div class=\"wide\"><table><thead><tr><th>id</th><th>time</th>\
             <th>dataset</th><th>can be had back until</th><th>why</th></tr></thead><tbody>{rows}</tbody></table></div>"
        ),
    }
}
