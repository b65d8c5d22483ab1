//! A dataset that lost more than half of its keys: a FLUSHALL may be behind it, and the older snapshots wanted. What fell
//! is told once, loudly, and carried in each later snapshot until a person settles it. Rules: format-spec/18-counts.md.

use super::list::Filter;
use crate::format::counts::{FALLS, Fall, KeyCount, count, encode_falls, is_fall, other_keys, unsettled};
use crate::format::snapshot::{Snapshot, Warning};
use crate::operations::shell::quoted;
use crate::repository::{Repository, RepositoryError, SnapshotInfo};

/// The code of the warning.
pub const KEY_DROP: &str = "key-drop";

/// Falls of a dataset that nobody has settled, of which the full snapshot is still there. `infos`: all that are kept of
/// the dataset, oldest first.
pub(super) fn open_falls(infos: &[SnapshotInfo]) -> Vec<Fall> {
    let (mut falls, _) = unsettled(infos.iter().map(SnapshotInfo::seen));
    falls.retain(|fall| infos.iter().any(|info| info.place == fall.full));
    falls
}

/// Why nothing is to be forgotten unasked of the datasets that fit: of each fall that nobody has settled, what is lost and
/// where it is.
pub fn told_falls(repository: &Repository, filter: &Filter) -> Result<Vec<String>, RepositoryError> {
    let infos = repository.kept_snapshots()?;
    let fitting = infos.chunk_by(|a, b| a.dataset == b.dataset).filter(|infos| infos.iter().any(|i| filter.fits(i)));
    let of_dataset = |infos: &[SnapshotInfo]| -> Vec<String> {
        let full = |fall: &Fall| infos.iter().find(|info| info.place == fall.full);
        open_falls(infos).iter().filter_map(|fall| Some(told(full(fall)?, fall.had, fall.left))).collect()
    };
    Ok(fitting.flat_map(of_dataset).collect())
}

/// Warns of a dump with other keys than the server has that was asked for it.
pub(super) fn tell_another_dump(now: &mut Snapshot) {
    let Some((keys, least, most)) = other_keys(now) else { return };
    let counted = if least == most { format!("{most}") } else { format!("between {least} and {most}") };
    now.warnings.push(Warning {
        code: "another-dump".into(),
        path: Vec::new().into(),
        message: format!(
            "the dump that was captured holds {}, where the server counted {counted}: does another server save into the same \
             directory? give each a directory (dir) of its own",
            count(keys, "key")
        ),
    });
}

/// Writes into a new snapshot which falls are open, with its own, and warns of that.
pub(super) fn carry(repository: &Repository, now: &mut Snapshot) -> Result<(), RepositoryError> {
    let of_dataset = |info: &SnapshotInfo| info.dataset == now.dataset;
    let kept: Vec<SnapshotInfo> = repository.kept_snapshots()?.into_iter().filter(of_dataset).collect();
    let mut falls = open_falls(&kept);
    let last_known = |infos: &[SnapshotInfo]| infos.iter().rev().find(|info| info.keys.keys().is_some()).cloned();
    let before = match last_known(&kept) {
        Some(before) => Some(before),
        // Where none is left to compare with, one that was forgotten still tells.
        None => {
            let all: Vec<SnapshotInfo> = repository.snapshots()?.into_iter().filter(of_dataset).collect();
            last_known(&all)
        }
    };
    if let (Some(before), Some(left)) = (before, KeyCount::of(now).keys())
        && let Some(had) = before.keys.keys().filter(|had| is_fall(*had, left))
    {
        falls.push(Fall { full: before.place, had, after: now.place(), left });
        now.warnings.push(warning(&before, had, left));
    }
    now.facts.insert(FALLS.into(), encode_falls(&falls));
    Ok(())
}

fn warning(before: &SnapshotInfo, had: u64, left: u64) -> Warning {
    Warning { code: KEY_DROP.into(), path: Vec::new().into(), message: told(before, had, left) }
}

fn told(before: &SnapshotInfo, had: u64, left: u64) -> String {
    let id = before.name.session.to_string();
    let id = id.get(..8).unwrap_or(&id);
    format!(
        "{}, where snapshot {id} had {had}: was that meant? no policy forgets {id} until it is settled with: redkeep tag \
         latest --accept-drop --dataset {}",
        count(left, "key"),
        quoted(&before.dataset)
    )
}
