//! Cipher suites: one number per box (docs/protocol.md, 2).

/// The suite of one box: a key of a bundle, a key leaf or a header names it.
///
/// Formats carry any number; which ones a program can use is asked by [`Suite::is_known`], so an
/// unknown suite is a typed refusal and never a parse error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suite(pub u16);

impl Suite {
    /// X25519 SealedBox for direct messages and key leaves, XChaCha20-Poly1305 for groups,
    /// Ed25519, HKDF-SHA-256.
    pub const CLASSIC: Self = Self(1);
    /// Reserved for the hybrid of X25519 and ML-KEM-768.
    pub const HYBRID: Self = Self(2);

    /// Whether this version of the protocol can use the suite.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 == Self::CLASSIC.0
    }
}
