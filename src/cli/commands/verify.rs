//! `redkeep verify`.

mod of_set;

use clap::Args;

use super::{drill, pick_any};
use crate::cli::args::OneSnapshot;
use crate::cli::context::Context;
use crate::cli::human::Lean::{Left, Right};
use crate::cli::human::{count, short, size, table};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::cli::server::renamed_command;
use crate::operations::drill::keep_failure;
use crate::operations::list::Chosen;
use crate::operations::restore::{Which, meant};
use crate::operations::sets::Meant;
use crate::operations::verify::{Report, Verified, verify};
use crate::repository::Repository;

/// Rebuild every file of a snapshot and read its structure, without writing it
///
/// Rebuilds every file of a snapshot without writing it, compares it with what was stored, and reads its structure as a
/// server would. Ends with 4 where a file cannot be rebuilt, with 3 where one was suspect when it was stored.
///
/// With --drill a server program then loads the snapshot in a directory of its own, on a private socket and without a
/// port, and is asked what it holds: keys by database and type have to be those that were counted at capture, but for
/// those that have expired since. Of an AOF, what the server counted when it was captured. Ends with 4 where the server does
/// not load it or holds something else. The result is kept, and `redkeep snapshots` shows it.
///
/// Where redkeep is root, the scratch server runs as the user whose the files are, or as nobody, if that user can get to the
/// scratch directory and run the program. It calls renamed commands as the captured one did, and loads the modules which
/// that one had loaded, where their files are here and only root and this user can write them. Where it lacks one of
/// these, or is too old, no drill is done, which is said, and ends with 9.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep verify
  redkeep verify latest~1 --dataset sessions
  redkeep verify --drill
  redkeep verify --drill --server-binary /opt/redis-8.2/bin/redis-server

JSON:
  {\"snapshot\": id, \"dataset\", \"begin\", \"whole\": bool,
   \"files\": [{\"path\", \"bytes\", \"damage\": why it cannot be rebuilt or null,
     \"suspect\": why or null}],
   \"made_good\": [text about damage that another copy made good],
   \"drill\": null or {\"passed\": bool, \"server\", \"program\": path,
     \"keys\": number, \"captured_keys\": number or null where it is not known,
     \"captured_unknown\": why not or null, \"expired_keys\": number,
     \"databases\": {number: {type: keys}},
     \"digest\": text or null, \"digest_compared\": \"first\", \"equal\",
     \"differs\" or \"none\", \"digest_of\": time of the drill it was
     compared with or null, \"dump_holds\": where that or the AOF may be the
     dataset \"the-same\" or \"other\", else null, \"problems\": [text],
     \"not_kept\": why the result could not be kept or null},
   \"alarms\": [{\"code\", \"message\"}]}
  Of a set (redkeep backup --cluster), all of it:
  {\"set\": id, \"name\", \"complete\": bool, \"skew_ms\", \"snapshots\": [as above]}
")]
pub(crate) struct Arguments {
    #[command(flatten)]
    one: OneSnapshot,
    #[command(flatten)]
    drill: drill::DrillArguments,
    /// In a drill, what is the dataset, where a snapshot holds several: aof, rdb, or the path of a manifest, an AOF or a
    /// dump in it
    #[arg(long, value_name = "WHICH", requires = "drill")]
    from: Option<Which>,
    /// In a drill, what a command is called in the AOF that was renamed, besides those that the capture or the profile
    /// names; may be given several times
    #[arg(long, value_name = "NAME=NEW", requires = "drill", value_parser = renamed_command)]
    renamed_command: Vec<(String, String)>,
}

/// Verifies a snapshot.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    context.progress.stop_in_order();
    match pick_any(context, &repository, &arguments.one.snapshot, arguments.one.of.dataset.as_deref())? {
        Meant::One(chosen) => Ok(of_one(arguments, &chosen, &repository, context)?.1),
        Meant::Set(set) => of_set::run(arguments, &set, &repository, context),
    }
}

/// Verifies one snapshot: what is said of it, which is in the outcome too.
fn of_one(
    arguments: &Arguments,
    chosen: &Chosen,
    repository: &Repository,
    context: &Context,
) -> anyhow::Result<(String, Outcome)> {
    let report = verify(repository, chosen, &context.progress)?;
    // A snapshot that cannot be rebuilt is not given to a server, and has failed all the same.
    let drilled = match (arguments.drill.drill, report.is_whole()) {
        (false, _) => None,
        (true, true) => {
            let which = arguments.from.as_ref();
            let meant = which.map(|which| meant(repository, chosen, which, &context.progress)).transpose()?;
            let (chosen, from) = meant.map_or((chosen.clone(), None), |(chosen, from)| (chosen, Some(from)));
            let mut renamed = arguments.renamed_command.clone();
            renamed
                .extend(context.profile()?.map(|profile| profile.server().login.renamed_command).unwrap_or_default());
            Some(arguments.drill.run(repository, &chosen, from, &renamed, context)?)
        }
        (true, false) => {
            keep_failure(repository, chosen.name, "none", "it cannot be rebuilt whole")?;
            None
        }
    };
    let suspects = report.files.iter().filter_map(|file| Some(format!("{}: {}", file.path, file.suspect.as_ref()?)));
    let text = text(chosen, &report) + &drilled.as_ref().map(drill::text).unwrap_or_default();
    let outcome = Outcome::deed(text.clone(), &json::Verify::new(chosen, &report, drilled.as_ref()))?;
    let outcome = outcome.with_warnings(suspects).with_made_good(&report.made_good).with_alarms(&chosen.alarms);
    let damage = report.files.iter().filter_map(|file| Some(format!("{}: {}", file.path, file.damage.as_ref()?)));
    let outcome = outcome.with_warnings(damage).with_warnings(drilled.iter().flat_map(drill::warnings));
    let has_failed = drilled.as_ref().is_some_and(|drill| !drill.passed());
    Ok((text, outcome.with_damage(!report.is_whole() || has_failed)))
}

fn text(chosen: &Chosen, report: &Report) -> String {
    let row = |file: &Verified| {
        let state = match (&file.damage, &file.suspect) {
            (Some(_), _) => "damaged",
            (None, Some(_)) => "whole, but suspect",
            (None, None) => "whole",
        };
        [size(file.bytes), file.path.clone(), state.into()]
    };
    let mut text = table([("SIZE", Right), ("PATH", Left), ("STATE", Left)], report.files.iter().map(row));
    let id = short(&chosen.name.session);
    let damaged = report.files.iter().filter(|file| file.damage.is_some()).count() as u64;
    let files = count(report.files.len() as u64, "file");
    text.push_str(&match damaged {
        0 => format!("snapshot {id} can be restored whole: {files} compared\n"),
        _ => format!("snapshot {id} cannot be restored whole: {damaged} of {files} damaged\n"),
    });
    text
}
