//! What tests store where all that counts is that it does not compress and does not repeat.

/// Bytes of which nothing follows from others; of another seed, others.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
