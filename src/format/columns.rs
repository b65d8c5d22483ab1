//! Columns of a dump in canonical form that are apart from its records: what stands before them, what changes at each save
//! without a write, and how their strings were written. Layout: format-spec/09-recipes.md.

use super::limits::{SHAPE_MAX, SHAPES_MAX};
use super::{Malformed, Reader, put_varint};

/// Opcodes that may stand before a record: KEY_META, IDLE, FREQ, AUX, EXPIRETIME_MS, EXPIRETIME.
const OPCODES: [u8; 6] = [243, 248, 249, 250, 252, 253];

/// What stands before records, in their canonical order.
///
/// RECIPE-8: a dump has few shapes, each a row of opcodes; runs of records have one. Values are elsewhere, so that a save
/// alone changes nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shapes {
    /// The shapes there are: opcodes in their order in the file.
    pub shapes: Vec<Vec<u8>>,
    /// Which shape how many records have, one run after the other.
    pub runs: Vec<Run>,
}

/// Records of one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Which.
    pub shape: usize,
    /// How many records.
    pub records: u64,
}

impl Shapes {
    /// Appends a record of a shape.
    pub fn push(&mut self, shape: &[u8]) {
        let place = self.shapes.iter().position(|known| known == shape);
        let shape = place.unwrap_or_else(|| {
            self.shapes.push(shape.to_vec());
            self.shapes.len() - 1
        });
        match self.runs.last_mut() {
            Some(run) if run.shape == shape => run.records += 1,
            _ => self.runs.push(Run { shape, records: 1 }),
        }
    }

    /// The stream's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.shapes.len() as u64);
        for shape in &self.shapes {
            put_varint(&mut out, shape.len() as u64);
            out.extend_from_slice(shape);
        }
        for run in &self.runs {
            put_varint(&mut out, run.shape as u64);
            put_varint(&mut out, run.records);
        }
        out
    }

    /// The same of a dump of `records`, read back and checked.
    pub fn decode(bytes: &[u8], records: u64) -> Result<Shapes, Malformed> {
        let mut reader = Reader::new("shapes", bytes);
        let mut shapes: Vec<Vec<u8>> = Vec::new();
        for _ in 0..reader.varint_max("number of shapes", SHAPES_MAX)? {
            let length = reader.varint_max("opcodes of a shape", SHAPE_MAX)?;
            let shape = reader.take(length as usize)?;
            if shape.iter().any(|opcode| !OPCODES.contains(opcode)) || shapes.iter().any(|known| known == shape) {
                return Err(reader.malformed("a shape of other opcodes, or twice"));
            }
            shapes.push(shape.to_vec());
        }
        let (mut runs, mut left): (Vec<Run>, u64) = (Vec::new(), records);
        while reader.remaining() > 0 {
            let shape = reader.varint_max("shape", (shapes.len() as u64).wrapping_sub(1))? as usize;
            let records = reader.varint_max("records of a run", left)?;
            if shape >= shapes.len() || records == 0 || runs.last().is_some_and(|run| run.shape == shape) {
                return Err(reader.malformed("a run of no shape, of no records, or of the shape before"));
            }
            left -= records;
            runs.push(Run { shape, records });
        }
        match left {
            0 => Ok(Shapes { shapes, runs }),
            left => Err(reader.malformed(format!("{left} records without a shape"))),
        }
    }
}

/// How a string of a dump was written, where a server would write it otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StringForm {
    /// As it is.
    Raw = 1,
    /// As an integer of one byte.
    Int8 = 2,
    /// Of two bytes.
    Int16 = 3,
    /// Of four bytes.
    Int32 = 4,
    /// Compressed.
    Lzf = 5,
    /// In bytes that no form above gives: the record holds them with their header.
    Verbatim = 6,
}

impl StringForm {
    const ALL: [StringForm; 6] = [
        StringForm::Raw,
        StringForm::Int8,
        StringForm::Int16,
        StringForm::Int32,
        StringForm::Lzf,
        StringForm::Verbatim,
    ];
}

/// The stream that names strings with a form of their own, each by its place among all strings of the records in
/// canonical order; places ascend.
///
/// RECIPE-9: places are told from one another, so that a string more or less changes one number.
pub fn encode_forms(forms: &[(u64, StringForm)]) -> Vec<u8> {
    let (mut out, mut next) = (Vec::new(), 0);
    for (place, form) in forms {
        put_varint(&mut out, place - next);
        out.push(*form as u8);
        next = place + 1;
    }
    out
}

/// The same of a dump with so many strings, read back and checked.
pub fn decode_forms(bytes: &[u8], strings: u64) -> Result<Vec<(u64, StringForm)>, Malformed> {
    let mut reader = Reader::new("forms", bytes);
    let (mut forms, mut next) = (Vec::new(), 0u64);
    while reader.remaining() > 0 {
        let gap = reader.varint()?;
        let place = next.checked_add(gap).filter(|place| *place < strings);
        let place = place.ok_or_else(|| reader.malformed("a form behind the last string"))?;
        let number = reader.u8()?;
        let form = StringForm::ALL.into_iter().find(|form| *form as u8 == number);
        forms.push((place, form.ok_or_else(|| reader.malformed(format!("no form {number}")))?));
        next = place + 1;
    }
    Ok(forms)
}

/// How IDLE of a record stands in its column; `None`: the record is not canonical.
///
/// RECIPE-10: as the second of the last access, which stays where nobody reads the key.
pub fn encode_idle(ctime: u64, idle: u64) -> Option<[u8; 4]> {
    u32::try_from(idle).ok().map(|idle| (ctime as u32).wrapping_sub(idle).to_le_bytes())
}

/// The same, read back.
pub fn decode_idle(ctime: u64, column: [u8; 4]) -> u64 {
    u64::from((ctime as u32).wrapping_sub(u32::from_le_bytes(column)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RECIPE-8
    #[test]
    fn shapes_come_back_and_a_save_alone_does_not_change_them() {
        let mut shapes = Shapes::default();
        for shape in [&[][..], &[], &[252, 248], &[248], &[252, 248], &[252, 248]] {
            shapes.push(shape);
        }
        let bytes = shapes.encode();
        assert_eq!(bytes, [3, 0, 2, 252, 248, 1, 248, 0, 2, 1, 1, 2, 1, 1, 2]);
        assert_eq!(Shapes::decode(&bytes, 6), Ok(shapes));
        for records in [0, 5, 7] {
            assert!(Shapes::decode(&bytes, records).is_err(), "{records}");
        }
        for bad in [
            &[1, 1, 254, 0, 1][..],
            &[2, 0, 0, 0, 1],
            &[1, 0, 1, 1],
            &[1, 0, 0, 0],
            &[2, 0, 1, 248, 0, 1, 0, 1],
            &[0, 0, 1],
            &[1, 17],
            &[1, 0, 0],
        ] {
            assert!(Shapes::decode(bad, 1).is_err() && Shapes::decode(bad, 2).is_err(), "{bad:?}");
        }
        assert_eq!(Shapes::decode(&[0], 0), Ok(Shapes::default()));
        assert!(Shapes::decode(&[1, 0, 0, 0], 0).is_err(), "a run of no records");
    }

    /// RECIPE-9
    #[test]
    fn forms_come_back_by_the_places_of_their_strings() {
        let forms = [(0, StringForm::Raw), (1, StringForm::Lzf), (300, StringForm::Verbatim)];
        let bytes = encode_forms(&forms);
        assert_eq!(bytes, [0, 1, 0, 5, 0xaa, 2, 6]);
        assert_eq!(decode_forms(&bytes, 301), Ok(forms.to_vec()));
        assert!(decode_forms(&bytes, 300).is_err() && decode_forms(&bytes[..6], 301).is_err());
        for number in [0, 7, 255] {
            assert!(decode_forms(&[0, number], 9).is_err(), "{number}");
        }
    }

    /// RECIPE-10
    #[test]
    fn the_second_of_the_last_access_stays_when_only_time_passes() {
        let column = encode_idle(1_790_000_000, 500).unwrap();
        assert_eq!(encode_idle(1_790_000_070, 570), Some(column));
        assert_eq!(decode_idle(1_790_000_070, column), 570);
        for (ctime, idle) in [(0, 7), (5, u64::from(u32::MAX)), (u64::MAX, 0)] {
            assert_eq!(decode_idle(ctime, encode_idle(ctime, idle).unwrap()), idle);
        }
        assert_eq!(encode_idle(9, 1 << 32), None);
    }
}
