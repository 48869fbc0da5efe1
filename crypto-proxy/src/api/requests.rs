//! Strangers who wait to be let in.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    messages::DoneBody,
    request::HandlePath,
    timestamp,
};
use crate::{engine::Command, model::ContactRequest};

/// A stranger who waits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ContactRequest)]
struct RequestBody {
    handle: String,
    /// Of the identity that signed.
    fingerprint: String,
    /// How many messages wait.
    count: u64,
    /// When the first came.
    first_at: String,
}

/// Answer of `GET /v1/requests`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RequestsBody {
    requests: Vec<RequestBody>,
}

impl From<&ContactRequest> for RequestBody {
    fn from(request: &ContactRequest) -> Self {
        Self {
            handle: request.handle.to_string(),
            fingerprint: request.fingerprint.to_string(),
            count: request.count,
            first_at: timestamp::display(request.first_at),
        }
    }
}

/// Strangers whose messages wait. There are none in the inbox mode `open`.
#[utoipa::path(
    get,
    path = "/v1/requests",
    tag = "requests",
    responses((status = 200, description = "Who waits", body = RequestsBody)),
)]
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<RequestsBody>, ApiError> {
    let requests = state.read(|backend| backend.requests()).await?;
    Ok(Json(RequestsBody {
        requests: requests.iter().map(RequestBody::from).collect(),
    }))
}

/// Let a stranger in: what waits becomes visible.
#[utoipa::path(
    post,
    path = "/v1/requests/{handle}/accept",
    tag = "requests",
    params(("handle" = String, Path, description = "Handle, with or without @")),
    responses(
        (status = 200, description = "Accepted", body = DoneBody),
        (status = 404, description = "AGENT_NOT_FOUND: nobody of that name waits", body = ErrorBody),
    ),
)]
pub(super) async fn accept(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
) -> Result<Json<DoneBody>, ApiError> {
    state.ask(Command::AcceptRequest(handle)).await?;
    Ok(Json(DoneBody {
        message: "accepted",
        ok: true,
    }))
}

/// Drop what a stranger sent.
#[utoipa::path(
    delete,
    path = "/v1/requests/{handle}",
    tag = "requests",
    params(("handle" = String, Path, description = "Handle, with or without @")),
    responses(
        (status = 200, description = "Rejected, or nothing waited", body = DoneBody),
        (status = 404, description = "AGENT_NOT_FOUND: a name that no agent can have", body = ErrorBody),
    ),
)]
pub(super) async fn reject(
    State(state): State<ApiState>,
    HandlePath(handle): HandlePath,
) -> Result<Json<DoneBody>, ApiError> {
    state.ask(Command::RejectRequest(handle)).await?;
    Ok(Json(DoneBody {
        message: "rejected",
        ok: true,
    }))
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
