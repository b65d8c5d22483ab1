//! The keys of a server, of which type they are. For servers of our own: it looks at every key.

use std::collections::BTreeMap;

use super::Server;
use crate::redis::RedisError;

/// Keys looked at between two answers.
const BATCH: u32 = 1000;

/// Keys by type, as TYPE names it.
pub type Types = BTreeMap<String, u64>;

impl Server {
    /// Counts the keys of a database by type. Those that have expired are not counted, and a server that is nobody's
    /// replica lets go of them. `go_on` is told how many were counted and may say no, which is answered with `None`.
    ///
    /// A key may be counted twice where the server makes its table smaller meanwhile: compare with DBSIZE afterwards.
    ///
    /// Memory: one batch of key names.
    pub fn count_types(
        &mut self,
        database: u64,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Types>, RedisError> {
        self.words(&["SELECT", &database.to_string()])?;
        let (mut types, mut counted) = (Types::new(), 0);
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = ::redis::pipe();
            scan.cmd("SCAN").arg(&cursor).arg("COUNT").arg(BATCH);
            let answers: Vec<(String, Vec<Vec<u8>>)> = self.at_once("SCAN", &scan)?;
            let Some((next, keys)) = answers.into_iter().next() else {
                return Err(RedisError::Answer { command: "SCAN".into(), message: "no answer".into(), hint: None });
            };
            let mut ask = ::redis::pipe();
            for key in &keys {
                ask.cmd("TYPE").arg(key);
            }
            let found: Vec<String> = if keys.is_empty() { Vec::new() } else { self.at_once("TYPE", &ask)? };
            for found in found.into_iter().filter(|found| found != "none") {
                *types.entry(found).or_default() += 1;
                counted += 1;
            }
            if !go_on(counted) {
                return Ok(None);
            }
            if next == "0" {
                return Ok(Some(types));
            }
            cursor = next;
        }
    }
}
