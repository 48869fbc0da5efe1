//! The relay's own identity: proves to agents which relay they talk to. Opens nothing.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use subtle::ConstantTimeEq as _;
use waxwire_shared::{
    fingerprint::Fingerprint,
    identity::{IdentityKey, Signature, signing_input},
    ids::{Nonce32, RelayId},
    labels::Label,
    sign::{SignedBytes, SignedDocument},
    wire::{Challenge, Document as _, LogHead, RelayDescription, VERSION},
};
use zeroize::Zeroizing;

/// The relay's signing key and what follows from it.
pub struct RelayIdentity {
    secret: SigningKey,
    public: IdentityKey,
    id: RelayId,
}

impl fmt::Debug for RelayIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayIdentity")
    }
}

impl RelayIdentity {
    /// The identity of an Ed25519 secret key (RFC 8032).
    #[must_use]
    pub fn from_secret(secret: &Zeroizing<[u8; 32]>) -> Self {
        let secret = SigningKey::from_bytes(secret);
        let public = IdentityKey::ed25519(secret.verifying_key().to_bytes());
        let id = RelayId::of(&public);
        Self { secret, public, id }
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> &IdentityKey {
        &self.public
    }

    /// The relay's id.
    #[must_use]
    pub const fn id(&self) -> &RelayId {
        &self.id
    }

    /// What agents pin.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.public)
    }

    /// A signed description for an asker's nonce.
    #[must_use]
    pub fn describe(&self, nonce: Nonce32, now_ms: u64) -> Vec<u8> {
        self.sign(&RelayDescription {
            version: VERSION,
            identity: self.public.clone(),
            nonce,
            time: now_ms,
        })
    }

    /// A signed challenge.
    #[must_use]
    pub fn sign_challenge(&self, challenge: &Challenge) -> Vec<u8> {
        self.sign(challenge)
    }

    /// A signed head of the transparency log.
    #[must_use]
    pub fn sign_head(&self, head: &LogHead) -> Vec<u8> {
        self.sign(head)
    }

    fn sign<T: SignedDocument>(&self, document: &T) -> Vec<u8> {
        let body = document.encode();
        let signature = self.secret.sign(&signing_input(T::LABEL, &[&body]));
        SignedBytes {
            body,
            signature: Signature::new(signature.to_bytes()),
        }
        .encode()
    }

    /// Whether this relay signed `body` as a challenge. Signatures of Ed25519 are deterministic
    /// (RFC 8032, 5.1.6), so signing again and comparing tells, at a third of the cost of verifying:
    /// whoever asks has proved nothing yet.
    #[must_use]
    pub fn signed_challenge(&self, body: &[u8], signature: &Signature) -> bool {
        let input = signing_input(Label::SigChallenge, &[body]);
        let ours = self.secret.sign(&input).to_bytes();
        ours.as_slice().ct_eq(signature.as_bytes()).into()
    }
}
