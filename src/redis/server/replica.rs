//! A replica in place of its master, where a person prefers that.

use super::connection::Server;
use super::discovery::{Place, WhereOptions};
use crate::redis::RedisError;

/// An online replica of a server that is up to date, not loading, and works in a directory of this host; else the server
/// itself. Which of them it was is told by the facts of the capture.
pub(super) fn prefer_replica(mut server: Server, place: &WhereOptions) -> Result<Server, RedisError> {
    let info = server.info()?;
    for (host, port) in info.replicas() {
        let address = server.address().at(&host, port);
        // One that cannot be reached, or not from here, is no choice.
        let Ok(mut replica) = Server::connect(&address) else { continue };
        if is_fit(&mut replica, place) {
            return Ok(replica);
        }
    }
    Ok(server)
}

fn is_fit(replica: &mut Server, place: &WhereOptions) -> bool {
    let Ok(info) = replica.info() else { return false };
    let is_up = info.get("role") == Some("slave")
        && info.get("master_link_status") == Some("up")
        && !info.is_on("master_sync_in_progress")
        && !info.is_loading();
    is_up && Place::find(replica, &info, place).is_ok_and(|place| place.is_the_servers() == Some(true))
}
