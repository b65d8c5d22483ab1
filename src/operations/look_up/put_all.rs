//! The keys of a snapshot are put into a running server, many at a time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::dataset::{Dataset, canonical};
use super::{KeyFilter, keys};
use crate::format::counts::count;
use crate::operations::list::Chosen;
use crate::operations::{Observer, OperationError};
use crate::rdb::values::{Value, functions_payload, least_version};
use crate::rdb::{Family, Header};
use crate::redis::server::{Address, Goes, Info, Put, PutBatch, SentKeys, Server};
use crate::redis::{RedisError, ServerVersion};
use crate::repository::{ChunkReader, DumpLookup, LookedUp, Repository};

/// Keys, and bytes, that are sent at once.
const BATCH: usize = 2048;
const BATCH_BYTES: usize = 1 << 20;

/// What is put, and what it may do to what the server holds.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Which keys.
    pub filter: KeyFilter,
    /// Keys that the server has under the same names are replaced; else they stay.
    pub replaces: bool,
    /// The server may hold keys.
    pub merges: bool,
    /// Commands that go on behind the dump may be left out.
    pub dump_alone: bool,
    /// Nothing is put.
    pub dry_run: bool,
}

/// What was put, and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutKeys {
    /// What the server is, if it says so.
    pub version: Option<String>,
    /// Keys that were put; in a dry run, that would be.
    pub put: u64,
    /// Of these, such as never expire.
    pub for_good: u64,
    /// Of these, such as were put element by element: the server does not know the form they are stored in.
    pub remade: u64,
    /// Keys that were not put: the server has others under their names.
    pub there: u64,
    /// Keys that were not put: they expired since.
    pub expired: u64,
    /// Keys that were not put: the server does not take them, or they cannot be read.
    pub not_taken: Vec<NotTaken>,
    /// Functions were put.
    pub has_functions: bool,
    /// Why functions were not put that the dump has.
    pub without_functions: Option<String>,
    /// Files of commands behind the dump, which were left out.
    pub behind: Vec<String>,
    /// Why keys may be missing.
    pub unread: Option<String>,
    /// Keys that the server held before, and holds now.
    pub held: (u64, u64),
}

/// Keys of one kind that were not put, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// What they are.
    pub what: String,
    /// Why the first of them was not.
    pub why: String,
    /// How many.
    pub keys: u64,
    /// The first, and its database.
    pub first: (u64, Vec<u8>),
}

/// Puts the keys of a snapshot's dump into a server, by RESTORE, with their expiries, each into its database. Refuses a server that
/// holds keys, and a snapshot that goes on behind its dump, unless `options` say otherwise.
///
/// Memory: as of [`DumpLookup`], and two batches of 1 MiB, or the longest value, twice.
pub fn put_keys(
    repository: &Repository,
    chosen: &Chosen,
    address: &Address,
    options: &PutOptions,
    observer: &dyn Observer,
) -> Result<PutKeys, OperationError> {
    let reader = ChunkReader::new(repository);
    let dataset = Dataset::of(&reader, &chosen.snapshot)?;
    let behind = dataset.with_commands();
    if !behind.is_empty() && !options.dump_alone {
        return Err(goes_on(&behind));
    }
    let mut server = Server::connect(address)?;
    let info = server.info()?;
    let before = info.keys();
    if before > 0 && !options.merges {
        return Err(OperationError::Redis(holds_keys(address, before)));
    }
    if info.get("role") == Some("slave") && info.get("slave_read_only") != Some("0") {
        return Err(OperationError::Redis(is_replica(address)));
    }
    let mut putting = Putting::new(server, &info, options)?;
    if let Some(part) = dataset.dump.and_then(canonical).filter(|_| options.filter.is_all()) {
        putting.put_functions(&DumpLookup::new(&reader, part)?.functions()?)?;
    }
    observer.begin("putting keys", None);
    let mut failed = None;
    let listed = keys(repository, chosen, &options.filter, observer, &mut |record| match putting.take(record) {
        // Once a batch: a line a key would take longer than the key.
        Ok(()) => {
            if putting.batch.count() == 0 {
                observer.say(&count(putting.done.put, "key"));
            }
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    let listed = failed.map_or(listed, Err).and_then(|listed| putting.flush().map(|()| listed));
    if listed.is_err() && putting.done.put > 0 {
        let put = putting.done.put;
        observer
            .remark(&format!("{put} keys or more are in the server now; the same with --merge goes on beside them"));
    }
    let listed = listed?;
    let now = putting.server.info()?.keys();
    let done = putting.done;
    let version = ServerVersion::of(&info).map(|version| version.to_string());
    Ok(PutKeys { version, behind: listed.behind, unread: listed.unread, held: (before, now), ..done })
}

fn goes_on(behind: &[String]) -> OperationError {
    OperationError::Unfit {
        what: format!("the snapshot goes on behind its dump, with the commands in {}", behind.join(", ")),
        hint: "restore all of it with --server or --target; or put the dump alone, an earlier state, with --dump-alone"
            .into(),
    }
}

fn holds_keys(address: &Address, keys: u64) -> RedisError {
    RedisError::Server {
        what: format!("the server at {address} holds {}", count(keys, "key")),
        hint:
            "put the snapshot's beside them with --merge; those of the same names stay, unless --replace is given too"
                .into(),
    }
}

fn is_replica(address: &Address) -> RedisError {
    RedisError::Server {
        what: format!("the server at {address} is a replica, and takes writes from its master only"),
        hint: "name the master".into(),
    }
}

/// In which form a server takes values of a type.
#[derive(Debug, Clone)]
enum Form {
    /// As they are stored, in this version of the format.
    Stored(u16),
    /// Element by element.
    Plain,
    /// In none; why.
    None(String),
}

/// The version of the format that a payload says it is of: before its checksum, which ends it.
fn payload_version(payload: &[u8]) -> Option<u16> {
    let (before, _) = payload.split_last_chunk::<8>()?;
    Some(u16::from_le_bytes(*before.last_chunk()?))
}

/// The words of a server that refuses a payload by its version do not say that it is too old.
fn explained(message: String) -> String {
    match message.contains("payload version or checksum") {
        true => format!("{message} (this version of the server does not know the type, or the form it is stored in)"),
        false => message,
    }
}

/// Puts keys one after the other. The first of each type goes alone: so it is known in which form the server takes those behind it.
struct Putting<'o> {
    server: Server,
    options: &'o PutOptions,
    family: Family,
    /// Of the server, where it says so.
    version: Option<ServerVersion>,
    /// The server's clock, in milliseconds since the epoch, when it began.
    begin: u64,
    database: u64,
    forms: BTreeMap<u8, Form>,
    batch: PutBatch,
    /// What is in the batch: what it is, its database and key, and whether it never expires.
    under_way: Vec<UnderWay>,
    /// The batch before, which the server works on while this one is gathered.
    sent: Option<(SentKeys, Vec<UnderWay>)>,
    done: PutKeys,
}

struct UnderWay {
    what: String,
    key: Vec<u8>,
    is_for_good: bool,
    is_plain: bool,
}

impl<'o> Putting<'o> {
    fn new(mut server: Server, info: &Info, options: &'o PutOptions) -> Result<Putting<'o>, OperationError> {
        let family = if info.valkey_version().is_some() { Family::Valkey } else { Family::Redis };
        let (version, begin) = (ServerVersion::of(info), server.time()?.millis());
        server.select(0)?;
        let (forms, batch, under_way, sent, done) = Default::default();
        Ok(Putting { server, options, family, version, begin, database: 0, forms, batch, under_way, sent, done })
    }

    fn put_functions(&mut self, functions: &[u8]) -> Result<(), OperationError> {
        if functions.is_empty() || self.options.dry_run {
            self.done.has_functions = !functions.is_empty();
            return Ok(());
        }
        match self.server.put_functions(&functions_payload(functions), self.options.replaces) {
            Ok(()) => self.done.has_functions = true,
            // A server before 7.0 has none; or it has one of that name.
            Err(RedisError::Answer { message, .. }) => self.done.without_functions = Some(message),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn take(&mut self, record: &LookedUp<'_>) -> Result<(), OperationError> {
        let goes = record.expires.map_or(Goes::Never, Goes::At);
        if matches!(goes, Goes::At(moment) if moment <= self.begin) {
            self.done.expired += 1;
            return Ok(());
        }
        let what = || record.value.and_then(|value| value.type_name()).unwrap_or_else(|| "value".into());
        let Some(value) = record.value.filter(|_| record.is_named) else {
            let why = if record.is_named { "it is longer than what is read" } else { "its name is not known as text" };
            self.not_taken(record.database, record.key, what(), why.into());
            return Ok(());
        };
        if self.options.dry_run {
            let form = self.forms.get(&value.type_byte).cloned().unwrap_or_else(|| self.foreseen(&value));
            self.forms.insert(value.type_byte, form.clone());
            match form {
                Form::None(why) => self.not_taken(record.database, record.key, what(), why),
                Form::Stored(_) | Form::Plain => self.count(goes == Goes::Never, matches!(form, Form::Plain)),
            }
            return Ok(());
        }
        self.choose(record.database)?;
        let form = match self.forms.get(&value.type_byte) {
            Some(form) => form.clone(),
            None => return self.first(record, &value, goes, what()),
        };
        let payload = match form {
            Form::Stored(version) => value.payload(version),
            Form::Plain => value.plain_payload(self.family, true),
            Form::None(why) => {
                self.not_taken(record.database, record.key, what(), why);
                return Ok(());
            }
        };
        match payload {
            Ok(payload) => {
                self.batch.add(&self.server, record.key, &payload, goes, self.options.replaces);
                let (is_for_good, is_plain) = (goes == Goes::Never, matches!(form, Form::Plain));
                self.under_way.push(UnderWay { what: what(), key: record.key.to_vec(), is_for_good, is_plain });
            }
            Err(why) => self.not_taken(record.database, record.key, what(), why.to_string()),
        }
        match self.batch.count() >= BATCH || self.batch.bytes() >= BATCH_BYTES {
            true => self.send(),
            false => Ok(()),
        }
    }

    /// In which form the server will take values of a type, as far as its version tells.
    fn foreseen(&self, value: &Value<'_>) -> Form {
        let reads = |family, version| self.version.is_none_or(|server| server.reads(Header { family, version }));
        if let Some(version) = least_version(value.type_byte, value.family).filter(|it| reads(value.family, *it)) {
            return Form::Stored(version);
        }
        let unknown = || match self.version {
            Some(server) => format!("{server} does not know this type, or the form it is stored in"),
            None => "it is of a type that is not known".into(),
        };
        match value.plain_payload(self.family, true) {
            Ok(payload) if payload_version(&payload).is_some_and(|version| reads(self.family, version)) => Form::Plain,
            Ok(_) | Err(_) => Form::None(unknown()),
        }
    }

    /// Chooses a database, once all keys of the one before are sent.
    fn choose(&mut self, database: u64) -> Result<(), OperationError> {
        if database != self.database {
            self.flush()?;
            let number = u32::try_from(database).unwrap_or(u32::MAX);
            self.server.select(number)?;
            self.database = database;
        }
        Ok(())
    }

    /// Puts the first value of a type, and learns how.
    fn first(
        &mut self,
        record: &LookedUp<'_>,
        value: &Value<'_>,
        goes: Goes,
        what: String,
    ) -> Result<(), OperationError> {
        self.flush()?;
        let version = least_version(value.type_byte, value.family);
        let stored = version.map(|version| (Form::Stored(version), value.payload(version)));
        let plain = (Form::Plain, value.plain_payload(self.family, true));
        let mut why = "it is of a type that is not known".to_owned();
        for (form, payload) in stored.into_iter().chain([plain]) {
            let Ok(payload) = payload.map_err(|error| why = error.to_string()) else { continue };
            match self.server.put_key(record.key, &payload, goes, self.options.replaces)? {
                Put::Done => {
                    self.count(goes == Goes::Never, matches!(form, Form::Plain));
                    self.forms.insert(value.type_byte, form);
                    return Ok(());
                }
                // It was not looked at: the next one tells.
                Put::Exists => {
                    self.done.there += 1;
                    return Ok(());
                }
                Put::NotTaken(message) => why = explained(message),
            }
        }
        self.forms.insert(value.type_byte, Form::None(why.clone()));
        self.not_taken(record.database, record.key, what, why);
        Ok(())
    }

    /// Sends what was gathered, and hears of all of it.
    fn flush(&mut self) -> Result<(), OperationError> {
        self.send()?;
        self.hear()
    }

    /// Sends what was gathered, once what became of the batch before is heard.
    fn send(&mut self) -> Result<(), OperationError> {
        self.hear()?;
        if self.batch.count() > 0 {
            let sent = self.server.send_keys(&mut self.batch)?;
            self.sent = Some((sent, std::mem::take(&mut self.under_way)));
        }
        Ok(())
    }

    /// Hears what became of the batch that was sent.
    fn hear(&mut self) -> Result<(), OperationError> {
        let Some((sent, keys)) = self.sent.take() else { return Ok(()) };
        for (key, came) in keys.into_iter().zip(self.server.put_sent(sent)?) {
            match came {
                Put::Done => self.count(key.is_for_good, key.is_plain),
                Put::Exists => self.done.there += 1,
                Put::NotTaken(why) => self.not_taken(self.database, &key.key, key.what, explained(why)),
            }
        }
        Ok(())
    }

    fn count(&mut self, is_for_good: bool, is_plain: bool) {
        self.done.put += 1;
        self.done.for_good += u64::from(is_for_good);
        self.done.remade += u64::from(is_plain);
    }

    fn not_taken(&mut self, database: u64, key: &[u8], what: String, why: String) {
        match self.done.not_taken.iter_mut().find(|others| others.what == what) {
            Some(others) => others.keys += 1,
            None => self.done.not_taken.push(NotTaken { what, why, keys: 1, first: (database, key.to_vec()) }),
        }
    }
}
