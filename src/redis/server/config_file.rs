//! The configuration file of a server, read where the server may not be asked: directives by name, with what is included.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;

use crate::aof::split_words;
use crate::redis::RedisError;

/// Bytes of a configuration file; ones in use have some hundred kilobytes.
const LONGEST: u64 = 4 << 20;
/// How deep files may include each other.
const DEPTH: usize = 8;
/// How many files may be read.
const FILES: usize = 256;

/// How a path of the server is reached from here.
pub(super) type Here<'a> = &'a dyn Fn(&Path) -> PathBuf;

/// The last value of each directive, and the files it was read from. It may hold passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigFile {
    /// By name in lower case; the arguments joined by spaces, as CONFIG GET shows them.
    pub directives: BTreeMap<String, String>,
    /// The words of each line of a directive, for those of which every line counts: `user`, `loadmodule`,
    /// `rename-command`, `client-output-buffer-limit`.
    pub lines: BTreeMap<String, Vec<Vec<String>>>,
    /// The file and those it includes, in the order they were read.
    pub files: Vec<PathBuf>,
}

impl ConfigFile {
    /// Reads a file with all it includes. A file that is included and not there is passed over: the server started
    /// without it, or found it under a name that is relative to where it was started.
    pub fn read(path: &Path) -> Result<Self, RedisError> {
        Self::read_as_seen(path, &Path::to_owned)
    }

    /// The same where the paths are those of a server, and `here` tells how one is reached from here.
    pub(super) fn read_as_seen(path: &Path, here: Here<'_>) -> Result<Self, RedisError> {
        let mut file = Self::default();
        file.take(path, here, DEPTH)?;
        Ok(file)
    }

    fn take(&mut self, path: &Path, here: Here<'_>, depth: usize) -> Result<(), RedisError> {
        let mut text = Vec::new();
        let opened = File::open(here(path)).map_err(|error| RedisError::io("open", path, error))?;
        opened.take(LONGEST).read_to_end(&mut text).map_err(|error| RedisError::io("read", path, error))?;
        self.files.push(path.to_owned());
        for line in text.split(|byte| *byte == b'\n') {
            let Some(words) = split_words(line) else { continue };
            let Some((name, values)) = words.split_first() else { continue };
            if name.starts_with(b"#") {
                continue;
            }
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            match (name.as_str(), values.first()) {
                ("include", Some(named)) => self.include(path, named, here, depth)?,
                _ => self.set(name, values),
            }
        }
        Ok(())
    }

    fn include(&mut self, from: &Path, named: &[u8], here: Here<'_>, depth: usize) -> Result<(), RedisError> {
        for path in included(&from.with_file_name(OsStr::from_bytes(named)), here) {
            if depth > 0 && self.files.len() < FILES && here(&path).is_file() {
                self.take(&path, here, depth - 1)?;
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
}
