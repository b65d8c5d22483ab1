//! Look-ups in a dump without rebuilding it: one record, all of them in the order of their keys, what two dumps differ in.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::column::{Chunks, Column, VARINT, damaged};
use super::parameters::Parameters;
use super::reader::{WINDOW, not_canonical};
use super::templates::each_event;
use crate::format::limits::LABEL_MAX;
use crate::format::list::ListEntry;
use crate::format::recipe::{ColumnRole, Part, Stream};
use crate::format::{ChunkId, Malformed, Reader};
use crate::rdb::canonical::{Decoder, Hasher, Kept, OrderTokens, Values};
use crate::rdb::values::{FUNCTION, HASH_TEMPLATE, PiecewiseDigest, Templates, Value, read_records};
use crate::rdb::{Family, Kind};
use crate::repository::chunk_reader::ChunkReader;
use crate::repository::error::RepositoryError;
use crate::repository::labelled::LabelledReader;
use crate::repository::lists::Lists;

/// A record of a dump.
#[derive(Debug)]
pub struct LookedUp<'a> {
    /// The database it is in.
    pub database: u64,
    /// Its key; of one that is very long and compressed, as it is stored.
    pub key: &'a [u8],
    /// Whether that is its text.
    pub is_named: bool,
    /// When it goes, in milliseconds since the epoch.
    pub expires: Option<u64>,
    /// What kind of value it has; `None` if the type is not known.
    pub kind: Option<Kind>,
    /// Its value, elements of sets and hashes in any order; `None` if it is longer than what is read.
    pub value: Option<Value<'a>>,
}

type Give<'g> = dyn FnMut(&LookedUp<'_>) -> ControlFlow<()> + 'g;

/// What a record takes.
#[derive(Debug)]
pub struct SizeOf<'a> {
    /// The database it is in.
    pub database: u64,
    /// Its key, as in [`LookedUp`].
    pub key: &'a [u8],
    /// What kind of value it has; `None` if the type is not known.
    pub kind: Option<Kind>,
    /// Bytes of its key and value, and of what stands before them, in the dump, if nothing were compressed.
    pub size: u64,
}

type GiveSize<'g> = dyn FnMut(&SizeOf<'_>) -> ControlFlow<()> + 'g;
/// Takes a record by its place: its bytes, and the same taken apart.
type EachKept<'g> = dyn FnMut(&[u8], &[u8], Kept<'_>) -> Result<ControlFlow<()>, RepositoryError> + 'g;

/// Looks into a canonical part. Memory: 4 MiB of buckets, the longest value twice; where values are asked for that were too
/// long for a bucket, 8 bytes a record, and a line for each such value.
pub struct DumpLookup<'r> {
    reader: &'r ChunkReader<'r>,
    part: &'r Part,
    longest: u64,
    parameters: Parameters,
    family: Family,
    hasher: Hasher,
    templates: OnceCell<Templates>,
    values: OnceCell<Values>,
    large: OnceCell<BTreeMap<Vec<u8>, LargeAt>>,
}

/// The chunks of values that were too long for a bucket, with their lengths, by place.
pub(super) type LongValues = BTreeMap<Vec<u8>, Vec<(ChunkId, u32)>>;

/// Where in its stream a value is that was too long for a bucket.
#[derive(Debug, Clone, Copy)]
struct LargeAt {
    begin: u64,
    length: u64,
}

impl<'r> DumpLookup<'r> {
    /// Into this part, which is in canonical form. Values that are longer are not read.
    pub fn new(reader: &'r ChunkReader<'r>, part: &'r Part, longest: usize) -> Result<DumpLookup<'r>, RepositoryError> {
        let malformed = |malformed| RepositoryError::damaged("a recipe", malformed);
        let parameters = Parameters::of(part).map_err(malformed)?;
        let family = parameters.family().map_err(malformed)?;
        let hasher = reader.repository().name_hasher();
        let (templates, values, large) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Ok(DumpLookup { reader, part, longest: longest as u64, parameters, family, hasher, templates, values, large })
    }

    /// Hands on the record of a key; says whether there is one.
    ///
    /// One bucket is read, of very long keys a few; of a value that was too long for a bucket, all buckets and their order.
    pub fn find(&self, database: u32, key: &[u8], give: &mut Give<'_>) -> Result<bool, RepositoryError> {
        let place = [&database.to_be_bytes()[..], key].concat();
        let Some(record) = self.record_at(&place)? else { return Ok(false) };
        // There is one at most.
        let _ = self.give(&mut self.decoder(), Kept::of(&record).map_err(not_canonical)?, &place, give)?;
        Ok(true)
    }

    /// What is kept of the record at this place.
    pub(super) fn record_at(&self, place: &[u8]) -> Result<Option<Vec<u8>>, RepositoryError> {
        let label = place.get(..LABEL_MAX as usize).unwrap_or(place);
        let Some(stream) = self.stream(ColumnRole::Buckets) else { return Ok(None) };
        let mut buckets = LabelledReader::at(self.reader, stream, label)?;
        let mut next = buckets.next_entry()?;
        while let Some(entry) = next {
            next = buckets.next_entry()?;
            let of = entry.label.as_deref().unwrap_or_default();
            if of > label {
                break;
            }
            // What is sought begins the next one.
            let begins = |next: &ListEntry| label.len() == place.len() && next.label.as_deref() == Some(label);
            if next.as_ref().is_some_and(begins) {
                continue;
            }
            // What it is made of at once: the bases of a row of days are in as many packs.
            self.reader.warm(std::iter::once(entry.id))?;
            let bytes = self.reader.chunk(&entry.id, entry.length)?;
            let mut records = Records::of(&entry, &bytes)?;
            while let Some((bytes, kept)) = records.next()? {
                if kept.place(records.database) == place {
                    return Ok(Some(bytes.to_vec()));
                }
            }
        }
        Ok(None)
    }

    /// Hands on all records, by database and key, until told to stop.
    pub fn each(&self, give: &mut Give<'_>) -> Result<ControlFlow<()>, RepositoryError> {
        let mut decoder = self.decoder();
        self.each_kept(&mut |place, _, kept| self.give(&mut decoder, kept, place, give))
    }

    /// Hands on what each record takes before it is compressed, by database and key, until told to stop. Nothing but buckets is
    /// read.
    pub fn each_size(&self, give: &mut GiveSize<'_>) -> Result<ControlFlow<()>, RepositoryError> {
        self.each_kept(&mut |place, bytes, kept| {
            let (database, key) = place.split_first_chunk().ok_or_else(|| damaged("a place that is too short"))?;
            let kind = Kind::of(kept.type_byte(), self.family);
            let size = (bytes.len() as u64).saturating_add(kept.large().unwrap_or(0));
            Ok(give(&SizeOf { database: u32::from_be_bytes(*database).into(), key, kind, size }))
        })
    }

    fn each_kept(&self, each: &mut EachKept<'_>) -> Result<ControlFlow<()>, RepositoryError> {
        let Some(stream) = self.stream(ColumnRole::Buckets) else { return Ok(ControlFlow::Continue(())) };
        let mut buckets = Chunks::new(self.reader, stream)?;
        loop {
            let window = buckets.next(WINDOW)?;
            if window.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            for (entry, bytes) in window {
                let mut records = Records::of(&entry, &bytes)?;
                while let Some((bytes, kept)) = records.next()? {
                    if each(&kept.place(records.database), bytes, kept)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
    }

    pub(super) fn stream(&self, role: ColumnRole) -> Option<&'r Stream> {
        self.part.streams.get(&(role as u64))
    }

    /// The list of its buckets.
    pub(super) fn buckets(&self) -> Result<Option<Lists>, RepositoryError> {
        self.stream(ColumnRole::Buckets).map(Lists::new).transpose()
    }

    /// The next entry of a list.
    pub(super) fn next_entry(&self, lists: &mut Lists) -> Result<Option<ListEntry>, RepositoryError> {
        lists.next(&mut |list| self.reader.chunk(&list.entry.id, list.entry.length).map(Some))
    }

    /// What an entry of a list stands for.
    pub(super) fn chunk(&self, entry: &ListEntry) -> Result<Vec<u8>, RepositoryError> {
        self.reader.chunk(&entry.id, entry.length)
    }

    /// Whether records stand in the file as those of another dump do.
    pub(super) fn has_order_of(&self, other: &DumpLookup<'_>) -> bool {
        let roles = [ColumnRole::Order, ColumnRole::Buckets];
        roles.into_iter().all(|role| self.stream(role) == other.stream(role))
    }

    /// The chunks of each value that was too long for a bucket, by place.
    pub(super) fn long_values(&self) -> Result<LongValues, RepositoryError> {
        let Some(stream) = self.stream(ColumnRole::LargeValues) else { return Ok(BTreeMap::new()) };
        let mut in_file: Vec<(&Vec<u8>, &LargeAt)> = self.large()?.iter().collect();
        in_file.sort_by_key(|(_, at)| at.begin);
        let (mut lists, mut values) = (Lists::new(stream)?, LongValues::new());
        for (place, at) in in_file {
            let (mut chunks, mut length) = (Vec::new(), 0);
            while length < at.length
                && let Some(entry) = self.next_entry(&mut lists)?
            {
                length += u64::from(entry.length);
                chunks.push((entry.id, entry.length));
            }
            if length != at.length {
                return Err(damaged("a long value that is not whole chunks"));
            }
            values.insert(place.clone(), chunks);
        }
        Ok(values)
    }

    fn column(&self, role: ColumnRole) -> Result<Column<'r>, RepositoryError> {
        Column::new(self.reader, self.stream(role))
    }

    /// Without templates: they are looked for where a value needs them.
    pub(super) fn decoder(&self) -> Decoder {
        let values = Values { is_unresolved: self.parameters.is_unresolved, ..Values::default() };
        Decoder::new(self.family, self.parameters.clock, self.hasher, values)
    }

    /// How its values are kept.
    fn values(&self) -> Result<&Values, RepositoryError> {
        match self.values.get() {
            Some(values) => Ok(values),
            None => {
                let values = self.parameters.values(self.reader, self.part, self.hasher)?;
                Ok(self.values.get_or_init(|| values))
            }
        }
    }

    /// Hands on a record.
    pub(super) fn give(
        &self,
        decoder: &mut Decoder,
        kept: Kept<'_>,
        place: &[u8],
        give: &mut Give<'_>,
    ) -> Result<ControlFlow<()>, RepositoryError> {
        let (database, key) = place.split_first_chunk().ok_or_else(|| damaged("a place that is too short"))?;
        let type_byte = kept.type_byte();
        let needs_template = self.family == Family::Redis && matches!(type_byte, 30 | 32);
        if needs_template {
            decoder.know_templates(&self.values()?.templates);
        }
        let raw = self.value(decoder, kept, place)?;
        let none = Templates::default();
        let templates = if needs_template { self.templates()? } else { &none };
        let value = raw.as_deref().map(|raw| Value { type_byte, family: self.family, raw, templates });
        let kind = Kind::of(type_byte, self.family);
        let (expires, is_named) = (self.expires(kept), kept.is_named());
        Ok(give(&LookedUp { database: u32::from_be_bytes(*database).into(), key, is_named, expires, kind, value }))
    }

    fn expires(&self, kept: Kept<'_>) -> Option<u64> {
        let Some(prefix) = kept.prefix_as_it_stood() else { return kept.expiry() };
        // A dump of one key with that prefix.
        let dump = [&self.parameters.magic[..], prefix, &[0, 0, 0, 0xff]].concat();
        let mut expires = None;
        let read = read_records(&dump[..], dump.len(), &mut |record| {
            expires = record.expires;
            ControlFlow::Continue(())
        });
        read.ok().and(expires)
    }

    /// The value as in the file, but for the order of elements.
    fn value(&self, decoder: &mut Decoder, kept: Kept<'_>, place: &[u8]) -> Result<Option<Vec<u8>>, RepositoryError> {
        let mut raw = Vec::new();
        let read = match kept.large() {
            None => decoder.value_as_kept(kept.value_tag(), kept.value(), &mut raw),
            Some(length) if length > self.longest => return Ok(None),
            Some(_) => {
                let at = self.large()?.get(place).ok_or_else(|| damaged("a long value that is nowhere"))?;
                decoder.value_as_kept(kept.value_tag(), &self.read_large(*at)?, &mut raw)
            }
        };
        read.map_err(not_canonical)?;
        Ok(Some(raw))
    }

    /// The digest of a value that is longer than what is read at once, where it can be had while its bytes go by.
    pub(super) fn long_digest(&self, kept: Kept<'_>, place: &[u8]) -> Result<Option<[u8; 32]>, RepositoryError> {
        let digest = PiecewiseDigest::new(kept.type_byte(), self.family);
        let Some(mut digest) = digest.filter(|_| Kept::is_as_it_stood(kept.value_tag())) else { return Ok(None) };
        let at = self.large()?.get(place).ok_or_else(|| damaged("a long value that is nowhere"))?;
        for entry in self.chunks_of(*at)? {
            if digest.push(&self.chunk(&entry)?).is_err() {
                return Ok(None);
            }
        }
        Ok(digest.finish().ok())
    }

    /// The templates of hashes that the file has.
    pub(super) fn templates(&self) -> Result<&Templates, RepositoryError> {
        if let Some(templates) = self.templates.get() {
            return Ok(templates);
        }
        let mut templates = Templates::default();
        if self.family == Family::Redis {
            // One that is not kept is missed by the values that need it.
            each_event(self.reader, self.part, HASH_TEMPLATE, &mut |body| drop(templates.add(body)))?;
        }
        Ok(self.templates.get_or_init(|| templates))
    }

    /// The functions of the dump, each with its opcode, behind one another.
    pub fn functions(&self) -> Result<Vec<u8>, RepositoryError> {
        let mut functions = Vec::new();
        each_event(self.reader, self.part, FUNCTION, &mut |body| {
            functions.push(FUNCTION);
            functions.extend_from_slice(body);
        })?;
        Ok(functions)
    }

    /// Where values are that were too long for a bucket, by their places. They stand in the order of the file, which is known
    /// when all records have their places in it.
    fn large(&self) -> Result<&BTreeMap<Vec<u8>, LargeAt>, RepositoryError> {
        if let Some(large) = self.large.get() {
            return Ok(large);
        }
        let mut picks = self.column(ColumnRole::Order)?;
        let mut tokens = OrderTokens::new(self.parameters.records).map_err(not_canonical)?;
        loop {
            let taken = tokens.push(picks.look(1)?);
            if taken == 0 {
                break;
            }
            picks.pass(taken);
        }
        let mut order = tokens.finish().map_err(not_canonical)?;
        let mut found = BTreeMap::new();
        let mut buckets =
            self.stream(ColumnRole::Buckets).map(|stream| Chunks::new(self.reader, stream)).transpose()?;
        while let Some(buckets) = &mut buckets {
            let window = buckets.next(WINDOW)?;
            if window.is_empty() {
                break;
            }
            for (entry, bytes) in window {
                let mut records = Records::of(&entry, &bytes)?;
                while let Some((_, kept)) = records.next()? {
                    let place = kept.place(records.database);
                    let before = picks.look(VARINT)?;
                    let mut rest = before;
                    let in_file = order.place(self.hasher.hash(&place), &mut rest).map_err(not_canonical)?;
                    let used = before.len() - rest.len();
                    picks.pass(used);
                    if let Some(length) = kept.large() {
                        found.insert(in_file, (place, length));
                    }
                }
            }
        }
        let (mut large, mut begin) = (BTreeMap::new(), 0u64);
        for (place, length) in found.into_values() {
            large.insert(place, LargeAt { begin, length });
            begin = begin.checked_add(length).ok_or_else(|| damaged("long values longer than any"))?;
        }
        match begin == self.stream(ColumnRole::LargeValues).map_or(0, |stream| stream.length) {
            true => Ok(self.large.get_or_init(|| large)),
            false => Err(damaged("its long values do not add up")),
        }
    }

    fn read_large(&self, at: LargeAt) -> Result<Vec<u8>, RepositoryError> {
        let mut value = Vec::with_capacity(at.length as usize);
        for entry in self.chunks_of(at)? {
            value.extend_from_slice(&self.reader.chunk(&entry.id, entry.length)?);
        }
        match value.len() as u64 == at.length {
            true => Ok(value),
            false => Err(damaged("a long value that is not whole chunks")),
        }
    }

    /// The chunks of a value that was too long for a bucket: it begins one, and so does the next.
    fn chunks_of(&self, at: LargeAt) -> Result<Vec<ListEntry>, RepositoryError> {
        let Some(stream) = self.stream(ColumnRole::LargeValues) else { return Ok(Vec::new()) };
        let (mut lists, mut begin, mut chunks) = (Lists::new(stream)?, 0u64, Vec::new());
        while begin < at.begin + at.length
            && let Some(entry) =
                lists.next(&mut |list| self.reader.chunk(&list.entry.id, list.entry.length).map(Some))?
        {
            let length = u64::from(entry.length);
            if begin >= at.begin {
                chunks.push(entry);
            }
            begin += length;
        }
        Ok(chunks)
    }
}

/// The records of a bucket, one after the other.
pub(super) struct Records<'a> {
    pub(super) database: u32,
    reader: Reader<'a>,
}

impl<'a> Records<'a> {
    pub(super) fn of(entry: &ListEntry, bytes: &'a [u8]) -> Result<Records<'a>, RepositoryError> {
        let database = entry.label.as_deref().and_then(|label| label.first_chunk());
        let database = u32::from_be_bytes(*database.ok_or_else(|| damaged("a bucket whose label is too short"))?);
        Ok(Records { database, reader: Reader::new("bucket", bytes) })
    }

    /// The next one: its bytes, and the same taken apart.
    pub(super) fn next(&mut self) -> Result<Option<(&'a [u8], Kept<'a>)>, RepositoryError> {
        if self.reader.remaining() == 0 {
            return Ok(None);
        }
        let in_bucket = |malformed: Malformed| damaged(malformed.to_string());
        let left = self.reader.remaining() as u64;
        let length = self.reader.varint_max("a record", left).map_err(in_bucket)? as usize;
        let bytes = self.reader.take(length).map_err(in_bucket)?;
        Ok(Some((bytes, Kept::of(bytes).map_err(not_canonical)?)))
    }
}
