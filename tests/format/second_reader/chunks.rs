//! Chunks, deltas and streams back to bytes: format-spec/05-chunks.md, 06-frames.md and 09-recipes.md.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::rc::Rc;

use super::bytes::{Cursor, Outcome, hex, read};
use super::limits::{CHUNK_MAX, DELTA_CLOSURE_MAX, DELTA_DEPTH_MAX, LABEL_MAX, PACK_MAX};
use super::pack::{COLUMNS, COPIES, Chunk, DELTA, Frame, PLAIN, Pack};
use super::seal::{Header, Keys, PACK, keyed};
use super::snapshot::Stream;
use zstd_safe::{DParameter, FrameFormat, InBuffer, OutBuffer};

type Id = [u8; 16];
type Hash = [u8; 32];
type Decoded = Rc<Vec<u8>>;
/// Depth and closure of a chunk (DELTA-3).
type Measure = (usize, Rc<BTreeSet<Id>>);

/// Frames that are kept decoded.
const FRAMES_KEPT: usize = 8;

/// Where a chunk is stored.
#[derive(Clone, Copy)]
struct Place {
    pack: Hash,
    frame: usize,
    chunk: usize,
}

/// Every chunk of a repository and the way to its bytes.
pub(super) struct Chunks {
    root: PathBuf,
    packs: BTreeMap<Hash, Pack>,
    places: BTreeMap<Id, Vec<Place>>,
    measured: RefCell<BTreeMap<Id, Measure>>,
    headers: RefCell<BTreeMap<Hash, Rc<Header>>>,
    frames: RefCell<Vec<(Hash, usize, Decoded)>>,
}

/// The object name of a pack.
pub(super) fn pack_name(pack: &Hash) -> String {
    let digits = hex(pack);
    format!("packs/{}/{digits}", &digits[..2])
}

/// Decodes exactly one zstd frame to exactly `length` bytes.
fn unzstd(frame: &[u8], length: u64) -> Outcome<Vec<u8>> {
    if zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
        return Err("not one zstd frame".into());
    }
    // FRAME-2: no more room than the chunks take.
    let mut plaintext = Vec::with_capacity(usize::try_from(length).map_err(|_| "a length beyond memory".to_string())?);
    zstd_safe::DCtx::create().decompress(&mut plaintext, frame).map_err(told)?;
    if plaintext.len() as u64 == length { Ok(plaintext) } else { Err("a zstd frame yields too few bytes".into()) }
}

/// The rows of a frame of columns (FRAME-5).
fn rows(opened: &[u8], length: u64) -> Outcome<Vec<u8>> {
    let mut cursor = Cursor::new(opened);
    let bytes = cursor.varint()?;
    // FRAME-2
    if bytes > length {
        return Err(format!("{bytes} bytes of columns for {length} of rows"));
    }
    let columns = unzstd(cursor.rest(), bytes)?;
    let mut cursor = Cursor::new(&columns);
    let count = cursor.varint()?;
    let mut column = || (0..count).map(|_| cursor.varint()).collect::<Outcome<Vec<u64>>>();
    let (heads, shared, names, rests) = (column()?, column()?, column()?, column()?);
    let mut part = |lengths: &[u64]| lengths.iter().map(|length| cursor.take(*length)).collect::<Outcome<Vec<_>>>();
    let (heads, names, rests) = (part(&heads)?, part(&names)?, part(&rests)?);
    cursor.finish()?;
    let (mut rows, mut name) = (Vec::new(), Vec::new());
    for (((head, shared), own), rest) in heads.iter().zip(shared).zip(names).zip(rests) {
        let common = usize::try_from(shared).ok().and_then(|shared| name.get(..shared));
        name = [common.ok_or("a name shares more than there is")?, own].concat();
        let row = [*head, &name[..], rest].concat();
        let mut length = row.len();
        while length > 127 {
            rows.push(length as u8 | 128);
            length >>= 7;
        }
        rows.push(length as u8);
        rows.extend(row);
    }
    if rows.len() as u64 == length { Ok(rows) } else { Err("rows of another length than promised".into()) }
}

/// Decodes exactly one delta to exactly `length` bytes (DELTA-1): its zstd frame has no magic number.
fn undelta(delta: &[u8], prefix: &[u8], length: u64) -> Outcome<Vec<u8>> {
    let mut plaintext = Vec::with_capacity(usize::try_from(length).map_err(|_| "a length beyond memory".to_string())?);
    let mut context = zstd_safe::DCtx::create();
    context.set_parameter(DParameter::Format(FrameFormat::Magicless)).map_err(told)?;
    context.ref_prefix(prefix).map_err(told)?;
    let mut input = InBuffer::around(delta);
    let left = context.decompress_stream(&mut OutBuffer::around(&mut plaintext), &mut input).map_err(told)?;
    match left == 0 && input.pos() == delta.len() && plaintext.len() as u64 == length {
        true => Ok(plaintext),
        false => Err("not one delta of this length".into()),
    }
}

/// Carries out the steps of a delta of copies and insertions (DELTA-7).
fn copied(delta: &[u8], bases: &[u8], length: u64) -> Outcome<Vec<u8>> {
    let mut cursor = Cursor::new(delta);
    let count = cursor.varint()?;
    let mut steps = Cursor::new(cursor.take(count)?);
    let (mut plaintext, mut end) = (Vec::new(), 0i128);
    while !steps.is_empty() {
        let (insert, copy) = (steps.varint()?, steps.varint()?);
        if insert.checked_add(copy).is_none_or(|more| more == 0 || more > length - plaintext.len() as u64) {
            return Err(format!("a step of {insert} and {copy} bytes"));
        }
        plaintext.extend(cursor.take(insert)?);
        if copy == 0 && steps.is_empty() {
            break;
        }
        if copy == 0 {
            return Err("a step without a copy before the last".into());
        }
        let distance = i128::from(steps.varint()?);
        let place = end + if distance % 2 == 0 { distance / 2 } else { -(distance / 2) - 1 };
        end = place + i128::from(copy);
        let range = usize::try_from(place).ok().zip(usize::try_from(end).ok());
        let bytes = range.and_then(|(place, end)| bases.get(place..end)).ok_or("a copy from outside the bases")?;
        plaintext.extend(bytes);
    }
    cursor.finish()?;
    if plaintext.len() as u64 == length { Ok(plaintext) } else { Err("not one delta of this length".into()) }
}

fn told(code: usize) -> String {
    format!("zstd: {}", zstd_safe::get_error_name(code))
}

/// An entry of a list.
struct Entry {
    id: Id,
    length: u64,
    label: Option<Vec<u8>>,
}

/// A chunk of a stream, and the label it has there.
pub(super) struct Piece {
    pub(super) label: Option<Vec<u8>>,
    pub(super) bytes: Vec<u8>,
}

/// The entries of a list, which are whole (LIST-1).
fn entries(list: &[u8], labelled: bool) -> Outcome<Vec<Entry>> {
    let mut cursor = Cursor::new(list);
    let mut entries = Vec::new();
    let mut sum = 0u64;
    while !cursor.is_empty() {
        let (id, length) = (cursor.array()?, cursor.varint()?);
        if !(1..=CHUNK_MAX).contains(&length) {
            return Err(format!("a list names a chunk of {length} bytes"));
        }
        let mut label = None;
        if labelled {
            let bytes = cursor.varint()?;
            if bytes > LABEL_MAX {
                return Err(format!("a label of {bytes} bytes"));
            }
            label = Some(cursor.take(bytes)?.to_vec());
        }
        // STREAM-2
        sum = sum.checked_add(length).filter(|sum| *sum < 1 << 63).ok_or("a list sums up beyond 2^63 - 1")?;
        entries.push(Entry { id, length, label });
    }
    Ok(entries)
}

impl Chunks {
    pub(super) fn new(root: PathBuf) -> Self {
        Chunks {
            root,
            packs: BTreeMap::new(),
            places: BTreeMap::new(),
            measured: RefCell::default(),
            headers: RefCell::default(),
            frames: RefCell::default(),
        }
    }

    /// Adds a pack. Two tables of one pack have to agree.
    pub(super) fn add(&mut self, name: Hash, pack: Pack) -> Outcome<()> {
        if let Some(known) = self.packs.get(&name) {
            return if *known == pack { Ok(()) } else { Err(format!("two tables of pack {} differ", hex(&name))) };
        }
        for (frame, table) in pack.frames.iter().enumerate() {
            for (chunk, entry) in table.chunks.iter().enumerate() {
                self.places.entry(entry.id).or_default().push(Place { pack: name, frame, chunk });
            }
        }
        self.packs.insert(name, pack);
        Ok(())
    }

    /// How many frames are deltas.
    pub(super) fn deltas(&self) -> usize {
        let frames = self.packs.values().flat_map(|pack| &pack.frames);
        frames.filter(|frame| [DELTA, COPIES].contains(&frame.method)).count()
    }

    fn at(&self, place: Place) -> Outcome<(&Frame, &Chunk)> {
        let frame = self.packs.get(&place.pack).and_then(|pack| pack.frames.get(place.frame));
        frame.and_then(|frame| Some((frame, frame.chunks.get(place.chunk)?))).ok_or_else(|| "no such place".into())
    }

    fn places(&self, id: &Id) -> Outcome<&[Place]> {
        self.places.get(id).map(Vec::as_slice).ok_or_else(|| format!("chunk {} is not stored", hex(id)))
    }

    /// The ids a base's first bytes may stand for, in order (DELTA-2).
    fn candidates(&self, prefix: &[u8; 8], delta: Place) -> Outcome<Vec<Id>> {
        let (mut first, mut last) = ([0; 16], [0xff; 16]);
        first[..8].copy_from_slice(prefix);
        last[..8].copy_from_slice(prefix);
        // DELTA-4: within its own pack a base lies in an earlier frame.
        let earlier = |place: &Place| place.pack != delta.pack || place.frame < delta.frame;
        let found = self.places.range(first..=last).filter(|(_, places)| places.iter().any(earlier));
        let ids: Vec<Id> = found.map(|(id, _)| *id).collect();
        if ids.is_empty() { Err(format!("base {} is not stored before its delta", hex(prefix))) } else { Ok(ids) }
    }

    /// The depth and the closure of a chunk, from the tables alone (DELTA-3).
    fn measure(&self, id: &Id, path: &mut Vec<Id>) -> Outcome<Measure> {
        if path.contains(id) {
            return Err(format!("chunk {} is its own base", hex(id)));
        }
        if path.len() > DELTA_DEPTH_MAX {
            return Err(format!("a delta deeper than {DELTA_DEPTH_MAX}"));
        }
        if let Some(known) = self.measured.borrow().get(id) {
            return Ok(known.clone());
        }
        let places = self.places(id)?;
        path.push(*id);
        let tries: Vec<_> = places.iter().map(|place| self.measure_place(*place, path)).collect();
        path.pop();
        let best = tries.into_iter().reduce(|a, b| match (&a, &b) {
            (Ok((x, _)), Ok((y, _))) if y < x => b,
            (Err(_), Ok(_)) => b,
            _ => a,
        });
        let found = best.unwrap_or_else(|| Err("a chunk without a place".into()))?;
        self.measured.borrow_mut().insert(*id, found.clone());
        Ok(found)
    }

    fn measure_place(&self, place: Place, path: &mut Vec<Id>) -> Outcome<Measure> {
        let mut depth = 0;
        let mut closure = BTreeSet::new();
        for base in &self.at(place)?.1.bases {
            for id in self.candidates(base, place)? {
                let (below, set) = self.measure(&id, path)?;
                depth = depth.max(below + 1);
                closure.insert(id);
                closure.extend(set.iter());
            }
        }
        if depth > DELTA_DEPTH_MAX || closure.len() > DELTA_CLOSURE_MAX {
            return Err(format!("a delta of depth {depth} with a closure of {} chunks", closure.len()));
        }
        Ok((depth, Rc::new(closure)))
    }

    /// The plaintext of a chunk of `length` bytes.
    fn chunk(&self, keys: &Keys, id: &Id, length: u64) -> Outcome<Decoded> {
        let plaintext = self.decode(keys, id, &mut Vec::new(), &mut BTreeMap::new())?;
        if plaintext.len() as u64 != length {
            return Err(format!("chunk {} is not {length} bytes long", hex(id)));
        }
        Ok(plaintext)
    }

    /// Decodes a chunk from the first of its places that gives it; `done` holds what was decoded on the way.
    fn decode(&self, keys: &Keys, id: &Id, path: &mut Vec<Id>, done: &mut BTreeMap<Id, Decoded>) -> Outcome<Decoded> {
        if let Some(plaintext) = done.get(id) {
            return Ok(plaintext.clone());
        }
        self.measure(id, path)?;
        let mut places = self.places(id)?.to_vec();
        places.sort_by_key(|place| self.at(*place).is_ok_and(|(_, chunk)| !chunk.bases.is_empty()));
        path.push(*id);
        let mut refusal = String::new();
        for place in places {
            match self.decode_place(keys, place, path, done) {
                Ok(plaintext) => {
                    path.pop();
                    let plaintext = Rc::new(plaintext);
                    done.insert(*id, plaintext.clone());
                    return Ok(plaintext);
                }
                Err(error) => refusal = format!("chunk {} in pack {}: {error}", hex(id), hex(&place.pack)),
            }
        }
        path.pop();
        Err(refusal)
    }

    fn decode_place(
        &self,
        keys: &Keys,
        place: Place,
        path: &mut Vec<Id>,
        done: &mut BTreeMap<Id, Decoded>,
    ) -> Outcome<Vec<u8>> {
        let (frame, chunk) = self.at(place)?;
        let bytes = self.frame(keys, place.pack, place.frame)?;
        let mut cursor = Cursor::new(&bytes);
        cursor.take(chunk.offset)?;
        let stored = cursor.take(chunk.stored)?;
        // CHUNK-1, CHUNK-2
        let checked = |plaintext: Vec<u8>| {
            let right = plaintext.len() as u64 == chunk.length && keyed(&keys.chunk_id, &plaintext)[..16] == chunk.id;
            if right { Ok(plaintext) } else { Err("its bytes are not what its id says".to_string()) }
        };
        let apply = match frame.method {
            DELTA => undelta,
            COPIES => copied,
            _ => return checked(stored.to_vec()),
        };
        self.measure_place(place, path)?;
        let mut refusal = String::new();
        // DELTA-1: the bases in the order given. DELTA-2: all that a name may mean, until the id agrees.
        let mut prefixes = vec![Vec::new()];
        for base in &chunk.bases {
            let mut longer = Vec::new();
            for id in self.candidates(base, place)? {
                match self.decode(keys, &id, path, done) {
                    Ok(base) => {
                        longer.extend(prefixes.iter().map(|prefix| [prefix.as_slice(), base.as_slice()].concat()));
                    }
                    Err(error) => refusal = error,
                }
            }
            prefixes = longer;
        }
        for prefix in prefixes {
            match apply(stored, &prefix, chunk.length).and_then(checked) {
                Ok(plaintext) => return Ok(plaintext),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// The bytes of a frame: chunks one after the other, or deltas.
    fn frame(&self, keys: &Keys, name: Hash, place: usize) -> Outcome<Decoded> {
        let mut kept = self.frames.borrow_mut();
        if let Some((_, _, bytes)) = kept.iter().find(|(pack, frame, _)| (*pack, *frame) == (name, place)) {
            return Ok(bytes.clone());
        }
        let header = self.header(keys, name)?;
        let frame = self.packs.get(&name).and_then(|pack| pack.frames.get(place)).ok_or("no such frame")?;
        let mut file = File::open(self.root.join(pack_name(&name))).map_err(|error| error.to_string())?;
        let mut sealed = Vec::new();
        file.seek(SeekFrom::Start(frame.offset)).map_err(|error| error.to_string())?;
        file.take(frame.sealed).read_to_end(&mut sealed).map_err(|error| error.to_string())?;
        let ordinal = u32::try_from(place).map_err(|_| "an ordinal beyond 32 bits".to_string())?;
        let opened =
            keys.open_part(&header, "", ordinal, &sealed).map_err(|error| format!("frame {place}: {error}"))?;
        let bytes = Rc::new(match frame.method {
            PLAIN | DELTA => opened,
            COLUMNS => rows(&opened, frame.stored)?,
            _ => unzstd(&opened, frame.stored)?,
        });
        if kept.len() == FRAMES_KEPT {
            kept.remove(0);
        }
        kept.push((name, place, bytes.clone()));
        Ok(bytes)
    }

    /// The header of a pack whose bytes agree with its name, its size and the table this reader goes by.
    fn header(&self, keys: &Keys, name: Hash) -> Outcome<Rc<Header>> {
        if let Some(header) = self.headers.borrow().get(&name) {
            return Ok(header.clone());
        }
        let object = read(&self.root, &pack_name(&name), PACK_MAX)?;
        // OBJ-2
        if *blake3::hash(&object).as_bytes() != name {
            return Err(format!("pack {} is damaged: its bytes are not what its name says", hex(&name)));
        }
        // INDEX-2
        if self.packs.get(&name) != Some(&Pack::of_object(&object, keys)?) {
            return Err(format!("an index object does not repeat the footer of pack {}", hex(&name)));
        }
        let header = Rc::new(Header::read(&object, &[PACK], Some(&keys.repository))?);
        self.headers.borrow_mut().insert(name, header.clone());
        Ok(header)
    }

    /// Appends the content of a stream.
    pub(super) fn stream(&self, keys: &Keys, stream: &Stream, content: &mut Vec<u8>) -> Outcome<()> {
        for Entry { id, length, .. } in self.lowest(keys, stream)? {
            content.extend_from_slice(&self.chunk(keys, &id, length)?);
        }
        Ok(())
    }

    /// The chunks of a stream.
    pub(super) fn pieces(&self, keys: &Keys, stream: &Stream) -> Outcome<Vec<Piece>> {
        let piece = |Entry { id, length, label }| Ok(Piece { label, bytes: self.chunk(keys, &id, length)?.to_vec() });
        self.lowest(keys, stream)?.into_iter().map(piece).collect()
    }

    fn lowest(&self, keys: &Keys, stream: &Stream) -> Outcome<Vec<Entry>> {
        // STREAM-1
        let mut list = entries(&stream.top, stream.labelled)?;
        for _ in 0..stream.levels {
            let mut lower = Vec::new();
            for above in list {
                let below = entries(&self.chunk(keys, &above.id, above.length)?, stream.labelled)?;
                // LIST-2
                if below.first().is_none_or(|first| first.label != above.label) {
                    return Err("a chunk of a list is not what is said of it".into());
                }
                lower.extend(below);
            }
            list = lower;
        }
        // STREAM-2
        let sum = list.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.length));
        if sum != Some(stream.length) {
            return Err(format!("the lengths of a list do not add up to {}", stream.length));
        }
        Ok(list)
    }
}
