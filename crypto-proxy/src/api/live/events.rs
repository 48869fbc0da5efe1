//! `GET /v1/events`: what a socket is told, as server-sent events. Nothing is settled by it.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use super::{
    super::{ApiState, error::ApiError},
    feed::{Feed, Frame, Scope},
    frames,
    socket::slot,
};
use crate::model::DeliveryId;

const LAST_EVENT_ID: &str = "last-event-id";
/// Events that wait for the connection.
const WAITING: usize = 16;
/// How long a client may leave them unread.
const UNREAD: Duration = Duration::from_secs(10);
/// A comment is sent when nothing was for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Live events. With `Last-Event-ID`, everything that became visible after that event, else what is not
/// settled; then what happens.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "live",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses(
        (status = 200, description = "Server-sent events; `data` is a frame of the socket", body = String, content_type = "text/event-stream"),
        (status = 429, description = "RATE_LIMITED: too many streams, with Retry-After", body = super::super::ErrorBody),
    ),
)]
pub(in crate::api) async fn events(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let slot = slot(&state.live().streams)?;
    let notices = Feed::subscribe(&state);
    let mut beginning = state.read(|backend| backend.beginning()).await?;
    let seen = headers
        .get(LAST_EVENT_ID)
        .and_then(|id| id.to_str().ok()?.parse().ok())
        .filter(|id: &DeliveryId| id.store == beginning.store && id.position <= beginning.last);
    if seen.is_some() {
        beginning.unsettled = None;
    }
    let scope = Scope {
        live_after: seen.map_or(beginning.last, |id| id.position),
        backlog: state.live().leases().free(),
    };
    let store = beginning.store;
    let feed = Feed::new(state.clone(), notices, &beginning, scope);
    let (sender, receiver) = mpsc::channel(WAITING);
    let task = state.live().tasks.token();
    tokio::spawn(async move {
        tell(state, feed, store, sender, slot).await;
        drop(task);
    });
    let body = stream::unfold(receiver, async |mut receiver| {
        let event = receiver.recv().await?;
        Some((Ok::<Bytes, Infallible>(event), receiver))
    });
    Ok(([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response())
}

/// Tells until the client is gone or does not read, or the proxy stops.
async fn tell(
    state: ApiState,
    mut feed: Feed,
    store: [u8; 8],
    sender: mpsc::Sender<Bytes>,
    slot: OwnedSemaphorePermit,
) {
    let mut event = Bytes::from(format!("data: {}\n\n", frames::hello_ok(false)));
    loop {
        if !matches!(timeout(UNREAD, sender.send(event)).await, Ok(Ok(()))) {
            break;
        }
        event = tokio::select! {
            frame = feed.next() => match frame {
                Ok(frame) => written(&frame, store),
                Err(_) => break,
            },
            () = tokio::time::sleep(KEEP_ALIVE) => Bytes::from_static(b":\n\n"),
            () = sender.closed() => break,
            () = state.stopping().cancelled() => break,
        };
    }
    drop(slot);
}

/// A frame is one line of JSON.
fn written(frame: &Frame, store: [u8; 8]) -> Bytes {
    let id = frame.place.map(|position| DeliveryId { store, position });
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    Bytes::from(format!("{id}data: {}\n\n", frame.text))
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
