//! The staging directory of a restore: filled, read back, and only then put in place.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::beside::{make, sync_directory};
use super::place::Claim;
use super::write_back::{sync_all, write_back};
use crate::format::Malformed;
use crate::format::counts::count;
use crate::format::snapshot::{File, FileKind, Role};
use crate::held::{Held, give};
use crate::operations::{Observer, OperationError};
use crate::repository::{Repository, RepositoryError, Want};

/// A directory beside the target that nobody else uses, as the target is claimed. Removed when it is dropped before it
/// was put in place.
pub(super) struct Staging<'a> {
    /// Whose place it will take; of a directory for a server's files it is nobody's.
    claim: Option<&'a Claim>,
    parent: Held,
    held: Held,
    in_place: bool,
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.in_place
            && let Some(name) = self.held.path().file_name()
        {
            // Wherever it was moved to. What is left of it is removed by the next restore to the same target.
            if !self.may_be_in_place() {
                let _ = self.held.vanish();
            }
            let _ = self.parent.remove(name);
        }
    }
}

impl<'a> Staging<'a> {
    /// An empty staging directory beside the target, which can take the target's place as far as that can be known.
    pub fn create(claim: &'a Claim) -> Result<Staging<'a>, OperationError> {
        let beside = claim.beside();
        let held = beside.make(&beside.staging())?;
        let staging = Staging { claim: Some(claim), parent: beside.parent().clone(), held, in_place: false };
        claim.probe(&staging.held)?;
        Ok(staging)
    }

    /// Whether it has the target's name, as far as that can be seen.
    fn may_be_in_place(&self) -> bool {
        let Some(beside) = self.claim.map(Claim::beside) else { return false };
        match (beside.parent().look(beside.name()), self.held.seen()) {
            (Ok(standing), Ok(own)) => standing.is_some_and(|standing| standing.id() == own.id()),
            _ => true,
        }
    }

    /// The directory.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// An empty directory of this name, whose files are taken out of it one by one.
    pub fn create_at(parent: &Held, name: &OsStr) -> Result<Staging<'static>, OperationError> {
        let held = make(parent, name, 0o700)?;
        Ok(Staging { claim: None, parent: parent.clone(), held, in_place: false })
    }

    /// The files stay where they are.
    pub fn keep(mut self) -> Held {
        self.in_place = true;
        self.held.clone()
    }

    /// Where a file of the snapshot is: for words.
    fn path_of(&self, file: &File) -> PathBuf {
        self.held.path().join(relative(file))
    }

    /// Does something under a name in the directory of a file.
    fn at<T>(
        &self,
        file: &File,
        action: &'static str,
        work: impl FnOnce(&Held, &OsStr) -> io::Result<T>,
    ) -> Result<T, OperationError> {
        let done = self.held.at(relative(file)).and_then(|(directory, name)| work(&directory, name));
        done.map_err(|error| OperationError::target(action, &self.path_of(file), error))
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
            self.at(directory, "create", |held, name| held.make(name, 0o700))?;
        }
        let regular = files.iter().copied().filter(|file| file.kind == FileKind::File);
        // A directory with AOF files and no manifest starts empty: the manifest is what makes them a dataset.
        let (manifests, contents): (Vec<&File>, Vec<&File>) = regular.partition(|file| file.role == Role::Manifest);
        observer.begin("restoring", Some(files.iter().map(|file| file.size).sum()));
        let mut unset = Unset::default();
        let mut made_good = self.write(repository, &contents, &mut unset, observer)?;
        made_good.extend(self.write(repository, &manifests, &mut unset, observer)?);
        for link in files.iter().filter(|file| file.kind == FileKind::Link) {
            let target = link.target.as_ref().map(|target| target.to_vec()).unwrap_or_default();
            let given = self.at(link, "create", |held, name| {
                held.link(name, OsStr::from_bytes(&target))?;
                Ok(held.give_link(name, (link.uid, link.gid)))
            });
            unset.owner(link, given?);
        }
        // The deepest first, so that what is made in a directory does not change its time again.
        for directory in files.iter().rev().filter(|file| file.kind == FileKind::Directory) {
            self.at(directory, "sync", |held, name| {
                let held = held.directory(name)?;
                set_metadata(held.opened(), directory, &mut unset)?;
                held.sync()
            })?;
        }
        self.dress_new(files, &mut unset)?;
        sync_directory(&self.held)?;
        Ok((made_good, unset.lines()))
    }

    /// Where nothing stood before, the directory is given to the owner of the dataset's files: a server that may not
    /// look into it starts empty or not at all.
    fn dress_new(&self, files: &[&File], unset: &mut Unset) -> Result<(), OperationError> {
        if self.claim.is_none_or(|claim| claim.target().exists()) {
            return Ok(());
        }
        if let Some(file) = files.iter().find(|file| file.role.is_of_dataset()) {
            unset.owner(file, self.held.give((file.uid, file.gid)));
        }
        unset.mode(self.held.set_mode(NEW_MODE));
        Ok(())
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
                open.push(self.at(file, "create", |held, name| {
                    let new = held.create(name, 0o600)?;
                    new.set_len(file.size).map(|()| new)
                })?);
            }
            made_good.extend(self.fetch(repository, some, &open, observer)?);
            self.settle(some, &open, unset)?;
        }
        Ok(made_good)
    }

    /// Owner, mode and time of written files. Then all of them go to the disk while they are hashed.
    fn settle(&self, files: &[&File], open: &[fs::File], unset: &mut Unset) -> Result<(), OperationError> {
        for (file, written) in files.iter().zip(open) {
            let set = set_metadata(written, file, unset);
            set.map_err(|error| OperationError::target("look at", &self.path_of(file), error))?;
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
        let path = files.get(number).map_or_else(|| self.held.path().into(), |file| self.path_of(file));
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
        // The system lets one write to a file at a time, and the others spin; here they wait, and others decode.
        let turns: Vec<Mutex<()>> = open.iter().map(|_| Mutex::default()).collect();
        let (fetched, written_back) = write_back(open, |note| {
            repository.fetch(&wants, &|| observer.interrupted(), &mut |number, at, bytes| {
                let of_file = open.get(number as usize).zip(turns.get(number as usize));
                let (file, turn) = of_file.ok_or("a file nobody asked for")?;
                let turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all_at(bytes, at)?;
                drop(turn);
                note(number as usize, bytes.len() as u64);
                observer.advance(bytes.len() as u64);
                Ok(())
            })
        });
        written_back.map_err(|failure| self.not_synced(files, failure))?;
        match fetched {
            Err(RepositoryError::Sink(error)) => match error.downcast::<io::Error>() {
                Ok(error) => Err(OperationError::target("write to", self.held.path(), *error)),
                Err(error) => Err(RepositoryError::Sink(error).into()),
            },
            other => Ok(other?),
        }
    }

    /// SNAP-5: every file is read back and compared with the snapshot's hash.
    fn compare(&self, file: &File, written: &fs::File) -> Result<(), OperationError> {
        let (hash, _) = file.content().map_err(|malformed| RepositoryError::damaged("snapshot", malformed))?;
        let found = hash_file(written, file.size);
        let found = found.map_err(|error| OperationError::target("read back", &self.path_of(file), error))?;
        match found == hash.0 {
            true => Ok(()),
            false => Err(OperationError::WrongBytes { path: file.display_path() }),
        }
    }

    /// Gives the directory the target's name. What stood there is answered with its new place, and with what could not be
    /// set of the directory itself.
    pub fn put_in_place(mut self) -> Result<(Option<PathBuf>, Vec<String>), OperationError> {
        let taken = self.claim.map_or(Ok((None, Ok(()))), |claim| claim.take(&self.held));
        let (aside, mode) = taken?;
        self.in_place = true;
        let mut unset = Unset::default();
        unset.mode(mode);
        Ok((aside, unset.lines()))
    }
}

/// What could not be set, with the number of paths and the system's reason. Without the right to give files away they
/// stay the user's own; a file system may know neither modes nor times of that kind. The report says so.
#[derive(Default)]
struct Unset {
    owners: BTreeMap<(u32, u32), (u64, io::Error)>,
    modes: Option<(u64, io::Error)>,
    times: Option<(u64, io::Error)>,
}

impl Unset {
    fn owner(&mut self, file: &File, set: io::Result<()>) {
        if let Err(error) = set {
            self.owners.entry((file.uid, file.gid)).or_insert((0, error)).0 += 1;
        }
    }

    fn mode(&mut self, set: io::Result<()>) {
        if let Err(error) = set {
            self.modes.get_or_insert((0, error)).0 += 1;
        }
    }

    fn time(&mut self, set: io::Result<()>) {
        if let Err(error) = set {
            self.times.get_or_insert((0, error)).0 += 1;
        }
    }

    fn lines(self) -> Vec<String> {
        let owner = |((uid, gid), (paths, error)): (_, (_, io::Error))| {
            format!("owner {uid}:{gid} of {} could not be set: {error}", count(paths, "path"))
        };
        let other = |what| {
            move |(paths, error): (u64, io::Error)| {
                format!("{what} of {} could not be set: {error}", count(paths, "path"))
            }
        };
        let others = [self.modes.map(other("the mode")), self.times.map(other("the time"))];
        self.owners.into_iter().map(owner).chain(others.into_iter().flatten()).collect()
    }
}

/// The path of a file in the directory it was captured in. Snapshot paths were checked when it was decoded.
fn relative(file: &File) -> &Path {
    Path::new(OsStr::from_bytes(&file.path))
}

/// BLAKE3 of a file, read from its begin. Memory: two blocks, at most the file's size.
fn hash_file(mut file: &fs::File, size: u64) -> io::Result<[u8; 32]> {
    file.rewind()?;
    let mut hasher = blake3::Hasher::new();
    let read = |buffer: &mut Vec<u8>, block: u64| {
        buffer.clear();
        file.take(block).read_to_end(buffer)
    };
    let buffer = |block: u64| Vec::with_capacity(size.min(block) as usize);
    if size <= LARGE {
        let mut block = buffer(BLOCK);
        while read(&mut block, BLOCK)? > 0 {
            hasher.update(&block);
        }
        return Ok(hasher.finalize().into());
    }
    let (mut block, mut next) = (buffer(BLOCK_OF_LARGE), buffer(BLOCK_OF_LARGE));
    read(&mut block, BLOCK_OF_LARGE)?;
    while !block.is_empty() {
        let (is_read, _) = rayon::join(|| read(&mut next, BLOCK_OF_LARGE), || hasher.update_rayon(&block).count());
        is_read?;
        std::mem::swap(&mut block, &mut next);
    }
    Ok(hasher.finalize().into())
}

/// Files above this are hashed on all cores, one after the other, the next block read meanwhile.
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
/// Notes what could not be set; somebody else's file is never given the owner's special bits.
fn set_metadata(open: &fs::File, file: &File, unset: &mut Unset) -> io::Result<()> {
    let now = open.metadata()?;
    let is_given = (now.uid(), now.gid()) == (file.uid, file.gid);
    let owner = if is_given { Ok(()) } else { give(open, (file.uid, file.gid)) };
    let bits = if owner.is_ok() { 0o7777 } else { 0o777 };
    unset.owner(file, owner);
    unset.time(open.set_modified(time(file)));
    let mode = file.mode & bits;
    unset.mode(if now.mode() & 0o7777 == mode && is_given {
        Ok(())
    } else {
        open.set_permissions(fs::Permissions::from_mode(mode))
    });
    Ok(())
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
