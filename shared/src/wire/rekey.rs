//! Rekeys and their leaves (docs/protocol.md, 6).

use super::{DecodeError, Reader, Wire, Writer, wire_enum, wire_map};
use crate::{identity::IdentityKey, ids::Hash, limits, suite::Suite};

wire_map! {
    /// What a commit says of a new epoch; the leaves travel beside it, bound by their root.
    pub struct Rekey {
        /// Number of the new epoch, the previous one plus 1.
        1 => epoch: u64,
        /// Suite of the epoch.
        2 => suite: Suite,
        /// `HKDF(epoch key, label)`, not bound to the group, so that re-use is seen.
        3 => commitment: Hash,
        /// RFC 9162 Merkle root over the encoded leaves, in roster order.
        4 => root: Hash,
        /// Number of leaves: the number of members after the commit's changes.
        5 => leaves: u32,
        /// Hash of the roster after the commit's changes.
        6 => roster: Hash,
    }
}

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
    pub struct Leaf, max(8 * 1024) {
        /// Place in roster order, from 0.
        1 => index: u32,
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
        Ok(content)
    }
}

wire_map! {
    /// All leaves of a rekey, as its author uploads them.
    pub struct Leaves, max(limits::REKEY) {
        /// Encoded [`Leaf`] documents in roster order.
        1 => leaves: Vec<Vec<u8>>,
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
