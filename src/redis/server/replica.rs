//! A replica in place of its master, where a person prefers that.

use std::time::Duration;

use super::connection::{Server, ServerTime};
use super::discovery::{Place, WhereOptions};
use super::info::Info;
use super::watch::{Pauses, Watch};
use crate::redis::RedisError;

/// How long a replica may take to have all that its master had.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks: growing from the first to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

/// An online replica of a server that is not loading, works in a directory of this host, and has all that the server
/// answered before the time that is told with it; else the server itself. Which of them it was is told by the facts of the
/// capture.
pub(super) fn prefer_replica(
    server: Server,
    place: &WhereOptions,
    watch: &Watch<'_>,
) -> Result<(Server, Option<ServerTime>), RedisError> {
    prefer(server, &|replica| is_fit(replica, place), watch)
}

fn prefer(
    mut server: Server,
    is_fit: &dyn Fn(&mut Server) -> bool,
    watch: &Watch<'_>,
) -> Result<(Server, Option<ServerTime>), RedisError> {
    // A Sentinel does not know the time.
    server.info()?;
    let (time, info) = server.time_and_info()?;
    for (host, port) in info.replicas() {
        let address = server.address().at(&host, port);
        // One that cannot be reached, or not from here, is no choice.
        let Ok(mut replica) = Server::connect(&address) else { continue };
        if is_fit(&mut replica) && comes_up_to(&mut replica, &info, watch)? {
            return Ok((replica, Some(time)));
        }
    }
    Ok((server, None))
}

/// The same for who needs no directory: any online replica that can be reached.
pub(super) fn prefer_online_replica(
    server: Server,
    watch: &Watch<'_>,
) -> Result<(Server, Option<ServerTime>), RedisError> {
    prefer(server, &|replica| replica.info().is_ok_and(|info| is_up(&info)), watch)
}

fn is_fit(replica: &mut Server, place: &WhereOptions) -> bool {
    let Ok(info) = replica.info() else { return false };
    is_up(&info) && Place::find(replica, &info, place).is_ok_and(|place| place.is_the_servers() == Some(true))
}

fn is_up(info: &Info) -> bool {
    info.get("role") == Some("slave")
        && info.get("master_link_status") == Some("up")
        && !info.is_on("master_sync_in_progress")
        && !info.is_loading()
}

/// Waits until a replica has what its master had.
fn comes_up_to(replica: &mut Server, master: &Info, watch: &Watch<'_>) -> Result<bool, RedisError> {
    let Some(goal) = master.number("master_repl_offset") else { return Ok(false) };
    let mut pauses = Pauses::new(POLL.0, POLL.1, PATIENCE);
    loop {
        let Ok(info) = replica.info() else { return Ok(false) };
        let is_of_it = info.get("master_replid") == master.get("master_replid");
        if !is_of_it || !is_up(&info) {
            return Ok(false);
        }
        if info.number("slave_repl_offset").is_some_and(|offset| offset >= goal) {
            return Ok(true);
        }
        (watch.say)("waiting: the replica is behind its master");
        if !pauses.pause(watch)? {
            return Ok(false);
        }
    }
}
