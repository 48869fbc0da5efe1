//! What agents are told live, as JSON.
//!
//! The SDKs read what an event is about under `payload`; others read a message under `message` and
//! everything else at the top. Both are served.

use axum::extract::ws::Utf8Bytes;
use serde::Serialize;
use waxwire_shared::api::frames::Allowance;

use super::super::{invites::InvitationBody, presence::PresenceBody, shape::MessageBody, timestamp};
use crate::{
    engine::{Notice, ReadNotice},
    model::{ConversationKind, GroupEnd, Message},
};

/// The capability of acknowledging each message.
pub(super) const ACK: &str = "ack";

/// An event with its facts in both places.
#[derive(Debug, Serialize)]
struct Event<T> {
    r#type: &'static str,
    payload: T,
    #[serde(flatten)]
    copy: T,
}

#[derive(Debug, Serialize)]
struct HelloOk {
    r#type: &'static str,
    capabilities: &'static [&'static str],
}

/// Payload of `message.read`.
#[derive(Debug, Clone, Serialize)]
struct Read {
    message_id: String,
    read_by: String,
    read_at: String,
    conversation_id: String,
    through_seq: u64,
    reader: String,
    at: String,
}

/// Payload of `group.deleted`.
#[derive(Debug, Clone, Serialize)]
struct Deleted {
    group_id: String,
    deleted_by_handle: String,
    deleted_by: String,
    deleted_at: String,
}

/// Payload of `typing.start` and `typing.stop`.
#[derive(Debug, Clone, Serialize)]
struct Typing {
    conversation_id: String,
    sender: String,
    handle: String,
}

/// Payload of `rate_limit.warning`.
#[derive(Debug, Clone, Serialize)]
struct RateLimit {
    limit: u64,
    remaining: u64,
    window_seconds: u64,
}

/// Payload of `session.expired`.
#[derive(Debug, Clone, Serialize)]
struct Expired {
    reason: &'static str,
}

/// `hello.ok`: the first frame.
pub(super) fn hello_ok(ack: bool) -> Utf8Bytes {
    text(&HelloOk {
        r#type: "hello.ok",
        capabilities: if ack { &[ACK] } else { &[] },
    })
}

/// `session.expired`: nothing more comes, and the same credentials do not help.
pub(super) fn session_expired(reason: &'static str) -> Utf8Bytes {
    event("session.expired", &Expired { reason })
}

/// `message.new`, for messages of others and the echo of own ones.
pub(super) fn message(message: &Message, me: &str) -> Utf8Bytes {
    let body = message_payload(message, me);
    format!("{{\"type\":\"message.new\",\"payload\":{body},\"message\":{body}}}").into()
}

/// The payload of `message.new`.
pub(crate) fn message_payload(message: &Message, me: &str) -> String {
    let body = if message.own {
        MessageBody::new(message)
    } else {
        MessageBody::row(message)
    };
    let mut body = serde_json::to_string(&body).unwrap_or_default();
    // The other names of author and recipient. Handles and ids need no escapes.
    let direct = message.conversation.kind == ConversationKind::Direct;
    let to = if direct && !message.own {
        me.to_owned()
    } else {
        message.conversation.to_string()
    };
    body.truncate(body.len().saturating_sub(1));
    format!("{body},\"from\":\"{}\",\"to\":\"{to}\"}}", message.sender)
}

/// The payload of what webhooks can be told besides messages.
pub(crate) fn other_payload(notice: &Notice) -> Option<String> {
    let payload = match notice {
        Notice::Message(_) | Notice::Alert(_) | Notice::RateLimit(_) | Notice::Typing { .. } => return None,
        Notice::Invited(invitation) => serde_json::to_string(&InvitationBody::from(invitation.as_ref())),
        Notice::Read(read) => serde_json::to_string(&Read::from(read.as_ref())),
        Notice::Presence(presence) => serde_json::to_string(&PresenceBody::from(presence.as_ref())),
        Notice::GroupEnded(end) => serde_json::to_string(&Deleted::from(end.as_ref())),
    };
    // Structures of texts and numbers always have a JSON form.
    payload.ok()
}

/// What is told of a notice that is no message; nothing of some.
pub(super) fn other(notice: &Notice) -> Option<Utf8Bytes> {
    match notice {
        Notice::Message(_) | Notice::Alert(_) => None,
        Notice::Invited(invitation) => Some(event(
            "group.invite.received",
            &InvitationBody::from(invitation.as_ref()),
        )),
        Notice::Read(read) => Some(event("message.read", &Read::from(read.as_ref()))),
        Notice::Typing {
            conversation,
            sender,
            active,
        } => {
            let kind = if *active { "typing.start" } else { "typing.stop" };
            let facts = Typing {
                conversation_id: conversation.to_string(),
                sender: sender.to_string(),
                handle: sender.to_string(),
            };
            Some(event(kind, &facts))
        }
        Notice::RateLimit(allowance) => Some(event("rate_limit.warning", &RateLimit::from(*allowance))),
        Notice::Presence(presence) => Some(event("presence.update", &PresenceBody::from(presence.as_ref()))),
        Notice::GroupEnded(end) => Some(event("group.deleted", &Deleted::from(end.as_ref()))),
    }
}

impl From<&ReadNotice> for Read {
    fn from(read: &ReadNotice) -> Self {
        let at = timestamp::display(read.at);
        Self {
            message_id: read.message.to_string(),
            read_by: read.reader.to_string(),
            read_at: at.clone(),
            conversation_id: read.conversation.to_string(),
            through_seq: read.through_seq,
            reader: read.reader.to_string(),
            at,
        }
    }
}

impl From<Allowance> for RateLimit {
    fn from(Allowance { limit, remaining }: Allowance) -> Self {
        Self {
            limit,
            remaining,
            window_seconds: 60,
        }
    }
}

impl From<&GroupEnd> for Deleted {
    fn from(end: &GroupEnd) -> Self {
        Self {
            group_id: end.id.to_string(),
            deleted_by_handle: end.by.to_string(),
            deleted_by: end.by.to_string(),
            deleted_at: timestamp::display(end.at),
        }
    }
}

fn event<T: Serialize>(kind: &'static str, facts: &T) -> Utf8Bytes {
    text(&Event {
        r#type: kind,
        payload: facts,
        copy: facts,
    })
}

fn text(frame: &impl Serialize) -> Utf8Bytes {
    // Structures of texts and numbers always have a JSON form.
    serde_json::to_string(frame).unwrap_or_default().into()
}
