//! What is not pushed to the agent.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiState,
    contacts::OkBody,
    error::{ApiError, ErrorBody},
    request::{ConversationPath, Fields, HandlePath, JsonBody, Query, handle},
    timestamp,
};
use crate::{
    clock,
    engine::{ContactCommand, Reply},
    model::{Mute, MuteTarget, Refusal, UnixMs},
};

/// A mute.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MuteEntry)]
pub(super) struct MuteBody {
    /// `agt_` and the relay's id of this agent.
    muter_agent_id: String,
    /// `agent` or `conversation`.
    target_kind: &'static str,
    /// A handle, or the id of a conversation.
    target_id: String,
    /// Null for ever.
    muted_until: Option<String>,
    created_at: String,
}

/// Answer of `GET /v1/mutes`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MutesBody {
    mutes: Vec<MuteBody>,
}

fn body(state: &ApiState, mute: &Mute) -> MuteBody {
    MuteBody {
        muter_agent_id: format!("agt_{}", state.me().agent_id),
        target_kind: kind(&mute.target),
        target_id: match &mute.target {
            MuteTarget::Agent(handle) => handle.to_string(),
            MuteTarget::Conversation(id) => id.to_string(),
        },
        muted_until: mute.until.map(timestamp::display),
        created_at: timestamp::display(mute.created_at),
    }
}

const fn kind(target: &MuteTarget) -> &'static str {
    match target {
        MuteTarget::Agent(_) => "agent",
        MuteTarget::Conversation(_) => "conversation",
    }
}

/// Body of `POST /v1/mutes`.
#[derive(Debug, ToSchema)]
#[schema(as = NewMute)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct NewMuteBody {
    /// `agent` or `conversation`.
    target_kind: String,
    /// Of an agent.
    target_handle: Option<String>,
    /// Of a conversation.
    target_id: Option<String>,
    /// RFC 3339, in the future; null or absent for ever.
    muted_until: Option<String>,
}

/// Mute an agent or a conversation: nothing of it is pushed, everything comes by sync. Another time
/// replaces the first.
#[utoipa::path(
    post,
    path = "/v1/mutes",
    tag = "mutes",
    request_body = NewMuteBody,
    responses(
        (status = 201, description = "Muted", body = MuteBody),
        (status = 404, description = "CONVERSATION_NOT_FOUND", body = ErrorBody),
    ),
)]
pub(super) async fn mute(
    State(state): State<ApiState>,
    json: JsonBody,
) -> Result<(StatusCode, Json<MuteBody>), ApiError> {
    let fields = json.fields()?;
    let target = target(&fields)?;
    let until = until(&fields)?;
    if let MuteTarget::Conversation(id) = target {
        let found = state.read(move |backend| backend.conversation(&id)).await?;
        found.ok_or_else(ApiError::conversation_not_found)?;
    }
    match state.ask_contacts(ContactCommand::Mute(target, until)).await? {
        Reply::Muted(mute) => Ok((StatusCode::CREATED, Json(body(&state, &mute)))),
        _ => Err(ApiError::internal()),
    }
}

fn target(fields: &Fields<'_>) -> Result<MuteTarget, ApiError> {
    match fields.required("target_kind")?.as_str() {
        "agent" => {
            let name = fields.required("target_handle")?;
            handle(&["target_handle"], &name).map(MuteTarget::Agent)
        }
        "conversation" => fields
            .required("target_id")?
            .parse()
            .map(MuteTarget::Conversation)
            .map_err(|_| ApiError::conversation_not_found()),
        _ => Err(ApiError::invalid(&["target_kind"], "agent or conversation")),
    }
}

fn until(fields: &Fields<'_>) -> Result<Option<UnixMs>, ApiError> {
    let path = &["muted_until"];
    let Some(text) = fields.string("muted_until")? else {
        return Ok(None);
    };
    let until = timestamp::parse(&text).ok_or_else(|| ApiError::invalid(path, "not an RFC 3339 time"))?;
    if until <= clock::unix() {
        return Err(ApiError::invalid(path, "in the past"));
    }
    Ok(Some(until))
}

/// Which mutes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct KindQuery {
    /// `agent` or `conversation`; both if absent.
    kind: Option<String>,
}

/// Every mute that holds, the latest first.
#[utoipa::path(
    get,
    path = "/v1/mutes",
    tag = "mutes",
    params(KindQuery),
    responses((status = 200, description = "What is muted", body = MutesBody)),
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    Query(query): Query<KindQuery>,
) -> Result<Json<MutesBody>, ApiError> {
    let wanted = query.kind.as_deref();
    if !matches!(wanted, None | Some("agent" | "conversation")) {
        return Err(ApiError::invalid(&["query", "kind"], "agent or conversation"));
    }
    let mut mutes = state.read(|backend| backend.mutes(clock::unix())).await?;
    mutes.retain(|mute| wanted.is_none_or(|wanted| wanted == kind(&mute.target)));
    Ok(Json(MutesBody {
        mutes: mutes.iter().map(|mute| body(&state, mute)).collect(),
    }))
}

/// The mute of an agent.
#[utoipa::path(
    get,
    path = "/v1/mutes/agent/{handle}",
    tag = "mutes",
    params(("handle" = String, Path, description = "Handle, with or without @")),
    responses(
        (status = 200, description = "The mute", body = MuteBody),
        (status = 404, description = "NOT_MUTED", body = ErrorBody),
    ),
)]
pub(super) async fn show_agent(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
) -> Result<Json<MuteBody>, ApiError> {
    show(&state, MuteTarget::Agent(handle)).await
}

/// Mute an agent no longer.
#[utoipa::path(
    delete,
    path = "/v1/mutes/agent/{handle}",
    tag = "mutes",
    params(("handle" = String, Path, description = "Handle, with or without @")),
    responses(
        (status = 200, description = "Not muted any more", body = OkBody),
        (status = 404, description = "NOT_MUTED", body = ErrorBody),
    ),
)]
pub(super) async fn unmute_agent(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
) -> Result<Json<OkBody>, ApiError> {
    unmute(&state, MuteTarget::Agent(handle)).await
}

/// The mute of a conversation.
#[utoipa::path(
    get,
    path = "/v1/mutes/conversation/{id}",
    tag = "mutes",
    params(("id" = String, Path, description = "Id of a conversation")),
    responses(
        (status = 200, description = "The mute", body = MuteBody),
        (status = 404, description = "NOT_MUTED", body = ErrorBody),
    ),
)]
pub(super) async fn show_conversation(
    State(state): State<ApiState>,
    ConversationPath(id): ConversationPath,
) -> Result<Json<MuteBody>, ApiError> {
    show(&state, MuteTarget::Conversation(id)).await
}

/// Mute a conversation no longer.
#[utoipa::path(
    delete,
    path = "/v1/mutes/conversation/{id}",
    tag = "mutes",
    params(("id" = String, Path, description = "Id of a conversation")),
    responses(
        (status = 200, description = "Not muted any more", body = OkBody),
        (status = 404, description = "NOT_MUTED", body = ErrorBody),
    ),
)]
pub(super) async fn unmute_conversation(
    State(state): State<ApiState>,
    ConversationPath(id): ConversationPath,
) -> Result<Json<OkBody>, ApiError> {
    unmute(&state, MuteTarget::Conversation(id)).await
}

async fn show(state: &ApiState, target: MuteTarget) -> Result<Json<MuteBody>, ApiError> {
    let found = state
        .read(move |backend| backend.mute(&target, clock::unix()))
        .await?;
    let mute = found.ok_or(Refusal::NotMuted)?;
    Ok(Json(body(state, &mute)))
}

async fn unmute(state: &ApiState, target: MuteTarget) -> Result<Json<OkBody>, ApiError> {
    state.ask_contacts(ContactCommand::Unmute(target)).await?;
    Ok(Json(OkBody { ok: true }))
}

#[cfg(test)]
#[path = "mutes_tests.rs"]
mod tests;
