//! `undo` after a restore into a server: the old files change places with the restored ones again, by the journal.

use std::ffi::OsStr;
use std::mem;
use std::path::{Path, PathBuf};

use super::elsewhere::Ground;
use super::journal::{Journal, Journals, LEFT_BY_0_1, Site, State, is_left_by_0_1};
use super::place::started_again;
use super::plan::{self, entries};
use super::preflight::restart;
use super::quiet::{refuse_unkept, save_old};
use super::reach::{self, Reached};
use super::target::Target;
use super::{Options, Place, pick, readable};
use crate::format::UnixMillis;
use crate::held::Held;
use crate::operations::{Observer, OperationError, Silent};
use crate::redis::RedisError;
use crate::redis::host::Start;
use crate::redis::server::Server;

/// What an undo did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUndoReport {
    /// The server's directory.
    pub directory: PathBuf,
    /// Where what it holds again was kept.
    pub from: PathBuf,
    /// Where what it held is kept now.
    pub aside: PathBuf,
    /// What would be done with the server, in words; nothing of what was done.
    pub steps: Vec<String>,
    /// A person chose among what was set aside, now or in the undo that is undone.
    pub is_picked: bool,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What stands there now is what was there before the restore; else it is the restored data again.
    pub is_old: bool,
    /// An earlier undo was killed when it had put that in place, and a server changed it since.
    pub changed_since: bool,
    /// Where the server answers again, and what it says it holds; nothing where it was not started.
    pub serves: Option<Serves>,
}

/// A server that was started, and asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serves {
    /// Where it is.
    pub address: String,
    /// Keys by database.
    pub keys: Vec<(u64, u64)>,
}

impl ServerUndoReport {
    fn with_holdings(self, server: &mut Server, options: &Options) -> Result<ServerUndoReport, RedisError> {
        let keys = server.info()?.keyspace().into_iter().map(|(number, found)| (number, found.keys)).collect();
        Ok(ServerUndoReport { serves: Some(Serves { address: options.address.to_string(), keys }), ..self })
    }
}

/// Puts back what a restore into a server replaced, in the directory of a server that is stopped. `None`: none was
/// restored into it.
pub fn undo_directory(
    directory: &Path,
    to: Option<UnixMillis>,
    state: Option<&Path>,
) -> Result<Option<ServerUndoReport>, OperationError> {
    let Some((held, journals)) = restored_into(directory, state)? else { return Ok(None) };
    let place = Place::lock(&held, journals)?;
    if place.leaves_to_others(to)? {
        return Ok(None);
    }
    let report = place.put_back(None, to, None, &Silent)?;
    place.settle()?;
    Ok(Some(report))
}

/// What [`undo_directory`] would do.
pub fn look_at_undo(
    directory: &Path,
    to: Option<UnixMillis>,
    state: Option<&Path>,
) -> Result<Option<ServerUndoReport>, OperationError> {
    let Some((held, journals)) = restored_into(directory, state)? else { return Ok(None) };
    let nothing = || OperationError::NothingAside { path: held.path().display().to_string() };
    let place = Place::lock(&held, journals)?;
    let journal = place.journal()?.map(Journal::last_done).filter(Journal::has_aside).ok_or_else(nothing)?;
    if place.leaves_to_others(to)? {
        return Ok(None);
    }
    place.would_put_back(&journal, to, None).map(Some)
}

/// A directory that nobody works in, of which a journal says what a restore into its server did.
fn restored_into(directory: &Path, state: Option<&Path>) -> Result<Option<(Held, Journals)>, OperationError> {
    let Ok(held) = Held::open(directory) else { return Ok(None) };
    let site = Site::of(&held)?;
    match Journals::existing(state)? {
        Some(journals) if journals.read(&site)?.is_some() => {
            super::super::place::refuse_users_of(held.path(), (site.device, site.inode))?;
            Ok(Some((held, journals)))
        }
        Some(_) | None => refuse_0_1(&held).map(|()| None),
    }
}

/// Without a journal of ours: one that was left in the directory is not followed.
fn refuse_0_1(directory: &Held) -> Result<(), OperationError> {
    match is_left_by_0_1(directory) {
        false => Ok(()),
        true => Err(OperationError::Refused {
            what: format!(
                "what was set aside in {} is told by nothing but {}",
                directory.path().display(),
                super::JOURNAL
            ),
            hint: LEFT_BY_0_1.into(),
        }),
    }
}

/// The same with a server that runs, or was stopped by what is undone: it is stopped, and started again.
pub fn undo_server(options: &Options, observer: &dyn Observer) -> Result<ServerUndoReport, OperationError> {
    let (options, stopped) = reach::settle(options)?;
    let options = &options;
    let journals = Journals::open(options.state.as_deref())?;
    if options.named.is_none()
        && let Err(error @ RedisError::Connection { .. }) = Server::connect(&options.address)
    {
        match undo_stopped(&journals, options, observer)? {
            Stopped::Undone(report) => return Ok(report),
            Stopped::Started => {}
            Stopped::Unknown => return Err(unknown(error, &journals, options)),
        }
    }
    let Reached { mut server, stopped, stand_in, .. } = reach::reach(options, stopped, &journals, observer)?;
    let target = Target::ask(&mut server, stopped.as_ref(), options)?;
    let place = Place::lock(&target.held, journals)?.named(options).knowing(&target, options);
    let nothing = || OperationError::NothingAside { path: target.directory.display().to_string() };
    let journal = place.journal()?.map(Journal::last_done).filter(Journal::has_aside);
    let Some(journal) = journal else { return refuse_0_1(&target.held).and_then(|()| Err(nothing())) };
    let demands = place.demands(&journal, options.to)?;
    readable::refuse(demands, &target, stopped.as_ref())?;
    let mut notes = target.notes.clone();
    notes.extend(target.host.lost());
    if stopped.is_none() {
        refuse_unkept(&mut server, &target, options, observer)?;
        notes.extend(restart::look(&mut server, &target, options, demands.header)?);
    }
    if options.dry_run {
        journal.refuse_other_main(&target)?;
        let is_there = journal.is_there_already();
        let steps = plan::steps_of_undo(&target, is_there, options);
        return Ok(ServerUndoReport {
            notes,
            steps,
            ..place.would_put_back(&journal, options.to, Some(target.appendonly))?
        });
    }
    if !options.may_stop {
        return Err(OperationError::Refused {
            what: target.would_be_replaced(options),
            hint: "say --yes, or stop it yourself and name its directory".into(),
        });
    }
    journal.refuse_other_main(&target)?;
    // Before anything is stopped.
    place.would_put_back(&journal, options.to, Some(target.appendonly))?;
    if stopped.is_some() {
        drop((server, stand_in));
        let report = place
            .put_back(Some(target.host.start.clone()), options.to, Some(target.appendonly), observer)
            .map_err(|error| place.explain(error))?;
        return place.serve_again(ServerUndoReport { notes, ..report }, options, Some(&target.host.start), observer);
    }
    let writes = save_old(&mut server, &target, options, observer)?;
    let start = target.host.start.clone();
    let of_server = options.address.to_string();
    let stopping = Journal { state: State::Stopping, start: Some(start.clone()), server: of_server, ..journal.clone() };
    place.journals.write(&stopping).inspect_err(|_| writes.release(&mut server))?;
    place.stop(&mut server, &target, writes, observer)?;
    let report = place.put_back(Some(start), options.to, Some(target.appendonly), observer);
    let report = report.map_err(|error| place.go_on(&target.host.start, error))?;
    place.serve_again(ServerUndoReport { notes, ..report }, options, Some(&target.host.start), observer)
}

/// What came of an undo for a server that does not answer.
enum Stopped {
    /// It was left stopped by what is undone, whether or not it could load that: the old files are back, and it serves.
    Undone(ServerUndoReport),
    /// Nothing had been replaced yet: it was only started.
    Started,
    /// Nobody here stopped it.
    Unknown,
}

fn undo_stopped(journals: &Journals, options: &Options, observer: &dyn Observer) -> Result<Stopped, OperationError> {
    let Some(site) = journals.unfinished(&options.address.to_string())? else { return Ok(Stopped::Unknown) };
    let place = Place::again(&site, options)?;
    let Some(journal) = place.journal()? else { return Ok(Stopped::Unknown) };
    if options.dry_run {
        return place.would_undo_stopped(&journal, options).map(Stopped::Undone);
    }
    if journal.state == State::Stopping {
        place.start(options, None, observer).map_err(|error| place.explain(error))?;
        return Ok(Stopped::Started);
    }
    place.refuse_users_of()?;
    if !options.may_stop {
        return Err(OperationError::Refused {
            what: format!("the data of the stopped server in {} would be replaced", place.held.path().display()),
            hint: "see what would be done with --dry-run, then say --yes".into(),
        });
    }
    place.refuse_unreadable(&journal, options)?;
    let changed_since = journal.is_there_already() && !journal.is_untouched(&place.held)?;
    let report = place.put_back(None, options.to, None, observer).map_err(|error| place.explain(error))?;
    let report = place.serve_again(report, options, None, observer)?;
    Ok(Stopped::Undone(ServerUndoReport { changed_since, ..report }))
}

/// The server does not answer, and no restore or undo left it so: with its directory it can be undone.
fn unknown(error: RedisError, journals: &Journals, options: &Options) -> OperationError {
    let sites = journals.sites(&options.address.to_string()).unwrap_or_default();
    match sites.first() {
        None => reach::not_there(error).into(),
        Some(site) => RedisError::Server {
            what: error.to_string(),
            hint: format!(
                "start it; or leave it stopped and put back what the last restore replaced: redkeep undo {}",
                site.path.display()
            ),
        }
        .into(),
    }
}

impl Journal {
    /// Whether all is exchanged, and nobody has asked the server yet.
    pub fn is_placed(&self) -> bool {
        self.state == State::Placed
    }

    /// Whether an undo was begun, and nobody has asked its server yet: the next one goes on with it.
    pub fn is_begun_undo(&self) -> bool {
        self.by_undo && matches!(self.state, State::Exchanging | State::Placed)
    }

    /// Whether such an undo has put all in place: the server is only to be started, and asked.
    pub fn is_there_already(&self) -> bool {
        self.by_undo && self.is_placed()
    }

    /// Of one that only says that the server is about to be stopped, what was done before.
    pub fn last_done(self) -> Journal {
        match self.before {
            Some(before) => *before,
            None => self,
        }
    }

    /// The entry that the server loaded when it was started last.
    pub fn main(&self) -> Option<&OsStr> {
        let main = self.main_entry().map(|entry| Path::new(&entry.name));
        main.and_then(|name| name.iter().next())
    }

    /// Refuses where the server loads something else now than it did then: it would not find what is put back.
    fn refuse_other_main(&self, target: &Target) -> Result<(), RedisError> {
        let now = entries(&target.names, target.appendonly);
        match (self.main(), now.first()) {
            (Some(then), Some(now)) if then != now => Err(RedisError::Server {
                what: format!(
                    "the server loads {} now, and loaded {} before the restore: it would start without what is put back",
                    now.to_string_lossy(),
                    then.to_string_lossy()
                ),
                hint: "set appendonly and the names of its files as they were, in its configuration too, and try again"
                    .into(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether something was set aside, or is about to be.
    fn has_aside(&self) -> bool {
        match self.state {
            State::Stopping => false,
            State::Exchanging | State::Placed | State::Done => true,
        }
    }
}

impl Place {
    /// Starts the server on what was put back, and asks it what it holds.
    fn serve_again(
        &self,
        report: ServerUndoReport,
        options: &Options,
        seen: Option<&Start>,
        observer: &dyn Observer,
    ) -> Result<ServerUndoReport, OperationError> {
        if !options.starts {
            self.settle()?;
            return Ok(report);
        }
        let mut server = self.start(options, seen, observer).map_err(|error| self.explain(error))?;
        let report = report.with_holdings(&mut server, options)?;
        self.settle()?;
        Ok(report)
    }

    /// LOCAL-13: exchanges the entries with those set aside, in the opposite order, so that what the server loads changes
    /// last. What stood there gets the time of this undo. An undo that was killed, or whose server did not come up, is brought
    /// to its end; a restore that was killed first is. Removes nothing. `to`: what was set aside in that second instead of the
    /// last.
    pub fn put_back(
        &self,
        start: Option<Start>,
        to: Option<UnixMillis>,
        appendonly: Option<bool>,
        observer: &dyn Observer,
    ) -> Result<ServerUndoReport, OperationError> {
        let nothing = || OperationError::NothingAside { path: self.held.path().display().to_string() };
        let mut journal = self.journal()?.map(Journal::last_done).filter(Journal::has_aside).ok_or_else(nothing)?;
        journal.start = start.or(journal.start);
        let mut from = journal.other.clone();
        if journal.state == State::Exchanging {
            self.exchange(&mut journal, observer)?;
        }
        if let Some(to) = to {
            return self.put_back_picked(journal, to, appendonly, observer);
        }
        if !journal.is_there_already() {
            journal.refuse_gone(&self.held)?;
            let names = journal.names().into_iter().rev();
            journal.entries = Ground::of(&journal, &self.held)?.look(&journal.aside, names)?;
            let aside = self.beside.aside(&self.unused_time(Some(&journal))?);
            journal.other = mem::replace(&mut journal.aside, aside);
            from = journal.other.clone();
            (journal.is_undo, journal.by_undo) = (!journal.is_undo, true);
            journal.state = State::Exchanging;
            self.journals.write(&journal)?;
            self.exchange(&mut journal, observer)?;
        }
        Ok(ServerUndoReport { from: self.held.path_of(&from), ..self.report(&journal) })
    }

    /// Where nothing that the server loads was exchanged it goes on with what it held; the error says what stands there.
    fn go_on(&self, start: &Start, error: OperationError) -> OperationError {
        let is_old = match self.journal() {
            Ok(Some(journal)) if journal.state == State::Exchanging => !journal.is_in_place(&self.held).unwrap_or(true),
            Ok(Some(journal)) => journal.state == State::Stopping,
            Ok(None) | Err(_) => false,
        };
        if !is_old || start.run().is_err() {
            return self.explain(error);
        }
        // Where it stays, the next restore or undo removes it.
        let _ = self.journals.forget_stopping(&self.site);
        started_again(error)
    }

    pub fn report(&self, journal: &Journal) -> ServerUndoReport {
        let aside = self.held.path_of(&journal.aside);
        ServerUndoReport {
            directory: self.held.path().into(),
            from: aside.clone(),
            aside,
            is_old: journal.is_undo,
            is_picked: journal.snapshot == pick::PICKED,
            notes: Vec::new(),
            steps: Vec::new(),
            changed_since: false,
            serves: None,
        }
    }
}
