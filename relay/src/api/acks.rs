//! `POST /v1/acks`: everything up to these positions is durable at the agent.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use waxwire_shared::api::rest::AckRequest;

use super::{
    ApiError,
    extract::{Authenticated, Json},
    queues::find,
};
use crate::relay::Relay;

/// Most acks in a request.
const ACKS: usize = 1_000;

/// Answers 204 when the acks are durable. A foreign queue refuses all of them.
pub(super) async fn post(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Json(request): Json<AckRequest>,
) -> Result<StatusCode, ApiError> {
    if request.acks.len() > ACKS {
        return Err(ApiError::bad_request(format!("at most {ACKS} acks in a request")));
    }
    let acks = request
        .acks
        .iter()
        .map(|ack| Ok((find(&account, ack.queue)?, ack.position)))
        .collect::<Result<Vec<_>, ApiError>>()?;
    relay.delivery.store.ack(acks).await?;
    Ok(StatusCode::NO_CONTENT)
}
