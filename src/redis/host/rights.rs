//! What a process may do besides what its user may: its capabilities, and whether it can gain any. A new one is given the
//! same, and never more.

use std::fs;
use std::path::Path;

/// Sets of capabilities, as bits, and the promise to gain none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights {
    /// What a program that it starts may be given by that program's file, or by being root's.
    pub bounding: u64,
    /// What it has, or may take.
    pub permitted: u64,
    /// What it may hand on to a program whose file says so.
    pub inheritable: u64,
    /// What any program that it starts has.
    pub ambient: u64,
    /// No program that it starts has more than it.
    pub no_new_privileges: bool,
}

impl Rights {
    /// From the status of a process.
    pub(super) fn of(status: &str) -> Option<Rights> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let bits = |name: &str| u64::from_str_radix(field(name)?.trim(), 16).ok();
        Some(Rights {
            bounding: bits("CapBnd")?,
            permitted: bits("CapPrm")?,
            inheritable: bits("CapInh")?,
            ambient: bits("CapAmb")?,
            no_new_privileges: field("NoNewPrivs")?.trim() == "1",
        })
    }

    /// Those of redkeep.
    pub(super) fn own() -> Rights {
        Rights::of(&fs::read_to_string("/proc/self/status").unwrap_or_default()).unwrap_or_default()
    }

    /// What a program is started with, so that it has these and no more. One of root's has all that bounds it.
    fn bounds(self, user: u32) -> Rights {
        match user {
            0 => {
                let bounding = self.bounding & self.permitted;
                Rights { bounding, inheritable: self.inheritable & self.permitted, ..self }
            }
            _ => self,
        }
    }

    /// Words for `setpriv` that give a process of this user these rights, where one that redkeep starts has others.
    pub(super) fn words(self, user: u32, own: Rights) -> Vec<String> {
        let wanted = self.bounds(user);
        let mut words = Vec::new();
        if wanted.bounding & own.bounding != own.bounding {
            words.push(format!("--bounding-set={}", set(wanted.bounding & own.bounding)));
        }
        if wanted.inheritable != own.inheritable {
            words.push(format!("--inh-caps={}", set(wanted.inheritable & own.bounding)));
        }
        // One of another user has none by itself.
        if wanted.ambient != own.ambient {
            words.push(format!("--ambient-caps={}", set(wanted.ambient & own.bounding)));
        }
        if wanted.no_new_privileges && !own.no_new_privileges {
            words.push("--no-new-privs".into());
        }
        words
    }

    /// Whether a process of this user that is started without more ado has more than these.
    pub(super) fn are_exceeded(self, own: Rights) -> bool {
        let more = |its: u64, own: u64| own & !its != 0;
        let (its, new) = (self, own);
        more(its.bounding, new.bounding)
            || more(its.inheritable, new.inheritable)
            || more(its.ambient, new.ambient)
            || (its.no_new_privileges && !new.no_new_privileges)
    }

    /// What redkeep cannot give, in words.
    pub(super) fn lost(self, own: Rights) -> Option<String> {
        let missing = (self.bounding | self.ambient) & !own.bounding;
        let is_bound = own.no_new_privileges && !self.no_new_privileges;
        (missing != 0 || is_bound).then(|| "the server may do what redkeep may not: started again, it may not".into())
    }
}

/// A set in the words of `setpriv`.
fn set(bits: u64) -> String {
    let mut text = String::from("-all");
    for number in (0..64).filter(|number| bits >> number & 1 == 1) {
        text.push_str(&format!(",+cap_{number}"));
    }
    text
}

/// What surrounds a process of another kind than redkeep's, in words.
pub(super) fn enclosed(process: &Path) -> Vec<String> {
    let own = Path::new("/proc/self");
    let seccomp = |process: &Path| {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix("Seccomp:")).is_some_and(|mode| mode.trim() != "0")
    };
    let mut notes = Vec::new();
    if seccomp(process) && !seccomp(own) {
        notes.push("the server's system calls are filtered (seccomp): started again, they are not".to_owned());
    }
    let of = |process: &Path, name: &str| fs::read_link(process.join("ns").join(name)).ok();
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let others = names.into_iter().filter(|name| of(process, name).zip(of(own, name)).is_some_and(|(a, b)| a != b));
    let others: Vec<_> = others.collect();
    if !others.is_empty() {
        let others = others.join(", ");
        notes.push(format!(
            "the server is in namespaces of its own ({others}): started again, it is in those of redkeep"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_given_what_it_had_and_no_more() {
        let all = Rights { bounding: 0xff, permitted: 0xff, ..Rights::default() };
        assert_eq!(all.words(0, all), Vec::<String>::new());
        let none = Rights { no_new_privileges: true, ..Rights::default() };
        assert_eq!(none.words(0, all), ["--bounding-set=-all", "--no-new-privs"]);
        assert!(none.are_exceeded(all) && !all.are_exceeded(none));
        let less = Rights { permitted: 0b101, inheritable: 0b11, ..all };
        assert_eq!(less.words(0, all), ["--bounding-set=-all,+cap_0,+cap_2", "--inh-caps=-all,+cap_0"]);
        let port = Rights { bounding: 0xff, permitted: 2, inheritable: 2, ambient: 2, no_new_privileges: false };
        assert_eq!(port.words(7, all), ["--inh-caps=-all,+cap_1", "--ambient-caps=-all,+cap_1"]);
        assert!(port.lost(none).is_some() && none.lost(all).is_none());
        let status = "CapInh:\t0000000000000400\nCapPrm:\t01\nCapEff:\t01\nCapBnd:\tff\nCapAmb:\t400\nNoNewPrivs:\t1\n";
        let seen = Rights::of(status).unwrap();
        assert_eq!((seen.inheritable, seen.permitted, seen.bounding, seen.ambient), (0x400, 1, 0xff, 0x400));
        assert!(seen.no_new_privileges && Rights::of("CapInh:\t0\n").is_none());
    }
}
