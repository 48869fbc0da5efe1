//! One message: send, mark read, hide.

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use waxwire_shared::limits;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    request::{Fields, JsonBody, MessagePath, address},
    shape::MessageBody,
    timestamp,
    uploads::parse_id,
};
use crate::{
    engine::{Command, Reply},
    model::{AttachmentId, Destination, SendRequest, Sent},
};

const BACKLOG_WARNING: HeaderName = HeaderName::from_static("x-backlog-warning");

/// Body of `POST /v1/messages`. Exactly one of `to` and `conversation_id`.
#[derive(Debug, ToSchema)]
#[schema(as = SendMessage)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct SendBody {
    /// A handle, with or without `@`, with or without `#` and the fingerprint that it must have.
    #[schema(example = "@bob")]
    to: Option<String>,
    /// A conversation that exists, or a group.
    conversation_id: Option<String>,
    /// The caller's idempotency key: the same one again answers 200 with the first message.
    #[schema(min_length = 1, max_length = 128)]
    client_msg_id: String,
    /// An object with at least one of `text` (at most 10,000 Unicode scalar values), `data` (an object) and
    /// `attachment_id` (of an upload that is complete); at most 48 KiB as compact JSON. A bare string means
    /// `{"text": ...}`.
    content: Value,
    /// An object of at most 4,096 bytes as compact JSON.
    metadata: Option<Value>,
    /// `text` if absent, `file` with an attachment; `system` is not for agents.
    #[schema(pattern = "^[a-z][a-z0-9_.-]{0,31}$", default = "text")]
    r#type: Option<String>,
    /// Id of the message that this one answers.
    reply_to: Option<String>,
    /// RFC 3339: when the message loses its meaning.
    expires_at: Option<String>,
}

/// Send a message.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "messages",
    request_body = SendBody,
    responses(
        (status = 201, description = "Durable at the relay", body = MessageBody),
        (status = 200, description = "Sent before under this client_msg_id: the first message", body = MessageBody),
        (status = 404, description = "AGENT_NOT_FOUND, CONVERSATION_NOT_FOUND, GROUP_NOT_FOUND, ATTACHMENT_NOT_FOUND or, for reply_to, MESSAGE_NOT_FOUND", body = ErrorBody),
        (status = 409, description = "IDENTITY_CHANGED, FINGERPRINT_MISMATCH, RECIPIENT_KEY_EXPIRED, SUITE_DOWNGRADE, SUITE, RELAY_MISBEHAVED, ROSTER_FORK or ATTACHMENT_INCOMPLETE", body = ErrorBody),
        (status = 410, description = "GROUP_DELETED, with details", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED or RECIPIENT_BACKLOGGED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn send(State(state): State<ApiState>, body: JsonBody) -> Result<Response, ApiError> {
    let fields = body.fields()?;
    let to = destination(&fields)?;
    deliver(&state, parse_send(&fields, to)?).await
}

/// Sends a message and tells what became of it.
pub(super) async fn deliver(state: &ApiState, request: SendRequest) -> Result<Response, ApiError> {
    match state.ask(Command::Send(Box::new(request))).await? {
        Reply::Sent(sent) => {
            let status = if sent.repeated {
                StatusCode::OK
            } else {
                StatusCode::CREATED
            };
            let mut answer = (status, Json(MessageBody::sent(&sent))).into_response();
            if let Some(warning) = backlog_warning(&sent) {
                answer.headers_mut().insert(BACKLOG_WARNING, warning);
            }
            Ok(answer)
        }
        _ => Err(ApiError::internal()),
    }
}

/// `<handle>=<count>`: much waits for the recipient of a direct message.
fn backlog_warning(sent: &Sent) -> Option<HeaderValue> {
    let (handle, waiting) = sent.backlog.as_ref()?;
    HeaderValue::from_str(&format!("{handle}={waiting}")).ok()
}

/// A message to `to`.
pub(super) fn parse_send(fields: &Fields<'_>, to: Destination) -> Result<SendRequest, ApiError> {
    let client_msg_id = client_msg_id(fields)?;
    let (content, attachment) = content(fields)?;
    let message_type = message_type(fields, attachment.is_some())?;
    let metadata = match fields.raw("metadata")? {
        Some(raw) => Some(metadata(raw)?),
        None => None,
    };
    let reply_to = match fields.string("reply_to")? {
        Some(id) => Some(id.parse().map_err(|_| ApiError::message_not_found())?),
        None => None,
    };
    let not_a_time = || ApiError::invalid(&["expires_at"], "not an RFC 3339 time");
    let expires_at = match fields.string("expires_at")? {
        Some(text) => Some(timestamp::parse(&text).ok_or_else(not_a_time)?),
        None => None,
    };
    Ok(SendRequest {
        to,
        client_msg_id,
        message_type,
        content,
        metadata,
        reply_to,
        expires_at,
        attachment,
        broadcast: false,
    })
}

fn client_msg_id(fields: &Fields<'_>) -> Result<String, ApiError> {
    let path = &["client_msg_id"];
    let id = fields.required("client_msg_id")?;
    let length = id.chars().count();
    if length == 0 {
        return Err(ApiError::invalid(path, "empty"));
    }
    if length > limits::CLIENT_MSG_ID {
        return Err(ApiError::limit(
            path,
            "client_msg_id",
            limits::CLIENT_MSG_ID,
            Some(length),
        ));
    }
    Ok(id)
}

fn destination(fields: &Fields<'_>) -> Result<Destination, ApiError> {
    match (fields.string("to")?, fields.string("conversation_id")?) {
        (Some(to), None) => Ok(Destination::Peer(address(&["to"], &to)?)),
        // Ids are opaque to agents: what is none names nothing.
        (None, Some(id)) => id
            .parse()
            .map(Destination::Conversation)
            .map_err(|_| ApiError::conversation_not_found()),
        _ => Err(ApiError::invalid(
            &["to"],
            "exactly one of to and conversation_id",
        )),
    }
}

fn message_type(fields: &Fields<'_>, file: bool) -> Result<String, ApiError> {
    let path = &["type"];
    let Some(name) = fields.string("type")? else {
        return Ok(if file { "file" } else { "text" }.to_owned());
    };
    if name == "system" {
        return Err(ApiError::invalid(
            path,
            "system messages are made by the proxy only",
        ));
    }
    if !is_message_type(&name) {
        return Err(ApiError::invalid(path, "a type matches ^[a-z][a-z0-9_.-]{0,31}$"));
    }
    Ok(name)
}

/// `^[a-z][a-z0-9_.-]{0,31}$`
pub(super) fn is_message_type(name: &str) -> bool {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= limits::MESSAGE_TYPE
        && name.bytes().all(rest)
}

/// The content as an object in compact form, and the attachment that it names.
fn content(fields: &Fields<'_>) -> Result<(String, Option<AttachmentId>), ApiError> {
    let path = &["content"];
    let raw = fields
        .raw("content")?
        .ok_or_else(|| ApiError::invalid(path, "required"))?;
    let content = if raw.starts_with('"') {
        format!("{{\"text\":{raw}}}")
    } else {
        raw.to_owned()
    };
    let attachment = check_content(&content)?;
    if content.len() > limits::CONTENT {
        return Err(ApiError::limit(
            path,
            "content",
            limits::CONTENT,
            Some(content.len()),
        ));
    }
    Ok((content, attachment))
}

/// At least one of the three fields that readers know, each of its type wherever it is repeated.
fn check_content(content: &str) -> Result<Option<AttachmentId>, ApiError> {
    let members = Fields::of_content(content)?;
    let (mut known, mut attachment) = (false, None);
    for (name, value) in members {
        let (right, expected) = match name.as_ref() {
            "text" => (value.starts_with('"'), "not a string"),
            "data" => (value.starts_with('{'), "not an object"),
            "attachment_id" => (attachment.is_none(), "given more than once"),
            _ => continue,
        };
        // The SDKs leave fields out, other clients write null.
        if value == "null" {
            continue;
        }
        if !right {
            return Err(ApiError::invalid(&["content", &name], expected));
        }
        known = true;
        match name.as_ref() {
            "text" => check_text(value)?,
            "attachment_id" => attachment = Some(parse_id(&["content", &name], value)?),
            _ => {}
        }
    }
    if known {
        Ok(attachment)
    } else {
        let told = "at least one of text, data and attachment_id";
        Err(ApiError::invalid(&["content"], told))
    }
}

fn check_text(raw: &str) -> Result<(), ApiError> {
    let text: String =
        serde_json::from_str(raw).map_err(|_| ApiError::invalid(&["content", "text"], "not a string"))?;
    let scalars = text.chars().count();
    if scalars > limits::TEXT_SCALARS {
        return Err(ApiError::limit(
            &["content", "text"],
            "text",
            limits::TEXT_SCALARS,
            Some(scalars),
        ));
    }
    Ok(())
}

fn metadata(raw: &str) -> Result<String, ApiError> {
    let path = &["metadata"];
    if !raw.starts_with('{') {
        return Err(ApiError::invalid(path, "not an object"));
    }
    if raw.len() > limits::METADATA {
        return Err(ApiError::limit(
            path,
            "metadata",
            limits::METADATA,
            Some(raw.len()),
        ));
    }
    Ok(raw.to_owned())
}

/// Mark a message read. Repeating it changes nothing.
#[utoipa::path(
    post,
    path = "/v1/messages/{id}/read",
    tag = "messages",
    params(("id" = String, Path, description = "Id of a message to this agent")),
    responses(
        (status = 200, description = "The message as it is now", body = MessageBody),
        (status = 404, description = "MESSAGE_NOT_FOUND: not a message to this agent", body = ErrorBody),
    ),
)]
pub(super) async fn mark_read(
    State(state): State<ApiState>,
    MessagePath(id): MessagePath,
) -> Result<Json<MessageBody>, ApiError> {
    state.ask(Command::MarkRead(id)).await?;
    let message = state.read(move |backend| backend.message(&id)).await?;
    let message = message.ok_or_else(ApiError::message_not_found)?;
    Ok(Json(MessageBody::new(&message)))
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DoneBody {
    /// For people.
    pub(super) message: &'static str,
    /// Always true.
    pub(super) ok: bool,
}

/// Hide a message from this agent; the other side keeps it. Repeating it changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/messages/{id}",
    tag = "messages",
    params(("id" = String, Path, description = "Id of a message")),
    responses(
        (status = 200, description = "Hidden", body = DoneBody),
        (status = 404, description = "MESSAGE_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn delete(
    State(state): State<ApiState>,
    MessagePath(id): MessagePath,
) -> Result<Json<DoneBody>, ApiError> {
    state.ask(Command::Delete(id)).await?;
    Ok(Json(DoneBody {
        message: "hidden for this agent",
        ok: true,
    }))
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
