//! Sets of snapshots: the shards of a cluster, captured by one run. Rules: format-spec/10-snapshot.md, "Sets".

use std::collections::{BTreeMap, BTreeSet};

use super::OperationError;
use super::list::{Chosen, Filter, Selector, choose_among, lost_snapshots, read, snapshots};
use crate::format::object::SnapshotName;
use crate::format::set::OfSet;
use crate::format::{Id16, UnixMillis};
use crate::repository::{Alarm, Repository, SnapshotInfo};

/// The snapshots of a set that are listed.
///
/// SET-2
#[derive(Debug, Clone)]
pub struct Set<'a> {
    /// What each of them says of the set.
    pub of: &'a OfSet,
    /// By shard, from 1: of several the last one.
    pub members: BTreeMap<u64, &'a SnapshotInfo>,
}

impl Set<'_> {
    /// The slots of the shards of which there is no snapshot.
    pub fn missing(&self) -> Vec<String> {
        let numbered = (1..).zip(&self.of.slots);
        numbered.filter(|(shard, _)| !self.members.contains_key(shard)).map(|(_, slots)| slots.clone()).collect()
    }

    /// The first and the last moment of its shards.
    pub fn moments(&self) -> (UnixMillis, UnixMillis) {
        let moments = || self.members.values().map(|info| info.captured_at());
        (moments().min().unwrap_or(UnixMillis(0)), moments().max().unwrap_or(UnixMillis(0)))
    }

    /// Milliseconds between these.
    pub fn skew(&self) -> u64 {
        let (first, last) = self.moments();
        last.0.saturating_sub(first.0)
    }
}

/// The sets of a listing, by their first moments.
pub fn sets(infos: &[SnapshotInfo]) -> Vec<Set<'_>> {
    let mut sets: BTreeMap<Id16, Set<'_>> = BTreeMap::new();
    for info in infos {
        let Some(of) = &info.told.set else { continue };
        let set = sets.entry(of.id).or_insert_with(|| Set { of, members: BTreeMap::new() });
        // Listings have the later one last.
        set.members.insert(of.shard, info);
    }
    let mut sets: Vec<Set<'_>> = sets.into_values().collect();
    sets.sort_by_key(|set| (set.moments().0, set.of.id));
    sets
}

/// When the newest set that is complete began.
pub fn newest_whole(infos: &[SnapshotInfo]) -> Option<UnixMillis> {
    let begin = |set: &Set<'_>| set.members.values().map(|info| info.begin).min();
    sets(infos).iter().filter(|set| set.missing().is_empty()).filter_map(begin).max()
}

/// What is meant where a set may be.
#[derive(Debug)]
pub enum Meant {
    /// One snapshot.
    One(Box<Chosen>),
    /// A set.
    Set(ChosenSet),
}

/// A chosen set.
#[derive(Debug)]
pub struct ChosenSet {
    /// Its id.
    pub id: Id16,
    /// What the sets of its cluster are called.
    pub name: String,
    /// Its snapshots, by shard: its number from 1, its slots, and what was chosen.
    pub members: Vec<(u64, String, Chosen)>,
    /// The slots of the shards of which there is no snapshot.
    pub missing: Vec<String>,
    /// Milliseconds between the first and the last moment.
    pub skew: u64,
    /// What the repository lacks.
    pub alarms: Vec<Alarm>,
}

impl ChosenSet {
    /// That it is not whole, for people.
    pub fn incomplete(&self) -> Option<String> {
        let shards = self.missing.len() + self.members.len();
        (!self.missing.is_empty()).then(|| {
            format!(
                "the set is incomplete: of {} of its {shards} shards there is no snapshot (slots {})",
                self.missing.len(),
                self.missing.join(" and ")
            )
        })
    }
}

/// The snapshot or the set that is meant.
pub fn choose_any(
    repository: &Repository,
    selector: &Selector,
    dataset: Option<&str>,
) -> Result<Meant, OperationError> {
    let (infos, alarms) = snapshots(repository, &Filter::default())?;
    let sets = sets(&infos);
    let Some(set) = find(&sets, &infos, selector, dataset)? else {
        return Ok(Meant::One(Box::new(choose_among(repository, (infos, alarms), selector, dataset)?)));
    };
    if !matches!(selector, Selector::Id(_)) {
        let of_name = infos.iter().filter(|info| info.told.set.as_ref().is_some_and(|of| of.name == set.of.name));
        let tags: BTreeSet<_> = of_name.map(|info| repository.tag(&info.dataset)).collect();
        let first = set.members.values().map(|info| info.name.time).min();
        let is_late = |name: &SnapshotName| matches!(selector, Selector::At(at) if name.time > *at);
        let may_be = |name: &SnapshotName| tags.contains(&name.tag) && Some(name.time) >= first && !is_late(name);
        let instead = lost_snapshots(&alarms).find(|(name, _)| may_be(name));
        if let Some((_, alarm)) = instead {
            return Err(OperationError::LostSnapshot { alarm: alarm.clone() });
        }
    }
    let member = |(shard, info): (&u64, &&SnapshotInfo)| {
        let slots = info.told.set.as_ref().map(|of| of.own_slots().to_owned()).unwrap_or_default();
        read(repository, info.name, Vec::new()).map(|chosen| (*shard, slots, chosen))
    };
    let members = set.members.iter().map(member).collect::<Result<_, OperationError>>()?;
    let (id, name) = (set.of.id, set.of.name.clone());
    let (missing, skew) = (set.missing(), set.skew());
    Ok(Meant::Set(ChosenSet { id, name, members, missing, skew, alarms }))
}

/// SET-4: the set that is meant, if one is: by its id, or by the name of its cluster.
fn find<'s, 'a>(
    sets: &'s [Set<'a>],
    infos: &[SnapshotInfo],
    selector: &Selector,
    dataset: Option<&str>,
) -> Result<Option<&'s Set<'a>>, OperationError> {
    let back = match selector {
        Selector::Id(prefix) => return by_id(sets, infos, prefix),
        Selector::Latest(back) => Some(*back),
        Selector::At(_) => None,
    };
    let Some(name) = cluster(infos, dataset) else { return Ok(None) };
    let of_name: Vec<&Set<'a>> = sets.iter().filter(|set| set.of.name == name).collect();
    let found = match (selector, back) {
        (Selector::At(at), _) => of_name.iter().rev().find(|set| set.moments().1 <= *at),
        (_, back) => of_name.len().checked_sub(back.unwrap_or(0) + 1).and_then(|place| of_name.get(place)),
    };
    let none =
        || OperationError::NoSnapshot { what: format!("of the {} sets of {name} none is so old", of_name.len()) };
    found.copied().map(Some).ok_or_else(none)
}

/// The name of the cluster that is meant: no dataset has the name that is given, or all snapshots are of its sets.
fn cluster(infos: &[SnapshotInfo], dataset: Option<&str>) -> Option<String> {
    let name = |info: &SnapshotInfo| info.told.set.as_ref().map(|of| of.name.clone());
    match dataset {
        Some(named) if infos.iter().any(|info| info.dataset == named) => None,
        Some(named) => infos.iter().filter_map(name).find(|name| name == named),
        None => {
            let mut names: Vec<Option<String>> = infos.iter().map(name).collect();
            names.dedup();
            if names.len() == 1 { names.pop().flatten() } else { None }
        }
    }
}

pub(super) fn by_id<'s, 'a>(
    sets: &'s [Set<'a>],
    infos: &[SnapshotInfo],
    prefix: &str,
) -> Result<Option<&'s Set<'a>>, OperationError> {
    let mut fitting = sets.iter().filter(|set| set.of.id.to_string().starts_with(prefix));
    let (found, other) = (fitting.next(), fitting.next());
    let is_snapshot = infos.iter().any(|info| info.name.session.to_string().starts_with(prefix));
    match found.is_some() && (other.is_some() || is_snapshot) {
        true => Err(OperationError::Ambiguous { what: format!("several snapshots or sets begin with {prefix}") }),
        false => Ok(found),
    }
}

/// The snapshots of the set whose id begins so; none where it is no set's.
pub(super) fn members_of<'a>(
    infos: &'a [SnapshotInfo],
    selector: &Selector,
) -> Result<Vec<&'a SnapshotInfo>, OperationError> {
    let Selector::Id(prefix) = selector else { return Ok(Vec::new()) };
    let sets = sets(infos);
    let id = by_id(&sets, infos, prefix)?.map(|set| set.of.id);
    Ok(infos.iter().filter(|info| id.is_some() && info.told.set.as_ref().map(|of| of.id) == id).collect())
}
