//! `redkeep restore --server`, and the part of it that `redkeep undo --server` shares.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::Past;
use crate::cli::context::Context;
use crate::cli::human::{count, facts, plain, quoted, short, size, suspect_once};
use crate::cli::outcome::{Outcome, to_stderr};
use crate::cli::question::{agreed, is_asked};
use crate::cli::server::{LOGIN, Login, of_environment};
use crate::cli::{json, time};
use crate::operations::list::Chosen;
use crate::operations::restore::server::{self, Consent, Options, ServerReport, restore_into_server};
use crate::operations::restore::{Cut, From, Goal};
use crate::redis::host::{Commands, Named, is_secret};
use crate::redis::server::Address;
use crate::repository::Repository;

/// Over the options of a restore into a server.
const INTO: &str = "Into a server";

/// Where a server is that nobody named.
const USUAL: &str = "127.0.0.1:6379";

/// What names a server that may be stopped.
const NAMED: [&str; 4] = ["server_config", "server_unit", "server_dir", "server_setting"];

/// Arguments that say nothing without a server.
pub(crate) fn of_a_server() -> impl Iterator<Item = &'static str> {
    let own = ["server", "yes", "stop_command", "start_command", "stop_timeout", "server_binary", "no_start"];
    own.into_iter().chain(NAMED).chain(LOGIN)
}

/// The same with those of a restore.
pub(super) fn of_a_restore() -> impl Iterator<Item = &'static str> {
    of_a_server().chain(["method", "ttl", "force"])
}

/// A server of this host that may be stopped.
#[derive(Debug, Args)]
#[command(next_help_heading = INTO)]
pub(crate) struct AServer {
    /// A server of this host; one that is stopped is named by an option below too [without a value: the one that REDKEEP_REDIS names, else the one that its configuration says, else 127.0.0.1:6379]
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true)]
    server: Option<Option<String>>,
    /// The server may be stopped, and its data replaced
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// How the server is stopped [default: by its service manager, or SHUTDOWN NOSAVE]
    #[arg(long, value_name = "COMMAND", requires = "server")]
    stop_command: Option<String>,
    /// How long the server may take to end, as 90s or 10m [default: 10m]
    #[arg(long, value_name = "SPAN", requires = "server", value_parser = time::exact_span)]
    stop_timeout: Option<Duration>,
    /// How the server is started [default: by its service manager, or as it was]
    #[arg(long, value_name = "COMMAND", requires = "server")]
    start_command: Option<String>,
    /// Configuration file of the server, which may be stopped, or never have been started
    #[arg(long, value_name = "FILE", requires = "server")]
    server_config: Option<PathBuf>,
    /// Unit of systemd, or script of `service`, that keeps the server
    #[arg(long, value_name = "NAME", requires = "server")]
    server_unit: Option<String>,
    /// Data directory of the server as it is reached from here, where its configuration does not say it
    #[arg(long, value_name = "DIR", requires = "server")]
    server_dir: Option<PathBuf>,
    /// A setting that the server is started with besides its configuration file, as appendonly=yes; may be given several
    /// times
    #[arg(long, value_name = "NAME=VALUE", requires = "server", value_parser = setting)]
    server_setting: Vec<(String, String)>,
    /// Program of the server, and of a scratch server where one is needed [default: the server's own]
    #[arg(long, value_name = "FILE", requires = "server")]
    server_binary: Option<PathBuf>,
    /// Leave the server stopped: nothing is proved then
    #[arg(long, requires = "server")]
    no_start: bool,
    #[command(flatten)]
    login: Login,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let named = text.split_once('=').filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace));
    named.map(|(name, value)| (name.into(), value.into())).ok_or_else(|| "write it like appendonly=yes".into())
}

/// How a dataset gets into a server.
#[derive(Debug, Args)]
#[command(next_help_heading = INTO)]
pub(super) struct IntoServer {
    #[command(flatten)]
    pub of: AServer,
    /// How a dump gets into a server whose AOF is on [default: direct]
    #[arg(long, value_name = "METHOD", help_heading = INTO, requires = "server")]
    method: Option<Method>,
    /// What is wished for keys that expired since, where there is a choice
    #[arg(long, value_name = "WISH", help_heading = INTO, requires = "server", conflicts_with = "method")]
    ttl: Option<Ttl>,
    /// Do it although; may be given several times
    #[arg(long, value_name = "WHAT", help_heading = INTO, requires = "server", value_delimiter = ',')]
    force: Vec<Consent>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    /// It becomes the AOF: the server is started once
    Direct,
    /// A scratch server loads it with its AOF off, then writes an AOF
    Classic,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Ttl {
    /// They are loaded, and go one by one
    Keep,
    /// They are dropped while loading
    Drop,
}

impl ValueEnum for Consent {
    fn value_variants<'a>() -> &'a [Self] {
        use Consent::{Cluster, Commands, Eviction, Modules, Replica, Sentinel, Settings, Suspect, Unsaved};
        &[Replica, Sentinel, Cluster, Suspect, Unsaved, Modules, Commands, Settings, Eviction]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (word, help) = match self {
            Self::Replica => ("replica", "The server is a replica"),
            Self::Sentinel => ("sentinel", "A Sentinel watches it"),
            Self::Cluster => ("cluster", "It is a node of a cluster"),
            Self::Suspect => ("suspect", "The snapshot was suspect when it was taken"),
            Self::Unsaved => ("unsaved", "What the server cannot save before it is stopped is lost"),
            Self::Modules => {
                ("modules", "Whether the server's modules have the types of the snapshot's data is not known")
            }
            Self::Commands => ("commands", "Whether the server knows the commands of the AOF is not known"),
            Self::Settings => (
                "settings",
                "Users, modules and settings that are in none of the server's files are lost when it is started again",
            ),
            Self::Eviction => ("eviction", "The server may throw away keys that do not fit its maxmemory"),
        };
        Some(PossibleValue::new(word).help(help))
    }
}

impl AServer {
    /// How it is logged in to.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// What names the server otherwise than by its address.
    fn named(&self) -> Option<Named> {
        let is_named = self.server_config.is_some() || self.server_unit.is_some() || self.server_dir.is_some();
        is_named.then(|| Named {
            config: self.server_config.clone(),
            unit: self.server_unit.clone(),
            directory: self.server_dir.clone(),
            settings: self.server_setting.clone(),
            program: self.server_binary.clone(),
        })
    }

    /// Options for this server; the journal is kept in the state directory.
    pub fn options(&self, context: &Context) -> anyhow::Result<Options> {
        let named = self.server.clone().flatten().or_else(of_environment);
        let address = self.login.of(context)?(named.as_deref().unwrap_or(USUAL).parse()?);
        let state = context.places()?.state;
        let (stop, start) = (self.stop_command.clone(), self.start_command.clone());
        let commands = Commands { stop, start, patience: self.stop_timeout, built: None };
        Ok(Options {
            commands,
            may_stop: self.yes,
            state,
            named: self.named(),
            has_address: named.is_some(),
            program: self.server_binary.clone(),
            starts: !self.no_start,
            again: self.again(&address, named.is_some()),
            ..Options::new(address)
        })
    }

    /// The same server with the same options, in words to copy; no secret is among them.
    fn again(&self, address: &Address, has_address: bool) -> String {
        let path = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string();
        let is_named = self.named().is_some();
        let server =
            if is_named && !has_address { "--server".into() } else { format!("--server={}", address.to_text()) };
        let mut words = vec![server];
        let mut add = |name: &str, value: Option<String>| {
            words.extend(value.into_iter().flat_map(|value| [format!("--{name}"), value]));
        };
        add("server-config", self.server_config.as_ref().map(path));
        add("server-unit", self.server_unit.clone());
        add("server-dir", self.server_dir.as_ref().map(path));
        for (name, value) in &self.server_setting {
            let value = if is_secret(name) { "SECRET" } else { value };
            add("server-setting", Some(format!("{name}={value}")));
        }
        add("server-binary", self.server_binary.as_ref().map(path));
        add("stop-command", self.stop_command.clone());
        add("stop-timeout", self.stop_timeout.map(|time| format!("{}s", time.as_secs().max(1))));
        add("start-command", self.start_command.clone());
        let login = &self.login;
        add("redis-user", login.redis_user.clone().or_else(|| address.user().map(str::to_owned)));
        add("redis-password-file", login.redis_password_file.as_ref().map(path));
        // What it is may itself be a secret.
        add("redis-password-command", login.redis_password_command.as_ref().map(|_| "COMMAND".to_owned()));
        add("tls-ca", login.tls_ca.as_ref().map(path));
        add("tls-cert", login.tls_cert.as_ref().map(path));
        add("tls-key", login.tls_key.as_ref().map(path));
        for (usual, new) in &login.renamed_command {
            add("renamed-command", Some(format!("{usual}={new}")));
        }
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    }
}

/// What of the snapshot is restored.
pub(super) struct Wanted<'a> {
    pub from: Option<From>,
    pub goal: Option<Goal>,
    pub dry_run: bool,
    /// Says which moment it is, once it is cut.
    pub past: &'a dyn Fn(Option<&Cut>) -> Option<Past>,
}

/// Restores a snapshot into a server.
pub(super) fn run(
    arguments: IntoServer,
    wanted: Wanted<'_>,
    repository: &Repository,
    chosen: &Chosen,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let Wanted { from, goal, dry_run, past } = wanted;
    let mut options = Options {
        from,
        goal,
        method: arguments.method.map(|method| match method {
            Method::Direct => server::Method::Direct,
            Method::Classic => server::Method::Classic,
        }),
        ttl: arguments.ttl.map(|ttl| match ttl {
            Ttl::Keep => server::Ttl::Keep,
            Ttl::Drop => server::Ttl::Drop,
        }),
        consents: arguments.force,
        dry_run,
        ..arguments.of.options(context)?
    };
    if !dry_run && !options.may_stop && is_asked() {
        // What a person agrees to is shown first.
        options.dry_run = true;
        let report = restore_into_server(repository, chosen, &options, &context.progress)?;
        let past = past(report.cut.as_ref());
        text(chosen, &report, past.as_ref()).lines().for_each(to_stderr);
        options.may_stop = agreed("do that? the server is stopped for it", context)?.unwrap_or(false);
        options.dry_run = false;
    }
    let report = restore_into_server(repository, chosen, &options, &context.progress)?;
    let suspect = |(path, why): &(String, String)| format!("{path} was suspect when it was stored: {why}");
    let suspects = report.suspects.iter().map(|suspect_file| suspect_once(&suspect(suspect_file)));
    let wrong = report.verified.iter().flat_map(|verified| verified.wrong.iter().cloned());
    let is_wrong = report.verified.as_ref().is_some_and(|verified| !verified.is_right());
    let past = past(report.cut.as_ref());
    let json = json::RestoreServer::new(chosen, &report, past.as_ref());
    let outcome = Outcome::deed(text(chosen, &report, past.as_ref()), &json)?;
    let outcome = outcome.with_made_good(&report.made_good);
    Ok(outcome.with_warnings(suspects).with_warnings(wrong).with_alarms(&chosen.alarms).with_damage(is_wrong))
}

fn text(chosen: &Chosen, report: &ServerReport, past: Option<&Past>) -> String {
    let Chosen { name, snapshot, .. } = chosen;
    let (id, dataset) = (short(&name.session), plain(&snapshot.dataset));
    let did = match (report.dry_run, report.finished_earlier) {
        (true, _) => "would restore",
        (false, true) => "finished the killed restore of",
        (false, false) => "restored",
    };
    let mut lines = vec![
        ("taken", time::show(snapshot.captured_at())),
        ("into", format!("{}, directory {}", report.server, report.directory.display())),
        ("files", format!("{}, {}", count(report.files, "file"), size(report.bytes))),
    ];
    if let Some(past) = past {
        lines.splice(1..1, past.lines());
    }
    lines.extend(report.notes.iter().map(|note| ("note", note.clone())));
    if report.was_stopped && !report.dry_run {
        let now = if report.is_started { "was stopped, and runs now" } else { "was stopped, and is not started" };
        lines.push(("server", now.into()));
    }
    if let Some(verified) = &report.verified {
        lines.extend(verified.lines.iter().map(|line| ("holds", line.clone())));
        lines.extend(verified.wrong.iter().map(|line| ("wrong", line.clone())));
    }
    if let Some(aside) = &report.aside {
        lines.push(("aside", format!("the old files are kept in {}", aside.display())));
        lines.push(("undo", format!("redkeep undo {} --yes", report.again)));
    }
    let mut text = format!("{did} snapshot {id} of {dataset}\n{}", facts(&lines));
    if report.dry_run {
        for (place, step) in (1..).zip(&report.steps) {
            text.push_str(&format!("  {place}. {}\n", plain(step)));
        }
    }
    text
}
