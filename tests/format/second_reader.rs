//! A reader of redkeep repositories that was written from format-spec/ without a look at `src/`. It shares no code with
//! redkeep, is strict wherever the chapters let it be, and never writes. Objects are plain files below a directory.

mod bytes;
mod canonical;
mod cbor;
mod chunks;
mod ledger;
mod limits;
mod note;
mod pack;
mod record;
mod seal;
mod snapshot;
mod sweep;
mod texts;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub use note::NoteView;
pub use snapshot::{FileView, SnapshotView};
pub use sweep::{BurialView, CondemnedView};

use bytes::{Outcome, hex, list, read, unhex};
use cbor::Map;
use chunks::{Chunks, pack_name};
use ledger::LedgerView;
use limits::{CHUNK_MAX, CONDEMNED_MAX, INDEX_MAX, LEDGER_MAX, NOTE_MAX, PACK_MAX, SMALL_MAX, SNAPSHOT_MAX};
use pack::Pack;
use seal::{BURIAL, CONDEMNED, CONFIG, FORGOTTEN, Header, INDEX, Keys, LEDGER, NOTE, SNAPSHOT, TOMBSTONE, keyed};
use snapshot::Named;

/// An opened repository.
pub struct SecondReader {
    root: PathBuf,
    keys: Keys,
    chunks: Chunks,
    notices: Vec<String>,
}

impl SecondReader {
    /// Opens a repository that lies as plain files below `root`, and finds its packs by its index objects.
    pub fn open(root: &Path, password: &str) -> Result<SecondReader, String> {
        let mut reader = SecondReader::start(root, password)?;
        for name in list(root, "index")? {
            let Some(hash) = name.strip_prefix("index/").and_then(unhex::<32>) else { continue };
            match reader.index(&name, hash) {
                Ok(packs) => packs.into_iter().try_for_each(|(name, pack)| reader.chunks.add(name, pack))?,
                // INDEX-3
                Err(error) => reader.notices.push(format!("{name}: {error}")),
            }
        }
        Ok(reader)
    }

    /// Opens a repository and finds its packs by listing them and reading their footers: what is left when all index
    /// objects are lost.
    pub fn open_from_footers(root: &Path, password: &str) -> Result<SecondReader, String> {
        let mut reader = SecondReader::start(root, password)?;
        for name in list(root, "packs")? {
            let hash = name.rsplit('/').next().and_then(unhex::<32>);
            let Some(hash) = hash.filter(|hash| pack_name(hash) == name) else { continue };
            match reader.pack(&name, hash) {
                Ok(pack) => reader.chunks.add(hash, pack)?,
                Err(error) => reader.notices.push(format!("{name}: {error}")),
            }
        }
        Ok(reader)
    }

    /// What an opening passed over: index objects or packs that cannot be read.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// How many frames of its packs are deltas.
    pub fn deltas(&self) -> usize {
        self.chunks.deltas()
    }

    /// All snapshots (tombstones skipped), ordered by dataset, place, sequence, name.
    pub fn snapshots(&self) -> Result<Vec<SnapshotView>, String> {
        let mut snapshots = Vec::new();
        for name in list(&self.root, "snapshots")? {
            let Some(named) = Named::read(&name, "snapshots") else { continue };
            let view = self.snapshot(&name, &named).map_err(|error| format!("{name}: {error}"))?;
            // SESS-8
            snapshots.extend(view);
        }
        // LEDGER-2
        let void = self.said()?.void;
        snapshots.retain(|snapshot| !void.contains(&snapshot.name));
        // SNAP-2
        snapshots.sort_by(|a, b| {
            (&a.dataset, a.place, a.sequence, &a.name).cmp(&(&b.dataset, b.place, b.sequence, &b.name))
        });
        Ok(snapshots)
    }

    /// Snapshots whose previous one is neither listed nor recorded as forgotten (SNAP-3).
    pub fn alarms(&self, snapshots: &[SnapshotView]) -> Result<Vec<String>, String> {
        let mut known: BTreeSet<String> = snapshots.iter().map(|snapshot| snapshot.name.clone()).collect();
        known.extend(self.said()?.forgotten);
        let missing = |view: &&SnapshotView| view.previous.as_ref().is_some_and(|name| !known.contains(name));
        Ok(snapshots.iter().filter(missing).map(|view| view.name.clone()).collect())
    }

    /// What all records and ledgers say together.
    fn said(&self) -> Result<LedgerView, String> {
        let mut said = LedgerView::default();
        for name in list(&self.root, "forgotten")? {
            let at = |error| format!("{name}: {error}");
            if let Some(named) = Named::read(&name, "forgotten") {
                said.forgotten.push(self.forgotten(&name, &named).map_err(at)?);
            } else if let Some(tag) = ledger_tag(&name) {
                let object = read(&self.root, &name, LEDGER_MAX)?;
                let opened = self.keys.open_object(&object, &name, &[LEDGER]);
                let ledger = opened.and_then(|(_, plaintext)| LedgerView::read(tag, &plaintext)).map_err(at)?;
                said.forgotten.extend(ledger.forgotten);
                said.void.extend(ledger.void);
            }
        }
        Ok(said)
    }

    /// All notes of a sort that it knows, by their names.
    pub fn notes(&self) -> Result<Vec<NoteView>, String> {
        let mut notes = Vec::new();
        for name in list(&self.root, "notes")? {
            if name.strip_prefix("notes/").and_then(unhex::<16>).is_some() {
                let object = read(&self.root, &name, NOTE_MAX)?;
                let note = self.keys.open_object(&object, &name, &[NOTE]).and_then(|(_, body)| NoteView::read(&body));
                notes.extend(note.map_err(|error| format!("{name}: {error}"))?);
            }
        }
        Ok(notes)
    }

    /// All condemnations, by their names.
    pub fn condemned(&self) -> Result<Vec<CondemnedView>, String> {
        let mut found = Vec::new();
        for name in list(&self.root, "condemned")? {
            if let Some(id) = name.strip_prefix("condemned/").and_then(unhex::<16>) {
                let object = read(&self.root, &name, CONDEMNED_MAX)?;
                let view = self.keys.open_object(&object, &name, &[CONDEMNED]);
                let view = view.and_then(|(_, body)| CondemnedView::read(id, &body));
                found.push(view.map_err(|error| format!("{name}: {error}"))?);
            }
        }
        Ok(found)
    }

    /// All burials (tombstones skipped), by their names.
    pub fn burials(&self) -> Result<Vec<BurialView>, String> {
        let mut found = Vec::new();
        for name in list(&self.root, "burials")? {
            if name.strip_prefix("burials/").and_then(unhex::<16>).is_some() {
                let object = read(&self.root, &name, CONDEMNED_MAX)?;
                let opened = self.keys.open_object(&object, &name, &[BURIAL, TOMBSTONE]);
                let view = opened.and_then(|(header, body)| match header.kind {
                    TOMBSTONE => Ok(None),
                    _ => BurialView::read(&body).map(Some),
                });
                found.extend(view.map_err(|error| format!("{name}: {error}"))?);
            }
        }
        Ok(found)
    }

    /// Rebuilds one file's bytes and compares them with its length and its hash.
    pub fn file(&self, snapshot: &SnapshotView, path: &[u8]) -> Result<Vec<u8>, String> {
        let file = snapshot.files.iter().find(|file| file.path == path).ok_or("no such file")?;
        self.rebuild(file).map_err(|error| format!("{}: {error}", String::from_utf8_lossy(path)))
    }

    fn rebuild(&self, file: &FileView) -> Outcome<Vec<u8>> {
        let recipe = file.recipe.as_ref().ok_or("no recipe")?;
        // RECIPE-1
        let sum = recipe.iter().try_fold(0u64, |sum, part| sum.checked_add(part.length));
        if sum != Some(file.size) {
            return Err(format!("its parts do not add up to {} bytes", file.size));
        }
        let mut content = Vec::new();
        for part in recipe {
            if part.method == 1 {
                content.extend(canonical::rebuild(part, &self.keys, &self.chunks)?);
                continue;
            }
            // RECIPE-4
            if part.method != 0 {
                return Err(format!("rebuilding method {} (unknown) is not supported", part.method));
            }
            // RECIPE-6
            if part.parameters.is_some() {
                return Err("an opaque part with parameters".into());
            }
            // RECIPE-2
            let stream = part.streams.get(&0).filter(|stream| stream.length == part.length && part.streams.len() == 1);
            self.chunks.stream(
                &self.keys,
                stream.ok_or("an opaque part is not one stream of its length")?,
                &mut content,
            )?;
        }
        // SNAP-5
        if file.hash != Some(*blake3::hash(&content).as_bytes()) {
            return Err("its content is not what its hash says".into());
        }
        Ok(content)
    }

    /// Opens the slots and `config`.
    fn start(root: &Path, password: &str) -> Outcome<SecondReader> {
        let object = read(root, "config", SMALL_MAX)?;
        let header = Header::read(&object, &[CONFIG], None).map_err(|error| format!("config: {error}"))?;
        let keys = Keys::open(root, password, header.repository)?;
        let (header, plaintext) = keys.open_object(&object, "config", &[CONFIG])?;
        // OBJ-4
        if header.epoch != 0 {
            return Err(format!("config is sealed by epoch {}", header.epoch));
        }
        cbor::whole(&plaintext, |decoder| {
            let map = Map::read(decoder)?;
            if map.required(0, cbor::exact)? != keys.repository {
                return Err("config names another repository".into());
            }
            map.required(1, cbor::uint)?;
            map.required(8, cbor::text)?;
            // OBJ-6
            if map.optional(9, cbor::uint)? != Some(4) {
                return Err("it is of another draft of the format".into());
            }
            // OBJ-7
            let (least, middle) = (map.required(5, cbor::uint)?, map.required(6, cbor::uint)?);
            let most = map.bounded(7, CHUNK_MAX)?;
            if map.required(10, cbor::uint)? != 1 || least < 64 || least >= middle || middle >= most {
                return Err(format!("buckets of {least}, {middle} and {most} bytes, or by another rule"));
            }
            // OBJ-5
            let (min, mean) = (map.required(2, cbor::uint)?, map.required(3, cbor::uint)?);
            let max = map.bounded(4, CHUNK_MAX)?;
            let even = min % 2 == 0 && max % 2 == 0 && mean.is_power_of_two();
            if !even || min < 64 || min >= mean || mean >= max {
                return Err(format!("chunks of {min}, {mean} and {max} bytes"));
            }
            Ok(())
        })
        .map_err(|error| format!("config: {error}"))?;
        Ok(SecondReader {
            root: root.to_path_buf(),
            keys,
            chunks: Chunks::new(root.to_path_buf()),
            notices: Vec::new(),
        })
    }

    fn index(&self, name: &str, hash: [u8; 32]) -> Outcome<Vec<([u8; 32], Pack)>> {
        let object = read(&self.root, name, INDEX_MAX)?;
        // OBJ-2
        if *blake3::hash(&object).as_bytes() != hash {
            return Err("its bytes are not what its name says".into());
        }
        pack::read_index(&self.keys.open_object(&object, "", &[INDEX])?.1)
    }

    fn pack(&self, name: &str, hash: [u8; 32]) -> Outcome<Pack> {
        let object = read(&self.root, name, PACK_MAX)?;
        // OBJ-2
        if *blake3::hash(&object).as_bytes() != hash {
            return Err("its bytes are not what its name says".into());
        }
        Pack::of_object(&object, &self.keys)
    }

    /// A snapshot, or nothing where a tombstone stands.
    fn snapshot(&self, name: &str, named: &Named) -> Outcome<Option<SnapshotView>> {
        let object = read(&self.root, name, SNAPSHOT_MAX)?;
        // SNAP-1
        let (object, last) = object.split_last_chunk::<32>().ok_or("shorter than its final hash")?;
        if blake3::hash(object).as_bytes() != last {
            return Err("its final hash does not agree with its bytes".into());
        }
        let (header, plaintext) = self.keys.open_object(object, name, &[SNAPSHOT, TOMBSTONE])?;
        if header.kind == TOMBSTONE {
            return cbor::whole(&plaintext, |decoder| {
                let map = Map::read(decoder)?;
                map.required(0, cbor::exact::<16>)?;
                map.required(1, cbor::uint)?;
                Ok(None)
            });
        }
        let view = SnapshotView::read(&plaintext, name, &hex(&named.session))?;
        // SNAP-7
        if (view.place, view.sequence) != (named.place, named.sequence) {
            return Err("a snapshot of another place or sequence than its name".into());
        }
        let tag = named.tag;
        // KEY-4
        let tag_key = blake3::derive_key("redkeep 2026-11 dataset tag", &self.keys.chunk_id);
        if keyed(&tag_key, view.dataset.as_bytes())[..8] != tag {
            return Err(format!("a snapshot of dataset {:?} under the tag {}", view.dataset, hex(&tag)));
        }
        let same_dataset = |previous| Named::read(previous, "snapshots").is_some_and(|other| other.tag == tag);
        if !view.previous.as_deref().is_none_or(same_dataset) {
            return Err("its previous snapshot is not of its dataset".into());
        }
        Ok(Some(view))
    }

    /// The snapshot that a record says was forgotten.
    fn forgotten(&self, name: &str, named: &Named) -> Outcome<String> {
        let object = read(&self.root, name, SMALL_MAX)?;
        let (_, plaintext) = self.keys.open_object(&object, name, &[FORGOTTEN])?;
        cbor::whole(&plaintext, |decoder| {
            let map = Map::read(decoder)?;
            map.required(1, cbor::uint)?;
            map.required(2, cbor::text)?;
            // FORGET-1
            match map.required(0, cbor::text)? {
                snapshot if snapshot == named.name() => Ok(snapshot),
                other => Err(format!("a record of {other}")),
            }
        })
    }
}

/// The tag in the name of a ledger.
fn ledger_tag(name: &str) -> Option<[u8; 8]> {
    let (tag, id) = name.strip_prefix("forgotten/")?.split_once('/')?;
    unhex::<16>(id)?;
    unhex(tag)
}
