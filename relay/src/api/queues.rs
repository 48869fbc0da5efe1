//! `GET /v1/queues` and `GET /v1/queues/{queue}/envelopes`.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use waxwire_shared::api::{
    frames::{Cursor, Delivery, Queue, RelayFrame},
    problem::ProblemType,
    rest::{QueueState, QueuesAnswer},
};

use super::{
    ApiError,
    extract::{Authenticated, Query, json},
};
use crate::{
    delivery::Delivery as Relays,
    relay::Relay,
    store::{Account, Page, QueueNo, Range},
};

/// Most envelopes in an answer, and how many there are unless the request says otherwise.
const LIMIT: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;
/// Most bytes of envelopes in an answer; one is always given.
const BYTES: usize = 4 * 1024 * 1024;
/// Longest wait of a long poll, in seconds.
const WAIT: u64 = 60;
/// Tells the head of the queue.
const HEAD: HeaderName = HeaderName::from_static("x-waxwire-head");

/// Answers a [`QueuesAnswer`].
pub(super) async fn list(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
) -> Result<Response, ApiError> {
    let mut queues = Vec::with_capacity(2);
    for queue in [Queue::Mail, Queue::Control] {
        let state = relay.delivery.store.queue_head(find(&account, queue)?).await?;
        queues.push(QueueState {
            queue,
            head: state.head,
            acked: state.acked,
        });
    }
    Ok(json(StatusCode::OK, &QueuesAnswer { queues }))
}

/// Query of a range.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    #[serde(default)]
    after: u64,
    before: Option<u64>,
    limit: Option<usize>,
    #[serde(default)]
    wait: u64,
}

/// Answers delivery frames, each with its length before it.
pub(super) async fn envelopes(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Path(queue): Path<String>,
    Query(params): Query<Params>,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::new(ProblemType::NotFound);
    let queue: Queue = queue.parse().map_err(|_| unknown())?;
    let no = find(&account, queue)?;
    let limit = params.limit.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 || limit > LIMIT {
        return Err(ApiError::bad_request(format!(
            "limit is a number from 1 to {LIMIT}"
        )));
    }
    if params.wait > WAIT {
        return Err(ApiError::bad_request(format!(
            "wait is a number of seconds from 0 to {WAIT}"
        )));
    }
    let range = Range {
        after: params.after,
        before: params.before,
        limit,
        max_bytes: BYTES,
    };
    let wait = Duration::from_secs(params.wait);
    let page = read(&relay.delivery, no, range, wait).await?;
    let head = page.head;
    let body = encode(queue, &page);
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((headers, [(HEAD, head.to_string())], body).into_response())
}

/// The store's number of one of the agent's queues; no group exists yet, so none is found.
pub(super) fn find(account: &Account, queue: Queue) -> Result<QueueNo, ApiError> {
    match queue {
        Queue::Mail => Ok(account.mail),
        Queue::Control => Ok(account.control),
        Queue::Group(_) | Queue::Log(_) => Err(ApiError::new(ProblemType::NotFound)),
    }
}

/// Reads a range, and waits until there is something in it, the time is over or the relay stops.
async fn read(delivery: &Relays, queue: QueueNo, range: Range, wait: Duration) -> Result<Page, ApiError> {
    if wait.is_zero() {
        return Ok(delivery.store.read(queue, range).await?);
    }
    // Attached before the first read: what is stored after it wakes this up.
    let attached = delivery.hub.attach_poll(queue);
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let page = delivery.store.read(queue, range).await?;
        if !page.envelopes.is_empty() {
            return Ok(page);
        }
        tokio::select! {
            () = attached.inbox().arrived() => drop(attached.inbox().take()),
            () = tokio::time::sleep_until(deadline) => return Ok(page),
            () = delivery.shutdown.cancelled() => return Ok(page),
        }
    }
}

fn encode(queue: Queue, page: &Page) -> Vec<u8> {
    let mut body = Vec::new();
    for envelope in &page.envelopes {
        let frame = RelayFrame::Deliver(Delivery {
            cursor: Cursor {
                queue,
                position: envelope.position,
            },
            envelope_id: envelope.envelope_id,
            stored_at: envelope.stored_at,
            object: &envelope.bytes,
        })
        .encode();
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(&frame);
    }
    body
}
