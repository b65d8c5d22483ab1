//! A replica in place of its master, where a person prefers that.

use std::time::Duration;

use super::connection::{Server, ServerTime};
use super::discovery::{Place, WhereOptions};
use super::info::Info;
use super::watch::{Pauses, Watch};
use crate::redis::RedisError;

/// How long a replica may take to have all that its master had.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a master may take to say what it has.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks: growing from the first to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(200));

/// The master of a replica that is captured in its place, and what it had at which times.
pub(super) struct Master {
    /// None once it could not be asked.
    server: Option<Server>,
    id: Option<String>,
    /// When the replica was chosen: it has all that the master had then.
    chosen: ServerTime,
    /// The master's offsets of replication, ascending, each with the last time at which it was seen to have no more.
    seen: Vec<(u64, ServerTime)>,
}

impl Master {
    fn new(mut server: Server, info: &Info, chosen: ServerTime) -> Master {
        // What it says only makes the moment nearer.
        let server = server.wait_up_to(LOOK).is_ok().then_some(server);
        Master { server, id: info.get("master_replid").map(str::to_owned), chosen, seen: Vec::new() }
    }

    /// A time by its clock before which all that it answered had come to the replica when that was chosen.
    pub(super) fn time(&self) -> ServerTime {
        self.chosen
    }

    /// Notes what it has by now.
    pub(super) fn look(&mut self) {
        let Some(server) = &mut self.server else { return };
        let Ok((time, info)) = server.time_and_info() else {
            self.server = None;
            return;
        };
        let offset = info.number("master_repl_offset").filter(|_| info.get("master_replid") == self.id.as_deref());
        match (offset, self.seen.last_mut()) {
            (Some(offset), Some((last, until))) if *last == offset => *until = time,
            (Some(offset), _) => self.seen.push((offset, time)),
            (None, _) => {}
        }
    }

    /// SYNC-8: the last time by its clock at which it was seen to have no more than what is up to this offset of its replication.
    pub(super) fn moment_of(&self, offset: Option<u64>) -> ServerTime {
        let is_in = |(seen, _): &&(u64, ServerTime)| offset.is_some_and(|offset| *seen <= offset);
        self.seen.iter().rev().find(is_in).map_or(self.chosen, |(_, time)| (*time).max(self.chosen))
    }
}

/// An online replica of a server that is not loading, works in a directory of this host, and has all that the server
/// answered before the time that is told with it; else the server itself. Which of them it was is told by the facts of the
/// capture.
pub(super) fn prefer_replica(
    server: Server,
    place: &WhereOptions,
    watch: &Watch<'_>,
) -> Result<(Server, Option<Master>), RedisError> {
    prefer(server, &|replica| is_fit(replica, place), watch)
}

fn prefer(
    mut server: Server,
    is_fit: &dyn Fn(&mut Server) -> bool,
    watch: &Watch<'_>,
) -> Result<(Server, Option<Master>), RedisError> {
    // A Sentinel does not know the time.
    server.info()?;
    let (time, info) = server.time_and_info()?;
    for (host, port) in info.replicas() {
        let address = server.address().at(&host, port);
        // One that cannot be reached, or not from here, is no choice.
        let Ok(mut replica) = Server::connect(&address) else { continue };
        if is_fit(&mut replica) && comes_up_to(&mut replica, &info, watch)? {
            return Ok((replica, Some(Master::new(server, &info, time))));
        }
    }
    Ok((server, None))
}

/// The same for who needs no directory: any online replica that can be reached.
pub(super) fn prefer_online_replica(server: Server, watch: &Watch<'_>) -> Result<(Server, Option<Master>), RedisError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// SYNC-8
    #[test]
    fn the_moment_of_a_replicas_dump_is_the_last_at_which_its_master_had_no_more() {
        let seen = [(10, 5), (20, 6), (30, 9)].map(|(offset, time)| (offset, ServerTime(time))).to_vec();
        let master = Master { server: None, id: None, chosen: ServerTime(4), seen };
        for (offset, time) in [(None, 4), (Some(9), 4), (Some(10), 5), (Some(29), 6), (Some(30), 9), (Some(99), 9)] {
            assert_eq!(master.moment_of(offset), ServerTime(time), "{offset:?}");
        }
    }
}
