//! What every command is given: the global options, progress, and the way to a person's eyes.

use std::cell::OnceCell;
use std::io;

use super::args::Globals;
use super::configuration::Configuration;
use super::outcome::to_stderr;
use super::progress::Progress;

/// The surroundings of one run.
pub(crate) struct Context {
    /// The global options.
    pub globals: Globals,
    /// The bar on standard error, and whether the user asked to stop.
    pub progress: Progress,
    /// What the configuration files say, once they were looked at.
    pub(super) configuration: OnceCell<Configuration>,
}

impl Context {
    /// Surroundings by the global options.
    pub fn new(globals: Globals) -> io::Result<Context> {
        let is_shown = !(globals.quiet || globals.no_progress || globals.json);
        let progress = Progress::new(is_shown, globals.verbose, globals.quiet, globals.json)?;
        Ok(Context { globals, progress, configuration: OnceCell::new() })
    }

    /// Something a person may want to know.
    pub fn note(&self, text: &str) {
        if !self.globals.quiet {
            self.progress.aside(|| to_stderr(&format!("note: {text}")));
        }
    }

    /// A detail for whoever asked for details.
    pub fn detail(&self, text: &str) {
        if self.globals.verbose > 0 {
            self.progress.detail(text);
        }
    }

    /// Something a person has to look at.
    pub fn warn(&self, text: &str) {
        self.progress.aside(|| to_stderr(&format!("warning: {text}")));
    }
}
