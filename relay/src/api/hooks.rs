//! `PUT` and `DELETE /v1/agents/me/hook`: where to wake the crypto proxy of an agent that has no socket.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use waxwire_outbound::hook::Rules as _;
use waxwire_shared::{api::hooks::HookRequest, hook::SECRET_LENGTHS, target::Target};

use super::{
    ApiError,
    extract::{Authenticated, Json},
};
use crate::relay::Relay;

/// Registers a hook in place of the one before.
pub(super) async fn put(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Json(request): Json<HookRequest>,
) -> Result<StatusCode, ApiError> {
    let target = Target::parse(&request.url).map_err(|error| ApiError::bad_request(error.to_string()))?;
    if !relay.hook_rules.permits(&target) {
        return Err(ApiError::bad_request(
            "this relay calls https URLs of public hosts, and what its operator allows besides",
        ));
    }
    if !SECRET_LENGTHS.contains(&request.secret.len()) || request.secret.chars().any(char::is_control) {
        return Err(ApiError::bad_request(
            "the secret has 16 to 256 bytes without control characters",
        ));
    }
    let delivery = &relay.delivery;
    delivery
        .store
        .put_hook(account.agent, request.url, request.secret)
        .await?;
    delivery.hub.grown().watch();
    Ok(StatusCode::NO_CONTENT)
}

/// Takes it back.
pub(super) async fn delete(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
) -> Result<StatusCode, ApiError> {
    relay.delivery.store.remove_hook(account.agent).await?;
    Ok(StatusCode::NO_CONTENT)
}
