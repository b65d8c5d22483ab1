//! The drill of a set: of each of its snapshots.

use serde::Serialize;

use super::{DrillArguments, Report, in_short, text, warnings};
use crate::cli::context::Context;
use crate::cli::exit::Code;
use crate::cli::human::count;
use crate::cli::json;
use crate::cli::outcome::Outcome;
use crate::operations::sets::ChosenSet;
use crate::repository::Repository;

/// What it answers.
#[derive(Serialize)]
struct Json {
    set: String,
    drills: Vec<DrillOf>,
}

#[derive(Serialize)]
struct DrillOf {
    snapshot: String,
    slots: String,
    #[serde(flatten)]
    drill: json::Drill,
}

/// Drills each snapshot of a set; the end is the worst of theirs.
pub(in crate::cli::commands) fn of_set(
    repository: &Repository,
    set: &ChosenSet,
    renamed_commands: &[(String, String)],
    context: &Context,
) -> anyhow::Result<Outcome> {
    let mut told = Vec::from_iter(set.incomplete());
    let (mut texts, mut drills, mut keys) = (String::new(), Vec::new(), 0);
    let mut failed: Vec<String> = Vec::new();
    for (_, slots, chosen) in &set.members {
        let report: Report = DrillArguments::default().run(repository, chosen, None, renamed_commands, context)?;
        texts.push_str(&format!("slots {slots}: {}", text(&report)));
        told.extend(warnings(&report).into_iter().map(|what| format!("slots {slots}: {what}")));
        keys += report.keys();
        failed.extend((!report.passed()).then(|| format!("slots {slots}: {}", in_short(&report))));
        let (snapshot, slots) = (chosen.name.session.to_string(), slots.clone());
        drills.push(DrillOf { snapshot, slots, drill: json::Drill::from(&report) });
    }
    let short = match failed.is_empty() {
        true => format!("drill of {} passed, {}", count(drills.len() as u64, "shard"), count(keys, "key")),
        false => failed.join("; "),
    };
    let code = if failed.is_empty() { Code::Done } else { Code::Damage };
    let outcome = Outcome::deed(texts, &Json { set: set.id.to_string(), drills })?.in_short(short);
    Ok(outcome.with_warnings(told).with_code(code))
}
