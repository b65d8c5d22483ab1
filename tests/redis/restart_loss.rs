//! What a restart would take from a server that is restored into: its password and users are kept or it is refused, limits
//! are told, and no secret is.

use redkeep::operations::restore::server::Consent;

use crate::restore_server::{Captured, Taken, Victim, refused, take_with};
use crate::support::server::{RedisServer, ServerKind};

fn order(server: &RedisServer, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let done = redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection());
    done.unwrap_or_else(|error| panic!("{line}: {error}"));
}

fn some(kind: ServerKind) -> Taken {
    take_with(kind, Captured::Dump, &[], |server| order(server, "SET a 1"))
}

/// As it was started by a person: its file is all it has.
fn plain(kind: ServerKind, lines: &[&str]) -> Victim {
    let mut victim = Victim::start(kind, lines);
    victim.options.dry_run = true;
    victim
}

fn notes(victim: &Victim, taken: &Taken) -> Vec<String> {
    let report = victim.restore(taken).unwrap_or_else(|error| panic!("{error} {:?}", error.hint()));
    let is_of_settings = |note: &String| note.contains("started again") || note.contains("compared");
    report.notes.into_iter().filter(is_of_settings).collect()
}

#[test]
fn limits_that_are_in_no_file_are_told_and_nothing_is_told_of_a_server_that_keeps_all() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let taken = some(kind);
        let lines = [
            "maxmemory 900mb",
            "save 900 1",
            "save 300 10",
            "client-output-buffer-limit replica 256mb 64mb 60",
            "HZ 20",
        ];
        let victim = plain(kind, &lines);
        assert_eq!(notes(&victim, &taken), Vec::<String>::new(), "{kind:?}");
        for set in
            ["maxmemory 800mb", "maxmemory-policy allkeys-lru", "timeout 77", "slowlog-max-len 3", "maxclients 500"]
        {
            order(victim.server(), &format!("CONFIG SET {set}"));
        }
        let told = notes(&victim, &taken).join("\n");
        for name in
            ["maxmemory is \"838860800\"", "maxmemory-policy", "timeout is \"77\"", "slowlog-max-len", "maxclients"]
        {
            assert!(told.contains(name), "{kind:?} {name}: {told}");
        }
        // Valkey has two names for one of them.
        assert_eq!(told.lines().count(), if kind == ServerKind::Valkey9 { 6 } else { 5 }, "{kind:?}: {told}");
        order(victim.server(), "CONFIG REWRITE");
        assert_eq!(notes(&victim, &taken), Vec::<String>::new(), "{kind:?} after CONFIG REWRITE");
    }
}

/// Each of these would be lost, and is refused until it is written or a person says so.
#[test]
fn what_guards_a_server_is_not_lost_unasked() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let taken = some(kind);
        for (line, words) in [
            ("ACL SETUSER app on >word-of-app ~app:* +get", "the user app"),
            ("CONFIG SET masterauth word-of-master", "masterauth"),
            ("CONFIG SET protected-mode no", "protected-mode"),
        ] {
            let victim = plain(kind, &[]);
            order(victim.server(), line);
            refused(&victim, &taken, words, "--force settings");
            let error = victim.restore(&taken).unwrap_err();
            assert!(!format!("{error} {:?}", error.hint()).contains("word-of"), "{error}");
            order(victim.server(), "CONFIG REWRITE");
            assert_eq!(notes(&victim, &taken), Vec::<String>::new(), "{kind:?} {line}");
        }
        let mut victim = plain(kind, &[]);
        order(victim.server(), "ACL SETUSER app on nopass +get");
        victim.options.consents.push(Consent::Settings);
        assert_eq!(notes(&victim, &taken), ["lost when it is started again: the user app"]);
    }
}

#[test]
fn a_password_that_is_in_no_file_is_not_lost() {
    for kind in ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped()) {
        let taken = some(kind);
        let mut victim = plain(kind, &[]);
        let mut connection = victim.server().connection();
        redis::cmd("CONFIG").arg(&["SET", "requirepass", "word-of-all"]).exec(&mut connection).unwrap();
        let closed = victim.server().url().replace("redis://", "redis://:word-of-all@");
        victim.options.address = closed.parse().unwrap();
        let error = victim.restore(&taken).unwrap_err();
        let said = format!("{error} {:?}", error.hint());
        assert!(said.contains("the password or the login of the user default") && !said.contains("word-of"), "{said}");
        redis::cmd("CONFIG").arg("REWRITE").exec(&mut connection).unwrap();
        assert_eq!(notes(&victim, &taken), Vec::<String>::new(), "{kind:?}");
        redis::cmd("CONFIG").arg(&["SET", "requirepass", ""]).exec(&mut connection).unwrap();
    }
}
