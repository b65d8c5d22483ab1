//! The command line: the only place that prints, reads the environment, or knows how arguments and JSON are written.
//!
//! Standard output carries results only: text for people, or with `--json` one JSON object on one line. Everything else
//! (progress, notes, warnings, errors) goes to standard error. What a command's end means is one table in `exit`.

mod args;
mod commands;
mod complete;
mod configuration;
mod context;
mod exit;
mod human;
mod json;
mod key_count;
mod outcome;
mod output;
mod progress;
mod question;
mod refusal;
mod second;
mod secrets;
mod selector;
mod server;
mod services;
mod settings;
mod time;
mod topics;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};

use args::Cli;
use context::Context;
use exit::UsageError;
use refusal::refused;

use crate::redis::server::Address;

/// Runs redkeep with its arguments, the program's name first, and answers with the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = with_one_spelling(arguments.into_iter().collect());
    if let Some(code) = complete::answered(&arguments) {
        return code.into();
    }
    let parsed = args::command().try_get_matches_from(&arguments);
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (mut cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refused(&error.format(&mut args::command()), &arguments).into(),
    };
    let is_json = cli.globals.json;
    if let Err(error) = settle_profile(&mut cli, &matches) {
        return outcome::print_error(&error.into(), is_json).into();
    }
    let context = match Context::new(cli.globals).context("cannot watch for signals") {
        Ok(context) => context,
        Err(error) => return outcome::print_error(&error, is_json).into(),
    };
    if arguments.iter().any(|word| shows_password(&word.to_string_lossy())) {
        context.warn(
            "the password in the server's address can be read by every user of this host, and by who reads the shell's \
             history: use --redis-password-file, or the variable REDISCLI_AUTH",
        );
    }
    let result = commands::run(cli.command, &context);
    context.progress.finish();
    let code = match result {
        Ok(outcome) => outcome.print(&context),
        Err(error) => outcome::print_error(&error, is_json),
    };
    code.into()
}

/// What other commands call `--redis URL` is `--server=URL` to a restore and its undo: they take both.
fn with_one_spelling(arguments: Vec<OsString>) -> Vec<OsString> {
    let words: Vec<&str> = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default()).collect();
    let is_spelt = |word: &&str| *word == "--redis" || word.starts_with("--redis=");
    if !words.iter().any(is_spelt) || !["redkeep restore", "redkeep undo"].contains(&&*refusal::command(&words)) {
        return arguments;
    }
    let mut spelt = Vec::with_capacity(arguments.len());
    let mut left = arguments.into_iter();
    while let Some(word) = left.next() {
        let value = match word.to_str() {
            Some("--redis") => left.next().and_then(|value| value.into_string().ok()),
            Some(word) => word.strip_prefix("--redis=").map(String::from),
            None => None,
        };
        spelt.push(value.map_or(word, |value| format!("--server={value}").into()));
    }
    spelt
}

/// Whether an argument is the address of a server with a password in it.
fn shows_password(word: &str) -> bool {
    let value = word.split_once('=').filter(|(option, _)| option.starts_with("--")).map_or(word, |(_, value)| value);
    let is_address =
        ["redis://", "rediss://", "valkey://", "valkeys://", "unix://"].iter().any(|scheme| value.starts_with(scheme));
    is_address && value.parse::<Address>().is_ok_and(|address| address.has_password())
}

/// The profile that a command names itself counts, before that of the environment. Two different ones are not both meant.
fn settle_profile(cli: &mut Cli, matches: &ArgMatches) -> Result<(), UsageError> {
    let Some(named) = cli.command.profile().map(String::from) else { return Ok(()) };
    let is_option = matches.value_source("profile") == Some(ValueSource::CommandLine);
    let other = cli.globals.profile.replace(named.clone()).filter(|other| is_option && *other != named);
    match other {
        None => Ok(()),
        Some(other) => Err(UsageError {
            what: format!("two profiles are named: {named}, and {other} by --profile"),
            hint: "leave --profile out: the command names its profile itself".into(),
        }),
    }
}
