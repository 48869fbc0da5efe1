//! What stands for a handle in the transparency log (docs/protocol.md, 10).

use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::{
    hash::labelled,
    ids::{Handle, Hash, RelayId},
    labels::Label,
};

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT: usize = 16;

/// Blocks of 1 KiB that are asked for; only those that are filled are touched. glibc maps what is larger than 32 MiB by
/// itself and gives it back whole; of smaller pieces it keeps one in each thread's arena.
const RESERVED: usize = 33 * 1_024;

/// There was no memory for the computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no {MEMORY_KIB} KiB of memory for a handle tag")]
pub struct NoMemory;

/// `Argon2id(handle, H(HashHandleTag, relay id)[..16], 19,456 KiB, 2 passes, 1 lane)`, 32 bytes (RFC 9106). Takes some
/// twenty milliseconds.
///
/// # Errors
/// [`NoMemory`].
///
/// # Security
/// Slows a search for handles down and does not prevent it: handles are short and often words.
///
/// # Vectors
/// `vectors/names.json`.
pub fn handle_tag(relay: &RelayId, handle: &Handle) -> Result<Hash, NoMemory> {
    let salt = labelled(Label::HashHandleTag, &[relay.as_bytes()]);
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(Hash::LENGTH)).map_err(|_| NoMemory)?;
    let mut memory = Vec::new();
    memory.try_reserve_exact(RESERVED).map_err(|_| NoMemory)?;
    memory.resize(params.block_count(), Block::default());
    let mut tag = [0; Hash::LENGTH];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(
            handle.as_str().as_bytes(),
            &salt.as_bytes()[..SALT],
            &mut tag,
            &mut memory,
        )
        .map_err(|_| NoMemory)?;
    Ok(Hash::from_bytes(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/protocol.md, 10: a handle has another tag at another relay.
    #[test]
    fn tag_is_of_the_handle_and_the_relay() {
        let tag = |relay, handle: &str| {
            let relay = RelayId::from_bytes([relay; 32]);
            handle_tag(&relay, &handle.parse().unwrap()).unwrap()
        };
        assert_eq!(tag(1, "alice"), tag(1, "alice"));
        assert_ne!(tag(1, "alice"), tag(2, "alice"));
        assert_ne!(tag(1, "alice"), tag(1, "alicf"));
    }
}
