//! The steps of a run, each with how it ended.

use std::time::Instant;

use serde_json::Value;

use super::plan::{backup_options, copy_options, forget_options, second};
use crate::cli::commands::{backup, check, copy, drill, forget, mirror, prune};
use crate::cli::configuration::Profile;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Stopped};
use crate::cli::human::size;
use crate::cli::outcome::{self, Outcome};
use crate::cli::second::SecretArguments;
use crate::operations::backup::{Options, Report};
use crate::operations::forget::Options as ForgetOptions;
use crate::operations::hooks::{self, HookError};
use crate::operations::key_drop::{KEY_DROP, told_falls};
use crate::operations::list::{Selector, choose};
use crate::operations::mirror::Options as MirrorOptions;
use crate::operations::watch::{BackupNumbers, RepositoryNumbers};
use crate::operations::{self, OperationError, stats};
use crate::repository::Repository;

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
    /// The new snapshot's id.
    pub snapshot: Option<String>,
    /// Whether it has less than half of the keys of the one before it, which was told then.
    keys_fell: bool,
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
            steps.count(repository, dataset);
        }
        steps.opened = repository;
        steps
    }

    /// Takes the snapshot; where the repository's disk is full, once more after room was made.
    fn back_up(&mut self, profile: &Profile, dataset: &str, repository: &mut Option<Repository>, context: &Context) {
        let clock = Instant::now();
        let mut ended = backup_options(profile, context)
            .and_then(|options| Ok((options, &*repository.insert(context.open()?))))
            .and_then(|(options, repository)| take(repository, &options, context));
        if ended.as_ref().is_err_and(is_out_of_room)
            && let Some(open) = &repository
            && self.make_room(profile, dataset, open, context)
        {
            ended = backup_options(profile, context).and_then(|options| take(open, &options, context));
        }
        let Some(report) = self.end("backup", clock, ended) else { return };
        let summary = &report.snapshot.summary;
        let read = summary.bytes.saturating_sub(report.unread_bytes);
        let (bytes, new, stored) = (summary.bytes, summary.new_bytes, summary.stored_bytes);
        self.backup = Some(BackupNumbers { bytes, read, new, stored });
        self.snapshot = Some(report.name.session.to_string());
        self.keys_fell = report.snapshot.warnings.iter().any(|warning| warning.code == KEY_DROP);
    }

    /// After a backup that found the disk full: forgets what the policy does not keep of what is there, and prunes. Whether
    /// that deleted anything. What the policy keeps last is kept: no new snapshot is needed for it.
    fn make_room(&mut self, profile: &Profile, dataset: &str, repository: &Repository, context: &Context) -> bool {
        let Some(rule) = &profile.prune.0 else { return false };
        if let Some(options) = forget_options(profile, dataset) {
            self.forget(repository, dataset, &options, context);
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
                self.step("drill", || {
                    let chosen = choose(repository, &Selector::Id(snapshot), None)?;
                    let options = drill::DrillArguments::default();
                    let report = options.run(repository, &chosen, None, &renamed, context)?;
                    Ok(((), drill::outcome(&report)?))
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
                Some(repository) => self.forget(repository, dataset, &options, context),
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
    fn forget(&mut self, repository: &Repository, dataset: &str, options: &ForgetOptions, context: &Context) {
        let falls = match told_falls(repository, dataset) {
            Ok(falls) => falls,
            Err(error) => {
                self.step::<()>("forget", || Err(OperationError::from(error).into()));
                return;
            }
        };
        if falls.is_empty() && !self.keys_fell {
            self.step("forget", || forget::done(repository, options, context));
            return;
        }
        let why = "nothing was forgotten, for the keys fell by more than half";
        self.step("forget", || Ok(((), Outcome::nothing().in_short(why.into()).with_code(Code::Warnings))));
        // The backup has told its own.
        let told = falls.len().saturating_sub(usize::from(self.keys_fell));
        self.warnings.extend(falls.into_iter().take(told));
    }

    /// Second copies: of what is there, whatever became of the steps before.
    fn copy_elsewhere(&mut self, profile: &Profile, dataset: &str, repository: Option<&Repository>, context: &Context) {
        if let Some(to) = &profile.copy_to {
            self.add_to("copy", repository, |repository| {
                let (to, secrets) = (second("copy-to", to, context)?, SecretArguments::default());
                copy::done(repository, &to, &secrets, &copy_options(dataset), context)
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
    fn count(&mut self, repository: &Repository, dataset: &str) {
        match stats::stats(repository) {
            Ok(report) => {
                let of_dataset = report.datasets.get(dataset).cloned().unwrap_or_default();
                let (snapshots, newest) = (of_dataset.snapshots, of_dataset.newest);
                self.repository = Some(RepositoryNumbers { snapshots, newest, bytes: report.totals.pack_bytes });
            }
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

fn take(repository: &Repository, options: &Options, context: &Context) -> anyhow::Result<(Report, Outcome)> {
    let report = operations::backup::backup(repository, options, &context.progress)?;
    let outcome = backup::outcome(repository, &report, None)?;
    Ok((report, outcome))
}
