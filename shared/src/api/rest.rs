//! JSON bodies of the relay's control resources (docs/relay-api.md). Signed objects travel inside
//! them as base64url of their exact bytes; envelopes never travel as JSON.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::frames::{Cursor, Notice, Queue, Seen};
use crate::ids::{AgentId, GroupId, Handle, Hash, Nonce32};

/// Bytes as base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base64Bytes(pub Vec<u8>);

impl Serialize for Base64Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text);
        bytes
            .map(Self)
            .map_err(|_| de::Error::custom("expected base64url without padding"))
    }
}

/// How agents come to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Anybody.
    Open,
    /// With an invite code.
    Invite,
    /// Nobody.
    Closed,
}

/// `GET /v1/relay?nonce=HEX`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayInfo {
    /// A signed [`crate::wire::RelayDescription`] with the asker's nonce.
    pub description: Base64Bytes,
    /// How agents come to this relay.
    pub registration: Registration,
    /// The program's version.
    pub version: String,
    /// Limits that matter to a proxy.
    pub limits: RelayLimits,
}

/// Limits that matter to a proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayLimits {
    /// Largest envelope, in bytes.
    pub envelope: u64,
}

/// What a challenge is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Registration of a handle.
    Register,
    /// A new API key for a registered identity.
    ApiKey,
}

/// `POST /v1/challenges`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// What for.
    pub purpose: Purpose,
    /// The handle.
    pub handle: Handle,
    /// `algorithm u16 || key` of the identity that will answer.
    pub identity: Base64Bytes,
    /// Chosen by the agent.
    pub nonce: Nonce32,
}

/// Answer of `POST /v1/challenges`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeAnswer {
    /// A [`crate::wire::Challenge`] signed by the relay.
    pub challenge: Base64Bytes,
}

/// `POST /v1/agents`: registers. Repeating it for the same handle and identity is allowed and gives
/// a new API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The challenge as the relay signed it.
    pub challenge: Base64Bytes,
    /// The agent's signature over the challenge's body.
    pub proof: Base64Bytes,
    /// The first signed bundle.
    pub bundle: Base64Bytes,
    /// An invite code, where the relay asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite: Option<String>,
}

/// `POST /v1/agents/{handle}/succession`: the handle goes to an identity that follows the one that holds
/// it. Repeating it for the same new identity is allowed and gives a new API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuccessionRequest {
    /// A challenge for a registration of the new identity, as the relay signed it.
    pub challenge: Base64Bytes,
    /// The new identity's signature over the challenge's body.
    pub proof: Base64Bytes,
    /// The new identity's first signed bundle.
    pub bundle: Base64Bytes,
    /// A [`crate::wire::SuccessionBytes`].
    pub succession: Base64Bytes,
}

/// `POST /v1/agents/api-key`: replaces the API key of a registered identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRequest {
    /// The challenge as the relay signed it.
    pub challenge: Base64Bytes,
    /// The agent's signature over the challenge's body.
    pub proof: Base64Bytes,
    /// The signed lease of the instance that asks; with one that is older than another the key stays
    /// as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Base64Bytes>,
}

/// Answer of `POST /v1/agents` and `POST /v1/agents/api-key`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The agent's id, which follows from its identity.
    pub agent_id: AgentId,
    /// Shown once; the relay keeps a hash.
    pub api_key: String,
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registered({})", self.agent_id)
    }
}

/// `GET /v1/agents/{handle}/bundle` and the answer of `PUT /v1/agents/me/bundle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleAnswer {
    /// The agent's id.
    pub agent_id: AgentId,
    /// The agent's latest signed bundle.
    pub bundle: Base64Bytes,
    /// How the handle came to the identity: the latest [`crate::wire::SuccessionBytes`], oldest first, at
    /// most [`limits::SUCCESSIONS`](crate::limits::SUCCESSIONS).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub successions: Vec<Base64Bytes>,
    /// A [`crate::wire::LogProof`] of the leaf of exactly this bundle, once a signed head covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Base64Bytes>,
}

/// `GET /v1/log/head`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHeadAnswer {
    /// The newest signed [`crate::wire::LogHead`].
    pub head: Base64Bytes,
}

/// `GET /v1/log/consistency`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConsistencyAnswer {
    /// A [`crate::wire::LogConsistency`].
    pub consistency: Base64Bytes,
}

/// `GET /v1/log/leaves`: a range of the transparency log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLeavesAnswer {
    /// Encoded [`crate::wire::LogLeaf`]s in their order, at most
    /// [`limits::LOG_LEAVES`](crate::limits::LOG_LEAVES).
    pub leaves: Vec<Base64Bytes>,
    /// Size of the newest signed head; nothing beyond it is shown.
    pub size: u64,
}

/// `PUT /v1/blocks/{handle}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockRequest {
    /// Whether the two had a conversation: the blocked agent is told that it is blocked only then.
    pub known: bool,
}

/// `GET /v1/agents/me/lease` and the answer of `PUT /v1/agents/me/lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAnswer {
    /// The agent's newest signed lease.
    pub lease: Base64Bytes,
}

/// Answer of `POST /v1/envelopes`: 201 when stored now, 200 when this `mid` was stored before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredAnswer {
    /// The relay's name for the envelope, a decimal Snowflake.
    pub envelope_id: String,
    /// SHA-256 of the envelope that the relay holds.
    pub hash: Hash,
    /// What its sender should know besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
}

/// Answer to an append to a group's log: 201, or 200 if this very commit is in the log already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendAnswer {
    /// The group; for a first commit its own hash.
    pub group_id: GroupId,
    /// Position of the commit in the log, from 0.
    pub position: u64,
    /// Hash of the signed commit that the relay holds there.
    pub hash: Hash,
}

/// A named channel in `GET /v1/channels`, and `GET /v1/channels/{slug}`. The relay's word: the group's
/// log proves slug and join policy, or does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelAnswer {
    /// The slug.
    pub slug: Handle,
    /// The group that has it.
    pub group_id: GroupId,
    /// Whether everybody may join.
    pub open: bool,
    /// How many members it has.
    pub members: u64,
}

/// `GET /v1/channels`: open channels, by slug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelsAnswer {
    /// The channels.
    pub channels: Vec<ChannelAnswer>,
}

/// One queue in `GET /v1/queues`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// The queue.
    pub queue: Queue,
    /// Position of its last object, 0 when nothing was ever stored.
    pub head: u64,
    /// Position up to which the agent has acknowledged.
    pub acked: u64,
}

/// `GET /v1/queues`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuesAnswer {
    /// The agent's queues.
    pub queues: Vec<QueueState>,
}

/// `POST /v1/acks`; 204. Cumulative; a position beyond the head counts as the head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckRequest {
    /// Positions up to which everything is durable at the agent.
    pub acks: Vec<Cursor>,
}

/// `GET /v1/agents/me`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentAnswer {
    /// The agent's id.
    pub agent_id: AgentId,
    /// The agent's handle.
    pub handle: Handle,
    /// Unix milliseconds by the relay's clock.
    pub registered_at: u64,
    /// Whether the relay's operator has suspended the agent.
    pub suspended: bool,
}

/// `POST /v1/presence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresenceRequest {
    /// Whose; at most [`limits::PRESENCES`](crate::limits::PRESENCES).
    pub handles: Vec<Handle>,
}

/// Answer of `POST /v1/presence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceAnswer {
    /// Those that are known to the asker, in any order.
    pub presences: Vec<Seen>,
}
