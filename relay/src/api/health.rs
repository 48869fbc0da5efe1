//! `GET /healthz` and `GET /readyz`.

use std::sync::Arc;

use axum::extract::State;
use waxwire_shared::api::problem::ProblemType;

use super::ApiError;
use crate::relay::Relay;

/// The process is up.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The database takes writes and answers reads, and the relay is not stopping.
pub(super) async fn readyz(State(relay): State<Arc<Relay>>) -> Result<&'static str, ApiError> {
    if !relay.delivery.shutdown.is_cancelled() && relay.delivery.store.is_ready().await {
        Ok("ready\n")
    } else {
        Err(ApiError::new(ProblemType::Unavailable).retry_after(1))
    }
}
