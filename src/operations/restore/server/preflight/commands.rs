//! Commands of an AOF stand under the names by which clients called them. A server ends at one that it does not know: of
//! a module it lacks, of a newer version, or renamed or disabled in its configuration.

use super::{may, refuse};
use crate::operations::restore::Needs;
use crate::operations::restore::server::{Consent, Options};
use crate::redis::RedisError;
use crate::redis::server::Server;

/// Names that an error repeats.
const TOLD: usize = 8;

const FORCE: &str = "or say: --force commands";

/// Asks the server for each name, while it serves.
pub(super) fn must_know(needs: &Needs, server: &mut Server, options: &Options) -> Result<(), RedisError> {
    if may(options, Consent::Commands) || (needs.commands.is_empty() && !needs.has_more_commands) {
        return Ok(());
    }
    if needs.has_more_commands {
        let what = format!("the AOF has commands of more than {} names", crate::aof::MOST_NAMES);
        return refuse(what, format!("look at it with redkeep verify --drill; {FORCE}"));
    }
    match server.unknown_commands(needs.commands.iter().map(Vec::as_slice)) {
        Ok(unknown) if unknown.is_empty() => Ok(()),
        Ok(unknown) => {
            let mut names: Vec<String> =
                unknown.iter().take(TOLD).map(|name| name.escape_ascii().to_string().to_uppercase()).collect();
            if unknown.len() > TOLD {
                names.push(format!("{} more", unknown.len() - TOLD));
            }
            let what = format!(
                "the AOF has commands that the server does not know, and at which it would end while loading: {}",
                names.join(", ")
            );
            refuse(
                what,
                "are they renamed or disabled in its configuration, of a module it has not loaded, or of a newer version? \
                 make the server know them; or restore a dump",
            )
        }
        Err(RedisError::Answer { message, .. }) => {
            let what = format!("whether the server knows the commands of the AOF cannot be seen ({message})");
            refuse(what, format!("allow COMMAND INFO, or name it with --renamed-command COMMAND=NAME; {FORCE}"))
        }
        Err(error) => Err(error),
    }
}
