//! Commands of the user that run around a backup.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::Observer;

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is told of a command that failed quietly, in bytes.
const TOLD: u64 = 64 << 10;

/// Variables that hold secrets of redkeep. The other ones that redkeep reads stay: a hook may well call it.
const SECRETS: [&str; 6] = [
    "REDKEEP_PASSWORD",
    "REDKEEP_NEW_PASSWORD",
    "REDKEEP_PASSWORD_COMMAND",
    "REDKEEP_TO_PASSWORD",
    "REDKEEP_TO_PASSWORD_COMMAND",
    "REDISCLI_AUTH",
];

/// Why a command of the user did not do its part. The command itself is not in it: it may hold a secret.
#[derive(Debug)]
pub enum HookError {
    /// It could not be run at all.
    Unable(io::Error),
    /// It ended so.
    Ended(ExitStatus),
    /// The user asked to stop while it ran.
    Interrupted,
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookError::Unable(error) => write!(f, "cannot be run: {error}"),
            HookError::Ended(status) => write!(f, "failed: {status}"),
            HookError::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// Runs a command by the shell and waits for its end. What it prints goes to standard error, as standard output carries
/// results; with `is_quiet` only when it fails, the first 64 KiB. It reads nothing. When the user asks to stop it is
/// ended with all that it started.
pub fn run(
    command: &str,
    variables: &[(&str, String)],
    is_quiet: bool,
    observer: &dyn Observer,
) -> Result<(), HookError> {
    let kept = is_quiet.then(tempfile::tempfile).transpose().map_err(HookError::Unable)?;
    let stderr = || Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?));
    let output = || kept.as_ref().map_or_else(stderr, File::try_clone).map_err(HookError::Unable);
    let mut shell = Command::new("/bin/sh");
    for name in SECRETS {
        shell.env_remove(name);
    }
    shell.arg("-c").arg(command).envs(variables.iter().map(|(name, value)| (name, value)));
    let shell = shell.stdin(Stdio::null()).stdout(output()?).stderr(output()?).process_group(0);
    let ended = wait(shell.spawn().map_err(HookError::Unable)?, observer);
    if let (Err(_), Some(mut kept)) = (&ended, kept) {
        // The error is told in any case.
        let _ = kept.rewind().and_then(|()| io::copy(&mut kept.take(TOLD), &mut stderr()?));
    }
    ended
}

fn wait(mut child: Child, observer: &dyn Observer) -> Result<(), HookError> {
    loop {
        match child.try_wait().map_err(HookError::Unable)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(HookError::Ended(status)),
            None if observer.interrupted() => return Err(end(child)),
            None => thread::sleep(LOOK),
        }
    }
}

fn end(mut child: Child) -> HookError {
    // It may have ended meanwhile, which is as good.
    let _ = kill_process_group(Pid::from_child(&child), Signal::TERM);
    match child.wait() {
        Ok(_) => HookError::Interrupted,
        Err(error) => HookError::Unable(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::operations::Silent;

    #[test]
    fn a_command_is_told_what_happened_and_its_end_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("said");
        let variables = [("REDKEEP_PROFILE", "daily".to_string()), ("OUT", path.display().to_string())];
        run("printf %s \"$REDKEEP_PROFILE\" > \"$OUT\"", &variables, false, &Silent).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "daily");
        let error = run("exit 7", &variables, false, &Silent).unwrap_err();
        assert_eq!(error.to_string(), "failed: exit status: 7");
    }

    struct Impatient;

    impl Observer for Impatient {
        fn begin(&self, _: &str, _: Option<u64>) {}
        fn advance(&self, _: u64) {}
        fn interrupted(&self) -> bool {
            true
        }
    }

    #[test]
    fn a_command_is_ended_with_its_children_when_the_user_stops() {
        let begin = Instant::now();
        let error = run("sleep 600 & wait", &[], false, &Impatient).unwrap_err();
        assert!(matches!(error, HookError::Interrupted), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(300));
    }
}
