//! Where a host keeps what it remembers of dumps. Rules: format-spec/14-local.md.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;

use super::known::{Entry, Head, Known, Memory, RECORDS_MOST};
use crate::crypto::keys::Key;
use crate::crypto::numbered::{NumberedSealer, TAG};
use crate::format::recipe::Part;
use crate::format::{Malformed, Reader};
use crate::rdb::canonical::NAME;
use crate::repository::Repository;

/// The directory of these files, in that of the repository's catalog.
const DIRECTORY: &str = "records";
const KEY: &str = "redkeep 2026-11 remembered records";
/// The one layout there is.
const LAYOUT: u8 = 2;
const SALT: usize = 32;
/// Plaintext of a frame, but for the last one.
const FRAME: usize = 1 << 20;
/// The most bytes of a file: layout, part, both counts, and for each record its head, its entry, and perhaps a bucket.
const LONGEST: u64 = 64 + RECORDS_MOST * (8 + 16 + 4);
/// A file that was not written for so long is of a dataset that is backed up no more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Where what is remembered of one file of one dataset is kept.
///
/// LOCAL-35: it is sealed under a key that follows from the repository's, names the canonical part it is of, and is of no use
/// for any other. Whatever is wrong with it, it is as if it were not there.
pub(super) struct MemoryFile {
    path: PathBuf,
    key: Key,
}

impl MemoryFile {
    /// That of a file, by the dataset's tag and its path; `None` where the host keeps nothing.
    pub fn of(repository: &Repository, slot: &[u8]) -> Option<MemoryFile> {
        let key = Key::new(repository.keyring().bag().key_hash).derive(KEY);
        let name: String = key.hash(slot).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Some(MemoryFile { path: repository.catalog_directory()?.join(DIRECTORY).join(name), key })
    }

    fn sealer(&self, salt: &[u8; SALT]) -> NumberedSealer {
        NumberedSealer::new(&Key::new(self.key.hash(salt)))
    }

    /// What stands for a part.
    fn identity(&self, part: &Part) -> [u8; 32] {
        self.key.hash(&minicbor::to_vec(part).unwrap_or_else(|_| unreachable!("memory has room")))
    }

    /// What is remembered of the dump of this part.
    pub fn read(&self, part: &Part) -> Option<Known> {
        let sealed = read_whole(&self.path).ok()?;
        let (salt, rest) = sealed.split_first_chunk::<SALT>()?;
        let sealer = self.sealer(salt);
        let opened = rest.par_chunks(FRAME + TAG).enumerate().map(|(number, frame)| {
            let mut frame = frame.to_vec();
            sealer.open(number as u64, &mut frame).ok().map(|()| frame)
        });
        let plain = opened.collect::<Option<Vec<_>>>()?.concat();
        drop(sealed);
        Known::new(decode(&plain, &self.identity(part)).ok()?)
    }

    /// Keeps what is remembered of the dump of this part. What fails here costs the next backup time, and nothing else.
    pub fn write(&self, part: &Part, memory: &Memory, salt: [u8; SALT]) -> io::Result<()> {
        let Some(directory) = self.path.parent() else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let plain = encode(memory, &self.identity(part));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&salt)?;
        let sealer = self.sealer(&salt);
        for frame in plain.chunks(FRAME) {
            let mut frame = frame.to_vec();
            sealer.seal(&mut frame);
            file.write_all(&frame)?;
        }
        file.persist(&self.path)?;
        remove_forgotten(directory)
    }
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut sealed = Vec::new();
    let most = LONGEST + LONGEST / FRAME as u64 * TAG as u64 + FRAME as u64;
    File::open(path)?.take(most).read_to_end(&mut sealed)?;
    Ok(sealed)
}

/// Removes files of datasets that are backed up no more, and what killed writers left.
fn remove_forgotten(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let age = SystemTime::now().duration_since(entry.metadata()?.modified()?).unwrap_or_default();
        if age > FORGOTTEN_AFTER {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn encode(memory: &Memory, part: &[u8; 32]) -> Vec<u8> {
    let Memory { buckets, heads, entries } = memory;
    let mut plain = Vec::with_capacity(64 + 4 * buckets.len() + 24 * heads.len());
    plain.push(LAYOUT);
    plain.extend_from_slice(part);
    let mut put = |number: u32| plain.extend_from_slice(&number.to_le_bytes());
    put(heads.len() as u32);
    put(buckets.len() as u32);
    buckets.iter().for_each(|records| put(*records));
    heads.iter().for_each(|head| [head.hash, head.meta].into_iter().for_each(&mut put));
    for entry in entries {
        plain.extend_from_slice(&entry.name);
        plain.extend_from_slice(&entry.index.to_le_bytes());
    }
    plain
}

fn decode(plain: &[u8], part: &[u8; 32]) -> Result<Memory, Malformed> {
    let mut reader = Reader::new("remembered records", plain);
    let is_of_part = (reader.u8()?, reader.array::<32>()?) == (LAYOUT, *part);
    if !is_of_part {
        return Err(Malformed::new("remembered records", "of another dump"));
    }
    let (records, buckets) = (reader.u32()?, reader.u32()?);
    let wanted = 4 * u64::from(buckets) + 24 * u64::from(records);
    if reader.remaining() as u64 != wanted {
        return Err(Malformed::new("remembered records", "not as long as they say"));
    }
    let (buckets, rest) = reader.take(reader.remaining())?.split_at(4 * buckets as usize);
    let (heads, entries) = rest.split_at(8 * records as usize);
    let buckets = buckets.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number)).collect();
    let (heads, entries) = rayon::join(
        || heads.as_chunks().0.iter().map(head).collect(),
        || entries.as_chunks().0.iter().map(entry).collect(),
    );
    Ok(Memory { buckets, heads, entries })
}

fn head(&[a, b, c, d, e, f, g, h]: &[u8; 8]) -> Head {
    Head { hash: u32::from_le_bytes([a, b, c, d]), meta: u32::from_le_bytes([e, f, g, h]) }
}

fn entry(bytes: &[u8; NAME + 4]) -> Entry {
    let [name @ .., a, b, c, d] = *bytes;
    Entry { name, index: u32::from_le_bytes([a, b, c, d]) }
}
