//! A certificate that a server shows and that a person named as it is: its dates, its names and its key, read without the
//! rules that a chain of certificates has to follow. X.509 (RFC 5280), versions 1 to 3, in DER.

use std::net::IpAddr;

use rustls::CertificateError;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BIT_STRING: u8 = 0x03;
/// `id-at-commonName` and `id-ce-subjectAltName`.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const OTHER_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// Names of a host among these: a DNS name, and an address.
const NAMES_OF_HOSTS: [u8; 2] = [0x82, 0x87];

/// What such a certificate says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    /// Seconds since the epoch of its first and of its last second.
    valid: (u64, u64),
    /// Its names in `subject`, as text.
    common_names: Vec<&'a str>,
    /// It names hosts where these belong.
    names_hosts: bool,
    /// `SubjectPublicKeyInfo`, whole.
    pub key: &'a [u8],
}

/// One value: its tag, its content, and all of it.
struct Part<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Named<'a> {
    /// `None` where it is no certificate.
    pub(super) fn read(certificate: &'a [u8]) -> Option<Named<'a>> {
        let mut outer = certificate;
        let mut signed = take(&mut outer, SEQUENCE)?.content;
        let mut rest = take(&mut signed, SEQUENCE)?.content;
        let mut first = next(&mut rest)?;
        if first.tag == VERSION {
            first = next(&mut rest)?;
        }
        // The serial number was that; the algorithm and the issuer follow.
        let _ = (first, take(&mut rest, SEQUENCE)?, take(&mut rest, SEQUENCE)?);
        let mut dates = take(&mut rest, SEQUENCE)?.content;
        let valid = (time(&next(&mut dates)?)?, time(&next(&mut dates)?)?);
        let subject = take(&mut rest, SEQUENCE)?.content;
        let key = take(&mut rest, SEQUENCE)?.whole;
        let mut names_hosts = false;
        while !rest.is_empty() {
            let part = next(&mut rest)?;
            if part.tag == EXTENSIONS {
                names_hosts = has_hosts(part.content)?;
            }
        }
        Some(Named { valid, common_names: common_names(subject)?, names_hosts, key })
    }

    /// Whether it may be shown now, by a server of this name. Names are those of `subjectAltName`; where that names no host,
    /// those of the subject, as OpenSSL has it.
    pub(super) fn check(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let (first, last) = (self.valid.0, self.valid.1);
        let at = |second: u64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(second));
        if now.as_secs() > last {
            return Err(CertificateError::ExpiredContext { time: now, not_after: at(last) }.into());
        }
        if now.as_secs() < first {
            return Err(CertificateError::NotValidYetContext { time: now, not_before: at(first) }.into());
        }
        if self.names_hosts {
            return verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
        }
        match self.common_names.iter().any(|common| is_name(common, name)) {
            true => Ok(()),
            false => Err(CertificateError::NotValidForNameContext {
                expected: name.to_owned(),
                presented: self.common_names.iter().map(|common| (*common).to_owned()).collect(),
            }
            .into()),
        }
    }
}

/// The algorithm and the bits of a public key.
pub(super) fn key_parts(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut key = key;
    let mut parts = take(&mut key, SEQUENCE)?.content;
    let algorithm = take(&mut parts, SEQUENCE)?.content;
    let (unused, bits) = take(&mut parts, BIT_STRING)?.content.split_first()?;
    (*unused == 0).then_some((algorithm, bits))
}

fn is_name(common: &str, name: &ServerName<'_>) -> bool {
    match name {
        ServerName::IpAddress(address) => common.parse::<IpAddr>().is_ok_and(|ip| ip == IpAddr::from(*address)),
        ServerName::DnsName(host) => {
            let host = host.as_ref();
            let below = |suffix: &str| host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(suffix));
            common.eq_ignore_ascii_case(host) || common.strip_prefix("*.").is_some_and(below)
        }
        _ => false,
    }
}

/// `RDNSequence`: sets of pairs of what a name is and the name.
fn common_names(mut subject: &[u8]) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    while !subject.is_empty() {
        let mut set = next(&mut subject)?.content;
        while !set.is_empty() {
            let mut pair = take(&mut set, SEQUENCE)?.content;
            let kind = next(&mut pair)?.content;
            let name = next(&mut pair)?.content;
            names.extend(std::str::from_utf8(name).ok().filter(|_| kind == COMMON_NAME));
        }
    }
    Some(names)
}

/// Whether extensions name a host.
fn has_hosts(mut extensions: &[u8]) -> Option<bool> {
    let mut list = take(&mut extensions, SEQUENCE)?.content;
    while !list.is_empty() {
        let mut extension = take(&mut list, SEQUENCE)?.content;
        if next(&mut extension)?.content != OTHER_NAMES {
            continue;
        }
        // Whether it is critical may stand before it.
        let mut value = next(&mut extension)?;
        if !extension.is_empty() {
            value = next(&mut extension)?;
        }
        let mut value = value.content;
        let mut names = take(&mut value, SEQUENCE)?.content;
        while !names.is_empty() {
            if NAMES_OF_HOSTS.contains(&next(&mut names)?.tag) {
                return Some(true);
            }
        }
    }
    Some(false)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, in seconds since the epoch; 0 where that is before it.
fn time(part: &Part<'_>) -> Option<u64> {
    let text = std::str::from_utf8(part.content).ok().filter(|text| text.is_ascii())?.strip_suffix('Z')?;
    let full = match part.tag {
        UTC_TIME => format!("{}{text}", if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", full).ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(u64::try_from(time.timestamp().as_second()).unwrap_or(0))
}

fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<Part<'a>> {
    next(input).filter(|part| part.tag == tag)
}

fn next<'a>(input: &mut &'a [u8]) -> Option<Part<'a>> {
    let (&[tag, short], rest) = input.split_first_chunk::<2>()?;
    let (length, head) = match short {
        0..=0x7f => (usize::from(short), 2),
        0x81..=0x84 => {
            let bytes = rest.get(..usize::from(short & 0x7f))?;
            (bytes.iter().fold(0, |sum: usize, byte| sum << 8 | usize::from(*byte)), 2 + bytes.len())
        }
        _ => return None,
    };
    let end = head.checked_add(length)?;
    let part = Part { tag, content: input.get(head..end)?, whole: input.get(..end)? };
    *input = input.get(end..)?;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, 0x82, (content.len() >> 8) as u8, content.len() as u8], content].concat()
    }

    fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
        part(SEQUENCE, &parts.concat())
    }

    /// Of a version and with extensions.
    fn certificate(head: &[Vec<u8>], tail: &[Vec<u8>]) -> Vec<u8> {
        let name = sequence(&[part(6, COMMON_NAME), part(12, b"*.example.org")]);
        let dates = sequence(&[part(UTC_TIME, b"700101000010Z"), part(GENERALIZED_TIME, b"19700101000020Z")]);
        let key = sequence(&[sequence(&[part(6, b"k")]), part(BIT_STRING, b"\0bits")]);
        let middle = [part(2, b"1"), sequence(&[]), sequence(&[]), dates, sequence(&[part(0x31, &name)]), key];
        sequence(&[sequence(&[head, &middle, tail].concat()), sequence(&[]), part(BIT_STRING, b"\0s")])
    }

    #[test]
    fn a_certificate_of_any_version_says_its_dates_its_names_and_its_key() {
        let alternative = |tag| {
            let names = sequence(&[part(tag, b"x")]);
            let extension = sequence(&[part(6, OTHER_NAMES), part(1, &[0xff]), part(4, &names)]);
            vec![part(EXTENSIONS, &sequence(&[sequence(&[part(6, b"o"), part(4, b"")]), extension]))]
        };
        let version = [part(VERSION, &part(2, &[2]))];
        for (head, tail, names_hosts) in [
            (&[][..], vec![], false),
            (&version[..], vec![], false),
            (&version[..], alternative(0x81), false),
            (&version[..], alternative(0x82), true),
            (&version[..], alternative(0x87), true),
        ] {
            let bytes = certificate(head, &tail);
            let read = Named::read(&bytes).unwrap();
            assert_eq!(
                (read.valid, &read.common_names[..], read.names_hosts),
                ((10, 20), &["*.example.org"][..], names_hosts)
            );
            assert_eq!(key_parts(read.key).unwrap().1, b"bits");
            for end in 0..bytes.len() {
                assert_eq!(Named::read(&bytes[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn a_name_of_the_subject_counts_where_no_other_is_given_and_dates_always_do() {
        let bytes = certificate(&[], &[]);
        let (read, der) = (Named::read(&bytes).unwrap(), CertificateDer::from(bytes.as_slice()));
        let check = |name: &str, second| {
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(second));
            read.check(&der, &ServerName::try_from(name.to_owned()).unwrap(), now).map_err(|error| error.to_string())
        };
        assert_eq!(check("a.EXAMPLE.org", 10), Ok(()));
        assert_eq!(check("a.example.org", 20), Ok(()));
        assert!(check("a.example.org", 9).unwrap_err().contains("not valid yet"));
        assert!(check("a.example.org", 21).unwrap_err().contains("expired"));
        for other in ["example.org", "a.b.example.org", "127.0.0.1", "a.example.com"] {
            assert!(check(other, 15).unwrap_err().contains("*.example.org"), "{other}");
        }
        let local = ServerName::try_from("127.0.0.1").unwrap();
        assert!(is_name("127.0.0.1", &local) && !is_name("127.0.0.2", &local) && !is_name("*.0.0.1", &local));
    }
}
