//! Errors that several acts share.

/// A ciphertext does not open: cut, altered, or sealed under another key. One variant without a
/// reason, so that nothing can be told from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ciphertext does not open")]
pub struct OpenError;

/// Bytes that are not a secret of the role asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a secret of {expected} bytes, got {actual}")]
pub struct SecretLengthError {
    /// Bytes that the secret has.
    pub expected: usize,
    /// Bytes that were given.
    pub actual: usize,
}

/// Bytes that nothing may be sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// A slice of the wrong length.
    #[error("expected a public key of {expected} bytes, got {actual}")]
    Length {
        /// Bytes that the key has.
        expected: usize,
        /// Bytes that were given.
        actual: usize,
    },
    /// Not a canonical encoding, or a point of small order: whoever seals to it seals to everybody.
    #[error("public key is not contributory")]
    NotContributory,
}
