//! `/v1/admin`: what `waxwire-relay admin` does, over HTTP, for whoever has the master key. The paths
//! exist only on a relay that was given one.

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequestParts, Path, State},
    response::Response,
    routing::{get, post},
};
use http::{StatusCode, request::Parts};
use serde::{Deserialize, Serialize};
use waxwire_shared::{
    api::problem::ProblemType,
    ids::{AgentId, Handle},
};

use super::{
    ApiError,
    agents::end_access,
    extract::{Json, Query, bearer, json},
};
use crate::{
    accounts::credential::Credential,
    delivery::Closing,
    relay::Relay,
    store::{AgentNo, AgentRecord, DeadWakeup},
};

const LIMIT: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;
const INVITES: u16 = 1_000;
const INVITE_DAYS: u16 = 3_650;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// The routes.
pub(super) fn router() -> Router<Arc<Relay>> {
    Router::new()
        .route("/v1/admin/agents", get(agents))
        .route("/v1/admin/agents/{handle}/suspend", post(suspend))
        .route("/v1/admin/agents/{handle}/unsuspend", post(unsuspend))
        .route("/v1/admin/agents/{handle}/revoke", post(revoke))
        .route("/v1/admin/invites", post(invites))
        .route("/v1/admin/dead-letters", get(dead_letters))
        .route("/v1/admin/dead-letters/{handle}/redeliver", post(redeliver))
}

/// Whoever sent the master key.
struct Administrator;

impl FromRequestParts<Arc<Relay>> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, relay: &Arc<Relay>) -> Result<Self, ApiError> {
        let given = bearer(&parts.headers)?;
        match &relay.master_key {
            Some(key) if key.matches(given) => Ok(Self),
            _ => Err(ApiError::new(ProblemType::Unauthorized)),
        }
    }
}

/// Query of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    #[serde(default)]
    after: String,
    limit: Option<usize>,
}

impl Params {
    fn limit(&self) -> Result<usize, ApiError> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        if limit == 0 || limit > LIMIT {
            return Err(ApiError::bad_request(format!(
                "limit is a number from 1 to {LIMIT}"
            )));
        }
        Ok(limit)
    }
}

/// One agent in the list.
#[derive(Debug, Serialize)]
struct AgentEntry {
    handle: Handle,
    agent_id: AgentId,
    registered_at: u64,
    suspended: bool,
    has_api_key: bool,
    org: String,
}

impl From<AgentRecord> for AgentEntry {
    fn from(record: AgentRecord) -> Self {
        Self {
            handle: record.handle,
            agent_id: record.id,
            registered_at: record.registered_at,
            suspended: record.suspended_at.is_some(),
            has_api_key: record.api_key.is_some(),
            org: record.org,
        }
    }
}

/// The list.
#[derive(Debug, Serialize)]
struct AgentsAnswer {
    agents: Vec<AgentEntry>,
}

async fn agents(
    State(relay): State<Arc<Relay>>,
    _: Administrator,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let records = relay.delivery.store.agents(&params.after, limit).await?;
    let agents = records.into_iter().map(AgentEntry::from).collect();
    Ok(json(StatusCode::OK, &AgentsAnswer { agents }))
}

async fn suspend(
    state: State<Arc<Relay>>,
    _: Administrator,
    path: Path<String>,
) -> Result<StatusCode, ApiError> {
    set_suspended(state, path, true).await
}

async fn unsuspend(
    state: State<Arc<Relay>>,
    _: Administrator,
    path: Path<String>,
) -> Result<StatusCode, ApiError> {
    set_suspended(state, path, false).await
}

async fn set_suspended(
    State(relay): State<Arc<Relay>>,
    Path(handle): Path<String>,
    suspended: bool,
) -> Result<StatusCode, ApiError> {
    let changed = relay
        .delivery
        .store
        .set_suspended(parse(&handle)?, suspended)
        .await?;
    settle(
        &relay,
        changed.map(|(agent, _)| agent),
        Closing::Suspended,
        suspended,
    )
}

async fn revoke(
    State(relay): State<Arc<Relay>>,
    _: Administrator,
    Path(handle): Path<String>,
) -> Result<StatusCode, ApiError> {
    let changed = relay.delivery.store.revoke_key(parse(&handle)?).await?;
    settle(
        &relay,
        changed.map(|(agent, _)| agent),
        Closing::KeyReplaced,
        true,
    )
}

fn parse(handle: &str) -> Result<Handle, ApiError> {
    handle.parse().map_err(|_| ApiError::new(ProblemType::NotFound))
}

/// This process need not wait for the event that every process follows.
fn settle(
    relay: &Relay,
    agent: Option<AgentNo>,
    closing: Closing,
    closes: bool,
) -> Result<StatusCode, ApiError> {
    let agent = agent.ok_or_else(|| ApiError::new(ProblemType::NotFound))?;
    relay.auth.forget(agent);
    if closes {
        end_access(relay, agent, closing);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// How many invite codes, and for how long.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InvitesRequest {
    count: u16,
    days: u16,
}

/// Each is good for one registration.
#[derive(Debug, Serialize)]
struct InvitesAnswer {
    invites: Vec<String>,
}

async fn invites(
    State(relay): State<Arc<Relay>>,
    _: Administrator,
    Json(request): Json<InvitesRequest>,
) -> Result<Response, ApiError> {
    if !(1..=INVITES).contains(&request.count) || !(1..=INVITE_DAYS).contains(&request.days) {
        return Err(ApiError::bad_request(format!(
            "count is a number from 1 to {INVITES}, days one from 1 to {INVITE_DAYS}"
        )));
    }
    let expires_at = relay
        .delivery
        .clock
        .now_ms()
        .saturating_add(u64::from(request.days) * DAY_MS);
    let mut invites = Vec::with_capacity(request.count.into());
    for _ in 0..request.count {
        let code = Credential::new_invite(&*relay.random)?;
        relay.delivery.store.add_invite(code.hash(), expires_at).await?;
        invites.push(code.expose_text().to_owned());
    }
    Ok(json(StatusCode::CREATED, &InvitesAnswer { invites }))
}

/// A wake-up that was given up.
#[derive(Debug, Serialize)]
struct DeadLetter {
    handle: Handle,
    attempts: u32,
    reason: String,
    since: u64,
    dead_at: u64,
}

impl From<DeadWakeup> for DeadLetter {
    fn from(dead: DeadWakeup) -> Self {
        Self {
            handle: dead.handle,
            attempts: dead.attempts,
            reason: dead.reason,
            since: dead.since,
            dead_at: dead.dead_at,
        }
    }
}

/// Those that were given up.
#[derive(Debug, Serialize)]
struct DeadLettersAnswer {
    dead_letters: Vec<DeadLetter>,
}

async fn dead_letters(
    State(relay): State<Arc<Relay>>,
    _: Administrator,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let dead = relay.delivery.store.dead_wakeups(&params.after, limit).await?;
    let dead_letters = dead.into_iter().map(DeadLetter::from).collect();
    Ok(json(StatusCode::OK, &DeadLettersAnswer { dead_letters }))
}

async fn redeliver(
    State(relay): State<Arc<Relay>>,
    _: Administrator,
    Path(handle): Path<String>,
) -> Result<StatusCode, ApiError> {
    if relay.delivery.store.redeliver_wakeup(parse(&handle)?).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::new(ProblemType::NotFound))
    }
}
