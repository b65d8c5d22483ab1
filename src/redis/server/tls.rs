//! What a TLS connection trusts, and what it shows.

use std::sync::{Arc, Once};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::address::Tls;

/// The configuration of a connection; errors in words.
pub(super) fn config(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that one was installed before, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let builder = ClientConfig::builder().with_root_certificates(roots(tls)?);
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

/// The certificates that a server's must go back to: the given ones, else those of the system.
fn roots(tls: &Tls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let given = match &tls.root {
        Some(root) => certificates(root)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    for certificate in given {
        match roots.add(certificate) {
            // One of the system that cannot be used is no reason to use none of them.
            Err(error) if tls.root.is_some() => return Err(format!("the root certificate is not usable: {error}")),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| format!("a certificate cannot be read: {error}"))?;
    match certificates.is_empty() {
        true => Err("there is no certificate in the file that was given".into()),
        false => Ok(certificates),
    }
}
