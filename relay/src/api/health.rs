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

/// The database takes writes and answers reads, Redis answers if there is one, and the relay is not stopping.
pub(super) async fn readyz(State(relay): State<Arc<Relay>>) -> Result<&'static str, ApiError> {
    let delivery = &relay.delivery;
    let unready = || ApiError::new(ProblemType::Unavailable).retry_after(1);
    if delivery.shutdown.is_cancelled() || !delivery.store.is_ready().await {
        Err(unready())
    } else if delivery.nodes.as_ref().is_some_and(|nodes| !nodes.is_up()) {
        Err(unready().detail("redis does not answer: deliveries are late, limits strict"))
    } else {
        Ok("ready\n")
    }
}
