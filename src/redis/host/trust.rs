//! Whom a configuration file speaks for. Whoever can write it can name any directory, and redkeep shall not change for him
//! what he could not change himself.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::held::{Held, Reader};
use crate::redis::RedisError;
use crate::redis::server::ConfigFile;

/// Whom the directory belongs to that the files name, if nobody can write these but root, the caller and, where the caller is
/// root, that owner.
pub(super) fn owner(directory: &Path, settings: &ConfigFile) -> Result<(u32, u32), RedisError> {
    let held = Held::open(directory).and_then(|held| held.seen());
    let owner = held.map_err(|error| RedisError::io("look at", directory, error))?.owner();
    let is_root = rustix::process::geteuid().is_root();
    for (path, seen) in &settings.seen {
        let is_group_his = || seen.mode() & 0o020 == 0 || seen.gid() == owner.1 && is_alone(owner);
        let is_his = is_root && owner.0 != 0 && [0, owner.0].contains(&seen.uid()) && is_group_his();
        let is_trusted = Reader::writer_of(seen).is_none() || is_his && seen.mode() & 0o002 == 0;
        if !is_trusted {
            return Err(RedisError::Server {
                what: format!(
                    "{} can be written by others than the owner of {}, which it names",
                    path.display(),
                    directory.display()
                ),
                hint:
                    "give the file to root or to the owner of the directory, and let nobody else write it (chmod go-w)"
                        .into(),
            });
        }
    }
    match settings.directives.get("unixsocket").map(Path::new).filter(|path| is_anothers(path, owner.0, settings)) {
        None => Ok(owner),
        Some(path) => Err(RedisError::Server {
            what: format!("the configuration names the socket {}, which belongs to another user", path.display()),
            hint: "is it that of another server? say where this one listens: --server=URL".into(),
        }),
    }
}

/// Whether a socket that is there is neither the owner's nor named by root or the caller alone.
fn is_anothers(socket: &Path, owner: u32, settings: &ConfigFile) -> bool {
    let is_word_of_others = settings.seen.iter().any(|(_, seen)| Reader::writer_of(seen).is_some());
    is_word_of_others && fs::metadata(socket).is_ok_and(|found| found.uid() != owner)
}

/// Whether nobody else is in the user's group, by the files of this host.
fn is_alone((user, group): (u32, u32)) -> bool {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    are_all(&text("/etc/passwd"), &text("/etc/group"), user, group)
}

fn are_all(users: &str, groups: &str, user: u32, group: u32) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u32>().ok());
    let fields = |line: &'_ str, at: usize| line.split(':').nth(at).map(str::to_owned);
    let user_of = |line: &str| number(fields(line, 2).as_deref());
    let named = |name: &str| users.lines().find(|line| line.split(':').next() == Some(name)).and_then(user_of);
    let by_group = users.lines().filter(|line| number(fields(line, 3).as_deref()) == Some(group)).map(user_of);
    let Some(line) = groups.lines().find(|line| number(fields(line, 2).as_deref()) == Some(group)) else {
        return false;
    };
    let members = fields(line, 3).unwrap_or_default();
    let members = members.split(',').filter(|name| !name.trim().is_empty()).map(|name| named(name.trim()));
    by_group.chain(members).all(|found| found == Some(user) || found == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_the_users_alone_if_nobody_else_is_in_it_in_either_file() {
        let users = "root:x:0:0:::\nredis:x:105:110:::\nann:x:1000:1000:::\nbob:x:1001:1000:::\n";
        for (groups, user, group, expected) in [
            ("redis:x:110:\n", 105, 110, true),
            ("redis:x:110:redis,root\n", 105, 110, true),
            ("redis:x:110:ann\n", 105, 110, false),
            ("redis:x:110:whoever\n", 105, 110, false),
            ("users:x:1000:\n", 1000, 1000, false),
            ("other:x:7:\n", 105, 110, false),
        ] {
            assert_eq!(are_all(users, groups, user, group), expected, "{groups}");
        }
    }
}
