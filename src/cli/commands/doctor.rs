//! `redkeep doctor`.

use std::path::{self, Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::run::dataset;
use crate::cli::args::word;
use crate::cli::context::Context;
use crate::cli::exit::Code;
use crate::cli::human::{count, plain, suspect_once};
use crate::cli::outcome::{self, Outcome};
use crate::cli::server::{Login, ServerArguments};
use crate::cli::time;
use crate::operations::doctor::{Finding, Of, Options, Report, Severity, backups, doctor};
use crate::redis::server::ACL_RULES;
use crate::repository::{Ambient, Repository};
use crate::store::Location;

/// Dumps up to this size are read whole without being asked.
const READ_UP_TO: u64 = 256 << 20;

/// Say what about this host will bite, before it does
///
/// Looks at the kernel's settings, the configuration files of Redis and Valkey, the data directory and its disk, the age
/// of the newest backup, and at files with passwords, and says what will bite and what to do about it. It changes
/// nothing. Ends with 0 where nothing was found, with 3 where something was. With --redis, or a profile that names a
/// server, that server is asked for its settings and state instead of reading configuration files.
///
/// With a profile it looks at its directory, dataset and repository. Otherwise directories are those that the servers'
/// configuration files name, and the repository is the one that other commands would use, if there is one. What a profile
/// may say is described by `redkeep run --help`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep doctor
  redkeep doctor daily --max-age 26h
  redkeep doctor --redis redis://redkeep@localhost:6379
  redkeep doctor --dir /srv/volumes/redis --read-data
  redkeep doctor --json | jq -r '.findings[].what'

Profiles:
  See: redkeep run --help

JSON:
  {\"findings\": [{\"severity\": \"serious\" or \"warning\", \"code\", \"what\",
     \"advice\"}], \"notes\": [text], \"directories\": [path],
   \"server_files\": [path], \"acl\": the command that makes a user with the
   least rights a backup from a live server needs}
")]
pub(crate) struct Arguments {
    /// The profile
    #[arg(value_name = "PROFILE")]
    name: Option<String>,
    /// Data directory to look at; may be given several times
    #[arg(long = "dir", value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Dataset whose backups are looked at [default: of the profile, else those of the directories]
    #[arg(long, value_name = "NAME", value_parser = word)]
    dataset: Option<String>,
    /// How old the newest backup may be
    #[arg(long, value_name = "SPAN", value_parser = time::exact_span, default_value = "2d")]
    max_age: Duration,
    /// Read dumps and AOFs whole, also large ones
    #[arg(long)]
    read_data: bool,
    /// Look at the host whose root directory is here
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
    #[command(flatten)]
    server: ServerArguments,
}

impl Arguments {
    /// The profile that is looked at.
    pub fn profile(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// Looks at the host.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let profile = context.profile()?;
    let access = context.access()?;
    let ambient = Ambient::system();
    let mut directories = arguments.directories.clone();
    if directories.is_empty() {
        directories.extend(profile.and_then(|profile| profile.dir.clone()));
    }
    if arguments.root == Path::new("/") {
        let absolute = directories.iter().map(path::absolute).collect::<Result<_, _>>();
        directories = absolute.context("cannot tell where the directory is")?;
    }
    let login = match profile {
        Some(profile) if arguments.server.login == Login::default() => profile.login(),
        _ => arguments.server.login.clone(),
    };
    let server_secret = login.redis_password_file.clone();
    let redis = arguments.server.redis.clone().or_else(|| profile.and_then(|profile| profile.redis.clone()));
    let server = redis.map(|redis| ServerArguments { redis: Some(redis), login });
    let server = server.map(|server| server.address(context)).transpose()?;
    let location = context.location();
    let options = Options {
        root: arguments.root.clone(),
        directories,
        read_up_to: if arguments.read_data { u64::MAX } else { READ_UP_TO },
        server,
        repository: match &location {
            Ok(Location::Local(path)) => Some(path.clone()),
            _ => None,
        },
        secrets: [access.password_file, access.key_file, server_secret].into_iter().flatten().collect(),
    };
    let mut report = doctor(&options, ambient.now(), &context.progress);
    for finding in &mut report.findings {
        finding.what = suspect_once(&finding.what);
    }
    let of_configuration = context.configuration()?.warnings.iter();
    report.add(of_configuration.map(|warning| Finding::warning("configuration", warning, "see: redkeep run --help")));
    match location {
        Ok(_) => look_at_repository(arguments, context, &ambient, &mut report)?,
        Err(_) => report.notes.push("no repository is named: the age of backups was not looked at".into()),
    }
    let code = if report.findings.is_empty() { Code::Done } else { Code::Warnings };
    Ok(Outcome::listing(text(&report), &Json::new(&report))?.with_code(code))
}

/// The age of the newest backup of the dataset that is meant, or of each directory. A repository that does not open is what was looked for.
fn look_at_repository(
    arguments: &Arguments,
    context: &Context,
    ambient: &Ambient,
    report: &mut Report,
) -> anyhow::Result<()> {
    let named = arguments.dataset.clone().or_else(|| {
        let profile = context.profile().ok().flatten()?;
        dataset(profile, &ambient.host, context).ok()
    });
    let directory = |directory: &PathBuf| Of::Directory {
        host: ambient.host.clone(),
        directory: directory.canonicalize().unwrap_or_else(|_| directory.clone()),
    };
    let wanted: Vec<Of> = match named {
        Some(dataset) => vec![Of::Dataset(dataset)],
        None => report.directories.iter().map(directory).collect(),
    };
    let look = |repository: &Repository, report: &mut Report| -> anyhow::Result<()> {
        for of in &wanted {
            report.add(backups(repository, of, arguments.max_age, ambient.now())?);
        }
        Ok(())
    };
    match context.open().and_then(|repository| look(&repository, report)) {
        Err(error) if Code::of(&error) != Code::Interrupted => {
            let hint = outcome::hint(&error).unwrap_or_else(|| "see: redkeep check".into());
            let what = format!("the repository cannot be used: {error:#}");
            report.add([Finding::serious("repository", what, hint)]);
            Ok(())
        }
        other => other,
    }
}

/// How the user of a live backup is made.
fn acl() -> String {
    format!("ACL SETUSER redkeep on >PASSWORD {ACL_RULES}")
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Finding { severity, what, advice, .. } in &report.findings {
        text.push_str(&format!("{severity}: {}\n         {}\n", plain(what), plain(advice)));
    }
    for note in &report.notes {
        text.push_str(&format!("note:    {}\n", plain(note)));
    }
    let paths = |paths: &[PathBuf]| {
        let paths: Vec<String> = paths.iter().map(|path| plain(&path.display().to_string())).collect();
        if paths.is_empty() { "none".to_string() } else { paths.join(", ") }
    };
    text.push_str(&format!("looked at: {}; settings of {}\n", paths(&report.directories), paths(&report.files)));
    let serious = report.findings.iter().filter(|finding| finding.severity == Severity::Serious).count();
    text.push_str(&match report.findings.len() as u64 {
        0 => "nothing was found that will bite\n".to_string(),
        findings => format!("{}, {serious} of them serious\n", count(findings, "finding")),
    });
    text.push_str(&format!("least rights for a backup from a live server:\n  {}\n", acl()));
    text
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    findings: Vec<FindingOf<'a>>,
    notes: &'a [String],
    directories: Vec<String>,
    server_files: Vec<String>,
    acl: String,
}

#[derive(Serialize)]
struct FindingOf<'a> {
    severity: String,
    code: &'a str,
    what: &'a str,
    advice: &'a str,
}

impl<'a> Json<'a> {
    fn new(report: &'a Report) -> Json<'a> {
        let finding = |finding: &'a Finding| FindingOf {
            severity: finding.severity.to_string(),
            code: &finding.code,
            what: &finding.what,
            advice: &finding.advice,
        };
        let shown = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
        Json {
            findings: report.findings.iter().map(finding).collect(),
            notes: &report.notes,
            directories: shown(&report.directories),
            server_files: shown(&report.files),
            acl: acl(),
        }
    }
}
