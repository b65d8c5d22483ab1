//! What the configuration of a server that does not run says beforehand of a connection to it.

use std::io::Read as _;
use std::path::Path;

use ::redis::ConnectionAddr;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error};

use super::address::Address;
use super::config_file::ConfigFile;
use super::tls::{Trust, certificates, config};
use super::trouble::hint_of;
use crate::held::{Reader, open_file};
use crate::redis::RedisError;

/// Bytes of a file of certificates; those of a chain are some ten kilobytes.
const LONGEST: u64 = 1 << 20;
/// What does without a connection.
const NO_START: &str = "or leave the server stopped, with --no-start";

/// LOCAL-34: refuses a connection that will not come about once the server runs: one without TLS to its TLS port, one that
/// does not trust the certificate it will show, one without a certificate where it asks for one. `directory` is where it
/// works, and `reader` as whom. What cannot be read is not known, and no reason to refuse.
pub(in crate::redis) fn refuse_foreseen(
    address: &Address,
    settings: &ConfigFile,
    directory: &Path,
    reader: &Reader,
) -> Result<(), RedisError> {
    let of = |name: &str| settings.directives.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let port = of("tls-port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    // Another port may be any other door to it.
    let Some(port) = port.filter(|port| address.port() == Some(*port)) else { return Ok(()) };
    let refuse = |what: String, hint: String| {
        let what = format!("by its configuration the server speaks TLS on port {port}: {what}");
        Err(RedisError::Server { what, hint: format!("{hint}; {NO_START}") })
    };
    let ConnectionAddr::TcpTls { host, .. } = address.info().addr() else {
        return refuse(
            format!("{} names it without", address.to_text()),
            format!("write rediss://{}, and name its certificate or its CA with --tls-ca", address.to_text()),
        );
    };
    let trust = match config(address.tls()).and_then(|_| Trust::of(address.tls())) {
        Ok(trust) => trust,
        Err(what) => return refuse(what, "check the files of --tls-ca, --tls-cert and --tls-key".into()),
    };
    let read = |name: &str| of(name).map(|path| chain(&directory.join(path), reader)).unwrap_or_default();
    let (shown, ca) = (read("tls-cert-file"), read("tls-ca-cert-file"));
    let (mut whats, mut hints) = (Vec::new(), Vec::new());
    let ca_file = of("tls-ca-cert-file").map(|path| format!(" (tls-ca-cert-file says {path})")).unwrap_or_default();
    if let Err(error) = accepted(&trust, host, &shown, &ca) {
        whats.push(format!("its certificate is not accepted ({error})"));
        hints.push(match &error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                format!("name its CA with --tls-ca{ca_file}")
            }
            other => hint_of(other).to_owned(),
        });
    }
    let asks = !matches!(of("tls-auth-clients"), Some("no" | "optional"));
    if asks && address.tls().client.is_none() {
        whats.push("it takes no client without a certificate (tls-auth-clients)".into());
        let whose = if hints.is_empty() { format!("its CA{ca_file}") } else { "that CA".into() };
        hints.push(format!("name a certificate that {whose} has signed with --tls-cert, and its key with --tls-key"));
    }
    match whats.is_empty() {
        true => Ok(()),
        false => refuse(whats.join(", and "), hints.join(", and ")),
    }
}

/// Whether what it will show is taken, as at a connection. It sends what leads to its CA as far as it has that.
fn accepted(trust: &Trust, host: &str, shown: &[CertificateDer<'_>], ca: &[CertificateDer<'_>]) -> Result<(), Error> {
    let Some((own, rest)) = shown.split_first() else { return Ok(()) };
    // A strange name is told by the connection.
    let Ok(name) = ServerName::try_from(host) else { return Ok(()) };
    let between = [rest, ca].concat();
    trust.verify_server_cert(own, &between, &name, &[], UnixTime::now()).map(drop)
}

/// The certificates of a file; none where it cannot be read.
fn chain(path: &Path, reader: &Reader) -> Vec<CertificateDer<'static>> {
    let mut pem = Vec::new();
    let read = open_file(path, Some(reader)).and_then(|file| file.take(LONGEST).read_to_end(&mut pem));
    read.ok().and_then(|_| certificates(&pem).ok()).unwrap_or_default()
}
