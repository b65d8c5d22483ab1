//! A stopped server that will speak TLS only: what its configuration says beforehand, and what is said where it says nothing.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::restore_server_program::Scene;
use crate::restore_server_stopped::{end, names};
use crate::support::server::{Listen, ServerKind, ServerOptions};
use crate::tls::{LOCAL, REQUEST, openssl, sign_itself};

/// A CA, and what it has signed: `server` and `client`.
fn sign_all(place: &Path) {
    sign_itself(place, "ca", "own", &[]);
    fs::write(place.join("names"), LOCAL).unwrap();
    for name in ["server", "client"] {
        let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        let words = REQUEST.split(' ').chain(["-keyout", &key, "-out", "request", "-subj", &subject]);
        openssl(place, &words.collect::<Vec<_>>());
        let signing = ["x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
        openssl(place, &[&signing[..], &["-extfile", "names", "-days", "30", "-out", &pem]].concat());
    }
}

/// A stopped server with these certificates, and its TLS port.
fn scene(place: &Path) -> Option<(Scene, u16)> {
    sign_all(place);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = |name: &str| place.join(name).display().to_string();
    let config = vec![
        format!("tls-port {port}"),
        format!("tls-cert-file {}", at("server.pem")),
        format!("tls-key-file {}", at("server.key")),
        format!("tls-ca-cert-file {}", at("ca.pem")),
        "tls-auth-clients yes".to_owned(),
    ];
    let options = ServerOptions { listen: Listen::UnixSocket, config, ..ServerOptions::default() };
    let mut scene = Scene::with(options)?;
    scene.server.stop();
    Some((scene, port))
}

/// LOCAL-34
#[test]
fn what_a_stopped_server_asks_of_a_connection_by_tls_is_asked_for_before_anything_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let Some((scene, port)) = scene(dir.path()) else { return };
    let config = scene.server.config_file();
    let program = ServerKind::Redis7.executable();
    let of = ["--server-config", config.to_str().unwrap(), "--server-binary", program.to_str().unwrap()];
    let at = |name: &str| dir.path().join(name).display().to_string();
    let (ca, own, key) = (at("ca.pem"), at("client.pem"), at("client.key"));
    let (ca, shown) = (["--tls-ca", &ca], ["--tls-cert", &own, "--tls-key", &key]);
    let (tls, plain) = (format!("--server=rediss://127.0.0.1:{port}"), format!("--server=127.0.0.1:{port}"));
    let run = |command: &str, url: &str, trust: &[&str], last: &str| {
        scene.run(&[&[command, url], &of[..], trust, &[last]].concat())
    };
    let before = names(&scene.directory());
    for (url, trust, words, never) in [
        (&plain, &[][..], &["names it without", "rediss://"][..], "tls-auth-clients"),
        (&tls, &[], &["UnknownIssuer", "with --tls-ca (tls-ca-cert-file says ", "--tls-cert"], "no answer"),
        (&tls, &ca, &["tls-auth-clients", "--tls-cert, and its key with --tls-key"], "UnknownIssuer"),
        (&tls, &shown, &["UnknownIssuer", "with --tls-ca"], "tls-auth-clients"),
    ] {
        for (command, last) in [("restore", "--dry-run"), ("restore", "--yes"), ("undo", "--yes")] {
            let ran = run(command, url, trust, last);
            assert_eq!(ran.code, 9, "{command} {last} {trust:?}: {}", ran.stderr);
            let is_told = words.iter().all(|word| ran.stderr.contains(word));
            assert!(is_told && !ran.stderr.contains(never), "{command} {last} {trust:?}: {}", ran.stderr);
        }
    }
    assert_eq!(names(&scene.directory()), before);
    assert!(!scene.is_running());

    // Whoever starts it himself needs no connection.
    let ran = scene.run(&[&["restore", &tls], &of[..], &["--dry-run", "--no-start"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = run("restore", &tls, &[&ca[..], &shown].concat(), "--yes");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    scene.new.assert_equal(&scene.holds(), "restored");
    end(&scene.server);
}

#[test]
fn a_started_server_that_does_not_agree_to_tls_is_told_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let Some((scene, port)) = scene(dir.path()) else { return };
    let config = scene.server.config_file();
    // One that says nothing of TLS.
    let other = dir.path().join("other.conf");
    let text = fs::read_to_string(&config).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("tls-")).collect();
    fs::write(&other, lines.join("\n")).unwrap();
    let program = ServerKind::Redis7.executable();
    let start = format!("setsid --fork {} {} >/dev/null 2>&1 </dev/null", program.display(), config.display());
    let ca = dir.path().join("ca.pem").display().to_string();
    let url = format!("--server=rediss://127.0.0.1:{port}");
    let of = ["--server-config", other.to_str().unwrap(), "--server-binary", program.to_str().unwrap()];
    let ran =
        scene.run(&[&["restore", &url], &of[..], &["--tls-ca", &ca, "--start-command", &start, "--yes"]].concat());
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    let is_told = ["TLS is not agreed on", "--tls-cert and --tls-key"].iter().all(|word| ran.stderr.contains(word));
    assert!(is_told && !ran.stderr.contains("no answer"), "{}", ran.stderr);
    end(&scene.server);
}
