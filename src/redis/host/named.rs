//! A server that does not run, by what a person names of it: its configuration file, its unit, or its directory.
//!
//! Nothing can be asked of it. Its settings are those of the file and of the command line it is started with; its version is
//! that of its program. What the rest of its configuration makes of the program a stand-in tells: see [`Like`].

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::command_line::{CommandLine, PATH};
use super::manager::{NAMES, SCRIPTS, SYSTEMD, Start, Stop};
use super::process::Process;
use super::surroundings::Surroundings;
use super::{Commands, ENDING, Host, trust};
use crate::held::Reader;
use crate::redis::RedisError;
use crate::redis::program::{Program, is_trusted};
use crate::redis::scratch::Like;
use crate::redis::server::{Address, ConfigFile, config_files, refuse_foreseen};

/// Names under which programs of servers are installed.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// What an AOF is called by default.
const AOF: &str = "appendonly.aof";

/// What a person names of a server that does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Its configuration file.
    pub config: Option<PathBuf>,
    /// Its unit of systemd, or its script of `service`.
    pub unit: Option<String>,
    /// Its data directory, as it is reached from here.
    pub directory: Option<PathBuf>,
    /// Settings that it is started with besides the file: name and value.
    pub settings: Vec<(String, String)>,
    /// Its program.
    pub program: Option<PathBuf>,
}

/// A server that does not run.
#[derive(Debug, Clone)]
pub struct Stopped {
    /// Its data directory, without links.
    pub directory: PathBuf,
    /// Whether its AOF is on.
    pub appendonly: bool,
    /// Whether it is a node of a cluster.
    pub is_cluster: bool,
    /// Its program.
    pub program: Program,
    /// Whom the directory belongs to: a server that nobody keeps is his.
    pub owner: (u32, u32),
    /// The way to start it.
    pub host: Host,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Settings that nobody named, concluded from its files: it is started with them.
    pub concluded: Vec<(String, String)>,
    config: Option<PathBuf>,
    words: Vec<(String, String)>,
    settings: ConfigFile,
}

impl Stopped {
    /// Finds out what can be known.
    pub fn find(named: &Named, commands: &Commands) -> Result<Stopped, RedisError> {
        let keeper = match &named.unit {
            Some(unit) => Some(Keeper::named(unit)?),
            None => None,
        };
        let told = keeper.as_ref().and_then(|keeper| keeper.config.clone());
        let known = || named.directory.as_ref().and_then(|directory| config_of(directory));
        let config = named.config.clone().or(told).or_else(known);
        let config = config.map(|path| absolute(&path)).transpose()?;
        let keeper = keeper.or_else(|| config.as_deref().and_then(Keeper::of));
        let mut words = keeper.as_ref().map(|keeper| keeper.words.clone()).unwrap_or_default();
        words.extend(named.settings.iter().cloned());
        let mut settings = config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default();
        settings.take_settings(&words);
        let directory = directory(named, &settings)?;
        let owner = trust::owner(&directory, &settings)?;
        let of = |name: &str| settings.directives.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if let Some(master) = of("replicaof").or_else(|| of("slaveof")).filter(|master| *master != "no one") {
            return Err(RedisError::Server {
                what: format!("the server is a replica of {master}: its master would replace what is restored"),
                hint: "restore into its master, or take replicaof out of its configuration first".into(),
            });
        }
        let mut notes = Vec::new();
        let mut concluded = Vec::new();
        let appendonly = match of("appendonly") {
            Some(value) => value == "yes",
            None if config.is_some() => false,
            None => {
                concluded = has_aof(&directory, &settings, &mut notes)?;
                true
            }
        };
        // Whoever else starts it does so with a configuration that is not known here.
        if keeper.is_some() || commands.start.is_some() {
            concluded.clear();
        }
        words.extend(concluded.iter().cloned());
        settings.take_settings(&concluded);
        let program = program(named, keeper.as_ref(), config.as_deref())?;
        let is_told = named.program.is_some() || keeper.as_ref().is_some_and(|keeper| keeper.program.is_some());
        if commands.start.is_none() && !is_told {
            notes.push(format!(
                "the program is {} ({}), as it is installed on this host: where the server had another one, name that with \
                 --server-binary",
                program.path.display(),
                program.version
            ));
        }
        if commands.start.is_some() && named.program.is_none() {
            notes.push(format!(
                "the version, {}, is that of {}: that --start-command starts the same is not known",
                program.version,
                program.path.display()
            ));
        }
        let start = match (&commands.start, &keeper) {
            (Some(command), _) => Start::Command(command.clone()),
            (None, Some(keeper)) => keeper.start.clone(),
            (None, None) => {
                let arguments = arguments(config.as_deref(), &directory, named, &words);
                let surroundings = Surroundings { groups: groups(owner.0), ..Surroundings::default() };
                let (program, at) = (program.path.clone(), directory.clone());
                Start::Process(CommandLine {
                    program,
                    arguments,
                    directory: at,
                    user: owner,
                    output: None,
                    surroundings,
                })
            }
        };
        let host = Host {
            process: Process::ended(owner),
            program: Some(program.path.clone()),
            stop: Stop::Shutdown,
            start,
            patience: commands.patience.unwrap_or(ENDING),
        };
        let is_cluster = settings.directives.get("cluster-enabled").is_some_and(|value| value == "yes");
        Ok(Stopped {
            directory,
            appendonly,
            is_cluster,
            program,
            owner,
            host,
            notes,
            concluded,
            config,
            words,
            settings,
        })
    }

    /// How it is started where that takes no configuration file and nobody else.
    pub fn built(&self) -> Option<CommandLine> {
        match &self.host.start {
            Start::Process(line) if self.config.is_none() => Some(line.clone()),
            _ => None,
        }
    }

    /// Where it will listen, by its settings, with the login of another address.
    pub fn address(&self, login: &Address) -> Result<Address, RedisError> {
        let of = |name: &str| self.settings.directives.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let port = |name: &str| of(name).and_then(|port| port.parse::<u16>().ok());
        let named = match (port("port").unwrap_or(6379), of("unixsocket"), port("tls-port")) {
            (port @ 1.., _, _) => format!("redis://{}:{port}", host(of("bind"))),
            (0, Some(path), _) => path.to_owned(),
            (0, None, Some(port @ 1..)) => format!("rediss://{}:{port}", host(of("bind"))),
            (0, None, _) => {
                return Err(RedisError::Server {
                    what: "by its configuration the server listens nowhere: port is 0, and there is no unixsocket"
                        .into(),
                    hint: "say where it is reached: --server=URL".into(),
                });
            }
        };
        Ok(login.elsewhere(&named)?.with_known_password(of("requirepass"), "requirepass of its configuration"))
    }

    /// Refuses an address at which nobody will be let in, by its settings.
    pub fn refuse_foreseen(&self, address: &Address) -> Result<(), RedisError> {
        let groups = groups(self.owner.0).unwrap_or_else(|| vec![self.owner.1]);
        refuse_foreseen(address, &self.settings, &self.directory, &Reader::new(self.owner.0, groups))
    }

    /// What commands are called that were renamed: the usual name, and the other one.
    pub fn renamed(&self) -> Vec<(String, String)> {
        self.settings.renamed()
    }

    /// What a stand-in of it is started with.
    pub fn like(&self, login: &Address) -> Like {
        let has = |name: &str| self.settings.directives.contains_key(name);
        let aclfile = self.settings.directives.get("aclfile").filter(|path| !path.is_empty());
        // One that is relative is looked for from the data directory.
        let aclfile = aclfile.filter(|path| !path.starts_with('/')).map(|path| self.directory.join(path));
        Like {
            config: self.config.clone(),
            words: self.words.clone(),
            has_tls: has("tls-port"),
            aclfile,
            login: login.clone(),
            environment: None,
        }
    }
}

/// Who keeps a server that does not run.
struct Keeper {
    start: Start,
    config: Option<PathBuf>,
    program: Option<PathBuf>,
    words: Vec<(String, String)>,
}

impl Keeper {
    /// The one of this name: a script where systemd does not run and there is one.
    fn named(name: &str) -> Result<Keeper, RedisError> {
        let script = Path::new(SCRIPTS).join(name);
        if !Path::new(SYSTEMD).is_dir() && !name.contains('/') && script.is_file() {
            let text = fs::read_to_string(&script).unwrap_or_default();
            let mut paths = text.split(|c: char| c.is_whitespace() || "\"'=".contains(c)).map(Path::new);
            let config = paths.find(|path| path.is_absolute() && path.extension().is_some_and(|end| end == "conf"));
            let config = config.filter(|path| path.is_file()).map(Path::to_owned);
            return Ok(Keeper { start: Start::Script(name.into()), config, program: None, words: Vec::new() });
        }
        let failed = |what: String| RedisError::Server {
            what,
            hint: "see systemctl status; or name its configuration file with --server-config".into(),
        };
        let shown = show(name).map_err(|why| failed(format!("the unit {name} cannot be looked at: {why}")))?;
        let line = |what: &str| shown.lines().find_map(|line| line.strip_prefix(what));
        let words = line("ExecStart=").and_then(started_with).ok_or_else(|| {
            failed(format!(
                "the unit {name} says no program that it starts ({})",
                line("LoadState=").unwrap_or("unknown")
            ))
        })?;
        let (program, rest) = words.split_first().ok_or_else(|| failed(format!("the unit {name} starts nothing")))?;
        let config = rest.first().filter(|word| !word.starts_with('-')).map(PathBuf::from);
        Ok(Keeper { start: Start::Unit(name.into()), config, program: Some(program.into()), words: settings_of(rest) })
    }

    /// The one that starts a server with this configuration file.
    fn of(config: &Path) -> Option<Keeper> {
        let text = config.to_str()?;
        if Path::new(SYSTEMD).is_dir() {
            let units = NAMES.iter().filter_map(|name| Keeper::named(&format!("{name}.service")).ok());
            return units.into_iter().find(|keeper| keeper.config.as_deref() == Some(config));
        }
        let is_its =
            |name: &&&str| fs::read_to_string(Path::new(SCRIPTS).join(name)).is_ok_and(|all| all.contains(text));
        let name = NAMES.iter().find(is_its)?;
        Some(Keeper { start: Start::Script((*name).into()), config: None, program: None, words: Vec::new() })
    }
}

/// What systemd says of a unit.
pub(super) fn show(unit: &str) -> Result<String, String> {
    let mut command = Command::new("systemctl");
    let properties = "--property=ExecStart,LoadState,RootDirectory,RootImage";
    command.args(["show", properties, "--", unit]);
    let output = crate::redis::program::without_secrets(&mut command).stdin(Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// `{ path=/usr/bin/redis-server ; argv[]=/usr/bin/redis-server /etc/redis/redis.conf --daemonize no ; … }`
pub(super) fn started_with(line: &str) -> Option<Vec<String>> {
    let (_, rest) = line.split_once("argv[]=")?;
    let (words, _) = rest.split_once(" ; ")?;
    Some(words.split_whitespace().map(str::to_owned).collect())
}

/// `--name value …` as names and values.
pub(super) fn settings_of(words: &[String]) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = Vec::new();
    for word in words {
        match (word.strip_prefix("--"), settings.last_mut()) {
            (Some(name), _) => settings.push((name.to_ascii_lowercase(), String::new())),
            (None, Some((_, value))) if value.is_empty() => word.clone_into(value),
            (None, Some((_, value))) => *value = format!("{value} {word}"),
            (None, None) => {}
        }
    }
    settings
}

/// Words for a server that is started as a plain process.
fn arguments(config: Option<&Path>, directory: &Path, named: &Named, words: &[(String, String)]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = config.into_iter().map(OsString::from).collect();
    if config.is_none() || named.directory.is_some() {
        arguments.extend(["--dir".into(), directory.into()]);
    }
    for (name, value) in words {
        arguments.push(format!("--{name}").into());
        arguments.extend(value.split_whitespace().map(OsString::from));
    }
    arguments
}

/// The configuration file that distributions ship and that names this directory.
fn config_of(directory: &Path) -> Option<PathBuf> {
    let wanted = directory.canonicalize().ok()?;
    config_files().into_iter().find(|path| {
        let dir = ConfigFile::read(path).ok().and_then(|file| file.directives.get("dir").cloned());
        dir.and_then(|dir| Path::new(&dir).canonicalize().ok()).is_some_and(|dir| dir == wanted)
    })
}

fn absolute(path: &Path) -> Result<PathBuf, RedisError> {
    std::path::absolute(path).map_err(|error| RedisError::io("look at", path, error))
}

fn directory(named: &Named, settings: &ConfigFile) -> Result<PathBuf, RedisError> {
    let told = settings.directives.get("dir").map(PathBuf::from);
    let refuse = |what: String| RedisError::Server {
        what,
        hint: "name the directory as it is reached from here with --server-dir".into(),
    };
    let path = named.directory.clone().or(told).ok_or_else(|| refuse("no configuration says the directory".into()))?;
    if named.directory.is_none() && !path.is_absolute() {
        return Err(refuse(format!(
            "the configuration says dir {}, which counts from where the server is started",
            path.display()
        )));
    }
    match path.canonicalize() {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(_) | Err(_) => Err(refuse(format!("the server's directory {} is not there", path.display()))),
    }
}

/// That a server without a known configuration has its AOF on, by what stands in its directory: the settings with which it
/// loads that.
fn has_aof(
    directory: &Path,
    settings: &ConfigFile,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, String)>, RedisError> {
    let of = |name: &str| settings.directives.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let (parts, single) = (of("appenddirname").unwrap_or("appendonlydir"), of("appendfilename"));
    let aof = [parts, single.unwrap_or(AOF)].into_iter().find(|name| directory.join(name).exists());
    let Some(name) = aof else {
        return Err(RedisError::Server {
            what: "whether the server's AOF is on is not known: a server with appendonly yes starts empty on a dump"
                .into(),
            hint: "name its configuration file with --server-config, or say --server-setting appendonly=yes (or =no)"
                .into(),
        });
    };
    notes.push(format!("no configuration is known: that the AOF is on is concluded from {name} in the directory"));
    let mut concluded = vec![("appendonly".to_owned(), "yes".to_owned())];
    if name == parts
        && single.is_none()
        && let Some(other) = other_name(&directory.join(parts))?
    {
        notes.push(format!(
            "no configuration is known: appendfilename {other} is concluded from the manifest in {name}"
        ));
        concluded.push(("appendfilename".into(), other));
    }
    Ok(concluded)
}

/// What the AOF in a directory is called, where that is not the usual name.
fn other_name(parts: &Path) -> Result<Option<String>, RedisError> {
    let Ok(entries) = fs::read_dir(parts) else { return Ok(None) };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.filter_map(|name| name.strip_suffix(".manifest").map(str::to_owned)).collect();
    // It becomes a word of a command line.
    let is_plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    match names.as_slice() {
        [] => Ok(None),
        names if names.iter().any(|name| name == AOF) => Ok(None),
        [name] if is_plain(name) => Ok(Some(name.clone())),
        _ => Err(RedisError::Server {
            what: format!("what the server's AOF is called is not known by the manifests in {}", parts.display()),
            hint: "name its configuration file with --server-config, or say --server-setting appendfilename=NAME"
                .into(),
        }),
    }
}

/// The program that will serve.
fn program(named: &Named, keeper: Option<&Keeper>, config: Option<&Path>) -> Result<Program, RedisError> {
    if let Some(path) = named.program.as_deref().or(keeper.and_then(|keeper| keeper.program.as_deref())) {
        return Program::at(path);
    }
    let places = PATH.split(':').map(Path::new);
    let found = places.flat_map(|place| PROGRAMS.map(|name| place.join(name)));
    let mut found: Vec<PathBuf> = found.filter(|path| path.is_file() && is_trusted(path)).collect();
    // Distributions give one program several names, and one directory too.
    let mut seen = Vec::new();
    found.retain(|path| {
        let real = path.canonicalize().unwrap_or_default();
        let is_new = !seen.contains(&real);
        seen.push(real);
        is_new
    });
    let is_of = |path: &Path, family: &str| path.to_string_lossy().contains(family);
    if let Some(family) = ["valkey", "redis"].into_iter().find(|family| config.is_some_and(|path| is_of(path, family)))
        && found.iter().any(|path| is_of(path, family))
    {
        found.retain(|path| is_of(path, family));
    }
    let hint = "name the program that serves with --server-binary".to_owned();
    match found.as_slice() {
        [one] => Program::at(one),
        [] => Err(RedisError::Server { what: "the server's program is not found on this host".into(), hint }),
        [one, other, ..] => Err(RedisError::Server {
            what: format!("{} or {} may be the server's program", one.display(), other.display()),
            hint,
        }),
    }
}

/// The groups of a user, where the system tells.
fn groups(user: u32) -> Option<Vec<u32>> {
    let output = Command::new("id").args(["-G", "--", &user.to_string()]).env("PATH", PATH).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().map(|id| id.parse().ok()).collect::<Option<Vec<u32>>>().filter(|all| !all.is_empty())
}

/// Where a server that is bound so is reached from this host.
fn host(bind: Option<&str>) -> String {
    let addresses = bind.unwrap_or_default().split_whitespace().map(|one| one.trim_start_matches('-'));
    let addresses: Vec<&str> = addresses.collect();
    let is_local = |one: &&str| ["127.0.0.1", "*", "0.0.0.0"].contains(one);
    match addresses.first() {
        Some(first) if !addresses.iter().any(is_local) && first.contains(':') => format!("[{first}]"),
        Some(first) if !addresses.iter().any(is_local) => (*first).to_owned(),
        _ => "127.0.0.1".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_tells_what_it_starts() {
        let line = "{ path=/usr/bin/redis-server ; argv[]=/usr/bin/redis-server /etc/redis/redis.conf --supervised systemd \
                    --port 7000 --save 60 1 ; ignore_errors=no ; start_time=[n/a] }";
        let words = started_with(line).unwrap();
        assert_eq!(words[..2], ["/usr/bin/redis-server", "/etc/redis/redis.conf"]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("supervised", "systemd"), pair("port", "7000"), pair("save", "60 1")];
        assert_eq!(settings_of(&words[1..]), expected);
        assert_eq!(started_with("{ path= }"), None);
    }

    #[test]
    fn a_server_is_reached_where_it_is_bound() {
        for (bind, expected) in [
            (None, "127.0.0.1"),
            (Some("* -::*"), "127.0.0.1"),
            (Some("10.0.0.3 127.0.0.1"), "127.0.0.1"),
            (Some("-10.0.0.3"), "10.0.0.3"),
            (Some("::1"), "[::1]"),
        ] {
            assert_eq!(host(bind), expected, "{bind:?}");
        }
    }
}
