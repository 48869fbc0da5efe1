//! What the agent sees, as values: messages, conversations, peers, refusals. No JSON here; `api`
//! gives them their shape on the wire.

use std::{borrow::Cow, fmt, str::FromStr};

use waxwire_shared::{
    fingerprint::{Address, Fingerprint},
    ids::{ConversationId, GroupId, Handle, Hash},
};

mod attachments;
mod contacts;
mod groups;
mod presence;
mod refusal;
mod transparency;
mod trust;
mod webhooks;

pub use attachments::*;
pub use contacts::*;
pub use groups::*;
pub use presence::*;
pub use refusal::Refusal;
pub use transparency::*;
pub use trust::*;
pub use webhooks::*;

/// Unix time in milliseconds.
pub type UnixMs = u64;

/// Names an envelope that was given to the link: a row of the outbox.
pub type SendToken = u64;

/// Text that is no id of the local API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the local API")]
pub struct LocalIdError;

/// The first 16 bytes of a 32-byte id, as the local API shows them.
fn short(hash: &[u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}

fn parse_hex<const N: usize>(text: &str, prefix: &str) -> Result<[u8; N], LocalIdError> {
    let digits = text.strip_prefix(prefix).ok_or(LocalIdError)?;
    if digits.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(LocalIdError);
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| LocalIdError)?;
    Ok(bytes)
}

/// End-to-end message id: `msg_` and the first 32 hexadecimal digits of the core's message id; the
/// same at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub [u8; 16]);

impl From<Hash> for MessageId {
    fn from(hash: Hash) -> Self {
        Self(short(hash.as_bytes()))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "msg_{}", hex::encode(self.0))
    }
}

impl FromStr for MessageId {
    type Err = LocalIdError;

    fn from_str(text: &str) -> Result<Self, LocalIdError> {
        parse_hex(text, "msg_").map(Self)
    }
}

/// Local id of a conversation: `conv_` (direct) or `grp_` (group) and 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalConversation {
    /// Direct or group.
    pub kind: ConversationKind,
    /// The first 16 bytes of the conversation id that it had first.
    pub id: [u8; 16],
}

/// The two forms of conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConversationKind {
    /// Two agents.
    Direct,
    /// A group.
    Group,
}

impl LocalConversation {
    /// The local id of a direct conversation.
    #[must_use]
    pub fn direct(id: &ConversationId) -> Self {
        Self {
            kind: ConversationKind::Direct,
            id: short(id.as_bytes()),
        }
    }

    /// The local id of a group.
    #[must_use]
    pub fn group(id: &GroupId) -> Self {
        Self {
            kind: ConversationKind::Group,
            id: short(id.as_bytes()),
        }
    }
}

impl fmt::Display for LocalConversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.kind {
            ConversationKind::Direct => "conv_",
            ConversationKind::Group => "grp_",
        };
        write!(f, "{prefix}{}", hex::encode(self.id))
    }
}

impl FromStr for LocalConversation {
    type Err = LocalIdError;

    fn from_str(text: &str) -> Result<Self, LocalIdError> {
        let (kind, prefix) = if text.starts_with("grp_") {
            (ConversationKind::Group, "grp_")
        } else {
            (ConversationKind::Direct, "conv_")
        };
        Ok(Self {
            kind,
            id: parse_hex(text, prefix)?,
        })
    }
}

/// A place in the order of deliveries to the agent: `del_`, 16 digits that name the store, 16 of
/// the position. Opaque to agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeliveryId {
    /// Random, made with the store: an id of another store names nothing here.
    pub store: [u8; 8],
    /// The place of its message in the order in which messages became visible.
    pub position: u64,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "del_{}{:016x}", hex::encode(self.store), self.position)
    }
}

impl FromStr for DeliveryId {
    type Err = LocalIdError;

    fn from_str(text: &str) -> Result<Self, LocalIdError> {
        let bytes: [u8; 16] = parse_hex(text, "del_")?;
        let (mut store, mut position) = ([0; 8], [0; 8]);
        store.copy_from_slice(&bytes[..8]);
        position.copy_from_slice(&bytes[8..]);
        Ok(Self {
            store,
            position: u64::from_be_bytes(position),
        })
    }
}

/// How far a message got; never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Own: durable here, not yet known to be durable at the relay.
    Queued,
    /// Durable at the relay (own) or here (the peer's).
    Stored,
    /// Settled at the recipient's agent.
    Delivered,
    /// Read by the recipient's agent.
    Read,
    /// Own: refused for good.
    Failed,
}

/// How a peer's key is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Seen, not pinned.
    New,
    /// Pinned at first contact or by fingerprint.
    Pinned,
    /// Compared by the operator.
    Verified,
    /// The relay shows another identity without proof.
    Changed,
    /// Nothing goes to or comes from this peer, but in common groups.
    Blocked,
}

/// What was verified of a message; nothing here comes from the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// Signature, context and pin hold.
    pub verified: bool,
    /// The signer.
    pub sender_fingerprint: Fingerprint,
    /// How the signer is trusted now.
    pub trust: Trust,
    /// Numbers of the sender that are missing before this message.
    pub gap: Option<Gap>,
    /// Whether it came as a broadcast.
    pub broadcast: bool,
    /// The epoch of a group under which it was sealed.
    pub epoch: Option<u64>,
    /// Who granted it, if it was not sent to this agent but shown from the group's past.
    pub granted_by: Option<Handle>,
    /// It came after its author had left, from before the cut-off.
    pub late: bool,
    /// How many messages with this content, if it is long enough to be counted, came within an hour before it,
    /// from whomever.
    pub repeats: u64,
}

/// A hole in a sender's signed numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last number before the hole.
    pub after: u64,
    /// How many are missing.
    pub missing: u64,
}

/// A message that the agent can see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// End-to-end id.
    pub id: MessageId,
    /// Its conversation.
    pub conversation: LocalConversation,
    /// Who wrote it.
    pub sender: Handle,
    /// Whether this agent wrote it.
    pub own: bool,
    /// The author's idempotency key.
    pub client_msg_id: String,
    /// Local number in the conversation; 0 while an own message is not stored.
    pub seq: u64,
    /// The real message type.
    pub message_type: String,
    /// JSON text of the content object.
    pub content: String,
    /// JSON text of the metadata object.
    pub metadata: Option<String>,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
    /// How far it got.
    pub status: Status,
    /// When the author sent it, by the author's clock.
    pub created_at: UnixMs,
    /// When it was settled.
    pub delivered_at: Option<UnixMs>,
    /// When it was read.
    pub read_at: Option<UnixMs>,
    /// When it loses its meaning.
    pub expires_at: Option<UnixMs>,
    /// When it became visible here; an own one when the relay had it.
    pub visible_at: Option<UnixMs>,
    /// Its place in the order in which messages became visible here, in and out; 0 until then.
    pub place: u64,
    /// The delivery that carries it, for inbound ones.
    pub delivery: Option<DeliveryId>,
    /// What was verified.
    pub security: Security,
    /// The group that it stands in.
    pub group: Option<MessageGroup>,
    /// Of an own message to a group whose members confirm: the members that could read it and have not
    /// left, with what each has proved.
    pub recipients: Vec<Recipient>,
    /// Until when its author or its conversation is muted; 0 if neither is.
    pub muted_until: UnixMs,
}

/// A member of a group whom an own message was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub handle: Handle,
    /// [`Status::Stored`] until its receipt comes.
    pub status: Status,
}

/// What a message's reader wants to know of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageGroup {
    /// Name; `None` until the profile has come.
    pub name: Option<String>,
    /// Members now.
    pub members: u64,
}

/// How long an own message may be at the relay without a receipt until that is shown.
const UNCONFIRMED_AFTER_MS: u64 = 7 * 24 * 3_600 * 1_000;

impl Message {
    /// Whether it is not to be pushed to the agent now, and waits in sync.
    #[must_use]
    pub const fn is_muted(&self, now: UnixMs) -> bool {
        !self.own && self.muted_until > now
    }

    /// Whether it had lost its meaning before the agent got it, or has by now if it did not.
    #[must_use]
    pub fn is_expired(&self, now: UnixMs) -> bool {
        let got = self.delivered_at.unwrap_or(now);
        !self.own && self.expires_at.is_some_and(|expires| expires <= got)
    }

    /// Whether the recipient, or somebody in the group, should have confirmed it long ago: it is lost, or
    /// withheld, or a recipient is away. Members of large groups confirm nothing.
    #[must_use]
    pub fn is_unconfirmed(&self, now: UnixMs) -> bool {
        let confirmed = self.conversation.kind == ConversationKind::Direct || !self.recipients.is_empty();
        let stored = self
            .visible_at
            .filter(|_| self.own && confirmed && self.status == Status::Stored);
        stored.is_some_and(|at| now.saturating_sub(at) >= UNCONFIRMED_AFTER_MS)
    }
}

/// A conversation in the agent's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Local id.
    pub id: LocalConversation,
    /// The others: the peer of a direct conversation, the other members of a group.
    pub participants: Vec<Handle>,
    /// What a group is called.
    pub group: Option<MessageGroup>,
    /// How this agent stands to a group.
    pub standing: Option<Standing>,
    /// When anything last became visible in it.
    pub updated_at: UnixMs,
    /// When a message last became visible in it.
    pub last_message_at: Option<UnixMs>,
    /// Inbound messages that are not read.
    pub unread: u64,
    /// Until when nothing of it is pushed; 0 if it is.
    pub muted_until: UnixMs,
}

/// A peer, as `GET /v1/agents/{handle}` and `.../identity` show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Handle.
    pub handle: Handle,
    /// Fingerprint of the identity that is used (or, in state changed, of the pinned one).
    pub fingerprint: Fingerprint,
    /// Safety number with this agent.
    pub safety_number: String,
    /// How it is trusted.
    pub trust: Trust,
    /// In state changed, what the relay shows instead, and whether that is proven to follow.
    pub changed: Option<(Fingerprint, bool)>,
    /// What the handle had before, oldest first.
    pub former: Vec<Fingerprint>,
    /// Number of the encryption key in use.
    pub key_number: u64,
    /// When the bundle expires.
    pub not_after: UnixMs,
    /// When the peer was first seen.
    pub first_seen: UnixMs,
}

/// A stranger who waits for acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactRequest {
    /// Handle.
    pub handle: Handle,
    /// Fingerprint of the identity that signed.
    pub fingerprint: Fingerprint,
    /// How many messages wait.
    pub count: u64,
    /// When the first came.
    pub first_at: UnixMs,
}

/// How bad an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Something was lost, delayed or refused.
    Warning,
    /// Somebody lies or two instances run.
    Critical,
}

/// Something that the agent or its operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Grows.
    pub id: u64,
    /// When.
    pub at: UnixMs,
    /// Stable name, `snake_case`.
    pub kind: String,
    /// How bad.
    pub severity: Severity,
    /// In which conversation.
    pub conversation: Option<LocalConversation>,
    /// Which peer.
    pub peer: Option<Handle>,
    /// One sentence, without content.
    pub reason: String,
}

/// This agent, for `GET /v1/agents/me`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Handle.
    pub handle: Handle,
    /// The relay's id of this agent, as 32 hexadecimal digits.
    pub agent_id: String,
    /// Fingerprint of the identity.
    pub fingerprint: Fingerprint,
    /// Fingerprint of its relay's identity.
    pub relay: Fingerprint,
    /// When the state folder was made.
    pub created_at: UnixMs,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A peer.
    Peer(Address),
    /// A conversation that exists.
    Conversation(LocalConversation),
}

/// `POST /v1/messages` after parsing; limits of the formats are checked by `api`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendRequest {
    /// Where to.
    pub to: Destination,
    /// The agent's idempotency key, 1 to 128 bytes.
    pub client_msg_id: String,
    /// Message type.
    pub message_type: String,
    /// Content as compact JSON text.
    pub content: String,
    /// Metadata as compact JSON text.
    pub metadata: Option<String>,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
    /// When it loses its meaning.
    pub expires_at: Option<UnixMs>,
    /// The own attachment that it cites.
    pub attachment: Option<AttachmentId>,
    /// One of many readers' copies: the same `client_msg_id` is used for each of them.
    pub broadcast: bool,
}

impl SendRequest {
    /// What a repeat of the request is known by.
    #[must_use]
    pub fn idempotency_key(&self) -> Cow<'_, str> {
        match &self.to {
            Destination::Peer(address) if self.broadcast => {
                idempotency_key(&self.client_msg_id, Some(address.handle.as_str()))
            }
            _ => idempotency_key(&self.client_msg_id, None),
        }
    }
}

/// What a repeat is known by: the `client_msg_id`, and of a broadcast its reader.
#[must_use]
pub fn idempotency_key<'a>(client_msg_id: &'a str, reader: Option<&str>) -> Cow<'a, str> {
    match reader {
        Some(handle) => Cow::Owned(format!("{client_msg_id} {handle}")),
        None => Cow::Borrowed(client_msg_id),
    }
}

/// A message that was sent now or earlier under the same `client_msg_id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The message.
    pub message: Message,
    /// Whether it was sent before.
    pub repeated: bool,
    /// Whether the relay holds another one that was sent under this id and is not known here any more: of
    /// before the agent began anew, or given up while its fate was unknown. Its recipients have that one.
    pub earlier: bool,
    /// How many messages wait for the recipient, by the relay's word, if that is much.
    pub backlog: Option<(Handle, u64)>,
    /// Members of the group who are far behind, by the relay's word.
    pub skipped: Vec<Handle>,
}

/// What `PUT /v1/agents/{handle}/trust` may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustDecision {
    /// Compared by the operator.
    Verified,
    /// Accepted.
    Pinned,
    /// Blocked.
    Blocked,
}
