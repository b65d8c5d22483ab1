//! What a server holds after a restore is what the captured one counted, and what does not fit its memory is said before.

use std::collections::BTreeMap;

use redkeep::operations::restore::server::Consent;

use crate::restore_server::{Captured, Taken, Victim, refused, take, take_with};
use crate::support::server::{RedisServer, ServerKind};

/// Some 6 MB of keys.
pub fn large(server: &RedisServer) {
    let script = "for i=1,20000 do redis.call('SET', 'k'..i, string.rep('x', 200)) end";
    redis::cmd("EVAL").arg(script).arg(0).exec(&mut server.connection()).unwrap();
}

#[test]
fn what_a_server_would_evict_is_refused_and_what_only_fills_it_is_told() {
    for (kind, appendonly) in [
        (ServerKind::Redis62, "appendonly no"),
        (ServerKind::Redis7, "appendonly yes"),
        (ServerKind::Redis82, "appendonly no"),
        (ServerKind::Valkey9, "appendonly yes"),
    ] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take_with(kind, Captured::Dump, &[], large);
        let mut victim = Victim::start(kind, &["maxmemory 3mb", "maxmemory-policy allkeys-lru"]);
        for dry_run in [true, false] {
            victim.options.dry_run = dry_run;
            refused(&victim, &taken, "would throw restored keys away", "--force eviction");
        }
        victim.options.consents = vec![Consent::Eviction];
        let report = victim.restore(&taken).unwrap();
        assert!(report.notes.iter().any(|note| note.contains("keys will be evicted")), "{:?}", report.notes);
        assert!(report.verified.unwrap().is_right(), "{kind:?}: a word was said for it");

        let victim = Victim::start(kind, &["maxmemory 3mb", "maxmemory-policy noeviction", appendonly]);
        let report = victim.restore(&taken).unwrap();
        assert!(report.notes.iter().any(|note| note.contains("writes are refused until")), "{:?}", report.notes);
        assert!(report.verified.unwrap().is_right());
        taken.held.assert_equal(&victim.holds(), "all of it is loaded");
    }
}

/// The same snapshot, of which its server counted so many keys more.
fn counted(taken: &mut Taken, more: u64) {
    let mut keys = BTreeMap::<u64, u64>::new();
    let mut expiring = BTreeMap::<u64, u64>::new();
    for (place, state) in &taken.held.keys {
        *keys.entry(place.0.into()).or_default() += 1;
        *expiring.entry(place.0.into()).or_default() += u64::from(state.expires.is_some());
    }
    let facts = &mut taken.chosen.snapshot.facts;
    facts.insert("server.aof-beyond-mark".into(), "0".into());
    for (database, keys) in keys {
        let expiring = expiring.get(&database).copied().unwrap_or(0);
        facts.insert(format!("server.keys.db{database}"), (keys + expiring + more).to_string());
        facts.insert(format!("server.expires.db{database}"), expiring.to_string());
    }
}

#[test]
fn after_an_aof_with_commands_the_keys_are_compared_with_what_its_server_counted() {
    for kind in [ServerKind::Redis62, ServerKind::Redis7, ServerKind::Valkey9] {
        if kind.is_skipped() {
            continue;
        }
        let mut taken = take(kind, Captured::Aof, &[]);
        for appendonly in ["appendonly yes", "appendonly no"] {
            // Keys with an expiry may have gone since they were counted.
            counted(&mut taken, 0);
            let victim = Victim::start(kind, &[appendonly]);
            let verified = victim.restore(&taken).unwrap().verified.unwrap();
            assert!(verified.is_right(), "{kind:?} {appendonly}: {verified:?}");
            counted(&mut taken, 1);
            let verified = victim.restore(&taken).unwrap().verified.unwrap();
            assert!(
                verified.wrong.iter().any(|wrong| wrong.contains("the captured server counted")),
                "{kind:?} {appendonly}: {verified:?}"
            );
        }
    }
}
