//! Servers that are reached by TLS: which certificates are taken, what is said of the others, and servers that have no other
//! port.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use redkeep::redis::RedisError;
use redkeep::redis::server::{Address, Server, Tls};
use rustls::crypto::ring::{default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::restore_server_program::Scene;
use crate::support::server::{Listen, RedisServer, ServerKind, ServerOptions};

pub const REQUEST: &str = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
pub const LOCAL: &str = "subjectAltName=IP:127.0.0.1,DNS:localhost";

pub fn openssl(place: &Path, words: &[&str]) {
    let made = Command::new("openssl").args(words).current_dir(place).output().unwrap();
    assert!(made.status.success(), "{words:?}: {}", String::from_utf8_lossy(&made.stderr));
}

/// A certificate signed by itself, of version 3: `NAME.pem` and `NAME.key`.
pub fn sign_itself(place: &Path, name: &str, common: &str, extensions: &[&str]) {
    let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={common}"));
    let mut words: Vec<&str> = REQUEST.split(' ').chain(["-x509", "-days", "30"]).collect();
    words.extend(["-keyout", &key, "-out", &pem, "-subj", &subject]);
    words.extend(extensions.iter().flat_map(|extension| ["-addext", extension]));
    openssl(place, &words);
}

/// The same of version 1, which has no extensions.
fn of_version_1(place: &Path, name: &str, common: &str) {
    let (key, pem, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={common}"));
    let words = REQUEST.split(' ').chain(["-keyout", &key, "-out", "request", "-subj", &subject]);
    openssl(place, &words.collect::<Vec<_>>());
    openssl(place, &["x509", "-req", "-in", "request", "-signkey", &key, "-days", "30", "-out", &pem]);
}

/// The same of the year 2020.
fn expired(place: &Path, name: &str) {
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    let words = REQUEST.split(' ').chain(["-keyout", &key, "-out", "request", "-subj", "/CN=localhost"]);
    openssl(place, &words.collect::<Vec<_>>());
    let text = format!(
        "[ca]\ndefault_ca=own\n[own]\ndatabase=index\nserial=serial\nnew_certs_dir=.\npolicy=any\ndefault_md=sha256\n\
         x509_extensions=local\n[any]\ncommonName=supplied\n[local]\n{LOCAL}\n"
    );
    std::fs::write(place.join("ca.conf"), text).unwrap();
    std::fs::write(place.join("index"), "").unwrap();
    std::fs::write(place.join("serial"), "01\n").unwrap();
    let dates = ["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"];
    let words = ["ca", "-batch", "-selfsign", "-config", "ca.conf", "-in", "request", "-keyfile", &key, "-out", &pem];
    openssl(place, &[&words[..], &dates, &["-notext"]].concat());
}

/// Connects as a person would who named this file with `--tls-ca`; else what is said, and the hint.
fn connect(url: &str, trusted: &Path) -> Result<(), (String, String)> {
    let tls = Tls { root: Some(std::fs::read(trusted).unwrap()), client: None };
    let address = url.parse::<Address>().unwrap().with_tls(tls);
    let told = |error: RedisError| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        (format!("{error}: {cause}"), error.hint().unwrap_or_default().to_owned())
    };
    Server::connect(&address).and_then(|mut server| server.info()).map(|_| ()).map_err(told)
}

/// A server that listens on a socket and, by TLS, on the port that is answered too.
fn start(place: &Path, lines: &[&str]) -> Option<(RedisServer, u16)> {
    if ServerKind::Redis7.is_skipped() {
        return None;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = |name: &str| place.join(name).display().to_string();
    let mut config = vec![format!("tls-port {port}"), format!("tls-cert-file {}", at("server.pem"))];
    config.extend([format!("tls-key-file {}", at("server.key")), format!("tls-ca-cert-file {}", at("server.pem"))]);
    config.extend(lines.iter().map(|line| (*line).to_owned()));
    let options = ServerOptions { listen: Listen::UnixSocket, config, ..ServerOptions::default() };
    let data = place.join("served");
    std::fs::create_dir(&data).unwrap();
    Some((RedisServer::start_with(ServerKind::Redis7, &data, options), port))
}

fn set(server: &RedisServer, pairs: &[(&str, &str)]) {
    let mut command = redis::cmd("CONFIG");
    command.arg("SET");
    for (name, value) in pairs {
        command.arg(*name).arg(*value);
    }
    command.exec(&mut server.connection()).unwrap();
}

/// LIVE-7.
#[test]
fn a_certificate_that_was_named_itself_is_taken_and_every_other_failure_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    sign_itself(place, "server", "server", &[LOCAL]);
    let Some((server, port)) = start(place, &["tls-auth-clients no"]) else { return };
    let url = format!("rediss://127.0.0.1:{port}");
    let show = |name: &str| {
        let at = |kind: &str| place.join(format!("{name}.{kind}")).display().to_string();
        set(&server, &[("tls-cert-file", &at("pem")), ("tls-key-file", &at("key"))]);
    };
    let pem = |name: &str| place.join(format!("{name}.pem"));

    sign_itself(place, "leaf", "leaf", &[LOCAL, "basicConstraints=critical,CA:FALSE"]);
    sign_itself(place, "old-style", "127.0.0.1", &[]);
    of_version_1(place, "first", "127.0.0.1");
    for name in ["server", "leaf", "old-style", "first"] {
        show(name);
        for version in ["TLSv1.2", "TLSv1.3"] {
            set(&server, &[("tls-protocols", version)]);
            assert_eq!(connect(&url, &pem(name)), Ok(()), "{name} {version}");
        }
    }

    sign_itself(place, "others", "127.0.0.1", &["subjectAltName=DNS:other.example"]);
    of_version_1(place, "others-first", "other.example");
    expired(place, "expired");
    for (shown, trusted, word) in [
        ("others", "others", "is for other names"),
        ("others-first", "others-first", "is for other names"),
        ("expired", "expired", "has expired"),
        ("leaf", "server", "goes back to none that is trusted"),
        ("server", "leaf", "name that very certificate"),
        ("first", "server", "that very certificate"),
    ] {
        show(shown);
        let (what, hint) = connect(&url, &pem(trusted)).unwrap_err();
        assert!(hint.contains(word) && !hint.contains("is it running"), "{shown}: {what}; {hint}");
    }
    show("server");
    set(&server, &[("tls-auth-clients", "yes")]);
    let (what, hint) = connect(&url, &pem("server")).unwrap_err();
    assert!(hint.contains("--tls-cert") && !hint.contains("is it running"), "{what}; {hint}");
}

/// A server that shows a certificate and has another key.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl ResolvesServerCert for Thief {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// LIVE-7.
#[test]
fn who_shows_the_named_certificate_without_its_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    sign_itself(place, "third", "127.0.0.1", &[]);
    of_version_1(place, "first", "127.0.0.1");
    sign_itself(place, "thief", "127.0.0.1", &[]);
    let key = PrivateKeyDer::from_pem_file(place.join("thief.key")).unwrap();
    for name in ["third", "first"] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let certificate = CertificateDer::from_pem_file(place.join(format!("{name}.pem"))).unwrap();
            let shown = CertifiedKey::new(vec![certificate], any_supported_type(&key).unwrap());
            let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()));
            let config = config.with_protocol_versions(&[version]).unwrap().with_no_client_auth();
            let config = Arc::new(config.with_cert_resolver(Arc::new(Thief(Arc::new(shown)))));
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("rediss://{}", listener.local_addr().unwrap());
            let thief = std::thread::spawn(move || {
                let (tcp, _) = listener.accept().unwrap();
                let connection = rustls::ServerConnection::new(config).unwrap();
                // Until the other end goes away.
                let _ = rustls::StreamOwned::new(connection, tcp).read(&mut [0; 100]);
            });
            let (what, hint) = connect(&url, &place.join(format!("{name}.pem"))).unwrap_err();
            assert!(what.contains("BadSignature"), "{name} {version:?}: {what}; {hint}");
            thief.join().unwrap();
        }
    }
}

#[test]
fn a_port_with_tls_asked_without_and_one_without_asked_with_it_are_told() {
    let dir = tempfile::tempdir().unwrap();
    sign_itself(dir.path(), "server", "server", &[LOCAL]);
    let trusted = dir.path().join("server.pem");
    let Some((_server, port)) = start(dir.path(), &["tls-auth-clients no"]) else { return };
    let (what, hint) = connect(&format!("redis://127.0.0.1:{port}"), &trusted).unwrap_err();
    assert!(hint.contains("write rediss://") && !hint.contains("is it running"), "{what}; {hint}");
    let plain = tempfile::tempdir().unwrap();
    let plain = RedisServer::start(ServerKind::Redis7, plain.path());
    let (what, hint) = connect(&format!("rediss://127.0.0.1:{}", plain.port()), &trusted).unwrap_err();
    assert!(hint.contains("write redis://") && !hint.contains("is it running"), "{what}; {hint}");
}

#[test]
fn a_server_with_no_port_but_that_of_tls_is_backed_up_drilled_restored_into_and_undone_by_the_line_that_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    sign_itself(dir.path(), "it's mine", "server", &[LOCAL]);
    let at = |kind: &str| dir.path().join(format!("it's mine.{kind}")).display().to_string();
    let (certificate, key) = (at("pem"), at("key"));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The same certificate is the client's, and is asked for.
    let config = vec![
        format!("tls-port {port}"),
        format!("tls-cert-file \"{certificate}\""),
        format!("tls-key-file \"{key}\""),
        format!("tls-ca-cert-file \"{certificate}\""),
        "tls-auth-clients yes".to_owned(),
    ];
    let options = ServerOptions { listen: Listen::UnixSocket, config, ..ServerOptions::default() };
    let Some(scene) = Scene::with(options) else { return };
    let url = format!("rediss://127.0.0.1:{port}");
    let trust = ["--tls-ca", &certificate, "--tls-cert", &certificate, "--tls-key", &key];
    scene.done(&[&["backup", "--redis", &url, "--dataset", "live", "--drill", "-q"][..], &trust].concat());
    let doctor = scene.run(&[&["doctor", "--redis", &url, "--dataset", "live", "--json"][..], &trust].concat());
    assert!(
        matches!(doctor.code, 0 | 3) && !doctor.stdout.contains("no answer"),
        "{} {}",
        doctor.stdout,
        doctor.stderr
    );

    let server = format!("--server={url}");
    let restore = [&["restore", "--dataset", "sessions", &server, "--yes"][..], &trust].concat();
    let without = scene.run(&restore[..5]);
    assert_eq!(without.code, 9, "{}", without.stderr);
    let text = scene.done(&restore).stdout;
    assert!(text.contains("keys, as in the snapshot"), "{text}");
    scene.new.assert_equal(&scene.holds(), "restored");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("undo")).unwrap().trim();
    let rest = line.strip_prefix("redkeep ").unwrap_or_else(|| panic!("{line}"));
    assert!(rest.contains(&server) && rest.contains("--tls-ca '"), "{line}");
    // By a shell, in another directory.
    let program = scene.command(&[]).get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec \"$0\" {rest}")]).arg(program).current_dir("/").env("HOME", scene.place.path());
    let undone = shell.output().unwrap();
    assert!(undone.status.success(), "{line}: {}", String::from_utf8_lossy(&undone.stderr));
    scene.old.assert_equal(&scene.holds(), "undone");
}
