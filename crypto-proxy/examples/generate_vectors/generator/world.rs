//! Who appears in the vectors.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use waxwire_proxy::crypto::secret::{EncryptionSecret, IdentitySecret};
use waxwire_shared::{
    hash::sha256,
    identity::IdentityKey,
    ids::{AgentId, Handle, Hash, RelayId, SessionId},
    suite::Suite,
    wire::{Bundle, BundleKey, VERSION},
};

/// 2026-01-01T00:00:00Z.
pub(super) const NOW: u64 = 1_767_225_600_000;

/// An agent with one encryption key.
pub(super) struct Agent {
    pub(super) identity: IdentitySecret,
    pub(super) encryption: EncryptionSecret,
    pub(super) handle: Handle,
    pub(super) session: SessionId,
}

impl Agent {
    fn new(seed: u8, handle: &str) -> Self {
        Self {
            identity: IdentitySecret::from_slice(&[seed; 32]).unwrap(),
            encryption: EncryptionSecret::from_slice(&[seed + 0x80; 32]).unwrap(),
            handle: handle.parse().unwrap(),
            session: SessionId::from_bytes([seed; 16]),
        }
    }

    pub(super) fn key(&self) -> IdentityKey {
        self.identity.public().clone()
    }

    pub(super) fn agent_id(&self) -> AgentId {
        AgentId::of(&relay_id(), self.identity.public())
    }

    /// Hash of the signed bundle.
    pub(super) fn identity_bundle_hash(&self) -> Hash {
        sha256(&self.identity.sign_document(&self.bundle()))
    }

    pub(super) fn bundle(&self) -> Bundle {
        Bundle {
            version: VERSION,
            relay: relay_id(),
            handle: self.handle.clone(),
            identity: self.key(),
            number: NOW,
            not_before: NOW,
            not_after: NOW + 90 * 24 * 3_600 * 1_000,
            previous: None,
            min_suite: Suite::CLASSIC,
            keys: vec![BundleKey {
                suite: Suite::CLASSIC,
                number: KEY_NUMBER,
                public: self.encryption.public().as_bytes().to_vec(),
            }],
            recovery: Bundle::recovery_hash(recovery().public()),
        }
    }
}

/// Number of everybody's encryption key.
pub(super) const KEY_NUMBER: u64 = 7;

pub(super) fn alice() -> Agent {
    Agent::new(1, "alice")
}

pub(super) fn bob() -> Agent {
    Agent::new(2, "bob")
}

pub(super) fn carol() -> Agent {
    Agent::new(3, "carol")
}

pub(super) fn dave() -> Agent {
    Agent::new(4, "dave")
}

/// Everybody's recovery key.
pub(super) fn recovery() -> IdentitySecret {
    IdentitySecret::from_slice(&[0x5e; 32]).unwrap()
}

pub(super) fn relay() -> IdentitySecret {
    IdentitySecret::from_slice(&[0x70; 32]).unwrap()
}

pub(super) fn relay_id() -> RelayId {
    RelayId::of(relay().public())
}

pub(super) fn hash(byte: u8) -> Hash {
    Hash::from_bytes([byte; 32])
}

/// Randomness of what is sealed, one stream for each use.
pub(super) fn rng(stream: u64) -> ChaCha20Rng {
    let mut rng = ChaCha20Rng::from_seed(*b"waxwire vectors, version 1......");
    rng.set_stream(stream);
    rng
}
