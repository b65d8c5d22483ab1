//! `restore --server`: a snapshot's dataset in a running server, which afterwards is asked what it holds.
//!
//! LOCAL-12: the files are written, compared, named as the server names them and brought to the disk in a staging
//! directory inside its data directory, while it serves. Then it is stopped, what it loads changes places with the new by
//! one rename, the rest of its files is set aside, and it is started again. A journal in the directory tells, at every
//! moment, whether the old or the new dataset is in place, and how to go on.

mod arrange;
mod exchanges;
mod journal;
mod plan;
mod preflight;
mod quiet;
mod reach;
mod scratch;
mod source;
mod steps;
mod target;
mod undo;
mod verify;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(in crate::operations) use journal::NAME as JOURNAL;
pub use plan::Plan;
pub use undo::{ServerUndoReport, Serves, look_at_undo, undo_directory, undo_server};
pub use verify::Verified;

use super::beside::{Beside, Lock, remove};
use super::stage::sync_directory;
use super::{Cut, Doubt, From, Goal, Needs, doubt, select};
use crate::operations::list::Chosen;
use crate::operations::{Observer, OperationError};
use crate::redis::RedisError;
use crate::redis::host::{Commands, Named, Start};
use crate::redis::server::{Address, Server};
use crate::repository::Repository;
use journal::{Journal, State};
use reach::Reached;
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
    /// What the server did not save is lost when it is stopped.
    Unsaved,
    /// Whether the server's modules have the types of the snapshot's data is not known.
    Modules,
    /// Whether the server knows the commands of the AOF is not known.
    Commands,
    /// Users, modules and settings that are in none of its files are lost when the server is started again.
    Settings,
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
    /// What a person names of a server that may be stopped.
    pub named: Option<Named>,
    /// The address was given, and is not only the usual one.
    pub has_address: bool,
    /// The server is started afterwards, and asked.
    pub starts: bool,
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
            named: None,
            has_address: true,
            starts: true,
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
    /// Where it is.
    pub address: String,
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
    /// Damage that was made good from other copies.
    pub made_good: Vec<String>,
    /// Paths whose content was suspect when it was stored, and why.
    pub suspects: Vec<(String, String)>,
    /// Nothing was written.
    pub dry_run: bool,
    /// The server did not run before.
    pub was_stopped: bool,
    /// It runs now, and was asked what it holds.
    pub is_started: bool,
}

/// Restores a snapshot into a server.
pub fn restore_into_server(
    repository: &Repository,
    chosen: &Chosen,
    options: &Options,
    observer: &dyn Observer,
) -> Result<ServerReport, OperationError> {
    if let Some(Doubt { what, hint }) = doubt(&chosen.snapshot).filter(|_| options.from.is_none()) {
        return Err(OperationError::Unfit { what, hint });
    }
    select(chosen, options.from)?;
    let source = Source::of(&chosen.snapshot, options.from)?;
    let (options, stopped) = reach::settle(options)?;
    let options = &options;
    let Reached { mut server, stopped, started, stand_in } = reach::reach(options, stopped, observer)?;
    let target = Target::ask(&mut server, stopped.as_ref(), options)?;
    let plan = Plan::make(&source, &target, options)?;
    let snapshot = identity(chosen, &plan, options);
    let finished = started.is_some_and(|journal| journal.has_placed(&snapshot));
    let report = ServerReport {
        directory: target.directory.clone(),
        server: format!("{} at {}", target.program(), options.address),
        address: options.address.to_string(),
        steps: plan.steps.clone(),
        notes: plan.notes.clone(),
        files: source.files.len() as u64,
        bytes: source.bytes(),
        aside: None,
        cut: None,
        verified: None,
        finished_earlier: false,
        made_good: Vec::new(),
        suspects: source.suspects(),
        dry_run: options.dry_run,
        was_stopped: stopped.is_some(),
        is_started: false,
    };
    target.refuse(&mut server, &source, options)?;
    // One that is stopped, or was started by us, has nothing that a restart would lose.
    let lost = match finished || stopped.is_some() {
        true => Vec::new(),
        false => preflight::restart::look(&mut server, &target, options)?,
    };
    let report = ServerReport { notes: report.notes.iter().cloned().chain(lost).collect(), ..report };
    if options.dry_run {
        target.refuse_full_disk(plan.way.bytes(source.bytes()))?;
        let doubt = would_refuse(repository, &source, &target, &plan, &mut server, options, observer)?;
        return Ok(ServerReport { notes: report.notes.iter().cloned().chain(doubt).collect(), ..report });
    }
    let place = Place::lock(&target.directory)?;
    if finished {
        // It was started by us, with what a killed restore of the same had put in place.
        let aside = place.journal()?.map(|journal| target.directory.join(journal.aside));
        let verified = ask(&mut server, &source.expected, &target, observer)?;
        if verified.is_right() {
            place.settle(options)?;
        }
        return Ok(ServerReport {
            aside,
            verified: Some(verified),
            finished_earlier: true,
            is_started: true,
            ..report
        });
    }
    if !options.may_stop {
        return Err(OperationError::Refused {
            what: target.would_be_replaced(options),
            hint: "see what would be done with --dry-run, then say --yes".into(),
        });
    }
    // A server that runs may hold anything by now, whatever a killed restore had put in place for it.
    let carried = place.leave_earlier(observer)?;
    let prepared = place.clearing(|| {
        let prepared = place.prepare(repository, &source, (&mut server, &target), &plan, options, observer)?;
        // A stand-in has told what it knows.
        let server = stopped.is_none().then_some(server);
        drop(stand_in);
        place.replace(server, &target, &plan, steps::Restored { snapshot: &snapshot, carried }, options, observer)?;
        Ok(prepared)
    })?;
    let aside = place.journal()?.map(|journal| target.directory.join(journal.aside));
    let steps::Prepared { expected, cut, made_good } = prepared;
    if !options.starts {
        place.settle(options)?;
        return Ok(ServerReport { aside, cut, made_good, ..report });
    }
    observer.begin("waiting for the server", None);
    let started = place.start(options, observer);
    let mut server = started.map_err(|error| place.explain(error))?;
    let verified = ask(&mut server, &expected, &target, observer).map_err(|error| place.explain(error))?;
    if verified.is_right() {
        place.settle(options)?;
    }
    Ok(ServerReport { aside, cut, verified: Some(verified), made_good, is_started: true, ..report })
}

/// What the files need of the server, without writing them. Of an AOF that is to be cut back only the whole is known: what
/// is wrong with that is a note.
fn would_refuse(
    repository: &Repository,
    source: &Source,
    target: &Target,
    plan: &Plan,
    server: &mut Server,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Option<String>, OperationError> {
    if source.is_known_by_facts() {
        return Ok(None);
    }
    let needs = Needs::of_stored(repository, &source.files.iter().collect::<Vec<_>>(), observer)?;
    match preflight::by_needs(&needs, plan.way, target, server, options) {
        Ok(()) => Ok(None),
        Err(error) if options.goal.is_some() => {
            Ok(Some(format!("it is refused unless what is cut off is the reason: {error}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// What a journal knows the restored state by: the snapshot's id, and what tells one state of it from another.
fn identity(chosen: &Chosen, plan: &Plan, options: &Options) -> String {
    let what = format!("{:?} {:?} {:?}", options.goal, options.from, plan.way);
    format!("{}-{:.16}", chosen.name.session, blake3::hash(what.as_bytes()).to_hex())
}

fn ask(
    server: &mut Server,
    expected: &Expected,
    target: &Target,
    observer: &dyn Observer,
) -> Result<Verified, OperationError> {
    observer.begin("asking the server", None);
    Ok(verify::ask(server, expected, target)?)
}

/// Connects. A server that an earlier, killed restore left stopped is started first, with the old data or the new, and the
/// journal by which it was started is told.
fn connect(options: &Options, observer: &dyn Observer) -> Result<(Server, Option<Journal>), OperationError> {
    let error = match Server::connect(&options.address) {
        Ok(server) => return Ok((server, None)),
        Err(error @ RedisError::Connection { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let Some(directory) = recall(options) else { return Err(error.into()) };
    let Some(journal) = Journal::read(&directory)?.filter(|journal| journal.state != State::Done) else {
        return Err(error.into());
    };
    if options.named.is_some() || !options.starts {
        // It may be stopped because it cannot load what stands there: it is not started on that. What an exchange began is
        // brought to its end, and is restored over.
        if !options.dry_run {
            Place::lock(&directory)?.finish(observer)?;
        }
        return Err(error.into());
    }
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
    place.finish(observer)?;
    let journal = place.journal()?;
    let server = place.start(options, observer).map_err(|error| place.explain(error))?;
    Ok((server, journal))
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

/// In the names beside it: `.redkeep-staging-dataset` and so on.
const DATASET: &str = "dataset";

/// The names in the data directory of a server.
pub(super) fn beside(directory: &Path) -> Beside {
    Beside::new(directory.into(), OsStr::new(DATASET))
}

/// What an undo would put back into the directory of a server.
pub(super) fn needed_by_undo(directory: &Path) -> Option<PathBuf> {
    let journal = Journal::read(directory).ok().flatten()?;
    Some(directory.join(journal.before.map_or(journal.aside, |before| before.aside)))
}

impl Place {
    fn lock(directory: &Path) -> Result<Place, OperationError> {
        let beside = beside(directory);
        let lock = beside.lock()?;
        Ok(Place { directory: directory.into(), beside, _lock: lock })
    }

    fn journal(&self) -> Result<Option<Journal>, OperationError> {
        Journal::read(&self.directory)
    }

    /// Where it fails nothing stays in the staging directory: a server that goes on needs the room.
    fn clearing<T>(&self, work: impl FnOnce() -> Result<T, OperationError>) -> Result<T, OperationError> {
        work().inspect_err(|_| {
            // What went wrong is the error that is told; the next restore clears what is left.
            let _ = remove(&self.beside.staging());
        })
    }

    /// Brings the exchanges of an earlier, killed restore or undo to their end.
    fn finish(&self, observer: &dyn Observer) -> Result<(), OperationError> {
        match self.journal()? {
            Some(mut journal) if journal.state == State::Exchanging => journal.exchange(&self.directory, observer),
            _ => Ok(()),
        }
    }

    /// Makes room beside a running server for a new restore. Of one that was killed after it had replaced something, what it
    /// replaced is told: an undo of the new one puts that back.
    fn leave_earlier(&self, observer: &dyn Observer) -> Result<Option<OsString>, OperationError> {
        let Some(journal) = self.journal()? else { return Ok(None) };
        match journal.state {
            State::Stopping => {
                let carried = journal.before.as_ref().and_then(|before| before.unfinished_aside());
                Journal::forget_stopping(&self.directory)?;
                return Ok(carried);
            }
            State::Done => return Ok(None),
            State::Placed => return Ok(journal.unfinished_aside()),
            State::Exchanging => {}
        }
        if journal.is_in_place(&self.directory)? {
            self.finish(observer)?;
            return Ok(self.journal()?.and_then(|journal| journal.unfinished_aside()));
        }
        if journal.is_undo {
            return Err(RedisError::Server {
                what: "an undo was killed in its midst, and the server was started since".into(),
                hint: "bring it to its end first: redkeep undo --server".into(),
            }
            .into());
        }
        // Nothing was exchanged yet: what was to be is made anew. That it goes is known before it does.
        let (path, unused) = (self.directory.join(journal::NAME), self.directory.join(&journal.other));
        fs::remove_file(&path).map_err(|error| OperationError::target("remove", &path, error))?;
        sync_directory(&self.directory)?;
        remove(&unused).map_err(|error| OperationError::target("remove", &unused, error))?;
        Ok(journal.carried)
    }

    /// Starts the server as its journal says, unless it runs, and waits until it serves.
    fn start(&self, options: &Options, observer: &dyn Observer) -> Result<Server, OperationError> {
        let journal = self.journal()?;
        if let Some(journal) = journal.filter(|_| super::place::refuse_users_of(&self.directory).is_ok()) {
            observer.begin("starting the server", None);
            // What a person says now counts more than what was known when it was stopped.
            let told = options.commands.start.clone().map(Start::Command);
            told.as_ref().unwrap_or(&journal.start).run()?;
        }
        let (begun, mut waiting) = (Instant::now(), steps::Waiting::new(observer, Duration::MAX));
        let mut go_on = || match observer.interrupted() {
            false => {
                waiting.tell(begun.elapsed(), "the server is started, and does not serve yet");
                Ok(())
            }
            true => Err(RedisError::Stopped {
                what: "interrupted before the server was seen to serve".into(),
                hint: "it goes on loading".into(),
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
        let Some(journal) = self.journal().ok().flatten() else { return error };
        let Ok(standing) = journal.standing(&self.directory) else { return error };
        let directory = self.directory.display();
        let mut hint = error.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
        hint.push_str(&match journal.state {
            State::Stopping => format!("where it is stopped, run the same command again, or start it: {}", journal.start),
            State::Exchanging | State::Placed | State::Done => format!(
                "run the same command again to finish, or put the old files back while the server is stopped: redkeep undo {directory}"
            ),
        });
        let what = format!("{error}; {standing}");
        match error {
            OperationError::Redis(RedisError::Stopped { .. } | RedisError::Interrupted) => {
                RedisError::Stopped { what, hint }.into()
            }
            _ => RedisError::Server { what, hint }.into(),
        }
    }
}

impl Journal {
    /// Whether it put this in place, and nothing else since.
    fn has_placed(&self, snapshot: &str) -> bool {
        self.state == State::Placed && !self.is_undo && self.snapshot == snapshot
    }

    /// Where the old data are, of a restore that did not come to its end.
    fn unfinished_aside(&self) -> Option<OsString> {
        (self.state == State::Placed && !self.is_undo).then(|| self.aside.clone())
    }

    /// Which data a server would load now.
    fn standing(&self, directory: &Path) -> Result<&'static str, OperationError> {
        let is_new = match self.state {
            State::Stopping => return Ok("nothing was replaced"),
            State::Exchanging => self.is_in_place(directory)?,
            State::Placed | State::Done => true,
        };
        Ok(match is_new != self.is_undo {
            true => "the restored data are in place",
            false => "the old data are in place",
        })
    }
}
