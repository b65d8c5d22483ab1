//! `redkeep check`.

mod json;

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;
use jiff::SpanRelativeTo;
use serde::Deserialize;

use crate::cli::configuration::values;
use crate::cli::context::Context;
use crate::cli::human::{count, plain, short, size, some_of};
use crate::cli::outcome::Outcome;
use crate::cli::time;
use crate::format::Id16;
use crate::operations::check::{CheckDepth, CheckReport, Damage, check};
use crate::operations::repair::{RepairReport, repair};
use crate::repository::Repository;

/// Lines of one kind that people are shown; --json has all.
const SHOWN: usize = 50;

/// Check the repository itself, and repair it
///
/// Checks that everything a snapshot needs is in the repository and, where packs are read, that every byte of them is
/// what was stored. Ends with 4 where something is damaged or missing, and names each object and each file that is lost
/// with it. What was read, and with which result, is kept in the repository: --max-age and --subset with a per cent
/// number take the packs that were not read for longest, and packs that were found damaged are read again each time.
///
/// --repair names packs again whose index object is lost, writes down what is lost, so that other commands no longer
/// stop or warn about it, and sees to it that the next backup stores again whatever it can of what was lost. It deletes
/// and overwrites nothing. It ends with 0 where nothing was wrong, with 3 where nothing is lost, with 4 where something is.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep check
  redkeep check --read-data
  redkeep check --subset 1/7          # a seventh of the packs, on each of seven days another
  redkeep check --subset 2.5%         # those that were not read for longest
  redkeep check --max-age 30d         # what was not read in 30 days: from cron, a little every day
  redkeep check --read-data --repair

JSON:
  {\"sound\": bool, \"read_data\": bool, \"packs\": number, \"bytes_read\",
   \"snapshots\": number, \"chunks\": number, \"unindexed_packs\": number,
   \"damage\": [{\"object\", \"problem\"}],
   \"elsewhere\": [{the same}], snapshots that were seen at another location,
   \"replaced\": [{\"object\", \"problem\"}], damaged packs that nobody needs,
   \"lost_files\": [{\"snapshot\": id, \"path\"}],
   \"lost_chunks\": [{\"chunk\", \"files\": [{\"snapshot\": id, \"path\"}]}],
   \"reading\": {\"packs\": number, \"skipped\": number, \"never_read\": number
     of the skipped, \"oldest\": time another skipped pack was read or null,
     \"not_kept\": why the results could not be kept or null},
   \"repair\": null or {\"found\": [{\"object\", \"problem\"}],
     \"indexed_packs\", \"recorded_packs\", \"recorded_chunks\",
     \"recorded_objects\", \"condemned_packs\": each [text]}}
  With --repair, all but \"repair\" says what is left.
")]
pub(crate) struct Arguments {
    #[command(flatten)]
    rule: Rule,
    /// Name again what can be found, write down what is lost
    #[arg(long)]
    repair: bool,
}

/// How much is read. Written on the command line or in a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct Rule {
    /// Also read every pack and compare every chunk in it
    #[arg(long)]
    read_data: bool,
    /// Also read a part of the packs: the N-th of M, or a share in per cent
    #[arg(long, value_name = "N/M|P%", value_parser = subset, conflicts_with_all = ["read_data", "max_age"])]
    #[serde(deserialize_with = "values::subset")]
    subset: Option<CheckDepth>,
    /// Also read the packs that no check found whole within this time, such as 30d or 12h
    #[arg(long, value_name = "SPAN", value_parser = age, conflicts_with = "read_data")]
    #[serde(deserialize_with = "values::age")]
    max_age: Option<CheckDepth>,
}

impl Rule {
    /// How much is read.
    pub fn depth(&self) -> CheckDepth {
        let all = self.read_data.then_some(CheckDepth::Data);
        all.or(self.subset).or(self.max_age).unwrap_or(CheckDepth::Structure)
    }

    /// Whether it says at most one thing, as the command line sees to itself.
    pub fn is_one(&self) -> bool {
        [self.read_data, self.subset.is_some(), self.max_age.is_some()].iter().filter(|is_said| **is_said).count() <= 1
    }
}

pub(in crate::cli) fn subset(text: &str) -> Result<CheckDepth, String> {
    let wrong = || "write N/M with N from 1 to M, or a per cent number above 0 such as 5% or 0.25%".to_string();
    if let Some((part, of)) = text.split_once('/') {
        let (part, of): (u64, u64) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        return (1..=of).contains(&part).then_some(CheckDepth::Subset { part, of }).ok_or_else(wrong);
    }
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 2 || !is_number(whole) || !is_number(fraction) {
        return Err(wrong());
    }
    let hundredths: u32 = format!("{whole}{fraction:0<2}").parse().map_err(|_| wrong())?;
    (1..=100 * 100).contains(&hundredths).then_some(CheckDepth::Share { hundredths }).ok_or_else(wrong)
}

pub(in crate::cli) fn age(text: &str) -> Result<CheckDepth, String> {
    let wrong = || "write a span of weeks, days, hours or minutes, such as 30d or 12h".to_string();
    let span = time::with_units(text).ok_or_else(wrong)?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(span).map(CheckDepth::MaxAge).map_err(|_| wrong())
}

/// Checks the repository, or repairs it.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    context.progress.stop_in_order();
    let depth = arguments.rule.depth();
    match arguments.repair {
        true => repaired(&repair(&repository, depth, &context.progress)?, arguments.rule.read_data),
        false => done(&repository, depth, context),
    }
}

/// Checks, and says what that answers.
pub(super) fn done(repository: &Repository, depth: CheckDepth, context: &Context) -> anyhow::Result<Outcome> {
    let report = check(repository, depth, &context.progress)?;
    let is_damaged = !report.is_sound();
    let json = json::Check::new(&report, matches!(depth, CheckDepth::Data));
    let text = text(&report, depth);
    let outcome = if is_damaged { Outcome::listing(text, &json)? } else { Outcome::deed(text, &json)? };
    let hint = "redkeep check --read-data --repair writes down what is lost, and the next backup stores again what it can of it";
    let outcome = outcome.in_short(in_short(&report)).with_notes(is_damaged.then(|| hint.to_string()));
    let behind = report.elsewhere.iter().map(|one| format!("{}: {}", plain(&one.object), plain(&one.problem)));
    Ok(outcome.with_warnings(behind).with_warnings(not_kept(&report)).with_damage(is_damaged))
}

/// What was found, in a few words.
fn in_short(report: &CheckReport) -> String {
    let packs = count(report.packs, "pack");
    if report.is_sound() {
        return format!("checked {packs}, no damage");
    }
    let objects = count(distinct(&report.damage).len() as u64, "object");
    let files = count(report.lost_files.len() as u64, "file");
    format!("checked {packs}: {objects} DAMAGED, {files} lost; see: redkeep check")
}

fn not_kept(report: &CheckReport) -> Option<String> {
    let why = report.reading.not_kept.as_ref()?;
    Some(format!("what was read could not be written down, and will be read again: {why}"))
}

fn text(report: &CheckReport, depth: CheckDepth) -> String {
    let mut text = looked_at(report);
    if report.unindexed_packs > 0 {
        let packs = count(report.unindexed_packs, "pack");
        text.push_str(&format!("{packs} in no index, as an interrupted backup leaves: no harm\n"));
    }
    text.push_str(&damaged(&report.damage));
    text.push_str(&replaced(&report.replaced));
    text.push_str(&lost(report));
    text.push_str(&verdict(report, depth));
    text
}

fn looked_at(report: &CheckReport) -> String {
    let reading = &report.reading;
    let read = match reading.packs {
        0 => "not read".into(),
        packs if packs < report.packs => format!("read {packs} of them, {}", size(report.bytes_read)),
        _ => format!("read {}", size(report.bytes_read)),
    };
    let mut text = format!(
        "checked {} ({read}), {}, {}\n",
        count(report.packs, "pack"),
        count(report.snapshots, "snapshot"),
        count(report.chunks, "chunk")
    );
    // Without a word about ages where packs are never read.
    if reading.skipped > 0 && (reading.packs > 0 || reading.oldest.is_some()) {
        let never = (reading.never > 0).then(|| format!("{} never read", count(reading.never, "pack")));
        let oldest = reading.oldest.map(|time| format!("the oldest reading is of {}", time::show(time)));
        let told: Vec<String> = [never, oldest].into_iter().flatten().collect();
        text.push_str(&format!("not read this time: {} ({})\n", count(reading.skipped, "pack"), told.join(", ")));
    }
    text
}

fn damaged(damage: &[Damage]) -> String {
    let line = |damage: &&Damage| format!("damaged: {}: {}\n", plain(&damage.object), plain(&damage.problem));
    let damage = distinct(damage);
    some_lines(damage.iter().map(line), damage.len())
}

fn replaced(packs: &[Damage]) -> String {
    let line = |of: &Damage| {
        format!(
            "needed no more: {} (damaged): what snapshots need of it is stored elsewhere, too, and redkeep prune removes it\n",
            plain(&of.object)
        )
    };
    some_lines(packs.iter().map(line), packs.len())
}

/// Each damage once: an object is looked for from several places, and told by each.
fn distinct(damage: &[Damage]) -> Vec<&Damage> {
    let mut seen = HashSet::new();
    damage.iter().filter(|damage| seen.insert((&damage.object, &damage.problem))).collect()
}

fn lost(report: &CheckReport) -> String {
    let file = |(id, path): &(Id16, String)| format!("lost: {} {}\n", short(id), plain(path));
    let mut text = some_lines(report.lost_files.iter().map(file), report.lost_files.len());
    let chunks = &report.lost_chunks;
    let line = |lost: &crate::operations::check::LostChunk| {
        let files: Vec<String> = lost.files.iter().map(|(id, path)| format!("{} {path}", short(id))).collect();
        format!("lost: chunk {}, needed by {}\n", lost.chunk, some_of(&files))
    };
    text.push_str(&some_lines(chunks.iter().map(line), chunks.len()));
    text
}

fn some_lines(lines: impl Iterator<Item = String>, lines_there: usize) -> String {
    let mut text: String = lines.take(SHOWN).collect();
    if lines_there > SHOWN {
        text.push_str(&format!(
            "… and {} like these, all with --json\n",
            count((lines_there - SHOWN) as u64, "more line")
        ));
    }
    text
}

fn verdict(report: &CheckReport, depth: CheckDepth) -> String {
    if report.is_sound() {
        return match depth {
            CheckDepth::Data => "the repository is sound\n".into(),
            CheckDepth::Structure => "no damage found; --read-data would also read the packs\n".into(),
            CheckDepth::Subset { .. } | CheckDepth::Share { .. } | CheckDepth::MaxAge(_) => "no damage found\n".into(),
        };
    }
    let objects: HashSet<&String> = report.damage.iter().map(|damage| &damage.object).collect();
    let objects = count(objects.len() as u64, "object");
    format!("the repository is DAMAGED: {objects}, {}\n", lost_in_all(report))
}

fn lost_in_all(report: &CheckReport) -> String {
    let mut snapshots: Vec<_> = report.lost_files.iter().map(|(id, _)| id).collect();
    snapshots.sort();
    snapshots.dedup();
    match report.lost_files.len() as u64 {
        0 => "no file of a snapshot is lost".into(),
        files => format!("{} of {} lost", count(files, "file"), count(snapshots.len() as u64, "snapshot")),
    }
}

fn repaired(report: &RepairReport, read_data: bool) -> anyhow::Result<Outcome> {
    let outcome = Outcome::listing(repair_text(report), &json::Check::repaired(report, read_data))?;
    let found = (!report.found.is_sound()).then(|| "damage was found and dealt with".to_string());
    let advice =
        "take a backup now: it stores again what it can of what is lost; then forget the snapshots that stay damaged";
    let advice = report.has_losses().then_some(advice);
    let outcome = outcome.with_notes(advice.map(String::from)).with_warnings(not_kept(&report.left));
    Ok(outcome.with_warnings(found).with_damage(report.has_losses()))
}

fn repair_text(report: &RepairReport) -> String {
    let mut text = looked_at(&report.found);
    text.push_str(&damaged(&report.found.damage));
    if !report.indexed.is_empty() {
        let packs = count(report.indexed.len() as u64, "pack");
        text.push_str(&format!("named again: {packs} that no index object named\n"));
    }
    let recorded = report.recorded.packs.iter().map(|pack| format!("pack {pack}"));
    let recorded: Vec<String> = recorded.chain(report.recorded.objects.iter().cloned()).collect();
    let line = |object: &String| format!("recorded as lost: {}\n", plain(object));
    text.push_str(&some_lines(recorded.iter().map(line), recorded.len()));
    if !report.condemned.is_empty() {
        let packs = count(report.condemned.len() as u64, "pack");
        text.push_str(&format!("condemned: {packs}, so that backups store again what they held\n"));
    }
    text.push_str(&lost(&report.left));
    let left = &report.left;
    text.push_str(&match (report.found.is_sound(), left.damage.is_empty()) {
        (true, true) if report.condemned.is_empty() => "nothing to repair\n".to_string(),
        (true, true) => "nothing is lost\n".to_string(),
        (false, true) if report.has_losses() => format!("repaired, but for what is gone: {}\n", gone(report)),
        (false, true) => "repaired: nothing is lost\n".to_string(),
        (_, false) => format!("{}this is still DAMAGED; {}\n", damaged(&left.damage), lost_in_all(left)),
    });
    text
}

fn gone(report: &RepairReport) -> String {
    let snapshots = report.recorded.objects.iter().filter(|name| name.starts_with("snapshots/")).count() as u64;
    match snapshots {
        0 => lost_in_all(&report.left),
        _ => format!("{} cannot be read, {}", count(snapshots, "snapshot"), lost_in_all(&report.left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subset_is_a_part_or_a_share() {
        assert_eq!(subset("2/7"), Ok(CheckDepth::Subset { part: 2, of: 7 }));
        assert_eq!(subset("5%"), Ok(CheckDepth::Share { hundredths: 500 }));
        assert_eq!(subset("2.5%"), Ok(CheckDepth::Share { hundredths: 250 }));
        assert_eq!(subset("0.05%"), Ok(CheckDepth::Share { hundredths: 5 }));
        assert_eq!(subset("100%"), Ok(CheckDepth::Share { hundredths: 10_000 }));
        for bad in ["", "0/7", "8/7", "1/0", "1/", "7", "0%", "0.00%", "101%", "0.005%", "-1%", ".5%", "1e1%", "%"] {
            assert!(subset(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_age_is_a_span_of_fixed_length() {
        assert_eq!(age("30d"), Ok(CheckDepth::MaxAge(Duration::from_secs(30 * 24 * 3600))));
        assert_eq!(age("12h"), Ok(CheckDepth::MaxAge(Duration::from_secs(12 * 3600))));
        assert_eq!(age("2w"), Ok(CheckDepth::MaxAge(Duration::from_secs(14 * 24 * 3600))));
        for bad in ["", "30", "-3d", "1mo", "1y", "3d ago", "soon"] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
