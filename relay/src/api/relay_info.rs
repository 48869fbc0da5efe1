//! `GET /v1/relay`: which relay this is, proved for the asker's nonce.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;
use waxwire_shared::{
    api::rest::{Base64Bytes, RelayInfo, RelayLimits},
    ids::Nonce32,
    limits,
};

use super::extract::{Query, json};
use crate::relay::Relay;

/// Query of the request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    nonce: Nonce32,
}

/// Answers a [`RelayInfo`].
pub(super) async fn get(State(relay): State<Arc<Relay>>, Query(params): Query<Params>) -> Response {
    let now = relay.delivery.clock.now_ms();
    let info = RelayInfo {
        description: Base64Bytes(relay.identity.describe(params.nonce, now)),
        registration: relay.registration,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        limits: RelayLimits {
            envelope: limits::ENVELOPE as u64,
        },
    };
    json(StatusCode::OK, &info)
}
