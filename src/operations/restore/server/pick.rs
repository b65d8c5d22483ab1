//! An undo to what an earlier restore replaced: one of all that is kept aside, as a person picked it.

use std::ffi::OsString;
use std::path::PathBuf;

use super::elsewhere::Ground;
use super::exchanges::inode;
use super::journal::{Journal, Journals, State};
use super::reach;
use super::target::Target;
use super::undo::ServerUndoReport;
use super::{Options, Place};
use crate::format::UnixMillis;
use crate::held::Held;
use crate::operations::restore::place::nothing_aside;
use crate::operations::{Observer, OperationError};
use crate::redis::RedisError;
use crate::redis::server::Server;

/// In a journal in place of a snapshot: what is put back was picked.
pub(super) const PICKED: &str = "picked";

/// The directory in which the server works, or would: what is kept aside is in it. Changes nothing.
pub fn directory_of(options: &Options) -> Result<PathBuf, OperationError> {
    let (options, stopped) = reach::settle(options)?;
    if let Some(stopped) = stopped {
        return Ok(stopped.directory);
    }
    match Server::connect(&options.address) {
        Ok(mut server) => Ok(Target::ask(&mut server, None, &options)?.directory),
        Err(error @ RedisError::Connection { .. }) => {
            let journals = Journals::existing(options.state.as_deref())?;
            let sites = journals.map(|journals| journals.sites(&options.address.to_string())).transpose()?;
            let site = sites.unwrap_or_default().into_iter().next();
            site.map(|site| site.path).ok_or_else(|| reach::not_there(error).into())
        }
        Err(error) => Err(error.into()),
    }
}

impl Place {
    /// Whether what is picked was set aside in this directory by nobody, but may have been beside it.
    pub fn leaves_to_others(&self, to: Option<UnixMillis>) -> Result<bool, OperationError> {
        let is_killed = self.journal()?.is_some_and(|journal| journal.state != State::Done);
        Ok(to.is_some() && !is_killed && self.beside.aside_of(to)?.is_none())
    }

    /// What an undo would do, or why it would not.
    pub fn would_put_back(
        &self,
        journal: &Journal,
        to: Option<UnixMillis>,
        appendonly: Option<bool>,
    ) -> Result<ServerUndoReport, OperationError> {
        let report = ServerUndoReport { is_old: journal.is_undo == journal.is_begun_undo(), ..self.report(journal) };
        let aside =
            || Ok::<_, OperationError>(self.held.path_of(&self.beside.aside(&self.unused_time(Some(journal))?)));
        let Some(to) = to else {
            journal.refuse_gone(&self.held)?;
            return match journal.is_begun_undo() {
                // It is brought to its end.
                true => Ok(ServerUndoReport { from: self.held.path_of(&journal.other), ..report }),
                false => Ok(ServerUndoReport { aside: aside()?, ..report }),
            };
        };
        let Some(name) = self.beside.aside_of(Some(to))? else {
            return match journal.is_undo && journal.is_placed() {
                true => Ok(self.report(journal)),
                false => Err(nothing_aside(self.held.path(), Some(to))),
            };
        };
        self.fitting(journal, &name, appendonly)?;
        Ok(ServerUndoReport {
            from: self.held.path_of(&name),
            aside: aside()?,
            is_old: true,
            is_picked: true,
            ..report
        })
    }

    /// LOCAL-22: exchanges what the server loads, last, and the rest of its files before that with what was picked, and gives
    /// what stood there the latest time. Where that time is gone and an undo was killed, it was that one, and it is done.
    pub fn put_back_picked(
        &self,
        journal: Journal,
        to: UnixMillis,
        appendonly: Option<bool>,
        observer: &dyn Observer,
    ) -> Result<ServerUndoReport, OperationError> {
        let Some(name) = self.beside.aside_of(Some(to))? else {
            return match journal.is_undo && journal.is_placed() {
                true => Ok(self.report(&journal)),
                false => Err(nothing_aside(self.held.path(), Some(to))),
            };
        };
        let picked = self.fitting(&journal, &name, appendonly)?;
        let from = picked.path().to_owned();
        let mut next = Journal {
            entries: Ground::of(&journal, &self.held)?.look(&name, main_last(&journal))?,
            state: State::Exchanging,
            is_undo: true,
            by_undo: true,
            snapshot: PICKED.into(),
            other: name,
            aside: self.beside.aside(&self.unused_time(Some(&journal))?),
            placed: Vec::new(),
            kept: Vec::new(),
            carried: None,
            before: None,
            ..journal
        };
        self.journals.write(&next)?;
        self.exchange(&mut next, observer)?;
        Ok(ServerUndoReport { from, ..self.report(&next) })
    }

    /// What was picked, if the server would load it: with another `appendonly` or other names than then it starts on
    /// something else, or on nothing.
    fn fitting(&self, journal: &Journal, name: &OsString, appendonly: Option<bool>) -> Result<Held, OperationError> {
        let picked = self.held.directory(name);
        let picked = picked.map_err(|error| OperationError::target("open", &self.held.path_of(name), error))?;
        let mut there = Vec::new();
        let (ground, elsewhere) = (Ground::of(journal, &self.held)?, journal.elsewhere.as_ref());
        for top in main_last(journal) {
            let its = elsewhere.filter(|elsewhere| elsewhere.name == top);
            if let Some(elsewhere) = its {
                let manifest = elsewhere.entry(&elsewhere.manifest());
                if let Some((picked, name)) = ground.beside(&manifest, name)?
                    && inode(&picked, name)?.is_some()
                {
                    there.push((top, true));
                }
                continue;
            }
            let name = top;
            let seen = picked.look(&name);
            let seen = seen.map_err(|error| OperationError::target("look at", &picked.path_of(&name), error))?;
            there.extend(seen.map(|seen| (name, seen.is_dir())));
        }
        let main = journal.main().unwrap_or_default();
        let refuse = |what: String| {
            Err(RedisError::Server {
                what,
                hint: "set appendonly and the names of its files as they were then, in its configuration too, and name the \
                       server with --server; or stop it and move the files by hand"
                    .into(),
            }
            .into())
        };
        match there.iter().find(|(name, _)| name == main) {
            None if there.is_empty() => Err(OperationError::Refused {
                what: format!("{} holds none of the server's files: it would start empty", picked.path().display()),
                hint: "look for what was moved or removed, and put it there again; where the server was empty then, FLUSHALL \
                       makes it so"
                    .into(),
            }),
            None => refuse(format!(
                "the server loads {}, and {} has none: it would start without what is put back",
                main.to_string_lossy(),
                picked.path().display()
            )),
            Some((_, is_dir)) if there.len() > 1 && !appendonly.unwrap_or(*is_dir) => refuse(format!(
                "{} holds a dump and an AOF, and the server would load {} alone: which of them it served then is not known",
                picked.path().display(),
                main.to_string_lossy()
            )),
            Some(_) => Ok(picked),
        }
    }
}

/// The names of a journal in the order of an undo.
fn main_last(journal: &Journal) -> Vec<OsString> {
    let mut names = journal.names();
    if !journal.is_undo {
        names.reverse();
    }
    names
}
