//! What a drill showed, within the answers of `verify` and `backup`, and of which it is the newest, in `snapshots`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::time::exact;
use crate::operations::drill::{Digest, DumpHolds, Report};
use crate::repository::DrillRecord;

/// A drill.
#[derive(Serialize)]
pub(crate) struct Drill {
    passed: bool,
    server: String,
    program: String,
    keys: u64,
    captured_keys: Option<u64>,
    captured_unknown: Option<String>,
    expired_keys: u64,
    databases: BTreeMap<u64, BTreeMap<String, u64>>,
    digest: Option<String>,
    digest_compared: &'static str,
    digest_of: Option<String>,
    dump_holds: Option<&'static str>,
    problems: Vec<String>,
    not_kept: Option<String>,
}

impl From<&Report> for Drill {
    fn from(report: &Report) -> Drill {
        let (digest, digest_compared, digest_of) = match &report.digest {
            Digest::First(digest) => (Some(digest), "first", None),
            Digest::Equal(digest, time) => (Some(digest), "equal", Some(time)),
            Digest::Differs(time) => (None, "differs", Some(time)),
            Digest::None(_) => (None, "none", None),
        };
        Drill {
            passed: report.passed(),
            server: report.program.version.to_string(),
            program: report.program.path.display().to_string(),
            keys: report.keys(),
            captured_keys: report.captured.as_ref().ok().copied(),
            captured_unknown: report.captured.as_ref().err().cloned(),
            expired_keys: report.expired,
            databases: report.databases.clone(),
            digest: digest.map(ToString::to_string),
            digest_compared,
            digest_of: digest_of.map(|time| exact(*time)),
            dump_holds: report.dump.map(|dump| match dump {
                DumpHolds::TheSame => "the-same",
                DumpHolds::Other { .. } => "other",
            }),
            problems: report.problems.clone(),
            not_kept: report.not_kept.clone(),
        }
    }
}

/// The newest drill of a snapshot.
#[derive(Serialize)]
pub(crate) struct DrillResult {
    passed: bool,
    time: String,
    host: String,
    server: String,
    keys: u64,
    problem: Option<String>,
}

impl From<&DrillRecord> for DrillResult {
    fn from(record: &DrillRecord) -> DrillResult {
        DrillResult {
            passed: record.passed(),
            time: exact(record.time),
            host: record.host.clone(),
            server: record.drill.server.clone(),
            keys: record.drill.keys,
            problem: record.drill.fault.clone(),
        }
    }
}
