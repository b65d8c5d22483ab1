//! `redkeep completions`.

use std::io;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::outcome::Outcome;

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

/// Prints the script, also with `--json`: it is not a report.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "redkeep", &mut script);
    match io::Write::write_all(&mut io::stdout(), &script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Outcome::nothing()),
    }
}
