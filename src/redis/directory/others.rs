//! Files that are no part of a multi-part AOF, opened one by one: dumps and single AOFs, nodes.conf, ACL files, whatever
//! people put there.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};

use super::captured_file::Content;
use super::listing::Listed;
use super::names::{Guise, guise};
use super::opened::{Opening, Span, Stamp, first_bytes, open, target_of};
use super::told::Told;
use super::top_level::Candidate;
use crate::redis::error::RedisError;

/// A file up to this size is read at the capture, so that it is of one moment and costs no open file.
pub(super) const SMALL_FILE_MAX: u64 = 64 * 1024;

/// Bytes of all small files together; what goes beyond is held open.
const SMALL_FILES_MAX: u64 = 16 << 20;

/// How often a small file is read that changes meanwhile.
const ATTEMPTS: u32 = 3;

/// Takes small files into memory, up to a bound.
#[derive(Default)]
pub(super) struct Others {
    taken: u64,
}

impl Others {
    /// The content of a file: its bytes if it is small and stays the same for as long as that takes.
    pub(super) fn content(&mut self, file: File, metadata: &Metadata) -> io::Result<Content> {
        if metadata.len() <= SMALL_FILE_MAX && self.taken + metadata.len() <= SMALL_FILES_MAX {
            for _ in 0..ATTEMPTS {
                if let Some(bytes) = read_still(&file)? {
                    self.taken += bytes.len() as u64;
                    return Ok(Content::Bytes(bytes));
                }
            }
        }
        Ok(Content::Open { file, length: None })
    }
}

/// The bytes of a small file, unless it changed while they were read.
fn read_still(file: &File) -> io::Result<Option<Vec<u8>>> {
    let before = Stamp::of(&file.metadata()?);
    let mut bytes = Vec::new();
    Span::new(file, 0, SMALL_FILE_MAX + 1).read_to_end(&mut bytes)?;
    let after = Stamp::of(&file.metadata()?);
    let is_still = before.same_content(&after) && bytes.len() as u64 == before.size();
    Ok(is_still.then_some(bytes))
}

/// What came of opening a listed path.
pub(super) enum Found {
    Content(Content, Metadata),
    Candidate(Candidate),
    /// It has gone, or become something else.
    Nothing,
}

/// Opens a path as what it was listed as; a dump or an AOF at the top level is a candidate, and what a server names so
/// whatever it begins like.
pub(super) fn open_listed(entry: &Listed, told: Option<&Told>, small: &mut Others) -> Result<Found, RedisError> {
    if entry.metadata.is_dir() {
        return Ok(Found::Content(Content::None, entry.metadata.clone()));
    }
    let is_top_level = !entry.path.contains(&b'/');
    if entry.metadata.is_symlink() {
        if is_top_level && let Some(candidate) = open_link(entry, told)? {
            return Ok(Found::Candidate(candidate));
        }
        return Ok(match target_of(&entry.place) {
            Ok(target) => Found::Content(Content::Link(target), entry.metadata.clone()),
            Err(_) => Found::Nothing,
        });
    }
    let Opening::File(file, metadata) = open(&entry.place, false)? else { return Ok(Found::Nothing) };
    let fails = |error| RedisError::io("read", &entry.place, error);
    if is_top_level {
        let first = first_bytes(&file).map_err(fails)?;
        let guise = guise_as_told(&entry.path, &first, told);
        if guise != Guise::Other {
            let (path, place) = (entry.path.clone(), entry.place.clone());
            return Ok(Found::Candidate(Candidate { path, place, file, metadata, first, guise, followed: None }));
        }
    }
    let content = small.content(file, &metadata).map_err(fails)?;
    Ok(Found::Content(content, metadata))
}

/// The dump or AOF that a link at the top level stands for.
fn open_link(entry: &Listed, told: Option<&Told>) -> Result<Option<Candidate>, RedisError> {
    let Ok(place) = fs::canonicalize(&entry.place) else { return Ok(None) };
    if !place.is_file() {
        return Ok(None);
    }
    let Opening::File(file, metadata) = open(&entry.place, true)? else { return Ok(None) };
    let first = first_bytes(&file).map_err(|error| RedisError::io("read", &place, error))?;
    let guise = guise_as_told(&entry.path, &first, told);
    let (path, followed) = (entry.path.clone(), Some(place.clone()));
    Ok((guise != Guise::Other).then_some(Candidate { path, place, file, metadata, first, guise, followed }))
}

fn guise_as_told(path: &[u8], first: &[u8], told: Option<&Told>) -> Guise {
    match told {
        Some(told) if told.dump == path => Guise::Dump,
        Some(told) if told.append_directory.is_none() && told.append_file == path => Guise::SingleAof,
        _ => guise(path, first),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn small_files_are_read_at_once_up_to_a_bound() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 1000]).unwrap();
        let content = |file: &tempfile::NamedTempFile, taken| {
            let file = file.reopen().unwrap();
            let metadata = file.metadata().unwrap();
            Others { taken }.content(file, &metadata).unwrap()
        };
        assert!(matches!(content(&file, 0), Content::Bytes(bytes) if bytes == [7; 1000]));
        assert!(matches!(content(&file, SMALL_FILES_MAX - 999), Content::Open { length: None, .. }));
        file.write_all(&vec![7; SMALL_FILE_MAX as usize]).unwrap();
        assert!(matches!(content(&file, 0), Content::Open { length: None, .. }));
        // One that is longer than it says is never found to stand still.
        let longer = File::open("/proc/self/stat").unwrap();
        let metadata = longer.metadata().unwrap();
        assert!(matches!(Others::default().content(longer, &metadata).unwrap(), Content::Open { length: None, .. }));
    }
}
