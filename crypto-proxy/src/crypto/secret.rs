//! Secret keys: one newtype per role (docs/protocol.md, 2.1).
//!
//! Every type here wipes itself on drop, lives on the heap so that moving it leaves no copy, prints
//! its name only, and has no `Clone`, `PartialEq` or `Serialize`. Bytes leave by `expose_*`.

use std::{fmt, mem};

use ed25519_dalek::{Signer as _, SigningKey};
use rand_core::CryptoRng;
use waxwire_shared::{
    identity::{IdentityKey, Signature, signing_input},
    labels::Label,
    sign::{SignedBytes, SignedDocument},
    wire::{Document as _, is_contributory_x25519},
};
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{PublicKeyError, SecretLengthError};

/// Declares 32-byte secrets. `random` ones can be generated; the others come from a derivation.
macro_rules! secret_key {
    ($($(#[$doc:meta])* $name:ident $($random:ident)?;)*) => {$(
        $(#[$doc])*
        #[derive(ZeroizeOnDrop)]
        pub struct $name(Box<[u8; 32]>);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = 32;

            /// Copies a slice of exactly [`Self::LENGTH`] bytes.
            ///
            /// # Errors
            /// [`SecretLengthError`] with the lengths expected and found.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, SecretLengthError> {
                copy_secret(bytes).map(Self)
            }

            /// The bytes, for a derivation or for the key store.
            #[must_use]
            pub const fn expose_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            secret_key!(@ $($random)?);
        }

        opaque_debug!($name);
    )*};
    (@ random) => {
        /// 32 bytes of `rng`.
        #[must_use]
        pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
            Self(random_secret(rng))
        }
    };
    (@ derived) => {
        /// What a derivation writes.
        pub(super) fn filled_by(fill: impl FnOnce(&mut [u8; 32])) -> Self {
            let mut bytes = Box::new([0; 32]);
            fill(&mut bytes);
            Self(bytes)
        }
    };
}

/// `Debug` that prints the type's name.
macro_rules! opaque_debug {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

secret_key! {
    /// The key of one epoch of a group. Sealed to each member, expanded to chains, then erased.
    EpochKey random;
    /// One step of a sender's chain in an epoch.
    ChainKey derived;
    /// The key of one group message.
    MessageKey derived;
    /// What makes `mid` opaque to the relay and stable over restores.
    SendIdKey random;
    /// Unlocks a key store: derived from a passphrase, or the content of a key file.
    StoreKek random;
    /// Wraps the slots of a key store.
    StoreWrapKey derived;
    /// The root of the local database's keys.
    StateMasterKey random;
    /// Seals columns of the local database.
    StateKey derived;
    /// The random key of one attachment, as its core carries it.
    AttachmentKey random;
    /// Seals the chunks of one attachment.
    AttachmentChunkKey derived;
    /// Seals a backup archive.
    BackupKey derived;
    /// The randomness of one sealed box, drawn ahead of its use. It is used up by it.
    Ephemeral random;
}

/// The secret half of an identity: an Ed25519 seed (RFC 8032) and its public key.
///
/// It signs under its own public key only; no function takes a public key beside it.
#[derive(ZeroizeOnDrop)]
pub struct IdentitySecret {
    // Wipes itself: `SigningKey` is `ZeroizeOnDrop`, which the derive does not see through the box.
    #[zeroize(skip)]
    key: Box<SigningKey>,
    #[zeroize(skip)]
    public: IdentityKey,
}

impl IdentitySecret {
    /// Length of the seed in bytes.
    pub const LENGTH: usize = 32;

    /// A new identity from 32 bytes of `rng`.
    #[must_use]
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::from_seed(&seed)
    }

    /// The identity of a seed of exactly [`Self::LENGTH`] bytes.
    ///
    /// # Errors
    /// [`SecretLengthError`] with the lengths expected and found.
    pub fn from_slice(seed: &[u8]) -> Result<Self, SecretLengthError> {
        seed.try_into()
            .map(Self::from_seed)
            .map_err(|_| SecretLengthError {
                expected: Self::LENGTH,
                actual: seed.len(),
            })
    }

    fn from_seed(seed: &[u8; 32]) -> Self {
        let key = Box::new(SigningKey::from_bytes(seed));
        let public = IdentityKey::ed25519(key.verifying_key().to_bytes());
        Self { key, public }
    }

    /// The public identity.
    #[must_use]
    pub const fn public(&self) -> &IdentityKey {
        &self.public
    }

    /// The seed, for the key store.
    #[must_use]
    pub fn expose_seed(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Ed25519 signature of `label || parts...` (RFC 8032, pure, deterministic): 64 bytes
    /// `R 32 || S 32` (docs/protocol.md, 2.3).
    ///
    /// All parts but the last must be of fixed length, so that no two inputs share an encoding.
    ///
    /// # Security
    /// The label keeps roles apart; it says nothing of an audience. Never sign parts that another
    /// party chose alone.
    #[must_use]
    pub fn sign(&self, label: Label, parts: &[&[u8]]) -> Signature {
        let signature = self.key.sign(&signing_input(label, parts));
        Signature::new(signature.to_bytes())
    }

    /// Encodes and signs a document: CBOR `{1: body, 2: signature}` with the signature over
    /// `label || body` (docs/protocol.md, 3). The bytes travel as they are.
    #[must_use]
    pub fn sign_document<T: SignedDocument>(&self, document: &T) -> Vec<u8> {
        let body = document.encode();
        let signature = self.sign(T::LABEL, &[&body]);
        SignedBytes { body, signature }.encode()
    }
}

opaque_debug!(IdentitySecret);

/// The secret half of an encryption key: X25519 (RFC 7748), its public half computed once.
#[derive(ZeroizeOnDrop)]
pub struct EncryptionSecret {
    bytes: Box<[u8; 32]>,
    #[zeroize(skip)]
    public: EncryptionPublic,
}

impl EncryptionSecret {
    /// Length in bytes.
    pub const LENGTH: usize = 32;

    /// A new key from 32 bytes of `rng`.
    #[must_use]
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::from_bytes(random_secret(rng))
    }

    /// The key of exactly [`Self::LENGTH`] bytes, clamped when it is used (RFC 7748, 5).
    ///
    /// # Errors
    /// [`SecretLengthError`] with the lengths expected and found.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, SecretLengthError> {
        copy_secret(bytes).map(Self::from_bytes)
    }

    fn from_bytes(bytes: Box<[u8; 32]>) -> Self {
        let public = PublicKey::from(&StaticSecret::from(*bytes));
        Self {
            bytes,
            public: EncryptionPublic(public.to_bytes()),
        }
    }

    /// The key of one box. The bytes move, no copy stays behind.
    pub(super) fn of_box(mut ephemeral: Ephemeral) -> Self {
        Self::from_bytes(mem::take(&mut ephemeral.0))
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &EncryptionPublic {
        &self.public
    }

    /// The bytes, unclamped as they were given, for the key store.
    #[must_use]
    pub const fn expose_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// A second copy, for the key store beside the engine; each wipes itself.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            public: self.public,
        }
    }

    /// `X25519(self, public)`, all-zero if `public` is of small order: the caller has to refuse it.
    pub(super) fn agree(&self, public: &[u8; 32]) -> SharedSecret {
        StaticSecret::from(*self.bytes).diffie_hellman(&PublicKey::from(*public))
    }
}

opaque_debug!(EncryptionSecret);

/// The public half of an encryption key: a canonical X25519 public key outside the small
/// subgroups, by construction (docs/protocol.md, 2.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EncryptionPublic([u8; 32]);

impl EncryptionPublic {
    /// Length in bytes.
    pub const LENGTH: usize = 32;

    /// Checks and copies a public key.
    ///
    /// # Errors
    /// [`PublicKeyError::Length`]; [`PublicKeyError::NotContributory`] for a non-canonical encoding
    /// (`u >= 2^255 - 19`) or a point of small order on the curve or its twist (RFC 7748, 6.1).
    pub fn from_slice(bytes: &[u8]) -> Result<Self, PublicKeyError> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| PublicKeyError::Length {
            expected: Self::LENGTH,
            actual: bytes.len(),
        })?;
        if is_contributory_x25519(bytes) {
            Ok(Self(*bytes))
        } else {
            Err(PublicKeyError::NotContributory)
        }
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EncryptionPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncryptionPublic(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

fn random_secret(rng: &mut (impl CryptoRng + ?Sized)) -> Box<[u8; 32]> {
    let mut bytes = Box::new([0; 32]);
    rng.fill_bytes(bytes.as_mut_slice());
    bytes
}

fn copy_secret(bytes: &[u8]) -> Result<Box<[u8; 32]>, SecretLengthError> {
    let mut copy = Box::new([0; 32]);
    if bytes.len() != copy.len() {
        return Err(SecretLengthError {
            expected: copy.len(),
            actual: bytes.len(),
        });
    }
    copy.copy_from_slice(bytes);
    Ok(copy)
}

#[cfg(test)]
mod tests;
