//! The configuration file of a server, read where the server may not be asked: directives by name, with what is included.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;

use crate::aof::split_words;
use crate::held::{Reader, open_file};
use crate::redis::RedisError;

/// Bytes of a configuration file; ones in use have some hundred kilobytes.
const LONGEST: u64 = 4 << 20;
/// How deep files may include each other.
const DEPTH: usize = 8;
/// How many files may be read.
const FILES: usize = 256;

/// How a path of the server is reached from here.
pub(super) type Here<'a> = &'a dyn Fn(&Path) -> PathBuf;

/// How files are reached, and with whose rights.
#[derive(Clone, Copy)]
struct Rights<'a> {
    here: Here<'a>,
    /// Whose word the paths are; none: a person's.
    reader: Option<&'a Reader>,
    /// What may not be read is no error.
    passes_over: bool,
}

/// The last value of each directive, and the files it was read from. It may hold passwords.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    /// By name in lower case; the arguments joined by spaces, as CONFIG GET shows them.
    pub directives: BTreeMap<String, String>,
    /// The words of each line of a directive, for those of which every line counts: `user`, `loadmodule`,
    /// `rename-command`, `client-output-buffer-limit`.
    pub lines: BTreeMap<String, Vec<Vec<String>>>,
    /// The file and those it includes, in the order they were read.
    pub files: Vec<PathBuf>,
    /// What the system said of those that were read.
    pub(in crate::redis) seen: Vec<(PathBuf, Metadata)>,
}

impl ConfigFile {
    /// Reads a file that a person, or a distribution, names, with all it includes. A file that is included and not there is
    /// passed over: the server started without it, or found it under a name that is relative to where it was started.
    pub fn read(path: &Path) -> Result<Self, RedisError> {
        Self::read_with(path, Rights { here: &Path::to_owned, reader: None, passes_over: false })
    }

    /// The same with a path that is a server's word: what the server's user may not read is not read for it.
    pub(crate) fn read_for(path: &Path, reader: &Reader) -> Result<Self, RedisError> {
        Self::read_with(path, Rights { here: &Path::to_owned, reader: Some(reader), passes_over: false })
    }

    /// The same where `here` tells how a path of the server is reached from here. What is included and may not be read is
    /// among the files, and nothing is known from it.
    pub(super) fn read_as_seen(path: &Path, here: Here<'_>, reader: Option<&Reader>) -> Result<Self, RedisError> {
        Self::read_with(path, Rights { here, reader, passes_over: true })
    }

    fn read_with(path: &Path, rights: Rights<'_>) -> Result<Self, RedisError> {
        let mut file = Self::default();
        file.take(path, rights, DEPTH)?;
        Ok(file)
    }

    fn take(&mut self, path: &Path, rights: Rights<'_>, depth: usize) -> Result<(), RedisError> {
        let mut text = Vec::new();
        let opened = open_file(&(rights.here)(path), rights.reader);
        let opened = opened.map_err(|error| RedisError::io("open", path, error))?;
        let seen = opened.metadata().map_err(|error| RedisError::io("look at", path, error))?;
        opened.take(LONGEST).read_to_end(&mut text).map_err(|error| RedisError::io("read", path, error))?;
        // What it includes is the word of whoever can write it.
        let writer = rights.reader.is_none().then(|| Reader::writer_of(&seen)).flatten();
        let rights = Rights { reader: rights.reader.or(writer.as_ref()), ..rights };
        self.files.push(path.to_owned());
        self.seen.push((path.to_owned(), seen));
        for line in text.split(|byte| *byte == b'\n') {
            let Some(words) = split_words(line) else { continue };
            let Some((name, values)) = words.split_first() else { continue };
            if name.starts_with(b"#") {
                continue;
            }
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            match (name.as_str(), values.first()) {
                ("include", Some(named)) => self.include(path, named, rights, depth)?,
                _ => self.set(name, values),
            }
        }
        Ok(())
    }

    fn include(&mut self, from: &Path, named: &[u8], rights: Rights<'_>, depth: usize) -> Result<(), RedisError> {
        for path in included(&from.with_file_name(OsStr::from_bytes(named)), rights.here) {
            if depth == 0 || self.files.len() >= FILES || !(rights.here)(&path).is_file() {
                continue;
            }
            match self.take(&path, rights, depth - 1) {
                Err(RedisError::Denied { .. }) if rights.passes_over => self.files.push(path),
                Err(RedisError::Denied { .. }) if rights.reader.is_some() => return Err(not_theirs(from, &path)),
                taken => taken?,
            }
        }
        Ok(())
    }

    /// `save` adds to what stands before it, unless it is empty.
    fn set(&mut self, name: String, values: &[Vec<u8>]) {
        let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        self.lines.entry(name.clone()).or_default().push(values.clone());
        let value = values.join(" ");
        let adds = name == "save" && !value.is_empty();
        let before = self.directives.get(&name).filter(|before| adds && !before.is_empty());
        let value = before.map_or_else(|| value.clone(), |before| format!("{before} {value}"));
        self.directives.insert(name, value);
    }

    /// What commands are called that were renamed: the usual name, and the other one, which is empty where they are disabled.
    pub fn renamed(&self) -> Vec<(String, String)> {
        let lines = self.lines.get("rename-command").into_iter().flatten();
        lines.filter_map(|words| Some((words.first()?.clone(), words.get(1)?.clone()))).collect()
    }

    /// Takes settings that come after the file, as names and values.
    pub(in crate::redis) fn take_settings(&mut self, settings: &[(String, String)]) {
        for (name, value) in settings {
            self.set(name.to_ascii_lowercase(), &[value.clone().into_bytes()]);
        }
    }

    /// Takes what stands on a command line, where it was not replaced by a title: `--name value …`.
    pub fn take_command_line(&mut self, words: &[Vec<u8>]) {
        let mut options: Vec<(String, Vec<Vec<u8>>)> = Vec::new();
        for word in words.iter().skip(1) {
            match (word.strip_prefix(b"--"), options.last_mut()) {
                (Some(name), _) => options.push((String::from_utf8_lossy(name).to_ascii_lowercase(), Vec::new())),
                (None, Some((_, values))) => values.push(word.clone()),
                (None, None) => {}
            }
        }
        for (name, values) in options {
            self.set(name, &values);
        }
    }
}

fn not_theirs(from: &Path, path: &Path) -> RedisError {
    RedisError::Server {
        what: format!(
            "{} includes {}, which is not for those to read who can write the former",
            from.display(),
            path.display()
        ),
        hint: "give the including file to root and let nobody else write it, or take that line out".into(),
    }
}

/// The files that a name stands for, which may be a pattern in its last component.
fn included(path: &Path, here: Here<'_>) -> Vec<PathBuf> {
    let pattern = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !pattern.contains(['*', '?', '[']) {
        return vec![path.to_owned()];
    }
    let Ok(glob) = GlobBuilder::new(&pattern).build() else { return Vec::new() };
    let (glob, directory) = (glob.compile_matcher(), path.parent().unwrap_or(Path::new("/")));
    let entries = std::fs::read_dir(here(directory)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name()).filter(|name| glob.is_match(name));
    let mut paths: Vec<PathBuf> = names.map(|name| directory.join(name)).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn the_last_directive_counts_wherever_it_is_included() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write(
            "redis.conf",
            "# dir /nowhere\ndir /first\nDIR \"/with \\x41 space\"\ninclude conf.d/*.conf\ninclude missing.conf\n\
             save 3600 1\nsave 300 100\ninclude redis.conf\ndbfilename last.rdb\n",
        );
        fs::create_dir(dir.path().join("conf.d")).unwrap();
        write("conf.d/b.conf", "dbfilename b.rdb\nappendonly yes\n");
        write("conf.d/a.conf", "dbfilename a.rdb\n");
        write("conf.d/c.txt", "appendonly no\n");
        let file = ConfigFile::read(&dir.path().join("redis.conf")).unwrap();
        let of = |name: &str| file.directives.get(name).map(String::as_str);
        assert_eq!(of("dir"), Some("/with A space"));
        assert_eq!((of("dbfilename"), of("appendonly")), (Some("last.rdb"), Some("yes")));
        assert!(of("save").is_some_and(|save| save.starts_with("3600 1 300 100")));
        assert!(file.files.iter().any(|path| path.ends_with("conf.d/b.conf")));
        assert!(ConfigFile::read(&dir.path().join("missing.conf")).is_err());
    }

    #[test]
    fn what_stands_on_the_command_line_comes_last() {
        let mut file = ConfigFile::default();
        file.set("save".into(), &[b"900".to_vec(), b"1".to_vec()]);
        let words = ["redis-server", "/etc/redis.conf", "--dir", "/data", "--save", "", "--port", "7"];
        file.take_command_line(&words.map(|word| word.as_bytes().to_vec()));
        assert_eq!(file.directives["dir"], "/data");
        assert_eq!(file.directives["save"], "");
        file.take_command_line(&[b"redis-server *:6379".to_vec()]);
        assert_eq!(file.directives["port"], "7");
    }

    /// LOCAL-18
    #[test]
    fn what_is_included_by_a_file_that_others_can_write_is_read_only_if_they_may() {
        if !rustix::process::geteuid().is_root() {
            return; // Nobody else can own what is made here.
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str, mode: u32| {
            fs::write(at(name), text).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        write("secret", "requirepass precious\n", 0o600);
        write("common", "maxclients 7\n", 0o644);
        write("main", "include common\ninclude secret\n", 0o644);
        let read = || ConfigFile::read(&at("main"));
        assert_eq!(read().unwrap().directives["requirepass"], "precious", "root's own word");
        for (owner, mode) in [((61_234, 61_234), 0o644), ((0, 61_234), 0o664), ((0, 0), 0o646)] {
            chown(at("main"), Some(owner.0), Some(owner.1)).unwrap();
            fs::set_permissions(at("main"), fs::Permissions::from_mode(mode)).unwrap();
            let refused = read().unwrap_err().to_string();
            assert!(refused.contains("secret, which is not for those to read who can write the former"), "{refused}");
            // By a live server nothing is lost but that file, which is named.
            let file = ConfigFile::read_as_seen(&at("main"), &Path::to_owned, Some(&Reader::nobody())).unwrap();
            assert_eq!((file.directives["maxclients"].as_str(), file.directives.get("requirepass")), ("7", None));
            assert_eq!(file.files.len(), 3);
        }
        chown(at("main"), Some(61_234), Some(61_234)).unwrap();
        chown(at("secret"), Some(0), Some(61_234)).unwrap();
        fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(read().unwrap().directives["requirepass"], "precious", "its group may read it");
    }
}
