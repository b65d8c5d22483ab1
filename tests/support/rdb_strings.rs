//! A second walk over RDB files, written from the description of the format and sharing nothing with `src/rdb`: it hands
//! on every string as it is stored. For dumps that are known to be whole; anything else panics.

use std::collections::HashMap;

/// A string as a file has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// Byte by byte.
    Plain(&'a [u8]),
    /// As a number of one, two or four bytes.
    Number,
    /// Compressed, and how long it is decoded.
    Lzf(&'a [u8], usize),
}

/// What follows the type byte and the key. `s` is a string, `l` a length, `b`, `f`, `w`, `i` are 1, 4, 8 and 16 bytes, `*(…)` is a
/// count and as many of these; the others are things that say themselves how they go on.
fn value(kind: u8, is_valkey: bool) -> &'static str {
    match kind {
        0 | 9..=13 | 16 | 17 | 20 | 30 => "s",
        1 | 2 | 14 => "*(s)",
        3 => "*(sz)",
        4 => "*(ss)",
        5 => "*(sw)",
        7 => "lm",
        15 => "*(ss)lll*(sll*(iwl)*(sw*(i)))",
        18 => "*(ls)",
        19 => "*(ss)llllllll*(slll*(iwl)*(sw*(i)))",
        21 => "*(ss)llllllll*(slll*(iwl)*(sww*(i)))",
        22 if is_valkey => "*(ssw)",
        24 => "w*(lss)",
        25 => "ws",
        26 => "*(ss)llllllll*(slll*(iwl)*(sww*(i)))ll*(s*(sll))ll",
        27 => "*(ss)llllllll*(slll*(iwl)*(sww*(i))*(i))ll*(s*(sll))ll",
        28 => "a",
        32 => "t",
        other => panic!("a value of type {other}"),
    }
}

/// What follows an opcode.
fn event(opcode: u8, is_valkey: bool) -> &'static str {
    match opcode {
        241 => "",
        242 => "d",
        243 if is_valkey => "s*(ll)",
        243 => "*(fm)",
        244 => "lll",
        245 => "s",
        247 => "lllm",
        248 | 254 => "l",
        249 => "b",
        250 => "ss",
        251 => "ll",
        252 => "w",
        253 => "f",
        other => panic!("the opcode {other}"),
    }
}

/// Hands on every string of a dump, keys and AUX fields included, with all bytes that it is stored as.
pub fn strings<'a>(dump: &'a [u8], each: &mut dyn FnMut(Stored<'a>, &'a [u8])) {
    let mut walk = Walk { dump, at: 9, templates: HashMap::new(), each };
    let is_valkey = dump.starts_with(b"VALKEY");
    loop {
        match walk.take(1)[0] {
            255 => return,
            opcode @ 241.. => walk.read(event(opcode, is_valkey)),
            kind => {
                walk.read("s");
                walk.read(value(kind, is_valkey));
            }
        }
    }
}

struct Walk<'a, 'b> {
    dump: &'a [u8],
    at: usize,
    /// Fields of each template of hashes.
    templates: HashMap<u64, u64>,
    each: &'b mut dyn FnMut(Stored<'a>, &'a [u8]),
}

impl<'a> Walk<'a, '_> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let taken = &self.dump[self.at..self.at + count];
        self.at += count;
        taken
    }

    /// A number from its bytes, the highest first.
    fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn length(&mut self) -> u64 {
        let first = self.number(1);
        match first {
            0..0x40 => first,
            0x40..0x80 => (first & 0x3f) << 8 | self.number(1),
            0x80 => self.number(4),
            0x81 => self.number(8),
            other => panic!("the length {other:#x} at {}", self.at),
        }
    }

    fn string(&mut self) {
        let begin = self.at;
        let stored = match self.dump[self.at] {
            mark @ 0xc0..=0xc2 => {
                self.take(1 + (1 << (mark & 3)));
                Stored::Number
            }
            0xc3 => {
                self.take(1);
                let (stored, length) = (self.length(), self.length());
                Stored::Lzf(self.take(stored as usize), length as usize)
            }
            _ => {
                let length = self.length();
                Stored::Plain(self.take(length as usize))
            }
        };
        (self.each)(stored, &self.dump[begin..self.at]);
    }

    fn read(&mut self, mut shape: &str) {
        while let Some(what) = shape.chars().next() {
            shape = &shape[1..];
            match what {
                's' => self.string(),
                'l' => drop(self.length()),
                'b' => drop(self.take(1)),
                'f' => drop(self.take(4)),
                'w' => drop(self.take(8)),
                'i' => drop(self.take(16)),
                '*' => {
                    let (inner, rest) = bracketed(shape);
                    shape = rest;
                    (0..self.length()).for_each(|_| self.read(inner));
                }
                'z' => {
                    let length = self.number(1);
                    self.take(if length < 253 { length as usize } else { 0 });
                }
                'm' => self.module(),
                'a' => self.array(),
                'd' => {
                    let (id, fields) = (self.length(), self.length());
                    self.templates.insert(id, fields);
                    (0..fields).for_each(|_| self.string());
                }
                't' => {
                    let id = self.length();
                    (0..self.templates[&id]).for_each(|_| self.string());
                }
                other => panic!("{other} in a shape"),
            }
        }
    }

    fn module(&mut self) {
        loop {
            match self.length() {
                0 => return,
                1 | 2 => self.read("l"),
                3 => self.read("f"),
                4 => self.read("w"),
                5 => self.read("s"),
                other => panic!("a module's {other}"),
            }
        }
    }

    fn array(&mut self) {
        let count = self.length();
        if self.length() == 1 {
            self.length();
        }
        for _ in 0..count {
            self.length();
            match self.length() {
                0 | 3 => self.read("s"),
                _ => self.read("w"),
            }
        }
    }
}

/// What stands in the brackets a shape begins with, and what behind them.
fn bracketed(shape: &str) -> (&str, &str) {
    let mut depth = 0;
    for (place, sign) in shape.char_indices() {
        depth += match sign {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return (&shape[1..place], &shape[place + 1..]);
        }
    }
    panic!("a bracket is open in {shape}")
}
