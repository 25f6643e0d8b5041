//! TLS as a sender of webhooks needs it: 1.2 or later, certificates verified in full, and no switch to turn that off.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::error::SetupError;

/// Trusts the roots that browsers do and those of `ca_file` (PEM).
pub(crate) fn config(ca_file: Option<&[u8]>) -> Result<Arc<ClientConfig>, SetupError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(pem) = ca_file {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| SetupError::CaFile(error.to_string()))?;
            roots.add(certificate).map_err(|error| SetupError::CaFile(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(SetupError::CaFile("it holds no PEM certificate".into()));
        }
    }
    let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_must_hold_a_certificate() {
        assert!(config(None).is_ok());
        for pem in [&b""[..], b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(matches!(config(Some(pem)), Err(SetupError::CaFile(_))));
        }
    }
}
