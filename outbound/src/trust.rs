//! Whom this machine trusts over TLS.

use std::sync::Arc;

use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto::ring};

/// Why TLS cannot be spoken on this machine.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The machine's trust store holds no certificate that can be used.
    #[error("the machine's trust store has no usable certificate")]
    NoRoots,
    /// The TLS library refuses its configuration.
    #[error("tls cannot be configured")]
    Config(#[source] rustls::Error),
}

/// TLS 1.2 and 1.3 with HTTP/1.1 inside, to whoever the machine's own trust store vouches for.
///
/// # Errors
/// [`TrustError`].
pub fn tls_config() -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (usable, _unusable) = roots.add_parsable_certificates(native.certs);
    if usable == 0 {
        return Err(TrustError::NoRoots);
    }
    if !native.errors.is_empty() {
        tracing::warn!(
            errors = native.errors.len(),
            "parts of the machine's trust store cannot be read"
        );
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Config)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
