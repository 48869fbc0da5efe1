//! What this agent has not settled yet, and settling it.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, timeout_at},
};
use utoipa::ToSchema;

use super::{
    ApiState,
    error::ApiError,
    request::{JsonBody, Query, page_size},
    shape::MessageBody,
};
use crate::{
    clock,
    engine::{Command, Notice, Reply},
    model::DeliveryId,
};

/// The route whose answer may take longer.
pub(super) const ROUTE: &str = "/v1/messages/sync";
/// Longest `wait`.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

const DEFAULT: usize = 200;
const CAP: usize = 500;

/// Which rows, and how long to wait for one.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SyncQuery {
    /// Most rows; 200 if absent, at most 500.
    limit: Option<u64>,
    /// Only rows after this delivery. Settles nothing.
    after: Option<String>,
    /// Seconds to wait for a row if there is none; 0 if absent, at most 60.
    wait: Option<u64>,
}

/// Messages that this agent has not settled, oldest first, but for those that are on their way by a socket
/// which acknowledges them. Reading settles nothing.
#[utoipa::path(
    get,
    path = "/v1/messages/sync",
    tag = "delivery",
    params(SyncQuery),
    responses((status = 200, description = "A bare list of messages with their delivery_id", body = Vec<MessageBody>)),
)]
pub(super) async fn sync(
    State(state): State<ApiState>,
    Query(query): Query<SyncQuery>,
) -> Result<Json<Vec<MessageBody>>, ApiError> {
    let limit = page_size(query.limit, DEFAULT, CAP)?;
    let unknown = |_| ApiError::invalid(&["query", "after"], "not a delivery id");
    let after: Option<DeliveryId> = query
        .after
        .map(|after| after.parse())
        .transpose()
        .map_err(unknown)?;
    let wait = Duration::from_secs(query.wait.unwrap_or_default()).min(LONGEST_WAIT);

    // Subscribed before the state is read, so that nothing falls between the two.
    let mut notices = state.backend().notices();
    let deadline = Instant::now() + wait;
    loop {
        let leases = state.live().leases();
        let released = leases.released();
        let places = leases.free();
        let rows = state
            .read(move |backend| backend.sync(after, &places, limit, clock::unix()))
            .await?;
        if !rows.is_empty() || wait.is_zero() {
            return Ok(Json(rows.iter().map(MessageBody::row).collect()));
        }
        tokio::select! {
            () = state.stopping().cancelled() => return Ok(Json(Vec::new())),
            () = released => {}
            arrival = timeout_at(deadline, next_inbound(&mut notices)) => {
                if !matches!(arrival, Ok(true)) {
                    return Ok(Json(Vec::new()));
                }
            }
        }
    }
}

/// Waits until a message to this agent may have become visible; false when none can any more.
async fn next_inbound(notices: &mut Receiver<Notice>) -> bool {
    loop {
        match notices.recv().await {
            Ok(Notice::Message(message)) if !message.own => return true,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}

/// Body of `POST /v1/messages/sync/ack`.
#[derive(Debug, ToSchema)]
#[schema(as = SyncAck)]
#[expect(
    dead_code,
    reason = "describes the body; the handler reads fields one by one to name what is wrong"
)]
pub(super) struct AckBody {
    /// The newest delivery that is settled, with all before it.
    last_delivery_id: String,
}

/// Answer to an ack.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SyncAcked)]
pub(super) struct AckedBody {
    /// How many deliveries were settled now.
    acked: u64,
}

/// Settle every delivery up to and including one. An unknown one, or one settled before, gives 0.
#[utoipa::path(
    post,
    path = "/v1/messages/sync/ack",
    tag = "delivery",
    request_body = AckBody,
    responses((status = 200, description = "How many were settled now", body = AckedBody)),
)]
pub(super) async fn ack(State(state): State<ApiState>, body: JsonBody) -> Result<Json<AckedBody>, ApiError> {
    let last = body.fields()?.required("last_delivery_id")?;
    let Ok(last) = last.parse() else {
        return Ok(Json(AckedBody { acked: 0 }));
    };
    match state.ask(Command::Ack(last)).await? {
        Reply::Settled(acked) => Ok(Json(AckedBody { acked })),
        _ => Err(ApiError::internal()),
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
