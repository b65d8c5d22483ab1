//! What a profile asks for, as options of the operations.

use std::path::PathBuf;

use crate::cli::commands::backup::ModeArgument;
use crate::cli::configuration::Profile;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::second::Second;
use crate::operations::list::Filter;
use crate::operations::source::Source;
use crate::operations::{backup, copy, forget};
use crate::redis::server::{Address, WhereOptions};

/// The dataset of a profile: as it is named, else as a backup would name it.
pub(crate) fn dataset(profile: &Profile, host: &str, context: &Context) -> anyhow::Result<String> {
    match &profile.of.dataset {
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
        (Some(_), _) => {
            Ok(Source::Server(Box::new(live.source(server.address(context)?, profile.of.dataset.is_some())?)))
        }
        (None, Some(directory)) => {
            let is_of_server = server.is_named()
                || !live.path_map.is_empty()
                || [live.with_config, live.aof_tail, live.prefer_replica].contains(&true)
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

/// What of the repository a run copies: its dataset.
pub(super) fn copy_options(dataset: &str) -> copy::Options {
    copy::Options { filter: Filter { dataset: Some(dataset.into()), ..Filter::default() }, ..copy::Options::default() }
}

/// Which snapshots of the dataset are forgotten; `None`: none ever.
pub(super) fn forget_options(profile: &Profile, dataset: &str) -> Option<forget::Options> {
    let what = profile.keep.what(false)?;
    let filter = Filter { dataset: Some(dataset.into()), ..Filter::default() };
    Some(forget::Options { what, filter, dry_run: false })
}
