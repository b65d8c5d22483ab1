//! A file of /etc/cron.d with one entry.

use std::path::{Path, PathBuf};

use super::timing::Timing;
use super::{Job, MARK, name};

/// Where cron reads entries from, below the root.
pub(super) const DIRECTORY: &str = "etc/cron.d";

pub(super) fn path(root: &Path, profile: &str) -> PathBuf {
    root.join(DIRECTORY).join(name(profile))
}

/// The file of a job.
pub(super) fn text(job: &Job) -> String {
    let mut words: Vec<String> = job.command.iter().map(|word| quoted(word)).collect();
    // Cron mails what is printed: warnings and failures are worth that.
    words.insert(words.len().min(3), "--quiet".into());
    format!(
        "{MARK}{}\n\
         SHELL=/bin/sh\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         {} {} {}\n",
        job.profile,
        job.timing.cron(),
        job.user,
        // For cron a per cent sign ends the command, wherever it stands.
        words.join(" ").replace('%', "\\%")
    )
}

/// A word as a shell takes it; what it cannot hold was refused.
fn quoted(word: &str) -> String {
    let is_safe = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:,@=%".contains(letter);
    if word.chars().all(is_safe) && !word.is_empty() { word.into() } else { format!("'{word}'") }
}

/// When a file runs what.
pub(super) fn read(text: &str) -> (Option<Timing>, Option<String>) {
    let is_entry = |line: &&str| line.starts_with(|first: char| first.is_ascii_digit() || first == '*');
    let Some(line) = text.lines().find(is_entry) else { return (None, None) };
    let words: Vec<&str> = line.splitn(7, ' ').collect();
    let timing = words.get(..5).and_then(|fields| Timing::of(&fields.join(" ")));
    (timing, words.get(6).map(|command| command.replace("\\%", "%")))
}
