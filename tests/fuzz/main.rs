//! Hostile bytes for every decoder, and for whoever opens sealed objects.
//!
//! [`targets`] has one function for each decoder. Here they are fed what is kept in `tests/fuzz/corpus`, the seeds, and
//! mutations of both: the same ones in every run. With `REDKEEP_FUZZ_SECONDS` set the mutations go on for so long, from
//! a seed of their own, and an input that breaks something is kept in the corpus:
//!
//! ```text
//! REDKEEP_FUZZ_SECONDS=3600 nice -n 19 cargo test --test fuzz hostile_inputs
//! ```
//!
//! Why not one of the known fuzzers: cargo-fuzz wants a nightly compiler. bolero needs none where it does without
//! sanitizers, which find little in a crate without `unsafe`; but inputs are guided by coverage only under a cargo
//! command of its own with engines built in C, and `cargo test` would get from it what is here in a hundred lines, with
//! less say in the mutations. The targets are plain functions of bytes: each can be the body of such a fuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may stop at the first surprise and say what it saw"
)]

#[path = "../support/mod.rs"]
mod support;

mod mutate;
mod numbers;
mod sealed;
mod seeds;
mod targets;
mod watch;

use std::time::{Duration, Instant, SystemTime};

use mutate::Mutator;
use targets::{TARGETS, Target};
use watch::Watch;

/// Seeds of mutators, one for each pass: the same one in every run, or new ones until the time is over.
fn passes() -> Box<dyn Iterator<Item = u64>> {
    let Ok(seconds) = std::env::var("REDKEEP_FUZZ_SECONDS") else { return Box::new(std::iter::once(1)) };
    let time = Duration::from_secs(seconds.parse().expect("REDKEEP_FUZZ_SECONDS is a number of seconds"));
    let first = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let begun = Instant::now();
    Box::new((first..).take_while(move |_| begun.elapsed() < time))
}

/// Whether inputs that break something are kept.
fn is_hunt() -> bool {
    std::env::var_os("REDKEEP_FUZZ_SECONDS").is_some()
}

/// One pass over a target: the complaint about the first mutation that breaks something.
fn mutations(target: &Target, seeds: &[Vec<u8>], seed: u64, watch: &mut Watch) -> Result<(), String> {
    let mut mutator = Mutator::new(seed);
    for _ in 0..target.rounds {
        let input = mutator.mutate(seeds);
        if let Err(complaint) = watch.run(target.name, &input, || (target.run)(&input)) {
            if is_hunt() {
                watch::keep(&seeds::corpus(target), &input);
            }
            return Err(complaint);
        }
    }
    Ok(())
}

#[test]
fn seeds_and_inputs_that_once_broke_something_hold() {
    let mut watch = Watch::new();
    for target in TARGETS {
        let seeds = seeds::seeds(target);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for input in seeds {
            assert_eq!(watch.run(target.name, &input, || (target.run)(&input)), Ok(()));
        }
    }
}

#[test]
fn hostile_inputs_are_decoded_or_refused() {
    let mut watch = Watch::new();
    let all: Vec<_> = TARGETS.iter().map(|target| (target, seeds::seeds(target))).collect();
    let mut complaints = Vec::new();
    for seed in passes() {
        complaints.extend(all.iter().filter_map(|(target, seeds)| mutations(target, seeds, seed, &mut watch).err()));
    }
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn names_of_targets_are_their_own_and_every_kept_input_has_one() {
    let names: std::collections::BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len());
    let corpus = std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus"));
    for directory in corpus.into_iter().flatten() {
        let name = directory.unwrap().file_name();
        assert!(names.contains(name.to_str().unwrap()), "{name:?} is no target");
    }
}
