//! What went wrong with a connection, and what to do about it: each for what it is.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// What went wrong with a connection.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The user asked to stop.
    Interrupted,
    /// All else.
    Broken {
        /// In words, about the command that was sent if there was one.
        what: String,
        /// What to do about it.
        hint: &'static str,
        /// One of the two did not agree to TLS: trying again does not help.
        is_tls: bool,
    },
}

/// Nobody listens.
const ABSENT: &str = "is it running, and is this its address?";
/// The connection went away.
pub(super) const LOST: &str =
    "its log says why: was it stopped, or did somebody end the connection (CLIENT KILL, maxclients)?";
/// It takes too long.
pub(super) const HANGS: &str =
    "it is busy or hangs: its log, SLOWLOG GET and its host say why; a process that is stopped answers nothing";
/// Bytes with which an alert of TLS begins.
const ALERT: [u8; 2] = [0x15, 0x03];

impl Trouble {
    pub(super) fn broken(what: impl Into<String>, hint: &'static str) -> Trouble {
        Trouble::Broken { what: what.into(), hint, is_tls: false }
    }

    /// It went away before it had answered anything.
    pub(super) fn closed_at_once(has_tls: bool) -> Trouble {
        Trouble::broken(
            "it closed the connection",
            match has_tls {
                true => {
                    "its log says why: it may want a certificate of the client (--tls-cert and --tls-key), or not trust the \
                     one that was shown"
                }
                false => {
                    "its log says why: if it speaks TLS there, write rediss:// and name its certificate with --tls-ca"
                }
            },
        )
    }

    /// Something else than a server of this kind answers.
    pub(super) fn of_strange_answer(name: &str, what: &str, input: &[u8]) -> Trouble {
        let hint = match input {
            // Some answer an unknown request without a word of their protocol.
            _ if input.starts_with(b"HTTP/") || input.starts_with(b"<") => {
                "a web server answers there: name the server's own port"
            }
            _ if input.starts_with(&ALERT) => {
                "it speaks TLS there: write rediss:// and name its certificate with --tls-ca"
            }
            _ if what.contains("protocol") => {
                "something else than Redis or Valkey may answer there: is this its address?"
            }
            _ => "is it a server of Redis or Valkey that answers there?",
        };
        Trouble::broken(format!("its answer to {name} {what}"), hint)
    }

    /// It was not reached.
    pub(super) fn of_connecting(error: &io::Error, seconds: u64) -> Trouble {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Trouble::broken(error.to_string(), ABSENT),
            io::ErrorKind::PermissionDenied => Trouble::broken(
                error.to_string(),
                "who connects needs the right to write to the socket: run as root, as the server's user or in its group \
                 (unixsocketperm)",
            ),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Trouble::broken(
                format!("it took no connection within {seconds} s"),
                "is this its address, does it hang, and does a firewall let the connection through?",
            ),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Trouble::broken(error.to_string(), "is this its address, and does a network lead there?")
            }
            _ => Trouble::broken(error.to_string(), "is its name or address right?"),
        }
    }

    /// TLS did not come about.
    pub(super) fn of_tls(error: &Error) -> Trouble {
        Trouble::Broken { what: error.to_string(), hint: hint_of(error), is_tls: true }
    }
}

/// Of a connection that was there.
impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            return Trouble::of_tls(error);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Trouble::broken("it closed the connection", LOST)
            }
            _ => Trouble::broken(error.to_string(), LOST),
        }
    }
}

/// What to do where TLS does not come about.
pub(super) fn hint_of(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(error) => hint_of_certificate(error),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS there: write redis:// rather than rediss://, or name its TLS port"
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::DecryptError,
        ) => "it does not trust the certificate of --tls-cert: show one that its tls-ca-cert-file has signed",
        Error::AlertReceived(AlertDescription::CertificateExpired) => {
            "the certificate of --tls-cert has expired: renew it"
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion) | Error::PeerIncompatible(_) => {
            "it speaks no version or cipher of TLS that is safe: TLS 1.2 or 1.3 (tls-protocols, tls-ciphers)"
        }
        Error::AlertReceived(_) => "it may want a certificate of the client: --tls-cert and --tls-key",
        _ => "check its certificate, and the one of --tls-ca; its log may say more",
    }
}

fn hint_of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer => {
            "its certificate goes back to none that is trusted: name with --tls-ca the one that signed it, or that very \
             certificate"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired: renew it, or set this host's clock"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: set this host's clock"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for other names: use one of them in the address, or have this one added (subjectAltName)"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is made for another purpose: have one made for servers, or name that very certificate with \
             --tls-ca"
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is one of a CA, used by the server itself: name that very certificate with --tls-ca"
        }
        CertificateError::Other(other) if other.to_string().contains("UnsupportedCertVersion") => {
            "its certificate is not of X.509 version 3: have one of version 3 made, or name that very certificate with --tls-ca"
        }
        _ => "check its certificate, and the one of --tls-ca",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(trouble: Trouble) -> &'static str {
        match trouble {
            Trouble::Broken { hint, .. } => hint,
            Trouble::Interrupted => panic!("nobody interrupted"),
        }
    }

    #[test]
    fn only_where_nobody_listens_a_person_is_asked_whether_it_runs() {
        let connecting = |kind: io::ErrorKind| hint(Trouble::of_connecting(&kind.into(), 10));
        assert!(connecting(io::ErrorKind::ConnectionRefused).contains("is it running"));
        for (kind, word) in [
            (io::ErrorKind::PermissionDenied, "unixsocketperm"),
            (io::ErrorKind::TimedOut, "firewall"),
            (io::ErrorKind::HostUnreachable, "network"),
            (io::ErrorKind::Other, "name"),
        ] {
            assert!(connecting(kind).contains(word) && !connecting(kind).contains("running"), "{kind:?}");
        }
        assert!(hint(io::Error::from(io::ErrorKind::ConnectionReset).into()).contains("log"));
    }

    #[test]
    fn what_answers_in_another_protocol_is_told_for_what_it_is() {
        let strange = |input: &[u8]| hint(Trouble::of_strange_answer("PING", "is not the protocol of a server", input));
        assert!(strange(b"HTTP/1.1 400").contains("web server") && strange(b"<!DOCTYPE HTML>").contains("web server"));
        assert!(strange(&[0x15, 3, 3, 0, 2]).contains("rediss://"));
        assert!(strange(b"SSH-2.0").contains("something else"));
    }
}
