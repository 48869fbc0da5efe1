//! The bytes of the key store file around its slots (docs/protocol.md, 8.1).
//!
//! ```text
//! file   = header 98 || slot...                         integers are big-endian
//! header = magic 8 "waxwkeys" || version u16 (1)
//!       || unlock u16 (1 Argon2id, 2 key file) || memory KiB u32 || passes u32 || lanes u32
//!       || salt 32 || generation u64 || commitment 32 || number of slots u16
//! slot   = number u16 || length u32 || sealed (nonce 24 || ciphertext || tag 16)
//! ```
//!
//! Slots come in the order of their numbers. Each is sealed with the whole header and its own
//! number as associated data: none can be taken from another file, generation or place, none left
//! out, none doubled. With a key file, memory, passes and lanes are 0.

use super::{KeyStoreError, unlocking::Unlocking};

/// The first bytes of the file.
const MAGIC: [u8; 8] = *b"waxwkeys";
/// The version that is written and read.
const VERSION: u16 = 1;
/// Bytes in front of the first slot.
pub(super) const HEADER: usize = 98;
/// Largest key store.
pub(super) const MAX: u64 = 1024 * 1024;

/// The header but for what is computed from the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// How the key-encryption key comes about.
    pub(super) unlocking: Unlocking,
    /// Counts the versions of the file.
    pub(super) generation: u64,
}

impl Header {
    /// The header's bytes in front of `slots` slots; also their associated data.
    pub(super) fn encode(&self, slots: u16) -> [u8; HEADER] {
        let (unlocking, commitment) = self.unlocking.encode_parts();
        let fields: [&[u8]; 6] = [
            &MAGIC,
            &VERSION.to_be_bytes(),
            &unlocking,
            &self.generation.to_be_bytes(),
            commitment,
            &slots.to_be_bytes(),
        ];
        let mut header = [0; HEADER];
        let mut rest = header.as_mut_slice();
        for field in fields {
            let (place, after) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = after;
        }
        header
    }

    /// Reads a header and the number of slots after it. The cost is checked before it is used.
    pub(super) fn decode(bytes: &mut Bytes<'_>) -> Result<(Self, u16), KeyStoreError> {
        if bytes.take::<8>()? != MAGIC {
            return Err(KeyStoreError::NotAKeyStore);
        }
        let version = bytes.u16()?;
        if version != VERSION {
            return Err(KeyStoreError::UnknownVersion { version });
        }
        let unlocking = Unlocking::decode_kdf(bytes)?;
        let generation = bytes.u64()?;
        let header = Self {
            unlocking: unlocking.with_commitment(bytes.take()?),
            generation,
        };
        Ok((header, bytes.u16()?))
    }
}

/// What is still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

/// The bytes end too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Short;

impl From<Short> for KeyStoreError {
    fn from(_: Short) -> Self {
        Self::Truncated
    }
}

impl<'a> Bytes<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn slice(&mut self, length: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Short> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Short> {
        self.take().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Short> {
        self.take().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Short> {
        self.take().map(u64::from_be_bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}
