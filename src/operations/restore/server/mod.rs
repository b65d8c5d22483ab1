//! `restore --server`: a snapshot's dataset in a running server, which afterwards is asked what it holds.
//!
//! LOCAL-12: the files are written, compared, named as the server names them and brought to the disk in a staging
//! directory inside its data directory, while it serves. Then it is stopped, what it loads changes places with the new by
//! one rename, the rest of its files is set aside, and it is started again. A journal in the directory tells, at every
//! moment, whether the old or the new dataset is in place, and how to go on.

mod arrange;
mod exchange;
mod journal;
mod plan;
mod scratch;
mod source;
mod target;
mod undo;
mod verify;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub use plan::Plan;
pub use undo::{ServerUndoReport, undo_directory, undo_server};
pub use verify::Verified;

use super::beside::{Beside, Lock, remove};
use super::stage::{Staging, sync_directory};
use super::{Cut, From, Goal, cut, select};
use crate::format::snapshot::File;
use crate::operations::list::Chosen;
use crate::operations::second_look::second_look;
use crate::operations::{Observer, OperationError};
use crate::redis::RedisError;
use crate::redis::host::Commands;
use crate::redis::server::{Address, Server};
use crate::repository::Repository;
use journal::{Journal, State};
use plan::Way;
use source::{Expected, Source};
use target::Target;
use verify::wait_serving;

/// How a dump gets into a server whose AOF is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It becomes the AOF.
    Direct,
    /// A scratch server loads it with its AOF off, and then switches that on.
    Classic,
}

/// What is wished for keys that expired since the snapshot, where there is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// They are loaded.
    Keep,
    /// They are not.
    Drop,
}

/// What a person has to say a word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// The server is a replica.
    Replica,
    /// A Sentinel watches it.
    Sentinel,
    /// It is a node of a cluster.
    Cluster,
    /// The snapshot was suspect when it was taken.
    Suspect,
}

/// What is restored into which server.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server.
    pub address: Address,
    /// Which dataset is meant, where a snapshot holds two.
    pub from: Option<From>,
    /// The moment the AOF is cut back to.
    pub goal: Option<Goal>,
    /// How a dump gets into a server whose AOF is on.
    pub method: Option<Method>,
    /// What is wished for keys that expired since.
    pub ttl: Option<Ttl>,
    /// How the server is stopped and started, where a person says so.
    pub commands: Commands,
    /// What a person said a word for.
    pub consents: Vec<Consent>,
    /// The server may be stopped.
    pub may_stop: bool,
    /// Say what would be done and stop.
    pub dry_run: bool,
    /// The program of a scratch server, where it is not the target's own.
    pub program: Option<PathBuf>,
    /// A file in which the server's directory is remembered while it is stopped.
    pub memory: Option<PathBuf>,
}

impl Options {
    /// A restore into this server, as far as nothing else is said.
    pub fn new(address: Address) -> Options {
        Options {
            address,
            from: None,
            goal: None,
            method: None,
            ttl: None,
            commands: Commands::default(),
            consents: Vec::new(),
            may_stop: false,
            dry_run: false,
            program: None,
            memory: None,
        }
    }
}

/// What a restore into a server did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// The server's directory.
    pub directory: PathBuf,
    /// The server, as people say it.
    pub server: String,
    /// The plan.
    pub steps: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Files and bytes of the dataset.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Where the old files are.
    pub aside: Option<PathBuf>,
    /// Where the AOF was cut.
    pub cut: Option<Cut>,
    /// What the server said it holds.
    pub verified: Option<Verified>,
    /// An earlier, killed restore of this snapshot was brought to its end.
    pub finished_earlier: bool,
    /// Owners that could not be set.
    pub unset: Vec<String>,
    /// Damage that was made good from other copies.
    pub made_good: Vec<String>,
    /// Paths whose content was suspect when it was stored, and why.
    pub suspects: Vec<(String, String)>,
    /// Nothing was written.
    pub dry_run: bool,
}

/// Restores a snapshot into a server.
pub fn restore_into_server(
    repository: &Repository,
    chosen: &Chosen,
    options: &Options,
    observer: &dyn Observer,
) -> Result<ServerReport, OperationError> {
    select(chosen, options.from)?;
    let source = Source::of(&chosen.snapshot, options.from)?;
    let snapshot = identity(chosen, options.goal.as_ref());
    let (mut server, finished) = connect(options, &snapshot, observer)?;
    let target = Target::ask(&mut server, options)?;
    let plan = Plan::make(&source, &target, options)?;
    let report = ServerReport {
        directory: target.directory.clone(),
        server: format!("{} at {}", target.program(), options.address),
        steps: plan.steps.clone(),
        notes: plan.notes.clone(),
        files: source.files.len() as u64,
        bytes: source.bytes(),
        aside: None,
        cut: None,
        verified: None,
        finished_earlier: false,
        unset: Vec::new(),
        made_good: Vec::new(),
        suspects: source.suspects(),
        dry_run: options.dry_run,
    };
    target.refuse(&mut server, &source, options)?;
    if options.dry_run {
        target.refuse_full_disk(plan.way.bytes(source.bytes()))?;
        return Ok(report);
    }
    let place = Place::lock(&target.directory)?;
    if finished || place.finish_beside(&snapshot, observer)? {
        let mut earlier = Earlier { finished_earlier: true, ..Earlier::default() };
        earlier.aside = place.journal()?.map(|journal| target.directory.join(journal.aside));
        let verified = ask(&mut server, &source.expected, &target, observer)?;
        place.settle(options)?;
        return Ok(earlier.into_report(report, verified));
    }
    if !options.may_stop {
        return Err(RedisError::Server {
            what: format!("the server at {} would be stopped and its data replaced", options.address),
            hint: "see what would be done with --dry-run, then say --yes".into(),
        }
        .into());
    }
    let prepared = place.prepare(repository, &source, &target, &plan, options, observer)?;
    place.replace(server, &target, &plan, &snapshot, options, observer)?;
    observer.begin("waiting for the server", None);
    let started = place.start(options, observer);
    let mut server = started.map_err(|error| place.explain(error))?;
    let verified = ask(&mut server, &prepared.expected, &target, observer).map_err(|error| place.explain(error))?;
    let aside = place.journal()?.map(|journal| target.directory.join(journal.aside));
    if verified.is_right() {
        place.settle(options)?;
    }
    let Prepared { cut, unset, made_good, .. } = prepared;
    Ok(ServerReport { aside, cut, verified: Some(verified), unset, made_good, ..report })
}

/// What a journal knows the restored state by: the snapshot's id, and what tells one moment in it from another.
fn identity(chosen: &Chosen, goal: Option<&Goal>) -> String {
    let session = chosen.name.session;
    match goal {
        None => session.to_string(),
        Some(goal) => format!("{session}-{:.16}", blake3::hash(format!("{goal:?}").as_bytes()).to_hex()),
    }
}

/// What a restore that was killed had come to.
#[derive(Default)]
struct Earlier {
    aside: Option<PathBuf>,
    finished_earlier: bool,
}

impl Earlier {
    fn into_report(self, report: ServerReport, verified: Verified) -> ServerReport {
        let Earlier { aside, finished_earlier } = self;
        ServerReport { aside, finished_earlier, verified: Some(verified), ..report }
    }
}

fn ask(
    server: &mut Server,
    expected: &Expected,
    target: &Target,
    observer: &dyn Observer,
) -> Result<Verified, OperationError> {
    observer.begin("asking the server", None);
    Ok(verify::ask(server, expected, &target.directory, &target.names, target.appendonly)?)
}

/// Connects. A server that an earlier, killed restore left stopped is started first, with the old data or the new.
/// Answers whether that restore was of this snapshot and its data are in place.
fn connect(options: &Options, snapshot: &str, observer: &dyn Observer) -> Result<(Server, bool), OperationError> {
    let error = match Server::connect(&options.address) {
        Ok(server) => return Ok((server, false)),
        Err(error @ RedisError::Connection { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let Some(directory) = recall(options) else { return Err(error.into()) };
    let Some(journal) = Journal::read(&directory)?.filter(|journal| journal.state != State::Done) else {
        return Err(error.into());
    };
    if options.dry_run {
        return Err(RedisError::Server {
            what: format!(
                "a restore into the server was killed while it was stopped ({})",
                journal.standing(&directory)?
            ),
            hint: "run the restore again without --dry-run, and it is finished".into(),
        }
        .into());
    }
    let place = Place::lock(&directory)?;
    let finished = place.finish(snapshot, observer)?;
    let server = place.start(options, observer).map_err(|error| place.explain(error))?;
    Ok((server, finished))
}

/// The directory of a server that an earlier restore stopped.
fn recall(options: &Options) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let path = fs::read(options.memory.as_ref()?).ok()?;
    Some(PathBuf::from(std::ffi::OsString::from_vec(path))).filter(|path| path.is_absolute())
}

/// The data directory of a server, locked for one restore or undo.
struct Place {
    directory: PathBuf,
    beside: Beside,
    _lock: Lock,
}

/// What was made ready in the staging directory.
struct Prepared {
    cut: Option<Cut>,
    expected: Expected,
    unset: Vec<String>,
    made_good: Vec<String>,
}

/// In the names beside it: `.redkeep-staging-dataset` and so on.
const DATASET: &str = "dataset";
/// In the staging directory: files as the snapshot has them, files as the server wants them, a scratch server's.
const FILES: &str = "files";
const NEW: &str = "new";
const WORK: &str = "work";

impl Place {
    fn lock(directory: &Path) -> Result<Place, OperationError> {
        let beside = Beside::new(directory.into(), OsStr::new(DATASET));
        let lock = beside.lock()?;
        Ok(Place { directory: directory.into(), beside, _lock: lock })
    }

    fn journal(&self) -> Result<Option<Journal>, OperationError> {
        Journal::read(&self.directory)
    }

    /// Brings an earlier, killed restore to its end, while the server is stopped. Answers whether it was of this
    /// snapshot, so that its data are in place.
    fn finish(&self, snapshot: &str, observer: &dyn Observer) -> Result<bool, OperationError> {
        let Some(mut journal) = self.journal()? else { return Ok(false) };
        match journal.state {
            State::Stopping | State::Done => return Ok(false),
            State::Exchanging => journal.exchange(&self.directory, observer)?,
            State::Placed => {}
        }
        Ok(!journal.is_undo && journal.snapshot == snapshot)
    }

    /// The same beside a running server: what it loaded stays.
    fn finish_beside(&self, snapshot: &str, observer: &dyn Observer) -> Result<bool, OperationError> {
        let Some(journal) = self.journal()? else { return Ok(false) };
        if journal.state == State::Exchanging && !journal.is_in_place(&self.directory)? {
            if journal.is_undo {
                return Err(RedisError::Server {
                    what: "an undo was killed in its midst, and the server was started since".into(),
                    hint: "bring it to its end first: redkeep undo --server".into(),
                }
                .into());
            }
            // Nothing was exchanged yet: what was to be is made anew.
            let unused = self.directory.join(&journal.other);
            remove(&unused).map_err(|error| OperationError::target("remove", &unused, error))?;
            return Ok(false);
        }
        self.finish(snapshot, observer)
    }

    /// Makes the new files ready, while the server goes on.
    fn prepare(
        &self,
        repository: &Repository,
        source: &Source,
        target: &Target,
        plan: &Plan,
        options: &Options,
        observer: &dyn Observer,
    ) -> Result<Prepared, OperationError> {
        let staging = self.beside.staging();
        remove(&staging).map_err(|error| OperationError::target("remove", &staging, error))?;
        target.refuse_full_disk(plan.way.bytes(source.bytes()))?;
        let make = |path: &Path| fs::create_dir(path).map_err(|error| OperationError::target("create", path, error));
        make(&staging)?;
        let (files, new) = (staging.join(FILES), staging.join(NEW));
        let made_good = second_look(repository, |_| true, || fetch(repository, source, &files, target, observer))?;
        let cut = options.goal.as_ref().map(|goal| cut_back(source, &files, goal)).transpose()?;
        make(&new)?;
        observer.begin("naming the files as the server does", None);
        let expected = match plan.way {
            Way::Scratch | Way::Classic => scratch::convert(plan.way, source, target, options, &staging, observer)?,
            way => {
                arrange::arrange(way, source, &target.names, &files, &new)?;
                source.expected.clone()
            }
        };
        let main = plan.entries.first().map(|name| target.directory.join(name)).unwrap_or_default();
        let unset = arrange::dress(&new, target.owner, &main)?;
        Ok(Prepared { expected, cut, unset, made_good })
    }

    /// Stops the server and exchanges its files. An error before the exchange starts it again as it was.
    fn replace(
        &self,
        server: Server,
        target: &Target,
        plan: &Plan,
        snapshot: &str,
        options: &Options,
        observer: &dyn Observer,
    ) -> Result<(), OperationError> {
        let before = self.journal()?;
        let mut journal = self.new_journal(plan, target, snapshot)?;
        self.remember(options)?;
        journal.write(&self.directory)?;
        observer.begin("stopping the server", None);
        if let Err(error) = target.host.stop(server) {
            self.take_back(before)?;
            return Err(error.into());
        }
        let swapped = self.refuse_users(options).and_then(|()| self.exchange_new(&mut journal, observer));
        let Err(error) = swapped else { return Ok(()) };
        let is_old = journal.state == State::Stopping || !journal.is_in_place(&self.directory).unwrap_or(true);
        if !is_old {
            return Err(self.explain(error));
        }
        // The old data are where they were.
        match target.host.start.run() {
            Ok(()) => self.take_back(before).and(Err(error)),
            Err(_) => Err(self.explain(error)),
        }
    }

    /// Nothing was replaced: the journal tells again what it told before.
    fn take_back(&self, before: Option<Journal>) -> Result<(), OperationError> {
        let path = self.directory.join(journal::NAME);
        match before {
            Some(before) => before.write(&self.directory),
            None => fs::remove_file(&path).map_err(|error| OperationError::target("remove", &path, error)),
        }
    }

    fn new_journal(&self, plan: &Plan, target: &Target, snapshot: &str) -> Result<Journal, OperationError> {
        let new = self.beside.staging().join(NEW);
        let inode = fs::metadata(&new).map_err(|error| OperationError::target("look at", &new, error))?.ino();
        let time = self.beside.unused_time()?;
        let name = |path: PathBuf| path.file_name().map(OsStr::to_owned).unwrap_or_default();
        Ok(Journal {
            state: State::Stopping,
            snapshot: snapshot.into(),
            is_undo: false,
            other: name(self.beside.swap(&time, inode)),
            aside: name(self.beside.aside(&time)),
            entries: exchange::look(&self.directory, &new, plan.entries.iter().cloned())?,
            start: target.host.start.clone(),
        })
    }

    /// With the server stopped: the new files get a name of their own, and then change places with the old.
    fn exchange_new(&self, journal: &mut Journal, observer: &dyn Observer) -> Result<(), OperationError> {
        let other = self.directory.join(&journal.other);
        super::beside::rename_new(&self.beside.staging().join(NEW), &other)?;
        let names: Vec<_> = journal.entries.iter().map(|entry| entry.name.clone()).collect();
        // What the server may have saved while it was stopped counts as what stood there.
        journal.entries = exchange::look(&self.directory, &other, names)?;
        journal.state = State::Exchanging;
        journal.write(&self.directory)?;
        journal.exchange(&self.directory, observer)?;
        let staging = self.beside.staging();
        remove(&staging).map_err(|error| OperationError::target("remove", &staging, error))
    }

    /// A server that answers again was started by somebody else than us, or was never the one that was stopped.
    fn refuse_users(&self, options: &Options) -> Result<(), OperationError> {
        super::place::refuse_users_of(&self.directory)?;
        match Server::connect(&options.address) {
            Err(RedisError::Connection { .. }) => Ok(()),
            Ok(_) | Err(_) => Err(RedisError::Server {
                what: format!("a server answers at {} again right after it was stopped", options.address),
                hint: "something keeps it running: say how it is stopped with --stop-command and --start-command"
                    .into(),
            }
            .into()),
        }
    }

    /// Starts the server as its journal says, unless it runs, and waits until it serves.
    fn start(&self, options: &Options, observer: &dyn Observer) -> Result<Server, OperationError> {
        let journal = self.journal()?;
        if let Some(journal) = journal.filter(|_| super::place::refuse_users_of(&self.directory).is_ok()) {
            observer.begin("starting the server", None);
            journal.start.run()?;
        }
        let mut go_on = || match observer.interrupted() {
            false => Ok(()),
            true => Err(RedisError::Server {
                what: "interrupted while the server was loading".into(),
                hint: "it goes on loading; run the same command again to have it asked what it holds".into(),
            }),
        };
        Ok(wait_serving(&options.address, &mut go_on)?)
    }

    /// Where the server's directory is, in case that it is stopped when somebody comes again.
    fn remember(&self, options: &Options) -> Result<(), OperationError> {
        use std::os::unix::ffi::OsStrExt as _;
        let Some(memory) = &options.memory else { return Ok(()) };
        let write = || {
            fs::create_dir_all(memory.parent().unwrap_or(Path::new("/")))?;
            fs::write(memory, self.directory.as_os_str().as_bytes())?;
            fs::File::open(memory)?.sync_all()
        };
        write().map_err(|error: io::Error| OperationError::target("write", memory, error))
    }

    /// The restore is over.
    fn settle(&self, options: &Options) -> Result<(), OperationError> {
        if let Some(journal) = self.journal()? {
            Journal { state: State::Done, ..journal }.write(&self.directory)?;
        }
        if let Some(memory) = &options.memory {
            // One that is left says nothing once the journal is done.
            let _ = fs::remove_file(memory);
        }
        sync_directory(&self.directory)
    }

    /// The same error, which says which data are in place.
    fn explain(&self, error: OperationError) -> OperationError {
        let standing = self.journal().ok().flatten().and_then(|journal| journal.standing(&self.directory).ok());
        let Some(standing) = standing else { return error };
        let directory = self.directory.display();
        let mut hint = error.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
        hint.push_str(&format!(
            "run the same command again to finish, or put the old files back while the server is stopped: redkeep undo {directory}"
        ));
        RedisError::Server { what: format!("{error}; {standing}"), hint }.into()
    }
}

impl Journal {
    /// Which data a server would load now.
    fn standing(&self, directory: &Path) -> Result<&'static str, OperationError> {
        let is_new = match self.state {
            State::Stopping => false,
            State::Exchanging => self.is_in_place(directory)?,
            State::Placed | State::Done => true,
        };
        Ok(match is_new != self.is_undo {
            true => "the restored data are in place",
            false => "the old data are in place",
        })
    }
}

/// Cuts the AOF in the directory `files`, in which its files stand under their names.
fn cut_back(source: &Source, files: &Path, goal: &Goal) -> Result<Cut, OperationError> {
    let all: Vec<&File> = source.files.iter().collect();
    cut(files, &all, &goal.by_name())
}

/// Writes the files of the dataset to a directory, for the server's user only, and compares them.
fn fetch(
    repository: &Repository,
    source: &Source,
    path: &Path,
    target: &Target,
    observer: &dyn Observer,
) -> Result<Vec<String>, OperationError> {
    remove(path).map_err(|error| OperationError::target("remove", path, error))?;
    let (uid, gid) = target.owner;
    let files: Vec<File> = source.files.iter().map(|file| File { mode: 0o600, uid, gid, ..file.clone() }).collect();
    let staging = Staging::create_at(path.into())?;
    // Owners are set, and told, when the files have their names.
    let (made_good, _unset) = staging.fill(repository, &files.iter().collect::<Vec<_>>(), observer)?;
    staging.keep();
    Ok(made_good)
}
