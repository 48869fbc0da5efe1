//! What a sealed file says of how it is unlocked (docs/protocol.md, 8.1 and 8.3).

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;

use super::{
    Argon2Cost, KeyStoreError, Unlock, UnlockKind,
    cost::SALT,
    format::{Bytes, Short},
    unlock,
};
use crate::crypto::{kdf, secret::StoreKek};

const ARGON2ID: u16 = 1;
const KEY_FILE: u16 = 2;

/// How the key-encryption key of a file comes about, and what commits to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlocking {
    kdf: Kdf,
    /// Salt of the passphrase; random, so it also tells files apart.
    salt: [u8; SALT],
    commitment: [u8; 32],
}

/// Where the key-encryption key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kdf {
    /// A passphrase.
    Argon2id(Argon2Cost),
    /// A file.
    KeyFile,
}

impl Unlocking {
    /// Bytes in a header.
    pub const LENGTH: usize = Self::KDF + SALT + 32;
    /// Bytes of kind and cost.
    const KDF: usize = 2 + 3 * 4;

    /// Parameters for a new file and its key-encryption key. A key file that is missing is made.
    ///
    /// `rng` gives 32 bytes of salt and, if need be, the key file.
    ///
    /// # Errors
    /// [`KeyStoreError::Unlock`], [`KeyStoreError::Memory`].
    pub fn make(
        unlock: &Unlock,
        cost: Argon2Cost,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(Self, StoreKek), KeyStoreError> {
        let mut salt = [0; SALT];
        rng.fill_bytes(&mut salt);
        let (kdf, kek) = match unlock {
            Unlock::Passphrase(passphrase) => (
                Kdf::Argon2id(cost),
                cost.stretch(passphrase.expose_bytes(), &salt)?,
            ),
            Unlock::KeyFile(path) => (Kdf::KeyFile, unlock::read_or_make_key_file(path, rng)?),
        };
        let commitment = kdf::store_commitment(&kek);
        let unlocking = Self {
            kdf,
            salt,
            commitment,
        };
        Ok((unlocking, kek))
    }

    /// The key-encryption key; compared with the commitment before anything is opened with it.
    ///
    /// # Errors
    /// [`KeyStoreError::UnlockKind`], [`KeyStoreError::Unlock`], [`KeyStoreError::Memory`],
    /// [`KeyStoreError::WrongSecret`].
    pub fn open(&self, unlock: &Unlock) -> Result<StoreKek, KeyStoreError> {
        let kek = match (self.kdf, unlock) {
            (Kdf::Argon2id(cost), Unlock::Passphrase(passphrase)) => {
                cost.stretch(passphrase.expose_bytes(), &self.salt)?
            }
            (Kdf::KeyFile, Unlock::KeyFile(path)) => unlock::read_key_file(path)?,
            (kdf, unlock) => {
                return Err(KeyStoreError::UnlockKind {
                    expected: match kdf {
                        Kdf::Argon2id(_) => UnlockKind::Passphrase,
                        Kdf::KeyFile => UnlockKind::KeyFile,
                    },
                    given: unlock.kind(),
                });
            }
        };
        self.confirm(kek)
    }

    /// A key-encryption key if it is the one that the file commits to.
    ///
    /// # Errors
    /// [`KeyStoreError::WrongSecret`].
    pub fn confirm(&self, kek: StoreKek) -> Result<StoreKek, KeyStoreError> {
        if bool::from(kdf::store_commitment(&kek).ct_eq(&self.commitment)) {
            Ok(kek)
        } else {
            Err(KeyStoreError::WrongSecret)
        }
    }

    /// `unlock u16 || memory KiB u32 || passes u32 || lanes u32 || salt 32 || commitment 32`.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        let (before, after) = self.encode_parts();
        out[..before.len()].copy_from_slice(&before);
        out[before.len()..].copy_from_slice(after);
        out
    }

    /// The same up to the commitment, and the commitment.
    pub(super) fn encode_parts(&self) -> ([u8; Self::KDF + SALT], &[u8; 32]) {
        let (number, cost) = match self.kdf {
            Kdf::Argon2id(cost) => (ARGON2ID, cost.fields()),
            Kdf::KeyFile => (KEY_FILE, [0; 3]),
        };
        let mut out = [0; Self::KDF + SALT];
        out[..2].copy_from_slice(&number.to_be_bytes());
        for (place, field) in out[2..Self::KDF].chunks_exact_mut(4).zip(cost) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        out[Self::KDF..].copy_from_slice(&self.salt);
        (out, &self.commitment)
    }

    /// The inverse of [`Self::encode`]. The cost is checked before it is used.
    ///
    /// # Errors
    /// [`KeyStoreError::UnknownUnlock`], [`KeyStoreError::Cost`], [`KeyStoreError::Truncated`].
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyStoreError> {
        let mut bytes = Bytes(bytes);
        let unfinished = Self::decode_kdf(&mut bytes)?;
        Ok(unfinished.with_commitment(bytes.take()?))
    }

    /// Reads everything before the commitment.
    pub(super) fn decode_kdf(bytes: &mut Bytes<'_>) -> Result<Unfinished, KeyStoreError> {
        let number = bytes.u16()?;
        let cost = [bytes.u32()?, bytes.u32()?, bytes.u32()?];
        let kdf = match (number, cost) {
            (ARGON2ID, [memory, passes, lanes]) => Kdf::Argon2id(Argon2Cost::new(memory, passes, lanes)?),
            (KEY_FILE, [0, 0, 0]) => Kdf::KeyFile,
            (number, _) => return Err(KeyStoreError::UnknownUnlock { number }),
        };
        let salt = bytes.take().map_err(|Short| KeyStoreError::Truncated)?;
        Ok(Unfinished { kdf, salt })
    }
}

/// What stands before the commitment.
pub(super) struct Unfinished {
    kdf: Kdf,
    salt: [u8; SALT],
}

impl Unfinished {
    pub(super) const fn with_commitment(self, commitment: [u8; 32]) -> Unlocking {
        Unlocking {
            kdf: self.kdf,
            salt: self.salt,
            commitment,
        }
    }
}
