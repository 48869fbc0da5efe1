//! `GET` and `POST /v1/agents/{handle}/succession`: which identity holds a handle, for whoever has its
//! recovery key; and the handle goes to the identity that proves to follow it (docs/protocol.md, 4.6).

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{Base64Bytes, BundleAnswer, Registered, SuccessionRequest},
    },
    identity::IdentityKey,
    ids::Handle,
    wire::{Bundle, ChallengePurpose},
};

use super::{
    ApiError,
    agents::{end_access, used_challenge},
    extract::{Json, Query, json},
};
use crate::{
    accounts::{
        credential::Credential,
        proof::{self, SuccessionError},
    },
    delivery::Closing,
    relay::Relay,
    store::{Admission, Registration, SuccessionOutcome},
};

/// Query of `GET`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// The prefixed recovery public key, as hexadecimal digits.
    recovery: String,
}

/// Answers the latest bundle of the agent whose recovery key this is. Nobody else knows the key before it is
/// used; to anybody else no agent has it.
pub(super) async fn get(
    State(relay): State<Arc<Relay>>,
    Path(handle): Path<String>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::new(ProblemType::NotFound);
    let handle: Handle = handle.parse().map_err(|_| unknown())?;
    let key = hex::decode(&params.recovery).ok();
    let key = key.and_then(|bytes| IdentityKey::from_prefixed(&bytes));
    let key = key.ok_or_else(|| ApiError::bad_request("recovery is a prefixed key in hexadecimal digits"))?;
    let held = relay.delivery.store.holder(&handle).await?;
    let (agent_id, bytes) = held.ok_or_else(unknown)?;
    if proof::recovery_hash(&bytes) != Some(Bundle::recovery_hash(&key)) {
        return Err(unknown());
    }
    let answer = BundleAnswer {
        agent_id,
        bundle: Base64Bytes(bytes),
        successions: Vec::new(),
        log: None,
    };
    Ok(json(StatusCode::OK, &answer))
}

/// Answers as a registration does. Whoever registers anew needs leave to come; whoever follows a known
/// identity does not.
pub(super) async fn post(
    State(relay): State<Arc<Relay>>,
    Path(handle): Path<String>,
    Json(request): Json<SuccessionRequest>,
) -> Result<Response, ApiError> {
    let handle: Handle = handle.parse().map_err(|_| ApiError::new(ProblemType::NotFound))?;
    let now = relay.delivery.clock.now_ms();
    let proven = proof::check_proof(
        &relay.identity,
        ChallengePurpose::Register,
        &request.challenge.0,
        &request.proof.0,
        now,
    )?;
    if proven.handle != handle {
        return Err(
            ApiError::new(ProblemType::ChallengeRefused).detail("the challenge is for another handle")
        );
    }
    let bundle = proof::check_bundle(&relay.identity, &handle, &proven.identity, request.bundle.0, now)?;
    let succession =
        proof::check_succession(&relay.identity, &handle, &proven.identity, request.succession.0)?;
    let key = Credential::new_api_key(&*relay.random)?;
    let id = proven.id;
    let registration = Registration {
        id,
        handle,
        identity: proven.identity,
        api_key_hash: key.hash(),
        bundle,
        challenge: proven.challenge,
        admission: Admission::Open,
    };
    let status = match relay.delivery.store.succeed(registration, succession).await? {
        SuccessionOutcome::Done { old, .. } => {
            end_access(&relay, old, Closing::KeyReplaced);
            StatusCode::CREATED
        }
        SuccessionOutcome::Repeated(agent) => {
            end_access(&relay, agent, Closing::KeyReplaced);
            StatusCode::OK
        }
        refused => return Err(refusal(refused)),
    };
    tracing::info!(agent_id = %id, new = status == StatusCode::CREATED, "identity succeeded");
    let answer = Registered {
        agent_id: id,
        api_key: key.expose_text().to_owned(),
    };
    Ok(json(status, &answer))
}

fn refusal(outcome: SuccessionOutcome) -> ApiError {
    match outcome {
        SuccessionOutcome::Unknown => ApiError::new(ProblemType::NotFound),
        SuccessionOutcome::Refused => ApiError::new(ProblemType::SuccessionRefused),
        SuccessionOutcome::IdentityTaken => {
            ApiError::new(ProblemType::HandleTaken).detail("the new identity has or had a handle already")
        }
        SuccessionOutcome::ChallengeUsed => used_challenge(),
        SuccessionOutcome::StaleBundle => {
            ApiError::new(ProblemType::Stale).detail("the relay holds a bundle that is not older")
        }
        SuccessionOutcome::NotDrained => ApiError::new(ProblemType::NotDrained)
            .detail("the old identity has mail: acknowledge it, then ask again"),
        SuccessionOutcome::Suspended => ApiError::new(ProblemType::Suspended),
        SuccessionOutcome::Done { .. } | SuccessionOutcome::Repeated(_) => {
            ApiError::new(ProblemType::Internal)
        }
    }
}

impl From<SuccessionError> for ApiError {
    fn from(error: SuccessionError) -> Self {
        Self::new(ProblemType::InvalidObject).detail(error.to_string())
    }
}
