//! How a server comes up again after a restore: whom it lets in, what it says where it does not, and what it threw away.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use redkeep::operations::Silent;
use redkeep::operations::restore::server::{Consent, undo_server};

use crate::restore_server::{Captured, Victim, plain, refused, take, take_with};
use crate::restore_server_fit::large;
use crate::support::server::{RedisServer, ServerKind};

fn order(server: &RedisServer, words: &[&str]) {
    redis::cmd(words[0]).arg(&words[1..]).exec(&mut server.connection()).unwrap();
}

fn append(victim: &Victim, line: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(victim.server().config_file()).unwrap();
    writeln!(file, "\n{line}").unwrap();
}

#[test]
fn a_server_that_has_the_password_of_its_file_again_is_asked_with_that() {
    for (kind, line, user) in [
        (ServerKind::Redis62, "requirepass word-of-file", None),
        (ServerKind::Redis7, "user app on >word-of-file ~* &* +@all", Some("app")),
        (ServerKind::Valkey9, "requirepass word-of-file", None),
    ] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take(kind, Captured::Dump, &[]);
        let mut victim = Victim::start(kind, &[]);
        append(&victim, line);
        let name = user.unwrap_or("default");
        order(
            victim.server(),
            &["ACL", "SETUSER", name, "on", ">word-of-now", "~*", "+@all", "resetpass", ">word-of-now"],
        );
        victim.options.address = victim.options.address.clone().with_login(user, Some("word-of-now"));
        victim.options.consents = vec![Consent::Settings];
        let report = victim.restore(&taken).unwrap_or_else(|error| panic!("{kind:?}: {error} {:?}", error.hint()));
        assert!(report.verified.as_ref().unwrap().is_right(), "{kind:?}");
        assert!(!format!("{report:?}").contains("word-of"), "{report:?}");
        for entry in fs::read_dir(victim.state().unwrap().join("restores")).unwrap() {
            let journal = fs::read(entry.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&journal).contains("word-of"), "{kind:?}");
        }
        let client = redis::Client::open(format!("redis://{name}:word-of-file@127.0.0.1:{}", victim.server().port()));
        let mut connection = client.unwrap().get_connection().unwrap();
        redis::cmd("CONFIG").arg(&["SET", "requirepass", ""]).exec(&mut connection).unwrap();
        taken.held.assert_equal(&victim.holds(), "restored");
    }
}

#[test]
fn a_server_that_ends_at_once_is_told_with_its_exit_status_and_its_last_words() {
    for has_log in [false, true] {
        let Some((taken, victim)) = plain(ServerKind::Redis7) else { return };
        let config = victim.server().config_file();
        let sound = fs::read_to_string(&config).unwrap();
        // What a server that is only tried does not do.
        append(&victim, "unixsocket /nowhere/at/all/s");
        if has_log {
            append(&victim, &format!("logfile {}", victim.directory().join("server.log").display()));
        }
        let begun = Instant::now();
        let error = victim.restore(&taken).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let said = error.to_string();
        assert!(
            said.contains("has ended (exit status 1)") && said.contains("the restored data are in place"),
            "{said}"
        );
        assert!(said.contains("Failed opening Unix socket"), "{has_log}: {said}");
        assert!(said.len() < 4000, "{said}");
        fs::write(&config, sound).unwrap();
        assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
        victim.old.assert_equal(&victim.holds(), "undone");
    }
}

#[test]
fn a_password_in_a_line_that_a_server_does_not_understand_is_not_told() {
    let Some((taken, victim)) = plain(ServerKind::Redis7) else { return };
    append(&victim, "requirepass word-of-file and-more");
    refused(&victim, &taken, ">>> 'requirepass ***'", "nothing was touched");
    let error = victim.restore(&taken).unwrap_err();
    assert!(!format!("{error} {:?}", error.hint()).contains("word-of-file"), "{error}");
}

#[test]
fn keys_that_the_server_evicted_are_told_to_be_what_is_missing() {
    for kind in [ServerKind::Redis62, ServerKind::Redis82, ServerKind::Valkey9] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take_with(kind, Captured::Dump, &[], large);
        let memory: u64 = taken.chosen.snapshot.facts["dump.used-mem"].parse().unwrap();
        let lines = [&format!("maxmemory {}", memory / 100 * 91), "maxmemory-policy allkeys-random"];
        let report = Victim::start(kind, &lines).restore(&taken).unwrap();
        assert!(report.notes.iter().any(|note| note.contains("keys may be evicted")), "{:?}", report.notes);
        let verified = report.verified.unwrap();
        let wrong = verified.wrong.join("; ");
        assert!(wrong.contains("the server evicted") && wrong.contains("(allkeys-random)"), "{kind:?}: {verified:?}");
    }
}
