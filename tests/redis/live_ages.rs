//! A server is known by the connection that it holds, and not by how old it says it is: clocks are set.

use redkeep::redis::server::LiveOptions;

use crate::capture::{codes, fact};
use crate::live::{as_backup_user, live_at, order, redis_7};
use crate::support::server::{Info, wait_for};

/// DEBUG RESTART begins the server anew in its old process, whose age is then another one than the server's, as it is once
/// somebody has set the clock.
#[test]
fn a_server_is_known_that_says_another_age_than_its_process_has() {
    let Some((_dir, server)) = redis_7(&["appendonly yes"]) else { return };
    order(&server, "SET a 1");
    let process = server.info().number("process_id");
    wait_for("some age", || (server.info().number("uptime_in_seconds") >= 7).then_some(()));
    // It closes the connection in place of an answer.
    let _ = redis::cmd("DEBUG").arg("RESTART").query::<redis::Value>(&mut server.connection());
    let info = wait_for("the server", || {
        let info = Info::of(&mut server.client().get_connection().ok()?).ok()?;
        (info.get("loading") == Some("0") && info.number("uptime_in_seconds") < 2).then_some(info)
    });
    assert_eq!(info.number("process_id"), process);
    // Nothing grows that would show whose the file is.
    let options = LiveOptions { tail: true, ..LiveOptions::default() };
    let captured = live_at(&as_backup_user(&server), &options).unwrap().capture;
    assert_eq!((fact(&captured, "capture.mode"), codes(&captured)), ("aof", vec![]));
}
