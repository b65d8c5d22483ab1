//! What an undo would put back was moved, removed or emptied since: it is refused while the server goes on serving.

use std::fs;
use std::path::{Path, PathBuf};

use redkeep::operations::restore::server::{Options, undo_server};
use redkeep::operations::{OperationError, Silent};

use crate::restore_server::{Captured, Victim, take};
use crate::support::server::ServerKind;

fn aside(directory: &Path) -> PathBuf {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut asides = names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".redkeep-aside-"));
    asides.next().expect("what was set aside")
}

/// An undo, dry or not, is refused with these words, and the same process goes on.
fn refused(victim: &Victim, words: &str) {
    let pid = victim.server().info().number("process_id");
    for dry_run in [true, false] {
        let options = Options { dry_run, ..victim.options.clone() };
        let error = undo_server(&options, &Silent).unwrap_err();
        assert!(matches!(error, OperationError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(victim.server().info().number("process_id"), pid, "{words}");
    }
}

/// LOCAL-23
#[test]
fn an_undo_of_which_something_is_gone_leaves_the_server_alone() {
    let kind = ServerKind::Redis7;
    if kind.is_skipped() {
        return;
    }
    for (captured, lines, main) in
        [(Captured::Dump, &[][..], "dump.rdb"), (Captured::Aof, &["appendonly yes"], "appendonlydir")]
    {
        let taken = take(kind, captured, &[]);
        let victim = Victim::start(kind, lines);
        victim.restore(&taken).unwrap();
        let aside = aside(&victim.directory());
        let elsewhere = victim.directory().join("moved");
        // All of it.
        fs::rename(&aside, &elsewhere).unwrap();
        refused(&victim, "is gone");
        // Emptied.
        fs::create_dir(&aside).unwrap();
        refused(&victim, main);
        fs::remove_dir(&aside).unwrap();
        fs::rename(&elsewhere, &aside).unwrap();
        // One file of it, or a part of one.
        let file = match aside.join(main) {
            main if main.is_file() => main,
            directory => fs::read_dir(directory).unwrap().next().unwrap().unwrap().path(),
        };
        fs::rename(&file, &elsewhere).unwrap();
        refused(&victim, "is gone");
        fs::write(&file, "").unwrap();
        refused(&victim, "has 0 bytes");
        // Where it is there again it is put back, and so is what was restored.
        fs::rename(&elsewhere, &file).unwrap();
        assert!(undo_server(&victim.options, &Silent).unwrap().is_old);
        victim.old.assert_equal(&victim.holds(), "put back");
        assert!(!undo_server(&victim.options, &Silent).unwrap().is_old);
        taken.held.assert_equal(&victim.holds(), "restored again");
    }
}
