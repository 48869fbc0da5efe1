//! Who is there.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;
use waxwire_shared::{ids::Handle, limits};

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    request::{Fields, HandlePath, JsonBody, handle},
    timestamp,
};
use crate::{
    engine::{Command, Reply},
    model::{PeerPresence, PresenceStatus},
};

/// Whether an agent is there.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Presence)]
pub(super) struct PresenceBody {
    handle: String,
    /// `online`, `busy` or `offline`.
    status: &'static str,
    /// What the agent says about itself.
    custom_message: Option<String>,
    /// When it was last there, to the minute, if it is not.
    last_seen: Option<String>,
}

impl From<&PeerPresence> for PresenceBody {
    fn from(presence: &PeerPresence) -> Self {
        Self {
            handle: presence.handle.to_string(),
            status: presence.status.name(),
            custom_message: presence.custom_message.clone(),
            last_seen: presence.last_seen.map(timestamp::display),
        }
    }
}

/// Answer of `POST /v1/presence/batch`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PresencesBody {
    presences: Vec<PresenceBody>,
}

async fn ask(state: &ApiState, command: Command) -> Result<Vec<PresenceBody>, ApiError> {
    match state.ask(command).await? {
        Reply::Presences(presences) => Ok(presences.iter().map(PresenceBody::from).collect()),
        _ => Err(ApiError::internal()),
    }
}

/// Whether an agent is there.
#[utoipa::path(
    get,
    path = "/v1/presence/{handle}",
    tag = "presence",
    params(("handle" = String, Path, description = "Handle, with or without @")),
    responses(
        (status = 200, description = "The presence", body = PresenceBody),
        (status = 404, description = "AGENT_NOT_FOUND: none, or none that this agent may see", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn get(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
) -> Result<Json<PresenceBody>, ApiError> {
    let presences = ask(&state, Command::Presences(vec![handle])).await?;
    let presence = presences.into_iter().next();
    presence.map(Json).ok_or_else(ApiError::agent_not_found)
}

/// Body of `PUT /v1/presence`.
#[derive(Debug, ToSchema)]
#[schema(as = PresenceUpdate)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct UpdateBody {
    /// `online`, `busy` or `offline`; with `offline` the agent is taken for absent.
    status: String,
    /// At most 200 characters, sealed to the agent's contacts. `custom_status` means the same.
    custom_message: Option<String>,
}

/// Show this agent so until it says otherwise, or its proxy is started anew.
#[utoipa::path(
    put,
    path = "/v1/presence",
    tag = "presence",
    request_body = UpdateBody,
    responses((status = 200, description = "The own presence", body = PresenceBody)),
)]
pub(super) async fn put(
    State(state): State<ApiState>,
    body: JsonBody,
) -> Result<Json<PresenceBody>, ApiError> {
    let (status, text) = update(&body.fields()?)?;
    let presences = ask(&state, Command::SetPresence(status, text)).await?;
    let presence = presences.into_iter().next();
    presence.map(Json).ok_or_else(ApiError::internal)
}

/// What a change of the own presence says.
pub(crate) fn update(fields: &Fields<'_>) -> Result<(PresenceStatus, Option<String>), ApiError> {
    let status = PresenceStatus::from_name(&fields.required("status")?);
    let status = status.ok_or_else(|| ApiError::invalid(&["status"], "online, busy or offline"))?;
    let text = match fields.string("custom_message")? {
        Some(text) => Some(text),
        None => fields.string("custom_status")?,
    };
    let length = text.as_ref().map_or(0, |text| text.chars().count());
    if length > limits::PRESENCE_SCALARS {
        return Err(ApiError::limit(
            &["custom_message"],
            "custom_message",
            limits::PRESENCE_SCALARS,
            Some(length),
        ));
    }
    Ok((status, text))
}

/// Body of `POST /v1/presence/batch`.
#[derive(Debug, ToSchema)]
#[schema(as = PresenceBatch)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct BatchBody {
    /// At most 100.
    handles: Vec<String>,
}

/// Whether each of several agents is there; those that are not known are left out.
#[utoipa::path(
    post,
    path = "/v1/presence/batch",
    tag = "presence",
    request_body = BatchBody,
    responses(
        (status = 200, description = "The presences", body = PresencesBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn batch(
    State(state): State<ApiState>,
    body: JsonBody,
) -> Result<Json<PresencesBody>, ApiError> {
    let handles = handles(&body.fields()?)?;
    let presences = ask(&state, Command::Presences(handles)).await?;
    Ok(Json(PresencesBody { presences }))
}

/// The agents that are asked about. A name that no agent can have is one that none has.
fn handles(fields: &Fields<'_>) -> Result<Vec<Handle>, ApiError> {
    let path = &["handles"];
    let raw = fields.raw("handles")?;
    let raw = raw.ok_or_else(|| ApiError::invalid(path, "required"))?;
    let names: Vec<String> =
        serde_json::from_str(raw).map_err(|_| ApiError::invalid(path, "not a list of handles"))?;
    if names.len() > limits::PRESENCES {
        return Err(ApiError::limit(
            path,
            "handles",
            limits::PRESENCES,
            Some(names.len()),
        ));
    }
    Ok(names.iter().filter_map(|name| handle(path, name).ok()).collect())
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
