//! What this host's last LIST of `packs/` proved, in the catalog: rules in format-spec/11-sessions.md.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteArray;
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, params};

use super::Catalog;
use crate::format::{Id16, ObjectHash, UnixMillis};
use crate::repository::error::RepositoryError;
use crate::repository::sqlite;

/// A pack that is there: its size, and when it was stored, by the store's clock.
pub type Standing = (u64, Option<UnixMillis>);

/// Packs that were seen, and what `condemned/` and `index/` showed then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// When `packs/` was listed, by this host's clock.
    pub listed: UnixMillis,
    /// Ids below `condemned/`.
    pub condemned: BTreeSet<Id16>,
    /// Object names below `index/`.
    pub index: BTreeSet<String>,
    /// Packs that these index objects name, and that were there.
    pub packs: BTreeMap<ObjectHash, Standing>,
}

/// The same in CBOR.
type Body = (u64, Vec<ByteArray<16>>, Vec<String>, Vec<(ByteArray<32>, u64, Option<u64>)>);

impl Proof {
    fn encode(&self) -> Vec<u8> {
        let packs = self.packs.iter().map(|(pack, (size, time))| (pack.0.into(), *size, time.map(|time| time.0)));
        let condemned = self.condemned.iter().map(|id| id.0.into()).collect();
        let body: Body = (self.listed.0, condemned, self.index.iter().cloned().collect(), packs.collect());
        minicbor::to_vec(&body).unwrap_or_else(|_| unreachable!("memory does not fail to be written"))
    }

    fn decode(bytes: &[u8]) -> Option<Proof> {
        let (listed, condemned, index, packs): Body = minicbor::decode(bytes).ok()?;
        let packs = packs.into_iter().map(|(pack, size, time)| (ObjectHash(pack.into()), (size, time.map(UnixMillis))));
        Some(Proof {
            listed: UnixMillis(listed),
            condemned: condemned.into_iter().map(|id| Id16(id.into())).collect(),
            index: index.into_iter().collect(),
            packs: packs.collect(),
        })
    }
}

impl Catalog {
    /// The proof that was kept last. Memory: 80 bytes for each pack.
    pub fn proof(&self) -> Result<Option<Proof>, RepositoryError> {
        let body: Option<Vec<u8>> = self.run(|connection| {
            let sql = "SELECT body, sum FROM proof";
            let read = |row: &rusqlite::Row<'_>| sqlite::check_sum(row, 1).and_then(|()| row.get(0));
            connection.query_row(sql, [], read).optional()
        })?;
        Ok(body.as_deref().and_then(Proof::decode))
    }

    /// Changes the proof that is kept, or what takes its place, while no other process can.
    pub fn change_proof(&mut self, change: impl FnOnce(Option<Proof>) -> Option<Proof>) -> Result<(), RepositoryError> {
        self.write(|transaction| {
            let sql = "SELECT body, sum FROM proof";
            let read = |row: &rusqlite::Row<'_>| sqlite::check_sum(row, 1).and_then(|()| row.get::<_, Vec<u8>>(0));
            let had = transaction.query_row(sql, [], read).optional()?;
            let Some(proof) = change(had.as_deref().and_then(Proof::decode)) else { return Ok(()) };
            let body = proof.encode();
            let sum = sqlite::sum([ValueRef::Blob(&body)]);
            transaction.execute("DELETE FROM proof", [])?;
            transaction.execute("INSERT INTO proof VALUES (?1, ?2)", params![body, sum]).map(drop)
        })
    }

    /// Keeps none any more.
    pub fn end_proof(&mut self) -> Result<(), RepositoryError> {
        self.write(|transaction| transaction.execute("DELETE FROM proof", []).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_read_as_it_was_kept_and_a_damaged_one_is_damage() {
        let mut catalog = Catalog::private(Id16([1; 16])).unwrap();
        assert_eq!(catalog.proof().unwrap(), None);
        let packs = [(ObjectHash([4; 32]), (9, None)), (ObjectHash([5; 32]), (7, Some(UnixMillis(3))))];
        let proof = Proof {
            listed: UnixMillis(17),
            condemned: [Id16([2; 16])].into(),
            index: ["index/x".to_owned()].into(),
            packs: packs.into(),
        };
        catalog.change_proof(|had| had.or(Some(proof.clone()))).unwrap();
        assert_eq!(catalog.proof().unwrap(), Some(proof.clone()));
        catalog.change_proof(|had| had.map(|had| Proof { listed: UnixMillis(18), ..had })).unwrap();
        assert_eq!(catalog.proof().unwrap(), Some(Proof { listed: UnixMillis(18), ..proof }));
        catalog.run(|connection| connection.execute("UPDATE proof SET body = x'00'", [])).unwrap();
        assert!(catalog.proof().unwrap_err().is_of_catalog());
    }
}
