//! A dump as it is read, parted into records, events, and what is none of both. Rules: format-spec/19-canonical-rdb.md.

use super::super::header::{Family, Header, MAGIC};
use super::super::reader::{OPCODE_AUX, OPCODE_EOF, OPCODES};
use super::super::source::CHECKSUM;
use super::super::stretch::{Stretch, What};
use super::super::strings::length_of;
use super::super::values::HASH_TEMPLATE;
use super::order::ORDER_MAX;
use super::record::{HandedOn, Limits, RecordAt};
use super::{NotCanonical, Step, Stop, clock_of, is_slot_event, put_varint, take_varint};

/// Bytes of records that are handed on together.
const BATCH: usize = 1 << 20;
/// Room for one, with what is read at once behind it, and how many of these are kept while they are empty.
const SPARE: usize = 2 * BATCH;
const SPARES: usize = 4;
/// More bytes that cannot be followed end what is canonical.
const FOLLOWED_LONGEST: usize = 48 << 20;
/// Whoever finds stretches looks at most so many bytes ahead of what it has passed.
const AHEAD: usize = 4096;
/// More bytes of events end what is canonical.
const EVENTS_LONGEST: usize = 64 << 20;
/// So do more bytes before one key: they would not fit into a bucket.
const PREFIX_LONGEST: u64 = 1 << 20;

/// Why nothing is known of a dump: it ended within a value that was handed on.
const UNENDED: &str = "a value without an end";

/// Records that stood one after the other, with their bytes.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<At>,
    /// Ends of opcodes before records, each counted from the begin of its record.
    prefix: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct At {
    begin: u32,
    end: u32,
    /// From `begin` on.
    value: u32,
    prefix: (u32, u32),
    database: u32,
    place: u32,
    giant: Option<HandedOn>,
}

/// What is handed on of a dump: in the order of the file.
#[derive(Debug)]
pub enum Gathering {
    /// Records.
    Records(Batch),
    /// More of a value that is too long to wait for its end. Its record comes with its end.
    Value(Vec<u8>),
    /// The end of such a value, and its record.
    ValueEnd(Vec<u8>, Batch),
    /// What follows the part of the file that is canonical.
    After(Vec<u8>),
}

/// A record whose value is handed on while it is read.
#[derive(Debug)]
struct Giant {
    /// The record up to its value.
    head: Vec<u8>,
    /// Where that began, and where the value begins.
    begin: u64,
    value: u64,
}

impl Batch {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Notes that of the value that was handed on the elements were sorted.
    pub fn note_sorted(&mut self) {
        self.records.iter_mut().filter_map(|at| at.giant.as_mut()).for_each(|giant| giant.is_sorted = true);
    }

    /// How many bytes they take in the file.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The records, each with its place in the file, from 0 on.
    pub fn records(&self) -> impl Iterator<Item = (u32, RecordAt<'_>)> {
        self.records.iter().map(|at| {
            let bytes = self.bytes.get(at.begin as usize..at.end as usize).unwrap_or_default();
            let prefix = self.prefix.get(at.prefix.0 as usize..at.prefix.1 as usize).unwrap_or_default();
            (at.place, RecordAt { bytes, prefix, value: at.value as usize, database: at.database, giant: at.giant })
        })
    }
}

/// CANON-5: takes the bytes of a dump, and the stretches that were found in them; hands on records in batches, and what follows the
/// part of the file that is canonical. Memory: twice 1 MiB or the longest record, 48 MiB at most, the events, and 1 to 2 MiB for
/// each of four batches that are used again.
#[derive(Default)]
pub struct Gatherer {
    limits: Limits,
    /// Bytes from `base` on that were not handed on.
    buffer: Vec<u8>,
    /// Empty ones.
    spare: Vec<Batch>,
    /// Where in the file that begins.
    base: u64,
    /// Where what was followed ends.
    complete: u64,
    batch: Batch,
    /// Opcodes that belong to the next record: where the first begins, and where each ends.
    pending: Vec<(u64, u64)>,
    records: u64,
    /// Records since the last event.
    gap: u64,
    events: Vec<u8>,
    header: Option<(Header, [u8; MAGIC])>,
    clock: u64,
    /// Templates of hashes that were not taken yet.
    templates: Vec<Vec<u8>>,
    /// AUX fields belong to keys from here on.
    in_databases: bool,
    tail: Vec<u8>,
    end: End,
    giant: Option<Giant>,
    /// Bytes of the file that went into records and events.
    kept: u64,
    /// The end of the value of one, and its record.
    ended: Option<(Vec<u8>, Batch)>,
    /// Where in the file the bytes began that came last: what stands before was looked at.
    last: u64,
}

/// Whether the part of the file that is canonical has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum End {
    #[default]
    No,
    /// With the mark of the end.
    Marked,
    /// Before what cannot be gathered, for this reason.
    Cut(String),
}

/// What is known of a dump when all of it was taken.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What it begins with; none: it does not begin as a dump does.
    pub magic: Option<[u8; MAGIC]>,
    /// When it was saved, in seconds since the epoch; 0 where it does not say.
    pub clock: u64,
    /// How many records.
    pub records: u64,
    /// Events, each behind the number of records since the one before and its length.
    pub events: Vec<u8>,
    /// The mark of the end, and the checksum; nothing where what is canonical ends before.
    pub tail: Vec<u8>,
    /// Bytes of the file up to the end of what is canonical.
    pub length: u64,
    /// Why what follows could not be gathered, where it is not for the dump's end.
    pub cut: Option<String>,
}

impl Gatherer {
    /// For a dump whose records may be so long.
    pub fn new(limits: Limits) -> Gatherer {
        Gatherer { limits, ..Gatherer::default() }
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.last = self.base + self.buffer.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.header.is_none() && self.buffer.len() >= MAGIC && self.base == 0 && self.complete == 0 {
            match self.buffer.first_chunk::<MAGIC>().and_then(|magic| Some((Header::parse(magic)?, *magic))) {
                Some(header) => {
                    self.header = Some(header);
                    self.complete = MAGIC as u64;
                }
                None => self.cut("it does not begin as an RDB file does"),
            }
        }
        self.look_for_end();
        if self.giant.is_none() && self.open() > self.limits.record {
            self.begin_giant();
        }
    }

    /// What is open is a record whose value is very long, if its key is there; it may still come.
    fn begin_giant(&mut self) {
        let open = self.buffer.get(self.held(self.complete)..).unwrap_or_default();
        let key = match open.split_first() {
            Some((type_byte, key)) if *type_byte < OPCODES => length_of(key).ok(),
            _ => None,
        };
        match key {
            Some(key) => {
                let begin = self.pending.first().map_or(self.complete, |(begin, _)| *begin);
                let value = self.complete + 1 + key as u64;
                let head = self.buffer.get(self.held(begin)..self.held(value)).unwrap_or_default().to_vec();
                self.giant = Some(Giant { head, begin, value });
            }
            None if self.open() > FOLLOWED_LONGEST => self.cut("what belongs to no record, and is too long"),
            None => {}
        }
    }

    /// Bytes that were looked at, and not followed.
    fn open(&self) -> usize {
        match self.end {
            End::No => self.held(self.last).saturating_sub(self.held(self.complete)),
            End::Marked | End::Cut(_) => 0,
        }
    }

    /// Where in the buffer a place of the file is.
    fn held(&self, place: u64) -> usize {
        usize::try_from(place.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.buffer.len())
    }

    fn cut(&mut self, why: &str) {
        // A value that was handed on cannot be taken back.
        let why = if self.giant.is_some() { UNENDED } else { why };
        if self.end == End::No {
            self.give_up_pending();
            self.end = End::Cut(why.to_owned());
        }
    }

    /// What belongs to no record stands for itself.
    fn give_up_pending(&mut self) {
        for (begin, end) in std::mem::take(&mut self.pending) {
            self.put_event(begin, end);
        }
    }

    fn put_event(&mut self, begin: u64, end: u64) {
        let bytes = self.buffer.get(self.held(begin)..self.held(end)).unwrap_or_default();
        put_varint(&mut self.events, self.gap);
        put_varint(&mut self.events, bytes.len() as u64);
        self.events.extend_from_slice(bytes);
        self.kept += end - begin;
        self.gap = 0;
    }

    /// The mark of the end stands where nothing else could.
    fn look_for_end(&mut self) {
        let at = self.held(self.complete);
        let is_here = self.end == End::No && self.giant.is_none() && self.buffer.get(at) == Some(&OPCODE_EOF);
        let Some((header, _)) = self.header.filter(|_| is_here) else { return };
        let length = if header.has_checksum() { 1 + CHECKSUM } else { 1 };
        if let Some(tail) = self.buffer.get(at..at + length) {
            self.tail = tail.to_vec();
            self.give_up_pending();
            self.complete += length as u64;
            self.end = End::Marked;
        }
    }

    /// Takes what was followed to its end in the bytes so far.
    pub fn stretch(&mut self, stretch: Stretch) {
        if self.end != End::No {
            return;
        }
        let Stretch { begin, end, what } = stretch;
        let event = self.buffer.get(self.held(begin)..self.held(end)).unwrap_or_default();
        match what {
            What::Record { value, database, .. } => {
                let is_told = self.records < ORDER_MAX - 1 && u32::try_from(database).is_ok();
                if !is_told {
                    return self.cut("more records, or databases, than are told apart");
                }
                self.in_databases = true;
                self.put_record(stretch, value, database as u32);
            }
            What::Prefix { .. } => self.pending.push((begin, end)),
            What::Event { opcode } if opcode == OPCODE_AUX && self.in_databases && !is_slot_event(event) => {
                self.pending.push((begin, end));
            }
            What::Event { opcode } => {
                if let Some(clock) = clock_of(event).filter(|_| !self.in_databases) {
                    self.clock = clock;
                }
                if let (HASH_TEMPLATE, Some((header, _))) = (opcode, &self.header)
                    && header.family == Family::Redis
                {
                    self.templates.extend(event.get(1..).map(<[u8]>::to_vec));
                }
                self.in_databases |= opcode != OPCODE_AUX;
                self.give_up_pending();
                self.put_event(begin, end);
            }
        }
        self.complete = end;
        if self.pending.first().is_some_and(|(begin, _)| end - begin > PREFIX_LONGEST) {
            self.cut("very many bytes before a key");
        }
        if self.events.len() > EVENTS_LONGEST {
            self.cut("very many bytes that belong to no record");
        }
    }

    fn put_record(&mut self, stretch: Stretch, value: u64, database: u32) {
        if let Some(giant) = self.giant.take() {
            return self.end_giant(giant, stretch.end, database);
        }
        let begin = self.pending.first().map_or(stretch.begin, |(begin, _)| *begin);
        let from = self.batch.prefix.len() as u32;
        self.batch.prefix.extend(self.pending.drain(..).map(|(_, end)| (end - begin) as u32));
        self.batch.records.push(At {
            begin: (begin - self.base) as u32,
            end: (stretch.end - self.base) as u32,
            value: (value - begin) as u32,
            prefix: (from, self.batch.prefix.len() as u32),
            database,
            place: self.records as u32,
            giant: None,
        });
        self.kept += stretch.end - begin;
        self.records += 1;
        self.gap += 1;
    }

    /// Family and clock, once the first record came: neither changes after that.
    pub fn header(&self) -> Option<(Header, u64)> {
        self.header.map(|(header, _)| (header, self.clock))
    }

    /// Templates of hashes that came since this was asked last, each as in the file without its opcode: records that are handed
    /// on from now on may name them.
    pub fn take_templates(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.templates)
    }

    /// What is to be handed on now: to be asked, until there is nothing more, whenever bytes came.
    pub fn hand_on(&mut self) -> Option<Gathering> {
        if let Some((value, batch)) = self.ended.take() {
            return Some(Gathering::ValueEnd(value, batch));
        }
        let is_full = self.held(self.complete) >= BATCH || self.giant.is_some() || self.end != End::No;
        if is_full && !self.batch.records.is_empty() {
            return Some(Gathering::Records(self.take_batch()));
        }
        if self.giant.is_some() {
            return self.next_of_giant();
        }
        if self.end == End::No {
            return None;
        }
        drop(self.take_batch());
        self.base += self.buffer.len() as u64;
        (!self.buffer.is_empty()).then(|| Gathering::After(std::mem::take(&mut self.buffer)))
    }

    /// Type and key of the record whose value is being handed on, as they stand in the file.
    pub fn giant(&self) -> Option<&[u8]> {
        let giant = self.giant.as_ref()?;
        giant.head.get((self.complete - giant.begin) as usize..)
    }

    /// More of the value of a giant: what was looked at before the bytes that came last, and did not end there.
    fn next_of_giant(&mut self) -> Option<Gathering> {
        let from = self.held(self.giant.as_ref()?.value);
        let to = self.held(self.last).saturating_sub(AHEAD);
        (to > from).then(|| Gathering::Value(self.take_value(from, to)))
    }

    /// Takes bytes of the buffer, and drops those before them.
    fn take_value(&mut self, from: usize, to: usize) -> Vec<u8> {
        let value = self.buffer.get(from..to).unwrap_or_default().to_vec();
        self.buffer.drain(..to);
        // Of what was there when the first piece came.
        self.buffer.shrink_to(2 * BATCH);
        self.base += to as u64;
        value
    }

    fn end_giant(&mut self, giant: Giant, end: u64, database: u32) {
        let value = self.take_value(self.held(giant.value), self.held(end));
        let prefix: Vec<u32> = self.pending.drain(..).map(|(_, end)| (end - giant.begin) as u32).collect();
        let head = giant.head.len() as u32;
        let record = At {
            begin: 0,
            end: head,
            value: head,
            prefix: (0, prefix.len() as u32),
            database,
            place: self.records as u32,
            giant: Some(HandedOn { length: end - giant.value, is_sorted: false }),
        };
        self.kept += end - giant.begin;
        (self.records, self.gap) = (self.records + 1, self.gap + 1);
        self.ended = Some((value, Batch { bytes: giant.head, records: vec![record], prefix }));
    }

    /// All records that came, and all bytes up to the end of what was followed, but for opcodes that wait for their record.
    fn take_batch(&mut self) -> Batch {
        let end = self.pending.first().map_or(self.complete, |(begin, _)| *begin);
        let mut next =
            self.spare.pop().unwrap_or_else(|| Batch { bytes: Vec::with_capacity(SPARE), ..Batch::default() });
        let taken = self.held(end);
        next.bytes.extend(self.buffer.drain(taken..));
        let bytes = std::mem::replace(&mut self.buffer, std::mem::take(&mut next.bytes));
        self.base = end;
        Batch { bytes, ..std::mem::replace(&mut self.batch, next) }
    }

    /// Takes back what was handed on, to be used again: memory that is new has to be waited for.
    pub fn take_back(&mut self, batch: Batch) {
        let Batch { mut bytes, mut records, mut prefix } = batch;
        if self.spare.len() < SPARES && (BATCH..=SPARE).contains(&bytes.capacity()) {
            bytes.clear();
            records.clear();
            prefix.clear();
            self.spare.push(Batch { bytes, records, prefix });
        }
    }

    /// All bytes came: what is left of it, by [`Gatherer::hand_on`], and then what is known of it by [`Gatherer::finish`].
    pub fn end(&mut self) {
        self.look_for_end();
        self.cut("");
    }

    /// What is known when all was handed on. Where a value that was handed on had no end, or what was taken of the file does
    /// not add up to it, nothing is.
    pub fn finish(self) -> Option<Gathered> {
        let magic = self.header.map_or(0, |(_, magic)| magic.len());
        if magic as u64 + self.kept + self.tail.len() as u64 != self.complete {
            return None;
        }
        let cut = match self.end {
            End::Cut(why) if why == UNENDED => return None,
            End::Cut(why) => Some(why).filter(|why| !why.is_empty()),
            End::No | End::Marked => None,
        };
        Some(Gathered {
            magic: self.header.map(|(_, magic)| magic),
            clock: self.clock,
            records: self.records,
            events: self.events,
            tail: self.tail,
            length: self.complete,
            cut,
        })
    }
}

/// The next event: how many records stand between the one before and it, and its bytes.
pub fn take_event<'a>(rest: &mut &'a [u8]) -> Result<Option<(u64, &'a [u8])>, NotCanonical> {
    if rest.is_empty() {
        return Ok(None);
    }
    let next = |rest: &mut &'a [u8]| -> Step<(u64, &'a [u8])> {
        let (gap, length) = (take_varint(rest)?, take_varint(rest)?);
        let event = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
        let (event, behind) = event.ok_or_else(Stop::ended)?;
        *rest = behind;
        Ok((gap, event))
    };
    Ok(Some(next(rest)?))
}
