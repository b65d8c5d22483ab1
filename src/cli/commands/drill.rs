//! The options of a drill, and its result: part of `verify` and of `backup`.

mod of_set;

use std::env;
use std::path::PathBuf;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::human::{count, facts};
use crate::cli::outcome::Outcome;
use crate::cli::settings::variable;
use crate::cli::{json, time};
use crate::operations::OperationError;
pub(super) use crate::operations::drill::Report;
use crate::operations::drill::{Digest, DumpHolds, Options, drill};
use crate::operations::list::Chosen;
use crate::operations::restore::From;
use crate::repository::Repository;

pub(super) use of_set::of_set;

/// How a drill is done.
#[derive(Debug, Default, Args)]
pub(super) struct DrillArguments {
    /// Let a scratch server load the snapshot, and compare what it holds
    #[arg(long)]
    pub drill: bool,
    /// The server program for the drill [default: the one that served the dataset, or one in PATH]
    #[arg(long, value_name = "PATH", requires = "drill")]
    server_binary: Option<PathBuf>,
    /// Directory for the drill's files, which are removed again [default: that of --tmp-dir, $TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR", requires = "drill")]
    scratch_dir: Option<PathBuf>,
}

impl DrillArguments {
    /// Does the drill.
    pub fn run(
        &self,
        repository: &Repository,
        chosen: &Chosen,
        from: Option<From>,
        renamed_commands: &[(String, String)],
        context: &Context,
    ) -> Result<Report, OperationError> {
        let options = Options {
            server_binary: self.server_binary.clone(),
            search: variable("PATH"),
            scratch: self.scratch_dir.clone().or(repository.places().scratch.clone()).unwrap_or_else(env::temp_dir),
            private: env::temp_dir(),
            from,
            renamed_commands: renamed_commands.to_vec(),
        };
        drill(repository, chosen, &options, &context.progress)
    }
}

/// How it ended, in a few words.
pub(super) fn in_short(report: &Report) -> String {
    match report.passed() {
        true => format!("drill passed, {}", count(report.keys(), "key")),
        false => format!("the drill FAILED: {}", report.problems.join("; ")),
    }
}

/// What a drill answers that nothing else was asked with.
pub(super) fn outcome(report: &Report) -> anyhow::Result<Outcome> {
    let outcome = Outcome::deed(text(report), &json::Drill::from(report))?.in_short(in_short(report));
    Ok(outcome.with_warnings(warnings(report)).with_damage(!report.passed()))
}

/// Lines about a drill for people.
pub(super) fn text(report: &Report) -> String {
    let verdict = if report.passed() { "passed" } else { "FAILED" };
    let databases = report.databases.len() as u64;
    let mut lines = vec![
        ("server", format!("{} at {}", report.program.version, report.program.path.display())),
        ("holds", format!("{} in {}", count(report.keys(), "key"), count(databases, "database"))),
        ("captured", captured(report)),
        ("digest", digest(&report.digest)),
    ];
    lines.extend(report.dump.map(|dump| ("dump", dump_holds(dump))));
    lines.extend(report.problems.iter().map(|problem| ("problem", problem.clone())));
    format!("drill {verdict}\n{}", facts(&lines))
}

fn captured(report: &Report) -> String {
    match (&report.captured, report.expired) {
        (Err(why), _) => format!("an unknown number of keys: {why}"),
        (Ok(keys), 0) => count(*keys, "key"),
        (Ok(keys), expired) => {
            let have = if expired == 1 { "has" } else { "have" };
            format!("{}, of which {expired} {have} expired since", count(*keys, "key"))
        }
    }
}

/// What the dump holds, where that or the AOF may be the dataset.
fn dump_holds(dump: DumpHolds) -> String {
    match dump {
        DumpHolds::TheSame => "holds the same as the AOF, so either may be the dataset".into(),
        DumpHolds::Other { keys } => format!("holds {}, and not the same as the AOF", count(keys, "key")),
    }
}

fn digest(digest: &Digest) -> String {
    match digest {
        Digest::First(digest) => format!("{digest}, kept for later drills"),
        Digest::Equal(digest, time) => format!("{digest}, as at the drill of {}", time::show(*time)),
        Digest::Differs(time) => format!("not that of the drill of {}", time::show(*time)),
        Digest::None(why) => format!("none: {why}"),
    }
}

/// What a person has to look at.
pub(super) fn warnings(report: &Report) -> Vec<String> {
    let mut warnings: Vec<String> =
        report.problems.iter().map(|problem| format!("the drill failed: {problem}")).collect();
    if let Some(DumpHolds::Other { keys }) = report.dump {
        warnings.push(format!(
            "the AOF holds {} and the dump {}, or other values: which of them is the dataset is not known; choose with \
             --from aof or --from rdb",
            count(report.keys(), "key"),
            count(keys, "key")
        ));
    }
    warnings.extend(report.not_kept.iter().map(|why| format!("the result of the drill could not be kept: {why}")));
    warnings
}
