//! The protocol with one of its corrections taken back. Each test names in words a schedule that loses a snapshot; the search has to find one.

use crate::search::search;
use crate::state::{Begin, PutNew, Setup, Variant};
use crate::{BOUND, ONE_EACH};

/// With the variant a chunk is gone or a reported commit overwritten; without it nothing is lost in as many states.
fn is_lost(setup: Setup) {
    is_found(Setup { indexed: false, ..setup });
}

fn is_found(setup: Setup) {
    let found = search(&setup, BOUND);
    found.show(&setup);
    assert!(found.loss.is_some(), "{setup:?}: nothing was lost in {} states", found.states);
    let sound = search(&Setup { variant: Variant::Protocol, ..setup }, found.states);
    assert_eq!(sound.loss.map(|(loss, _)| loss), None);
}

/// A backup pauses before B4; a sweep condemns what it refers to, calls it STALE and deletes; the backup commits.
#[test]
fn no_fence() {
    is_lost(Setup { variant: Variant::NoFence, ..ONE_EACH });
}

/// A backup LISTs index/ and pauses; a sweep whose LIST of leases was earlier buries, deletes and removes its condemnation; the
/// backup LISTs condemned/, which is empty, and refers to packs that only the old index object proves.
#[test]
fn index_listed_before_condemned() {
    is_lost(Setup { variant: Variant::IndexFirst, ..ONE_EACH });
}

/// A backup commits and deletes its lease; a sweep's LIST shows neither the lease nor, within LAG, the snapshot.
#[test]
fn lease_deleted_at_commit() {
    is_lost(Setup { lag: 1, variant: Variant::LeaseDeletedAtCommit, ..ONE_EACH });
}

/// A backup has chosen its packs in B2; then they are condemned, and its heartbeat says `seen` of that; the sweep does not wait for it.
#[test]
fn seen_updated_later() {
    is_lost(Setup { variant: Variant::SeenLater, ..ONE_EACH });
}

/// The pack of the base is condemned and the sweep has LISTed leases; a backup sees the condemnation and commits a delta that only its own
/// pack holds, as known; W2 finds that snapshot and holds it served by the pack of the delta; the base is deleted.
#[test]
fn bases_ignored() {
    is_lost(Setup { variant: Variant::BasesIgnored, ..ONE_EACH });
}

/// A backup's LIST does not show a condemnation put within LAG; its lease was put as late as that, and the sweep that waits one
/// LAG may not have it in its LIST.
#[test]
fn waits_of_one_lag() {
    is_lost(Setup { lag: 2, variant: Variant::OneLag, ..ONE_EACH });
}

/// W1 finds a session decided, and W2's LIST does not show its snapshot yet.
#[test]
fn no_get_in_w1() {
    is_lost(Setup { lag: 1, variant: Variant::NoGet, ..ONE_EACH });
}

/// Sweep 0 pauses after W2, where a snapshot needs the condemned pack; sweep 1 LISTs leases and condemned/; sweep 0 pardons; a backup starts,
/// sees no condemnation and refers to the pack; sweep 1 LISTs snapshots before that commit, and forgotten/ after the old snapshot was
/// forgotten: it deletes the pack.
#[test]
fn pardon() {
    let two = Setup { sweeps: 2, before: true, forget: true, condemned: true, condemns: false, ..ONE_EACH };
    is_lost(Setup { variant: Variant::Pardon, ..two });
}

/// Two sweeps LIST condemned/ before either condemns; sweep 0 stores a needed chunk again and pauses before its deletes; sweep 1 condemns
/// the new pack, holding the chunk known by the old one; both delete.
#[test]
fn condemned_list_of_s1_reused_without_burial() {
    is_lost(Setup { backups: 0, sweeps: 2, before: true, variant: Variant::OldList, ..ONE_EACH });
}

/// A backup commits on a settled store and reports it; within LAG a sweep that found nothing at the name puts its tombstone over it.
#[test]
fn acknowledged_commit_overwritten() {
    is_lost(Setup { lag: 1, put_new: PutNew::Settled, variant: Variant::FinalAtOnce, ..ONE_EACH });
}

/// A pack's put has an unknown outcome and the backup pauses; a sweep condemns the pack, fences the backup and deletes; the backup repeats
/// the put and the index, is refused, starts over and finds its own pack usable; a repeated delete of it arrives late.
#[test]
fn pack_put_repeated_after_its_deletion() {
    is_lost(Setup { unknown: true, lag: 1, grace: 1, condemned: true, variant: Variant::PutRepeated, ..ONE_EACH });
}

/// A sweep has LISTed leases; a backup sees the condemnation, but holds the chunk known because a snapshot uses it; W2 LISTs snapshots,
/// the backup commits, the old snapshot is forgotten, and W2 LISTs forgotten/: no root needs the pack.
#[test]
fn chunk_known_because_a_snapshot_uses_it() {
    is_lost(Setup { before: true, forget: true, variant: Variant::SnapshotProves, ..ONE_EACH });
}

/// A backup has stored a pack and its index object and committed; within LAG W2's LISTs show the index object and neither the pack, the lease
/// nor the snapshot; W4 calls the pack gone and deletes its index object. Gone means that a HEAD by name finds nothing.
#[test]
fn pack_called_gone_by_a_list() {
    is_found(Setup { lag: 1, condemned: true, variant: Variant::GoneByList, ..ONE_EACH });
}

/// Where put_new overwrites: a sweep finds a session STALE; the session wakes, puts a heartbeat, takes that for good and commits; the
/// sweep's tombstone arrives. So a heartbeat that was once too old has to end the session, whatever comes after it.
#[test]
fn session_revived_by_a_heartbeat() {
    is_lost(Setup { lag: 1, put_new: PutNew::Overwrites, variant: Variant::Revived, ..ONE_EACH });
}

/// A backup has stored a pack and pauses; a session beside it LISTs packs/, and the host remembers all that it shows; a sweep condemns the pack,
/// fences the backup and deletes; the backup names its pack, is refused, starts over and takes the pack for proved.
#[test]
fn proof_carried_over_of_packs_that_nothing_named() {
    let beside = Setup { undelete: true, begin: Begin::Nothing, ..ONE_EACH };
    is_lost(Setup { carries: true, variant: Variant::CarriedUnnamed, ..beside });
}

/// The same, where the packs of new index objects are not looked at by name.
#[test]
fn proof_carried_over_without_a_look_at_what_is_new() {
    let first = Setup { begin: Begin::Nothing, ..ONE_EACH };
    is_lost(Setup { carries: true, variant: Variant::CarriedNewUnproved, ..first });
}

/// Two sweeps bury different packs; the slower one puts an index object that names what the other one has deleted by then, and ends.
#[test]
fn proof_carried_over_whatever_index_shows() {
    let (undelete, begin) = (true, Begin::Condemned);
    let two = Setup { backups: 0, undelete, sweeps: 2, begin, condemns: false, ..ONE_EACH };
    is_lost(Setup { carries: true, variant: Variant::CarriedNotCompared, ..two });
}

/// A backup has stored a pack and pauses; a sweep condemns the pack, fences the backup and deletes; the backup names its pack, remembers that it
/// is there, is refused, starts over and takes the pack for proved.
#[test]
fn proof_carried_over_of_own_packs_before_the_commit() {
    let first = Setup { begin: Begin::Nothing, ..ONE_EACH };
    is_lost(Setup { carries: true, variant: Variant::CarriedBeforeCommit, ..first });
}
