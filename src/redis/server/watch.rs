//! What stands between a long wait for a server and the person who asked for it.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::redis::RedisError;

/// How long a sleep may put off the answer to an interruption.
const NAP: Duration = Duration::from_millis(100);

/// Is told what is waited for, and says when to stop.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Takes what is going on, for people.
    pub say: &'a dyn Fn(&str),
    /// Takes what a person has to hear at once, whatever else is shown.
    pub note: &'a dyn Fn(&str),
    /// Takes what a person has to do if the program ends now, and not in good order; empty where there is nothing.
    pub leaves: &'a dyn Fn(&str),
    /// Whether the user asked to stop.
    pub interrupted: &'a dyn Fn() -> bool,
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch<'_> {
    /// Sleeps, unless the user asked to stop.
    pub(super) fn pause(&self, time: Duration) -> Result<(), RedisError> {
        let begun = Instant::now();
        loop {
            if (self.interrupted)() {
                return Err(RedisError::Interrupted);
            }
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(NAP));
        }
    }
}

/// Ever longer pauses up to an end.
pub(super) struct Pauses {
    next: Duration,
    longest: Duration,
    /// `None`: never.
    until: Option<Instant>,
}

impl Pauses {
    pub(super) fn new(first: Duration, longest: Duration, patience: Duration) -> Self {
        Self { next: first, longest, until: Some(Instant::now() + patience) }
    }

    pub(super) fn endless(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest, until: None }
    }

    /// Sleeps; `false` when patience is at its end.
    pub(super) fn pause(&mut self, watch: &Watch<'_>) -> Result<bool, RedisError> {
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Ok(false);
        }
        watch.pause(self.next)?;
        self.next = (self.next * 3 / 2).min(self.longest);
        Ok(true)
    }
}
