//! `GET /v1/log/...`: heads of the transparency log, how one continues another, and leaves. With the log switched off
//! there is none.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{Base64Bytes, LogConsistencyAnswer, LogHeadAnswer, LogLeavesAnswer},
    },
    limits,
    wire::Document as _,
};

use super::{
    ApiError,
    extract::{Authenticated, Query, json},
};
use crate::{
    relay::Relay,
    store::{SignedHead, Store},
    transparency::prove_consistency,
};

const CAP: u64 = limits::LOG_LEAVES as u64;

/// Which two heads, by their sizes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sizes {
    from: u64,
    to: u64,
}

/// Which leaves, by their index.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leaves {
    from: u64,
    limit: Option<u64>,
}

fn not_found() -> ApiError {
    ApiError::new(ProblemType::NotFound)
}

/// The store of a relay that has a log.
fn store(relay: &Relay) -> Result<&Store, ApiError> {
    relay
        .transparency
        .map(|_| &relay.delivery.store)
        .ok_or_else(not_found)
}

async fn newest(store: &Store) -> Result<SignedHead, ApiError> {
    store.newest_head().await?.ok_or_else(not_found)
}

/// Answers a [`LogHeadAnswer`].
pub(super) async fn head(
    State(relay): State<Arc<Relay>>,
    Authenticated(_): Authenticated,
) -> Result<Response, ApiError> {
    let head = Base64Bytes(newest(store(&relay)?).await?.bytes);
    Ok(json(StatusCode::OK, &LogHeadAnswer { head }))
}

/// Answers a [`LogConsistencyAnswer`].
pub(super) async fn consistency(
    State(relay): State<Arc<Relay>>,
    Authenticated(_): Authenticated,
    Query(Sizes { from, to }): Query<Sizes>,
) -> Result<Response, ApiError> {
    if from >= to {
        return Err(ApiError::bad_request("from is less than to".to_owned()));
    }
    let proof = prove_consistency(store(&relay)?, from, to).await?;
    let consistency = Base64Bytes(proof.ok_or_else(not_found)?.encode());
    Ok(json(StatusCode::OK, &LogConsistencyAnswer { consistency }))
}

/// Answers a [`LogLeavesAnswer`].
pub(super) async fn leaves(
    State(relay): State<Arc<Relay>>,
    Authenticated(_): Authenticated,
    Query(Leaves { from, limit }): Query<Leaves>,
) -> Result<Response, ApiError> {
    let limit = limit.unwrap_or(CAP);
    if limit == 0 || limit > CAP {
        return Err(ApiError::bad_request(format!(
            "limit is a number from 1 to {CAP}"
        )));
    }
    let store = store(&relay)?;
    let size = newest(store).await?.size;
    let to = size.min(from.saturating_add(limit));
    let leaves = store.log_leaves(from, to).await?;
    let answer = LogLeavesAnswer {
        leaves: leaves.iter().map(|leaf| Base64Bytes(leaf.encode())).collect(),
        size,
    };
    Ok(json(StatusCode::OK, &answer))
}
