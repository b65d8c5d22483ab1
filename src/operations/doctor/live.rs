//! What a live server says of itself. It is asked for nothing but what the least rights of a backup allow.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::configured::ServerFile;
use super::{Finding, Options, Report, users};
use crate::format::UnixMillis;
use crate::redis::RedisError;
use crate::redis::server::{ACL_RULES_OF_SYNC, Address, Info, Server, aof_elsewhere, directory_of};

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

/// The words behind each directive.
type Lines = BTreeMap<String, Vec<Vec<String>>>;

/// Clocks that differ by more are worth a word, in milliseconds.
const APART: u64 = 120_000;

/// What a live server told.
#[derive(Default)]
pub(super) struct Asked {
    /// Its settings, as if they stood in a file; `None` where it tells none.
    pub file: Option<ServerFile>,
    /// Its data directory, as it is reached from here and as a backup finds it.
    pub directory: Option<PathBuf>,
}

/// Asks a server. What it does not say is a finding: nothing is taken from elsewhere.
pub(super) fn ask(address: &Address, options: &Options, now: UnixMillis, report: &mut Report) -> Asked {
    let mut asked = Asked::default();
    if let Err(error) = answers(address, options, now, report, &mut asked) {
        let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
        let advice = error.hint().unwrap_or("a backup from the live server needs it");
        report.findings.push(Finding::serious("server", format!("{error}{cause}"), advice));
    }
    asked
}

fn answers(
    address: &Address,
    options: &Options,
    now: UnixMillis,
    report: &mut Report,
    asked: &mut Asked,
) -> Result<(), RedisError> {
    let mut server = Server::connect(address)?;
    judge(address, &server.info()?, report);
    let clock = server.time()?.millis();
    if clock.abs_diff(now.0) > APART {
        report.findings.push(Finding::warning(
            "clock",
            format!("the clocks of {address} and of this host are {} s apart", clock.abs_diff(now.0) / 1000),
            "have both kept by NTP: snapshots and @TIME go by the server's clock, timeline and --at by this host's, as far \
             apart as the two were at each backup",
        ));
    }
    server.integer(&["LASTSAVE"])?;
    let lines = settings(&mut server, address, report)?;
    // Asked after the settings: a rewrite that one of them began is seen.
    let info = server.info()?;
    let is_rewriting =
        ["aof_rewrite_in_progress", "aof_rewrite_scheduled"].iter().any(|name| info.get(name) == Some("1"));
    if lines.is_some() {
        users::judge(address, &mut server, &info, report)?;
        note_seed(address, &mut server, report)?;
    }
    if options.is_sent {
        return judge_sending(address, &mut server, report);
    }
    let place = &options.place;
    let directory = match directory_of(address, place) {
        Err(RedisError::OutOfReach { what, hint }) => {
            report.findings.push(Finding::warning(
                "out-of-reach",
                format!("{what}: a backup has to have it send its dump (--mode sync)"),
                format!("{hint}; or give redkeep's user the right to copy it: {ACL_RULES_OF_SYNC}"),
            ));
            return Ok(());
        }
        directory => directory?,
    };
    if let Some(elsewhere) = aof_elsewhere(address, place)? {
        report.findings.push(Finding::serious(
            "aof-elsewhere",
            format!(
                "{address} writes its AOF in {}, and would start from {}",
                elsewhere.display(),
                directory.display()
            ),
            "BGREWRITEAOF makes it anew where the server will look for it",
        ));
    }
    // Before 7.0 the file is there from the begin of its first rewrite on, and holds only what was written since.
    let is_first = info.get("aof_base_size").is_none_or(|size| size == "0");
    asked.file = lines.map(|mut lines| {
        lines.insert("dir".into(), vec![vec![directory.display().to_string()]]);
        ServerFile::of_server(PathBuf::from(address.to_string()), lines, is_rewriting.then_some(is_first))
    });
    asked.directory = Some(directory);
    Ok(())
}

/// Whether the server will send its dump, as far as that can be asked without having it do so.
fn judge_sending(address: &Address, server: &mut Server, report: &mut Report) -> Result<(), RedisError> {
    server.words(&["REPLCONF", "capa", "eof"])?;
    if server.setting("repl-diskless-sync").ok().flatten().as_deref() == Some("no") {
        report.notes.push(format!(
            "{address} writes its dump file anew whenever a backup has it send its dump: with repl-diskless-sync yes it does not"
        ));
    }
    Ok(())
}

/// What CONFIG GET tells; without the right to ask, a capture finds what it needs by /proc and the configuration file.
fn settings(server: &mut Server, address: &Address, report: &mut Report) -> Result<Option<Lines>, RedisError> {
    let mut lines = Lines::new();
    for name in SETTINGS {
        match server.setting(name) {
            Ok(Some(value)) => {
                lines.insert(name.to_string(), vec![vec![value]]);
            }
            Ok(None) => {}
            Err(RedisError::Answer { message, .. }) => {
                report.notes.push(format!("{address} tells no settings: {message}"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(lines))
}

/// From Valkey 9.1 on the order of keys in a dump can outlive a restart.
fn note_seed(address: &Address, server: &mut Server, report: &mut Report) -> Result<(), RedisError> {
    if server.setting("hash-seed")?.is_some_and(|seed| seed.is_empty()) {
        report.notes.push(format!(
            "{address} puts its keys in a new order at each restart, which costs the next backup of a dump up to 3 bytes a key: with hash-seed              set in its configuration it does not; keep the seed as secret as a password, for whoever knows it can make keys that slow              the server down"
        ));
    }
    Ok(())
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
