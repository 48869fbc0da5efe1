//! SHA-256, plain and labelled (docs/protocol.md, 2).

use sha2::{Digest, Sha256};

use crate::{ids::Hash, labels::Label};

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    Hash::from_bytes(Sha256::digest(bytes).into())
}

/// SHA-256 of `label || parts...`.
///
/// All parts but the last must be of fixed length, so that no two inputs share an encoding.
#[must_use]
pub fn labelled(label: Label, parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new_with_prefix(label.bytes());
    for part in parts {
        hasher.update(part);
    }
    Hash::from_bytes(hasher.finalize().into())
}
