//! Messages as agents see them on this wire. Everything here is what was verified or what this
//! proxy knows itself; nothing comes from the relay's word.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waxwire_shared::ids::Handle;

use super::timestamp;
use crate::{
    clock, json,
    model::{ConversationKind, LocalConversation, Message, Recipient, Security, Sent, Status, Trust},
    state::SYSTEM,
};

/// Types that the SDKs' model of a message knows.
const KNOWN_TYPES: [&str; 4] = ["text", "structured", "file", SYSTEM];
/// Most handles in `mentions`.
const MENTIONS: usize = 50;

/// A message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(crate) struct MessageBody {
    /// `msg_` and 32 digits, the same at both ends.
    pub(crate) id: String,
    /// Local id of its conversation.
    conversation_id: String,
    /// Handle of its author.
    sender: String,
    /// The author's idempotency key.
    client_msg_id: String,
    /// Local number in the conversation, from 1.
    seq: u64,
    /// `text`, `structured`, `file` or `system`; every other type is `structured` here.
    r#type: &'static str,
    /// The real type.
    message_type: String,
    /// What the author wrote: an object.
    #[schema(value_type = Object)]
    content: Box<RawValue>,
    /// What the author added: an object.
    #[schema(value_type = Object)]
    metadata: Box<RawValue>,
    /// The message that this one answers.
    reply_to: Option<String>,
    /// Who and where, as verified.
    context: ContextBody,
    /// `stored`, `delivered` or `read`; an own one that never got out: `queued` or `failed`. Of an own one,
    /// `stored` is the relay's word, `delivered` and `read` are proved by the recipient's signature; in a
    /// group by all of `recipients`.
    status: &'static str,
    /// Of an own message to a group of at most 32 members: those who could read it and have not left, with
    /// what each has proved. Absent otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<RecipientBody>,
    /// In the answer to a send to a group: members who are far behind, by the relay's word. They lose
    /// nothing. Absent otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    skipped_recipients: Vec<String>,
    /// In the answer to a send: what the recipients have is another message, sent earlier under this `client_msg_id`, of
    /// which this proxy has no record. Absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sent_earlier: bool,
    /// When the author sent it, by the author's clock.
    created_at: String,
    /// When it was settled at the recipient.
    delivered_at: Option<String>,
    /// When it was read.
    read_at: Option<String>,
    /// When it loses its meaning.
    expires_at: Option<String>,
    /// That was before this agent got it, or is past while it has not. Absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    expired: bool,
    /// An own message that the relay has had for a week and its recipient has not confirmed. Absent if
    /// not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unconfirmed: bool,
    /// What was verified.
    security: SecurityBody,
    /// How it came here; null for what the proxy itself tells.
    encryption_metadata: Option<EncryptionBody>,
    /// The delivery that carries it; in rows of sync and inbox only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    delivery_id: Option<Option<String>>,
}

/// A member of a group whom a message was for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Recipient)]
struct RecipientBody {
    handle: String,
    /// `stored`, `delivered` or `read`.
    status: &'static str,
}

/// Who wrote and where, filled by the proxy.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageContext)]
pub(crate) struct ContextBody {
    sender: ContextSender,
    conversation: ContextConversation,
    /// Handles that the text mentions as `@handle`.
    mentions: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageContextSender)]
struct ContextSender {
    handle: String,
    display_name: Option<String>,
    /// `agent` or `system`.
    kind: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MessageContextConversation)]
struct ContextConversation {
    /// `direct` or `group`.
    r#type: &'static str,
    group_name: Option<String>,
    member_count: Option<u64>,
}

/// What was verified of a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Security)]
pub(crate) struct SecurityBody {
    /// Signature, context and pin hold.
    verified: bool,
    /// Fingerprint of the key that signed.
    sender_fingerprint: String,
    /// How that key is trusted now: `new`, `pinned`, `verified`, `changed` or `blocked`.
    trust: &'static str,
    /// Numbers of the sender that are missing before this message.
    gap: Option<GapBody>,
    /// Whether others got it too.
    broadcast: bool,
    /// The epoch of the group under which it was sealed; in messages of groups only.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// Who has shown it to this agent, which was no member when it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    granted_by: Option<String>,
    /// Its author had left the group when it came. Absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    /// How many messages with this content came within an hour before it, from whomever. Contents below 64 bytes are
    /// not counted. Absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeats: Option<u64>,
}

/// Under what a message was sealed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EncryptionMetadata)]
struct EncryptionBody {
    /// `nacl-sealedbox` or `xchacha20-poly1305`.
    scheme: &'static str,
    /// `direct` or `group`.
    key_type: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Gap)]
struct GapBody {
    /// The last number before the hole.
    after: u64,
    /// How many are missing.
    missing: u64,
}

impl MessageBody {
    /// A message in an answer or a history.
    pub(crate) fn new(message: &Message) -> Self {
        let known = KNOWN_TYPES
            .into_iter()
            .find(|known| *known == message.message_type);
        let content = object(&message.content, "content");
        let now = clock::unix();
        Self {
            id: message.id.to_string(),
            conversation_id: message.conversation.to_string(),
            sender: message.sender.to_string(),
            client_msg_id: message.client_msg_id.clone(),
            seq: message.seq,
            r#type: known.unwrap_or("structured"),
            message_type: message.message_type.clone(),
            metadata: object(message.metadata.as_deref().unwrap_or("{}"), "metadata"),
            reply_to: message.reply_to.map(|id| id.to_string()),
            context: context(message, &content),
            content,
            status: status(message.status),
            recipients: message.recipients.iter().map(recipient).collect(),
            skipped_recipients: Vec::new(),
            sent_earlier: false,
            created_at: timestamp::display(message.created_at),
            delivered_at: message.delivered_at.map(timestamp::display),
            read_at: message.read_at.map(timestamp::display),
            expires_at: message.expires_at.map(timestamp::display),
            expired: message.is_expired(now),
            unconfirmed: message.is_unconfirmed(now),
            security: security(&message.security),
            encryption_metadata: encryption(message),
            delivery_id: None,
        }
    }

    /// The answer to a send.
    pub(crate) fn sent(sent: &Sent) -> Self {
        Self {
            skipped_recipients: sent.skipped.iter().map(Handle::to_string).collect(),
            sent_earlier: sent.earlier,
            ..Self::new(&sent.message)
        }
    }

    /// A row of sync or inbox, which carries its delivery.
    pub(crate) fn row(message: &Message) -> Self {
        let delivery = message.delivery.map(|delivery| delivery.to_string());
        Self {
            delivery_id: Some(delivery),
            ..Self::new(message)
        }
    }
}

/// An object that a peer wrote, as text that every reader can read. The engine refuses other text
/// when it opens a message; should one get here all the same, it must not spoil the list it is in.
fn object(text: &str, what: &'static str) -> Box<RawValue> {
    let compact = json::compact(text.as_bytes())
        .ok()
        .filter(|compact| compact.starts_with('{'));
    let object = compact
        .and_then(|compact| RawValue::from_string(compact).ok())
        .or_else(|| {
            tracing::error!(what, "a stored message is not a JSON object");
            RawValue::from_string("{}".to_owned()).ok()
        });
    object.unwrap_or_else(|| RawValue::NULL.to_owned())
}

fn context(message: &Message, content: &RawValue) -> ContextBody {
    let kind = if message.message_type == SYSTEM {
        "system"
    } else {
        "agent"
    };
    ContextBody {
        sender: ContextSender {
            handle: message.sender.to_string(),
            display_name: None,
            kind,
        },
        conversation: ContextConversation {
            r#type: conversation_type(&message.conversation),
            group_name: message.group.as_ref().and_then(|group| group.name.clone()),
            member_count: message.group.as_ref().map(|group| group.members),
        },
        mentions: mentions_in(content),
    }
}

fn mentions_in(content: &RawValue) -> Vec<String> {
    if !content.get().contains('@') {
        return Vec::new();
    }
    json::text_of(content.get()).map_or_else(Vec::new, |text| mentions(&text))
}

/// Handles that stand in a text as words of their own with an `@` before them, each once.
fn mentions(text: &str) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found: Vec<String> = Vec::new();
    for (at, _) in text.match_indices('@') {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let rest = text.get(at + 1..).unwrap_or_default();
        let end = rest.find(|c: char| !word(c) && c != '-').unwrap_or(rest.len());
        let name = rest
            .get(..end)
            .unwrap_or_default()
            .trim_end_matches('-')
            .to_ascii_lowercase();
        let is_handle = name.parse::<Handle>().is_ok();
        if before.is_none_or(|c| !word(c)) && is_handle && !found.contains(&name) {
            found.push(name);
            if found.len() == MENTIONS {
                break;
            }
        }
    }
    found
}

/// `direct` or `group`.
pub(crate) const fn conversation_type(conversation: &LocalConversation) -> &'static str {
    match conversation.kind {
        ConversationKind::Direct => "direct",
        ConversationKind::Group => "group",
    }
}

fn security(security: &Security) -> SecurityBody {
    SecurityBody {
        verified: security.verified,
        sender_fingerprint: security.sender_fingerprint.to_string(),
        trust: trust(security.trust),
        gap: security.gap.map(|gap| GapBody {
            after: gap.after,
            missing: gap.missing,
        }),
        broadcast: security.broadcast,
        epoch: security.epoch,
        granted_by: security.granted_by.as_ref().map(ToString::to_string),
        late: security.late,
        repeats: (security.repeats > 0).then_some(security.repeats),
    }
}

fn recipient(recipient: &Recipient) -> RecipientBody {
    RecipientBody {
        handle: recipient.handle.to_string(),
        status: status(recipient.status),
    }
}

fn encryption(message: &Message) -> Option<EncryptionBody> {
    let scheme = match message.conversation.kind {
        ConversationKind::Direct => "nacl-sealedbox",
        ConversationKind::Group => "xchacha20-poly1305",
    };
    (message.message_type != SYSTEM).then_some(EncryptionBody {
        scheme,
        key_type: conversation_type(&message.conversation),
    })
}

/// The name of a trust.
pub(crate) const fn trust(trust: Trust) -> &'static str {
    match trust {
        Trust::New => "new",
        Trust::Pinned => "pinned",
        Trust::Verified => "verified",
        Trust::Changed => "changed",
        Trust::Blocked => "blocked",
    }
}

const fn status(status: Status) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::Stored => "stored",
        Status::Delivered => "delivered",
        Status::Read => "read",
        Status::Failed => "failed",
    }
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
