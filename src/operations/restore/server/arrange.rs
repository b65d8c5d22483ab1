//! From the files of a snapshot to those a server loads, in the staging directory: names, manifest, one file out of many.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::plan::Way;
use super::source::Source;
use super::target::Names;
use crate::aof::{Entry, FileType, Manifest, manifest_name};
use crate::format::snapshot::Role;
use crate::operations::OperationError;
use crate::operations::restore::stage::sync_directory;
use crate::rdb;

/// Moves the staged files to where a server with these names looks for them, below `new`. By a way that takes no scratch
/// server.
pub(super) fn arrange(
    way: Way,
    source: &Source,
    names: &Names,
    staged: &Path,
    new: &Path,
) -> Result<(), OperationError> {
    let only = || Ok::<PathBuf, OperationError>(staged.join(OsStr::from_bytes(&source.only()?.path)));
    match way {
        Way::Dump => rename(&only()?, &new.join(&names.dump)),
        Way::Preamble => rename(&only()?, &new.join(&names.aof)),
        Way::Base => as_base(&only()?, "rdb", names, new),
        Way::SingleAsBase => as_base(&only()?, "aof", names, new),
        Way::Parts => as_parts(source, names, staged, new),
        Way::Joined => join(source, staged, &new.join(&names.aof)),
        Way::Scratch | Way::Classic => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), OperationError> {
    fs::rename(from, to).map_err(|error| OperationError::target("create", to, error))
}

/// The directory of the AOF's files, made.
fn aof_directory(names: &Names, new: &Path) -> Result<PathBuf, OperationError> {
    let directory = new.join(names.aof_directory.as_deref().unwrap_or(OsStr::new("appendonlydir")));
    fs::create_dir(&directory).map_err(|error| OperationError::target("create", &directory, error))?;
    Ok(directory)
}

fn part_name(names: &Names, seq: i64, kind: &str) -> Vec<u8> {
    [names.aof.as_bytes(), format!(".{seq}.{kind}").as_bytes()].concat()
}

/// A file becomes the base of an AOF that has nothing else yet.
fn as_base(file: &Path, extension: &str, names: &Names, new: &Path) -> Result<(), OperationError> {
    let directory = aof_directory(names, new)?;
    let name = part_name(names, 1, &format!("base.{extension}"));
    rename(file, &directory.join(OsStr::from_bytes(&name)))?;
    let base =
        Entry { name, seq: 1, file_type: FileType::Base, start_offset: None, end_offset: None, more: Vec::new() };
    write_manifest(vec![base], names, &directory)
}

/// The files of the AOF under this server's names, and a manifest that names them.
fn as_parts(source: &Source, names: &Names, staged: &Path, new: &Path) -> Result<(), OperationError> {
    let manifest = read_manifest(source, staged)?;
    let directory = aof_directory(names, new)?;
    let mut entries = Vec::new();
    for entry in manifest.base().into_iter().chain(manifest.increments()) {
        let from = staged.join(OsStr::from_bytes(&entry.name));
        let kind = match entry.file_type {
            FileType::Base if entry.name.ends_with(b".rdb") => "base.rdb",
            FileType::Base => "base.aof",
            FileType::Increment | FileType::History => "incr.aof",
        };
        let name = part_name(names, entry.seq, kind);
        rename(&from, &directory.join(OsStr::from_bytes(&name)))?;
        // Replication offsets are of the life of another server.
        entries.push(Entry { name, start_offset: None, end_offset: None, more: Vec::new(), ..entry.clone() });
    }
    write_manifest(entries, names, &directory)
}

fn read_manifest(source: &Source, staged: &Path) -> Result<Manifest, OperationError> {
    let file = source.files.iter().find(|file| file.role == Role::Manifest);
    let path = staged.join(file.map_or(OsStr::new("manifest"), |file| OsStr::from_bytes(&file.path)));
    let bytes = fs::read(&path).map_err(|error| OperationError::target("read", &path, error))?;
    Manifest::decode(&bytes).map_err(|error| OperationError::target("read", &path, io::Error::other(error)))
}

/// After all it names has reached the disk.
fn write_manifest(entries: Vec<Entry>, names: &Names, directory: &Path) -> Result<(), OperationError> {
    let path = directory.join(OsString::from_vec(manifest_name(names.aof.as_bytes())));
    let failed = |error| OperationError::target("write", &path, error);
    let manifest = Manifest::new(entries).map_err(|error| failed(io::Error::other(error)))?;
    sync_directory(directory)?;
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(&manifest.encode())?;
        file.sync_all()
    });
    written.map_err(failed)?;
    sync_directory(directory)
}

/// Base and increments in one file, as servers before 7.0 read it: they know no annotations.
fn join(source: &Source, staged: &Path, path: &Path) -> Result<(), OperationError> {
    let manifest = read_manifest(source, staged)?;
    let failed = |error| OperationError::target("write", path, error);
    let file = File::create_new(path).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for entry in manifest.base().into_iter().chain(manifest.increments()) {
        let from = staged.join(OsStr::from_bytes(&entry.name));
        let copied = File::open(&from).and_then(|file| {
            let mut input = BufReader::with_capacity(1 << 20, file);
            match rdb::looks_like_rdb(input.fill_buf()?) {
                true => io::copy(&mut input, &mut out).map(drop),
                false => copy_commands(&mut input, &mut out),
            }
        });
        copied.map_err(|error| OperationError::target("join", &from, error))?;
        fs::remove_file(&from).map_err(|error| OperationError::target("remove", &from, error))?;
    }
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// Longest line of a number or an annotation.
const LINE: u64 = 1024;

/// Copies commands without the annotations between them.
fn copy_commands(input: &mut impl BufRead, out: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    while read_line(input, &mut line)? {
        if line.starts_with(b"#") {
            continue;
        }
        out.write_all(&line)?;
        for _ in 0..number(&line, b'*')? {
            read_line(input, &mut line)?;
            out.write_all(&line)?;
            let length = number(&line, b'$')?.saturating_add(2);
            if io::copy(&mut input.by_ref().take(length), out)? < length {
                return Err(io::Error::other("it ends within a command"));
            }
        }
    }
    Ok(())
}

/// Whether there was one.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input.by_ref().take(LINE).read_until(b'\n', line)?;
    match line.last() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(io::Error::other("it ends within a line")),
    }
}

fn number(line: &[u8], mark: u8) -> io::Result<u64> {
    let digits = line.strip_prefix(&[mark]).map(<[u8]>::trim_ascii_end);
    let number = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    number.ok_or_else(|| io::Error::other("it holds something that is no command"))
}

/// Owner and mode of all that is below a directory, and all of it brought to the disk: files, then their directories.
/// `like` is what stood there before, by whose mode the new files go.
pub(super) fn dress(new: &Path, owner: (u32, u32), like: &Path) -> Result<(), OperationError> {
    for entry in walkdir::WalkDir::new(new).min_depth(1).contents_first(true) {
        let entry = entry.map_err(|error| OperationError::target("list", new, error))?;
        let (path, is_directory) = (entry.path(), entry.file_type().is_dir());
        // A server that may not read its files ends, or starts empty.
        chown(path, Some(owner.0), Some(owner.1))
            .map_err(|error| OperationError::target("set the owner of", path, error))?;
        let mode = mode_like(like, is_directory);
        let set = fs::set_permissions(path, Permissions::from_mode(mode));
        set.map_err(|error| OperationError::target("set the mode of", path, error))?;
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|error| OperationError::target("sync", path, error))?;
    }
    chown(new, Some(owner.0), Some(owner.1)).map_err(|error| OperationError::target("set the owner of", new, error))?;
    sync_directory(new)
}

/// The mode of what stood there, if it is of the same kind: its owner can always read and write.
fn mode_like(like: &Path, is_directory: bool) -> u32 {
    let (usual, needed) = if is_directory { (0o750, 0o700) } else { (0o640, 0o600) };
    let found = fs::metadata(like).ok().filter(|found| found.is_dir() == is_directory);
    found.map_or(usual, |found| (found.permissions().mode() & 0o777) | needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_go_and_what_looks_like_one_within_a_command_stays() {
        let commands = b"#TS:1\r\n*2\r\n$3\r\nSET\r\n$7\r\n#TS:2\r\n\r\n#TS:3\n*1\r\n$0\r\n\r\n#TS:4\r\n";
        let mut out = Vec::new();
        copy_commands(&mut commands.as_slice(), &mut out).unwrap();
        assert_eq!(out, b"*2\r\n$3\r\nSET\r\n$7\r\n#TS:2\r\n\r\n*1\r\n$0\r\n\r\n");
        for broken in [&b"*1\r\n$3\r\nSE"[..], b"*x\r\n", b"SET a b\r\n", b"*1\r\n", b"*1"] {
            assert!(copy_commands(&mut &*broken, &mut Vec::new()).is_err(), "{}", broken.escape_ascii());
        }
    }
}
