//! What a live server says of itself. It is asked for nothing but what the least rights of a backup allow.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::configured::ServerFile;
use super::{Finding, Report};
use crate::format::UnixMillis;
use crate::redis::RedisError;
use crate::redis::server::{Address, Info, Server};

/// Settings that are judged, one by one: a server before 7.0 takes no more than one at a time.
const SETTINGS: [&str; 11] = [
    "dir",
    "dbfilename",
    "save",
    "appendonly",
    "appendfilename",
    "appenddirname",
    "appendfsync",
    "aof-timestamp-enabled",
    "stop-writes-on-bgsave-error",
    "rdbchecksum",
    "disable-thp",
];

/// Clocks that differ by more are worth a word, in milliseconds.
const APART: u64 = 120_000;

/// Asks a server, and answers with its settings as if they stood in a file.
pub(super) fn ask(address: &Address, now: UnixMillis, report: &mut Report) -> Option<ServerFile> {
    match answers(address, now, report) {
        Ok(server) => server,
        Err(error) => {
            let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
            let advice = error.hint().unwrap_or("a backup from the live server needs it");
            report.findings.push(Finding::serious("server", format!("{error}{cause}"), advice));
            None
        }
    }
}

fn answers(address: &Address, now: UnixMillis, report: &mut Report) -> Result<Option<ServerFile>, RedisError> {
    let mut server = Server::connect(address)?;
    let info = server.info()?;
    judge(address, &info, report);
    let clock = server.time()?.millis();
    if clock.abs_diff(now.0) > APART {
        report.findings.push(Finding::warning(
            "clock",
            format!("the clocks of {address} and of this host are {} s apart", clock.abs_diff(now.0) / 1000),
            "have both kept by NTP: a moment to restore is told by the server's clock",
        ));
    }
    server.integer(&["LASTSAVE"])?;
    let mut lines = BTreeMap::new();
    for name in SETTINGS {
        match server.setting(name) {
            Ok(Some(value)) => {
                lines.insert(name.to_string(), vec![vec![value]]);
            }
            Ok(None) => {}
            // Without this right a capture finds names by /proc and the configuration file.
            Err(RedisError::Answer { message, .. }) => {
                report.notes.push(format!("{address} tells no settings: {message}"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(ServerFile::of_server(PathBuf::from(address.to_string()), lines)))
}

fn judge(address: &Address, info: &Info, report: &mut Report) {
    let mut found = |name: &str, bad: &str, finding: Finding| {
        if info.get(name) == Some(bad) {
            report.findings.push(finding);
        }
    };
    found(
        "rdb_last_bgsave_status",
        "err",
        Finding::serious(
            "bgsave",
            format!("the last BGSAVE of {address} failed: with save points every write answers MISCONF"),
            "see its log; look at free disk, rights on its directory, memory and overcommit",
        ),
    );
    found(
        "aof_last_write_status",
        "err",
        Finding::serious("aof-write", format!("{address} cannot write its AOF"), "see its log; look at free disk"),
    );
    found(
        "aof_last_bgrewrite_status",
        "err",
        Finding::warning(
            "aof-rewrite",
            format!("the last AOF rewrite of {address} failed: its files grow until one succeeds"),
            "see its log; look at free disk, memory and overcommit",
        ),
    );
    found(
        "master_link_status",
        "down",
        Finding::warning(
            "replica",
            format!("{address} is a replica that has lost its master: what it holds grows old"),
            "look at the link, or back up the master",
        ),
    );
}
