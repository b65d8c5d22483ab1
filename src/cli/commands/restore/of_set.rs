//! `redkeep restore` of a set: each shard into a directory of its own.

use std::path::Path;

use serde::Serialize;

use super::{Arguments, restored};
use crate::cli::context::Context;
use crate::cli::exit::{Code, Stopped, UsageError};
use crate::cli::human::{count, plain, quoted, short};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::operations::restore::{Options, restore_at};
use crate::operations::sets::ChosenSet;
use crate::repository::Repository;

#[derive(Serialize)]
struct Json {
    #[serde(flatten)]
    done: json::DoneWithSet<json::Restore>,
    failed: Vec<Failed>,
}

/// A shard that could not be restored.
#[derive(Serialize)]
struct Failed {
    slots: String,
    why: String,
}

/// Restores what there is of a set. One shard that fails does not keep the others from being restored.
pub(super) fn run(
    arguments: &Arguments,
    set: &ChosenSet,
    repository: &Repository,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let target = wanted(arguments, set)?;
    let (mut texts, mut warnings) = (String::new(), Vec::from_iter(set.incomplete()));
    let (mut snapshots, mut failed, mut code) = (Vec::new(), Vec::new(), Code::Done);
    for (shard, slots, chosen) in &set.members {
        let options = Options {
            target: target.join(format!("shard-{shard}")),
            from: None,
            with_config: arguments.with_config,
            replace_anything: arguments.replace_anything,
            dry_run: arguments.dry_run,
        };
        match restore_at(repository, chosen, &options, None, &context.progress) {
            Ok((report, _)) => {
                let (text, json, own) = restored(chosen, &report, None);
                texts.push_str(&format!("shard {shard}, slots {slots}: {text}"));
                warnings.extend(own.into_iter().map(|what| format!("shard {shard}: {what}")));
                snapshots.push(json);
            }
            Err(error) => {
                let hint = error.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
                let error = anyhow::Error::new(error);
                if Code::of(&error) == Code::Interrupted {
                    return Err(Stopped.into());
                }
                code = code.worse(Code::of(&error));
                warnings.push(format!("shard {shard}, slots {slots}, was not restored: {error:#}{hint}"));
                failed.push(Failed { slots: slots.clone(), why: format!("{error:#}") });
            }
        }
    }
    let did = if arguments.dry_run { "would restore" } else { "restored" };
    let all = count((set.members.len() + set.missing.len()) as u64, "shard");
    let (id, name) = (short(&set.id), plain(&set.name));
    let text = format!(
        "{texts}{did} {} of {all} of set {id} of {name}, with {} ms between their moments\n",
        snapshots.len(),
        set.skew
    );
    let json = Json { done: json::DoneWithSet::new(set, snapshots), failed };
    Ok(Outcome::deed(text, &json)?.with_warnings(warnings).with_alarms(&set.alarms).with_code(code))
}

/// The directory for all of them; refuses what is for one snapshot.
fn wanted<'a>(arguments: &'a Arguments, set: &ChosenSet) -> Result<&'a Path, UsageError> {
    let refuse = |what: &str| UsageError {
        what: format!("{} is a set: {what}", short(&set.id)),
        hint:
            "put it into directories with --target DIR; or name one snapshot of it, which redkeep snapshots --dataset \
               'NAME/*' shows"
                .into(),
    };
    match &arguments.target {
        None => Err(refuse("each of its shards goes into a server of its own")),
        Some(_) if arguments.from.is_some() => Err(refuse("--from is for one snapshot")),
        Some(target) if !target.is_dir() => Err(UsageError {
            what: format!("{} is to hold a directory for each shard, and is none", target.display()),
            hint: format!("make it first: mkdir -p {}", quoted(&target.display().to_string())),
        }),
        Some(target) => Ok(target),
    }
}
