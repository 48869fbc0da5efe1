//! An agent: its keys, its account, its engine.

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use waxwire_proxy::{
    crypto::secret::{EncryptionSecret, IdentitySecret, SendIdKey, StateMasterKey},
    engine::{Account, Effect, EncryptionKey, Engine, Event, Now, Settings},
    state::{ColumnKeys, StateError, Store},
};
use waxwire_shared::{
    hash::sha256,
    ids::{AgentId, Handle, Hash, RelayId, SessionId},
    suite::Suite,
    wire::{Bundle, BundleKey, VERSION},
};

pub(super) const START: u64 = 1_800_000_000_000;
const DAY: u64 = 24 * 3_600 * 1_000;

fn relay_secret() -> IdentitySecret {
    IdentitySecret::from_slice(&[7; 32]).unwrap()
}

fn relay_id() -> RelayId {
    RelayId::of(relay_secret().public())
}

/// An agent and its engine.
pub(super) struct Party {
    engine: Engine,
    pub(super) agent_id: AgentId,
    pub(super) handle: Handle,
    pub(super) bundle: Vec<u8>,
    pub(super) now: u64,
}

impl Party {
    pub(super) fn new(name: &str, seed: u8) -> Self {
        let store = Store::in_memory(columns(), [seed; 8]).unwrap();
        Self::with_store(name, seed, store).unwrap()
    }

    pub(super) fn with_store(name: &str, seed: u8, store: Store) -> Result<Self, StateError> {
        let (account, bundle) = account(name, seed);
        store.put_own_bundle(&bundle)?;
        let rng = ChaCha20Rng::from_seed([seed; 32]);
        Ok(Self {
            agent_id: account.agent_id,
            handle: account.handle.clone(),
            engine: Engine::new(account, Settings::default(), store, Box::new(rng)),
            bundle,
            now: START + 1_000,
        })
    }

    pub(super) fn hear(&mut self, told: &[(u64, Vec<Event>)]) {
        for (now, events) in told {
            self.now = *now;
            self.handle(events.clone());
        }
    }

    pub(super) fn handle(&mut self, events: Vec<Event>) -> Vec<Effect> {
        let now = Now {
            unix: self.now,
            running: self.now - START,
        };
        self.engine.handle_batch(events.into_iter(), now)
    }
}

/// The keys of every state here.
pub(super) fn columns() -> Arc<ColumnKeys> {
    Arc::new(ColumnKeys::new(StateMasterKey::from_slice(&[6; 32]).unwrap()))
}

/// An agent and its bundle, the same whenever they are asked for.
pub(crate) fn account(name: &str, seed: u8) -> (Account, Vec<u8>) {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let (identity, secret) = keys(seed);
    let handle: Handle = name.parse().unwrap();
    let bundle = identity.sign_document(&Bundle {
        version: VERSION,
        relay: relay_id(),
        handle: handle.clone(),
        identity: identity.public().clone(),
        number: START,
        not_before: START - 1,
        not_after: START + 90 * DAY,
        previous: None,
        min_suite: Suite::CLASSIC,
        keys: vec![BundleKey {
            suite: Suite::CLASSIC,
            number: START,
            public: secret.public().as_bytes().to_vec(),
        }],
        recovery: Hash::from_bytes([0; 32]),
    });
    let agent_id = AgentId::of(&relay_id(), identity.public());
    let account = Account {
        handle: handle.clone(),
        relay: relay_id(),
        relay_identity: relay_secret().public().clone(),
        agent_id,
        identity,
        send_id_key: SendIdKey::generate(&mut rng),
        encryption_keys: vec![EncryptionKey {
            number: START,
            suite: Suite::CLASSIC,
            secret,
            superseded: None,
            emptied: None,
        }],
        key_number: START,
        bundle_hash: sha256(&bundle),
        bundle_number: START,
        recovery: Hash::from_bytes([0; 32]),
        session: SessionId::from_bytes([seed; 16]),
        incarnation: START,
    };
    (account, bundle)
}

/// The same keys whenever they are asked for.
pub(super) fn keys(seed: u8) -> (IdentitySecret, EncryptionSecret) {
    let identity = IdentitySecret::from_slice(&[seed; 32]).unwrap();
    (
        identity,
        EncryptionSecret::from_slice(&[seed + 0x80; 32]).unwrap(),
    )
}
