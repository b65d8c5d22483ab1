//! What is found in a data directory: whether it can be read, is whole, fits what redkeep knows, and has room.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Finding, Options, Report, below};
use crate::format::UnixMillis;
use crate::format::counts::count;
use crate::format::snapshot::Role;
use crate::operations::restore::kept_aside;
use crate::rdb::{HEADER_PEEK, looks_like_rdb};
use crate::redis::{
    Capture, CaptureOptions, CapturedFile, Content, Own, Reading, RedisError, UNREADABLE, Whose, Why, capture_directory,
};

/// Where distributions keep data.
const USUAL: [&str; 2] = ["/var/lib/redis", "/var/lib/valkey"];

/// A clock that is so much ahead, in seconds, is wrong.
const AHEAD: i64 = 120;

/// The data directories that are named, else the usual ones that are there, as the host calls them.
pub(super) fn directories(root: &Path, named: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = named.collect();
    if directories.is_empty() {
        directories = USUAL.iter().map(PathBuf::from).filter(|path| below(root, path).is_dir()).collect();
    }
    directories.sort();
    directories.dedup();
    directories
}

/// What becomes of it.
const REMOVED: &str = ", and removes that dump again once it is captured where the server saves nothing by itself";

/// Looks at a directory, and answers with the size of its largest dump or base. `is_live`: a server that answers has its
/// data there, so that a backup need not guess what counts, and has it save what is not there yet.
pub(super) fn look(options: &Options, directory: &Path, is_live: bool, now: UnixMillis, report: &mut Report) -> u64 {
    let here = below(&options.root, directory);
    if is_live && fs::read_dir(&here).is_ok_and(|mut entries| entries.next().is_none()) {
        report.notes.push(format!("{} is empty: a backup has the server save first{REMOVED}", directory.display()));
        return 0;
    }
    let own = options.repository.iter().map(|path| Own { path: path.clone(), whose: Whose::Repository });
    let wanted = CaptureOptions { own: own.collect(), ..CaptureOptions::default() };
    let capture = match capture_directory(&here, &wanted) {
        // A rewrite or a save of a live server may have gone by meanwhile.
        Err(_) if is_live => capture_directory(&here, &wanted),
        other => other,
    };
    let capture = match capture {
        Ok(capture) => capture,
        Err(error) => {
            report.findings.push(not_captured(directory, &error));
            return 0;
        }
    };
    judge_capture(&capture, directory, is_live, report);
    let is_dataset = |file: &&CapturedFile| matches!(file.role, Role::Dump | Role::Base | Role::SingleAof | Role::Incr);
    let mut largest = 0;
    for file in capture.files.iter().filter(is_dataset) {
        let path = directory.join(String::from_utf8_lossy(&file.path).as_ref());
        judge_content(file, &path, options.read_up_to, report);
        if file.mtime.saturating_sub((now.0 / 1000) as i64) > AHEAD {
            report.findings.push(Finding::serious(
                "clock",
                format!("{} was written at a time that is to come", path.display()),
                "set this host's clock: ages, retention and restores to a moment go by it",
            ));
        }
        if file.role != Role::Incr {
            largest = largest.max(file.expected_size());
        }
    }
    judge_room(&here, directory, largest, report);
    tell_aside(&here, directory, options.state.as_deref(), report);
    largest
}

/// What restores replaced is kept until somebody removes it: how much that is, and which of it an undo needs.
fn tell_aside(here: &Path, directory: &Path, state: Option<&Path>, report: &mut Report) {
    let kept = kept_aside(here, state);
    let sizes = kept.iter().flat_map(|path| walkdir::WalkDir::new(path).into_iter().flatten());
    let sizes = sizes.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file);
    let bytes: u64 = sizes.map(|file| file.len()).sum();
    let places = count(kept.len() as u64, "place");
    if let Some(needed) = kept.last() {
        report.notes.push(format!(
            "what restores into {} replaced is kept in {places}, {}: an undo needs {}{}",
            directory.display(),
            mebibytes(bytes),
            needed.display(),
            if kept.len() > 1 { "; what else there is can be removed" } else { "" }
        ));
    }
}

fn not_captured(directory: &Path, error: &RedisError) -> Finding {
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    let what = format!("{} cannot be backed up: {error}{cause}", directory.display());
    let code = match error {
        RedisError::Denied { .. } => "rights",
        _ => "directory",
    };
    Finding::serious(code, what, error.hint().unwrap_or("see: redkeep backup"))
}

/// What a directory without a server leaves in doubt, and a live server does not.
const DOUBTS: [&str; 6] =
    ["aof-maybe-stale", "aof-left-out", "aof-without-manifest", "several-dumps", "left-out", "nothing-captured"];

fn judge_capture(capture: &Capture, directory: &Path, is_live: bool, report: &mut Report) {
    let is_told = |code: &str| !(is_live && DOUBTS.contains(&code));
    for warning in capture.warnings.iter().filter(|warning| is_told(&warning.code)) {
        let path = directory.join(String::from_utf8_lossy(&warning.path).as_ref());
        let what = format!("{}: {}", path.display(), warning.message);
        report.findings.push(match warning.code == UNREADABLE {
            true => Finding::serious(
                &warning.code,
                what,
                "while the server runs: CONFIG SET appendonly no; in its configuration file set appendonly no and an \
                 appendfilename without an apostrophe; SHUTDOWN SAVE; start it: it loads its dump; CONFIG SET appendonly yes, \
                 and set that in the file again; remove the files of the old name",
            ),
            false => Finding::warning(
                &warning.code,
                what,
                "a backup stores it with this warning, and a restore has to be told what to trust",
            ),
        });
    }
    for left in capture.left.of(|why| why == Why::Own(Whose::Repository)) {
        let path = directory.join(String::from_utf8_lossy(&left.path).as_ref());
        report.findings.push(Finding::warning(
            "repository-inside",
            format!("the repository stands inside the data directory, at {}: backups leave it out", path.display()),
            "move it to another place, best on another disk: what takes the data takes their backups too",
        ));
    }
    let has_none = capture.facts.get("authoritative").is_some_and(|authoritative| authoritative == "none");
    if has_none && is_live {
        let what = "has neither a dump nor an AOF yet: a backup has the server save";
        report.notes.push(format!("{} {what}{REMOVED}", directory.display()));
    } else if has_none {
        report.findings.push(Finding::warning(
            "no-dataset",
            format!("{} has neither a dump nor an AOF", directory.display()),
            "name the directory that CONFIG GET dir tells; a server that never saved has none",
        ));
    }
}

/// Reads a file, or its first bytes where it is large.
fn judge_content(file: &CapturedFile, path: &Path, read_up_to: u64, report: &mut Report) {
    if file.expected_size() > read_up_to {
        if file.role == Role::Dump && begins_like_rdb(file).is_ok_and(|is_rdb| !is_rdb) {
            report.findings.push(suspect(path, "it does not begin like a dump"));
        }
        report.notes.push(format!("{} is large and was not read: --read-data does", path.display()));
        return;
    }
    match file.read(&mut |_| Ok(())) {
        Ok(reading) => judge_reading(&reading, path, report),
        Err(error) => report.findings.push(not_captured(path, &error)),
    }
}

fn judge_reading(reading: &Reading, path: &Path, report: &mut Report) {
    if let Some(why) = &reading.suspect {
        report.findings.push(suspect(path, why));
    }
    let shown = path.display();
    let version = reading.facts.get("rdb.version").map_or("unknown", String::as_str);
    match (&reading.note, reading.facts.contains_key("not-understood")) {
        (Some(why), true) => report.findings.push(Finding::warning(
            "unsupported",
            format!("{shown}, of RDB version {version}, holds what this redkeep does not know: {why}"),
            "it is stored as it is, but neither checked nor counted: look for a newer redkeep",
        )),
        (Some(why), false) => report.notes.push(format!("{shown}: {why}")),
        (None, _) => {}
    }
    if let Some(modules) = reading.facts.get("modules") {
        report.findings.push(Finding::warning(
            "modules",
            format!("{shown} holds data of modules ({modules}): a server without them refuses the file"),
            "keep the modules with the backup, and have them loaded where it is restored",
        ));
    }
}

fn suspect(path: &Path, why: &str) -> Finding {
    let advice = "a server may refuse it: have it save anew, or restore an older snapshot";
    Finding::serious("suspect", format!("{} is suspect: {why}", path.display()), advice)
}

fn begins_like_rdb(file: &CapturedFile) -> io::Result<bool> {
    match &file.content {
        Content::Open { file, .. } => {
            let mut first = vec![0; HEADER_PEEK];
            let length = file.read_at(&mut first, 0)?;
            Ok(looks_like_rdb(first.get(..length).unwrap_or_default()))
        }
        Content::Bytes(bytes) => Ok(looks_like_rdb(bytes)),
        Content::None | Content::Link(_) | Content::Sent(_) => Ok(false),
    }
}

/// A save or rewrite needs the room of another dump, and it may have grown.
fn judge_room(here: &Path, directory: &Path, dump: u64, report: &mut Report) {
    let needed = dump.saturating_add(dump / 10 * 3);
    match free(here) {
        Ok(free) if free < needed => report.findings.push(Finding::serious(
            "disk",
            format!(
                "{} has {} free, and a save or AOF rewrite needs about {}: it would fail, and with save points every write then answers MISCONF",
                directory.display(),
                mebibytes(free),
                mebibytes(needed)
            ),
            "free some space, or move it to a larger disk",
        )),
        Ok(_) => {}
        Err(error) => report.notes.push(format!("the free space of {} cannot be told: {error}", directory.display())),
    }
}

/// The first backup after a change of everything stores all of it again.
pub(super) fn judge_room_of_repository(path: &Path, dump: u64, report: &mut Report) {
    match free(path) {
        Ok(free) if free < dump => report.findings.push(Finding::warning(
            "disk",
            format!(
                "the disk of {} has {} free, less than the {} of the dump",
                path.display(),
                mebibytes(free),
                mebibytes(dump)
            ),
            "forget and prune, or move it to a larger disk",
        )),
        _ => {}
    }
}

/// Bytes that can still be written.
fn free(path: &Path) -> io::Result<u64> {
    fs::metadata(path)?;
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A size, for people.
fn mebibytes(bytes: u64) -> String {
    match bytes {
        0 => "0 KiB".into(),
        1..0x10_0000 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes >> 20),
    }
}
