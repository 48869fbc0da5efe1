//! `GET /v1/link`: the socket between proxy and relay.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    response::Response,
};
use http::HeaderMap;
use waxwire_shared::api::problem::ProblemType;

use super::{
    ApiError,
    extract::{Authenticated, bearer},
};
use crate::{
    delivery::{Full, SocketLimits, session},
    metrics::Metrics,
    relay::{Relay, RequestId},
};

/// Sizes of a socket's buffers. Reading is small because most sockets are idle.
const READ_BUFFER: usize = 2 * 1024;
const WRITE_BUFFER: usize = 16 * 1024;
const WRITE_BUFFER_MAX: usize = 512 * 1024;
/// Largest message: an envelope that is too large by less is refused by a frame, not by the end of
/// the socket.
const MESSAGE: usize = 128 * 1024;
/// Seconds after which another socket may find room.
const RETRY: u64 = 10;

/// Upgrades to the socket.
pub(super) async fn get(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| ApiError::bad_request("this path is a WebSocket"))?;
    if relay.delivery.shutdown.is_cancelled() {
        return Err(ApiError::new(ProblemType::Unavailable).retry_after(1));
    }
    let attached = relay
        .delivery
        .hub
        .attach_socket(
            account.agent,
            (account.id, account.key),
            [account.mail, account.control],
            SocketLimits {
                agent: relay.limits.sockets,
                node: relay.limits.node_sockets,
            },
        )
        .map_err(|full| no_room(full, &relay.delivery.metrics))?;
    // The key may have been replaced after it was looked at and before the socket could be told.
    let account = relay
        .auth
        .authenticate(&relay.delivery.store, bearer(&headers)?)
        .await?;
    let delivery = Arc::clone(&relay.delivery);
    let request_id: Arc<str> = id.to_string().into();
    let token = relay.tasks.token();
    Ok(upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(MESSAGE)
        .max_frame_size(MESSAGE)
        .on_upgrade(move |socket| async move {
            session::run(socket, delivery, account, attached, request_id).await;
            drop(token);
        }))
}

/// The refusal of another socket or long poll.
pub(super) fn no_room(full: Full, metrics: &Metrics) -> ApiError {
    let error = match full {
        Full::Agent { max, actual } => ApiError::new(ProblemType::RateLimited).limit("sockets", max, actual),
        // How many there are is nobody's business.
        Full::Node => {
            metrics.sockets_refused.add(1);
            ApiError::new(ProblemType::Unavailable)
        }
    };
    error.retry_after(RETRY)
}
