//! The steps of a run, each with how it ended.

use std::time::Instant;

use serde_json::Value;

use super::plan::{backup_options, copy_options, forget_options, own, second};
use crate::cli::commands::{self, check, copy, drill, forget, mirror, prune};
use crate::cli::configuration::Profile;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Stopped};
use crate::cli::human::size;
use crate::cli::outcome::{self, Outcome};
use crate::cli::second::SecretArguments;
use crate::format::UnixMillis;
use crate::operations::backup::{Options, Report, backup};
use crate::operations::forget::Options as ForgetOptions;
use crate::operations::hooks::{self, HookError};
use crate::operations::key_drop::{KEY_DROP, told_falls};
use crate::operations::list::Selector;
use crate::operations::mirror::Options as MirrorOptions;
use crate::operations::sets::{Meant, choose_any, newest_whole};
use crate::operations::source::Source;
use crate::operations::watch::{BackupNumbers, RepositoryNumbers};
use crate::operations::{OperationError, list, stats};
use crate::repository::{Repository, SnapshotInfo};

/// One step.
pub(super) struct Step {
    /// Its name.
    pub name: &'static str,
    /// How it ended; `None` where it was not run.
    pub code: Option<Code>,
    /// How long it took.
    pub millis: u64,
    /// What it did, in a few words, or why it failed.
    pub told: String,
    /// What to do about a failure.
    pub hint: Option<String>,
    /// What its command would print with `--json`.
    pub result: Option<Value>,
}

/// What is known when the steps have ended.
#[derive(Default)]
pub(super) struct Steps {
    /// The steps in their order.
    pub steps: Vec<Step>,
    /// What is missing or suspect.
    pub warnings: Vec<String>,
    /// The new snapshot's id, or that of the new set.
    pub snapshot: Option<String>,
    /// How many new snapshots have less than half of the keys of the one before them, which was told then.
    fallen: usize,
    /// Whether the new set lacks a shard.
    is_incomplete: bool,
    /// What the backup cost.
    pub backup: Option<BackupNumbers>,
    /// What the repository holds at the end.
    pub repository: Option<RepositoryNumbers>,
    /// It, if it could be opened.
    pub opened: Option<Repository>,
}

impl Steps {
    /// Does the steps of a profile. After one that failed nothing is forgotten or deleted.
    pub fn do_all(name: &str, profile: &Profile, dataset: &str, context: &Context) -> Steps {
        let mut steps = Steps::default();
        let variables = variables(name, dataset, context);
        for command in &profile.before.0 {
            steps.step("before", || {
                hooks::run(command, &variables, context.globals.quiet, &context.progress).map_err(of_hook)?;
                Ok(((), Outcome::nothing()))
            });
        }
        let mut repository = None;
        match steps.is_fine() {
            true => steps.back_up(profile, dataset, &mut repository, context),
            false => steps.skip("backup"),
        }
        steps.drill(profile, repository.as_ref(), context);
        steps.forget_and_prune(profile, dataset, repository.as_ref(), context);
        steps.copy_elsewhere(profile, dataset, repository.as_ref(), context);
        steps.check(profile, repository.as_ref(), context);
        if let Some(repository) = &repository {
            steps.count(repository, profile, dataset);
        }
        steps.opened = repository;
        steps
    }

    /// Takes the snapshot; where the repository's disk is full, once more after room was made.
    fn back_up(&mut self, profile: &Profile, dataset: &str, repository: &mut Option<Repository>, context: &Context) {
        let clock = Instant::now();
        let mut ended = backup_options(profile, context)
            .and_then(|options| Ok((options, &*repository.insert(context.open()?))))
            .and_then(|(options, repository)| take(profile, repository, &options, context));
        if ended.as_ref().is_err_and(is_out_of_room)
            && let Some(open) = &repository
            && self.make_room(profile, dataset, open, context)
        {
            ended = backup_options(profile, context).and_then(|options| take(profile, open, &options, context));
        }
        let Some(taken) = self.end("backup", clock, ended) else { return };
        self.backup = Some(taken.numbers());
        let fell = |report: &&Report| report.snapshot.warnings.iter().any(|warning| warning.code == KEY_DROP);
        self.fallen = taken.reports.iter().filter(fell).count();
        self.is_incomplete = taken.is_incomplete;
        self.snapshot = Some(taken.id);
    }

    /// After a backup that found the disk full: forgets what the policy does not keep of what is there, and prunes. Whether
    /// that deleted anything. What the policy keeps last is kept: no new snapshot is needed for it.
    fn make_room(&mut self, profile: &Profile, dataset: &str, repository: &Repository, context: &Context) -> bool {
        let Some(rule) = &profile.prune.0 else { return false };
        if let Some(options) = forget_options(profile, dataset) {
            self.forget(repository, &options, context);
        }
        let pruned = self.step("prune", || prune::done(repository, &rule.options(), context));
        let deleted = pruned.map_or(0, |report| report.deleted_bytes);
        self.warnings.push(match deleted {
            0 => "the repository's disk is full, and nothing could be deleted yet".into(),
            bytes => format!("the repository's disk was full: {} were pruned before the backup", size(bytes)),
        });
        deleted > 0 && self.is_fine()
    }

    /// Lets a scratch server load the new snapshot.
    fn drill(&mut self, profile: &Profile, repository: Option<&Repository>, context: &Context) {
        if !profile.drill {
            return;
        }
        let renamed = profile.server().login.renamed_command;
        match repository.filter(|_| self.is_fine()).zip(self.snapshot.clone()) {
            Some((repository, snapshot)) => {
                self.step("drill", || match choose_any(repository, &Selector::Id(snapshot), None)? {
                    Meant::One(chosen) => {
                        let options = drill::DrillArguments::default();
                        let report = options.run(repository, &chosen, None, &renamed, context)?;
                        Ok(((), drill::outcome(&report)?))
                    }
                    Meant::Set(set) => Ok(((), drill::of_set(repository, &set, &renamed, context)?)),
                });
            }
            None => self.skip("drill"),
        }
    }

    fn forget_and_prune(
        &mut self,
        profile: &Profile,
        dataset: &str,
        repository: Option<&Repository>,
        context: &Context,
    ) {
        if let Some(options) = forget_options(profile, dataset) {
            match repository.filter(|_| self.is_fine()) {
                Some(repository) => self.forget(repository, &options, context),
                None => self.skip("forget"),
            }
        }
        if let Some(rule) = &profile.prune.0 {
            match repository.filter(|_| self.is_fine()) {
                Some(repository) => {
                    self.step("prune", || prune::done(repository, &rule.options(), context));
                }
                None => self.skip("prune"),
            }
        }
    }

    /// While a fall of the keys is not settled, whichever profile met it, nothing is forgotten: somebody has to look first.
    /// So it is after an incomplete set: what it lacks may be in older ones only.
    fn forget(&mut self, repository: &Repository, options: &ForgetOptions, context: &Context) {
        let falls = match told_falls(repository, &options.filter) {
            Ok(falls) => falls,
            Err(error) => {
                self.step::<()>("forget", || Err(OperationError::from(error).into()));
                return;
            }
        };
        if falls.is_empty() && self.fallen == 0 && !self.is_incomplete {
            self.step("forget", || forget::done(repository, options, context));
            return;
        }
        let why = match self.is_incomplete {
            true => "nothing was forgotten, for the set is incomplete",
            false => "nothing was forgotten, for the keys fell by more than half",
        };
        self.step("forget", || Ok(((), Outcome::nothing().in_short(why.into()).with_code(Code::Warnings))));
        // The backup has told its own.
        let told = falls.len().saturating_sub(self.fallen);
        self.warnings.extend(falls.into_iter().take(told));
    }

    /// Second copies: of what is there, whatever became of the steps before.
    fn copy_elsewhere(&mut self, profile: &Profile, dataset: &str, repository: Option<&Repository>, context: &Context) {
        if let Some(to) = &profile.copy_to {
            self.add_to("copy", repository, |repository| {
                let (to, secrets) = (second("copy-to", to, context)?, SecretArguments::default());
                copy::done(repository, &to, &secrets, &copy_options(profile, dataset), context)
            });
        }
        if let Some(to) = &profile.mirror_to {
            self.add_to("mirror", repository, |_| {
                mirror::done(&second("mirror-to", to, context)?, &MirrorOptions::default(), context)
            });
        }
    }

    /// A step that only adds or looks, and so follows one that failed.
    fn add_to(
        &mut self,
        name: &'static str,
        repository: Option<&Repository>,
        work: impl FnOnce(&Repository) -> anyhow::Result<Outcome>,
    ) {
        match repository.filter(|_| self.code() != Code::Interrupted) {
            Some(repository) => drop(self.step(name, || Ok(((), work(repository)?)))),
            None => self.skip(name),
        }
    }

    fn check(&mut self, profile: &Profile, repository: Option<&Repository>, context: &Context) {
        let Some(rule) = &profile.check.0 else { return };
        self.add_to("check", repository, |repository| check::done(repository, rule.depth(), context));
    }

    /// Does a step and keeps how it ended; what it found, where it was done.
    fn step<T>(&mut self, name: &'static str, work: impl FnOnce() -> anyhow::Result<(T, Outcome)>) -> Option<T> {
        let clock = Instant::now();
        let ended = work();
        self.end(name, clock, ended)
    }

    /// Keeps how a step ended that began at `clock`; what it found, where it was done.
    fn end<T>(&mut self, name: &'static str, clock: Instant, ended: anyhow::Result<(T, Outcome)>) -> Option<T> {
        let millis = clock.elapsed().as_millis() as u64;
        let parsed = ended.and_then(|(found, outcome)| {
            let (told, json, warnings, code) = outcome.into_step();
            let result = (!json.is_empty()).then(|| serde_json::from_str(&json)).transpose()?;
            Ok((found, warnings, Step { name, code: Some(code), millis, told, hint: None, result }))
        });
        match parsed {
            Ok((found, warnings, step)) => {
                self.steps.push(step);
                self.warnings.extend(warnings);
                Some(found)
            }
            Err(error) => {
                let (told, hint) = (format!("{error:#}"), outcome::hint(&error));
                self.steps.push(Step { name, code: Some(Code::of(&error)), millis, told, hint, result: None });
                None
            }
        }
    }

    /// One that was not run, and not before the backup either.
    fn skip(&mut self, name: &'static str) {
        if self.steps.iter().any(|step| step.name == name) {
            return;
        }
        self.steps.push(Step { name, code: None, millis: 0, told: String::new(), hint: None, result: None });
    }

    /// What the repository holds now; what cannot be told is a warning.
    fn count(&mut self, repository: &Repository, profile: &Profile, dataset: &str) {
        let counted = list::snapshots(repository, &own(profile, dataset)).and_then(|(infos, _)| {
            let (snapshots, newest) = (infos.len() as u64, newest(profile, &infos));
            Ok(RepositoryNumbers { snapshots, newest, bytes: stats::stats(repository)?.totals.pack_bytes })
        });
        match counted {
            Ok(numbers) => self.repository = Some(numbers),
            Err(error) if self.is_fine() => {
                self.warnings.push(format!("cannot count what the repository holds: {:#}", anyhow::Error::new(error)));
            }
            // The step that failed has said it.
            Err(_) => {}
        }
    }

    /// The worst of the steps so far.
    pub fn code(&self) -> Code {
        let warnings = if self.warnings.is_empty() { Code::Done } else { Code::Warnings };
        self.steps.iter().filter_map(|step| step.code).fold(warnings, Code::worse)
    }

    fn is_fine(&self) -> bool {
        self.code().is_success()
    }
}

/// What every command of the user is told, so that redkeep itself works for it on the same profile.
pub(super) fn variables(profile: &str, dataset: &str, context: &Context) -> Vec<(&'static str, String)> {
    let mut variables = vec![("REDKEEP_PROFILE", profile.to_string()), ("REDKEEP_DATASET", dataset.to_string())];
    let config = context.globals.config.as_ref();
    variables.extend(config.map(|path| ("REDKEEP_CONFIG", path.display().to_string())));
    variables
}

/// Whether a backup found no room in the repository.
fn is_out_of_room(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OperationError::Repository(error)) if error.is_full())
}

fn of_hook(error: HookError) -> anyhow::Error {
    match error {
        HookError::Interrupted => Stopped.into(),
        other => anyhow::anyhow!("the command {other}"),
    }
}

/// What a backup took.
struct Taken {
    /// The id of the snapshot, or of the set.
    id: String,
    /// It, or those of the set.
    reports: Vec<Report>,
    /// Whether the set lacks a shard.
    is_incomplete: bool,
}

impl Taken {
    fn numbers(&self) -> BackupNumbers {
        self.reports.iter().fold(BackupNumbers::default(), |sum, report| {
            let summary = &report.snapshot.summary;
            BackupNumbers {
                bytes: sum.bytes + summary.bytes,
                read: sum.read + summary.bytes.saturating_sub(report.unread_bytes),
                new: sum.new + summary.new_bytes,
                stored: sum.stored + summary.stored_bytes,
            }
        })
    }
}

/// When the newest snapshot began; of sets, the newest that is complete.
fn newest(profile: &Profile, infos: &[SnapshotInfo]) -> Option<UnixMillis> {
    match profile.live.cluster {
        true => newest_whole(infos),
        false => infos.iter().map(|info| info.begin).max(),
    }
}

fn take(
    profile: &Profile,
    repository: &Repository,
    options: &Options,
    context: &Context,
) -> anyhow::Result<(Taken, Outcome)> {
    if let (true, Source::Server(seed)) = (profile.live.cluster, &options.source) {
        let (report, outcome) = commands::backup::cluster::done(repository, seed, options, None, context)?;
        let is_incomplete = report.shards.iter().any(|shard| shard.result.is_err());
        let reports = report.shards.into_iter().filter_map(|shard| shard.result.ok()).collect();
        return Ok((Taken { id: report.set.to_string(), reports, is_incomplete }, outcome));
    }
    let report = backup(repository, options, &context.progress)?;
    let outcome = commands::backup::outcome(repository, &report, None)?;
    Ok((Taken { id: report.name.session.to_string(), reports: vec![report], is_incomplete: false }, outcome))
}
