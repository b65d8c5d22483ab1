//! What others watch: the numbers of a profile's last run as a text file for Prometheus, and a call to a health check.
//!
//! The file is in the text format of Prometheus, as the textfile collector of node_exporter reads it. It is replaced
//! whole and at once. A run that fails leaves the time of the last success as it was.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use ureq::Agent;

use super::whole_file::replace;
use crate::format::UnixMillis;
use crate::held::open_file;

/// How often a health check is called before it is given up.
const CALLS: usize = 2;

/// The metric that a later run takes over from the file.
const LAST_SUCCESS: &str = "redkeep_last_success_timestamp_seconds";

/// The numbers of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    /// The profile.
    pub profile: String,
    /// The dataset; empty where it is not known.
    pub dataset: String,
    /// When the run ended.
    pub end: UnixMillis,
    /// The run's exit code.
    pub exit_code: u8,
    /// Whether the backup and all after it was done, perhaps with warnings.
    pub is_success: bool,
    /// How long each step took, in milliseconds.
    pub steps: Vec<(&'static str, u64)>,
    /// What the backup did.
    pub backup: Option<BackupNumbers>,
    /// What the repository holds now.
    pub repository: Option<RepositoryNumbers>,
}

/// The numbers of a backup, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupNumbers {
    /// Of all files.
    pub bytes: u64,
    /// Read: without files that were not touched since the previous snapshot.
    pub read: u64,
    /// Of data the repository did not have.
    pub new: u64,
    /// What that takes there.
    pub stored: u64,
}

/// The numbers of a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepositoryNumbers {
    /// Snapshots of the dataset.
    pub snapshots: u64,
    /// Bytes of all packs of the repository.
    pub bytes: u64,
    /// When the dataset's newest snapshot began.
    pub newest: Option<UnixMillis>,
}

/// One metric as it is written: name, what it is, further labels, value.
struct Sample<'a> {
    name: &'a str,
    help: &'a str,
    label: Option<(&'a str, &'a str)>,
    value: String,
}

/// The text of the file. `last_success` is what an earlier one said.
fn text(numbers: &Numbers, last_success: Option<&str>) -> String {
    let end = seconds(numbers.end);
    let success = if numbers.is_success { Some(end.as_str()) } else { last_success };
    let mut samples = vec![
        sample("redkeep_last_run_timestamp_seconds", "When the last run of the profile ended.", &end),
        sample(
            "redkeep_last_exit_code",
            "How the last run ended: 0 done, 3 with warnings, else failed.",
            numbers.exit_code,
        ),
    ];
    let about_success = "When the last run ended that did all it had to do.";
    samples.extend(success.map(|time| sample(LAST_SUCCESS, about_success, time)));
    samples.extend(numbers.steps.iter().map(|(step, millis)| Sample {
        label: Some(("step", step)),
        ..sample("redkeep_step_duration_seconds", "How long a step of the last run took.", seconds(UnixMillis(*millis)))
    }));
    if let Some(backup) = numbers.backup {
        samples.extend([
            sample("redkeep_backup_bytes", "Size of all files of the last run's snapshot.", backup.bytes),
            sample("redkeep_backup_read_bytes", "What the last run's backup read.", backup.read),
            sample("redkeep_backup_new_bytes", "What of it the repository did not have.", backup.new),
            sample("redkeep_backup_stored_bytes", "What that takes in the repository.", backup.stored),
        ]);
    }
    if let Some(repository) = numbers.repository {
        samples.extend([
            sample("redkeep_snapshots", "Snapshots of the dataset.", repository.snapshots),
            sample("redkeep_repository_bytes", "Size of all packs of the repository.", repository.bytes),
        ]);
        if let Some(newest) = repository.newest {
            let age = UnixMillis(numbers.end.0.saturating_sub(newest.0));
            let about = "How old that was when this file was written; for alerts use time() minus the timestamp.";
            samples.extend([
                sample("redkeep_newest_snapshot_timestamp_seconds", "When the newest snapshot began.", seconds(newest)),
                sample("redkeep_newest_snapshot_age_seconds", about, seconds(age)),
            ]);
        }
    }
    written(&samples, numbers)
}

fn sample<'a>(name: &'a str, help: &'a str, value: impl ToString) -> Sample<'a> {
    Sample { name, help, label: None, value: value.to_string() }
}

fn written(samples: &[Sample<'_>], numbers: &Numbers) -> String {
    let mut text = String::new();
    let mut before = "";
    for Sample { name, help, label, value } in samples {
        if *name != before {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        }
        before = name;
        let (profile, dataset) = (escaped(&numbers.profile), escaped(&numbers.dataset));
        let label = label.map_or(String::new(), |(name, value)| format!(",{name}=\"{}\"", escaped(value)));
        text.push_str(&format!("{name}{{profile=\"{profile}\",dataset=\"{dataset}\"{label}}} {value}\n"));
    }
    text
}

/// A label's value: backslashes, quotes and line ends are written out.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn seconds(time: UnixMillis) -> String {
    format!("{}.{:03}", time.0 / 1000, time.0 % 1000)
}

/// When the file says that the profile's last success was.
fn last_success(text: &str, profile: &str) -> Option<String> {
    let begin = format!("{LAST_SUCCESS}{{profile=\"{}\",", escaped(profile));
    let line = text.lines().find(|line| line.starts_with(&begin))?;
    let value = line.rsplit(' ').next()?;
    value.parse::<f64>().is_ok_and(f64::is_finite).then(|| value.to_string())
}

/// Bytes that are read of the numbers of the run before.
const LONGEST: u64 = 1 << 20;

/// Writes the numbers, over those of the run before, all at once: whoever reads sees the old file or the new one.
pub fn write_textfile(path: &Path, numbers: &Numbers) -> io::Result<()> {
    let mut before = String::new();
    if let Ok(file) = open_file(path, None) {
        // What cannot be read tells nothing of the runs before.
        let _ = file.take(LONGEST).read_to_string(&mut before);
    }
    let text = text(numbers, last_success(&before, &numbers.profile).as_deref());
    replace(path, text.as_bytes(), 0o644)
}

/// Calls a health check: its address after a success, `/fail` below it after a failure, with one line that says how the
/// run ended. No call takes longer than `patience`, and two are tried.
pub fn call(url: &str, is_success: bool, line: &str, patience: Duration) -> Result<(), String> {
    let agent: Agent = Agent::config_builder().timeout_global(Some(patience)).build().into();
    let url = if is_success { url.to_string() } else { failure_url(url) };
    let mut why = String::new();
    for _ in 0..CALLS {
        match agent.post(&url).content_type("text/plain; charset=utf-8").send(line) {
            Ok(_) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!("{}: {why}", host_of(&url)))
}

/// `/fail` behind the path.
fn failure_url(url: &str) -> String {
    let (path, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    format!("{}/fail{query}", path.trim_end_matches('/'))
}

/// The part of an address that is no secret.
fn host_of(url: &str) -> &str {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn numbers() -> Numbers {
        Numbers {
            profile: "daily".into(),
            dataset: "a \"b\"\\".into(),
            end: UnixMillis(1_790_000_000_123),
            exit_code: 0,
            is_success: true,
            steps: vec![("backup", 1500), ("forget", 20)],
            backup: Some(BackupNumbers { bytes: 4, read: 3, new: 2, stored: 1 }),
            repository: Some(RepositoryNumbers {
                snapshots: 7,
                bytes: 99,
                newest: Some(UnixMillis(1_789_999_999_123)),
            }),
        }
    }

    #[test]
    fn each_metric_is_described_once_and_labelled() {
        let text = text(&numbers(), None);
        let labels = "{profile=\"daily\",dataset=\"a \\\"b\\\"\\\\\"";
        for line in [
            format!("redkeep_last_run_timestamp_seconds{labels}}} 1790000000.123"),
            format!("redkeep_last_success_timestamp_seconds{labels}}} 1790000000.123"),
            format!("redkeep_step_duration_seconds{labels},step=\"backup\"}} 1.500"),
            format!("redkeep_step_duration_seconds{labels},step=\"forget\"}} 0.020"),
            format!("redkeep_newest_snapshot_age_seconds{labels}}} 1.000"),
            format!("redkeep_snapshots{labels}}} 7"),
        ] {
            assert_eq!(text.lines().filter(|have| **have == line).count(), 1, "{line}: {text}");
        }
        assert_eq!(text.matches("# TYPE redkeep_step_duration_seconds gauge\n").count(), 1);
    }

    #[test]
    fn a_failure_keeps_the_time_of_the_last_success() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("redkeep.prom");
        write_textfile(&path, &numbers()).unwrap();
        let failed = Numbers { end: UnixMillis(1_790_000_900_000), is_success: false, exit_code: 9, ..numbers() };
        write_textfile(&path, &failed).unwrap();
        write_textfile(&path, &failed).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(last_success(&text, "daily").as_deref(), Some("1790000000.123"));
        assert_eq!(last_success(&text, "other"), None);
        assert!(text.contains("} 9\n") && text.contains("} 1790000900.000\n"), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_failure_is_told_below_the_address_and_an_error_names_the_host_alone() {
        assert_eq!(failure_url("https://hc.example/uuid"), "https://hc.example/uuid/fail");
        assert_eq!(failure_url("https://hc.example/uuid/?x=1"), "https://hc.example/uuid/fail?x=1");
        assert_eq!(host_of("https://user:secret@hc.example:8000/secret?x"), "hc.example:8000");
    }
}
