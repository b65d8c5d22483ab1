//! Whether a profile will work where nobody watches: tried with nothing of the environment of whoever schedules it, as the
//! user who will run it.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::cli::context::Context;
use crate::cli::exit::{Code, UsageError};
use crate::cli::human::plain;
use crate::cli::outcome;
use crate::cli::second::{Second, SecretArguments};
use crate::cli::settings::variable;
use crate::operations::OperationError;
use crate::operations::schedule::{User, may_put, may_write};
use crate::operations::source::{LiveSource, Way};
use crate::redis::server::{Cluster, Shard, directory_behind};
use crate::redis::{CaptureOptions, RedisError, capture_directory};
use crate::repository::Repository;
use crate::store::{self, Intent, Location};

use crate::cli::commands::run::{Wanted, second, wanted};

/// What cron gives to its jobs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One thing that was tried.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli::commands) struct Tried {
    /// What: `repository`, `data`, `server`, `copy`, `mirror` or `report`.
    pub what: String,
    /// What came of it.
    pub found: String,
    /// How it ended, as an exit code.
    pub exit_code: u8,
    /// What to do about it, where it failed.
    pub hint: Option<String>,
}

/// What `schedule test` prints with `--json`.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli::commands) struct Trial {
    pub profile: String,
    pub user: String,
    pub tried: Vec<Tried>,
}

impl Trial {
    /// Tries a profile in this process.
    pub fn of(profile: &str, user: String, context: &Context) -> Trial {
        let mut tried = vec![Tried::of("repository", || repository(context))];
        tried.extend(data(context));
        tried.extend(copies(context));
        tried.extend(page(context));
        Trial { profile: profile.into(), user, tried }
    }

    /// The same by a process that has nothing of this one's environment, as another user where one is meant.
    pub fn apart(profile: &str, user: &User, is_other: bool, config: Option<&Path>) -> anyhow::Result<Trial> {
        let program = env::current_exe().context("cannot tell where this program is")?;
        let mut command = match is_other {
            false => Command::new(program),
            true => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={}", user.id), format!("--regid={}", user.group)]);
                command.args(["--init-groups", "--"]).arg(program);
                command
            }
        };
        command.args(["schedule", "test", profile, "--json"]);
        command.args(config.iter().flat_map(|path| [Path::new("--config"), path]));
        command.env_clear().env("PATH", PATH).env("SHELL", "/bin/sh").env("HOME", &user.home);
        if !is_other {
            // What this user keeps elsewhere is not made anew in its usual place.
            let own = ["REDKEEP_CACHE_DIR", "REDKEEP_STATE_DIR"].into_iter();
            command.envs(own.filter_map(|name| Some((name, variable(name)?))));
        }
        command.env("LOGNAME", &user.name).env("USER", &user.name).current_dir("/").stdin(Stdio::null());
        let output = command.output().with_context(|| format!("cannot try the profile as {}", user.name))?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            anyhow::anyhow!("the profile cannot be tried as {}: {said}", user.name)
        })
    }

    /// The first thing that failed; a server that may be down just now comes last.
    pub fn worst(&self) -> Option<&Tried> {
        self.tried.iter().filter(|tried| tried.exit_code != 0).min_by_key(|tried| tried.is_of_server())
    }
}

impl Tried {
    fn of(what: &str, work: impl FnOnce() -> anyhow::Result<String>) -> Tried {
        match work() {
            Ok(found) => Tried { what: what.into(), found, exit_code: 0, hint: None },
            Err(error) => Tried {
                what: what.into(),
                found: format!("{error:#}"),
                exit_code: Code::of(&error) as u8,
                hint: outcome::hint(&error),
            },
        }
    }

    /// Whether it is a server that may be down just now.
    pub fn is_of_server(&self) -> bool {
        self.exit_code == Code::Server as u8
    }
}

/// One thing that was tried, for people.
pub(in crate::cli::commands) fn told(tried: &Tried) -> String {
    let hint = tried.hint.as_ref().map_or(String::new(), |hint| format!("         {}\n", plain(hint)));
    let how = if tried.exit_code == 0 { "works" } else { "FAILS" };
    format!("{how}: {}: {}\n{hint}", tried.what, plain(&tried.found))
}

/// It opens with the password that the configuration names, and can be written to.
fn repository(context: &Context) -> anyhow::Result<String> {
    let repository = context.open()?;
    if let Location::Local(path) = context.location()?
        && let Err(path) = may_write(&path)
    {
        return Err(OperationError::Refused {
            what: format!("{} may not be written by this user", path.display()),
            hint: "give the repository to the user who runs the profile".into(),
        }
        .into());
    }
    Ok(format!("{} opens, and can be written", repository.location()))
}

/// The places of second copies can be reached, and the repository of copies opens.
fn copies(context: &Context) -> Vec<Tried> {
    let Some(profile) = context.profile().ok().flatten() else { return Vec::new() };
    let copy = profile.copy_to.as_ref().map(|to| {
        Tried::of("copy", || {
            let there = context.open_second(&second("copy-to", to, context)?, &SecretArguments::default())?;
            Ok(format!("{} opens", there.location()))
        })
    });
    let mirror = profile.mirror_to.as_ref().map(|to| {
        Tried::of("mirror", || {
            let Second { location, settings, .. } = second("mirror-to", to, context)?;
            match &location {
                Location::Local(path) if !path.exists() => Ok(format!("{location} will be made")),
                _ => {
                    Repository::is_in(&*store::open_with(&location, Intent::Existing, &settings)?)?;
                    Ok(format!("{location} can be reached"))
                }
            }
        })
    });
    copy.into_iter().chain(mirror).collect()
}

/// The page that the profile wants can be written.
fn page(context: &Context) -> Option<Tried> {
    let page = context.profile().ok().flatten()?.report.clone()?;
    Some(Tried::of("report", || match may_put(&page) {
        Ok(()) => Ok(format!("{} can be written", page.display())),
        Err(why) => Err(UsageError {
            what: format!("the page {} cannot be written: {why}", page.display()),
            hint: "name a file that this user may write with report, in a directory that is there".into(),
        }
        .into()),
    }))
}

/// What is captured can be had.
fn data(context: &Context) -> Vec<Tried> {
    let wanted = match context.profile().map_err(anyhow::Error::from).and_then(|profile| wanted(profile, context)) {
        Ok(wanted) => wanted,
        Err(error) => return vec![Tried::of("data", || Err(error))],
    };
    match wanted {
        Wanted::Directory(directory) => vec![readable(&directory, false)],
        Wanted::Server(live) => of_server(&live),
        Wanted::Cluster(seed) => of_cluster(&seed),
    }
}

/// Each master answers, and its data can be had.
fn of_cluster(seed: &LiveSource) -> Vec<Tried> {
    let cluster = match seed.connect().and_then(|mut server| Cluster::of(&mut server)) {
        Ok(cluster) => cluster,
        Err(error) => return vec![Tried::of("server", || Err(OperationError::from(error).into()))],
    };
    let of_shard = |shard: &Shard| LiveSource { address: seed.address.at(&shard.host, shard.port), ..seed.clone() };
    cluster.shards.iter().flat_map(|shard| of_server(&of_shard(shard))).collect()
}

/// It answers, and its directory can be read where that is what is captured.
fn of_server(live: &LiveSource) -> Vec<Tried> {
    let asked = live.connect().and_then(|mut server| match live.way {
        Way::Replication => server.info().map(|_| None),
        Way::Files | Way::Either => match directory_behind(&mut server, &live.options.place) {
            Err(RedisError::OutOfReach { .. }) if live.way == Way::Either => Ok(None),
            found => found.map(Some),
        },
    });
    let shown = &live.address;
    let (answer, directory) = match asked {
        Ok(Some(directory)) => {
            (Ok(format!("{shown} answers, and keeps its data in {}", directory.display())), Some(directory))
        }
        Ok(None) => (Ok(format!("{shown} answers, and is to send its dump as to a replica")), None),
        Err(error) => (Err(error), None),
    };
    let server = Tried::of("server", || Ok(answer.map_err(OperationError::from)?));
    [server].into_iter().chain(directory.map(|directory| readable(&directory, true))).collect()
}

fn readable(directory: &Path, is_live: bool) -> Tried {
    Tried::of("data", || match capture_directory(directory, &CaptureOptions::default()) {
        Ok(_) => Ok(format!("{} can be read", directory.display())),
        // What a live server is about to write, or writes otherwise, is its capture's to settle.
        Err(error) if is_live && !matches!(error, RedisError::Denied { .. } | RedisError::Io { .. }) => {
            Ok(format!("{} can be read", directory.display()))
        }
        Err(error) => Err(OperationError::from(error).into()),
    })
}
