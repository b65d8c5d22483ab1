//! Whether a dump is another server's that works in the same directory: each of two such servers replaces what the other
//! saves, and both dumps are fresh.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use crate::format::counts::{LEAST_KEYS, MOST_KEYS};
use crate::rdb::{self, Aux};
use crate::redis::directory::first_bytes;
use crate::redis::server::info::Info;

/// What INFO counts of keys and fields that went by themselves.
const GONE: [&str; 4] = ["expired_keys", "evicted_keys", "expired_subkeys", "expired_fields"];

/// LIVE-8: what in an open dump shows that this server has not written it: its version, or the replication it is of, which a
/// server that never had a replica does not write.
pub(super) fn sign_of_another(file: &File, before: &Info, after: &Info) -> io::Result<Option<String>> {
    let aux = rdb::read_header(&first_bytes(file)?).map(|peek| peek.aux).unwrap_or_default();
    Ok(sign(&aux, before, after))
}

fn sign(aux: &Aux, before: &Info, after: &Info) -> Option<String> {
    let versions = match (&aux.valkey_version, before.get("valkey_version")) {
        (Some(written), Some(own)) => Some((written.as_str(), own)),
        // What forks write of the version they are like is their own affair.
        (Some(_), None) | (None, Some(_)) => None,
        (None, None) => aux.redis_version.as_deref().zip(before.get("redis_version")),
    };
    if let Some((written, own)) = versions.filter(|(written, own)| written != own) {
        return Some(format!("it is of version {written}, and the server of {own}"));
    }
    let ids = [before, after].map(|info| ["master_replid", "master_replid2"].map(|name| info.get(name)));
    let is_own = |id: &str| ids.iter().flatten().flatten().any(|own| *own == id);
    let knows_own = ids.iter().flatten().any(Option::is_some);
    let id = aux.repl_id.as_deref().filter(|id| knows_own && !is_own(id))?;
    Some(format!("it is of the replication {id}, which is not the server's"))
}

/// LIVE-9: whether the server counted whatever made it hold something else than this dump, which is of its last save.
pub(super) fn counts_changes_since(file: &File, info: &Info) -> io::Result<bool> {
    let aux = rdb::read_header(&first_bytes(file)?).map(|peek| peek.aux).unwrap_or_default();
    Ok(counts_changes(&aux, info))
}

fn counts_changes(aux: &Aux, info: &Info) -> bool {
    let has_evicted = info.number("evicted_keys").is_some_and(|evicted| evicted > 0);
    let is_of_now = aux.repl_id.is_some() && aux.repl_id.as_deref() == info.get("master_replid");
    !has_evicted && (is_of_now || !info.was_replica())
}

/// Between which numbers the keys of a dump lie that the server was asked for: what it counted before and after, and as many
/// more or fewer as there were commands between; where nothing was changed since the save began, exactly what it counts.
pub(in crate::redis::server) fn bounds(before: &Info, after: &Info) -> BTreeMap<String, String> {
    let (then, now) = (before.keys(), after.keys());
    let grown = |name: &str| {
        let at = |info: &Info| info.number(name).unwrap_or(0);
        at(after).saturating_sub(at(before))
    };
    let gone = GONE.map(grown).into_iter().fold(0, u64::saturating_add);
    let is_quiet = after.number("rdb_changes_since_last_save") == Some(0) && gone == 0;
    let (least, most) = match is_quiet {
        true => (now, now),
        false => {
            let spread = grown("total_commands_processed").saturating_add(gone).max(then.max(now) / 10);
            (then.min(now).saturating_sub(spread), then.max(now).saturating_add(spread))
        }
    };
    [(LEAST_KEYS, least), (MOST_KEYS, most)].map(|(name, keys)| (name.to_owned(), keys.to_string())).into()
}

/// The same of a dump that was there, since which nothing was changed, as was said then: keys may have gone by themselves, also
/// when the server was started with it.
pub(super) fn bounds_of_unchanged(then: &Info, now: &Info) -> BTreeMap<String, String> {
    let gone = GONE.into_iter().chain(["rdb_last_load_keys_expired"]).map(|name| now.number(name).unwrap_or(0));
    let least = then.keys().min(now.keys());
    let most = gone.fold(then.keys().max(now.keys()), u64::saturating_add);
    [(LEAST_KEYS, least), (MOST_KEYS, most)].map(|(name, keys)| (name.to_owned(), keys.to_string())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(lines: &str) -> Info {
        Info::parse(&lines.replace(' ', "\r\n"))
    }

    #[test]
    fn the_version_and_the_replication_of_a_dump_are_the_servers() {
        let own = info("redis_version:7.0.15 master_replid:aa master_replid2:00");
        let after = info("redis_version:7.0.15 master_replid:bb master_replid2:aa");
        let of = |version: &str, id: Option<&str>| {
            sign(
                &Aux { redis_version: Some(version.into()), repl_id: id.map(str::to_owned), ..Aux::default() },
                &own,
                &after,
            )
        };
        for id in [None, Some("aa"), Some("bb")] {
            assert_eq!(of("7.0.15", id), None, "{id:?}");
        }
        assert!(of("7.4.2", None).is_some_and(|sign| sign.contains("version 7.4.2")));
        assert!(of("7.0.15", Some("cc")).is_some_and(|sign| sign.contains("replication cc")));
        let valkey = info("redis_version:7.2.4 valkey_version:9.1.2");
        let written = |version: &str| Aux { valkey_version: Some(version.into()), ..Aux::default() };
        assert_eq!(sign(&written("9.1.2"), &valkey, &valkey), None);
        assert!(sign(&written("8.0.0"), &valkey, &valkey).is_some());
        assert_eq!(sign(&Aux::default(), &Info::default(), &Info::default()), None);
    }

    /// LIVE-9.
    #[test]
    fn what_is_evicted_and_what_a_replica_was_sent_are_changes_that_no_server_counts() {
        let of = |id: Option<&str>| Aux { repl_id: id.map(str::to_owned), ..Aux::default() };
        let alone = info("master_replid:bb master_replid2:0000 evicted_keys:0");
        assert!(counts_changes(&of(None), &alone) && counts_changes(&of(None), &Info::default()));
        assert!(!counts_changes(&of(None), &info("master_replid:bb master_replid2:0000 evicted_keys:1")));
        let promoted = info("master_replid:bb master_replid2:aa evicted_keys:0");
        assert_eq!([None, Some("aa"), Some("bb")].map(|id| counts_changes(&of(id), &promoted)), [false, false, true]);
        // Neither the dump nor the server says of which replication it is: that is no sign that both are of one.
        assert!(!counts_changes(&of(None), &info("master_replid2:aa evicted_keys:0")));
    }

    #[test]
    fn keys_are_exact_where_nothing_was_changed_and_bounded_by_the_commands_else() {
        let between = |before: &str, after: &str| {
            let found = bounds(&info(before), &info(after));
            [LEAST_KEYS, MOST_KEYS].map(|name| found[name].parse::<u64>().unwrap())
        };
        let before = "db0:keys=100,expires=0 db3:keys=1,expires=0 expired_keys:5 total_commands_processed:10";
        let quiet = "db0:keys=90,expires=0 rdb_changes_since_last_save:0 expired_keys:5 total_commands_processed:99";
        assert_eq!(between(before, quiet), [90, 90]);
        let busy = "db0:keys=90,expires=0 rdb_changes_since_last_save:7 expired_keys:5 total_commands_processed:40";
        assert_eq!(between(before, busy), [60, 131]);
        let expiring =
            "db0:keys=90,expires=0 rdb_changes_since_last_save:0 expired_keys:16 total_commands_processed:10";
        assert_eq!(between(before, expiring), [79, 112]);
        let unchanged = bounds_of_unchanged(&info(quiet), &info(quiet));
        assert_eq!([LEAST_KEYS, MOST_KEYS].map(|name| unchanged[name].as_str()), ["90", "95"]);
    }
}
