//! A damaged AOF that is cut back before its damage, into a server: what is left is whole, and is all that counts.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

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
