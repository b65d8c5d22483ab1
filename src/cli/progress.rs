//! The progress bar on standard error, and the signals that stop a command.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::Code;
use super::human::size;
use super::outcome::to_stderr;
use crate::operations::Observer;

const WITH_TOTAL: &str = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
const WITHOUT_TOTAL: &str = "{msg} {spinner} {binary_bytes}";

/// How far long work has come, for a person at a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_verbose: bool,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// A bar, shown only on a terminal.
    pub fn new(is_shown: bool, is_verbose: bool) -> Progress {
        let bar = match is_shown && io::stderr().is_terminal() {
            true => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            false => ProgressBar::hidden(),
        };
        Progress { bar, is_verbose, stop: Arc::default() }
    }

    /// From now on the first SIGINT or SIGTERM asks the work to stop in good order, the second ends it at once.
    pub fn watch_signals(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, Code::Interrupted as i32, self.stop.clone())?;
            flag::register(signal, self.stop.clone())?;
        }
        Ok(())
    }

    /// Prints something else without disturbing the bar.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Progress {
    fn begin(&self, what: &str, bytes: Option<u64>) {
        let template = if bytes.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.reset();
        self.bar.set_style(style);
        match bytes {
            Some(bytes) => self.bar.set_length(bytes),
            None => self.bar.unset_length(),
        }
        self.bar.set_message(what.to_string());
        self.bar.enable_steady_tick(Duration::from_millis(100));
        if self.is_verbose {
            let bytes = bytes.map_or(String::new(), |bytes| format!(" {}", size(bytes)));
            self.aside(|| to_stderr(&format!("redkeep: {what}{bytes}")));
        }
    }

    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
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
