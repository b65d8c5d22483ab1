//! `redkeep verify` of a set: of all its snapshots.

use serde_json::Value;

use super::{Arguments, of_one};
use crate::cli::context::Context;
use crate::cli::exit::Code;
use crate::cli::human::{count, plain, short};
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::operations::sets::ChosenSet;
use crate::repository::Repository;

/// Verifies each snapshot of a set; the end is the worst of theirs.
pub(super) fn run(
    arguments: &Arguments,
    set: &ChosenSet,
    repository: &Repository,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let (mut texts, mut warnings) = (String::new(), Vec::from_iter(set.incomplete()));
    let (mut snapshots, mut code) = (Vec::new(), Code::Done);
    for (shard, slots, chosen) in &set.members {
        let (text, outcome) = of_one(arguments, chosen, repository, context)?;
        let (_, json, own, ended) = outcome.into_step();
        texts.push_str(&format!("shard {shard}, slots {slots}\n{text}"));
        warnings.extend(own.into_iter().map(|what| format!("shard {shard}: {what}")));
        snapshots.push(serde_json::from_str::<Value>(&json)?);
        code = code.worse(ended);
    }
    let all = count((set.members.len() + set.missing.len()) as u64, "shard");
    let text =
        format!("{texts}of set {} of {}, {} of {all} verified\n", short(&set.id), plain(&set.name), set.members.len());
    // What verify answers of each.
    let json = json::DoneWithSet::<Value>::new(set, snapshots);
    Ok(Outcome::deed(text, &json)?.with_warnings(warnings).with_alarms(&set.alarms).with_code(code))
}
