//! `GET /v1/ws`: lets a client in.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

use super::{
    super::{ApiState, error::ApiError, guard::Shown, request::Query},
    client::lists_ack,
    session::{self, Entry},
    ticket::LIFETIME,
};
use crate::rng::OsRng;

/// The route.
const ROUTE: &str = "/v1/ws";
/// The same for clients whose base ends in a slash.
const DOUBLE: &str = "//v1/ws";
const CAPABILITIES: &str = "x-agentchat-capabilities";

/// Sizes of a socket's buffers.
const READ_BUFFER: usize = 4 * 1024;
const WRITE_BUFFER: usize = 16 * 1024;
const WRITE_BUFFER_MAX: usize = 1024 * 1024;
/// Largest message from a client; what is larger ends the socket.
const MESSAGE: usize = 1024 * 1024;
/// Seconds after which there may be room again.
const RETRY: u64 = 5;

/// Whether a path is this route, on which the token may come later.
pub(in crate::api) fn is_socket(path: &str) -> bool {
    path == ROUTE || path == DOUBLE
}

/// How a client that can set no header gets in.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct SocketQuery {
    /// A ticket of `POST /v1/ws/ticket`, instead of the token.
    ticket: Option<String>,
    /// `ack` if the client acknowledges each message; what the header `x-agentchat-capabilities` says
    /// too.
    capabilities: Option<String>,
}

/// A WebSocket that tells live what happens. Without `Authorization` header and ticket, the first frame
/// has to be a hello.
#[utoipa::path(
    get,
    path = "/v1/ws",
    tag = "live",
    params(SocketQuery),
    security((), ("token" = [])),
    responses(
        (status = 101, description = "A WebSocket"),
        (status = 401, description = "UNAUTHORIZED: the token or ticket is wrong", body = super::super::ErrorBody),
        (status = 429, description = "RATE_LIMITED: too many sockets, with Retry-After", body = super::super::ErrorBody),
    ),
)]
pub(in crate::api) async fn open(
    State(state): State<ApiState>,
    Extension(shown): Extension<Shown>,
    Query(query): Query<SocketQuery>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| ApiError::invalid(&[], "this path is a WebSocket"))?;
    if state.stopping().is_cancelled() {
        return Err(crate::model::Refusal::Stopping.into());
    }
    let ticket = query.ticket.as_deref().map(str::as_bytes);
    let known = shown == Shown::Token || ticket.is_some_and(|ticket| state.live().tickets.redeem(ticket));
    if !known && ticket.is_some() {
        return Err(ApiError::unauthorized("the ticket is used, expired or none"));
    }
    let header = headers.get_all(CAPABILITIES).iter();
    let mut capabilities = header
        .filter_map(|value| value.to_str().ok())
        .chain(query.capabilities.as_deref());
    let entry = if known {
        Entry::Known {
            slot: slot(&state.live().sockets)?,
            ack: capabilities.any(lists_ack),
        }
    } else {
        Entry::Stranger(slot(&state.live().strangers)?)
    };
    let task = state.live().tasks.token();
    Ok(upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(MESSAGE)
        .max_frame_size(MESSAGE)
        .on_upgrade(move |socket| async move {
            session::run(socket, state, entry).await;
            drop(task);
        }))
}

/// Room for one more.
pub(super) fn slot(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, ApiError> {
    let slot = Arc::clone(slots).try_acquire_owned();
    slot.map_err(|_| {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "too many are open").retry_after(RETRY)
    })
}

/// Answer of `POST /v1/ws/ticket`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ticket)]
pub(in crate::api) struct TicketBody {
    /// `wst_` and 43 characters.
    ticket: String,
    /// Seconds.
    expires_in: u64,
}

/// A ticket that opens one socket by `/v1/ws?ticket=`, for pages, which cannot set a header.
#[utoipa::path(
    post,
    path = "/v1/ws/ticket",
    tag = "live",
    responses((status = 200, description = "Good once, for five minutes", body = TicketBody)),
)]
pub(in crate::api) async fn ticket(State(state): State<ApiState>) -> Json<TicketBody> {
    Json(TicketBody {
        ticket: state.live().tickets.issue(&mut OsRng),
        expires_in: LIFETIME.as_secs(),
    })
}
