//! Where the files of a server's modules are.

use std::collections::BTreeMap;

use super::connection::Server;
use super::info::Info;
use crate::aof::append_word;
use crate::redis::RedisError;

/// The fact that names them: a line of words as in a configuration file, a word for each path.
pub const MODULE_FILES: &str = "server.module-files";

/// Asks a server that has modules loaded where their files are. Where it may not be asked that, or does not say it, nothing
/// is told.
pub(super) fn files(server: &mut Server, info: &Info) -> Result<BTreeMap<String, String>, RedisError> {
    if info.modules().is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut line = Vec::new();
    for path in server.loaded_modules()?.into_iter().filter_map(|module| module.path) {
        if !line.is_empty() {
            line.push(b' ');
        }
        append_word(&mut line, path.as_bytes());
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    Ok((!line.is_empty()).then(|| (MODULE_FILES.to_string(), line)).into_iter().collect())
}
