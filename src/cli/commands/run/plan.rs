//! What a profile asks for, as options of the operations.

use std::path::PathBuf;

use crate::cli::commands::backup::ModeArgument;
use crate::cli::configuration::Profile;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::second::Second;
use crate::operations::list::Filter;
use crate::operations::source::{LiveSource, Source};
use crate::operations::{backup, copy, forget};

/// The dataset of a profile: as it is named, else as a backup would name it.
pub(crate) fn dataset(profile: &Profile, host: &str, context: &Context) -> anyhow::Result<String> {
    match &profile.of.dataset {
        Some(dataset) => Ok(dataset.clone()),
        None => Ok(source(profile, context)?.dataset(host)),
    }
}

/// What a profile backs up, for whoever looks at it beforehand.
pub(crate) enum Wanted {
    /// Every shard of the cluster of which this is a node, and how they are captured.
    Cluster(Box<LiveSource>),
    /// A live server, and how it is captured.
    Server(Box<LiveSource>),
    /// A directory of which nobody is asked.
    Directory(PathBuf),
}

/// What a profile backs up.
pub(crate) fn wanted(profile: Option<&Profile>, context: &Context) -> anyhow::Result<Wanted> {
    let nothing = Profile::default();
    let profile = profile.unwrap_or(&nothing);
    match source(profile, context)? {
        Source::Server(seed) if profile.live.cluster => Ok(Wanted::Cluster(seed)),
        Source::Server(live) => Ok(Wanted::Server(live)),
        Source::Directory(directory) => Ok(Wanted::Directory(directory)),
    }
}

/// How the backup of a profile is taken.
pub(super) fn backup_options(profile: &Profile, context: &Context) -> anyhow::Result<backup::Options> {
    let source = source(profile, context)?;
    let (dataset, tags, capture) = (profile.of.dataset.clone(), profile.of.tags.clone(), profile.of.capture());
    Ok(backup::Options { source, dataset, tags, capture, ..backup::Options::default() })
}

/// What is backed up: the server that is named, else the directory, of which nobody is asked.
fn source(profile: &Profile, context: &Context) -> anyhow::Result<Source> {
    let refuse = |what: &str, hint: &str| Err(UsageError { what: what.into(), hint: hint.into() }.into());
    let (server, live) = (profile.server(), profile.live.clone());
    match (&server.redis, &live.dir) {
        (Some(_), _) if live.aof_tail && live.mode.is_some() => {
            refuse("aof-tail captures the AOF: no mode can be said besides", "leave out one of the two")
        }
        (Some(_), directory) if live.cluster && (directory.is_some() || live.sentinel_master.is_some()) => refuse(
            "cluster captures many servers: neither dir nor sentinel-master can be said besides",
            "leave them out; what directories of the servers are called here is said by path-map",
        ),
        (Some(_), _) => {
            Ok(Source::Server(Box::new(live.source(server.address(context)?, profile.of.dataset.is_some())?)))
        }
        (None, Some(directory)) => {
            let is_of_server = server.is_named()
                || !live.path_map.is_empty()
                || [live.with_config, live.aof_tail, live.prefer_replica].contains(&true)
                || live.cluster
                || live.sentinel_master.is_some()
                || live.mode.is_some_and(|mode| mode != ModeArgument::Files);
            match is_of_server {
                true => refuse(
                    "the profile has settings of a server and names none",
                    "name the server with redis, or leave out what is of a server only",
                ),
                false => Ok(Source::Directory(directory.clone())),
            }
        }
        (None, None) => refuse(
            "the profile does not say what is backed up",
            "name the server with redis, or the data directory with dir",
        ),
    }
}

/// Where a second copy is kept that a key of the profile asks for.
pub(crate) fn second(key: &str, profile: &str, context: &Context) -> Result<Second, UsageError> {
    let second = context.second(None, Some(profile), "repo");
    second.map_err(|error| UsageError { what: format!("{key}: {}", error.what), ..error })
}

/// Which snapshots are the profile's: those of its dataset, or of its sets.
pub(super) fn own(profile: &Profile, dataset: &str) -> Filter {
    match profile.live.cluster {
        true => Filter { set: Some(dataset.into()), ..Filter::default() },
        false => Filter { dataset: Some(dataset.into()), ..Filter::default() },
    }
}

/// What of the repository a run copies: its own.
pub(super) fn copy_options(profile: &Profile, dataset: &str) -> copy::Options {
    copy::Options { filter: own(profile, dataset), ..copy::Options::default() }
}

/// Which of its snapshots are forgotten; `None`: none ever.
pub(super) fn forget_options(profile: &Profile, dataset: &str) -> Option<forget::Options> {
    let what = profile.keep.what(false)?;
    Some(forget::Options { what, filter: own(profile, dataset), dry_run: false })
}
