//! What a TLS connection trusts, and what it shows.

use std::sync::{Arc, Once};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::address::Tls;
use super::certificate::{Named, key_parts};

/// The configuration of a connection; errors in words.
pub(super) fn config(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that one was installed before, which does as well.
        let _ = ring::default_provider().install_default();
    });
    let trust = Arc::new(Trust::of(tls)?);
    let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(trust);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|error| format!("the key to show cannot be read: {error}"))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|error| format!("the certificate to show is not usable: {error}"))?
        }
    };
    Ok(Arc::new(config))
}

/// LIVE-7: which certificate of a server is taken: one that goes back to a trusted one by the rules of the web, or one that is
/// itself among the trusted, byte for byte, whatever it says of its use and of whatever version it is. Its dates, its name and
/// the signature of the handshake count in both cases.
#[derive(Debug)]
pub(super) struct Trust {
    /// What is trusted.
    trusted: Vec<CertificateDer<'static>>,
    /// `None` where nothing is.
    chains: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    pub(super) fn of(tls: &Tls) -> Result<Trust, String> {
        let provider: CryptoProvider = ring::default_provider();
        let algorithms = provider.signature_verification_algorithms;
        let (trusted, roots) = roots(tls)?;
        let chains = match roots.is_empty() {
            true => None,
            false => {
                let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider)).build();
                Some(built.map_err(|error| format!("the root certificate is not usable: {error}"))?)
            }
        };
        Ok(Trust { trusted, chains, algorithms })
    }

    /// The key of a certificate that cannot be read by the rules of the web: one that is trusted itself.
    fn bare_key<'a>(&self, certificate: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
        let is_bare = self.trusted.contains(certificate) && ParsedCertificate::try_from(certificate).is_err();
        Named::read(certificate).filter(|_| is_bare).map(|named| named.key)
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusted.contains(end_entity) {
            let named = Named::read(end_entity).ok_or(CertificateError::BadEncoding)?;
            return named.check(end_entity, server_name, now).map(|()| ServerCertVerified::assertion());
        }
        let chains = self.chains.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(key) = self.bare_key(certificate) else {
            return verify_tls12_signature(message, certificate, signed, &self.algorithms);
        };
        let (algorithm, bits) = key_parts(key).ok_or(CertificateError::BadEncoding)?;
        let fitting = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let fitting = fitting.flat_map(|(_, all)| *all).filter(|one| one.public_key_alg_id().as_ref() == algorithm);
        let is_right = fitting.into_iter().any(|one| one.verify_signature(bits, message, signed.signature()).is_ok());
        match is_right {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.bare_key(certificate) {
            Some(key) => {
                let key = SubjectPublicKeyInfoDer::from(key);
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
            None => verify_tls13_signature(message, certificate, signed, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificates that a server's must go back to or be one of: the given ones, else those of the system.
fn roots(tls: &Tls) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), String> {
    let mut roots = RootCertStore::empty();
    let given = match &tls.root {
        Some(root) => certificates(root)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    for certificate in &given {
        match roots.add(certificate.clone()) {
            // One of the system that cannot be used is no reason to use none of them.
            Err(error) if tls.root.is_some() => return Err(format!("the root certificate is not usable: {error}")),
            Ok(()) | Err(_) => {}
        }
    }
    Ok((given, roots))
}

/// The certificates of a PEM file, one at least.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| format!("a certificate cannot be read: {error}"))?;
    match certificates.is_empty() {
        true => Err("there is no certificate in the file that was given".into()),
        false => Ok(certificates),
    }
}
