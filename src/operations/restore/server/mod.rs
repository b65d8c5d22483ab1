//! `restore --server`: a snapshot's dataset in a running server, which afterwards is asked what it holds.
//!
//! LOCAL-12: the files are written, compared, named as the server names them and brought to the disk in a staging
//! directory inside its data directory, while it serves. Then it is stopped, what it loads changes places with the new by
//! one rename, the rest of its files is set aside, and it is started again. A journal in the state directory tells, at
//! every moment, whether the old or the new dataset is in place, and how to go on.

mod arrange;
mod coming;
mod elsewhere;
mod exchanges;
mod journal;
mod pick;
mod place;
mod plan;
mod preflight;
mod quiet;
mod reach;
mod readable;
mod scratch;
mod source;
mod steps;
mod target;
mod undo;
mod verify;

use std::path::PathBuf;

pub(in crate::operations) use journal::NAME as JOURNAL;
pub use pick::directory_of;
pub use plan::Plan;
pub use undo::{ServerUndoReport, Serves, look_at_undo, undo_directory, undo_server};
pub use verify::Verified;

use super::{Cut, Doubt, From, Goal, Needs, doubt, select};
use crate::format::UnixMillis;
use crate::operations::list::Chosen;
use crate::operations::{Observer, OperationError, watching};
use crate::redis::RedisError;
use crate::redis::host::{Commands, Named};
use crate::redis::server::{Address, Server, wait_loaded};
use crate::repository::Repository;
use elsewhere::Locked;
use journal::{Journal, Journals, LEFT_BY_0_1, State};
use place::Place;
pub(super) use place::{DATASET, beside, beside_elsewhere, needed_by_undo};
use reach::Reached;
use source::{Expected, Source};
use target::Target;

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
    /// The server may throw away keys that do not fit its `maxmemory`.
    Eviction,
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
    /// The state directory, in which the journal is kept: nobody but the caller can write there.
    pub state: Option<PathBuf>,
    /// What a person names of a server that may be stopped.
    pub named: Option<Named>,
    /// The address was given, and is not only the usual one.
    pub has_address: bool,
    /// The server is started afterwards, and asked.
    pub starts: bool,
    /// Which of the old files an undo puts back, by the second in which they were set aside: else the last.
    pub to: Option<UnixMillis>,
    /// The words of a command line that name this server again.
    pub again: String,
}

impl Options {
    /// A restore into this server, as far as nothing else is said.
    pub fn new(address: Address) -> Options {
        Options {
            again: format!("--server={}", address.to_text()),
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
            state: None,
            named: None,
            has_address: true,
            starts: true,
            to: None,
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
    /// The words of a command line that name this server again.
    pub again: String,
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
    let mut source = Source::of(&chosen.snapshot, options.from)?;
    if options.goal.is_some() {
        // What is cut off was counted as well.
        source.expected.asked = None;
    }
    let (options, stopped) = reach::settle(options)?;
    let options = &options;
    let journals = Journals::open(options.state.as_deref())?;
    let Reached { mut server, stopped, started, stand_in } = reach::reach(options, stopped, &journals, observer)?;
    let target = Target::ask(&mut server, stopped.as_ref(), options)?;
    let plan = Plan::make(&source, &target, options)?;
    let snapshot = identity(chosen, &plan, options);
    let finished =
        started.as_ref().is_some_and(|started| started.is_untouched && started.journal.has_placed(&snapshot));
    // The files of a restore whose server did not come up stay: it is only started, and asked.
    let goes_on = stopped.is_some() && options.starts && journals.has_in_place(&target.held, &snapshot)?;
    let mut notes = plan.notes.clone();
    notes.extend(goes_on.then(|| GOES_ON.to_owned()));
    notes.extend(started.filter(|started| !started.is_untouched).map(|_| CHANGED_SINCE.to_owned()));
    notes.extend(journal::is_left_by_0_1(&target.held).then(|| LEFT_BY_0_1.to_owned()));
    let report = ServerReport {
        directory: target.directory.clone(),
        server: format!("{} at {}", target.program(), options.address),
        address: options.address.to_string(),
        steps: if goes_on { plan::steps_of_start(&target).into() } else { plan.steps.clone() },
        notes,
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
        again: options.again.clone(),
    };
    target.refuse(&mut server, &source, options)?;
    let elsewhere = target.elsewhere()?;
    let standing = elsewhere.as_ref().map(|(elsewhere, held)| elsewhere.note(&target.held, held));
    let standing = standing.or_else(|| plan::note_of_link(&plan, &target));
    let report = ServerReport { notes: report.notes.iter().cloned().chain(standing).collect(), ..report };
    // One that is stopped, or was started by us, has nothing that a restart would lose.
    let lost = match finished || stopped.is_some() {
        true => Vec::new(),
        false => {
            quiet::refuse_unkept(&mut server, &target, options, observer)?;
            preflight::restart::look(&mut server, &target, options, source.header)?
        }
    };
    let mut report = ServerReport { notes: report.notes.iter().cloned().chain(lost).collect(), ..report };
    if options.dry_run {
        let main = elsewhere.as_ref().filter(|(elsewhere, _)| elsewhere.is_main);
        target.refuse_full_disk(main.map_or(&target.held, |(_, held)| held), plan.way.bytes(source.bytes()))?;
        let doubt = would_refuse(repository, &source, &target, &plan, &mut server, options, observer)?;
        return Ok(ServerReport { notes: report.notes.iter().cloned().chain(doubt).collect(), ..report });
    }
    let place = Place::lock(&target.held, journals)?.named(options).knowing(&target, options);
    if finished {
        // It was started by us, with what a killed restore of the same had put in place.
        return end(&place, &mut server, &source.expected, (&target, options), report, observer);
    }
    if !options.may_stop {
        return Err(OperationError::Refused {
            what: target.would_be_replaced(options),
            hint: "see what would be done with --dry-run, then say --yes".into(),
        });
    }
    if goes_on {
        drop((server, stand_in));
        let started = place.start(options, Some(&target.host.start), observer);
        let mut server = started.map_err(|error| place.explain(error))?;
        return end(&place, &mut server, &source.expected, (&target, options), report, observer);
    }
    // A server that runs may hold anything by now, whatever a killed restore had put in place for it.
    let carried = place.leave_earlier(observer)?;
    let is_carried = carried.is_some();
    let place = place.with(elsewhere.map(Locked::new).transpose()?);
    let prepared = place.clearing(|| {
        let prepared = place.prepare(repository, &source, (&mut server, &target), &plan, options, observer)?;
        // A stand-in has told what it knows.
        let server = stopped.is_none().then_some(server);
        drop(stand_in);
        let (staging, new) = (&prepared.staging, &prepared.new);
        let restored = steps::Restored { snapshot: &snapshot, carried, staging, new };
        let replaced = place.replace(server, &target, &plan, restored, options, observer);
        replaced.inspect_err(|_| steps::vanish(staging))?;
        Ok(prepared)
    })?;
    let aside = place.journal()?.map(|journal| target.held.path_of(&journal.aside));
    let steps::Prepared { expected, cut, made_good, .. } = prepared;
    if is_carried {
        report.notes.extend(place.kept_between()?);
    }
    if !options.starts {
        place.settle()?;
        return Ok(ServerReport { aside, cut, made_good, ..report });
    }
    observer.begin("waiting for the server", None);
    let started = place.start(options, Some(&target.host.start), observer);
    let mut server = started.map_err(|error| place.explain(error))?;
    let verified = ask(&mut server, &expected, &target, options, observer).map_err(|error| place.explain(error))?;
    if verified.is_right() {
        place.settle()?;
    }
    Ok(ServerReport { aside, cut, verified: Some(verified), made_good, is_started: true, ..report })
}

/// The end of a restore that was killed, or whose server did not come up, when all was in place.
fn end(
    place: &Place,
    server: &mut Server,
    expected: &Expected,
    (target, options): (&Target, &Options),
    report: ServerReport,
    observer: &dyn Observer,
) -> Result<ServerReport, OperationError> {
    let aside = place.journal()?.map(|journal| target.held.path_of(&journal.aside));
    let verified = ask(server, expected, target, options, observer).map_err(|error| place.explain(error))?;
    if verified.is_right() {
        place.settle()?;
    }
    Ok(ServerReport { aside, verified: Some(verified), finished_earlier: true, is_started: true, ..report })
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
    options: &Options,
    observer: &dyn Observer,
) -> Result<Verified, OperationError> {
    observer.begin("asking the server", None);
    Ok(verify::ask(server, expected, target, options)?)
}

/// What a restore says that finds something else in place than what an earlier one put there.
const CHANGED_SINCE: &str = "an earlier restore did not see the server come up, and what it had put in place was changed since: it is restored anew";

/// What one says that finds what it would put in place there already.
const GOES_ON: &str =
    "an earlier restore put all of it in place, and its server did not come up: the files stay, and it is only started";

/// By what a server was started that an earlier, killed restore or undo had left stopped.
struct Started {
    journal: Journal,
    /// What was put in place was there until then, untouched.
    is_untouched: bool,
}

/// Connects. A server that an earlier, killed restore left stopped is started first, with the old data or the new, and the
/// journal by which it was started is told.
fn connect(
    options: &Options,
    journals: &Journals,
    observer: &dyn Observer,
) -> Result<(Server, Option<Started>), OperationError> {
    let error = match Server::connect(&options.address) {
        Ok(mut server) => {
            watching(observer, |watch| wait_loaded(&mut server, watch))?;
            return Ok((server, None));
        }
        Err(error @ RedisError::Connection { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let Some(site) = journals.unfinished(&options.address.to_string())? else { return Err(error.into()) };
    let place = Place::again(&site, options)?;
    let Some(journal) = place.journal()? else { return Err(error.into()) };
    if options.named.is_some() || !options.starts {
        // It may be stopped because it cannot load what stands there: it is not started on that. What an exchange began is
        // brought to its end, and is restored over.
        if !options.dry_run {
            place.finish(observer)?;
        }
        return Err(error.into());
    }
    if options.dry_run {
        return Err(RedisError::Server {
            what: format!(
                "a restore into the server was killed while it was stopped ({})",
                journal.standing(&place.held)?
            ),
            hint: "run the restore again without --dry-run, and it is finished".into(),
        }
        .into());
    }
    place.finish(observer)?;
    let Some(journal) = place.journal()? else { return Err(error.into()) };
    let is_untouched = journal.is_untouched(&place.held)?;
    let server = place.start(options, None, observer).map_err(|error| place.explain(error))?;
    let is_untouched = is_untouched || journal.state != State::Placed;
    Ok((server, Some(Started { journal, is_untouched })))
}
