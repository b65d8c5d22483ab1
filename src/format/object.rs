//! Which objects a repository has, and what each is called. Rules: format-spec/02-objects.md.

use std::fmt;

use super::ids::{DatasetTag, Id16, ObjectHash, UnixMillis};

/// Kind of an object, as its header states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Parameters of the repository.
    Config = 1,
    /// A password's or key file's way to the bag.
    Slot = 2,
    /// Frames of chunks.
    Pack = 3,
    /// Tables of many packs.
    Index = 4,
    /// One captured state of a dataset.
    Snapshot = 5,
    /// A writer's announcement.
    Lease = 6,
    /// Packs a sweep is going to delete.
    Condemned = 7,
    /// A sweep's decision that they may be deleted.
    Burial = 8,
    /// A snapshot was forgotten on purpose.
    Forgotten = 9,
    /// Result of a check or drill.
    Note = 10,
    /// Nothing will be committed under this name any more.
    Tombstone = 11,
    /// A seal epoch is in force.
    Epoch = 12,
    /// What records and tombstones of a dataset said.
    Ledger = 13,
    /// What listings show of many snapshots.
    Roster = 14,
}

impl Kind {
    /// All kinds, by number.
    pub const ALL: [Kind; 14] = [
        Kind::Config,
        Kind::Slot,
        Kind::Pack,
        Kind::Index,
        Kind::Snapshot,
        Kind::Lease,
        Kind::Condemned,
        Kind::Burial,
        Kind::Forgotten,
        Kind::Note,
        Kind::Tombstone,
        Kind::Epoch,
        Kind::Ledger,
        Kind::Roster,
    ];

    /// The kind with a number.
    pub fn from_number(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// Name in key derivation and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Config => "config",
            Kind::Slot => "slot",
            Kind::Pack => "pack",
            Kind::Index => "index",
            Kind::Snapshot => "snapshot",
            Kind::Lease => "lease",
            Kind::Condemned => "condemned",
            Kind::Burial => "burial",
            Kind::Forgotten => "forgotten",
            Kind::Note => "note",
            Kind::Tombstone => "tombstone",
            Kind::Epoch => "epoch",
            Kind::Ledger => "ledger",
            Kind::Roster => "roster",
        }
    }
}

/// Name of a snapshot object: `snapshots/<tag>/<place>-<sequence>-<time>-<session>`. Sorts as the snapshots of a dataset do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName {
    /// The dataset's tag.
    pub tag: DatasetTag,
    /// Where it stands in the order of the dataset.
    pub place: u64,
    /// Its number in the dataset.
    pub sequence: u64,
    /// When the session began.
    pub time: UnixMillis,
    /// The session, which is the snapshot's id.
    pub session: Id16,
}

/// Name of an object.
///
/// OBJ-1: ids, hashes, tags and times have one written form each.
/// OBJ-3: [`Name::parse`] answers `None` for names that are not of this table; they are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// `config`
    Config,
    /// `keys/<slot>`
    Slot(Id16),
    /// `packs/<2>/<hash>`
    Pack(ObjectHash),
    /// `index/<hash>`
    Index(ObjectHash),
    /// `snapshots/<tag>/<place>-<sequence>-<time>-<session>`
    Snapshot(SnapshotName),
    /// `leases/<session>`
    Lease(Id16),
    /// `condemned/<id>`
    Condemned(Id16),
    /// `burials/<session>`
    Burial(Id16),
    /// `forgotten/<tag>/<place>-<sequence>-<time>-<session>`, of a snapshot.
    Forgotten(SnapshotName),
    /// `forgotten/<tag>/<id>`
    Ledger(DatasetTag, Id16),
    /// `notes/<id>`
    Note(Id16),
    /// `epochs/<number>`
    Epoch(u32),
    /// `rosters/<id>`
    Roster(Id16),
}

impl Name {
    /// The name an object is stored under, read back.
    pub fn parse(text: &str) -> Option<Name> {
        if text == "config" {
            return Some(Name::Config);
        }
        let (folder, rest) = text.split_once('/')?;
        match folder {
            "keys" => rest.parse().ok().map(Name::Slot),
            "packs" => {
                let (digits, hash) = rest.split_once('/')?;
                hash.starts_with(digits).then_some(())?;
                (digits.len() == 2).then_some(())?;
                hash.parse().ok().map(Name::Pack)
            }
            "index" => rest.parse().ok().map(Name::Index),
            "snapshots" => SnapshotName::parse_rest(rest).map(Name::Snapshot),
            "leases" => rest.parse().ok().map(Name::Lease),
            "condemned" => rest.parse().ok().map(Name::Condemned),
            "burials" => rest.parse().ok().map(Name::Burial),
            "forgotten" => SnapshotName::parse_rest(rest).map(Name::Forgotten).or_else(|| {
                let (tag, id) = rest.split_once('/')?;
                Some(Name::Ledger(tag.parse().ok()?, id.parse().ok()?))
            }),
            "notes" => rest.parse().ok().map(Name::Note),
            "rosters" => rest.parse().ok().map(Name::Roster),
            "epochs" => {
                (rest.len() == 10 && rest.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
                rest.parse().ok().map(Name::Epoch)
            }
            _ => None,
        }
    }

    /// Kinds that may stand under this name.
    pub fn allows(&self, kind: Kind) -> bool {
        match self {
            Name::Config => kind == Kind::Config,
            Name::Slot(_) => kind == Kind::Slot,
            Name::Pack(_) => kind == Kind::Pack,
            Name::Index(_) => kind == Kind::Index,
            Name::Snapshot(_) => matches!(kind, Kind::Snapshot | Kind::Tombstone),
            Name::Lease(_) => kind == Kind::Lease,
            Name::Condemned(_) => kind == Kind::Condemned,
            Name::Burial(_) => matches!(kind, Kind::Burial | Kind::Tombstone),
            Name::Forgotten(_) => kind == Kind::Forgotten,
            Name::Ledger(..) => kind == Kind::Ledger,
            Name::Note(_) => kind == Kind::Note,
            Name::Epoch(_) => kind == Kind::Epoch,
            Name::Roster(_) => kind == Kind::Roster,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Config => f.write_str("config"),
            Name::Slot(id) => write!(f, "keys/{id}"),
            Name::Pack(hash) => write!(f, "packs/{:02x}/{hash}", hash.0[0]),
            Name::Index(hash) => write!(f, "index/{hash}"),
            Name::Snapshot(name) => name.fmt(f),
            Name::Lease(id) => write!(f, "leases/{id}"),
            Name::Condemned(id) => write!(f, "condemned/{id}"),
            Name::Burial(id) => write!(f, "burials/{id}"),
            Name::Forgotten(name) => write!(f, "forgotten/{}", Rest(name)),
            Name::Ledger(tag, id) => write!(f, "forgotten/{tag}/{id}"),
            Name::Note(id) => write!(f, "notes/{id}"),
            Name::Epoch(number) => write!(f, "epochs/{number:010}"),
            Name::Roster(id) => write!(f, "rosters/{id}"),
        }
    }
}

impl SnapshotName {
    /// The name in its written form, read back.
    pub fn parse(text: &str) -> Option<SnapshotName> {
        SnapshotName::parse_rest(text.strip_prefix("snapshots/")?)
    }

    fn parse_rest(text: &str) -> Option<SnapshotName> {
        let (tag, rest) = text.split_once('/')?;
        let mut fields = rest.splitn(4, '-');
        let mut number = |digits: usize| {
            let field = fields.next()?;
            let fits = field.len() == digits && field.bytes().all(|b| b.is_ascii_digit());
            fits.then(|| field.parse::<u64>().ok())?
        };
        let (place, sequence, time) = (number(10)?, number(10)?, number(15)?);
        let session = fields.next()?.parse().ok()?;
        Some(SnapshotName { tag: tag.parse().ok()?, place, sequence, time: UnixMillis(time), session })
    }
}

/// A snapshot's name without its folder.
struct Rest<'n>(&'n SnapshotName);

impl fmt::Display for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SnapshotName { tag, place, sequence, time, session } = self.0;
        write!(f, "{tag}/{place:010}-{sequence:010}-{:015}-{session}", time.0)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshots/{}", Rest(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEAL-1
    #[test]
    fn under_each_name_stands_its_own_kind_and_no_other() {
        let (id, hash, tag) = (Id16([1; 16]), ObjectHash([2; 32]), DatasetTag([3; 8]));
        let snapshot = SnapshotName { tag, place: 1, sequence: 1, time: UnixMillis(5), session: id };
        let table: [(Name, &[Kind]); 13] = [
            (Name::Config, &[Kind::Config]),
            (Name::Slot(id), &[Kind::Slot]),
            (Name::Pack(hash), &[Kind::Pack]),
            (Name::Index(hash), &[Kind::Index]),
            (Name::Snapshot(snapshot), &[Kind::Snapshot, Kind::Tombstone]),
            (Name::Lease(id), &[Kind::Lease]),
            (Name::Condemned(id), &[Kind::Condemned]),
            (Name::Burial(id), &[Kind::Burial, Kind::Tombstone]),
            (Name::Forgotten(snapshot), &[Kind::Forgotten]),
            (Name::Ledger(tag, id), &[Kind::Ledger]),
            (Name::Note(id), &[Kind::Note]),
            (Name::Epoch(7), &[Kind::Epoch]),
            (Name::Roster(id), &[Kind::Roster]),
        ];
        for (name, allowed) in table {
            for kind in Kind::ALL {
                assert_eq!(name.allows(kind), allowed.contains(&kind), "{kind:?} as {name}");
            }
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
    }

    /// OBJ-3
    #[test]
    fn a_pack_stands_in_the_folder_of_its_first_two_digits() {
        let hash = ObjectHash([0xab; 32]);
        assert_eq!(Name::parse(&format!("packs/ab/{hash}")), Some(Name::Pack(hash)));
        for folder in ["", "a", "aba", "ba", "AB"] {
            assert_eq!(Name::parse(&format!("packs/{folder}/{hash}")), None, "{folder}");
        }
    }

    /// OBJ-1, OBJ-3
    #[test]
    fn names_have_one_written_form_and_others_are_ignored() {
        let session = Id16([0xab; 16]);
        let hash = ObjectHash([0xcd; 32]);
        let time = UnixMillis(1_790_000_000_123);
        let snapshot = SnapshotName { tag: DatasetTag([1; 8]), place: 7, sequence: 12, time, session };
        let names = [
            Name::Config,
            Name::Slot(session),
            Name::Pack(hash),
            Name::Index(hash),
            Name::Snapshot(snapshot),
            Name::Lease(session),
            Name::Condemned(session),
            Name::Burial(session),
            Name::Forgotten(snapshot),
            Name::Ledger(DatasetTag([1; 8]), session),
            Name::Note(session),
            Name::Epoch(7),
            Name::Roster(session),
        ];
        for name in names {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        let rest = format!("0101010101010101/0000000007-0000000012-001790000000123-{session}");
        assert_eq!(snapshot.to_string(), format!("snapshots/{rest}"));
        assert_eq!(Name::Forgotten(snapshot).to_string(), format!("forgotten/{rest}"));
        let later = |place, sequence| SnapshotName { place, sequence, time: UnixMillis(0), ..snapshot };
        for other in [later(8, 0), later(7, 13), later(100, 100)] {
            assert!(other > snapshot && other.to_string() > snapshot.to_string(), "names sort as the snapshots do");
        }
        for other in [
            "",
            "reserve",
            "packs/ab/.tmp-1",
            "packs/ab/cd",
            "keys/",
            "config/x",
            "snapshots/x/y",
            "snapshots/0101010101010101/001790000000123-00000000000000000000000000000000",
            "snapshots/0101010101010101/0000000001-0000000001-001790000000123",
            "snapshots/0101010101010101/0000000001-+000000001-001790000000123-00000000000000000000000000000000",
            "snapshots/0101010101010101/000000001-0000000001-001790000000123-00000000000000000000000000000000",
            "forgotten/00000000000000000000000000000000",
            "index/../config",
            "epochs/7",
            "epochs/4294967296",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        assert_eq!(Name::parse(&format!("packs/ab/{hash}")), None);
    }
}
