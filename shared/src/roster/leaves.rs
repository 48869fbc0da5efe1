//! Leaves of a rekey against its root (docs/protocol.md, 6).

use std::sync::Arc;

use crate::{
    identity::IdentityKey,
    ids::Hash,
    merkle,
    wire::{DecodeError, Document as _, Leaf, Leaves, Member, Rekey},
};

/// Why a leaf is not a member's share of a rekey.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// The leaf is not under the root: whoever served it is at fault, fetch it again.
    #[error("leaf is not part of the rekey")]
    Proof,
    /// The leaf is under the root and is no leaf: the rekeyer is at fault.
    #[error("malformed leaf")]
    Decode(#[from] DecodeError),
    /// The leaf is under the root and names another member or place: the rekeyer is at fault.
    #[error("leaf {index} is for another member")]
    Member {
        /// Place in roster order.
        index: u32,
    },
    /// Not one leaf for each member.
    #[error("expected {expected} leaves, got {actual}")]
    Count {
        /// Leaves that the rekey has.
        expected: u32,
        /// Leaves found.
        actual: usize,
    },
}

/// The leaf of `member`, who stands at `index` of the roster that the rekey was made for, with its
/// inclusion path.
///
/// # Errors
/// [`LeafError::Proof`] if the leaf is not number `index` under the root; then
/// [`LeafError::Decode`] and [`LeafError::Member`].
pub fn verify_leaf(
    rekey: &Rekey,
    index: u32,
    member: &IdentityKey,
    leaf: &[u8],
    path: &[Hash],
) -> Result<Leaf, LeafError> {
    let hash = merkle::leaf_hash(leaf);
    if !merkle::verify_inclusion(&hash, index.into(), rekey.leaves.into(), path, &rekey.root) {
        return Err(LeafError::Proof);
    }
    decode_for(index, member, leaf)
}

fn decode_for(index: u32, member: &IdentityKey, leaf: &[u8]) -> Result<Leaf, LeafError> {
    let leaf = Leaf::decode(leaf)?;
    if leaf.index == index && leaf.identity == *member {
        Ok(leaf)
    } else {
        Err(LeafError::Member { index })
    }
}

/// All leaves of a rekey against its root and the roster after its commit.
///
/// # Errors
/// [`LeafError`] with the first leaf that breaks a rule.
pub fn check_leaves(rekey: &Rekey, members: &[Arc<Member>], leaves: &Leaves) -> Result<(), LeafError> {
    let actual = leaves.leaves.len();
    let expected = rekey.leaves;
    if usize::try_from(expected) != Ok(actual) || actual != members.len() {
        return Err(LeafError::Count { expected, actual });
    }
    if leaves_root(leaves) != rekey.root {
        return Err(LeafError::Proof);
    }
    for ((index, member), leaf) in (0..).zip(members).zip(&leaves.leaves) {
        decode_for(index, &member.identity, leaf)?;
    }
    Ok(())
}

/// The Merkle root over encoded leaves in roster order.
#[must_use]
pub fn leaves_root(leaves: &Leaves) -> Hash {
    let hashes: Vec<Hash> = leaves.leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
    merkle::root(&hashes)
}
