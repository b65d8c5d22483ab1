//! The staging directory of a restore: filled, read back, and only then put in place.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, lchown, symlink,
};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::below;
use super::beside::remove;
use super::place::Claim;
use super::write_back::{sync_all, write_back};
use crate::format::Malformed;
use crate::format::snapshot::{File, FileKind, Role};
use crate::operations::{Observer, OperationError};
use crate::repository::{Repository, RepositoryError, Want};

/// A directory beside the target that nobody else uses, as the target is claimed. Removed when it is dropped before it
/// was put in place.
pub(super) struct Staging<'a> {
    /// Whose place it will take; of a directory for a server's files it is nobody's.
    claim: Option<&'a Claim>,
    path: PathBuf,
    in_place: bool,
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.in_place {
            // What is left of it is removed by the next restore to the same target.
            let _ = remove(&self.path);
        }
    }
}

impl<'a> Staging<'a> {
    /// An empty staging directory beside the target, which can take the target's place as far as that can be known.
    pub fn create(claim: &'a Claim) -> Result<Staging<'a>, OperationError> {
        let path = claim.staging();
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| OperationError::target("create", &path, error))?;
        let staging = Staging { claim: Some(claim), path, in_place: false };
        claim.probe(&staging.path)?;
        Ok(staging)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An empty directory of this name, whose files are taken out of it one by one.
    pub fn create_at(path: PathBuf) -> Result<Staging<'static>, OperationError> {
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| OperationError::target("create", &path, error))?;
        Ok(Staging { claim: None, path, in_place: false })
    }

    /// The files stay where they are.
    pub fn keep(mut self) {
        self.in_place = true;
    }

    /// Writes all files, gives them owner, mode and times, and compares them. Answers with damage that was made good,
    /// and with what could not be set.
    pub fn fill(
        &self,
        repository: &Repository,
        files: &[&File],
        observer: &dyn Observer,
    ) -> Result<(Vec<String>, Vec<String>), OperationError> {
        for directory in files.iter().filter(|file| file.kind == FileKind::Directory) {
            let path = below(&self.path, directory);
            let made = fs::DirBuilder::new().mode(0o700).create(&path);
            made.map_err(|error| OperationError::target("create", &path, error))?;
        }
        let regular = files.iter().copied().filter(|file| file.kind == FileKind::File);
        // A directory with AOF files and no manifest starts empty: the manifest is what makes them a dataset.
        let (manifests, contents): (Vec<&File>, Vec<&File>) = regular.partition(|file| file.role == Role::Manifest);
        observer.begin("restoring", Some(files.iter().map(|file| file.size).sum()));
        let mut unset = Unset::default();
        let mut made_good = self.write(repository, &contents, &mut unset, observer)?;
        made_good.extend(self.write(repository, &manifests, &mut unset, observer)?);
        for link in files.iter().filter(|file| file.kind == FileKind::Link) {
            let path = below(&self.path, link);
            let target = link.target.as_ref().map(|target| target.to_vec()).unwrap_or_default();
            let target = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&target);
            symlink(target, &path).map_err(|error| OperationError::target("create", &path, error))?;
            unset.note(link, lchown(&path, Some(link.uid), Some(link.gid)));
        }
        // The deepest first, so that what is made in a directory does not change its time again.
        for directory in files.iter().rev().filter(|file| file.kind == FileKind::Directory) {
            let path = below(&self.path, directory);
            let set = fs::File::open(&path).and_then(|open| {
                unset.note(directory, set_metadata(&open, directory)?);
                open.sync_all()
            });
            set.map_err(|error| OperationError::target("set mode and time of", &path, error))?;
        }
        self.dress_new(files, &mut unset)?;
        sync_directory(&self.path)?;
        Ok((made_good, unset.lines()))
    }

    /// Where nothing stood before, the directory is given to the owner of the dataset's files: a server that may not
    /// look into it starts empty or not at all.
    fn dress_new(&self, files: &[&File], unset: &mut Unset) -> Result<(), OperationError> {
        if self.claim.is_none_or(|claim| claim.target().exists()) {
            return Ok(());
        }
        if let Some(file) = files.iter().find(|file| file.role.is_of_dataset()) {
            unset.note(file, chown(&self.path, Some(file.uid), Some(file.gid)));
        }
        let set = fs::set_permissions(&self.path, fs::Permissions::from_mode(NEW_MODE));
        set.map_err(|error| OperationError::target("set the mode of", &self.path, error))
    }

    fn write(
        &self,
        repository: &Repository,
        files: &[&File],
        unset: &mut Unset,
        observer: &dyn Observer,
    ) -> Result<Vec<String>, OperationError> {
        let mut open = Vec::with_capacity(files.len().min(OPEN_LIMIT));
        let mut made_good = Vec::new();
        for some in files.chunks(OPEN_LIMIT) {
            open.clear();
            for file in some {
                let path = below(&self.path, file);
                let new = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
                let new = new.and_then(|new| new.set_len(file.size).map(|()| new));
                open.push(new.map_err(|error| OperationError::target("create", &path, error))?);
            }
            made_good.extend(self.fetch(repository, some, &open, observer)?);
            self.settle(some, &open, unset)?;
        }
        Ok(made_good)
    }

    /// Owner, mode and time of written files. Then all of them go to the disk while they are hashed.
    fn settle(&self, files: &[&File], open: &[fs::File], unset: &mut Unset) -> Result<(), OperationError> {
        for (file, written) in files.iter().zip(open) {
            let owner = set_metadata(written, file);
            let failed = |error| OperationError::target("set mode and time of", &below(&self.path, file), error);
            unset.note(file, owner.map_err(failed)?);
        }
        let (synced, compared) = thread::scope(|scope| {
            let syncing = scope.spawn(|| sync_all(open));
            let compared = self.compare_all(files, open);
            (syncing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), compared)
        });
        synced.map_err(|failure| self.not_synced(files, failure))?;
        compared
    }

    fn not_synced(&self, files: &[&File], (number, error): (usize, io::Error)) -> OperationError {
        let path = files.get(number).map_or_else(|| self.path.clone(), |file| below(&self.path, file));
        OperationError::target("sync", &path, error)
    }

    /// A large file is hashed on all cores by itself, small ones each on one.
    fn compare_all(&self, files: &[&File], open: &[fs::File]) -> Result<(), OperationError> {
        let pairs = files.iter().zip(open);
        let (large, small): (Vec<_>, Vec<_>) = pairs.partition(|(file, _)| file.size > LARGE);
        large.iter().try_for_each(|(file, written)| self.compare(file, written))?;
        small.par_iter().try_for_each(|(file, written)| self.compare(file, written))
    }

    fn fetch(
        &self,
        repository: &Repository,
        files: &[&File],
        open: &[fs::File],
        observer: &dyn Observer,
    ) -> Result<Vec<String>, OperationError> {
        let paths: Vec<String> = files.iter().map(|file| file.display_path()).collect();
        let wants = (0u32..).zip(files).zip(&paths).map(|((number, file), path)| {
            let (_, recipe) = file.content()?;
            Ok(Want { file: number, path, recipe })
        });
        let wants = wants.collect::<Result<Vec<_>, _>>();
        let wants = wants.map_err(|malformed: Malformed| RepositoryError::damaged("snapshot", malformed))?;
        let (fetched, written_back) = write_back(open, |note| {
            repository.fetch(&wants, &|| observer.interrupted(), &mut |number, at, bytes| {
                let file = open.get(number as usize).ok_or("a file nobody asked for")?;
                file.write_all_at(bytes, at)?;
                note(number as usize, bytes.len() as u64);
                observer.advance(bytes.len() as u64);
                Ok(())
            })
        });
        written_back.map_err(|failure| self.not_synced(files, failure))?;
        match fetched {
            Err(RepositoryError::Sink(error)) => match error.downcast::<io::Error>() {
                Ok(error) => Err(OperationError::target("write to", &self.path, *error)),
                Err(error) => Err(RepositoryError::Sink(error).into()),
            },
            other => Ok(other?),
        }
    }

    /// SNAP-5: every file is read back and compared with the snapshot's hash.
    fn compare(&self, file: &File, written: &fs::File) -> Result<(), OperationError> {
        let (hash, _) = file.content().map_err(|malformed| RepositoryError::damaged("snapshot", malformed))?;
        let found = hash_file(written, file.size);
        let found = found.map_err(|error| OperationError::target("read back", &below(&self.path, file), error))?;
        match found == hash.0 {
            true => Ok(()),
            false => Err(OperationError::WrongBytes { path: file.display_path() }),
        }
    }

    /// Gives the directory the target's name. What stood there is answered with its new place.
    pub fn put_in_place(mut self) -> Result<Option<PathBuf>, OperationError> {
        let aside = self.claim.map_or(Ok(None), |claim| claim.take(&self.path))?;
        self.in_place = true;
        Ok(aside)
    }
}

/// Owners that could not be set, with the number of their paths and the system's reason. Without the right to give
/// files away they stay the user's own, and the report says so.
#[derive(Default)]
struct Unset(BTreeMap<(u32, u32), (u64, io::Error)>);

impl Unset {
    fn note(&mut self, file: &File, set: io::Result<()>) {
        if let Err(error) = set {
            self.0.entry((file.uid, file.gid)).or_insert((0, error)).0 += 1;
        }
    }

    fn lines(self) -> Vec<String> {
        let line = |((uid, gid), (count, error)): (_, (_, io::Error))| {
            format!("owner {uid}:{gid} of {count} paths could not be set: {error}")
        };
        self.0.into_iter().map(line).collect()
    }
}

/// BLAKE3 of a file, read from its begin. Memory: a block, at most the file's size.
fn hash_file(mut file: &fs::File, size: u64) -> io::Result<[u8; 32]> {
    file.rewind()?;
    let block = if size > LARGE { BLOCK_OF_LARGE } else { BLOCK };
    let mut buffer = Vec::with_capacity(size.min(block) as usize);
    let mut hasher = blake3::Hasher::new();
    while file.take(block).read_to_end(&mut buffer)? > 0 {
        match size > LARGE {
            true => hasher.update_rayon(&buffer),
            false => hasher.update(&buffer),
        };
        buffer.clear();
    }
    Ok(hasher.finalize().into())
}

/// Files above this are hashed on all cores, one after the other.
const LARGE: u64 = 64 << 20;
/// Bytes of a large file that are read and hashed at once.
const BLOCK_OF_LARGE: u64 = 8 << 20;
/// Bytes of any other file: they stay in the processor's cache.
const BLOCK: u64 = 512 << 10;
/// Files written at once.
const OPEN_LIMIT: usize = 256;
/// Mode of a directory that a restore makes: its owner's, and for the owner's group to look into.
const NEW_MODE: u32 = 0o750;

/// Owner, time and mode, in this order: giving a file away takes special bits, and a mode may take the right to go on.
/// Answers whether it could be given to its owner; somebody else's file is never given the owner's special bits.
fn set_metadata(open: &fs::File, file: &File) -> io::Result<io::Result<()>> {
    let owner = set_owner(open, file);
    open.set_modified(time(file))?;
    let bits = if owner.is_ok() { 0o7777 } else { 0o777 };
    open.set_permissions(fs::Permissions::from_mode(file.mode & bits))?;
    Ok(owner)
}

fn set_owner(open: &fs::File, file: &File) -> io::Result<()> {
    let now = open.metadata()?;
    match (now.uid(), now.gid()) == (file.uid, file.gid) {
        true => Ok(()),
        false => fchown(open, Some(file.uid), Some(file.gid)),
    }
}

fn time(file: &File) -> SystemTime {
    let nanos = Duration::from_nanos(u64::from(file.mtime_nanos.min(999_999_999)));
    let seconds = Duration::from_secs(file.mtime.unsigned_abs());
    let time = match file.mtime < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        false => SystemTime::UNIX_EPOCH.checked_add(seconds),
    };
    time.and_then(|time| time.checked_add(nanos)).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(super) fn sync_directory(path: &Path) -> Result<(), OperationError> {
    let synced = fs::File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| OperationError::target("sync", path, error))
}
