//! The bag of secrets and the slots that wrap it. Layout: format-spec/03-keys.md.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::ids::UnixMillis;
use super::limits::{ARGON2_LANES_MAX, ARGON2_MEMORY_MAX, ARGON2_PASSES_MAX, SMALL_MAX};
use super::sealing::HEADER;
use super::{Malformed, Reader, decode_cbor, encode_cbor};

/// Every secret of a repository.
///
/// KEY-1: three keys that never change, and seal epochs numbered from 0, the last of which seals new objects.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Bag {
    /// Names chunks.
    pub chunk_id: [u8; 32],
    /// Hashes Redis keys where canonical RDB needs it.
    pub key_hash: [u8; 32],
    /// Makes the gear table.
    pub chunker: [u8; 32],
    /// Secrets of the seal epochs, by number.
    pub epochs: Vec<[u8; 32]>,
}

impl Bag {
    /// Number of its last epoch.
    pub fn last(&self) -> u32 {
        self.epochs.len().saturating_sub(1) as u32
    }

    /// The bag's plaintext, CBOR.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Room for everything at once: a growing vector would leave copies of secrets behind.
        let mut out = Vec::with_capacity(256 + self.epochs.len() * 64);
        let mut encoder = minicbor::Encoder::new(&mut out);
        let result = (|| {
            encoder.map(4)?;
            encoder.u8(0)?.bytes(&self.chunk_id)?;
            encoder.u8(1)?.bytes(&self.key_hash)?;
            encoder.u8(2)?.bytes(&self.chunker)?;
            encoder.u8(3)?.array(self.epochs.len() as u64)?;
            for (number, secret) in self.epochs.iter().enumerate() {
                encoder.array(2)?.u32(number as u32)?.bytes(secret)?;
            }
            Ok::<_, minicbor::encode::Error<core::convert::Infallible>>(())
        })();
        match result {
            Ok(()) => Zeroizing::new(out),
            Err(error) => unreachable!("a vector takes every byte: {error}"),
        }
    }

    /// The same, read back and checked.
    pub fn decode(bytes: &[u8]) -> Result<Bag, Malformed> {
        let fields: BagFields = decode_cbor("key bag", bytes)?;
        let in_order = fields.epochs.iter().enumerate().all(|(place, epoch)| epoch.number as usize == place);
        if fields.epochs.is_empty() || !in_order {
            return Err(Malformed::new("key bag", "seal epochs are not numbered from 0"));
        }
        Ok(Bag {
            chunk_id: fields.chunk_id,
            key_hash: fields.key_hash,
            chunker: fields.chunker,
            epochs: fields.epochs.iter().map(|epoch| epoch.secret).collect(),
        })
    }
}

#[derive(minicbor::Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
struct BagFields {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    chunk_id: [u8; 32],
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    key_hash: [u8; 32],
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    chunker: [u8; 32],
    #[n(3)]
    epochs: Vec<EpochFields>,
}

#[derive(minicbor::Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(array)]
struct EpochFields {
    #[n(0)]
    number: u32,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    secret: [u8; 32],
}

/// What a slot is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// Text a person types.
    Password = 0,
    /// All bytes of a file.
    KeyFile = 1,
}

/// Cost of one guess at a slot's secret (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Argon2Cost {
    /// What writers use: 64 MiB, 3 passes, 4 lanes (RFC 9106, second recommended option).
    pub const DEFAULT: Argon2Cost = Argon2Cost { memory: 64 << 10, passes: 3, lanes: 4 };
    /// What they use for a secret that redkeep drew, of 130 random bits or more: nobody tries all of these at any cost.
    pub const DRAWN: Argon2Cost = Argon2Cost { memory: 8, passes: 1, lanes: 1 };

    /// KEY-6: bounds, before anything is allocated.
    fn checked(self) -> Result<Argon2Cost, Malformed> {
        let fits = (1..=ARGON2_LANES_MAX).contains(&self.lanes)
            && (1..=ARGON2_PASSES_MAX).contains(&self.passes)
            && (8 * self.lanes..=ARGON2_MEMORY_MAX).contains(&self.memory);
        match fits {
            true => Ok(self),
            false => Err(Malformed::new(
                "slot",
                format!("Argon2 with {} KiB, {} passes, {} lanes", self.memory, self.passes, self.lanes),
            )),
        }
    }
}

/// A slot without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What it is opened with.
    pub secret: SecretKind,
    /// Cost of a guess.
    pub cost: Argon2Cost,
    /// Says whether a guess is right.
    pub commitment: [u8; 32],
    /// Nonce, ciphertext and tag of the bag.
    pub wrapped: Vec<u8>,
    /// Sealed part with ordinal 1: [`About`].
    pub about: Vec<u8>,
}

impl Slot {
    /// Bytes 64 to 109: what the wrapped bag is bound to, beside header and name.
    pub fn encode_parameters(&self) -> Vec<u8> {
        let mut out = vec![self.secret as u8];
        for number in [self.cost.memory, self.cost.passes, self.cost.lanes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.commitment);
        out
    }

    /// The bytes behind the header.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.encode_parameters();
        out.extend_from_slice(&(self.wrapped.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.wrapped);
        out.extend_from_slice(&self.about);
        out
    }

    /// The same, read back and checked.
    pub fn decode(bytes: &[u8]) -> Result<Slot, Malformed> {
        let mut reader = Reader::new("slot", bytes);
        if (bytes.len() + HEADER) as u64 > SMALL_MAX {
            return Err(reader.malformed("longer than SMALL_MAX"));
        }
        let secret = match reader.u8()? {
            0 => SecretKind::Password,
            1 => SecretKind::KeyFile,
            other => return Err(reader.malformed(format!("unknown kind of secret {other}"))),
        };
        let cost = Argon2Cost { memory: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? }.checked()?;
        let commitment = reader.array()?;
        let length = reader.u32()? as usize;
        let wrapped = reader.take(length)?.to_vec();
        let about = reader.take(reader.remaining())?.to_vec();
        Ok(Slot { secret, cost, commitment, wrapped, about })
    }
}

/// What a slot says of itself to whoever has opened the repository.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct About {
    /// A person's word for it.
    #[n(0)]
    pub label: String,
    /// When it was made.
    #[n(1)]
    pub created: UnixMillis,
    /// Where it was made.
    #[n(2)]
    pub host: String,
}

impl About {
    /// CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(self)
    }

    /// The same, read back.
    pub fn decode(bytes: &[u8]) -> Result<About, Malformed> {
        decode_cbor("slot", bytes)
    }
}

/// What stands in `epochs/<number>`.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct EpochRecord {
    /// The epoch, which also seals the record.
    #[n(0)]
    pub number: u32,
    /// When it came into force.
    #[n(1)]
    pub begun: UnixMillis,
}

impl EpochRecord {
    /// CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(self)
    }

    /// The same, read back.
    pub fn decode(bytes: &[u8]) -> Result<EpochRecord, Malformed> {
        decode_cbor("epoch record", bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bag(epochs: Vec<[u8; 32]>) -> Bag {
        Bag { chunk_id: [1; 32], key_hash: [2; 32], chunker: [3; 32], epochs }
    }

    /// KEY-1
    #[test]
    fn a_bag_comes_back_as_written_and_has_epochs_from_zero() {
        let back = Bag::decode(&bag(vec![[4; 32], [5; 32]]).encode()).map(|b| (b.chunk_id, b.epochs.clone()));
        assert_eq!(back, Ok(([1; 32], vec![[4; 32], [5; 32]])));
        assert!(Bag::decode(&bag(vec![]).encode()).is_err());
        let mut renumbered = bag(vec![[4; 32]]).encode().to_vec();
        let place = renumbered.len() - 35;
        assert_eq!(renumbered[place], 0);
        renumbered[place] = 1;
        assert!(Bag::decode(&renumbered).is_err());
    }

    fn slot(memory: u32, passes: u32, lanes: u32) -> Slot {
        Slot {
            secret: SecretKind::KeyFile,
            cost: Argon2Cost { memory, passes, lanes },
            commitment: [9; 32],
            wrapped: vec![1, 2, 3],
            about: vec![4, 5],
        }
    }

    /// KEY-6
    #[test]
    fn a_slot_comes_back_as_written_and_costs_out_of_bounds_are_refused() {
        let good = slot(65536, 3, 4);
        assert_eq!(Slot::decode(&good.encode()), Ok(good));
        for (m, t, p) in [(31, 1, 4), (1 << 30, 3, 4), (65536, 0, 4), (65536, 65, 4), (65536, 3, 0), (65536, 3, 17)] {
            assert!(Slot::decode(&slot(m, t, p).encode()).is_err(), "{m} {t} {p}");
        }
    }
}
