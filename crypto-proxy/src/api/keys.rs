//! Own keys, replaced because somebody asks.

use std::time::Duration;

use axum::{Json, extract::State};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::{
    ApiState,
    error::{ApiError, ErrorBody},
};
use crate::{
    engine::{Command, GroupCommand, Reply},
    model::{LocalConversation, Refusal},
};

/// How long the answer waits for the keys of groups.
const GROUPS: Duration = Duration::from_secs(12);
/// How many groups are worked on at a time.
const AT_ONCE: usize = 16;

/// Answer of `POST /v1/keys/rotate`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rotated)]
pub(super) struct RotatedBody {
    /// Number of the new encryption key, which the relay has.
    key_number: u64,
    /// Every group that this agent is a member of.
    groups: Vec<RekeyedBody>,
}

/// What became of the key of a group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rekeyed)]
struct RekeyedBody {
    group_id: String,
    /// The new epoch; null if there is none yet.
    epoch: Option<u64>,
    /// Why there is none, as `POST /v1/groups/{id}/rekey` would say; null if there is one. The proxy goes on
    /// trying, and seals nothing in the group before.
    code: Option<&'static str>,
}

/// Publish a new encryption key now, and replace the key of every group.
#[utoipa::path(
    post,
    path = "/v1/keys/rotate",
    tag = "keys",
    responses(
        (status = 200, description = "The relay has the new key; what became of each group", body = RotatedBody),
        (status = 403, description = "FORBIDDEN or SUSPENDED", body = ErrorBody),
        (status = 409, description = "SUPERSEDED or CLONE", body = ErrorBody),
        (status = 429, description = "RATE_LIMITED, with Retry-After", body = ErrorBody),
    ),
)]
pub(super) async fn rotate(State(state): State<ApiState>) -> Result<Json<RotatedBody>, ApiError> {
    let Reply::Rotated(key_number) = state.ask(Command::RotateKey).await? else {
        return Err(ApiError::internal());
    };
    let until = Instant::now() + GROUPS;
    let groups = state.read(|backend| backend.member_groups()).await?;
    let rekeys = groups.into_iter().map(|id| rekey(state.clone(), id, until));
    let groups = stream::iter(rekeys).buffered(AT_ONCE).collect().await;
    Ok(Json(RotatedBody { key_number, groups }))
}

async fn rekey(state: ApiState, id: LocalConversation, until: Instant) -> RekeyedBody {
    let asked = state.ask_group(GroupCommand::Rekey(id));
    let outcome = match timeout_at(until, asked).await {
        Ok(Ok(Reply::Epoch(epoch))) => Ok(epoch),
        Ok(Ok(_)) => Err(ApiError::internal()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Refusal::EpochPending { retry_after: 1 }.into()),
    };
    RekeyedBody {
        group_id: id.to_string(),
        epoch: outcome.as_ref().ok().copied(),
        code: outcome.err().map(|error| error.code()),
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
