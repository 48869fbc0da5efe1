//! `POST /v1/agents` and `GET /v1/agents/me`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{AgentAnswer, RegisterRequest, Registered, Registration as Mode},
    },
    wire::ChallengePurpose,
};

use super::{
    ApiError,
    extract::{Authenticated, Json, json},
};
use crate::{
    accounts::{
        credential::{self, Credential},
        proof::{self, BundleError, LeaseError, ProofError},
    },
    delivery::Closing,
    relay::Relay,
    store::{Admission, AgentNo, RegisterOutcome, Registration},
};

/// Registers an agent, or gives a registered one a new API key.
pub(super) async fn register(
    State(relay): State<Arc<Relay>>,
    Json(request): Json<RegisterRequest>,
) -> Result<Response, ApiError> {
    let now = relay.delivery.clock.now_ms();
    let proven = proof::check_proof(
        &relay.identity,
        ChallengePurpose::Register,
        &request.challenge.0,
        &request.proof.0,
        now,
    )?;
    let bundle = proof::check_bundle(
        &relay.identity,
        &proven.handle,
        &proven.identity,
        request.bundle.0,
        now,
    )?;
    let key = Credential::new_api_key(&*relay.random)?;
    let admission = match relay.registration {
        Mode::Open => Admission::Open,
        Mode::Invite => Admission::Invite(request.invite.as_deref().map(credential::hash)),
        Mode::Closed => Admission::Closed,
    };
    let id = proven.id;
    let registration = Registration {
        id,
        handle: proven.handle,
        identity: proven.identity,
        api_key_hash: key.hash(),
        bundle,
        challenge: proven.challenge,
        admission,
    };
    let status = match relay.delivery.store.register(registration).await? {
        RegisterOutcome::Created(_) => StatusCode::CREATED,
        RegisterOutcome::Repeated(agent) => {
            end_access(&relay, agent, Closing::KeyReplaced);
            StatusCode::OK
        }
        refused => return Err(refusal(refused)),
    };
    tracing::info!(agent_id = %id, new = status == StatusCode::CREATED, "agent registered");
    let answer = Registered {
        agent_id: id,
        api_key: key.expose_text().to_owned(),
    };
    Ok(json(status, &answer))
}

fn refusal(outcome: RegisterOutcome) -> ApiError {
    match outcome {
        RegisterOutcome::HandleTaken => ApiError::new(ProblemType::HandleTaken),
        RegisterOutcome::IdentityTaken => {
            ApiError::new(ProblemType::HandleTaken).detail("the identity is registered under another handle")
        }
        RegisterOutcome::ChallengeUsed => used_challenge(),
        RegisterOutcome::StaleBundle => {
            ApiError::new(ProblemType::Stale).detail("the relay holds a bundle that is not older")
        }
        RegisterOutcome::InviteRefused => {
            ApiError::new(ProblemType::RegistrationClosed).detail("an unused invite code is needed")
        }
        RegisterOutcome::Closed => ApiError::new(ProblemType::RegistrationClosed),
        RegisterOutcome::Suspended => ApiError::new(ProblemType::Suspended),
        RegisterOutcome::Created(_) | RegisterOutcome::Repeated(_) => ApiError::new(ProblemType::Internal),
    }
}

/// The refusal of a challenge that was used before.
pub(super) fn used_challenge() -> ApiError {
    ApiError::new(ProblemType::ChallengeRefused).detail("the challenge was used before: ask for another")
}

/// Whoever holds the API key that an agent had may not use it any more.
pub(super) fn end_access(relay: &Relay, agent: AgentNo, closing: Closing) {
    relay.auth.forget(agent);
    relay.delivery.hub.close_agent(agent, closing);
}

/// Answers an [`AgentAnswer`].
pub(super) async fn me(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
) -> Result<Response, ApiError> {
    let record = relay.delivery.store.agent(account.agent).await?;
    let record = record.ok_or_else(|| ApiError::new(ProblemType::NotFound))?;
    let answer = AgentAnswer {
        agent_id: record.id,
        handle: record.handle,
        registered_at: record.registered_at,
        suspended: record.suspended_at.is_some(),
    };
    Ok(json(StatusCode::OK, &answer))
}

impl From<ProofError> for ApiError {
    fn from(error: ProofError) -> Self {
        let kind = match error {
            ProofError::Decode(_) | ProofError::Proof(_) => ProblemType::InvalidObject,
            ProofError::Foreign | ProofError::Purpose | ProofError::Expired => ProblemType::ChallengeRefused,
        };
        Self::new(kind).detail(error.to_string())
    }
}

impl From<LeaseError> for ApiError {
    fn from(error: LeaseError) -> Self {
        Self::new(ProblemType::InvalidObject).detail(error.to_string())
    }
}

impl From<BundleError> for ApiError {
    fn from(error: BundleError) -> Self {
        Self::new(ProblemType::InvalidObject).detail(error.to_string())
    }
}
