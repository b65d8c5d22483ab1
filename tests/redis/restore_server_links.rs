//! What a server loads is a link: what takes its place opens nothing to others that was closed.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use crate::restore_server::{Captured, Victim, take};
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
        // The server goes on writing to it.
        fs::rename(&link, &file).unwrap();
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
