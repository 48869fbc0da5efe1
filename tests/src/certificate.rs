//! The certificate of tests/certificate, which no machine trusts unless told to.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

/// A file of tests/certificate.
#[must_use]
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("certificate")
        .join(name)
}

/// What makes it the only certificate that a program trusts, on a machine that names no folder of others.
#[must_use]
pub fn trust() -> Vec<(String, String)> {
    vec![("SSL_CERT_FILE".to_owned(), file("cert.pem").display().to_string())]
}

/// Makes it the only certificate that a program trusts.
#[must_use]
pub fn trusting(mut command: Command) -> Command {
    command.envs(trust());
    command.env_remove("SSL_CERT_DIR");
    command
}

/// Serves with it.
///
/// # Errors
/// A file cannot be read.
pub fn acceptor() -> anyhow::Result<TlsAcceptor> {
    let chain = vec![CertificateDer::from_pem_file(file("cert.pem"))?];
    let key = PrivateKeyDer::from_pem_file(file("key.pem"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
