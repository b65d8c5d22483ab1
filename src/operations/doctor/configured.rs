//! The configuration files of servers that distributions ship, with what they include.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use globset::GlobBuilder;

use super::{Finding, Report, below};
use crate::held::{Reader, open_file};

/// Where Debian, Red Hat and others put them.
const PLACES: [&str; 5] = [
    "/etc/redis/redis.conf",
    "/etc/redis.conf",
    "/etc/valkey/valkey.conf",
    "/etc/valkey/default.conf",
    "/etc/valkey.conf",
];

/// Files that include each other are left after so many.
const DEPTH: usize = 8;

/// A configuration file has no more bytes.
const LARGEST: u64 = 4 << 20;

/// What one server is told.
#[derive(Debug, Default)]
pub(super) struct ServerFile {
    /// The file, as the host calls it.
    pub path: PathBuf,
    /// It and all it includes.
    pub files: Vec<PathBuf>,
    /// The words behind each directive, in the order of the lines.
    lines: BTreeMap<String, Vec<Vec<String>>>,
    /// That a live server rewrites its AOF just now, or is about to; and whether it had none before.
    pub rewriting: Option<bool>,
}

impl ServerFile {
    /// What a server answers, under its address.
    pub fn of_server(
        address: PathBuf,
        lines: BTreeMap<String, Vec<Vec<String>>>,
        rewriting: Option<bool>,
    ) -> ServerFile {
        ServerFile { path: address, files: Vec::new(), lines, rewriting }
    }

    /// The value of a directive that counts; `None` where it is not written.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.lines.get(name)?.last()?.first().map(String::as_str)
    }

    /// Whether a directive is written with this value.
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.value(name).is_some_and(|have| have.eq_ignore_ascii_case(value))
    }

    /// All lines of a directive.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[String]> {
        self.lines.get(name).into_iter().flatten().map(Vec::as_slice)
    }

    /// Its data directory, where that can be told without the server.
    pub fn directory(&self) -> Option<PathBuf> {
        self.value("dir").map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

/// The files that are there and can be read.
pub(super) fn find(root: &Path, report: &mut Report) -> Vec<ServerFile> {
    let mut servers = Vec::new();
    for place in PLACES.map(PathBuf::from) {
        let mut server = ServerFile { path: place.clone(), ..ServerFile::default() };
        match take_in(root, &place, None, DEPTH, &mut server) {
            Ok(true) => {}
            Ok(false) => continue,
            Err((path, error)) => report.findings.push(Finding::warning(
                "unreadable",
                format!("{} cannot be read: {error}", path.display()),
                "run as root or as the user of the server, so that its settings can be looked at",
            )),
        }
        report.files.extend(server.files.iter().cloned());
        servers.push(server);
    }
    servers
}

/// Reads a file and what it includes, where that stands: what another user can write names only what he may read. `false`: it
/// is not there.
fn take_in(
    root: &Path,
    path: &Path,
    reader: Option<&Reader>,
    depth: usize,
    server: &mut ServerFile,
) -> Result<bool, (PathBuf, io::Error)> {
    let fails = |error: io::Error| (path.to_path_buf(), error);
    let file = match open_file(&below(root, path), reader) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(fails(error)),
    };
    let writer = Reader::writer_of(&file.metadata().map_err(fails)?);
    let reader = reader.or(writer.as_ref());
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(fails)?;
    server.files.push(path.into());
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut words = words(line).into_iter();
        let Some(name) = words.next().map(|name| name.to_ascii_lowercase()) else { continue };
        let values: Vec<String> = words.collect();
        if name == "include" {
            for included in values.first().map(|value| included(root, path, value)).unwrap_or_default() {
                if depth > 0 {
                    take_in(root, &included, reader, depth - 1, server)?;
                }
            }
        } else {
            server.lines.entry(name).or_default().push(values);
        }
    }
    Ok(true)
}

/// Files that an `include` names; from 7.0 on it may be a pattern.
fn included(root: &Path, path: &Path, value: &str) -> Vec<PathBuf> {
    let full = path.parent().unwrap_or(Path::new("/")).join(value);
    let (Some(directory), Some(name)) = (full.parent(), full.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    if !name.contains(['*', '?', '[']) {
        return vec![full];
    }
    let Ok(glob) = GlobBuilder::new(name).build().map(|glob| glob.compile_matcher()) else { return Vec::new() };
    let entries = fs::read_dir(below(root, directory)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name()).filter(|name| glob.is_match(name));
    let mut paths: Vec<PathBuf> = names.map(|name| directory.join(name)).collect();
    paths.sort();
    paths
}

/// The words of a line: separated by blanks, or quoted. A line that begins with `#` has none.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    if rest.starts_with('#') {
        return words;
    }
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' | '\'' => quoted(rest.strip_prefix(first).unwrap_or_default(), first),
            _ => {
                let (word, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
                (word.to_string(), after)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// A quoted word and what follows it. Within quotes a backslash takes the next letter as it is.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut word = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if letter == quote => return (word, text.get(at + 1..).unwrap_or_default()),
            '\\' => word.extend(letters.next().map(|(_, next)| next)),
            _ => word.push(letter),
        }
    }
    (word, "")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    #[test]
    fn a_line_is_words_and_quotes_hold_blanks() {
        for (line, wanted) in [
            ("appendonly yes", &["appendonly", "yes"][..]),
            ("  save 900 1 300 10 ", &["save", "900", "1", "300", "10"]),
            ("save \"\"", &["save", ""]),
            ("dir \"/var/lib/my redis\" # not a comment", &["dir", "/var/lib/my redis", "#", "not", "a", "comment"]),
            ("requirepass 'a\\'b'", &["requirepass", "a'b"]),
            ("# appendonly yes", &[]),
            ("", &[]),
            ("dir \"/open", &["dir", "/open"]),
        ] {
            assert_eq!(words(line), wanted, "{line}");
        }
    }

    #[test]
    fn included_files_stand_where_they_are_named_and_the_last_word_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "etc/redis/redis.conf",
            "appendonly no\ndir /data\ninclude /etc/redis/conf.d/*.conf\ninclude local.conf\n",
        );
        write("etc/redis/conf.d/a.conf", "APPENDONLY yes\nsave 1 2\n");
        write("etc/redis/conf.d/b.txt", "appendonly no\n");
        write("etc/redis/local.conf", "save \"\"\ninclude /etc/redis/local.conf\n");
        let mut report = Report::default();
        let servers = find(root.path(), &mut report);
        assert_eq!((servers.len(), &report.findings), (1, &Vec::new()));
        assert_eq!(servers[0].directory(), Some("/data".into()));
        assert!(servers[0].is("appendonly", "yes") && servers[0].all("save").count() > 2);
        assert!(servers[0].files.contains(&"/etc/redis/conf.d/a.conf".into()));
        assert!(!servers[0].files.contains(&"/etc/redis/conf.d/b.txt".into()));
    }

    #[test]
    fn an_include_that_is_no_file_or_is_not_its_writers_to_read_is_told_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join("etc/redis").join(name);
        fs::create_dir_all(at("")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
        fs::write(at("secret"), "requirepass precious\n").unwrap();
        let told = |include: &str| {
            let mut report = Report::default();
            fs::write(at("redis.conf"), format!("port 7\ninclude {include}\n")).unwrap();
            let servers = find(dir.path(), &mut report);
            (servers[0].value("requirepass").map(str::to_owned), report.findings.len())
        };
        assert_eq!(told("pipe"), (None, 1));
        assert_eq!(told("secret"), (Some("precious".into()), 0));
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
            chown(at("redis.conf"), Some(61_234), Some(61_234)).unwrap();
            assert_eq!(told("secret"), (None, 1));
        }
    }
}
