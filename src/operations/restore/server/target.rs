//! The server a dataset is restored into: what it says of itself, and why it may have to be left alone.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::elsewhere::{self, Elsewhere};
use super::source::Source;
use super::{Consent, Options, preflight};
use crate::format::counts::size;
use crate::format::snapshot::{File, Role};
use crate::held::{Held, Reader};
use crate::operations::OperationError;
use crate::redis::RedisError;
use crate::redis::host::{Host, Start, Stopped};
use crate::redis::server::{ConfigFile, Info, LoadedModule, Server};

/// What its files are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub dump: OsString,
    pub aof: OsString,
    /// Of servers before 7.0: none.
    pub aof_directory: Option<OsString>,
}

/// A running server of this host.
#[derive(Debug)]
pub(super) struct Target {
    pub directory: PathBuf,
    /// The same, held: what is done in it is done there.
    pub held: Held,
    pub names: Names,
    pub appendonly: bool,
    pub version: (u32, u32, u32),
    pub host: Host,
    /// Whom its files belong to.
    pub owner: (u32, u32),
    pub info: Info,
    pub maxmemory: u64,
    /// What it does where that is not enough.
    pub policy: String,
    pub databases: u32,
    databases_set: String,
    /// What is to be known of a server that does not run.
    pub notes: Vec<String>,
    /// Ports that it listens on without TLS and with it, as it says; 0 for none.
    ports: (String, String),
    pub modules: Vec<LoadedModule>,
    /// What its configuration calls commands: the usual name, and the other one.
    pub renamed: Vec<(String, String)>,
}

impl Target {
    /// Asks a server.
    pub fn ask(server: &mut Server, stopped: Option<&Stopped>, options: &Options) -> Result<Target, OperationError> {
        let mut info = server.info()?;
        let host = match stopped {
            // Who answers is a stand-in, without a cluster and without an AOF.
            Some(stopped) => {
                info.set("cluster_enabled", if stopped.is_cluster { "1" } else { "0" });
                info.set("aof_enabled", if stopped.appendonly { "1" } else { "0" });
                stopped.host.clone()
            }
            None => Host::find(server, &info, &options.commands)?,
        };
        let mut setting = |name: &str| server.setting(name).map(|value| value.filter(|value| !value.is_empty()));
        let told = setting("dir")?;
        let names = Names {
            dump: setting("dbfilename")?.unwrap_or_else(|| "dump.rdb".into()).into(),
            aof: setting("appendfilename")?.unwrap_or_else(|| "appendonly.aof".into()).into(),
            aof_directory: setting("appenddirname")?.map(OsString::from),
        };
        let maxmemory = setting("maxmemory")?.and_then(|text| text.parse().ok()).unwrap_or(0);
        let policy = setting("maxmemory-policy")?.unwrap_or_else(|| "noeviction".into());
        // A node of a cluster has one database, whatever `databases` says; Valkey 9 has a setting for more.
        let databases_set = setting("databases")?.unwrap_or_else(|| "16".into());
        let databases = match info.is_on("cluster_enabled") {
            true => setting("cluster-databases")?.and_then(|text| text.parse().ok()).unwrap_or(1),
            false => databases_set.parse().unwrap_or(16),
        };
        let of_info = || info.get("tcp_port").unwrap_or("6379").to_owned();
        let ports = (setting("port")?.unwrap_or_else(of_info), setting("tls-port")?.unwrap_or_else(|| "0".into()));
        // While it reads one it says that it has none.
        let appendonly = match info.is_loading() {
            true => setting("appendonly")?.is_some_and(|set| set == "yes"),
            false => info.is_on("aof_enabled"),
        };
        let directory = match stopped {
            Some(stopped) => stopped.directory.clone(),
            None => directory(&host, told.as_deref())?,
        };
        let held = hold(&host, &directory, stopped.is_some())?;
        let seen = held.seen().map_err(|error| OperationError::target("look at", &directory, error))?;
        // Files of the directory's owner, unless the server is somebody else who is not root.
        let owner = match host.process.user {
            (0, _) => seen.owner(),
            (user, _) if user == seen.owner().0 => seen.owner(),
            user => user,
        };
        let version = info.version().unwrap_or_default();
        let modules = server.loaded_modules()?;
        let renamed = match stopped {
            Some(stopped) => stopped.renamed(),
            None => {
                let file = info.get("config_file").filter(|file| !file.is_empty());
                let file = file.map(|file| ConfigFile::read_for(Path::new(file), &host.process.reader()));
                // Of one that cannot be read nothing is known.
                file.and_then(Result::ok).map(|file| file.renamed()).unwrap_or_default()
            }
        };
        let target = Target {
            directory: held.path().into(),
            held,
            names,
            appendonly,
            version,
            host,
            owner,
            info,
            maxmemory,
            policy,
            databases,
            databases_set,
            notes: stopped.map(|stopped| stopped.notes.clone()).unwrap_or_default(),
            ports,
            modules,
            renamed,
        };
        if stopped.is_none() {
            target.refuse_unwritten_settings()?;
        }
        Ok(target)
    }

    /// What a person has to say yes to.
    pub fn would_be_replaced(&self, options: &Options) -> String {
        match self.host.is_running() {
            true => format!("the server at {} would be stopped and its data replaced", options.address),
            false => format!("the data of the stopped server in {} would be replaced", self.directory.display()),
        }
    }

    /// Whether its AOF is a set of files.
    pub fn is_multi_part(&self) -> bool {
        self.names.aof_directory.is_some()
    }

    /// `Redis 7.0.15`, as people say it.
    pub fn program(&self) -> String {
        let shown = |(major, minor, patch): (u32, u32, u32)| format!("{major}.{minor}.{patch}");
        match self.info.valkey_version() {
            Some(version) => format!("Valkey {}", shown(version)),
            None => format!("Redis {}", shown(self.version)),
        }
    }

    /// A server that is started again reads its configuration file: what was set since and not written there is lost.
    /// With another `appendonly`, name or directory it would start empty, with a master it would be emptied.
    fn refuse_unwritten_settings(&self) -> Result<(), RedisError> {
        let Some(path) = self.info.get("config_file").filter(|file| !file.is_empty()) else { return Ok(()) };
        if matches!(self.host.start, Start::Command(_)) {
            return Ok(());
        }
        // Of one that cannot be read nothing is known.
        let Ok(file) = ConfigFile::read_for(Path::new(path), &self.host.process.reader()) else { return Ok(()) };
        let written = |name: &str| file.directives.get(name).map(String::as_str);
        let refuse = |name: &str, now: &str, written: &str| {
            Err(RedisError::Server {
                what: format!(
                    "the server runs with {name} {now}, but {path} says {written}: started again, it would look for other \
                     data"
                ),
                hint: "make the file say what is meant (CONFIG REWRITE does), or say how the server is started with \
                       --start-command"
                    .into(),
            })
        };
        let text = |name: &OsString| name.to_string_lossy().into_owned();
        let mut now = vec![
            ("appendonly", "no", if self.appendonly { "yes" } else { "no" }.to_owned()),
            ("dbfilename", "dump.rdb", text(&self.names.dump)),
            ("appendfilename", "appendonly.aof", text(&self.names.aof)),
        ];
        now.extend(self.names.aof_directory.as_ref().map(|name| ("appenddirname", "appendonlydir", text(name))));
        if matches!(self.host.start, Start::Process(_)) {
            // A unit or a script may give these besides the file.
            if !self.info.is_on("cluster_enabled") {
                // A node of a cluster has one, whatever its file says.
                now.push(("databases", "16", self.databases_set.clone()));
            }
            now.push(("port", "6379", self.ports.0.clone()));
            now.push(("tls-port", "0", self.ports.1.clone()));
        }
        for (name, default, now) in now {
            let written = written(name).unwrap_or(default);
            if written != now {
                return refuse(name, &now, written);
            }
        }
        // A relative one counts from where the server was once started.
        if let Some(dir) = written("dir").map(Path::new).filter(|dir| dir.is_absolute())
            && dir.canonicalize().ok() != self.directory.canonicalize().ok()
        {
            return refuse("dir", &self.directory.display().to_string(), &dir.display().to_string());
        }
        let master = written("replicaof").or_else(|| written("slaveof")).filter(|master| *master != "no one");
        if let Some(master) = master.filter(|_| self.is_master()) {
            return refuse("no replicaof", "as a master", &format!("replicaof {master}"));
        }
        Ok(())
    }

    /// Whether it follows nobody.
    pub fn is_master(&self) -> bool {
        self.info.get("role") == Some("master")
    }

    /// Refuses what a person has not said a word for, and what cannot work.
    pub fn refuse(&self, server: &mut Server, source: &Source, options: &Options) -> Result<(), RedisError> {
        let refuse = |what: String, hint: &str| Err(RedisError::Server { what, hint: hint.into() });
        let may = |consent: Consent| options.consents.contains(&consent);
        if self.info.get("role").is_some_and(|role| role != "master") && !may(Consent::Replica) {
            let what = "the server is a replica: its master would replace what is restored".into();
            return refuse(what, "restore into its master, or detach it first; or say: --force replica");
        }
        if self.info.is_on("cluster_enabled") && !may(Consent::Cluster) {
            let what = "the server is a node of a cluster: keys of slots that other nodes own become invisible".into();
            return refuse(what, "if this node owns the slots of the snapshot, say: --force cluster");
        }
        let clients = server.words(&["CLIENT", "LIST"]).map_err(|error| error.to_string());
        let sentinel = match &clients {
            Ok(clients) if clients.contains("name=sentinel-") => Some("a Sentinel watches the server".to_owned()),
            Ok(_) => None,
            Err(why) => Some(format!("whether a Sentinel watches the server cannot be seen ({why})")),
        };
        if let Some(what) = sentinel.filter(|_| !may(Consent::Sentinel)) {
            let what = format!("{what}: while it is stopped, a replica may be made master");
            return refuse(what, "stop the Sentinels first; or say: --force sentinel");
        }
        if self.info.is_loading() {
            return refuse("the server is still loading its data".into(), "wait until it serves");
        }
        // What is to be cut back is looked at when it is.
        let is_cut = |file: &File| options.goal.is_some() && matches!(file.role, Role::Incr | Role::SingleAof);
        if !may(Consent::Suspect) {
            source.files.iter().filter(|file| !is_cut(file)).try_for_each(refuse_suspect)?;
        }
        preflight::by_facts(self, source, options)
    }

    /// Where its AOF's files stand, if that is not in the data directory.
    pub fn elsewhere(&self) -> Result<Option<(Elsewhere, Held)>, OperationError> {
        let process = &self.host.process;
        // One that does not run is in the groups that it is started with.
        let groups = match &self.host.start {
            Start::Process(line) if !self.host.is_running() => {
                let more = line.surroundings.groups.iter().flatten().copied();
                process.groups().into_iter().chain(more).collect()
            }
            _ => process.groups(),
        };
        let rights = (process.user.0, &*groups, &Reader::new(process.user.0, groups.clone()));
        elsewhere::find(&self.held, &self.names, self.appendonly, rights)
    }

    /// Refuses where the bytes will not fit beside what is there.
    pub fn refuse_full_disk(&self, held: &Held, bytes: u64) -> Result<(), OperationError> {
        const SPARE: u64 = 16 << 20;
        let path = held.path();
        let free = held.free().map_err(|error| OperationError::target("look at", path, error))?;
        if free >= bytes.saturating_add(SPARE) {
            return Ok(());
        }
        let what = format!(
            "{} has {} free, the restore needs {}, and {} are to stay free",
            path.display(),
            size(free),
            size(bytes),
            size(SPARE)
        );
        let hint = "free some space first; what stands there stays until the new files are complete".into();
        Err(RedisError::Server { what, hint }.into())
    }
}

/// Refuses a file whose content was suspect when it was stored.
pub(super) fn refuse_suspect(file: &File) -> Result<(), RedisError> {
    let Some(why) = &file.suspect else { return Ok(()) };
    let nearest = match file.role {
        Role::Incr | Role::SingleAof => "; --at now --nearest ends before what is not whole",
        _ => "",
    };
    Err(RedisError::Server {
        what: format!("{} in the snapshot was suspect when it was stored: {why}", file.display_path()),
        hint: format!("choose another snapshot, or look at it with redkeep verify; or say: --force suspect{nearest}"),
    })
}

/// Holds the directory the server works in. A server says where that is and what its files are called, and may say anything:
/// redkeep changes only what the server's user could change as well.
fn hold(host: &Host, directory: &Path, is_stopped: bool) -> Result<Held, OperationError> {
    let held = Held::open(directory).map_err(|error| OperationError::target("open", directory, error))?;
    let seen = held.seen().map_err(|error| OperationError::target("look at", directory, error))?;
    let its = fs::metadata(Path::new("/proc").join(host.process.id.to_string()).join("cwd"));
    let refuse = |what: String, hint: &str| Err(RedisError::Server { what, hint: hint.into() }.into());
    if !is_stopped && its.is_ok_and(|its| (its.dev(), its.ino()) != seen.id()) {
        let what = format!("{} was replaced by something else meanwhile", held.path().display());
        return refuse(what, "find out what works on this directory, then restore again");
    }
    let caller = rustix::process::geteuid().as_raw();
    let user = host.process.user.0;
    if user == 0 || user == caller || seen.lets_rename(user, &host.process.groups()) {
        return Ok(held);
    }
    let what = format!("{} is not the server's to change: its user is {user}", held.path().display());
    refuse(what, "give the directory to the server's user, or run redkeep as that user")
}

/// The directory the server works in, as it is seen from here.
fn directory(host: &Host, told: Option<&str>) -> Result<PathBuf, RedisError> {
    let id = host.process.id;
    let same = |path: &Path| {
        let of = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        let its = of(&Path::new("/proc").join(id.to_string()).join("cwd"));
        its.is_some() && of(path) == its
    };
    let seen = host.process.directory().into_iter().chain(told.map(PathBuf::from)).find(|path| same(path));
    seen.ok_or_else(|| RedisError::Server {
        what: format!("the directory of the server (pid {id}) is not seen under its name here"),
        hint: "run redkeep as root or as the user of the server, and in the same container".into(),
    })
}
