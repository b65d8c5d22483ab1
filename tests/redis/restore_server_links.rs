//! What a server loads is a link: what takes its place opens nothing to others that was closed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use redkeep::operations::Silent;
use redkeep::operations::restore::server::undo_server;

use crate::restore_server::{Captured, Victim, take};
use crate::restore_server_stopped::stop;
use crate::support::server::ServerKind;

#[test]
fn a_file_that_takes_the_place_of_a_link_has_no_more_of_a_mode_than_what_the_link_led_to() {
    let dump = (ServerKind::Redis7, &[][..], "dump.rdb");
    let single = (ServerKind::Redis62, &["appendonly yes"][..], "appendonly.aof");
    for ((kind, lines, name), mode, expected) in [(dump, 0o600, 0o600), (dump, 0o666, 0o640), (single, 0o600, 0o600)] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take(kind, Captured::Dump, &[]);
        let victim = Victim::start(kind, lines);
        let there = tempfile::tempdir().unwrap();
        let (link, file) = (victim.directory().join(name), there.path().join(name));
        fs::copy(&link, &file).unwrap();
        fs::remove_file(&link).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        symlink(&file, &link).unwrap();
        let report = victim.restore(&taken).unwrap_or_else(|error| panic!("{name}: {error} {:?}", error.hint()));
        taken.held.assert_equal(&victim.holds(), name);
        let found = fs::symlink_metadata(&link).unwrap();
        assert!(found.is_file(), "{name}");
        assert_eq!(found.permissions().mode() & 0o777, expected, "{name} {mode:o}");
        assert!(report.notes.iter().any(|note| note.contains("is a link to ")), "{name}: {:?}", report.notes);
    }
}

/// No save has put a file in the link's place before.
#[test]
fn a_stopped_server_whose_dump_is_a_link_gets_a_file_and_again_its_link() {
    for kind in [ServerKind::Redis62, ServerKind::Redis7, ServerKind::Valkey9] {
        if kind.is_skipped() {
            continue;
        }
        let taken = take(kind, Captured::Dump, &[]);
        let mut victim = Victim::start(kind, &[]);
        let there = tempfile::tempdir().unwrap();
        let (link, file) = (victim.directory().join("dump.rdb"), there.path().join("elsewhere.rdb"));
        stop(&mut victim);
        fs::copy(&link, &file).unwrap();
        fs::remove_file(&link).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        symlink(&file, &link).unwrap();
        let old = fs::read(&file).unwrap();
        let report = victim.restore(&taken).unwrap_or_else(|error| panic!("{kind:?}: {error} {:?}", error.hint()));
        assert!(report.notes.iter().any(|note| note.contains("dump.rdb is a link to ")), "{:?}", report.notes);
        taken.held.assert_equal(&victim.holds(), "restored");
        let found = fs::symlink_metadata(&link).unwrap();
        assert!(found.is_file(), "{kind:?}");
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{kind:?}");
        assert!(fs::read(&file).unwrap() == old, "what the link led to was written to");
        redis::cmd("CONFIG").arg(&["SET", "save", ""]).exec(&mut victim.server().connection()).unwrap();
        assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
        victim.old.assert_equal(&victim.holds(), "undone");
        assert_eq!(fs::read_link(&link).unwrap(), file, "{kind:?}");
    }
}
