//! Words that a shell completes: redkeep's own, and the names of profiles, datasets and snapshots.
//!
//! The script of `redkeep completions` asks, with a variable set, at each press of a key: nobody is asked for a password and
//! no repository is opened. What this host saw of it last is what is known.

use std::env;
use std::ffi::OsString;
use std::path;

use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use super::args::{Cli, Globals};
use super::configuration::{Access, Configuration, usual_places};
use super::exit::Code;
use super::human::{plain, short};
use super::settings::{base, variable};
use super::time;
use super::topics::TOPICS;
use crate::repository::{Places, SnapshotInfo, recalled};
use crate::store::Location;

/// With it set to the name of a shell, words are completed instead of anything done.
pub(super) const VARIABLE: &str = "REDKEEP_COMPLETE";

/// Completes, if that is what is asked.
pub(super) fn answered(arguments: &[OsString]) -> Option<Code> {
    variable(VARIABLE)?;
    let here = env::current_dir().ok();
    let completed = CompleteEnv::with_factory(command).var(VARIABLE).try_complete(arguments, here.as_deref());
    match completed {
        Ok(false) => None,
        Ok(true) => Some(Code::Done),
        Err(_) => Some(Code::Usage),
    }
}

/// The command line, with what is known of the names in it.
fn command() -> Command {
    with_names(Cli::command())
}

fn with_names(command: Command) -> Command {
    let named = |arg: Arg| {
        let value = arg.get_value_names().and_then(|names| names.first()).map(|name| name.as_str().to_owned());
        match (arg.get_long(), value.as_deref()) {
            (Some("profile"), _) | (None, Some("PROFILE")) => arg.add(ArgValueCandidates::new(profiles)),
            (Some("dataset"), _) => arg.add(ArgValueCandidates::new(datasets)),
            (None, Some("COMMAND")) if arg.get_id() == "words" => arg.add(ArgValueCandidates::new(explained)),
            (None, Some("SNAPSHOT" | "EARLIER" | "LATER")) => arg.add(ArgValueCandidates::new(snapshots)),
            _ => arg,
        }
    };
    command.mut_args(named).mut_subcommands(with_names)
}

/// What the words before say, and the environment and the configuration behind them.
struct Known {
    globals: Globals,
    configuration: Configuration,
}

impl Known {
    fn look() -> Option<Known> {
        let words: Vec<OsString> = env::args_os().skip_while(|word| word != "--").skip(1).collect();
        let matches: ArgMatches = Cli::command().ignore_errors(true).try_get_matches_from(words).ok()?;
        let mut below = &matches;
        // Global options are known to the innermost command.
        while let Some((_, inner)) = below.subcommand() {
            below = inner;
        }
        let globals = Globals::from_arg_matches(below).ok()?;
        let configuration = match &globals.config {
            Some(path) => Configuration::of_file(path),
            None => Configuration::of_places(&usual_places(base("XDG_CONFIG_HOME", ".config").as_deref())),
        };
        Some(Known { globals, configuration: configuration.unwrap_or_default() })
    }

    fn snapshots(&self) -> Option<Vec<SnapshotInfo>> {
        let access: Access = self.configuration.access(self.globals.profile.as_deref()).ok()?;
        let named = self.globals.repo.clone().filter(|repo| !repo.is_empty());
        let location = match named.or(access.repo)?.parse().ok()? {
            Location::Local(path) => path::absolute(path).ok()?.display().to_string(),
            other => other.to_string(),
        };
        let below = |base: path::PathBuf| base.join("redkeep");
        let cache = self.globals.cache_dir.clone().or(access.cache_dir);
        let state = variable("REDKEEP_STATE_DIR").map(path::PathBuf::from);
        let places = Places {
            cache: cache.or_else(|| base("XDG_CACHE_HOME", ".cache").map(below)),
            state: state.or_else(|| base("XDG_STATE_HOME", ".local/state").map(below)),
            scratch: None,
        };
        recalled(&places, &location)
    }
}

/// Whether a shell takes the name as it stands. It puts what it is offered into the command line without quotes, and who may
/// write to a repository chooses the names of datasets: any other is typed by hand.
fn is_word(name: &str) -> bool {
    let is_plain = |letter: char| letter.is_alphanumeric() || "._-/@+,=%:".contains(letter);
    name.chars().all(is_plain) && !name.starts_with(['-', '='])
}

/// What redkeep help explains.
fn explained() -> Vec<CompletionCandidate> {
    let command = Cli::command();
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set());
    let about = |command: &Command| command.get_about().map(ToString::to_string);
    let commands = commands.map(|command| (command.get_name().to_owned(), about(command)));
    let topics = TOPICS.iter().map(|topic| (topic.name.to_owned(), Some(topic.about.to_owned())));
    let offered = |(name, about): (String, Option<String>)| CompletionCandidate::new(name).help(about.map(Into::into));
    commands.chain(topics).map(offered).collect()
}

fn profiles() -> Vec<CompletionCandidate> {
    let Some(known) = Known::look() else { return Vec::new() };
    known.configuration.profiles().filter(|name| is_word(name)).map(CompletionCandidate::new).collect()
}

fn datasets() -> Vec<CompletionCandidate> {
    let mut names: Vec<String> =
        Known::look().and_then(|known| known.snapshots()).into_iter().flatten().map(|info| info.dataset).collect();
    names.dedup();
    names.retain(|name| is_word(name));
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// The newest first, each with its time and dataset beside it.
fn snapshots() -> Vec<CompletionCandidate> {
    let mut infos = Known::look().and_then(|known| known.snapshots()).unwrap_or_default();
    infos.sort_by_key(|info| std::cmp::Reverse(info.begin));
    let latest = CompletionCandidate::new("latest").help(Some("the newest".into())).display_order(Some(0));
    let one = |(order, info): (usize, SnapshotInfo)| {
        let help = format!("{} {}", time::show(info.captured_at()), plain(&info.dataset));
        CompletionCandidate::new(short(&info.name.session)).help(Some(help.into())).display_order(Some(order + 1))
    };
    std::iter::once(latest).chain(infos.into_iter().enumerate().map(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_shell_leaves_alone_are_offered() {
        assert!(["b", "vm:7701", "käse_1.2", "user@host/x", "a+b,c=%d"].into_iter().all(is_word));
        let others =
            ["$(touch x)", "`x`", "a b", "*", "~root", "a;b", "a'b", "\"", "-x", "=ls", "a\nb", "{a,b}", "!1", "#a"];
        assert_eq!(others.into_iter().filter(|name| is_word(name)).collect::<Vec<_>>(), Vec::<&str>::new());
    }
}
