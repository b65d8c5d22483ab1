//! `get`, `keys` and `diff`: keys and values of a snapshot without a restore; and how one gets back into a server.

mod dataset;
pub(super) mod glob;
mod largest;
mod put;
mod put_all;

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use super::list::Chosen;
use super::restore::{Cut, Doubt, doubt};
use super::second_look::second_look;
use super::{Observer, OperationError};
use crate::aof::{Expiry, Fate, Lookup, Obstacle};
use crate::format::recipe::Part;
use crate::format::snapshot::{File, Role};
use crate::rdb::Family;
use crate::rdb::strings::encode_plain;
use crate::rdb::values::{Item, Templates, Value};
use crate::repository::{ChunkReader, DumpLookup, LookedUp, Repository, RepositoryError, TakeChange, difference};
use dataset::{Dataset, VALUE_LONGEST, canonical, commands_of, read_all, recipe};

pub use dataset::LISTED_LONGEST;
pub use largest::{Largest, LargestKey, LargestPrefix, NAME_LONGEST, largest};
pub use put::{PutBack, Target, put_back};
pub use put_all::{Missing, NotTaken, PutKeys, PutOptions, put_keys};

/// Takes records one after the other, until it wants no more.
pub type TakeKey<'t> = dyn FnMut(&LookedUp<'_>) -> ControlFlow<()> + Send + 't;

/// A key as it stood in a snapshot.
#[derive(Debug, Clone)]
pub struct Held {
    /// When it goes, in milliseconds since the epoch.
    pub expires: Option<u64>,
    /// It goes so many milliseconds after a server loads it, whatever else is said.
    pub after_loading: Option<i64>,
    type_byte: u8,
    family: Family,
    raw: Vec<u8>,
    templates: Templates,
}

impl Held {
    /// What it holds.
    pub fn value(&self) -> Value<'_> {
        let Held { type_byte, family, raw, templates, .. } = self;
        Value { type_byte: *type_byte, family: *family, raw, templates }
    }

    fn string(text: &[u8]) -> Held {
        let mut raw = Vec::new();
        encode_plain(text, &mut raw);
        let (expires, after_loading, templates) = (None, None, Templates::default());
        Held { expires, after_loading, type_byte: 0, family: Family::Redis, raw, templates }
    }
}

/// What is known of a key.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It was there.
    There(Box<Held>),
    /// It was not.
    NotThere,
    /// It cannot be told, and why.
    Untold(String),
}

/// Looks for a key, as it was where the snapshot's AOF is cut, if it is. Damage gets a second look.
pub fn get(
    repository: &Repository,
    chosen: &Chosen,
    until: Option<&Cut>,
    database: u32,
    key: &[u8],
    observer: &dyn Observer,
) -> Result<Answer, OperationError> {
    second_look(repository, |_| true, || get_once(repository, chosen, until, database, key, observer))
}

fn get_once(
    repository: &Repository,
    chosen: &Chosen,
    until: Option<&Cut>,
    database: u32,
    key: &[u8],
    observer: &dyn Observer,
) -> Result<Answer, OperationError> {
    let reader = ChunkReader::new(repository);
    let dataset = Dataset::of(&reader, &chosen.snapshot)?;
    let (mut before, mut lookup, mut unread) = (Search::default(), None, None);
    if let Some(file) = dataset.dump {
        match canonical(file) {
            Some(part) => {
                DumpLookup::new(&reader, part, VALUE_LONGEST)?
                    .find(database, key, &mut |record| before.take(record))?;
            }
            None => (before, lookup, unread) = search_all(&reader, file, database, key, observer)?,
        }
    }
    if before.is_too_long {
        return Ok(Answer::Untold("its value takes more than 513 MiB".into()));
    }
    if let (None, Some(why)) = (&before.held, unread) {
        return Ok(Answer::Untold(format!("the dump is not understood to its end: {why}")));
    }
    let is_followed = lookup.is_some();
    let mut lookup = lookup.unwrap_or_else(|| starting_from(&before, database, key));
    let push = |lookup: &mut Lookup, parts: &[Part], most: u64| {
        let mut left = most;
        reader.read(parts, &mut |piece| {
            let piece = usize::try_from(left).ok().and_then(|left| piece.get(..left)).unwrap_or(piece);
            left -= piece.len() as u64;
            lookup.push(piece);
            match observer.interrupted() {
                true => Err(RepositoryError::Interrupted),
                false => Ok(()),
            }
        })
    };
    let preamble = dataset.dump.filter(|_| dataset.goes_on);
    let mut files: Vec<&File> = Vec::new();
    for file in preamble.into_iter().chain(dataset.behind.iter().copied()) {
        let is_preamble = files.is_empty() && preamble.is_some();
        let cut = until.filter(|cut| file.path[..] == cut.path[..]);
        if is_preamble && is_followed && cut.is_some() {
            return Ok(Answer::Untold("its dump is not stored by keys: where its commands begin is not known".into()));
        }
        if !files.is_empty() {
            lookup.next_file();
        }
        files.push(file);
        let parts = if is_preamble { commands_of(file) } else { recipe(file)? };
        let behind: u64 = parts.iter().map(|part| part.length).sum();
        let begin = file.size.saturating_sub(behind);
        push(&mut lookup, parts, cut.map_or(u64::MAX, |cut| cut.length.saturating_sub(begin)))?;
        if cut.is_some() {
            return Ok(answer(before, lookup.finish(), &files));
        }
    }
    match until {
        None => Ok(answer(before, lookup.finish(), &files)),
        Some(_) => Ok(Answer::Untold("the moment is not in the files that are its dataset".into())),
    }
}

/// Reads all of a dump for one key, and the commands behind it.
fn search_all(
    reader: &ChunkReader<'_>,
    file: &File,
    database: u32,
    key: &[u8],
    observer: &dyn Observer,
) -> Result<(Search, Option<Lookup>, Option<String>), OperationError> {
    let (found, mut lookup) = (Mutex::new(Search::default()), None);
    let found_so_far = || found.lock().unwrap_or_else(PoisonError::into_inner);
    let mut each = |record: &LookedUp<'_>| {
        if record.database == u64::from(database) && record.key == key {
            let _ = found_so_far().take(record);
        }
        ControlFlow::Continue(())
    };
    let mut commands = |piece: &[u8]| {
        // A look-up begins with what the dump says.
        let lookup = lookup.get_or_insert_with(|| starting_from(&found_so_far(), database, key));
        lookup.push(piece);
    };
    let unread = read_all(reader, file, VALUE_LONGEST, observer, &mut each, &mut commands)?;
    Ok((found.into_inner().unwrap_or_else(PoisonError::into_inner), lookup, unread))
}

/// What a dump says of a key.
#[derive(Default)]
struct Search {
    held: Option<Held>,
    is_too_long: bool,
}

impl Search {
    fn take(&mut self, record: &LookedUp<'_>) -> ControlFlow<()> {
        let held = record.value.map(|value| Held {
            expires: record.expires,
            after_loading: None,
            type_byte: value.type_byte,
            family: value.family,
            raw: value.raw.to_vec(),
            templates: value.templates.clone(),
        });
        self.is_too_long = held.is_none();
        self.held = held;
        ControlFlow::Break(())
    }
}

fn starting_from(before: &Search, database: u32, key: &[u8]) -> Lookup {
    let fate = before.held.as_ref().map_or(Fate::Gone, |held| {
        let mut value = None;
        let _ = held.value().each(&mut |item| {
            if let Item::Text(text) = item {
                value = Some(text.to_vec());
            }
            ControlFlow::Break(())
        });
        let at = held.expires.and_then(|expires| i64::try_from(expires).ok());
        Fate::Kept { value, expiry: at.map_or(Expiry::Never, Expiry::At) }
    });
    Lookup::starting_from(fate, database.into(), key, 0)
}

fn answer(before: Search, fate: Fate, files: &[&File]) -> Answer {
    let (held, expiry) = match fate {
        Fate::Gone => return Answer::NotThere,
        Fate::Untold(Obstacle { command, file, .. }) => {
            let path = files.get(file).map_or_else(|| "the AOF".into(), |file| file.display_path());
            return Answer::Untold(match command {
                Some(command) => format!("a command behind the dump may have changed it: {command} in {path}"),
                None => format!("{path} holds bytes that are no command"),
            });
        }
        Fate::Untouched => (before.held, Expiry::AsBefore),
        Fate::Kept { value: Some(text), expiry } => (Some(Held::string(&text)), expiry),
        Fate::Kept { value: None, expiry } => (before.held, expiry),
    };
    let Some(mut held) = held else { return Answer::NotThere };
    match expiry {
        Expiry::AsBefore => {}
        Expiry::Never => held.expires = None,
        Expiry::At(moment) => held.expires = Some(u64::try_from(moment).unwrap_or_default()),
        Expiry::AfterLoading(millis) => (held.expires, held.after_loading) = (None, Some(millis)),
    }
    Answer::There(Box::new(held))
}

/// Why what is read of a snapshot's keys may not be what the server held: it is not known which files are the dataset, or
/// some were suspect when they were stored.
pub fn doubts(chosen: &Chosen) -> Vec<String> {
    let is_aof = |file: &File| matches!(file.role, Role::Manifest | Role::SingleAof);
    let read = if chosen.snapshot.files.iter().any(is_aof) { "AOF" } else { "dump" };
    let unsettled = doubt(&chosen.snapshot).map(|Doubt { what, .. }| format!("{what}; its {read} was read"));
    let holds_keys = |file: &&File| matches!(file.role, Role::Dump | Role::Base | Role::Incr | Role::SingleAof);
    let files = chosen.snapshot.files.iter().filter(holds_keys);
    let told = |file: &File| {
        Some(format!("{} was suspect when it was stored: {}", file.display_path(), file.suspect.as_ref()?))
    };
    unsettled.into_iter().chain(files.filter_map(told)).collect()
}

/// Which keys are listed.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    /// Only those whose names fit it, as servers read patterns.
    pub pattern: Option<Vec<u8>>,
    /// Only those of this database.
    pub database: Option<u32>,
}

impl KeyFilter {
    /// Whether no key is left out.
    pub fn is_all(&self) -> bool {
        self.pattern.is_none() && self.database.is_none()
    }

    fn fits(&self, database: u64, key: &[u8]) -> bool {
        self.database.is_none_or(|wanted| database == u64::from(wanted))
            && self.pattern.as_ref().is_none_or(|pattern| glob::fits(pattern, key))
    }
}

/// What was listed, and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// Files of commands that go on behind the dump: keys are those before them.
    pub behind: Vec<String>,
    /// The dump is not stored by keys: all of it was read, and keys are in the order of the file.
    pub is_in_file_order: bool,
    /// Why keys may be missing.
    pub unread: Option<String>,
}

/// Hands on the keys of a snapshot's dump, by database and name where it is stored so. Where its AOF is cut, commands behind
/// that are none of it. Damage gets a second look, which goes on behind the key that was handed on last. Values that take more than
/// `longest` bytes are not read.
pub fn keys(
    repository: &Repository,
    chosen: &Chosen,
    until: Option<&Cut>,
    (filter, longest): (&KeyFilter, usize),
    observer: &dyn Observer,
    each: &mut TakeKey<'_>,
) -> Result<Listed, OperationError> {
    going_on(repository, |behind| {
        let mut each = |record: &LookedUp<'_>| behind.hand_on(|| each(record));
        keys_once(repository, chosen, until, (filter, longest), observer, &mut each)
    })
}

/// Hands on what a second look at damage meets behind what was handed on before: it meets the same in the same order.
fn going_on<T>(
    repository: &Repository,
    mut once: impl FnMut(&mut Behind<'_>) -> Result<T, OperationError>,
) -> Result<T, OperationError> {
    let mut given = 0;
    second_look(repository, |_| true, || once(&mut Behind { given: &mut given, met: 0 }))
}

/// How many were handed on, and how many of these are met again.
struct Behind<'g> {
    given: &'g mut u64,
    met: u64,
}

impl Behind<'_> {
    fn hand_on(&mut self, give: impl FnOnce() -> ControlFlow<()>) -> ControlFlow<()> {
        self.met += 1;
        if self.met <= *self.given {
            return ControlFlow::Continue(());
        }
        *self.given = self.met;
        give()
    }
}

fn keys_once(
    repository: &Repository,
    chosen: &Chosen,
    until: Option<&Cut>,
    (filter, longest): (&KeyFilter, usize),
    observer: &dyn Observer,
    each: &mut TakeKey<'_>,
) -> Result<Listed, OperationError> {
    let reader = ChunkReader::new(repository);
    let dataset = Dataset::of(&reader, &chosen.snapshot)?;
    let mut listed = Listed { behind: dataset.with_commands(until), ..Listed::default() };
    let mut each = |record: &LookedUp<'_>| match filter.fits(record.database, record.key) && !observer.interrupted() {
        true => each(record),
        false if observer.interrupted() => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    let Some(file) = dataset.dump else {
        listed.unread = Some("there is no dump before the commands".into());
        return Ok(listed);
    };
    match canonical(file) {
        Some(part) => drop(DumpLookup::new(&reader, part, longest)?.each(&mut each)?),
        None => {
            let mut goes_on = false;
            listed.is_in_file_order = true;
            listed.unread = read_all(&reader, file, longest, observer, &mut each, &mut |_| goes_on = true)?;
            if goes_on {
                listed.behind.insert(0, file.display_path());
            }
        }
    }
    match observer.interrupted() {
        true => Err(RepositoryError::Interrupted.into()),
        false => Ok(listed),
    }
}

/// Files of commands behind the dump of a snapshot: what look-ups of many keys do not follow.
pub fn commands_behind(repository: &Repository, chosen: &Chosen) -> Result<Vec<String>, OperationError> {
    second_look(
        repository,
        |_| true,
        || {
            let reader = ChunkReader::new(repository);
            Ok(Dataset::of(&reader, &chosen.snapshot)?.with_commands(None))
        },
    )
}

/// Hands on how the keys of `later`'s dump differ from those of `earlier`'s; only buckets that the two do not share are read.
/// Commands behind the dumps are not followed: [`commands_behind`]. Damage gets a second look, as in [`keys`].
pub fn diff(
    repository: &Repository,
    earlier: &Chosen,
    later: &Chosen,
    filter: &KeyFilter,
    observer: &dyn Observer,
    each: &mut TakeChange<'_>,
) -> Result<(), OperationError> {
    going_on(repository, |behind| {
        diff_once(repository, earlier, later, filter, observer, &mut |change, database, key| {
            behind.hand_on(|| each(change, database, key))
        })
    })
}

fn diff_once(
    repository: &Repository,
    earlier: &Chosen,
    later: &Chosen,
    filter: &KeyFilter,
    observer: &dyn Observer,
    each: &mut TakeChange<'_>,
) -> Result<(), OperationError> {
    let reader = ChunkReader::new(repository);
    let [before, after] = [earlier, later].map(|chosen| Dataset::of(&reader, &chosen.snapshot));
    let (before, after) = (before?, after?);
    let (one, other) = (by_keys(&before, earlier)?, by_keys(&after, later)?);
    let (one, other) =
        (DumpLookup::new(&reader, one, LISTED_LONGEST)?, DumpLookup::new(&reader, other, LISTED_LONGEST)?);
    difference(&one, &other, &mut |change, database, key| match filter.fits(database, key) {
        _ if observer.interrupted() => ControlFlow::Break(()),
        true => each(change, database, key),
        false => ControlFlow::Continue(()),
    })?;
    if observer.interrupted() {
        return Err(RepositoryError::Interrupted.into());
    }
    Ok(())
}

fn by_keys<'s>(dataset: &Dataset<'s>, chosen: &Chosen) -> Result<&'s Part, OperationError> {
    let id = chosen.name.session;
    dataset.dump.and_then(canonical).ok_or_else(|| OperationError::Unfit {
        what: format!("the dump of snapshot {id} is not stored by keys: what differs cannot be told from it"),
        hint: "list the keys of both with: redkeep keys SNAPSHOT --json".into(),
    })
}
