//! What is known of how a server comes up again: with which passwords it lets redkeep in, and where it says why it does not.
//! Both are of its own files. A password is sent to the server and to nobody else; none is told.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::target::Target;
use crate::held::{Reader, open_file};
use crate::redis::host::{Output, Start};
use crate::redis::scratch;
use crate::redis::server::{Address, ConfigFile, acl_text};

/// Bytes of the end of a log in which is looked for what to tell.
const LOG_END: u64 = 64 << 10;

/// What is known of one server.
#[derive(Debug, Default)]
pub(super) struct Coming {
    /// The server with passwords that its files hold, tried where it refuses the one it had.
    pub logins: Vec<Address>,
    log: Option<Log>,
}

/// Where a server writes what it says.
#[derive(Debug)]
struct Log {
    place: Place,
    reader: Reader,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Output(Output),
}

impl Coming {
    /// Of a server that is there.
    pub fn of(target: &Target, address: &Address) -> Coming {
        // Of one that does not run the file that was asked about is its stand-in's.
        let config = target.info.get("config_file").filter(|file| !file.is_empty() && target.host.is_running());
        Coming::by(&target.host.start, config.map(Path::new), &target.host.process.reader(), address)
    }

    /// Of one of which only is known how it is started.
    pub fn of_start(start: &Start, address: &Address) -> Coming {
        let reader = match start {
            Start::Process(line) => {
                let groups = line.surroundings.groups.iter().flatten().copied().chain([line.user.1]);
                Reader::new(line.user.0, groups.collect())
            }
            Start::Unit(_) | Start::Script(_) | Start::Command(_) => Reader::nobody(),
        };
        Coming::by(start, None, &reader, address)
    }

    fn by(start: &Start, config: Option<&Path>, reader: &Reader, address: &Address) -> Coming {
        let line = match start {
            Start::Process(line) => Some(line),
            Start::Unit(_) | Start::Script(_) | Start::Command(_) => None,
        };
        let words = line.map(|line| line.arguments.as_slice()).unwrap_or_default();
        let first = words.first().filter(|word| !word.as_encoded_bytes().starts_with(b"-")).map(Path::new);
        // What cannot be read is not known.
        let file = first.or(config).map(|path| ConfigFile::read_for(path, reader)).and_then(Result::ok);
        let mut file = file.unwrap_or_default();
        let bytes = words.iter().map(|word| word.as_encoded_bytes().to_vec());
        file.take_command_line(&[Vec::new()].into_iter().chain(bytes).collect::<Vec<_>>());
        let of = |name: &str| file.directives.get(name).filter(|value| !value.is_empty());
        let directory = line.map(|line| line.directory.clone()).or_else(|| of("dir").map(PathBuf::from));
        let place = |path: &String| directory.clone().unwrap_or_default().join(path);
        let log = of("logfile").map(place).filter(|path| path.is_absolute()).map(Place::File);
        let log = log.or_else(|| line.and_then(|line| line.output.clone()).map(Place::Output));
        let acl = of("aclfile").and_then(|path| acl_text(&place(path), reader).ok());
        let passwords = passwords(&file, acl.as_deref(), address.user().unwrap_or("default"));
        let with = |password: &String| address.clone().with_login(None, Some(password));
        let mut coming = Coming { logins: passwords.iter().map(with).collect(), log: None };
        coming.log = log.map(|place| Log { place, reader: reader.clone() });
        coming
    }

    /// How long its log is now.
    pub fn length(&self) -> u64 {
        let file = self.log.as_ref().and_then(Log::open);
        file.and_then(|file| file.metadata().ok()).map_or(0, |found| found.len())
    }

    /// What it said since its log had this length, in a few lines.
    pub fn said(&self, before: u64) -> Option<String> {
        let log = self.log.as_ref()?;
        let mut file = log.open()?;
        let length = file.metadata().ok()?.len();
        // One that was begun anew is shorter.
        let from = if length < before { 0 } else { before };
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(LOG_END)))).ok()?;
        let mut bytes = Vec::new();
        file.take(LOG_END).read_to_end(&mut bytes).ok()?;
        let lines = scratch::told(&String::from_utf8_lossy(&bytes));
        (!lines.is_empty()).then(|| lines.join(" | "))
    }
}

impl Log {
    /// With the rights of the server's user: where its log is, is its word.
    fn open(&self) -> Option<std::fs::File> {
        match &self.place {
            Place::File(path) => open_file(path, Some(&self.reader)).ok(),
            Place::Output(output) => output.read(&self.reader).ok(),
        }
    }
}

/// Passwords of a user that stand in a server's files as they are.
fn passwords(file: &ConfigFile, acl: Option<&[u8]>, user: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if user == "default" {
        found.extend(file.directives.get("requirepass").filter(|password| !password.is_empty()).cloned());
    }
    let text = String::from_utf8_lossy(acl.unwrap_or_default()).into_owned();
    let of_acl = text.lines().filter_map(|line| line.trim().strip_prefix("user "));
    let of_acl = of_acl.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<String>>());
    let of_file = file.lines.get("user").into_iter().flatten().cloned();
    for words in of_file.chain(of_acl).filter(|words| words.first().is_some_and(|name| name == user)) {
        found.extend(words.iter().skip(1).filter_map(|rule| rule.strip_prefix('>')).map(str::to_owned));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_a_user_are_found_where_they_stand() {
        let mut file = ConfigFile::default();
        let words = ["", "--requirepass", "p w", "--user", "app", "on", ">one", "<two", "--user", "default", ">three"];
        file.take_command_line(&words.map(|word| word.as_bytes().to_vec()));
        let acl = b"user app off >four ~*\nuser other >five\n";
        assert_eq!(passwords(&file, Some(acl), "default"), ["p w", "three"]);
        assert_eq!(passwords(&file, Some(acl), "app"), ["one", "four"]);
        assert_eq!(passwords(&file, None, "nobody"), Vec::<String>::new());
    }
}
