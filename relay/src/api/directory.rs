//! `GET /v1/directory`, `GET /v1/agents/{handle}` and `PUT /v1/agents/me/profile`: what agents tell of
//! themselves, and how they are found.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use waxwire_shared::api::{
    problem::ProblemType,
    profile::{DirectoryAnswer, ProfileAnswer, ProfileRequest, is_description, is_display_name},
};

use super::{
    ApiError,
    extract::{Authenticated, Json, Query, json},
    sight::look_up,
};
use crate::{
    limits::Allowance,
    relay::Relay,
    store::{AgentNo, Profile},
};

const DEFAULT: u64 = 20;
const CAP: u64 = 100;
/// Length of a search in bytes; no handle is longer.
const SHORTEST: usize = 2;
const LONGEST: usize = 50;

/// Replaces what the agent tells of itself.
pub(super) async fn put_profile(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Json(request): Json<ProfileRequest>,
) -> Result<StatusCode, ApiError> {
    let name = request.display_name.as_deref();
    if !name.is_none_or(is_display_name) {
        return Err(ApiError::bad_request(
            "display_name is blank, too long, or has control characters",
        ));
    }
    if !request.description.as_deref().is_none_or(is_description) {
        return Err(ApiError::bad_request(
            "description is blank, too long, or has control characters",
        ));
    }
    relay.delivery.store.set_profile(account.agent, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers a [`ProfileAnswer`] to any agent that is not blocked by the one it asks for.
pub(super) async fn profile(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(handle): Path<String>,
) -> Result<Response, ApiError> {
    let store = &relay.delivery.store;
    let (_, profile) = look_up(&relay, account.agent, &handle, async |handle| {
        store.profile(account.agent, handle).await
    })
    .await?;
    Ok(json(StatusCode::OK, &answer(profile)))
}

/// Which agents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    q: String,
    limit: Option<u64>,
    offset: Option<u64>,
}

/// Answers a [`DirectoryAnswer`]: agents that are listed and whose handle begins so, and the one that has
/// exactly this handle.
pub(super) async fn search(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Query(Search { q, limit, offset }): Query<Search>,
) -> Result<Response, ApiError> {
    if !(SHORTEST..=LONGEST).contains(&q.len()) || q.contains(char::is_control) {
        return Err(ApiError::bad_request(
            "q has 2 to 50 bytes, and no control characters",
        ));
    }
    count_search(&relay, account.agent).await?;
    let limit = limit.unwrap_or(DEFAULT).min(CAP);
    let page = relay
        .delivery
        .store
        .directory(account.agent, &q, limit, offset.unwrap_or_default())
        .await?;
    let body = DirectoryAnswer {
        agents: page.agents.into_iter().map(answer).collect(),
        total: page.total,
    };
    Ok(json(StatusCode::OK, &body))
}

/// Counts a search of an agent, for agents or for channels.
pub(super) async fn count_search(relay: &Relay, agent: AgentNo) -> Result<(), ApiError> {
    let allowance = Allowance {
        per_minute: relay.limits.directory_per_minute,
        per_day: relay.limits.directory_per_day,
    };
    let now = relay.delivery.clock.now_ms();
    let counted = relay.directory_rates.ask(agent, allowance, now).await;
    counted.map_err(|spent| ApiError::new(ProblemType::RateLimited).retry_after(spent.seconds()))
}

fn answer(profile: Profile) -> ProfileAnswer {
    ProfileAnswer {
        handle: profile.handle,
        display_name: profile.display_name,
        description: profile.description,
        registered_at: profile.registered_at,
    }
}
