//! Bytes as format-spec/01-conventions.md writes them, and objects as files below a directory.

use std::fs;
use std::path::Path;

/// What a step of reading gives, or why it refuses.
pub(super) type Outcome<T> = Result<T, String>;

/// Reads a structure from front to back; nothing is read past its end.
pub(super) struct Cursor<'b> {
    rest: &'b [u8],
}

impl<'b> Cursor<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Cursor { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, length: u64) -> Outcome<&'b [u8]> {
        let length = usize::try_from(length).map_err(|_| "a length beyond memory".to_string())?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("the structure ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'b [u8] {
        self.rest
    }

    /// All that is left, which stays.
    pub(super) fn rest_of(&self) -> &'b [u8] {
        self.rest
    }

    pub(super) fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or("the structure ends too early")?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Outcome<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    // CONV-1
    pub(super) fn u32(&mut self) -> Outcome<u32> {
        self.array().map(u32::from_le_bytes)
    }

    // CONV-2
    pub(super) fn varint(&mut self) -> Outcome<u64> {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && bits > 1) {
                return Err("a varint does not fit 64 bits".into());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err("a varint is longer than it need be".into());
                }
                break;
            }
        }
        Ok(value)
    }

    // CONV-3
    pub(super) fn finish(self) -> Outcome<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("{} leftover bytes", self.rest.len())) }
    }
}

// CONV-5
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of lowercase hexadecimal of exactly N bytes.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if odd.is_empty() { bytes?.try_into().ok() } else { None }
}

/// The bytes of an object of at most `limit` bytes.
pub(super) fn read(root: &Path, name: &str, limit: u64) -> Outcome<Vec<u8>> {
    let path = root.join(name);
    let length = fs::metadata(&path).map_err(|error| format!("{name}: {error}"))?.len();
    if length > limit {
        return Err(format!("{name}: {length} bytes, more than {limit}"));
    }
    fs::read(&path).map_err(|error| format!("{name}: {error}"))
}

/// The full names of all objects below a folder of the repository, sorted. A folder that is not there is empty.
pub(super) fn list(root: &Path, folder: &str) -> Outcome<Vec<String>> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{folder}: {error}")),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("{folder}: {error}"))?;
        // OBJ-3: what is not text is under no name of the table.
        let Ok(last) = entry.file_name().into_string() else { continue };
        let name = format!("{folder}/{last}");
        if entry.path().is_dir() {
            names.extend(list(root, &name)?);
        } else {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
