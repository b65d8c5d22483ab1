//! Where a server keeps its files, and under which names.
//!
//! Asked by CONFIG GET, one name at a time; never `CONFIG GET *`, which shows passwords. Where that is denied or renamed,
//! INFO names the process and the configuration file: the working directory of the process is the data directory, what it
//! holds open for writing shows the AOF, and the configuration file with what it includes gives the other names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::config_file::{ConfigFile, Here};
use super::connection::Server;
use super::info::Info;
use crate::held::Reader;
use crate::redis::RedisError;
use crate::redis::directory::{FileId, Measure, Told};
use crate::redis::processes::ServerProcess;

/// The settings a capture wants to know.
const SETTINGS: [&str; 8] =
    ["dir", "dbfilename", "appendonly", "appendfilename", "appenddirname", "save", "aof-timestamp-enabled", "aclfile"];

/// What a person says of a server's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WhereOptions {
    /// The data directory as it is reached from here, whatever the server says.
    pub directory: Option<PathBuf>,
    /// Directories of the server and what they are called here.
    pub maps: Vec<(PathBuf, PathBuf)>,
}

/// Where a server keeps its files.
#[derive(Debug)]
pub(super) struct Place {
    /// The data directory, as it is reached from here.
    pub directory: PathBuf,
    /// What its files are called.
    pub told: Told,
    /// What is known of its settings, by name.
    pub settings: BTreeMap<String, String>,
    /// The server itself told its settings.
    pub is_asked: bool,
    /// Its configuration file and what that includes, as the server names them; none where they cannot be read.
    pub config_files: Vec<PathBuf>,
    /// With whose rights files outside its directory are opened.
    pub reader: Option<Reader>,
    /// Its process, where that can be looked into.
    process: Option<ServerProcess>,
    /// Else why it cannot.
    pub unseen: String,
    maps: Vec<(PathBuf, PathBuf)>,
}

impl Place {
    /// Finds out where a server keeps its files. Whether that is so remains to be proved.
    pub(super) fn find(server: &mut Server, info: &Info, options: &WhereOptions) -> Result<Self, RedisError> {
        let process = info.number("process_id").zip(server.address().peer());
        let process = process.ok_or_else(|| "it does not say which one it is".to_owned());
        let process = process.and_then(|(id, peer)| ServerProcess::find(id, &peer));
        let (process, unseen) = process.map_or_else(|why| (None, why), |process| (Some(process), String::new()));
        let reader = reader(process.as_ref(), options);
        let here = |path: &Path| from_here(path, process.as_ref(), &options.maps);
        let file = read_config_file(info, &here, reader.as_ref());
        let asked = settings(server)?;
        let is_asked = asked.is_some();
        let settings = asked.unwrap_or_else(|| look(&file, process.as_ref()));
        let directory = locate(server, &settings, process.as_ref(), options)?;
        let name = |name: &str, usual: &str| settings.get(name).map_or(usual, String::as_str).as_bytes().to_vec();
        let is_multi_part = info.version().is_none_or(|version| version.0 >= 7);
        let told = Told {
            dump: name("dbfilename", "dump.rdb"),
            append_file: name("appendfilename", "appendonly.aof"),
            append_directory: is_multi_part.then(|| name("appenddirname", "appendonlydir")),
            aof_counts: false,
        };
        refuse_paths(&told)?;
        let (config_files, maps) = (file.files, options.maps.clone());
        Ok(Self { directory, told, settings, is_asked, config_files, reader, process, unseen, maps })
    }

    /// The data directory, as the server calls it.
    pub(super) fn server_directory(&self) -> &Path {
        self.setting("dir").map_or(self.directory.as_path(), Path::new)
    }

    /// How a path of the server is reached from here; `None` where the same name here may be another server's.
    pub(super) fn reach(&self, path: &Path) -> Option<PathBuf> {
        let is_known = self.process.is_some() || map(path, &self.maps).is_some();
        is_known.then(|| from_here(path, self.process.as_ref(), &self.maps))
    }

    /// Whether this is the directory that the server works in, as far as its process shows.
    pub(super) fn is_the_servers(&self) -> Option<bool> {
        let process = self.process.as_ref()?;
        let metadata = fs::metadata(&self.directory).ok()?;
        Some(process.works_in(FileId::of(&metadata)))
    }

    /// Whether its process holds a file of the AOF open for writing, where that can be looked into.
    pub(super) fn writes(&self, measure: &Measure) -> Option<bool> {
        let name = measure.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        self.process.as_ref().map(|process| process.writes(measure.file, &[name, &measure.own_name]))
    }

    /// Where its process writes an AOF of these names, if that is another directory.
    pub(super) fn aof_elsewhere(&self) -> Option<PathBuf> {
        let process = self.process.as_ref()?;
        let name = self.told.append_file.as_slice();
        let directory = |path: &PathBuf| match &self.told.append_directory {
            Some(_) => {
                let [(_, found), _] = names_of_increment(path)?;
                (found.as_bytes() == name).then(|| path.parent().and_then(Path::parent).map(Path::to_owned))?
            }
            None => (path.file_name()?.as_bytes() == name).then(|| path.parent().map(Path::to_owned))?,
        };
        let found = process.written_files().iter().find_map(directory)?;
        (Some(&found) != process.working_directory().as_ref()).then_some(found)
    }

    /// Whether the names of its files are known, and not only usual.
    pub(super) fn knows_names(&self) -> bool {
        self.is_asked || self.process.is_some() || !self.config_files.is_empty()
    }

    /// The same, as an error where it certainly is another one.
    pub(super) fn refuse_another(&self) -> Result<(), RedisError> {
        match self.is_the_servers() {
            Some(false) => Err(self.not_the_servers("its process works in another directory")),
            Some(true) | None => Ok(()),
        }
    }

    /// It could not be proved that the directory is the server's.
    pub(super) fn not_the_servers(&self, why: &str) -> RedisError {
        RedisError::Server {
            what: format!("{} is not shown to be the server's directory: {why}", self.directory.display()),
            hint: "name its directory with --dir, or with --path-map /data=/srv/redis for a server in a container; or have \
                   it send its dump, with --mode sync"
                .into(),
        }
    }

    /// The dump, as it is reached from here.
    pub(super) fn dump(&self) -> PathBuf {
        self.directory.join(OsStr::from_bytes(&self.told.dump))
    }

    /// Where a server from 7.0 on writes while it turns its AOF on.
    pub(super) fn temporary_increment(&self) -> Option<PathBuf> {
        let directory = self.told.append_directory.as_ref()?;
        let name = [b"temp-", self.told.append_file.as_slice(), b".incr"].concat();
        Some(self.directory.join(OsStr::from_bytes(directory)).join(OsStr::from_bytes(&name)))
    }

    /// A setting.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }
}

/// Servers take no paths for these, and a directory is captured by names in it.
fn refuse_paths(told: &Told) -> Result<(), RedisError> {
    let names = [Some(&told.dump), Some(&told.append_file), told.append_directory.as_ref()];
    match names.into_iter().flatten().find(|name| name.contains(&b'/') || name.as_slice() == b"..") {
        None => Ok(()),
        Some(name) => Err(RedisError::Server {
            what: format!(
                "the server calls its dump or its AOF {}, which is no name in its directory",
                String::from_utf8_lossy(name)
            ),
            hint: "is it Redis or Valkey that answers there? see CONFIG GET dbfilename and append*".into(),
        }),
    }
}

/// What the server says of its settings; `None` if it does not.
pub(super) fn settings(server: &mut Server) -> Result<Option<BTreeMap<String, String>>, RedisError> {
    let mut settings = BTreeMap::new();
    for name in SETTINGS {
        match server.setting(name) {
            Ok(value) => settings.extend(value.map(|value| (name.to_owned(), value))),
            Err(RedisError::Answer { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(settings.contains_key("dir").then_some(settings))
}

/// What a server names is opened with the rights of its user. Where its process is not seen, root opens for it what the owner
/// of the directory that a person named could open; another user's own rights are the bound.
fn reader(process: Option<&ServerProcess>, options: &WhereOptions) -> Option<Reader> {
    if let Some(process) = process {
        return Some(process.reader());
    }
    let named = options.directory.as_ref().or_else(|| options.maps.first().map(|(_, here)| here));
    let owner = || {
        let found = fs::metadata(named?).ok()?;
        Some(Reader::new(found.uid(), vec![found.gid()]))
    };
    rustix::process::geteuid().is_root().then(|| owner().unwrap_or_else(Reader::nobody))
}

fn read_config_file(info: &Info, here: Here<'_>, reader: Option<&Reader>) -> ConfigFile {
    let Some(path) = info.get("config_file").filter(|path| !path.is_empty()) else { return ConfigFile::default() };
    // Where it cannot be read nothing is known from it: not every server has one.
    ConfigFile::read_as_seen(Path::new(path), here, reader).unwrap_or_default()
}

/// By what a person said, else through the server's process, else under its own name.
fn from_here(path: &Path, process: Option<&ServerProcess>, maps: &[(PathBuf, PathBuf)]) -> PathBuf {
    let seen = || process.map(|process| process.path_from_here(path)).filter(|seen| seen.exists());
    map(path, maps).or_else(seen).unwrap_or_else(|| path.to_owned())
}

/// What configuration file and process show of the settings.
fn look(file: &ConfigFile, process: Option<&ServerProcess>) -> BTreeMap<String, String> {
    let mut known = file.clone();
    if let Some(process) = process {
        known.take_command_line(&process.command_line());
    }
    let mut settings = known.directives;
    settings.retain(|name, _| SETTINGS.contains(&name.as_str()));
    if let Some(process) = process {
        let directory = process.working_directory();
        settings.extend(directory.map(|directory| ("dir".to_owned(), directory.display().to_string())));
        settings.extend(process.written_files().iter().find_map(|path| names_of_increment(path)).into_iter().flatten());
    }
    settings
}

/// The names of a multi-part AOF, from one of its increments.
fn names_of_increment(path: &Path) -> Option<[(String, String); 2]> {
    let name = path.file_name()?.to_str()?.strip_suffix(".incr.aof")?;
    let (name, seq) = name.rsplit_once('.')?;
    let directory = path.parent()?.file_name()?.to_str()?;
    let is_one = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| [("appendfilename".into(), name.into()), ("appenddirname".into(), directory.into())])
}

/// The data directory, as it is reached from here.
fn locate(
    server: &Server,
    settings: &BTreeMap<String, String>,
    process: Option<&ServerProcess>,
    options: &WhereOptions,
) -> Result<PathBuf, RedisError> {
    // One whose directory was removed says that it has none.
    let told = settings.get("dir").filter(|told| !told.is_empty()).map(PathBuf::from);
    let named = options.directory.clone().or_else(|| map(told.as_deref()?, &options.maps));
    if let Some(named) = named {
        return match named.is_dir() {
            true => Ok(named),
            false => Err(RedisError::Server {
                what: format!("{} is no directory", named.display()),
                hint: "correct --dir or --path-map, which name the server's directory as it is reached from here"
                    .into(),
            }),
        };
    }
    let Some(told) = told else {
        return Err(RedisError::OutOfReach {
            what: format!("where the server at {} keeps its files is not known", server.address()),
            hint: "name its directory with --dir; or allow its user CONFIG GET (+config|get), say what CONFIG is called there \
                   (--renamed-command CONFIG=NEW), or run as root; or have it send its dump, with --mode sync"
                .into(),
        });
    };
    let seen = process.map(|process| process.path_from_here(&told)).filter(|seen| seen.is_dir());
    match (told.is_dir(), seen) {
        (true, _) => Ok(told),
        (false, Some(seen)) => Ok(seen),
        (false, None) => Err(RedisError::OutOfReach {
            what: format!(
                "the server at {} keeps its files in {}, which is no directory here",
                server.address(),
                told.display()
            ),
            hint: "is it on another host or in a container? name its directory here with --dir, or with \
                   --path-map /data=/srv/redis; or have it send its dump, with --mode sync"
                .into(),
        }),
    }
}

/// What a directory of the server is called here, by the map that says most of it.
fn map(told: &Path, maps: &[(PathBuf, PathBuf)]) -> Option<PathBuf> {
    let mapped = maps.iter().filter_map(|(there, here)| {
        let below = told.strip_prefix(there).ok()?;
        let here = if below.as_os_str().is_empty() { here.clone() } else { here.join(below) };
        Some((there.components().count(), here))
    });
    mapped.max_by_key(|(depth, _)| *depth).map(|(_, here)| here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_that_says_most_counts() {
        let maps = [("/", "/host"), ("/data", "/srv/redis"), ("/data/b", "/b")].map(|(a, b)| (a.into(), b.into()));
        for (told, here) in [("/data", "/srv/redis"), ("/data/a", "/srv/redis/a"), ("/data/b", "/b"), ("/x", "/host/x")]
        {
            assert_eq!(map(Path::new(told), &maps), Some(here.into()), "{told}");
        }
        assert_eq!(map(Path::new("/data"), &[]), None);
    }

    #[test]
    fn an_increment_tells_the_names_of_its_aof() {
        let names = names_of_increment(Path::new("/data/aofs/my.aof.12.incr.aof")).unwrap();
        assert_eq!(names.map(|(_, value)| value), ["my.aof", "aofs"]);
        for path in ["/data/aofs/temp-my.aof.incr", "/data/aofs/my.aof.x.incr.aof", "/data/appendonly.aof"] {
            assert!(names_of_increment(Path::new(path)).is_none(), "{path}");
        }
    }
}
