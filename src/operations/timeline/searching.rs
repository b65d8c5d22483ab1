//! The newest snapshot whose AOF holds a command, found by reading what older ones do not share with newer ones.

use std::collections::BTreeSet;

use super::super::list::{Chosen, Selector, choose};
use super::super::restore::{Cut, Goal, locate};
use super::moments::{Moment, Picked, known_second, one_dataset};
use super::{Observer, OperationError};
use crate::format::ObjectHash;
use crate::format::snapshot::{File, Snapshot};
use crate::format::timeline::{self, CONTINUES, Precision, Reach, clock_offset};
use crate::repository::Repository;

/// A command that is looked for.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    /// Its name and its first arguments.
    pub words: Vec<Vec<u8>>,
    /// Only in this snapshot; else in the newest of the dataset that holds it.
    pub snapshot: Option<&'a Selector>,
    /// Of this dataset.
    pub dataset: Option<&'a str>,
}

/// Finds the last command that begins with the words, and the snapshot that is to be cut before it.
pub fn before_command(
    repository: &Repository,
    search: &Search<'_>,
    observer: &dyn Observer,
) -> Result<(Picked, Cut), OperationError> {
    match search.snapshot {
        Some(selector) => {
            let chosen = choose(repository, selector, search.dataset)?;
            let aof = Aof::of(&chosen.snapshot).ok_or_else(|| no_aof("the snapshot has no AOF"))?;
            let goal = aof.goal(&chosen.snapshot, &search.words);
            let cut = locate(repository, &chosen.snapshot, &goal, observer)?;
            Ok((aof.picked(chosen, goal), cut))
        }
        None => search_back(repository, search, observer),
    }
}

fn no_aof(what: &str) -> OperationError {
    let why = format!("{what} that is known to be its dataset: there are no commands to look among");
    OperationError::NotThere { why }
}

fn search_back(
    repository: &Repository,
    search: &Search<'_>,
    observer: &dyn Observer,
) -> Result<(Picked, Cut), OperationError> {
    repository.refresh()?;
    let dataset = one_dataset(repository, search.dataset)?;
    let (mut known, mut snapshots) = (Known::default(), 0);
    let mut nowhere: Option<(String, Option<String>)> = None;
    for span in repository.spans()?.into_iter().rev().filter(|span| span.dataset == dataset) {
        if span.reach.is_ok_and(|reach| reach.precision == Precision::Snapshot) {
            continue;
        }
        let snapshot = repository.snapshot(&span.name)?;
        let Some(aof) = Aof::of(&snapshot) else { continue };
        let goal = aof.goal(&snapshot, &search.words);
        if !known.is_all(&span.name.to_string(), &snapshot) {
            snapshots += 1;
            match locate(repository, &snapshot, &goal, observer) {
                Ok(cut) => {
                    let chosen = choose(repository, &Selector::Id(span.name.session.to_string()), Some(&dataset))?;
                    return Ok((aof.picked(chosen, goal), cut));
                }
                // Of several that are alike the newest is told.
                Err(OperationError::NoCommand { words, alike, .. }) => match &mut nowhere {
                    Some((_, newer)) => *newer = newer.take().or(alike),
                    None => nowhere = Some((words, alike)),
                },
                Err(error) => return Err(error),
            }
        }
        known.add(&snapshot);
    }
    match nowhere {
        Some((words, alike)) => Err(OperationError::NoCommand { words, alike, snapshots }),
        None => Err(no_aof("no snapshot of the dataset has an AOF")),
    }
}

/// What has to be known of a snapshot's AOF to look for a command in it.
struct Aof {
    moment: Moment,
    base: Option<u64>,
}

impl Aof {
    fn of(snapshot: &Snapshot) -> Option<Aof> {
        let is_aof = snapshot.facts.get("authoritative").is_some_and(|which| which == "aof");
        let reach = Reach::of(snapshot).ok();
        let begin = reach.map(|reach| reach.begin);
        let precision = reach.map_or(Precision::Marks, |reach| reach.precision);
        let moment = Moment {
            asked: None,
            effective: begin.unwrap_or(snapshot.begin),
            clock: clock_offset(snapshot),
            precision,
            is_nearest: false,
            is_exact: false,
            is_at_damage: false,
        };
        is_aof.then(|| Aof { moment, base: reach.as_ref().and_then(known_second) })
    }

    fn goal(&self, snapshot: &Snapshot, words: &[Vec<u8>]) -> Goal {
        Goal::Before { words: words.to_vec(), base: self.base, marks: snapshot.marks.clone() }
    }

    fn picked(&self, chosen: Chosen, goal: Goal) -> Picked {
        Picked { chosen, moment: self.moment, goal: Some(goal) }
    }
}

/// Files that were looked into.
#[derive(Default)]
struct Known {
    whole: BTreeSet<Option<ObjectHash>>,
    /// Snapshots whose last file is the begin of one that was looked into.
    continued: BTreeSet<String>,
}

impl Known {
    fn is_all(&self, name: &str, snapshot: &Snapshot) -> bool {
        let last = timeline::last_file(snapshot).filter(|_| self.continued.contains(name)).map(|last| &last.path);
        let is_known = |file: &&File| self.whole.contains(&file.hash) || last.is_some_and(|last| *last == file.path);
        timeline::growing_files(snapshot).iter().all(is_known)
    }

    fn add(&mut self, snapshot: &Snapshot) {
        self.whole.extend(timeline::growing_files(snapshot).into_iter().map(|file| file.hash));
        self.continued.extend(snapshot.facts.get(CONTINUES).cloned());
    }
}
