//! `redkeep completions`.

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::cli::complete::VARIABLE;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::output;

/// Print a script that completes redkeep's arguments in a shell
///
/// Prints a script that completes redkeep's arguments in a shell, and the names of profiles, datasets and snapshots as this
/// host saw them last: it asks the redkeep of the PATH, which opens no repository for it. A script is of the version that
/// printed it.
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
    let (name, mut script) = (arguments.shell.to_string(), Vec::new());
    let shells = Shells::builtins();
    let shell = shells.completer(&name).with_context(|| format!("{name} cannot be completed"))?;
    shell.write_registration(VARIABLE, "redkeep", "redkeep", "redkeep", &mut script)?;
    output::write(&script).context(UNWRITTEN)?;
    Ok(Outcome::nothing())
}
