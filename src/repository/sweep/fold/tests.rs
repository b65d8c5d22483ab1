//! What of a dataset's records, tombstones and ledgers is replaced, and what is worth a ledger.

use std::time::{Duration, SystemTime};

use super::*;
use crate::format::Id16;

const HOUR: Duration = Duration::from_secs(3600);

fn snapshot(number: u16) -> SnapshotName {
    let [high, low] = number.to_be_bytes();
    let session = Id16([[high, low, 0, 0, 0, 0, 0, 0], [0; 8]].concat().try_into().unwrap());
    let (place, sequence) = (number.into(), number.into());
    SnapshotName { tag: DatasetTag([0; 8]), place, sequence, time: UnixMillis(1000), session }
}

/// That it was forgotten, at a time that is its number.
fn forgotten(number: u16) -> Said {
    Said { snapshot: snapshot(number), time: UnixMillis(number.into()), reason: Some("retention".into()) }
}

fn void(number: u16) -> Said {
    Said { reason: None, ..forgotten(number) }
}

fn loose(said: Said) -> Loose {
    let name = match said.reason {
        Some(_) => Name::Forgotten(said.snapshot),
        None => Name::Snapshot(said.snapshot),
    };
    Loose { name, said }
}

/// A ledger that was put at some second.
fn ledger(second: u64, size: u64, said: Vec<Said>) -> Standing {
    let name = Name::Ledger(DatasetTag([0; 8]), Id16([second as u8; 16]));
    let modified = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
    Standing { listed: Listed { name, size, modified }, said, is_settled: true }
}

fn folding(loose: Vec<Loose>, ledgers: Vec<Standing>) -> Folding {
    Folding { loose, ledgers, grace: HOUR, ..Folding::default() }
}

fn names(ledgers: &[Standing]) -> Vec<Name> {
    ledgers.iter().map(|ledger| ledger.listed.name).collect()
}

/// SWEEP-19: by a ledger that says the same of the same kind, and that everybody sees.
#[test]
fn a_record_or_tombstone_goes_for_a_ledger_that_says_it() {
    let all = || vec![loose(forgotten(1)), loose(forgotten(2)), loose(void(3)), loose(void(4))];
    let of = |ledger: Standing| Folding {
        records: vec![snapshot(1), snapshot(2)],
        there: vec![(snapshot(3), HOUR), (snapshot(4), HOUR)],
        ..folding(all(), vec![ledger])
    };
    let mut some = of(ledger(1, 100, vec![forgotten(1), void(3), void(2), forgotten(4)]));
    assert_eq!(some.take_replaced(), BTreeSet::from([Name::Forgotten(snapshot(1)), Name::Snapshot(snapshot(3))]));
    let left: Vec<Name> = some.loose.iter().map(|loose| loose.name).collect();
    assert_eq!(left, [Name::Forgotten(snapshot(2)), Name::Snapshot(snapshot(4))]);
    assert_eq!(some.ledgers.len(), 1);
    let unsettled = Standing { is_settled: false, ..ledger(1, 100, vec![forgotten(1), void(3)]) };
    assert_eq!(of(unsettled).take_replaced(), BTreeSet::new());
}

/// SWEEP-19
#[test]
fn what_stands_at_a_void_name_goes_once_it_has_stood_for_grace() {
    let stood =
        |time| Folding { there: vec![(snapshot(1), time)], ..folding(vec![], vec![ledger(1, 100, vec![void(1)])]) };
    assert_eq!(stood(HOUR - Duration::from_secs(1)).take_replaced(), BTreeSet::new());
    assert_eq!(stood(HOUR).take_replaced(), BTreeSet::from([Name::Snapshot(snapshot(1))]));
}

/// SWEEP-19: a younger ledger that says all the older one says; one of the same age is no reason.
#[test]
fn a_ledger_goes_for_a_younger_one_with_all_of_its_entries_alone() {
    let few = || vec![forgotten(1), void(2)];
    let more = || [few(), vec![forgotten(3)]].concat();
    let replaced = |ledgers: Vec<Standing>| {
        let mut all = folding(vec![], ledgers);
        let replaced = all.take_replaced();
        assert!(names(&all.ledgers).iter().all(|name| !replaced.contains(name)));
        (replaced.len(), all.ledgers.len())
    };
    assert_eq!(replaced(vec![ledger(1, 100, few()), ledger(2, 100, more())]), (1, 1));
    assert_eq!(replaced(vec![ledger(1, 100, few()), ledger(2, 100, few())]), (1, 1));
    assert_eq!(replaced(vec![ledger(1, 100, more()), ledger(2, 100, few())]), (0, 2), "it says more");
    assert_eq!(replaced(vec![ledger(1, 100, few()), ledger(1, 100, more())]), (0, 2), "it is as old");
    assert_eq!(replaced(vec![ledger(2, 100, few()), ledger(1, 100, more())]), (0, 2), "it is younger");
    let void_too = vec![void(1), void(2)];
    assert_eq!(replaced(vec![ledger(1, 100, few()), ledger(2, 100, void_too)]), (0, 2), "it says something else");
    let unsettled = Standing { is_settled: false, ..ledger(2, 100, more()) };
    assert_eq!(replaced(vec![ledger(1, 100, few()), unsettled]), (0, 2), "not everybody sees it");
}

/// SWEEP-20
#[test]
fn eight_loose_ones_or_two_small_ledgers_are_worth_a_ledger() {
    let records = |numbers: std::ops::Range<u16>| numbers.map(|number| loose(forgotten(number))).collect::<Vec<_>>();
    let put = |loose: Vec<Loose>, ledgers: Vec<Standing>| folding(loose, ledgers).ledger();
    assert_eq!(put(records(0..7), vec![]), None);
    assert_eq!(put(records(0..8), vec![]).unwrap().forgotten["retention"].len(), 8);
    let tombstones: Vec<Loose> = (0..8).map(|number| loose(void(number))).collect();
    assert_eq!(put(tombstones, vec![]).unwrap().void.len(), 8);
    // Those that a ledger says wait for it to be seen, and count no more.
    assert_eq!(put(records(0..8), vec![ledger(1, 100, vec![forgotten(7)])]), None);
    // What the one says is said in another way by the other.
    let small = |second, number| ledger(second, SMALL - 1, vec![forgotten(number), void(number)]);
    assert_eq!(put(records(0..7), vec![small(1, 9)]), None);
    let of_two = put(records(0..1), vec![small(1, 8), small(2, 9)]).unwrap();
    assert_eq!((of_two.forgotten["retention"].len(), of_two.void.len()), (3, 2));
    let large = |second, number| ledger(second, SMALL, vec![forgotten(number)]);
    assert_eq!(put(records(0..7), vec![large(1, 8), small(2, 9)]), None);
    // A ledger that is not small is not read again to be written; small ones are taken in.
    let taken_in = put(records(0..8), vec![large(1, 8), small(2, 9)]).unwrap();
    assert_eq!(taken_in.forgotten["retention"].keys().filter(|name| name.sequence >= 8).count(), 1);
    // One of which a younger one says all is as good as gone.
    let both = || vec![ledger(1, 100, vec![forgotten(1)]), ledger(2, 100, vec![forgotten(1), forgotten(2)])];
    assert_eq!(put(vec![], both()), None);
}

/// LEDGER-1: of two that speak of one snapshot the earlier counts.
#[test]
fn a_ledger_keeps_the_earliest_time() {
    let late = Said { time: UnixMillis(90), ..forgotten(1) };
    let early = Said { time: UnixMillis(5), ..forgotten(1) };
    for said in [[late.clone(), early.clone()], [early, late]] {
        let [first, second] = said.map(|said| ledger(said.time.0, 100, vec![said, forgotten(2)]));
        let mut two = folding(vec![], vec![first, Standing { said: second.said[..1].to_vec(), ..second }]);
        // Neither has all of the other's where the entries differ.
        two.ledgers[1].said.push(forgotten(3));
        assert_eq!(two.ledger().unwrap().forgotten["retention"][&snapshot(1)], UnixMillis(5));
    }
}

/// SWEEP-20: as much as fits; the rest stays loose for a later sweep, and its records stay with it.
#[test]
fn what_does_not_fit_into_a_ledger_waits() {
    let said = |number: u16, length: usize| Said {
        reason: Some(format!("{number}{}", "x".repeat(length))),
        ..forgotten(number)
    };
    let long = FILL / 4;
    let mut all = folding((0..9).map(|number| loose(said(number, long))).collect(), vec![]);
    let put = all.ledger().unwrap();
    assert_eq!((put.forgotten.len(), all.loose.len()), (3, 3), "with the room that an entry takes beside it");
    assert!(put.encode().len() <= FILL);
    // One reason takes its room once.
    let mut all = folding(
        (0..9).map(|number| loose(Said { reason: said(0, long).reason, ..forgotten(number) })).collect(),
        vec![],
    );
    assert_eq!(all.ledger().unwrap().forgotten.values().map(BTreeMap::len).sum::<usize>(), 9);
}
