//! Decoders that take their bytes in pieces, or give more than they take.

use std::io::{self, Read};

use redkeep::aof::{Aim, Commands, CutFinder, Ending, Found, Scanner};
use redkeep::compress::{Decompressor, DeltaCompressor, undelta};
use redkeep::format::columns::{from_columns, to_columns};
use redkeep::format::copies::apply_copies;
use redkeep::format::limits::CHUNK_MAX;
use redkeep::format::list::decode_list;
use redkeep::rdb::lzf::{Encoder, decode as decode_lzf};
use redkeep::rdb::strings::{StringForm, Strings, text_of};
use redkeep::rdb::{Structure, looks_like_rdb, read_header, read_preamble, read_structure};

/// Sizes of pieces that make no difference.
const PIECES: [usize; 4] = [1, 7, 1024, usize::MAX];

/// The first item, which all others equal.
fn all_equal<T: PartialEq + std::fmt::Debug>(items: impl IntoIterator<Item = T>) -> T {
    let mut items = items.into_iter();
    let first = items.next().unwrap();
    items.for_each(|item| assert_eq!(item, first, "pieces of another size make a difference"));
    first
}

/// LIST-1: what is accepted is whole entries, and written the same.
pub fn list(bytes: &[u8]) {
    for labelled in [false, true] {
        if let Ok(entries) = decode_list(bytes, labelled) {
            let mut written = Vec::new();
            entries.iter().for_each(|entry| entry.encode(&mut written));
            assert_eq!(written, bytes, "two forms of one list");
            assert!(decode_list(&[bytes, &[0]].concat(), labelled).is_err(), "a byte left over is accepted");
        }
    }
}

/// FRAME-2: as long as promised, or refused.
pub fn zstd(bytes: &[u8]) {
    let mut decompressor = Decompressor::default();
    for length in [1, 300, 70_000, CHUNK_MAX as usize] {
        if let Ok(plaintext) = decompressor.whole(bytes, length) {
            assert_eq!(plaintext.len(), length);
            assert!(decompressor.whole(bytes, length + 1).is_err() && decompressor.whole(bytes, length - 1).is_err());
            let more = [bytes, &[0]].concat();
            assert!(decompressor.whole(&more, length).is_err(), "a byte left over is accepted");
        }
    }
}

/// DELTA-1: the first bytes of the input are the base.
pub fn delta(bytes: &[u8]) {
    let (base, stored) = bytes.split_at(bytes.len().min(64));
    for bases in [&[base][..], &[base, base], &[]] {
        for length in [1, 90, 4096, CHUNK_MAX as usize] {
            if let Ok(plaintext) = undelta(bases, stored, length) {
                assert_eq!(plaintext.len(), length);
                assert!(undelta(bases, stored, length - 1).is_err());
                let prefix = bases.concat();
                let written = DeltaCompressor::new(1).unwrap().delta(&prefix, &plaintext).unwrap();
                assert_eq!(undelta(bases, &written, length), Ok(plaintext));
            }
        }
    }
}

/// DELTA-7: as long as promised and no longer than the promise whatever the steps say; the first bytes are the base.
pub fn copies(bytes: &[u8]) {
    let (base, stored) = bytes.split_at(bytes.len().min(64));
    for bases in [&[base][..], &[&base[..base.len() / 2], &base[base.len() / 2..]], &[]] {
        for length in [0, 1, 19, 90, 4096, CHUNK_MAX as usize] {
            if let Ok(plaintext) = apply_copies(bases, stored, length) {
                assert_eq!(plaintext.len(), length);
                assert!(apply_copies(bases, stored, length + 1).is_err());
                assert!(apply_copies(bases, &[stored, &[0]].concat(), length).is_err(), "a byte left over is accepted");
            }
        }
    }
}

/// FRAME-5: as long as promised whatever the columns say, or refused; what rows come back is what can be put into columns.
pub fn columns(bytes: &[u8]) {
    for length in [0, 1, 4, 12, 90, 4096, CHUNK_MAX as usize] {
        if let Ok(rows) = from_columns(bytes, length) {
            assert_eq!(rows.len(), length);
            assert!(from_columns(bytes, length + 1).is_err());
            assert!(from_columns(&[bytes, &[0]].concat(), length).is_err(), "a byte left over is accepted");
            if let Some(columns) = to_columns(&rows, |row| Some(row.len() / 3..row.len() / 2)) {
                assert_eq!(from_columns(&columns, length), Ok(rows));
            }
        }
    }
}

/// A file that gives a few bytes at a time.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.1);
        self.0.read(&mut buffer[..most])
    }
}

/// The whole input goes past, whatever it is; the pieces it comes in make no difference.
pub fn rdb(bytes: &[u8]) {
    let structure: Structure = all_equal([1, usize::MAX].map(|size| read_structure(Trickle(bytes, size)).unwrap()));
    assert_eq!(structure.length, bytes.len() as u64);
    assert!(structure.end.is_none_or(|end| end + structure.trailing == structure.length));
    assert_eq!(structure.reason().is_none(), structure.is_whole());
    assert!(structure.keys() <= structure.length);
    let (preamble, trailing) = all_equal([1, usize::MAX].map(|size| {
        let mut trailing = Vec::new();
        let structure = read_preamble(Trickle(bytes, size), &mut |piece| trailing.extend_from_slice(piece)).unwrap();
        (structure, trailing)
    }));
    assert_eq!(preamble.length, bytes.len() as u64);
    assert!(bytes.ends_with(&trailing));
    assert!(preamble.end.is_none() || preamble.trailing == trailing.len() as u64);
    assert_eq!(structure.is_whole() && structure.trailing == 0, preamble.is_whole() && trailing.is_empty());
    assert_eq!(read_header(bytes).is_some(), looks_like_rdb(bytes));
    assert_eq!(structure.header.is_some(), looks_like_rdb(bytes));
}

/// As long as promised, or refused; and the same bytes as a string are encoded so that they come back.
pub fn lzf(bytes: &[u8]) {
    for length in [0, 1, 21, 500, bytes.len(), 88 * bytes.len(), usize::MAX] {
        let mut plain = b"before".to_vec();
        match decode_lzf(bytes, length, &mut plain) {
            Ok(()) => assert_eq!(plain.len(), 6 + length),
            Err(_) => assert_eq!(plain, b"before"),
        }
        assert!(plain.starts_with(b"before"));
    }
    let (mut stored, mut plain) = (Vec::new(), Vec::new());
    if Encoder::default().encode(bytes, &mut stored) {
        assert!(stored.len() + 4 <= bytes.len());
        decode_lzf(&stored, bytes.len(), &mut plain).unwrap();
        assert_eq!(plain, bytes);
    }
}

/// RSTR-1: what is a string comes back byte for byte from what is kept of it.
pub fn string(bytes: &[u8]) {
    let (mut strings, mut kept, mut again, mut text) = (Strings::default(), Vec::new(), Vec::new(), Vec::new());
    let is_known = text_of(bytes, &mut text);
    match strings.decode(bytes, &mut kept) {
        Ok((form, length)) => {
            strings.encode(form, &kept, &mut again);
            assert_eq!(again, bytes[..length]);
            assert!(form == StringForm::Verbatim || (is_known == Ok(true) && text == kept));
        }
        Err(error) => assert_eq!((is_known, kept, text), (Err(error), vec![], vec![])),
    }
}

/// Pieces of any size give the same answer; what stands before the cut is whole by itself.
pub fn scanner(bytes: &[u8]) {
    let scan = |bytes: &[u8], size: usize, bulk_max: u64| -> Commands {
        let mut scanner = Scanner::new(bulk_max);
        bytes.chunks(size).for_each(|piece| scanner.push(piece));
        assert!(scanner.cut() <= bytes.len() as u64);
        scanner.finish()
    };
    for bulk_max in [u64::MAX, 64] {
        let seen = all_equal(PIECES.map(|size| scan(bytes, size, bulk_max)));
        assert_eq!(seen.length, bytes.len() as u64);
        assert_eq!(seen.reason().is_none(), seen.ending == Ending::Complete);
        assert_eq!(seen.unfinished() == 0, seen.cut == seen.length);
        let cut = usize::try_from(seen.cut).unwrap();
        let whole = scan(&bytes[..cut], usize::MAX, bulk_max);
        assert_eq!((whole.ending.clone(), whole.cut), (Ending::Complete, seen.cut));
        let counts = |c: &Commands| (c.commands, c.transactions, c.first_timestamp, c.last_timestamp);
        assert_eq!(counts(&whole), counts(&seen));
        assert_eq!(seen.clone().after(1 << 40).cut, seen.cut + (1 << 40));
    }
}

/// A cut is where a scanner would cut too: what stands before it is whole by itself, and holds the same moment.
pub fn cut(bytes: &[u8]) {
    let find = |bytes: &[u8], size: usize, aim: &Aim| -> Found {
        let mut finder = CutFinder::new(aim.clone(), Some(1_790_000_000));
        bytes.chunks(size).for_each(|piece| finder.push(piece));
        finder.finish()
    };
    let word = |word: &[u8]| word.to_vec();
    let aims = [
        Aim::Second(1_790_000_000),
        Aim::Second(u64::MAX),
        Aim::Before(vec![word(b"incr"), word(b"a")]),
        Aim::Before(vec![word(b"PING")]),
        Aim::Before(vec![word(b"SELECT")]),
    ];
    for aim in aims {
        let found = all_equal(PIECES.map(|size| find(bytes, size, &aim)));
        let Some(cut) = found.cut else { continue };
        assert!(cut.offset <= found.commands.cut);
        let before = &bytes[..usize::try_from(cut.offset).unwrap()];
        let again = find(before, usize::MAX, &aim);
        assert_eq!((again.commands.ending.clone(), again.commands.cut), (Ending::Complete, cut.offset));
        if let Aim::Second(_) = aim {
            assert_eq!(again.cut, Some(cut));
        }
    }
}
