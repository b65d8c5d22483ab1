//! A Redis or Valkey data directory: which files are one consistent dataset, and how each is read.
#![allow(missing_docs)]
use crate::format::snapshot::{FileKind, Role, Warning};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
#[derive(Debug, Clone, Default)]
pub struct CaptureOptions {
    pub include: Vec<String>,
    pub exclude: Vec<String>,
}
pub struct Capture {
    pub directory: PathBuf,
    pub files: Vec<CapturedFile>,
    pub warnings: Vec<Warning>,
    pub facts: BTreeMap<String, String>,
}
pub struct CapturedFile {
    pub path: Vec<u8>,
    pub kind: FileKind,
    pub role: Role,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub user: Option<String>,
    pub group: Option<String>,
    pub mtime: i64,
    pub mtime_nanos: u32,
    pub content: Content,
}
pub enum Content {
    None,
    Link(Vec<u8>),
    Bytes(Vec<u8>),
    Open { file: std::fs::File, length: Option<u64> },
}
#[derive(Default)]
pub struct Reading {
    pub length: u64,
    pub suspect: Option<String>,
    pub note: Option<String>,
    pub facts: BTreeMap<String, String>,
}
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    #[error("{0}")]
    Sink(std::io::Error),
    #[error("{0}")]
    Io(std::io::Error),
}
impl RedisError {
    pub fn hint(&self) -> Option<&'static str> {
        None
    }
}
impl CapturedFile {
    pub fn expected_size(&self) -> u64 {
        match &self.content {
            Content::Open { file, .. } => file.metadata().map_or(0, |m| m.len()),
            _ => 0,
        }
    }
    pub fn read(&self, sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> Result<Reading, RedisError> {
        let mut length = 0;
        if let Content::Open { file, .. } = &self.content {
            let mut buffer = vec![0; 1 << 18];
            loop {
                let n = std::os::unix::fs::FileExt::read_at(file, &mut buffer, length).map_err(RedisError::Io)?;
                if n == 0 {
                    break;
                }
                length += n as u64;
                sink(&buffer[..n]).map_err(RedisError::Sink)?;
            }
        }
        Ok(Reading { length, ..Reading::default() })
    }
}
pub fn inspect(_: Role, input: &mut dyn Read) -> std::io::Result<Reading> {
    std::io::copy(input, &mut std::io::sink())?;
    Ok(Reading::default())
}
pub fn capture_directory(directory: &Path, _: &CaptureOptions) -> Result<Capture, RedisError> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let directory = directory.canonicalize().map_err(RedisError::Io)?;
    let mut files = Vec::new();
    for e in walkdir::WalkDir::new(&directory).sort_by_file_name().min_depth(1) {
        let e = e.unwrap();
        let m = e.metadata().unwrap();
        let path = e.path().strip_prefix(&directory).unwrap().as_os_str().as_bytes().to_vec();
        let (kind, content) = if m.is_dir() {
            (FileKind::Directory, Content::None)
        } else if m.is_file() {
            (FileKind::File, Content::Open { file: std::fs::File::open(e.path()).unwrap(), length: None })
        } else {
            continue;
        };
        files.push(CapturedFile {
            path,
            kind,
            role: Role::Other,
            mode: m.mode() & 0o7777,
            uid: m.uid(),
            gid: m.gid(),
            user: None,
            group: None,
            mtime: m.mtime(),
            mtime_nanos: m.mtime_nsec() as u32,
            content,
        });
    }
    Ok(Capture { directory, files, warnings: vec![], facts: BTreeMap::new() })
}
