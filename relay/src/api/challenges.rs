//! `POST /v1/challenges`: something fresh to sign.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{Base64Bytes, ChallengeAnswer, ChallengeRequest, Purpose},
    },
    identity::IdentityKey,
    ids::Nonce32,
    wire::ChallengePurpose,
};

use super::{
    ApiError,
    extract::{Json, json},
};
use crate::{accounts::proof, relay::Relay, rng};

/// Answers a [`ChallengeAnswer`]. Nothing is kept.
pub(super) async fn post(
    State(relay): State<Arc<Relay>>,
    Json(request): Json<ChallengeRequest>,
) -> Result<Response, ApiError> {
    let weak = || ApiError::new(ProblemType::InvalidObject).detail("the identity is not a usable key");
    let identity = IdentityKey::from_prefixed(&request.identity.0).ok_or_else(weak)?;
    let relay_nonce = Nonce32::from_bytes(rng::array(&*relay.random)?);
    let purpose = match request.purpose {
        Purpose::Register => ChallengePurpose::Register,
        Purpose::ApiKey => ChallengePurpose::ApiKey,
    };
    let challenge = proof::challenge(
        &relay.identity,
        purpose,
        request.handle,
        identity,
        (relay_nonce, request.nonce),
        relay.delivery.clock.now_ms(),
    )
    .map_err(|_| weak())?;
    let answer = ChallengeAnswer {
        challenge: Base64Bytes(challenge),
    };
    Ok(json(StatusCode::CREATED, &answer))
}
