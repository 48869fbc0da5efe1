//! NaCl SealedBox, byte-compatible with libsodium's `crypto_box_seal` (docs/protocol.md, 2.4;
//! docs/decisions/0001-sealed-box.md).

use blake2::{Blake2b, Digest as _, digest::consts::U24};
use crypto_secretbox::{
    AeadInPlace as _, Kdf as _, Key, KeyInit as _, Nonce, Tag, XSalsa20Poly1305,
    aead::generic_array::GenericArray,
};
use rand_core::CryptoRng;
use x25519_dalek::SharedSecret;
use zeroize::Zeroizing;

use super::{
    OpenError,
    secret::{EncryptionPublic, EncryptionSecret, Ephemeral},
};
use crate::harden::abort;

/// Bytes that a box is longer than its plaintext: public key 32 and tag 16.
pub const OVERHEAD: usize = PUBLIC + TAG;

const PUBLIC: usize = EncryptionPublic::LENGTH;
const TAG: usize = 16;

/// Seals `plaintext` to `recipient`; whoever holds the secret half can open it, nobody can tell
/// who sealed it.
///
/// ```text
/// box   = E 32 || tag 16 || ciphertext (as long as the plaintext)    docs/protocol.md, 2.4
/// e     = 32 random bytes, E = X25519(e, 9)                           RFC 7748
/// key   = HSalsa20(X25519(e, recipient), 16 zeros)
/// nonce = BLAKE2b-24(E || recipient)                                  RFC 7693, unkeyed
/// tag, ciphertext = XSalsa20-Poly1305(key, nonce, plaintext)
/// ```
///
/// There is no associated data. `rng` gives the ephemeral key, 32 bytes; that key is wiped.
///
/// # Security
/// Anyone can seal to a public key: authorship comes from the signature inside. The length of the
/// plaintext shows: pad first. The box does not commit to its key: what is inside must be bound by
/// a signature or a commitment.
///
/// # Vectors
/// `vectors/sealed_box.json`
#[must_use]
pub fn seal(rng: &mut (impl CryptoRng + ?Sized), recipient: &EncryptionPublic, plaintext: &[u8]) -> Vec<u8> {
    seal_with(Ephemeral::generate(rng), recipient, plaintext)
}

/// Seals as [`seal`] with randomness that was drawn before, so that many boxes can be made at the same
/// time and still be a function of one generator.
///
/// # Vectors
/// `vectors/sealed_box.json`
#[must_use]
pub fn seal_with(ephemeral: Ephemeral, recipient: &EncryptionPublic, plaintext: &[u8]) -> Vec<u8> {
    let ephemeral = EncryptionSecret::of_box(ephemeral);
    let cipher = cipher(&ephemeral.agree(recipient.as_bytes()));
    let nonce = nonce(ephemeral.public().as_bytes(), recipient);
    let mut sealed = Vec::with_capacity(OVERHEAD + plaintext.len());
    sealed.extend_from_slice(ephemeral.public().as_bytes());
    sealed.extend_from_slice(&[0; TAG]);
    sealed.extend_from_slice(plaintext);
    let (head, body) = sealed.split_at_mut(OVERHEAD);
    // The construction fails for associated data only, and it gets none.
    let tag = cipher
        .encrypt_in_place_detached(&nonce, b"", body)
        .unwrap_or_else(|_| abort("sealed box refused to seal"));
    head[PUBLIC..].copy_from_slice(&tag);
    sealed
}

/// Opens a box that was sealed to the public half of `secret`, see [`seal`].
///
/// The shared secret is compared with zero before anything is derived from it, as libsodium does:
/// a box with a small-order `E` would open for everybody.
///
/// # Errors
/// [`OpenError`] for anything that is not a box for this key; it has no reason to tell.
///
/// # Security
/// That a box opens says nothing of who sealed it.
///
/// # Vectors
/// `vectors/sealed_box.json`
pub fn open(secret: &EncryptionSecret, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (ephemeral, rest) = sealed.split_first_chunk::<PUBLIC>().ok_or(OpenError)?;
    let (tag, ciphertext) = rest.split_first_chunk::<TAG>().ok_or(OpenError)?;
    let shared = secret.agree(ephemeral);
    if !shared.was_contributory() {
        return Err(OpenError);
    }
    let nonce = nonce(ephemeral, secret.public());
    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    cipher(&shared)
        .decrypt_in_place_detached(&nonce, b"", &mut plaintext, Tag::from_slice(tag))
        .map_err(|_| OpenError)?;
    Ok(plaintext)
}

fn cipher(shared: &SharedSecret) -> XSalsa20Poly1305 {
    let key = XSalsa20Poly1305::kdf(Key::from_slice(shared.as_bytes()), &GenericArray::default());
    XSalsa20Poly1305::new(&Zeroizing::new(key))
}

fn nonce(ephemeral: &[u8; PUBLIC], recipient: &EncryptionPublic) -> Nonce {
    let hash = Blake2b::<U24>::new_with_prefix(ephemeral)
        .chain_update(recipient.as_bytes())
        .finalize();
    Nonce::from(<[u8; 24]>::from(hash))
}

#[cfg(test)]
mod tests;
