//! `redkeep help`.

use anyhow::Context as _;
use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::{args, output, topics};

/// Explain a command or a topic
///
/// What a command does, its options and examples; or what belongs to no one command: every day, moments, containers …
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep help
  redkeep help restore
  redkeep help operations
")]
pub(crate) struct Arguments {
    /// A command, such as backup or key add; or a topic
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

/// Prints it.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    if context.globals.json {
        let what = "a help text is no JSON".into();
        return Err(UsageError { what, hint: "leave --json out".into() }.into());
    }
    if let [name] = &arguments.words[..]
        && let Some(topic) = topics::find(name)
    {
        output::write(topic.shown().as_bytes()).context(UNWRITTEN)?;
        return Ok(Outcome::nothing());
    }
    let words = arguments.words.iter().map(String::as_str);
    let asked = ["redkeep"].into_iter().chain(words).chain(["--help"]);
    match args::command().try_get_matches_from(asked) {
        Err(help) if !help.use_stderr() => {
            output::show(&help).context(UNWRITTEN)?;
            Ok(Outcome::nothing())
        }
        _ => Err(UsageError {
            what: format!("there is neither a command nor a topic {}", arguments.words.join(" ")),
            hint: "list them with: redkeep help".into(),
        }
        .into()),
    }
}
