//! `redkeep restore`.

mod into_running;
pub(super) mod into_server;
mod of_set;

use std::path::PathBuf;

use clap::Args;

use super::pick_any;
use super::timeline::precision;
use crate::aof::split_words;
use crate::cli::args::OfDataset;
use crate::cli::context::Context;
use crate::cli::human::{count, facts, plain, quoted, short, size, suspect_once};
use crate::cli::outcome::Outcome;
use crate::cli::{json, selector, time};
use crate::format::UnixMillis;
use crate::format::timeline::Precision;
use crate::operations::list::{Chosen, Selector};
use crate::operations::restore::{self, Cut, Doubt, Goal, Options, Report, Which, meant, restore_at};
use crate::operations::sets::{ChosenSet, Meant};
use crate::operations::timeline::{self, Moment, Picked, Search, Wish};
use crate::repository::Repository;
use into_running::IntoRunning;
use into_server::{IntoServer, of_a_restore};

/// Put a snapshot into a directory, or into a server
///
/// Puts the files of a snapshot into a directory: all of them, compared with what was stored, or nothing. What stood
/// there is kept beside it, and `redkeep undo` puts it back. A directory that a running server uses is not touched, and one
/// that holds something else than a dataset only with --replace-anything.
///
/// With --at it is the state of any second that an AOF covers (`redkeep timeline` shows which), with --before-command the
/// one before the last command of a kind, in the newest snapshot that holds one. The AOF is cut on the restored copy; a dump
/// beside it is left out. The moment that was restored is always said, and --dry-run finds it too. A time with milliseconds
/// is one that has to be covered; one without stands for its second, and it is said where that is covered in part.
///
/// With --server the dataset goes into a running server of this host: its files are made ready in the server's directory
/// while it goes on, under the names and in the form that its version and its settings ask for; then it is stopped, they
/// change places with the old ones in one step, it is started again, and it is asked what it holds. --dry-run prints
/// every step. A server that is stopped, or was never started, is named by --server-config, --server-unit or --server-dir:
/// its configuration is tried with a stand-in, its files are put in place, it is started and asked all the same. A restore
/// that is killed leaves the old data or the new; the same command brings it to its end.
///
/// A set (redkeep backup --cluster) goes into directories of its own below --target: shard-1, shard-2 and so on, by their slots;
/// or, with --into, into a running cluster.
///
/// With --into the keys of the snapshot's dump are put into a running server, wherever it is, by RESTORE: for servers whose files
/// nobody can reach. The server must be empty, unless --merge is given, and nothing in it is replaced without --replace. Of a
/// cluster one node is named: each key goes to the node of its slot, and the login is used for all of them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redkeep restore --target /var/lib/redis
  redkeep restore latest~1 --target /tmp/yesterday
  redkeep restore '@2026-11-20 14:05' --target /var/lib/redis --dry-run
  redkeep restore --at '2026-11-20 14:05:09' --target /var/lib/redis
  redkeep restore --before-command FLUSHALL --target /tmp/before
  redkeep restore --before-command 'DEL \"a key\"' --target /tmp/before
  redkeep restore --server --dry-run
  redkeep restore latest~1 --server --yes
  redkeep restore --server --server-config /etc/redis/redis.conf --yes
  redkeep restore --server --server-unit redis-server --dry-run
  redkeep restore --server=redis://127.0.0.1:6380 --yes \\
    --stop-command 'docker stop cache' --start-command 'docker start cache'
  redkeep restore latest --dataset cache --target /srv/shards    # a set
  redkeep restore latest --dataset cache --into node1.example:7000
  redkeep restore latest --into rediss://app@cache.example:6379 --dry-run
  redkeep restore latest --into cache.example:6379 --match 'user:*' --merge

JSON:
  {\"snapshot\": id, \"dataset\", \"begin\", \"target\": path, \"files\": number,
   \"bytes\", \"left_config\": files of the server's configuration that were
     left out, \"aside\": where what stood there is kept (in a dry run: what
     would be replaced) or null,
   \"unset\": [text about owners that could not be set],
   \"made_good\": [text about damage repaired from other copies],
   \"suspects\": [{\"path\", \"why\"}], \"doubt\": why it is not known which files
   are the dataset or null, \"notes\": [text about what a server would make of
   the files], \"dry_run\": bool,
   \"moment\": with --at or --before-command {\"asked\": time or null,
     \"effective\": time whose state was restored, or null, \"server\": the
     same by the server's clock, \"precision\": as in timeline, \"exact\":
     whether it is the state at the end of the asked second, or before the
     command of the effective time, \"nearest\": bool, \"dropped_bytes\":
     number or null; with --before-command also \"command\": the found one;
     \"damaged\": true where it is the last whole command before a damage},
     or null,
   \"alarms\": [{\"code\", \"message\"}]}
  With --server, in place of target:
  {\"directory\": path, \"server\": text, \"steps\": [text], \"notes\": [text],
   \"holds\": [text], \"wrong\": [text], \"finished_earlier\": bool,
   \"was_stopped\": bool, \"started\": bool}
  Of a set:
  {\"set\": id, \"name\", \"complete\": bool, \"skew_ms\": between the first and
   the last moment, \"snapshots\": [as above], \"failed\": [{\"slots\", \"why\"}]}
  With --into:
  {\"snapshot\": id, \"dataset\", \"server\": text, \"version\": text or null,
   \"masters\": number, of a cluster, or null,
   \"put\": number of keys, \"remade\": of them, element by element,
   \"there\": not put, the name is taken, \"expired\": not put,
   \"not_taken\": [{\"what\": type, \"why\", \"keys\": number, \"db\" and \"key\":
     the first}], \"functions\": bool, \"behind\": [path of commands left out],
   \"unread\": why keys may be missing, or null, \"held_before\", \"held_now\":
   keys of the server, \"missing\": [{\"db\", \"put\", \"holds\": fewer than
     were put and have not expired}], \"evicted\": keys that the server threw
   away meanwhile, \"dry_run\": bool, \"alarms\"}
   of a set \"set\", \"name\", \"complete\", \"skew_ms\" and \"snapshots\": [id]
   in place of \"snapshot\" and \"dataset\"
")]
pub(crate) struct Arguments {
    /// The snapshot: the begin of its id, latest, latest~N or @TIME [default: latest; with --at the one that holds TIME,
    /// with --before-command the newest that holds the command]
    #[arg(value_parser = selector::parse, value_name = "SNAPSHOT")]
    snapshot: Option<Selector>,
    #[command(flatten)]
    of: OfDataset,
    /// The directory that will hold the files
    #[arg(long, short, value_name = "DIR", required_unless_present_any = ["server", "into"],
        conflicts_with_all = of_a_restore())]
    target: Option<PathBuf>,
    /// Restore the state of this second, or of this moment of it
    #[arg(long, value_name = "TIME", value_parser = time::parse_now, conflicts_with_all = ["before_command", "from"])]
    at: Option<UnixMillis>,
    /// Restore the state before the last command that begins with these words: its name in any case, other words as sent
    #[arg(long, value_name = "WORDS", value_parser = command_words, conflicts_with = "from")]
    before_command: Option<Words>,
    /// Where TIME lies in a gap, take the nearest moment before it; behind damage of an AOF, cut at its last whole command
    #[arg(long, requires = "at")]
    nearest: bool,
    /// What is the dataset, where a snapshot holds several: aof, rdb, or the path of a manifest, an AOF or a dump in it
    #[arg(long, value_name = "WHICH")]
    from: Option<Which>,
    /// Also restore what configured the server, to .redkeep-config in the target: it may hold passwords
    #[arg(long, conflicts_with = "server")]
    with_config: bool,
    /// Replace a directory that holds something else than a dataset, too: it is set aside
    #[arg(long, conflicts_with = "server")]
    replace_anything: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    into: IntoServer,
    #[command(flatten)]
    running: IntoRunning,
}

/// A command's name and its first arguments.
#[derive(Debug, Clone)]
struct Words(Vec<Vec<u8>>);

/// Words as `redis-cli` takes them: in quotes where they hold spaces.
fn command_words(text: &str) -> Result<Words, String> {
    let words = split_words(text.as_bytes()).filter(|words| !words.is_empty());
    words.map(Words).ok_or_else(|| "write a command, such as FLUSHALL or 'DEL \"a key\"'".into())
}

/// Restores a snapshot.
pub(super) fn run(arguments: Arguments, context: &Context) -> anyhow::Result<Outcome> {
    let repository = context.open()?;
    context.progress.stop_in_order();
    if arguments.running.into.is_some() {
        let Arguments { snapshot, of, from, dry_run, into, running, .. } = &arguments;
        let wanted = (snapshot.as_ref(), of.dataset.as_deref());
        return into_running::run(running, &into.of, wanted, from.as_ref(), *dry_run, &repository, context);
    }
    let (chosen, past) = match find(&arguments, &repository, context)? {
        Sought::One(chosen, past) => (*chosen, past.map(|past| *past)),
        Sought::Set(set) => return of_set::run(&arguments, &set, &repository, context),
    };
    let (goal, moment, located) = match past {
        Some(Found { goal, moment, located }) => (goal, Some(moment), located),
        None => (None, None, None),
    };
    let (chosen, from) = match &arguments.from {
        None => (chosen, None),
        Some(which) => {
            let (chosen, from) = meant(&repository, &chosen, which, &context.progress)?;
            (chosen, Some(from))
        }
    };
    // A dump beside an AOF that is cut is of another moment.
    let from = from.or(goal.is_some().then_some(restore::From::Aof));
    let past = |cut: Option<&Cut>| {
        let cut = cut.or(located.as_ref());
        moment.as_ref().map(|moment| Past::new(*moment, cut, arguments.before_command.is_some()))
    };
    let Some(target) = arguments.target else {
        let wanted = into_server::Wanted { from, goal, dry_run: arguments.dry_run, past: &past };
        return into_server::run(arguments.into, wanted, &repository, &chosen, context);
    };
    let Arguments { with_config, replace_anything, dry_run, .. } = arguments;
    let options = Options { target, from, with_config, replace_anything, dry_run };
    let (report, cut) = restore_at(&repository, &chosen, &options, goal.as_ref(), &context.progress)?;
    let past = past(cut.as_ref());
    let (text, json, warnings) = restored(&chosen, &report, past.as_ref());
    Ok(Outcome::deed(text, &json)?.with_warnings(warnings).with_alarms(&chosen.alarms))
}

/// What is said of a snapshot that was restored: text, JSON, and warnings.
fn restored(chosen: &Chosen, report: &Report, past: Option<&Past>) -> (String, json::Restore, Vec<String>) {
    let suspect = |(path, why): &(String, String)| format!("{path} was suspect when it was stored: {why}");
    let suspects = report.suspects.iter().map(|suspect_file| suspect_once(&suspect(suspect_file)));
    let made_good = report.made_good.iter().map(|damage| format!("made good from another copy: {damage}"));
    let doubt = report.doubt.iter().map(|Doubt { what, hint }| format!("{what}; all of it is there as it was; {hint}"));
    let warnings = report.unset.iter().cloned().chain(made_good).chain(suspects).chain(doubt).collect();
    (text(chosen, report, past), json::Restore::new(chosen, report, past), warnings)
}

/// The moment that is meant.
struct Found {
    /// How to cut back to it.
    goal: Option<Goal>,
    moment: Moment,
    /// Where that is, if it was looked for before anything is done.
    located: Option<Cut>,
}

/// What is to be restored.
enum Sought {
    /// A snapshot, and where a moment is meant, which one.
    One(Box<Chosen>, Option<Box<Found>>),
    /// A set.
    Set(ChosenSet),
}

fn find(arguments: &Arguments, repository: &Repository, context: &Context) -> anyhow::Result<Sought> {
    let (snapshot, dataset) = (arguments.snapshot.as_ref(), arguments.of.dataset.as_deref());
    let (picked, located) = match (arguments.at, &arguments.before_command) {
        (Some(at), _) => {
            context.note(&format!("looking for the state of {}", time::show(at)));
            let wish = Wish { at, snapshot, dataset, nearest: arguments.nearest };
            let picked = timeline::pick(repository, &wish)?;
            let goal = picked.goal.as_ref().filter(|_| arguments.dry_run);
            let snapshot = &picked.chosen.snapshot;
            let cut = goal.map(|goal| restore::locate(repository, snapshot, goal, &context.progress)).transpose()?;
            (picked, cut)
        }
        (None, Some(Words(words))) => {
            let search = Search { words: words.clone(), snapshot, dataset };
            let (picked, cut) = timeline::before_command(repository, &search, &context.progress)?;
            (picked, Some(cut))
        }
        (None, None) => {
            let latest = Selector::Latest(0);
            return Ok(match pick_any(context, repository, snapshot.unwrap_or(&latest), dataset)? {
                Meant::One(chosen) => Sought::One(chosen, None),
                Meant::Set(set) => Sought::Set(set),
            });
        }
    };
    let Picked { chosen, moment, goal } = picked;
    Ok(Sought::One(Box::new(chosen), Some(Box::new(Found { goal, moment, located }))))
}

/// The moment that was restored, for people and scripts.
pub(in crate::cli) struct Past {
    /// What was asked for and found.
    pub moment: Moment,
    /// The state is the one of this time, by the server's clock; not known before a command was searched for.
    pub effective: Option<UnixMillis>,
    /// The state is that of the end of the asked second, or before the command of this very time.
    pub is_exact: bool,
    /// Bytes of the AOF that were cut off.
    pub dropped: Option<u64>,
    /// The command before which it is.
    pub command: Option<String>,
    is_before_command: bool,
}

impl Past {
    fn new(moment: Moment, cut: Option<&Cut>, is_before_command: bool) -> Past {
        let found = cut.and_then(|cut| cut.second).map(|second| UnixMillis(second.saturating_mul(1000)));
        let (effective, is_exact) = match is_before_command || moment.is_at_damage {
            true => (found, is_before_command && cut.is_some_and(|cut| cut.is_annotated)),
            false => (Some(moment.effective), moment.is_exact),
        };
        let command = cut.and_then(|cut| cut.command.as_ref()).map(restore::shown);
        Past { moment, effective, is_exact, dropped: cut.map(|cut| cut.dropped), command, is_before_command }
    }

    fn text(&self) -> String {
        let what = match (self.is_before_command, self.moment.is_at_damage) {
            (true, _) => Some("just before the command"),
            (false, true) => Some("after the last whole command before the damage"),
            (false, false) => None,
        };
        let (Some(server), what) = (self.effective, what) else {
            return format!("{}, at a time that is not known", what.unwrap_or_default());
        };
        let moment = self.moment;
        let here = time::of_host(server, moment.clock);
        let mut text = time::show(here);
        if moment.clock.unsigned_abs() >= 1000 {
            text.push_str(&format!(" ({} by the server's clock)", time::show(server)));
        }
        let precision = precision(moment.precision);
        match what {
            Some(what) if self.is_exact => format!("{what} of {text}"),
            Some(what) => format!("{what}, some time after {text}"),
            None if moment.is_nearest => format!("{text}, the nearest before the asked one"),
            None if moment.precision == Precision::Second && !moment.is_exact => {
                format!("up to {}: the second is covered in part, precision: {precision}", time::exact(here))
            }
            None => format!("{text}, precision: {precision}"),
        }
    }

    /// Lines for people.
    fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let command = self.command.as_deref().map(|command| ("found", plain(command)));
        [("moment", self.text())].into_iter().chain(command)
    }
}

fn text(chosen: &Chosen, report: &Report, past: Option<&Past>) -> String {
    let Chosen { name, snapshot, .. } = chosen;
    let target = report.target.display().to_string();
    let did = if report.dry_run { "would restore" } else { "restored" };
    let mut lines = vec![
        ("taken", time::show(snapshot.captured_at())),
        ("into", target.clone()),
        ("holds", format!("{}, {}", count(report.files, "file"), size(report.bytes))),
    ];
    if let Some(past) = past {
        lines.splice(1..1, past.lines());
    }
    if report.left_config > 0 {
        let files = count(report.left_config, "file");
        lines.push(("left out", format!("{files} of the server's configuration, which --with-config restores too")));
    }
    lines.extend(report.notes.iter().map(|note| ("note", note.clone())));
    match (&report.aside, report.dry_run) {
        (Some(_), true) => lines.push(("aside", "what stands there would be kept beside it".into())),
        (Some(aside), false) => {
            lines.push(("aside", format!("what stood there is kept in {}", aside.display())));
            lines.push(("undo", format!("redkeep undo {}", quoted(&target))));
        }
        (None, _) => {}
    }
    format!("{did} snapshot {} of {}\n{}", short(&name.session), plain(&snapshot.dataset), facts(&lines))
}
