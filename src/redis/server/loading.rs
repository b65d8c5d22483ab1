//! A server that is loading its data. While it reads an AOF it says that it has none (`aof_enabled:0`), whatever it is set to:
//! it keeps its own log from being written meanwhile (seen from Redis 6.2 to 8.2 and in Valkey 9.1). CONFIG GET says what it is
//! set to.

use super::connection::Server;
use super::discovery::Place;
use super::info::Info;
use super::save::{Movement, POLL, SavePatience};
use super::watch::{Pauses, Watch};
use crate::redis::RedisError;

/// LIVE-10: waits until the server has loaded its data, for as long as it gets on with that. `info`: what it said last.
pub(super) fn loaded(
    server: &mut Server,
    mut info: Info,
    patience: SavePatience,
    watch: &Watch<'_>,
) -> Result<Info, RedisError> {
    let (mut pauses, mut movement) = (Pauses::endless(POLL.0, POLL.1), Movement::new(patience));
    while info.is_loading() {
        const WHY: &str = "the server is loading its data";
        (watch.say)(&format!("waiting: {WHY}"));
        movement.look(WHY, &info, 0, watch)?;
        pauses.pause(watch)?;
        info = server.info()?;
    }
    Ok(info)
}

/// The same where nobody waits: whether its AOF is on is what it is set to.
pub(super) fn as_set(mut info: Info, place: &Place) -> Info {
    if let Some(set) = place.setting("appendonly").filter(|_| info.is_loading()) {
        info.set("aof_enabled", if set == "yes" { "1" } else { "0" });
    }
    info
}
