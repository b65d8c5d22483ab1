//! Files that are neither dump nor AOF: nodes.conf, ACL files, whatever people put there.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};

use super::captured_file::Content;
use super::opened::{Span, Stamp};

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
    }
}
