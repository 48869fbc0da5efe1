//! The transparency log (docs/protocol.md, 10).

use super::{rules, wire_map};
use crate::{
    ids::{Hash, RelayId},
    labels::Label,
    limits,
    sign::SignedDocument,
};

wire_map! {
    /// One entry: which bundle a handle had.
    pub struct LogLeaf, max(256) {
        /// Argon2id of the handle, salted by the relay id: no list of handles.
        1 => handle_tag: Hash,
        /// The bundle's number.
        2 => number: u64,
        /// SHA-256 of the signed bundle.
        3 => bundle: Hash,
    }
}

wire_map! {
    /// A signed state of the log. Signed under [`Label::SigLogHead`] by the relay's identity.
    pub struct LogHead, max(1024) {
        /// Protocol version.
        1 => version: u16 where rules::version,
        /// The relay.
        2 => relay: RelayId,
        /// Names the log; another one means that the old was lost.
        3 => log: Hash,
        /// Number of leaves.
        4 => size: u64,
        /// RFC 9162 root.
        5 => root: Hash,
        /// Unix milliseconds by the relay's clock.
        6 => time: u64,
        /// Reserved for a map root.
        7 => map_root: Option<Hash>,
        /// Reserved for co-signatures.
        8 => co_signatures: Option<Vec<Vec<u8>>> where rules::documents(1..=16, 512),
    }
}

impl SignedDocument for LogHead {
    const LABEL: Label = Label::SigLogHead;
}

wire_map! {
    /// Inclusion of a leaf under a head.
    pub struct LogProof, max(8 * 1024) {
        /// The signed head.
        1 => head: Vec<u8> where rules::length(1..=limits::LOG_HEAD),
        /// Index of the leaf.
        2 => index: u64,
        /// Hashes from leaf to root.
        3 => path: Vec<Hash> where rules::items(0..=limits::MERKLE_PATH),
    }
}

wire_map! {
    /// That a later head continues an earlier one.
    pub struct LogConsistency, max(8 * 1024) {
        /// The earlier signed head.
        1 => earlier: Vec<u8> where rules::length(1..=limits::LOG_HEAD),
        /// The later signed head.
        2 => later: Vec<u8> where rules::length(1..=limits::LOG_HEAD),
        /// RFC 9162 consistency path from the earlier to the later size.
        3 => path: Vec<Hash> where rules::items(0..=2 * limits::MERKLE_PATH),
    }
}
