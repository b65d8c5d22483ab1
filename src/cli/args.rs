//! The arguments all commands share. Those of each command stand beside what it does, in `commands`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Arg, ArgAction, Args, Command, CommandFactory, Parser};

use super::commands::Command as What;
use super::selector;
use crate::format::sealing::FORMAT_VERSION;
use crate::format::{Id16, UnixMillis};
use crate::operations::list::{Datasets, Filter, Selector};
use crate::operations::look_up::KeyFilter;
use crate::repository::IntakeOptions;

const AFTER_HELP: &str = "\
Examples:
  export REDKEEP_REPO=/srv/redkeep REDKEEP_PASSWORD_FILE=/etc/redkeep/password
  redkeep doctor                       # what will bite, and the rights it needs
  redkeep init
  redkeep backup                       # the live server at 127.0.0.1:6379
  redkeep timeline                     # which moments can be restored
  redkeep restore --server --dry-run   # every step of putting one back
  redkeep schedule install daily       # from now on, as the profile says

Snapshots and times:
  SNAPSHOT is the begin of an id (4 digits or more), latest, latest~N, or
  @TIME: the last snapshot captured at or before TIME.
  TIME is RFC 3339, '2026-11-20 14:05' (local zone), 'yesterday 14:05',
  14:05 or 14:05:09 (today), now, or a span ago (3h, 2d, 90m).

Passwords:
  The password is taken from --key-file, --password-file or
  --password-command; else from REDKEEP_KEY_FILE, REDKEEP_PASSWORD_FILE,
  REDKEEP_PASSWORD_COMMAND or REDKEEP_PASSWORD; else from the
  configuration; else a terminal is asked.

Object stores:
  s3://BUCKET/PREFIX takes the variables of Amazon's tools:
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
  AWS_ENDPOINT_URL, AWS_CA_BUNDLE. swift://CONTAINER/PREFIX takes ST_AUTH,
  ST_USER and ST_KEY, or those of an OpenStack RC file: OS_AUTH_URL,
  OS_USERNAME, OS_PASSWORD, OS_PROJECT_NAME, OS_REGION_NAME, OS_CACERT, or
  OS_APPLICATION_CREDENTIAL_ID and _SECRET. The bucket has to be there. The
  configuration may say endpoint, region, path-style, storage-class, ca-file,
  lag, limit-upload, limit-download, retry-for, and credentials-file: a file
  of such variables, NAME=VALUE a line.

Configuration:
  /etc/redkeep.toml, then $XDG_CONFIG_HOME/redkeep/config.toml, or only the
  file named by --config, may say repo, password-file, password-command,
  key-file, cache-dir and tmp-dir, for all or in [profile.NAME] for
  --profile NAME. Options and the environment come first.
  See: redkeep config example

Room:
  A dump is sorted by its keys: what does not fit in memory waits in files
  without a name, and so does a restore's. A backup of a dump of more than
  64 MiB wants three times its size free there, else stores it as it is.
  Where the cache is on a small disk, name another:
    redkeep backup --tmp-dir /var/tmp

Environment:
  REDKEEP_REPO        where the repository is
  REDKEEP_PASSWORD …  see above
  REDKEEP_CACHE_DIR   where catalogs are kept, which can be deleted at any
                      time [default: $XDG_CACHE_HOME/redkeep]
  REDKEEP_TMPDIR      where what does not fit in memory waits while it is
                      sorted [default: where catalogs are kept]
  REDKEEP_STATE_DIR   where this host remembers the repositories it has seen
                      [default: $XDG_STATE_HOME/redkeep]
  NO_COLOR            if set, nothing is printed in colours

JSON:
  With --json, standard output is exactly one JSON object on one line (of
  keys and diff: one for each key); each command's --help describes its
  shape. A failure is such an object too, and
  is also told on standard error:
    {\"error\": {\"message\", \"hint\" or null, \"exit_code\": number}}
  Ids and hashes are full lowercase hexadecimal, times RFC 3339, sizes bytes.
  Fields may be added, never renamed.

";

/// The version, what it was built from, and of which format its repositories are.
fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let (version, commit) =
            (env!("CARGO_PKG_VERSION"), option_env!("REDKEEP_COMMIT").unwrap_or("not told to the build"));
        format!("{version}\ncommit {commit}\nrepository format {FORMAT_VERSION}")
    });
    &TEXT
}

/// Incremental, deduplicated, encrypted backups of Redis and Valkey data directories
#[derive(Debug, Parser)]
#[command(
    name = "redkeep",
    version,
    long_version = long_version(),
    max_term_width = 110,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_long_help = format!("{AFTER_HELP}{}{}", super::topics::listed(), super::exit::TABLE)
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: What,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Where the repository is: a directory, s3://BUCKET/PREFIX or swift://CONTAINER/PREFIX
    #[arg(long, short = 'r', global = true, value_name = "LOCATION", env = "REDKEEP_REPO", hide_env_values = true)]
    pub repo: Option<String>,
    /// File whose first line is the password [env: REDKEEP_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Vec<PathBuf>,
    /// Command whose first line of output is the password [env: REDKEEP_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub password_command: Option<String>,
    /// File whose bytes are used instead of a password [env: REDKEEP_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Vec<PathBuf>,
    /// Read this configuration file and no other
    #[arg(long, global = true, value_name = "FILE", env = "REDKEEP_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Use the repository and password of this profile of the configuration
    #[arg(long, global = true, value_name = "NAME", env = "REDKEEP_PROFILE", hide_env_values = true)]
    pub profile: Option<String>,
    /// Print the result as one JSON object
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only what was asked for, warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say what is being done; twice: and when, in seconds since the begin
    #[arg(long, short, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Show no progress bar
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Where catalogs of repositories are kept; they can be deleted at any time
    #[arg(long, global = true, value_name = "DIR", env = "REDKEEP_CACHE_DIR", hide_env_values = true)]
    pub cache_dir: Option<PathBuf>,
    /// Where what does not fit in memory waits, sealed and without a name [default: the cache directory]
    #[arg(long, global = true, value_name = "DIR", env = "REDKEEP_TMPDIR", hide_env_values = true)]
    pub tmp_dir: Option<PathBuf>,
    /// Use the repository with this id where this host remembers another one at the location
    #[arg(long, global = true, value_name = "ID", value_parser = repository_id)]
    pub accept_repository: Option<Id16>,
    /// Trust whatever certificate the service of the repository shows
    #[arg(long, global = true)]
    pub insecure_tls: bool,
    /// Send no more bytes a second to an object store: 512K, 10M
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    pub limit_upload: Option<u64>,
    /// Take no more bytes a second from an object store
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    pub limit_download: Option<u64>,
    /// Try again for so long while an object store is busy or does not answer [default: 5m]
    #[arg(long, global = true, value_name = "SPAN", value_parser = super::time::exact_span)]
    pub retry_for: Option<Duration>,
}

/// The command line as it is read. The help of a command explains what is its own, and of the options that all share only
/// says which there are.
pub(crate) fn command() -> Command {
    let mut root = Cli::command();
    root.build();
    let shared: Vec<String> = root.get_arguments().filter(|arg| arg.is_global_set()).map(written).collect();
    let shared = format!("Global options, explained by redkeep --help:\n{}", lines(&shared));
    root.mut_subcommands(|below| without_shared(below, &shared))
}

fn without_shared(command: Command, shared: &str) -> Command {
    let after = command.get_after_long_help().map_or_else(String::new, |after| format!("{after}\n"));
    let command = command.mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    let command = command.after_long_help(format!("{after}{shared}")).after_help(shared.to_string());
    command.mut_subcommands(|below| without_shared(below, shared))
}

/// An option as it is written: `-r, --repo LOCATION`.
fn written(option: &Arg) -> String {
    let long = format!("--{}", option.get_long().unwrap_or_default());
    let short = option.get_short().map_or_else(String::new, |short| format!("-{short}, "));
    match option.get_value_names().filter(|_| option.get_action().takes_values()) {
        Some([value, ..]) => format!("{short}{long} {value}"),
        _ => format!("{short}{long}"),
    }
}

/// Words two columns deep, on lines of at most 80.
fn lines(words: &[String]) -> String {
    let mut text = String::from(" ");
    let mut width = 1;
    for word in words {
        if width + 2 + word.len() > 80 {
            text.push_str("\n ");
            width = 1;
        }
        text.push_str(&format!(" {word} "));
        width += 2 + word.len();
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Bytes a second: a number, with K, M or G for KiB, MiB or GiB. With fewer than the least a request would take as long as one
/// that hangs.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 16 << 10;
    let (number, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (text.get(..text.len() - 1), 10),
        Some(b'M') => (text.get(..text.len() - 1), 20),
        Some(b'G') => (text.get(..text.len() - 1), 30),
        _ => (Some(text), 0),
    };
    let number = number.and_then(|number| number.parse::<u64>().ok()).and_then(|number| number.checked_mul(1 << shift));
    match number {
        Some(rate) if rate >= LEAST => Ok(rate),
        Some(_) => Err("it has to be at least 16K".into()),
        None => Err("write bytes a second such as 512K or 10M".into()),
    }
}

fn repository_id(text: &str) -> Result<Id16, String> {
    text.parse().map_err(|_| "a repository's id has 32 lowercase hexadecimal digits".into())
}

/// The dataset a snapshot is chosen from.
#[derive(Debug, Args)]
pub(crate) struct OfDataset {
    /// Dataset to choose from, where the repository holds several
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
}

/// The datasets that are looked at.
#[derive(Debug, Args)]
pub(crate) struct OfDatasets {
    /// Only of this dataset, or of all that fit a pattern: 'web*', '*:6379'
    #[arg(long, value_name = "NAME", value_parser = datasets)]
    pub dataset: Option<Datasets>,
}

fn datasets(text: &str) -> Result<Datasets, String> {
    word(text).map(|text| Datasets::written(&text))
}

/// The snapshots that are looked at.
#[derive(Debug, Args)]
pub(crate) struct OfSnapshots {
    #[command(flatten)]
    of: OfDatasets,
    /// Only those that this host took
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Only those that began at TIME or later
    #[arg(long, value_name = "TIME", value_parser = super::time::parse_now)]
    since: Option<UnixMillis>,
    /// Only those with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
}

impl OfSnapshots {
    pub fn filter(self) -> Filter {
        let (dataset, host, since, tag) = (self.of.dataset, self.host, self.since, self.tag);
        Filter { dataset, host, since, tag, ..Filter::default() }
    }
}

/// The keys that are looked at.
#[derive(Debug, Args)]
pub(crate) struct OfKeys {
    /// Only keys that fit this pattern: * any text, ? a byte, [a-z] one of some
    #[arg(long = "match", value_name = "PATTERN")]
    pattern: Option<OsString>,
    /// Only keys of this database
    #[arg(long, value_name = "N")]
    db: Option<u32>,
}

impl OfKeys {
    pub fn filter(&self) -> KeyFilter {
        let pattern = self.pattern.as_ref().map(|pattern| pattern.as_bytes().to_vec());
        KeyFilter { pattern, database: self.db }
    }
}

/// How what is new is stored.
#[derive(Debug, Args)]
pub(crate) struct Storing {
    /// How hard to compress: 1 is fast, 19 is small
    #[arg(long, value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
}

impl Storing {
    pub fn intake(&self) -> IntakeOptions {
        IntakeOptions { level: self.level, ..IntakeOptions::default() }
    }
}

/// SNAPSHOT, which may be left out.
#[derive(Debug, Args)]
pub(crate) struct OneSnapshot {
    /// The snapshot: the begin of its id, latest, latest~N or @TIME
    #[arg(value_parser = selector::parse, value_name = "SNAPSHOT", default_value = "latest")]
    pub snapshot: Selector,
    #[command(flatten)]
    pub of: OfDataset,
}

/// A name or tag: something a person can read, on one line.
pub(crate) fn word(text: &str) -> Result<String, String> {
    match text.trim().is_empty() || text.chars().any(char::is_control) {
        true => Err("it must not be empty or hold control characters".into()),
        false => Ok(text.into()),
    }
}
