//! XChaCha20-Poly1305 for data at rest (docs/protocol.md, 2.5 and 8).

use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use rand_core::CryptoRng;
use waxwire_shared::labels::Label;
use zeroize::Zeroizing;

use super::{
    OpenError,
    secret::{BackupKey, StateKey, StoreWrapKey},
};
use crate::harden::abort;

/// Bytes that a ciphertext is longer than its plaintext: nonce 24 and tag 16.
pub const OVERHEAD: usize = NONCE + TAG;

const NONCE: usize = 24;
const TAG: usize = 16;

/// A key that seals data at rest.
pub trait AtRestKey: sealed::Sealed {}

mod sealed {
    pub trait Sealed {
        fn bytes(&self) -> &[u8; 32];
    }
}

macro_rules! at_rest_key {
    ($($name:ident),*) => {$(
        impl sealed::Sealed for $name {
            fn bytes(&self) -> &[u8; 32] {
                self.expose_bytes()
            }
        }

        impl AtRestKey for $name {}
    )*};
}

at_rest_key!(StoreWrapKey, StateKey, BackupKey);

/// Seals `plaintext` for a place at rest, which `label` and `place` name.
///
/// ```text
/// sealed = nonce 24 || ciphertext || tag 16                             docs/protocol.md, 2.5
/// aad    = label || for each part of place: length u32 big-endian || part
/// ```
///
/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), plaintext up to 256 GiB. `rng` gives the
/// nonce, 24 bytes.
///
/// # Security
/// The length shows. The ciphertext does not commit to its key: a file that a stranger may have
/// written is checked by a commitment first.
///
/// # Vectors
/// `vectors/at_rest.json`
#[must_use]
pub fn seal(
    rng: &mut (impl CryptoRng + ?Sized),
    key: &impl AtRestKey,
    label: Label,
    place: &[&[u8]],
    plaintext: &[u8],
) -> Vec<u8> {
    seal_raw(rng, key.bytes(), &associated_data(label, place), plaintext)
}

/// Opens what [`seal`] sealed for the same place.
///
/// # Errors
/// [`OpenError`] for any other key, label or place, and for altered bytes.
///
/// # Vectors
/// `vectors/at_rest.json`
pub fn open(
    key: &impl AtRestKey,
    label: Label,
    place: &[&[u8]],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    open_raw(key.bytes(), &associated_data(label, place), sealed)
}

/// Injective: every part is preceded by its length.
fn associated_data(label: Label, place: &[&[u8]]) -> Vec<u8> {
    let mut aad = label.bytes().to_vec();
    for part in place {
        let length = u32::try_from(part.len()).unwrap_or_else(|_| abort("associated data of 4 GiB"));
        aad.extend_from_slice(&length.to_be_bytes());
        aad.extend_from_slice(part);
    }
    aad
}

/// `nonce 24 || ciphertext || tag 16` with 24 random bytes as nonce.
pub(super) fn seal_raw(
    rng: &mut (impl CryptoRng + ?Sized),
    key: &[u8; 32],
    aad: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let mut sealed = vec![0; NONCE];
    sealed.reserve_exact(plaintext.len() + TAG);
    rng.fill_bytes(&mut sealed);
    sealed.extend_from_slice(plaintext);
    let (nonce, body) = sealed.split_at_mut(NONCE);
    // Fails beyond 2^38 bytes only.
    let tag = XNonce::try_from(&*nonce)
        .ok()
        .and_then(|nonce| cipher(key).encrypt_inout_detached(&nonce, aad, body.into()).ok())
        .unwrap_or_else(|| abort("aead refused to seal"));
    sealed.extend_from_slice(&tag);
    sealed
}

/// The inverse of [`seal_raw`].
pub(super) fn open_raw(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>().ok_or(OpenError)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(OpenError)?;
    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    cipher(key)
        .decrypt_inout_detached(
            &XNonce::from(*nonce),
            aad,
            plaintext.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .map_err(|_| OpenError)?;
    Ok(plaintext)
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

#[cfg(test)]
mod tests;
