//! The commands: arguments in, an operation, its report as text and JSON. One file for each.

pub(in crate::cli) mod backup;
pub(in crate::cli) mod check;
mod clocks;
mod completions;
mod config;
mod copy;
mod diff;
mod doctor;
mod drill;
mod dump;
pub(in crate::cli) mod forget;
mod get;
mod help;
mod import;
mod init;
mod key;
mod keys;
mod ls;
mod man;
mod mirror;
mod moment;
pub(in crate::cli) mod prune;
mod report;
pub(super) mod restore;
mod run;
mod schedule;
mod snapshots;
mod stats;
mod tag;
pub(super) mod timeline;
mod undelete;
mod undo;
mod verify;

use clap::Subcommand;

use super::context::Context;
use super::outcome::Outcome;
use super::time;
use crate::operations::OperationError;
use crate::operations::list::{Chosen, Datasets, Selector, choose};
use crate::operations::sets::{Meant, choose_any};
use crate::repository::Repository;

/// What redkeep can be asked to do; what each command says of itself stands with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Arguments),
    Backup(backup::Arguments),
    Import(import::Arguments),
    Snapshots(snapshots::Arguments),
    Timeline(timeline::Arguments),
    Ls(ls::Arguments),
    Dump(dump::Arguments),
    Keys(keys::Arguments),
    Get(get::Arguments),
    Diff(diff::Arguments),
    Restore(restore::Arguments),
    Undo(undo::Arguments),
    Tag(tag::Arguments),
    Forget(forget::Arguments),
    Undelete(undelete::Arguments),
    Copy(copy::Arguments),
    Mirror(mirror::Arguments),
    Verify(verify::Arguments),
    Check(check::Arguments),
    Prune(prune::Arguments),
    Stats(stats::Arguments),
    Report(report::Arguments),
    Run(run::Arguments),
    Schedule(schedule::Arguments),
    Doctor(doctor::Arguments),
    Key(key::Arguments),
    Config(config::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    Help(help::Arguments),
}

impl Command {
    /// The profile that is named as the command's own argument.
    pub fn profile(&self) -> Option<&str> {
        match self {
            Command::Run(arguments) => Some(arguments.profile()),
            Command::Schedule(arguments) => arguments.profile(),
            Command::Doctor(arguments) => arguments.profile(),
            _ => None,
        }
    }
}

/// Does what was asked.
pub(crate) fn run(command: Command, context: &Context) -> anyhow::Result<Outcome> {
    match command {
        Command::Init(arguments) => init::run(&arguments, context),
        Command::Backup(arguments) => backup::run(arguments, context),
        Command::Import(arguments) => import::run(&arguments, context),
        Command::Snapshots(arguments) => snapshots::run(arguments, context),
        Command::Timeline(arguments) => timeline::run(arguments, context),
        Command::Ls(arguments) => ls::run(&arguments, context),
        Command::Dump(arguments) => dump::run(&arguments, context),
        Command::Keys(arguments) => keys::run(&arguments, context),
        Command::Diff(arguments) => diff::run(&arguments, context),
        Command::Get(arguments) => get::run(&arguments, context),
        Command::Restore(arguments) => restore::run(arguments, context),
        Command::Undo(arguments) => undo::run(&arguments, context),
        Command::Tag(arguments) => tag::run(arguments, context),
        Command::Forget(arguments) => forget::run(arguments, context),
        Command::Undelete(arguments) => undelete::run(&arguments, context),
        Command::Copy(arguments) => copy::run(arguments, context),
        Command::Mirror(arguments) => mirror::run(&arguments, context),
        Command::Verify(arguments) => verify::run(&arguments, context),
        Command::Check(arguments) => check::run(&arguments, context),
        Command::Prune(arguments) => prune::run(&arguments, context),
        Command::Stats(arguments) => stats::run(&arguments, context),
        Command::Report(arguments) => report::run(&arguments, context),
        Command::Run(arguments) => run::run(&arguments, context),
        Command::Schedule(arguments) => schedule::run(&arguments, context),
        Command::Doctor(arguments) => doctor::run(&arguments, context),
        Command::Key(arguments) => key::run(arguments, context),
        Command::Config(arguments) => config::run(&arguments, context),
        Command::Completions(arguments) => completions::run(&arguments, context),
        Command::Man(arguments) => man::run(&arguments, context),
        Command::Help(arguments) => help::run(&arguments, context),
    }
}

/// The snapshot that is meant. A moment is told as it was understood.
fn pick(
    context: &Context,
    repository: &Repository,
    selector: &Selector,
    dataset: Option<&str>,
) -> anyhow::Result<Chosen> {
    tell_moment(context, selector);
    Ok(choose(repository, selector, dataset)?)
}

/// The snapshot or the set that is meant.
fn pick_any(
    context: &Context,
    repository: &Repository,
    selector: &Selector,
    dataset: Option<&str>,
) -> anyhow::Result<Meant> {
    tell_moment(context, selector);
    Ok(choose_any(repository, selector, dataset)?)
}

fn tell_moment(context: &Context, selector: &Selector) {
    if let Selector::At(moment) = selector {
        context.note(&format!("looking for the last snapshot at or before {}", time::show(*moment)));
    }
}

/// Refuses the name of a dataset that there is not, forgotten ones included: what a mistyped name shows is nothing, and
/// nothing is what a watching program would take for the truth.
fn refuse_unknown(repository: &Repository, datasets: Option<&Datasets>) -> Result<(), OperationError> {
    let Some(named) = datasets else { return Ok(()) };
    let none = if named.name().is_some() { "no dataset is called" } else { "no dataset fits" };
    let mut datasets: Vec<String> = repository.snapshots()?.into_iter().map(|info| info.dataset).collect();
    datasets.sort();
    datasets.dedup();
    match datasets.iter().any(|dataset| named.fits(dataset)) {
        true => Ok(()),
        false if datasets.is_empty() => {
            Err(OperationError::NoSnapshot { what: format!("{none} {named}: the repository holds no snapshot") })
        }
        false => {
            Err(OperationError::NoSnapshot { what: format!("{none} {named}; there are: {}", datasets.join(", ")) })
        }
    }
}
