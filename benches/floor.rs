//! The floor of what a day of a dump can cost: the records that changed alone, sorted and compressed together, as no backup can
//! store them, for it must also say where they belong.
//!
//! ```text
//! cargo bench --bench floor -- DUMP1 DUMP2      what DUMP2 has that DUMP1 has not
//! ```

#![allow(clippy::unwrap_used, reason = "a bench that fails here has failed")]
#![allow(clippy::print_stdout, reason = "its results")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::{env, fs};

use redkeep::compress::Compressor;
use redkeep::rdb::canonical::{Encoder, Gatherer, Gathering, Hasher, Limits, TemplateTags};
use redkeep::rdb::read_stretches;

/// The level of a backup.
const LEVEL: i32 = 3;
/// Bytes of a dump that are looked at together.
const PIECE: usize = 256 << 10;

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
    let (gatherer, dump) = (RefCell::new(Gatherer::default()), fs::read(path).unwrap());
    // No value is kept apart.
    let (hasher, limits) = (Hasher::new([7; 32]), Limits { value: usize::MAX, ..Limits::default() });
    let (mut records, mut templates) = (BTreeMap::new(), TemplateTags::default());
    let mut take = || {
        while let Some(gathering) = { gatherer.borrow_mut().hand_on() } {
            let Gathering::Records(batch) = gathering else { panic!("a value too long for this bench") };
            let (header, clock) = gatherer.borrow().header().unwrap();
            let mut encoder = Encoder::new(header.family, clock, limits, hasher);
            gatherer.borrow_mut().take_templates().iter().for_each(|body| templates.add(hasher, body));
            encoder.know_templates(&templates.clone().into());
            for (_, record) in batch.records() {
                let encoded = encoder.encode(record).unwrap();
                records.insert(encoded.place, encoded.body);
            }
        }
    };
    let comes = |bytes: &[u8]| {
        gatherer.borrow_mut().push(bytes);
        take();
    };
    let mut pieces = Pieces { rest: &dump, ready: &[], comes };
    read_stretches(&mut pieces, &mut |stretch| gatherer.borrow_mut().stretch(stretch)).unwrap();
    gatherer.borrow_mut().end();
    take();
    records
}

/// Pieces of a dump, each handed to the gatherer before it is read.
struct Pieces<'a, F: FnMut(&[u8])> {
    rest: &'a [u8],
    ready: &'a [u8],
    comes: F,
}

impl<F: FnMut(&[u8])> Read for Pieces<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() && !self.rest.is_empty() {
            (self.ready, self.rest) = self.rest.split_at(PIECE.min(self.rest.len()));
            (self.comes)(self.ready);
        }
        self.ready.read(buffer)
    }
}
