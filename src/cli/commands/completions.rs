//! `redkeep completions`.

use anyhow::Context as _;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::output;

/// Print a script that completes redkeep's arguments in a shell
///
/// Prints a script that completes redkeep's arguments in a shell.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep completions bash > /etc/bash_completion.d/redkeep
  redkeep completions zsh > ~/.zfunc/_redkeep
  redkeep completions fish > ~/.config/fish/completions/redkeep.fish
")]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    if context.globals.json {
        return Err(UsageError { what: "a script is no JSON".into(), hint: "leave --json out".into() }.into());
    }
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "redkeep", &mut script);
    output::write(&script).context(UNWRITTEN)?;
    Ok(Outcome::nothing())
}
