//! Small mutators over known inputs. The same seed gives the same inputs on every machine.

use crate::support::keyspace::Random;

/// No input grows beyond this: decoders are linear, and what breaks them is small.
const LONGEST: usize = 32 << 10;

/// Numbers at which lengths, counts and times tip over.
const EDGES: [u64; 22] = [
    0,
    1,
    2,
    0x3f,
    0x7f,
    0x80,
    0xff,
    0x100,
    1023,
    1024,
    0xffff,
    1 << 20,
    (1 << 20) + 1,
    128 << 20,
    i32::MAX as u64,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    1 << 53,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// What means something to one of the decoders: CBOR heads, RDB opcodes and length forms, RESP, words of manifests,
/// magics.
const TOKENS: [&[u8]; 40] = [
    b"\x80",
    b"\x9f",
    b"\xa0",
    b"\xbf",
    b"\xff",
    b"\xf6",
    b"\x5f",
    b"\x7f",
    b"\xc1",
    b"\x82\x9f",
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xbb\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x18\x63",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xc3\x05",
    b"\xfa",
    b"\xfe\x00",
    b"\xfc",
    b"\xf7",
    b"\xf4",
    b"\xf3",
    b"REDIS0011",
    b"VALKEY080",
    b"*3\r\n",
    b"$0\r\n\r\n",
    b"*1\r\n$5\r\nMULTI\r\n",
    b"*1\r\n$4\r\nEXEC\r\n",
    b"#TS:1790000000\r\n",
    b"00000000000000000000000000000000",
    b"\r\n",
    b"\n",
    b"\r",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\"",
    b"'",
    b"\\x0",
    b"file a seq 1 type i\n",
];

/// Makes inputs from others.
pub struct Mutator {
    random: Random,
}

impl Mutator {
    pub fn new(seed: u64) -> Mutator {
        Mutator { random: Random::new(seed) }
    }

    /// One of `seeds` after one to four changes.
    pub fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = self.pick(seeds);
        for _ in 0..=self.random.below(4) {
            self.change(&mut bytes, seeds);
            bytes.truncate(LONGEST);
        }
        bytes
    }

    fn pick(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let place = self.random.below(seeds.len().max(1) as u64) as usize;
        seeds.get(place).cloned().unwrap_or_default()
    }

    /// A place in `bytes`, or its end.
    fn place(&mut self, bytes: &[u8]) -> usize {
        self.random.below(bytes.len() as u64 + 1) as usize
    }

    /// A stretch of `bytes`, mostly short.
    fn stretch(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let begin = self.place(bytes);
        let most = if self.random.one_in(4) { bytes.len() } else { 16 };
        let length = self.random.below(most as u64 + 1) as usize;
        begin..bytes.len().min(begin + length)
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        match self.random.below(11) {
            0 | 1 => self.flip(bytes),
            2 => bytes.truncate(self.place(bytes)),
            3 => drop(bytes.drain(self.stretch(bytes))),
            4 => self.repeat(bytes),
            5 => self.splice(bytes, seeds),
            6 => self.overrun(bytes),
            7 => self.write_length(bytes),
            8 => self.write_decimal(bytes),
            9 => self.insert_token(bytes),
            _ => self.noise(bytes),
        }
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        let (place, bit) = (self.place(bytes), self.random.below(8));
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1 << bit;
        }
    }

    /// The same block over and over: nested heads, many rows, long lines.
    fn repeat(&mut self, bytes: &mut Vec<u8>) {
        let stretch = self.stretch(bytes);
        let times = 1 << self.random.below(12);
        let block = bytes[stretch.clone()].repeat((LONGEST / stretch.len().max(1)).min(times));
        bytes.splice(stretch.end..stretch.end, block);
    }

    /// The beginning of one input and the end of another.
    fn splice(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let other = self.pick(seeds);
        let (keep, from) = (self.place(bytes), self.place(&other));
        bytes.truncate(keep);
        bytes.extend_from_slice(&other[from..]);
    }

    /// A run of one byte.
    fn overrun(&mut self, bytes: &mut [u8]) {
        let stretch = self.stretch(bytes);
        let value = [0xff, 0xff, 0x80, 0x00, b'0', b' '][self.random.below(6) as usize];
        bytes[stretch].fill(value);
    }

    /// A number at one of its edges in one of the codings lengths come in.
    fn write_length(&mut self, bytes: &mut Vec<u8>) {
        let value = EDGES[self.random.below(EDGES.len() as u64) as usize];
        let coded = match self.random.below(7) {
            0 => (value as u32).to_le_bytes().to_vec(),
            1 => (value as u32).to_be_bytes().to_vec(),
            2 => value.to_le_bytes().to_vec(),
            3 => value.to_be_bytes().to_vec(),
            4 => vec![value as u8],
            5 => crate::support::mini_writer::varint(value),
            _ => crate::support::mini_writer::uint(value),
        };
        let place = self.place(bytes);
        let end = if self.random.one_in(2) { bytes.len().min(place + coded.len()) } else { bytes.len().min(place + 1) };
        bytes.splice(place..end, coded);
    }

    /// Another number where digits stand.
    fn write_decimal(&mut self, bytes: &mut Vec<u8>) {
        let from = self.place(bytes);
        let Some(begin) = bytes[from..].iter().position(u8::is_ascii_digit).map(|place| from + place) else { return };
        let digits = bytes[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = EDGES[self.random.below(EDGES.len() as u64) as usize];
        bytes.splice(begin..begin + digits, value.to_string().into_bytes());
    }

    fn insert_token(&mut self, bytes: &mut Vec<u8>) {
        let token = TOKENS[self.random.below(TOKENS.len() as u64) as usize];
        let place = self.place(bytes);
        let end = if self.random.one_in(2) { bytes.len().min(place + token.len()) } else { place };
        bytes.splice(place..end, token.iter().copied());
    }

    fn noise(&mut self, bytes: &mut Vec<u8>) {
        let (place, length) = (self.place(bytes), self.random.below(32) as usize);
        let noise = self.random.bytes(length);
        bytes.splice(place..place, noise);
    }
}
