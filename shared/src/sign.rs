//! Signed documents: bytes are carried verbatim, verified, then decoded (docs/protocol.md, 3).

use crate::{
    hash::sha256,
    identity::{IdentityKey, Signature, VerifyError},
    ids::Hash,
    labels::Label,
    wire::{DecodeError, Document, wire_map},
};

wire_map! {
    /// A signed document as it travels: the exact bytes of the body and one signature over them.
    pub struct SignedBytes, max(72 * 1024) {
        /// The body, a CBOR document in a byte string.
        1 => body: Vec<u8>,
        /// Signature over `label || body`.
        2 => signature: Signature,
    }
}

/// A document type with a signature label of its own.
pub trait SignedDocument: Document {
    /// What the signature is separated by.
    const LABEL: Label;
}

/// A signed document whose signature has not been checked. Nothing of it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified<T> {
    bytes: Vec<u8>,
    signed: SignedBytes,
    body: T,
}

/// A document whose signature verified under [`Verified::signer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    bytes: Vec<u8>,
    signer: IdentityKey,
    body: T,
}

/// Why a signed document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The document or its body is not well-formed.
    #[error("malformed signed document")]
    Decode(#[from] DecodeError),
    /// Key or signature is refused.
    #[error("signed document is not authentic")]
    Verify(#[from] VerifyError),
}

impl<T: SignedDocument> Unverified<T> {
    /// Decodes `{1: body, 2: signature}` and the body, strictly.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let signed = SignedBytes::decode(bytes)?;
        let body = T::decode(&signed.body)?;
        Ok(Self {
            bytes: bytes.to_vec(),
            signed,
            body,
        })
    }

    /// The one way from unverified to verified: `select` names the identity that must have signed
    /// (usually a field of the body, compared with a pin by the caller afterwards).
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(self, select: impl FnOnce(&T) -> &IdentityKey) -> Result<Verified<T>, VerifyError> {
        let signer = select(&self.body).clone();
        self.verify_by(&signer)
    }

    /// The same where the signer is known beforehand and not named in the body.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify_by(self, signer: &IdentityKey) -> Result<Verified<T>, VerifyError> {
        signer.verify(T::LABEL, &[&self.signed.body], &self.signed.signature)?;
        Ok(Verified {
            bytes: self.bytes,
            signer: signer.clone(),
            body: self.body,
        })
    }
}

impl<T: SignedDocument> Verified<T> {
    /// Decodes and verifies in one step, see [`Unverified`].
    ///
    /// # Errors
    /// [`SignedError`].
    pub fn from_bytes(bytes: &[u8], select: impl FnOnce(&T) -> &IdentityKey) -> Result<Self, SignedError> {
        Ok(Unverified::decode(bytes)?.verify(select)?)
    }

    /// Takes a document for verified that this program verified before it stored it, without checking the
    /// signature again. What is read from its own store only, and only where a hash that was stored with
    /// the verdict covers these bytes, signature included: `scripts/policy` knows the places.
    ///
    /// # Errors
    /// [`DecodeError`]; what is stored was not damaged into something else that decodes, the hash says.
    pub fn kept(bytes: &[u8], select: impl FnOnce(&T) -> &IdentityKey) -> Result<Self, DecodeError> {
        let kept = Unverified::decode(bytes)?;
        Ok(Self {
            signer: select(&kept.body).clone(),
            bytes: kept.bytes,
            body: kept.body,
        })
    }
}

impl<T> Verified<T> {
    /// The signed document as it travelled.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the signed document as it travelled, signature included.
    #[must_use]
    pub fn hash(&self) -> Hash {
        sha256(&self.bytes)
    }

    /// Who signed.
    #[must_use]
    pub const fn signer(&self) -> &IdentityKey {
        &self.signer
    }

    /// The document.
    #[must_use]
    pub const fn body(&self) -> &T {
        &self.body
    }

    /// Gives the document up.
    #[must_use]
    pub fn into_body(self) -> T {
        self.body
    }
}
