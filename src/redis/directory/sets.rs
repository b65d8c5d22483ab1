//! The multi-part AOFs of a directory: which files each is made of, and which of their kind it is not.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::authority::{AofState, Trace, warning};
use super::captured_file::{CapturedFile, Content};
use super::choice::Choice;
use super::ending::{End, Writer, find_end, last_second};
use super::listing::{Listed, Listing, MANIFEST, has_name_of_manifest, is_aof_directory};
use super::multi_part::{MultiPart, Outcome, Part, open_parts};
use super::names::{file_name, is_any_part_name, is_part_name, join, parent};
use super::opened::{FileId, first_bytes};
use super::owners::Owners;
use super::told::{Measure, Told};
use super::top_level::saved;
use crate::aof::FileType;
use crate::format::snapshot::{Role, Warning};
use crate::held::FileStamp;
use crate::redis::error::RedisError;
use crate::redis::processes::{Sight, look, own_name};

/// Code of the warning about a manifest that its own server cannot read.
pub const UNREADABLE: &str = "aof-manifest-unreadable";

/// Code of the warning that commands in an AOF are not what a server would go on from.
pub(in crate::redis) const OPEN_TRANSACTION: &str = "aof-open-transaction";

/// One multi-part AOF, open.
#[derive(Debug)]
pub(super) struct AofSet {
    /// The manifest, relative to the data directory.
    path: Vec<u8>,
    /// The manifest, where it was opened.
    place: PathBuf,
    /// The files.
    files: MultiPart,
}

/// The multi-part AOFs of a directory.
#[derive(Debug, Default)]
pub(super) struct AofSets {
    /// To be captured.
    pub sets: Vec<AofSet>,
    /// Paths that are theirs, or would be if the manifest named them: no other files.
    claimed: BTreeSet<Vec<u8>>,
    /// Manifests that lack files, or cannot be read.
    broken: Vec<Broken>,
    /// When what is there of them was last written.
    pub broken_written: Option<(i64, i64)>,
    /// What a person should know of them.
    pub warnings: Vec<Warning>,
    /// Files that look like parts and are named by no manifest.
    pub orphans: usize,
    /// A manifest vanished since the directory was listed.
    pub vanished: bool,
}

/// A manifest that no server could start with.
#[derive(Debug)]
struct Broken {
    /// The manifest, relative to the data directory.
    path: Vec<u8>,
    /// What is wrong, if a file is missing.
    missing: Option<RedisError>,
}

impl AofSets {
    /// Opens every multi-part AOF of a listed directory. `has_other` says of an `appendfilename` whether there is another
    /// dataset than the AOF of this name.
    ///
    /// One that lacks files is an error if it is what counts: the server said so, or there is no other. Else it is a
    /// warning, and its files are other files. One whose manifest is excluded is not read.
    pub(super) fn open(
        listing: &Listing,
        choice: &Choice<'_>,
        told: Option<&Told>,
        has_other: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Self, RedisError> {
        let mut sets = Self::default();
        for entry in listing.entries.iter().filter(|entry| entry.is_manifest()) {
            sets.add(&entry.path, &entry.place, choice)?;
        }
        sets.judge_broken(told, has_other)?;
        for excluded in &listing.excluded {
            if has_name_of_manifest(&excluded.path) {
                sets.exclude(&excluded.path, listing);
            } else if excluded.place.is_dir() && is_aof_directory(&excluded.place) {
                sets.leave_out(&excluded.path);
            }
        }
        sets.claim_orphans(listing, choice);
        Ok(sets)
    }

    fn add(&mut self, path: &[u8], place: &Path, choice: &Choice<'_>) -> Result<(), RedisError> {
        let directory = parent(path).to_vec();
        let beside = |name: &[u8]| join(&directory, name);
        let files = match open_parts(place, &|name| choice.wants(&beside(name))) {
            Err(error @ RedisError::MissingAofFile { .. }) => {
                self.broken.push(Broken { path: path.to_vec(), missing: Some(error) });
                return Ok(());
            }
            outcome => outcome?,
        };
        let files = match files {
            Outcome::Open(files) => files,
            Outcome::Gone => {
                self.vanished = true;
                return Ok(());
            }
            Outcome::Malformed(malformed) => {
                // Else it is a manifest of something else.
                if has_parts(place) {
                    let message = format!(
                        "a server does not start with it, and the AOF files beside it are taken for other files: {malformed}"
                    );
                    self.warnings.push(warning("aof-manifest-malformed", path, message));
                    self.broken.push(Broken { path: path.to_vec(), missing: None });
                }
                return Ok(());
            }
        };
        self.claimed.insert(path.to_vec());
        self.claimed.extend(files.manifest.entries().iter().map(|entry| beside(&entry.name)));
        // History that is excluded is not among them.
        let mut parts = files.parts.iter().map(|part| beside(&part.entry.name));
        if parts.any(|part| choice.exclude.matches(&part)) {
            self.leave_out(path);
            return Ok(());
        }
        if let Some(malformed) = &files.unreadable {
            let message = format!(
                "the server wrote it with an apostrophe, and cannot read it itself ({malformed}): it will not start \
                 again; it is captured with the name in quotes, which servers read"
            );
            self.warnings.push(warning(UNREADABLE, path, message));
        }
        self.sets.push(AofSet { path: path.to_vec(), place: place.to_owned(), files: *files });
        Ok(())
    }

    fn judge_broken(&mut self, told: Option<&Told>, has_other: &dyn Fn(&[u8]) -> bool) -> Result<(), RedisError> {
        let counts = |path: &[u8]| match told {
            Some(told) => told.aof_counts && told.aof_path() == path,
            None => self.sets.is_empty() && !has_other(stem(path)),
        };
        let fatal = self.broken.iter().position(|broken| broken.missing.is_some() && counts(&broken.path));
        if let Some(error) = fatal.and_then(|place| self.broken.swap_remove(place).missing) {
            return Err(error);
        }
        for Broken { path, missing } in &self.broken {
            let Some(RedisError::MissingAofFile { name, .. }) = missing else { continue };
            let message = format!(
                "it lacks {name}, and what there is of it is taken for other files: a server that looks for this AOF \
                 does not start"
            );
            self.warnings.push(warning("aof-incomplete", path, message));
        }
        Ok(())
    }

    /// The files that bear the names of its parts are left out with a manifest.
    fn exclude(&mut self, path: &[u8], listing: &Listing) {
        let is_part = |entry: &&Listed| {
            let name = file_name(&entry.path);
            parent(&entry.path) == parent(path) && (is_part_name(name, stem(path)) || name == stem(path))
        };
        let files = listing.entries.iter().filter(|entry| entry.metadata.is_file());
        let parts: Vec<_> = files.filter(is_part).filter(|entry| !self.claimed.contains(&entry.path)).collect();
        if !parts.is_empty() {
            self.claimed.extend(parts.iter().map(|entry| entry.path.clone()));
            self.leave_out(path);
        }
    }

    fn leave_out(&mut self, path: &[u8]) {
        let message = "the whole AOF is left out, since a part of it is excluded".to_owned();
        self.warnings.push(warning("aof-left-out", path, message));
    }

    /// A file beside a manifest that bears a part's name but is not named by it would not be loaded. Where there is no
    /// manifest, all of them may still be worth something.
    fn claim_orphans(&mut self, listing: &Listing, choice: &Choice<'_>) {
        let manifests: Vec<Vec<u8>> = self.claimed.iter().filter(|path| has_name_of_manifest(path)).cloned().collect();
        let broken: Vec<Vec<u8>> = self.broken.iter().map(|broken| broken.path.clone()).collect();
        let mut without_manifest = BTreeSet::new();
        for entry in listing.entries.iter().filter(|entry| entry.metadata.is_file()) {
            if self.claimed.contains(&entry.path) {
                continue;
            }
            let is_orphan_of = |manifest: &&Vec<u8>| {
                parent(manifest) == parent(&entry.path) && is_part_name(file_name(&entry.path), stem(manifest))
            };
            if manifests.iter().any(|manifest| is_orphan_of(&manifest)) {
                self.orphans += 1;
                if !choice.wants(&entry.path) {
                    self.claimed.insert(entry.path.clone());
                }
            } else if broken.iter().any(|manifest| is_orphan_of(&manifest)) {
                let written = (entry.metadata.mtime(), entry.metadata.mtime_nsec());
                self.broken_written = self.broken_written.max(Some(written));
            } else if is_any_part_name(file_name(&entry.path)) {
                without_manifest.insert(parent(&entry.path));
            }
        }
        for directory in without_manifest {
            let message = "AOF files without a manifest that names them: a server would start without them".to_owned();
            self.warnings.push(warning("aof-without-manifest", directory, message));
        }
    }

    /// Whether a path belongs to an AOF, captured or left out.
    pub(super) fn claims(&self, path: &[u8]) -> bool {
        self.claimed.contains(path)
    }

    /// Whether there is a multi-part AOF of this `appendfilename`.
    pub(super) fn has(&self, append_file_name: &[u8]) -> bool {
        self.sets.iter().any(|set| set.append_file_name() == append_file_name)
    }
}

/// The `appendfilename` that a manifest is called by.
fn stem(manifest: &[u8]) -> &[u8] {
    file_name(manifest).strip_suffix(MANIFEST).unwrap_or_default()
}

/// Whether there is a file beside a manifest that bears the name of a part of it.
fn has_parts(manifest: &Path) -> bool {
    let Some((directory, name)) = manifest.parent().zip(manifest.file_name()) else { return false };
    let name = stem(name.as_bytes());
    let mut entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.any(|entry| is_part_name(entry.file_name().as_bytes(), name))
}

impl AofSet {
    /// The manifest, relative to the data directory.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// How much of it there was when it was opened.
    pub(super) fn measure(&self) -> Option<Measure> {
        let last = self.last()?;
        let parts = self.files.parts.iter().filter(|part| part.entry.file_type != FileType::History);
        let (mut all, mut base) = (0u64, 0);
        for part in parts {
            all = all.saturating_add(part.metadata.len());
            base = if part.entry.file_type == FileType::Base { part.metadata.len() } else { base };
        }
        let length = last.metadata.len();
        let (path, own_name) = (join(self.directory(), &last.entry.name), own_name(&last.file));
        let (file, before) = (FileId::of(&last.metadata), all.saturating_sub(length));
        Some(Measure { path, own_name, file, length, before, base })
    }

    /// The `appendfilename` of the server.
    pub(super) fn append_file_name(&self) -> &[u8] {
        stem(&self.path)
    }

    /// The directory of the AOF in the data directory.
    pub(super) fn directory(&self) -> &[u8] {
        parent(&self.path)
    }

    /// The file that grows, or that all there is hangs on.
    fn last(&self) -> Option<&Part> {
        self.files.last_increment().or_else(|| self.files.parts.first())
    }

    /// What can be seen of it now, and whether the server has gone on to another manifest meanwhile, so that nothing
    /// can be seen of this one any more.
    pub(super) fn state(&self, data_directory: FileId) -> Result<(AofState, bool), RedisError> {
        let sight = match self.last() {
            Some(last) => look(data_directory, FileId::of(&last.metadata), &[&last.entry.name, &own_name(&last.file)]),
            None => Sight::Nothing,
        };
        let mut traces = Vec::new();
        let temporary = [b"temp-", self.append_file_name(), b".incr"].concat();
        if self.place.with_file_name(OsStr::from_bytes(&temporary)).exists() {
            traces.push(Trace::TemporaryIncrement);
        }
        let has_end = self.files.manifest.last_increment().is_some_and(|last| last.end_offset.is_some());
        let closed = has_end.then(|| self.files.metadata.mtime());
        let written = self.last().map_or((0, 0), |last| (last.metadata.mtime(), last.metadata.mtime_nsec()));
        let moved_on = matches!(sight, Sight::NotWritten(_)) && !self.files.is_current(&self.place)?;
        let path = self.path.clone();
        Ok((AofState { path, has_manifest: true, sight, written, closed, told: None, traces }, moved_on))
    }

    /// The last second that its files tell of themselves.
    pub(super) fn told(&self) -> Option<i64> {
        let base = self.files.parts.iter().find(|part| part.entry.file_type == FileType::Base);
        let began = base.and_then(|base| saved(&first_bytes(&base.file).ok()?));
        let last = self.last().and_then(|last| last_second(&last.file, last.metadata.len()).ok().flatten());
        last.max(began)
    }

    /// Its files, the last one cut where it is whole, how many bytes that left out, and what has to be told of their ends.
    /// An AOF that does not count is captured as other files.
    pub(super) fn into_files(
        self,
        counts: bool,
        writer: Writer,
        complete: &[FileStamp],
        owners: &Owners,
    ) -> Result<(Vec<CapturedFile>, u64, Vec<Warning>), RedisError> {
        let role = |role| if counts { role } else { Role::Other };
        let directory = self.directory().to_vec();
        let last = self.files.last_increment().map(|part| part.entry.seq);
        let manifest = Content::Bytes(self.files.manifest_of_copy());
        let mut files =
            vec![CapturedFile::new(&self.path, role(Role::Manifest), &self.files.metadata, owners, manifest)];
        let (mut left_out, mut warnings) = (0, Vec::new());
        for Part { entry, file, metadata } in self.files.parts {
            let mut length = metadata.len();
            let path = join(&directory, &entry.name);
            let is_last = Some(entry.seq) == last;
            // The others are complete. A server may have gone on behind what a crash left in one of them.
            if entry.file_type == FileType::Increment && (is_last || writer == Writer::Live) {
                let place = self.place.with_file_name(OsStr::from_bytes(&entry.name));
                let end =
                    find_end(&file, length, writer, complete).map_err(|error| RedisError::io("read", &place, error))?;
                warnings.extend(open_transaction(&path, &end).filter(|_| counts));
                if is_last {
                    (length, left_out) = (end.length, end.left_out);
                }
            }
            let content = Content::Open { file, length: Some(length) };
            files.push(CapturedFile::new(&path, role(role_of(entry.file_type)), &metadata, owners, content));
        }
        Ok((files, left_out, warnings))
    }
}

/// What has to be told of how a file ends.
pub(super) fn open_transaction(path: &[u8], end: &End) -> Option<Warning> {
    end.open.as_ref().map(|open| warning(OPEN_TRANSACTION, path, open.clone()))
}

fn role_of(file_type: FileType) -> Role {
    match file_type {
        FileType::Base => Role::Base,
        FileType::History => Role::History,
        FileType::Increment => Role::Incr,
    }
}
