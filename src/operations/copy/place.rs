//! Where a copy stands among the snapshots of its dataset.

use super::there::There;
use crate::repository::SnapshotInfo;

/// Where a copy will stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its place; `None`: behind all.
    pub place: Option<u64>,
    /// Whether it is behind all.
    pub is_last: bool,
}

/// COPY-4: where the source has it, as long as that is right among what is there; else where its time belongs. The error says
/// why there is no such place.
pub(super) fn place_for(there: &There, info: &SnapshotInfo) -> Result<Placed, String> {
    let others = there.of_dataset(&info.dataset);
    let are_of_one = others.clone().all(|other| there.captured_into(other) == there.captured_from(info));
    let others: Vec<&SnapshotInfo> = others.collect();
    match are_of_one || is_in_order(&others, info) {
        true => Ok(Placed { place: Some(info.place), is_last: others.iter().all(|other| other.place <= info.place) }),
        false => by_time(&others, info),
    }
}

/// Whether what is there is older up to the place of a snapshot, and younger behind it.
fn is_in_order(others: &[&SnapshotInfo], info: &SnapshotInfo) -> bool {
    others.iter().all(|other| match other.place <= info.place {
        true => other.captured_at() <= info.captured_at(),
        false => other.captured_at() >= info.captured_at(),
    })
}

fn by_time(others: &[&SnapshotInfo], info: &SnapshotInfo) -> Result<Placed, String> {
    let before = others.iter().rposition(|other| other.captured_at() <= info.captured_at());
    let place = before.and_then(|last| others.get(last)).map_or(0, |other| other.place);
    match others.get(before.map_or(0, |last| last + 1)) {
        None => Ok(Placed { place: None, is_last: true }),
        Some(next) if next.place > place => Ok(Placed { place: Some(place), is_last: false }),
        Some(next) => Err(format!("it belongs before snapshot {} there, which takes its place", next.name.session)),
    }
}
