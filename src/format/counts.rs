//! How many keys the dataset of a snapshot holds, as its facts tell, and which snapshots were followed by one that had
//! lost most of them. Rules: format-spec/18-counts.md.

use std::fmt;

use humansize::{BINARY, format_size};

use super::databases::{self, DATABASES_TOLD, OF_SERVER};
use super::limits::FALLS_MAX;
use super::snapshot::{File, Role, Snapshot};

/// A number and its noun, as people read them: `1 key`, `2 keys`.
pub fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// A size as people read it, in binary units: `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    format_size(bytes, BINARY.decimal_places(1))
}

/// The fact in which a snapshot carries the falls that nobody has settled.
pub const FALLS: &str = "falls";

/// The tag of a snapshot with which a person settles the falls up to it.
pub const ACCEPTED: &str = "drop-accepted";

/// The facts between which the keys of a dump lie that a server was asked for.
pub const LEAST_KEYS: &str = "server.keys-at-least";
/// See [`LEAST_KEYS`].
pub const MOST_KEYS: &str = "server.keys-at-most";

/// What is wrong with the number of keys of a dump that a server was asked for, if the reader counted another one than the
/// server can have had: it may be another server's. Found, and between what it has to lie.
pub fn other_keys(snapshot: &Snapshot) -> Option<(u64, u64, u64)> {
    let bound = |name: &str| snapshot.facts.get(name).and_then(|keys| keys.parse::<u64>().ok());
    let (least, most) = (bound(LEAST_KEYS)?, bound(MOST_KEYS)?);
    match KeyCount::of_one(snapshot, false) {
        KeyCount::Known { keys, by: CountedBy::Structure } if !(least..=most).contains(&keys) => {
            Some((keys, least, most))
        }
        KeyCount::Known { .. } | KeyCount::Unknown(_) => None,
    }
}

/// Keys of the dataset of a snapshot, those included that have expired and are not gone yet.
///
/// COUNT-3: a server and the structure of a dump count the same keys, so every known count may be compared with every
/// other; one that is not known is compared with none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCount {
    /// So many.
    Known {
        /// Keys.
        keys: u64,
        /// Who counted them.
        by: CountedBy,
    },
    /// Nobody counted them all.
    Unknown(Uncounted),
}

/// Who counted the keys of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedBy {
    /// The reader, in the structure of the dump, or of an AOF's base that nothing follows.
    Structure,
    /// The server, when its AOF was captured.
    Server,
}

/// Why the keys of a snapshot are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncounted {
    /// It holds nothing that a server loads.
    NoDataset,
    /// Its AOF may be older than its dump.
    Doubt,
    /// A file of the dataset is suspect.
    Suspect,
    /// The dump holds something that redkeep does not know.
    NotUnderstood,
    /// Commands of an AOF follow what was counted, and no server was asked.
    Commands,
    /// Nothing counted them.
    NotCounted,
}

impl KeyCount {
    /// What the facts and files of a snapshot tell.
    pub fn of(snapshot: &Snapshot) -> KeyCount {
        let is_aof = match snapshot.facts.get("authoritative").map(String::as_str) {
            Some("aof") => true,
            Some("rdb") => false,
            Some("unknown") => return KeyCount::Unknown(Uncounted::Doubt),
            _ => return KeyCount::Unknown(Uncounted::NoDataset),
        };
        KeyCount::of_one(snapshot, is_aof)
    }

    /// The same of its AOF or of its dump, whichever is the dataset.
    pub fn of_one(snapshot: &Snapshot, is_aof: bool) -> KeyCount {
        let is_of_it = |file: &&File| match file.role {
            Role::Dump => !is_aof,
            Role::Manifest | Role::Base | Role::Incr | Role::SingleAof => is_aof,
            Role::Other | Role::History | Role::Config => false,
        };
        if snapshot.files.iter().filter(is_of_it).any(|file| file.suspect.is_some()) {
            return KeyCount::Unknown(Uncounted::Suspect);
        }
        match is_aof {
            true => of_aof(snapshot),
            false => of_structure(snapshot, "dump"),
        }
    }

    /// The keys, where they are known.
    pub fn keys(self) -> Option<u64> {
        match self {
            KeyCount::Known { keys, .. } => Some(keys),
            KeyCount::Unknown(_) => None,
        }
    }
}

/// COUNT-2: what the server counted; without one, what is in a base that nothing follows, and never what is in another.
fn of_aof(snapshot: &Snapshot) -> KeyCount {
    if let Some(keys) = of_server(snapshot) {
        return KeyCount::Known { keys, by: CountedBy::Server };
    }
    let facts = &snapshot.facts;
    let commands = |prefix: &str| facts.get(&format!("{prefix}.aof.commands")).map(|count| count != "0");
    let has_role = |role: Role| snapshot.files.iter().any(|file| file.role == role && file.size > 0);
    let (prefix, has_commands) = match facts.get("aof.layout").map(String::as_str) {
        Some("multi-part") => ("base", has_role(Role::Incr) || commands("base").unwrap_or(false)),
        _ => ("aof-file", commands("aof-file").unwrap_or(true)),
    };
    match has_commands {
        true => KeyCount::Unknown(Uncounted::Commands),
        false => of_structure(snapshot, prefix),
    }
}

/// COUNT-1: what is in a file whose every record was read and understood, up to its end.
fn of_structure(snapshot: &Snapshot, prefix: &str) -> KeyCount {
    let fact = |name: &str| snapshot.facts.get(&format!("{prefix}.{name}")).map(String::as_str);
    if fact("not-understood").is_some() {
        return KeyCount::Unknown(Uncounted::NotUnderstood);
    }
    let keys = fact("keys").filter(|_| fact("checksum") != Some("not-reached")).and_then(|keys| keys.parse().ok());
    keys.map_or(KeyCount::Unknown(Uncounted::NotCounted), |keys| KeyCount::Known { keys, by: CountedBy::Structure })
}

/// Keys of all databases, as the server said; its count of all, or the sum of those it told one by one.
fn of_server(snapshot: &Snapshot) -> Option<u64> {
    let facts = &snapshot.facts;
    if let Some(keys) = facts.get("server.keys") {
        return keys.parse().ok();
    }
    facts.get("server.run-id")?;
    let counts = databases::of(facts, OF_SERVER);
    let sum = counts.values().try_fold(0u64, |sum, count| sum.checked_add(count.keys));
    sum.filter(|_| counts.len() < DATABASES_TOLD)
}

impl CountedBy {
    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            CountedBy::Structure => "structure",
            CountedBy::Server => "server",
        }
    }
}

impl Uncounted {
    /// All of them.
    pub const ALL: [Uncounted; 6] = [
        Uncounted::NoDataset,
        Uncounted::Doubt,
        Uncounted::Suspect,
        Uncounted::NotUnderstood,
        Uncounted::Commands,
        Uncounted::NotCounted,
    ];

    /// A stable word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Uncounted::NoDataset => "no-dataset",
            Uncounted::Doubt => "doubt",
            Uncounted::Suspect => "suspect",
            Uncounted::NotUnderstood => "not-understood",
            Uncounted::Commands => "commands",
            Uncounted::NotCounted => "not-counted",
        }
    }
}

impl fmt::Display for Uncounted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Uncounted::NoDataset => "it holds no dataset of a server",
            Uncounted::Doubt => "which of its files are the dataset is not known",
            Uncounted::Suspect => "a file of the dataset is suspect",
            Uncounted::NotUnderstood => "the dump holds something that redkeep does not know",
            Uncounted::Commands => "commands of the AOF follow what was counted, and no server was asked",
            Uncounted::NotCounted => "nothing counted them",
        })
    }
}

/// A snapshot that was followed by one with less than half of its keys. Snapshots are told by their place in the
/// dataset, which copies keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fall {
    /// Place of the last one before the fall whose keys are known.
    pub full: u64,
    /// Its keys.
    pub had: u64,
    /// Place of the one after it.
    pub after: u64,
    /// Its keys.
    pub left: u64,
}

/// Whether so few keys are left that a person has to be asked.
pub fn is_fall(had: u64, left: u64) -> bool {
    left.saturating_mul(2) < had
}

/// What is looked at of a snapshot to find falls.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its place.
    pub place: u64,
    /// Its keys, where they are known.
    pub keys: Option<u64>,
    /// The falls that it carries; `None`: whoever took it did not look.
    pub falls: Option<&'a [Fall]>,
    /// Whether a person accepted what fell up to it.
    pub is_accepted: bool,
}

/// The falls of a dataset that nobody has settled, and the last snapshot whose keys are known: place and keys.
///
/// COUNT-4: those that its newest snapshot carries. Where none carries any, because an older redkeep took them, those
/// that can be seen between its snapshots. COUNT-5: less those that a person accepted.
pub fn unsettled<'a>(oldest_first: impl Iterator<Item = Seen<'a>>) -> (Vec<Fall>, Option<(u64, u64)>) {
    let (mut open, mut last, mut accepted): (Vec<Fall>, Option<(u64, u64)>, Option<u64>) = (Vec::new(), None, None);
    for seen in oldest_first {
        match (seen.falls, last, seen.keys) {
            (Some(falls), _, _) => open = falls.to_vec(),
            (None, Some((full, had)), Some(left)) if is_fall(had, left) => {
                open.push(Fall { full, had, after: seen.place, left });
            }
            (None, _, _) => {}
        }
        if seen.is_accepted {
            accepted = accepted.max(Some(seen.place));
        }
        last = seen.keys.map(|keys| (seen.place, keys)).or(last);
    }
    open.retain(|fall| Some(fall.after) > accepted);
    (open, last)
}

/// `PLACE:KEYS>PLACE:KEYS`, separated by commas; the newest [`FALLS_MAX`].
pub fn encode_falls(falls: &[Fall]) -> String {
    let first = falls.len().saturating_sub(FALLS_MAX);
    let one = |fall: &Fall| format!("{}:{}>{}:{}", fall.full, fall.had, fall.after, fall.left);
    falls.iter().skip(first).map(one).collect::<Vec<_>>().join(",")
}

/// The same, read back; what cannot be read is left out.
pub fn decode_falls(text: &str) -> Vec<Fall> {
    let pair = |text: &str| text.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let one = |text: &str| {
        let (before, after) = text.split_once('>')?;
        let ((full, had), (after, left)) = (pair(before)?, pair(after)?);
        Some(Fall { full, had, after, left })
    };
    text.split(',').filter_map(one).take(FALLS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::super::UnixMillis;
    use super::super::snapshot::FileKind;
    use super::super::summary::Summary;
    use super::*;

    fn file(role: Role, size: u64) -> File {
        File {
            path: b"f".to_vec().into(),
            kind: FileKind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            mtime: 0,
            mtime_nanos: 0,
            size,
            hash: None,
            recipe: None,
            target: None,
            role,
            suspect: None,
            form: None,
        }
    }

    fn count(facts: &str, files: Vec<File>) -> KeyCount {
        let fact = |line: &str| line.split_once('=').map(|(name, value)| (name.into(), value.into()));
        let facts = facts.split_whitespace().filter_map(fact).collect();
        KeyCount::of(&Snapshot { facts, files, ..snapshot() })
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            dataset: "d".into(),
            sequence: 1,
            previous: None,
            begin: UnixMillis(1),
            end: UnixMillis(2),
            moment: None,
            host: "h".into(),
            directory: Vec::new(),
            facts: Default::default(),
            files: Vec::new(),
            marks: Vec::new(),
            warnings: Vec::new(),
            tags: Vec::new(),
            made_by: "0".into(),
            summary: Summary::default(),
            place: None,
        }
    }

    fn of(facts: &str, files: &[(Role, u64)]) -> KeyCount {
        count(facts, files.iter().map(|(role, size)| file(*role, *size)).collect())
    }

    const BY_STRUCTURE: CountedBy = CountedBy::Structure;
    const BY_SERVER: CountedBy = CountedBy::Server;

    fn known(keys: u64, by: CountedBy) -> KeyCount {
        KeyCount::Known { keys, by }
    }

    /// COUNT-1
    #[test]
    fn a_dump_holds_what_its_own_structure_tells_and_not_what_the_server_said() {
        let dump = [(Role::Dump, 100)];
        let server = "server.run-id=a server.keys=77 server.keys.db0=77";
        let facts = format!("authoritative=rdb dump.keys=5 dump.checksum=verified {server}");
        assert_eq!(of(&facts, &dump), known(5, BY_STRUCTURE));
        assert_eq!(of(&format!("{facts} dump.not-understood=x"), &dump), KeyCount::Unknown(Uncounted::NotUnderstood));
        let facts = format!("authoritative=rdb dump.keys=5 dump.checksum=not-reached {server}");
        assert_eq!(of(&facts, &dump), KeyCount::Unknown(Uncounted::NotCounted));
        assert_eq!(of(&format!("authoritative=rdb {server}"), &dump), KeyCount::Unknown(Uncounted::NotCounted));
        let suspect = File { suspect: Some("cut short".into()), ..file(Role::Dump, 1) };
        let facts = "authoritative=rdb dump.keys=5 dump.checksum=verified";
        assert_eq!(count(facts, vec![suspect.clone()]), KeyCount::Unknown(Uncounted::Suspect));
        let other = File { role: Role::Other, ..suspect };
        assert_eq!(count(facts, vec![other, file(Role::Dump, 1)]), known(5, BY_STRUCTURE));
    }

    /// COUNT-2
    #[test]
    fn an_aof_holds_what_the_server_counted_and_never_what_is_in_a_base_that_commands_follow() {
        let parts = "authoritative=aof aof.layout=multi-part base.keys=3 base.checksum=verified";
        let (empty, full) = ([(Role::Base, 9), (Role::Incr, 0)], [(Role::Base, 9), (Role::Incr, 40)]);
        assert_eq!(of(parts, &empty), known(3, BY_STRUCTURE));
        assert_eq!(of(parts, &full), KeyCount::Unknown(Uncounted::Commands));
        assert_eq!(of(&format!("{parts} server.keys=8"), &full), known(8, BY_SERVER));
        assert_eq!(of(&format!("{parts} server.run-id=a"), &full), known(0, BY_SERVER));
        let each = "server.run-id=a server.keys.db0=8 server.keys.db9=1";
        assert_eq!(of(&format!("{parts} {each}"), &full), known(9, BY_SERVER));
        let many: String = (0..DATABASES_TOLD).map(|number| format!(" server.keys.db{number}=1")).collect();
        let told = format!("{parts} server.run-id=a{many}");
        assert_eq!(of(&told, &full), KeyCount::Unknown(Uncounted::Commands), "others may be missing");
        let commands = "authoritative=aof aof.layout=multi-part base.aof.commands=4";
        assert_eq!(of(commands, &empty), KeyCount::Unknown(Uncounted::Commands));
        let single = "authoritative=aof aof.layout=single aof-file.keys=6 aof-file.checksum=verified";
        let file = [(Role::SingleAof, 50)];
        assert_eq!(of(&format!("{single} aof-file.aof.commands=0"), &file), known(6, BY_STRUCTURE));
        assert_eq!(of(&format!("{single} aof-file.aof.commands=1"), &file), KeyCount::Unknown(Uncounted::Commands));
        assert_eq!(of(single, &file), KeyCount::Unknown(Uncounted::Commands));
    }

    #[test]
    fn what_is_in_doubt_or_holds_no_dataset_is_not_counted() {
        assert_eq!(of("authoritative=unknown dump.keys=5", &[]), KeyCount::Unknown(Uncounted::Doubt));
        for facts in ["", "authoritative=none dump.keys=5"] {
            assert_eq!(of(facts, &[]), KeyCount::Unknown(Uncounted::NoDataset), "{facts}");
        }
    }

    /// The bounds belong to what a server can have had.
    #[test]
    fn a_dump_of_as_many_keys_as_its_server_had_at_least_or_at_most_is_its_own() {
        let other = |keys: u64| {
            let facts = [("dump.keys", keys), (LEAST_KEYS, 5), (MOST_KEYS, 7)];
            let facts = facts.map(|(name, value)| (name.into(), value.to_string()));
            other_keys(&Snapshot { facts: facts.into(), ..snapshot() })
        };
        assert_eq!([5, 6, 7].map(other), [None; 3]);
        assert_eq!([4, 8].map(other), [4, 8].map(|keys| Some((keys, 5, 7))));
    }

    fn seen(place: u64, keys: impl Into<Option<u64>>) -> Seen<'static> {
        Seen { place, keys: keys.into(), falls: None, is_accepted: false }
    }

    const FALL: Fall = Fall { full: 1, had: 100, after: 2, left: 49 };

    /// COUNT-3, COUNT-4
    #[test]
    fn a_fall_is_less_than_half_of_the_last_known_count() {
        let table: [(&[Option<u64>], &[Fall]); 7] = [
            (&[Some(100), Some(50)], &[]),
            (&[Some(100), Some(49)], &[FALL]),
            (&[Some(100), None, Some(49)], &[Fall { after: 3, ..FALL }]),
            (&[None, Some(5)], &[]),
            (&[Some(1), Some(0)], &[Fall { full: 1, had: 1, after: 2, left: 0 }]),
            (&[Some(0), Some(0)], &[]),
            (&[Some(100), Some(49), Some(200)], &[FALL]),
        ];
        for (keys, expected) in table {
            let all = (1..).zip(keys).map(|(place, keys)| seen(place, *keys));
            assert_eq!(unsettled(all).0, expected, "{keys:?}");
        }
        assert_eq!(unsettled([seen(1, 5), seen(2, None)].into_iter()).1, Some((1, 5)));
    }

    /// COUNT-4
    #[test]
    fn a_snapshot_that_carries_falls_knows_of_all_before_it() {
        let falls = [FALL];
        let carries = |place, keys, falls| Seen { falls: Some(falls), ..seen(place, keys) };
        assert_eq!(unsettled([seen(1, 100), carries(3, 40, &falls)].into_iter()).0, [FALL]);
        // Those between were forgotten, and nothing fell from one to the next.
        assert_eq!(unsettled([seen(1, 100), carries(9, 3, &[])].into_iter()).0, []);
        assert_eq!(unsettled([carries(2, 49, &falls), carries(3, 49, &[])].into_iter()).0, []);
    }

    /// COUNT-5
    #[test]
    fn what_a_person_accepted_is_settled_and_what_falls_later_is_not() {
        let falls = [FALL, Fall { full: 3, had: 80, after: 4, left: 0 }];
        let newest = Seen { falls: Some(&falls), ..seen(5, 0) };
        let accepted = Seen { is_accepted: true, ..seen(2, 49) };
        assert_eq!(unsettled([seen(1, 100), accepted, newest].into_iter()).0, falls[1..]);
        let accepted = Seen { is_accepted: true, ..newest };
        assert_eq!(unsettled([seen(1, 100), accepted].into_iter()).0, []);
    }

    #[test]
    fn falls_come_back_as_written() {
        let falls: Vec<Fall> = (0..FALLS_MAX as u64 + 3).map(|place| Fall { full: place, ..FALL }).collect();
        assert_eq!(encode_falls(&falls[..2]), "0:100>2:49,1:100>2:49");
        assert_eq!(decode_falls(&encode_falls(&falls)), falls[3..]);
        assert_eq!(decode_falls(""), []);
        assert_eq!(decode_falls("x,1:2>3,1:2>3:-4,1:100>2:49,"), [FALL]);
    }
}
