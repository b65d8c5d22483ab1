//! A server that listens with TLS only is restored into, and taken back, like any other.

use std::net::TcpListener;
use std::process::Command;

use crate::restore_server_program::Scene;
use crate::support::equality::Fingerprint;
use crate::support::server::{Listen, RedisServer, ServerKind, ServerOptions};

/// Ended by its socket: once redkeep has started it, it is no child of ours.
struct Guarded(RedisServer);

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Ok(mut connection) = self.0.client().get_connection() {
            let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").query::<redis::Value>(&mut connection);
        }
    }
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certificates(scene: &Scene) {
    let make = |line: &str| {
        let made = Command::new("openssl").args(line.split(' ')).current_dir(scene.place.path()).output().unwrap();
        assert!(made.status.success(), "{line}: {}", String::from_utf8_lossy(&made.stderr));
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    make(&format!("req -x509 {new} -days 30 -keyout ca.key -out ca.pem -subj /CN=authority"));
    make(&format!("req {new} -keyout server.key -out server.csr -subj /CN=server"));
    std::fs::write(scene.place.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    let of = "-CA ca.pem -CAkey ca.key -CAcreateserial";
    make(&format!("x509 -req {of} -days 30 -extfile names -in server.csr -out server.pem"));
}

#[test]
fn a_server_that_listens_with_tls_only_is_restored_into_and_taken_back() {
    let Some(scene) = Scene::new(&[]) else { return };
    certificates(&scene);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = |name: &str| scene.place.path().join(name).display().to_string();
    let config = vec![
        format!("tls-port {port}"),
        "tls-auth-clients no".into(),
        format!("tls-ca-cert-file {}", file("ca.pem")),
        format!("tls-cert-file {}", file("server.pem")),
        format!("tls-key-file {}", file("server.key")),
    ];
    let data = tempfile::tempdir().unwrap();
    let options = ServerOptions { listen: Listen::UnixSocket, config, ..ServerOptions::default() };
    let server = Guarded(RedisServer::start_with(ServerKind::Redis7, data.path(), options));
    redis::cmd("SET").arg("old").arg("1").exec(&mut server.0.connection()).unwrap();
    let old = Fingerprint::of(&server.0);
    let address = format!("--server=rediss://127.0.0.1:{port}");
    for (words, held) in [(&["restore", "latest"][..], &scene.new), (&["undo"], &old)] {
        let ran = scene.run(&[words, &[&address, "--tls-ca", "ca.pem", "--yes"]].concat());
        assert_eq!(ran.code, 0, "{words:?}: {}", ran.stderr);
        held.assert_equal(&Fingerprint::of(&server.0), words[0]);
    }
}
