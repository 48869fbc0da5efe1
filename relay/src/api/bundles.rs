//! `PUT /v1/agents/me/bundle` and `GET /v1/agents/{handle}/bundle`.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{Base64Bytes, BundleAnswer},
    },
    limits,
    wire::Document as _,
};

use super::{
    ApiError,
    extract::{Authenticated, Octets, json},
    sight::look_up,
};
use crate::{accounts::proof, relay::Relay, store::BundleOutcome, transparency};

/// Largest signed bundle: the body, its signature and their heads.
const SIGNED_BUNDLE: usize = limits::BUNDLE + 1024;

/// Publishes a bundle of the agent itself.
pub(super) async fn put(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Octets(body): Octets<SIGNED_BUNDLE>,
) -> Result<Response, ApiError> {
    let store = &relay.delivery.store;
    let record = store.agent(account.agent).await?;
    let record = record.ok_or_else(|| ApiError::new(ProblemType::NotFound))?;
    let now = relay.delivery.clock.now_ms();
    let bytes = body.to_vec();
    let bundle = proof::check_bundle(&relay.identity, &record.handle, &record.identity, bytes, now)?;
    match store.put_bundle(account.agent, bundle).await? {
        BundleOutcome::Stored | BundleOutcome::Repeated => {}
        BundleOutcome::Stale => return Err(ApiError::new(ProblemType::Stale)),
    }
    let answer = BundleAnswer {
        agent_id: account.id,
        bundle: Base64Bytes(body.to_vec()),
        successions: Vec::new(),
        log: None,
    };
    Ok(json(StatusCode::OK, &answer))
}

/// Answers the latest bundle of any agent, how its identity came to the handle and the proof that the bundle is in the
/// transparency log, to any agent that is not blocked by it.
pub(super) async fn get(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(handle): Path<String>,
) -> Result<Response, ApiError> {
    let store = &relay.delivery.store;
    let (handle, (agent_id, bytes)) = look_up(&relay, account.agent, &handle, async |handle| {
        store.bundle(account.agent, handle).await
    })
    .await?;
    // Read after the bundle: they prove at least the identity in it.
    let successions = store.successions(&handle, limits::SUCCESSIONS).await?;
    let log = match relay.transparency {
        Some(_) => transparency::prove(store, &bytes).await?,
        None => None,
    };
    let answer = BundleAnswer {
        agent_id,
        bundle: Base64Bytes(bytes),
        successions: successions.into_iter().map(Base64Bytes).collect(),
        log: log.map(|proof| Base64Bytes(proof.encode())),
    };
    Ok(json(StatusCode::OK, &answer))
}
