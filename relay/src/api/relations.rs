//! `PUT` and `DELETE /v1/contacts/{handle}` and `/v1/blocks/{handle}`: what the agent itself holds of
//! others. A handle that nobody has is passed over: from the answer nobody learns who exists.

use std::sync::Arc;

use axum::extract::{Path, State};
use http::StatusCode;
use waxwire_shared::{
    api::{problem::ProblemType, rest::BlockRequest},
    ids::Handle,
};

use super::{
    ApiError,
    extract::{Authenticated, Json},
    sight,
};
use crate::{
    relay::Relay,
    store::{AgentNo, Block, RelateOutcome, Relation, Sight},
};

fn named(handle: &str) -> Result<Handle, ApiError> {
    handle.parse().map_err(|_| ApiError::new(ProblemType::NotFound))
}

async fn relate(
    relay: &Relay,
    agent: AgentNo,
    handle: &str,
    relation: Relation,
) -> Result<StatusCode, ApiError> {
    let (limit, max) = match relation {
        Relation::Contact => ("contacts", relay.limits.contacts),
        Relation::Block(_) => ("blocks", relay.limits.blocks),
    };
    let handle = named(handle)?;
    match relay.delivery.store.relate(agent, handle, relation, max).await? {
        RelateOutcome::Done => Ok(StatusCode::NO_CONTENT),
        RelateOutcome::Full { max, actual } => {
            Err(ApiError::new(ProblemType::Forbidden).limit(limit, max, actual))
        }
    }
}

/// Whoever holds a contact sees whether it is there, and so looks it up.
async fn count_unseen(relay: &Relay, agent: AgentNo, handle: &Handle) -> Result<(), ApiError> {
    sight::may_look_up(relay, agent).await?;
    match relay.delivery.store.sight(agent, handle).await? {
        Sight::Visible(_) => Ok(()),
        Sight::Blocked | Sight::Unknown => sight::count_misses(relay, agent, 1).await,
    }
}

/// Holds an agent as a contact.
pub(super) async fn put_contact(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(handle): Path<String>,
) -> Result<StatusCode, ApiError> {
    count_unseen(&relay, account.agent, &named(&handle)?).await?;
    let done = relate(&relay, account.agent, &handle, Relation::Contact).await?;
    relay.delivery.introduce(account.agent, &named(&handle)?).await?;
    Ok(done)
}

/// Holds it no longer.
pub(super) async fn delete_contact(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(handle): Path<String>,
) -> Result<StatusCode, ApiError> {
    let handle = named(&handle)?;
    relay.delivery.store.remove_contact(account.agent, handle).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Blocks an agent.
pub(super) async fn put_block(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(handle): Path<String>,
    Json(request): Json<BlockRequest>,
) -> Result<StatusCode, ApiError> {
    let block = if request.known { Block::Told } else { Block::Hidden };
    relate(&relay, account.agent, &handle, Relation::Block(block)).await
}

/// Blocks it no longer.
pub(super) async fn delete_block(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(handle): Path<String>,
) -> Result<StatusCode, ApiError> {
    let handle = named(&handle)?;
    relay.delivery.store.remove_block(account.agent, handle).await?;
    Ok(StatusCode::NO_CONTENT)
}
