//! What a server's settings will do to its data.

use std::fs;
use std::path::{Path, PathBuf};

use super::configured::ServerFile;
use super::secrets::readable;
use super::{Finding, Report, below};

/// What a server keeps its AOF and dump under, unless it is told otherwise.
const DEFAULT_NAMES: [(&str, &str); 3] =
    [("appenddirname", "appendonlydir"), ("appendfilename", "appendonly.aof"), ("dbfilename", "dump.rdb")];

pub(super) fn judge(root: &Path, server: &ServerFile, report: &mut Report) {
    let has_aof = server.is("appendonly", "yes");
    if has_aof {
        report.findings.extend(missing_aof(root, server));
    }
    report.findings.extend(persistence(server, has_aof));
    report.findings.extend(renamed(server));
    report.findings.extend(passwords(root, server));
    if has_aof && !server.is("aof-timestamp-enabled", "yes") {
        report.notes.push(format!(
            "{}: with aof-timestamp-enabled yes (7.0 on) a restore to a moment is exact to the second",
            server.path.display()
        ));
    }
}

fn name_of<'a>(server: &'a ServerFile, setting: &str) -> &'a str {
    let default = DEFAULT_NAMES.iter().find(|(name, _)| *name == setting).map_or("", |(_, default)| default);
    server.value(setting).unwrap_or(default)
}

/// `appendonly yes` without AOF files: the server starts empty, and its next save overwrites the dump.
fn missing_aof(root: &Path, server: &ServerFile) -> Option<Finding> {
    let directory = server.directory()?;
    let here = below(root, &directory);
    let is_there = |path: &Path| fs::symlink_metadata(here.join(path)).is_ok();
    let (folder, name) = (name_of(server, "appenddirname"), name_of(server, "appendfilename"));
    let manifest = PathBuf::from(folder).join(format!("{name}.manifest"));
    // Without rights to look, nothing is said of what is there.
    let can_look = fs::read_dir(&here).is_ok();
    let is_begun = server.rewriting == Some(true) && is_there(Path::new(name));
    if !can_look || is_there(&manifest) || (is_there(Path::new(name)) && !is_begun) {
        return None;
    }
    let (directory, path) = (directory.display(), server.path.display());
    if server.rewriting.is_some() {
        return Some(Finding::warning(
            "aof-first-rewrite",
            format!(
                "{path} writes its first AOF just now: until that has ended, a crash loses all but the dump, and with \
                 appendonly yes in its configuration the dump as well"
            ),
            "wait until INFO says aof_rewrite_in_progress:0, then look again; do not restart it before",
        ));
    }
    let names: Vec<_> = fs::read_dir(here.join(folder)).into_iter().flatten().flatten().collect();
    let is_begun = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b"temp-");
    if !names.is_empty() && names.iter().all(is_begun) {
        return Some(Finding::serious(
            "aof-missing",
            format!(
                "{path} says appendonly yes, and {directory}/{folder} has only the begin of a first rewrite: as long as it has \
                 not ended, a server that is started loads nothing"
            ),
            "wait for the rewrite of the running server, or have it begin one: BGREWRITEAOF; where none runs, set \
             appendonly no for the next start, and then CONFIG SET appendonly yes",
        ));
    }
    let advice = "do not restart it; have the running server write them: CONFIG SET appendonly yes; with no server \
                  running, set appendonly no, start it, and then CONFIG SET appendonly yes";
    let dump = name_of(server, "dbfilename");
    if is_there(Path::new(folder)) && fs::read_dir(here.join(folder)).is_ok_and(|mut files| files.next().is_some()) {
        let what = format!(
            "{path} says appendonly yes, and {directory}/{folder} has files but no {name}.manifest: a server starts empty and overwrites them"
        );
        return Some(Finding::serious(
            "aof-missing",
            what,
            "restore the manifest, or the directory from a backup, before a start",
        ));
    }
    is_there(Path::new(dump)).then(|| {
        let what = format!(
            "{path} says appendonly yes, and {directory} has {dump} but no AOF: from 7.0 on a server starts empty and then overwrites the dump"
        );
        Finding::serious("aof-missing", what, advice)
    })
}

fn persistence(server: &ServerFile, has_aof: bool) -> Vec<Finding> {
    let path = server.path.display();
    let mut found = Vec::new();
    if !has_aof && saves_nothing(server) {
        found.push(Finding::warning(
            "no-persistence",
            format!("{path} says save \"\" and no appendonly yes: a restart loses everything since the last backup"),
            "set appendonly yes, or save points, unless it is a cache",
        ));
    }
    if has_aof && server.is("appendfsync", "no") {
        found.push(Finding::warning(
            "fsync",
            format!("{path} says appendfsync no: a power failure loses what the kernel had not written"),
            "set appendfsync everysec",
        ));
    }
    if server.is("stop-writes-on-bgsave-error", "no") {
        found.push(Finding::warning(
            "bgsave-error",
            format!("{path} says stop-writes-on-bgsave-error no: a save that fails is not noticed"),
            "watch rdb_last_bgsave_status, or set it to yes",
        ));
    }
    if server.is("rdbchecksum", "no") {
        found.push(Finding::warning(
            "checksum",
            format!("{path} says rdbchecksum no: damage in a dump cannot be told"),
            "set rdbchecksum yes",
        ));
    }
    found
}

/// Whether the last word on save points is that there are none. Unwritten, there are some.
fn saves_nothing(server: &ServerFile) -> bool {
    server.all("save").last().is_some_and(|words| words.iter().all(String::is_empty))
}

fn renamed(server: &ServerFile) -> Option<Finding> {
    let is_needed =
        |name: &&String| ["bgsave", "info", "config", "lastsave", "time"].contains(&name.to_lowercase().as_str());
    let names: Vec<&str> =
        server.all("rename-command").filter_map(|words| words.first()).filter(is_needed).map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        Finding::warning(
            "renamed",
            format!(
                "{} renames {}, which a backup from the live server needs",
                server.path.display(),
                names.join(", ")
            ),
            "use an ACL rather than rename-command",
        )
    })
}

/// Files of the server with passwords that others can read.
fn passwords(root: &Path, server: &ServerFile) -> Vec<Finding> {
    let has_password = ["requirepass", "masterauth", "primaryauth", "user"]
        .iter()
        .any(|name| server.all(name).any(|words| words.first().is_some_and(|word| !word.is_empty())));
    let of_file = |path: &PathBuf| readable(&below(root, path), path, "a password of the server");
    let files = server.files.iter().filter(|_| has_password).filter_map(of_file);
    let acl = server.value("aclfile").filter(|path| !path.is_empty()).map(PathBuf::from);
    let acl =
        acl.and_then(|path| readable(&below(root, &path), &path, "users of the server and hashes of their passwords"));
    files.chain(acl).collect()
}
