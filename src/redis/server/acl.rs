//! Users of a server and their rights: those it has, and those that its files name. The two are compared, so that a restart
//! takes away nobody and nothing unseen. Passwords are known by their hashes only, and are never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::Path;

use super::config_file::ConfigFile;
use super::connection::Server;
use crate::aof::split_words;
use crate::held::{Reader, open_file};
use crate::redis::RedisError;

/// Bytes of an ACL file: hundreds of thousands of users.
const LONGEST: u64 = 64 << 20;

/// An ACL file that a server names: what its user may not read is not read for it.
pub(crate) fn acl_text(path: &Path, reader: &Reader) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    open_file(path, Some(reader))?.take(LONGEST + 1).read_to_end(&mut text)?;
    match text.len() as u64 > LONGEST {
        true => Err(io::Error::other("it is larger than an ACL file is")),
        false => Ok(text),
    }
}

/// Users by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users(BTreeMap<String, User>);

/// What rules make of one user. No `Debug`: it holds hashes of passwords.
#[derive(Clone, PartialEq, Eq)]
struct User {
    is_on: bool,
    needs_no_password: bool,
    /// SHA-256, in hexadecimal.
    passwords: BTreeSet<String>,
    keys: BTreeSet<String>,
    /// Where no rule speaks of channels it depends on the version.
    channels: Option<BTreeSet<String>>,
    commands: Vec<String>,
}

/// The user of clients that name none.
const DEFAULT: &str = "default";

impl User {
    /// As `reset` makes it.
    fn new() -> User {
        User {
            is_on: false,
            needs_no_password: false,
            passwords: BTreeSet::new(),
            keys: BTreeSet::new(),
            channels: None,
            commands: vec!["-@all".into()],
        }
    }

    /// As a server has it where nothing is written.
    fn open() -> User {
        User::of(["on", "nopass", "~*", "&*", "+@all"].map(String::from).into_iter())
    }

    fn of(rules: impl Iterator<Item = String>) -> User {
        let mut user = User::new();
        let mut selector: Option<String> = None;
        for rule in rules {
            // Rules in parentheses are a set of rights of their own.
            if selector.is_some() || rule.starts_with('(') {
                let mut text = selector.take().map_or_else(String::new, |begin| format!("{begin} "));
                text.push_str(&rule);
                match rule.ends_with(')') {
                    true => user.commands.push(text),
                    false => selector = Some(text),
                }
                continue;
            }
            user.take(&rule);
        }
        user
    }

    fn take(&mut self, rule: &str) {
        match rule.to_ascii_lowercase().as_str() {
            "on" => self.is_on = true,
            "off" => self.is_on = false,
            "nopass" => (self.needs_no_password, self.passwords) = (true, BTreeSet::new()),
            "resetpass" => (self.needs_no_password, self.passwords) = (false, BTreeSet::new()),
            "allkeys" => self.keys = BTreeSet::from(["~*".into()]),
            "resetkeys" => self.keys.clear(),
            "allchannels" => self.channels = Some(BTreeSet::from(["&*".into()])),
            "resetchannels" => self.channels = Some(BTreeSet::new()),
            "allcommands" | "+@all" => self.commands = vec!["+@all".into()],
            "nocommands" | "-@all" => self.commands = vec!["-@all".into()],
            "reset" => *self = User::new(),
            "clearselectors" => self.commands.retain(|command| !command.starts_with('(')),
            lower => self.take_value(rule, lower),
        }
    }

    fn take_value(&mut self, rule: &str, lower: &str) {
        let value = rule.get(1..).unwrap_or_default();
        match rule.as_bytes().first() {
            Some(b'>') => self.give(sha256(value)),
            Some(b'#') => self.give(value.to_ascii_lowercase()),
            Some(b'<') => drop(self.passwords.remove(&sha256(value))),
            Some(b'!') => drop(self.passwords.remove(&value.to_ascii_lowercase())),
            Some(b'~') => drop(self.keys.insert(rule.into())),
            Some(b'%') => drop(self.keys.insert(rule.replace("%RW~", "~").replace("%rw~", "~"))),
            Some(b'&') => drop(self.channels.get_or_insert_default().insert(rule.into())),
            Some(b'+' | b'-') if self.commands.last().is_none_or(|last| last != lower) => {
                self.commands.push(lower.into());
            }
            // How payloads are looked at is no right.
            _ => {}
        }
    }

    fn give(&mut self, password: String) {
        self.needs_no_password = false;
        self.passwords.insert(password);
    }

    /// What of it is another one in the other.
    fn differs(&self, other: &User) -> Option<&'static str> {
        let login = |user: &User| (user.is_on, user.needs_no_password, user.passwords.clone());
        if login(self) != login(other) {
            return Some("the password or the login");
        }
        let have_channels = self.channels.as_ref().zip(other.channels.as_ref());
        let same = self.keys == other.keys && self.commands == other.commands;
        (!same || have_channels.is_some_and(|(one, other)| one != other)).then_some("the rights")
    }
}

/// As servers keep passwords.
fn sha256(text: &str) -> String {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().map(|suite| suite.common.hash_provider.hash(text.as_bytes()));
    let bytes = hash.as_ref().map(AsRef::as_ref).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Users {
    /// What ACL LIST answers, or what stands in a file of ACL SAVE: a user in each line.
    fn of_lines<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Users {
        let mut users = Users::default();
        for words in lines.filter_map(split_words) {
            users.take(words.iter().map(|word| String::from_utf8_lossy(word).into_owned()));
        }
        users
    }

    /// The words of a line: `user`, a name, rules.
    fn take(&mut self, mut words: impl Iterator<Item = String>) {
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("user"))
            && let Some(name) = words.next()
        {
            self.0.insert(name, User::of(words));
        }
    }

    /// Those that a server has when it is started: of its ACL file where it has one (the bytes of that), else of its
    /// configuration.
    pub fn written(config: &ConfigFile, acl_file: Option<&[u8]>) -> Users {
        let mut users = match acl_file {
            Some(text) => Users::of_lines(text.split(|byte| *byte == b'\n')),
            None => {
                let mut users = Users::default();
                let mut default = User::open();
                if let Some(password) = config.directives.get("requirepass").filter(|password| !password.is_empty()) {
                    default.give(sha256(password));
                }
                users.0.insert(DEFAULT.into(), default);
                for words in config.lines.get("user").into_iter().flatten() {
                    users.take(["user".to_owned()].into_iter().chain(words.iter().cloned()));
                }
                users
            }
        };
        users.0.entry(DEFAULT.into()).or_insert_with(User::open);
        users
    }

    /// Whether there is a user of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What these users lose where the others take their place, in words and without a secret.
    pub fn lost(&self, then: &Users) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(then.0.keys()).collect();
        let lost = names.into_iter().filter_map(|name| match (self.0.get(name), then.0.get(name)) {
            (Some(now), Some(then)) => now.differs(then).map(|what| format!("{what} of the user {name}")),
            (Some(_), None) => Some(format!("the user {name}")),
            (None, Some(_)) => Some(format!("that the user {name} was removed")),
            (None, None) => None,
        });
        lost.collect()
    }
}

impl Server {
    /// The users it has.
    pub fn users(&mut self) -> Result<Users, RedisError> {
        let lines = self.list(&["ACL", "LIST"])?;
        Ok(Users::of_lines(lines.iter().map(String::as_bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Users {
        Users::of_lines(text.split('\n').map(str::as_bytes))
    }

    #[test]
    fn what_a_person_wrote_is_what_the_server_says_of_it() {
        let hash = sha256("word");
        assert_eq!(hash.len(), 64);
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let now = users(&format!(
            "user default on nopass sanitize-payload ~* &* +@all\n\
             user app on #{hash} sanitize-payload ~a:* ~b resetchannels -@all +get +@read -dump"
        ));
        let written = users(
            "user default on nopass allkeys allchannels allcommands\nuser app >word ~b on ~a:* +GET +@read -dump",
        );
        assert_eq!(now.lost(&written), Vec::<String>::new());
        let lost = |text: &str| now.lost(&users(&format!("user default on nopass ~* &* +@all\n{text}")));
        assert_eq!(lost(""), ["the user app"]);
        assert_eq!(lost("user app on >other ~a:* ~b +get +@read -dump"), ["the password or the login of the user app"]);
        assert_eq!(lost("user app off >word ~a:* ~b +get +@read -dump"), ["the password or the login of the user app"]);
        assert_eq!(lost("user app on >word ~a:* ~b +get +@read"), ["the rights of the user app"]);
        assert_eq!(lost("user app on >word ~a:* +get +@read -dump"), ["the rights of the user app"]);
        assert_eq!(lost("user app on >word ~a:* ~b +get +@read -dump &*"), ["the rights of the user app"]);
        assert_eq!(lost("user app on >word ~a:* ~b +get +@read -dump (+set ~c)"), ["the rights of the user app"]);
        assert_eq!(
            now.lost(&users(&format!(
                "user old on\nuser default on nopass ~* &* +@all\nuser app on #{hash} ~a:* ~b +get +@read -dump"
            ))),
            ["that the user old was removed"]
        );
    }

    #[test]
    fn requirepass_is_the_password_of_the_default_user_and_an_acl_file_counts_alone() {
        let config = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("c"), text).unwrap();
            ConfigFile::read(&dir.path().join("c")).unwrap()
        };
        let open = users("user default on nopass ~* &* +@all");
        let closed = users("user default on >word ~* &* +@all");
        let written = |text: &str, file: Option<&[u8]>| Users::written(&config(text), file);
        assert!(closed.lost(&written("requirepass word\n", None)).is_empty());
        assert_eq!(closed.lost(&written("", None)), ["the password or the login of the user default"]);
        assert!(open.lost(&written("requirepass word\n", Some(b""))).is_empty());
        assert!(closed.lost(&written("", Some(b"user default on >word ~* &* +@all\n"))).is_empty());
        let with_user = written("requirepass word\nuser app on nopass +get\n", None);
        assert!(with_user.has("app") && with_user.has(DEFAULT));
    }
}
