//! What is asked of every cell of the matrix.

use std::collections::BTreeSet;
use std::time::Duration;

use redkeep::format::Id16;
use redkeep::format::object::SnapshotName;
use redkeep::operations::check::{CheckDepth, CheckReport, check};
use redkeep::operations::list::{Chosen, Selector, choose, dump};
use redkeep::operations::repair::repair;
use redkeep::operations::verify::verify;
use redkeep::operations::{OperationError, Silent, prune};
use redkeep::repository::Repository;
use redkeep::store::ObjectName;

use super::sample::{Cell, Host, Sample, Taken};
use crate::support::repository::*;

/// Objects and what is left of them; `None`: nothing.
pub type Changes = Vec<(ObjectName, Option<Vec<u8>>)>;

/// Who notices the damage.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// A check that reads no pack bodies.
    pub plain: bool,
    /// A check that reads all.
    pub data: bool,
    /// The next backup: it stores again what it cannot count on. A pack that is there with its right size counts as
    /// sound, and what is wrong inside is found by a check that reads data, not by a backup.
    pub by_backup: bool,
}

/// Everything that is asked of a damaged copy: of damage in a frame by every host, of other damage by one of them, another
/// in each cell, or by every one with REDKEEP_TEST_LONG. Answers with how many files are lost.
pub fn examine(sample: &Sample, label: &str, changes: &Changes, seen: Seen) -> usize {
    let mut lost = 0;
    let hosts = [Host::Stranger, Host::Kept, Host::Stale];
    let turn = label.bytes().map(usize::from).sum::<usize>() % hosts.len();
    let all = label.contains("in a frame") || std::env::var_os("REDKEEP_TEST_LONG").is_some();
    for host in hosts.into_iter().enumerate().filter(|(at, _)| all || *at == turn).map(|(_, host)| host) {
        let label = format!("{label}, {host:?}");
        let case = Case { sample, label: &label, changes };
        lost = case.reads(&sample.cell(host, changes), seen);
        case.next_backup(&sample.cell(host, changes), seen);
        // What a repair meets differs only by what the host remembers.
        if host != Host::Stale {
            case.repair(&sample.cell(host, changes));
            case.prune(&sample.cell(host, changes), seen);
        }
    }
    lost
}

struct Case<'s> {
    sample: &'s Sample,
    label: &'s str,
    changes: &'s Changes,
}

/// A snapshot and a path that cannot be restored.
type Lost = BTreeSet<(Id16, String)>;

impl Case<'_> {
    /// Restores, dumps and verifies every snapshot, and checks: all agree on what is lost.
    fn reads(&self, cell: &Cell, seen: Seen) -> usize {
        let repository = cell.open().unwrap();
        let mut lost = Lost::new();
        for taken in &self.sample.taken {
            if let Some(chosen) = self.choose(&repository, &Selector::Id(taken.name.session.to_string())) {
                assert_eq!(chosen.name, taken.name);
                let failed = self.look_inside(&repository, taken, &chosen);
                self.restore(cell, &repository, taken, &chosen, failed.is_empty());
                lost.extend(failed);
            }
        }
        self.latest(cell, &repository);
        let plain = self.check(&repository, CheckDepth::Structure, seen.plain);
        assert!(seen.plain || plain.lost_files.is_empty(), "{}: {plain:?}", self.label);
        let report = self.check(&repository, CheckDepth::Data, seen.data);
        let said: Lost = report.lost_files.into_iter().collect();
        assert_eq!(said, lost, "{}: what check calls lost is what cannot be read", self.label);
        lost.len()
    }

    /// Damage that names one of the damaged objects.
    fn is_named_damage(&self, what: &str, error: &OperationError) {
        let text = text(error);
        assert!(error.is_damage(), "{}: {what}: {error:?}", self.label);
        assert!(self.names_it(&text), "{}: {what} names no damaged object: {text}", self.label);
    }

    /// A deleted index object is known by nobody: the packs it named are named instead.
    fn names_it(&self, text: &str) -> bool {
        let names = self.changes.iter().map(|(name, _)| name.as_str());
        let mut names: Vec<String> = names.map(String::from).collect();
        if names.iter().any(|name| name.starts_with("index/")) {
            names.extend(self.sample.packs().iter().map(ToString::to_string));
        }
        names.iter().any(|name| text.contains(name))
    }

    fn choose(&self, repository: &Repository, selector: &Selector) -> Option<Chosen> {
        match choose(repository, selector, Some("d")) {
            Ok(chosen) => Some(chosen),
            Err(OperationError::NoSnapshot { .. }) if self.changes.iter().any(|(_, left)| left.is_none()) => None,
            Err(error) => {
                self.is_named_damage("choosing", &error);
                None
            }
        }
    }

    /// Files of a snapshot that cannot be read. What is written before that is right.
    fn look_inside(&self, repository: &Repository, taken: &Taken, chosen: &Chosen) -> Lost {
        let mut lost = Lost::new();
        for (path, content) in taken.tree.iter().filter_map(|(path, content)| Some((path, content.as_ref()?))) {
            let mut out = Vec::new();
            match dump(repository, &chosen.snapshot, path.as_bytes(), &mut out, &Silent) {
                Ok(_) => assert!(out == *content, "{}: other bytes of {path}", self.label),
                Err(error) => {
                    self.is_named_damage(path, &error);
                    assert!(content.starts_with(&out), "{}: other bytes of {path}", self.label);
                    lost.insert((taken.name.session, path.clone()));
                }
            }
        }
        let report = verify(repository, chosen, &Silent).unwrap();
        let mut found = Lost::new();
        for file in &report.files {
            if let Some(damage) = &file.damage {
                assert!(self.names_it(damage), "{}: verify: {damage}", self.label);
                found.insert((taken.name.session, file.path.clone()));
            }
        }
        assert_eq!(found, lost, "{}: verify", self.label);
        lost
    }

    /// All of it, or nothing under the target's name and nothing beside it.
    fn restore(&self, cell: &Cell, repository: &Repository, taken: &Taken, chosen: &Chosen, is_whole: bool) {
        let target = cell.target();
        match restore_to(repository, chosen, &target) {
            Ok(_) => {
                assert!(is_whole, "{}: restored", self.label);
                assert!(tree(&target) == taken.tree, "{}: other bytes restored", self.label);
                assert_eq!(cell.left(), ["target"], "{}", self.label);
            }
            Err(error) => {
                self.is_named_damage("restore", &error);
                assert!(!is_whole, "{}: {error:?}", self.label);
                assert_eq!(cell.left(), [""; 0], "{}", self.label);
            }
        }
    }

    /// The newest, or an error: never quietly an older one.
    fn latest(&self, cell: &Cell, repository: &Repository) {
        let newest = self.sample.newest();
        let change = self.changes.iter().find(|(name, _)| *name == newest);
        let is_unheard_of = change.is_some_and(|(_, left)| left.is_none()) && cell.host != Host::Kept;
        match self.choose(repository, &Selector::Latest(0)) {
            Some(chosen) if is_unheard_of => assert_eq!(chosen.name, self.sample.taken[1].name),
            Some(chosen) => {
                assert!(change.is_none(), "{}: latest is {}", self.label, chosen.name);
                assert_eq!(chosen.name.to_string(), newest.to_string(), "{}", self.label);
            }
            None => assert!(change.is_some(), "{}: latest", self.label),
        }
    }

    fn check(&self, repository: &Repository, depth: CheckDepth, sees: bool) -> CheckReport {
        let report = check(repository, depth, &Silent).unwrap();
        let named = report.damage.iter().any(|damage| self.names_it(&format!("{} {}", damage.object, damage.problem)));
        assert!(named || !sees, "{}: {depth:?} says {report:?}", self.label);
        report
    }

    /// The same data once more: a snapshot that restores right.
    fn next_backup(&self, cell: &Cell, seen: Seen) {
        let repository = cell.open().unwrap();
        let report = back_up(&repository, &self.sample.data(), "d").unwrap_or_else(|e| panic!("{}: {e:?}", self.label));
        if seen.by_backup {
            return restores_right(self.sample, cell, &report.name);
        }
        // A flipped bit inside a pack of the right size: known only to who reads it.
        let stranger = cell.open_as_stranger();
        self.check(&stranger, CheckDepth::Data, true);
        let chosen = self.choose(&stranger, &Selector::Id(report.name.session.to_string())).unwrap();
        let target = cell.target();
        match restore_to(&stranger, &chosen, &target) {
            Ok(_) => assert!(tree(&target) == self.newest_tree(), "{}", self.label),
            Err(error) => self.is_named_damage("restore after backup", &error),
        }
        // Once a check found it, the next backup stores again what was in it, for the old snapshots too.
        let report = back_up(&repository, &self.sample.data(), "d").unwrap();
        restores_right(self.sample, cell, &report.name);
        self.prune_what_was_replaced(cell, &repository);
        restores_right(self.sample, cell, &report.name);
    }

    /// A prune does not take away what a backup stored again because of what a check found, and goes on where nothing else is
    /// lost; a check then finds nothing.
    ///
    /// NOTE-13, SWEEP-22
    fn prune_what_was_replaced(&self, cell: &Cell, repository: &Repository) {
        let options = prune::Options { grace: Duration::ZERO, max_unused: 0.0, ..prune::Options::default() };
        let before = self.readable(cell);
        let left = check(repository, CheckDepth::Data, &Silent).unwrap();
        assert_eq!(left.is_sound(), !left.replaced.is_empty(), "{}: {left:?}", self.label);
        let pruned = prune::prune(repository, &options, &Silent);
        assert!(before.is_subset(&self.readable(cell)), "{}: prune made something worse", self.label);
        match pruned {
            Ok(_) => {
                let left = check(&cell.open_as_stranger(), CheckDepth::Data, &Silent).unwrap();
                assert!(left.is_sound() && left.replaced.is_empty(), "{}: {left:?}", self.label);
            }
            Err(error) => assert!(error.is_damage() && !left.is_sound(), "{}: {error:?}", self.label),
        }
    }

    /// A repair that reads all touches nothing that is there, and leaves nothing to be alarmed about; the next backup is
    /// whole, and then only files of older snapshots are lost.
    fn repair(&self, cell: &Cell) {
        let before = self.readable(cell);
        let objects = cell.objects();
        let report = repair(&cell.open().unwrap(), CheckDepth::Data, &Silent).unwrap();
        assert!(report.left.damage.is_empty(), "{}: {:?}", self.label, report.left);
        for (name, bytes) in objects {
            assert!(cell.store.get(&name, u64::MAX).unwrap() == bytes, "{}: {name} was changed", self.label);
        }
        assert!(before.is_subset(&self.readable(cell)), "{}: something got worse", self.label);
        let repository = cell.open().unwrap();
        assert_eq!(repository.refresh().unwrap(), [], "{}", self.label);
        let new = back_up(&repository, &self.sample.data(), "d").unwrap();
        assert_eq!(new.alarms, [], "{}", self.label);
        restores_right(self.sample, cell, &new.name);
        let left = check(&repository, CheckDepth::Data, &Silent).unwrap();
        let is_new = |(id, _): &(Id16, String)| *id == new.name.session;
        assert!(left.damage.is_empty() && !left.lost_files.iter().any(is_new), "{}: {left:?}", self.label);
    }

    /// A prune of what is seen to be damaged refuses and deletes nothing; of other damage it makes nothing worse. Once the
    /// loss was recorded, and a backup stored again what is at hand, it succeeds and loses nothing.
    ///
    /// SWEEP-2
    fn prune(&self, cell: &Cell, seen: Seen) {
        let options = prune::Options { grace: Duration::ZERO, max_unused: 0.0, ..prune::Options::default() };
        let (before, objects) = (self.readable(cell), cell.objects());
        match prune::prune(&cell.open().unwrap(), &options, &Silent) {
            Err(error) => {
                assert!(error.is_damage(), "{}: prune: {error:?}", self.label);
                for (name, bytes) in objects {
                    assert!(cell.store.get(&name, u64::MAX).unwrap() == bytes, "{}: {name} was changed", self.label);
                }
            }
            Ok(pruned) => assert!(!seen.plain, "{}: prune: {pruned:?}", self.label),
        }
        assert!(before.is_subset(&self.readable(cell)), "{}: prune made something worse", self.label);
        let repository = cell.open().unwrap();
        repair(&repository, CheckDepth::Data, &Silent).unwrap();
        let new = back_up(&repository, &self.sample.data(), "d").unwrap();
        let pruned = prune::prune(&repository, &options, &Silent);
        pruned.unwrap_or_else(|error| panic!("{}: prune after the repair: {}", self.label, text(&error)));
        assert!(before.is_subset(&self.readable(cell)), "{}: the second prune made something worse", self.label);
        restores_right(self.sample, cell, &new.name);
        let left = check(&cell.open_as_stranger(), CheckDepth::Data, &Silent).unwrap();
        assert!(left.damage.is_empty(), "{}: after the second prune: {:?}", self.label, left.damage);
    }

    /// Files that a host without memory can read; their bytes are right.
    fn readable(&self, cell: &Cell) -> Lost {
        let repository = cell.open_as_stranger();
        let mut readable = Lost::new();
        for taken in &self.sample.taken {
            let id = taken.name.session;
            let Ok(chosen) = choose(&repository, &Selector::Id(id.to_string()), Some("d")) else { continue };
            for (path, content) in taken.tree.iter().filter_map(|(path, content)| Some((path, content.as_ref()?))) {
                let mut out = Vec::new();
                if dump(&repository, &chosen.snapshot, path.as_bytes(), &mut out, &Silent).is_ok() {
                    assert!(out == *content, "{}: other bytes of {path}", self.label);
                    readable.insert((id, path.clone()));
                }
            }
        }
        readable
    }

    fn newest_tree(&self) -> super::sample::Tree {
        self.sample.taken.last().unwrap().tree.clone()
    }
}

/// Whether a snapshot of today's data restores right, on a host that knows nothing.
pub fn restores_right(sample: &Sample, cell: &Cell, name: &SnapshotName) {
    let stranger = cell.open_as_stranger();
    let chosen = choose(&stranger, &Selector::Id(name.session.to_string()), Some("d")).unwrap();
    let target = cell.target();
    restore_to(&stranger, &chosen, &target).unwrap_or_else(|error| panic!("{}", text(&error)));
    assert!(tree(&target) == sample.taken.last().unwrap().tree);
}

/// All files of all snapshots are what they were.
pub fn everything_is_whole(sample: &Sample, repository: &Repository) {
    for taken in &sample.taken {
        let chosen = choose(repository, &Selector::Id(taken.name.session.to_string()), Some("d")).unwrap();
        for (path, content) in taken.tree.iter().filter_map(|(path, content)| Some((path, content.as_ref()?))) {
            let mut out = Vec::new();
            dump(repository, &chosen.snapshot, path.as_bytes(), &mut out, &Silent).unwrap();
            assert!(out == *content, "{path}");
        }
    }
}

/// Whether a check without data names an object.
pub fn named_by_check(repository: &Repository, name: &ObjectName) -> bool {
    let report = check(repository, CheckDepth::Structure, &Silent).unwrap();
    report.damage.iter().any(|damage| damage.object == name.to_string())
}

/// An error and its causes.
pub fn text(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
