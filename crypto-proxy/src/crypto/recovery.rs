//! The recovery key and the text that it is printed as (docs/protocol.md, 4.6).

use std::fmt;

use rand_core::CryptoRng;
use waxwire_shared::{
    identity::{IdentityKey, Signature},
    ids::Hash,
    labels::Label,
    wire::Bundle,
};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::secret::IdentitySecret;

/// The secret half of a recovery key: an Ed25519 key that signs a succession when the identity is
/// lost. Printed once at `init` as text, never stored; bundles carry the hash of its public half.
#[derive(ZeroizeOnDrop)]
pub struct RecoverySecret(IdentitySecret);

/// Why a text is no recovery key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryTextError {
    /// It does not begin with `wxr_`.
    #[error("a recovery key begins with {PREFIX}")]
    Prefix,
    /// A character that is not of the alphabet.
    #[error("character {position} does not occur in recovery keys")]
    Character {
        /// Place of the character after the prefix, from 1, spaces and hyphens not counted.
        position: usize,
    },
    /// Too few or too many characters.
    #[error("expected {expected} characters after {PREFIX}, got {actual}")]
    Length {
        /// Characters that a recovery key has.
        expected: usize,
        /// Characters that were given, spaces and hyphens not counted.
        actual: usize,
    },
    /// The checksum does not match: a character is wrong.
    #[error("recovery key is mistyped")]
    Checksum,
}

const PREFIX: &str = "wxr_";
/// Crockford's base 32, lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const CHECKSUM: usize = 3;
const BYTES: usize = IdentitySecret::LENGTH + CHECKSUM;
const CHARACTERS: usize = BYTES * 8 / 5;
const GROUP: usize = 7;

impl RecoverySecret {
    /// A new recovery key from 32 bytes of `rng`.
    #[must_use]
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(IdentitySecret::generate(rng))
    }

    /// The public half, revealed by the succession that it signs.
    #[must_use]
    pub const fn public(&self) -> &IdentityKey {
        self.0.public()
    }

    /// What bundles carry: `SHA-256(label || algorithm u16 || public key)`.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Bundle::recovery_hash(self.public())
    }

    /// Signs the body of a succession under [`Label::SigSuccessionRecovery`]; it signs nothing else.
    #[must_use]
    pub fn sign_succession(&self, body: &[u8]) -> Signature {
        self.0.sign(Label::SigSuccessionRecovery, &[body])
    }

    /// `wxr_` and 56 characters of Crockford's base 32 in groups of 7, hyphens between them
    /// (docs/protocol.md, 4.6): `seed 32 || checksum 3`, most significant bit first. The checksum is
    /// the first 3 bytes of [`Self::hash`].
    ///
    /// # Security
    /// Whoever has the text can take the identity over. It is printed once and kept off the machine.
    ///
    /// # Vectors
    /// `vectors/recovery.json`
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        let (seed, checksum) = bytes.split_at_mut(IdentitySecret::LENGTH);
        seed.copy_from_slice(self.0.expose_seed());
        checksum.copy_from_slice(&self.hash().as_bytes()[..CHECKSUM]);
        let mut text = Zeroizing::new(String::with_capacity(
            PREFIX.len() + CHARACTERS + CHARACTERS / GROUP,
        ));
        text.push_str(PREFIX);
        for index in 0..CHARACTERS {
            if index > 0 && index % GROUP == 0 {
                text.push('-');
            }
            text.push(ALPHABET[digit(&bytes, index)].into());
        }
        text
    }

    /// Reads what [`Self::expose_text`] wrote, as people type it: upper case, spaces and hyphens
    /// anywhere, `o` for 0, `i` or `l` for 1.
    ///
    /// # Errors
    /// [`RecoveryTextError`]; nothing of the text is in it. One wrong character in 16 million passes
    /// the checksum; the key then differs from the pinned hash.
    ///
    /// # Vectors
    /// `vectors/recovery.json`
    pub fn parse(text: &str) -> Result<Self, RecoveryTextError> {
        let text = text.trim();
        let rest = text
            .get(..PREFIX.len())
            .filter(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
            .and_then(|_| text.get(PREFIX.len()..))
            .ok_or(RecoveryTextError::Prefix)?;
        let mut bytes = Zeroizing::new([0; BYTES]);
        let mut actual = 0;
        for character in rest.bytes().filter(|c| !c.is_ascii_whitespace() && *c != b'-') {
            let value = value(character).ok_or(RecoveryTextError::Character { position: actual + 1 })?;
            set_digit(&mut bytes, actual, value);
            actual += 1;
        }
        if actual != CHARACTERS {
            return Err(RecoveryTextError::Length {
                expected: CHARACTERS,
                actual,
            });
        }
        let (seed, checksum) = bytes.split_at(IdentitySecret::LENGTH);
        let secret = IdentitySecret::from_slice(seed).map_err(|_| RecoveryTextError::Checksum)?;
        let secret = Self(secret);
        if secret.hash().as_bytes()[..CHECKSUM] == *checksum {
            Ok(secret)
        } else {
            Err(RecoveryTextError::Checksum)
        }
    }
}

impl fmt::Debug for RecoverySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoverySecret")
    }
}

/// The five bits of one character.
fn digit(bytes: &[u8; BYTES], index: usize) -> usize {
    (0..5).fold(0, |digit, bit| {
        let bit = index * 5 + bit;
        digit << 1 | usize::from(bytes[bit / 8] >> (7 - bit % 8) & 1)
    })
}

/// The inverse of [`digit`]; characters beyond the last are dropped, they are counted elsewhere.
fn set_digit(bytes: &mut [u8; BYTES], index: usize, value: u8) {
    for bit in 0..5 {
        let at = index * 5 + bit;
        if let Some(byte) = bytes.get_mut(at / 8) {
            *byte |= (value >> (4 - bit) & 1) << (7 - at % 8);
        }
    }
}

fn value(character: u8) -> Option<u8> {
    let character = match character.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    };
    let position = ALPHABET.iter().position(|c| *c == character)?;
    u8::try_from(position).ok()
}

#[cfg(test)]
mod tests;
