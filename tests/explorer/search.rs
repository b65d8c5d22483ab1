//! Breadth-first search through all states, so that the first schedule found is a shortest one.

use std::collections::{BTreeSet, VecDeque};

use crate::state::{Setup, State};
use crate::steps::{Step, Steps};

/// What a search found.
pub struct Found {
    pub states: usize,
    pub depth: usize,
    /// Whether there was no state left to look at.
    pub exhausted: bool,
    /// The calls made in some state.
    pub calls: BTreeSet<&'static str>,
    /// The loss, and the steps that lead to it.
    pub loss: Option<(&'static str, Vec<Step>)>,
}

impl Found {
    /// What was found, for whoever runs the tests with --nocapture.
    pub fn show(&self, setup: &Setup) {
        let all = if self.exhausted { ", all" } else { "" };
        let mut text = format!("{setup:?}\n{} states{all}, {} deep\n", self.states, self.depth);
        if let Some((loss, schedule)) = &self.loss {
            schedule.iter().zip(1..).for_each(|(step, number)| text += &format!("  {number:>2} {step}\n"));
            text += &format!("  {loss}\n");
        }
        println!("{text}");
    }
}

/// States seen, each by 64 bits of hash (among n states, one is overlooked with a chance of n^2 / 2^65), and where it came from.
struct Seen {
    /// Open addressing; 0 is an empty place, otherwise 1 + the number of a state.
    table: Vec<u32>,
    hashes: Vec<u64>,
    parents: Vec<u32>,
}

fn hash(state: &State) -> u64 {
    let mixed = state.words().iter().fold(0x243f_6a88_85a3_08d3_u64, |sum, word| {
        let product = u128::from(sum ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xe703_7ed1_a0b4_28db;
        (product as u64) ^ (product >> 64) as u64 ^ sum.rotate_left(29)
    });
    mixed ^ mixed >> 32
}

impl Seen {
    fn new() -> Seen {
        Seen { table: vec![0; 1 << 16], hashes: Vec::new(), parents: Vec::new() }
    }

    fn place(&self, hash: u64) -> usize {
        let mask = self.table.len() - 1;
        let mut place = hash as usize & mask;
        while self.table[place] != 0 && self.hashes[self.table[place] as usize - 1] != hash {
            place = (place + 1) & mask;
        }
        place
    }

    /// Notes a state; false if it was seen before.
    fn insert(&mut self, hash: u64, parent: u32) -> bool {
        let place = self.place(hash);
        if self.table[place] != 0 {
            return false;
        }
        self.hashes.push(hash);
        self.parents.push(parent);
        self.table[place] = self.hashes.len() as u32;
        if self.hashes.len() * 2 > self.table.len() {
            self.table = vec![0; self.table.len() * 2];
            for at in 0..self.hashes.len() {
                let place = self.place(self.hashes[at]);
                self.table[place] = at as u32 + 1;
            }
        }
        true
    }

    /// The hashes of the states on the way to one, after the first.
    fn way(&self, mut at: u32) -> Vec<u64> {
        let mut way = Vec::new();
        while at != 0 {
            way.push(self.hashes[at as usize]);
            at = self.parents[at as usize];
        }
        way.reverse();
        way
    }
}

/// Looks at all states, or at the first of them up to a bound.
pub fn search(setup: &Setup, bound: usize) -> Found {
    let start = State::start(setup);
    let mut seen = Seen::new();
    seen.insert(hash(&start), 0);
    let mut open = VecDeque::from([(0_u32, 0_usize, start)]);
    let mut steps = Steps::default();
    let (mut deepest, mut calls) = (0, BTreeSet::new());
    while let Some((at, depth, state)) = open.pop_front() {
        deepest = depth;
        steps.of(setup, &state);
        for (step, next) in &steps.0 {
            calls.insert(step.call);
            if !seen.insert(hash(next), at) {
                continue;
            }
            let number = seen.hashes.len() as u32 - 1;
            if let Some(loss) = next.loss(setup) {
                let schedule = replay(setup, &seen.way(number));
                return Found {
                    states: seen.hashes.len(),
                    depth: depth + 1,
                    exhausted: false,
                    calls,
                    loss: Some((loss, schedule)),
                };
            }
            open.push_back((number, depth + 1, *next));
        }
        if seen.hashes.len() >= bound {
            break;
        }
    }
    Found { states: seen.hashes.len(), depth: deepest, exhausted: open.is_empty(), calls, loss: None }
}

/// The steps that lead through these states.
fn replay(setup: &Setup, way: &[u64]) -> Vec<Step> {
    let mut state = State::start(setup);
    let mut steps = Steps::default();
    let mut schedule = Vec::new();
    for wanted in way {
        steps.of(setup, &state);
        let (step, next) =
            steps.0.iter().find(|(_, next)| hash(next) == *wanted).expect("the way was found by these steps");
        schedule.push(*step);
        state = *next;
    }
    schedule
}
