//! A damaged AOF that is cut back before its damage, into a server: what is left is whole, and is all that counts.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::moments::{ANNOTATED, pass_seconds};
use crate::restore_server_program::Scene;
use crate::support::server::{RedisServer, ServerKind, ServerOptions};

fn keys(server: &RedisServer) -> u64 {
    redis::cmd("DBSIZE").query(&mut server.connection()).unwrap()
}

/// Backs up four keys in an AOF, a file of which has bytes behind its end that are none of it.
fn back_up_damaged(scene: &Scene, dataset: &str, file: &str) {
    let source = tempfile::tempdir().unwrap();
    let options = ServerOptions::with_config(&["appendonly yes"]);
    let mut server = RedisServer::start_with(ServerKind::Redis7, source.path(), options);
    for key in ["k1", "k2", "k3", "k4"] {
        redis::cmd("SET").arg(key).arg("v").exec(&mut server.connection()).unwrap();
    }
    server.stop();
    damage(&source.path().join("appendonlydir").join(file));
    let ran = scene.run(&["backup", source.path().to_str().unwrap(), "--dataset", dataset]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
}

fn damage(file: &Path) {
    match file.extension().is_some_and(|kind| kind == "rdb") {
        true => {
            let mut bytes = std::fs::read(file).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 0x20;
            std::fs::write(file, bytes).unwrap();
        }
        false => OpenOptions::new().append(true).open(file).unwrap().write_all(b"garbage*1\r\n$4\r\nPING\r\n").unwrap(),
    }
}

#[test]
fn what_is_cut_before_its_damage_is_restored_into_a_server_with_a_warning_and_other_damage_is_refused() {
    let Some(scene) = Scene::new(&["appendonly yes"]) else { return };
    back_up_damaged(&scene, "increment", "appendonly.aof.1.incr.aof");
    back_up_damaged(&scene, "base", "appendonly.aof.1.base.rdb");
    let url = scene.url();
    let nearest = ["--at", "now", "--nearest"];
    let restore =
        |dataset: &str, more: &[&str]| scene.run(&[&["restore", "--dataset", dataset, &url, "--yes"], more].concat());
    for (dataset, more) in [("increment", &[][..]), ("base", &[]), ("base", &nearest)] {
        let ran = restore(dataset, more);
        assert_eq!(ran.code, 9, "{dataset} {more:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("was suspect when it was stored"), "{dataset} {more:?}: {}", ran.stderr);
        assert_eq!(ran.stderr.contains("--at now --nearest"), dataset == "increment", "{}", ran.stderr);
        scene.old.assert_equal(&scene.holds(), dataset);
    }
    let ran = restore("increment", &nearest);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("was suspect when it was stored"), "{}", ran.stderr);
    assert_eq!(keys(&scene.server), 4);
}

/// A moment before the damage needs no word: what is put in place is whole, and holds that moment.
#[test]
fn a_moment_before_the_damage_of_an_aof_is_restored_into_a_server_with_its_aof_on_or_off() {
    for line in ["appendonly yes", "appendonly no"] {
        let Some(scene) = Scene::new(&[line]) else { return };
        let source = tempfile::tempdir().unwrap();
        let mut server =
            RedisServer::start_with(ServerKind::Redis7, source.path(), ServerOptions::with_config(ANNOTATED));
        let set = |key: &str| redis::cmd("SET").arg(key).arg("v").exec(&mut server.connection()).unwrap();
        pass_seconds(2);
        set("k1");
        set("k2");
        let (seconds, _): (i64, i64) = redis::cmd("TIME").query(&mut server.connection()).unwrap();
        // Further commands are of later seconds, and say so.
        pass_seconds(2);
        set("k3");
        pass_seconds(2);
        set("k4");
        server.stop();
        damage(&source.path().join("appendonlydir/appendonly.aof.1.incr.aof"));
        let ran = scene.run(&["backup", source.path().to_str().unwrap(), "--dataset", "damaged"]);
        assert_eq!(ran.code, 3, "{}", ran.stderr);
        let at = jiff::Timestamp::from_second(seconds).unwrap().to_string();
        let ran = scene.run(&["restore", "--dataset", "damaged", &scene.url(), "--yes", "--at", &at]);
        assert_eq!(ran.code, 3, "{line}: {}", ran.stderr);
        assert_eq!(keys(&scene.server), 2, "{line}: {} {}", ran.stdout, ran.stderr);
        let held: Vec<String> = redis::cmd("KEYS").arg("k*").query(&mut scene.server.connection()).unwrap();
        assert!(held.iter().all(|key| ["k1", "k2"].contains(&key.as_str())), "{line}: {held:?}");
    }
}
