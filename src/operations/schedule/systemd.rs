//! A service that runs a profile once, and the timer that starts it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::timing::Timing;
use super::{Job, MARK, name};
use crate::operations::OperationError;

/// Where an administrator's units are, below the root.
const DIRECTORY: &str = "etc/systemd/system";

/// Both files of a profile: the service and the timer.
pub(super) fn paths(root: &Path, profile: &str) -> [PathBuf; 2] {
    let of = |kind: &str| root.join(DIRECTORY).join(format!("{}.{kind}", name(profile)));
    [of("service"), of("timer")]
}

/// The link by which a timer is started with the host.
pub(super) fn link(root: &Path, profile: &str) -> PathBuf {
    root.join(DIRECTORY).join("timers.target.wants").join(format!("{}.timer", name(profile)))
}

/// Both files of a job, as `paths` names them.
pub(super) fn texts(job: &Job) -> [String; 2] {
    let words: Vec<String> = job.command.iter().map(|word| quoted(word)).collect();
    let user = if job.user == "root" { String::new() } else { format!("User={}\n", job.user) };
    let profile = &job.profile;
    let service = format!(
        "{MARK}{profile}\n\
         [Unit]\n\
         Description=redkeep run {profile}\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         {user}ExecStart={}\n\
         Nice=10\n\
         IOSchedulingPriority=7\n\
         # A backup that is stopped ends in good order.\n\
         TimeoutStopSec=5min\n\
         {}{}",
        words.join(" ").replace('%', "%%"),
        places(job),
        limits(job)
    );
    let timer = format!(
        "{MARK}{profile}\n\
         [Unit]\n\
         Description=redkeep run {profile}, {}\n\
         \n\
         [Timer]\n\
         OnCalendar={}\n\
         AccuracySec=1min\n\
         # After a time without power it is made up for.\n\
         Persistent=true\n\
         \n\
         [Install]\n\
         WantedBy=timers.target\n",
        job.timing,
        job.timing.calendar()
    );
    [service, timer]
}

/// A cache and a state of its own, made by systemd and given to the user: it need not have a home.
fn places(job: &Job) -> String {
    let user = &job.user;
    let cache = match job.has_cache {
        true => String::new(),
        false => format!(
            "CacheDirectory=redkeep/{user}\nCacheDirectoryMode=0700\nEnvironment=REDKEEP_CACHE_DIR=/var/cache/redkeep/{user}\n"
        ),
    };
    format!(
        "{cache}StateDirectory=redkeep/{user}\nStateDirectoryMode=0700\nEnvironment=REDKEEP_STATE_DIR=/var/lib/redkeep/{user}\n"
    )
}

/// What a backup, a drill and a prune never need. Processes and temporary files stay visible: servers are found by them,
/// and have their sockets there.
const LIMITS: &str = "\
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=read-only
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
";

fn limits(job: &Job) -> String {
    if job.has_commands {
        return "# The profile runs commands of its own, which may need anything: nothing is kept from it.\n".into();
    }
    let writes = |path: &PathBuf| quoted(&format!("-{}", path.display())).replace('%', "%%");
    let paths: Vec<String> = job.writes.iter().map(writes).collect();
    let paths = if paths.is_empty() { String::new() } else { format!("ReadWritePaths={}\n", paths.join(" ")) };
    format!("{LIMITS}{paths}")
}

/// A word as systemd takes it; what it cannot hold was refused.
fn quoted(word: &str) -> String {
    let is_safe = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:,@=%".contains(letter);
    if word.chars().all(is_safe) && !word.is_empty() { word.into() } else { format!("\"{word}\"") }
}

/// When a timer starts a service that runs what.
pub(super) fn read(service: &str, timer: &str) -> (Option<Timing>, Option<String>) {
    let value = |text: &str, key: &str| text.lines().find_map(|line| line.strip_prefix(key).map(String::from));
    let timing = value(timer, "OnCalendar=").and_then(|calendar| Timing::of(&calendar));
    (timing, value(service, "ExecStart=").map(|command| command.replace("%%", "%")))
}

/// Lets systemd read the units before they are put in place. `false`: there is nothing here that could.
pub(super) fn verify(profile: &str, texts: &[String; 2]) -> Result<bool, OperationError> {
    let base = Path::new("/tmp");
    let private = Permissions::from_mode(0o700);
    let made = tempfile::Builder::new().prefix("redkeep-units-").permissions(private).tempdir_in(base);
    let directory = made.map_err(|source| OperationError::target("make a directory in", base, source))?;
    verify_in(directory.path(), profile, texts)
}

fn verify_in(directory: &Path, profile: &str, texts: &[String; 2]) -> Result<bool, OperationError> {
    let files = ["service", "timer"].map(|kind| directory.join(format!("{}.{kind}", name(profile))));
    for (path, text) in files.iter().zip(texts) {
        fs::write(path, text).map_err(|source| OperationError::target("write", path, source))?;
    }
    let output = Command::new("systemd-analyze").arg("verify").args(&files).stdin(Stdio::null()).output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(OperationError::target("run", Path::new("systemd-analyze"), source)),
    };
    if output.status.success() {
        return Ok(true);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    Err(OperationError::Refused {
        what: format!("systemd does not take the units: {}", said.join("; ")),
        hint: "nothing was installed; use --cron to have cron run it".into(),
    })
}

/// Starts the timer with the host from now on.
pub(super) fn enable(root: &Path, profile: &str) -> Result<(), OperationError> {
    let link = link(root, profile);
    let fails = |source: io::Error| OperationError::target("make the link", &link, source);
    if let Some(directory) = link.parent() {
        fs::create_dir_all(directory).map_err(fails)?;
    }
    match symlink(format!("../{}.timer", name(profile)), &link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(fails),
    }
}

/// Asks the running systemd to do something.
pub(super) fn ask(arguments: &[&str]) -> Result<(), OperationError> {
    let fails = |source: io::Error| OperationError::target("run", Path::new("systemctl"), source);
    let output = Command::new("systemctl").args(arguments).stdin(Stdio::null()).output().map_err(fails)?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            Err(fails(io::Error::other(format!("{}: {said}", arguments.join(" ")))))
        }
    }
}
