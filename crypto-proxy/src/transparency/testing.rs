//! A relay's log in a few lines, with everything in memory.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use waxwire_shared::{
    identity::IdentityKey,
    ids::{Hash, RelayId},
    merkle::{consistency_path, inclusion_path, leaf_hash, root},
    wire::{Document as _, LogConsistency, LogHead, LogLeaf, LogProof, VERSION},
};

use super::LogOwner;
use crate::crypto::secret::IdentitySecret;

/// A log and who signs its heads.
#[derive(Debug)]
pub(crate) struct TestLog {
    pub(crate) relay: RelayId,
    pub(crate) id: Hash,
    pub(crate) leaves: Vec<LogLeaf>,
    secret: IdentitySecret,
}

/// Leaf number `n` of nobody in particular.
pub(crate) fn leaf(n: u64) -> LogLeaf {
    LogLeaf {
        handle_tag: Hash::from_bytes([n as u8; 32]),
        number: n,
        bundle: leaf_hash(&n.to_be_bytes()),
    }
}

/// The key with which the relay of all tests signs.
pub(crate) fn signer() -> IdentitySecret {
    IdentitySecret::generate(&mut ChaCha20Rng::from_seed([200; 32]))
}

impl TestLog {
    pub(crate) fn new(relay: RelayId, id: u8) -> Self {
        Self {
            relay,
            id: Hash::from_bytes([id; 32]),
            leaves: Vec::new(),
            secret: signer(),
        }
    }

    /// One with so many leaves of nobody in particular.
    pub(crate) fn of_size(size: u64) -> Self {
        let mut log = Self::new(RelayId::from_bytes([9; 32]), 1);
        log.leaves = (0..size).map(leaf).collect();
        log
    }

    pub(crate) fn identity(&self) -> &IdentityKey {
        self.secret.public()
    }

    pub(crate) fn owner(&self) -> LogOwner<'_> {
        LogOwner {
            relay: &self.relay,
            identity: self.identity(),
        }
    }

    fn hashes(&self, size: u64) -> Vec<Hash> {
        let leaves = self.leaves.iter().take(size as usize);
        leaves.map(|leaf| leaf_hash(&leaf.encode())).collect()
    }

    pub(crate) fn body(&self, size: u64) -> LogHead {
        LogHead {
            version: VERSION,
            relay: self.relay,
            log: self.id,
            size,
            root: root(&self.hashes(size)),
            time: 1_000 + size,
            map_root: None,
            co_signatures: None,
        }
    }

    pub(crate) fn sign(&self, head: &LogHead) -> Vec<u8> {
        self.secret.sign_document(head)
    }

    /// The signed head over the first leaves.
    pub(crate) fn head(&self, size: u64) -> Vec<u8> {
        self.sign(&self.body(size))
    }

    pub(crate) fn newest(&self) -> Vec<u8> {
        self.head(self.leaves.len() as u64)
    }

    pub(crate) fn proof(&self, index: u64, size: u64) -> Vec<u8> {
        let path = inclusion_path(&self.hashes(size), index as usize);
        let head = self.head(size);
        LogProof { head, index, path }.encode()
    }

    pub(crate) fn consistency(&self, from: u64, to: u64) -> Vec<u8> {
        LogConsistency {
            earlier: self.head(from),
            later: self.head(to),
            path: consistency_path(&self.hashes(to), from as usize),
        }
        .encode()
    }
}
