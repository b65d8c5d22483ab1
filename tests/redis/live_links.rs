//! The file that a server appends to stands elsewhere, under another name, and is found through a link.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use redkeep::operations::Silent;
use redkeep::operations::restore::server::undo_server;
use redkeep::redis::server::Mode;

use crate::capture::{capture, codes, materialise_clean};
use crate::live::{boot, live, of_mode, order};
use crate::restore_server::{Captured, Victim, take};
use crate::support::equality::Fingerprint;
use crate::support::server::{RedisServer, ServerKind, ServerOptions, wait_for};

fn kinds() -> impl Iterator<Item = ServerKind> {
    ServerKind::ALL.into_iter().filter(|kind| !kind.is_skipped())
}

/// The file that grows.
fn increment(kind: ServerKind) -> &'static str {
    match kind {
        ServerKind::Redis62 => "appendonly.aof",
        _ => "appendonlydir/appendonly.aof.1.incr.aof",
    }
}

/// Moves it to another directory, with a link in its place. A server that has it open goes on writing to it.
fn move_away(link: &std::path::Path, to: PathBuf) {
    fs::rename(link, &to).unwrap();
    symlink(to, link).unwrap();
}

/// LIVE-4
#[test]
fn an_aof_that_grows_behind_a_link_is_captured_as_the_servers() {
    for kind in kinds() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        fs::create_dir(&data).unwrap();
        let server = RedisServer::start_with(kind, &data, ServerOptions::with_config(&["appendonly yes"]));
        order(&server, "MSET a 1 b 2");
        move_away(&data.join(increment(kind)), place.path().join("grows"));
        order(&server, "SET c 3");
        let held = Fingerprint::of(&server);
        for mode in [Mode::Auto, Mode::Aof, Mode::Files] {
            let captured = live(&server, &of_mode(mode)).capture;
            assert_eq!(codes(&captured), [] as [&str; 0], "{kind:?} {mode:?}");
            assert!(captured.files.iter().any(|file| file.path == increment(kind).as_bytes()), "{kind:?} {mode:?}");
            let copy = materialise_clean(&captured);
            held.assert_equal(&Fingerprint::of(&boot(kind, copy.path(), "aof", &[])), &format!("{kind:?} {mode:?}"));
        }
        // Without asking it: its process is seen writing.
        assert_eq!(codes(&capture(&data)), [] as [&str; 0], "{kind:?}");
        // Where the link leads to what it does not write, that is told.
        fs::copy(place.path().join("grows"), place.path().join("stale")).unwrap();
        fs::remove_file(data.join(increment(kind))).unwrap();
        symlink(place.path().join("stale"), data.join(increment(kind))).unwrap();
        order(&server, "SET d 4");
        assert_eq!(codes(&live(&server, &of_mode(Mode::Auto)).capture), ["aof-not-live"], "{kind:?}");
    }
}

#[test]
fn a_restore_says_that_an_increment_is_a_link_and_an_undo_puts_the_link_back() {
    for kind in kinds().filter(|kind| kind.is_7_or_later()) {
        let taken = take(kind, Captured::Aof, &[]);
        let victim = Victim::start(kind, &["appendonly yes"]);
        let elsewhere = tempfile::tempdir().unwrap();
        let link = victim.directory().join(increment(kind));
        wait_for("the file", || link.exists().then_some(()));
        move_away(&link, elsewhere.path().join("grows"));
        let report = victim.restore(&taken).unwrap_or_else(|error| panic!("{kind:?}: {error} {:?}", error.hint()));
        let told = |note: &String| {
            note.contains("appendonly.aof.1.incr.aof is a link to ") && note.contains("/grows: it is set aside")
        };
        assert!(report.notes.iter().any(told), "{kind:?}: {:?}", report.notes);
        taken.held.assert_equal(&victim.holds(), "restored");
        assert!(
            fs::read_dir(victim.directory().join("appendonlydir")).unwrap().all(|entry| entry
                .unwrap()
                .file_type()
                .unwrap()
                .is_file())
        );
        assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
        victim.old.assert_equal(&victim.holds(), "undone");
        assert!(link.is_symlink(), "{kind:?}");
    }
}
