//! What a server holds after a restore, asked of itself.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::source::{Asked, Expected};
use super::target::Target;
use super::{Consent, Options};
use crate::aof::manifest_name;
use crate::format::counts::{count, size};
use crate::redis::RedisError;
use crate::redis::server::{Address, Info, Server};

/// How long a server that was started may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How long nobody may be there: a server takes connections before it loads its data.
const ABSENCE: Duration = Duration::from_secs(30);
/// How long one that answers may not agree to TLS: it has loaded its certificates before it listens.
const DISAGREEMENT: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// What the server holds, by database, and how that compares with the snapshot.
    pub lines: Vec<String>,
    /// What is not as it should be.
    pub wrong: Vec<String>,
}

/// Waits until the server answers and has loaded its data. It may load for as long as it gets on. `logins`: the server with
/// what it may want to be told instead.
pub(super) fn wait_serving(
    address: &Address,
    logins: &[Address],
    go_on: &mut dyn FnMut() -> Result<(), RedisError>,
) -> Result<Server, RedisError> {
    let mut last = (String::new(), Instant::now());
    let log = || "look at its log".to_owned();
    let mut logins = logins.iter();
    let mut address = address.clone();
    loop {
        go_on()?;
        let (state, hint, patience) =
            match Server::connect(&address).and_then(|mut server| Ok((server.info()?, server))) {
                Ok((info, server)) if !info.is_loading() => return Ok(server),
                // Loading without a word while one large value is read.
                Ok((info, _)) => {
                    (format!("loading: {} bytes", info.get("loading_loaded_bytes").unwrap_or("0")), log(), SILENCE)
                }
                // Its password was in none of its files, and went with the old process, as a person agreed to.
                Err(RedisError::Login { message, .. }) if address.has_password() && has_no_password(&message) => {
                    address = address.without_login();
                    continue;
                }
                // It has the password of its files again.
                Err(error @ RedisError::Login { .. }) => match logins.next() {
                    Some(login) => {
                        address = login.clone();
                        continue;
                    }
                    None => return Err(error),
                },
                Err(RedisError::Connection { source, hint, is_tls: true, .. }) => {
                    (format!("TLS is not agreed on: {source}"), hint, DISAGREEMENT)
                }
                Err(RedisError::Connection { ref address, ref source, .. }) => {
                    (format!("no answer from the server at {address}: {source}"), log(), ABSENCE)
                }
                Err(error) => (error.to_string(), log(), SILENCE),
            };
        if state != last.0 {
            last = (state, Instant::now());
        }
        if last.1.elapsed() > patience {
            return Err(RedisError::Server {
                what: format!("the server was started and does not serve: {}", last.0),
                hint,
            });
        }
        thread::sleep(LOOK);
    }
}

/// Where the keys went that are not there.
fn where_to(expiring: u64, evicted: u64) -> String {
    match evicted {
        0 => format!("where {expiring} could expire: they did since"),
        _ => format!("of which the server evicted up to {evicted}; {expiring} could expire"),
    }
}

/// Whether a server that refuses a password says that it has none; before 6.0 in other words.
fn has_no_password(message: &str) -> bool {
    ["without any password configured", "no password is set"].iter().any(|words| message.contains(words))
}

/// Asks the server what it holds.
pub(super) fn ask(
    server: &mut Server,
    expected: &Expected,
    target: &Target,
    options: &Options,
) -> Result<Verified, RedisError> {
    let (directory, names, appendonly) = (&target.directory, &target.names, target.appendonly);
    let info = server.info()?;
    let mut verified = Verified::default();
    verified.judge_place(&info, target);
    let found = info.keyspace();
    // It counts from its start.
    let evicted = info.number("evicted_keys").unwrap_or(0);
    if evicted > 0 {
        verified.lines.push(format!("evicted because they do not fit its maxmemory: {}", count(evicted, "key")));
    }
    let wrong_before = verified.wrong.len();
    let may_evict = options.consents.contains(&Consent::Eviction);
    let asked = expected.asked.iter().flat_map(|asked| asked.keys());
    let numbers = expected.databases.keys().chain(asked).chain(found.keys()).copied();
    for number in numbers.collect::<std::collections::BTreeSet<u64>>() {
        let keys = found.get(&number).map_or(0, |found| found.keys);
        let (wanted, expiring) = expected.databases.get(&number).copied().unwrap_or((0, 0));
        let can_go = if may_evict { evicted } else { 0 };
        let asked = expected.asked.as_ref().map(|asked| asked.get(&number).copied().unwrap_or_default());
        match asked.filter(|asked| expected.and_commands || keys < asked.fewest().saturating_sub(can_go)) {
            Some(asked) => verified.judge_asked(number, keys, asked, can_go),
            None => verified.judge(number, keys, wanted, (expiring, can_go), expected.and_commands),
        }
    }
    if found.values().all(|database| database.keys == 0) {
        verified.judge_nothing(expected);
    }
    if evicted > 0 {
        let of = |name: &str| info.get(name).unwrap_or("unknown").to_owned();
        for wrong in verified.wrong.iter_mut().skip(wrong_before) {
            wrong.push_str(&format!(
                ": the server evicted {}, for what it holds does not fit its maxmemory of {} ({}); raise that, in its \
                 configuration too, and restore again",
                count(evicted, "key"),
                info.number("maxmemory").map_or_else(|| of("maxmemory"), size),
                of("maxmemory_policy")
            ));
        }
    }
    if info.is_on("aof_enabled") != appendonly {
        let (now, before) = if appendonly { ("off", "on") } else { ("on", "off") };
        verified.wrong.push(format!("the AOF is {now}, it was {before} before"));
    }
    if let Some(aof_directory) = names.aof_directory.as_ref().filter(|_| appendonly) {
        let manifest = OsString::from_vec(manifest_name(names.aof.as_bytes()));
        let manifest = directory.join(aof_directory).join(manifest);
        if !manifest.is_file() {
            verified
                .wrong
                .push(format!("{} is not there: started again, the server would be empty", manifest.display()));
        }
    }
    if appendonly && info.get("aof_last_write_status").is_some_and(|status| status != "ok") {
        verified.wrong.push("the server cannot write to its AOF".into());
    }
    Ok(verified)
}

impl Verified {
    /// The server works in the directory it was restored into, and follows nobody it did not follow before.
    fn judge_place(&mut self, info: &Info, target: &Target) {
        let process = info.number("process_id").unwrap_or_default();
        let works_in = Path::new("/proc").join(process.to_string()).join("cwd").canonicalize();
        if let Ok(works_in) = works_in
            && target.directory.canonicalize().is_ok_and(|directory| directory != works_in)
        {
            let (there, here) = (works_in.display(), target.directory.display());
            self.wrong.push(format!("the server works in {there} now, and was restored into {here}"));
        }
        if target.is_master() && info.get("role") != Some("master") {
            self.wrong.push("the server is a replica now: its master replaces what was restored".into());
        }
    }

    /// It holds no key: that is told, and is wrong where it cannot be what was captured.
    fn judge_nothing(&mut self, expected: &Expected) {
        let is_counted = !expected.databases.is_empty() || expected.asked.is_some();
        if let Some(had) = expected.had.filter(|had| *had > 0 && !is_counted) {
            self.wrong.push(format!(
                "the server holds no keys, the captured one had {had}: unless all of them expired since, restore another \
                 snapshot, or this one with another --from"
            ));
        } else if self.lines.is_empty() {
            self.lines.push("no keys".into());
        }
    }

    /// Keys that had an expiry, and so many that the server evicted, may be gone; clients may have written already.
    fn judge(&mut self, number: u64, keys: u64, wanted: u64, (expiring, evicted): (u64, u64), and_commands: bool) {
        let least = wanted.saturating_sub(expiring.saturating_add(evicted));
        let held = count(keys, "key");
        let line = match keys {
            _ if and_commands && wanted == 0 => {
                format!("{held} after the commands of the AOF, of which nobody counted how many they leave")
            }
            _ if and_commands => format!("{held} after the commands of the AOF, {wanted} in its base"),
            _ if keys == wanted => format!("{held}, as in the snapshot"),
            _ if keys > wanted => format!("{held}, {} more than in the snapshot: clients write", keys - wanted),
            _ if keys >= least => {
                format!("{held}, {} fewer than in the snapshot, {}", wanted - keys, where_to(expiring, evicted))
            }
            _ => {
                let line = format!("db{number}: {held}, the snapshot has {wanted}, {expiring} of which can expire");
                self.wrong.push(line);
                return;
            }
        };
        self.lines.push(format!("db{number}: {line}"));
    }

    /// The same, of what the server counted when its AOF was captured.
    fn judge_asked(&mut self, number: u64, keys: u64, asked: Asked, evicted: u64) {
        let Asked { least, most, expiring } = asked;
        let held = count(keys, "key");
        let line = match keys {
            _ if keys > most => {
                format!("{held}, {} more than the captured server counted: clients write", keys - most)
            }
            _ if keys >= least => format!("{held}, as the captured server counted"),
            _ if keys >= asked.fewest().saturating_sub(evicted) => {
                format!(
                    "{held}, {} fewer than the captured server counted, {}",
                    least - keys,
                    where_to(expiring, evicted)
                )
            }
            _ => {
                self.wrong.push(format!(
                    "db{number}: {held}, the captured server counted {least}, {expiring} of which can expire"
                ));
                return;
            }
        };
        self.lines.push(format!("db{number}: {line}"));
    }

    /// Whether all is as it should be.
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }
}

impl Asked {
    /// With all gone that can go by themselves.
    fn fewest(self) -> u64 {
        self.least.saturating_sub(self.expiring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_commands_of_an_aof_the_keys_are_those_that_the_server_counted() {
        let judged = |keys| {
            let mut verified = Verified::default();
            verified.judge_asked(0, keys, Asked { least: 10, most: 12, expiring: 3 }, 0);
            (verified.is_right(), verified.lines.pop().unwrap_or_default())
        };
        assert!(judged(10).1.contains("as the captured server") && judged(12).1.contains("as the captured server"));
        assert!(judged(13).1.contains("1 more") && judged(7).1.contains("3 fewer"), "{judged:?}", judged = judged(7));
        assert!(!judged(6).0 && !judged(0).0);
    }

    #[test]
    fn keys_that_can_have_expired_may_be_missing_and_no_others() {
        let judged = |keys, and_commands| {
            let mut verified = Verified::default();
            verified.judge(0, keys, 10, (3, 0), and_commands);
            verified.is_right()
        };
        assert!(judged(10, false) && judged(7, false) && judged(12, false));
        assert!(!judged(6, false) && !judged(0, false));
        assert!(judged(6, true));
        let nothing = |had| {
            let mut verified = Verified::default();
            verified.judge_nothing(&Expected { had, ..Expected::default() });
            (verified.is_right(), verified.lines.len())
        };
        assert_eq!((nothing(None), nothing(Some(0)), nothing(Some(350))), ((true, 1), (true, 1), (false, 0)));
        let mut verified = Verified::default();
        verified.judge(0, 50, 0, (0, 0), true);
        assert!(verified.is_right() && verified.lines[0].contains("nobody counted"), "{:?}", verified.lines);
        verified.judge(0, 7, 10, (0, 3), false);
        verified.judge_asked(0, 8, Asked { least: 10, most: 12, expiring: 1 }, 1);
        let is_told = |line: &&String| line.contains("of which the server evicted");
        assert_eq!(verified.lines.iter().filter(is_told).count(), 2, "{:?}", verified.lines);
        verified.judge(0, 6, 10, (0, 3), false);
        assert!(!verified.is_right());
    }
}
