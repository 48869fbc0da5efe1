//! The sealed epoch key in a leaf of a rekey (docs/protocol.md, 6.5).

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use waxwire_shared::{ids::Hash, wire::EpochKeyPlaintext};
use zeroize::Zeroizing;

use super::{
    OpenError, kdf, sealed_box,
    secret::{EncryptionPublic, EncryptionSecret, Ephemeral, EpochKey},
};

/// Length of a sealed leaf, in bytes.
pub const LENGTH: usize = sealed_box::OVERHEAD + EpochKeyPlaintext::LENGTH;

const MAGIC: usize = EpochKeyPlaintext::MAGIC.len();
const EPOCH: usize = 8;

/// Why a leaf whose inclusion proof holds gives no epoch key. Each is the rekeyer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The box does not open.
    #[error("leaf does not open")]
    Open(#[from] OpenError),
    /// The box holds something else than an epoch key.
    #[error("leaf holds no epoch key")]
    Malformed,
    /// The key is for another epoch.
    #[error("leaf is for epoch {actual}, not {expected}")]
    Epoch {
        /// Epoch of the commit.
        expected: u64,
        /// Epoch in the box.
        actual: u64,
    },
    /// The key is 32 zeros.
    #[error("epoch key is zero")]
    Zero,
    /// The key is not the one that the commit commits to.
    #[error("epoch key misses its commitment")]
    Commitment,
}

/// Seals an epoch key to one member.
///
/// ```text
/// sealed    = SealedBox(member, plaintext), 96 bytes                    docs/protocol.md, 6.5
/// plaintext = "waxwire" 7 || kind 32 (0x20) || epoch u64 big-endian || key 32
/// ```
///
/// See [`sealed_box::seal`] for primitive and use of `rng`. Fixed length, hence not padded.
///
/// # Security
/// Group, member and rekeyer are bound by the signed commit's Merkle root, not by the box.
///
/// # Vectors
/// `vectors/leaf.json`
#[must_use]
pub fn seal(
    rng: &mut (impl CryptoRng + ?Sized),
    member: &EncryptionPublic,
    epoch: u64,
    key: &EpochKey,
) -> Vec<u8> {
    seal_with(Ephemeral::generate(rng), member, epoch, key)
}

/// Seals as [`seal`] with randomness that was drawn before, see [`sealed_box::seal_with`].
///
/// # Vectors
/// `vectors/leaf.json`
#[must_use]
pub fn seal_with(ephemeral: Ephemeral, member: &EncryptionPublic, epoch: u64, key: &EpochKey) -> Vec<u8> {
    let mut plaintext = Zeroizing::new([0; EpochKeyPlaintext::LENGTH]);
    let (magic, rest) = plaintext.split_at_mut(MAGIC);
    let (number, secret) = rest.split_at_mut(EPOCH);
    magic.copy_from_slice(&EpochKeyPlaintext::MAGIC);
    number.copy_from_slice(&epoch.to_be_bytes());
    secret.copy_from_slice(key.expose_bytes());
    sealed_box::seal_with(ephemeral, member, plaintext.as_slice())
}

/// Opens a leaf and checks the key against the commit: `epoch` and `commitment` are those of its
/// rekey. The inclusion proof has to be verified before.
///
/// # Errors
/// [`LeafError`]. The commitment is compared in constant time.
///
/// # Vectors
/// `vectors/leaf.json`
pub fn open(
    secret: &EncryptionSecret,
    epoch: u64,
    commitment: &Hash,
    sealed: &[u8],
) -> Result<EpochKey, LeafError> {
    let plaintext = sealed_box::open(secret, sealed)?;
    let (magic, rest) = plaintext
        .split_first_chunk::<MAGIC>()
        .ok_or(LeafError::Malformed)?;
    let (number, bytes) = rest.split_first_chunk::<EPOCH>().ok_or(LeafError::Malformed)?;
    let key = EpochKey::from_slice(bytes).map_err(|_| LeafError::Malformed)?;
    if *magic != EpochKeyPlaintext::MAGIC {
        return Err(LeafError::Malformed);
    }
    let actual = u64::from_be_bytes(*number);
    if actual != epoch {
        return Err(LeafError::Epoch {
            expected: epoch,
            actual,
        });
    }
    if bool::from(key.expose_bytes().ct_eq(&[0; EpochKey::LENGTH])) {
        return Err(LeafError::Zero);
    }
    let found = kdf::epoch_commitment(&key);
    if bool::from(found.as_bytes().ct_eq(commitment.as_bytes())) {
        Ok(key)
    } else {
        Err(LeafError::Commitment)
    }
}

#[cfg(test)]
mod tests;
