//! Records that stand in a frame column by column: names by what they share with the one before, what belongs together side
//! by side. Rules: format-spec/06-frames.md.

use std::ops::Range;

use super::{Malformed, Reader, put_varint};

/// The numbers of a row: bytes before its name, bytes its name shares with the name before, other bytes of its name, bytes
/// behind it.
const NUMBERS: usize = 4;

/// Puts rows into columns; `name_in` says where in a row its name stands. Nothing where these are no rows, or where that
/// makes them longer.
///
/// FRAME-5: the columns, before they are compressed. Memory: twice the rows.
pub fn to_columns(rows: &[u8], name_in: impl Fn(&[u8]) -> Option<Range<usize>>) -> Option<Vec<u8>> {
    let (mut reader, mut count) = (Reader::new("rows", rows), 0);
    let mut before: &[u8] = &[];
    let mut numbers: [Vec<u8>; NUMBERS] = Default::default();
    let [mut heads, mut names, mut rests] = [Vec::new(), Vec::new(), Vec::with_capacity(rows.len())];
    while reader.remaining() > 0 {
        let length = reader.varint_max("length of a row", reader.remaining() as u64).ok()?;
        let row = reader.take(length as usize).ok()?;
        let Range { start, end } = name_in(row)?;
        let (head, name, rest) = (row.get(..start)?, row.get(start..end)?, row.get(end..)?);
        let shared = before.iter().zip(name).take_while(|(one, other)| one == other).count();
        let own = name.get(shared..)?;
        for (column, number) in numbers.iter_mut().zip([head.len(), shared, own.len(), rest.len()]) {
            put_varint(column, number as u64);
        }
        heads.extend_from_slice(head);
        names.extend_from_slice(own);
        rests.extend_from_slice(rest);
        (count, before) = (count + 1, name);
    }
    let mut columns = Vec::with_capacity(rows.len());
    put_varint(&mut columns, count);
    for column in numbers.iter().chain([&heads, &names, &rests]) {
        columns.extend_from_slice(column);
    }
    (columns.len() <= rows.len()).then_some(columns)
}

/// The rows that stand in these columns, which have to be exactly `length` bytes. Memory: `length`, and eight times the
/// columns.
pub fn from_columns(columns: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader::new("columns", columns);
    let count = reader.varint_max("number of rows", (reader.remaining() / NUMBERS) as u64)? as usize;
    let mut rows = vec![[0; NUMBERS]; count];
    let mut sums = [0; NUMBERS];
    for (number, sum) in sums.iter_mut().enumerate() {
        for row in &mut rows {
            let bytes = reader.varint_max("bytes of a row", length as u64)? as usize;
            *sum += bytes;
            if let Some(place) = row.get_mut(number) {
                *place = bytes;
            }
        }
    }
    let [heads, _, names, _] = sums;
    let mut heads = Reader::new("heads of rows", reader.take(heads)?);
    let mut names = Reader::new("names of rows", reader.take(names)?);
    let (mut out, mut before) = (Vec::with_capacity(length), 0..0);
    for [head, shared, own, rest] in rows {
        let row = head + shared + own + rest;
        if shared > before.len() || row > length - out.len() {
            return Err(reader.malformed("a row that shares more than there is, or is longer than was promised"));
        }
        put_varint(&mut out, row as u64);
        out.extend_from_slice(heads.take(head)?);
        let begin = out.len();
        out.extend_from_within(before.start..before.start + shared);
        out.extend_from_slice(names.take(own)?);
        before = begin..out.len();
        out.extend_from_slice(reader.take(rest)?);
        if out.len() > length {
            return Err(reader.malformed("rows longer than was promised"));
        }
    }
    reader.finish()?;
    match out.len() == length {
        true => Ok(out),
        false => Err(Malformed::new("columns", format!("{} bytes of rows instead of {length}", out.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a byte, a name that a dot ends, and the rest.
    fn name_in(row: &[u8]) -> Option<Range<usize>> {
        Some(1..row.iter().position(|byte| *byte == b'.')?)
    }

    fn rows(of: &[&str]) -> Vec<u8> {
        let mut rows = Vec::new();
        for row in of {
            put_varint(&mut rows, row.len() as u64);
            rows.extend_from_slice(row.as_bytes());
        }
        rows
    }

    /// FRAME-5
    #[test]
    fn columns_are_the_rows_again_and_nothing_else() {
        let rows = rows(&["auser:1.x", "buser:10.yy", "auser:2.", "auser:2.z", "cx."]);
        let columns = to_columns(&rows, name_in).unwrap();
        assert_eq!(&columns[..21], [5, 1, 1, 1, 1, 1, 0, 6, 5, 6, 0, 6, 1, 1, 0, 1, 2, 3, 1, 2, 1]);
        assert_eq!(&columns[21..], b"abaacuser:102x.x.yy..z.");
        assert_eq!(from_columns(&columns, rows.len()), Ok(rows.clone()));
        for wrong in [0, rows.len() - 1, rows.len() + 1] {
            assert!(from_columns(&columns, wrong).is_err(), "{wrong}");
        }
        for end in 0..columns.len() {
            assert!(from_columns(&columns[..end], rows.len()).is_err(), "{end}");
        }
        assert!(from_columns(&[&columns[..], &[0]].concat(), rows.len()).is_err());
    }

    /// FRAME-5
    #[test]
    fn a_name_shares_no_more_than_there_is() {
        assert_eq!(from_columns(&[2, 0, 0, 0, 1, 1, 0, 0, 0, b'a'], 4), Ok(vec![1, b'a', 1, b'a']));
        assert!(from_columns(&[2, 0, 0, 0, 2, 1, 0, 0, 0, b'a'], 5).is_err());
        assert!(from_columns(&[1, 0, 1, 0, 0], 2).is_err());
    }

    #[test]
    fn what_are_no_rows_or_would_be_longer_is_left_as_it_is() {
        assert_eq!(to_columns(&[5, 1, 2], name_in), None);
        assert_eq!(to_columns(&rows(&["a.", "b."]), name_in), None);
        assert_eq!(to_columns(&rows(&["no name"]), name_in), None);
    }
}
