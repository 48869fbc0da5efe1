//! Files of pins, out of the proxy and in.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
    request::{JsonBody, Query},
};
use crate::{
    engine::{Command, Reply},
    model::PinEntry,
    pins::PinFile,
};

/// Which pins a file has, besides the agent's own identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PinChoice)]
enum Choice {
    /// None.
    Own,
    /// Those that the operator has compared.
    #[default]
    Verified,
    /// Those, too, for which a fingerprint was given.
    Pinned,
}

/// Query of `GET /v1/pins`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `own`, `verified` if absent, or `pinned`.
    #[param(inline)]
    #[serde(default)]
    include: Choice,
}

/// Query of `POST /v1/pins`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ImportQuery {
    /// Whether the operator vouches for all of them, whatever the file says of their states.
    #[serde(default, deserialize_with = "super::request::flag")]
    verified: bool,
}

/// Answer of `POST /v1/pins`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PinsTaken)]
pub(super) struct TakenBody {
    /// Of agents whose key was known and is the same.
    known: u64,
    /// Of agents that were never met: their first key has to be this one.
    expected: u64,
}

/// The own identity, and pins, as a file for another proxy of this relay.
#[utoipa::path(
    get,
    path = "/v1/pins",
    tag = "keys",
    params(ExportQuery),
    responses((status = 200, description = "A file of pins", body = PinFile)),
)]
pub(super) async fn export(
    State(state): State<ApiState>,
    Query(query): Query<ExportQuery>,
) -> Result<Json<PinFile>, ApiError> {
    let me = state.me();
    let mut pins = vec![PinEntry {
        handle: me.handle.clone(),
        fingerprint: me.fingerprint,
        verified: true,
    }];
    if query.include != Choice::Own {
        let verified_only = query.include == Choice::Verified;
        pins.extend(state.read(move |backend| backend.pins(verified_only)).await?);
    }
    Ok(Json(PinFile::new(me.relay, pins)))
}

/// Take a file of pins: all of it, or, if one contradicts what is known, nothing.
#[utoipa::path(
    post,
    path = "/v1/pins",
    tag = "keys",
    params(ImportQuery),
    request_body = PinFile,
    responses(
        (status = 200, description = "All of them hold from now on", body = TakenBody),
        (status = 409, description = "FINGERPRINT_MISMATCH: one is pinned otherwise, and nothing was taken", body = ErrorBody),
    ),
)]
pub(super) async fn import(
    State(state): State<ApiState>,
    Query(query): Query<ImportQuery>,
    body: JsonBody,
) -> Result<Json<TakenBody>, ApiError> {
    let pins = PinFile::read(body.text(), &state.me().relay, query.verified)
        .map_err(|error| ApiError::invalid(&["pins"], error.to_string()))?;
    match state.ask(Command::ImportPins(pins)).await? {
        Reply::Pinned { known, expected } => Ok(Json(TakenBody { known, expected })),
        _ => Err(ApiError::internal()),
    }
}

#[cfg(test)]
#[path = "pins_tests.rs"]
mod tests;
