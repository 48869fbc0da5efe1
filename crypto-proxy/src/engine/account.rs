//! What the engine knows of its own agent, and how it is set up.

use waxwire_shared::{
    identity::IdentityKey,
    ids::{AgentId, Handle, Hash, RelayId, SessionId},
    suite::Suite,
};

use super::Notice;
use crate::{
    crypto::secret::{EncryptionSecret, IdentitySecret, SendIdKey},
    model::{InboxMode, UnixMs},
};

/// One of the agent's own encryption keys.
#[derive(Debug)]
pub struct EncryptionKey {
    /// Number in the bundle.
    pub number: u64,
    /// Suite.
    pub suite: Suite,
    /// The secret half.
    pub secret: EncryptionSecret,
    /// When a bundle with its successor was published, Unix milliseconds.
    pub superseded: Option<UnixMs>,
    /// The proxy's running time when its queues were found empty for the first time since.
    pub emptied: Option<u64>,
}

/// The agent: identity, keys, numbering.
#[derive(Debug)]
pub struct Account {
    /// The agent's handle.
    pub handle: Handle,
    /// The relay that it is registered at.
    pub relay: RelayId,
    /// That relay's identity, as it was pinned.
    pub relay_identity: IdentityKey,
    /// Its id there.
    pub agent_id: AgentId,
    /// Signs everything.
    pub identity: IdentitySecret,
    /// Makes `mid`s.
    pub send_id_key: SendIdKey,
    /// Own encryption keys that may still be sealed to.
    pub encryption_keys: Vec<EncryptionKey>,
    /// Number of the one in the own current bundle.
    pub key_number: u64,
    /// Hash of the own current signed bundle.
    pub bundle_hash: Hash,
    /// Highest number that an own bundle was ever given.
    pub bundle_number: u64,
    /// What bundles say of the recovery key.
    pub recovery: Hash,
    /// This run of numbering.
    pub session: SessionId,
    /// Its incarnation.
    pub incarnation: u64,
}

/// To whom the agent may be shown as online.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShowPresence {
    /// To everybody at the relay, and to nobody while the agent wants to be taken for absent.
    #[default]
    Everyone,
    /// To nobody.
    Nobody,
}

/// What a first contact needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrustPolicy {
    /// Nothing: the first identity seen is pinned.
    #[default]
    Tofu,
    /// A fingerprint.
    Pinned,
    /// A fingerprint, and the operator's word that it was compared.
    Verified,
}

/// How the engine is set up; times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Who may write without being let in, unless the agent has set it.
    pub inbox_mode: InboxMode,
    /// What a first contact needs.
    pub trust_policy: TrustPolicy,
    /// To whom the agent may be shown as online.
    pub show_presence: ShowPresence,
    /// How long an agent waits for the outcome of a send before it is told 503.
    pub answer_within: u64,
    /// How long an envelope is offered to the relay before it is given up.
    pub send_deadline: u64,
    /// How old a cached bundle may be before a send looks it up again.
    pub bundle_age: u64,
    /// How long the relay may take until a bundle that it shows is proved to be in its log, if it keeps one.
    pub log_within: u64,
    /// How often the same content may be sent in a minute; 0 is as often as the agent likes.
    pub duplicates: u64,
    /// How long a message waits for numbers that are missing before it.
    pub gap_wait: u64,
    /// How long receipts are collected.
    pub receipt_delay: u64,
    /// How much running time an own encryption key is published for.
    pub key_rotation: u64,
    /// How much running time a superseded key is kept after the queues were emptied.
    pub key_retention: u64,
    /// Longest random delay before this agent pays for a rekey that is due in a group.
    pub pay_within: u64,
    /// Longest random delay before this agent sends again what somebody misses.
    pub answer_delay: u64,
    /// Most that waits for one webhook.
    pub hook_queue: u64,
    /// What webhooks are told of a notice that is no message, as compact JSON: the form is the local API's.
    pub hook_form: HookForm,
}

/// See [`Settings::hook_form`].
#[derive(Debug, Clone, Copy)]
pub struct HookForm(pub fn(&Notice) -> Option<String>);

impl Default for Settings {
    fn default() -> Self {
        Self {
            inbox_mode: InboxMode::Open,
            trust_policy: TrustPolicy::Tofu,
            show_presence: ShowPresence::Everyone,
            answer_within: 10_000,
            send_deadline: 600_000,
            bundle_age: 24 * 3_600 * 1_000,
            log_within: 2 * 3_600 * 1_000,
            duplicates: 60,
            gap_wait: 2_000,
            receipt_delay: 250,
            key_rotation: 7 * 24 * 3_600 * 1_000,
            key_retention: 48 * 3_600 * 1_000,
            pay_within: 30_000,
            answer_delay: 2_000,
            hook_queue: 10_000,
            hook_form: HookForm(|_| None),
        }
    }
}
