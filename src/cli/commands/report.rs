//! `redkeep report`.

mod advice;
mod chart;
mod dataset;
mod page;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use self::advice::advice;
use crate::cli::configuration::Profile;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::human::{count, duration, plain};
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::{output, time};
use crate::operations::check::CheckDepth;
use crate::operations::overview::{overview, write_page};
use crate::repository::{Repository, SnapshotInfo};
use crate::store::Location;

/// How old the newest backup of a dataset may be that nobody said anything about.
pub(in crate::cli::commands) const MAX_AGE: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Write a page about the repository: timelines, growth, costs, what to do next
///
/// Writes one HTML file that needs no network and no script: of each dataset the timeline with its gaps, its snapshots and
/// what was forgotten, its growth, the ages of backup, check and drill against what the profiles of the configuration
/// wish, what was stored per day by kind, and what to do next. Its figures are those of `redkeep stats`.
///
/// The page names datasets, hosts and tags, which the repository keeps secret: a new file is its owner's alone, and one that is
/// there keeps its mode. A profile with `report = "FILE"` has `redkeep run` write it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep report redkeep.html
  redkeep report /var/www/redkeep.html --max-age 26h

JSON:
  {\"path\", \"bytes\": of the page, \"datasets\": number, \"snapshots\": number,
   \"todo\": [{\"level\": \"bad\" or \"warn\", \"message\",
     \"command\": text or null}], \"alarms\": [{\"code\", \"message\"}]}
")]
pub(crate) struct Arguments {
    /// The file, or - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How old the newest backup of each dataset may be
    #[arg(long, value_name = "SPAN", value_parser = time::exact_span, default_value = "2d")]
    max_age: Duration,
}

/// What a profile wishes that a page can compare with what is.
#[derive(Debug, Clone, Default)]
pub(in crate::cli::commands) struct Wishes {
    /// Its dataset, where that is said.
    dataset: Option<String>,
    /// Whether that is the name of sets.
    is_cluster: bool,
    /// Within which time every pack is read.
    check: Option<Duration>,
    /// Whether each snapshot is drilled.
    drill: bool,
}

impl Wishes {
    /// Those of a profile, of a dataset that is known otherwise where it does not say it.
    pub fn of(profile: &Profile, dataset: Option<&str>) -> Wishes {
        let check = match profile.check.0.as_ref().map(|rule| rule.depth()) {
            Some(CheckDepth::MaxAge(span)) => Some(span),
            _ => None,
        };
        let dataset = profile.of.dataset.as_deref().or(dataset).map(String::from);
        Wishes { dataset, is_cluster: profile.live.cluster, check, drill: profile.drill }
    }

    fn is_of(&self, info: &SnapshotInfo) -> bool {
        let named = match self.is_cluster {
            true => info.told.set.as_ref().map(|of| &of.name),
            false => Some(&info.dataset),
        };
        self.dataset.is_some() && self.dataset.as_ref() == named
    }
}

/// What `report` prints with `--json`.
#[derive(Serialize)]
struct Json {
    path: String,
    bytes: u64,
    datasets: u64,
    snapshots: u64,
    todo: Vec<Todo>,
    alarms: Vec<crate::cli::json::AlarmOf>,
}

#[derive(Serialize)]
struct Todo {
    level: &'static str,
    message: String,
    command: Option<String>,
}

/// Writes the page.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let is_output = arguments.file.as_os_str() == "-";
    if is_output && context.globals.json {
        return Err(
            UsageError { what: "a page is no JSON".into(), hint: "name a file, or leave --json out".into() }.into()
        );
    }
    let repository = context.open()?;
    context.progress.stop_in_order();
    if is_output {
        let (found, wishes) = (overview(&repository, &context.progress)?, wishes(context)?);
        let page = page::page(&found, &advice(&found, &wishes, arguments.max_age), &wishes, arguments.max_age);
        output::write(page.as_bytes()).context(UNWRITTEN)?;
        return Ok(Outcome::nothing().with_alarms(&found.stats.alarms));
    }
    written(&repository, &arguments.file, &wishes(context)?, arguments.max_age, context)
}

/// Writes the page of an open repository, and says what that answers.
pub(super) fn written(
    repository: &Repository,
    file: &Path,
    wishes: &[Wishes],
    max_age: Duration,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let found = overview(repository, &context.progress)?;
    let todo = advice(&found, wishes, max_age);
    let page = page::page(&found, &todo, wishes, max_age);
    write_page(file, &page).with_context(|| format!("cannot write {}", file.display()))?;
    let (datasets, snapshots) = (found.stats.datasets.len() as u64, found.stats.snapshots);
    let text = format!(
        "wrote {}: {}, {}, {}\n",
        plain(&file.display().to_string()),
        count(datasets, "dataset"),
        count(snapshots, "snapshot"),
        match todo.len() as u64 {
            0 => "nothing to do".into(),
            number => format!("{} to do", count(number, "thing")),
        }
    );
    let of = |one: advice::Advice| Todo { level: one.level.word(), message: one.what, command: one.command };
    let json = Json {
        path: file.display().to_string(),
        bytes: page.len() as u64,
        datasets,
        snapshots,
        todo: todo.into_iter().map(of).collect(),
        alarms: crate::cli::json::alarms(&found.stats.alarms),
    };
    Ok(Outcome::deed(text, &json)?.with_alarms(&found.stats.alarms))
}

/// Those of the profile that is named, else of all that are of this repository.
fn wishes(context: &Context) -> anyhow::Result<Vec<Wishes>> {
    if let Some(profile) = context.profile()? {
        return Ok(vec![Wishes::of(profile, None)]);
    }
    let (here, configuration) = (context.location()?, context.configuration()?);
    let mut wishes = Vec::new();
    for name in configuration.profiles() {
        let there = configuration.access(Some(name))?.repo.and_then(|repo| repo.parse::<Location>().ok());
        if there.is_some_and(|there| there == here) {
            wishes.push(Wishes::of(configuration.profile(name)?, None));
        }
    }
    Ok(wishes)
}

/// A length of time as it is said of an age.
fn age(millis: u64) -> String {
    const HOUR: u64 = 60 * 60 * 1000;
    match millis {
        0..60_000 => "less than a minute".into(),
        60_000..HOUR => count(millis / 60_000, "minute"),
        _ if millis < 48 * HOUR => duration(millis),
        _ => count(millis / HOUR / 24, "day"),
    }
}
