//! One path of a captured directory, held open where it has bytes.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::UNIX_EPOCH;

use super::owners::Owners;
use super::reading;
use crate::format::snapshot::{FileKind, Role};
use crate::rdb::Stretch;
use crate::redis::error::RedisError;
use crate::redis::sent::Sent;

/// One path of a captured directory.
#[derive(Debug)]
pub struct CapturedFile {
    /// Relative to the directory, components joined by `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// What it is to the server.
    pub role: Role,
    /// Mode bits (07777).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Name of the owner.
    pub user: Option<String>,
    /// Name of the group.
    pub group: Option<String>,
    /// Modification time, seconds since the epoch.
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_nanos: u32,
    /// Where its bytes are.
    pub content: Content,
}

/// Where the bytes of a captured file are.
#[derive(Debug)]
pub enum Content {
    /// It has none: a directory.
    None,
    /// Where a symbolic link points.
    Link(Vec<u8>),
    /// Here: a manifest as it is to be stored, or a small file.
    Bytes(Vec<u8>),
    /// In an open file, from its first byte.
    Open {
        /// Read with positioned reads alone, so that it can be read again.
        file: File,
        /// How many bytes: of an AOF, which may be growing. `None`: up to the end.
        length: Option<u64>,
    },
    /// It still comes, from the server.
    Sent(Sent),
}

/// What was learned from reading a captured file once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes handed on.
    pub length: u64,
    /// Why the content is suspect.
    pub suspect: Option<String>,
    /// What a person may want to know of a content that is not suspect.
    pub note: Option<String>,
    /// What is known of the content. Names are unique within one file; a dump and a base share them.
    pub facts: BTreeMap<String, String>,
}

impl CapturedFile {
    /// With what the system says of it.
    pub(super) fn new(path: &[u8], role: Role, metadata: &Metadata, owners: &Owners, content: Content) -> Self {
        let kind = match content {
            Content::None => FileKind::Directory,
            Content::Link(_) => FileKind::Link,
            Content::Bytes(_) | Content::Open { .. } | Content::Sent(_) => FileKind::File,
        };
        Self {
            path: path.to_vec(),
            kind,
            role,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            user: owners.user(metadata.uid()),
            group: owners.group(metadata.gid()),
            mtime: metadata.mtime(),
            mtime_nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
            content,
        }
    }

    /// A dump that a server sends. It is nobody's here but the caller's.
    pub(in crate::redis) fn sent(path: &[u8], mtime: i64, sent: Sent) -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let owners = Owners::new();
        Self {
            path: path.to_vec(),
            kind: FileKind::File,
            role: Role::Dump,
            mode: 0o640,
            uid,
            gid,
            user: owners.user(uid),
            group: owners.group(gid),
            mtime,
            mtime_nanos: 0,
            content: Content::Sent(sent),
        }
    }

    /// Expected size in bytes, for progress; 0 where it is not known.
    pub fn expected_size(&self) -> u64 {
        match &self.content {
            Content::None | Content::Link(_) => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Open { length: Some(length), .. } => *length,
            Content::Sent(sent) => sent.length.unwrap_or(0),
            Content::Open { file, length: None } => file.metadata().map_or(0, |metadata| metadata.len()),
        }
    }

    /// Whether its size is known.
    pub fn is_sized(&self) -> bool {
        !matches!(&self.content, Content::Sent(sent) if sent.length.is_none())
    }

    /// Milliseconds since the epoch at which the file came to be on its file system, where that tells it.
    pub fn born(&self) -> Option<u64> {
        let Content::Open { file, .. } = &self.content else { return None };
        let created = file.metadata().ok()?.created().ok()?;
        u64::try_from(created.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    }

    /// Reads the content once, in order, from its first byte, hands every byte to `sink` in pieces of up to 256 KiB, and
    /// checks its structure on the way. May be called again.
    ///
    /// What is wrong with the bytes is in the [`Reading`]; errors are those of the file and, as [`RedisError::Sink`],
    /// those of the sink.
    pub fn read(&self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Result<Reading, RedisError> {
        reading::read(self, sink, &mut |_| {})
    }

    /// The same, and hands on each record and opcode of a dump as soon as its end is known, which is after its bytes were
    /// handed on.
    pub fn read_stretches(
        &self,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        each: &mut dyn FnMut(Stretch),
    ) -> Result<Reading, RedisError> {
        reading::read(self, sink, each)
    }
}
