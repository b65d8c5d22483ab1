//! What a profile asks for, as options of the operations.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use crate::cli::configuration::{Mode, Profile, PruneRule};
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::server::{Login, ServerArguments};
use crate::operations::forget::What;
use crate::operations::list::Filter;
use crate::operations::source::{LiveSource, Source};
use crate::operations::{backup, forget, prune};
use crate::redis::CaptureOptions;
use crate::redis::server::{self, Address, LiveOptions, WhereOptions};

/// The dataset of a profile: as it is named, else as a backup would name it.
pub(crate) fn dataset(profile: &Profile, host: &str, context: &Context) -> anyhow::Result<String> {
    match &profile.dataset {
        Some(dataset) => Ok(dataset.clone()),
        None => Ok(source(profile, context)?.dataset(host)),
    }
}

/// What a profile backs up, for whoever looks at it beforehand.
pub(crate) enum Wanted {
    /// A live server, and what is said of its directory.
    Server(Box<Address>, WhereOptions),
    /// A directory of which nobody is asked.
    Directory(PathBuf),
}

/// What a profile backs up.
pub(crate) fn wanted(profile: Option<&Profile>, context: &Context) -> anyhow::Result<Wanted> {
    match source(profile.unwrap_or(&Profile::default()), context)? {
        Source::Server(live) => Ok(Wanted::Server(Box::new(live.address), live.options.place)),
        Source::Directory(directory) => Ok(Wanted::Directory(directory)),
    }
}

/// How the backup of a profile is taken.
pub(super) fn backup_options(profile: &Profile, context: &Context) -> anyhow::Result<backup::Options> {
    let source = source(profile, context)?;
    let capture = CaptureOptions {
        include: profile.include.clone(),
        exclude: profile.exclude.clone(),
        all_files: profile.all_files,
        ..CaptureOptions::default()
    };
    let (dataset, tags) = (profile.dataset.clone(), profile.tags.clone());
    Ok(backup::Options { source, dataset, tags, capture, ..backup::Options::default() })
}

/// What is backed up: the server that is named, else the directory, of which nobody is asked.
fn source(profile: &Profile, context: &Context) -> anyhow::Result<Source> {
    let refuse = |what: &str, hint: &str| Err(UsageError { what: what.into(), hint: hint.into() }.into());
    let directory = profile.dir.clone();
    match (&profile.redis, directory) {
        (Some(redis), directory) => {
            if profile.aof_tail && profile.mode.is_some() {
                return refuse("aof-tail captures the AOF: no mode can be said besides", "leave out one of the two");
            }
            let server = ServerArguments { redis: Some(redis.clone()), login: profile.login() };
            let mode = match profile.mode.unwrap_or(Mode::Auto) {
                Mode::Auto => server::Mode::Auto,
                Mode::Rdb => server::Mode::Rdb,
                Mode::Aof => server::Mode::Aof,
                Mode::Files => server::Mode::Files,
            };
            let maps = profile.path_map.iter().map(|(there, here)| (there.clone(), here.clone())).collect();
            let place = WhereOptions { directory, maps };
            let options = LiveOptions {
                mode,
                tail: profile.aof_tail,
                prefer_replica: profile.prefer_replica,
                with_config: profile.with_config,
                place,
                ..LiveOptions::default()
            };
            Ok(Source::Server(Box::new(LiveSource { address: server.address(context)?, options })))
        }
        (None, Some(directory)) => {
            let is_of_server = profile.login() != Login::default()
                || !profile.path_map.is_empty()
                || [profile.with_config, profile.aof_tail, profile.prefer_replica].contains(&true)
                || matches!(profile.mode, Some(Mode::Auto | Mode::Rdb | Mode::Aof));
            match is_of_server {
                true => refuse(
                    "the profile has settings of a server and names none",
                    "name the server with redis, or leave out what is of a server only",
                ),
                false => Ok(Source::Directory(directory)),
            }
        }
        (None, None) => refuse(
            "the profile does not say what is backed up",
            "name the server with redis, or the data directory with dir",
        ),
    }
}

/// Which snapshots of the dataset are forgotten; `None`: none ever.
pub(super) fn forget_options(profile: &Profile, dataset: &str) -> Option<forget::Options> {
    let policy = profile.policy()?;
    let zone = profile.zone.clone().unwrap_or_else(TimeZone::system);
    let filter = Filter { dataset: Some(dataset.into()), ..Filter::default() };
    Some(forget::Options { what: What::Policy { policy, zone, ignore_key_drop: false }, filter, dry_run: false })
}

/// How the repository is pruned.
pub(super) fn prune_options(rule: &PruneRule) -> prune::Options {
    let usual = prune::Options::default();
    prune::Options {
        grace: rule.grace.unwrap_or(usual.grace),
        max_unused: rule.max_unused.unwrap_or(usual.max_unused),
        ..usual
    }
}
