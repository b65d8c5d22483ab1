//! What a profile asks for, as options of the operations.

use std::fs;

use jiff::tz::TimeZone;

use crate::cli::configuration::{Mode, Profile, PruneRule};
use crate::cli::exit::UsageError;
use crate::operations::forget::What;
use crate::operations::list::Filter;
use crate::operations::source::Source;
use crate::operations::{backup, forget, prune};
use crate::redis::CaptureOptions;

/// The dataset of a profile: as it is named, else as a backup would name it.
pub(crate) fn dataset(profile: &Profile, host: &str) -> String {
    let of_dir = || {
        let dir = profile.dir.as_ref()?;
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.clone());
        Some(format!("{host}:{}", dir.display()))
    };
    profile.dataset.clone().or_else(of_dir).unwrap_or_default()
}

/// How the backup of a profile is taken.
pub(super) fn backup_options(profile: &Profile) -> Result<backup::Options, UsageError> {
    let refuse = |what: &str, hint: &str| Err(UsageError { what: what.into(), hint: hint.into() });
    let is_of_server = profile.redis.is_some()
        || profile.redis_password_file.is_some()
        || !profile.path_map.is_empty()
        || matches!(profile.mode, Some(Mode::Auto | Mode::Rdb | Mode::Aof));
    if is_of_server {
        return refuse(
            "this version does not capture from a live server",
            "leave out redis, redis-password-file, path-map and mode, and name the data directory with dir",
        );
    }
    if profile.drill {
        return refuse("this version has no drills", "leave out drill");
    }
    let Some(directory) = profile.dir.clone() else {
        return refuse("the profile does not say what is backed up", "name the data directory with dir");
    };
    let capture = CaptureOptions { include: profile.include.clone(), exclude: profile.exclude.clone() };
    let (dataset, tags) = (profile.dataset.clone(), profile.tags.clone());
    let source = Source::Directory(directory);
    Ok(backup::Options { source, dataset, tags, capture, ..backup::Options::default() })
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
