//! All steps from one state: every actor's next store call, the clock, and what arrives late. A pause is a step not taken.

use std::fmt;

use crate::state::{Object, Setup, State, members};
use crate::{backup, sweep};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    Clock,
    Store,
    Forget,
    Undelete,
    Backup(usize),
    Sweep(usize),
}

impl fmt::Display for Actor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Clock => write!(out, "clock"),
            Actor::Store => write!(out, "store"),
            Actor::Forget => write!(out, "forget"),
            Actor::Undelete => write!(out, "undelete"),
            Actor::Backup(at) => write!(out, "backup {at}"),
            Actor::Sweep(at) => write!(out, "sweep {at}"),
        }
    }
}

/// One step, for people.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub actor: Actor,
    pub call: &'static str,
    /// What it concerns or shows.
    pub set: u16,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<9} {}", self.actor.to_string(), self.call)?;
        if self.set != 0 {
            write!(out, " {:?}", members(self.set).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// Steps from one state, each with the state after it.
#[derive(Default)]
pub struct Steps(pub Vec<(Step, State)>);

impl Steps {
    pub fn add(&mut self, actor: Actor, call: &'static str, set: u16, state: State) {
        self.0.push((Step { actor, call, set }, state));
    }

    /// Fills in all steps from a state.
    pub fn of(&mut self, setup: &Setup, state: &State) {
        self.0.clear();
        for at in 0..state.backups.len() {
            backup::steps(setup, state, at, self);
        }
        for at in 0..state.sweeps.len() {
            sweep::steps(setup, state, at, self);
        }
        if setup.forget && !state.forgotten.exists() {
            self.add(Actor::Forget, "puts forgotten/ for `before`", 0, State { forgotten: Object::PUT, ..*state });
        }
        for (pack, put, next) in state.late() {
            let call = if put { "a put of a pack arrives late" } else { "a repeated delete of a pack arrives late" };
            self.add(Actor::Store, call, 1 << pack, next);
        }
        if let Some(next) = state.tick(setup) {
            self.add(Actor::Clock, "ticks", 0, next);
        }
    }
}
