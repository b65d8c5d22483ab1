//! `redkeep config`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::schedule;
use super::schedule::trial::{Trial, told};
use crate::cli::configuration::example::EXAMPLE;
use crate::cli::configuration::faults_of;
use crate::cli::context::Context;
use crate::cli::exit::{Code, UsageError};
use crate::cli::human::{count, plain};
use crate::cli::outcome::{Outcome, UNWRITTEN};
use crate::cli::output;
use crate::operations::schedule::user;

/// Write a first configuration file, or check the one that is there
///
/// What a configuration file may say is explained by the one that `redkeep config example` prints.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_long_help = "\
Examples:
  redkeep config example > /etc/redkeep.toml
  redkeep config check
"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
enum Command {
    Example(Example),
    Check(Check),
}

/// Print a configuration file with every key explained
///
/// Prints a configuration file that can be used as it is: the server of this host at 127.0.0.1:6379, a repository in
/// /srv/redkeep, a password in /etc/redkeep/password. All other keys are commented out.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep config example > /etc/redkeep.toml
  redkeep config example | less

JSON, with --json:
  {\"example\": text}
")]
struct Example {}

/// Look for mistakes in the configuration, and try what it says
///
/// Reads the configuration files and tells each mistake with its line and column. Where there is none it tries each
/// profile as `redkeep schedule test` does, with nothing of this environment: the repository is opened, the server asked, the data
/// directory looked at. Nothing is changed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep config check
  redkeep config check daily
  redkeep config check --no-test --config ./redkeep.toml

JSON:
  {\"files\": [path],
   \"faults\": [{\"file\", \"line\": from 1, \"column\": from 1, \"message\"}],
   \"profiles\": [{\"profile\", \"tried\": as in redkeep schedule test, or null}],
   \"warnings\": [text]}
")]
struct Check {
    /// Try only this profile
    #[arg(value_name = "PROFILE")]
    profile: Option<String>,
    /// Only read the files: open no repository, ask no server
    #[arg(long)]
    no_test: bool,
}

/// What `config check` prints with `--json`.
#[derive(Default, Serialize)]
struct Json {
    files: Vec<String>,
    faults: Vec<FaultOf>,
    profiles: Vec<ProfileOf>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct FaultOf {
    file: String,
    line: usize,
    column: usize,
    message: String,
}

#[derive(Serialize)]
struct ProfileOf {
    profile: String,
    tried: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct ExampleOf {
    example: &'static str,
}

/// Prints the example, or checks.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Command::Example(_) if context.globals.json => Outcome::listing(String::new(), &ExampleOf { example: EXAMPLE }),
        Command::Example(_) => {
            output::write(EXAMPLE.as_bytes()).context(UNWRITTEN)?;
            Ok(Outcome::nothing())
        }
        Command::Check(arguments) => check(arguments, context),
    }
}

fn check(arguments: &Check, context: &Context) -> anyhow::Result<Outcome> {
    let places = context.configuration_files();
    let mut json = Json::default();
    for path in &places {
        let Some(faults) = faults_of(path)? else { continue };
        json.files.push(path.display().to_string());
        json.faults.extend(faults.into_iter().map(|fault| FaultOf {
            file: path.display().to_string(),
            line: fault.line,
            column: fault.column,
            message: fault.what,
        }));
    }
    if json.files.is_empty() {
        return Err(none_of(&places).into());
    }
    if !json.faults.is_empty() {
        let line = |fault: &FaultOf| {
            format!("{}:{}:{}: {}\n", plain(&fault.file), fault.line, fault.column, plain(&fault.message))
        };
        let text: String = json.faults.iter().map(line).collect();
        let note = "each key is explained by: redkeep config example".to_string();
        return Ok(Outcome::listing(text, &json)?.with_notes([note]).with_code(Code::Usage));
    }
    try_profiles(arguments, json, context)
}

/// What the files say can be meant: whether it works is another thing.
fn try_profiles(arguments: &Check, mut json: Json, context: &Context) -> anyhow::Result<Outcome> {
    let configuration = context.configuration()?;
    json.warnings.clone_from(&configuration.warnings);
    let names: Vec<String> = match &arguments.profile {
        Some(name) => configuration.profile(name).map(|_| vec![name.clone()])?,
        None => configuration.profiles().map(String::from).collect(),
    };
    let mut text = format!("{}: no mistake, {}\n", plain(&json.files.join(", ")), count(names.len() as u64, "profile"));
    let mut code = Code::Done;
    let me = uzers::get_current_username().and_then(|name| name.into_string().ok()).unwrap_or_default();
    for name in names {
        let mut tried = None;
        if !arguments.no_test {
            let file = schedule::file(&name, context)?;
            let trial = Trial::apart(&name, &user(&me)?, false, file.as_deref())?;
            code = code.worse(trial.worst().map_or(Code::Done, |failed| Code::of_number(failed.exit_code)));
            text.push_str(&format!("profile {}\n", plain(&name)));
            text.extend(trial.tried.iter().map(told));
            tried = Some(serde_json::to_value(trial.tried)?);
        }
        json.profiles.push(ProfileOf { profile: name, tried });
    }
    Ok(Outcome::listing(text, &json)?.with_code(code))
}

fn none_of(places: &[PathBuf]) -> UsageError {
    let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    UsageError {
        what: format!("there is no configuration file at {}", places.join(" or ")),
        hint: "write one with: redkeep config example > /etc/redkeep.toml".into(),
    }
}
