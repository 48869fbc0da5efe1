//! Successions through the real router (docs/relay-api.md, Succession).

use ed25519_dalek::Signer as _;
use http::StatusCode;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{Base64Bytes, BundleAnswer, Purpose, Registered, SuccessionRequest},
    },
    identity::{Signature, signing_input},
    ids::RelayId,
    labels::Label,
    wire::{Bundle, Document as _, Succession, SuccessionBytes, VERSION},
};

use crate::testing::{Answer, Got, MASTER_KEY, NOW, TestAgent, TestRelay, TestSocket, envelope};

fn sign(agent: &TestAgent, label: Label, body: &[u8]) -> Signature {
    Signature::new(agent.secret.sign(&signing_input(label, &[body])).to_bytes())
}

fn body(old: &TestAgent, new: &TestAgent) -> Succession {
    Succession {
        version: VERSION,
        relay: old.relay_id(),
        handle: old.handle.clone(),
        old: old.identity(),
        new: new.identity(),
        time: NOW,
    }
}

fn signed(
    body: &Succession,
    by_new: &TestAgent,
    by_old: Option<&TestAgent>,
    by_recovery: Option<&TestAgent>,
) -> SuccessionBytes {
    let body = body.encode();
    SuccessionBytes {
        by_new: sign(by_new, Label::SigSuccessionNew, &body),
        by_old: by_old.map(|old| sign(old, Label::SigSuccessionOld, &body)),
        recovery: by_recovery.map(TestAgent::identity),
        by_recovery: by_recovery.map(|key| sign(key, Label::SigSuccessionRecovery, &body)),
        body,
    }
}

async fn post(relay: &TestRelay, new: &TestAgent, handle: &str, bytes: &SuccessionBytes) -> Answer {
    let challenge = relay.challenge(new, Purpose::Register).await;
    let registration = new.registration(&challenge, None);
    let request = SuccessionRequest {
        challenge: registration.challenge,
        proof: registration.proof,
        bundle: registration.bundle,
        succession: Base64Bytes(bytes.encode()),
    };
    let path = format!("/v1/agents/{handle}/succession");
    relay.post_json(&path, None, &request).await
}

async fn shown(relay: &TestRelay, viewer: &TestAgent, handle: &str) -> BundleAnswer {
    let path = format!("/v1/agents/{handle}/bundle");
    relay.get(&path, Some(&viewer.key)).await.json()
}

/// docs/protocol.md, 4.6: the handle moves, the old credential and sockets end, lookups carry the proof.
#[tokio::test]
async fn succession_by_the_old_key_moves_the_handle() {
    let relay = TestRelay::start().await;
    let (old, bob) = (relay.register("alice").await, relay.register("bob").await);
    let mut socket = TestSocket::open(&relay, &old.key).await;
    assert_eq!(shown(&relay, &bob, "alice").await.successions, []);
    let new = TestAgent::with_secret(&relay, "alice", 2);
    let bytes = signed(&body(&old, &new), &new, Some(&old), None);

    let answer = post(&relay, &new, "alice", &bytes).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    let registered: Registered = answer.json();
    assert_eq!(registered.agent_id, new.id);
    assert!(matches!(socket.next().await, Got::Closed { code: 1008, .. }));
    relay
        .get("/v1/agents/me", Some(&old.key))
        .await
        .assert_problem(ProblemType::Unauthorized);
    let answer = shown(&relay, &bob, "alice").await;
    assert_eq!(answer.agent_id, new.id);
    assert_eq!(answer.successions, [Base64Bytes(bytes.encode())]);
    relay
        .send(&bob.key, &envelope(old.id, 1, b"late"))
        .await
        .assert_problem(ProblemType::Gone);
    let sent = relay.send(&bob.key, &envelope(new.id, 2, b"now")).await;
    assert_eq!(sent.status, StatusCode::CREATED);

    let again = post(&relay, &new, "alice", &bytes).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_ne!(again.json::<Registered>().api_key, registered.api_key);
    // The old identity is spent: neither under its handle nor under another one.
    let answer = relay.try_register(&old, None).await;
    answer.assert_problem(ProblemType::HandleTaken);
    let mut elsewhere = TestAgent::new(&relay, "alice");
    elsewhere.handle = "alice-old".parse().unwrap();
    let answer = relay.try_register(&elsewhere, None).await;
    answer.assert_problem(ProblemType::HandleTaken);
}

/// docs/protocol.md, 4.6: the recovery key is the one whose hash the newest bundle of the old identity carries.
#[tokio::test]
async fn succession_by_the_recovery_key_needs_the_one_of_the_newest_bundle() {
    let relay = TestRelay::start().await;
    let (old, bob) = (relay.register("alice").await, relay.register("bob").await);
    let [recovery, stranger, new] = [50, 51, 2].map(|seed| TestAgent::with_secret(&relay, "alice", seed));
    let mut bundle = old.bundle(NOW + 1);
    bundle.recovery = Bundle::recovery_hash(&recovery.identity());
    let bundle = Some(("application/octet-stream", old.sign_bundle(&bundle)));
    let path = "/v1/agents/me/bundle";
    let put = relay.call(http::Method::PUT, path, Some(&old.key), bundle).await;
    assert_eq!(put.status, StatusCode::OK);
    // Whoever has the recovery key is told whose it is, nobody else anything.
    let ask = async |handle: &str, key: String| {
        let path = format!("/v1/agents/{handle}/succession?recovery={key}");
        relay.get(&path, None).await
    };
    let prefixed = |agent: &TestAgent| hex::encode(agent.identity().to_prefixed());
    let told = ask("alice", prefixed(&recovery)).await;
    assert_eq!(told.json::<BundleAnswer>().agent_id, old.id);
    for (handle, key) in [
        ("alice", prefixed(&stranger)),
        ("bob", prefixed(&recovery)),
        ("nobody", prefixed(&recovery)),
    ] {
        ask(handle, key).await.assert_problem(ProblemType::NotFound);
    }
    ask("alice", "00".to_owned())
        .await
        .assert_problem(ProblemType::BadRequest);
    // Lost keys do not wait for mail that they could read.
    relay.send(&bob.key, &envelope(old.id, 1, b"unread")).await;

    let by = |key| signed(&body(&old, &new), &new, None, Some(key));
    post(&relay, &new, "alice", &by(&stranger))
        .await
        .assert_problem(ProblemType::SuccessionRefused);
    let planned = signed(&body(&old, &new), &new, Some(&old), None);
    post(&relay, &new, "alice", &planned)
        .await
        .assert_problem(ProblemType::NotDrained);
    let done = post(&relay, &new, "alice", &by(&recovery)).await;
    assert_eq!(done.status, StatusCode::CREATED);
    // Once more with another new identity: it follows nobody who holds the handle.
    let third = TestAgent::with_secret(&relay, "alice", 3);
    let replayed = signed(&body(&old, &third), &third, None, Some(&recovery));
    post(&relay, &third, "alice", &replayed)
        .await
        .assert_problem(ProblemType::SuccessionRefused);
}

/// docs/protocol.md, 4.6: of this relay and handle, by those who must sign.
#[tokio::test]
async fn succession_of_another_relay_handle_or_signer_is_refused() {
    let relay = TestRelay::start().await;
    let (old, bob) = (relay.register("alice").await, relay.register("bob").await);
    let new = TestAgent::with_secret(&relay, "alice", 2);
    let genuine = body(&old, &new);
    let edited = |edit: &dyn Fn(&mut Succession)| {
        let mut body = genuine.clone();
        edit(&mut body);
        signed(&body, &new, Some(&old), None)
    };
    for (what, bytes) in [
        (
            "another relay",
            edited(&|body| body.relay = RelayId::from_bytes([9; 32])),
        ),
        (
            "another handle",
            edited(&|body| body.handle = "bob".parse().unwrap()),
        ),
        (
            "another new identity",
            signed(&body(&old, &bob), &bob, Some(&old), None),
        ),
        ("not by the new", signed(&genuine, &bob, Some(&old), None)),
        ("not by the old", signed(&genuine, &new, Some(&bob), None)),
        (
            "a bad signature beside a good one",
            signed(&genuine, &new, Some(&bob), Some(&old)),
        ),
    ] {
        let answer = post(&relay, &new, "alice", &bytes).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        answer.assert_problem(ProblemType::InvalidObject);
    }
    // The proof is for alice, the path says bob.
    let bytes = signed(&genuine, &new, Some(&old), None);
    post(&relay, &new, "bob", &bytes)
        .await
        .assert_problem(ProblemType::ChallengeRefused);
    for handle in ["ALICE", "%00"] {
        post(&relay, &new, handle, &bytes)
            .await
            .assert_problem(ProblemType::NotFound);
    }
    assert_eq!(shown(&relay, &bob, "alice").await.agent_id, old.id);
}

#[tokio::test]
async fn suspended_agent_cannot_change_its_identity() {
    let relay = TestRelay::start().await;
    let old = relay.register("alice").await;
    let new = TestAgent::with_secret(&relay, "alice", 2);
    let path = "/v1/admin/agents/alice/suspend";
    relay.call(http::Method::POST, path, Some(MASTER_KEY), None).await;
    let bytes = signed(&body(&old, &new), &new, Some(&old), None);
    post(&relay, &new, "alice", &bytes)
        .await
        .assert_problem(ProblemType::Suspended);
}
