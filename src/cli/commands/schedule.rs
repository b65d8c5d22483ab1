//! `redkeep schedule`.

pub(super) mod trial;

use std::env;
use std::path::{self, Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Zoned;
use serde::Serialize;

use crate::cli::commands::run::second;
use crate::cli::configuration::{Configuration, Profile, refuse_name};
use crate::cli::context::Context;
use crate::cli::exit::{Code, TrialError, UsageError};
use crate::cli::human::{facts, plain};
use crate::cli::outcome::Outcome;
use crate::cli::second::Second;
use crate::cli::time;
use crate::format::UnixMillis;
use crate::operations::schedule::{self, Installed, Job, Kind, Options, Timing, install, remove, show};
use crate::store::Location;
use trial::{Trial, told};

/// When a profile runs that is not told when.
const USUAL: (u8, u8) = (2, 30);

/// Have cron or systemd run a profile
///
/// Writes an entry of /etc/cron.d, or a systemd service and timer, that runs `redkeep run PROFILE`. Only files that
/// redkeep wrote are replaced or removed. What a profile may say is explained by `redkeep config example`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_long_help = "\
Examples:
  redkeep schedule test daily
  redkeep schedule install daily --at 02:30
  redkeep schedule show
  redkeep schedule remove daily

Profiles:
  See: redkeep config example
"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What can be done with a schedule.
#[derive(Debug, Subcommand)]
enum Command {
    Test(Test),
    Install(Install),
    Show(Show),
    Remove(Remove),
}

/// Try whether a profile will work where nobody watches
///
/// Opens the repository with the password that the configuration names and looks whether it can be written, asks the
/// server, and reads the data directory: as the user who will run it, with nothing of this environment. Nothing is changed.
/// It ends with the code that a run would end with. To try all of it, run the profile once: redkeep run PROFILE.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep schedule test daily
  redkeep schedule test daily --user redis
  redkeep schedule test daily --config /srv/redkeep.toml --json

JSON:
  {\"profile\", \"user\", \"tried\": [{\"what\": \"repository\", \"server\" or \"data\",
     \"found\": text, \"exit_code\": 0 where it works, \"hint\": text or null}]}
")]
struct Test {
    /// The profile
    #[arg(value_name = "PROFILE", value_parser = profile)]
    name: String,
    /// As this user; only root can be another [default: who runs this]
    #[arg(long, value_name = "NAME", value_parser = user)]
    user: Option<String>,
}

/// Have a profile run from now on
///
/// A systemd timer where systemd runs the host, else an entry of /etc/cron.d. Units are read by systemd-analyze, where
/// that is there, before they are put in place. Another time for the same profile replaces the former. The job names
/// this program by its path, and the profile's configuration file unless that is /etc/redkeep.toml.
///
/// The profile is tried first, as `redkeep schedule test` does, and nothing is installed where it fails; a server that does
/// not answer just now is a warning. Cron mails what a run prints: it runs with --quiet, so that only warnings and failures
/// are. A systemd service has its cache and state in /var/cache/redkeep and /var/lib/redkeep, and, where the profile runs
/// no commands of its own, cannot change /usr, /boot, /etc and homes, but for the repository.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep schedule install daily
  redkeep schedule install daily --at 04:15 --cron
  redkeep schedule install tail --every 5m --config /srv/redkeep.toml
  redkeep schedule install daily --root ./image

JSON:
  {\"installed\": [{\"profile\", \"kind\": \"cron\" or \"systemd\", \"files\": [path],
     \"when\": text or null where it was changed, \"command\": text or null,
     \"enabled\": bool, \"next\": time or null, \"verified\": bool}]}
")]
struct Install {
    /// The profile
    #[arg(value_name = "PROFILE", value_parser = profile)]
    name: String,
    /// When, each day [default: 02:30]
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day)]
    at: Option<(u8, u8)>,
    /// How often: minutes that divide an hour, hours that divide a day, or 1d
    #[arg(long, value_name = "SPAN", value_parser = time::exact_span)]
    every: Option<std::time::Duration>,
    /// By cron, whatever else is there
    #[arg(long, conflicts_with = "systemd")]
    cron: bool,
    /// By systemd, whatever else is there
    #[arg(long)]
    systemd: bool,
    /// As this user [default: who runs this]
    #[arg(long, value_name = "NAME", value_parser = user)]
    user: Option<String>,
    /// Do not try the profile first
    #[arg(long)]
    no_test: bool,
    #[command(flatten)]
    of: Root,
}

/// Show what is installed and when it runs next
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep schedule show
  redkeep schedule show daily --json

JSON:
  {\"installed\": [as of install; \"verified\" is false]}
")]
struct Show {
    /// The profile [default: all]
    #[arg(value_name = "PROFILE", value_parser = profile)]
    name: Option<String>,
    #[command(flatten)]
    of: Root,
}

/// Have a profile run no more
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep schedule remove daily

JSON:
  {\"removed\": [path]}
")]
struct Remove {
    /// The profile
    #[arg(value_name = "PROFILE", value_parser = profile)]
    name: String,
    #[command(flatten)]
    of: Root,
}

/// Whose files they are.
#[derive(Debug, Args)]
struct Root {
    /// Work on the files below this directory, of an image or a package, rather than on this host
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    root: PathBuf,
}

impl Arguments {
    /// The profile whose configuration is needed.
    pub fn profile(&self) -> Option<&str> {
        match &self.command {
            Command::Install(install) => Some(&install.name),
            Command::Test(test) => Some(&test.name),
            Command::Show(_) | Command::Remove(_) => None,
        }
    }
}

fn profile(text: &str) -> Result<String, String> {
    refuse_name(text).map(|()| text.into())
}

/// A user's name as cron and systemd can hold it.
fn user(text: &str) -> Result<String, String> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match !text.is_empty() && !text.starts_with('-') && text.chars().all(is_fine) {
        true => Ok(text.into()),
        false => Err("a user's name has letters, digits, . _ and -".into()),
    }
}

fn time_of_day(text: &str) -> Result<(u8, u8), String> {
    let is_number =
        |digits: &str| (1..=2).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let parts = text.split_once(':').filter(|(hour, minute)| is_number(hour) && is_number(minute));
    let time = parts.and_then(|(hour, minute)| Some((hour.parse().ok()?, minute.parse().ok()?)));
    time.filter(|(hour, minute)| *hour < 24 && *minute < 60).ok_or_else(|| "write a time of day, such as 02:30".into())
}

/// Installs, shows or removes.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<Outcome> {
    match &arguments.command {
        Command::Install(arguments) => run_install(arguments, context),
        Command::Test(arguments) => run_test(arguments, context),
        Command::Show(arguments) => {
            let installed = show(&arguments.of.root, arguments.name.as_deref())?;
            let text = match (installed.is_empty(), &arguments.name) {
                (true, Some(name)) => format!("profile {name} is not scheduled\n"),
                (true, None) => "no profile is scheduled\n".into(),
                (false, _) => installed.iter().map(text).collect(),
            };
            Outcome::listing(text, &Json::new(&installed))
        }
        Command::Remove(arguments) => {
            let removed = remove(&arguments.of.root, &arguments.name)?;
            let removed: Vec<String> = removed.iter().map(|path| path.display().to_string()).collect();
            let text = match removed.is_empty() {
                true => format!("profile {} was not scheduled\n", arguments.name),
                false => removed.iter().map(|path| format!("removed {}\n", plain(path))).collect(),
            };
            Outcome::deed(text, &Removed { removed })
        }
    }
}

/// The directory that a location is.
fn directory(location: &Location) -> Option<PathBuf> {
    match location {
        Location::Local(path) => path::absolute(path).ok(),
        Location::Memory(_) | Location::S3(_) | Location::Swift(_) => None,
    }
}

/// Where a run of the profile keeps second copies.
fn seconds(profile: &Profile, context: &Context) -> Result<Vec<Second>, UsageError> {
    let keys = [("copy-to", &profile.copy_to), ("mirror-to", &profile.mirror_to)];
    keys.into_iter().filter_map(|(key, to)| Some(second(key, to.as_ref()?, context))).collect()
}

fn run_install(arguments: &Install, context: &Context) -> anyhow::Result<Outcome> {
    context.profile()?;
    let timing = timing(arguments)?;
    let me = uzers::get_current_username().and_then(|name| name.into_string().ok());
    let user = arguments.user.clone().or_else(|| me.clone()).ok_or_else(|| UsageError {
        what: "the user who runs this has no name".into(),
        hint: "name one with --user".into(),
    })?;
    let file = file(&arguments.name, context)?;
    let warnings = warnings(context, file.as_deref(), me.as_ref().filter(|me| **me != user).map(|_| user.as_str()))?;
    let kind = match (arguments.cron, arguments.systemd) {
        (true, _) => Some(Kind::Cron),
        (_, true) => Some(Kind::Systemd),
        (false, false) => None,
    };
    let profile = context.profile()?.cloned().unwrap_or_default();
    let access = context.access()?;
    let repository = context.location().ok().as_ref().and_then(directory);
    let seconds = seconds(&profile, context)?;
    let runs_more = seconds.iter().any(|second| second.runs_command());
    let beside = |file: &Option<PathBuf>| file.as_deref().and_then(Path::parent).map(PathBuf::from);
    let (metrics, page) = (beside(&profile.metrics_file), beside(&profile.report));
    let job = Job {
        profile: arguments.name.clone(),
        timing,
        command: command(&arguments.name, file.as_deref())?,
        user,
        writes: [repository, metrics, page, profile.live.dir.clone(), access.cache_dir.clone(), access.tmp_dir.clone()]
            .into_iter()
            .flatten()
            .chain(seconds.iter().filter_map(|second| directory(&second.location)))
            .collect(),
        has_commands: access.password_command.is_some() || profile.has_commands() || runs_more,
        has_cache: access.cache_dir.is_some(),
    };
    // An image is another host: what is here says nothing of it.
    let is_here = arguments.of.root == Path::new("/");
    let tried = match is_here && !arguments.no_test {
        true => try_out(&arguments.name, &job.user, me.as_deref(), file.as_deref())?,
        false => Vec::new(),
    };
    let installed = install(&job, &Options { root: arguments.of.root.clone(), kind })?;
    let is_unread = installed.kind == Kind::Systemd && !installed.is_verified;
    let note = is_unread.then(|| "systemd-analyze is not here: the units were not read by systemd".to_string());
    let idle = installed.idle.map(|why| format!("profile {} is installed and never run: {why}", installed.profile));
    let installed = [installed];
    let mut shown: String = installed.iter().map(text).collect();
    shown.push_str(&format!("to try all of it, once: redkeep run {}\n", arguments.name));
    let outcome = Outcome::deed(shown, &Json::new(&installed))?;
    Ok(outcome.with_notes(note).with_warnings(warnings).with_warnings(tried).with_warnings(idle))
}

/// Tries the profile as its user. What a server that is down just now says is a warning; what fails else stops.
fn try_out(profile: &str, name: &str, me: Option<&str>, file: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let user = schedule::user(name)?;
    let is_other = me != Some(name);
    if is_other && me != Some("root") {
        return Ok(vec![format!("only root can try the profile as {name}: it was not tried")]);
    }
    let trial = Trial::apart(profile, &user, is_other, file)?;
    match trial.worst() {
        Some(failed) if !failed.is_of_server() => Err(TrialError {
            what: format!("as {name}, profile {profile} does not work: {}: {}", failed.what, failed.found),
            hint: format!(
                "nothing was installed; {}to install it all the same, say --no-test",
                failed.hint.as_ref().map_or(String::new(), |hint| format!("{hint}; "))
            ),
            code: failed.exit_code,
        }
        .into()),
        Some(failed) => Ok(vec![format!("as {name}, {}: {}", failed.what, failed.found)]),
        None => Ok(Vec::new()),
    }
}

/// Tries a profile, in this process where this user is meant.
fn run_test(arguments: &Test, context: &Context) -> anyhow::Result<Outcome> {
    context.profile()?;
    let me = uzers::get_current_username().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let trial = match arguments.user.as_deref().filter(|user| *user != me) {
        None => Trial::of(&arguments.name, me, context),
        Some(user) if me == "root" => {
            let file = file(&arguments.name, context)?;
            Trial::apart(&arguments.name, &schedule::user(user)?, true, file.as_deref())?
        }
        Some(_) => {
            return Err(UsageError {
                what: "only root can try a profile as another user".into(),
                hint: "run it as root, or as that user without --user".into(),
            }
            .into());
        }
    };
    let text: String = trial.tried.iter().map(told).collect();
    let code = trial.worst().map_or(Code::Done, |failed| Code::of_number(failed.exit_code));
    Ok(Outcome::listing(text, &trial)?.with_code(code))
}

fn timing(arguments: &Install) -> Result<Timing, UsageError> {
    let at = arguments.at.unwrap_or(USUAL);
    let Some(span) = arguments.every else { return Ok(Timing::Daily(at.0, at.1)) };
    let timing = Timing::every(span, at).ok_or_else(|| UsageError {
        what: "the clock has no such rhythm".into(),
        hint: "give minutes that divide an hour, such as 5m, hours that divide a day, such as 6h, or 1d".into(),
    })?;
    match (timing, arguments.at) {
        (Timing::Hours(_) | Timing::Minutes(_), Some(_)) => Err(UsageError {
            what: "--at is the time of what runs once a day, and --every has it run more often".into(),
            hint: "give one of the two".into(),
        }),
        _ => Ok(timing),
    }
}

/// The configuration file that a job has to name: without one it reads that of the host, and whether it finds a user's
/// own depends on an environment it does not have.
pub(super) fn file(profile: &str, context: &Context) -> anyhow::Result<Option<PathBuf>> {
    let named = context.globals.config.as_deref().filter(|path| !path.as_os_str().is_empty());
    let own = named.or(context.configuration()?.own_file(profile));
    own.map(path::absolute).transpose().context("cannot tell where the configuration file is")
}

/// What cron or systemd has to run: they work elsewhere and have another PATH.
fn command(profile: &str, file: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let program = env::current_exe().context("cannot tell where this program is")?;
    let mut command = vec![program.display().to_string(), "run".into(), profile.into()];
    command.extend(file.iter().flat_map(|file| ["--config".to_string(), file.display().to_string()]));
    Ok(command)
}

/// What a run from cron will lack that is there now. `other`: who runs it, where that is another user.
fn warnings(context: &Context, file: Option<&Path>, other: Option<&str>) -> Result<Vec<String>, UsageError> {
    // Of a file that is named, nothing but what it says itself counts.
    let access = match file {
        Some(file) => Configuration::of_file(file)?.access(context.profile_name())?,
        None => context.access()?,
    };
    let has_secret = access.password_file.or(access.key_file).is_some() || access.password_command.is_some();
    let is_lacking =
        |what: &str| format!("the configuration names no {what}, and there is no environment when it is run");
    let mut warnings = Vec::new();
    warnings.extend(access.repo.is_none().then(|| is_lacking("repo")));
    warnings.extend((!has_secret).then(|| is_lacking("password-file, password-command or key-file")));
    let has_own = context.configuration()?.files.iter().any(|path| !path.starts_with("/etc"));
    let is_unnamed = context.globals.config.is_none() && has_own;
    warnings.extend(other.filter(|_| is_unnamed).map(|user| match file {
        Some(file) => format!("see to it that {user} may read your own configuration file {}", file.display()),
        None => "another user does not read your own configuration file: name the file with --config".into(),
    }));
    Ok(warnings)
}

fn next(installed: &Installed) -> Option<UnixMillis> {
    let next = installed.next(&Zoned::now())?;
    u64::try_from(next.timestamp().as_millisecond()).ok().map(UnixMillis)
}

fn kind(installed: &Installed) -> &'static str {
    match installed.kind {
        Kind::Cron => "cron",
        Kind::Systemd => "systemd",
    }
}

fn when(installed: &Installed) -> Option<String> {
    installed.timing.map(|timing| timing.to_string())
}

fn text(installed: &Installed) -> String {
    let unknown = || "not known: the file was changed by hand".to_string();
    let files: Vec<String> = installed.files.iter().map(|path| path.display().to_string()).collect();
    let next = match installed.idle {
        Some(why) => format!("never: {why}"),
        None => next(installed).map_or_else(unknown, time::show),
    };
    let lines = [
        ("when", when(installed).unwrap_or_else(unknown)),
        ("next", next),
        ("runs", installed.command.clone().unwrap_or_else(unknown)),
        ("files", files.join(", ")),
    ];
    format!("profile {}, by {}\n{}", installed.profile, kind(installed), facts(&lines))
}

/// `install` and `show`.
#[derive(Serialize)]
struct Json {
    installed: Vec<InstalledOf>,
}

#[derive(Serialize)]
struct InstalledOf {
    profile: String,
    kind: &'static str,
    files: Vec<String>,
    when: Option<String>,
    command: Option<String>,
    enabled: bool,
    next: Option<String>,
    verified: bool,
}

/// `remove`.
#[derive(Serialize)]
struct Removed {
    removed: Vec<String>,
}

impl Json {
    fn new(installed: &[Installed]) -> Json {
        let one = |installed: &Installed| InstalledOf {
            profile: installed.profile.clone(),
            kind: kind(installed),
            files: installed.files.iter().map(|path| path.display().to_string()).collect(),
            when: when(installed),
            command: installed.command.clone(),
            enabled: installed.idle.is_none(),
            next: next(installed).map(time::exact),
            verified: installed.is_verified,
        };
        Json { installed: installed.iter().map(one).collect() }
    }
}
