//! What a key store holds.

use crate::{
    credential::ApiKey,
    crypto::secret::{EncryptionSecret, IdentitySecret, SendIdKey, StateMasterKey},
};
use rand_core::CryptoRng;
use waxwire_shared::{
    identity::IdentityKey,
    ids::{AgentId, Handle, Hash, RelayId, SessionId},
    suite::Suite,
};

/// Everything that a proxy must not lose and nobody else may have (docs/protocol.md, 8.1).
///
/// The local database holds the rest, sealed under keys that come from here.
#[derive(Debug)]
pub struct Keys {
    /// How far the agent is set up.
    pub status: Status,
    /// The agent's handle.
    pub handle: Handle,
    /// The relay, pinned at `init`.
    pub relay: RelayPin,
    /// Hash of the recovery public key, as bundles carry it; the secret half is not here.
    pub recovery: Hash,
    /// The identity.
    pub identity: IdentitySecret,
    /// The identity that is about to follow, while a succession is under way.
    pub next_identity: Option<IdentitySecret>,
    /// Identities that were followed by another and are kept for a while.
    pub former_identities: Vec<FormerIdentity>,
    /// Makes `mid`s; the same over restores.
    pub send_id: SendIdKey,
    /// Root of the local database's keys.
    pub state_master: StateMasterKey,
    /// The API key at the relay, once registered.
    pub api_key: Option<ApiKey>,
    /// Own encryption keys that are not erased yet, oldest first.
    pub encryption: Vec<EncryptionRecord>,
    /// The proxy's incarnation.
    pub incarnation: u64,
    /// The session of that incarnation.
    pub session: SessionId,
    /// Highest number of an own bundle.
    pub bundle_number: u64,
    /// Hash of the own signed bundle of that number, which the next one names as its previous.
    pub bundle: Option<Hash>,
}

/// How far an agent is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Made, not registered at the relay yet.
    New,
    /// In use.
    Active,
    /// Restored from a backup; sends nothing before lease, bundle and rekeys are through.
    Restoring,
}

/// The relay that an agent is registered at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayPin {
    /// Its identity; any other is refused.
    pub identity: IdentityKey,
    /// Its URL.
    pub url: String,
}

/// An identity that another one followed.
#[derive(Debug)]
pub struct FormerIdentity {
    /// Its secret half.
    pub secret: IdentitySecret,
    /// When it was followed, Unix milliseconds.
    pub since_ms: u64,
}

/// An own encryption key.
#[derive(Debug)]
pub struct EncryptionRecord {
    /// Suite of boxes to it.
    pub suite: Suite,
    /// Its number in bundles.
    pub number: u64,
    /// Its secret half.
    pub secret: EncryptionSecret,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// When a bundle with its successor was published, Unix milliseconds.
    pub superseded_ms: Option<u64>,
    /// Value of the proxy's running-time clock, in milliseconds, when its queue was found empty for
    /// the first time since: the erasure delay counts from here.
    pub drained_running_ms: Option<u64>,
}

impl Keys {
    /// Fresh secrets for a new agent: identity, send-id key, state key and one encryption key,
    /// numbered `now_ms`, as are incarnation and the first bundle.
    ///
    /// `rng` gives the four secrets and the session, 144 bytes.
    #[must_use]
    pub fn generate(
        rng: &mut (impl CryptoRng + ?Sized),
        handle: Handle,
        relay: RelayPin,
        recovery: Hash,
        now_ms: u64,
    ) -> Self {
        let mut session = [0; SessionId::LENGTH];
        rng.fill_bytes(&mut session);
        Self {
            status: Status::New,
            handle,
            relay,
            recovery,
            identity: IdentitySecret::generate(rng),
            next_identity: None,
            former_identities: Vec::new(),
            send_id: SendIdKey::generate(rng),
            state_master: StateMasterKey::generate(rng),
            api_key: None,
            encryption: vec![EncryptionRecord::generate(rng, now_ms, now_ms)],
            incarnation: now_ms,
            session: SessionId::from_bytes(session),
            bundle_number: now_ms,
            bundle: None,
        }
    }

    /// The relay's id.
    #[must_use]
    pub fn relay_id(&self) -> RelayId {
        RelayId::of(&self.relay.identity)
    }

    /// The agent's id at its relay.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        AgentId::of(&self.relay_id(), self.identity.public())
    }

    /// The own encryption key of a number, unless it is erased.
    #[must_use]
    pub fn encryption_key(&self, number: u64) -> Option<&EncryptionRecord> {
        self.encryption.iter().find(|record| record.number == number)
    }

    /// The own encryption key that no other has followed.
    #[must_use]
    pub fn current_encryption_key(&self) -> Option<&EncryptionRecord> {
        let current = self
            .encryption
            .iter()
            .filter(|record| record.superseded_ms.is_none());
        current.max_by_key(|record| record.number)
    }
}

impl EncryptionRecord {
    /// A new key of [`Suite::CLASSIC`] from 32 bytes of `rng`.
    #[must_use]
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized), number: u64, now_ms: u64) -> Self {
        Self {
            suite: Suite::CLASSIC,
            number,
            secret: EncryptionSecret::generate(rng),
            created_ms: now_ms,
            superseded_ms: None,
            drained_running_ms: None,
        }
    }
}
