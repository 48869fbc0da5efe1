//! `GET /v1/queues` and `GET /v1/queues/{queue}/envelopes`.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
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
    link::no_room,
};
use crate::{
    delivery::Closing,
    relay::Relay,
    store::{Account, Page, QueueHead, Range, ReadError, Store, View},
};

/// Most envelopes in an answer, and how many there are unless the request says otherwise.
const LIMIT: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;
/// Most bytes of envelopes in an answer; more than any one has.
const BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of envelopes that are read at once, and held for whoever is slow to take them.
const STEP: usize = 256 * 1024;
/// Longest wait of a long poll, in seconds.
const WAIT: u64 = 60;
/// Tells the head of the queue.
const HEAD: HeaderName = HeaderName::from_static("x-waxwire-head");

/// Answers a [`QueuesAnswer`]: the agent's own, then those of its groups. Of a group that it has
/// left only while something of them is not acknowledged.
pub(super) async fn list(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
) -> Result<Response, ApiError> {
    let store = &relay.delivery.store;
    let state = |queue, QueueHead { head, acked }| QueueState { queue, head, acked };
    let mut queues = Vec::with_capacity(2);
    for (queue, no) in [(Queue::Mail, account.mail), (Queue::Control, account.control)] {
        let head = store.queue_head(View::Whole(no)).await?;
        queues.extend(head.map(|head| state(queue, head)));
    }
    for membership in store.memberships(account.agent).await? {
        if membership.is_open() {
            queues.push(state(Queue::Log(membership.id), membership.log));
            queues.push(state(Queue::Group(membership.id), membership.messages));
        }
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
    let view = find(&relay.delivery.store, &account, queue).await?;
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
    let mut rest = Rest {
        store: relay.delivery.store.clone(),
        queue,
        view,
        range,
        is_over: false,
    };
    let page = read(&relay, &account, view, rest.step(), wait).await?;
    let head = page.head;
    let first = rest.give(&page);
    let body = if rest.is_over {
        Body::from(first)
    } else {
        Body::from_stream(rest.stream(first))
    };
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((headers, [(HEAD, head.to_string())], body).into_response())
}

/// A queue as the agent may see it. Whether it may see anything of it is decided when it looks.
pub(super) async fn find(store: &Store, account: &Account, queue: Queue) -> Result<View, ApiError> {
    let (Queue::Group(id) | Queue::Log(id)) = queue else {
        let own = if queue == Queue::Mail {
            account.mail
        } else {
            account.control
        };
        return Ok(View::Whole(own));
    };
    let group = store.group(&id).await?;
    let group = group.ok_or_else(|| ApiError::new(ProblemType::NotFound))?;
    Ok(match queue {
        Queue::Log(_) => group.log_for(account.agent),
        _ => group.messages_for(account.agent),
    })
}

/// Reads a range, and waits until there is something in it, the time is over or the relay stops.
async fn read(
    relay: &Relay,
    account: &Account,
    view: View,
    range: Range,
    wait: Duration,
) -> Result<Page, ApiError> {
    let delivery = &relay.delivery;
    let look = async || {
        let page = delivery.store.read(view, range).await?;
        page.ok_or_else(|| ApiError::new(ProblemType::NotFound))
    };
    if wait.is_zero() {
        return look().await;
    }
    // Attached before the first read: what is stored after it wakes this up.
    let attached = delivery
        .hub
        .attach_poll(account.agent, account.key, view.queue_no(), relay.limits.sockets)
        .map_err(|full| no_room(full, &delivery.metrics))?;
    // The key may have been replaced after it was looked at and before the poll could be told.
    relay.auth.confirm(&delivery.store, account).await?;
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let page = look().await?;
        if !page.envelopes.is_empty() {
            return Ok(page);
        }
        tokio::select! {
            () = attached.inbox().arrived() => match attached.inbox().take().closing {
                None => {}
                Some(Closing::KeyReplaced) => return Err(ApiError::new(ProblemType::Unauthorized)),
                Some(Closing::Suspended) => return Err(ApiError::new(ProblemType::Suspended)),
            },
            () = tokio::time::sleep_until(deadline) => return Ok(page),
            () = delivery.shutdown.cancelled() => return Ok(page),
        }
    }
}

/// What of an answer is not read yet: it is read as whoever asked takes it.
struct Rest {
    store: Store,
    queue: Queue,
    view: View,
    /// What is left of what was asked for.
    range: Range,
    is_over: bool,
}

impl Rest {
    /// What is read next.
    fn step(&self) -> Range {
        Range {
            max_bytes: self.range.max_bytes.min(STEP),
            ..self.range
        }
    }

    /// The page as it is answered, as far as there is room for it.
    fn give(&mut self, page: &Page) -> Bytes {
        let mut body = Vec::new();
        self.is_over = !page.more;
        for envelope in &page.envelopes {
            let Some(room) = self.range.max_bytes.checked_sub(envelope.bytes.len()) else {
                self.is_over = true;
                break;
            };
            let frame = RelayFrame::Deliver(Delivery {
                cursor: Cursor {
                    queue: self.queue,
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
            self.range.after = envelope.position;
            self.range.limit -= 1;
            self.range.max_bytes = room;
        }
        self.is_over |= self.range.limit == 0;
        body.into()
    }

    /// The answer from its first bytes on. A fault breaks it off, and the connection with it.
    fn stream(self, first: Bytes) -> impl stream::Stream<Item = Result<Bytes, ReadError>> {
        stream::try_unfold((self, Some(first)), |(mut rest, first)| async move {
            if let Some(first) = first {
                return Ok(Some((first, (rest, None))));
            }
            if rest.is_over {
                return Ok(None);
            }
            let Some(page) = rest.store.read(rest.view, rest.step()).await? else {
                return Ok(None);
            };
            let bytes = rest.give(&page);
            Ok((!bytes.is_empty()).then_some((bytes, (rest, None))))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::{
        clock::Stopwatch,
        config::Limits,
        testing::{Answer, MASTER_KEY, Setup, TestRelay, envelope},
    };

    /// Positions in a body of frames, each with its length before it.
    fn positions(answer: &Answer) -> Vec<u64> {
        let mut rest = answer.body.as_ref();
        let mut positions = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk() {
            let (frame, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            let Ok(RelayFrame::Deliver(delivery)) = RelayFrame::decode(frame) else {
                panic!("not a delivery");
            };
            positions.push(delivery.cursor.position);
            rest = tail;
        }
        positions
    }

    #[tokio::test]
    async fn range_is_given_by_after_before_and_limit() {
        let relay = TestRelay::start().await;
        let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
        for mid in 1..=6 {
            relay.send(&alice.key, &envelope(bob.id, mid, b"x")).await;
        }
        for (query, expected) in [
            ("", vec![1, 2, 3, 4, 5, 6]),
            ("?after=4", vec![5, 6]),
            ("?after=1&before=4", vec![2, 3]),
            ("?limit=2", vec![1, 2]),
            ("?after=6", vec![]),
            ("?after=18446744073709551615", vec![]),
        ] {
            let path = format!("/v1/queues/mail/envelopes{query}");
            let answer = relay.get(&path, Some(&bob.key)).await;
            assert_eq!(positions(&answer), expected, "{query}");
            assert_eq!(answer.headers["x-waxwire-head"], "6");
        }
    }

    #[tokio::test]
    async fn answer_has_at_most_four_mebibytes() {
        let relay = TestRelay::start().await;
        let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
        for mid in 0..60 {
            relay
                .send(&alice.key, &envelope(bob.id, mid, &[7; 79 * 1024]))
                .await;
        }
        let answer = relay
            .get("/v1/queues/mail/envelopes?limit=1000", Some(&bob.key))
            .await;
        assert!(answer.body.len() <= BYTES + 64 * 100);
        assert_eq!(positions(&answer).len(), BYTES / (79 * 1024 + 100));
    }

    /// Whoever does not take a long answer has the relay hold a part of it.
    #[tokio::test]
    async fn long_answer_is_read_piece_by_piece() {
        let relay = TestRelay::start().await;
        let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
        for mid in 0..10 {
            relay
                .send(&alice.key, &envelope(bob.id, mid, &[7; 79 * 1024]))
                .await;
        }
        let store = &relay.relay.delivery.store;
        let account = relay.relay.auth.authenticate(store, &bob.key).await.unwrap();
        let params = Params {
            after: 1,
            before: None,
            limit: Some(8),
            wait: 0,
        };
        let answer = envelopes(
            State(Arc::clone(&relay.relay)),
            Authenticated(account),
            Path("mail".to_owned()),
            Query(params),
        );
        let mut body = answer.await.unwrap().into_body();
        let mut pieces = Vec::new();
        while let Some(piece) = body.frame().await {
            pieces.push(piece.unwrap().into_data().unwrap().len() / (79 * 1024));
        }
        assert_eq!(pieces, [3, 3, 2]);
    }

    #[tokio::test]
    async fn long_poll_waits_for_the_next_envelope() {
        let relay = TestRelay::start().await;
        let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
        let (polled, ()) = tokio::join!(
            relay.get("/v1/queues/mail/envelopes?wait=60", Some(&bob.key)),
            async {
                relay.send(&alice.key, &envelope(bob.id, 1, b"x")).await;
            }
        );
        assert_eq!(positions(&polled), [1]);
        let watch = Stopwatch::start();
        let empty = relay
            .get("/v1/queues/mail/envelopes?after=1&wait=1", Some(&bob.key))
            .await;
        assert!(empty.body.is_empty());
        assert_eq!(empty.headers["x-waxwire-head"], "1");
        assert!(watch.elapsed() >= Duration::from_secs(1));
    }

    #[tokio::test]
    async fn long_poll_ends_with_the_access_of_its_agent() {
        let relay = TestRelay::start().await;
        let bob = relay.register("bob").await;
        let (polled, ()) = tokio::join!(
            relay.get("/v1/queues/mail/envelopes?wait=60", Some(&bob.key)),
            async {
                while relay.relay.delivery.metrics.polls.get() == 0 {
                    tokio::task::yield_now().await;
                }
                let path = "/v1/admin/agents/bob/suspend";
                relay.call(http::Method::POST, path, Some(MASTER_KEY), None).await;
            }
        );
        polled.assert_problem(ProblemType::Suspended);
    }

    #[tokio::test]
    async fn long_polls_of_an_agent_are_limited() {
        let limits = Limits {
            sockets: 1,
            ..Limits::default()
        };
        let relay = TestRelay::start_with(Setup {
            limits,
            ..Setup::default()
        })
        .await;
        let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
        let poll = async || {
            let path = "/v1/queues/mail/envelopes?wait=60";
            relay.get(path, Some(&bob.key)).await
        };
        let (polled, ()) = tokio::join!(poll(), async {
            while relay.relay.delivery.metrics.polls.get() == 0 {
                tokio::task::yield_now().await;
            }
            let refused = poll().await.assert_problem(ProblemType::RateLimited);
            assert!(refused.retry_after.is_some());
            relay.send(&alice.key, &envelope(bob.id, 1, b"x")).await;
        });
        assert_eq!(polled.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn long_poll_ends_when_the_relay_stops() {
        let relay = TestRelay::start().await;
        let bob = relay.register("bob").await;
        let watch = Stopwatch::start();
        let (polled, ()) = tokio::join!(
            relay.get("/v1/queues/mail/envelopes?wait=60", Some(&bob.key)),
            async {
                while relay.relay.delivery.metrics.polls.get() == 0 {
                    tokio::task::yield_now().await;
                }
                relay.begin_stop();
            }
        );
        assert_eq!(polled.status, StatusCode::OK);
        assert!(watch.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn list_has_head_and_ack_of_both_queues() {
        let relay = TestRelay::start().await;
        let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
        for mid in 1..=3 {
            relay.send(&alice.key, &envelope(bob.id, mid, b"x")).await;
        }
        let acks = serde_json::json!({"acks": [{"queue": "mail", "position": 2}]});
        relay.post_json("/v1/acks", Some(&bob.key), &acks).await;
        let answer: QueuesAnswer = relay.get("/v1/queues", Some(&bob.key)).await.json();
        let state = |queue, head, acked| QueueState { queue, head, acked };
        assert_eq!(
            answer.queues,
            [state(Queue::Mail, 3, 2), state(Queue::Control, 0, 0)]
        );
    }
}
