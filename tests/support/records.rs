//! The records of a dump, for who wants to read their values.

use std::ops::ControlFlow;

use redkeep::rdb::Family;
use redkeep::rdb::values::{Item, Templates, Value, read_records};

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
    let mut records = Vec::new();
    let structure = read_records(dump, usize::MAX, &mut |record| {
        let value = record.value.as_ref().unwrap();
        records.push(Record {
            database: record.database,
            key: record.key.clone().unwrap().into_owned(),
            type_byte: value.type_byte,
            family: value.family,
            expires: record.expires,
            raw: value.raw.to_vec(),
            templates: value.templates.clone(),
        });
        ControlFlow::Continue(())
    });
    assert!(structure.unwrap().unwrap().reason().is_none());
    records
}
