//! `forget`: which snapshots are no longer wanted, by a policy or by their ids. Nothing is deleted by it.

pub mod policy;

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::key_drop::open_falls;
use super::list::{Filter, Selector, select, snapshots};
use super::sets::members_of;
use super::timeline::{Holdings, Loss};
use super::{Observer, OperationError};
use crate::format::Id16;
use crate::format::counts::count;
use crate::format::object::SnapshotName;
use crate::repository::{Alarm, ForgottenRecord, Repository, RepositoryError, SnapshotInfo};

use policy::{Candidate, Policy, Reason, decide, is_pinned, timeline_since};

/// What is forgotten.
#[derive(Debug, Clone)]
pub struct Options {
    /// By which rules, or which snapshots.
    pub what: What,
    /// Only snapshots that fit.
    pub filter: Filter,
    /// Say what would be done and do nothing.
    pub dry_run: bool,
}

/// By which rules, or which snapshots.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one of it in a run")]
pub enum What {
    /// What a policy does not keep.
    Policy {
        /// The rules.
        policy: Policy,
        /// Where days begin and end.
        zone: TimeZone,
        /// Do not keep snapshots that one with less than half of their keys followed.
        ignore_key_drop: bool,
    },
    /// These snapshots.
    Named {
        /// Which.
        snapshots: Vec<Selector>,
        /// Pinned ones too.
        even_pinned: bool,
        /// Also where it leaves a dataset without any.
        allow_empty: bool,
    },
}

/// What is kept and what is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// By dataset.
    pub datasets: Vec<Dataset>,
    /// Of the snapshots that were named, those that were forgotten before.
    pub already: Vec<ForgottenRecord>,
    /// Whether nothing was done.
    pub dry_run: bool,
    /// What the repository lacks.
    pub alarms: Vec<Alarm>,
}

/// The snapshots of a dataset that were judged, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// What becomes of each.
    pub verdicts: Vec<Verdict>,
    /// What of its timeline goes; nothing where no moment of it is known.
    pub timeline: Option<Loss>,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot.
    pub info: SnapshotInfo,
    /// Whether it is kept.
    pub is_kept: bool,
    /// Why it is kept; none where it is forgotten, or was not named.
    pub reasons: Vec<Reason>,
}

impl Dataset {
    /// How many are kept, and how many forgotten.
    pub fn counts(&self) -> (usize, usize) {
        let kept = self.verdicts.iter().filter(|verdict| verdict.is_kept).count();
        (kept, self.verdicts.len() - kept)
    }

    /// How many hold an unknown number of keys: a fall of them cannot be seen there.
    pub fn uncounted(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.info.keys.keys().is_none()).count()
    }

    /// How many are kept only because keys fell after them.
    pub fn kept_for_fall(&self) -> usize {
        let is_fall = |reason: &Reason| matches!(reason, Reason::KeyDrop(..));
        let is_it = |verdict: &&Verdict| !verdict.reasons.is_empty() && verdict.reasons.iter().all(is_fall);
        self.verdicts.iter().filter(is_it).count()
    }
}

/// Forgets snapshots, oldest first. A crash leaves some forgotten and the others not; the same again completes it.
pub fn forget(repository: &Repository, options: &Options, observer: &dyn Observer) -> Result<Report, OperationError> {
    let (infos, alarms) = snapshots(repository, &Filter::default())?;
    refuse_what_lacks(&alarms)?;
    let spans = repository.spans()?;
    let holdings = |infos: &[SnapshotInfo]| {
        Holdings::of(repository, &spans, infos.first().map_or("", |info| info.dataset.as_str()))
    };
    let of_dataset = |infos: &[SnapshotInfo]| match &options.what {
        What::Policy { policy, zone, ignore_key_drop } => {
            let falls = if *ignore_key_drop { Vec::new() } else { open_falls(infos) };
            let newest = infos.iter().rfind(|info| options.filter.fits(info)).map(SnapshotInfo::captured_at);
            let since = newest.and_then(|newest| timeline_since(policy, newest, zone));
            let needed = match since {
                Some(since) => holdings(infos)?.needed(since),
                None => BTreeSet::new(),
            };
            by_policy(infos, options, &needed, |candidates| decide(policy, candidates, zone, &falls))
        }
        What::Named { .. } => Ok(None),
    };
    let mut report = Report { dry_run: options.dry_run, alarms, ..Report::default() };
    let reason = match &options.what {
        What::Policy { .. } => {
            let parts = infos.chunk_by(|a, b| a.dataset == b.dataset).map(of_dataset);
            report.datasets = parts.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            keep_sets_whole(&mut report.datasets, &infos);
            "not kept by the policy"
        }
        What::Named { snapshots, even_pinned, allow_empty } => {
            let named = find(repository, &infos, snapshots, &options.filter, &mut report)?;
            let parts = infos.chunk_by(|a, b| a.dataset == b.dataset);
            let parts = parts.map(|infos| by_name(infos, &named, *even_pinned, *allow_empty));
            report.datasets = parts.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            "named on the command line"
        }
    };
    for (dataset, infos) in with_their_snapshots(&mut report.datasets, &infos) {
        let gone = dataset.verdicts.iter().filter(|verdict| !verdict.is_kept).map(|verdict| verdict.info.name);
        let gone: BTreeSet<SnapshotName> = gone.collect();
        dataset.timeline = holdings(infos)?.loss(|name| !gone.contains(name));
    }
    if !options.dry_run {
        for verdict in report.datasets.iter().flat_map(|dataset| &dataset.verdicts).filter(|verdict| !verdict.is_kept) {
            if observer.interrupted() {
                return Err(RepositoryError::Interrupted.into());
            }
            repository.forget(&verdict.info.name, reason)?;
        }
    }
    Ok(report)
}

/// The set that a snapshot is of.
fn id_of_set(info: &SnapshotInfo) -> Option<Id16> {
    info.told.set.as_ref().map(|of| of.id)
}

/// SET-3: what is kept of a set keeps the rest of it, and so does what is not judged.
fn keep_sets_whole(datasets: &mut [Dataset], infos: &[SnapshotInfo]) {
    let verdicts = datasets.iter().flat_map(|dataset| &dataset.verdicts);
    let gone: BTreeSet<SnapshotName> =
        verdicts.filter(|verdict| !verdict.is_kept).map(|verdict| verdict.info.name).collect();
    let kept: BTreeSet<Id16> = infos.iter().filter(|info| !gone.contains(&info.name)).filter_map(id_of_set).collect();
    for verdict in datasets.iter_mut().flat_map(|dataset| &mut dataset.verdicts) {
        if !verdict.is_kept && id_of_set(&verdict.info).is_some_and(|id| kept.contains(&id)) {
            (verdict.is_kept, verdict.reasons) = (true, vec![Reason::Set]);
        }
    }
}

/// Each dataset with all of its snapshots.
fn with_their_snapshots<'a>(
    datasets: &'a mut [Dataset],
    infos: &'a [SnapshotInfo],
) -> impl Iterator<Item = (&'a mut Dataset, &'a [SnapshotInfo])> {
    datasets.iter_mut().filter_map(|dataset| {
        let infos = infos
            .chunk_by(|a, b| a.dataset == b.dataset)
            .find(|of| of.first().map(|i| &i.dataset) == Some(&dataset.name));
        Some((dataset, infos?))
    })
}

/// What is left may be the only copy of what is lost: nothing is forgotten until that is settled.
fn refuse_what_lacks(alarms: &[Alarm]) -> Result<(), OperationError> {
    let is_lack = |alarm: &&Alarm| match alarm {
        Alarm::Index { .. }
        | Alarm::Packs { .. }
        | Alarm::DamagedPacks { .. }
        | Alarm::Snapshot { .. }
        | Alarm::Forgotten { .. }
        | Alarm::Gap { .. }
        | Alarm::Rollback { .. }
        | Alarm::Elsewhere { .. } => true,
        Alarm::Late { .. }
        | Alarm::Undone { .. }
        | Alarm::State { .. }
        | Alarm::NotNoted { .. }
        | Alarm::NotRemembered { .. } => false,
    };
    let alarms: Vec<Alarm> = alarms.iter().filter(is_lack).cloned().collect();
    if alarms.is_empty() { Ok(()) } else { Err(OperationError::Lacking { alarms }) }
}

/// What a policy makes of a dataset; nothing where no snapshot of it fits the filter.
fn by_policy(
    infos: &[SnapshotInfo],
    options: &Options,
    needed: &BTreeSet<SnapshotName>,
    decide: impl Fn(&[Candidate<'_>]) -> Vec<Vec<Reason>>,
) -> Result<Option<Dataset>, OperationError> {
    let judged: Vec<Candidate<'_>> = infos
        .iter()
        .map(|info| Candidate {
            time: info.captured_at(),
            tags: &info.tags,
            place: info.place,
            is_needed: needed.contains(&info.name),
            is_meant: options.filter.fits(info),
        })
        .collect();
    let reasons = decide(&judged);
    let meant = infos.iter().zip(reasons).filter(|(info, _)| options.filter.fits(info));
    let verdicts: Vec<Verdict> =
        meant.map(|(info, reasons)| Verdict { info: info.clone(), is_kept: !reasons.is_empty(), reasons }).collect();
    let Some(first) = verdicts.first() else { return Ok(None) };
    let name = first.info.dataset.clone();
    match verdicts.iter().flat_map(|verdict| &verdict.reasons).any(Reason::is_policy) {
        true => Ok(Some(Dataset { name, verdicts, timeline: None })),
        false => Err(OperationError::Refused {
            what: format!(
                "the policy keeps none of the {} of dataset {name}",
                count(verdicts.len() as u64, "snapshot")
            ),
            hint: "nothing was forgotten; look for a mistyped tag, or keep at least one with --keep-last 1".into(),
        }),
    }
}

/// The snapshots that are named; those that were forgotten before are reported.
fn find(
    repository: &Repository,
    all: &[SnapshotInfo],
    selectors: &[Selector],
    filter: &Filter,
    report: &mut Report,
) -> Result<Vec<SnapshotInfo>, OperationError> {
    let infos: Vec<SnapshotInfo> = all.iter().filter(|info| filter.fits(info)).cloned().collect();
    let records = repository.forgotten()?;
    let mut named = Vec::new();
    for selector in selectors {
        let of_set = members_of(all, selector)?;
        if !of_set.is_empty() {
            named.extend(of_set.into_iter().cloned());
            continue;
        }
        let forgotten = |prefix: &String| records.iter().find(|record| record.has_id(prefix));
        match (select(&infos, selector), selector) {
            (Err(OperationError::NoSnapshot { what }), Selector::Id(prefix)) => match forgotten(prefix) {
                Some(record) => report.already.push(record.clone()),
                None => return Err(OperationError::NoSnapshot { what }),
            },
            (found, _) => named.push(found?.clone()),
        }
    }
    // SET-3: with one of a set all of it.
    let sets: BTreeSet<Id16> = named.iter().filter_map(id_of_set).collect();
    named.extend(all.iter().filter(|info| id_of_set(info).is_some_and(|id| sets.contains(&id))).cloned());
    Ok(named)
}

/// What becomes of a dataset of which some snapshots are named; nothing where none is.
fn by_name(
    infos: &[SnapshotInfo],
    named: &[SnapshotInfo],
    even_pinned: bool,
    allow_empty: bool,
) -> Result<Option<Dataset>, OperationError> {
    let verdict =
        |info: &SnapshotInfo| Verdict { info: info.clone(), is_kept: !named.contains(info), reasons: Vec::new() };
    let verdicts: Vec<Verdict> = infos.iter().map(verdict).collect();
    let Some(first) = verdicts.iter().find(|verdict| !verdict.is_kept) else { return Ok(None) };
    let name = first.info.dataset.clone();
    let goes_pinned = |verdict: &&Verdict| !verdict.is_kept && is_pinned(&verdict.info.tags);
    if let Some(pinned) = verdicts.iter().find(goes_pinned).filter(|_| !even_pinned) {
        return Err(OperationError::Refused {
            what: format!("snapshot {} is pinned", pinned.info.name.session),
            hint: "nothing was forgotten; to forget it all the same, say --even-pinned".into(),
        });
    }
    match verdicts.iter().any(|verdict| verdict.is_kept) || allow_empty {
        true => Ok(Some(Dataset { name, verdicts, timeline: None })),
        false => Err(OperationError::Refused {
            what: format!("no snapshot of dataset {name} would be left"),
            hint: "nothing was forgotten; to forget them all the same, say --allow-empty".into(),
        }),
    }
}
