//! `POST /v1/acks`: everything up to these positions is durable at the agent.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use waxwire_shared::api::{
    frames::{Cursor, Queue},
    problem::ProblemType,
    rest::AckRequest,
};

use super::{
    ApiError,
    extract::{Authenticated, Json},
};
use crate::{
    relay::Relay,
    store::{Account, Membership, View},
};

/// Most acks in a request.
const ACKS: usize = 1_000;

/// Answers 204 when the acks are durable. A foreign queue refuses all of them.
pub(super) async fn post(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Json(request): Json<AckRequest>,
) -> Result<StatusCode, ApiError> {
    if request.acks.len() > ACKS {
        return Err(ApiError::bad_request(format!("at most {ACKS} acks in a request")));
    }
    let store = &relay.delivery.store;
    let of_group = |ack: &Cursor| matches!(ack.queue, Queue::Group(_) | Queue::Log(_));
    let memberships = if request.acks.iter().any(of_group) {
        store.memberships(account.agent).await?
    } else {
        Vec::new()
    };
    let acks = request
        .acks
        .iter()
        .map(|ack| Ok((find(&account, &memberships, ack.queue)?, ack.position)))
        .collect::<Result<Vec<_>, ApiError>>()?;
    store.ack(acks).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who holds an invite only has read nothing that it could acknowledge.
fn find(account: &Account, memberships: &[Membership], queue: Queue) -> Result<View, ApiError> {
    let member = |id| {
        let found = memberships.iter().find(|membership| membership.id == id);
        found.ok_or_else(|| ApiError::new(ProblemType::NotFound))
    };
    Ok(match queue {
        Queue::Mail => View::Whole(account.mail),
        Queue::Control => View::Whole(account.control),
        Queue::Group(id) => member(id)?.group.messages_for(account.agent),
        Queue::Log(id) => member(id)?.group.log_for(account.agent),
    })
}
