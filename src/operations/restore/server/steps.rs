//! The steps that change something: the new files are made ready, the server is stopped, the files change places.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use super::elsewhere::{Ground, Locked, is_mounted};
use super::exchanges::inside;
use super::journal::{Entry, Journal, State};
use super::place::started_again;
use super::plan::{Plan, Way};
use super::quiet::{Writes, save_old};
use super::source::{Expected, Source};
use super::target::{Target, refuse_suspect};
use super::{Consent, Options, Place, arrange, preflight, scratch};
use crate::format::snapshot::File;
use crate::held::Held;
use crate::operations::restore::beside::{MOUNTED, NEW_PLACE, exchange, make, rename_new};
use crate::operations::restore::stage::Staging;
use crate::operations::restore::{Cut, Goal, Needs, cut_held};
use crate::operations::second_look::second_look;
use crate::operations::{Observer, OperationError};
use crate::redis::RedisError;
use crate::redis::host::{Stop, Stopping};
use crate::redis::server::Server;
use crate::repository::Repository;

/// What was made ready in the staging directory.
pub(super) struct Prepared {
    pub expected: Expected,
    pub cut: Option<Cut>,
    pub made_good: Vec<String>,
    /// The staging directory, and in it what takes the place of the old files.
    pub staging: Held,
    pub new: Held,
}

/// In the staging directory: files as the snapshot has them, files as the server wants them, a scratch server's.
pub(super) const FILES: &str = "files";
pub(super) const NEW: &str = "new";
pub(super) const WORK: &str = "work";

impl Place {
    /// Makes the new files ready, while the server goes on.
    pub fn prepare(
        &self,
        repository: &Repository,
        source: &Source,
        (server, target): (&mut Server, &Target),
        plan: &Plan,
        options: &Options,
        observer: &dyn Observer,
    ) -> Result<Prepared, OperationError> {
        let stage = self.stage();
        stage.remove(&stage.staging())?;
        target.refuse_full_disk(stage.parent(), plan.way.bytes(source.bytes()))?;
        // Whoever may not read the server's files shall not read these, and whoever owns the directory around them shall
        // not change them before they are in place.
        let staging = stage.make(&stage.staging())?;
        let made = self.prepare_in(&staging, (repository, source), (server, target), plan, options, observer);
        made.inspect_err(|_| vanish(&staging))
    }

    fn prepare_in(
        &self,
        staging: &Held,
        (repository, source): (&Repository, &Source),
        (server, target): (&mut Server, &Target),
        plan: &Plan,
        options: &Options,
        observer: &dyn Observer,
    ) -> Result<Prepared, OperationError> {
        self.probe(staging, plan)?;
        let fetched = || fetch(repository, source, staging, target, observer);
        let (files, made_good) = second_look(repository, |_| true, fetched)?;
        let cut = options.goal.as_ref().map(|goal| cut_back(source, &files, goal, observer)).transpose()?;
        if let Some(cut) = cut.as_ref().filter(|_| !options.consents.contains(&Consent::Suspect)) {
            refuse_uncut(source, &files, cut)?;
        }
        let mut needs = Needs::default();
        if !source.is_known_by_facts() {
            observer.begin("looking at what the files need", None);
            needs = Needs::of_files(&files.reached(), &source.files.iter().collect::<Vec<_>>(), observer)?;
            preflight::by_needs(&needs, plan.way, target, server, options)?;
        }
        let new = make(staging, OsStr::new(NEW), 0o700)?;
        observer.begin("naming the files as the server does", None);
        let staged = scratch::Staged { staging, files: &files, new: &new, needs: &needs };
        let expected = match plan.way {
            Way::Scratch | Way::Classic => scratch::convert(plan.way, source, target, options, &staged, observer)?,
            way => {
                arrange::arrange(way, source, &target.names, &files, &new)?;
                source.expected.clone()
            }
        };
        match self.elsewhere.as_ref().filter(|locked| locked.elsewhere.is_main) {
            None => {
                let main = plan.entries.first().map(OsString::as_os_str).unwrap_or_default();
                arrange::dress(&new, target.owner, &target.held, main)?;
            }
            Some(Locked { elsewhere, held, .. }) => {
                elsewhere.lay_out(&target.names, &new, held)?;
                arrange::dress(&new, target.owner, held, &elsewhere.manifest())?;
            }
        }
        Ok(Prepared { expected, cut, made_good, staging: staging.clone(), new })
    }

    /// Tries what will be done once the server is stopped.
    fn probe(&self, staging: &Held, plan: &Plan) -> Result<(), OperationError> {
        let (one, other) = (OsStr::new(FILES), OsStr::new(NEW));
        for name in [one, other] {
            make(staging, name, 0o700)?;
        }
        exchange((staging, one), (staging, other), self.held.path())?;
        for name in [one, other] {
            let removed = staging.remove_directory(name);
            removed.map_err(|error| OperationError::target("remove", &staging.path_of(name), error))?;
        }
        let elsewhere = self.elsewhere.as_ref().map(|locked| &locked.elsewhere.name);
        for name in plan.entries.iter().filter(|name| Some(*name) != elsewhere) {
            let seen = self.held.look(name);
            let seen = seen.map_err(|error| OperationError::target("look at", &self.held.path_of(name), error))?;
            if seen.is_some_and(|seen| !seen.is_link() && is_mounted(&self.held, name, &seen)) {
                let what = format!("{} {MOUNTED}", self.held.path_of(name).display());
                return Err(OperationError::Refused { what, hint: NEW_PLACE.into() });
            }
        }
        Ok(())
    }

    /// Stops the server and exchanges its files. An error before the exchange starts it again as it was.
    pub fn replace(
        &self,
        server: Option<Server>,
        target: &Target,
        plan: &Plan,
        restored: Restored<'_>,
        options: &Options,
        observer: &dyn Observer,
    ) -> Result<(), OperationError> {
        let staging = restored.staging;
        let mut journal = self.new_journal(plan, target, restored, options)?;
        let was_running = server.is_some();
        if let Some(mut server) = server {
            let writes = save_old(&mut server, target, options, observer)?;
            self.journals.write(&journal).inspect_err(|_| writes.release(&mut server))?;
            self.stop(&mut server, target, writes, observer)?;
        }
        let swapped = self.refuse_users(options).and_then(|()| self.exchange_new(&mut journal, staging, observer));
        let Err(error) = swapped else { return Ok(()) };
        let is_old = journal.state == State::Stopping || !journal.is_in_place(&self.held).unwrap_or(true);
        if !is_old {
            return Err(self.explain(error));
        }
        // The old data are where they were, and nobody is to load them who did not before.
        if !was_running {
            return Err(error);
        }
        match target.host.start.run() {
            Ok(_) if journal.state == State::Stopping => {
                self.journals.forget_stopping(&self.site)?;
                Err(started_again(error))
            }
            // What was to be exchanged stays, and the next restore clears it away.
            Ok(_) => Err(started_again(error)),
            Err(_) => Err(self.explain(error)),
        }
    }

    /// Stops the server. Where that fails and it goes on, nothing was done; where it may still end, the journal stays, by
    /// which it is started again.
    pub fn stop(
        &self,
        server: &mut Server,
        target: &Target,
        writes: Writes,
        observer: &dyn Observer,
    ) -> Result<(), OperationError> {
        observer.begin("stopping the server", None);
        let mut host = target.host.clone();
        if writes == Writes::Answered && host.stop == Stop::Shutdown {
            host.stop = Stop::ShutdownSaving;
        }
        let (mut waiting, mut held) = (Waiting::new(observer, host.patience), Duration::ZERO);
        let stopped = host.stop(server, &mut |server, time| {
            let (process, most) = (host.process.id, host.patience.as_secs());
            waiting.tell(time, &format!("the server, process {process}, has not ended yet: {most} s at most"));
            writes.hold_on(server, time, &mut held);
            !observer.interrupted()
        });
        match stopped {
            Ok(()) => Ok(()),
            Err(Stopping::Refused(error)) => {
                writes.release(server);
                self.journals.forget_stopping(&self.site)?;
                Err(error.into())
            }
            Err(Stopping::Unsure(error)) => {
                writes.release(server);
                Err(self.explain(error.into()))
            }
        }
    }

    fn new_journal(
        &self,
        plan: &Plan,
        target: &Target,
        restored: Restored<'_>,
        options: &Options,
    ) -> Result<Journal, OperationError> {
        let seen = restored.new.seen();
        let seen = seen.map_err(|error| OperationError::target("look at", restored.new.path(), error))?;
        let time = self.unused_time(None)?;
        let entry = |name: &OsString| Entry { name: name.clone(), here: None, there: None };
        Ok(Journal {
            site: self.site.clone(),
            server: options.address.to_string(),
            state: State::Stopping,
            snapshot: restored.snapshot.into(),
            is_undo: false,
            by_undo: false,
            other: self.beside.swap(&time, seen.inode()),
            aside: self.beside.aside(&time),
            owner: target.owner,
            // They are looked at when the server is stopped.
            entries: plan.entries.iter().map(entry).collect(),
            elsewhere: self.elsewhere.as_ref().map(|locked| locked.elsewhere.clone()),
            placed: Vec::new(),
            kept: Vec::new(),
            start: Some(target.host.start.clone()),
            carried: restored.carried,
            before: None,
        })
    }

    /// With the server stopped: the new files get a name of their own, and then change places with the old.
    fn exchange_new(
        &self,
        journal: &mut Journal,
        staging: &Held,
        observer: &dyn Observer,
    ) -> Result<(), OperationError> {
        let ground = Ground::of(journal, &self.held)?;
        rename_new(staging, OsStr::new(NEW), self.stage().parent(), &journal.other)?;
        for directory in ground.directories() {
            if inside(directory, &journal.other)?.is_none() {
                make(directory, &journal.other, 0o700)?;
            }
        }
        // What the server may have saved while it was stopped counts as what stood there.
        journal.entries = ground.look(&journal.other, journal.names())?;
        journal.state = State::Exchanging;
        self.journals.write(journal)?;
        self.exchange(journal, observer)?;
        // One that somebody started meanwhile may have loaded the old data, and would never see the new.
        self.refuse_users_of().map_err(|error| RedisError::Server {
            what: format!("{error}: started while its data were replaced, it may hold the old ones in memory"),
            hint: "what starts it has to be kept from it: say how with --stop-command; then run the same command again"
                .into(),
        })?;
        self.stage().remove(&self.stage().staging())?;
        vanish(staging);
        Ok(())
    }

    /// A server that answers again was started by somebody else than us, or was never the one that was stopped.
    fn refuse_users(&self, options: &Options) -> Result<(), OperationError> {
        self.refuse_users_of()?;
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
}

/// Whoever owns the directory around it may have moved it: then it is not found under its name, and is removed all the same.
pub(super) fn vanish(staging: &Held) {
    // What cannot be removed is his who put it there, or is found by the next restore.
    let _ = staging.vanish();
}

/// Tells a person who waits what for.
pub(super) struct Waiting<'a> {
    observer: &'a dyn Observer,
    next: Duration,
}

impl<'a> Waiting<'a> {
    /// After how long the first word comes at the latest; each later one takes twice as long.
    const FIRST: Duration = Duration::from_secs(10);

    /// From now on, for so long at most.
    pub fn new(observer: &'a dyn Observer, most: Duration) -> Waiting<'a> {
        Waiting { observer, next: Self::FIRST.min(most / 2) }
    }

    /// Says what is waited for, and for how long it has been, not too often.
    pub fn tell(&mut self, time: Duration, what: &str) {
        if time >= self.next {
            self.next = time.saturating_mul(2);
            self.observer.remark(&format!("{what}; {} s so far", time.as_secs()));
        }
    }
}

/// What a journal has to know of a restore.
pub(super) struct Restored<'a> {
    /// What it is known by.
    pub snapshot: &'a str,
    /// What an undo puts back, where that is not what is replaced.
    pub carried: Option<OsString>,
    /// The staging directory, and in it the new files.
    pub staging: &'a Held,
    pub new: &'a Held,
}

/// Cuts the AOF in the directory `files`, in which its files stand under their names.
fn cut_back(source: &Source, files: &Held, goal: &Goal, observer: &dyn Observer) -> Result<Cut, OperationError> {
    let all: Vec<&File> = source.files.iter().collect();
    cut_held(files, &all, &goal.by_name(), observer)
}

/// Refuses what is suspect and still there: what was cut was read again, and is whole.
fn refuse_uncut(source: &Source, files: &Held, cut: &Cut) -> Result<(), OperationError> {
    for file in source.files.iter().filter(|file| file.path[..] != cut.path[..]) {
        let name = OsStr::from_bytes(&file.path);
        let seen = files.look(name).map_err(|error| OperationError::target("look at", &files.path_of(name), error))?;
        if seen.is_some() {
            refuse_suspect(file)?;
        }
    }
    Ok(())
}

/// Writes the files of the dataset to a directory, for the caller only, and compares them.
fn fetch(
    repository: &Repository,
    source: &Source,
    staging: &Held,
    target: &Target,
    observer: &dyn Observer,
) -> Result<(Held, Vec<String>), OperationError> {
    let name = OsStr::new(FILES);
    staging.remove(name).map_err(|error| OperationError::target("remove", &staging.path_of(name), error))?;
    let (uid, gid) = target.owner;
    let files: Vec<File> = source.files.iter().map(|file| File { mode: 0o600, uid, gid, ..file.clone() }).collect();
    let files_staging = Staging::create_at(staging, name)?;
    // Owners are set, and told, when the files have their names.
    let (made_good, _unset) = files_staging.fill(repository, &files.iter().collect::<Vec<_>>(), observer)?;
    Ok((files_staging.keep(), made_good))
}
