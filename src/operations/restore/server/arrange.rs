//! From the files of a snapshot to those a server loads, in the staging directory: names, manifest, one file out of many.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::plan::Way;
use super::source::Source;
use super::target::Names;
use crate::aof::{Entry, FileType, Manifest, manifest_name};
use crate::format::snapshot::Role;
use crate::held::{Held, give};
use crate::operations::OperationError;
use crate::operations::restore::beside::{make, sync_directory};
use crate::rdb;

/// Moves the staged files to where a server with these names looks for them, below `new`. By a way that takes no scratch
/// server.
pub(super) fn arrange(
    way: Way,
    source: &Source,
    names: &Names,
    staged: &Held,
    new: &Held,
) -> Result<(), OperationError> {
    let only = || Ok::<_, OperationError>(OsStr::from_bytes(&source.only()?.path));
    match way {
        Way::Dump => rename(staged, only()?, new, &names.dump),
        Way::Preamble => rename(staged, only()?, new, &names.aof),
        Way::Base => as_base(staged, only()?, "rdb", names, new),
        Way::SingleAsBase => as_base(staged, only()?, "aof", names, new),
        Way::Parts => as_parts(source, names, staged, new),
        Way::Joined => join(source, staged, new, &names.aof),
        Way::Scratch | Way::Classic => Ok(()),
    }
}

/// The directory of a file of the snapshot, and its name there.
fn place<'a>(staged: &Held, path: &'a OsStr) -> Result<(Held, &'a OsStr), OperationError> {
    staged.at(path.as_ref()).map_err(|error| OperationError::target("open", &staged.path_of(path), error))
}

fn rename(staged: &Held, path: &OsStr, into: &Held, to: &OsStr) -> Result<(), OperationError> {
    let (from, name) = place(staged, path)?;
    from.rename(name, into, to).map_err(|error| OperationError::target("create", &into.path_of(to), error))
}

/// The directory of the AOF's files, made.
fn aof_directory(names: &Names, new: &Held) -> Result<Held, OperationError> {
    make(new, names.aof_directory.as_deref().unwrap_or(OsStr::new("appendonlydir")), 0o700)
}

pub(super) fn part_name(names: &Names, seq: i64, kind: &str) -> Vec<u8> {
    [names.aof.as_bytes(), format!(".{seq}.{kind}").as_bytes()].concat()
}

/// A file becomes the base of an AOF that has nothing else yet.
fn as_base(staged: &Held, file: &OsStr, extension: &str, names: &Names, new: &Held) -> Result<(), OperationError> {
    let directory = aof_directory(names, new)?;
    let name = part_name(names, 1, &format!("base.{extension}"));
    rename(staged, file, &directory, OsStr::from_bytes(&name))?;
    let base =
        Entry { name, seq: 1, file_type: FileType::Base, start_offset: None, end_offset: None, more: Vec::new() };
    write_manifest(vec![base], names, &directory)
}

/// How the name of a part ends.
pub(super) fn part_kind(entry: &Entry) -> &'static str {
    match entry.file_type {
        FileType::Base if entry.name.ends_with(b".rdb") => "base.rdb",
        FileType::Base => "base.aof",
        FileType::Increment | FileType::History => "incr.aof",
    }
}

/// The files of the AOF under this server's names, and a manifest that names them.
fn as_parts(source: &Source, names: &Names, staged: &Held, new: &Held) -> Result<(), OperationError> {
    let manifest = read_manifest(source, staged)?;
    let directory = aof_directory(names, new)?;
    let mut entries = Vec::new();
    for entry in manifest.base().into_iter().chain(manifest.increments()) {
        let name = part_name(names, entry.seq, part_kind(entry));
        rename(staged, OsStr::from_bytes(&entry.name), &directory, OsStr::from_bytes(&name))?;
        // Replication offsets are of the life of another server.
        entries.push(Entry { name, start_offset: None, end_offset: None, more: Vec::new(), ..entry.clone() });
    }
    write_manifest(entries, names, &directory)
}

fn read_manifest(source: &Source, staged: &Held) -> Result<Manifest, OperationError> {
    let file = source.files.iter().find(|file| file.role == Role::Manifest);
    let path = file.map_or(OsStr::new("manifest"), |file| OsStr::from_bytes(&file.path));
    let (directory, name) = place(staged, path)?;
    read_manifest_at(&directory, name)
}

pub(super) fn read_manifest_at(directory: &Held, name: &OsStr) -> Result<Manifest, OperationError> {
    let failed = |error| OperationError::target("read", &directory.path_of(name), error);
    let mut bytes = Vec::new();
    directory.file(name).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(failed)?;
    Manifest::decode(&bytes).map_err(|error| failed(io::Error::other(error)))
}

/// After all it names has reached the disk.
pub(super) fn write_manifest(entries: Vec<Entry>, names: &Names, directory: &Held) -> Result<(), OperationError> {
    let name = OsString::from_vec(manifest_name(names.aof.as_bytes()));
    let failed = |error| OperationError::target("write", &directory.path_of(&name), error);
    let manifest = Manifest::new(entries).map_err(|error| failed(io::Error::other(error)))?;
    sync_directory(directory)?;
    let written = directory.create(&name, 0o600).and_then(|mut file| {
        file.write_all(&manifest.encode())?;
        file.sync_all()
    });
    written.map_err(failed)?;
    sync_directory(directory)
}

/// Base and increments in one file, as servers before 7.0 read it: they know no annotations.
fn join(source: &Source, staged: &Held, new: &Held, to: &OsStr) -> Result<(), OperationError> {
    let manifest = read_manifest(source, staged)?;
    let failed = |error| OperationError::target("write", &new.path_of(to), error);
    let file = new.create(to, 0o600).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for entry in manifest.base().into_iter().chain(manifest.increments()) {
        let path = OsStr::from_bytes(&entry.name);
        let (from, name) = place(staged, path)?;
        let copied = from.file(name).and_then(|file| {
            let mut input = BufReader::with_capacity(1 << 20, file);
            match rdb::looks_like_rdb(input.fill_buf()?) {
                true => io::copy(&mut input, &mut out).map(drop),
                false => copy_commands(&mut input, &mut out),
            }
        });
        copied.map_err(|error| OperationError::target("join", &from.path_of(name), error))?;
        from.remove_file(name).map_err(|error| OperationError::target("remove", &from.path_of(name), error))?;
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

/// Owner and mode of all that is in a directory, and all of it brought to the disk: files, then their directories. The
/// modes go by what stands under the name `main` in the data directory. The directory itself stays the caller's until its
/// files are in place: nobody shall change them before.
pub(super) fn dress(new: &Held, owner: (u32, u32), directory: &Held, main: &OsStr) -> Result<(), OperationError> {
    let like = Like::of(directory, main);
    let failed = |action: &'static str, held: &Held| {
        let path = held.path().to_owned();
        move |error: io::Error| OperationError::target(action, &path, error)
    };
    for name in new.names().map_err(failed("list", new))? {
        let is_dir = new.look(&name).map_err(failed("look at", new))?.is_some_and(|seen| seen.is_dir());
        if !is_dir {
            dress_one(new, &name, owner, &like)?;
            continue;
        }
        let below = new.directory(&name).map_err(failed("open", new))?;
        below
            .names()
            .map_err(failed("list", &below))?
            .iter()
            .try_for_each(|name| dress_one(&below, name, owner, &like))?;
        dress_opened(below.opened(), owner, like.mode(true)).map_err(failed("set owner and mode of", &below))?;
    }
    sync_directory(new)
}

fn dress_one(held: &Held, name: &OsStr, owner: (u32, u32), like: &Like) -> Result<(), OperationError> {
    let dressed = held.file(name).and_then(|file| dress_opened(&file, owner, like.mode(false)));
    dressed.map_err(|error| OperationError::target("set owner and mode of", &held.path_of(name), error))
}

/// A server that may not read its files ends, or starts empty. Where the file system has its own modes they may do.
fn dress_opened(file: &File, owner: (u32, u32), mode: u32) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != owner {
        give(file, owner)?;
    }
    let set = if now.mode() & 0o7777 == mode { Ok(()) } else { file.set_permissions(Permissions::from_mode(mode)) };
    set.or_else(|error| if now.mode() & 0o600 == 0o600 { Ok(()) } else { Err(error) })?;
    file.sync_all()
}

/// What stood there: whether it is a directory, and its mode.
struct Like(Option<(bool, u32)>);

impl Like {
    fn of(directory: &Held, name: &OsStr) -> Like {
        let Some(seen) = directory.look(name).ok().flatten() else { return Like(None) };
        if !seen.is_link() {
            return Like(Some((seen.is_dir(), seen.mode())));
        }
        // A link's own mode says nothing. That of what it leads to is somebody's word, and opens nothing to others.
        let file = fs::metadata(directory.reached().join(name)).ok().filter(fs::Metadata::is_file);
        Like(Some((false, file.map_or(0o600, |file| file.mode() & 0o640))))
    }

    /// Its mode, if it is of the same kind: its owner can always read and write.
    fn mode(&self, is_directory: bool) -> u32 {
        let (usual, needed) = if is_directory { (0o750, 0o700) } else { (0o640, 0o600) };
        self.0.filter(|(is_dir, _)| *is_dir == is_directory).map_or(usual, |(_, mode)| (mode & 0o777) | needed)
    }
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
