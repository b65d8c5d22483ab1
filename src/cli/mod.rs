//! The command line: the only place that prints, reads the environment, or knows how arguments and JSON are written.
//!
//! Standard output carries results only: text for people, or with `--json` one JSON object on one line. Everything else
//! (progress, notes, warnings, errors) goes to standard error. What a command's end means is one table in `exit`.

mod args;
mod commands;
mod configuration;
mod context;
mod exit;
mod human;
mod json;
mod outcome;
mod progress;
mod secrets;
mod selector;
mod server;
mod settings;
mod time;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use args::Cli;
use context::Context;
use exit::Code;

/// Runs redkeep with its arguments, the program's name first, and answers with the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refused(&error, &arguments).into(),
    };
    if let Some(profile) = cli.command.profile() {
        cli.globals.profile = Some(profile.into());
    }
    let is_json = cli.globals.json;
    let context = match Context::new(cli.globals).context("cannot watch for signals") {
        Ok(context) => context,
        Err(error) => return outcome::print_error(&error, is_json).into(),
    };
    let result = commands::run(cli.command, &context);
    context.progress.finish();
    let code = match result {
        Ok(outcome) => outcome.print(&context),
        Err(error) => outcome::print_error(&error, is_json),
    };
    code.into()
}

/// Arguments that cannot be used, or a request for help.
fn refused(error: &clap::Error, arguments: &[OsString]) -> Code {
    // A closed standard output or error is not worth a word.
    let _ = error.print();
    if !error.use_stderr() {
        return Code::Done;
    }
    let options = arguments.iter().take_while(|argument| *argument != "--");
    if options.into_iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        outcome::print_json_error(message, Some("see: redkeep --help"), Code::Usage);
    }
    Code::Usage
}
