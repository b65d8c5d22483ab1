//! The packer and the checker of the way in: frames become packs, and packs are read back before they are stored.

use std::collections::BTreeMap;

use crossbeam_channel::{Receiver, Sender};

use super::compressing::Compressed;
use crate::format::frame::{BasePrefix, Method};
use crate::format::limits::FOOTER_MAX;
use crate::format::object::Name;
use crate::format::pack::ChunkRow;
use crate::format::sealing::SEAL_OVERHEAD;
use crate::format::summary::{New, News};
use crate::repository::chunk_reader::ChunkReader;
use crate::repository::error::{Fault, RepositoryError};
use crate::repository::pack_reader::check_parts;
use crate::repository::pack_writer::{FinishedPack, FrameBody, PACK_TARGET, PackWriter};
use crate::repository::session::Session;

/// Seals frames into packs, in the order the caller gave them: two runs make the same packs.
pub(super) struct Packer<'s> {
    session: &'s Session<'s>,
    packs: Sender<FinishedPack>,
    give_back: Sender<()>,
    /// Memory of packs that were stored.
    used: Receiver<Vec<u8>>,
    early: BTreeMap<u64, FrameBody>,
    next: u64,
    pack: Option<PackWriter>,
    new: News,
}

impl<'s> Packer<'s> {
    pub fn new(
        session: &'s Session<'s>,
        packs: Sender<FinishedPack>,
        give_back: Sender<()>,
        used: Receiver<Vec<u8>>,
    ) -> Self {
        Packer { session, packs, give_back, used, early: BTreeMap::new(), next: 0, pack: None, new: News::new() }
    }

    /// What was packed, by what it holds.
    pub fn run(mut self, from: Receiver<Compressed>) -> Result<News, RepositoryError> {
        for (ticket, frame) in from {
            // Returning closes the tickets: the caller does not wait for a frame that will never come.
            self.early.insert(ticket, frame.map_err(|error| RepositoryError::Limit(error.to_string()))?);
            while let Some(frame) = self.early.remove(&self.next) {
                self.next += 1;
                self.append(frame)?;
                // Fails when the caller is gone, who then waits for no ticket.
                let _ = self.give_back.try_send(());
            }
        }
        self.close()?;
        Ok(self.new)
    }

    fn append(&mut self, frame: FrameBody) -> Result<(), RepositoryError> {
        self.count(&frame);
        let full = |pack: &PackWriter| {
            pack.footer_len() > FOOTER_MAX as usize / 2
                || pack.len() + pack.footer_len() + frame.bytes.len() + SEAL_OVERHEAD > PACK_TARGET
        };
        if self.pack.as_ref().is_some_and(full) {
            self.close()?;
        }
        let pack = match self.pack.take() {
            Some(pack) => pack,
            None => {
                let (salt, used) = (self.session.repository.ambient.random(), self.used.try_recv().unwrap_or_default());
                PackWriter::within(&self.session.keyring, salt, used)
                    .map_err(|fault| RepositoryError::damaged("a new pack", fault))?
            }
        };
        self.pack.insert(pack).append(frame);
        Ok(())
    }

    fn count(&mut self, frame: &FrameBody) {
        self.new.entry(frame.holds as u64).or_default().add(New {
            chunks: frame.chunks.len() as u64,
            bytes: frame.chunks.iter().map(|chunk| u64::from(chunk.length)).sum(),
            stored: (frame.bytes.len() + SEAL_OVERHEAD) as u64,
        });
    }

    fn close(&mut self) -> Result<(), RepositoryError> {
        match self.pack.take() {
            // Fails when a later stage has failed, which reports why.
            Some(pack) if !pack.is_empty() => self.packs.send(pack.finish()).map_err(|_| RepositoryError::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Reads every pack the way a restore will, before it is stored. A delta that was decoded to its chunk when it was made
/// is not decoded again: that what opening yields are the bytes that were decoded then is shown by their hash.
pub(super) fn check_packs(
    session: &Session<'_>,
    reader: &ChunkReader<'_>,
    from: Receiver<FinishedPack>,
    to: Sender<FinishedPack>,
) -> Result<(), RepositoryError> {
    for pack in from {
        let name = Name::Pack(pack.indexed.pack);
        let bases =
            |method: Method, chunk: &ChunkRow, bases: &[BasePrefix], delta: &[u8]| match pack.proofs.get(&chunk.id) {
                Some(proof) if blake3::hash(delta) == *proof => Ok(None),
                Some(_) => Err(Fault::WrongChunk(chunk.id)),
                None => reader.undelta(method, bases, delta, chunk.length).map(Some),
            };
        let checked = check_parts(&session.keyring, pack.indexed.pack, &pack.bytes, &bases);
        let checked =
            checked.map_err(|fault| RepositoryError::damaged(format!("{name} (before it was stored)"), fault))?;
        // What an index object will say of the pack is what was read back, not what was meant.
        // Fails when the finisher has failed, which reports why.
        to.send(FinishedPack { indexed: checked, ..pack }).map_err(|_| RepositoryError::Interrupted)?;
    }
    Ok(())
}
