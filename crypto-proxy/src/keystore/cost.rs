//! From a passphrase to a key (docs/protocol.md, 8.1).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::KeyStoreError;
use crate::crypto::secret::StoreKek;

/// Length of the salt, in bytes.
pub(super) const SALT: usize = 32;

/// What a guess at the passphrase costs: parameters of Argon2id (RFC 9106), within bounds.
///
/// The bounds hold for what is read from a header before anything is computed from it: an altered
/// file can neither make guessing cheap nor exhaust the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A parameter of Argon2id out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {actual} is not within {min} and {max}")]
pub struct CostError {
    /// The parameter, with its unit.
    pub what: &'static str,
    /// Floor.
    pub min: u32,
    /// Ceiling.
    pub max: u32,
    /// Value found.
    pub actual: u32,
}

impl Argon2Cost {
    /// Least work that is accepted: 19 MiB, 2 passes, 1 lane.
    pub const FLOOR: Self = Self {
        memory_kib: 19 * 1024,
        passes: 2,
        lanes: 1,
    };
    /// Most work that is accepted: 1 GiB, 10 passes, 16 lanes.
    pub const CEILING: Self = Self {
        memory_kib: 1024 * 1024,
        passes: 10,
        lanes: 16,
    };

    /// Checks the parameters; memory in KiB.
    ///
    /// # Errors
    /// [`CostError`] for the first one out of bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CostError> {
        let (min, max) = (Self::FLOOR, Self::CEILING);
        let bounds = [
            (
                "argon2id memory in KiB",
                min.memory_kib,
                max.memory_kib,
                memory_kib,
            ),
            ("argon2id passes", min.passes, max.passes, passes),
            ("argon2id lanes", min.lanes, max.lanes, lanes),
        ];
        for (what, min, max, actual) in bounds {
            if !(min..=max).contains(&actual) {
                return Err(CostError {
                    what,
                    min,
                    max,
                    actual,
                });
            }
        }
        Ok(Self {
            memory_kib,
            passes,
            lanes,
        })
    }

    /// Memory in KiB, passes, lanes, as the header carries them.
    pub(super) const fn fields(self) -> [u32; 3] {
        [self.memory_kib, self.passes, self.lanes]
    }

    /// `Argon2id(passphrase, salt, memory, passes, lanes)`, version 0x13, 32 bytes. The memory that
    /// it fills is wiped.
    pub(super) fn stretch(self, passphrase: &[u8], salt: &[u8; SALT]) -> Result<StoreKek, KeyStoreError> {
        let refused = || KeyStoreError::Memory {
            memory_kib: self.memory_kib,
        };
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(StoreKek::LENGTH));
        let params = params.map_err(|_| refused())?;
        let mut memory = Zeroizing::new(Vec::new());
        memory
            .try_reserve_exact(params.block_count())
            .map_err(|_| refused())?;
        memory.resize(params.block_count(), Block::default());
        let mut kek = Zeroizing::new([0; StoreKek::LENGTH]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase, salt, kek.as_mut_slice(), memory.as_mut_slice())
            .map_err(|_| refused())?;
        StoreKek::from_slice(kek.as_slice()).map_err(|_| refused())
    }
}

impl Default for Argon2Cost {
    /// 64 MiB, 3 passes, 1 lane.
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 1,
        }
    }
}
