//! One message to many readers, none of whom learns of another: a copy for each, sealed to it alone, in
//! its direct conversation with this agent (docs/protocol.md, 7.1).

use axum::{Json, extract::State, http::StatusCode};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use waxwire_shared::{fingerprint::Address, hash::sha256};

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    groups::add,
    messages::parse_send,
    request::{Fields, JsonBody, address},
};
use crate::{
    engine::{Command, Reply},
    model::{Destination, SendRequest},
};

/// Most readers of one broadcast.
const READERS: usize = 1_000;
/// Copies that are on their way at the same time.
const AT_ONCE: usize = 64;
/// Bytes of a broadcast's id.
const ID: usize = 16;
/// What is told of a copy that was stored.
const SENT: &str = "sent";

/// Body of `POST /v1/broadcasts`.
#[derive(Debug, ToSchema)]
#[schema(as = SendBroadcast)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct BroadcastBody {
    /// 1 to 1,000 handles, with or without `@` and fingerprint; each counts once.
    to: Vec<String>,
    /// The caller's idempotency key: the same one again sends what was not sent before.
    #[schema(min_length = 1, max_length = 128)]
    client_msg_id: String,
    /// As in `POST /v1/messages`.
    content: Value,
    /// As in `POST /v1/messages`.
    metadata: Option<Value>,
    /// As in `POST /v1/messages`.
    #[schema(pattern = "^[a-z][a-z0-9_.-]{0,31}$", default = "text")]
    r#type: Option<String>,
    /// As in `POST /v1/messages`.
    expires_at: Option<String>,
}

/// Answer of `POST /v1/broadcasts`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Broadcast)]
pub(super) struct SentBody {
    /// `brc_` and 32 digits: the `client_msg_id` of every copy.
    id: String,
    /// One for each reader, in the order of `to`.
    results: Vec<ResultBody>,
}

/// What became of one reader's copy.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BroadcastResult)]
struct ResultBody {
    handle: String,
    /// `sent`, or the code of a refusal as `POST /v1/messages` would give it.
    outcome: &'static str,
    /// The copy's id, if it was sent.
    message_id: Option<String>,
    /// What the refusal says to people, if it was refused.
    reason: Option<String>,
}

/// Send a message to many agents, none of whom learns of another.
#[utoipa::path(
    post,
    path = "/v1/broadcasts",
    tag = "messages",
    request_body = BroadcastBody,
    responses(
        (status = 201, description = "What became of each copy", body = SentBody),
        (status = 400, description = "VALIDATION_ERROR", body = ErrorBody),
    ),
)]
pub(super) async fn send(
    State(state): State<ApiState>,
    body: JsonBody,
) -> Result<(StatusCode, Json<SentBody>), ApiError> {
    let fields = body.fields()?;
    let readers = readers(&fields)?;
    let requests = copies(&fields, &readers)?;
    let id = requests
        .first()
        .map(|request| request.client_msg_id.clone())
        .unwrap_or_default();
    // Kept in order: the answer lists the readers as the request does.
    let results = stream::iter(readers.into_iter().zip(requests))
        .map(|(reader, request)| send_copy(&state, reader, request))
        .buffered(AT_ONCE)
        .collect()
        .await;
    Ok((StatusCode::CREATED, Json(SentBody { id, results })))
}

async fn send_copy(state: &ApiState, reader: Address, request: SendRequest) -> ResultBody {
    let answer = state.ask(Command::Send(Box::new(request))).await;
    let handle = reader.handle.to_string();
    let refused = match answer {
        Ok(Reply::Sent(sent)) => {
            return ResultBody {
                handle,
                outcome: SENT,
                message_id: Some(sent.message.id.to_string()),
                reason: None,
            };
        }
        Ok(_) => ApiError::internal(),
        Err(refused) => refused,
    };
    ResultBody {
        handle,
        outcome: refused.code(),
        message_id: None,
        reason: Some(refused.message().to_owned()),
    }
}

fn readers(fields: &Fields<'_>) -> Result<Vec<Address>, ApiError> {
    let path = &["to"];
    let raw = fields
        .raw("to")?
        .ok_or_else(|| ApiError::invalid(path, "required"))?;
    let handles: Vec<String> =
        serde_json::from_str(raw).map_err(|_| ApiError::invalid(path, "not a list of strings"))?;
    if handles.is_empty() {
        return Err(ApiError::invalid(path, "nobody"));
    }
    if handles.len() > READERS {
        return Err(ApiError::limit(path, "readers", READERS, Some(handles.len())));
    }
    let mut readers = Vec::with_capacity(handles.len());
    for text in &handles {
        add(&mut readers, address(path, text)?, path)?;
    }
    Ok(readers)
}

/// A copy for each reader. It does not carry the request's own id, which may be that of another message to
/// the same reader.
fn copies(fields: &Fields<'_>, readers: &[Address]) -> Result<Vec<SendRequest>, ApiError> {
    if fields.raw("reply_to")?.is_some() {
        let reason = "a broadcast is in many conversations";
        return Err(ApiError::invalid(&["reply_to"], reason));
    }
    let Some(first) = readers.first() else {
        return Ok(Vec::new());
    };
    let mut request = parse_send(fields, Destination::Peer(first.clone()))?;
    request.client_msg_id = broadcast_id(&request.client_msg_id);
    request.broadcast = true;
    let copy = |reader: &Address| SendRequest {
        to: Destination::Peer(reader.clone()),
        ..request.clone()
    };
    Ok(readers.iter().map(copy).collect())
}

fn broadcast_id(client_msg_id: &str) -> String {
    let hash = sha256(client_msg_id.as_bytes());
    format!("brc_{}", hex::encode(&hash.as_bytes()[..ID]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        api::{obliging::obliging, testing::Api},
        engine::Command,
        model::{Destination, Refusal},
    };

    const TO_ITSELF: &str = "an agent cannot write to itself";

    fn without_itself() -> Api {
        let api = Api::new();
        api.backend.answers(|command| match command {
            Command::Send(request) => match &request.to {
                Destination::Peer(reader) if reader.handle.as_str() == "alice" => {
                    Err(Refusal::Invalid(TO_ITSELF))
                }
                _ => obliging(command),
            },
            _ => obliging(command),
        });
        api
    }

    /// Whoever is among the readers of its own broadcast is told why it gets no copy, as by a message to itself.
    #[tokio::test]
    async fn refused_copy_says_why_and_keeps_nothing_from_others() {
        let api = without_itself();
        let body =
            |to| json!({ "to": to, "client_msg_id": "m-1", "content": { "text": "hello" } }).to_string();
        let message = api.post("/v1/messages", body(json!("alice"))).await;
        assert_eq!(message.code(), "VALIDATION_ERROR");
        assert_eq!(message.json()["message"], TO_ITSELF);
        let refused = json!({ "handle": "alice", "outcome": "VALIDATION_ERROR", "message_id": null, "reason": TO_ITSELF });
        let alone = api.post("/v1/broadcasts", body(json!(["alice"]))).await;
        assert_eq!((alone.status, &alone.json()["results"]), (201, &json!([refused])));
        let both = api.post("/v1/broadcasts", body(json!(["alice", "bob"]))).await;
        let results = &both.json()["results"];
        assert_eq!(results[0], refused);
        assert_eq!(
            (&results[1]["outcome"], &results[1]["reason"]),
            (&json!("sent"), &json!(null))
        );
    }
}
