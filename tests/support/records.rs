//! The records of a dump, for who wants to read their values.

use std::ops::ControlFlow;

use redkeep::rdb::strings::text_of;
use redkeep::rdb::values::{HASH_TEMPLATE, Item, Templates, Value};
use redkeep::rdb::{Family, What, read_header, read_stretches};

/// A key with its value as it is stored.
#[derive(Clone, Debug)]
pub struct Record {
    pub database: u64,
    pub key: Vec<u8>,
    pub type_byte: u8,
    pub family: Family,
    /// In milliseconds since the epoch.
    pub expires: Option<u64>,
    pub raw: Vec<u8>,
    pub templates: Templates,
}

impl Record {
    pub fn value(&self) -> Value<'_> {
        Value { type_byte: self.type_byte, family: self.family, raw: &self.raw, templates: &self.templates }
    }

    /// Hands on every part of the value, which has to be readable.
    #[track_caller]
    pub fn each(&self, mut see: impl FnMut(Item<'_>)) {
        let ended = self.value().each(&mut |item| {
            see(item);
            ControlFlow::Continue(())
        });
        ended.unwrap_or_else(|error| panic!("{} of type {}: {error}", self.key.escape_ascii(), self.type_byte));
    }
}

/// All of a dump that is whole.
pub fn records(dump: &[u8]) -> Vec<Record> {
    const EXPIRES: u8 = 252;
    let family = read_header(dump).expect("it is a dump").header.family;
    let (mut records, mut templates, mut expires) = (Vec::new(), Templates::default(), None);
    let structure = read_stretches(dump, &mut |stretch| {
        let inside = &dump[stretch.begin as usize + 1..stretch.end as usize];
        match stretch.what {
            What::Event { opcode: HASH_TEMPLATE } if family == Family::Redis => templates.add(inside).unwrap(),
            What::Prefix { opcode: EXPIRES } => expires = Some(u64::from_le_bytes(inside.try_into().unwrap())),
            What::Event { .. } | What::Prefix { .. } => {}
            What::Record { type_byte, value, database } => {
                let (stored, raw) = inside.split_at((value - stretch.begin - 1) as usize);
                let (mut key, raw, expires, templates) = (Vec::new(), raw.to_vec(), expires.take(), templates.clone());
                assert_eq!(text_of(stored, &mut key), Ok(true));
                records.push(Record { database, key, type_byte, family, expires, raw, templates });
            }
        }
    });
    assert!(structure.unwrap().reason().is_none());
    records
}
