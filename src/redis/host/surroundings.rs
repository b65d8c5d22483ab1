//! What a process has from whoever started it, besides its command line: groups, umask, limits, environment and standing
//! with the scheduler and the memory killer; and how a new process gets the same.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use super::rights::Rights;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setpriority_process};

/// The names of the limits in /proc, and in a journal.
const LIMITS: [(Resource, &str, &str); 16] = [
    (Resource::Cpu, "Max cpu time", "cpu"),
    (Resource::Fsize, "Max file size", "fsize"),
    (Resource::Data, "Max data size", "data"),
    (Resource::Stack, "Max stack size", "stack"),
    (Resource::Core, "Max core file size", "core"),
    (Resource::Rss, "Max resident set", "rss"),
    (Resource::Nproc, "Max processes", "nproc"),
    (Resource::Nofile, "Max open files", "nofile"),
    (Resource::Memlock, "Max locked memory", "memlock"),
    (Resource::As, "Max address space", "as"),
    (Resource::Locks, "Max file locks", "locks"),
    (Resource::Sigpending, "Max pending signals", "sigpending"),
    (Resource::Msgqueue, "Max msgqueue size", "msgqueue"),
    (Resource::Nice, "Max nice priority", "nice"),
    (Resource::Rtprio, "Max realtime priority", "rtprio"),
    (Resource::Rttime, "Max realtime timeout", "rttime"),
];
/// Bytes of an environment that are looked at; the system allows some megabytes.
const ENVIRONMENT_BYTES: usize = 4 << 20;
/// The bit of CAP_SYS_RESOURCE, which may raise limits.
const RAISES_LIMITS: u32 = 24;

/// What a process has from whoever started it. What could not be seen is `None`, and is the system's or redkeep's own for a
/// new process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Its supplementary groups.
    pub groups: Option<Vec<u32>>,
    /// What is taken from the mode of files it makes.
    pub umask: Option<u32>,
    /// By the names of a journal: the soft and the hard limit; `None` is without limit.
    pub limits: Vec<(String, Option<u64>, Option<u64>)>,
    /// Its standing with the scheduler.
    pub nice: Option<i32>,
    /// Its standing with the memory killer.
    pub oom_score_adj: Option<i32>,
    /// Its capabilities.
    pub rights: Option<Rights>,
    /// Its variables. A server that shows a title wrote over them.
    pub environment: Option<Vec<OsString>>,
}

impl Surroundings {
    /// Those of a process.
    pub(super) fn of(process: &Path) -> Surroundings {
        let text = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
        let status = text("status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Surroundings {
            groups: field("Groups").and_then(|ids| ids.split_whitespace().map(|id| id.parse().ok()).collect()),
            umask: field("Umask").and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()),
            limits: limits(&text("limits")),
            nice: nice(&text("stat")),
            oom_score_adj: text("oom_score_adj").trim().parse().ok(),
            rights: Rights::of(&status),
            environment: environment(&fs::read(process.join("environ")).unwrap_or_default()),
        }
    }

    /// Gives a process that has not begun its work what can be given from outside. What is refused stays as it is: a
    /// server with another limit is better than none.
    pub(super) fn give(&self, to: Pid) {
        for (name, soft, hard) in &self.limits {
            let Some((resource, ..)) = LIMITS.iter().find(|(.., own)| own == name) else { continue };
            let wanted = Rlimit { current: *soft, maximum: *hard };
            let own = getrlimit(*resource);
            if own != wanted && prlimit(Some(to), *resource, wanted).is_err() {
                let soft = lower(*soft, own.maximum);
                let _ = prlimit(Some(to), *resource, Rlimit { current: soft, maximum: own.maximum });
            }
        }
        if let Some(nice) = self.nice {
            let _ = setpriority_process(Some(to), nice);
        }
        if let Some(score) = self.oom_score_adj {
            let path = Path::new("/proc").join(to.as_raw_nonzero().to_string()).join("oom_score_adj");
            let _ = fs::write(path, score.to_string());
        }
    }

    /// What a new process will not have, in words.
    pub(super) fn lost(&self) -> Vec<String> {
        let mut lost = Vec::new();
        if self.environment.is_none() {
            lost.push(
                "the environment the server was started with cannot be seen, for it wrote over it: started again, it has \
                 PATH and nothing else"
                    .into(),
            );
        }
        if self.groups.is_none() || self.umask.is_none() {
            lost.push("the groups and the umask of the server's process cannot be seen, and are not kept".into());
        }
        lost.extend(self.rights.and_then(|rights| rights.lost(Rights::own())));
        let raises = may_raise();
        let short = self.limits.iter().filter(|(name, _, hard)| {
            let own = LIMITS.iter().find(|(.., own)| own == name).map(|(resource, ..)| getrlimit(*resource).maximum);
            own.is_some_and(|own| !raises && lower(*hard, own) != *hard)
        });
        let short: Vec<&str> = short.map(|(name, ..)| name.as_str()).collect();
        if !short.is_empty() {
            lost.push(format!(
                "redkeep may not raise limits: started again, the server has lower ones of {}",
                short.join(", ")
            ));
        }
        lost
    }

    /// As words of a journal.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let mut words: Vec<Vec<u8>> = Vec::new();
        if let Some(groups) = &self.groups {
            let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
            words.push(format!("groups={}", groups.join(",")).into());
        }
        words.extend(self.umask.map(|umask| format!("umask={umask:o}").into()));
        let shown = |limit: Option<u64>| limit.map_or("-".into(), |limit| limit.to_string());
        let limits = self.limits.iter();
        words.extend(limits.map(|(name, soft, hard)| format!("limit={name},{},{}", shown(*soft), shown(*hard)).into()));
        words.extend(self.nice.map(|nice| format!("nice={nice}").into()));
        words.extend(self.oom_score_adj.map(|score| format!("oom={score}").into()));
        words.extend(self.rights.map(|rights| {
            let Rights { bounding, permitted, inheritable, ambient, no_new_privileges } = rights;
            let bound = u8::from(no_new_privileges);
            format!("rights={bounding:x},{permitted:x},{inheritable:x},{ambient:x},{bound}").into()
        }));
        if let Some(environment) = &self.environment {
            words.push(b"environment=".to_vec());
            words.extend(environment.iter().map(|variable| [b"env=", variable.as_bytes()].concat()));
        }
        words
    }

    /// From words of a journal.
    pub fn from_words(words: &[Vec<u8>]) -> Option<Surroundings> {
        let mut found = Surroundings::default();
        for word in words {
            let place = word.iter().position(|byte| *byte == b'=')?;
            let (name, value) = word.split_at(place);
            let value = value.get(1..)?;
            if name == b"env" {
                found.environment.get_or_insert_default().push(OsStr::from_bytes(value).into());
                continue;
            }
            let value = str::from_utf8(value).ok()?;
            match name {
                b"groups" => {
                    let ids = value.split(',').filter(|id| !id.is_empty());
                    found.groups = Some(ids.map(|id| id.parse().ok()).collect::<Option<_>>()?);
                }
                b"umask" => found.umask = Some(u32::from_str_radix(value, 8).ok()?),
                b"limit" => found.limits.push(limit_of_words(value)?),
                b"nice" => found.nice = Some(value.parse().ok()?),
                b"oom" => found.oom_score_adj = Some(value.parse().ok()?),
                b"rights" => found.rights = Some(rights_of_words(value)?),
                b"environment" => found.environment = Some(Vec::new()),
                _ => return None,
            }
        }
        Some(found)
    }
}

fn rights_of_words(value: &str) -> Option<Rights> {
    let parts: Option<Vec<u64>> = value.split(',').map(|part| u64::from_str_radix(part, 16).ok()).collect();
    let [bounding, permitted, inheritable, ambient, bound] = *parts?.as_slice() else { return None };
    Some(Rights { bounding, permitted, inheritable, ambient, no_new_privileges: bound == 1 })
}

fn limit_of_words(value: &str) -> Option<(String, Option<u64>, Option<u64>)> {
    let mut parts = value.split(',');
    let name = parts.next()?.to_owned();
    let mut number = || match parts.next()? {
        "-" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some((name, number()?, number()?))
}

/// The lower of two limits.
fn lower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Whether this process may raise limits.
fn may_raise() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let capabilities = capabilities.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    capabilities.is_some_and(|bits| bits >> RAISES_LIMITS & 1 == 1)
}

/// `Max open files            1024                 524288               files`
fn limits(text: &str) -> Vec<(String, Option<u64>, Option<u64>)> {
    let of = |(_, shown, name): &(Resource, &str, &str)| {
        let mut numbers = text.lines().find_map(|line| line.strip_prefix(*shown))?.split_whitespace();
        let mut number = || match numbers.next()? {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        };
        Some(((*name).to_owned(), number()?, number()?))
    };
    LIMITS.iter().filter_map(of).collect()
}

/// The seventeenth field after the name, which stands in parentheses and may hold anything.
fn nice(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()
}

/// Variables, unless something else was written over them. Those of redkeep itself are nobody's business.
fn environment(bytes: &[u8]) -> Option<Vec<OsString>> {
    let bytes = bytes.strip_suffix(b"\0")?;
    let is_one = |variable: &&[u8]| variable.iter().position(|byte| *byte == b'=').is_some_and(|place| place > 0);
    let mut variables = bytes.split(|byte| *byte == 0);
    if bytes.len() > ENVIRONMENT_BYTES || !variables.all(|variable| is_one(&variable)) {
        return None;
    }
    let ours = |variable: &[u8]| variable.starts_with(b"REDKEEP_") || variable.starts_with(b"REDISCLI_AUTH=");
    let variables = bytes.split(|byte| *byte == 0).filter(|variable| !ours(variable));
    Some(variables.map(|variable| OsString::from_vec(variable.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_seen_and_come_back_from_a_journal() {
        let mut seen = Surroundings::of(Path::new("/proc/self"));
        assert!(seen.groups.is_some() && seen.umask.is_some() && seen.nice.is_some(), "{seen:?}");
        let files = getrlimit(Resource::Nofile);
        assert!(seen.limits.contains(&("nofile".into(), files.current, files.maximum)), "{seen:?}");
        assert_eq!(seen.limits.len(), LIMITS.len());
        assert!(
            seen.environment.as_ref().is_some_and(|all| all.iter().any(|one| one.as_bytes().starts_with(b"PATH=")))
        );
        for _ in 0..2 {
            assert_eq!(Surroundings::from_words(&seen.words()), Some(seen.clone()));
            (seen.environment, seen.groups, seen.rights) = (None, None, None);
        }
        assert_eq!(Surroundings::from_words(&[b"limit=nofile,x,1".to_vec()]), None);
        assert_eq!(Surroundings::default().lost().len(), 2);
    }

    #[test]
    fn an_environment_that_was_written_over_is_none() {
        assert_eq!(
            environment(b"A=1\0REDKEEP_PASSWORD=x\0REDISCLI_AUTH=y\0B=\0"),
            Some(vec!["A=1".into(), "B=".into()])
        );
        for other in [&b"\0\0\0"[..], b"A=1\0\0\0", b"redis-server *:6379\0", b"A=1", b""] {
            assert_eq!(environment(other), None, "{other:?}");
        }
    }
}
