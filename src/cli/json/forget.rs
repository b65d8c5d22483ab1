//! What `forget`, `tag` and `undelete` answer.

use serde::Serialize;

use super::{AlarmOf, alarms};
use crate::cli::time::exact;
use crate::operations::{forget, tag, undelete};

/// `forget`.
#[derive(Serialize)]
pub(crate) struct Forget {
    zone: Option<String>,
    dry_run: bool,
    kept: usize,
    forgotten: usize,
    datasets: Vec<Dataset>,
    already_forgotten: Vec<String>,
    alarms: Vec<AlarmOf>,
}

/// What was judged of a dataset.
#[derive(Serialize)]
struct Dataset {
    dataset: String,
    kept: Vec<Kept>,
    forgotten: Vec<Gone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<OfTimeline>,
}

/// What of the timeline goes.
#[derive(Serialize)]
struct OfTimeline {
    covered_ms: u64,
    exact_ms: u64,
    moments: u64,
    gone_ms: u64,
    gone_exact_ms: u64,
    gone_moments: u64,
}

/// A snapshot that is kept.
#[derive(Serialize)]
struct Kept {
    id: String,
    begin: String,
    keys: Option<u64>,
    reasons: Vec<String>,
}

/// One that is not.
#[derive(Serialize)]
struct Gone {
    id: String,
    begin: String,
    keys: Option<u64>,
}

impl Forget {
    pub fn new(report: &forget::Report, zone: Option<String>) -> Forget {
        let counts = report.datasets.iter().map(forget::Dataset::counts);
        let (kept, forgotten) = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        Forget {
            zone,
            dry_run: report.dry_run,
            kept,
            forgotten,
            datasets: report.datasets.iter().map(Dataset::from).collect(),
            already_forgotten: report.already.iter().map(|record| record.snapshot.session.to_string()).collect(),
            alarms: alarms(&report.alarms),
        }
    }
}

impl From<&forget::Dataset> for Dataset {
    fn from(dataset: &forget::Dataset) -> Dataset {
        let of = |is_kept| dataset.verdicts.iter().filter(move |verdict| verdict.is_kept == is_kept);
        let id = |verdict: &forget::Verdict| verdict.info.name.session.to_string();
        let begin = |verdict: &forget::Verdict| exact(verdict.info.begin);
        let keys = |verdict: &forget::Verdict| verdict.info.keys.keys();
        let reasons = |verdict: &forget::Verdict| verdict.reasons.iter().map(ToString::to_string).collect();
        Dataset {
            dataset: dataset.name.clone(),
            kept: of(true).map(|v| Kept { id: id(v), begin: begin(v), keys: keys(v), reasons: reasons(v) }).collect(),
            forgotten: of(false).map(|v| Gone { id: id(v), begin: begin(v), keys: keys(v) }).collect(),
            timeline: dataset.timeline.map(|loss| OfTimeline {
                covered_ms: loss.before.time,
                exact_ms: loss.before.exact,
                moments: loss.before.moments,
                gone_ms: loss.gone().time,
                gone_exact_ms: loss.gone().exact,
                gone_moments: loss.gone().moments,
            }),
        }
    }
}

/// `tag`.
#[derive(Serialize)]
pub(crate) struct Tag {
    old: String,
    new: String,
    dataset: String,
    tags: Vec<String>,
    changed: bool,
    alarms: Vec<AlarmOf>,
}

impl From<&tag::Report> for Tag {
    fn from(report: &tag::Report) -> Tag {
        Tag {
            old: report.old.session.to_string(),
            new: report.new.session.to_string(),
            dataset: report.dataset.clone(),
            tags: report.tags.clone(),
            changed: report.old != report.new,
            alarms: alarms(&report.alarms),
        }
    }
}

/// `undelete`.
#[derive(Serialize)]
pub(crate) struct Undelete {
    old: String,
    new: String,
    dataset: String,
    begin: String,
    was_there: bool,
    alarms: Vec<AlarmOf>,
}

impl From<&undelete::Report> for Undelete {
    fn from(report: &undelete::Report) -> Undelete {
        Undelete {
            old: report.old.session.to_string(),
            new: report.new.session.to_string(),
            dataset: report.snapshot.dataset.clone(),
            begin: exact(report.snapshot.begin),
            was_there: report.was_there,
            alarms: alarms(&report.alarms),
        }
    }
}
