//! The floor of what a day of a dump can cost: the records that changed alone, sorted and compressed together, as no backup can
//! store them, for it must also say where they belong.
//!
//! ```text
//! cargo bench --bench floor -- DUMP1 DUMP2      what DUMP2 has that DUMP1 has not
//! ```

#![allow(clippy::unwrap_used, reason = "a bench that fails here has failed")]
#![allow(clippy::print_stdout, reason = "its results")]

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

use redkeep::compress::Compressor;
use redkeep::rdb::canonical::{Encoder, Gatherer, Gathering, Hasher, Limits, TemplateTags};
use redkeep::rdb::read_stretches;

/// The level of a backup.
const LEVEL: i32 = 3;

fn main() {
    let paths: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let [before, after] = &paths[..] else {
        // As `cargo bench` and `cargo test` call it.
        return println!("floor: two dumps are to be given");
    };
    let (before, after) = (records(before.as_ref()), records(after.as_ref()));
    let changed = after.iter().filter(|(place, body)| before.get(*place) != Some(body));
    let (mut bytes, mut count, mut new) = (Vec::new(), 0, 0);
    for (place, body) in changed {
        bytes.extend_from_slice(body);
        count += 1;
        new += usize::from(!before.contains_key(place));
    }
    let gone = before.keys().filter(|place| !after.contains_key(*place)).count();
    let stored = Compressor::new(LEVEL).unwrap().whole(&bytes).unwrap().len();
    let order = after.len() as f64 * (after.len() as f64).log2() / 8.0;
    println!(
        "{} records updated, {new} new, {gone} gone: {:.2} MB, compressed {:.2} MB; a new order of all {} records at most {:.2} MB",
        count - new,
        bytes.len() as f64 / 1e6,
        stored as f64 / 1e6,
        after.len(),
        order / 1e6
    );
}

/// What is kept of each record of a dump, by its place in canonical order.
fn records(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut gatherer, dump) = (Gatherer::default(), fs::read(path).unwrap());
    gatherer.push(&dump);
    read_stretches(&dump[..], &mut |stretch| gatherer.stretch(stretch)).unwrap();
    gatherer.end();
    // No value is kept apart.
    let (hasher, limits) = (Hasher::new([7; 32]), Limits { value: usize::MAX, ..Limits::default() });
    let (mut records, mut templates) = (BTreeMap::new(), TemplateTags::default());
    gatherer.take_templates().iter().for_each(|body| templates.add(hasher, body));
    while let Some(gathering) = gatherer.hand_on() {
        let Gathering::Records(batch) = gathering else { panic!("bytes behind the records that belong to none") };
        let (header, clock) = gatherer.header().unwrap();
        let mut encoder = Encoder::new(header.family, clock, limits, hasher);
        encoder.know_templates(&templates.clone().into());
        for (_, record) in batch.records() {
            let encoded = encoder.encode(record).unwrap();
            records.insert(encoded.place, encoded.body);
        }
    }
    records
}
