//! The keys of a snapshot, or of a set, are put into a running server or cluster, many at a time.

mod nodes;
mod putting;
mod standing;

use std::ops::ControlFlow;

use super::dataset::{Dataset, canonical};
use super::{KeyFilter, LISTED_LONGEST, keys};
use crate::format::counts::count;
use crate::operations::list::Chosen;
use crate::operations::restore::{Doubt, doubt};
use crate::operations::{Observer, OperationError};
use crate::redis::server::Address;
use crate::redis::{RedisError, ServerVersion};
use crate::repository::{ChunkReader, DumpLookup, Repository};
use nodes::Nodes;
use putting::Putting;

/// The longest value that is put: what a payload has behind it finds room in 512 MiB, and no server takes a longer argument unless
/// it is told to (`proto-max-bulk-len`).
const PUT_LONGEST: usize = (512 << 20) - 64;

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
    /// What the server is, if it says so; of a cluster the node of the first slots.
    pub version: Option<String>,
    /// How many masters the cluster has; none where it is one server.
    pub masters: Option<u64>,
    /// Keys that were put; in a dry run, that would be.
    pub put: u64,
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
    /// Databases that hold fewer keys now than were put and have not expired.
    pub missing: Vec<Missing>,
    /// Keys that the server threw away meanwhile, for want of memory: put ones or others.
    pub evicted: u64,
}

impl PutKeys {
    /// Whether no key was met that could have been put, and none may have been missed.
    fn is_nothing(&self) -> bool {
        let met = self.put + self.there + self.expired;
        met == 0 && self.not_taken.is_empty() && self.unread.is_none()
    }
}

/// A database that lost keys while some were put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its number.
    pub database: u64,
    /// Keys that were put into it and have not expired.
    pub put: u64,
    /// Keys that it holds.
    pub holds: u64,
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

/// Puts the keys of the dumps of these snapshots, one or those of a set, into a server, by RESTORE, with their expiries, each into its
/// database, and in a cluster into the node of its slot. Refuses a server that holds keys, and a snapshot that goes on behind its
/// dump, unless `options` say otherwise; one of which it is not known which files are the dataset, and a filter that no key fits.
///
/// Memory: as of [`DumpLookup`], and for each node three batches of 1 MiB, or the longest value, of up to 512 MiB, three times.
pub fn put_keys(
    repository: &Repository,
    snapshots: &[&Chosen],
    address: &Address,
    options: &PutOptions,
    observer: &dyn Observer,
) -> Result<PutKeys, OperationError> {
    let reader = ChunkReader::new(repository);
    let mut functions: Vec<Vec<u8>> = Vec::new();
    for chosen in snapshots {
        if let Some(Doubt { what, hint }) = doubt(&chosen.snapshot) {
            return Err(OperationError::Unfit { what, hint });
        }
        let dataset = Dataset::of(&reader, &chosen.snapshot)?;
        let behind = dataset.with_commands(None);
        if !behind.is_empty() && !options.dump_alone {
            return Err(goes_on(&behind));
        }
        if let Some(part) = dataset.dump.and_then(canonical).filter(|_| options.filter.is_all()) {
            let found = DumpLookup::new(&reader, part, LISTED_LONGEST)?.functions()?;
            // The masters of a cluster have the same, if all is well.
            functions.extend((!functions.contains(&found)).then_some(found));
        }
    }
    let (nodes, info) = Nodes::reach(address)?;
    let masters = nodes.masters();
    if masters.is_none() && info.get("role") == Some("slave") && info.get("slave_read_only") != Some("0") {
        return Err(OperationError::Redis(is_replica(address)));
    }
    let mut putting = Putting::new(nodes, &info, options)?;
    let before = putting.tally()?;
    if before.keys() > 0 && !options.merges {
        return Err(OperationError::Redis(holds_keys(address, masters.is_some(), before.keys())));
    }
    for functions in &functions {
        putting.put_functions(functions)?;
    }
    observer.begin("putting keys", None);
    let put = snapshots.iter().try_for_each(|chosen| put_one(repository, chosen, &mut putting, observer));
    let now = put.and_then(|()| putting.now());
    if now.is_err() && putting.done.put > 0 {
        let put = count(putting.done.put, "key");
        observer.remark(&format!("at least {put} went into the server; the same with --merge goes on beside them"));
    }
    let (now, missing) = now?;
    if putting.done.is_nothing() && !options.filter.is_all() {
        return Err(nothing_fits(&options.filter));
    }
    let version = ServerVersion::of(&info).map(|version| version.to_string());
    let (held, evicted) = ((before.keys(), now.keys()), now.evicted.saturating_sub(before.evicted));
    Ok(PutKeys { version, masters, held, missing, evicted, ..putting.done })
}

/// Puts the keys of one snapshot.
fn put_one(
    repository: &Repository,
    chosen: &Chosen,
    putting: &mut Putting<'_>,
    observer: &dyn Observer,
) -> Result<(), OperationError> {
    let (mut failed, filter) = (None, putting.filter());
    let listed =
        keys(repository, chosen, None, (filter, PUT_LONGEST), observer, &mut |record| match putting.take(record) {
            // Once a batch: a line a key would take longer than the key.
            Ok(is_sent) => {
                if is_sent {
                    observer.say(&count(putting.done.put, "key"));
                }
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        });
    let listed = failed.map_or(listed, Err)?;
    putting.flush()?;
    putting.done.behind.extend(listed.behind);
    putting.done.unread = putting.done.unread.take().or(listed.unread);
    Ok(())
}

fn nothing_fits(filter: &KeyFilter) -> OperationError {
    let pattern = filter.pattern.as_ref().map(|pattern| format!("fits {}", pattern.escape_ascii()));
    let database = filter.database.map(|database| format!("is in database {database}"));
    let asked: Vec<String> = pattern.into_iter().chain(database).collect();
    OperationError::Unfit {
        what: format!("nothing was put: no key of the snapshot {}", asked.join(" and ")),
        hint: "list its keys with: redkeep keys SNAPSHOT --match PATTERN".into(),
    }
}

fn goes_on(behind: &[String]) -> OperationError {
    OperationError::Unfit {
        what: format!("the snapshot goes on behind its dump, with the commands in {}", behind.join(", ")),
        hint: "restore all of it with --server or --target; or put the dump alone, an earlier state, with --dump-alone"
            .into(),
    }
}

fn holds_keys(address: &Address, is_cluster: bool, keys: u64) -> RedisError {
    let whose = if is_cluster { "cluster of" } else { "server at" };
    RedisError::Server {
        what: format!("the {whose} {address} holds {}", count(keys, "key")),
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
