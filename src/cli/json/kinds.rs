//! What new chunks hold, and how dumps are stored, as `backup`, `snapshots` and `stats` answer.

use std::collections::BTreeMap;

use serde::Serialize;

use super::lossy;
use crate::format::summary::{New, News, Summary};
use crate::repository;

/// New chunks by what they hold.
pub(super) type Kinds = BTreeMap<&'static str, NewOf>;

/// New chunks that hold the same.
#[derive(Serialize)]
pub(super) struct NewOf {
    chunks: u64,
    bytes: u64,
    stored_bytes: u64,
}

/// The kinds, and what else was stored.
pub(super) fn kinds(new: &Option<News>, stored_bytes: u64) -> (Kinds, u64) {
    let summary = Summary { new: new.clone(), stored_bytes, ..Summary::default() };
    let (kinds, rest) = summary.by_kind();
    let one = |New { chunks, bytes, stored }| NewOf { chunks, bytes, stored_bytes: stored };
    (kinds.map(|(holds, new)| (holds.word(), one(new))).collect(), rest)
}

/// How a file that a server loads as RDB is stored.
#[derive(Serialize)]
pub(super) struct FormOf {
    path: String,
    form: &'static str,
    why: Option<String>,
    bytes: u64,
}

impl From<&repository::FormOf> for FormOf {
    fn from(of: &repository::FormOf) -> FormOf {
        FormOf { path: lossy(&of.path), form: of.form.state.word(), why: of.form.why.clone(), bytes: of.size }
    }
}
