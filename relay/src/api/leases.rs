//! `PUT /v1/agents/me/lease` and `GET /v1/agents/me/lease`: which instance of an agent is the live one.
//!
//! The relay keeps the newest and shows every other one to the sockets that are open. Instances believe
//! signatures only: the relay cannot make one of them stop.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use waxwire_shared::api::{
    problem::ProblemType,
    rest::{Base64Bytes, LeaseAnswer},
};

use super::{
    ApiError,
    extract::{Authenticated, Octets, json},
};
use crate::{
    accounts::proof,
    relay::Relay,
    store::{LeaseOutcome, NewLease},
};

/// Largest signed lease: the body, its signature and their heads.
pub(super) const SIGNED_LEASE: usize = 2 * 1024;

/// Takes the lease of the instance that asks.
pub(super) async fn put(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Octets(body): Octets<SIGNED_LEASE>,
) -> Result<Response, ApiError> {
    let record = relay.delivery.store.agent(account.agent).await?;
    let record = record.ok_or_else(|| ApiError::new(ProblemType::NotFound))?;
    let now = relay.delivery.clock.now_ms();
    let lease = proof::check_lease(&relay.identity, &record.identity, body.to_vec(), now)?;
    take(&relay, account.id, lease).await?;
    let lease = Base64Bytes(body.to_vec());
    Ok(json(StatusCode::OK, &LeaseAnswer { lease }))
}

/// Answers the newest lease of the agent itself.
pub(super) async fn get(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
) -> Result<Response, ApiError> {
    let held = relay.delivery.store.lease(account.agent).await?;
    let lease = Base64Bytes(held.ok_or_else(|| ApiError::new(ProblemType::NotFound))?);
    Ok(json(StatusCode::OK, &LeaseAnswer { lease }))
}

/// Keeps a verified lease if it is the newest; the sockets of other instances are shown it either way.
///
/// # Errors
/// `stale` with the lease that stands in the way; `not-found` without such an agent.
pub(super) async fn take(
    relay: &Relay,
    id: waxwire_shared::ids::AgentId,
    lease: NewLease,
) -> Result<(), ApiError> {
    let bytes = lease.bytes.clone();
    let outcome = relay.delivery.store.put_lease(id, lease).await?;
    match outcome {
        LeaseOutcome::Repeated => Ok(()),
        LeaseOutcome::Stored(agent) => {
            relay.delivery.show_lease(agent, bytes);
            Ok(())
        }
        LeaseOutcome::Stale { agent, held } => {
            relay.delivery.show_lease(agent, bytes);
            Err(ApiError::new(ProblemType::Stale)
                .detail("another instance of the agent holds a lease that this one does not replace")
                .held(held))
        }
        LeaseOutcome::Unknown => Err(ApiError::new(ProblemType::NotFound)),
    }
}
