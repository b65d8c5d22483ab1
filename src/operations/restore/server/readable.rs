//! What an undo puts back was written by a program that may not be the one of now: whether the server can read it is looked
//! at before anything is touched, as a restore does with its snapshot. Of what cannot be looked at nothing is known.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;

use super::elsewhere::Ground;
use super::exchanges::inside;
use super::journal::{Journal, Journals, Site, State};
use super::target::Target;
use super::undo::ServerUndoReport;
use super::{Options, Place, plan};
use crate::aof::Manifest;
use crate::format::UnixMillis;
use crate::held::Held;
use crate::operations::OperationError;
use crate::rdb::{HEADER_PEEK, Header, read_header};
use crate::redis::RedisError;
use crate::redis::compatibility::ServerVersion;
use crate::redis::host::{Start, Stopped};
use crate::redis::program::{Demands, Program};

/// Bytes of a manifest, far above any.
const MANIFEST: u64 = 1 << 20;

/// Where what an undo puts back stands until then.
enum Standing {
    /// In its place.
    Here,
    /// In a directory beside it.
    Beside(OsString),
}

/// LOCAL-31: refuses a server that cannot read it.
pub(super) fn refuse(demands: Demands, target: &Target, stopped: Option<&Stopped>) -> Result<(), RedisError> {
    let program = stopped.map(|stopped| stopped.program.path.display().to_string());
    let version = stopped.map(|stopped| stopped.program.version).or_else(|| ServerVersion::of(&target.info));
    let what = program.as_deref().unwrap_or("the server");
    let met = version.map_or(Ok(()), |version| demands.must_be_met(version, what));
    met.map_err(|error| match error {
        RedisError::Server { what, hint } if program.is_some() => {
            RedisError::Server { what, hint: format!("{hint}: name that with --server-binary") }
        }
        other => other,
    })
}

impl Place {
    /// What it asks of the server.
    pub fn demands(&self, journal: &Journal, to: Option<UnixMillis>) -> Result<Demands, OperationError> {
        let (ground, standing) = (Ground::of(journal, &self.held)?, self.standing(journal, to)?);
        let Some(main) = journal.main() else { return Ok(Demands::default()) };
        let place = match &standing {
            Standing::Here => Some(self.held.clone()),
            Standing::Beside(name) => inside(&self.held, name)?,
        };
        // What is looked at here may be gone or odd: what is wrong with it others say.
        let header = place.as_ref().and_then(|place| begin(place, main));
        let files = match (&standing, ground.elsewhere(main)) {
            (Standing::Here, Some(held)) => Some(held.clone()),
            (Standing::Beside(name), Some(held)) => inside(held, name)?,
            (_, None) => place.and_then(|place| place.directory(main).ok()),
        };
        let Some(files) = files else { return Ok(Demands { header, multi_part: false }) };
        Ok(Demands { header: base(&files), multi_part: true })
    }

    fn standing(&self, journal: &Journal, to: Option<UnixMillis>) -> Result<Standing, OperationError> {
        if to.is_some()
            && let Some(name) = self.beside.aside_of(to)?
        {
            return Ok(Standing::Beside(name));
        }
        let beside = |name: &OsStr| Standing::Beside(name.to_owned());
        Ok(match (journal.state, journal.by_undo) {
            (State::Placed, true) => Standing::Here,
            // An undo is brought to its end, a restore is, and then undone.
            (State::Exchanging, by_undo) if journal.is_in_place(&self.held)? == by_undo => Standing::Here,
            (State::Exchanging, _) if inside(&self.held, &journal.other)?.is_some() => beside(&journal.other),
            _ => beside(&journal.aside),
        })
    }

    /// The same of a server that an earlier restore or undo left stopped: its program is that of the journal.
    pub fn refuse_unreadable(&self, journal: &Journal, options: &Options) -> Result<(), OperationError> {
        let Some(Start::Process(line)) = journal.start.as_ref().filter(|_| options.commands.start.is_none()) else {
            return Ok(());
        };
        // One that cannot be asked says so when it is started.
        let Ok(program) = Program::at(&line.program) else { return Ok(()) };
        let demands = self.demands(journal, options.to)?;
        Ok(demands.must_be_met(program.version, &program.path.display().to_string())?)
    }

    /// What an undo would do for a server that an earlier restore or undo left stopped.
    pub fn would_undo_stopped(&self, journal: &Journal, options: &Options) -> Result<ServerUndoReport, OperationError> {
        if journal.state == State::Stopping {
            return Err(RedisError::Server {
                what: format!(
                    "an earlier restore or undo was killed when it was about to stop the server in {}: nothing was replaced",
                    self.held.path().display()
                ),
                hint: "without --dry-run it is started, and what was restored before that is undone".into(),
            }
            .into());
        }
        self.refuse_users_of()?;
        self.refuse_unreadable(journal, options)?;
        let told = options.commands.start.clone().map(Start::Command);
        let start = told.or_else(|| journal.start.clone());
        let steps = start.map(|start| plan::change_and_start(&start, journal.is_there_already(), options));
        let report = self.would_put_back(journal, options.to, None)?;
        Ok(ServerUndoReport { steps: steps.unwrap_or_default(), ..report })
    }
}

impl Journals {
    /// Whether an earlier restore put this in place, and nothing was touched since.
    pub fn has_in_place(&self, directory: &Held, snapshot: &str) -> Result<bool, OperationError> {
        match self.read(&Site::of(directory)?)?.filter(|journal| journal.has_placed(snapshot)) {
            Some(journal) => journal.is_untouched(directory),
            None => Ok(false),
        }
    }
}

/// How the base of an AOF begins whose files stand in a directory, where that is an RDB file.
fn base(files: &Held) -> Option<Header> {
    let names = files.names().ok()?;
    let mut manifests = names.iter().filter(|name| name.as_encoded_bytes().ends_with(b".manifest"));
    // A server that has another one beside it may load either.
    let (Some(manifest), None) = (manifests.next(), manifests.next()) else { return None };
    let mut text = Vec::new();
    files.file(manifest).ok()?.take(MANIFEST).read_to_end(&mut text).ok()?;
    let manifest = Manifest::decode(&text).ok()?;
    begin(files, OsStr::from_bytes(&manifest.base()?.name))
}

fn begin(directory: &Held, name: &OsStr) -> Option<Header> {
    let mut first = Vec::new();
    directory.file(name).ok()?.take(HEADER_PEEK as u64).read_to_end(&mut first).ok()?;
    read_header(&first).map(|peek| peek.header)
}
