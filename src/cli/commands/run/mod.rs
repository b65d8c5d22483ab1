//! `redkeep run`: what cron calls. The steps of a profile one after the other, the user's commands around them, and a
//! word to whoever watches. A step that fails never hides how the others ended.

mod dry;
mod plan;
mod report;
mod steps;

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::cli::commands::report as page;
use crate::cli::configuration::Profile;
use crate::cli::context::Context;
use crate::cli::exit::{BusyError, UsageError};
use crate::cli::outcome::Outcome;
use crate::format::UnixMillis;
use crate::held::Held;
use crate::operations::hooks;
use crate::operations::watch::{self, Numbers};
use crate::operations::{Observer, Silent};
use crate::repository::Ambient;

pub(super) use plan::{Wanted, dataset, second, wanted};
use report::Report;
use steps::Steps;

/// How long one call of a health check may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Do what a profile says: backup, forget, prune, check
///
/// Takes a backup, forgets, prunes, keeps second copies and checks, as a profile of the configuration says, and prints one line. It ends with
/// the worst exit code of its steps. After a failed backup nothing is forgotten or pruned; second copies and the check are done all the
/// same. After a set that lacks a shard (cluster = true) nothing is forgotten. Where the backup finds the repository's disk full and the profile prunes, it forgets and prunes first and tries
/// again. Where a snapshot of the dataset has less than half of the keys of the one before it, and nobody has said that this was meant (`redkeep tag latest --accept-drop`), nothing is forgotten either, and each run that would forget warns. `redkeep schedule install PROFILE` has it run every day. While a run of the profile is at work on this host,
/// another ends with 5 at once.
///
/// The configuration is TOML. What is said at the top counts for all; what a profile says of it comes first. Relative
/// paths are relative to the file. A name that is not known is refused.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep run daily
  redkeep run daily --dry-run
  redkeep run daily --config ./redkeep.toml --json

Configuration, /etc/redkeep.toml or ~/.config/redkeep/config.toml
(each key: redkeep config example; its mistakes: redkeep config check):
  repo = \"/srv/redkeep\"
  password-file = \"/etc/redkeep/password\"

  [profile.daily]
  redis = \"redis://redkeep@localhost\"      # the live server, and its
  redis-password-file = \"redis-password\"  # password
  dataset = \"sessions\"
  keep-daily = 14                          # without any, nothing is forgotten
  prune = true
  check = { max-age = \"30d\" }
  drill = true                             # boot each new snapshot
  #cluster = true                          # all shards, as one set
  mirror-to = \"elsewhere\"                  # a second copy, where that profile says

Commands of the profile:
  They find REDKEEP_PROFILE, REDKEEP_DATASET, and after the steps
  REDKEEP_EXIT_CODE, REDKEEP_SNAPSHOT (id, or empty) and REDKEEP_SUMMARY
  (the printed line). What they print goes to standard error, with
  --quiet only where they fail. `after` runs
  where the steps ended with 0 or 3, `on-failure` otherwise; where one of
  them fails, the run ends with 3 at least.

JSON:
  {\"profile\", \"dataset\", \"exit_code\": number, \"begin\", \"milliseconds\",
   \"snapshot\": id, of a set with cluster = true, or null, \"summary\": the line,
   \"steps\": [{\"step\": \"before\", \"backup\", \"drill\", \"forget\", \"prune\",
     \"copy\", \"mirror\" or \"check\",
     \"exit_code\": number or null where it was not run, \"milliseconds\",
     \"result\": what that command prints with --json, or null,
     \"error\": {\"message\", \"hint\", \"exit_code\"} or null}],
   \"warnings\": [text]}
  The drill of a set: {\"set\": id, \"drills\": [{\"snapshot\": id, \"slots\",
     and as in redkeep verify}]}
  With --dry-run:
  {\"profile\", \"dataset\", \"dry_run\": true, \"steps\": [{\"step\", \"would\": text,
     \"result\": what that command prints with --dry-run --json, or null}]}
")]
pub(crate) struct Arguments {
    /// The profile
    #[arg(value_name = "PROFILE")]
    name: String,
    /// Say what would be done, step by step, and change nothing: no command is run, nobody is called
    #[arg(long)]
    dry_run: bool,
}

impl Arguments {
    /// The profile that is run.
    pub fn profile(&self) -> &str {
        &self.name
    }
}

/// Runs a profile.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let (Some(name), Some(profile)) = (context.profile_name(), context.profile()?) else {
        return Err(UsageError {
            what: "no profile was named".into(),
            hint: "name one of the configuration, such as: redkeep run daily".into(),
        }
        .into());
    };
    if arguments.dry_run {
        context.progress.stop_in_order();
        let dataset = dataset(profile, &Ambient::system().host, context)?;
        return dry::told(name, profile, &dataset, context);
    }
    let _turn = take_turn(name, context)?;
    context.progress.stop_in_order();
    let ambient = Ambient::system();
    let (begin, clock) = (ambient.now(), Instant::now());
    // Why it has none is told by the backup that cannot be taken.
    let dataset = dataset(profile, &ambient.host, context).unwrap_or_default();
    let steps = Steps::do_all(name, profile, &dataset, context);
    let mut report = Report::new(name, dataset, begin, steps);
    report.millis = clock.elapsed().as_millis() as u64;
    run_hooks(profile, &mut report, context);
    report.millis = clock.elapsed().as_millis() as u64;
    write_page(profile, &mut report, context);
    tell_watchers(profile, &mut report, ambient.now());
    report.outcome(context)
}

/// Runs of one profile take turns: one that takes longer than its rhythm must not meet the next. The kernel lets go of
/// the lock when the process ends, however it ends. Where no lock can be had the run goes on without: opening the
/// repository will tell what is wrong with the directory.
fn take_turn(name: &str, context: &Context) -> anyhow::Result<Option<File>> {
    let Some(state) = context.places()?.state else { return Ok(None) };
    // Profiles of one name in other files are others.
    let file = context.configuration()?.own_file(name).map(|path| path.canonicalize().unwrap_or_else(|_| path.into()));
    let which = blake3::hash(format!("{file:?}").as_bytes()).to_hex();
    let name_of_lock = format!("run-{name}-{}.lock", which.get(..8).unwrap_or_default());
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&state);
    let file = made.and_then(|()| Held::open(&state)?.lock_file(name_of_lock.as_ref()));
    let Ok(file) = file else { return Ok(None) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Err(BusyError {
            what: format!("another run of profile {name} is at work on this host"),
            hint: "nothing was done; let it end, or have the profile run less often".into(),
        }
        .into()),
        Err(_) => Ok(None),
    }
}

/// The user's commands at the end. What they do wrong is a warning: the run has its result.
fn run_hooks(profile: &Profile, report: &mut Report, context: &Context) {
    let is_success = report.code().is_success();
    let (which, commands) = match is_success {
        true => ("after", &profile.after.0),
        false => ("on-failure", &profile.on_failure.0),
    };
    let variables = report.variables(context);
    // After an interrupt the commands that tell of it still run; a second one ends the program.
    let observer: &dyn Observer = if is_success { &context.progress } else { &Silent };
    for (number, command) in (1..).zip(commands) {
        if let Err(error) = hooks::run(command, &variables, context.globals.quiet, observer) {
            report.warn(format!("command {number} of {which} {error}"));
        }
    }
}

/// The page about the repository. What goes wrong with it is a warning: the run has its result.
fn write_page(profile: &Profile, report: &mut Report, context: &Context) {
    let (Some(path), Some(repository)) = (&profile.report, report.opened()) else { return };
    let wishes = [page::Wishes::of(profile, Some(report.dataset()))];
    let written = page::written(repository, path, &wishes, page::MAX_AGE, context);
    if let Err(error) = written {
        report.warn(format!("the page was not written: {error:#}"));
    }
}

/// The health check and the file for Prometheus, which also says how the former went.
fn tell_watchers(profile: &Profile, report: &mut Report, end: UnixMillis) {
    if let Some(url) = &profile.health_url
        && let Err(why) = watch::call(url, report.code().is_success(), &report.line(), PATIENCE)
    {
        report.warn(format!("the health check could not be told: {why}"));
    }
    if let Some(path) = &profile.metrics_file {
        let numbers: Numbers = report.numbers(end);
        if let Err(error) = watch::write_textfile(path, &numbers) {
            report.warn(format!("cannot write {}: {error}", path.display()));
        }
    }
}
