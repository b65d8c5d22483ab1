//! Whoever owns a directory may move what a restore makes in it to another place: nothing of it stays there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redkeep::operations::restore::{Options, restore};
use redkeep::operations::{Observer, Silent};

use crate::restore_server::{Captured, Victim, take};
use crate::support::server::ServerKind;

/// Moves the staging directory away when the n-th stretch of work begins; then interrupts or not.
struct Moves {
    staging: PathBuf,
    to: PathBuf,
    step: usize,
    interrupts: bool,
    begun: AtomicUsize,
    moved: AtomicBool,
}

impl Moves {
    fn of(place: &Path, target: &str, (step, interrupts): (usize, bool)) -> Moves {
        let to = place.join("his").join("own");
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let staging = place.join(format!(".redkeep-staging-{target}"));
        Moves { staging, to, step, interrupts, begun: AtomicUsize::new(0), moved: AtomicBool::new(false) }
    }

    fn has_moved(&self) -> bool {
        self.moved.load(Ordering::SeqCst)
    }

    fn assert_nothing_stays(&self, what: &str) {
        assert!(!self.to.exists(), "{what}: {:?}", fs::read_dir(&self.to).unwrap().count());
        assert!(!self.staging.exists(), "{what}");
    }
}

impl Observer for Moves {
    fn begin(&self, _: &str, _: Option<u64>) {
        if self.begun.fetch_add(1, Ordering::SeqCst) == self.step {
            self.moved.store(fs::rename(&self.staging, &self.to).is_ok(), Ordering::SeqCst);
        }
    }
    fn advance(&self, _: u64) {}
    fn interrupted(&self) -> bool {
        self.interrupts && self.has_moved()
    }
}

/// LOCAL-29
#[test]
fn a_staging_directory_that_is_moved_away_is_emptied_and_removed() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Aof, &[]);
    let mut moved = 0;
    for step in 0..12 {
        for interrupts in [true, false] {
            let victim = Victim::start(kind, &[]);
            let moves = Moves::of(&victim.directory(), "dataset", (step, interrupts));
            let restored = victim.restore_watched(&taken, &moves);
            let what = format!("step {step}, {interrupts}: {restored:?}");
            moves.assert_nothing_stays(&what);
            moved += usize::from(moves.has_moved());
            // What failed left the server with what it had, and the next restore works.
            if restored.is_err() {
                victim.start_by_hand();
                victim.restore(&taken).unwrap();
            }
            taken.held.assert_equal(&victim.holds(), &what);
        }
    }
    assert!(moved >= 6, "moved only {moved} times");
}

/// LOCAL-29
#[test]
fn so_is_that_of_a_restore_to_a_directory() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    let taken = take(kind, Captured::Dump, &[]);
    for interrupts in [true, false] {
        let place = tempfile::tempdir().unwrap();
        let moves = Moves::of(place.path(), "data", (0, interrupts));
        let options = Options::new(place.path().join("data"));
        assert!(restore(&taken.repository, &taken.chosen, &options, &moves).is_err());
        assert!(moves.has_moved());
        moves.assert_nothing_stays(&format!("{interrupts}"));
        restore(&taken.repository, &taken.chosen, &options, &Silent).unwrap();
    }
}
