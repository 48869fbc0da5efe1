//! What goes into and comes out of a store. Numbers (`AgentNo`, `QueueNo`) are the store's own and
//! never leave the relay.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use waxwire_shared::{
    api::frames::{Notice, Queue},
    identity::IdentityKey,
    ids::{AgentId, GroupId, Handle, Hash, Mid, SessionId},
    wire::Lane,
};

use super::{Appended, WriteError};
use crate::limits::{Due, TierLimits};

/// The store's number of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentNo(pub(in crate::store) i64);

/// The store's number of an organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrgNo(pub(in crate::store) i64);

/// The store's number of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueNo(pub(in crate::store) i64);

impl AgentNo {
    /// As other nodes are told it.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// As other nodes tell it; there may be no such agent.
    #[must_use]
    pub const fn of(number: i64) -> Self {
        Self(number)
    }
}

impl OrgNo {
    /// As other nodes are told it.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }
}

impl QueueNo {
    /// As other nodes are told it.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// As other nodes tell it; there may be no such queue.
    #[must_use]
    pub const fn of(number: i64) -> Self {
        Self(number)
    }
}

/// What an API key gives access to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The agent.
    pub agent: AgentNo,
    /// Its public id.
    pub id: AgentId,
    /// Its mail queue.
    pub mail: QueueNo,
    /// Its control queue.
    pub control: QueueNo,
    /// SHA-256 of the API key that was shown.
    pub key: Hash,
    /// Whether the operator has suspended it.
    pub suspended: bool,
    /// The limits of its organisation's tier.
    pub limits: TierLimits,
}

/// An organisation: its agents have a limit in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgRecord {
    /// Its name.
    pub name: String,
    /// The name of its tier.
    pub tier: String,
    /// How many agents belong to it.
    pub agents: u64,
}

/// What became of an organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrgOutcome {
    /// It is new.
    Created,
    /// It has another tier now.
    Changed,
    /// It was so before.
    Same,
}

/// When an agent was last there, Unix milliseconds.
pub type LastSeen = (AgentNo, u64);

/// An agent as the operator and the agent itself see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRecord {
    /// The agent's public id.
    pub id: AgentId,
    /// Its handle.
    pub handle: Handle,
    /// Its identity.
    pub identity: IdentityKey,
    /// Unix milliseconds.
    pub registered_at: u64,
    /// Unix milliseconds since when it is suspended.
    pub suspended_at: Option<u64>,
    /// SHA-256 of the API key that works, if it holds one.
    pub api_key: Option<Hash>,
    /// Its organisation.
    pub org: String,
}

/// What an agent tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its handle.
    pub handle: Handle,
    /// How it wants to be called.
    pub display_name: Option<String>,
    /// What it says that it is.
    pub description: Option<String>,
    /// Unix milliseconds.
    pub registered_at: u64,
}

/// A page of what a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryPage {
    /// The agents.
    pub agents: Vec<Profile>,
    /// How many there are in all.
    pub total: u64,
}

/// A registration whose proof, bundle and challenge have been verified.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The agent id that follows from the identity.
    pub id: AgentId,
    /// The handle that it asks for.
    pub handle: Handle,
    /// Its identity.
    pub identity: IdentityKey,
    /// Hash of its new API key.
    pub api_key_hash: Hash,
    /// Its bundle.
    pub bundle: BundleBytes,
    /// The challenge that it answered.
    pub challenge: UsedChallenge,
    /// Who may come.
    pub admission: Admission,
}

/// A verified signed bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleBytes {
    /// Its number.
    pub number: u64,
    /// The signed bundle, verbatim.
    pub bytes: Vec<u8>,
}

/// A challenge that is used up by what it is presented for.
#[derive(Debug, Clone, Copy)]
pub struct UsedChallenge {
    /// Hash of its body.
    pub hash: Hash,
    /// Unix milliseconds after which it would be refused anyway.
    pub expires_at: u64,
}

/// Whether an unknown identity may register. Known ones may always repeat their registration.
#[derive(Debug, Clone, Copy)]
pub enum Admission {
    /// Yes.
    Open,
    /// With an unused invite code of this hash.
    Invite(Option<Hash>),
    /// No.
    Closed,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// The agent is new.
    Created(AgentNo),
    /// The same handle and identity again; the API key was replaced.
    Repeated(AgentNo),
    /// The handle belongs to another identity.
    HandleTaken,
    /// The identity has another handle.
    IdentityTaken,
    /// The challenge was used before.
    ChallengeUsed,
    /// A bundle that is not older is held.
    StaleBundle,
    /// An invite code is needed, and none that is unused and valid was given.
    InviteRefused,
    /// Nobody new may come.
    Closed,
    /// The agent is suspended.
    Suspended,
}

/// A succession whose signatures have been verified.
#[derive(Debug, Clone)]
pub struct NewSuccession {
    /// Who has to hold the handle for it to count.
    pub old: AgentId,
    /// Hash of the recovery key that signed, if one did: the newest bundle of `old` has to carry it.
    pub recovery: Option<Hash>,
    /// Verbatim.
    pub bytes: Vec<u8>,
}

/// What became of a succession.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuccessionOutcome {
    /// The handle went to the new identity.
    Done {
        /// Who had it.
        old: AgentNo,
        /// Who has it.
        new: AgentNo,
    },
    /// The new identity holds the handle already; its API key was replaced.
    Repeated(AgentNo),
    /// Nobody holds the handle.
    Unknown,
    /// The handle is held by neither of the two, or the newest bundle of the old identity names
    /// another recovery key.
    Refused,
    /// The new identity has or had a handle.
    IdentityTaken,
    /// The challenge was used before.
    ChallengeUsed,
    /// A bundle that is not older is held.
    StaleBundle,
    /// The old identity, which signed, has mail that it did not acknowledge.
    NotDrained,
    /// The agent is suspended.
    Suspended,
}

/// What became of a request for a new API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOutcome {
    /// The key was replaced.
    Replaced(AgentNo),
    /// No such handle with that identity.
    Unknown,
    /// The challenge was used before.
    ChallengeUsed,
    /// The agent is suspended.
    Suspended,
}

/// What became of a published bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleOutcome {
    /// It is the latest now.
    Stored,
    /// The same bytes were held already.
    Repeated,
    /// A bundle that is not older is held.
    Stale,
}

/// A verified signed lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLease {
    /// Of the instance.
    pub incarnation: u64,
    /// Of the instance.
    pub session: SessionId,
    /// When it was signed, Unix milliseconds by the instance's clock.
    pub time: u64,
    /// The signed lease, verbatim.
    pub bytes: Vec<u8>,
}

/// What became of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// It is the newest now.
    Stored(AgentNo),
    /// The same bytes were held already.
    Repeated,
    /// Another one stands in the way: of a higher incarnation, of another session in the same, or
    /// signed later.
    Stale {
        /// Whose.
        agent: AgentNo,
        /// That one, as signed.
        held: Vec<u8>,
    },
    /// No such agent.
    Unknown,
}

/// An envelope to be stored.
#[derive(Debug, Clone)]
pub struct NewEnvelope {
    /// Who sends, by authentication.
    pub sender: AgentNo,
    /// The sender's idempotency key.
    pub mid: Mid,
    /// Where to.
    pub target: Target,
    /// SHA-256 of the envelope.
    pub hash: Hash,
    /// The envelope, verbatim.
    pub bytes: Bytes,
}

/// Where an envelope goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To a queue of one agent.
    Direct {
        /// The recipient.
        to: AgentId,
        /// Which queue.
        lane: Lane,
    },
    /// To the messages of a group.
    Group {
        /// The group.
        group: GroupId,
        /// The epoch that it is sealed under.
        epoch: u64,
    },
}

/// What became of a send that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// Durable from now on.
    Stored {
        /// The relay's name for it.
        envelope_id: u64,
        /// What its sender should know besides.
        notice: Option<Box<Notice>>,
    },
    /// An envelope with this `mid` was stored before.
    Repeated {
        /// The relay's name for that one.
        envelope_id: u64,
        /// SHA-256 of that one.
        hash: Hash,
    },
    /// No such recipient, or not for this sender.
    NotFound,
    /// One of the two has blocked the other, and the sender may know.
    Blocked,
    /// The group has ended.
    Gone,
    /// The recipient's handle went to another identity.
    Succeeded,
    /// The epoch is not the group's current one, or that is closed.
    EpochClosed {
        /// The current one.
        current: u64,
    },
    /// Too much waits for the recipient already.
    Backlogged {
        /// How much.
        waiting: u64,
        /// How much may.
        cap: u64,
    },
    /// The sender or its organisation sends too much.
    TooOften(Due),
}

/// The answer to a send.
pub type SendResult = Result<SendOutcome, WriteError>;

/// Takes answers to many sends, in the order in which they were decided.
pub trait AnswerSink: Send + Sync {
    /// The answer to the send that was submitted as `request`. Must not block.
    fn answer(&self, request: u32, hash: Hash, result: SendResult);
}

/// Who waits for the answer to a send.
pub enum Reply {
    /// One waiting request.
    Once(oneshot::Sender<SendResult>),
    /// A stream of sends.
    Stream {
        /// Takes the answer.
        sink: Arc<dyn AnswerSink>,
        /// Names the send.
        request: u32,
    },
}

/// An envelope that has just become durable.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Where it stands.
    pub queue_no: QueueNo,
    /// The queue's name for who reads it.
    pub queue: Queue,
    /// Its place in the queue.
    pub position: u64,
    /// The relay's name for it.
    pub envelope_id: u64,
    /// Unix milliseconds.
    pub stored_at: u64,
    /// The envelope, verbatim.
    pub bytes: Bytes,
}

/// Learns what became durable: every envelope and commit once, each queue in order of its positions,
/// and memberships in order with both.
pub trait CommitListener: Send + Sync {
    /// Called after each commit of the database with what it appended to logs and then stored in
    /// other queues, never both empty. Must not block.
    fn stored(&self, appended: &[Appended], batch: &[Stored]);
}

/// A stored envelope, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEnvelope {
    /// Its place in the queue.
    pub position: u64,
    /// The relay's name for it.
    pub envelope_id: u64,
    /// Unix milliseconds.
    pub stored_at: u64,
    /// The envelope, verbatim.
    pub bytes: Vec<u8>,
}

/// Which part of a queue to read, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Positions above this.
    pub after: u64,
    /// Positions below this.
    pub before: Option<u64>,
    /// At most so many envelopes.
    pub limit: usize,
    /// Stop before the sum of their sizes exceeds this many bytes; one is always read.
    pub max_bytes: usize,
}

/// A range of a queue, with the queue's head as it was just before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Position of the queue's last envelope.
    pub head: u64,
    /// Whether there may be more in the range.
    pub more: bool,
    /// The envelopes.
    pub envelopes: Vec<StoredEnvelope>,
}

/// Head and ack of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueHead {
    /// Position of its last envelope, 0 when nothing was ever stored.
    pub head: u64,
    /// Position up to which its reader has acknowledged.
    pub acked: u64,
}

/// A change of an agent's credential or suspension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthEvent {
    /// Grows with every event.
    pub number: u64,
    /// Whose.
    pub agent: AgentNo,
}

/// The relay's secret identity key, and whether it was made just now.
pub struct RelaySecret {
    /// The Ed25519 secret key.
    pub secret: zeroize::Zeroizing<[u8; 32]>,
    /// Whether this call made it.
    pub created: bool,
}

impl std::fmt::Debug for RelaySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RelaySecret")
    }
}
