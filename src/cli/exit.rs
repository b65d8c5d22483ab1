//! What the program's exit code says.

use std::fmt;
use std::process::ExitCode;

use crate::operations::OperationError;
use crate::redis::RedisError;
use crate::repository::RepositoryError;
use crate::store::{StoreError, Trouble};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// All of it was done.
    Done = 0,
    /// It failed; nothing was committed.
    Failed = 1,
    /// It was asked for wrongly.
    Usage = 2,
    /// It was done, with losses or warnings that were named.
    Warnings = 3,
    /// Damage was found.
    Damage = 4,
    /// The repository, or the directory that is restored to, is held or busy.
    Busy = 5,
    /// There is no repository.
    NoRepository = 6,
    /// Wrong password or key file.
    WrongSecret = 7,
    /// The asked moment cannot be restored.
    NoMoment = 8,
    /// A Redis server uses what was to be captured or replaced, or refused.
    Server = 9,
    /// The user stopped it.
    Interrupted = 130,
}

/// The same table, for people.
pub(crate) const TABLE: &str = "\
Exit codes:
    0  all of it was done
    1  failed; nothing was committed
    2  wrong usage
    3  done, with losses or warnings that name what is missing or suspect
    4  damage found
    5  the repository, or what is restored into, is held or busy
    6  no repository there
    7  wrong password or key file
    8  the moment cannot be restored; the nearest ones that can are named
    9  a server refuses, cannot be reached, or is not in a state that can be
       captured or replaced
  130  interrupted
";

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// Arguments that parse but cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct UsageError {
    /// What is wrong with them.
    pub what: String,
    /// What to write instead.
    pub hint: String,
}

/// Another process of this host is at the same work.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct BusyError {
    /// Who does what.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// The user stopped a question, or the program before anything was begun.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Stopped;

/// An error for which more can be done than its kind tells.
#[derive(Debug)]
pub(crate) struct Hinted {
    error: anyhow::Error,
    /// What to do about it.
    pub hint: String,
}

impl Hinted {
    pub fn new(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> Hinted {
        Hinted { error: error.into(), hint: hint.into() }
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Something that was tried beforehand and failed, with the code that it would have ended with.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct TrialError {
    /// What failed.
    pub what: String,
    /// What to do about it.
    pub hint: String,
    /// The code.
    pub code: u8,
}

impl Code {
    /// The code of a number, as another run of this program gave it.
    pub fn of_number(number: u8) -> Code {
        use Code::{
            Busy, Damage, Done, Failed, Interrupted, NoMoment, NoRepository, Server, Usage, Warnings, WrongSecret,
        };
        let all =
            [Done, Failed, Usage, Warnings, Damage, Busy, NoRepository, WrongSecret, NoMoment, Server, Interrupted];
        all.into_iter().find(|code| *code as u8 == number).unwrap_or(Failed)
    }

    /// The worse of two ends. What failed for a while is better than what stays so, and damage is worse than both.
    pub fn worse(self, other: Code) -> Code {
        match self.rank() < other.rank() {
            true => other,
            false => self,
        }
    }

    fn rank(self) -> u8 {
        match self {
            Code::Done => 0,
            Code::Warnings => 1,
            Code::Busy => 2,
            Code::NoMoment => 3,
            Code::Server => 4,
            Code::Usage => 5,
            Code::NoRepository => 6,
            Code::WrongSecret => 7,
            Code::Failed => 8,
            Code::Damage => 9,
            Code::Interrupted => 10,
        }
    }

    /// Whether what was asked for was done, perhaps with warnings.
    pub fn is_success(self) -> bool {
        matches!(self, Code::Done | Code::Warnings)
    }

    /// The code that tells scripts what went wrong.
    pub fn of(error: &anyhow::Error) -> Code {
        if error.is::<UsageError>() {
            Code::Usage
        } else if let Some(tried) = error.downcast_ref::<TrialError>() {
            Code::of_number(tried.code)
        } else if error.is::<BusyError>() {
            Code::Busy
        } else if error.is::<Stopped>() {
            Code::Interrupted
        } else if let Some(hinted) = error.downcast_ref::<Hinted>() {
            Code::of(&hinted.error)
        } else if let Some(error) = error.downcast_ref() {
            of_operation(error)
        } else if let Some(error) = error.downcast_ref() {
            of_repository(error)
        } else if let Some(error) = error.downcast_ref() {
            of_store(error)
        } else {
            Code::Failed
        }
    }
}

fn of_operation(error: &OperationError) -> Code {
    match error {
        OperationError::Repository(error) => of_repository(error),
        OperationError::NoRoom { .. } => Code::Failed,
        OperationError::Busy { .. } => Code::Busy,
        OperationError::Refused { .. } | OperationError::Ambiguous { .. } => Code::Usage,
        OperationError::NoMoment { .. }
        | OperationError::Unreachable { .. }
        | OperationError::NotThere { .. }
        | OperationError::NoCommand { .. } => Code::NoMoment,
        OperationError::InUse { .. } => Code::Server,
        OperationError::WrongBytes { .. } | OperationError::LostSnapshot { .. } | OperationError::Lacking { .. } => {
            Code::Damage
        }
        OperationError::Redis(error) => of_redis(error),
        OperationError::NoSnapshot { .. }
        | OperationError::Unfit { .. }
        | OperationError::Forgotten { .. }
        | OperationError::NotWhole { .. }
        | OperationError::Target { .. }
        | OperationError::NothingAside { .. } => Code::Failed,
    }
}

fn of_redis(error: &RedisError) -> Code {
    match error {
        RedisError::Unsettled { .. }
        | RedisError::Connection { .. }
        | RedisError::Login { .. }
        | RedisError::Answer { .. }
        | RedisError::NotLoaded { .. }
        | RedisError::OutOfReach { .. }
        | RedisError::Server { .. } => Code::Server,
        RedisError::Interrupted | RedisError::Stopped { .. } => Code::Interrupted,
        RedisError::Pattern { .. } | RedisError::Address { .. } => Code::Usage,
        RedisError::Directory { .. }
        | RedisError::Denied { .. }
        | RedisError::Descriptors { .. }
        | RedisError::Io { .. }
        | RedisError::NotAFile { .. }
        | RedisError::MissingAofFile { .. }
        | RedisError::Scratch(_)
        | RedisError::Sink(_) => Code::Failed,
    }
}

fn of_repository(error: &RepositoryError) -> Code {
    match error {
        RepositoryError::NoRepository { .. } => Code::NoRepository,
        RepositoryError::InFile { source, .. } => of_repository(source),
        RepositoryError::WrongSecret { .. } => Code::WrongSecret,
        RepositoryError::Damaged { .. } | RepositoryError::UnknownChunk { .. } | RepositoryError::NotWhole { .. } => {
            Code::Damage
        }
        RepositoryError::Fenced | RepositoryError::CatalogChanged | RepositoryError::Rotating(_) => Code::Busy,
        RepositoryError::Interrupted => Code::Interrupted,
        RepositoryError::Slot(_) => Code::Usage,
        RepositoryError::Store(error) => of_store(error),
        RepositoryError::AlreadyThere { .. }
        | RepositoryError::OtherRepository { .. }
        | RepositoryError::OtherDraft { .. }
        | RepositoryError::NeedsNewer { .. }
        | RepositoryError::Scratch(_)
        | RepositoryError::Limit(_)
        | RepositoryError::CannotDerive(_)
        | RepositoryError::Local { .. }
        | RepositoryError::Sink(_) => Code::Failed,
    }
}

fn of_store(error: &StoreError) -> Code {
    match error {
        // What cannot be written as a location is refused before a store is opened: this one is not there.
        StoreError::Location { .. } => Code::NoRepository,
        StoreError::Unset { .. } => Code::Usage,
        StoreError::Service { trouble: Trouble::Throttled | Trouble::Undecided, .. } => Code::Busy,
        StoreError::Service { trouble: Trouble::Stopped, .. } => Code::Interrupted,
        StoreError::NotFound { .. }
        | StoreError::Exists { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Range { .. }
        | StoreError::Full { .. }
        | StoreError::Denied { .. }
        | StoreError::Unsupported { .. }
        | StoreError::Io { .. }
        | StoreError::Service { .. }
        | StoreError::Name(_) => Code::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::object::SnapshotName;
    use crate::format::{ChunkId, Id16, UnixMillis};
    use crate::repository::Fault;

    fn code(error: impl Into<anyhow::Error>) -> u8 {
        Code::of(&error.into()) as u8
    }

    fn text() -> String {
        "x".into()
    }

    fn repository(error: RepositoryError) -> u8 {
        let direct = format!("{error}");
        let code_of = code(OperationError::from(error));
        assert!(!direct.is_empty());
        code_of
    }

    #[test]
    fn of_two_ends_the_worse_one_counts() {
        assert_eq!(Code::Done.worse(Code::Warnings), Code::Warnings);
        assert_eq!(Code::Damage.worse(Code::Failed), Code::Damage);
        assert_eq!(Code::Busy.worse(Code::Failed), Code::Failed);
        assert_eq!(Code::Interrupted.worse(Code::Damage), Code::Interrupted);
    }

    #[test]
    fn failures_without_a_code_of_their_own_end_with_1() {
        assert_eq!(code(anyhow::anyhow!("x")), 1);
        assert_eq!(code(OperationError::NothingAside { path: text() }), 1);
        assert_eq!(code(OperationError::NoSnapshot { what: text() }), 1);
        let source = RepositoryError::UnknownChunk { chunk: ChunkId([0; 16]) };
        assert_eq!(code(OperationError::NotWhole { snapshot: Id16([0; 16]), is_forgotten: false, source }), 1);
        assert_eq!(repository(RepositoryError::AlreadyThere { location: text() }), 1);
        assert_eq!(repository(RepositoryError::Limit(text())), 1);
    }

    #[test]
    fn wrong_usage_and_refusals_end_with_2() {
        assert_eq!(code(UsageError { what: text(), hint: text() }), 2);
        assert_eq!(code(OperationError::Refused { what: text(), hint: text() }), 2);
        assert_eq!(code(OperationError::Ambiguous { what: text() }), 2);
        assert_eq!(repository(RepositoryError::Slot(text())), 2);
    }

    #[test]
    fn damage_ends_with_4() {
        assert_eq!(repository(RepositoryError::damaged("x", Fault::Missing)), 4);
        assert_eq!(repository(RepositoryError::UnknownChunk { chunk: ChunkId([0; 16]) }), 4);
        assert_eq!(code(OperationError::WrongBytes { path: text() }), 4);
        let alarm = crate::repository::Alarm::Rollback { missing: text() };
        assert_eq!(code(OperationError::LostSnapshot { alarm: alarm.clone() }), 4);
        assert_eq!(code(OperationError::Lacking { alarms: vec![alarm] }), 4);
    }

    #[test]
    fn a_session_given_up_by_a_sweep_ends_with_5() {
        assert_eq!(repository(RepositoryError::Fenced), 5);
        assert_eq!(repository(RepositoryError::Rotating(text())), 5);
    }

    #[test]
    fn no_repository_ends_with_6() {
        assert_eq!(repository(RepositoryError::NoRepository { location: text() }), 6);
        assert_eq!(code(StoreError::Location { location: text(), problem: "x", hint: "x" }), 6);
    }

    #[test]
    fn a_wrong_password_ends_with_7() {
        assert_eq!(repository(RepositoryError::WrongSecret { location: text() }), 7);
    }

    #[test]
    fn a_moment_that_cannot_be_restored_ends_with_8() {
        let tag = crate::format::ids::DatasetTag([0; 8]);
        let oldest = SnapshotName { tag, place: 1, sequence: 1, time: UnixMillis(0), session: Id16([0; 16]) };
        assert_eq!(code(OperationError::NoMoment { oldest }), 8);
        let at = UnixMillis(0);
        assert_eq!(
            code(OperationError::Unreachable { at, why: text(), before: None, after: None, is_damaged: false }),
            8
        );
        assert_eq!(code(OperationError::NotThere { why: text() }), 8);
    }

    #[test]
    fn a_server_in_the_way_ends_with_9() {
        assert_eq!(code(OperationError::InUse { what: text(), hint: text() }), 9);
        assert_eq!(code(OperationError::Busy { what: text(), hint: text() }), 5);
        assert_eq!(code(OperationError::NoRoom { what: text(), hint: text() }), 1);
        let unsettled = RedisError::Unsettled { path: "x".into(), attempts: 1, seconds: 1 };
        assert_eq!(code(OperationError::from(unsettled)), 9);
        let login = RedisError::Login { address: text(), message: text(), hint: text() };
        assert_eq!(code(OperationError::from(login)), 9);
    }

    #[test]
    fn an_interruption_ends_with_130() {
        assert_eq!(repository(RepositoryError::Interrupted), 130);
        assert_eq!(code(OperationError::from(RedisError::Interrupted)), 130);
        assert_eq!(code(Stopped), 130);
    }

    #[test]
    fn an_error_with_a_hint_of_its_own_keeps_its_code_and_its_causes() {
        let error = anyhow::anyhow!("cause").context("what");
        let error = anyhow::Error::new(Hinted::new(error, "hint"));
        assert_eq!(format!("{error:#}"), "what: cause");
        let error = OperationError::NoSnapshot { what: text() };
        assert_eq!(code(Hinted::new(error, "hint")), 1);
        assert_eq!(code(Hinted::new(RepositoryError::WrongSecret { location: text() }, "hint")), 7);
    }

    #[test]
    fn an_error_with_context_keeps_its_code() {
        let error = anyhow::Error::new(UsageError { what: text(), hint: text() }).context("while testing");
        assert_eq!(Code::of(&error), Code::Usage);
    }

    #[test]
    fn the_table_names_every_code() {
        let codes = [
            Code::Done,
            Code::Failed,
            Code::Usage,
            Code::Warnings,
            Code::Damage,
            Code::Busy,
            Code::NoRepository,
            Code::WrongSecret,
            Code::NoMoment,
            Code::Server,
            Code::Interrupted,
        ];
        let named: Vec<u8> = TABLE.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(named, codes.map(|code| code as u8));
    }
}
