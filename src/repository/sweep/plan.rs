//! Which packs are condemned: a pure choice among what a sweep may judge. Any choice is safe; this one is cheap.

use crate::format::ObjectHash;
use crate::repository::catalog::PackUse;

/// Packs below this size are small.
const SMALL: u64 = 4 << 20;
/// So many small packs are rewritten together; fewer are not worth it.
const SMALL_COUNT: usize = 8;
/// Most packs in one condemnation: far below CONDEMNED_MAX at 34 bytes each.
const MOST: usize = 200_000;

/// What the user wants of the choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Unneeded share of what is left that is lived with, 0 to 1.
    pub max_unused: f64,
    /// Needed bytes that may be stored again in one run.
    pub max_rewrite: u64,
    /// Packs of seal epochs below this one are rewritten.
    pub reseal_below: u32,
}

/// Which packs are condemned, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The packs.
    pub packs: Vec<ObjectHash>,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of them that are needed and stored again, about.
    pub rewritten: u64,
    /// Bytes that would be freed if the packs that stay were stored again, about.
    pub unused: u64,
}

/// How many of the condemnations with so many packs each go into one burial, with as many packs of what is stored again:
/// the first does in any case.
pub fn fitting(packs: impl Iterator<Item = usize>) -> usize {
    let sums = packs.scan(0, |sum: &mut usize, packs| {
        *sum += packs;
        Some(*sum)
    });
    sums.enumerate().take_while(|(place, sum)| *place == 0 || *sum <= MOST).count()
}

/// Chooses among `uses` those for which `judged` answers true.
pub fn plan(uses: &[PackUse], judged: &dyn Fn(&ObjectHash) -> bool, policy: Policy) -> Plan {
    let mut plan = Plan { unused: uses.iter().map(PackUse::freed).sum(), ..Plan::default() };
    let mut left: u64 = uses.iter().map(|of| of.size).sum();
    let (dead, partly): (Vec<&PackUse>, Vec<&PackUse>) =
        uses.iter().filter(|of| judged(&of.pack)).partition(|of| of.live == 0 || !of.is_indexed);
    for of in dead {
        plan.take(of, u64::MAX);
        left -= of.size;
    }
    let (old, mut partly): (Vec<&PackUse>, Vec<&PackUse>) =
        partly.into_iter().partition(|of| of.epoch < policy.reseal_below);
    for of in old {
        plan.take(of, policy.max_rewrite);
    }
    // Where most is gained for what is stored again.
    partly.sort_by_key(|of| (u128::from(of.live) << 64) / u128::from((of.size + of.saved).max(1)));
    for of in &partly {
        if plan.unused as f64 <= policy.max_unused * left as f64 || of.freed() == 0 {
            break;
        }
        plan.take(of, policy.max_rewrite);
    }
    let is_small = |of: &&&PackUse| of.size < SMALL && !plan.packs.contains(&of.pack);
    let small: Vec<&PackUse> = partly.iter().filter(is_small).copied().collect();
    if small.len() >= SMALL_COUNT {
        small.into_iter().for_each(|of| plan.take(of, policy.max_rewrite));
    }
    plan
}

impl Plan {
    fn take(&mut self, of: &PackUse, max_rewrite: u64) {
        if self.packs.len() < MOST && self.rewritten.saturating_add(of.live) <= max_rewrite {
            self.packs.push(of.pack);
            self.bytes += of.size;
            self.rewritten += of.live;
            self.unused -= of.freed();
        }
    }
}

impl PackUse {
    /// What is no longer there once what is needed of it is stored again.
    fn freed(&self) -> u64 {
        self.size.saturating_sub(self.live) + self.saved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const POLICY: Policy = Policy { max_unused: 0.05, max_rewrite: u64::MAX, reseal_below: 0 };

    fn uses(packs: &[(u64, u64)]) -> Vec<PackUse> {
        let of = |(number, (size, live)): (u8, &(u64, u64))| PackUse {
            pack: ObjectHash([number; 32]),
            size: size * MIB,
            live: live * MIB,
            saved: 0,
            epoch: 1,
            is_indexed: true,
        };
        (0..).zip(packs).map(of).collect()
    }

    fn chosen(uses: &[PackUse], policy: Policy) -> Vec<u8> {
        plan(uses, &|_| true, policy).packs.iter().map(|pack| pack.0[0]).collect()
    }

    #[test]
    fn packs_without_needed_bytes_go_and_others_by_their_share_until_enough_is_used() {
        assert_eq!(chosen(&uses(&[(16, 16), (16, 0), (16, 15)]), POLICY), [1]);
        assert_eq!(chosen(&uses(&[(16, 16), (16, 4), (16, 8), (16, 16)]), POLICY), [1, 2]);
        assert_eq!(chosen(&uses(&[(16, 4), (16, 8)]), Policy { max_unused: 1.0, ..POLICY }), [] as [u8; 0]);
        assert_eq!(chosen(&uses(&[(16, 8), (16, 4)]), Policy { max_rewrite: 4 * MIB, ..POLICY }), [1]);
    }

    #[test]
    fn packs_of_roots_go_where_enough_is_saved_elsewhere() {
        let mut packs = uses(&[(16, 16), (16, 16), (16, 15)]);
        packs[0].saved = 4 * MIB;
        assert_eq!(chosen(&packs, POLICY), [0]);
        packs[0].saved = 2 * MIB;
        assert_eq!(chosen(&packs, POLICY), [0]);
        assert_eq!(chosen(&packs, Policy { max_rewrite: 15 * MIB, ..POLICY }), [2]);
        packs[0].saved = MIB;
        assert_eq!(chosen(&packs, POLICY), [] as [u8; 0]);
    }

    /// SWEEP-8
    #[test]
    fn more_condemnations_than_a_burial_holds_go_into_several() {
        assert_eq!(fitting([].into_iter()), 0);
        assert_eq!(fitting([MOST, 1].into_iter()), 1);
        assert_eq!(fitting([MOST + 1, 1].into_iter()), 1);
        assert_eq!(fitting([MOST / 2, MOST / 2, 1].into_iter()), 2);
    }

    #[test]
    fn small_packs_are_rewritten_when_there_are_eight() {
        assert_eq!(chosen(&uses(&[(1, 1); 7]), POLICY), [] as [u8; 0]);
        assert_eq!(chosen(&uses(&[(1, 1); 8]), POLICY).len(), 8);
    }

    #[test]
    fn what_may_not_be_judged_stays_and_unindexed_and_old_ones_are_rewritten() {
        let mut packs = uses(&[(16, 0), (16, 16), (16, 16)]);
        assert_eq!(plan(&packs, &|pack| pack.0[0] != 0, POLICY), Plan { unused: 16 * MIB, ..Plan::default() });
        packs[1].is_indexed = false;
        assert_eq!(chosen(&packs, POLICY), [0, 1]);
        packs[2].epoch = 0;
        assert_eq!(chosen(&packs, Policy { reseal_below: 1, ..POLICY }), [0, 1, 2]);
    }
}
