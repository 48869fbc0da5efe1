//! `POST /v1/envelopes`: stores one envelope.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::StatusCode;
use waxwire_shared::{api::rest::StoredAnswer, limits};

use super::{
    ApiError,
    extract::{Authenticated, Octets, json},
};
use crate::{delivery::send, relay::Relay};

/// Answers a [`StoredAnswer`] after the commit: 201, or 200 if the `mid` was stored before.
pub(super) async fn post(
    State(relay): State<Arc<Relay>>,
    Authenticated(account): Authenticated,
    Octets(body): Octets<{ limits::ENVELOPE }>,
) -> Result<Response, ApiError> {
    let metrics = &relay.delivery.metrics;
    let send = send::prepare(&account, body)?;
    let hash = send.hash;
    let result = {
        let _waiting = metrics.waiting.hold();
        relay.delivery.store.send(send).await
    };
    let accepted = send::settle(hash, result)?;
    metrics.accept(accepted.repeated);
    let status = if accepted.repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let answer = StoredAnswer {
        envelope_id: accepted.envelope_id.to_string(),
        hash: accepted.hash,
        notice: accepted.notice.map(|notice| *notice),
    };
    Ok(json(status, &answer))
}

#[cfg(test)]
mod tests {
    use waxwire_shared::{api::frames::RelayFrame, hash::sha256};

    use super::*;
    use crate::testing::{TestRelay, envelope};

    #[tokio::test]
    async fn send_whose_client_hangs_up_does_not_wait_for_ever() {
        let relay = TestRelay::start().await;
        let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
        let store = &relay.relay.delivery.store;
        let hash = crate::accounts::credential::hash(&alice.key);
        let account = store.account_by_key(&hash).await.unwrap().unwrap();
        let body = Octets(envelope(bob.id, 1, b"x").into());
        let mut sending = Box::pin(post(
            State(Arc::clone(&relay.relay)),
            Authenticated(account),
            body,
        ));
        assert!(futures_util::poll!(&mut sending).is_pending());
        let waiting = &relay.relay.delivery.metrics.waiting;
        assert_eq!(waiting.get(), 1);
        drop(sending);
        assert_eq!(waiting.get(), 0);
    }

    #[tokio::test]
    async fn send_is_stored_then_fetched_verbatim() {
        let relay = TestRelay::start().await;
        let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
        let sent = envelope(bob.id, 1, b"ciphertext");
        let answer = relay.send(&alice.key, &sent).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        let stored: StoredAnswer = answer.json();
        assert_eq!(stored.hash, sha256(&sent));
        let fetched = relay.get("/v1/queues/mail/envelopes", Some(&bob.key)).await;
        assert_eq!(fetched.headers["x-waxwire-head"], "1");
        let (length, frame) = fetched.body.split_first_chunk().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, frame.len());
        let Ok(RelayFrame::Deliver(delivery)) = RelayFrame::decode(frame) else {
            panic!("not a delivery");
        };
        assert_eq!(delivery.object, sent);
        assert_eq!(delivery.cursor.position, 1);
        assert_eq!(delivery.envelope_id.to_string(), stored.envelope_id);
    }
}
