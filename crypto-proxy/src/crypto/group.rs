//! The ciphertext of a group envelope (docs/protocol.md, 2.5 and 6.7).

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{OpenError, aead, secret::MessageKey};

/// Bytes that a ciphertext is longer than its plaintext: nonce 24 and tag 16.
pub const OVERHEAD: usize = aead::OVERHEAD;

/// Seals a padded plaintext under the key of one message, which is used up.
///
/// ```text
/// ciphertext = nonce 24 || XChaCha20-Poly1305 ciphertext || tag 16     docs/protocol.md, 2.5
/// aad        = the exact header bytes of the envelope
/// ```
///
/// draft-irtf-cfrg-xchacha-03. `rng` gives the nonce, 24 bytes: a key that is used twice after a
/// restored snapshot still meets another nonce.
///
/// # Security
/// Every member of the epoch can seal under every chain: authorship comes from the signature
/// inside. The epoch's commitment, not this ciphertext, binds the key. The length shows: pad first.
///
/// # Vectors
/// `vectors/group.json`
#[must_use]
pub fn seal(
    rng: &mut (impl CryptoRng + ?Sized),
    key: MessageKey,
    header: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    aead::seal_raw(rng, key.expose_bytes(), header, plaintext)
}

/// Opens what [`seal`] sealed under the same key and header.
///
/// The key is borrowed: a ciphertext that does not open must not use up a key.
///
/// # Errors
/// [`OpenError`] for any other key or header, and for altered bytes.
///
/// # Vectors
/// `vectors/group.json`
pub fn open(key: &MessageKey, header: &[u8], ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    aead::open_raw(key.expose_bytes(), header, ciphertext)
}
