//! Kept records back to records of a dump: format-spec/19-canonical-rdb.md, "Records" and "Order".

use std::cell::Cell;
use std::collections::BTreeMap;

use super::bytes::{Cursor, Outcome};
use super::seal::keyed;
use super::texts::{number, pass_string, read_number, stored, text};

/// Numbers of templates, and of their fields, by their tags.
pub(super) type Templates = BTreeMap<[u8; 8], (u64, u64)>;

/// What it takes to make values again.
pub(super) struct Context<'c> {
    is_valkey: bool,
    layout: u64,
    key_hash: &'c [u8; 32],
    templates: &'c Templates,
    /// The earliest expiry of a field.
    earliest: Cell<u64>,
}

impl<'c> Context<'c> {
    pub(super) fn new(is_valkey: bool, layout: u64, key_hash: &'c [u8; 32], templates: &'c Templates) -> Self {
        Context { is_valkey, layout, key_hash, templates, earliest: Cell::new(0) }
    }
}

/// A kept record, taken apart.
pub(super) struct Kept<'b> {
    mode: u8,
    opcodes: Vec<(u8, &'b [u8])>,
    as_it_stood: &'b [u8],
    pub(super) type_byte: u8,
    /// Database and key.
    pub(super) place: Vec<u8>,
    key: Vec<u8>,
    value: &'b [u8],
    /// Bytes its value takes in stream 6.
    pub(super) large: Option<u64>,
}

/// Form, and what is kept of a string (CANON-2).
fn string<'b>(cursor: &mut Cursor<'b>) -> Outcome<(u64, &'b [u8])> {
    let head = cursor.varint()?;
    Ok((head % 4, cursor.take(head / 4)?))
}

impl<'b> Kept<'b> {
    /// CANON-3, CANON-4
    pub(super) fn read(record: &'b [u8], database: u32, is_valkey: bool) -> Outcome<Kept<'b>> {
        let mut cursor = Cursor::new(record);
        let mode = cursor.u8()?;
        let (mut opcodes, mut as_it_stood) = (Vec::new(), &[][..]);
        if mode & 1 << 5 != 0 {
            let length = cursor.varint()?;
            as_it_stood = cursor.take(length)?;
            if mode & 15 != 0 {
                return Err("opcodes beside a prefix as it stood".into());
            }
        } else {
            for opcode in cursor.take(u64::from(mode & 15))? {
                opcodes.push((*opcode, &[][..]));
            }
            for (opcode, value) in &mut opcodes {
                let length = match opcode {
                    241 if !is_valkey => 0,
                    248 | 249 => 0,
                    252 => 8,
                    253 => 4,
                    243 if !is_valkey => cursor.varint()?,
                    250 => cursor.varint()?,
                    other => return Err(format!("opcode {other} before a record")),
                };
                *value = cursor.take(length)?;
            }
        }
        let type_byte = cursor.u8()?;
        let (form, kept) = string(&mut cursor)?;
        let named = if form == 2 { text(kept).unwrap_or(kept.to_vec()) } else { kept.to_vec() };
        let key = stored(form, kept)?;
        let large = if mode & 1 << 7 != 0 { Some(cursor.varint()?) } else { None };
        let value = cursor.rest();
        if large.is_some() && !value.is_empty() {
            return Err("a large value in the record".into());
        }
        let place = [&database.to_be_bytes()[..], &named].concat();
        Ok(Kept { mode, opcodes, as_it_stood, type_byte, place, key, value, large })
    }

    /// All before the value, as the file has it. What stands in streams 8 and 9 is taken from them (RECIPE-8).
    pub(super) fn head(&self, clock: u64, idle: &mut Cursor<'_>, frequencies: &mut Cursor<'_>) -> Outcome<Vec<u8>> {
        let mut head = self.as_it_stood.to_vec();
        for (opcode, value) in &self.opcodes {
            head.push(*opcode);
            match opcode {
                248 => head.extend(number(u64::from((clock as u32).wrapping_sub(idle.u32()?)))),
                249 => head.push(frequencies.u8()?),
                _ => head.extend_from_slice(value),
            }
        }
        head.push(self.type_byte);
        head.extend_from_slice(&self.key);
        Ok(head)
    }

    /// Whether stream 5 has an order of it.
    pub(super) fn has_order(&self) -> bool {
        self.mode & 1 << 4 != 0 && self.mode & 1 << 6 == 0
    }

    /// Whether stream 7 has.
    pub(super) fn is_sorted_as_it_stood(&self) -> bool {
        self.mode & 1 << 4 != 0 && self.mode & 1 << 6 != 0
    }

    /// The value as the file has it: `large` is that of stream 6, `order` what stream 5 or 7 has of it.
    pub(super) fn value(&self, large: Option<&[u8]>, order: Option<&[u8]>, context: &Context<'_>) -> Outcome<Vec<u8>> {
        let kept = large.unwrap_or(self.value);
        if self.mode & 1 << 6 != 0 {
            return match (order, large) {
                (None, _) => Ok(kept.to_vec()),
                (Some(order), Some(_)) => ordered_as_it_stood(self.type_byte, kept, order, context),
                (Some(_), None) => Err("an order of what is kept as it stood in a bucket".into()),
            };
        }
        let grammar = grammar(self.type_byte, context).ok_or(format!("a value of type {}", self.type_byte))?;
        let (mut cursor, mut out) = (Cursor::new(kept), Vec::new());
        match order {
            None => follow(grammar, &mut cursor, context, &mut out)?,
            Some(order) => ordered(self.type_byte, grammar, &mut cursor, order, context, &mut out)?,
        }
        cursor.finish()?;
        Ok(out)
    }
}

/// What a value of a type consists of: `n` a number, `s` a string, digits so many bytes (`x`: 16), `(…)` a number and as many of these;
/// `z` an old score, `m` what a module wrote, `a` an array, `e` the earliest expiry, `t` an expiry, `p` a listpack of a template, `h` a
/// template and as many strings as it has fields.
fn grammar(type_byte: u8, context: &Context<'_>) -> Option<&'static str> {
    let Context { is_valkey, layout, .. } = *context;
    Some(match type_byte {
        0 | 9..=13 | 16 | 17 | 20 => "s",
        23 if !is_valkey => "s",
        24 if !is_valkey && layout == 1 => "8(nss)",
        30 if !is_valkey && layout == 1 => "s",
        30 if !is_valkey => "p",
        32 if !is_valkey && layout == 2 => "h",
        1 | 2 | 14 => "(s)",
        3 => "(sz)",
        4 => "(ss)",
        5 => "(s8)",
        7 => "nm",
        15 => "(ss)nnn(snn(x8n)(s8(x)))",
        18 => "(ns)",
        19 => "(ss)nnnnnnnn(snnn(x8n)(s8(x)))",
        21 => "(ss)nnnnnnnn(snnn(x8n)(s88(x)))",
        22 if is_valkey => "(ss8)",
        24 if !is_valkey => "e(tss)",
        25 if !is_valkey => "8s",
        26 if !is_valkey => "(ss)nnnnnnnn(snnn(x8n)(s88(x)))nn(s(snn))nn",
        27 if !is_valkey => "(ss)nnnnnnnn(snnn(x8n)(s88(x))(x))nn(s(snn))nn",
        28 if !is_valkey => "a",
        22 => "(nss)",
        23 => "(s(ss))",
        33 if !is_valkey => "n",
        64 if !is_valkey => "sx(s)(s)",
        _ => return None,
    })
}

/// The grammar of what stands in the brackets that `rest` begins behind, and what follows them.
fn bracket(rest: &str) -> (&str, &str) {
    let mut depth = 1;
    let end = rest.find(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        depth == 0
    });
    let end = end.unwrap();
    (&rest[..end], &rest[end + 1..])
}

fn take_number(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Outcome<u64> {
    let value = cursor.varint()?;
    out.extend(number(value));
    Ok(value)
}

fn take_bytes(cursor: &mut Cursor<'_>, count: u64, out: &mut Vec<u8>) -> Outcome<()> {
    out.extend_from_slice(cursor.take(count)?);
    Ok(())
}

fn take_string(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Outcome<()> {
    let (form, kept) = string(cursor)?;
    out.extend(stored(form, kept)?);
    Ok(())
}

/// CANON-2: appends what a grammar asks for as the file has it.
fn follow(grammar: &str, cursor: &mut Cursor<'_>, context: &Context<'_>, out: &mut Vec<u8>) -> Outcome<()> {
    let mut rest = grammar;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[1..];
        match letter {
            'n' => drop(take_number(cursor, out)?),
            's' => take_string(cursor, out)?,
            '4' => take_bytes(cursor, 4, out)?,
            '8' => take_bytes(cursor, 8, out)?,
            'x' => take_bytes(cursor, 16, out)?,
            'z' => score(cursor, out)?,
            'm' => module(cursor, out)?,
            'a' => array(cursor, out)?,
            'e' => {
                let bytes = cursor.array()?;
                context.earliest.set(u64::from_le_bytes(bytes));
                out.extend(bytes);
            }
            't' => expiry(cursor, context, out)?,
            'p' => listpack(cursor, context, out)?,
            'h' => {
                let (template, fields) = template(cursor, context)?;
                out.extend(number(template));
                (0..fields).try_for_each(|_| take_string(cursor, out))?;
            }
            _ => {
                let (inner, behind) = bracket(rest);
                for _ in 0..take_number(cursor, out)? {
                    follow(inner, cursor, context, out)?;
                }
                rest = behind;
            }
        }
    }
    Ok(())
}

/// CANON-7
fn expiry(cursor: &mut Cursor<'_>, context: &Context<'_>, out: &mut Vec<u8>) -> Outcome<()> {
    let after = match cursor.varint()? {
        0 => 0,
        kept => kept
            .checked_sub(context.earliest.get())
            .filter(|after| *after > 0)
            .ok_or("an expiry before the earliest")?,
    };
    out.extend(number(after));
    Ok(())
}

/// CANON-7: number and number of fields.
fn template(cursor: &mut Cursor<'_>, context: &Context<'_>) -> Outcome<(u64, u64)> {
    let tag = cursor.array()?;
    context.templates.get(&tag).copied().ok_or("a template that is not there".into())
}

/// CANON-7
fn listpack(cursor: &mut Cursor<'_>, context: &Context<'_>, out: &mut Vec<u8>) -> Outcome<()> {
    let (template, fields) = template(cursor, context)?;
    let (form, entries) = string(cursor)?;
    if form == 2 {
        return Err("a listpack of a template, verbatim".into());
    }
    let bytes = template.to_le_bytes();
    let mut first = match template {
        0..0x80 => vec![template as u8],
        0x80..0x1000 => vec![0xc0 + (template >> 8) as u8, template as u8],
        0x1000..0x8000 => [&[0xf1], &bytes[..2]].concat(),
        0x8000..0x80_0000 => [&[0xf2], &bytes[..3]].concat(),
        0x80_0000..0x8000_0000 => [&[0xf3], &bytes[..4]].concat(),
        0x8000_0000..0x8000_0000_0000_0000 => [&[0xf4], &bytes[..8]].concat(),
        _ => return Err("a template of a number that no listpack has".into()),
    };
    first.push(first.len() as u8);
    let length = (6 + first.len() + entries.len() + 1) as u32;
    let count = (fields + 1).min(65_535) as u16;
    let text = [&length.to_le_bytes()[..], &count.to_le_bytes(), &first, entries, &[0xff]].concat();
    out.extend(stored(form, &text)?);
    Ok(())
}

fn score(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Outcome<()> {
    let length = cursor.u8()?;
    out.push(length);
    take_bytes(cursor, if length < 253 { length.into() } else { 0 }, out)
}

fn module(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Outcome<()> {
    loop {
        match take_number(cursor, out)? {
            0 => return Ok(()),
            1 | 2 => drop(take_number(cursor, out)?),
            3 => take_bytes(cursor, 4, out)?,
            4 => take_bytes(cursor, 8, out)?,
            5 => take_string(cursor, out)?,
            other => return Err(format!("part {other} of a module")),
        }
    }
}

fn array(cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Outcome<()> {
    let count = take_number(cursor, out)?;
    if take_number(cursor, out)? == 1 {
        take_number(cursor, out)?;
    }
    for _ in 0..count {
        take_number(cursor, out)?;
        match take_number(cursor, out)? {
            0 | 3 => take_string(cursor, out)?,
            1 | 2 => take_bytes(cursor, 8, out)?,
            other => return Err(format!("an element of sort {other}")),
        }
    }
    Ok(())
}

/// A value whose elements are sorted, in the order that is kept of them.
fn ordered(
    type_byte: u8,
    grammar: &str,
    cursor: &mut Cursor<'_>,
    order: &[u8],
    context: &Context<'_>,
    out: &mut Vec<u8>,
) -> Outcome<()> {
    if ![2, 4, 22, 24].contains(&type_byte) {
        return Err(format!("an order of elements of type {type_byte}"));
    }
    let (before, inner) = grammar.split_once('(').unwrap();
    follow(before, cursor, context, out)?;
    let count = take_number(cursor, out)?;
    let inner = bracket(inner).0;
    let mut elements: Vec<(&[u8], &[u8], Vec<u8>)> = Vec::new();
    for _ in 0..count {
        let (begin, mut element) = (cursor.rest_of(), Vec::new());
        follow(inner, cursor, context, &mut element)?;
        let whole = &begin[..begin.len() - cursor.rest_of().len()];
        let mut first = Cursor::new(whole);
        if inner.starts_with(['n', 't']) {
            first.varint()?;
        }
        let name = string(&mut first)?.1;
        if elements.last().is_some_and(|(last, bytes, _)| (*last, *bytes) > (name, whole)) {
            return Err("elements that are not sorted".into());
        }
        elements.push((name, whole, element));
    }
    let hashes: Vec<u32> = elements.iter().map(|(name, ..)| hash(context.key_hash, name)).collect();
    let places = places(order, &hashes)?;
    let by_place: BTreeMap<u32, &[u8]> =
        places.into_iter().zip(elements.iter().map(|element| &element.2[..])).collect();
    by_place.values().for_each(|element| out.extend_from_slice(element));
    Ok(())
}

/// CANON-8: elements as they stood, sorted, in the order that is kept of them.
fn ordered_as_it_stood(type_byte: u8, kept: &[u8], order: &[u8], context: &Context<'_>) -> Outcome<Vec<u8>> {
    if ![2, 4, 22, 24].contains(&type_byte) {
        return Err(format!("an order of elements of type {type_byte}, as they stood"));
    }
    let grammar = grammar(type_byte, context).ok_or(format!("a value of type {type_byte}"))?;
    let (before, inner) = grammar.split_once('(').unwrap();
    let (mut cursor, inner) = (Cursor::new(kept), bracket(inner).0);
    pass(before, &mut cursor)?;
    let count = read_number(&mut cursor)?;
    if count < 2 {
        return Err(format!("an order of {count} elements"));
    }
    let mut out = kept[..kept.len() - cursor.rest_of().len()].to_vec();
    let mut elements: Vec<(&[u8], &[u8], &[u8])> = Vec::new();
    for _ in 0..count {
        let begin = cursor.rest_of();
        pass(inner, &mut cursor)?;
        let whole = &begin[..begin.len() - cursor.rest_of().len()];
        let mut first = Cursor::new(whole);
        if inner.starts_with(['n', 't']) {
            read_number(&mut first)?;
        }
        let from_name = first.rest_of();
        pass_string(&mut first)?;
        let name = &from_name[..from_name.len() - first.rest_of().len()];
        if elements.last().is_some_and(|(_, last, _)| *last > from_name) {
            return Err("elements that are not sorted".into());
        }
        elements.push((name, from_name, whole));
    }
    cursor.finish()?;
    let hashes: Vec<u32> = elements.iter().map(|(name, ..)| hash(context.key_hash, name)).collect();
    let by_place: BTreeMap<u32, &[u8]> =
        places(order, &hashes)?.into_iter().zip(elements.iter().map(|element| element.2)).collect();
    by_place.values().for_each(|element| out.extend_from_slice(element));
    Ok(out)
}

/// Passes what a grammar asks for as the file has it.
fn pass(grammar: &str, cursor: &mut Cursor<'_>) -> Outcome<()> {
    grammar.chars().try_for_each(|letter| match letter {
        's' => pass_string(cursor),
        '8' | 'e' => cursor.take(8).map(drop),
        _ => read_number(cursor).map(drop),
    })
}

/// CANON-4
pub(super) fn hash(key_hash: &[u8; 32], name: &[u8]) -> u32 {
    let [a, b, c, d, ..] = keyed(key_hash, name);
    u32::from_le_bytes([a, b, c, d])
}

/// ORDER-1: the places of things, by their hashes.
pub(super) fn places(order: &[u8], hashes: &[u32]) -> Outcome<Vec<u32>> {
    let mut cursor = Cursor::new(order);
    let count = hashes.len();
    let bits = (0..).find(|bits: &u32| 1usize << bits >= count).unwrap();
    let mut tokens = vec![0u32; count];
    for plane in 0..bits.div_ceil(8) {
        for (token, byte) in tokens.iter_mut().zip(cursor.take(count as u64)?) {
            *token |= u32::from(*byte) << (8 * plane);
        }
    }
    let mut open: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (place, token) in tokens.iter().enumerate() {
        let places = open.entry(*token).or_default();
        places.push(place as u32);
        if places.len() > 4096 {
            return Err("too many things of one token".into());
        }
    }
    let mut places = Vec::new();
    for hash in hashes {
        let token = if bits == 0 { 0 } else { hash >> (32 - bits) };
        let left = open.get_mut(&token).filter(|left| !left.is_empty()).ok_or("no place is left for a thing")?;
        let which = if left.len() > 1 { cursor.varint()? } else { 0 };
        let which =
            usize::try_from(which).ok().filter(|which| *which < left.len()).ok_or("a place that is not open")?;
        places.push(left.remove(which));
    }
    cursor.finish()?;
    Ok(places)
}
