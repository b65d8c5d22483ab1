//! A dump that a person names by itself: a copy that somebody put aside, under any name.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::capture::Capture;
use super::captured_file::{CapturedFile, Content};
use super::left::LeftOut;
use super::opened::{Opening, open, place_of};
use super::owners::Owners;
use crate::format::snapshot::Role;
use crate::rdb::{HEADER_PEEK, looks_like_rdb, read_header};
use crate::redis::error::RedisError;

/// What the dump of a server is called, where it does not say otherwise.
const NAME: &[u8] = b"dump.rdb";

/// A dump, held open.
#[derive(Debug)]
pub struct LoneDump {
    /// Where it is, without links.
    pub place: PathBuf,
    /// Seconds since the epoch by its server's clock when it was begun, as it says itself.
    pub ctime: Option<u64>,
    /// Seconds since the epoch when the file was last written.
    pub mtime: i64,
    /// Its bytes.
    pub size: u64,
    file: File,
    metadata: Metadata,
}

/// What a file is.
#[derive(Debug)]
pub enum Lone {
    /// It begins like a dump.
    Dump(Box<LoneDump>),
    /// It is none; what it is instead, and what to do.
    Other(&'static str),
}

impl LoneDump {
    /// Opens a file, and looks at its begin.
    pub fn open(path: &Path) -> Result<Lone, RedisError> {
        let name = path.file_name().unwrap_or_default();
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let above = match place_of(above) {
            Ok(above) => above,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Lone::Other("there is no such file"));
            }
            Err(error) => return Err(RedisError::io("open", above, error)),
        };
        if name.is_empty() {
            return Ok(Lone::Other("it is a directory: name the files in it"));
        }
        let place = above.join(name);
        let (file, metadata) = match open(&place, true)? {
            Opening::File(file, metadata) => (file, metadata),
            Opening::Gone => return Ok(Lone::Other("there is no such file")),
            Opening::NotAFile if place.is_dir() => return Ok(Lone::Other("it is a directory: name the files in it")),
            Opening::NotAFile => return Ok(Lone::Other("it is no regular file")),
        };
        let mut first = vec![0; HEADER_PEEK];
        let mut length = 0;
        while let Some(rest) = first.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, length as u64).map_err(|error| RedisError::io("read", &place, error))? {
                0 => break,
                count => length += count,
            }
        }
        first.truncate(length);
        if !looks_like_rdb(&first) {
            return Ok(Lone::Other(told(&first)));
        }
        let aux = read_header(&first).map(|peek| peek.aux).unwrap_or_default();
        if aux.aof_base == Some(true) {
            return Ok(Lone::Other("it is the begin of an AOF: back up its directory with redkeep backup DIR"));
        }
        let ctime = aux.ctime.filter(|ctime| *ctime > 0);
        let (mtime, size) = (metadata.mtime(), metadata.len());
        Ok(Lone::Dump(Box::new(LoneDump { place, ctime, mtime, size, file, metadata })))
    }

    /// Hands its bytes on, piece by piece.
    pub fn each_piece(&self, take: &mut dyn FnMut(&[u8])) -> Result<(), RedisError> {
        let (mut piece, mut at) = (vec![0; super::opened::PIECE], 0);
        loop {
            match self.file.read_at(&mut piece, at).map_err(|error| RedisError::io("read", &self.place, error))? {
                0 => return Ok(()),
                count => {
                    take(piece.get(..count).unwrap_or_default());
                    at += count as u64;
                }
            }
        }
    }

    /// As a data directory that holds it alone, as the server's dump.
    pub fn into_capture(self) -> Capture {
        let directory = self.place.parent().unwrap_or(Path::new("/")).to_owned();
        let content = Content::Open { file: self.file, length: None };
        let file = CapturedFile::new(NAME, Role::Dump, &self.metadata, &Owners::new(), content);
        let told = [
            ("capture.mode", "files".into()),
            ("authoritative", "rdb".into()),
            ("aof.layout", "none".into()),
            ("rdb.name", String::from_utf8_lossy(NAME).into_owned()),
            ("imported-from", String::from_utf8_lossy(self.place.as_os_str().as_bytes()).into_owned()),
        ];
        let facts: BTreeMap<String, String> = told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Capture { directory, files: vec![file], warnings: Vec::new(), facts, left: LeftOut::default() }
    }
}

/// What a file is that is no dump, by its first bytes.
fn told(first: &[u8]) -> &'static str {
    match first {
        [] => "it is empty",
        [0x1f, 0x8b, ..] => "it is compressed with gzip: unpack it first, with gunzip -k",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "it is compressed with zstd: unpack it first, with zstd -d",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "it is compressed with xz: unpack it first, with unxz -k",
        [b'B', b'Z', b'h', ..] => "it is compressed with bzip2: unpack it first, with bunzip2 -k",
        [0x04, 0x22, 0x4d, 0x18, ..] => "it is compressed with lz4: unpack it first, with unlz4",
        [b'P', b'K', 3, 4, ..] => "it is a zip archive: unpack it first",
        [b'*' | b'#', ..] => "it begins like an AOF: back up its directory with redkeep backup DIR",
        _ if first.get(257..262) == Some(b"ustar") => "it is a tar archive: unpack it first",
        _ => "it does not begin like a dump",
    }
}
