//! Arguments that cannot be used: what clap says of them, and what to write instead where more is known.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;
use super::exit::{Code, UsageError};
use super::{outcome, output};

/// Says why the arguments cannot be used, or what was asked of them: help, or the version.
pub(super) fn refused(error: &clap::Error, arguments: &[OsString]) -> Code {
    if !error.use_stderr() {
        return match output::show(error) {
            Ok(()) => Code::Done,
            Err(error) => outcome::print_error(&anyhow::Error::new(error).context(outcome::UNWRITTEN), false),
        };
    }
    let words: Vec<&str> = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default()).collect();
    let words: Vec<&str> = words.into_iter().take_while(|word| *word != "--").collect();
    let command = command(&words);
    let is_json = words.contains(&"--json");
    if let Some(error) = nowhere(error, &command) {
        return outcome::print_error(&error.into(), is_json);
    }
    let _ = error.print();
    let hint = server_apart(&words);
    if let Some(hint) = &hint {
        outcome::to_stderr(&format!("hint: {hint}"));
    }
    if is_json {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let hint = hint.unwrap_or_else(|| format!("see: {command} --help"));
        outcome::print_json_error(message, Some(&hint), Code::Usage);
    }
    Code::Usage
}

/// The command that was meant, as it is written: `redkeep key add`.
pub(super) fn command(words: &[&str]) -> String {
    let mut command = Cli::command();
    command.build();
    let mut name = command.get_name().to_string();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(below) = command.find_subcommand(word).cloned() {
            name = format!("{name} {}", below.get_name());
            command = below;
        } else if takes_value(&command, word) {
            words.next();
        }
    }
    name
}

/// Whether a word is an option whose value is the next one.
fn takes_value(command: &clap::Command, word: &str) -> bool {
    let is_it = |arg: &&clap::Arg| {
        let is_long = word.strip_prefix("--").is_some_and(|long| arg.get_long() == Some(long));
        let mut letters = word.strip_prefix('-').unwrap_or_default().chars();
        is_long || (arg.get_short().is_some() && letters.next() == arg.get_short() && letters.next().is_none())
    };
    let found = command.get_arguments().find(is_it);
    found.is_some_and(|arg| arg.get_action().takes_values() && !arg.is_require_equals_set())
}

/// A restore, or the undoing of one, of which is not said where.
fn nowhere(error: &clap::Error, command: &str) -> Option<UsageError> {
    let missing = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => missing.as_slice(),
        _ => return None,
    };
    let is_missing = |argument: &str| missing.iter().any(|missing| missing == argument);
    let (what, hint) = match command {
        "redkeep restore" if is_missing("--target <DIR>") => (
            "it is not said where to restore to",
            "name a directory with --target DIR, or a server of this host with --server or --server=HOST:PORT",
        ),
        "redkeep undo" if is_missing("<DIR>") => (
            "it is not said which restore is to be undone",
            "name the directory that was restored into, or a server of this host with --server or --server=HOST:PORT",
        ),
        _ => return None,
    };
    Some(UsageError { what: what.into(), hint: hint.into() })
}

/// What to write where a server's address stands apart from the option it belongs to.
fn server_apart(words: &[&str]) -> Option<String> {
    let mut pairs = words.iter().zip(words.iter().skip(1));
    let (_, address) = pairs.find(|(option, value)| {
        let is_address = value.contains([':', '/']) && !value.starts_with(['-', '@']);
        **option == "--server" && is_address
    })?;
    Some(format!("to name the server write it behind an equals sign: --server={address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_found_behind_options_and_their_values() {
        for (words, name) in [
            (&["backup", "--nonsense"][..], "redkeep backup"),
            (&["--repo", "init", "key", "add", "--x"], "redkeep key add"),
            (&["-r", "init", "--json"], "redkeep"),
            (&["restore", "--server", "undo"], "redkeep restore"),
            (&["nonsense"], "redkeep"),
        ] {
            assert_eq!(command(words), name, "{words:?}");
        }
    }

    #[test]
    fn only_an_address_behind_a_blank_is_told_apart() {
        for address in ["127.0.0.1:7901", "redis://cache:6379", "/run/redis.sock"] {
            let hint = server_apart(&["restore", "--server", address]);
            assert!(hint.is_some_and(|hint| hint.ends_with(&format!("--server={address}"))), "{address}");
        }
        for other in ["latest", "@10:00", "--at"] {
            assert_eq!(server_apart(&["restore", "--server", other, "127.0.0.1:1"]), None, "{other}");
        }
    }
}
