//! Dumps as a server writes them, made of numbers: strings, a set and a hash, some with an expiry, in the order of a hash
//! table that a restart shuffles.

use super::repository::noise;

/// One state of a keyspace: a key in five is another one in each version, a large value and the members of a set in every
/// third, and the order of the keys in every fourth.
pub fn dump(version: u64) -> Vec<u8> {
    let mut keys: Vec<(Vec<u8>, Vec<u8>)> = (0..30).map(|number| string(number, version)).collect();
    keys.extend([large(version / 3), set(version / 3), odd_set(version), hash(version)]);
    // Where a server's hash table has it.
    keys.sort_by_key(|(key, _)| *blake3::keyed_hash(&[version as u8 / 4; 32], key).as_bytes());
    let mut dump = b"REDIS0011\xfa".to_vec();
    put_string(&mut dump, b"redis-ver");
    put_string(&mut dump, b"7.0.15");
    dump.extend_from_slice(b"\xfe\x00\xfb");
    put_length(&mut dump, keys.len());
    put_length(&mut dump, 6);
    keys.iter().for_each(|(_, record)| dump.extend_from_slice(record));
    // No checksum.
    [&dump[..], b"\xff", &[0; 8]].concat()
}

/// A key, and its record.
fn string(number: u64, version: u64) -> (Vec<u8>, Vec<u8>) {
    // The last version that changed it.
    let changed = version.saturating_sub((version + number) % 5);
    let key = format!("a key whose name is long, so that the few buckets there are make up a list in chunks: {number}")
        .into_bytes();
    let mut record = Vec::new();
    if number.is_multiple_of(5) {
        record.push(0xfc);
        record.extend_from_slice(&(2_000_000_000_000 + number * 1_000 + changed).to_le_bytes());
    }
    record.push(0);
    put_string(&mut record, &key);
    put_string(&mut record, &noise(30 + number as usize % 9, 100_000 + 100 * number + changed));
    (key, record)
}

/// Too long for a bucket.
fn large(version: u64) -> (Vec<u8>, Vec<u8>) {
    let mut record = vec![0];
    put_string(&mut record, b"large");
    let mut value = noise(900, 20_000);
    value[500..520].copy_from_slice(&noise(20, 20_001 + version));
    put_string(&mut record, &value);
    (b"large".to_vec(), record)
}

fn set(version: u64) -> (Vec<u8>, Vec<u8>) {
    let mut members: Vec<Vec<u8>> = (0..20 + version).map(|number| noise(12, 30_000 + number)).collect();
    members.sort_by_key(|member| *blake3::keyed_hash(&[version as u8; 32], member).as_bytes());
    let mut record = vec![2];
    put_string(&mut record, b"set");
    put_length(&mut record, members.len());
    members.iter().for_each(|member| put_string(&mut record, member));
    (b"set".to_vec(), record)
}

/// Its length in more bytes than it needs, as no server writes it, and too long for a bucket: it is kept as it stood, with its
/// members sorted.
fn odd_set(version: u64) -> (Vec<u8>, Vec<u8>) {
    let mut members: Vec<Vec<u8>> = (version..version + 50).map(|number| noise(12, 50_000 + number)).collect();
    members.sort_by_key(|member| *blake3::keyed_hash(&[version as u8 / 2; 32], member).as_bytes());
    let mut record = vec![2];
    put_string(&mut record, b"odd set");
    record.extend_from_slice(b"\x80\0\0\0\x32");
    members.iter().for_each(|member| put_string(&mut record, member));
    (b"odd set".to_vec(), record)
}

fn hash(version: u64) -> (Vec<u8>, Vec<u8>) {
    let mut record = vec![4];
    put_string(&mut record, b"hash");
    put_length(&mut record, 16);
    for number in 0..16 {
        put_string(&mut record, format!("field {number}").as_bytes());
        put_string(&mut record, &noise(10, 40_000 + number + if number == version % 16 { 100 + version } else { 0 }));
    }
    (b"hash".to_vec(), record)
}

fn put_length(dump: &mut Vec<u8>, length: usize) {
    match length {
        0..64 => dump.push(length as u8),
        64..16_384 => dump.extend_from_slice(&(0x4000 | length as u16).to_be_bytes()),
        _ => {
            dump.push(0x80);
            dump.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

fn put_string(dump: &mut Vec<u8>, bytes: &[u8]) {
    put_length(dump, bytes.len());
    dump.extend_from_slice(bytes);
}
