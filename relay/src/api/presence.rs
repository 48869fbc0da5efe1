//! `POST /v1/presence`: who is there.

use std::{collections::HashSet, sync::Arc};

use axum::{extract::State, response::Response};
use http::StatusCode;
use waxwire_shared::{
    api::rest::{PresenceAnswer, PresenceRequest},
    ids::Handle,
    limits,
};

use super::{
    ApiError,
    extract::{Authenticated, Json, json},
    sight,
};
use crate::relay::Relay;

/// Answers what the asker may see of each agent. One that is not known, and one that is across a
/// block, are left out alike.
pub(super) async fn post(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Json(PresenceRequest { handles }): Json<PresenceRequest>,
) -> Result<Response, ApiError> {
    if handles.len() > limits::PRESENCES {
        let (max, actual) = (limits::PRESENCES as u64, handles.len() as u64);
        return Err(ApiError::bad_request("too many handles").limit("handles", max, actual));
    }
    sight::may_look_up(&relay, account.agent).await?;
    let delivery = &relay.delivery;
    let agents = delivery.store.in_sight(account.agent, &handles).await?;
    let asked: HashSet<&Handle> = handles.iter().collect();
    let misses = asked.len().saturating_sub(agents.len());
    sight::count_misses(&relay, account.agent, misses).await?;
    let online = delivery.online(agents.iter().map(|(agent, ..)| *agent)).await;
    let presences = agents.into_iter().map(|(agent, handle, written)| {
        delivery
            .presence
            .see(agent, handle, online.contains(&agent), written)
    });
    let answer = PresenceAnswer {
        presences: presences.collect(),
    };
    Ok(json(StatusCode::OK, &answer))
}
