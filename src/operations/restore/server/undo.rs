//! `undo` after a restore into a server: the old files change places with the restored ones again, by the journal.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::journal::{self, Journal, State};
use super::plan::entries;
use super::quiet::save_old;
use super::reach::{self, Reached};
use super::target::Target;
use super::{Options, Place, exchanges};
use crate::operations::{Observer, OperationError, Silent};
use crate::redis::RedisError;
use crate::redis::host::Start;
use crate::redis::server::Server;

/// What an undo did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUndoReport {
    /// The server's directory.
    pub directory: PathBuf,
    /// Where what it held is kept now.
    pub aside: PathBuf,
    /// What stands there now is what was there before the restore; else it is the restored data again.
    pub is_old: bool,
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
pub fn undo_directory(directory: &Path) -> Result<Option<ServerUndoReport>, OperationError> {
    let Ok(directory) = directory.canonicalize() else { return Ok(None) };
    if !directory.join(journal::NAME).exists() {
        return Ok(None);
    }
    super::super::place::refuse_users_of(&directory)?;
    let place = Place::lock(&directory)?;
    let report = place.put_back(None, &Silent)?;
    if let Some(journal) = place.journal()? {
        Journal { state: State::Done, ..journal }.write(&directory)?;
    }
    Ok(Some(report))
}

/// What [`undo_directory`] would do.
pub fn look_at_undo(directory: &Path) -> Result<Option<ServerUndoReport>, OperationError> {
    let Ok(directory) = directory.canonicalize() else { return Ok(None) };
    if !directory.join(journal::NAME).exists() {
        return Ok(None);
    }
    let nothing = || OperationError::NothingAside { path: directory.display().to_string() };
    let place = Place::lock(&directory)?;
    let journal = place.journal()?.map(Journal::last_done).filter(Journal::has_aside).ok_or_else(nothing)?;
    Ok(Some(ServerUndoReport { is_old: !journal.is_undo, ..place.report(&journal) }))
}

/// The same with a server that runs, or was stopped by what is undone: it is stopped, and started again.
pub fn undo_server(options: &Options, observer: &dyn Observer) -> Result<ServerUndoReport, OperationError> {
    let (options, stopped) = reach::settle(options)?;
    let options = &options;
    let Reached { mut server, stopped, started, stand_in } = reach::reach(options, stopped, observer)?;
    let target = Target::ask(&mut server, stopped.as_ref(), options)?;
    let place = Place::lock(&target.directory)?;
    let nothing = || OperationError::NothingAside { path: target.directory.display().to_string() };
    let journal = place.journal()?.map(Journal::last_done).filter(Journal::has_aside).ok_or_else(nothing)?;
    if started.is_some_and(|started| started.is_undo && started.is_placed()) {
        // One that was killed, and that was brought to its end and started by us.
        place.settle(options)?;
        return Ok(place.report(&journal).with_holdings(&mut server, options)?);
    }
    if options.dry_run {
        return Ok(ServerUndoReport { is_old: !journal.is_undo, ..place.report(&journal) });
    }
    if !options.may_stop {
        return Err(OperationError::Refused {
            what: target.would_be_replaced(options),
            hint: "say --yes, or stop it yourself and name its directory".into(),
        });
    }
    journal.refuse_other_main(&target)?;
    if stopped.is_some() {
        drop((server, stand_in));
        place.remember(options)?;
        let report = place.put_back(Some(target.host.start.clone()), observer).map_err(|error| place.explain(error))?;
        return place.serve_again(report, options, observer);
    }
    let writes = save_old(&mut server, &target, options, observer)?;
    let start = target.host.start.clone();
    let stopping = Journal { state: State::Stopping, start: start.clone(), ..journal.clone() };
    let told = place.remember(options).and_then(|()| stopping.write(&target.directory));
    told.inspect_err(|_| writes.release(&mut server))?;
    place.stop(&mut server, &target, writes, observer)?;
    let report = place.put_back(Some(start), observer).map_err(|error| place.explain(error))?;
    place.serve_again(report, options, observer)
}

impl Journal {
    /// Whether all is exchanged, and nobody has asked the server yet.
    fn is_placed(&self) -> bool {
        self.state == State::Placed
    }

    /// Of one that only says that the server is about to be stopped, what was done before.
    fn last_done(self) -> Journal {
        match self.before {
            Some(before) => *before,
            None => self,
        }
    }

    /// The entry that the server loaded when it was started last.
    fn main(&self) -> Option<&OsStr> {
        let main = if self.is_undo { self.entries.last() } else { self.entries.first() };
        main.map(|entry| entry.name.as_os_str())
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
        observer: &dyn Observer,
    ) -> Result<ServerUndoReport, OperationError> {
        if !options.starts {
            self.settle(options)?;
            return Ok(report);
        }
        let mut server = self.start(options, observer).map_err(|error| self.explain(error))?;
        let report = report.with_holdings(&mut server, options)?;
        self.settle(options)?;
        Ok(report)
    }

    /// LOCAL-13: exchanges the entries with those set aside, in the opposite order, so that what the server loads changes
    /// last. An undo that was killed is brought to its end; a restore that was killed first is. Removes nothing.
    fn put_back(&self, start: Option<Start>, observer: &dyn Observer) -> Result<ServerUndoReport, OperationError> {
        let nothing = || OperationError::NothingAside { path: self.directory.display().to_string() };
        let mut journal = self.journal()?.map(Journal::last_done).filter(Journal::has_aside).ok_or_else(nothing)?;
        journal.start = start.unwrap_or(journal.start);
        if journal.state == State::Exchanging {
            journal.exchange(&self.directory, observer)?;
        }
        if !(journal.is_undo && journal.is_placed()) {
            let names: Vec<_> = journal.entries.iter().rev().map(|entry| entry.name.clone()).collect();
            journal.entries = exchanges::look(&self.directory, &self.directory.join(&journal.aside), names)?;
            journal.is_undo = !journal.is_undo;
            journal.state = State::Exchanging;
            journal.write(&self.directory)?;
            journal.exchange(&self.directory, observer)?;
        }
        Ok(self.report(&journal))
    }

    fn report(&self, journal: &Journal) -> ServerUndoReport {
        let aside = self.directory.join(&journal.aside);
        ServerUndoReport { directory: self.directory.clone(), aside, is_old: journal.is_undo, serves: None }
    }
}
