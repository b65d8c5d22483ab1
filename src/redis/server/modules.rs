//! Where the files of a server's modules are.

use std::collections::{BTreeMap, HashMap};

use ::redis::{FromRedisValue as _, Value};

use super::connection::Server;
use super::info::Info;
use crate::aof::append_word;
use crate::redis::RedisError;

/// The fact that names them: a line of words as in a configuration file, a word for each path.
pub const MODULE_FILES: &str = "server.module-files";

/// What servers have built in.
const BUILT_IN: [&str; 1] = ["vectorset"];

/// Asks a server that has modules loaded where their files are. Where it may not be asked that, or does not say it, nothing
/// is told.
pub(super) fn files(server: &mut Server, info: &Info) -> Result<BTreeMap<String, String>, RedisError> {
    let is_loaded =
        |module: &str| !BUILT_IN.iter().any(|name| module.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')));
    if !info.modules().split(',').any(|module| !module.is_empty() && is_loaded(module)) {
        return Ok(BTreeMap::new());
    }
    let mut ask = ::redis::pipe();
    ask.cmd(server.address().command("MODULE")).arg("LIST");
    let answers: Vec<Vec<HashMap<String, Value>>> = match server.at_once("MODULE", &ask) {
        Err(RedisError::Answer { .. }) => return Ok(BTreeMap::new()),
        answer => answer?,
    };
    let mut line = Vec::new();
    for mut module in answers.into_iter().flatten() {
        let path = module.remove("path").and_then(|path| String::from_redis_value(path).ok());
        if let Some(path) = path.filter(|path| path.starts_with('/')) {
            if !line.is_empty() {
                line.push(b' ');
            }
            append_word(&mut line, path.as_bytes());
        }
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    Ok((!line.is_empty()).then(|| (MODULE_FILES.to_string(), line)).into_iter().collect())
}
