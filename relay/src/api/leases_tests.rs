//! Leases through the real router (docs/protocol.md, 8.5).

use ed25519_dalek::Signer as _;
use http::{Method, StatusCode};
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{ApiKeyRequest, Base64Bytes, LeaseAnswer, Purpose, Registered},
    },
    identity::{Signature, signing_input},
    ids::{RelayId, SessionId},
    labels::Label,
    sign::SignedBytes,
    wire::{Document as _, Lease, VERSION},
};

use crate::testing::{Answer, Got, NOW, TestAgent, TestRelay, TestSocket};

const DAY: u64 = 24 * 3_600 * 1_000;

async fn put(relay: &TestRelay, agent: &TestAgent, lease: &[u8]) -> Answer {
    let body = Some(("application/octet-stream", lease.to_vec()));
    relay
        .call(Method::PUT, "/v1/agents/me/lease", Some(&agent.key), body)
        .await
}

async fn held(relay: &TestRelay, agent: &TestAgent) -> Vec<u8> {
    let answer = relay.get("/v1/agents/me/lease", Some(&agent.key)).await;
    answer.json::<LeaseAnswer>().lease.0
}

impl TestAgent {
    /// A signed lease of an instance that begins with `session`.
    pub(crate) fn lease(&self, incarnation: u64, session: u8, time: u64) -> Vec<u8> {
        let body = Lease {
            version: VERSION,
            relay: self.relay_id(),
            identity: self.identity(),
            incarnation,
            session: SessionId::from_bytes([session; 16]),
            time,
        };
        self.sign_lease(&body)
    }

    fn sign_lease(&self, lease: &Lease) -> Vec<u8> {
        let body = lease.encode();
        let signature = self.secret.sign(&signing_input(Label::SigLease, &[&body]));
        SignedBytes {
            body,
            signature: Signature::new(signature.to_bytes()),
        }
        .encode()
    }
}

/// A socket, which is shown the lease that is held first of all.
async fn open(relay: &TestRelay, key: &str, held: &[u8]) -> TestSocket {
    let mut socket = TestSocket::resume(relay, key, Vec::new()).await;
    assert_eq!(socket.next().await, Got::Lease(held.to_vec()));
    for _ in 0..2 {
        assert!(matches!(socket.next().await, Got::Head(_)));
    }
    socket
}

/// The refusal carries the lease that stands in the way, for the instance believes nothing else.
fn assert_outdated(answer: &Answer, by: &[u8]) {
    let problem = answer.assert_problem(ProblemType::Stale);
    assert_eq!(problem.held, Some(Base64Bytes(by.to_vec())));
}

#[tokio::test]
async fn newest_lease_is_kept_and_stands_in_the_way_of_older_ones() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let none = relay.get("/v1/agents/me/lease", Some(&alice.key)).await;
    none.assert_problem(ProblemType::NotFound);
    let first = alice.lease(NOW, 1, NOW);
    let answer = put(&relay, &alice, &first).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json::<LeaseAnswer>().lease.0, first);
    assert_eq!(put(&relay, &alice, &first).await.status, StatusCode::OK);
    // The same instance was started again.
    let again = alice.lease(NOW, 1, NOW + 1);
    assert_eq!(put(&relay, &alice, &again).await.status, StatusCode::OK);
    assert_outdated(&put(&relay, &alice, &first).await, &again);
    // Another one in the same incarnation, however late.
    let twin = alice.lease(NOW, 2, NOW + 9);
    assert_outdated(&put(&relay, &alice, &twin).await, &again);
    let later = alice.lease(NOW + 1, 2, NOW);
    assert_eq!(put(&relay, &alice, &later).await.status, StatusCode::OK);
    assert_outdated(&put(&relay, &alice, &alice.lease(NOW, 1, NOW + 10)).await, &later);
    assert_eq!(held(&relay, &alice).await, later);
}

#[tokio::test]
async fn lease_must_be_the_agents_own_for_this_relay_and_not_of_the_future() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let body = Lease {
        version: VERSION,
        relay: *relay.relay.identity.id(),
        identity: alice.identity(),
        incarnation: NOW,
        session: SessionId::from_bytes([1; 16]),
        time: NOW,
    };
    let elsewhere = Lease {
        relay: RelayId::from_bytes([1; 32]),
        ..body.clone()
    };
    let mut flipped = alice.sign_lease(&body);
    *flipped.last_mut().unwrap() ^= 1;
    for bad in [
        bob.lease(NOW, 1, NOW),
        // Signed by another than it names.
        bob.sign_lease(&body),
        alice.sign_lease(&elsewhere),
        alice.lease(NOW + DAY + 1, 1, NOW),
        alice.lease(NOW, 1, NOW + DAY + 1),
        flipped,
        Vec::new(),
        vec![0xff; 2_048],
    ] {
        put(&relay, &alice, &bad)
            .await
            .assert_problem(ProblemType::InvalidObject);
    }
    put(&relay, &alice, &vec![0; 2_049])
        .await
        .assert_problem(ProblemType::TooLarge);
    relay
        .get("/v1/agents/me/lease", Some(&alice.key))
        .await
        .assert_problem(ProblemType::NotFound);
    assert_eq!(
        put(&relay, &alice, &alice.sign_lease(&body)).await.status,
        StatusCode::OK
    );
}

/// Each live instance learns of the others: of a later one, and of an older one that was started again.
#[tokio::test]
async fn sockets_are_shown_every_lease_that_is_offered_for_their_agent() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let first = alice.lease(NOW, 1, NOW);
    put(&relay, &alice, &first).await;
    let mut socket = open(&relay, &alice.key, &first).await;
    let mut stranger = TestSocket::open(&relay, &bob.key).await;
    let later = alice.lease(NOW + 1, 2, NOW + 1);
    put(&relay, &alice, &later).await;
    assert_eq!(socket.next().await, Got::Lease(later.clone()));
    put(&relay, &alice, &later).await;
    let older = alice.lease(NOW, 1, NOW + 2);
    assert_outdated(&put(&relay, &alice, &older).await, &later);
    assert_eq!(socket.next().await, Got::Lease(older));
    put(&relay, &alice, &bob.lease(NOW + 1, 1, NOW)).await;
    assert!(socket.is_silent().await);
    assert!(stranger.is_silent().await);
}

/// An instance that was replaced cannot take the API key back, and is shown by whom it was replaced
/// before its socket ends.
#[tokio::test]
async fn api_key_is_for_the_live_instance() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let first = alice.lease(NOW, 1, NOW);
    put(&relay, &alice, &first).await;
    let mut old = open(&relay, &alice.key, &first).await;
    let ask = async |lease: &[u8]| {
        let challenge = relay.challenge(&alice, Purpose::ApiKey).await;
        let request = ApiKeyRequest {
            proof: Base64Bytes(alice.prove(&challenge)),
            challenge: Base64Bytes(challenge),
            lease: Some(Base64Bytes(lease.to_vec())),
        };
        relay.post_json("/v1/agents/api-key", None, &request).await
    };
    let restored = alice.lease(NOW + 1, 2, NOW + 1);
    let answer = ask(&restored).await;
    assert_eq!(answer.status, StatusCode::OK);
    let key = answer.json::<Registered>().api_key;
    assert_eq!(old.next().await, Got::Lease(restored.clone()));
    assert!(matches!(old.next().await, Got::Closed { code: 1008, .. }));

    let mut live = open(&relay, &key, &restored).await;
    let started_again = alice.lease(NOW, 1, NOW + 5);
    assert_outdated(&ask(&started_again).await, &restored);
    assert_eq!(live.next().await, Got::Lease(started_again));
    let mut forged = restored.clone();
    *forged.last_mut().unwrap() ^= 1;
    ask(&forged).await.assert_problem(ProblemType::InvalidObject);
    assert!(live.is_silent().await);
}
