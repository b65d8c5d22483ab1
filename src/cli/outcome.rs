//! What a command answers with, and how it reaches standard output and standard error.

use std::error::Error;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::context::Context;
use super::exit::{BusyError, Code, Hinted, TrialError, UsageError};
use super::human::{plain, short};
use super::json;
use super::output;
use super::time;
use crate::format::UnixMillis;
use crate::operations::OperationError;
use crate::operations::list::{NONE_YET, SEVERAL_DATASETS};
use crate::repository::{Alarm, RepositoryError};
use crate::store::StoreError;

/// What a command has done.
pub(crate) struct Outcome {
    text: String,
    short: String,
    json: String,
    kind: Kind,
    notes: Vec<String>,
    warnings: Vec<String>,
    code: Code,
}

/// What the text of an outcome is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It was asked for: shown with `--quiet` too.
    Listing,
    /// It says what was done.
    Deed,
    /// It says what was done, and holds a secret that is shown this once: with `--quiet` too.
    Secret,
    /// Standard output got what was asked for already.
    Nothing,
}

impl Outcome {
    /// Something was looked up.
    pub fn listing(text: String, json: &impl Serialize) -> anyhow::Result<Outcome> {
        Self::new(Kind::Listing, text, json)
    }

    /// Something was done.
    pub fn deed(text: String, json: &impl Serialize) -> anyhow::Result<Outcome> {
        Self::new(Kind::Deed, text, json)
    }

    /// Something was done that ends with a secret, which nothing but this shows.
    pub fn secret(text: String, json: &impl Serialize) -> anyhow::Result<Outcome> {
        Self::new(Kind::Secret, text, json)
    }

    /// Nothing is left to print.
    pub fn nothing() -> Outcome {
        Self::of(Kind::Nothing, String::new(), String::new())
    }

    fn new(kind: Kind, text: String, json: &impl Serialize) -> anyhow::Result<Outcome> {
        Ok(Self::of(kind, text, serde_json::to_string(json)?))
    }

    fn of(kind: Kind, text: String, json: String) -> Outcome {
        let (notes, warnings) = (Vec::new(), Vec::new());
        Outcome { text, short: String::new(), json, kind, notes, warnings, code: Code::Done }
    }

    /// The same in a few words, for the line of a run of which this is a step.
    pub fn in_short(mut self, short: String) -> Outcome {
        self.short = short;
        self
    }

    /// What a run keeps of a step: the few words, what `--json` would print, the warnings, and how it ended.
    pub fn into_step(self) -> (String, String, Vec<String>, Code) {
        (self.short, self.json, self.warnings, self.code)
    }

    /// Lines that a person should see and that change nothing.
    pub fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Outcome {
        self.notes.extend(notes);
        self
    }

    /// Lines about what is missing or suspect.
    pub fn with_warnings(mut self, warnings: impl IntoIterator<Item = String>) -> Outcome {
        self.warnings.extend(warnings);
        if !self.warnings.is_empty() && self.code == Code::Done {
            self.code = Code::Warnings;
        }
        self
    }

    /// What the repository lacks.
    pub fn with_alarms(self, alarms: &[Alarm]) -> Outcome {
        self.with_warnings(alarms.iter().map(Alarm::to_string))
    }

    /// Damage that another copy made good.
    pub fn with_made_good(self, made_good: &[String]) -> Outcome {
        self.with_warnings(made_good.iter().map(|damage| format!("made good from another copy: {damage}")))
    }

    /// The end of a command that found damage.
    pub fn with_damage(mut self, is_damaged: bool) -> Outcome {
        if is_damaged {
            self.code = Code::Damage;
        }
        self
    }

    /// The end of a command that tells itself how it ended.
    pub fn with_code(mut self, code: Code) -> Outcome {
        self.code = self.code.worse(code);
        self
    }

    /// Prints everything; the exit code may grow worse when it cannot be printed.
    pub fn print(mut self, context: &Context) -> Code {
        self.json.push('\n');
        let printed = match self.kind {
            Kind::Nothing => Ok(()),
            _ if context.globals.json => output::write(self.json.as_bytes()),
            Kind::Deed if context.globals.quiet => Ok(()),
            Kind::Listing | Kind::Deed | Kind::Secret => output::write(self.text.as_bytes()),
        };
        for note in &self.notes {
            context.note(note);
        }
        for warning in &self.warnings {
            context.warn(warning);
        }
        match printed {
            Ok(()) => self.code,
            Err(error) => self.unprinted(&error),
        }
    }

    /// The end of a command whose result did not arrive: never that of one whose result did.
    fn unprinted(&self, error: &io::Error) -> Code {
        to_stderr(&format!("redkeep: {UNWRITTEN}: {error}"));
        if self.kind == Kind::Secret {
            to_stderr(
                "hint: nobody saw the secret that this command made: find its key slot with redkeep key list, take it away \
                 with redkeep key remove, and draw another",
            );
        } else if let Some(hint) = full_disk(error) {
            to_stderr(&format!("hint: {hint}"));
        }
        match (self.kind, self.code) {
            // What was done is done, and only the word about it is lost.
            (Kind::Deed | Kind::Secret, Code::Done) => Code::Warnings,
            (Kind::Listing | Kind::Nothing, Code::Done) => Code::Failed,
            (_, code) => code,
        }
    }
}

/// What is said where a result cannot be printed.
pub(crate) const UNWRITTEN: &str = "cannot write to standard output";

/// How the first word of a line looks at a terminal.
const STYLES: [(&str, Style); 4] = [
    ("redkeep:", AnsiColor::Red.on_default().bold()),
    ("warning:", AnsiColor::Yellow.on_default().bold()),
    ("hint:", AnsiColor::Cyan.on_default()),
    ("note:", Style::new().dimmed()),
];

/// A line to standard error, with colours where that is a terminal that has them and NO_COLOR is not set. Nobody can be
/// told when it is closed.
pub(crate) fn to_stderr(line: &str) {
    let line = plain(line);
    let styled = STYLES.into_iter().find_map(|(word, style)| Some((word, style, line.strip_prefix(word)?)));
    let _ = match styled {
        Some((word, style, rest)) => writeln!(anstream::stderr(), "{style}{word}{style:#}{rest}"),
        None => writeln!(io::stderr(), "{line}"),
    };
}

/// Prints an error and its causes on one line, then what to do about it.
pub(crate) fn print_error(error: &anyhow::Error, is_json: bool) -> Code {
    let code = Code::of(error);
    let message = format!("{error:#}");
    let hint = hint(error);
    to_stderr(&format!("redkeep: {message}"));
    if let Some(hint) = &hint {
        to_stderr(&format!("hint: {hint}"));
    }
    if is_json {
        print_json_error(&message, hint.as_deref(), code);
    }
    code
}

/// The JSON object of an error, where the result would be.
pub(crate) fn print_json_error(message: &str, hint: Option<&str>, code: Code) {
    let error = json::Failure { error: json::FailureOf { message, hint, exit_code: code as u8 } };
    // The error stands on standard error already.
    let _ = serde_json::to_string(&error).map(|error| output::write(format!("{error}\n").as_bytes()));
}

/// What the user can do about an error, where there is something.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    hint_of(error).or_else(|| error.chain().find_map(|cause| full_disk(io_error(cause)?)).map(String::from))
}

/// What the system said, where this is that, or holds it without a cause.
fn io_error<'e>(cause: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    match cause.downcast_ref() {
        Some(OperationError::Repository(RepositoryError::Sink(error))) => error.downcast_ref(),
        _ => cause.downcast_ref(),
    }
}

/// What the user can do where something was written to, whatever it was, and is full.
fn full_disk(error: &io::Error) -> Option<&'static str> {
    let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    is_full.then_some(
        "the disk that it goes to is full, or a quota is used up: free some space there, or write it elsewhere",
    )
}

fn hint_of(error: &anyhow::Error) -> Option<String> {
    if let Some(error) = error.downcast_ref::<UsageError>() {
        return Some(error.hint.clone());
    }
    if let Some(error) = error.downcast_ref::<TrialError>() {
        return Some(error.hint.clone());
    }
    if let Some(error) = error.downcast_ref::<BusyError>() {
        return Some(error.hint.clone());
    }
    if let Some(error) = error.downcast_ref::<Hinted>() {
        return Some(error.hint.clone());
    }
    match error.downcast_ref::<OperationError>() {
        Some(OperationError::NoSnapshot { what }) if what.ends_with(NONE_YET) => {
            Some("take the first one with: redkeep backup".into())
        }
        Some(OperationError::Ambiguous { what }) => Some(match what.starts_with(SEVERAL_DATASETS) {
            true => "name one of them with --dataset".into(),
            false => "give more of the id".into(),
        }),
        Some(OperationError::NoMoment { oldest }) => {
            let (id, time) = (short(&oldest.session), time::show(oldest.time));
            Some(format!("the oldest one is {id} of {time}"))
        }
        Some(OperationError::Unreachable { at, before, after, is_damaged, .. })
            if before.or(*after).is_some() || *is_damaged =>
        {
            // Within one second the milliseconds tell them apart.
            let show = |time: UnixMillis| match time.0 / 1000 == at.0 / 1000 {
                true => time::exact(time),
                false => time::show(time),
            };
            let takes = match is_damaged {
                true => "--nearest cuts at the last whole command before the damage",
                false => "--nearest takes it",
            };
            let nearest = |time: UnixMillis| format!("the nearest before it is {} ({takes})", show(time));
            let before = before.map(nearest).or(is_damaged.then(|| takes.into()));
            let after = after.map(|time| format!("the nearest after it is {}", show(time)));
            Some([before, after].into_iter().flatten().collect::<Vec<_>>().join("; "))
        }
        Some(error) => error.hint(),
        None => match error.downcast_ref::<RepositoryError>() {
            Some(error) => error.hint(),
            None => error.downcast_ref::<StoreError>()?.hint().map(String::from),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed() -> Outcome {
        Outcome::deed("text".into(), &[0]).expect("JSON")
    }

    #[test]
    fn what_was_done_without_a_word_ends_with_0_and_notes_change_nothing() {
        assert_eq!(deed().code, Code::Done);
        assert_eq!(deed().with_notes(["note".into()]).with_warnings([]).with_alarms(&[]).code, Code::Done);
    }

    #[test]
    fn a_warning_or_an_alarm_ends_with_3() {
        assert_eq!(deed().with_warnings(["warning".into()]).code, Code::Warnings);
        assert_eq!(deed().with_alarms(&[Alarm::Packs { lost: 1, first: "packs/x".into() }]).code, Code::Warnings);
        assert_eq!(Outcome::nothing().with_warnings(["warning".into()]).code, Code::Warnings);
    }

    #[test]
    fn damage_ends_with_4_whatever_else_is_said() {
        assert_eq!(deed().with_warnings(["warning".into()]).with_damage(true).code, Code::Damage);
        assert_eq!(deed().with_damage(true).with_warnings(["warning".into()]).code, Code::Damage);
        assert_eq!(deed().with_damage(false).code, Code::Done);
    }
}
