//! Snapshots of another repository are copied by who dies at each call of the repository that they go to. What is there is
//! whole, and whoever copies next brings what is missing, and nothing twice.

use crate::crash_sweep::history;
use crate::operations::{COPY, FAR, elsewhere};
use crate::support::stores::{FAULTS, RecordingStore, Verb};
use crate::world::{STRICT, World, is_long};

impl World {
    /// Versions that were copied, in order, as a host sees them that knows nothing.
    fn copied(&self) -> Vec<u64> {
        let repository = self.host("newcomer").open_anew(self.store.clone()).unwrap();
        repository.refresh().unwrap();
        let infos = repository.kept_snapshots().unwrap().into_iter().filter(|info| info.dataset == "far");
        let origin = |origin: Option<String>| origin.unwrap().parse::<redkeep::format::origin::Origin>().unwrap();
        let version = |id| elsewhere().truth().iter().find(|(name, _)| name.session == id).unwrap().1.version;
        infos.map(|info| version(origin(info.told.origin).snapshot)).collect()
    }
}

/// COPY-1, COPY-2
#[test]
fn a_copy_that_dies_anywhere_loses_nothing_and_the_next_one_completes_it() {
    let world = World::new(STRICT);
    history(&world);
    let stride = if is_long() { 1 } else { FAULTS.len() };
    for (first, fault) in FAULTS.into_iter().enumerate() {
        for n in (first as u64 % stride as u64..).step_by(stride) {
            let mut run = world.fork();
            let place = format!("copy, {fault:?} at call {n}");
            let has_died = run.die(COPY, n, fault, &place);
            run.check(&place);
            let before = run.copied();
            assert!(FAR.starts_with(&before), "{place}: {before:?}");
            let recording = RecordingStore::new(run.store.clone());
            (COPY.run)(&run, &run.host("beta"), recording.clone()).unwrap_or_else(|error| panic!("{place}: {error:?}"));
            let committed = |verb| matches!(verb, Verb::PutNew);
            let calls = recording.calls();
            let commits = calls.iter().filter(|call| committed(call.verb) && call.name.starts_with("snapshots/"));
            assert_eq!((run.copied(), commits.count()), (FAR.to_vec(), FAR.len() - before.len()), "{place}");
            match is_long() {
                true => run.finish(&place),
                false => run.check_data(&place),
            }
            if !has_died {
                assert_eq!(before, FAR, "{place}");
                assert!(n >= 30, "{place}: the sweep has tried calls");
                break;
            }
        }
    }
}
