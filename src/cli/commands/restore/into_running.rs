//! `redkeep restore --into`.

use clap::Args;
use serde_json::{Value, json};

use super::into_server::AServer;
use crate::cli::commands::pick_any;
use crate::cli::context::Context;
use crate::cli::exit::UsageError;
use crate::cli::human::{count, facts, plain, short, shown, some_of};
use crate::cli::json::{alarms, text};
use crate::cli::outcome::Outcome;
use crate::operations::OperationError;
use crate::operations::list::{Chosen, Selector};
use crate::operations::look_up::{KeyFilter, Missing, PutKeys, PutOptions, doubts, put_keys};
use crate::operations::restore::{Which, settled};
use crate::operations::sets::Meant;
use crate::redis::server::Address;
use crate::repository::Repository;

/// Over the options of keys that are put into a running server.
const INTO: &str = "Into a running server, key by key";

/// Arguments of the other ways to restore.
const OTHERS: [&str; 5] = ["server", "target", "at", "before_command", "yes"];

/// How keys are put into a running server.
#[derive(Debug, Args)]
#[command(next_help_heading = INTO)]
pub(super) struct IntoRunning {
    /// Put the keys of the dump into this running server, wherever it is: redis://[USER@]HOST[:PORT], rediss:// for TLS,
    /// HOST:PORT, or the path of a Unix socket
    #[arg(long, value_name = "URL", conflicts_with_all = OTHERS)]
    pub into: Option<String>,
    /// Only keys whose names fit this pattern, as KEYS takes it
    #[arg(long = "match", id = "pattern", value_name = "PATTERN", requires = "into", conflicts_with_all = OTHERS)]
    pattern: Option<String>,
    /// Only keys of this database
    #[arg(long, value_name = "N", requires = "into", conflicts_with_all = OTHERS)]
    db: Option<u32>,
    /// The server may hold keys already; those of the same names stay
    #[arg(long, requires = "into", conflicts_with_all = OTHERS)]
    merge: bool,
    /// Keys of the same names are replaced
    #[arg(long, requires = "merge", conflicts_with_all = OTHERS)]
    replace: bool,
    /// Leave out the commands that go on behind the dump: what is put is an earlier state
    #[arg(long, requires = "into", conflicts_with_all = OTHERS)]
    dump_alone: bool,
}

/// Puts keys there.
pub(super) fn run(
    into: &IntoRunning,
    of: &AServer,
    (snapshot, dataset): (Option<&Selector>, Option<&str>),
    from: Option<&Which>,
    dry_run: bool,
    repository: &Repository,
    context: &Context,
) -> anyhow::Result<Outcome> {
    let address: Address = into.into.as_deref().unwrap_or_default().parse().map_err(OperationError::from)?;
    if address.database().is_some_and(|database| database != 0) {
        let what = "keys go into the databases they were in, and the address names one".into();
        return Err(UsageError { what, hint: "leave the number out of the address".into() }.into());
    }
    let address = of.login().of(context)?(address);
    let meant = pick_any(context, repository, snapshot.unwrap_or(&Selector::Latest(0)), dataset)?;
    let snapshots: Vec<&Chosen> = match &meant {
        Meant::One(chosen) => vec![&**chosen],
        Meant::Set(set) => set.members.iter().map(|(_, _, chosen)| chosen).collect(),
    };
    let settled = from.map(|which| {
        snapshots
            .iter()
            .map(|chosen| settled(repository, chosen, which, &context.progress))
            .collect::<Result<Vec<_>, _>>()
    });
    let settled = settled.transpose()?;
    let snapshots = settled.as_ref().map_or(snapshots, |settled| settled.iter().collect());
    let filter = KeyFilter { pattern: into.pattern.clone().map(String::into_bytes), database: into.db };
    let (replaces, merges, dump_alone) = (into.replace, into.merge, into.dump_alone);
    let options = PutOptions { filter, replaces, merges, dump_alone, dry_run };
    let done = put_keys(repository, &snapshots, &address, &options, &context.progress)?;
    context.progress.finish();
    let outcome = Outcome::deed(told(&done, &meant, &address, dry_run), &in_json(&done, &meant, &address, dry_run))?;
    let remade = (done.remade > 0)
        .then(|| format!("{} element by element: the server does not know the form they were stored in", done.remade));
    let outcome = outcome.with_notes(remade);
    let outcome = outcome.with_warnings(warnings(&done, dry_run));
    let outcome = outcome.with_warnings(snapshots.iter().flat_map(|chosen| doubts(chosen)));
    Ok(match &meant {
        Meant::One(chosen) => outcome.with_alarms(&chosen.alarms),
        Meant::Set(set) => outcome.with_warnings(set.incomplete()).with_alarms(&set.alarms),
    })
}

fn told(done: &PutKeys, meant: &Meant, address: &Address, dry_run: bool) -> String {
    let did = if dry_run { "would put" } else { "put" };
    let version = done.version.as_ref().map_or_else(String::new, |version| format!(" ({version})"));
    let mut lines = vec![("keys", format!("{did} {}", count(done.put, "key")))];
    if done.expired > 0 {
        lines.push(("expired", format!("{} since, and were left out", count(done.expired, "key"))));
    }
    if done.has_functions {
        lines.push(("functions", format!("{did} those of the snapshot")));
    }
    let (before, now) = done.held;
    lines.push(("holds", format!("{} now, {before} before", count(now, "key"))));
    let what = match meant {
        Meant::One(chosen) => {
            format!("snapshot {} of {}", short(&chosen.name.session), plain(&chosen.snapshot.dataset))
        }
        Meant::Set(set) => {
            let shards = set.members.len() + set.missing.len();
            let (id, name) = (short(&set.id), plain(&set.name));
            format!("{} of {} of set {id} of {name}", set.members.len(), count(shards as u64, "shard"))
        }
    };
    let to = match done.masters {
        None => format!("the server at {address}{version}"),
        Some(masters) => format!("the cluster of {address}{version}, {}", count(masters, "master")),
    };
    format!("{what} into {to}\n{}", facts(&lines))
}

/// What is not as it was asked for.
fn warnings(done: &PutKeys, dry_run: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if done.there > 0 {
        let (were, them) =
            if done.there == 1 { ("was left as it is", "it") } else { ("were left as they are", "them") };
        warnings.push(format!("{} {were} there: replace {them} with --replace", count(done.there, "key")));
    }
    warnings.extend(done.not_taken.iter().map(|others| {
        let (database, key) = (others.first.0, shown(&others.first.1));
        let keys = count(others.keys, "key");
        let were = match (dry_run, others.keys) {
            (true, _) => "would not be",
            (false, 1) => "was not",
            (false, _) => "were not",
        };
        format!("{keys} ({}) {were} put, the first of them {key} in database {database}: {}", others.what, others.why)
    }));
    warnings.extend(done.without_functions.as_ref().map(|why| format!("functions were not put: {why}")));
    warnings.extend(done.unread.as_ref().map(|why| format!("keys may be missing: {why}")));
    if !done.behind.is_empty() {
        warnings.push(format!("commands behind the dump were left out, in {}", some_of(&done.behind)));
    }
    let (before, now) = done.held;
    if !dry_run && before == 0 && now > done.put {
        warnings.push(format!(
            "the server holds {}, where {} were put: does anybody else write to it?",
            count(now, "key"),
            done.put
        ));
    }
    warnings.extend(done.missing.iter().map(|Missing { database, put, holds }| {
        format!(
            "database {database} holds {}, where {put} were put that have not expired: somebody else removed some \
             meanwhile, as FLUSHALL and SWAPDB do, or the server threw them away; the same with --merge puts them again",
            count(*holds, "key")
        )
    }));
    if !dry_run && done.evicted > 0 {
        warnings.push(format!(
            "the server threw away {} meanwhile, of those that were put or of its own: it holds as much as it may; give it \
             more (CONFIG SET maxmemory), and the same with --merge puts them again",
            count(done.evicted, "key")
        ));
    }
    warnings
}

fn in_json(done: &PutKeys, meant: &Meant, address: &Address, dry_run: bool) -> Value {
    let not_taken = done.not_taken.iter().map(|others| {
        json!({"what": others.what, "why": others.why, "keys": others.keys, "db": others.first.0, "key": text(&others.first.1)})
    });
    let missing = done.missing.iter().map(|it| json!({"db": it.database, "put": it.put, "holds": it.holds}));
    let mut object = json!({
        "server": address.to_string(),
        "version": done.version,
        "masters": done.masters,
        "put": done.put,
        "remade": done.remade,
        "there": done.there,
        "expired": done.expired,
        "not_taken": not_taken.collect::<Vec<Value>>(),
        "functions": done.has_functions,
        "behind": done.behind,
        "unread": done.unread,
        "held_before": done.held.0,
        "held_now": done.held.1,
        "missing": missing.collect::<Vec<Value>>(),
        "evicted": done.evicted,
        "dry_run": dry_run,
    });
    let of: Vec<(&str, Value)> = match meant {
        Meant::One(chosen) => vec![
            ("snapshot", chosen.name.session.to_string().into()),
            ("dataset", chosen.snapshot.dataset.clone().into()),
            ("alarms", json!(alarms(&chosen.alarms))),
        ],
        Meant::Set(set) => vec![
            ("set", set.id.to_string().into()),
            ("name", set.name.clone().into()),
            ("complete", set.missing.is_empty().into()),
            ("skew_ms", set.skew.into()),
            ("snapshots", set.members.iter().map(|(_, _, chosen)| chosen.name.session.to_string()).collect()),
            ("alarms", json!(alarms(&set.alarms))),
        ],
    };
    if let Some(object) = object.as_object_mut() {
        object.extend(of.into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    object
}
