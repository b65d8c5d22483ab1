//! One captured state of a dataset. Layout: format-spec/10-snapshot.md.

mod file;

use std::collections::{BTreeMap, BTreeSet};

use minicbor::decode::{self, Decoder};

use super::ids::UnixMillis;
use super::limits::{FILES_MAX, SNAPSHOT_MAX};
use super::recipe::LENGTH_BOUND;
use super::summary::Summary;
use super::{Malformed, decode_cbor, encode_cbor};

pub use file::{CONFIG_ROOT, File, FileKind, PathBytes, Role, check_path, is_below_config};

/// Bytes of the hash at the end of an object below `snapshots/`.
pub const FINAL_HASH: usize = 32;

/// One captured state of a dataset.
#[derive(Debug, Clone, PartialEq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// Name of the dataset.
    #[n(0)]
    pub dataset: String,
    /// Position in the dataset, from 1.
    #[n(1)]
    pub sequence: u64,
    /// Object name of the dataset's previous snapshot.
    #[n(2)]
    pub previous: Option<String>,
    /// Begin of the capture by the host's clock.
    #[n(3)]
    pub begin: UnixMillis,
    /// End of the capture by the host's clock.
    #[n(4)]
    pub end: UnixMillis,
    /// The captured moment by the server's clock.
    #[n(5)]
    pub moment: Option<UnixMillis>,
    /// Host that took it.
    #[n(6)]
    pub host: String,
    /// Directory that was captured, absolute.
    #[n(7)]
    #[cbor(with = "minicbor::bytes")]
    pub directory: Vec<u8>,
    /// What is known about server, dump and capture.
    #[n(8)]
    pub facts: BTreeMap<String, String>,
    /// Files, sorted by path.
    #[n(9)]
    #[cbor(decode_with = "decode_files")]
    pub files: Vec<File>,
    /// Places in AOF files with their server times.
    #[n(10)]
    pub marks: Vec<Mark>,
    /// What a person should know before relying on it.
    #[n(11)]
    pub warnings: Vec<Warning>,
    /// A person's words for it.
    #[n(12)]
    pub tags: Vec<String>,
    /// Version of redkeep.
    #[n(13)]
    pub made_by: String,
    /// What the backup did.
    #[n(14)]
    pub summary: Summary,
    /// Of a copy: sequence number of the snapshot whose capture it repeats.
    #[n(15)]
    pub place: Option<u64>,
}

/// Stops at FILES_MAX: a file that is held takes many times the bytes it was written in.
fn decode_files<'b, C>(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Vec<File>, decode::Error> {
    let mut files = Vec::new();
    for file in decoder.array_iter_with(context)? {
        if files.len() >= FILES_MAX {
            return Err(decode::Error::message("more files than FILES_MAX"));
        }
        files.push(file?);
    }
    Ok(files)
}

/// A place in an AOF file that was reached at a known time.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Mark {
    /// The AOF file.
    #[n(0)]
    pub path: PathBytes,
    /// Bytes from its start.
    #[n(1)]
    pub offset: u64,
    /// Time by the server's clock.
    #[n(2)]
    pub time: UnixMillis,
}

/// Something a person should know before relying on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Warning {
    /// Stable word for scripts.
    #[n(0)]
    pub code: String,
    /// The path it is about; empty for the whole.
    #[n(1)]
    pub path: PathBytes,
    /// For people.
    #[n(2)]
    pub message: String,
}

impl Snapshot {
    /// The plaintext of the snapshot object.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(self)
    }

    /// The same, read back and checked.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, Malformed> {
        if bytes.len() as u64 > SNAPSHOT_MAX {
            return Err(Malformed::new("snapshot", "longer than SNAPSHOT_MAX"));
        }
        let snapshot: Snapshot = decode_cbor("snapshot", bytes)?;
        snapshot.check()?;
        Ok(snapshot)
    }

    /// Refuses what no reader may act on: unsafe paths, recipes that do not fit, too many files.
    pub fn check(&self) -> Result<(), Malformed> {
        let malformed = |why: String| Malformed::new("snapshot", why);
        if self.files.len() > FILES_MAX {
            return Err(malformed(format!("{} files, above FILES_MAX", self.files.len())));
        }
        let (mut directories, mut last): (BTreeSet<&[u8]>, &[u8]) = (BTreeSet::new(), b"");
        for file in &self.files {
            let path: &[u8] = &file.path;
            check_path(path)?;
            let parent = path.iter().rposition(|byte| *byte == b'/').and_then(|end| path.get(..end));
            if parent.is_some_and(|parent| !directories.contains(parent)) || path <= last {
                return Err(malformed(format!("{} out of order, or not below its directory", file.display_path())));
            }
            file.check()?;
            if file.kind == FileKind::Directory {
                directories.insert(path);
            }
            last = path;
        }
        self.check_sum()
    }

    /// SNAP-8: the sizes of all files add up to a number that everybody can hold.
    pub(super) fn check_sum(&self) -> Result<(), Malformed> {
        let mut sizes = self.files.iter().map(|file| file.size);
        match sizes.try_fold(0u64, |sum, size| sum.checked_add(size).filter(|sum| *sum <= LENGTH_BOUND)) {
            Some(_) => Ok(()),
            None => Err(Malformed::new("snapshot", "its files are longer together than any disk")),
        }
    }

    /// Where it stands in the order of its dataset: a copy stands where the snapshot stood that it repeats.
    pub fn place(&self) -> u64 {
        self.place.unwrap_or(self.sequence)
    }

    /// The moment it stands for: the captured one by the server's clock, where that is known, else the begin of the capture.
    pub fn captured_at(&self) -> UnixMillis {
        self.moment.unwrap_or(self.begin)
    }

    /// Files whose content is suspect.
    pub fn suspects(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.suspect.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::form::Form;
    use crate::format::ids::ObjectHash;
    use crate::format::limits::PATH_MAX;
    use crate::format::recipe::{Part, Stream};

    pub(crate) fn file(path: &str, kind: FileKind) -> File {
        let is_file = kind == FileKind::File;
        File {
            path: path.as_bytes().to_vec().into(),
            kind,
            mode: 0o640,
            uid: 1,
            gid: 2,
            user: Some("redis".into()),
            group: None,
            mtime: -5,
            mtime_nanos: 7,
            size: 0,
            hash: is_file.then_some(ObjectHash([3; 32])),
            recipe: is_file.then(|| vec![Part::opaque(stream())]),
            target: (kind == FileKind::Link).then(|| b"x".to_vec().into()),
            role: Role::Other,
            suspect: None,
            form: None,
        }
    }

    fn stream() -> Stream {
        Stream { length: 0, levels: 0, top: vec![], labelled: None }
    }

    fn snapshot(files: Vec<File>) -> Snapshot {
        Snapshot {
            dataset: "host:/var/lib/redis".into(),
            sequence: 1,
            previous: None,
            begin: UnixMillis(1),
            end: UnixMillis(2),
            moment: None,
            host: "host".into(),
            directory: b"/var/lib/redis".to_vec(),
            facts: BTreeMap::from([("rdb.version".into(), "10".into())]),
            files,
            marks: vec![Mark { path: b"a".to_vec().into(), offset: 4, time: UnixMillis(9) }],
            warnings: vec![Warning { code: "c".into(), path: vec![].into(), message: "m".into() }],
            tags: vec!["t".into()],
            made_by: "0".into(),
            summary: Summary { files: 1, ..Summary::default() },
            place: Some(1),
        }
    }

    #[test]
    fn a_snapshot_comes_back_as_written() {
        let written =
            snapshot(vec![file("a", FileKind::Directory), file("a/b", FileKind::File), file("a/c", FileKind::Link)]);
        assert_eq!(Snapshot::decode(&written.encode()), Ok(written.clone()));
        let bytes = written.encode();
        assert!(Snapshot::decode(&[&bytes[..], &[0]].concat()).is_err());
        for cut in 0..bytes.len() {
            assert!(Snapshot::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    /// CONV-4
    #[test]
    fn a_reader_skips_keys_it_does_not_know_and_wants_those_it_needs() {
        let about = super::super::keys::About { label: "l".into(), created: UnixMillis(5), host: "h".into() };
        let mut later = about.encode();
        later[0] += 1;
        later.extend_from_slice(&[0x18, 99, 0x82, 1, 2]);
        assert_eq!(super::super::keys::About::decode(&later), Ok(about));
        assert!(super::super::keys::About::decode(&[0xa1, 0, 0x61, b'l']).is_err());
    }

    /// SNAP-4
    #[test]
    fn paths_that_leave_the_directory_or_collide_are_refused() {
        let long = "x".repeat(PATH_MAX + 1);
        assert!(check_path(&long.as_bytes()[1..]).is_ok());
        for path in ["", "/etc/passwd", "..", "a/..", "../x", "a/../b", "a//b", "a/", ".", "a\0b", &long] {
            let bad = snapshot(vec![file("a", FileKind::Directory), file(path, FileKind::File)]);
            assert!(Snapshot::decode(&bad.encode()).is_err(), "{path:?}");
        }
        for files in [
            vec![file("a", FileKind::File), file("a", FileKind::File)],
            vec![file("b", FileKind::File), file("a", FileKind::File)],
            vec![file("a/b", FileKind::File)],
            vec![file("a", FileKind::Link), file("a/b", FileKind::File)],
        ] {
            assert!(Snapshot::decode(&snapshot(files).encode()).is_err());
        }
    }

    /// SNAP-6
    #[test]
    fn fields_that_do_not_belong_to_a_kind_are_refused() {
        let recipe_of = |kind| File { recipe: Some(vec![]), ..file("a", kind) };
        let of_size = |kind| File { size: 1, ..file("a", kind) };
        let to = |bytes| File { target: Some(vec![b'x'; bytes].into()), ..file("a", FileKind::Link) };
        assert!(Snapshot::decode(&snapshot(vec![to(PATH_MAX)]).encode()).is_ok());
        for bad in [
            recipe_of(FileKind::Directory),
            recipe_of(FileKind::Link),
            of_size(FileKind::Directory),
            of_size(FileKind::Link),
            to(PATH_MAX + 1),
        ] {
            assert!(Snapshot::decode(&snapshot(vec![bad]).encode()).is_err());
        }
        let no_recipe = File { recipe: None, ..file("a", FileKind::File) };
        assert!(Snapshot::decode(&snapshot(vec![no_recipe]).encode()).is_err());
    }

    /// SNAP-11
    #[test]
    fn a_form_that_does_not_belong_to_its_file_is_refused() {
        use crate::format::form::FormState::{Canonical, Opaque, Prefix};
        use crate::format::limits::FAULT_MAX;
        let of = |role, is_canonical: bool, state, why: Option<&str>| {
            let form = Some(Form { state, why: why.map(str::to_owned) });
            let recipe = vec![Part { method: u64::from(is_canonical), length: 0, ..Part::opaque(stream()) }];
            let file = File { role, form, recipe: Some(recipe), ..file("a", FileKind::File) };
            snapshot(vec![file]).check().is_ok()
        };
        let (longest, why) = ("x".repeat(FAULT_MAX), Some("too large"));
        for role in [Role::Dump, Role::Base, Role::SingleAof] {
            assert!(of(role, true, Canonical, None) && of(role, true, Prefix, why) && of(role, false, Opaque, why));
        }
        for role in [Role::Other, Role::Manifest, Role::Incr, Role::History] {
            assert!(!of(role, false, Opaque, why), "{role:?}");
        }
        assert!(of(Role::Dump, false, Opaque, Some(&longest)));
        for (is_canonical, state, why) in [
            (false, Canonical, None),
            (true, Canonical, why),
            (false, Prefix, why),
            (true, Prefix, None),
            (true, Prefix, Some("")),
            (true, Opaque, why),
            (false, Opaque, None),
            (false, Opaque, Some(&*format!("{longest}x"))),
        ] {
            assert!(!of(Role::Dump, is_canonical, state, why), "{is_canonical} {state:?}");
        }
    }

    #[test]
    fn more_bytes_or_files_than_a_snapshot_may_have_are_refused() {
        let why = |outcome: Result<(), Malformed>| outcome.unwrap_err().to_string();
        let long = Snapshot::decode(&vec![0; SNAPSHOT_MAX as usize + 1]).map(drop);
        assert!(why(long).contains("longer than SNAPSHOT_MAX"));
        let files = (0..=FILES_MAX).map(|number| file(&format!("{number:06}"), FileKind::Directory)).collect();
        let many = snapshot(files);
        assert!(why(many.check()).contains("above FILES_MAX"));
        assert!(why(Snapshot::decode(&many.encode()).map(drop)).contains("more files than FILES_MAX"));
    }

    /// SNAP-9
    #[test]
    fn configuration_stands_below_its_directory_and_nowhere_else() {
        let of_config = |path, kind| File { role: Role::Config, ..file(path, kind) };
        let directory = of_config(".redkeep-config", FileKind::Directory);
        let good = vec![directory.clone(), of_config(".redkeep-config/redis.conf", FileKind::File)];
        assert!(Snapshot::decode(&snapshot(good).encode()).is_ok());
        for bad in ["redis.conf", ".redkeep-configuration"] {
            let files = vec![directory.clone(), of_config(bad, FileKind::File)];
            assert!(Snapshot::decode(&snapshot(files).encode()).is_err(), "{bad}");
        }
    }

    /// SNAP-8
    #[test]
    fn files_whose_sizes_cannot_be_added_up_are_refused() {
        let of_size = |path, size| {
            let stream = Stream { length: size, levels: 0, top: vec![], labelled: None };
            File { size, recipe: Some(vec![Part::opaque(stream)]), ..file(path, FileKind::File) }
        };
        let decoded = |sizes: [u64; 2]| {
            let written = snapshot(vec![of_size("a", sizes[0]), of_size("b", sizes[1])]);
            Snapshot::decode(&written.encode())
        };
        assert!(decoded([LENGTH_BOUND, 0]).is_ok());
        assert!(decoded([LENGTH_BOUND, 1]).is_err());
        assert!(decoded([LENGTH_BOUND, LENGTH_BOUND]).is_err());
    }
}
