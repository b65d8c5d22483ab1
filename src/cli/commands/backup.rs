//! `redkeep backup`.

mod answer;
pub(super) mod cluster;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::drill;
use crate::cli::args::{Storing, word};
use crate::cli::configuration::values;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::outcome::Outcome;
use crate::cli::server::{self, ServerArguments};
use crate::cli::time;
use crate::operations::OperationError;
use crate::operations::backup::{Options, Report, backup};
use crate::operations::forget::policy::{PINNED, is_pinned};
use crate::operations::list::Chosen;
use crate::operations::source::{LiveSource, Source, Way};
use crate::redis::CaptureOptions;
use crate::redis::server::{Address, LiveOptions, Mode, SavePatience, WhereOptions};

pub(super) use answer::{outcome, warning};

/// Take one snapshot of a live server, or of a data directory
///
/// Takes one snapshot of a Redis or Valkey dataset, in one consistent state, while the server goes on. Only what the
/// repository does not have yet is stored.
///
/// Without DIR a live server is captured: the one --redis names, else the one of this host. If its AOF is on and live, that
/// is captured as it grows, without a fork; else the server is asked for a BGSAVE. The files are proved to be this server's
/// and to hold all it answered before a moment, which is told. Its user needs few rights, none of them on keys. Of its
/// directory the dataset is taken: dumps and AOFs, nodes.conf and users.acl; what else stands there is told, and taken by
/// --include PATTERN or --all-files.
///
/// Where its directory is out of reach, --mode sync has the server send its dump as to a replica. --cluster captures every
/// shard of a cluster at once. See redkeep help capture.
///
/// With DIR no server is asked, and all its files are captured as they are, but logs, pid files and temporary files.
///
/// A repository of redkeep below the directory is never taken, nor the cache and state directories in use, nor another file system.
///
/// The dataset is the server or directory over time. It is called HOST:PORT or HOST:DIR unless it is named: name it if these
/// may change.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep backup
  redkeep backup --redis rediss://backup@cache.example:6380 --redis-password-file /etc/redkeep/redis
  redkeep backup --redis 127.0.0.1:6379 --path-map /data=/srv/redis --dataset sessions
  redkeep backup --aof-tail --quiet              # every few minutes, from cron
  redkeep backup --no-save --max-age 1h
  redkeep backup --redis cache.example:6379 --mode sync    # no access to its files
  redkeep backup --redis sentinel1:26379 --sentinel-master main --mode sync
  redkeep backup --redis node1.example:7000 --cluster --dataset cache
  redkeep backup /var/lib/redis
  redkeep backup /var/lib/redis --dataset sessions --tag before-upgrade
  redkeep backup /var/lib/redis --exclude '*.conf' --quiet
  redkeep backup /var/lib/redis --drill
  redkeep backup --include modules               # of a live server, beside its dataset

JSON:
  {\"id\", \"dataset\", \"sequence\", \"begin\", \"end\", \"host\", \"directory\",
   \"tags\": [text], \"files\": number, \"bytes\": size of all files,
   \"keys\": number or null where it is not known, \"keys_counted\": who
   counted them or why nobody did, as in redkeep snapshots,
   \"new_chunks\": number, \"new_bytes\": of data the repository did not have,
   \"stored_bytes\": what that takes there, \"stored\": by what it is, \"opaque\"
   (files as they are), \"lists\" (of chunks), and of dumps in canonical form
   \"buckets\", \"order\", \"columns\": {\"chunks\": number, \"bytes\", \"stored_bytes\"},
   \"table_bytes\": the rest, headers and tables,
   \"forms\": [{\"path\", \"form\": \"canonical\", \"prefix\" or \"opaque\", how what a
   server loads as RDB is stored, \"why\": text or null, \"bytes\": its size}],
   \"packs\": number, \"milliseconds\",
   \"seconds\": {\"capture\", \"begin\": of the session, \"read\": the files, \"store\":
   what is stored behind that, \"commit\"}: what took how long,
   \"unread_files\": not read, because they were not touched since the previous
   snapshot, \"unread_bytes\": their size,
   \"changes\": {\"new\": [path], \"changed\": [path], \"gone\": [path],
               \"unchanged\": number} or null without an earlier snapshot,
   \"moment\": all that the server answered before this time by its clock is in
   the snapshot, or null, \"final_at\": where a store may take back what it
   stored, when that is over, or null, \"mode\": \"rdb\", \"aof\", \"files\" or \"sync\",
   \"replication\": null, or of a dump that the server sent {\"id\", \"offset\":
   all of that replication up to there is in it, or null,
   \"payload\": \"diskless\" or \"disk\"},
   \"holds\": \"rdb\", \"aof\", \"unknown\" which of them, or \"none\" without a dataset,
   \"left_out\": [{\"path\", \"why\": \"not-of-dataset\", \"repository\", \"cache\", \"state\",
   \"another-repository\", \"another-cache-or-state\" or \"other-file-system\"}],
   \"left_out_more\": number of those not named,
   \"unfinished_bytes\": of a command or transaction with which the AOF ends, left
   out of the copy, or 0,
   \"warnings\": [{\"code\", \"path\" or null, \"message\"}],
   \"suspects\": [{\"path\", \"why\"}], \"alarms\": [{\"code\", \"message\"}],
   \"drill\": null or as in redkeep verify}
  With --cluster:
  {\"set\": {\"id\", \"name\", \"shards\": number, \"complete\": bool,
     \"skew_ms\": between the first and the last moment, or null},
   \"snapshots\": [as above], \"failed\": [{\"slots\", \"server\", \"why\"}]}
")]
pub(crate) struct Arguments {
    /// A data directory to capture as it is, without asking a server
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    of: OfSnapshot,
    /// No policy shall forget the snapshot: gives it the tag `pinned`
    #[arg(long)]
    pin: bool,
    #[command(flatten)]
    storing: Storing,
    /// Read every file, also those that were not touched since the previous snapshot
    #[arg(long)]
    read_all: bool,
    /// Capture DIR without talking to a server, as is done whenever DIR is given
    #[arg(long, requires = "directory")]
    #[allow(dead_code, reason = "accepted so that scripts can say what they mean")]
    offline: bool,
    #[command(flatten)]
    drill: drill::DrillArguments,
    #[command(flatten)]
    server: ServerArguments,
    #[command(flatten)]
    live: LiveArguments,
}

/// What a snapshot is called, and what it takes in. Written on the command line or in a profile.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::cli) struct OfSnapshot {
    /// Name of the dataset [default: HOST:PORT or HOST:DIR]
    #[arg(long, value_name = "NAME", value_parser = word)]
    #[serde(deserialize_with = "values::name")]
    pub dataset: Option<String>,
    /// A word to find the snapshot by; may be given several times
    #[arg(long = "tag", value_name = "TAG", value_parser = word)]
    #[serde(deserialize_with = "values::names")]
    pub tags: Vec<String>,
    /// Also take files that fit this pattern, such as 'modules/**': of a live server what is no part of its dataset, of
    /// DIR logs and temporary files; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Leave out files that fit this pattern; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Of a live server, also take the other files of its directory, as of DIR
    #[arg(long, conflicts_with = "aof_tail")]
    pub all_files: bool,
}

impl OfSnapshot {
    /// What is taken in.
    pub fn capture(&self) -> CaptureOptions {
        let (include, exclude) = (self.include.clone(), self.exclude.clone());
        CaptureOptions { include, exclude, all_files: self.all_files, ..CaptureOptions::default() }
    }
}

/// How a live server is captured. Written on the command line or in a profile.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[command(next_help_heading = "Capture of a live server")]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::cli) struct LiveArguments {
    /// What is captured: its AOF if that is live and else a fresh dump, a dump, the AOF, the files as they are, or a dump
    /// that the server sends as to a replica (sync) [default: auto, which does that where the files are out of reach]
    #[arg(long, value_enum, conflicts_with = "directory")]
    pub mode: Option<ModeArgument>,
    /// Capture only the AOF, and never ask for a save: for captures every few minutes
    #[arg(long, conflicts_with_all = ["directory", "no_save", "mode"])]
    pub aof_tail: bool,
    /// Ask for no save: take the dump that is there
    #[arg(long, conflicts_with = "directory")]
    #[serde(skip)]
    no_save: bool,
    /// How old the dump that is there may be, such as 90m or 1d
    #[arg(long, value_name = "SPAN", requires = "no_save", value_parser = time::exact_span)]
    #[serde(skip)]
    max_age: Option<Duration>,
    /// Capture an online replica of the server, if there is one and its files are on this host; with --mode sync, any it
    /// can be reached at
    #[arg(long, conflicts_with = "directory")]
    pub prefer_replica: bool,
    /// --redis names a Sentinel: capture the master that it knows by this name, wherever that is now; the login is the
    /// master's, and the dataset is called NAME unless it is named
    #[arg(long, value_name = "NAME", conflicts_with = "directory", value_parser = word)]
    pub sentinel_master: Option<String>,
    /// Capture every shard of the cluster that the server is of, as one set of snapshots, which forget, restore and verify
    /// take as one
    #[arg(long, conflicts_with_all = ["directory", "dir", "sentinel_master"])]
    pub cluster: bool,
    /// Also take the server's configuration file with what it includes, and its ACL file; a restore leaves them out
    /// unless it is told otherwise, for they may hold passwords
    #[arg(long, conflicts_with = "directory")]
    pub with_config: bool,
    /// The server's data directory as it is reached from here
    #[arg(long, value_name = "DIR", conflicts_with = "directory")]
    pub dir: Option<PathBuf>,
    /// What a directory of the server is called here; may be given several times
    #[arg(long, value_name = "THERE=HERE", value_parser = server::path_map, conflicts_with_all = ["directory", "dir"])]
    #[serde(deserialize_with = "values::pairs")]
    pub path_map: Vec<(PathBuf, PathBuf)>,
}

/// [`Mode`], as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum ModeArgument {
    Auto,
    Rdb,
    Aof,
    Files,
    Sync,
}

impl LiveArguments {
    /// The server as it is captured. One that may be anywhere is not copied unasked where its dataset would bear this host's
    /// name: two of them would be taken for one.
    pub fn source(self, address: Address, is_named: bool) -> Result<LiveSource, UsageError> {
        let way = match self.way()? {
            Way::Either
                if !is_named && !self.cluster && self.sentinel_master.is_none() && !address.is_of_this_host() =>
            {
                Way::Files
            }
            way => way,
        };
        Ok(LiveSource { address, options: self.options(), way })
    }

    /// Whether the server is to send its dump, whatever is there of its files.
    pub fn is_sent(&self) -> bool {
        self.mode == Some(ModeArgument::Sync)
    }

    /// How the data come here; refuses what needs files where none are to be had.
    fn way(&self) -> Result<Way, UsageError> {
        let needs_files = [
            ("--no-save", self.no_save),
            ("--with-config", self.with_config),
            ("--aof-tail", self.aof_tail),
            ("--dir", self.dir.is_some()),
            ("--path-map", !self.path_map.is_empty()),
        ];
        let needs_files = needs_files.iter().find(|(_, is_given)| *is_given);
        match (self.mode, needs_files) {
            (Some(ModeArgument::Sync), Some((name, _))) => Err(UsageError {
                what: format!("through replication there are no files of the server: {name} is of no use"),
                hint: format!("leave out {name}, or another mode than sync"),
            }),
            (Some(ModeArgument::Sync), None) => Ok(Way::Replication),
            (None | Some(ModeArgument::Auto), None) => Ok(Way::Either),
            (None | Some(ModeArgument::Auto | ModeArgument::Rdb | ModeArgument::Aof | ModeArgument::Files), _) => {
                Ok(Way::Files)
            }
        }
    }

    /// The same for the capture.
    fn options(self) -> LiveOptions {
        let mode = match self.mode {
            None | Some(ModeArgument::Auto | ModeArgument::Sync) => Mode::Auto,
            Some(ModeArgument::Rdb) => Mode::Rdb,
            Some(ModeArgument::Aof) => Mode::Aof,
            Some(ModeArgument::Files) => Mode::Files,
        };
        LiveOptions {
            mode,
            tail: self.aof_tail,
            no_save: self.no_save,
            max_age: self.max_age,
            prefer_replica: self.prefer_replica,
            sentinel_master: self.sentinel_master,
            with_config: self.with_config,
            patience: SavePatience::default(),
            place: WhereOptions { directory: self.dir, maps: self.path_map },
        }
    }
}

fn source(
    directory: Option<PathBuf>,
    server: &ServerArguments,
    live: LiveArguments,
    is_named: bool,
    context: &Context,
) -> anyhow::Result<Source> {
    match directory {
        Some(_) if server.is_named() => Err(UsageError {
            what: "both a directory and a server are named".into(),
            hint: "leave out DIR; where the server's directory is called otherwise here, say so with --dir".into(),
        }
        .into()),
        Some(directory) => Ok(Source::Directory(directory)),
        None => Ok(Source::Server(Box::new(live.source(server.address(context)?, is_named)?))),
    }
}

/// Takes a snapshot.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    context.progress.stop_in_order();
    let (capture, mut tags, is_cluster) = (arguments.of.capture(), arguments.of.tags, arguments.live.cluster);
    tags.extend((arguments.pin && !is_pinned(&tags)).then(|| PINNED.to_string()));
    let options = Options {
        source: source(
            arguments.directory,
            &arguments.server,
            arguments.live,
            arguments.of.dataset.is_some(),
            context,
        )?,
        dataset: arguments.of.dataset,
        tags,
        capture,
        intake: arguments.storing.intake(),
        read_all: arguments.read_all,
    };
    let drill = |report: &Report| {
        let chosen = Chosen { name: report.name, snapshot: report.snapshot.clone(), alarms: Vec::new() };
        arguments.drill.run(&repository, &chosen, None, &arguments.server.login.renamed_command, context)
    };
    if let (true, Source::Server(seed)) = (is_cluster, &options.source) {
        let drill: Option<&Drill<'_>> = if arguments.drill.drill { Some(&drill) } else { None };
        return Ok(cluster::done(&repository, seed, &options, drill, context)?.1);
    }
    let report = backup(&repository, &options, &context.progress)?;
    if !arguments.drill.drill {
        return outcome(&repository, &report, None);
    }
    match drill(&report) {
        Ok(drilled) => {
            let outcome = outcome(&repository, &report, Some(&drilled))?;
            Ok(outcome.with_warnings(drill::warnings(&drilled)).with_damage(!drilled.passed()))
        }
        Err(error) => {
            let is_damaged = error.is_damage();
            Ok(outcome(&repository, &report, None)?.with_warnings([no_drill(error)]).with_damage(is_damaged))
        }
    }
}

/// How a snapshot that was just taken is drilled.
type Drill<'a> = dyn Fn(&Report) -> Result<drill::Report, OperationError> + 'a;

/// Why there was none.
fn no_drill(error: OperationError) -> String {
    format!("the snapshot is stored, but no drill was done: {:#}", anyhow::Error::new(error))
}
