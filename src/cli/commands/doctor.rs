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
use crate::operations::doctor::service::{self, Found};
use crate::operations::doctor::{Finding, Of, Options, Report, Severity, backups, doctor};
use crate::redis::server::{ACL_RULES, ACL_RULES_OF_SYNC, Address, WhereOptions};
use crate::repository::{Ambient, Repository};
use crate::store::Location;

/// Where no server was named and none was found.
const NOBODY: &str = "no server answers at 127.0.0.1:6379, nor at the sockets and ports that configuration files name: files \
     were looked at, and nobody was asked (--redis names a server)";

/// Dumps up to this size are read whole without being asked.
const READ_UP_TO: u64 = 256 << 20;

/// Say what about this host will bite, before it does
///
/// Looks at the kernel's settings, the configuration files of Redis and Valkey, the data directory and its disk, the age
/// of the newest backup, and at files with passwords, and says what will bite and what to do about it. It changes
/// nothing. Ends with 0 where nothing was found, with 3 where something was. The live server that a backup would take (that
/// of --redis, of the profile, or the one that is found on this host) is asked for its settings, state and directory;
/// where none answers, and with --dir or --root, configuration files are read instead. In an object store a probe is stored,
/// replaced and deleted, which shows what the credentials may do.
///
/// With a profile it looks at its directory, dataset and repository. Otherwise directories are those that the servers'
/// configuration files name, and the repository is the one that other commands would use, if there is one. What a profile
/// may say is explained by `redkeep config example`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep doctor
  redkeep doctor daily --max-age 26h
  redkeep doctor --redis redis://redkeep@localhost:6379
  redkeep doctor --dir /srv/volumes/redis --read-data
  redkeep doctor --json | jq -r '.findings[].what'

Profiles:
  See: redkeep config example

JSON:
  {\"findings\": [{\"severity\": \"serious\" or \"warning\", \"code\", \"what\",
     \"advice\"}], \"notes\": [text], \"directories\": [path],
   \"server_files\": [path], \"acl\": the command that makes a user with the
   least rights a backup from a live server needs, \"acl_of_sync\": what to add
   for --mode sync, \"service\": null, or of the object store that keeps the
   repository {\"may_store\", \"may_replace\", \"may_delete\",
     \"keeps_versions\": bool, \"locked_until\": text or null,
     \"writer\", \"keeper\": the rights to give to whom}}
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
        directories.extend(profile.and_then(|profile| profile.live.dir.clone()));
    }
    if arguments.root == Path::new("/") {
        let absolute = directories.iter().map(path::absolute).collect::<Result<_, _>>();
        directories = absolute.context("cannot tell where the directory is")?;
    }
    let login = match profile {
        Some(profile) if arguments.server.login == Login::default() => profile.server().login,
        _ => arguments.server.login.clone(),
    };
    let server_secret = login.redis_password_file.clone();
    let redis = arguments.server.redis.clone().or_else(|| profile.and_then(|profile| profile.server().redis));
    let may_search = profile.is_none() && directories.is_empty() && arguments.root == Path::new("/");
    let (server, nobody) = server(ServerArguments { redis, login }, may_search, context)?;
    let maps = profile.map(|profile| profile.live.path_map.clone()).unwrap_or_default();
    let place = WhereOptions { directory: directories.first().cloned().filter(|_| server.is_some()), maps };
    let location = context.location();
    let options = Options {
        root: arguments.root.clone(),
        directories,
        read_up_to: if arguments.read_data { u64::MAX } else { READ_UP_TO },
        server,
        place,
        is_sent: profile.is_some_and(|profile| profile.live.is_sent()),
        repository: match &location {
            Ok(Location::Local(path)) => Some(path.clone()),
            _ => None,
        },
        secrets: [access.password_file, access.key_file, server_secret].into_iter().flatten().collect(),
        state: context.places().ok().and_then(|places| places.state),
    };
    let mut report = doctor(&options, ambient.now(), &context.progress);
    report.notes.extend(nobody);
    for finding in &mut report.findings {
        finding.what = suspect_once(&finding.what);
    }
    let of_configuration = context.configuration()?.warnings.iter();
    report.add(of_configuration.map(|warning| Finding::warning("configuration", warning, "see: redkeep config check")));
    let found = match location {
        Ok(_) => look_at_repository(arguments, context, &ambient, &mut report)?,
        Err(_) => {
            report.notes.push("no repository is named: the age of backups was not looked at".into());
            None
        }
    };
    let code = if report.findings.is_empty() { Code::Done } else { Code::Warnings };
    let text = text(&report) + &found.as_ref().map(policies).unwrap_or_default();
    Ok(Outcome::listing(text, &Json::new(&report, found.as_ref()))?.with_code(code))
}

/// The server that is named; else the one that a backup without a word would take, where it answers, or why none is asked.
fn server(
    named: ServerArguments,
    may_search: bool,
    context: &Context,
) -> anyhow::Result<(Option<Address>, Option<String>)> {
    if named.redis.is_none() && !may_search {
        return Ok((None, None));
    }
    match named.address(context) {
        Ok(address) => Ok((Some(address), None)),
        Err(error) if named.redis.is_none() && Code::of(&error) == Code::Server => Ok((None, Some(NOBODY.into()))),
        Err(error) => Err(error),
    }
}

/// The age of the newest backup of the dataset that is meant, or of each directory. A repository that does not open is what was looked for.
fn look_at_repository(
    arguments: &Arguments,
    context: &Context,
    ambient: &Ambient,
    report: &mut Report,
) -> anyhow::Result<Option<Found>> {
    let of_profile = || {
        let profile = context.profile().ok().flatten()?;
        let of = if profile.live.cluster { Of::Sets } else { Of::Dataset };
        dataset(profile, &ambient.host, context).ok().map(of)
    };
    let named = arguments.dataset.clone().map(Of::Dataset).or_else(of_profile);
    let directory = |directory: &PathBuf| Of::Directory {
        host: ambient.host.clone(),
        directory: directory.canonicalize().unwrap_or_else(|_| directory.clone()),
    };
    let wanted: Vec<Of> = match named {
        Some(of) => vec![of],
        None => report.directories.iter().map(directory).collect(),
    };
    let look = |repository: &Repository, report: &mut Report| -> anyhow::Result<Option<Found>> {
        for of in &wanted {
            report.add(backups(repository, of, arguments.max_age, ambient.now())?);
        }
        Ok(service::look(repository, report)?)
    };
    match context.open().and_then(|repository| look(&repository, report)) {
        Err(error) if Code::of(&error) == Code::NoRepository => {
            let hint = outcome::hint(&error).unwrap_or_else(|| "make one with: redkeep init".into());
            report.add([Finding::warning("no-repository", format!("there is no repository yet: {error:#}"), hint)]);
            Ok(None)
        }
        Err(error) if Code::of(&error) != Code::Interrupted => {
            let hint = outcome::hint(&error).unwrap_or_else(|| "see: redkeep check".into());
            let what = format!("the repository cannot be used: {error:#}");
            report.add([Finding::serious("repository", what, hint)]);
            Ok(None)
        }
        other => other,
    }
}

/// Which rights a host needs in the object store.
fn policies(found: &Found) -> String {
    let service::Policies { writer, keeper } = &found.policies;
    format!(
        "rights of a host that only makes backups (writer):\n  {writer}\nof one that forgets, prunes and changes keys (keeper):\n  {keeper}\n"
    )
}

/// How the user of a live backup is made.
fn acl() -> String {
    format!("ACL SETUSER redkeep on >PASSWORD {ACL_RULES}")
}

/// What he needs besides, where the server is to send its dump.
fn acl_of_sync() -> String {
    format!("ACL SETUSER redkeep {ACL_RULES_OF_SYNC}")
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
    let of_files = match report.files.is_empty() {
        true => String::new(),
        false => format!("; settings of {}", paths(&report.files)),
    };
    text.push_str(&format!("looked at: {}{of_files}\n", paths(&report.directories)));
    let serious = report.findings.iter().filter(|finding| finding.severity == Severity::Serious).count();
    text.push_str(&match report.findings.len() as u64 {
        0 => "nothing was found that will bite\n".to_string(),
        findings => format!("{}, {serious} of them serious\n", count(findings, "finding")),
    });
    text.push_str(&format!("least rights for a backup from a live server:\n  {}\n", acl()));
    text.push_str(&format!(
        "and to be sent everything, where its files are out of reach (--mode sync):\n  {}\n",
        acl_of_sync()
    ));
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
    acl_of_sync: String,
    service: Option<ServiceOf<'a>>,
}

#[derive(Serialize)]
struct ServiceOf<'a> {
    may_store: bool,
    may_replace: bool,
    may_delete: bool,
    keeps_versions: bool,
    locked_until: Option<&'a str>,
    writer: &'a str,
    keeper: &'a str,
}

#[derive(Serialize)]
struct FindingOf<'a> {
    severity: String,
    code: &'a str,
    what: &'a str,
    advice: &'a str,
}

impl<'a> Json<'a> {
    fn new(report: &'a Report, found: Option<&'a Found>) -> Json<'a> {
        let service = |found: &'a Found| ServiceOf {
            may_store: found.rights.store,
            may_replace: found.rights.replace,
            may_delete: found.rights.delete,
            keeps_versions: found.keeping.versions,
            locked_until: found.keeping.locked_until.as_deref(),
            writer: &found.policies.writer,
            keeper: &found.policies.keeper,
        };
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
            acl_of_sync: acl_of_sync(),
            service: found.map(service),
        }
    }
}
