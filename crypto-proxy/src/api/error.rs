//! What the agent is told when something is not done: `{code, message, details?}`, flat.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use waxwire_shared::ids::Handle;

use super::{backend::Unreadable, timestamp};
use crate::{json::JsonError, model::Refusal};

/// Most members that a refusal names.
const UNCONFIRMED: usize = 256;
/// Seconds after which a send that met no relay is worth repeating.
const RELAY_RETRY: u64 = 2;
/// Seconds after which a store that refused is worth asking again.
const STORAGE_RETRY: u64 = 5;
/// Seconds after which a stopped or overloaded proxy is worth asking again.
const SOON: u64 = 1;

/// Body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    /// Stable, for programs.
    #[schema(example = "VALIDATION_ERROR")]
    pub code: Cow<'static, str>,
    /// For people.
    pub message: Cow<'static, str>,
    /// Facts that belong to the code. `VALIDATION_ERROR` has `issues`, a list of `{path, message}`,
    /// and for a limit `limit`, `max` and `actual`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Map<String, Value>>,
}

/// The code of an error answer, for the outer layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) &'static str);

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    details: Option<Box<Map<String, Value>>>,
    retry_after: Option<u64>,
}

impl ApiError {
    pub(super) const fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// An error without details.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            details: None,
            retry_after: None,
        }
    }

    /// 400: one field of the request is not as it has to be.
    pub(crate) fn invalid(path: &[&str], message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        let issues = json!([{ "path": path, "message": &message }]);
        Self::new(StatusCode::BAD_REQUEST, "VALIDATION_ERROR", message).detail("issues", issues)
    }

    /// 400: one thing is larger than allowed.
    pub(crate) fn limit(path: &[&str], limit: &'static str, max: usize, actual: Option<usize>) -> Self {
        let error = Self::invalid(path, format!("{limit} is over the limit of {max}"))
            .detail("limit", limit.into())
            .detail("max", max.into());
        match actual {
            Some(actual) => error.detail("actual", actual.into()),
            None => error,
        }
    }

    /// 400: text is not JSON that can be carried.
    pub(crate) fn json(path: &[&str], error: JsonError) -> Self {
        match error {
            JsonError::Depth => Self::limit(path, "depth", crate::json::DEPTH, None),
            JsonError::Number { actual } => Self::limit(path, "number", crate::json::NUMBER, Some(actual)),
            _ => Self::invalid(path, error.to_string()),
        }
    }

    /// 401: who asks has shown nothing, or the wrong thing.
    pub(crate) fn unauthorized(message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }

    /// 403 before anything else was looked at.
    pub(crate) fn forbidden(message: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// 404: no such agent.
    pub(crate) fn agent_not_found() -> Self {
        Refusal::AgentNotFound.into()
    }

    /// 404: no such conversation.
    pub(crate) fn conversation_not_found() -> Self {
        Refusal::ConversationNotFound.into()
    }

    /// 404: no such message.
    pub(crate) fn message_not_found() -> Self {
        Refusal::MessageNotFound.into()
    }

    /// 408: the request did not come in time.
    pub(crate) fn request_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "REQUEST_TIMEOUT",
            "the request did not arrive in time",
        )
    }

    /// 503: this answer took too long; what was asked for may still be done.
    pub(crate) fn answer_timeout() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "TIMEOUT",
            "no answer in time: the outcome is not known, ask again with the same client_msg_id",
        )
        .retry_after(SOON)
    }

    /// 500: a fault of the proxy.
    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "INTERNAL_ERROR",
            "a fault of the proxy, see its log",
        )
    }

    /// Adds a fact.
    pub(crate) fn detail(mut self, name: &str, value: Value) -> Self {
        self.details
            .get_or_insert_default()
            .insert(name.to_owned(), value);
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }
}

impl From<Unreadable> for ApiError {
    fn from(_: Unreadable) -> Self {
        Refusal::Storage.into()
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let with = |status, code| Self::new(status, code, message.clone());
        let conflict =
            |code, handle: &Handle| with(StatusCode::CONFLICT, code).detail("handle", handle.as_str().into());
        match &refusal {
            Refusal::Invalid(_) => Self::invalid(&[], message),
            Refusal::FingerprintRequired => Self::invalid(&["to"], message),
            Refusal::AgentNotFound => with(StatusCode::NOT_FOUND, "AGENT_NOT_FOUND"),
            Refusal::ConversationNotFound => with(StatusCode::NOT_FOUND, "CONVERSATION_NOT_FOUND"),
            Refusal::MessageNotFound => with(StatusCode::NOT_FOUND, "MESSAGE_NOT_FOUND"),
            Refusal::AttachmentNotFound => with(StatusCode::NOT_FOUND, "ATTACHMENT_NOT_FOUND"),
            Refusal::AttachmentIncomplete => with(StatusCode::CONFLICT, "ATTACHMENT_INCOMPLETE"),
            Refusal::NotMuted => with(StatusCode::NOT_FOUND, "NOT_MUTED"),
            Refusal::WebhookNotFound => with(StatusCode::NOT_FOUND, "WEBHOOK_NOT_FOUND"),
            Refusal::DeadLetterNotFound => with(StatusCode::NOT_FOUND, "DEAD_LETTER_NOT_FOUND"),
            Refusal::TooManyWebhooks(max) => {
                with(StatusCode::CONFLICT, "TOO_MANY_WEBHOOKS").detail("max", (*max).into())
            }
            Refusal::TooManyGroups(max) => {
                with(StatusCode::CONFLICT, "TOO_MANY_GROUPS").detail("max", (*max).into())
            }
            Refusal::GroupNotFound => with(StatusCode::NOT_FOUND, "GROUP_NOT_FOUND"),
            Refusal::GroupDeleted(end) => with(StatusCode::GONE, "GROUP_DELETED")
                .detail("group_id", end.id.to_string().into())
                .detail("deleted_by_handle", end.by.as_str().into())
                .detail("deleted_at", timestamp::display(end.at).into()),
            Refusal::InviteNotFound => with(StatusCode::NOT_FOUND, "INVITE_NOT_FOUND"),
            Refusal::ChannelNotFound => with(StatusCode::NOT_FOUND, "CHANNEL_NOT_FOUND"),
            Refusal::InviteRequired => with(StatusCode::FORBIDDEN, "INVITE_REQUIRED"),
            Refusal::SlugTaken => with(StatusCode::CONFLICT, "SLUG_TAKEN"),
            Refusal::ChannelChanged { slug, known, shown } => with(StatusCode::CONFLICT, "CHANNEL_CHANGED")
                .detail("slug", slug.as_str().into())
                .detail("known", known.to_string().into())
                .detail("shown", shown.to_string().into()),
            Refusal::ChannelFalse(slug) => {
                with(StatusCode::CONFLICT, "RELAY_MISBEHAVED").detail("slug", slug.as_str().into())
            }
            Refusal::NotMember => with(StatusCode::NOT_FOUND, "NOT_MEMBER"),
            Refusal::NotAdmin => with(StatusCode::FORBIDDEN, "NOT_ADMIN"),
            Refusal::LastAdmin => with(StatusCode::BAD_REQUEST, "LAST_ADMIN"),
            Refusal::GroupFull => with(StatusCode::FORBIDDEN, "GROUP_FULL"),
            Refusal::EpochPending { retry_after } => {
                with(StatusCode::SERVICE_UNAVAILABLE, "EPOCH_PENDING").retry_after(*retry_after)
            }
            Refusal::Unconfirmed {
                group,
                epoch,
                handles,
            } => with(StatusCode::CONFLICT, "EPOCH_UNCONFIRMED")
                .detail("group_id", group.to_string().into())
                .detail("epoch", (*epoch).into())
                .detail(
                    "handles",
                    handles.iter().take(UNCONFIRMED).map(Handle::as_str).collect(),
                ),
            Refusal::RosterFork { group } => {
                with(StatusCode::CONFLICT, "ROSTER_FORK").detail("group_id", group.to_string().into())
            }
            Refusal::Superseded => with(StatusCode::CONFLICT, "SUPERSEDED"),
            Refusal::Clone => with(StatusCode::CONFLICT, "CLONE"),
            Refusal::Blocked => with(StatusCode::FORBIDDEN, "BLOCKED"),
            Refusal::Suspended => with(StatusCode::FORBIDDEN, "SUSPENDED"),
            Refusal::Forbidden => with(StatusCode::FORBIDDEN, "FORBIDDEN"),
            Refusal::IdentityChanged {
                handle,
                pinned,
                shown,
                proven,
            } => conflict("IDENTITY_CHANGED", handle)
                .detail("pinned", pinned.to_string().into())
                .detail("shown", shown.to_string().into())
                .detail("proven", (*proven).into()),
            Refusal::FingerprintMismatch { handle, actual } => {
                conflict("FINGERPRINT_MISMATCH", handle).detail("actual", actual.to_string().into())
            }
            Refusal::NotVerified { handle } => conflict("NOT_VERIFIED", handle),
            Refusal::RecipientKeyExpired { handle } => conflict("RECIPIENT_KEY_EXPIRED", handle),
            Refusal::SuiteDowngrade { handle } => conflict("SUITE_DOWNGRADE", handle),
            Refusal::Suite { handle } => conflict("SUITE", handle),
            Refusal::RelayLied { handle } => conflict("RELAY_MISBEHAVED", handle),
            Refusal::RelayUnreachable { queued } => {
                with(StatusCode::SERVICE_UNAVAILABLE, "RELAY_UNREACHABLE")
                    .detail("queued", (*queued).into())
                    .retry_after(RELAY_RETRY)
            }
            Refusal::RecipientBacklogged {
                handle,
                waiting,
                retry_after,
            } => with(StatusCode::TOO_MANY_REQUESTS, "RECIPIENT_BACKLOGGED")
                .detail("recipient_handle", handle.as_str().into())
                .detail("undelivered_count", (*waiting).into())
                .retry_after(*retry_after),
            Refusal::RateLimited { retry_after } => with(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED")
                .detail("retry_after_ms", retry_after.max(&1).saturating_mul(1_000).into())
                .retry_after(*retry_after),
            Refusal::Storage => {
                with(StatusCode::SERVICE_UNAVAILABLE, "STORAGE_UNAVAILABLE").retry_after(STORAGE_RETRY)
            }
            Refusal::Stopping => with(StatusCode::SERVICE_UNAVAILABLE, "STOPPING").retry_after(SOON),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            code: Cow::Borrowed(self.code),
            message: self.message,
            details: self.details.map(|details| *details),
        };
        let mut response = (self.status, Json(body)).into_response();
        response.extensions_mut().insert(Code(self.code));
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use waxwire_shared::{fingerprint::Fingerprint, identity::IdentityKey, ids::GroupId};

    use super::*;
    use crate::model::{GroupEnd, LocalConversation};

    fn end() -> GroupEnd {
        GroupEnd {
            id: LocalConversation::group(&GroupId::from_bytes([1; 32])),
            by: "bob".parse().unwrap(),
            at: 0,
        }
    }

    fn every_refusal() -> Vec<(Refusal, u16, &'static str)> {
        let handle: Handle = "bob".parse().unwrap();
        let pinned = Fingerprint::of(&IdentityKey::ed25519([1; 32]));
        let shown = Fingerprint::of(&IdentityKey::ed25519([2; 32]));
        let all = vec![
            (Refusal::Invalid("not to oneself"), 400, "VALIDATION_ERROR"),
            (Refusal::AgentNotFound, 404, "AGENT_NOT_FOUND"),
            (Refusal::ConversationNotFound, 404, "CONVERSATION_NOT_FOUND"),
            (Refusal::MessageNotFound, 404, "MESSAGE_NOT_FOUND"),
            (Refusal::AttachmentNotFound, 404, "ATTACHMENT_NOT_FOUND"),
            (Refusal::AttachmentIncomplete, 409, "ATTACHMENT_INCOMPLETE"),
            (Refusal::NotMuted, 404, "NOT_MUTED"),
            (Refusal::WebhookNotFound, 404, "WEBHOOK_NOT_FOUND"),
            (Refusal::DeadLetterNotFound, 404, "DEAD_LETTER_NOT_FOUND"),
            (Refusal::TooManyWebhooks(5), 409, "TOO_MANY_WEBHOOKS"),
            (Refusal::TooManyGroups(5), 409, "TOO_MANY_GROUPS"),
            (Refusal::GroupNotFound, 404, "GROUP_NOT_FOUND"),
            (Refusal::GroupDeleted(Box::new(end())), 410, "GROUP_DELETED"),
            (Refusal::InviteNotFound, 404, "INVITE_NOT_FOUND"),
            (Refusal::ChannelNotFound, 404, "CHANNEL_NOT_FOUND"),
            (Refusal::InviteRequired, 403, "INVITE_REQUIRED"),
            (Refusal::SlugTaken, 409, "SLUG_TAKEN"),
            (
                Refusal::ChannelChanged {
                    slug: handle.clone(),
                    known: end().id,
                    shown: end().id,
                },
                409,
                "CHANNEL_CHANGED",
            ),
            (Refusal::ChannelFalse(handle.clone()), 409, "RELAY_MISBEHAVED"),
            (Refusal::NotMember, 404, "NOT_MEMBER"),
            (Refusal::NotAdmin, 403, "NOT_ADMIN"),
            (Refusal::LastAdmin, 400, "LAST_ADMIN"),
            (Refusal::GroupFull, 403, "GROUP_FULL"),
            (Refusal::EpochPending { retry_after: 0 }, 503, "EPOCH_PENDING"),
            (
                Refusal::Unconfirmed {
                    group: end().id,
                    epoch: 7,
                    handles: vec![handle.clone()],
                },
                409,
                "EPOCH_UNCONFIRMED",
            ),
            (Refusal::RosterFork { group: end().id }, 409, "ROSTER_FORK"),
            (Refusal::Blocked, 403, "BLOCKED"),
            (Refusal::Suspended, 403, "SUSPENDED"),
            (Refusal::Forbidden, 403, "FORBIDDEN"),
            (
                Refusal::IdentityChanged {
                    handle: handle.clone(),
                    pinned,
                    shown,
                    proven: false,
                },
                409,
                "IDENTITY_CHANGED",
            ),
            (
                Refusal::FingerprintMismatch {
                    handle: handle.clone(),
                    actual: shown,
                },
                409,
                "FINGERPRINT_MISMATCH",
            ),
            (Refusal::Superseded, 409, "SUPERSEDED"),
            (Refusal::Clone, 409, "CLONE"),
            (Refusal::FingerprintRequired, 400, "VALIDATION_ERROR"),
            (
                Refusal::NotVerified {
                    handle: handle.clone(),
                },
                409,
                "NOT_VERIFIED",
            ),
            (
                Refusal::RecipientKeyExpired {
                    handle: handle.clone(),
                },
                409,
                "RECIPIENT_KEY_EXPIRED",
            ),
            (
                Refusal::SuiteDowngrade {
                    handle: handle.clone(),
                },
                409,
                "SUITE_DOWNGRADE",
            ),
            (
                Refusal::Suite {
                    handle: handle.clone(),
                },
                409,
                "SUITE",
            ),
            (
                Refusal::RelayLied {
                    handle: handle.clone(),
                },
                409,
                "RELAY_MISBEHAVED",
            ),
            (
                Refusal::RelayUnreachable { queued: true },
                503,
                "RELAY_UNREACHABLE",
            ),
            (
                Refusal::RecipientBacklogged {
                    handle,
                    waiting: 9,
                    retry_after: 7,
                },
                429,
                "RECIPIENT_BACKLOGGED",
            ),
            (Refusal::RateLimited { retry_after: 0 }, 429, "RATE_LIMITED"),
            (Refusal::Storage, 503, "STORAGE_UNAVAILABLE"),
            (Refusal::Stopping, 503, "STOPPING"),
        ];
        // A new refusal has to be added above and to the table of docs/proxy-api.md.
        for (refusal, ..) in &all {
            match refusal {
                Refusal::Invalid(_)
                | Refusal::AgentNotFound
                | Refusal::ConversationNotFound
                | Refusal::MessageNotFound
                | Refusal::AttachmentNotFound
                | Refusal::AttachmentIncomplete
                | Refusal::NotMuted
                | Refusal::WebhookNotFound
                | Refusal::DeadLetterNotFound
                | Refusal::TooManyWebhooks(_)
                | Refusal::TooManyGroups(_)
                | Refusal::GroupNotFound
                | Refusal::GroupDeleted(_)
                | Refusal::InviteNotFound
                | Refusal::ChannelNotFound
                | Refusal::InviteRequired
                | Refusal::SlugTaken
                | Refusal::ChannelChanged { .. }
                | Refusal::ChannelFalse(_)
                | Refusal::NotMember
                | Refusal::NotAdmin
                | Refusal::LastAdmin
                | Refusal::GroupFull
                | Refusal::EpochPending { .. }
                | Refusal::Unconfirmed { .. }
                | Refusal::RosterFork { .. }
                | Refusal::Blocked
                | Refusal::Suspended
                | Refusal::Forbidden
                | Refusal::IdentityChanged { .. }
                | Refusal::FingerprintMismatch { .. }
                | Refusal::FingerprintRequired
                | Refusal::NotVerified { .. }
                | Refusal::RecipientKeyExpired { .. }
                | Refusal::SuiteDowngrade { .. }
                | Refusal::Suite { .. }
                | Refusal::RelayLied { .. }
                | Refusal::RelayUnreachable { .. }
                | Refusal::RecipientBacklogged { .. }
                | Refusal::RateLimited { .. }
                | Refusal::Superseded
                | Refusal::Clone
                | Refusal::Storage
                | Refusal::Stopping => {}
            }
        }
        all
    }

    #[test]
    fn every_refusal_has_its_code_and_status() {
        for (refusal, status, code) in every_refusal() {
            let error = ApiError::from(refusal.clone());
            assert_eq!((error.status.as_u16(), error.code), (status, code), "{refusal:?}");
            assert!(!error.message.is_empty());
        }
    }

    #[test]
    fn the_manual_tells_every_code() {
        let manual = include_str!("../../../docs/proxy-api.md");
        for (_, status, code) in every_refusal() {
            let told = |line: &str| {
                line.starts_with(&format!("| {status} |")) && line.contains(&format!("`{code}`"))
            };
            assert!(manual.lines().any(told), "{status} {code}");
        }
    }

    #[test]
    fn whoever_shall_come_back_is_told_when() {
        for (refusal, status, _) in every_refusal() {
            let response = ApiError::from(refusal.clone()).into_response();
            let retry = response.headers().get(RETRY_AFTER);
            assert_eq!(retry.is_some(), matches!(status, 429 | 503), "{refusal:?}");
            if let Some(seconds) = retry {
                assert!(seconds.to_str().unwrap().parse::<u64>().unwrap() >= 1);
            }
        }
    }

    #[test]
    fn details_carry_the_facts() {
        let details = |refusal: Refusal| Value::from(*ApiError::from(refusal).details.unwrap());
        let handle: Handle = "bob".parse().unwrap();
        let pinned = Fingerprint::of(&IdentityKey::ed25519([1; 32]));
        let shown = Fingerprint::of(&IdentityKey::ed25519([2; 32]));
        assert_eq!(
            details(Refusal::IdentityChanged {
                handle: handle.clone(),
                pinned,
                shown,
                proven: true,
            }),
            json!({
                "handle": "bob", "pinned": pinned.to_string(), "shown": shown.to_string(), "proven": true,
            })
        );
        assert_eq!(
            details(Refusal::RelayUnreachable { queued: true }),
            json!({ "queued": true })
        );
        assert_eq!(
            details(Refusal::RecipientBacklogged {
                handle,
                waiting: 9,
                retry_after: 7
            }),
            json!({ "recipient_handle": "bob", "undelivered_count": 9 })
        );
        assert_eq!(
            details(Refusal::RateLimited { retry_after: 3 }),
            json!({ "retry_after_ms": 3_000 })
        );
        let group = end().id.to_string();
        assert_eq!(
            details(Refusal::GroupDeleted(Box::new(end()))),
            json!({ "group_id": group, "deleted_by_handle": "bob", "deleted_at": "1970-01-01T00:00:00.000Z" })
        );
        assert_eq!(
            details(Refusal::RosterFork { group: end().id }),
            json!({ "group_id": group })
        );
        let limit = ApiError::limit(&["content"], "content", 5, Some(6));
        assert_eq!(
            Value::from(*limit.details.unwrap()),
            json!({
                "limit": "content", "max": 5, "actual": 6,
                "issues": [{ "path": ["content"], "message": "content is over the limit of 5" }],
            })
        );
    }
}
