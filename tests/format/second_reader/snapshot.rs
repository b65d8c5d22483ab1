//! Snapshots and recipes: format-spec/09-recipes.md and 10-snapshot.md.

use std::collections::BTreeMap;

use minicbor::Decoder;

use super::bytes::{Outcome, hex, unhex};
use super::cbor::{self, Map};
use super::limits::{FAULT_MAX, FILES_MAX, LEVELS_MAX, LIST_INLINE_MAX, PATH_MAX};

/// A captured state of a dataset, as its snapshot tells it.
#[derive(Debug, Clone)]
pub struct SnapshotView {
    /// Name of the object.
    pub name: String,
    /// Name of the dataset.
    pub dataset: String,
    /// Number in the dataset, from 1.
    pub sequence: u64,
    /// Where it stands in the order of its dataset.
    pub place: u64,
    /// Session that wrote it, in hexadecimal.
    pub id: String,
    /// Object name of the dataset's snapshot before it.
    pub previous: Option<String>,
    /// Files in the order of their paths.
    pub files: Vec<FileView>,
    /// What was known of server and dump.
    pub facts: BTreeMap<String, String>,
    /// What went wrong: code, path and message.
    pub warnings: Vec<(String, Vec<u8>, String)>,
    /// Tags.
    pub tags: Vec<String>,
}

/// One file, directory or link of a snapshot.
#[derive(Debug, Clone)]
pub struct FileView {
    /// Path below the data directory.
    pub path: Vec<u8>,
    /// 0 file, 1 directory, 2 symbolic link.
    pub kind: u64,
    /// Permission bits.
    pub mode: u64,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Modification time: seconds since the epoch, and nanoseconds.
    pub mtime: (i64, u64),
    /// Size in bytes.
    pub size: u64,
    /// BLAKE3 of the content.
    pub hash: Option<[u8; 32]>,
    /// What the file is to the server, as numbered in format-spec/10-snapshot.md.
    pub role: u64,
    /// Target of a link.
    pub target: Option<Vec<u8>>,
    /// Why the content is suspect.
    pub suspect: Option<String>,
    /// How it is stored, where a server loads it as RDB, and why not all of it canonical.
    pub form: Option<(u64, Option<String>)>,
    pub(super) recipe: Option<Vec<Part>>,
}

/// A part of a recipe.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) method: u64,
    pub(super) length: u64,
    pub(super) streams: BTreeMap<u64, Stream>,
    pub(super) parameters: Option<Vec<u8>>,
}

/// A sequence of bytes stored as chunks.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) length: u64,
    pub(super) levels: u64,
    pub(super) top: Vec<u8>,
    pub(super) labelled: bool,
}

/// What the name of a snapshot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named {
    pub(super) tag: [u8; 8],
    pub(super) place: u64,
    pub(super) sequence: u64,
    pub(super) time: u64,
    pub(super) session: [u8; 16],
}

impl Named {
    /// From a name below `snapshots/` or, of a record, below `forgotten/`.
    pub(super) fn read(name: &str, folder: &str) -> Option<Named> {
        // OBJ-1
        let (tag, last) = name.strip_prefix(folder)?.strip_prefix('/')?.split_once('/')?;
        let fields: Vec<&str> = last.split('-').collect();
        let [place, sequence, time, session] = fields[..] else { return None };
        let number = |text: &str, digits: usize| {
            let decimal = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
            if decimal { text.parse::<u64>().ok() } else { None }
        };
        let (tag, session) = (unhex(tag)?, unhex(session)?);
        Some(Named {
            tag,
            place: number(place, 10)?,
            sequence: number(sequence, 10)?,
            time: number(time, 15)?,
            session,
        })
    }

    /// The name of the snapshot.
    pub(super) fn name(&self) -> String {
        let Named { tag, place, sequence, time, session } = self;
        format!("snapshots/{}/{place:010}-{sequence:010}-{time:015}-{}", hex(tag), hex(session))
    }
}

impl SnapshotView {
    pub(super) fn read(plaintext: &[u8], name: &str, session: &str) -> Outcome<SnapshotView> {
        cbor::whole(plaintext, |decoder| {
            let map = Map::read(decoder)?;
            for time in [3, 4] {
                map.required(time, cbor::uint)?;
            }
            map.optional(5, cbor::uint)?;
            map.required(6, cbor::text)?;
            map.required(7, cbor::bytes)?;
            map.required(10, |decoder| cbor::array(decoder, u64::MAX, mark))?;
            map.required(13, cbor::text)?;
            map.required(14, |decoder| {
                let summary = Map::read(decoder)?;
                // SNAP-10
                summary.optional(7, |decoder| cbor::keyed(decoder, cbor::uint, new))?;
                (0..=6).try_for_each(|key| summary.required(key, cbor::uint).map(drop))
            })?;
            let sequence = map.required(1, cbor::uint)?;
            let snapshot = SnapshotView {
                name: name.to_string(),
                dataset: map.required(0, cbor::text)?,
                sequence,
                id: session.to_string(),
                previous: map.optional(2, cbor::text)?,
                files: map.required(9, |decoder| cbor::array(decoder, FILES_MAX, FileView::read))?,
                facts: map.required(8, |decoder| cbor::keyed(decoder, cbor::text, cbor::text))?,
                warnings: map.required(11, |decoder| cbor::array(decoder, u64::MAX, warning))?,
                place: map.optional(15, cbor::uint)?.unwrap_or(sequence),
                tags: map.required(12, |decoder| cbor::array(decoder, u64::MAX, cbor::text))?,
            };
            if snapshot.sequence == 0 {
                return Err("sequence number 0".into());
            }
            check_paths(&snapshot.files)?;
            Ok(snapshot)
        })
    }
}

fn mark(decoder: &mut Decoder<'_>) -> Outcome<()> {
    let map = Map::read(decoder)?;
    map.required(0, cbor::bytes)?;
    map.required(1, cbor::uint)?;
    map.required(2, cbor::uint).map(drop)
}

fn new(decoder: &mut Decoder<'_>) -> Outcome<()> {
    let map = Map::read(decoder)?;
    (0..=2).try_for_each(|key| map.required(key, cbor::uint).map(drop))
}

fn warning(decoder: &mut Decoder<'_>) -> Outcome<(String, Vec<u8>, String)> {
    let map = Map::read(decoder)?;
    Ok((map.required(0, cbor::text)?, map.required(1, cbor::bytes)?, map.required(2, cbor::text)?))
}

// SNAP-4
fn check_paths(files: &[FileView]) -> Outcome<()> {
    for file in files {
        let shown = String::from_utf8_lossy(&file.path);
        let plain = |component: &[u8]| !matches!(component, b"" | b"." | b"..") && !component.contains(&0);
        if file.path.len() > PATH_MAX || !file.path.split(|byte| *byte == b'/').all(plain) {
            return Err(format!("path {shown:?} leaves the directory"));
        }
        if let Some(end) = file.path.iter().rposition(|byte| *byte == b'/') {
            let above = files.binary_search_by(|other| other.path.as_slice().cmp(&file.path[..end]));
            if !above.is_ok_and(|place| files[place].kind == 1) {
                return Err(format!("path {shown:?} is not below a directory of the snapshot"));
            }
        }
    }
    let ascending = files.windows(2).all(|pair| pair[0].path < pair[1].path);
    if ascending { Ok(()) } else { Err("paths are not unique and sorted".into()) }
}

fn form(decoder: &mut Decoder<'_>) -> Outcome<(u64, Option<String>)> {
    let map = Map::read(decoder)?;
    Ok((map.bounded(0, 2)?, map.optional(1, cbor::text)?))
}

impl FileView {
    fn read(decoder: &mut Decoder<'_>) -> Outcome<FileView> {
        let map = Map::read(decoder)?;
        for name in [5, 6] {
            map.optional(name, cbor::text)?;
        }
        let file = FileView {
            path: map.required(0, cbor::bytes)?,
            kind: map.bounded(1, 2)?,
            mode: map.bounded(2, 0o7777)?,
            uid: map.bounded(3, u64::from(u32::MAX))?,
            gid: map.bounded(4, u64::from(u32::MAX))?,
            mtime: (map.required(7, cbor::int)?, map.bounded(8, 999_999_999)?),
            size: map.required(9, cbor::uint)?,
            hash: map.optional(10, cbor::exact)?,
            recipe: map.optional(11, |decoder| cbor::array(decoder, u64::MAX, Part::read))?,
            target: map.optional(12, cbor::bytes)?,
            role: map.bounded(13, 7)?,
            suspect: map.optional(14, cbor::text)?,
            form: map.optional(15, form)?,
        };
        // SNAP-11
        if let Some((state, why)) = &file.form {
            let has_canonical = file.recipe.iter().flatten().any(|part| part.method == 1);
            let fits = (*state == 2) != has_canonical && (*state == 0) == why.is_none();
            let is_told = why.as_ref().is_none_or(|why| (1..=FAULT_MAX).contains(&why.len()));
            if !fits || !is_told || ![1, 3, 5].contains(&file.role) {
                return Err(format!("a form that is not of {:?}", String::from_utf8_lossy(&file.path)));
            }
        }
        let contents = file.size != 0 || file.hash.is_some() || file.recipe.is_some();
        if (file.kind != 0 && contents) || (file.kind == 2) != file.target.is_some() {
            return Err(format!("fields of {:?} do not go with its kind", String::from_utf8_lossy(&file.path)));
        }
        let place: Vec<&[u8]> = file.path.split(|byte| *byte == b'/').collect();
        if file.role == 7 && place.first() != Some(&&b".redkeep-config"[..]) {
            return Err(format!("configuration at {:?}", String::from_utf8_lossy(&file.path)));
        }
        Ok(file)
    }
}

impl FileView {
    /// The streams that its canonical parts have.
    pub fn canonical_streams(&self) -> impl Iterator<Item = u64> {
        let parts = self.recipe.iter().flatten().filter(|part| part.method == 1);
        parts.flat_map(|part| part.streams.keys().copied())
    }
}

impl Part {
    /// RECIPE-7
    pub(super) fn check_canonical(&self) -> Outcome<()> {
        for (role, stream) in &self.streams {
            if ![1, 3, 4, 5, 6, 7, 8, 9].contains(role) || stream.labelled != (*role == 3) {
                return Err(format!(
                    "stream {role} of method 1 (canonical RDB) is not known, or not labelled as it should be"
                ));
            }
        }
        match self.streams.contains_key(&3) && self.parameters.is_some() {
            true => Ok(()),
            false => Err("a part of method 1 (canonical RDB) without buckets or parameters".into()),
        }
    }

    fn read(decoder: &mut Decoder<'_>) -> Outcome<Part> {
        let map = Map::read(decoder)?;
        Ok(Part {
            method: map.required(0, cbor::uint)?,
            length: map.required(1, cbor::uint)?,
            streams: map.required(2, |decoder| cbor::keyed(decoder, cbor::uint, Stream::read))?,
            parameters: map.optional(3, cbor::bytes)?,
        })
    }
}

impl Stream {
    fn read(decoder: &mut Decoder<'_>) -> Outcome<Stream> {
        let map = Map::read(decoder)?;
        let stream = Stream {
            length: map.bounded(0, (1 << 63) - 1)?,
            levels: map.bounded(1, LEVELS_MAX)?,
            top: map.required(2, cbor::bytes)?,
            labelled: map.optional(3, cbor::boolean)?.unwrap_or(false),
        };
        let length = stream.top.len();
        if length > LIST_INLINE_MAX { Err(format!("a top list of {length} bytes")) } else { Ok(stream) }
    }
}
