//! The steps of a run, each with how it ended.

use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::plan::{backup_options, forget_options, prune_options};
use crate::cli::commands::backup::warning;
use crate::cli::commands::check::json::Check;
use crate::cli::commands::drill;
use crate::cli::commands::prune::{Json as Prune, short_of_room, without_reserve};
use crate::cli::configuration::Profile;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Stopped};
use crate::cli::human::{count, plain, short, size};
use crate::cli::{json, outcome, time};
use crate::operations::changes::since_previous;
use crate::operations::hooks::{self, HookError};
use crate::operations::key_drop::KEY_DROP;
use crate::operations::list::{Selector, choose};
use crate::operations::timeline::Coverage;
use crate::operations::watch::{BackupNumbers, RepositoryNumbers};
use crate::operations::{OperationError, backup, check, forget, prune, stats};
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

/// What a step did: a few words, the result, and how it ended.
struct Did {
    told: String,
    result: Value,
    code: Code,
    /// Bytes of packs that it deleted.
    deleted: u64,
}

impl Did {
    fn new(told: String, result: &impl Serialize, warnings: &[String]) -> anyhow::Result<Did> {
        let code = if warnings.is_empty() { Code::Done } else { Code::Warnings };
        Ok(Did { told, result: serde_json::to_value(result)?, code, deleted: 0 })
    }
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
    /// Whether it has less than half of the keys of the one before it.
    keys_fell: bool,
    /// What the backup cost.
    pub backup: Option<BackupNumbers>,
    /// What the repository holds at the end.
    pub repository: Option<RepositoryNumbers>,
}

impl Steps {
    /// Does the steps of a profile. After one that failed nothing is forgotten or deleted.
    pub fn do_all(name: &str, profile: &Profile, dataset: &str, context: &Context) -> Steps {
        let mut steps = Steps::default();
        let variables = variables(name, dataset, context);
        for command in &profile.before.0 {
            steps.step("before", || {
                hooks::run(command, &variables, context.globals.quiet, &context.progress).map_err(of_hook)?;
                Ok(Did { told: String::new(), result: Value::Null, code: Code::Done, deleted: 0 })
            });
        }
        let mut repository = None;
        if steps.is_fine() {
            let mut found = Found::default();
            let clock = Instant::now();
            let mut ended = backup_options(profile, context).and_then(|options| {
                let repository = &*repository.insert(context.open()?);
                back_up(repository, &options, context, &mut found)
            });
            if ended.as_ref().is_err_and(is_out_of_room)
                && let Some(open) = &repository
                && steps.make_room(profile, dataset, open, context)
            {
                ended =
                    backup_options(profile, context).and_then(|options| back_up(open, &options, context, &mut found));
            }
            let done = steps.end("backup", clock, ended);
            steps.take(found, done);
        } else {
            steps.skip("backup");
        }
        steps.drill(profile, repository.as_ref(), context);
        steps.forget_and_prune(profile, dataset, repository.as_ref(), context);
        steps.check(profile, repository.as_ref(), context);
        if let Some(repository) = &repository {
            steps.count(repository, dataset);
        }
        steps
    }

    /// After a backup that found the disk full: forgets what the policy does not keep of what is there, and prunes. Whether
    /// that deleted anything. What the policy keeps last is kept: no new snapshot is needed for it.
    fn make_room(&mut self, profile: &Profile, dataset: &str, repository: &Repository, context: &Context) -> bool {
        let Some(rule) = &profile.prune.0 else { return false };
        let mut found = Found::default();
        if let Some(options) = forget_options(profile, dataset).filter(|_| !is_after_a_fall(repository, dataset)) {
            let done = self.step("forget", || forget(repository, &options, context, &mut found));
            self.take(std::mem::take(&mut found), done);
        }
        let mut deleted = 0;
        let done = self.step("prune", || {
            let did = prune(repository, &prune_options(rule), context, &mut found)?;
            deleted = did.deleted;
            Ok(did)
        });
        self.take(found, done);
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
        let snapshot = self.snapshot.clone();
        let renamed = profile.login().renamed_command;
        match repository.filter(|_| self.is_fine()).zip(snapshot) {
            Some((repository, snapshot)) => {
                let mut found = Found::default();
                let done = self.step("drill", || drill(repository, snapshot, &renamed, context, &mut found));
                self.take(found, done);
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
                // The night on which the keys fell is no night for forgetting: somebody has to look first.
                Some(_) if self.keys_fell => {
                    let told = "nothing was forgotten, for the keys fell by more than half".into();
                    self.step("forget", || Ok(Did { told, result: Value::Null, code: Code::Warnings, deleted: 0 }));
                }
                Some(repository) => {
                    let mut found = Found::default();
                    let done = self.step("forget", || forget(repository, &options, context, &mut found));
                    self.take(found, done);
                }
                None => self.skip("forget"),
            }
        }
        if let Some(rule) = &profile.prune.0 {
            match repository.filter(|_| self.is_fine()) {
                Some(repository) => {
                    let mut found = Found::default();
                    let done = self.step("prune", || prune(repository, &prune_options(rule), context, &mut found));
                    self.take(found, done);
                }
                None => self.skip("prune"),
            }
        }
    }

    fn check(&mut self, profile: &Profile, repository: Option<&Repository>, context: &Context) {
        let Some(rule) = &profile.check.0 else { return };
        match repository.filter(|_| self.code() != Code::Interrupted) {
            Some(repository) => {
                let mut found = Found::default();
                let done = self.step("check", || check(repository, rule.depth(), context, &mut found));
                self.take(found, done);
            }
            None => self.skip("check"),
        }
    }

    /// Does a step and keeps how it ended. Whether it was done.
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> anyhow::Result<Did>) -> bool {
        let clock = Instant::now();
        let ended = work();
        self.end(name, clock, ended)
    }

    /// Keeps how a step ended that began at `clock`. Whether it was done.
    fn end(&mut self, name: &'static str, clock: Instant, ended: anyhow::Result<Did>) -> bool {
        let millis = clock.elapsed().as_millis() as u64;
        let is_done = ended.is_ok();
        self.steps.push(match ended {
            Ok(Did { told, result, code, .. }) => {
                let result = Some(result).filter(|result| !result.is_null());
                Step { name, code: Some(code), millis, told, hint: None, result }
            }
            Err(error) => {
                let (told, hint) = (format!("{error:#}"), outcome::hint(&error));
                Step { name, code: Some(Code::of(&error)), millis, told, hint, result: None }
            }
        });
        is_done
    }

    /// One that was not run, and not before the backup either.
    fn skip(&mut self, name: &'static str) {
        if self.steps.iter().any(|step| step.name == name) {
            return;
        }
        self.steps.push(Step { name, code: None, millis: 0, told: String::new(), hint: None, result: None });
    }

    fn take(&mut self, found: Found, is_done: bool) {
        if is_done {
            self.warnings.extend(found.warnings);
            self.snapshot = found.snapshot.or(self.snapshot.take());
            self.backup = found.backup.or(self.backup.take());
            self.keys_fell |= found.keys_fell;
        }
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

/// What a step found besides its result.
#[derive(Default)]
struct Found {
    warnings: Vec<String>,
    snapshot: Option<String>,
    keys_fell: bool,
    backup: Option<BackupNumbers>,
}

/// Whether a backup found no room in the repository.
fn is_out_of_room(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OperationError::Repository(error)) if error.is_full())
}

/// Whether the newest snapshot of the dataset is one before which the keys fell, or that cannot be told: somebody has to
/// look first.
fn is_after_a_fall(repository: &Repository, dataset: &str) -> bool {
    let of_dataset = repository.kept_snapshots().map(|infos| infos.into_iter().rfind(|info| info.dataset == dataset));
    of_dataset.map_or(true, |newest| newest.is_some_and(|info| info.falls.is_none_or(|falls| !falls.is_empty())))
}

fn of_hook(error: HookError) -> anyhow::Error {
    match error {
        HookError::Interrupted => Stopped.into(),
        other => anyhow::anyhow!("the command {other}"),
    }
}

fn back_up(
    repository: &Repository,
    options: &backup::Options,
    context: &Context,
    found: &mut Found,
) -> anyhow::Result<Did> {
    let report = backup::backup(repository, options, &context.progress)?;
    let (snapshot, summary) = (&report.snapshot, &report.snapshot.summary);
    found.warnings.extend(snapshot.warnings.iter().map(warning));
    found.warnings.extend(report.alarms.iter().map(ToString::to_string));
    found.warnings.extend(report.left_behind.clone());
    // The snapshot is committed: what cannot be compared now is a warning.
    let changes = since_previous(repository, snapshot).unwrap_or_else(|error| {
        let why = anyhow::Error::new(error);
        found.warnings.push(format!("cannot compare with the previous snapshot: {why:#}"));
        None
    });
    found.keys_fell = snapshot.warnings.iter().any(|warning| warning.code == KEY_DROP);
    found.snapshot = Some(report.name.session.to_string());
    let read = summary.bytes.saturating_sub(report.unread_bytes);
    let (new, stored) = (summary.new_bytes, summary.stored_bytes);
    found.backup = Some(BackupNumbers { bytes: summary.bytes, read, new, stored });
    let cost = match new {
        0 => "nothing new".into(),
        new => format!("{} new, {} stored", size(new), size(stored)),
    };
    let (id, files) = (short(&report.name.session), count(summary.files, "file"));
    let told = format!("snapshot {id} of {}, {files}, {}, {cost}", plain(&snapshot.dataset), size(summary.bytes));
    Did::new(told, &json::Backup::new(&report, changes), &found.warnings)
}

fn drill(
    repository: &Repository,
    snapshot: String,
    renamed: &[(String, String)],
    context: &Context,
    found: &mut Found,
) -> anyhow::Result<Did> {
    let chosen = choose(repository, &Selector::Id(snapshot), None)?;
    let report = drill::DrillArguments::default().run(repository, &chosen, None, renamed, context)?;
    found.warnings.extend(drill::warnings(&report));
    let keys = count(report.keys(), "key");
    let result = json::Drill::from(&report);
    match report.passed() {
        true => Did::new(format!("drill passed, {keys}"), &result, &found.warnings),
        false => {
            let told = format!("the drill FAILED: {}", report.problems.join("; "));
            Ok(Did { code: Code::Damage, ..Did::new(told, &result, &[])? })
        }
    }
}

fn forget(
    repository: &Repository,
    options: &forget::Options,
    context: &Context,
    found: &mut Found,
) -> anyhow::Result<Did> {
    let report = forget::forget(repository, options, &context.progress).map_err(without_reserve)?;
    found.warnings.extend(report.alarms.iter().map(ToString::to_string));
    let zone = match &options.what {
        forget::What::Policy { zone, .. } => Some(time::zone_name(zone)),
        forget::What::Named { .. } => None,
    };
    let counts = report.datasets.iter().map(forget::Dataset::counts);
    let (kept, gone) = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    let for_fall = match report.datasets.iter().map(forget::Dataset::kept_for_fall).sum::<usize>() as u64 {
        0 => String::new(),
        number => format!(", kept {number} from before the keys fell"),
    };
    let losses = report.datasets.iter().filter_map(|dataset| dataset.timeline.as_ref());
    let losses = losses.filter(|loss| loss.gone() != Coverage::default());
    let timeline: String = losses.map(|loss| format!(", {}", super::super::forget::gone(loss))).collect();
    let told = format!("forgot {gone} of {}{for_fall}{timeline}", count((kept + gone) as u64, "snapshot"));
    Did::new(told, &json::Forget::new(&report, zone), &found.warnings)
}

fn prune(
    repository: &Repository,
    options: &prune::Options,
    context: &Context,
    found: &mut Found,
) -> anyhow::Result<Did> {
    let pruned = prune::prune(repository, options, &context.progress).map_err(without_reserve)?;
    let prune::Pruned { report, short_of_space } = pruned;
    found.warnings.extend(short_of_space.as_ref().map(short_of_room));
    let told = match report.deleted_packs {
        0 => "nothing to delete".into(),
        packs => format!("deleted {}, {}", count(packs, "pack"), size(report.deleted_bytes)),
    };
    let did = Did::new(told, &Prune::new(&report, &short_of_space, false), &found.warnings)?;
    Ok(Did { deleted: report.deleted_bytes, ..did })
}

fn check(
    repository: &Repository,
    depth: check::CheckDepth,
    context: &Context,
    found: &mut Found,
) -> anyhow::Result<Did> {
    let report = check::check(repository, depth, &context.progress)?;
    let not_kept =
        |why: &String| format!("what the check read could not be written down, and will be read again: {why}");
    found.warnings.extend(report.reading.not_kept.as_ref().map(not_kept));
    let packs = count(report.packs, "pack");
    let is_all = matches!(depth, check::CheckDepth::Data);
    let result = Check::new(&report, is_all);
    match report.is_sound() {
        true => Did::new(format!("checked {packs}, no damage"), &result, &found.warnings),
        false => {
            let objects = count(report.damage.len() as u64, "object");
            let files = count(report.lost_files.len() as u64, "file");
            let told = format!("checked {packs}: {objects} DAMAGED, {files} lost; see: redkeep check");
            Ok(Did { code: Code::Damage, ..Did::new(told, &result, &[])? })
        }
    }
}
