//! What cannot work is refused before anything is touched: what the dataset needs is compared with what the server has.

mod commands;
pub(super) mod memory;
mod modules;
pub(super) mod restart;
mod trial;

use super::plan::Way;
use super::source::Source;
use super::target::Target;
use super::{Consent, Options};
use crate::operations::restore::Needs;
use crate::redis::RedisError;
use crate::redis::server::Server;

fn refuse<T>(what: String, hint: impl Into<String>) -> Result<T, RedisError> {
    Err(RedisError::Server { what, hint: hint.into() })
}

/// By what the snapshot says of itself, before anything is read: version first, for a server that cannot read the dump
/// will not do with the right modules either.
pub(super) fn by_facts(target: &Target, source: &Source, options: &Options) -> Result<(), RedisError> {
    version(target, source)?;
    memory::must_fit(source, target, options)?;
    let types = source.modules.iter().flat_map(|modules| modules.split(','));
    let types = types.map(|module| module.split(':').next().unwrap_or_default().to_owned());
    modules::must_have(&types.collect(), target, options)?;
    databases(source.expected.databases.keys().next_back().copied(), target)
}

/// By what its files need.
pub(super) fn by_needs(
    needs: &Needs,
    way: Way,
    target: &Target,
    server: &mut Server,
    options: &Options,
) -> Result<(), RedisError> {
    modules::must_have(&needs.modules, target, options)?;
    databases(needs.highest_database, target)?;
    match way {
        // A scratch server loads the commands, and the target what that saves.
        Way::Scratch | Way::Dump | Way::Classic => Ok(()),
        Way::Base | Way::Preamble | Way::Parts | Way::SingleAsBase | Way::Joined => {
            commands::must_know(needs, server, options)
        }
    }
}

fn version(target: &Target, source: &Source) -> Result<(), RedisError> {
    let Some(header) = source.header else { return Ok(()) };
    let version = crate::redis::compatibility::ServerVersion::of(&target.info);
    version.map_or(Ok(()), |version| version.must_read(header, "the server"))
}

/// A server that replays a `SELECT` of a database that it does not have goes on in the one before, whose keys are
/// overwritten.
fn databases(highest: Option<u64>, target: &Target) -> Result<(), RedisError> {
    match highest.filter(|highest| *highest >= u64::from(target.databases)) {
        None => Ok(()),
        Some(highest) => {
            let what = format!("the snapshot holds database {highest}, the server has only {}", target.databases);
            match target.info.is_on("cluster_enabled") {
                true => refuse(what, "a node of a cluster has only database 0: restore into a server that is none"),
                false => refuse(
                    what,
                    format!(
                        "raise databases to {} in the server's configuration and start it again",
                        highest.saturating_add(1)
                    ),
                ),
            }
        }
    }
}

/// Whether a person said a word for it.
fn may(options: &Options, consent: Consent) -> bool {
    options.consents.contains(&consent)
}
