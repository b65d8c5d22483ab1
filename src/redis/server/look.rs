//! Where a live server's data are, found as a capture finds it.

use std::path::{Path, PathBuf};

use super::address::Address;
use super::aof::capture_aof;
use super::connection::Server;
use super::discovery::{Place, WhereOptions};
use super::loading;
use super::save::SavePatience;
use super::watch::Watch;
use crate::redis::RedisError;
use crate::redis::directory::CaptureOptions;

/// Asks a server where it keeps its data, as it is reached from here. Refuses a directory that certainly is another's.
pub fn directory_of(address: &Address, place: &WhereOptions) -> Result<PathBuf, RedisError> {
    directory_behind(&mut Server::connect(address)?, place)
}

/// The same of a server that is connected.
pub fn directory_behind(server: &mut Server, place: &WhereOptions) -> Result<PathBuf, RedisError> {
    let info = server.info()?;
    let found = Place::find(server, &info, place)?;
    found.refuse_another()?;
    Ok(found.directory)
}

/// Where a server writes its AOF, if that is another directory than it says: it was changed while the AOF was on.
pub fn aof_elsewhere(address: &Address, place: &WhereOptions) -> Result<Option<PathBuf>, RedisError> {
    let mut server = Server::connect(address)?;
    let info = server.info()?;
    Ok(Place::find(&mut server, &info, place)?.aof_elsewhere().filter(|_| info.is_on("aof_enabled")))
}

/// Why the AOF in a server's directory is not what it goes on from and would load again; `None` where it is. Waits for rewrites as a
/// capture of it does, and reads the file that grows.
pub fn aof_not_live(server: &mut Server, directory: &Path, watch: &Watch<'_>) -> Result<Option<String>, RedisError> {
    let info = server.info()?;
    let known = WhereOptions { directory: Some(directory.to_owned()), ..WhereOptions::default() };
    let place = Place::find(server, &info, &known)?;
    Ok(capture_aof(server, &place, &CaptureOptions::default(), watch)?.err().map(|not_live| not_live.why))
}

/// Waits until a server has loaded its data, for as long as it gets on with that.
pub fn wait_loaded(server: &mut Server, watch: &Watch<'_>) -> Result<(), RedisError> {
    let info = server.info()?;
    loading::loaded(server, info, SavePatience::default(), watch).map(drop)
}
