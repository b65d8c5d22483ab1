//! Keys that are put into a server, or into the nodes of a cluster, and what became of each.

use std::collections::BTreeMap;

use super::nodes::Nodes;
use super::standing::{Standing, Tally};
use super::{KeyFilter, Missing, NotTaken, PutKeys, PutOptions};
use crate::operations::OperationError;
use crate::operations::module_types::{is_lacking, module_named};
use crate::rdb::values::{Value, functions_payload, least_version};
use crate::rdb::{Family, Header};
use crate::redis::server::{Came, Elsewhere, Goes, Info, LoadedModule, Put, PutBatch};
use crate::redis::{RedisError, ServerVersion};
use crate::repository::LookedUp;

/// How often a key is sent on from one node to another before that is an error.
const HOPS: usize = 5;

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

/// So many values of a type are refused, and none taken, before the others are not tried.
const REFUSED_MOST: u32 = 8;

/// A type of values: the byte that stands for it, and of a module's value what the module calls it.
type TypeOf = (u8, Option<String>);

fn type_of(value: &Value<'_>) -> TypeOf {
    (value.type_byte, value.module().map(|module| module.name))
}

/// The version of the format that a payload says it is of: before its checksum, which ends it.
fn payload_version(payload: &[u8]) -> Option<u16> {
    let (before, _) = payload.split_last_chunk::<8>()?;
    Some(u16::from_le_bytes(*before.last_chunk()?))
}

/// When a key goes at the earliest: a hash may go with the last of its fields.
fn stays(value: &Value<'_>, goes: Goes) -> Goes {
    match value.has_volatile_fields() {
        true => Goes::After(0),
        false => goes,
    }
}

/// The words of a server that refuses a value do not say that it lacks the module, or is too old.
fn explained(value: &Value<'_>, message: String) -> String {
    if let Some(module) = value.module() {
        let named = module_named(&module.name);
        return format!(
            "the server has not loaded {named}, or has another version of it: load it and run this again with --merge \
             ({message})"
        );
    }
    in_words(message)
}

fn in_words(message: String) -> String {
    let meant = if message.contains("payload version or checksum") {
        "this version of the server does not know the type, or the form it is stored in"
    } else if message.contains("Bad data format") {
        "the server does not know the type, or the value was damaged in the server it is from"
    } else {
        return message;
    };
    format!("{message} ({meant})")
}

/// Why a server has not taken functions, and what to do about it.
fn without_functions(message: String, replaces: bool) -> String {
    if message.to_ascii_lowercase().contains("unknown command") {
        return "the server does not know FUNCTION: before Redis 7.0 there are no functions, and a later one may call it \
                otherwise (--renamed-command FUNCTION=NEW)"
            .into();
    }
    match message.contains("already exists") && !replaces {
        true => format!("{message}: replace those of the same names with --replace"),
        false => message,
    }
}

fn goes_round(key: &[u8]) -> OperationError {
    OperationError::Redis(RedisError::Server {
        what: format!("the nodes of the cluster send the key {} from one to another", key.escape_ascii()),
        hint: "their views of the slots differ: redis-cli --cluster check says what is the matter".into(),
    })
}

/// Puts keys one after the other. The first of each type goes alone: so it is known in which form the server takes those behind it.
pub(super) struct Putting<'o> {
    nodes: Nodes,
    options: &'o PutOptions,
    family: Family,
    /// Of the server, where it says so.
    version: Option<ServerVersion>,
    /// In a dry run, what each node has loaded that tells it.
    modules: Vec<Vec<LoadedModule>>,
    /// The server's clock, in milliseconds since the epoch, when it began.
    begin: u64,
    forms: BTreeMap<TypeOf, Form>,
    /// How many values of a type were refused, where none was taken yet.
    refused: BTreeMap<TypeOf, u32>,
    /// Databases that a cluster does not have, and what it says of them.
    lacking: BTreeMap<u64, String>,
    /// Keys that another node takes than the one they were sent to: which, and the command.
    displaced: Vec<(Elsewhere, UnderWay, Vec<u8>)>,
    standing: Standing,
    pub done: PutKeys,
}

/// A key that was sent: what it is, its database and name, and when it goes.
pub(super) struct UnderWay {
    what: String,
    database: u64,
    pub key: Vec<u8>,
    goes: Goes,
    is_plain: bool,
}

impl<'o> Putting<'o> {
    pub fn new(mut nodes: Nodes, info: &Info, options: &'o PutOptions) -> Result<Putting<'o>, OperationError> {
        let family = if info.valkey_version().is_some() { Family::Valkey } else { Family::Redis };
        let (version, begin) = (ServerVersion::of(info), nodes.first()?.server.time()?.millis());
        for node in nodes.all() {
            node.server.select(0)?;
        }
        let told = options.dry_run.then(|| nodes.all().filter_map(|node| node.server.loaded_modules().ok()).collect());
        let modules = told.unwrap_or_default();
        let (forms, refused, lacking, displaced, done) = Default::default();
        let standing = Standing::from(begin);
        Ok(Putting {
            nodes,
            options,
            family,
            version,
            modules,
            begin,
            forms,
            refused,
            lacking,
            displaced,
            standing,
            done,
        })
    }

    pub fn filter(&self) -> &'o KeyFilter {
        &self.options.filter
    }

    /// How many keys there are.
    pub fn tally(&mut self) -> Result<Tally, OperationError> {
        let mut tally = Tally::default();
        for node in self.nodes.all() {
            tally.add(&node.server.info()?);
        }
        Ok(tally)
    }

    /// How many there are once all are put, and where some are missing.
    pub fn now(&mut self) -> Result<(Tally, Vec<Missing>), OperationError> {
        let tally = self.tally()?;
        let now = self.nodes.first()?.server.time()?.millis();
        let missing = self.standing.missing(&tally, now);
        Ok((tally, missing))
    }

    /// Every master of a cluster has functions of its own.
    pub fn put_functions(&mut self, functions: &[u8]) -> Result<(), OperationError> {
        if functions.is_empty() || self.options.dry_run {
            self.done.has_functions |= !functions.is_empty();
            return Ok(());
        }
        for node in self.nodes.all() {
            match node.server.put_functions(&functions_payload(functions), self.options.replaces) {
                Ok(()) => self.done.has_functions = true,
                Err(RedisError::Answer { message, .. }) => {
                    self.done.without_functions = Some(without_functions(message, self.options.replaces));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes a key; whether some were sent for it.
    pub fn take(&mut self, record: &LookedUp<'_>) -> Result<bool, OperationError> {
        let goes = record.expires.map_or(Goes::Never, Goes::At);
        if matches!(goes, Goes::At(moment) if moment <= self.begin) {
            self.done.expired += 1;
            return Ok(false);
        }
        let what = || record.value.and_then(|value| value.type_name()).unwrap_or_else(|| "value".into());
        let Some(value) = record.value.filter(|_| record.is_named) else {
            let why = match record.is_named {
                true => "it takes more than 512 MiB; restore --target and --server bring it",
                false => "its name is not known as text",
            };
            self.not_taken(record.database, record.key, what(), why.into());
            return Ok(false);
        };
        if self.options.dry_run {
            let form = self.forms.get(&type_of(&value)).cloned().unwrap_or_else(|| self.foreseen(&value));
            self.forms.insert(type_of(&value), form.clone());
            match form {
                Form::None(why) => self.not_taken(record.database, record.key, what(), why),
                Form::Stored(_) | Form::Plain => self.count(matches!(form, Form::Plain)),
            }
            return Ok(false);
        }
        let place = self.nodes.place_of(record.key);
        if let Some(why) = self.choose(place, record.database)? {
            self.not_taken(record.database, record.key, format!("database {}", record.database), why);
            return Ok(false);
        }
        let form = match self.forms.get(&type_of(&value)) {
            Some(form) => form.clone(),
            None => return self.first(place, record, &value, goes, what()).map(|()| false),
        };
        let payload = match form {
            Form::Stored(version) => value.payload(version),
            Form::Plain => value.plain_payload(self.family, true),
            Form::None(why) => {
                self.not_taken(record.database, record.key, what(), why);
                return Ok(false);
            }
        };
        match payload {
            Ok(payload) => {
                let (database, key, is_plain) = (record.database, record.key.to_vec(), matches!(form, Form::Plain));
                let key = UnderWay { what: what(), database, key, goes: stays(&value, goes), is_plain };
                let is_full = self.nodes.at(place)?.add(key, &payload, goes, self.options.replaces);
                if is_full {
                    self.send(place)?;
                }
                Ok(is_full)
            }
            Err(why) => {
                self.not_taken(record.database, record.key, what(), why.to_string());
                Ok(false)
            }
        }
    }

    /// In which form the server will take values of a type, as far as its version and its modules tell.
    fn foreseen(&self, value: &Value<'_>) -> Form {
        if let Some(module) = value.module().filter(|of| self.modules.iter().any(|node| is_lacking(&of.name, node))) {
            return Form::None(format!("the server has not loaded {}: load it first", module_named(&module.name)));
        }
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

    /// Chooses a database of a node, once all keys of the one before are sent. Why a cluster does not have it.
    fn choose(&mut self, place: usize, database: u64) -> Result<Option<String>, OperationError> {
        if self.nodes.at(place)?.database == database {
            return Ok(None);
        }
        if let Some(why) = self.lacking.get(&database) {
            return Ok(Some(why.clone()));
        }
        self.send(place)?;
        self.hear_all(place)?;
        let is_cluster = self.nodes.masters().is_some();
        let node = self.nodes.at(place)?;
        match node.server.select(u32::try_from(database).unwrap_or(u32::MAX)) {
            Ok(()) => node.database = database,
            Err(RedisError::Answer { message, .. }) if is_cluster => {
                self.lacking.insert(database, message.clone());
                return Ok(Some(message));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(None)
    }

    /// Puts the first value of a type, and learns how. One may be refused for what it holds: the next ones are tried, too.
    fn first(
        &mut self,
        place: usize,
        record: &LookedUp<'_>,
        value: &Value<'_>,
        goes: Goes,
        what: String,
    ) -> Result<(), OperationError> {
        self.flush()?;
        let mut batch = PutBatch::default();
        let version = least_version(value.type_byte, value.family);
        let stored = version.map(|version| (Form::Stored(version), value.payload(version)));
        let plain = (Form::Plain, value.plain_payload(self.family, true));
        let (mut why, mut is_refused) = ("it is of a type that is not known".to_owned(), false);
        for (form, payload) in stored.into_iter().chain([plain]) {
            let payload = match payload {
                Ok(payload) => payload,
                // What the server said of the other form is why.
                Err(_) if is_refused => continue,
                Err(error) => {
                    why = error.to_string();
                    continue;
                }
            };
            batch.clear();
            batch.add(&self.nodes.at(place)?.server, record.key, &payload, goes, self.options.replaces);
            match self.put_one(place, record, batch.command(0))? {
                Put::Done => {
                    self.standing.add(record.database, stays(value, goes));
                    self.count(matches!(form, Form::Plain));
                    self.forms.insert(type_of(value), form);
                    return Ok(());
                }
                // It was not looked at: the next one tells.
                Put::Exists => {
                    self.done.there += 1;
                    return Ok(());
                }
                Put::NotTaken(message) => (why, is_refused) = (explained(value, message), true),
            }
        }
        let refused = self.refused.entry(type_of(value)).or_default();
        *refused += 1;
        if *refused >= REFUSED_MOST {
            self.forms.insert(type_of(value), Form::None(why.clone()));
        }
        self.not_taken(record.database, record.key, what, why);
        Ok(())
    }

    /// Sends what was gathered, and hears of all of it.
    pub fn flush(&mut self) -> Result<(), OperationError> {
        for place in 0..self.nodes.count() {
            self.send(place)?;
        }
        for place in 0..self.nodes.count() {
            self.hear_all(place)?;
        }
        self.settle()
    }

    /// Sends what was gathered for a node, once what became of the batches before is heard but for one.
    fn send(&mut self, place: usize) -> Result<(), OperationError> {
        if self.nodes.at(place)?.is_busy() {
            self.hear(place)?;
            self.settle()?;
        }
        Ok(self.nodes.at(place)?.send()?)
    }

    /// Hears what became of all that was sent to a node.
    fn hear_all(&mut self, place: usize) -> Result<(), OperationError> {
        while self.hear(place)? {}
        Ok(())
    }

    /// Hears what became of the batch that was sent to a node first; whether there was one.
    fn hear(&mut self, place: usize) -> Result<bool, OperationError> {
        let Some((batch, heard)) = self.nodes.at(place)?.hear()? else { return Ok(false) };
        for (number, (key, came)) in heard.into_iter().enumerate() {
            match came {
                Came::Here(put) => self.became(key, put),
                Came::Elsewhere(elsewhere) => {
                    self.displaced.push((elsewhere, key, batch.command(number).to_vec()));
                }
            }
        }
        self.nodes.at(place)?.use_again(batch);
        Ok(true)
    }

    /// Keys whose slots went to other nodes are sent there, one by one: they are few.
    fn settle(&mut self) -> Result<(), OperationError> {
        while let Some((elsewhere, key, command)) = self.displaced.pop() {
            let put = self.follow(elsewhere, key.database, &key.key, &command)?;
            self.became(key, put);
        }
        Ok(())
    }

    /// Puts a key by its command into a node, and where that names another one, there.
    fn put_one(&mut self, place: usize, record: &LookedUp<'_>, command: &[u8]) -> Result<Put, OperationError> {
        match self.nodes.at(place)?.server.put_packed(command, false)? {
            Came::Here(put) => Ok(put),
            Came::Elsewhere(elsewhere) => self.follow(elsewhere, record.database, record.key, command),
        }
    }

    /// Puts a key where a node says that it goes.
    fn follow(
        &mut self,
        mut elsewhere: Elsewhere,
        database: u64,
        key: &[u8],
        command: &[u8],
    ) -> Result<Put, OperationError> {
        for _ in 0..HOPS {
            let place = self.nodes.follow(&elsewhere)?;
            if let Some(why) = self.choose(place, database)? {
                return Ok(Put::NotTaken(why));
            }
            self.hear_all(place)?;
            match self.nodes.at(place)?.server.put_packed(command, elsewhere.is_on_its_way)? {
                Came::Here(put) => return Ok(put),
                Came::Elsewhere(next) => elsewhere = next,
            }
        }
        Err(goes_round(key))
    }

    fn became(&mut self, key: UnderWay, put: Put) {
        match put {
            Put::Done => {
                self.standing.add(key.database, key.goes);
                self.count(key.is_plain);
            }
            Put::Exists => self.done.there += 1,
            Put::NotTaken(why) => self.not_taken(key.database, &key.key, key.what, in_words(why)),
        }
    }

    fn count(&mut self, is_plain: bool) {
        self.done.put += 1;
        self.done.remade += u64::from(is_plain);
    }

    fn not_taken(&mut self, database: u64, key: &[u8], what: String, why: String) {
        match self.done.not_taken.iter_mut().find(|others| others.what == what) {
            Some(others) => others.keys += 1,
            None => self.done.not_taken.push(NotTaken { what, why, keys: 1, first: (database, key.to_vec()) }),
        }
    }
}
