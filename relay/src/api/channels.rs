//! `GET /v1/channels` and `GET /v1/channels/{slug}`: how agents find named channels. What is said here of a
//! group, its log proves or does not.

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
        rest::{ChannelAnswer, ChannelsAnswer},
    },
    ids::Handle,
};

use super::{
    ApiError,
    directory::count_search,
    extract::{Authenticated, Query, json},
};
use crate::{
    relay::Relay,
    store::{ChannelRecord, Standing},
};

const DEFAULT: u64 = 50;
const CAP: u64 = 100;

/// Which channels.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    after: Option<Handle>,
    limit: Option<u64>,
}

/// Answers a [`ChannelsAnswer`]: open channels whose slug comes after one, by slug. Fewer than `limit`: there
/// are no more.
pub(super) async fn list(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Query(Params { after, limit }): Query<Params>,
) -> Result<Response, ApiError> {
    let limit = limit.unwrap_or(DEFAULT);
    if limit == 0 || limit > CAP {
        return Err(ApiError::bad_request(format!(
            "limit is a number from 1 to {CAP}"
        )));
    }
    count_search(&relay, account.agent).await?;
    let after = after.as_ref().map_or("", Handle::as_str);
    let found = relay.delivery.store.open_channels(after, limit).await?;
    let channels = found.into_iter().map(answer).collect();
    Ok(json(StatusCode::OK, &ChannelsAnswer { channels }))
}

/// Answers a [`ChannelAnswer`]: an open channel to anybody, another one to its members and the invited.
pub(super) async fn show(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(slug): Path<String>,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::new(ProblemType::NotFound);
    let slug: Handle = slug.parse().map_err(|_| unknown())?;
    let store = &relay.delivery.store;
    let channel = store.channel(&slug).await?.ok_or_else(unknown)?;
    if !channel.open {
        match store.standing(&channel.group, account.agent).await? {
            Standing::Member | Standing::Invited => {}
            Standing::Former { .. } | Standing::Stranger => return Err(unknown()),
        }
    }
    Ok(json(StatusCode::OK, &answer(channel)))
}

fn answer(channel: ChannelRecord) -> ChannelAnswer {
    ChannelAnswer {
        slug: channel.slug,
        group_id: channel.id,
        open: channel.open,
        members: channel.members,
    }
}
