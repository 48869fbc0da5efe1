//! Rekeys and their leaves (docs/protocol.md, 6).

use super::{DecodeError, Reader, Wire, Writer, rules, wire_enum, wire_map};
use crate::{identity::IdentityKey, ids::Hash, limits, suite::Suite};

wire_map! {
    /// What a commit says of a new epoch; the leaves travel beside it, bound by their root.
    pub struct Rekey {
        /// Number of the new epoch, the previous one plus 1.
        1 => epoch: u64 where rules::within(1..=u64::MAX),
        /// Suite of the epoch.
        2 => suite: Suite,
        /// `HKDF(epoch key, label)`, not bound to the group, so that re-use is seen.
        3 => commitment: Hash,
        /// RFC 9162 Merkle root over the encoded leaves, in roster order.
        4 => root: Hash,
        /// Number of leaves: the number of members after the commit's changes.
        5 => leaves: u32 where rules::within(1..=MEMBERS),
        /// Hash of the roster after the commit's changes.
        6 => roster: Hash,
    }
}

/// The most members of a group as a leaf counts them.
const MEMBERS: u32 = 10_000;
const _: () = assert!(MEMBERS as usize == limits::GROUP_MEMBERS);

wire_enum! {
    /// Why a leaf holds no key.
    pub enum EmptyReason {
        /// The member's bundle has expired.
        1 => Expired,
        /// The member's bundle could not be had.
        2 => Unreachable,
    }
}

wire_map! {
    /// One member's share of a rekey.
    pub struct Leaf, max(limits::LEAF) {
        /// Place in roster order, from 0.
        1 => index: u32 where rules::within(0..=MEMBERS - 1),
        /// The member.
        2 => identity: IdentityKey,
        /// The sealed key, or why there is none.
        3 => content: LeafContent,
    }
}

/// What a leaf holds: `[key number, suite, sealed bytes]` or `[reason]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeafContent {
    /// The epoch key, sealed to the member.
    Sealed {
        /// Number of the member's encryption key.
        key_number: u64,
        /// Suite of the box.
        suite: Suite,
        /// The box around an [`EpochKeyPlaintext`].
        sealed: Vec<u8>,
    },
    /// No key.
    Empty(EmptyReason),
}

impl Wire for LeafContent {
    fn put(&self, w: &mut Writer) {
        match self {
            Self::Sealed {
                key_number,
                suite,
                sealed,
            } => {
                w.array(3);
                key_number.put(w);
                suite.put(w);
                sealed.put(w);
            }
            Self::Empty(reason) => {
                w.array(1);
                reason.put(w);
            }
        }
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let content = match r.array()? {
            3 => Self::Sealed {
                key_number: Wire::take(r)?,
                suite: Wire::take(r)?,
                sealed: Wire::take(r)?,
            },
            1 => Self::Empty(Wire::take(r)?),
            _ => return Err(DecodeError::Value { what: "leaf content" }),
        };
        r.leave();
        content.check_rules()?;
        Ok(content)
    }

    fn check_rules(&self) -> Result<(), DecodeError> {
        match self {
            Self::Sealed { sealed, .. } => {
                rules::holds((1..=limits::SEALED_LEAF).contains(&sealed.len()), "sealed")
            }
            Self::Empty(_) => Ok(()),
        }
    }
}

wire_map! {
    /// All leaves of a rekey, as its author uploads them.
    pub struct Leaves, max(limits::REKEY) {
        /// Encoded [`Leaf`] documents in roster order.
        1 => leaves: Vec<Vec<u8>> where rules::documents(1..=limits::GROUP_MEMBERS, limits::LEAF),
    }
}

wire_map! {
    /// One member's leaf with its way to the root that the commit carries.
    pub struct LeafProof, max(16 * 1024) {
        /// The encoded [`Leaf`], which holds its index.
        1 => leaf: Vec<u8> where rules::length(1..=limits::LEAF),
        /// Hashes from the leaf's sibling to the children of the root.
        2 => path: Vec<Hash> where rules::items(0..=limits::MERKLE_PATH),
    }
}

/// What lies inside the box of a leaf: `magic 7 || kind 32 || epoch u64 big-endian || key 32`.
///
/// Fixed length, so it takes no padding. The group is bound by the signed commit's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochKeyPlaintext;

impl EpochKeyPlaintext {
    /// Length in bytes.
    pub const LENGTH: usize = 48;
    /// The first eight bytes.
    pub const MAGIC: [u8; 8] = *b"waxwire\x20";
}
