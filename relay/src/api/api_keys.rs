//! `POST /v1/agents/api-key`: a new API key for whoever proves the identity.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{ApiKeyRequest, Registered},
    },
    wire::ChallengePurpose,
};

use super::{
    ApiError,
    agents::{end_access, used_challenge},
    extract::{Json, json},
    leases,
};
use crate::{
    accounts::{credential::Credential, proof},
    delivery::Closing,
    relay::Relay,
    store::KeyOutcome,
};

/// Replaces the API key; the old one is dead and its sockets are closed. Not for an instance whose lease
/// is older than another's.
pub(super) async fn post(
    State(relay): State<Arc<Relay>>,
    Json(request): Json<ApiKeyRequest>,
) -> Result<Response, ApiError> {
    let proven = proof::check_proof(
        &relay.identity,
        ChallengePurpose::ApiKey,
        &request.challenge.0,
        &request.proof.0,
        relay.delivery.clock.now_ms(),
    )?;
    if let Some(lease) = request.lease {
        let now = relay.delivery.clock.now_ms();
        let lease = proof::check_lease(&relay.identity, &proven.identity, lease.0, now)?;
        leases::take(&relay, proven.id, lease).await?;
    }
    let key = Credential::new_api_key(&*relay.random)?;
    let outcome = relay
        .delivery
        .store
        .replace_key(proven.handle, proven.id, key.hash(), proven.challenge)
        .await?;
    match outcome {
        KeyOutcome::Replaced(agent) => end_access(&relay, agent, Closing::KeyReplaced),
        KeyOutcome::Unknown => return Err(ApiError::new(ProblemType::NotFound)),
        KeyOutcome::ChallengeUsed => return Err(used_challenge()),
        KeyOutcome::Suspended => return Err(ApiError::new(ProblemType::Suspended)),
    }
    tracing::info!(agent_id = %proven.id, "API key replaced");
    let answer = Registered {
        agent_id: proven.id,
        api_key: key.expose_text().to_owned(),
    };
    Ok(json(StatusCode::OK, &answer))
}
