//! The progress bar on standard error, and the signals that stop a command.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use super::exit::{Code, Stopped};
use super::human::size;
use super::outcome::{print_error, to_stderr};
use crate::operations::{Observer, OperationError};
use crate::redis::RedisError;
use crate::store::Tell;

const WITH_TOTAL: &str = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
const WITHOUT_TOTAL: &str = "{msg} {spinner}";

/// How far long work has come, for a person at a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_shown: bool,
    is_verbose: bool,
    is_quiet: bool,
    /// The begin of the run, where details are told with their times.
    clock: Option<Instant>,
    /// Whether the work is to stop.
    stop: Arc<AtomicBool>,
    /// Whether the next signal ends the program where it is.
    at_once: Arc<AtomicBool>,
    /// Whether the answer is being printed: who ends the program after that says nothing more on standard output.
    is_answered: Arc<Mutex<bool>>,
    /// What a person has to do if the program ends where it is.
    left: Arc<Mutex<String>>,
}

impl Progress {
    /// A bar, shown only on a terminal. From now on SIGINT and SIGTERM end the program with 130, and a word about it.
    pub fn new(is_shown: bool, verbose: u8, is_quiet: bool, is_json: bool) -> io::Result<Progress> {
        let is_shown = is_shown && io::stderr().is_terminal();
        let bar = ProgressBar::hidden();
        let (stop, at_once) = (Arc::default(), Arc::new(AtomicBool::new(true)));
        let is_answered = Arc::default();
        let left: Arc<Mutex<String>> = Arc::default();
        let (answered, behind) = (Arc::clone(&is_answered), Arc::clone(&left));
        let end = End { is_json, bar: bar.clone(), is_answered: answered, left: behind, begun: Arc::default() };
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, Code::Interrupted as i32, Arc::clone(&end.begun))?;
            flag::register(signal, Arc::clone(&stop))?;
        }
        // What writes past a limit on the size of files gets an error instead, which names the file.
        flag::register(SIGXFSZ, Arc::default())?;
        // Printing is not for a signal's handler: a thread waits for them.
        let (mut signals, turn) = (Signals::new([SIGINT, SIGTERM])?, Arc::clone(&at_once));
        thread::Builder::new().name("signals".into()).spawn(move || {
            for _ in signals.forever() {
                if turn.swap(true, Ordering::Relaxed) {
                    end.now();
                }
            }
        })?;
        let clock = (verbose > 1).then(Instant::now);
        Ok(Progress { bar, is_shown, is_verbose: verbose > 0, is_quiet, clock, stop, at_once, is_answered, left })
    }

    /// From now on the first signal asks the work to stop in good order, and the second ends the program.
    pub fn stop_in_order(&self) {
        self.at_once.store(false, Ordering::Relaxed);
    }

    /// Is set once a signal asked the work to stop.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Prints a note from any thread, without disturbing the bar.
    pub fn teller(&self) -> Tell {
        let (bar, is_quiet) = (self.bar.clone(), self.is_quiet);
        Arc::new(move |text| {
            if !is_quiet {
                bar.suspend(|| to_stderr(&format!("note: {text}")));
            }
        })
    }

    /// Asks a person something: a signal ends the question, which leaves the terminal as it was.
    pub fn ask<T>(&self, question: impl FnOnce() -> T) -> T {
        let at_once = self.at_once.swap(false, Ordering::Relaxed);
        let answer = question();
        // The thread may hear of a signal only now: it was for the question.
        if !self.stop.load(Ordering::Relaxed) {
            self.at_once.store(at_once, Ordering::Relaxed);
        }
        answer
    }

    /// Prints a detail; with its time since the begin where that was asked for.
    pub fn detail(&self, text: &str) {
        let time = self.clock.map_or(String::new(), |clock| format!(" {:.3} s", clock.elapsed().as_secs_f64()));
        self.aside(|| to_stderr(&format!("redkeep{time}: {text}")));
    }

    /// Prints something else without disturbing the bar.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the bar away: the answer is printed next.
    pub fn finish(&self) {
        *lock(&self.is_answered) = true;
        self.bar.finish_and_clear();
    }

    /// Progress without a bar, where standard output goes to the same eyes.
    pub fn hidden(&self) -> Hidden<'_> {
        Hidden(self)
    }
}

/// The end of a program that a signal stopped where it was.
struct End {
    is_json: bool,
    bar: ProgressBar,
    is_answered: Arc<Mutex<bool>>,
    left: Arc<Mutex<String>>,
    /// Whether it has begun: what it prints may have to wait for its reader, and the next signal does not.
    begun: Arc<AtomicBool>,
}

impl End {
    fn now(&self) -> ! {
        self.begun.store(true, Ordering::Relaxed);
        // Held to the end, so that the answer of the command does not come behind this one.
        let is_answered = lock(&self.is_answered);
        self.bar.finish_and_clear();
        let hint = lock(&self.left).clone();
        let error = match hint.is_empty() {
            true => Stopped.into(),
            false => OperationError::from(RedisError::Stopped { what: Stopped.to_string(), hint }).into(),
        };
        print_error(&error, self.is_json && !*is_answered);
        low_level::exit(Code::Interrupted as i32)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer for Progress {
    fn begin(&self, what: &str, bytes: Option<u64>) {
        let template = if bytes.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // The line of the step before goes: it would stand there for ever.
        self.bar.finish_and_clear();
        // Every change draws: none is seen before the last.
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
        self.bar.set_style(style);
        match bytes {
            Some(bytes) => self.bar.set_length(bytes),
            None => self.bar.unset_length(),
        }
        self.bar.set_message(what.to_string());
        self.bar.reset();
        if self.is_shown {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(Duration::from_millis(100));
        }
        if self.is_verbose {
            let bytes = bytes.map_or(String::new(), |bytes| format!(" {}", size(bytes)));
            self.detail(&format!("{what}{bytes}"));
        }
    }

    fn say(&self, how: &str) {
        self.bar.set_message(how.to_string());
    }

    fn remark(&self, what: &str) {
        if !self.is_quiet {
            self.aside(|| to_stderr(&format!("note: {what}")));
        }
    }

    fn leaves(&self, what: &str) {
        what.clone_into(&mut lock(&self.left));
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Whether to stop, and nothing else.
pub(crate) struct Hidden<'p>(&'p Progress);

impl Observer for Hidden<'_> {
    fn begin(&self, _: &str, _: Option<u64>) {}

    fn remark(&self, what: &str) {
        self.0.remark(what);
    }

    fn leaves(&self, what: &str) {
        self.0.leaves(what);
    }

    fn advance(&self, _: u64) {}

    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bar_are_understood() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
