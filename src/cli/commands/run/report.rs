//! What a run says at its end: one line for people, one object for programs, variables for the user's commands and
//! numbers for Prometheus.

use serde::Serialize;
use serde_json::Value;

use super::steps::{Step, Steps, variables};
use crate::cli::context::Context;
use crate::cli::exit::Code;
use crate::cli::human::{count, duration, plain};
use crate::cli::outcome::{Outcome, to_stderr};
use crate::cli::time::exact;
use crate::format::UnixMillis;
use crate::operations::watch::Numbers;
use crate::repository::Repository;

/// A run that came to its end.
pub(super) struct Report {
    profile: String,
    dataset: String,
    begin: UnixMillis,
    /// How long it took.
    pub millis: u64,
    steps: Steps,
}

impl Report {
    pub fn new(profile: &str, dataset: String, begin: UnixMillis, steps: Steps) -> Report {
        Report { profile: profile.into(), dataset, begin, millis: 0, steps }
    }

    /// The repository, if a step opened it.
    pub fn opened(&self) -> Option<&Repository> {
        self.steps.opened.as_ref()
    }

    /// What is backed up; empty where that is not known.
    pub fn dataset(&self) -> &str {
        &self.dataset
    }

    /// How it ended: as the worst of its steps, and not without warnings where there are any.
    pub fn code(&self) -> Code {
        self.steps.code()
    }

    pub fn warn(&mut self, warning: String) {
        self.steps.warnings.push(warning);
    }

    /// What happened, on one line.
    pub fn line(&self) -> String {
        let code = self.code();
        let warnings = match self.steps.warnings.len() as u64 {
            0 => String::new(),
            number => format!(" with {}", count(number, "warning")),
        };
        let how = match code.is_success() {
            true => format!("done{warnings}"),
            false => format!("FAILED (exit {}){warnings}", code as u8),
        };
        let done = self.steps.steps.iter().filter(|step| step.code.is_some()).filter_map(told);
        let skipped: Vec<&str> =
            self.steps.steps.iter().filter(|step| step.code.is_none()).map(|step| step.name).collect();
        let skipped = (!skipped.is_empty()).then(|| format!("not run: {}", skipped.join(", ")));
        let parts: Vec<String> = done.chain(skipped).collect();
        plain(&format!("redkeep {}: {how} in {}: {}", self.profile, duration(self.millis), parts.join("; ")))
    }

    /// What the user's commands are told.
    pub fn variables(&self, context: &Context) -> Vec<(&'static str, String)> {
        let mut variables = variables(&self.profile, &self.dataset, context);
        variables.extend([
            ("REDKEEP_EXIT_CODE", (self.code() as u8).to_string()),
            ("REDKEEP_SNAPSHOT", self.steps.snapshot.clone().unwrap_or_default()),
            ("REDKEEP_SUMMARY", self.line()),
        ]);
        variables
    }

    /// What Prometheus is told.
    pub fn numbers(&self, end: UnixMillis) -> Numbers {
        let run = self.steps.steps.iter().filter(|step| step.code.is_some());
        let mut steps: Vec<(&'static str, u64)> = Vec::new();
        for step in run {
            // Of several commands the sum: a step is told once.
            match steps.iter_mut().find(|(name, _)| *name == step.name) {
                Some((_, millis)) => *millis += step.millis,
                None => steps.push((step.name, step.millis)),
            }
        }
        Numbers {
            profile: self.profile.clone(),
            dataset: self.dataset.clone(),
            end,
            exit_code: self.code() as u8,
            is_success: self.code().is_success(),
            steps,
            backup: self.steps.backup,
            repository: self.steps.repository,
        }
    }

    /// Tells what failed on standard error, and hands over the rest.
    pub fn outcome(self, context: &Context) -> anyhow::Result<Outcome> {
        for step in self.steps.steps.iter().filter(|step| is_failed(step)) {
            context.progress.aside(|| to_stderr(&format!("redkeep: {}: {}", step.name, step.told)));
            if let Some(hint) = &step.hint {
                context.progress.aside(|| to_stderr(&format!("hint: {hint}")));
            }
        }
        let (line, code) = (self.line(), self.code());
        let outcome = Outcome::deed(format!("{line}\n"), &Json::new(&self, &line))?;
        Ok(outcome.with_warnings(self.steps.warnings).with_code(code))
    }
}

fn is_failed(step: &Step) -> bool {
    step.code.is_some_and(|code| !code.is_success())
}

/// What the line says of a step: of what went without a word, nothing.
fn told(step: &Step) -> Option<String> {
    match is_failed(step) {
        true => Some(format!("{}: {}", step.name, step.told)),
        false => (!step.told.is_empty()).then(|| step.told.clone()),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Json<'a> {
    profile: &'a str,
    dataset: &'a str,
    exit_code: u8,
    begin: String,
    milliseconds: u64,
    snapshot: Option<&'a str>,
    summary: &'a str,
    steps: Vec<StepOf<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct StepOf<'a> {
    step: &'a str,
    exit_code: Option<u8>,
    milliseconds: u64,
    result: Option<&'a Value>,
    error: Option<ErrorOf<'a>>,
}

#[derive(Serialize)]
struct ErrorOf<'a> {
    message: &'a str,
    hint: Option<&'a str>,
    exit_code: u8,
}

impl<'a> Json<'a> {
    fn new(report: &'a Report, summary: &'a str) -> Json<'a> {
        let step = |step: &'a Step| {
            let code = step.code.filter(|_| is_failed(step) && step.result.is_none());
            let error = |code: Code| ErrorOf { message: &step.told, hint: step.hint.as_deref(), exit_code: code as u8 };
            StepOf {
                step: step.name,
                exit_code: step.code.map(|code| code as u8),
                milliseconds: step.millis,
                result: step.result.as_ref(),
                error: code.map(error),
            }
        };
        Json {
            profile: &report.profile,
            dataset: &report.dataset,
            exit_code: report.code() as u8,
            begin: exact(report.begin),
            milliseconds: report.millis,
            snapshot: report.steps.snapshot.as_deref(),
            summary,
            steps: report.steps.steps.iter().map(step).collect(),
            warnings: &report.steps.warnings,
        }
    }
}
