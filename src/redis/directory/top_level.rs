//! The dump and the single AOF among the files at the top level.

use std::fs::{self, File, Metadata};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::authority::{AofState, DumpState, Trace};
use super::ending::last_second;
use super::names::Guise;
use super::opened::FileId;
use super::told::{Measure, Told};
use crate::aof::is_unfinished_save;
use crate::rdb;
use crate::redis::processes::{Sight, look, own_name};

/// An open file that may be the dump or the single AOF.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Its name.
    pub path: Vec<u8>,
    /// Where it was opened.
    pub place: PathBuf,
    pub file: File,
    pub metadata: Metadata,
    /// Its first bytes.
    pub first: Vec<u8>,
    pub guise: Guise,
    /// Where the link points that stands in its place.
    pub followed: Option<PathBuf>,
}

/// The dump, the single AOF, and the candidates that are neither.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub dump: Option<Candidate>,
    pub single: Option<Candidate>,
    pub others: Vec<Candidate>,
    /// Names of the dumps, if the choice among them was made by their age.
    pub unsure_dumps: Vec<Vec<u8>>,
}

/// Chooses by name, then by age: servers call their files `dump.rdb` and `appendonly.aof` unless told otherwise. A single
/// AOF that is `outdone`, by a manifest of its name, is none.
pub(super) fn choose(candidates: Vec<Candidate>, outdone: &dyn Fn(&Candidate) -> bool) -> Chosen {
    let mut chosen = Chosen::default();
    let (mut dumps, mut singles) = (Vec::new(), Vec::new());
    for candidate in candidates {
        match candidate.guise {
            Guise::Dump => dumps.push(candidate),
            Guise::SingleAof if outdone(&candidate) => chosen.others.push(candidate),
            Guise::SingleAof => singles.push(candidate),
            Guise::Other => chosen.others.push(candidate),
        }
    }
    dumps.sort_by_key(|candidate| candidate.rank(b"dump.rdb"));
    singles.sort_by_key(|candidate| candidate.rank(b"appendonly.aof"));
    chosen.dump = dumps.pop();
    chosen.single = singles.pop();
    if !dumps.is_empty() && chosen.dump.as_ref().is_some_and(|dump| dump.path != b"dump.rdb") {
        chosen.unsure_dumps = chosen.dump.iter().chain(&dumps).map(|dump| dump.path.clone()).collect();
    }
    chosen.others.extend(dumps);
    chosen.others.extend(singles);
    chosen
}

/// Takes the files of these names; nothing else is the server's.
pub(super) fn choose_told(candidates: Vec<Candidate>, told: &Told) -> Chosen {
    let mut chosen = Chosen::default();
    for candidate in candidates {
        if candidate.path == told.dump {
            chosen.dump = Some(candidate);
        } else if told.aof_counts && told.append_directory.is_none() && candidate.path == told.append_file {
            chosen.single = Some(candidate);
        } else {
            chosen.others.push(candidate);
        }
    }
    chosen
}

impl Candidate {
    /// How much of it there was when it was opened.
    pub(super) fn measure(&self) -> Measure {
        let (path, own_name, file) = (self.path.clone(), own_name(&self.file), FileId::of(&self.metadata));
        Measure { path, own_name, file, length: self.metadata.len(), before: 0, base: 0 }
    }

    /// Whether a process is seen writing to it.
    pub(super) fn is_written(&self, id: FileId) -> bool {
        matches!(look(id, FileId::of(&self.metadata), &[&self.path, &own_name(&self.file)]), Sight::Written(_))
    }

    /// The usual name, then what begins as it should, then the latest.
    fn rank(&self, usual: &[u8]) -> (bool, bool, (i64, i64)) {
        (self.path == usual, rdb::looks_like_rdb(&self.first), self.written())
    }

    fn written(&self) -> (i64, i64) {
        (self.metadata.mtime(), self.metadata.mtime_nsec())
    }

    /// What is known of it as the dump.
    pub(super) fn dump_state(&self) -> DumpState {
        let saved = saved(&self.first);
        // A server makes the file at which it saves; one second is what its clock may be behind that of the file system.
        let is_copied = began(&self.metadata)
            .zip(saved)
            .is_some_and(|(born, saved)| born.0 > saved.saturating_add(1) && self.written() >= (born.0, 0));
        DumpState { path: self.path.clone(), saved, written: self.written(), is_copied }
    }

    /// The last second that it tells of itself as an AOF.
    pub(super) fn told(&self) -> Option<i64> {
        last_second(&self.file, self.metadata.len()).ok().flatten().max(saved(&self.first))
    }

    /// What can be seen of it now as the AOF, and whether another look may show more: the server has replaced it
    /// meanwhile, or has just begun a rewrite.
    pub(super) fn aof_state(&self, data_directory: &Path, id: FileId) -> (AofState, bool) {
        let mine = FileId::of(&self.metadata);
        let name = self.place.file_name().map_or(&[][..], |name| name.as_bytes());
        let sight = look(id, mine, &[name, &own_name(&self.file)]);
        let is_mine = fs::metadata(&self.place).is_ok_and(|now| FileId::of(&now) == mine);
        let moved_on = matches!(sight, Sight::NotWritten(_)) && !is_mine;
        // The time it has by now: a server that writes to it shows that soon after a rewrite began.
        let written = self.file.metadata().map_or(self.written(), |now| (now.mtime(), now.mtime_nsec()));
        let is_empty = self.file.metadata().is_ok_and(|now| now.len() == 0);
        let rewrite = rewrites_since(data_directory, written, is_empty).any(|(name, rewrite)| {
            // Where processes can be seen, one that nobody writes to is a leftover.
            !matches!(sight, Sight::Written(_)) || matches!(look(id, rewrite, &[&name]), Sight::Written(_))
        });
        let traces = if rewrite { vec![Trace::RewriteSince] } else { Vec::new() };
        let path = self.path.clone();
        (AofState { path, has_manifest: false, sight, written, closed: None, told: None, traces }, moved_on || rewrite)
    }
}

/// When an RDB file was begun, as it says.
pub(super) fn saved(first: &[u8]) -> Option<i64> {
    rdb::read_header(first).and_then(|peek| peek.aux.ctime).and_then(|saved| i64::try_from(saved).ok())
}

/// Rewrites, under way or left behind, that began after this moment: name and identity of their files. The first rewrite of
/// a server before 7.0 begins within the tick of the kernel's clock in which it makes its AOF, which stays empty until then.
fn rewrites_since(directory: &Path, written: (i64, i64), is_empty: bool) -> impl Iterator<Item = (Vec<u8>, FileId)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let name = entry.file_name().into_vec();
        let is_rewrite = name.starts_with(b"temp-rewriteaof-") && is_unfinished_save(&name);
        let metadata = entry.metadata().ok().filter(|_| is_rewrite)?;
        let began = began(&metadata)?;
        (began > written || is_empty && began == written).then(|| (name, FileId::of(&metadata)))
    })
}

/// When a file came to be; where the file system does not know, it is not known.
fn began(metadata: &Metadata) -> Option<(i64, i64)> {
    let since = metadata.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((i64::try_from(since.as_secs()).ok()?, i64::from(since.subsec_nanos())))
}
