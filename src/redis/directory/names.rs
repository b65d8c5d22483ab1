//! What names and first bytes tell of a file.

use crate::aof::{aof_of_temporary, is_unfinished_save};
use crate::rdb;

/// As many first bytes as tell what a file is.
pub(super) const FIRST: usize = rdb::HEADER_PEEK;

/// The file of commands or the dump that a file at the top level seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guise {
    /// An RDB file.
    Dump,
    /// The AOF of a server before 7.0.
    SingleAof,
    /// Neither.
    Other,
}

/// What a file at the top level is by its first bytes, and where these do not tell, by its name: both names can be
/// configured.
pub fn guise(name: &[u8], first: &[u8]) -> Guise {
    let tells = rdb::read_header(first).is_none_or(|peek| peek.aux.aof_base.is_some());
    match guise_of_bytes(first) {
        Guise::Dump | Guise::SingleAof if tells => guise_of_bytes(first),
        _ if name.ends_with(b".rdb") => Guise::Dump,
        _ if name.ends_with(b".aof") => Guise::SingleAof,
        by_bytes => by_bytes,
    }
}

/// What a file is by its first bytes alone.
pub(super) fn guise_of_bytes(first: &[u8]) -> Guise {
    match rdb::read_header(first) {
        _ if begins_like_commands(first) => Guise::SingleAof,
        Some(peek) if peek.aux.aof_base == Some(true) => Guise::SingleAof,
        Some(_) => Guise::Dump,
        None => Guise::Other,
    }
}

/// `*<digits>\r\n$`, or a timestamp.
fn begins_like_commands(first: &[u8]) -> bool {
    if first.starts_with(b"#TS:") {
        return true;
    }
    let Some(rest) = first.strip_prefix(b"*") else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..10).contains(&digits) && rest.get(digits..).is_some_and(|rest| rest.starts_with(b"\r\n$"))
}

/// Whether a path is no part of a dataset by its name: work in progress of a server or of redkeep, pid files, logs. A
/// dataset's own file may bear such a name all the same: what a server names, and what a file begins like, comes first.
pub(super) fn is_left_out(path: &[u8]) -> bool {
    let name = file_name(path);
    let is_unfinished = match path.contains(&b'/') {
        false => is_unfinished_save(name),
        true => aof_of_temporary(name).is_some(),
    };
    is_unfinished
        || is_replacement(name)
        || name == b"lost+found"
        || name.ends_with(b".pid")
        || is_log(name)
        || is_own(name)
}

/// What restores keep in a directory while they are at work there, and afterwards.
pub(super) fn is_own(name: &[u8]) -> bool {
    name.starts_with(b".redkeep-")
}

/// `x.log`, and what rotation makes of it: `x.log.1`, `x.log.2.gz`, `x.log-20261128.gz`.
fn is_log(name: &[u8]) -> bool {
    let Some(place) = name.windows(4).rposition(|part| part == b".log") else { return false };
    let rest = name.get(place + 4..).unwrap_or_default();
    let packed = [&b".gz"[..], b".xz", b".bz2", b".zst"].into_iter().find_map(|end| rest.strip_suffix(end));
    match packed.unwrap_or(rest) {
        [] => true,
        [b'.' | b'-', number @ ..] => {
            number.first().is_some_and(u8::is_ascii_digit)
                && number.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
        }
        _ => false,
    }
}

/// Whether a file at the top level is a server's beside its dataset, and small: it could not be made again, and a copy of
/// the server needs it. The state of a node of a cluster, and the users.
pub(super) fn is_companion(path: &[u8]) -> bool {
    path == b"users.acl" || path == b"nodes.conf" || (path.starts_with(b"nodes-") && path.ends_with(b".conf"))
}

/// Whether a file of this name is one that servers, or those who run them, keep beside a dataset: configuration, users,
/// modules, keys, sockets, what is left out of captures, and hidden files, such as the histories of shells and clients.
pub fn stands_beside_data(name: &[u8]) -> bool {
    let ends = [&b".conf"[..], b".acl", b".so", b".sock", b".crt", b".key", b".pem"];
    name.starts_with(b".") || is_left_out(name) || is_companion(name) || ends.iter().any(|end| name.ends_with(end))
}

/// `nodes.conf.tmp-<pid>-<time>`, `users.acl.tmp-<pid>-<time>`: what a server is about to rename over the file.
fn is_replacement(name: &[u8]) -> bool {
    let Some(place) = name.windows(5).rposition(|part| part == b".tmp-") else { return false };
    let rest = name.get(place + 5..).unwrap_or_default();
    rest.contains(&b'-') && rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
}

/// Whether a file beside the manifest of the AOF `append_file_name` bears a name that a server gives its parts:
/// `<append_file_name>.<seq>.base.rdb`, `….base.aof`, `….incr.aof`.
pub(super) fn is_part_name(name: &[u8], append_file_name: &[u8]) -> bool {
    name.strip_prefix(append_file_name).is_some_and(|rest| rest.starts_with(b".") && seq_and_kind(rest))
}

/// Whether this is the name of a part of some AOF.
pub(super) fn is_any_part_name(name: &[u8]) -> bool {
    (0..name.len()).any(|place| name.get(place..).is_some_and(seq_and_kind))
}

/// `.<seq>.base.rdb` and so on, up to the end.
fn seq_and_kind(rest: &[u8]) -> bool {
    let Some(rest) = rest.strip_prefix(b".") else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let kind = rest.get(digits..).unwrap_or_default();
    digits > 0 && matches!(kind, b".base.rdb" | b".base.aof" | b".incr.aof")
}

/// The last component of a path.
pub(super) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// The path of the directory that holds it; empty at the top level.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|byte| *byte == b'/').and_then(|end| path.get(..end)).unwrap_or_default()
}

/// A path of this name in a directory, which is empty for the top level.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_logs_and_pid_files_are_left_out() {
        for name in [
            "temp-123.rdb",
            "temp-1700000000.123.rdb",
            "temp-rewriteaof-9.aof",
            "temp-rewriteaof-bg-9.aof",
            "appendonlydir/temp-appendonly.aof.manifest",
            "appendonlydir/temp-appendonly.aof.incr",
            "redis.pid",
            "redis.log",
            "sub/redis.log",
            "redis.log.1",
            "redis.log.2.gz",
            "redis.log-20261128",
            "redis.log-2026-11-28.xz",
            "lost+found",
            ".redkeep-staging-1",
            ".redkeep-aside-2026",
            ".redkeep-restore.journal",
            "nodes.conf.tmp-12-1700000000000",
        ] {
            assert!(is_left_out(name.as_bytes()), "{name}");
        }
        for name in [
            "dump.rdb",
            "appendonly.aof",
            "nodes.conf",
            "temp",
            "x.logic",
            "x.log.old",
            "a.tmp-x",
            "a.tmp-12",
            "nodes.conf.tmp-12-x",
            "x.log.1x",
            "blog",
            "x.log.1.manifest",
            "x.log.1.1.base.rdb",
            "temp-cache.rdb",
            "temp-x.incr",
            "temp-x.manifest",
            "sub/temp-12.rdb",
            "appendonlydir/temp-x.incr.1.base.rdb",
        ] {
            assert!(!is_left_out(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_top_level_file_is_known_by_its_name_or_its_first_bytes() {
        let preamble: &[u8] = b"REDIS0009\xfa\x0caof-preamble\xc0\x01";
        let dump: &[u8] = b"REDIS0009\xfa\x0caof-preamble\xc0\x00";
        for (name, first, expected) in [
            ("dump.rdb", &b""[..], Guise::Dump),
            ("x.rdb", b"garbage", Guise::Dump),
            ("x.rdb", b"*2\r\n$6\r\nSELECT", Guise::SingleAof),
            ("x.rdb", preamble, Guise::SingleAof),
            ("x.aof", dump, Guise::Dump),
            ("x.aof", b"REDIS0009\xfe\x00", Guise::SingleAof),
            ("state", dump, Guise::Dump),
            ("state", b"VALKEY080\xfa", Guise::Dump),
            ("appendonly.aof", b"", Guise::SingleAof),
            ("appendonly.aof", preamble, Guise::SingleAof),
            ("commands", preamble, Guise::SingleAof),
            ("commands", b"*2\r\n$6\r\nSELECT", Guise::SingleAof),
            ("commands", b"#TS:1700000000\r\n", Guise::SingleAof),
            ("nodes.conf", b"vars currentEpoch 0", Guise::Other),
            ("list.md", b"*2 points\r\n", Guise::Other),
            ("list.md", b"*\r\n$", Guise::Other),
        ] {
            assert_eq!(guise(name.as_bytes(), first), expected, "{name}");
        }
    }

    #[test]
    fn what_is_kept_beside_data_is_known_by_its_name() {
        for name in
            ["redis.conf", "nodes.conf", "users.acl", "bloom.so", "redis.log.1", "redis.pid", ".bash_history", "r.sock"]
        {
            assert!(stands_beside_data(name.as_bytes()), "{name}");
        }
        for name in ["thesis.txt", "conf", "photos", "backup.tar.gz"] {
            assert!(!stands_beside_data(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn the_state_of_a_node_and_the_users_are_a_servers_own() {
        for name in ["nodes.conf", "nodes-6379.conf", "users.acl"] {
            assert!(is_companion(name.as_bytes()), "{name}");
        }
        for name in ["redis.conf", "nodes-6379.txt", "nodes-6379.conf.old", "old-nodes.conf", "sub/users.acl"] {
            assert!(!is_companion(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn parts_of_an_aof_are_known_by_their_names() {
        let mine = |name: &str| is_part_name(name.as_bytes(), b"a.aof");
        assert!(mine("a.aof.1.base.rdb") && mine("a.aof.12.base.aof") && mine("a.aof.3.incr.aof"));
        assert!(!mine("b.aof.1.base.rdb") && !mine("a.aof.manifest") && !mine("a.aof..incr.aof") && !mine("a.aof"));
        assert!(is_any_part_name(b"b.aof.1.base.rdb") && !is_any_part_name(b"b.aof"));
        assert!(!is_any_part_name(b"b.aof.1.base.txt") && !is_any_part_name(b"b.aof.1"));
    }

    #[test]
    fn paths_are_taken_apart_and_put_together() {
        assert_eq!((parent(b"a/b/c"), file_name(b"a/b/c")), (&b"a/b"[..], &b"c"[..]));
        assert_eq!((parent(b"c"), file_name(b"c")), (&b""[..], &b"c"[..]));
        assert_eq!((join(b"", b"c"), join(b"a/b", b"c")), (b"c".to_vec(), b"a/b/c".to_vec()));
    }
}
