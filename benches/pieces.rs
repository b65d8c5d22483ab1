//! The pieces a backup and a restore are made of, each alone, by criterion: cutting, naming, sealing, compressing,
//! deltas, packs on their way in and out, looking chunks up, the strings of dumps, and sorting what does not fit in memory.
//!
//! ```text
//! cargo bench --bench pieces              all of them, about two minutes
//! cargo bench --bench pieces -- chunker   those whose name has this in it
//! ```
//!
//! The data is half text, which compresses, and half noise, which does not. A repository of a million chunks, and what
//! memory it takes, is measured by benches/million.rs; whole backups beside those of other tools by benches/compare.sh.

#![allow(missing_docs, reason = "criterion's macros make functions without")]
#![allow(clippy::unwrap_used, reason = "a bench that fails here has failed")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use redkeep::chunker::{Chunker, Sizes};
use redkeep::compress::{Compressor, Decompressor, DeltaCompressor, undelta};
use redkeep::crypto::keys::{Key, chunk_id};
use redkeep::crypto::seal::Sealer;
use redkeep::format::keys::{Argon2Cost, SecretKind};
use redkeep::format::recipe::{Part, Stream};
use redkeep::rdb::lzf;
use redkeep::repository::{
    Ambient, CheckDepth, Credential, IntakeOptions, Places, Repository, RepositoryError, Session, StreamWriter, Want,
};
use redkeep::spill::{Partitions, Scratch, Sorter};
use redkeep::store::{Intent, Location, Store};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// A chunk of file content, on average.
const CHUNK: usize = 64 * KIB;
const CHUNKER: Sizes = Sizes { min: 16 * KIB, mean: CHUNK, max: 256 * KIB };

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Every other 64 KiB as text, the rest as noise.
fn data(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = noise(length, seed);
    for piece in bytes.chunks_mut(CHUNK).step_by(2) {
        piece.iter_mut().for_each(|byte| *byte = b'a' + *byte % 16);
    }
    bytes
}

fn chunker(criterion: &mut Criterion) {
    let (chunker, bytes) = (Chunker::new(&[1; 32], CHUNKER), data(8 * MIB, 1));
    let mut group = criterion.benchmark_group("chunker");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("cut", |bencher| {
        bencher.iter(|| {
            let (mut rest, mut chunks) = (&bytes[..], 0);
            while !rest.is_empty() {
                (_, rest) = rest.split_at(chunker.cut(rest));
                chunks += 1;
            }
            chunks
        });
    });
    group.finish();
}

fn seal(criterion: &mut Criterion) {
    let (sealer, frame) = (Sealer::new(&Key::new([1; 32]), &[2; 32]), data(MIB, 2));
    let mut sealed = Vec::new();
    sealer.seal(Some(0), b"bound to", &frame, &mut sealed);
    let mut group = criterion.benchmark_group("seal");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    group.bench_function("seal a frame", |bencher| {
        let mut out = Vec::with_capacity(sealed.len());
        bencher.iter(|| {
            out.clear();
            sealer.seal(Some(0), b"bound to", black_box(&frame), &mut out);
        });
    });
    group.bench_function("open a frame", |bencher| bencher.iter(|| sealer.open(b"bound to", black_box(&sealed))));
    let (key, chunk) = (Key::new([3; 32]), data(CHUNK, 3));
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function("name a chunk", |bencher| bencher.iter(|| chunk_id(&key, black_box(&chunk))));
    group.finish();
}

fn compress(criterion: &mut Criterion) {
    let frame = data(MIB, 4);
    let mut group = criterion.benchmark_group("compress");
    group.throughput(Throughput::Bytes(frame.len() as u64));
    for level in [-5, 1, 3, 9, 19] {
        let mut compressor = Compressor::new(level).unwrap();
        group.bench_function(format!("level {level}"), |bencher| bencher.iter(|| compressor.whole(black_box(&frame))));
    }
    let compressed = Compressor::new(3).unwrap().whole(&frame).unwrap();
    let mut decompressor = Decompressor::default();
    group.bench_function("decompress", |bencher| {
        bencher.iter(|| decompressor.whole(black_box(&compressed), frame.len()));
    });
    group.finish();
}

fn deltas(criterion: &mut Criterion) {
    let base = data(CHUNK, 5);
    // A hundred bytes changed, and all after the middle moved.
    let (before, after) = base.split_at(CHUNK / 2);
    let mut chunk = [before, &noise(64, 6), after].concat();
    chunk.iter_mut().step_by(CHUNK / 36).for_each(|byte| *byte ^= 1);
    let mut compressor = DeltaCompressor::new(3).unwrap();
    let made = compressor.delta(&base, &chunk).unwrap();
    let mut group = criterion.benchmark_group("delta");
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function("make", |bencher| bencher.iter(|| compressor.delta(black_box(&base), &chunk)));
    group.bench_function("apply", |bencher| bencher.iter(|| undelta(&[black_box(&base)], &made, chunk.len())));
    group.finish();
}

/// A record of JSON, as long as asked for or a little longer.
fn json(length: usize, number: u64) -> Vec<u8> {
    let mut text = String::new();
    for number in number.. {
        let noise = noise(8, number).iter().fold(0, |noise, byte| noise << 8 | u64::from(*byte));
        let (id, visits, name) = (noise % 1_000_000, noise % 5000, if noise % 2 == 0 { "Berlin" } else { "winter" });
        text += &format!(r#"{{"id":{id},"name":"{name} {name}","visits":{visits},"token":"{noise:016x}"}},"#);
        if text.len() >= length {
            break;
        }
    }
    text.into_bytes()
}

fn strings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lzf");
    for (name, length) in [("200 B", 200), ("1 MiB", MIB)] {
        let plain = json(length, 8);
        let (mut encoder, mut stored, mut out) = (lzf::Encoder::default(), Vec::new(), Vec::with_capacity(length));
        assert!(encoder.encode(&plain, &mut stored));
        group.throughput(Throughput::Bytes(plain.len() as u64));
        group.bench_function(format!("encode {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                encoder.encode(black_box(&plain), &mut out)
            });
        });
        group.bench_function(format!("decode {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                lzf::decode(black_box(&stored), plain.len(), &mut out)
            });
        });
    }
    group.finish();
}

/// 300,000 records of 120 bytes with keys, or numbers, in no order: in memory, and in a twelfth of it.
fn spill(criterion: &mut Criterion) {
    let payload = json(120, 9);
    let keys: Vec<String> =
        (0..300_000u32).map(|n| format!("user:profile:{:010}", n.wrapping_mul(0x9e37_79b9))).collect();
    let bytes: usize = keys.iter().map(|key| key.len() + payload.len()).sum();
    let directory = tempfile::tempdir().unwrap();
    let scratch = Scratch::new(directory.path(), [1; 32]);
    let mut group = criterion.benchmark_group("spill");
    group.throughput(Throughput::Bytes(bytes as u64)).sample_size(10);
    for (name, budget) in [("in memory", 128 * MIB), ("in 4 MiB", 4 * MIB)] {
        group.bench_function(format!("sort {name}"), |bencher| {
            bencher.iter(|| {
                let mut sorter = Sorter::new(&scratch, budget);
                keys.iter().for_each(|key| sorter.push(key.as_bytes(), &payload).unwrap());
                let (mut sorted, mut count) = (sorter.finish().unwrap(), 0);
                while sorted.next_record().unwrap().is_some() {
                    count += 1;
                }
                assert_eq!(count, keys.len());
            });
        });
        group.bench_function(format!("number {name}"), |bencher| {
            bencher.iter(|| {
                let count = keys.len() as u64;
                let partitions = Partitions::new(&scratch, count, count * payload.len() as u64, budget);
                // A prime that does not divide it: each number once.
                (0..count).for_each(|nth| partitions.push((nth * 7919 % count) as u32, &payload).unwrap());
                let numbered = partitions.finish();
                std::thread::scope(|scope| {
                    let mut records = numbered.in_order(scope);
                    (0..count).for_each(|_| assert!(records.next_record().unwrap().is_some()));
                });
            });
        });
    }
    group.finish();
}

fn memory() -> Repository {
    let location: Location = "memory:".parse().unwrap();
    let store: Arc<dyn Store> = redkeep::store::open(&location, Intent::Create).unwrap();
    let credential = Credential { kind: SecretKind::Password, secret: b"bench".to_vec().into() };
    let cost = Argon2Cost { memory: 8, passes: 1, lanes: 1 };
    Repository::create(store, credential, "bench", cost, Ambient::system(), Places::default()).unwrap()
}

fn store(session: &Session<'_>, bytes: &[u8]) -> Stream {
    let work = |intake: &mut redkeep::repository::Intake<'_>| {
        let mut writer = StreamWriter::new(session.repository());
        writer.write(intake, bytes)?;
        writer.finish(intake)
    };
    session.store::<_, RepositoryError>(IntakeOptions::default(), &|| false, work).unwrap().0
}

/// All of the way in and out, in memory: cut, named, compressed, sealed, checked and stored; in a second time, when every
/// chunk is looked up and there; read and checked; fetched.
fn packs(criterion: &mut Criterion) {
    let bytes = data(32 * MIB, 7);
    let mut group = criterion.benchmark_group("packs");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(10);
    group.bench_function("store", |bencher| {
        let stored = |repository: Repository| drop(store(&repository.begin("bench").unwrap(), &bytes));
        bencher.iter_batched(memory, stored, BatchSize::PerIteration);
    });
    let repository = memory();
    let session = repository.begin("bench").unwrap();
    let recipe = [Part::opaque(store(&session, &bytes))];
    group.bench_function("store what is known", |bencher| bencher.iter(|| store(&session, &bytes)));
    group.bench_function("check", |bencher| {
        bencher.iter(|| {
            let report = repository.check(CheckDepth::Data, &|| false, &|_, _| {}).unwrap();
            assert!(report.is_sound());
        });
    });
    group.bench_function("fetch", |bencher| {
        let want = Want { file: 0, path: "file", recipe: &recipe };
        bencher.iter(|| repository.fetch(&[want], &|| false, &mut |_, _, _| Ok(())).unwrap());
    });
    group.finish();
}

/// Streams of one chunk of 16 bytes: beginning a stream, naming the chunk, and mostly asking the catalog.
fn look_up(criterion: &mut Criterion) {
    let repository = memory();
    let session = repository.begin("bench").unwrap();
    let mut group = criterion.benchmark_group("catalog");
    let chunks = 20_000u64;
    let all = || {
        let work = |intake: &mut redkeep::repository::Intake<'_>| {
            for number in 0..chunks {
                let mut writer = StreamWriter::new(&repository);
                writer.write(intake, &u128::from(number).to_le_bytes())?;
                writer.finish(intake)?;
            }
            Ok(())
        };
        session.store::<_, RepositoryError>(IntakeOptions::default(), &|| false, work).unwrap().1
    };
    assert_eq!(all().total().chunks, chunks);
    group.throughput(Throughput::Elements(chunks)).sample_size(10);
    group.bench_function("look up known chunks", |bencher| bencher.iter(|| assert_eq!(all().total().chunks, 0)));
    group.finish();
}

fn quick() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = pieces;
    config = quick();
    targets = chunker, seal, compress, deltas, strings, spill, packs, look_up
}
criterion_main!(pieces);
