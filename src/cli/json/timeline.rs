//! What `timeline` answers.

use serde::Serialize;

use super::{AlarmOf, alarms};
use crate::cli::commands::timeline::{cause, precision};
use crate::cli::key_count;
use crate::cli::time::{exact, of_host};
use crate::operations::timeline::{Piece, Stretch, Timeline};
use crate::repository::Alarm;

/// `timeline`.
#[derive(Serialize)]
pub(crate) struct Timelines {
    timelines: Vec<OfDataset>,
    alarms: Vec<AlarmOf>,
}

/// The timeline of one dataset.
#[derive(Serialize)]
struct OfDataset {
    dataset: String,
    spans: Vec<Span>,
    gaps: Vec<Gap>,
    stale: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    carried: Vec<String>,
    covered_last_day: f64,
    exact_last_day: f64,
    server_ahead_ms: i64,
}

/// A span of one precision.
#[derive(Serialize)]
struct Span {
    begin: String,
    end: String,
    precision: &'static str,
    keys: Option<u64>,
    keys_counted: &'static str,
    snapshots: usize,
    first: Option<String>,
    last: Option<String>,
}

/// Time to which nothing can be restored.
#[derive(Serialize)]
struct Gap {
    begin: String,
    end: String,
    cause: &'static str,
}

impl Timelines {
    pub fn new(all: &[Timeline], lacks: &[Alarm]) -> Timelines {
        Timelines { timelines: all.iter().map(OfDataset::from).collect(), alarms: alarms(lacks) }
    }
}

impl From<&Timeline> for OfDataset {
    fn from(timeline: &Timeline) -> OfDataset {
        let id = |name: &crate::format::object::SnapshotName| name.session.to_string();
        let span = |stretch: &Stretch, piece: &Piece| Span {
            begin: exact(of_host(piece.begin, stretch.clock)),
            end: exact(of_host(piece.end, stretch.clock)),
            precision: precision(piece.precision),
            keys: stretch.keys.keys(),
            keys_counted: key_count::word(stretch.keys),
            snapshots: stretch.snapshots.len(),
            first: stretch.snapshots.first().map(id),
            last: stretch.snapshots.last().map(id),
        };
        let spans = timeline.stretches.iter();
        OfDataset {
            dataset: timeline.dataset.clone(),
            spans: spans.flat_map(|stretch| stretch.pieces.iter().map(move |piece| span(stretch, piece))).collect(),
            gaps: (timeline.gaps.iter())
                .map(|gap| Gap {
                    begin: exact(of_host(gap.begin, timeline.clock)),
                    end: exact(of_host(gap.end, timeline.clock)),
                    cause: cause(gap.cause),
                })
                .collect(),
            stale: timeline.stale.iter().map(id).collect(),
            damaged: timeline.damaged.iter().map(id).collect(),
            carried: timeline.carried.iter().map(id).collect(),
            covered_last_day: timeline.covered.all as f64 / 1000.0,
            exact_last_day: timeline.covered.exact as f64 / 1000.0,
            server_ahead_ms: timeline.clock,
        }
    }
}
