//! `redkeep run --dry-run`: what a run would do, step by step, and what of it can be told beforehand.

use serde::Serialize;
use serde_json::Value;

use super::plan::{backup_options, forget_options, second};
use crate::cli::commands::{forget, prune};
use crate::cli::configuration::Profile;
use crate::cli::context::Context;
use crate::cli::human::{count, duration, plain, size};
use crate::cli::outcome::Outcome;
use crate::operations::check::CheckDepth;
use crate::operations::key_drop::told_falls;
use crate::operations::source::{LiveSource, Source};
use crate::operations::{forget as forgetting, prune as pruning};
use crate::redis::server::Cluster;
use crate::repository::{Repository, one_line};

/// A step that would be done.
#[derive(Serialize)]
struct Would {
    step: &'static str,
    would: String,
    /// What its command says of it with `--dry-run --json`.
    result: Option<Value>,
}

#[derive(Serialize)]
struct Json<'a> {
    profile: &'a str,
    dataset: &'a str,
    dry_run: bool,
    steps: &'a [Would],
}

/// Tells what a run of the profile would do now. Nothing is changed, and no command of the user is run.
pub(super) fn told(name: &str, profile: &Profile, dataset: &str, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    let mut steps: Vec<Would> = Vec::new();
    let mut add = |step, would: String, result| steps.push(Would { step, would, result });
    profile.before.0.iter().for_each(|command| add("before", format!("run {command}"), None));
    let (mut warnings, mut notes) = (Vec::new(), Vec::new());
    let from = match &backup_options(profile, context)?.source {
        Source::Server(live) => {
            let why = refused(live, profile.live.cluster);
            warnings.extend(why.map(|why| format!("the backup would fail: {why}")));
            format!("the server at {}", live.address)
        }
        Source::Directory(directory) => format!("the directory {}", directory.display()),
    };
    let from = if profile.live.cluster { format!("every shard of the cluster of {from}") } else { from };
    add("backup", format!("capture {from} as {dataset}"), None);
    if profile.drill {
        add("drill", "boot the new snapshot in a scratch server".into(), None);
    }
    if let Some(options) = forget_options(profile, dataset) {
        let falls = told_falls(&repository, &options.filter)?;
        match falls.is_empty() {
            true => {
                let (would, result, alarms) = of_forget(&repository, options, context)?;
                warnings.extend(alarms);
                add("forget", would, result);
            }
            false => add("forget", "forget nothing, for the keys fell by more than half".into(), None),
        }
        warnings.extend(falls);
    }
    if let Some(rule) = &profile.prune.0 {
        let (would, result, alarms) = of_prune(&repository, rule.options(), context)?;
        warnings.extend(alarms);
        add("prune", would, result);
        notes
            .push("what prune would delete is as of now, before this backup and what it lets be forgotten".to_string());
    }
    if let Some(to) = &profile.copy_to {
        add("copy", format!("copy what is new of {dataset} to {}", second("copy-to", to, context)?.location), None);
    }
    if let Some(to) = &profile.mirror_to {
        add("mirror", format!("send what is new to {}", second("mirror-to", to, context)?.location), None);
    }
    if let Some(rule) = &profile.check.0 {
        add("check", of_check(rule.depth()), None);
    }
    profile.after.0.iter().for_each(|command| add("after", format!("run {command}"), None));
    if let Some(page) = &profile.report {
        add("report", format!("write {}", page.display()), None);
    }
    if profile.health_url.is_some() {
        add("health", "call health-url".into(), None);
    }
    if let Some(file) = &profile.metrics_file {
        add("metrics", format!("write {}", file.display()), None);
    }
    let mut text = format!("redkeep run {name} would\n");
    for (place, would) in (1..).zip(&steps) {
        text.push_str(&format!("  {place}. {}: {}\n", would.step, plain(&would.would)));
    }
    let json = Json { profile: name, dataset, dry_run: true, steps: &steps };
    Ok(Outcome::listing(text, &json)?.with_notes(notes).with_warnings(warnings))
}

/// Why the server cannot be captured now, as far as it says that when it is asked who it is, or which its shards are.
fn refused(live: &LiveSource, is_cluster: bool) -> Option<String> {
    let asked = live.connect().and_then(|mut server| match is_cluster {
        true => Cluster::of(&mut server).map(drop),
        false => server.info().map(drop),
    });
    asked.err().map(|error| match error.hint() {
        Some(hint) => format!("{} (hint: {hint})", one_line(&error)),
        None => one_line(&error),
    })
}

type Told = (String, Option<Value>, Vec<String>);

fn of_forget(repository: &Repository, options: forgetting::Options, context: &Context) -> anyhow::Result<Told> {
    let options = forgetting::Options { dry_run: true, ..options };
    let (report, outcome) = forget::done(repository, &options, context)?;
    let (_, json, warnings, _) = outcome.into_step();
    let all: usize = report.datasets.iter().map(|dataset| dataset.verdicts.len()).sum();
    let forgotten = report.datasets.iter().flat_map(|dataset| &dataset.verdicts).filter(|one| !one.is_kept).count();
    let would = format!("forget {forgotten} of {} that are there now", count(all as u64, "snapshot"));
    Ok((would, serde_json::from_str(&json).ok(), warnings))
}

fn of_prune(repository: &Repository, options: pruning::Options, context: &Context) -> anyhow::Result<Told> {
    let options = pruning::Options { dry_run: true, ..options };
    let (report, outcome) = prune::done(repository, &options, context)?;
    let (_, json, warnings, _) = outcome.into_step();
    let would = match report.deleted_packs {
        0 => "delete nothing".into(),
        packs => format!("delete {}, {}", count(packs, "pack"), size(report.deleted_bytes)),
    };
    Ok((would, serde_json::from_str(&json).ok(), warnings))
}

fn of_check(depth: CheckDepth) -> String {
    match depth {
        CheckDepth::Structure => "look at the repository, and read no pack".into(),
        CheckDepth::Data => "read every pack".into(),
        CheckDepth::Subset { part, of } => format!("read part {part} of {of} of the packs"),
        CheckDepth::Share { hundredths } => {
            format!("read {}.{:02} % of the packs, the longest unread", hundredths / 100, hundredths % 100)
        }
        CheckDepth::MaxAge(age) => {
            format!("read the packs that no check read for {}", duration(age.as_millis() as u64))
        }
    }
}
