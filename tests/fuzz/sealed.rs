//! Hostile objects of every kind for whoever opens a repository: bytes that were changed where they are kept, and
//! plaintexts that somebody who has the keys sealed as they should not be.

use std::fs;
use std::sync::Arc;

use redkeep::crypto::keys::kind_key;
use redkeep::crypto::seal::Sealer;
use redkeep::format::keys::EpochRecord;
use redkeep::format::note::{Body, Note, Read};
use redkeep::format::object::{Kind, Name};
use redkeep::format::pack::encode_trailer;
use redkeep::format::sealing::{FOOTER, HEADER, Header, SEAL_OVERHEAD, WHOLE};
use redkeep::format::session::{Burial, Lease};
use redkeep::format::{Id16, ObjectHash, UnixMillis};
use redkeep::operations::Silent;
use redkeep::operations::check::CheckDepth;
use redkeep::operations::list::{Filter, Selector, choose, snapshots};
use redkeep::operations::stats::stats;
use redkeep::operations::verify::verify;
use redkeep::repository::{Places, Repository, RepositoryError};
use redkeep::store::Store;

use crate::mutate::Mutator;
use crate::passes;
use crate::support::mini_writer::{self, MiniFile, MiniPack, MiniWriter, opaque};
use crate::support::repository::{Hands, memory, noise, password, text};
use crate::watch::Watch;

/// Mutations of each object in a pass.
const ROUNDS: u64 = 12;

/// A repository with an object of every kind, in a store in memory.
struct World {
    store: Arc<dyn Store>,
    hands: Hands,
    epoch_secret: [u8; 32],
    pack: MiniPack,
    objects: Vec<(Name, Vec<u8>)>,
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        let writer = MiniWriter::create(root.path().into());
        let pack = fill(&writer);
        let found = walkdir::WalkDir::new(root.path()).sort_by_file_name().into_iter().map(Result::unwrap);
        let object = |entry: walkdir::DirEntry| {
            let name = entry.path().strip_prefix(root.path()).unwrap().to_str().unwrap();
            (Name::parse(name).unwrap(), fs::read(entry.path()).unwrap())
        };
        let objects: Vec<_> = found.filter(|entry| entry.file_type().is_file()).map(object).collect();
        let world = World { store: memory(), hands: Hands::new(1), epoch_secret: writer.epoch_secret, pack, objects };
        world.put_back();
        world
    }

    /// Every object is there as it was, and nothing else.
    fn put_back(&self) {
        let listed = self.store.entries("").unwrap().into_iter();
        let odd = listed.filter(|entry| !self.objects.iter().any(|(name, _)| name.to_string() == entry.name.as_str()));
        odd.for_each(|entry| self.store.delete(&entry.name).unwrap());
        self.objects.iter().for_each(|(name, bytes)| self.put(name, bytes));
    }

    fn put(&self, name: &Name, bytes: &[u8]) {
        self.store.put(&name.to_string().parse().unwrap(), bytes.to_vec().into()).unwrap();
    }

    fn open(&self) -> Result<Repository, RepositoryError> {
        let secret = password(mini_writer::PASSWORD);
        Repository::open(self.store.clone(), secret, self.hands.ambient("alpha"), Places::default(), None)
    }

    fn sealer(&self, header: &Header) -> Sealer {
        Sealer::new(&kind_key(&self.epoch_secret, header.kind.name()), &header.salt)
    }

    /// Header and plaintext of an object that is one sealed part.
    fn opened(&self, name: &Name, object: &[u8]) -> (Header, Vec<u8>) {
        let end = if matches!(name, Name::Snapshot(_)) { object.len() - 32 } else { object.len() };
        let (header, sealed) = Header::decode(&object[..end]).unwrap();
        let plaintext = self.sealer(&header).open(&header.aad(name, WHOLE, sealed.len()), sealed).unwrap();
        (header, plaintext)
    }

    /// The same object with another plaintext, and the name it goes by.
    fn resealed(&self, name: &Name, header: &Header, plaintext: &[u8]) -> (Name, Vec<u8>) {
        let mut object = header.encode().to_vec();
        let aad = header.aad(name, WHOLE, plaintext.len() + SEAL_OVERHEAD);
        self.sealer(header).seal(Some(WHOLE), &aad, plaintext, &mut object);
        let hash = blake3::hash(&object);
        match name {
            Name::Snapshot(_) => object.extend(hash.as_bytes()),
            Name::Index(_) => return (Name::Index(ObjectHash(hash.into())), object),
            _ => {}
        }
        (*name, object)
    }

    /// The pack with another table.
    fn repacked(&self, pack: &[u8], footer: &[u8]) -> (Name, Vec<u8>) {
        let (header, _) = Header::decode(pack).unwrap();
        let sealed = footer.len() + SEAL_OVERHEAD;
        let mut object = pack[..pack.len() - 16 - self.pack.footer.len() - SEAL_OVERHEAD].to_vec();
        let aad = header.aad(&Name::Pack(ObjectHash([0; 32])), FOOTER, sealed);
        self.sealer(&header).seal(Some(FOOTER), &aad, footer, &mut object);
        object.extend(encode_trailer(sealed as u32));
        (Name::Pack(ObjectHash(blake3::hash(&object).into())), object)
    }
}

/// One object of every kind, and a pack of every method; the pack.
fn fill(writer: &MiniWriter) -> MiniPack {
    let (first, second) = (noise(300, 1), [&noise(200, 1)[..], &text(90, 2)].concat());
    let list = writer.labelled_entry(&second, b"0user:1");
    let pack = writer.pack(&[
        writer.whole(0, &[&first]),
        writer.whole(1, &[&list, &text(80, 3)]),
        writer.deltas(&[(&[&first], &second)]),
    ]);
    writer.index(std::slice::from_ref(&pack));
    let files = [
        MiniFile::directory("d"),
        MiniFile::file("d/first", &first, opaque(300, 0, writer.entry(&first), false)),
        MiniFile::file("d/second", &second, opaque(290, 1, writer.labelled_entry(&list, b"0user:1"), true)),
        MiniFile::link("latest", "d/first"),
    ];
    let gone = writer.snapshot_name(1);
    writer.forget(&gone);
    writer.ledger(8, &[1], &[9]);
    writer.tombstone(2);
    writer.snapshot(3, Some(&gone), &files);
    writer.snapshot(4, Some(&writer.snapshot_name(3)), &files[..2]);
    writer.roster(3);
    writer.condemn(&[[7; 32]]);
    let (id, time) = (Id16([5; 16]), UnixMillis(1_790_000_000_000));
    let put = |name: Name, kind: Kind, plaintext: Vec<u8>| {
        writer.put(&name.to_string(), &writer.object(&name.to_string(), (kind as u8, kind.name()), &plaintext));
    };
    let lease = Lease { session: id, commit_name: writer.snapshot_name(5), seen: Some(vec![id]), heartbeat: time };
    put(Name::Lease(id), Kind::Lease, lease.encode());
    let burial = Burial { condemned: vec![id], packs: vec![ObjectHash([7; 32])], rescue: vec![], time };
    put(Name::Burial(id), Kind::Burial, burial.encode());
    let reads = vec![Read::new(ObjectHash(pack.name), None)];
    put(Name::Note(id), Kind::Note, Note { time, host: "alpha".into(), body: Body::Check(reads) }.encode());
    put(Name::Epoch(0), Kind::Epoch, EpochRecord { number: 0, begun: time }.encode());
    pack
}

/// Opens the repository and looks at all there is: what it complains about. Every error is one of damage.
fn complaints(world: &World) -> Vec<String> {
    let repository = match world.open() {
        Ok(repository) => repository,
        Err(error) => {
            assert!(error.is_damage() || matches!(error, RepositoryError::WrongSecret { .. }), "{error:?}");
            return vec![error.to_string()];
        }
    };
    match repository.check(CheckDepth::Data, &|| false, &|_, _| {}) {
        Ok(report) => report.damage.iter().map(|damage| format!("{}: {}", damage.object, damage.problem)).collect(),
        Err(error) => {
            assert!(error.is_damage() || matches!(error, RepositoryError::WrongSecret { .. }), "{error:?}");
            vec![error.to_string()]
        }
    }
}

/// Does with a repository what a person does: whatever is in it, all of this comes back.
fn use_all(world: &World) {
    let Ok(repository) = world.open() else { return };
    let _ = repository.check(CheckDepth::Data, &|| false, &|_, _| {});
    let _ = stats(&repository);
    let _ = repository.slots();
    let _ = repository.forgotten();
    let Ok((infos, _)) = snapshots(&repository, &Filter::default()) else { return };
    for info in infos {
        let _ = choose(&repository, &Selector::Id(info.name.session.to_string()), None)
            .map(|chosen| verify(&repository, &chosen, &Silent).map(drop));
    }
}

/// Argon2 within its bounds takes minutes and gigabytes: the cost of a slot stays what it is.
fn keep_cost(object: &mut [u8], whole: &[u8]) {
    let cost = HEADER + 1..HEADER + 13;
    if let (Some(place), Some(cost)) = (object.get_mut(cost.clone()), whole.get(cost)) {
        place.copy_from_slice(cost);
    }
}

/// SEAL-1, SEAL-3, OBJ-2, SNAP-1
#[test]
fn changed_bytes_of_every_kind_of_object_are_named_as_damage() {
    let (world, mut watch) = (World::new(), Watch::new());
    assert_eq!(complaints(&world), Vec::<String>::new());
    let kinds: std::collections::BTreeSet<u8> =
        world.objects.iter().map(|(_, object)| Header::decode(object).unwrap().0.kind as u8).collect();
    assert_eq!(kinds, Kind::ALL.map(|kind| kind as u8).into());
    let all: Vec<Vec<u8>> = world.objects.iter().map(|(_, object)| object.clone()).collect();
    for (name, whole, seed) in passes().flat_map(|seed| world.objects.iter().map(move |(n, w)| (n, w, seed))) {
        let mut mutator = Mutator::new(seed);
        for _ in 0..ROUNDS {
            // The end of another object may be spliced in, never one that can stand here.
            let mut object = mutator.mutate(&[std::slice::from_ref(whole), &all[..1]].concat());
            if matches!(name, Name::Slot(_)) {
                keep_cost(&mut object, whole);
            }
            if object == *whole {
                continue;
            }
            world.put_back();
            world.put(name, &object);
            let noticed = || assert!(!complaints(&world).is_empty(), "it is not noticed");
            assert_eq!(watch.run(&name.to_string(), &object, noticed), Ok(()));
        }
    }
}

#[test]
fn hostile_plaintexts_under_good_seals_are_refused_or_shown() {
    let (world, mut watch) = (World::new(), Watch::new());
    for (name, whole, seed) in passes().flat_map(|seed| world.objects.iter().map(move |(n, w)| (n, w, seed))) {
        let mut mutator = Mutator::new(seed);
        for _ in 0..ROUNDS {
            let (hostile, under, object) = match name {
                // Its parts are sealed by the secret itself, and bags are small: the targets have them.
                Name::Slot(_) => break,
                Name::Pack(_) => {
                    let footer = mutator.mutate(std::slice::from_ref(&world.pack.footer));
                    let (name, object) = world.repacked(whole, &footer);
                    (footer, name, object)
                }
                _ => {
                    let (header, plaintext) = world.opened(name, whole);
                    let plaintext = mutator.mutate(&[plaintext]);
                    let (name, object) = world.resealed(name, &header, &plaintext);
                    (plaintext, name, object)
                }
            };
            world.put_back();
            world.store.delete(&name.to_string().parse().unwrap()).unwrap();
            world.put(&under, &object);
            assert_eq!(watch.run(&name.to_string(), &hostile, || use_all(&world)), Ok(()));
        }
    }
}
