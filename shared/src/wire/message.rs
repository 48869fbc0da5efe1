//! Messages: context, core or control body, signature (docs/protocol.md, 5).

use super::{AttachmentRef, DecodeError, Lane, rules, wire_enum, wire_map};
use crate::{
    hash::{labelled, sha256},
    identity::{IdentityKey, Signature, VerifyError},
    ids::{ConversationId, Handle, Hash, SessionId},
    labels::Label,
    limits,
    suite::Suite,
};

/// Version of every signed object of this protocol.
pub const VERSION: u16 = 1;

wire_enum! {
    /// What a plaintext is. The number stands in the kind magic and inside the signed object.
    pub enum Kind {
        /// A direct content message.
        1 => Direct,
        /// A group content message.
        2 => Group,
        /// A direct content message that many readers get, each in a core of their own.
        3 => Broadcast,
        /// A receipt on its own.
        16 => Receipt,
        /// "I could not read this envelope of yours."
        17 => Unreadable,
        /// "Send these numbers again."
        18 => ResendRequest,
        /// Signed objects sent again, verbatim.
        19 => Resend,
        /// An invite to a group.
        20 => Invite,
        /// Signed objects of a group's past, granted to a new member.
        21 => HistoryGrant,
        /// Name, topic and avatar of a group.
        22 => Profile,
        /// Typing started or stopped.
        23 => Typing,
        /// Presence text.
        24 => Presence,
        /// An epoch key inside a rekey leaf.
        32 => EpochKey,
    }
}

impl Kind {
    /// Whether the signed object holds a [`Core`] (otherwise a [`ControlBody`], or none for
    /// [`Kind::EpochKey`]).
    #[must_use]
    pub const fn is_content(self) -> bool {
        matches!(self, Self::Direct | Self::Group | Self::Broadcast)
    }

    /// Whether the signed object holds a [`ControlBody`].
    #[must_use]
    pub const fn is_control(self) -> bool {
        !self.is_content() && !matches!(self, Self::EpochKey)
    }

    /// The lane that a direct envelope of this kind must travel in, so that nobody gets content past
    /// the backlog's cap; `None` for kinds that never lie in a direct envelope.
    #[must_use]
    pub const fn direct_lane(self) -> Option<Lane> {
        match self {
            Self::Direct | Self::Broadcast | Self::HistoryGrant => Some(Lane::Mail),
            Self::Group | Self::EpochKey => None,
            _ => Some(Lane::Control),
        }
    }

    /// Whether a group envelope can hold this kind.
    #[must_use]
    pub const fn is_for_groups(self) -> bool {
        matches!(
            self,
            Self::Group | Self::Resend | Self::Profile | Self::Typing | Self::Presence
        )
    }
}

wire_enum! {
    /// How far a recipient got. States only grow.
    pub enum ReceiptState {
        /// Settled at the recipient's agent.
        1 => Delivered,
        /// Read by the recipient's agent.
        2 => Read,
    }
}

wire_map! {
    /// An inclusive range of a sender's numbers.
    pub struct NRange, rule(Self::check_order) {
        /// First number.
        1 => first: u64 where rules::within(1..=u64::MAX),
        /// Last number, not below the first.
        2 => last: u64,
    }
}

wire_map! {
    /// What a recipient has of one session of an author. Cumulative: a later receipt only grows.
    pub struct Receipt, max(8 * 1024), rule(Self::check_hash_and_ranges) {
        /// The conversation.
        1 => conversation: ConversationId,
        /// The author's session.
        2 => session: SessionId,
        /// Highest number that arrived and below which everything arrived or was withdrawn; 0 for none.
        3 => n: u64,
        /// Hash of the author's core with that number; absent for 0.
        4 => core_hash: Option<Hash>,
        /// Ranges beyond it that arrived, ascending, at most 64; the first does not touch `n`.
        5 => later: Vec<NRange> where rules::ranges,
        /// How far.
        6 => state: ReceiptState,
    }
}

wire_map! {
    /// The part of a content message that never changes once it is queued.
    pub struct Core, max(limits::CORE), rule(Self::check_numbers), debug(redacted) {
        /// Protocol version.
        1 => version: u16 where rules::version,
        /// Suite that the sender used when it queued the message; no header of it has a lower one.
        2 => suite: Suite,
        /// One of the content kinds.
        3 => kind: Kind where rules::content_kind,
        /// The sender's handle, a claim that the recipient checks against the identity's bundle.
        4 => handle: Handle,
        /// The sender's identity.
        5 => identity: IdentityKey,
        /// The conversation.
        6 => conversation: ConversationId,
        /// The sender's session.
        7 => session: SessionId,
        /// The sender's incarnation.
        8 => incarnation: u64,
        /// Number of this message in the conversation and session, from 1.
        9 => n: u64 where rules::within(1..=u64::MAX),
        /// SHA-256 of the sender's core number `n - 1` in conversation and session, whatever became
        /// of it; absent exactly for number 1.
        10 => previous: Option<Hash>,
        /// Numbers below `n` that the sender withdrew and nobody must wait for, ascending.
        11 => void: Vec<NRange> where rules::ranges,
        /// The agent's idempotency key.
        12 => client_msg_id: String where rules::client_msg_id,
        /// When the agent sent, Unix milliseconds by the sender's clock.
        13 => time: u64,
        /// When the message loses its meaning, Unix milliseconds.
        14 => expires: Option<u64>,
        /// What the sender has of the peer in this direct conversation, so that no receipt of its own
        /// is needed.
        15 => ack: Option<Receipt>,
        /// Message type, `^[a-z][a-z0-9_.-]{0,31}$`.
        16 => message_type: String where rules::message_type,
        /// Content, JSON text verbatim.
        17 => content: Vec<u8> where rules::json(limits::CONTENT),
        /// Metadata, JSON text verbatim.
        18 => metadata: Option<Vec<u8>> where rules::json(limits::METADATA),
        /// Message id of the message that this one answers.
        19 => reply_to: Option<Hash>,
        /// 1 to 16 attachments that the content cites.
        20 => attachments: Option<Vec<AttachmentRef>> where rules::items(1..=limits::ATTACHMENTS),
    }
}

wire_map! {
    /// The signed body of a control message. Takes no number in the conversation.
    pub struct ControlBody, max(limits::OBJECT), debug(redacted) {
        /// Protocol version.
        1 => version: u16 where rules::version,
        /// Suite that the sender uses.
        2 => suite: Suite,
        /// One of the control kinds.
        3 => kind: Kind where rules::control_kind,
        /// The sender's handle.
        4 => handle: Handle,
        /// The sender's identity.
        5 => identity: IdentityKey,
        /// The conversation of the envelope: the group of a group header, else the direct one. What
        /// the body is about stands in the body.
        6 => conversation: ConversationId,
        /// The sender's session.
        7 => session: SessionId,
        /// The sender's incarnation.
        8 => incarnation: u64,
        /// When it was made, Unix milliseconds by the sender's clock.
        13 => time: u64,
        /// The document of the kind.
        30 => body: Vec<u8> where rules::length(1..=limits::OBJECT),
    }
}

wire_map! {
    /// Made at sealing: binds a core or control body to one audience and one key.
    pub struct Context, max(limits::CONTEXT), rule(Self::check_audience) {
        /// The exact header bytes of the envelope.
        1 => header: Vec<u8> where rules::length(1..=limits::HEADER),
        /// Direct (this and the next four are all there or all absent): the recipient's handle.
        2 => recipient_handle: Option<Handle>,
        /// Direct: the recipient's identity.
        3 => recipient: Option<IdentityKey>,
        /// Direct: number of the recipient's encryption key.
        4 => recipient_key_number: Option<u64>,
        /// Direct: number of the sender's own current encryption key.
        5 => sender_key_number: Option<u64>,
        /// Direct: hash of the sender's own current signed bundle.
        6 => sender_bundle: Option<Hash>,
        /// The signed transparency log head that the sender saw last, when it changed.
        7 => log_head: Option<Vec<u8>> where rules::length(1..=limits::LOG_HEAD),
    }
}

wire_map! {
    /// A signed message as it lies in a plaintext: exact bytes of context and core, and one
    /// signature over `label || SHA-256(context) || SHA-256(core)`.
    pub struct MessageBytes, max(limits::OBJECT), debug(redacted) {
        /// The context's bytes.
        1 => context: Vec<u8> where rules::length(1..=limits::CONTEXT),
        /// The bytes of the core or control body.
        2 => core: Vec<u8> where rules::length(1..=limits::OBJECT),
        /// The sender's signature.
        3 => signature: Signature,
    }
}

impl MessageBytes {
    /// What is signed after the label: `SHA-256(context) || SHA-256(core)`.
    #[must_use]
    pub fn signed_hashes(context: &[u8], core: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out[..32].copy_from_slice(sha256(context).as_bytes());
        out[32..].copy_from_slice(sha256(core).as_bytes());
        out
    }

    /// Verifies the signature for a kind: content and control have labels of their own.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, kind: Kind, signer: &IdentityKey) -> Result<(), VerifyError> {
        let hashes = Self::signed_hashes(&self.context, &self.core);
        signer.verify(Self::label(kind), &[&hashes], &self.signature)
    }

    /// The signature label of a kind.
    #[must_use]
    pub const fn label(kind: Kind) -> Label {
        if kind.is_content() {
            Label::SigMessage
        } else {
            Label::SigControl
        }
    }
}

impl Core {
    /// The end-to-end message id of a core's bytes: `SHA-256(label || core)`. Locally shown as
    /// `msg_` and the first 32 hexadecimal digits.
    #[must_use]
    pub fn message_id(core: &[u8]) -> Hash {
        labelled(Label::HashMessageId, &[core])
    }

    fn check_numbers(&self) -> Result<(), DecodeError> {
        rules::holds(self.previous.is_some() == (self.n > 1), "previous")?;
        rules::holds(self.void.last().is_none_or(|range| range.last < self.n), "void")?;
        let Some(ack) = &self.ack else {
            return Ok(());
        };
        rules::holds(
            self.kind != Kind::Group && ack.conversation == self.conversation,
            "ack",
        )
    }
}

impl Receipt {
    fn check_hash_and_ranges(&self) -> Result<(), DecodeError> {
        rules::holds(self.core_hash.is_some() == (self.n > 0), "core_hash")?;
        let apart = |first: &NRange| first.first - 1 > self.n;
        rules::holds(self.later.first().is_none_or(apart), "later")
    }
}

impl Context {
    fn check_audience(&self) -> Result<(), DecodeError> {
        let fields = [
            self.recipient_handle.is_some(),
            self.recipient.is_some(),
            self.recipient_key_number.is_some(),
            self.sender_key_number.is_some(),
            self.sender_bundle.is_some(),
        ];
        rules::holds(fields.iter().all(|field| *field == fields[0]), "recipient")
    }
}

impl NRange {
    /// Whether ranges are non-empty, ascending, apart from each other and at most 64.
    #[must_use]
    pub fn is_canonical(ranges: &[Self]) -> bool {
        ranges.len() <= limits::RANGES
            && ranges.iter().all(|r| r.first >= 1 && r.first <= r.last)
            && ranges
                .windows(2)
                .all(|w| w[0].last < u64::MAX && w[0].last + 1 < w[1].first)
    }

    /// Whether a number is in one of the ranges.
    #[must_use]
    pub fn contains(ranges: &[Self], n: u64) -> bool {
        ranges.iter().any(|r| (r.first..=r.last).contains(&n))
    }

    fn check_order(&self) -> Result<(), DecodeError> {
        rules::holds(self.first <= self.last, "last")
    }
}
