//! The data directory of a server while a restore or an undo works in it: its lock, its journal, and how the server is started
//! on what stands there.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::coming::Coming;
use super::elsewhere::Locked;
use super::journal::{self, Journal, Journals, Site, State};
use super::target::Target;
use super::verify::wait_serving;
use super::{Options, steps};
use crate::held::Held;
use crate::operations::restore::beside::{Beside, Lock, spelt};
use crate::operations::{Observer, OperationError};
use crate::redis::RedisError;
use crate::redis::host::{Ended, Start, Started};
use crate::redis::server::Server;
use crate::repository::one_line;

/// The data directory of a server, locked for one restore or undo.
pub(super) struct Place {
    pub held: Held,
    pub site: Site,
    pub beside: Beside,
    pub journals: Journals,
    /// Where the AOF's files stand, of a restore into a server that has them elsewhere.
    pub elsewhere: Option<Locked>,
    /// What is known of how the server comes up.
    coming: Coming,
    /// The words of a command line that name the server again, where a person named it.
    again: Option<String>,
    _lock: Lock,
}

/// Without a server for so long, what was started has ended.
const ENDED: Duration = Duration::from_secs(3);
/// In the names beside it: `.redkeep-staging-dataset` and so on.
pub(in crate::operations::restore) const DATASET: &str = "dataset";

/// The names in the data directory of a server.
pub(in crate::operations::restore) fn beside(directory: &Held) -> Beside {
    Beside::new(directory.clone(), OsStr::new(DATASET))
}

/// The names beside the AOF's files of a server, where a journal says that they stand elsewhere.
pub(in crate::operations::restore) fn beside_elsewhere(directory: &Held, state: Option<&Path>) -> Option<Beside> {
    let journals = Journals::existing(state).ok().flatten()?;
    let journal = journals.read(&Site::of(directory).ok()?).ok().flatten()?;
    Some(beside(&journal.elsewhere?.again(directory).ok()?))
}

/// What an undo would put back into the directory of a server.
pub(in crate::operations::restore) fn needed_by_undo(directory: &Held, state: Option<&Path>) -> Option<PathBuf> {
    let journals = Journals::existing(state).ok().flatten()?;
    let journal = journals.read(&Site::of(directory).ok()?).ok().flatten()?;
    let journal = match journal.before {
        Some(before) => *before,
        None => journal,
    };
    let is_there = |name: &OsStr| directory.look(name).is_ok_and(|seen| seen.is_some());
    // In the midst of an undo what it puts back has the name yet under which that was set aside.
    let has_begun = journal.state == State::Exchanging && is_there(&journal.other);
    let needed = journal.carried.unwrap_or(if has_begun { journal.other } else { journal.aside });
    Some(directory.path_of(&needed))
}

impl Place {
    pub fn named(self, options: &Options) -> Place {
        Place { again: Some(options.again.clone()), ..self }
    }

    pub fn with(self, elsewhere: Option<Locked>) -> Place {
        Place { elsewhere, ..self }
    }

    /// What a server that is there says of how it comes up again.
    pub fn knowing(self, target: &Target, options: &Options) -> Place {
        Place { coming: Coming::of(target, &options.address), ..self }
    }

    /// What names the server again in a command to copy.
    pub fn again_or(&self, server: &str) -> String {
        self.again.clone().unwrap_or_else(|| format!("--server={server}"))
    }

    pub fn lock(held: &Held, journals: Journals) -> Result<Place, OperationError> {
        let beside = beside(held);
        let lock = beside.lock()?;
        Ok(Place {
            held: held.clone(),
            site: Site::of(held)?,
            beside,
            journals,
            elsewhere: None,
            coming: Coming::default(),
            again: None,
            _lock: lock,
        })
    }

    /// The directory that a journal is of.
    pub fn again(site: &Site, options: &Options) -> Result<Place, OperationError> {
        let held = Held::open(&site.path).map_err(|error| OperationError::target("open", &site.path, error))?;
        match Site::of(&held)?.is(site) {
            true => Place::lock(&held, Journals::open(options.state.as_deref())?).map(|place| place.named(options)),
            false => Err(OperationError::InUse {
                what: format!("{} is not the directory any more that was restored into", site.path.display()),
                hint: "start the server by hand, then restore again".into(),
            }),
        }
    }

    pub fn journal(&self) -> Result<Option<Journal>, OperationError> {
        let journal = self.journals.read(&self.site)?;
        let is_sound = |journal: &Journal| {
            let others = [Some(&journal.other), Some(&journal.aside), journal.carried.as_ref()];
            others.into_iter().flatten().all(|name| self.beside.is_other(name))
        };
        match journal.as_ref().is_none_or(is_sound) {
            true => Ok(journal),
            false => Err(OperationError::Refused {
                what: format!("the journal of {} names what no restore sets aside", self.held.path().display()),
                hint: "look at it in the state directory, below restores".into(),
            }),
        }
    }

    /// Where it fails nothing stays in the staging directory: a server that goes on needs the room.
    pub fn clearing<T>(&self, work: impl FnOnce() -> Result<T, OperationError>) -> Result<T, OperationError> {
        work().inspect_err(|_| {
            // What went wrong is the error that is told; the next restore clears what is left.
            let _ = self.stage().remove(&self.stage().staging());
        })
    }

    /// The names in the directory in which the new files are made: it is that in which they will stand.
    pub fn stage(&self) -> &Beside {
        match &self.elsewhere {
            Some(locked) if locked.elsewhere.is_main => &locked.beside,
            Some(_) | None => &self.beside,
        }
    }

    /// A time for what is set aside, in every directory that it is set aside in.
    pub fn unused_time(&self, journal: Option<&Journal>) -> Result<String, OperationError> {
        let of_journal = journal.and_then(|journal| journal.elsewhere.as_ref());
        let again = of_journal.map(|elsewhere| elsewhere.again(&self.held)).transpose()?;
        let others = self.elsewhere.iter().map(|locked| locked.held.clone()).chain(again);
        let others: Vec<Beside> = others.map(|held| beside(&held)).collect();
        self.beside.unused_time(&others)
    }

    /// Brings the exchanges of an earlier, killed restore or undo to their end.
    pub fn finish(&self, observer: &dyn Observer) -> Result<(), OperationError> {
        match self.journal()? {
            Some(mut journal) if journal.state == State::Exchanging => self.exchange(&mut journal, observer),
            _ => Ok(()),
        }
    }

    /// Makes room beside a running server for a new restore. Of one that was killed after it had replaced something, what it
    /// replaced is told: an undo of the new one puts that back.
    pub fn leave_earlier(&self, observer: &dyn Observer) -> Result<Option<OsString>, OperationError> {
        let Some(journal) = self.journal()? else { return Ok(None) };
        match journal.state {
            State::Stopping => {
                let carried = journal.before.as_ref().and_then(|before| before.unfinished_aside());
                self.journals.forget_stopping(&self.site)?;
                // What was to be put in place may have got its name, and is made anew.
                if journal.other != journal.aside
                    && journal.before.as_ref().is_none_or(|before| before.other != journal.other)
                {
                    journal.remove_new(&self.held)?;
                }
                return Ok(carried);
            }
            State::Done => return Ok(None),
            State::Placed => return Ok(journal.unfinished_aside()),
            State::Exchanging => {}
        }
        if journal.is_in_place(&self.held)? {
            self.finish(observer)?;
            return Ok(self.journal()?.and_then(|journal| journal.unfinished_aside()));
        }
        // What it exchanges with was set aside, and is nobody's to remove.
        if journal.by_undo {
            return Err(RedisError::Server {
                what: "an undo was killed in its midst, and the server was started since".into(),
                hint: format!("bring it to its end first: redkeep undo {} --yes", self.again_or(&journal.server)),
            }
            .into());
        }
        // Nothing was exchanged yet: what was to be is made anew. That it goes is known before it does.
        self.journals.forget_all(&self.site)?;
        journal.remove_new(&self.held)?;
        Ok(journal.carried)
    }

    /// What stood there between a killed restore and this one, which an undo passes over.
    pub fn kept_between(&self) -> Result<Option<String>, OperationError> {
        let Some(journal) = self.journal()? else { return Ok(None) };
        let newest = self.beside.asides()?.pop().filter(|(_, name)| *name != journal.aside);
        Ok(newest.map(|(time, name)| {
            let time = spelt(&time).unwrap_or(time);
            format!(
                "an undo puts back what stood there before the restore that was not finished; what was there since is kept in {}: \
                 `undo --to {time}` puts that back",
                self.held.path_of(&name).display()
            )
        }))
    }

    /// Brings the exchanges of a journal to their end, and marks the directory.
    pub fn exchange(&self, journal: &mut Journal, observer: &dyn Observer) -> Result<(), OperationError> {
        journal::mark(&self.held)?;
        journal.exchange(&self.held, &self.journals, observer)
    }

    /// Refuses when a server works in the directory.
    pub fn refuse_users_of(&self) -> Result<(), OperationError> {
        crate::operations::restore::place::refuse_users_of(self.held.path(), (self.site.device, self.site.inode))
    }

    /// Starts the server as its journal says, unless it runs, and waits until it serves.
    /// `seen`: how it was started, as that was seen while it ran; a journal does not hold all of it.
    pub fn start(
        &self,
        options: &Options,
        seen: Option<&Start>,
        observer: &dyn Observer,
    ) -> Result<Server, OperationError> {
        let journal = self.journal()?;
        let of_start;
        let mut coming = &self.coming;
        let (mut is_process, mut started, mut begin) = (false, Started::default(), 0);
        if let Some(journal) = journal.filter(|_| self.refuse_users_of().is_ok()) {
            observer.begin("starting the server", None);
            // What a person says now counts more than what was known when it was stopped.
            let told = options.commands.start.clone().map(Start::Command);
            if let Some(start) = told.or_else(|| seen.cloned()).or(journal.start) {
                if seen.is_none() {
                    of_start = Coming::of_start(&start, &options.address);
                    coming = &of_start;
                }
                begin = coming.length();
                started = start.run()?;
                is_process = matches!(start, Start::Process(_));
            }
        }
        let (begun, mut waiting) = (Instant::now(), steps::Waiting::new(observer, Duration::MAX));
        let mut seen = Instant::now();
        let mut how: Option<Ended> = None;
        let mut go_on = || match observer.interrupted() {
            false if is_process && self.has_ended(&mut seen, &mut started, &mut how) => {
                let how = how.take().map(|ended| format!(" ({})", ended.what)).unwrap_or_default();
                let directory = self.held.path().display();
                Err(RedisError::Server {
                    what: format!("the server was started and has ended{how}: nothing works in {directory}"),
                    hint: "look at its log".into(),
                })
            }
            false => {
                waiting.tell(begun.elapsed(), "the server is started, and does not serve yet");
                Ok(())
            }
            true => Err(RedisError::Stopped {
                what: "interrupted before the server was seen to serve".into(),
                hint: "it goes on loading".into(),
            }),
        };
        let served = wait_serving(&options.address, &coming.logins, &mut go_on);
        Ok(served.map_err(|error| match (error, coming.said(begin)) {
            (RedisError::Server { what, hint }, Some(said)) => {
                RedisError::Server { what: format!("{what}; it said: {said}"), hint }
            }
            (error, _) => error,
        })?)
    }

    /// Whether no server works in the directory any more, or has for a while: a plain process works there from its
    /// beginning.
    fn has_ended(&self, seen: &mut Instant, started: &mut Started, how: &mut Option<Ended>) -> bool {
        *how = started.ended().or(how.take());
        match self.refuse_users_of() {
            Ok(()) => seen.elapsed() > ENDED || how.as_ref().is_some_and(|ended| ended.is_failure),
            Err(_) => {
                *seen = Instant::now();
                false
            }
        }
    }

    /// The restore is over. Where that cannot be written down, what is in place is told.
    pub fn settle(&self) -> Result<(), OperationError> {
        self.note_done().map_err(|error| self.explain(error))
    }

    fn note_done(&self) -> Result<(), OperationError> {
        if let Some(journal) = self.journal()? {
            // How the server is started may hold a password, and is not needed any more.
            self.journals.write(&Journal { state: State::Done, start: None, ..journal })?;
            self.journals.forget_stopping(&self.site)?;
        }
        journal::mark(&self.held)
    }

    /// The same error, which says which data are in place.
    pub fn explain(&self, error: OperationError) -> OperationError {
        let Some(journal) = self.journal().ok().flatten() else { return error };
        let Ok(standing) = journal.standing(&self.held) else { return error };
        let directory = self.held.path().display();
        let mut hint = error.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
        hint.push_str(&match journal.state {
            State::Stopping => {
                let start = journal.start.as_ref().map(|start| format!(", or start it: {start}")).unwrap_or_default();
                format!("where it is stopped, run the same command again{start}")
            }
            State::Exchanging | State::Placed | State::Done if journal.by_undo => format!(
                "run the same command again, and it goes on: the files stay, and the server is started (where its program \
                 cannot load them, name one that can with --server-binary, beside --server-config, --server-unit or \
                 --server-dir); or go back, while it is stopped: redkeep undo \
                 {directory} ends this undo without a start, and the same once more puts back what it replaced"
            ),
            State::Exchanging | State::Placed | State::Done => format!(
                "run the same command again to finish; or put the old files back and start the server: redkeep undo \
                 {} --yes; or only put them back, while it is stopped: redkeep undo {directory}",
                self.again_or(&journal.server)
            ),
        });
        saying(&error, standing, hint)
    }
}

/// The same error where the server goes on with the old data.
pub(super) fn started_again(error: OperationError) -> OperationError {
    let hint = error.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
    saying(&error, "the server was started again with what it held", format!("{hint}then run the same command again"))
}

/// An error, with its causes, and what came of it.
fn saying(error: &OperationError, more: &str, hint: String) -> OperationError {
    let what = format!("{}; {more}", one_line(error));
    match error {
        OperationError::Redis(RedisError::Stopped { .. } | RedisError::Interrupted) => {
            RedisError::Stopped { what, hint }.into()
        }
        _ => RedisError::Server { what, hint }.into(),
    }
}

impl Journal {
    /// Whether it put this in place, and nothing else since.
    pub fn has_placed(&self, snapshot: &str) -> bool {
        self.state == State::Placed && !self.is_undo && self.snapshot == snapshot
    }

    /// Where the old data are, of a restore that did not come to its end.
    pub fn unfinished_aside(&self) -> Option<OsString> {
        (self.state == State::Placed && !self.is_undo).then(|| self.aside.clone())
    }

    /// Which data a server would load now.
    pub fn standing(&self, directory: &Held) -> Result<&'static str, OperationError> {
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
