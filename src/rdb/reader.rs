//! The reader walks from the magic to the checksum and counts what it passes.

use std::io::{self, Read};

use super::coding::{Cause, Step, Stop};
use super::header::{Family, Header};
use super::source::{BUFFER, CHECKSUM, Source};
use super::stretch::{Stretch, What};
use super::structure::{Checksum, DATABASES_MAX, Database, Finding, Structure};
use super::value::{Kind, Known, may_lose_fields, pass_module_parts, pass_value};

pub(super) const OPCODE_AUX: u8 = 250;

/// The first byte that is no type of a value.
pub(super) const OPCODES: u8 = 241;
pub(super) const OPCODE_NO_EVICT: u8 = 241;
const OPCODE_HASH_TEMPLATE: u8 = 242;
pub(super) const OPCODE_243: u8 = 243;
const OPCODE_SLOT_INFO: u8 = 244;
pub(super) const OPCODE_FUNCTION2: u8 = 245;
const OPCODE_MODULE_AUX: u8 = 247;
pub(super) const OPCODE_IDLE: u8 = 248;
pub(super) const OPCODE_FREQ: u8 = 249;
const OPCODE_RESIZEDB: u8 = 251;
pub(super) const OPCODE_EXPIRETIME_MS: u8 = 252;
pub(super) const OPCODE_EXPIRETIME: u8 = 253;
const OPCODE_SELECTDB: u8 = 254;
pub(super) const OPCODE_EOF: u8 = 255;

/// Reads a whole RDB file and reports its structure.
///
/// The input is read exactly once, in order and to its end, whatever is found in it, through a buffer of 256 KiB: it may
/// pass the bytes on to whoever stores them. Errors are those of the input alone; everything there is to say about
/// the bytes is in the report.
///
/// The checksum is proved at the EOF mark. A file that cannot be followed that far, because it holds something unknown
/// or seems broken, has it proved over the raw bytes instead: everything but the last eight bytes, against these
/// eight. If they agree, the file is as its server wrote it and it is the reader that lacks knowledge: the finding is
/// [`Finding::NotUnderstood`]. If they disagree, and are not the zero of `rdbchecksum no`, it is
/// [`Finding::Suspect`].
pub fn read_structure<R: Read>(input: R) -> io::Result<Structure> {
    read_stretches(input, &mut |_| {})
}

/// The same, and hands on each record and each opcode as soon as its end is known. None is handed on that could not be
/// followed to its end; that the file is damaged may turn out later.
pub fn read_stretches<R: Read>(mut input: R, each: &mut dyn FnMut(Stretch)) -> io::Result<Structure> {
    Walk::new(&mut input, false, each).run(&mut |_| {})
}

/// Reads an AOF that begins as an RDB file, and hands every byte after the checksum to `trailing`, in order.
///
/// As [`read_structure`], with one difference: where something is not understood, the checksum is looked for after every
/// byte that may be the EOF mark. Where none is right the file is suspect, unless the zero of `rdbchecksum no` stands
/// there: nothing is handed to `trailing` then, and `end` is `None`.
pub fn read_preamble<R: Read>(input: R, trailing: &mut dyn FnMut(&[u8])) -> io::Result<Structure> {
    read_preamble_stretches(input, &mut |_| {}, trailing)
}

/// The same, and hands on what [`read_stretches`] does.
pub fn read_preamble_stretches<R: Read>(
    mut input: R,
    each: &mut dyn FnMut(Stretch),
    trailing: &mut dyn FnMut(&[u8]),
) -> io::Result<Structure> {
    Walk::new(&mut input, true, each).run(trailing)
}

/// What is known between two records.
struct Walk<'a> {
    source: Source<'a>,
    /// Takes what was followed to its end.
    each: &'a mut dyn FnMut(Stretch),
    structure: Structure,
    /// Commands may follow the checksum.
    preamble: bool,
    family: Family,
    database: u64,
    /// Counts of the stretch of `database` being read.
    counts: Database,
    /// The next key carries an expiry.
    expires: bool,
    known: Known,
    /// Where the record or event being read begins.
    at: u64,
    /// What is being read, for the one who is told that the file ends there.
    within: &'static str,
}

impl<'a> Walk<'a> {
    fn new(input: &'a mut dyn Read, preamble: bool, each: &'a mut dyn FnMut(Stretch)) -> Self {
        Self {
            source: Source::new(input, BUFFER),
            each,
            structure: Structure::empty(),
            preamble,
            family: Family::Redis,
            database: 0,
            counts: Database::default(),
            expires: false,
            known: Known::default(),
            at: 0,
            within: "the magic",
        }
    }

    fn run(mut self, trailing: &mut dyn FnMut(&[u8])) -> io::Result<Structure> {
        let walked = self.walk();
        self.leave_database();
        self.structure.modules = self.known.modules();
        match walked.and_then(|()| self.prove_checksum()) {
            Ok(()) => self.pass_trailing(trailing)?,
            Err(stop) => match stop.into_cause() {
                Cause::Unknown(what) if self.preamble => self.look_for_end(what, trailing)?,
                cause => self.settle(cause, trailing)?,
            },
        }
        Ok(self.structure)
    }

    /// From the magic to the EOF mark.
    fn walk(&mut self) -> Step<()> {
        let header = Header::read(&mut self.source)?;
        self.structure.header = Some(header);
        self.family = header.family;
        loop {
            self.at = self.source.offset();
            self.within = "its records, without an EOF mark";
            match self.source.byte()? {
                OPCODE_EOF => return Ok(()),
                mark if mark < OPCODES => self.record(mark)?,
                opcode => {
                    self.event(opcode)?;
                    self.pass(What::of_opcode(opcode, self.family));
                }
            }
        }
    }

    /// Hands on what was read since the last time.
    #[inline]
    fn pass(&mut self, what: What) {
        (self.each)(Stretch { begin: self.at, end: self.source.offset(), what });
    }

    /// A key and its value.
    #[inline]
    fn record(&mut self, type_byte: u8) -> Step<()> {
        let Some(kind) = Kind::of(type_byte, self.family) else {
            return Err(Stop::unknown(format!("a value of type {type_byte}")));
        };
        self.within = kind.name();
        self.source.skip_string()?;
        let value = self.source.offset();
        pass_value(&mut self.source, type_byte, self.family, &mut self.known)?;
        self.counts.keys += 1;
        self.counts.expiring += u64::from(self.expires);
        self.counts.volatile += u64::from(!self.expires && may_lose_fields(type_byte, self.family));
        kind.count(&mut self.counts.types);
        self.expires = false;
        self.pass(What::Record { type_byte, value, database: self.database });
        Ok(())
    }

    /// What stands between and before keys.
    fn event(&mut self, opcode: u8) -> Step<()> {
        self.within = "what stands between keys";
        match opcode {
            OPCODE_EXPIRETIME_MS => self.expiry(8),
            OPCODE_EXPIRETIME => self.expiry(4),
            OPCODE_IDLE => self.source.skip_lengths(1),
            OPCODE_FREQ => self.source.skip(1),
            OPCODE_AUX => self.structure.aux.read_field(&mut self.source),
            OPCODE_SELECTDB => self.select_database(),
            OPCODE_RESIZEDB => self.source.skip_lengths(2),
            OPCODE_SLOT_INFO => self.source.skip_lengths(3),
            OPCODE_FUNCTION2 => self.function(),
            OPCODE_MODULE_AUX => self.module_aux(),
            OPCODE_NO_EVICT if self.family == Family::Redis => Ok(()),
            OPCODE_HASH_TEMPLATE if self.family == Family::Redis => self.known.read_template(&mut self.source),
            OPCODE_243 => match self.family {
                Family::Redis => self.key_metadata(),
                Family::Valkey => self.slot_import(),
            },
            // Among them 246 (functions of the 7.0 release candidates).
            other => Err(Stop::unknown(format!("the opcode {other}"))),
        }
    }

    #[inline]
    fn expiry(&mut self, width: u64) -> Step<()> {
        self.expires = true;
        self.source.skip(width)
    }

    fn select_database(&mut self) -> Step<()> {
        let number = self.source.length()?;
        self.leave_database();
        let databases = &mut self.structure.databases;
        if databases.len() >= DATABASES_MAX && !databases.contains_key(&number) {
            return Err(Stop::unknown(format!("more than {DATABASES_MAX} databases")));
        }
        self.database = number;
        databases.entry(number).or_default();
        Ok(())
    }

    /// Adds what was counted since the database was selected. Keys before any SELECTDB are in database 0.
    fn leave_database(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        if counts.keys > 0 {
            self.structure.databases.entry(self.database).or_default().add(&counts);
        }
    }

    fn function(&mut self) -> Step<()> {
        self.within = "a function library";
        self.source.skip_string()?;
        self.structure.functions += 1;
        Ok(())
    }

    /// A module's data outside of keys: its id, when to load it (marked as an unsigned number), and the data.
    fn module_aux(&mut self) -> Step<()> {
        self.within = "a module's data";
        let id = self.source.length()?;
        self.known.see_module(id)?;
        self.source.skip_lengths(2)?;
        pass_module_parts(&mut self.source)
    }

    /// What modules keep of the next key: a class of four bytes each, and its data.
    fn key_metadata(&mut self) -> Step<()> {
        for _ in 0..self.source.length()? {
            self.source.skip(4)?;
            pass_module_parts(&mut self.source)?;
        }
        Ok(())
    }

    /// Valkey's note of slots under way to this node: a name, then pairs of first and last slot.
    fn slot_import(&mut self) -> Step<()> {
        self.source.skip_string()?;
        for _ in 0..self.source.length()? {
            self.source.skip_lengths(2)?;
        }
        Ok(())
    }

    /// Past the EOF mark: compares the checksum, where the version has one.
    fn prove_checksum(&mut self) -> Step<()> {
        self.within = "the checksum";
        if !self.structure.header.is_some_and(Header::has_checksum) {
            self.structure.checksum = Checksum::Absent;
            self.structure.end = Some(self.source.offset());
            return Ok(());
        }
        let computed = self.source.checksum();
        let stored = u64::from_le_bytes(self.source.bytes::<CHECKSUM>()?);
        self.structure.end = Some(self.source.offset());
        self.structure.checksum = match stored {
            0 => Checksum::Unchecked,
            right if right == computed => Checksum::Verified,
            _ => Checksum::Wrong,
        };
        match self.structure.checksum {
            Checksum::Wrong => Err(Stop::broken("the checksum is wrong")),
            Checksum::Verified | Checksum::Unchecked | Checksum::Absent | Checksum::NotReached => Ok(()),
        }
    }

    /// All is well so far; the rest of the input is no longer RDB.
    fn pass_trailing(&mut self, trailing: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.source.stop_summing();
        self.source.ensure(2)?;
        self.structure.trailing_is_commands = match self.source.window() {
            [b'*', digit, ..] => digit.is_ascii_digit(),
            [first, ..] => *first == b'#' || *first == b'*',
            [] => false,
        };
        let end = self.source.offset();
        self.source.drain(trailing)?;
        self.structure.length = self.source.offset();
        self.structure.trailing = self.structure.length.saturating_sub(end);
        if self.structure.checksum == Checksum::Absent && self.structure.trailing > 0 {
            // Servers that old wrote nothing here. So a damaged version digit does not pass for an old file.
            let what = "bytes after the end of a version without checksum".to_owned();
            self.structure.finding = Finding::Suspect { offset: end, what };
        }
        Ok(())
    }

    /// The walk met something unknown before commands that may follow: they begin after the first EOF mark with the
    /// checksum of all before it, which is no accident.
    fn look_for_end(&mut self, what: String, trailing: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let offset = self.at;
        if self.structure.header.is_some_and(Header::has_checksum) {
            let mut may_be_unchecked = false;
            while let Some(found) = self.source.after_next(OPCODE_EOF)? {
                if found.is_right() {
                    self.source.take(CHECKSUM);
                    (self.structure.checksum, self.structure.end) = (Checksum::Verified, Some(self.source.offset()));
                    self.structure.finding = Finding::NotUnderstood { offset, what };
                    return self.pass_trailing(trailing);
                }
                may_be_unchecked |= found.stored == 0 && matches!(found.then, None | Some(b'*' | b'#'));
            }
            if !may_be_unchecked {
                return self.settle(Cause::Broken(format!("{what}, and no checksum is right behind it")), trailing);
            }
        }
        self.settle(Cause::Unknown(what), trailing)
    }

    /// The walk ended early, or at a wrong checksum: reads to the end and weighs the last eight bytes.
    fn settle(&mut self, cause: Cause, trailing: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if let Cause::Input(error) = cause {
            return Err(error);
        }
        let reached_end = self.structure.end.is_some();
        self.source.drain(&mut |rest| {
            if reached_end {
                trailing(rest);
            }
        })?;
        self.structure.length = self.source.offset();
        self.structure.trailing = self.structure.end.map_or(0, |end| self.structure.length.saturating_sub(end));
        let unknown = matches!(cause, Cause::Unknown(_));
        let is_container = unknown && self.structure.header.is_none();
        let (checksum, suspect) = match self.checksum_at_tail() {
            // Its checksum is inside.
            _ if is_container => (Checksum::NotReached, false),
            Checksum::Verified => (Checksum::Verified, false),
            tail @ (Checksum::Unchecked | Checksum::Absent) if unknown => (tail, false),
            _ if unknown && self.preamble => (Checksum::NotReached, false),
            _ if unknown || reached_end => (Checksum::Wrong, true),
            _ => (Checksum::NotReached, true),
        };
        let (offset, length) = (self.at, self.structure.length);
        let what = match cause {
            Cause::Unknown(what) if suspect => format!("{what}, and the file does not end with its checksum"),
            Cause::Unknown(what) | Cause::Broken(what) => what,
            Cause::Ended | Cause::Input(_) => format!("the file ends at {length} within {}", self.within),
        };
        if !suspect {
            // A wrong checksum in the midst of a file that ends with a right one: no EOF mark was there.
            (self.structure.end, self.structure.trailing) = (None, 0);
        }
        self.structure.checksum = checksum;
        self.structure.finding =
            if suspect { Finding::Suspect { offset, what } } else { Finding::NotUnderstood { offset, what } };
        Ok(())
    }

    /// What the last eight bytes of the drained input are as a checksum of the rest.
    fn checksum_at_tail(&self) -> Checksum {
        if self.structure.header.is_some_and(|header| !header.has_checksum()) {
            return Checksum::Absent;
        }
        match self.source.checksum_at_tail() {
            Some((_, 0)) => Checksum::Unchecked,
            Some((computed, stored)) if computed == stored => Checksum::Verified,
            Some(_) | None => Checksum::Wrong,
        }
    }
}
