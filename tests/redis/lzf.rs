//! Strings of dumps that real servers wrote, decoded and encoded again.

use std::path::Path;
use std::{env, fs};

use redkeep::rdb::lzf::{Encoder, decode};
use redkeep::rdb::strings::{StringForm, Strings, text_of};
use tempfile::TempDir;

use crate::support::keyspace::{Keyspace, Random};
use crate::support::rdb_strings::{Stored, strings};
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

/// What was seen in dumps.
#[derive(Debug, Default)]
struct Seen {
    compressed: u64,
    plain: u64,
}

impl Seen {
    /// Every string of a dump that a server wrote with `rdbcompression yes`: what it compressed becomes the same bytes again,
    /// what it stored byte by byte is left so, and of each the text is all that has to be kept.
    fn look(&mut self, name: &str, dump: &[u8], tools: &mut (Encoder, Strings)) {
        let (mut plain, mut again, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let (encoder, forms) = tools;
        strings(dump, &mut |stored, whole| {
            plain.clear();
            again.clear();
            kept.clear();
            match stored {
                Stored::Lzf(lzf, length) => {
                    decode(lzf, length, &mut plain).unwrap_or_else(|error| panic!("{name}: {error}"));
                    assert!(encoder.encode(&plain, &mut again), "{name}: {length} bytes are not compressed");
                    assert!(again == lzf, "{name}: {length} bytes: {}", plain.escape_ascii());
                    self.compressed += 1;
                }
                Stored::Plain(bytes) => {
                    assert!(!encoder.encode(bytes, &mut again), "{name}: {}", bytes.escape_ascii());
                    plain.extend_from_slice(bytes);
                    self.plain += u64::from(bytes.len() > 20);
                }
                Stored::Number => assert_eq!(text_of(whole, &mut plain), Ok(true)),
            }
            assert_eq!(forms.decode(whole, &mut kept), Ok((StringForm::Usual, whole.len())), "{name}");
            assert!(kept == plain, "{name}: {}", plain.escape_ascii());
        });
    }
}

fn samples() -> Vec<(String, Vec<u8>)> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/redis/samples");
    let counts = fs::read_to_string(samples.join("counts.txt")).unwrap();
    let names = counts.lines().skip(1).map(|line| line.split(' ').next().unwrap().to_owned());
    names.map(|name| (name.clone(), fs::read(samples.join(name)).unwrap())).collect()
}

#[test]
fn what_the_servers_of_the_samples_compressed_becomes_the_same_bytes_again() {
    let (mut seen, mut tools) = (Seen::default(), Default::default());
    for (name, dump) in samples().iter().filter(|(name, _)| !name.contains("uncompressed")) {
        // Written by hand, by no encoder.
        if !name.starts_with("synthetic/") {
            seen.look(name, dump, &mut tools);
        }
    }
    assert!(seen.compressed > 500 && seen.plain > 500, "{seen:?}");
}

/// RSTR-1
#[test]
fn every_string_of_every_sample_comes_back_and_none_that_a_server_wrote_is_verbatim() {
    let (mut seen, mut forms) = ([0; 3], Strings::default());
    for (name, dump) in samples() {
        strings(&dump, &mut |stored, whole| {
            let (mut kept, mut again) = (Vec::new(), Vec::new());
            let (form, length) = forms.decode(whole, &mut kept).unwrap();
            assert_eq!(length, whole.len(), "{name}");
            forms.encode(form, &kept, &mut again);
            assert!(again == whole, "{name}");
            seen[form as usize] += 1;
            match form {
                StringForm::Usual => {}
                // Without `rdbcompression` the lists still hold compressed nodes: they are usual.
                StringForm::Plain => assert!(name.contains("uncompressed"), "{name}: {stored:?}"),
                StringForm::Verbatim => assert!(name.starts_with("synthetic/"), "{name}: {stored:?}"),
            }
            assert!(form == StringForm::Usual || !matches!(stored, Stored::Lzf(..)), "{name}");
        });
    }
    assert!(seen[0] > 5000 && seen[1] > 150 && seen[2] > 0, "{seen:?}");
}

/// A string of some kind: noise, text, JSON, runs, noise that repeats a little, one that ends in a copy.
fn string(random: &mut Random, kind: u64, length: usize) -> Vec<u8> {
    let mut bytes = match kind {
        0 => random.bytes(length),
        1 => random.words(length / 3 + 1).into_bytes(),
        2 => {
            let mut json = String::from("[");
            while json.len() < length {
                let (id, visits) = (random.next() % 100_000, random.next() % 5000);
                json += &format!(r#"{{"id":{id},"name":"{}","visits":{visits}}},"#, random.words(2));
            }
            json.into_bytes()
        }
        3 => vec![random.next() as u8; length],
        4 => {
            let mut noise = random.bytes(length);
            let step = 3 + random.below(400) as usize;
            for at in (step..length.saturating_sub(5)).step_by(step) {
                noise.copy_within(at - step..at - step + 4, at);
            }
            noise
        }
        // Few values, so that groups of three are met again soon and places in the table are fought for.
        _ => random.bytes(length).iter().map(|byte| byte % 3).collect(),
    };
    bytes.truncate(length);
    let tail = random.below(24) as usize;
    if random.one_in(3) && length > 2 * tail + 40 {
        bytes.copy_within(7..7 + tail, length - tail);
    }
    bytes
}

/// Kinds and lengths: every length up to 700 of every kind, then fewer, up to 3 MiB.
fn strings_to_be() -> impl Iterator<Item = (u64, usize)> {
    let larger = (0..20).map(|step| 700 + 257 * step * step);
    let edges = [8191, 8192, 8193, 8194, 65_535, 65_536, 65_537];
    let of_all_kinds = (0..700).chain(larger).chain(edges).flat_map(|length| (0..6).map(move |kind| (kind, length)));
    of_all_kinds.chain([(0, 1 << 20), (2, 3 << 20), (4, 1 << 20), (5, 1 << 20)])
}

fn fill(server: &RedisServer, seed: u64) {
    let mut random = Random::new(seed);
    let mut pipeline = redis::pipe();
    for (nth, (kind, length)) in strings_to_be().enumerate() {
        let value = string(&mut random, kind, length);
        pipeline.cmd("SET").arg(format!("{kind}:{length}")).arg(value).ignore();
        if nth % 300 == 0 || length > 100_000 {
            pipeline.exec(&mut server.connection()).unwrap();
            pipeline.clear();
        }
    }
    // Nodes of lists, which the server compresses by a rule of its own in memory, keys, and elements.
    for item in 0..2000 {
        let text = format!("{item} {}", random.words(6));
        pipeline.cmd("RPUSH").arg("list").arg(&text).cmd("SADD").arg("set").arg(&text).ignore();
        pipeline.cmd("SET").arg(random.words(12)).arg(item).ignore();
    }
    pipeline.exec(&mut server.connection()).unwrap();
}

fn dump_of(kind: ServerKind, seed: u64) -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let server = RedisServer::start_with(kind, dir.path(), ServerOptions::with_config(&["list-compress-depth 1"]));
    fill(&server, seed);
    Keyspace::new(seed, 1500).fill(&server);
    redis::cmd("SAVE").exec(&mut server.connection()).unwrap();
    fs::read(dir.path().join("dump.rdb")).unwrap()
}

fn look_at_a_dump_of(kind: ServerKind) {
    if kind.is_skipped() {
        return;
    }
    // `REDKEEP_TEST_DUMPS=20 cargo test --test redis lzf::` looks at twenty dumps of each server.
    let dumps = env::var("REDKEEP_TEST_DUMPS").map_or(1, |dumps| dumps.parse().expect("a number of dumps"));
    let mut seen = Seen::default();
    for seed in 0..dumps {
        seen.look(kind.name(), &dump_of(kind, seed), &mut Default::default());
    }
    assert!(seen.compressed > 5000 * dumps && seen.plain > 1500 * dumps, "{seen:?}");
}

#[test]
fn what_redis_6_2_compresses_becomes_the_same_bytes_again() {
    look_at_a_dump_of(ServerKind::Redis62);
}

#[test]
fn what_redis_7_compresses_becomes_the_same_bytes_again() {
    look_at_a_dump_of(ServerKind::Redis7);
}

#[test]
fn what_redis_7_4_compresses_becomes_the_same_bytes_again() {
    look_at_a_dump_of(ServerKind::Redis74);
}

#[test]
fn what_redis_8_2_compresses_becomes_the_same_bytes_again() {
    look_at_a_dump_of(ServerKind::Redis82);
}

#[test]
fn what_valkey_9_compresses_becomes_the_same_bytes_again() {
    look_at_a_dump_of(ServerKind::Valkey9);
}
