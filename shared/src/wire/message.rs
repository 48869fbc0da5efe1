//! Messages: context, core or control body, signature (docs/protocol.md, 5).

use super::{AttachmentRef, wire_enum, wire_map};
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
    pub struct NRange {
        /// First number.
        1 => first: u64,
        /// Last number, not below the first.
        2 => last: u64,
    }
}

wire_map! {
    /// What a recipient has of one session of an author. Cumulative: a later receipt only grows.
    pub struct Receipt, max(8 * 1024) {
        /// The conversation.
        1 => conversation: ConversationId,
        /// The author's session.
        2 => session: SessionId,
        /// Highest number up to which everything arrived, 0 for none.
        3 => n: u64,
        /// Hash of the author's core with that number; absent for 0.
        4 => core_hash: Option<Hash>,
        /// Ranges beyond it that arrived, ascending, at most 64.
        5 => later: Vec<NRange>,
        /// How far.
        6 => state: ReceiptState,
    }
}

wire_map! {
    /// The part of a content message that never changes once it is queued.
    pub struct Core, max(limits::BUCKET_MAX) {
        /// Protocol version.
        1 => version: u16,
        /// Suite of the conversation.
        2 => suite: Suite,
        /// One of the content kinds.
        3 => kind: Kind,
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
        9 => n: u64,
        /// SHA-256 of the sender's previous core in conversation and session; absent for the first.
        10 => previous: Option<Hash>,
        /// Numbers that the sender withdrew and nobody must wait for, ascending.
        11 => void: Vec<NRange>,
        /// The agent's idempotency key.
        12 => client_msg_id: String,
        /// When the agent sent, Unix milliseconds by the sender's clock.
        13 => time: u64,
        /// When the message loses its meaning, Unix milliseconds.
        14 => expires: Option<u64>,
        /// What the sender has of the peer, so that no receipt of its own is needed.
        15 => ack: Option<Receipt>,
        /// Message type, `^[a-z][a-z0-9_.-]{0,31}$`.
        16 => message_type: String,
        /// Content, JSON text verbatim.
        17 => content: Vec<u8>,
        /// Metadata, JSON text verbatim.
        18 => metadata: Option<Vec<u8>>,
        /// Message id of the message that this one answers.
        19 => reply_to: Option<Hash>,
        /// Attachments that the content cites.
        20 => attachments: Option<Vec<AttachmentRef>>,
    }
}

wire_map! {
    /// The signed body of a control message. Takes no number in the conversation.
    pub struct ControlBody, max(limits::BUCKET_MAX) {
        /// Protocol version.
        1 => version: u16,
        /// Suite of the conversation.
        2 => suite: Suite,
        /// One of the control kinds.
        3 => kind: Kind,
        /// The sender's handle.
        4 => handle: Handle,
        /// The sender's identity.
        5 => identity: IdentityKey,
        /// The conversation.
        6 => conversation: ConversationId,
        /// The sender's session.
        7 => session: SessionId,
        /// The sender's incarnation.
        8 => incarnation: u64,
        /// When it was made, Unix milliseconds by the sender's clock.
        13 => time: u64,
        /// The document of the kind.
        30 => body: Vec<u8>,
    }
}

wire_map! {
    /// Made at sealing: binds a core or control body to one audience and one key.
    pub struct Context, max(4 * 1024) {
        /// The exact header bytes of the envelope.
        1 => header: Vec<u8>,
        /// Direct: the recipient's handle.
        2 => recipient_handle: Option<Handle>,
        /// Direct: the recipient's identity.
        3 => recipient: Option<IdentityKey>,
        /// Direct: number of the recipient's encryption key.
        4 => recipient_key_number: Option<u64>,
        /// Direct: number of the sender's own current encryption key.
        5 => sender_key_number: Option<u64>,
        /// Direct: hash of the sender's own current signed bundle.
        6 => sender_bundle: Option<Hash>,
        /// Hash of the transparency log head that the sender saw last, when it changed.
        7 => log_head: Option<Hash>,
    }
}

wire_map! {
    /// A signed message as it lies in a plaintext: exact bytes of context and core, and one
    /// signature over `label || SHA-256(context) || SHA-256(core)`.
    pub struct MessageBytes, max(limits::BUCKET_MAX) {
        /// The context's bytes.
        1 => context: Vec<u8>,
        /// The bytes of the core or control body.
        2 => core: Vec<u8>,
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
}

/// Longest list of ranges in a receipt or a list of withdrawn numbers.
pub(crate) const MAX_RANGES: usize = 64;

impl NRange {
    /// Whether ranges are non-empty, ascending, apart from each other and at most 64.
    #[must_use]
    pub fn is_canonical(ranges: &[Self]) -> bool {
        ranges.len() <= MAX_RANGES
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
}
