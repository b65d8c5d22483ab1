//! The staging directory of a restore: filled, read back, and only then put in place.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::below;
use super::place::Claim;
use crate::format::Malformed;
use crate::format::snapshot::{File, FileKind, Role};
use crate::operations::{Observer, OperationError};
use crate::repository::{Repository, RepositoryError, Want};

/// A directory beside the target that nobody else uses, as the target is claimed. Removed when it is dropped before it
/// was put in place.
pub(super) struct Staging<'a> {
    claim: &'a Claim,
    path: PathBuf,
    in_place: bool,
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.in_place {
            // What is left of it is removed by the next restore to the same target.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl<'a> Staging<'a> {
    /// An empty staging directory beside the target, which can take the target's place as far as that can be known.
    pub fn create(claim: &'a Claim) -> Result<Staging<'a>, OperationError> {
        let path = claim.staging();
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| OperationError::target("create", &path, error))?;
        let staging = Staging { claim, path, in_place: false };
        claim.probe(&staging.path)?;
        Ok(staging)
    }

    /// Writes all files, compares them, and gives them owner, mode and times. Answers with damage that was made good,
    /// and with what could not be set.
    pub fn fill(
        &self,
        repository: &Repository,
        files: &[&File],
        observer: &dyn Observer,
    ) -> Result<(Vec<String>, Vec<String>), OperationError> {
        for directory in files.iter().filter(|file| file.kind == FileKind::Directory) {
            let path = below(&self.path, directory);
            fs::create_dir(&path).map_err(|error| OperationError::target("create", &path, error))?;
        }
        let regular = files.iter().copied().filter(|file| file.kind == FileKind::File);
        // A directory with AOF files and no manifest starts empty: the manifest is what makes them a dataset.
        let (manifests, contents): (Vec<&File>, Vec<&File>) = regular.partition(|file| file.role == Role::Manifest);
        observer.begin("restoring", Some(files.iter().map(|file| file.size).sum()));
        let mut made_good = self.write(repository, &contents, observer)?;
        made_good.extend(self.write(repository, &manifests, observer)?);
        for link in files.iter().filter(|file| file.kind == FileKind::Link) {
            let path = below(&self.path, link);
            let target = link.target.as_ref().map(|target| target.to_vec()).unwrap_or_default();
            let target = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&target);
            symlink(target, &path).map_err(|error| OperationError::target("create", &path, error))?;
        }
        let unset = self.set_metadata(files)?;
        Ok((made_good, unset))
    }

    fn write(
        &self,
        repository: &Repository,
        files: &[&File],
        observer: &dyn Observer,
    ) -> Result<Vec<String>, OperationError> {
        let mut open = Vec::with_capacity(files.len().min(OPEN_LIMIT));
        let mut made_good = Vec::new();
        for some in files.chunks(OPEN_LIMIT) {
            open.clear();
            for file in some {
                let path = below(&self.path, file);
                let new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
                let new = new.and_then(|new| new.set_len(file.size).map(|()| new));
                open.push(new.map_err(|error| OperationError::target("create", &path, error))?);
            }
            made_good.extend(self.fetch(repository, some, &open, observer)?);
            some.par_iter().zip(&open).try_for_each(|(file, written)| self.compare(file, written))?;
        }
        Ok(made_good)
    }

    fn fetch(
        &self,
        repository: &Repository,
        files: &[&File],
        open: &[fs::File],
        observer: &dyn Observer,
    ) -> Result<Vec<String>, OperationError> {
        let wants = (0u32..).zip(files).map(|(number, file)| {
            let (_, recipe) = file.content()?;
            Ok(Want { file: number, recipe })
        });
        let wants = wants.collect::<Result<Vec<_>, _>>();
        let wants = wants.map_err(|malformed: Malformed| RepositoryError::damaged("snapshot", malformed))?;
        let fetched = repository.fetch(&wants, &|| observer.interrupted(), &mut |number, at, bytes| {
            let file = open.get(number as usize).ok_or("a file nobody asked for")?;
            file.write_all_at(bytes, at)?;
            observer.advance(bytes.len() as u64);
            Ok(())
        });
        match fetched {
            Err(RepositoryError::Sink(error)) => match error.downcast::<io::Error>() {
                Ok(error) => Err(OperationError::target("write to", &self.path, *error)),
                Err(error) => Err(RepositoryError::Sink(error).into()),
            },
            other => Ok(other?),
        }
    }

    /// SNAP-5: every file is read back from the disk and compared with the snapshot's hash, then synced.
    fn compare(&self, file: &File, written: &fs::File) -> Result<(), OperationError> {
        let path = below(&self.path, file);
        let failed = |error| OperationError::target("read back", &path, error);
        let (hash, _) = file.content().map_err(|malformed| RepositoryError::damaged("snapshot", malformed))?;
        let (synced, found) = rayon::join(|| written.sync_all(), || hash_file(&path));
        synced.map_err(failed)?;
        match found.map_err(failed)? == hash.0 {
            true => Ok(()),
            false => Err(OperationError::WrongBytes { path: file.display_path() }),
        }
    }

    /// Owner, mode and times of everything, the deepest first, so that writing into a directory does not change its
    /// time again. Without the right to give files away they stay the user's own, and the report says so.
    fn set_metadata(&self, files: &[&File]) -> Result<Vec<String>, OperationError> {
        let mut unset = BTreeMap::new();
        for file in files.iter().rev() {
            let path = below(&self.path, file);
            if let Err(error) = set_owner(&path, file) {
                let of = (file.uid, file.gid);
                let (count, _) = unset.entry(of).or_insert((0u64, error));
                *count += 1;
            }
            if file.kind != FileKind::Link {
                let permissions = fs::Permissions::from_mode(file.mode & 0o7777);
                let set = fs::set_permissions(&path, permissions).and_then(|()| set_time(&path, file));
                set.map_err(|error| OperationError::target("set mode and time of", &path, error))?;
            }
            if file.kind == FileKind::Directory {
                sync_directory(&path)?;
            }
        }
        sync_directory(&self.path)?;
        let line = |((uid, gid), (count, error)): (_, (_, io::Error))| {
            format!("owner {uid}:{gid} of {count} paths could not be set: {error}")
        };
        Ok(unset.into_iter().map(line).collect())
    }

    /// Gives the directory the target's name. What stood there is answered with its new place.
    pub fn put_in_place(mut self) -> Result<Option<PathBuf>, OperationError> {
        let aside = self.claim.take(&self.path)?;
        self.in_place = true;
        Ok(aside)
    }
}

/// BLAKE3 of a file, on all cores. Memory: [`HASHED_AT_ONCE`].
fn hash_file(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = fs::File::open(path)?;
    let mut buffer = Vec::with_capacity(HASHED_AT_ONCE as usize);
    let mut hasher = blake3::Hasher::new();
    while file.by_ref().take(HASHED_AT_ONCE).read_to_end(&mut buffer)? > 0 {
        hasher.update_rayon(&buffer);
        buffer.clear();
    }
    Ok(hasher.finalize().into())
}

/// Bytes of a file that are read and hashed at once.
const HASHED_AT_ONCE: u64 = 8 << 20;
/// Files written at once.
const OPEN_LIMIT: usize = 256;

fn set_owner(path: &Path, file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let now = fs::symlink_metadata(path)?;
    if (now.uid(), now.gid()) == (file.uid, file.gid) {
        return Ok(());
    }
    match file.kind {
        FileKind::Link => lchown(path, Some(file.uid), Some(file.gid)),
        FileKind::File | FileKind::Directory => chown(path, Some(file.uid), Some(file.gid)),
    }
}

fn set_time(path: &Path, file: &File) -> io::Result<()> {
    let nanos = Duration::from_nanos(u64::from(file.mtime_nanos.min(999_999_999)));
    let seconds = Duration::from_secs(file.mtime.unsigned_abs());
    let time = match file.mtime < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        false => SystemTime::UNIX_EPOCH.checked_add(seconds),
    };
    let time = time.and_then(|time| time.checked_add(nanos)).unwrap_or(SystemTime::UNIX_EPOCH);
    fs::File::open(path)?.set_modified(time)
}

pub(super) fn sync_directory(path: &Path) -> Result<(), OperationError> {
    let synced = fs::File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| OperationError::target("sync", path, error))
}
