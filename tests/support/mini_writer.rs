//! A miniature writer of repositories, straight from format-spec/ and just enough for tests. It takes what it is given:
//! bases that are not stored, lists that do not add up, paths that leave the directory.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use zstd_safe::{CParameter, FrameFormat};

/// Number and kind name of the objects it writes.
pub type Kind = (u8, &'static str);
pub const CONFIG: Kind = (1, "config");
pub const SLOT: Kind = (2, "slot");
pub const PACK: Kind = (3, "pack");
pub const INDEX: Kind = (4, "index");
pub const SNAPSHOT: Kind = (5, "snapshot");
pub const CONDEMNED: Kind = (7, "condemned");
pub const FORGOTTEN: Kind = (9, "forgotten");
pub const TOMBSTONE: Kind = (11, "tombstone");
pub const LEDGER: Kind = (13, "ledger");
pub const ROSTER: Kind = (14, "roster");

pub const PASSWORD: &str = "correct horse";

/// A repository below `root` and its secrets.
pub struct MiniWriter {
    pub root: PathBuf,
    pub repository: [u8; 16],
    pub chunk_id_key: [u8; 32],
    pub epoch_secret: [u8; 32],
    salts: Cell<u32>,
}

/// A frame before it is sealed: `chunks` is its part of the footer.
#[derive(Clone)]
pub struct MiniFrame {
    pub method: u8,
    pub plaintext: Vec<u8>,
    pub chunks: Vec<MiniChunk>,
}

/// A chunk's row of the footer; `delta` is the delta's length and the first bytes of its bases.
#[derive(Clone)]
pub struct MiniChunk {
    pub id: [u8; 16],
    pub length: u64,
    pub delta: Option<(u64, Vec<[u8; 8]>)>,
}

/// What an index object says of a pack.
#[derive(Clone)]
pub struct MiniPack {
    pub name: [u8; 32],
    pub size: u64,
    pub epoch: u32,
    pub salt: [u8; 32],
    pub footer: Vec<u8>,
}

/// A file of a snapshot; recipes are CBOR already.
#[derive(Clone)]
pub struct MiniFile {
    pub path: Vec<u8>,
    pub kind: u64,
    pub size: u64,
    pub hash: Option<[u8; 32]>,
    pub recipe: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub role: u64,
}

/// A stream before it is CBOR.
pub struct MiniStream {
    pub length: u64,
    pub levels: u64,
    pub top: Vec<u8>,
    pub labelled: bool,
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub fn keyed(key: &[u8; 32], message: &[u8], length: usize) -> Vec<u8> {
    let mut output = vec![0; length];
    blake3::Hasher::new_keyed(key).update(message).finalize_xof().fill(&mut output);
    output
}

/// Bytes that look random and always are the same.
pub fn noise(seed: &str, length: usize) -> Vec<u8> {
    keyed(&[7; 32], seed.as_bytes(), length)
}

/// The head of a CBOR item, in its shortest form.
fn head(major: u8, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let (short, width) = match value {
        0..=23 => return vec![major << 5 | value as u8],
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    [&[major << 5 | short], &bytes[8 - width..]].concat()
}

pub fn uint(value: u64) -> Vec<u8> {
    head(0, value)
}

pub fn negative(value: i64) -> Vec<u8> {
    head(1, (-1 - value) as u64)
}

pub fn bytes(value: &[u8]) -> Vec<u8> {
    [head(2, value.len() as u64).as_slice(), value].concat()
}

pub fn text(value: &str) -> Vec<u8> {
    [head(3, value.len() as u64).as_slice(), value.as_bytes()].concat()
}

pub fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

pub fn map(fields: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<u8> = fields.iter().flat_map(|(key, value)| [uint(*key), value.clone()].concat()).collect();
    [head(5, fields.len() as u64), pairs].concat()
}

pub fn zstd(plaintext: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(plaintext.len()));
    zstd_safe::CCtx::create().compress2(&mut compressed, plaintext).unwrap();
    compressed
}

/// A delta: a zstd frame without its magic number.
/// A delta of copies and insertions: what begins with 16 bytes that the bases have is copied as far as it goes.
pub fn copies(bases: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let (mut steps, mut literals, mut at, mut inserted, mut end) = (Vec::new(), Vec::new(), 0, 0, 0i64);
    while at < plaintext.len() {
        let window = plaintext.get(at..at + 16);
        match window.and_then(|window| bases.windows(16).position(|other| other == window)) {
            Some(place) => {
                let same = bases[place..].iter().zip(&plaintext[at..]).take_while(|(one, other)| one == other).count();
                let distance = place as i64 - end;
                let zigzag = if distance < 0 { (-distance) as u64 * 2 - 1 } else { distance as u64 * 2 };
                steps.extend([varint(inserted), varint(same as u64), varint(zigzag)].concat());
                (at, inserted, end) = (at + same, 0, (place + same) as i64);
            }
            None => {
                literals.push(plaintext[at]);
                (at, inserted) = (at + 1, inserted + 1);
            }
        }
    }
    if inserted > 0 {
        steps.extend([varint(inserted), varint(0)].concat());
    }
    [varint(steps.len() as u64), steps, literals].concat()
}

pub fn delta(prefix: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(plaintext.len()));
    let mut context = zstd_safe::CCtx::create();
    context.set_parameter(CParameter::Format(FrameFormat::Magicless)).unwrap();
    context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
    context.ref_prefix(prefix).unwrap();
    context.compress2(&mut compressed, plaintext).unwrap();
    compressed
}

fn wrap(key: &[u8; 32], nonce: &[u8], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    let nonce: [u8; 24] = nonce.try_into().unwrap();
    let ciphertext = XChaCha20Poly1305::new(key.into()).encrypt((&nonce).into(), Payload { msg, aad }).unwrap();
    [nonce.as_slice(), &ciphertext].concat()
}

pub fn footer(padding: u64, frames: &[MiniFrame]) -> Vec<u8> {
    let mut bytes = [varint(padding), varint(frames.len() as u64)].concat();
    for frame in frames {
        bytes.push(frame.method);
        bytes.extend(varint(frame.plaintext.len() as u64 + 40));
        bytes.extend(varint(frame.chunks.len() as u64));
        for chunk in &frame.chunks {
            bytes.extend(chunk.id);
            bytes.extend(varint(chunk.length));
            if let Some((length, bases)) = &chunk.delta {
                bytes.extend(varint(2 * *length + u64::from(bases.len() == 2)));
                bytes.extend(bases.concat());
            }
        }
    }
    bytes
}

pub fn recipe(parts: &[(u64, u64, MiniStream)]) -> Vec<u8> {
    let part = |(method, length, stream): &(u64, u64, MiniStream)| {
        let mut fields = vec![(0, uint(stream.length)), (1, uint(stream.levels)), (2, bytes(&stream.top))];
        fields.extend(stream.labelled.then(|| (3, vec![0xf5])));
        map(&[(0, uint(*method)), (1, uint(*length)), (2, map(&[(*method, map(&fields))]))])
    };
    array(&parts.iter().map(part).collect::<Vec<_>>())
}

/// An opaque recipe of one stream.
pub fn opaque(length: usize, levels: u64, top: Vec<u8>, labelled: bool) -> Vec<u8> {
    let length = length as u64;
    recipe(&[(0, length, MiniStream { length, levels, top, labelled })])
}

impl MiniFile {
    pub fn directory(path: &str) -> MiniFile {
        MiniFile { path: path.into(), kind: 1, size: 0, hash: None, recipe: None, target: None, role: 0 }
    }

    pub fn link(path: &str, target: &str) -> MiniFile {
        MiniFile { kind: 2, target: Some(target.into()), ..MiniFile::directory(path) }
    }

    pub fn file(path: &str, content: &[u8], recipe: Vec<u8>) -> MiniFile {
        let hash = Some(*blake3::hash(content).as_bytes());
        MiniFile {
            kind: 0,
            size: content.len() as u64,
            hash,
            recipe: Some(recipe),
            role: 1,
            ..MiniFile::directory(path)
        }
    }

    pub fn cbor(&self) -> Vec<u8> {
        let mut fields = vec![(0, bytes(&self.path)), (1, uint(self.kind)), (2, uint(0o640))];
        fields.extend([(3, uint(1000)), (4, uint(1001)), (7, negative(-5)), (8, uint(17)), (9, uint(self.size))]);
        fields.extend(self.hash.map(|hash| (10, bytes(&hash))));
        fields.extend(self.recipe.clone().map(|recipe| (11, recipe)));
        fields.extend(self.target.as_ref().map(|target| (12, bytes(target))));
        fields.push((13, uint(self.role)));
        map(&fields)
    }
}

impl MiniWriter {
    /// Makes `config` and one password slot.
    pub fn create(root: PathBuf) -> MiniWriter {
        let [repository, chunk_id_key, epoch_secret] = ["repository", "chunk ids", "epoch 0"].map(|s| noise(s, 32));
        let writer = MiniWriter {
            root,
            repository: repository[..16].try_into().unwrap(),
            chunk_id_key: chunk_id_key.try_into().unwrap(),
            epoch_secret: epoch_secret.try_into().unwrap(),
            salts: Cell::new(0),
        };
        writer.slot(PASSWORD, [64, 1, 1]);
        writer.config([16384, 65536, 262144]);
        writer
    }

    pub fn config(&self, sizes: [u64; 3]) {
        self.config_of_draft(sizes, Some(4));
    }

    pub fn config_of_draft(&self, sizes: [u64; 3], draft: Option<u64>) {
        let mut fields = vec![(0, bytes(&self.repository)), (1, uint(1))];
        fields.extend((2..).zip(sizes.map(uint)));
        fields.extend((5..).zip([32768, 98304, 262_144].map(uint)));
        fields.push((8, text("0.1.0")));
        fields.extend(draft.map(|draft| (9, uint(draft))));
        fields.push((10, uint(1)));
        let plaintext = map(&fields);
        self.put("config", &self.object("config", CONFIG, &plaintext));
    }

    pub fn slot(&self, password: &str, costs: [u32; 3]) {
        let name = "keys/00112233445566778899aabbccddeeff";
        let header = self.header(SLOT);
        let params = Params::new(costs[0], costs[1], costs[2], Some(32)).unwrap();
        let mut key = [0; 32];
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon.hash_password_into(password.as_bytes(), &header[32..], &mut key).unwrap();
        let epochs = array(&[array(&[uint(0), bytes(&self.epoch_secret)])]);
        let bag = map(&[(0, bytes(&self.chunk_id_key)), (1, bytes(&[1; 32])), (2, bytes(&[2; 32])), (3, epochs)]);
        let derived = |what: &str| blake3::derive_key(&format!("redkeep 2026-11 slot {what}"), &key);
        let mut object = [header.as_slice(), &[0]].concat();
        object.extend(costs.map(u32::to_le_bytes).concat());
        object.extend(derived("commitment"));
        let aad = [object.as_slice(), name.as_bytes()].concat();
        let wrapped = wrap(&derived("wrap"), &keyed(&derived("nonce"), &bag, 24), &aad, &bag);
        object.extend((wrapped.len() as u32).to_le_bytes());
        object.extend(wrapped);
        let about = map(&[(0, text("first")), (1, uint(1)), (2, text("host"))]);
        object.extend(self.seal(&header, SLOT, name, 1, &about));
        self.put(name, &object);
    }

    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn header(&self, kind: Kind) -> Vec<u8> {
        let number = self.salts.get() + 1;
        self.salts.set(number);
        let fixed = [b"redkeep".as_slice(), &[kind.0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        let mut salt = [number as u8; 32];
        if number > 0xff {
            salt[..4].copy_from_slice(&number.to_le_bytes());
        }
        [fixed.as_slice(), &self.repository, &salt].concat()
    }

    /// A sealed part under an object's header.
    pub fn seal(&self, header: &[u8], kind: Kind, name: &str, ordinal: u32, plaintext: &[u8]) -> Vec<u8> {
        let kind_key = blake3::derive_key(&format!("redkeep 2026-11 seal {}", kind.1), &self.epoch_secret);
        let keys = keyed(&kind_key, &header[32..], 64);
        let (object_key, nonce_key) = keys.split_first_chunk::<32>().unwrap();
        let nonce = keyed(nonce_key.try_into().unwrap(), &[&ordinal.to_le_bytes(), plaintext].concat(), 24);
        let length = (plaintext.len() as u32 + 40).to_le_bytes();
        let named = [&[name.len() as u8], name.as_bytes()].concat();
        let aad = [header, &named, &ordinal.to_le_bytes(), &length].concat();
        wrap(object_key, &nonce, &aad, plaintext)
    }

    /// An object of one part.
    pub fn object(&self, name: &str, kind: Kind, plaintext: &[u8]) -> Vec<u8> {
        let header = self.header(kind);
        let sealed = self.seal(&header, kind, name, 0, plaintext);
        [header, sealed].concat()
    }

    pub fn id(&self, plaintext: &[u8]) -> [u8; 16] {
        keyed(&self.chunk_id_key, plaintext, 16).try_into().unwrap()
    }

    /// The row of a list that names a chunk.
    pub fn entry(&self, plaintext: &[u8]) -> Vec<u8> {
        [self.id(plaintext).to_vec(), varint(plaintext.len() as u64)].concat()
    }

    pub fn labelled_entry(&self, plaintext: &[u8], label: &[u8]) -> Vec<u8> {
        [self.entry(plaintext), varint(label.len() as u64), label.to_vec()].concat()
    }

    /// A frame of whole chunks: method 0 or 1.
    pub fn whole(&self, method: u8, chunks: &[&[u8]]) -> MiniFrame {
        let plaintext = chunks.concat();
        let plaintext = if method == 1 { zstd(&plaintext) } else { plaintext };
        let row = |chunk: &&[u8]| MiniChunk { id: self.id(chunk), length: chunk.len() as u64, delta: None };
        MiniFrame { method, plaintext, chunks: chunks.iter().map(row).collect() }
    }

    /// A frame of deltas: each from its bases, in order, to its chunk.
    pub fn deltas(&self, deltas: &[(&[&[u8]], &[u8])]) -> MiniFrame {
        let mut frame = MiniFrame { method: 2, plaintext: Vec::new(), chunks: Vec::new() };
        for (bases, chunk) in deltas {
            let delta = delta(&bases.concat(), chunk);
            let names = bases.iter().map(|base| self.id(base)[..8].try_into().unwrap()).collect();
            let delta_row = Some((delta.len() as u64, names));
            frame.chunks.push(MiniChunk { id: self.id(chunk), length: chunk.len() as u64, delta: delta_row });
            frame.plaintext.extend(delta);
        }
        frame
    }

    /// A frame of deltas of copies and insertions, compressed together.
    pub fn copies(&self, deltas: &[(&[&[u8]], &[u8])]) -> MiniFrame {
        let mut frame = MiniFrame { method: 3, plaintext: Vec::new(), chunks: Vec::new() };
        for (bases, chunk) in deltas {
            let delta = copies(&bases.concat(), chunk);
            let names = bases.iter().map(|base| self.id(base)[..8].try_into().unwrap()).collect();
            let delta_row = Some((delta.len() as u64, names));
            frame.chunks.push(MiniChunk { id: self.id(chunk), length: chunk.len() as u64, delta: delta_row });
            frame.plaintext.extend(delta);
        }
        frame.plaintext = zstd(&frame.plaintext);
        frame
    }

    /// A frame of a chunk in columns: of rows of less than 128 bytes, each its length and what stands before its name, the
    /// name, the rest.
    pub fn columns(&self, rows: &[[Vec<u8>; 3]]) -> MiniFrame {
        let chunk = rows.concat().concat();
        let (mut numbers, mut parts): ([Vec<u8>; 4], [Vec<u8>; 3]) = Default::default();
        let mut before: &[u8] = &[];
        for [head, name, rest] in rows {
            let shared = before.iter().zip(name).take_while(|(one, other)| one == other).count();
            for (numbers, number) in numbers.iter_mut().zip([head.len() - 1, shared, name.len() - shared, rest.len()]) {
                numbers.extend(varint(number as u64));
            }
            for (part, bytes) in parts.iter_mut().zip([&head[1..], &name[shared..], rest]) {
                part.extend(bytes);
            }
            before = name;
        }
        let columns = [varint(rows.len() as u64), numbers.concat(), parts.concat()].concat();
        let plaintext = [varint(columns.len() as u64), zstd(&columns)].concat();
        let row = MiniChunk { id: self.id(&chunk), length: chunk.len() as u64, delta: None };
        MiniFrame { method: 4, plaintext, chunks: vec![row] }
    }

    /// Stores a pack.
    pub fn pack(&self, frames: &[MiniFrame]) -> MiniPack {
        self.pack_as(frames, footer(3, frames), 3)
    }

    /// Stores a pack with this footer and this much padding.
    pub fn pack_as(&self, frames: &[MiniFrame], footer: Vec<u8>, padding: usize) -> MiniPack {
        let header = self.header(PACK);
        let mut object = header.clone();
        for (ordinal, frame) in (0..).zip(frames) {
            object.extend(self.seal(&header, PACK, "", ordinal, &frame.plaintext));
        }
        object.extend(vec![0; padding]);
        let sealed = self.seal(&header, PACK, "", u32::MAX, &footer);
        let length = (sealed.len() as u32).to_le_bytes();
        object.extend([sealed.as_slice(), &length, b"rdkpfoot", &length].concat());
        self.put_pack(&object, footer)
    }

    pub fn put_pack(&self, object: &[u8], footer: Vec<u8>) -> MiniPack {
        let name = *blake3::hash(object).as_bytes();
        self.put(&format!("packs/{}/{}", hex(&name[..1]), hex(&name)), object);
        let (epoch, salt) = (object[12..16].try_into().unwrap(), object[32..64].try_into().unwrap());
        MiniPack { name, size: object.len() as u64, epoch: u32::from_le_bytes(epoch), salt, footer }
    }

    /// Stores an index object.
    pub fn index(&self, packs: &[MiniPack]) {
        let mut plaintext = [[9; 16].to_vec(), varint(packs.len() as u64)].concat();
        for pack in packs {
            plaintext.extend(pack.name);
            plaintext.extend([varint(pack.size), varint(pack.epoch.into()), pack.salt.to_vec()].concat());
            plaintext.extend([varint(pack.footer.len() as u64), pack.footer.clone()].concat());
        }
        let object = self.object("", INDEX, &plaintext);
        self.put(&format!("index/{}", blake3::hash(&object).to_hex()), &object);
    }

    /// A name below `snapshots/` of the dataset `sessions`, whose place and sequence are `session`, and whose session is it
    /// sixteen times.
    pub fn snapshot_name(&self, session: u8) -> String {
        let tag = self.tag("sessions");
        format!("snapshots/{tag}/{session:010}-{session:010}-001790000000000-{}", hex(&[session; 16]))
    }

    /// What stands for a dataset in the names of its snapshots.
    pub fn tag(&self, dataset: &str) -> String {
        hex(&self.tag_bytes(dataset))
    }

    fn tag_bytes(&self, dataset: &str) -> Vec<u8> {
        let tag_key = blake3::derive_key("redkeep 2026-11 dataset tag", &self.chunk_id_key);
        keyed(&tag_key, dataset.as_bytes(), 8)
    }

    /// Stores a ledger of a dataset by which so many snapshots were forgotten, of places that no snapshot has.
    pub fn long_ledger(&self, dataset: &str, forgotten: u64) {
        let name = format!("forgotten/{}/{}", self.tag(dataset), hex(&[0xee; 16]));
        let entry = |number: u64| {
            let session = bytes(&noise(&number.to_string(), 16));
            let place = || uint(1_000_000 + number);
            map(&[(0, place()), (1, place()), (2, uint(1_790_000_000_000)), (3, session), (4, uint(5))])
        };
        let entries = array(&(0..forgotten).map(entry).collect::<Vec<_>>());
        let group = map(&[(0, text("retention")), (1, entries)]);
        let plaintext = map(&[(0, array(&[group])), (1, array(&[]))]);
        self.put(&name, &self.object(&name, LEDGER, &plaintext));
    }

    /// Stores an object below `snapshots/`, with its final hash.
    pub fn put_hashed(&self, name: &str, kind: Kind, plaintext: &[u8]) {
        let object = self.object(name, kind, plaintext);
        self.put(name, &[object.as_slice(), blake3::hash(&object).as_bytes()].concat());
    }

    /// Stores a snapshot of the dataset `sessions`, with the sequence that is in its name.
    pub fn snapshot(&self, session: u8, previous: Option<&str>, files: &[MiniFile]) {
        self.put_hashed(&self.snapshot_name(session), SNAPSHOT, &Self::snapshot_of(session, previous, files));
    }

    /// Stores a roster that tells of a snapshot of the dataset `sessions`, which has no files.
    pub fn roster(&self, session: u8) {
        let name = format!("rosters/{}", hex(&[session; 16]));
        let entry = map(&[
            (0, bytes(&self.tag_bytes("sessions"))),
            (1, uint(1_790_000_000_000)),
            (2, bytes(&[session; 16])),
            (3, Self::snapshot_of(session, None, &[])),
        ]);
        self.put(&name, &self.object(&name, ROSTER, &map(&[(0, array(&[entry]))])));
    }

    fn snapshot_of(session: u8, previous: Option<&str>, files: &[MiniFile]) -> Vec<u8> {
        let facts = [vec![0xa1], text("server"), text("8.0")].concat();
        let mark = map(&[(0, bytes(b"x")), (1, uint(2)), (2, uint(3))]);
        let warning = map(&[(0, text("changed")), (1, bytes(b"x")), (2, text("it did"))]);
        let mut fields = vec![(0, text("sessions")), (1, uint(session.into()))];
        fields.extend(previous.map(|name| (2, text(name))));
        fields.extend([(3, uint(1)), (4, uint(2)), (6, text("host")), (7, bytes(b"/var/lib/redis")), (8, facts)]);
        fields.push((9, array(&files.iter().map(MiniFile::cbor).collect::<Vec<_>>())));
        fields.extend([(10, array(&[mark])), (11, array(&[warning])), (12, array(&[text("daily")]))]);
        fields.extend([(13, text("0.1.0")), (14, map(&[0, 1, 2, 3, 4, 5, 6].map(|key| (key, uint(9)))))]);
        map(&fields)
    }

    /// Stores a tombstone at a snapshot's name.
    pub fn tombstone(&self, session: u8) {
        let plaintext = map(&[(0, bytes(&[session; 16])), (1, uint(5))]);
        self.put_hashed(&self.snapshot_name(session), TOMBSTONE, &plaintext);
    }

    /// Condemns packs.
    pub fn condemn(&self, packs: &[[u8; 32]]) {
        let name = format!("condemned/{}", hex(&[6; 16]));
        let packs: Vec<_> = packs.iter().map(|pack| bytes(pack)).collect();
        self.put(&name, &self.object(&name, CONDEMNED, &map(&[(0, bytes(&[6; 16])), (1, array(&packs))])));
    }

    /// Records that a snapshot was forgotten.
    pub fn forget(&self, snapshot: &str) {
        self.forget_under(snapshot, snapshot);
    }

    /// Records that a snapshot was forgotten, under the name of another.
    pub fn forget_under(&self, of: &str, snapshot: &str) {
        let name = of.replacen("snapshots/", "forgotten/", 1);
        let plaintext = map(&[(0, text(snapshot)), (1, uint(5)), (2, text("retention"))]);
        self.put(&name, &self.object(&name, FORGOTTEN, &plaintext));
    }

    /// Stores a ledger of the dataset `sessions`: snapshots that were forgotten, and names that are void, by their sessions.
    pub fn ledger(&self, id: u8, forgotten: &[u8], void: &[u8]) {
        let folder = self.snapshot_name(0).replacen("snapshots/", "forgotten/", 1);
        let name = format!("{}/{}", folder.rsplit_once('/').unwrap().0, hex(&[id; 16]));
        let entry = |session: &u8| {
            let number = || uint((*session).into());
            map(&[
                (0, number()),
                (1, number()),
                (2, uint(1_790_000_000_000)),
                (3, bytes(&[*session; 16])),
                (4, uint(5)),
            ])
        };
        let entries = |sessions: &[u8]| array(&sessions.iter().map(entry).collect::<Vec<_>>());
        let group = map(&[(0, text("retention")), (1, entries(forgotten))]);
        let groups = if forgotten.is_empty() { vec![] } else { vec![group] };
        let plaintext = map(&[(0, array(&groups)), (1, entries(void))]);
        self.put(&name, &self.object(&name, LEDGER, &plaintext));
    }
}
