//! What a capture of a live server says of its moment is true of that moment: the dump, what is counted, and the time.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redkeep::redis::server::{LiveOptions, Mode};

use crate::capture::fact;
use crate::live::{as_backup_user, live, live_at, of_mode, order, redis_7};
use crate::live_hostile::captured_value;
use crate::live_truth::{saves, wait_for_save};
use crate::support::server::{ServerKind, wait_for};

/// LIVE-9: the same server's, of the same replication, and no change is counted since its last save.
#[test]
fn an_earlier_dump_that_somebody_put_back_is_not_what_the_server_holds() {
    let Some((dir, server)) = redis_7(&[]) else { return };
    let dump = dir.path().join("dump.rdb");
    order(&server, "SET era old");
    order(&server, "SAVE");
    fs::copy(&dump, dir.path().join("kept")).unwrap();
    order(&server, "SET era new");
    order(&server, "SAVE");
    // A save has the time of a second.
    thread::sleep(Duration::from_millis(2100));
    fs::copy(dir.path().join("kept"), &dump).unwrap();
    let captured = live(&server, &of_mode(Mode::Rdb));
    assert_eq!(captured_value(ServerKind::Redis7, &captured, "era").as_deref(), Some("new"));
}

/// LIVE-3
#[test]
fn what_is_written_while_a_server_saves_is_not_counted() {
    let Some((_dir, server)) = redis_7(&[]) else { return };
    for key in 0..20 {
        order(&server, &format!("SET key:{key} 1"));
    }
    order(&server, "CONFIG SET rdb-key-save-delay 50000");
    let captured = thread::scope(|scope| {
        let capture = scope.spawn(|| live(&server, &of_mode(Mode::Rdb)));
        wait_for_save(&server);
        order(&server, "SET since 1");
        capture.join().unwrap()
    });
    assert_eq!(fact(&captured.capture, "server.keys.db0"), "20");
}

#[test]
fn a_replica_stands_for_the_moment_at_which_its_master_was_asked() {
    let Some((_master_dir, master)) = redis_7(&["repl-diskless-sync-delay 0"]) else { return };
    let Some((_dir, replica)) = redis_7(&[]) else { return };
    for key in 0..20 {
        order(&master, &format!("SET key:{key} 1"));
    }
    order(&replica, &format!("REPLICAOF 127.0.0.1 {}", master.port()));
    wait_for("the link", || (replica.info().get("master_link_status") == Some("up")).then_some(()));
    // What is saved now is not the dump that is asked for: that one is waited for.
    order(&replica, "SAVE");
    order(&master, "SET more 1");
    wait_for("it", || (replica.info().number("rdb_changes_since_last_save") > 0).then_some(()));
    order(&replica, "CONFIG SET rdb-key-save-delay 150000");
    order(&replica, "BGSAVE");
    let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let options = LiveOptions { mode: Mode::Rdb, prefer_replica: true, ..LiveOptions::default() };
    as_backup_user(&replica);
    let captured = thread::scope(|scope| {
        let capture = scope.spawn(|| live_at(&as_backup_user(&master), &options).unwrap());
        thread::sleep(Duration::from_millis(2000));
        assert!(saves(&replica), "what is asked for waits for this one");
        order(&replica, "CONFIG SET rdb-key-save-delay 0");
        capture.join().unwrap()
    });
    let moment = u128::from(captured.moment.unwrap().0);
    assert!(moment >= begun.as_millis() && moment < begun.as_millis() + 1900, "{moment} {}", begun.as_millis());
}
