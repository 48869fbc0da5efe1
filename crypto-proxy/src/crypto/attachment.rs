//! The chunks of an attachment (docs/protocol.md, 7.2).

use chacha20poly1305::{AeadInOut as _, KeyInit as _, Tag, XChaCha20Poly1305, XNonce};
use waxwire_shared::{ids::BlobId, wire::AttachmentRef};
use zeroize::Zeroizing;

use super::{
    OpenError, SecretLengthError, kdf,
    secret::{AttachmentChunkKey, AttachmentKey},
};
use crate::harden::abort;

/// Bytes that a sealed chunk is longer than its plaintext.
pub const TAG: usize = 16;
/// Random bytes at the beginning of every nonce of an attachment.
pub const PREFIX: usize = 19;

/// What all chunks of one attachment have in common.
#[derive(Debug)]
pub struct Chunks {
    key: AttachmentChunkKey,
    prefix: [u8; PREFIX],
    aad: [u8; 24],
}

impl Chunks {
    /// `blob` and `ciphertext_length` are bound to every chunk.
    #[must_use]
    pub fn new(key: &AttachmentKey, prefix: [u8; PREFIX], blob: &BlobId, ciphertext_length: u64) -> Self {
        let mut aad = [0; 24];
        aad[..16].copy_from_slice(blob.as_bytes());
        aad[16..].copy_from_slice(&ciphertext_length.to_be_bytes());
        Self {
            key: kdf::attachment_chunk_key(key),
            prefix,
            aad,
        }
    }

    /// Those of the attachment that a core cites.
    ///
    /// # Errors
    /// [`SecretLengthError`] for a nonce prefix of another length, which no decoded reference has.
    pub fn of(reference: &AttachmentRef) -> Result<Self, SecretLengthError> {
        let prefix = reference.nonce_prefix.as_slice();
        let prefix = prefix.try_into().map_err(|_| SecretLengthError {
            expected: PREFIX,
            actual: prefix.len(),
        })?;
        let key = AttachmentKey::from_slice(reference.key.as_bytes())?;
        Ok(Self::new(
            &key,
            prefix,
            &reference.blob,
            reference.ciphertext_length,
        ))
    }

    /// Seals chunk number `index`, at most 65,536 bytes of padded plaintext.
    ///
    /// ```text
    /// chunk = ciphertext || tag 16                                      docs/protocol.md, 7.2
    /// nonce = prefix 19 || index u32 big-endian || final u8
    /// aad   = blob id 16 || ciphertext length u64 big-endian
    /// ```
    ///
    /// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under the derived chunk key.
    ///
    /// # Security
    /// The nonce is a counter: a number must never be sealed twice with other plaintext under one key, so a
    /// key is for one attachment, and whoever begins anew takes another key.
    ///
    /// # Vectors
    /// `vectors/attachment.json`
    #[must_use]
    pub fn seal(&self, index: u32, last: bool, plaintext: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(plaintext.len() + TAG);
        sealed.extend_from_slice(plaintext);
        let tag = self
            .cipher()
            .encrypt_inout_detached(&self.nonce(index, last), &self.aad, sealed.as_mut_slice().into())
            // Fails beyond 2^38 bytes only.
            .unwrap_or_else(|_| abort("aead refused to seal"));
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what [`Self::seal`] sealed in the same place of the same attachment.
    ///
    /// # Errors
    /// [`OpenError`].
    ///
    /// # Vectors
    /// `vectors/attachment.json`
    pub fn open(&self, index: u32, last: bool, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG>().ok_or(OpenError)?;
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        self.cipher()
            .decrypt_inout_detached(
                &self.nonce(index, last),
                &self.aad,
                plaintext.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| OpenError)?;
        Ok(plaintext)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.key.expose_bytes().into())
    }

    fn nonce(&self, index: u32, last: bool) -> XNonce {
        let mut nonce = [0; 24];
        nonce[..PREFIX].copy_from_slice(&self.prefix);
        nonce[PREFIX..23].copy_from_slice(&index.to_be_bytes());
        nonce[23] = last.into();
        nonce.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(blob: u8, length: u64) -> Chunks {
        let key = AttachmentKey::from_slice(&[1; 32]).unwrap();
        Chunks::new(&key, [2; PREFIX], &BlobId::from_bytes([blob; 16]), length)
    }

    /// docs/protocol.md, 7.2: a chunk opens in its place of its attachment and nowhere else.
    #[test]
    fn chunk_opens_only_in_its_place() {
        let sealed = chunks(3, 1_000).seal(5, false, b"plaintext");
        assert_eq!(sealed.len(), 9 + TAG);
        let opened = chunks(3, 1_000).open(5, false, &sealed).unwrap();
        assert_eq!(&**opened, b"plaintext");
        assert!(chunks(3, 1_000).open(6, false, &sealed).is_err());
        assert!(chunks(3, 1_000).open(5, true, &sealed).is_err());
        assert!(chunks(4, 1_000).open(5, false, &sealed).is_err());
        assert!(chunks(3, 1_001).open(5, false, &sealed).is_err());
        assert!(chunks(3, 1_000).open(5, false, &sealed[..TAG - 1]).is_err());
        assert!(chunks(3, 1_000).open(5, false, &sealed[1..]).is_err());
    }
}
