//! Whom this machine trusts over TLS.

use std::{io, sync::Arc};

use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore, crypto::ring};

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

/// Why a server's certificate is not trusted on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// No authority of the machine's trust store has signed it.
    #[error("no authority that this machine trusts has signed it")]
    UnknownIssuer,
    /// It has expired.
    #[error("it has expired")]
    Expired,
    /// It is not valid yet, or this machine's clock is slow.
    #[error("it is not valid yet")]
    NotYetValid,
    /// It is for another host.
    #[error("it is for another host")]
    WrongHost,
    /// Anything else.
    #[error("it is not valid")]
    Invalid,
}

impl CertificateFault {
    /// The verdict of the TLS library, if that is what ended a connection.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::InvalidCertificate(fault) = error else {
            return None;
        };
        Some(match fault {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongHost
            }
            _ => Self::Invalid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_of_the_library_is_told_apart_from_other_ends_of_a_connection() {
        let of = |error| CertificateFault::of(&io::Error::new(io::ErrorKind::InvalidData, error));
        let verdict = |fault| of(rustls::Error::InvalidCertificate(fault));
        let verdicts = [
            (CertificateError::UnknownIssuer, CertificateFault::UnknownIssuer),
            (CertificateError::Expired, CertificateFault::Expired),
            (CertificateError::NotValidYet, CertificateFault::NotYetValid),
            (CertificateError::NotValidForName, CertificateFault::WrongHost),
            (CertificateError::Revoked, CertificateFault::Invalid),
        ];
        for (fault, told) in verdicts {
            assert_eq!(verdict(fault), Some(told));
        }
        assert_eq!(of(rustls::Error::DecryptError), None);
        assert_eq!(CertificateFault::of(&io::ErrorKind::InvalidData.into()), None);
    }
}
