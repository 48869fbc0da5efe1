//! Registration and API keys through the real router (docs/relay-api.md, Agents).

use ed25519_dalek::Signer as _;
use http::{Method, StatusCode};
use waxwire_shared::{
    api::{
        problem::ProblemType,
        rest::{AgentAnswer, ApiKeyRequest, Base64Bytes, Purpose, RegisterRequest, Registered, Registration},
    },
    identity::{IdentityKey, Signature, signing_input},
    ids::Handle,
    labels::Label,
    sign::SignedBytes,
    suite::Suite,
    wire::{Bundle, Challenge, Document as _},
};

use crate::{
    accounts::proof::CHALLENGE_LIFE_MS,
    testing::{Answer, Got, MASTER_KEY, NOW, Setup, TestAgent, TestRelay, TestSocket, envelope},
};

/// Makes one field of a bundle wrong.
type Edit = Box<dyn Fn(&mut Bundle)>;

async fn post(relay: &TestRelay, request: &RegisterRequest) -> Answer {
    relay.post_json("/v1/agents", None, request).await
}

#[tokio::test]
async fn register_answers_201_then_200_with_a_key_that_replaces_the_first() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    assert_eq!(
        relay.get("/v1/agents/me", Some(&alice.key)).await.status,
        StatusCode::OK
    );
    let again = relay.try_register(&alice, None).await;
    assert_eq!(again.status, StatusCode::OK);
    let registered: Registered = again.json();
    assert_eq!(registered.agent_id, alice.id);
    assert_ne!(registered.api_key, alice.key);
    let old = relay.get("/v1/agents/me", Some(&alice.key)).await;
    old.assert_problem(ProblemType::Unauthorized);
    assert_eq!(old.headers["www-authenticate"], "Bearer");
    let me = relay.get("/v1/agents/me", Some(&registered.api_key)).await;
    let expected = AgentAnswer {
        agent_id: alice.id,
        handle: alice.handle,
        registered_at: NOW,
        suspended: false,
    };
    assert_eq!(me.json::<AgentAnswer>(), expected);
}

#[tokio::test]
async fn handle_and_identity_are_bound_to_each_other() {
    let relay = TestRelay::start().await;
    relay.register("alice").await;
    let mallory = TestAgent::with_secret(&relay, "alice", 666);
    let answer = relay.try_register(&mallory, None).await;
    answer.assert_problem(ProblemType::HandleTaken);
    let mut alias = TestAgent::new(&relay, "alice");
    alias.handle = "alice-too".parse().unwrap();
    let answer = relay.try_register(&alias, None).await;
    let problem = answer.assert_problem(ProblemType::HandleTaken);
    assert!(problem.detail.unwrap().contains("another handle"));
}

/// docs/protocol.md, 4.7, step 4: purpose and age of the challenge.
#[tokio::test]
async fn attack_78_challenge_works_once_in_time_and_for_its_purpose() {
    let relay = TestRelay::start().await;
    let alice = TestAgent::new(&relay, "alice");
    let api_key = relay.challenge(&alice, Purpose::ApiKey).await;
    let answer = post(&relay, &alice.registration(&api_key, None)).await;
    answer.assert_problem(ProblemType::ChallengeRefused);

    let old = relay.challenge(&alice, Purpose::Register).await;
    relay.advance(CHALLENGE_LIFE_MS + 1);
    let answer = post(&relay, &alice.registration(&old, None)).await;
    answer.assert_problem(ProblemType::ChallengeRefused);

    let fresh = relay.challenge(&alice, Purpose::Register).await;
    relay.advance(CHALLENGE_LIFE_MS);
    let request = alice.registration(&fresh, None);
    assert_eq!(post(&relay, &request).await.status, StatusCode::CREATED);
    let replayed = post(&relay, &request).await;
    replayed.assert_problem(ProblemType::ChallengeRefused);
}

/// docs/protocol.md, 4.7, step 4: the challenge is the relay's own.
/// An attacker relays a proof to another relay, or makes challenges itself.
#[tokio::test]
async fn challenge_of_another_signer_or_relay_is_refused() {
    let (here, there) = (TestRelay::start().await, TestRelay::start_seeded(2).await);
    let alice = TestAgent::new(&here, "alice");
    let foreign = there
        .challenge(&TestAgent::new(&there, "alice"), Purpose::Register)
        .await;
    let answer = post(&here, &alice.registration(&foreign, None)).await;
    answer.assert_problem(ProblemType::ChallengeRefused);

    let genuine = here.challenge(&alice, Purpose::Register).await;
    let mut forged = SignedBytes::decode(&genuine).unwrap();
    let mut body = Challenge::decode(&forged.body).unwrap();
    body.time += 1;
    forged.body = body.encode();
    let answer = post(&here, &alice.registration(&forged.encode(), None)).await;
    answer.assert_problem(ProblemType::ChallengeRefused);
    let signature = alice
        .secret
        .sign(&signing_input(Label::SigChallenge, &[&forged.body]));
    forged.signature = Signature::new(signature.to_bytes());
    let answer = post(&here, &alice.registration(&forged.encode(), None)).await;
    answer.assert_problem(ProblemType::ChallengeRefused);
}

/// docs/protocol.md, 4.7, step 4: the proof holds under the identity in the challenge.
#[tokio::test]
async fn proof_must_be_the_identitys_under_its_own_label() {
    let relay = TestRelay::start().await;
    let alice = TestAgent::new(&relay, "alice");
    let challenge = relay.challenge(&alice, Purpose::Register).await;
    let body = SignedBytes::decode(&challenge).unwrap().body;
    let genuine = alice.registration(&challenge, None);
    let sign = |agent: &TestAgent, label| {
        let signature = agent.secret.sign(&signing_input(label, &[&body]));
        signature.to_bytes().to_vec()
    };
    let mallory = TestAgent::new(&relay, "mallory");
    for proof in [
        sign(&mallory, Label::SigProof),
        sign(&alice, Label::SigBundle),
        vec![0; 64],
        vec![],
        vec![1; 5_000],
    ] {
        let mut request = genuine.clone();
        request.proof = Base64Bytes(proof);
        let answer = post(&relay, &request).await;
        answer.assert_problem(ProblemType::InvalidObject);
    }
    assert_eq!(post(&relay, &genuine).await.status, StatusCode::CREATED);
}

/// docs/protocol.md, 4.3, steps 1 to 4: what a relay refuses of a bundle.
#[tokio::test]
async fn bundle_must_be_the_agents_own_and_usable() {
    let relay = TestRelay::start().await;
    let alice = TestAgent::new(&relay, "alice");
    let challenge = relay.challenge(&alice, Purpose::Register).await;
    let mut non_canonical = vec![0xff; 32];
    non_canonical[0] = 0xee;
    non_canonical[31] = 0x7f;
    let edits: Vec<(&str, Edit)> = vec![
        ("another handle", Box::new(|b| b.handle = "bob".parse().unwrap())),
        (
            "another relay",
            Box::new(|b| b.relay = waxwire_shared::ids::RelayId::from_bytes([9; 32])),
        ),
        (
            "another identity",
            Box::new(|b| b.identity = IdentityKey::ed25519([9; 32])),
        ),
        ("far future", Box::new(|b| b.number = NOW + 24 * 3_600_000 + 1)),
        ("number zero", Box::new(|b| b.number = 0)),
        ("number beyond an i64", Box::new(|b| b.number = u64::MAX)),
        ("version", Box::new(|b| b.version += 1)),
        ("no keys", Box::new(|b| b.keys.clear())),
        ("ends before it begins", Box::new(|b| b.not_after = b.not_before)),
        ("low-order key", Box::new(|b| b.keys[0].public = vec![0; 32])),
        (
            "order-eight key",
            Box::new(|b| b.keys[0].public = [vec![1], vec![0; 31]].concat()),
        ),
        (
            "non-canonical key",
            Box::new(move |b| b.keys[0].public.clone_from(&non_canonical)),
        ),
        ("short key", Box::new(|b| b.keys[0].public = vec![9; 31])),
        ("unknown suite only", Box::new(|b| b.keys[0].suite = Suite(77))),
        (
            "known suite below the least",
            Box::new(|b| b.min_suite = Suite::HYBRID),
        ),
    ];
    for (what, edit) in edits {
        let mut bundle = alice.bundle(NOW);
        edit(&mut bundle);
        let mut request = alice.registration(&challenge, None);
        request.bundle = Base64Bytes(alice.sign_bundle(&bundle));
        let answer = post(&relay, &request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}");
        answer.assert_problem(ProblemType::InvalidObject);
    }
    let mut request = alice.registration(&challenge, None);
    let mallory = TestAgent::new(&relay, "mallory");
    request.bundle = Base64Bytes(mallory.sign_bundle(&alice.bundle(NOW)));
    post(&relay, &request)
        .await
        .assert_problem(ProblemType::InvalidObject);
    request.bundle = Base64Bytes(b"not cbor".to_vec());
    post(&relay, &request)
        .await
        .assert_problem(ProblemType::InvalidObject);
    // None of it used the challenge up, and nobody was registered.
    request.bundle = Base64Bytes(alice.sign_bundle(&alice.bundle(NOW)));
    assert_eq!(post(&relay, &request).await.status, StatusCode::CREATED);
}

/// docs/protocol.md, 2.3: a weak key is refused at registration.
#[tokio::test]
async fn weak_identity_gets_no_challenge() {
    let relay = TestRelay::start().await;
    let mut small_order = vec![0, 1];
    small_order.extend([1]);
    small_order.extend([0; 31]);
    for identity in [
        vec![],
        vec![0],
        vec![0, 1],
        small_order,
        [vec![0, 9], vec![1; 32]].concat(),
        vec![0; 34],
    ] {
        let body = serde_json::json!({
            "purpose": "register",
            "handle": "alice",
            "identity": Base64Bytes(identity),
            "nonce": "00".repeat(32),
        });
        let answer = relay.post_json("/v1/challenges", None, &body).await;
        answer.assert_problem(ProblemType::InvalidObject);
    }
}

#[tokio::test]
async fn invite_registers_one_agent_and_closed_nobody() {
    let relay = TestRelay::start_with(Setup {
        registration: Registration::Invite,
        ..Setup::default()
    })
    .await;
    let made = relay
        .post_json(
            "/v1/admin/invites",
            Some(MASTER_KEY),
            &serde_json::json!({"count": 1, "days": 1}),
        )
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    let code = made.json::<serde_json::Value>()["invites"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let (alice, bob) = (TestAgent::new(&relay, "alice"), TestAgent::new(&relay, "bob"));
    for invite in [None, Some("wxi_no"), Some("")] {
        let answer = relay.try_register(&alice, invite).await;
        answer.assert_problem(ProblemType::RegistrationClosed);
    }
    let registered = relay.try_register(&alice, Some(&code)).await;
    assert_eq!(registered.status, StatusCode::CREATED);
    let second = relay.try_register(&bob, Some(&code)).await;
    second.assert_problem(ProblemType::RegistrationClosed);

    let folder = relay.stop().await;
    let relay = TestRelay::start_with(Setup {
        registration: Registration::Closed,
        folder,
        ..Setup::default()
    })
    .await;
    let answer = relay.try_register(&bob, None).await;
    answer.assert_problem(ProblemType::RegistrationClosed);
    assert_eq!(relay.try_register(&alice, None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn new_api_key_needs_the_identity_and_ends_the_old_keys_sockets() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let mut socket = TestSocket::open(&relay, &alice.key).await;
    let mallory = TestAgent::with_secret(&relay, "alice", 666);
    let challenge = relay.challenge(&mallory, Purpose::ApiKey).await;
    let request = |agent: &TestAgent, challenge: &[u8]| ApiKeyRequest {
        challenge: Base64Bytes(challenge.to_vec()),
        proof: Base64Bytes(agent.prove(challenge)),
        lease: None,
    };
    let answer = relay
        .post_json("/v1/agents/api-key", None, &request(&mallory, &challenge))
        .await;
    answer.assert_problem(ProblemType::NotFound);

    let challenge = relay.challenge(&alice, Purpose::ApiKey).await;
    let answer = relay
        .post_json("/v1/agents/api-key", None, &request(&alice, &challenge))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    let key = answer.json::<Registered>().api_key;
    assert!(matches!(socket.next().await, Got::Closed { code: 1008, .. }));
    relay
        .get("/v1/agents/me", Some(&alice.key))
        .await
        .assert_problem(ProblemType::Unauthorized);
    assert_eq!(
        relay.get("/v1/agents/me", Some(&key)).await.status,
        StatusCode::OK
    );
    let replayed = relay
        .post_json("/v1/agents/api-key", None, &request(&alice, &challenge))
        .await;
    replayed.assert_problem(ProblemType::ChallengeRefused);
}

/// docs/protocol.md, 4.3, step 5: numbers go up only.
#[tokio::test]
async fn bundle_is_published_in_order_and_looked_up_by_anybody_registered() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let put = async |bytes: Vec<u8>| {
        let body = Some(("application/octet-stream", bytes));
        relay
            .call(Method::PUT, "/v1/agents/me/bundle", Some(&alice.key), body)
            .await
    };
    let second = alice.sign_bundle(&alice.bundle(NOW + 1));
    assert_eq!(put(second.clone()).await.status, StatusCode::OK);
    assert_eq!(put(second.clone()).await.status, StatusCode::OK);
    let mut fork = alice.bundle(NOW + 1);
    fork.not_after += 1;
    put(alice.sign_bundle(&fork))
        .await
        .assert_problem(ProblemType::Stale);
    let older = alice.sign_bundle(&alice.bundle(NOW));
    put(older).await.assert_problem(ProblemType::Stale);
    put(bob.sign_bundle(&bob.bundle(NOW + 2)))
        .await
        .assert_problem(ProblemType::InvalidObject);
    put(vec![0; 20_000]).await.assert_problem(ProblemType::TooLarge);

    let got = relay.get("/v1/agents/alice/bundle", Some(&bob.key)).await;
    let answer: waxwire_shared::api::rest::BundleAnswer = got.json();
    assert_eq!((answer.agent_id, answer.bundle.0), (alice.id, second));
    let mut unknown = Vec::new();
    for handle in ["nobody", "ALICE", "a", "%00", &"x".repeat(200)] {
        let answer = relay
            .get(&format!("/v1/agents/{handle}/bundle"), Some(&bob.key))
            .await;
        let mut problem = answer.assert_problem(ProblemType::NotFound);
        problem.instance = None;
        unknown.push(problem);
    }
    assert!(unknown.iter().all(|problem| *problem == unknown[0]));
    relay
        .get("/v1/agents/alice/bundle", None)
        .await
        .assert_problem(ProblemType::Unauthorized);
}

#[tokio::test]
async fn administrator_suspends_and_revokes_at_once() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let act = async |act: &str| {
        let path = format!("/v1/admin/agents/alice/{act}");
        relay
            .call(Method::POST, &path, Some(MASTER_KEY), None)
            .await
            .status
    };
    let mut socket = TestSocket::open(&relay, &alice.key).await;
    assert_eq!(act("suspend").await, StatusCode::NO_CONTENT);
    assert!(matches!(socket.next().await, Got::Closed { code: 1008, .. }));
    let me = async || relay.get("/v1/agents/me", Some(&alice.key)).await;
    me().await.assert_problem(ProblemType::Suspended);
    relay
        .try_register(&alice, None)
        .await
        .assert_problem(ProblemType::Suspended);
    assert_eq!(act("unsuspend").await, StatusCode::NO_CONTENT);
    assert_eq!(me().await.status, StatusCode::OK);
    assert_eq!(act("revoke").await, StatusCode::NO_CONTENT);
    me().await.assert_problem(ProblemType::Unauthorized);
    let listed = relay.get("/v1/admin/agents", Some(MASTER_KEY)).await;
    let listed: serde_json::Value = listed.json();
    assert_eq!(listed["agents"][0]["handle"], "alice");
    assert_eq!(listed["agents"][0]["has_api_key"], false);
}

#[tokio::test]
async fn administration_needs_the_master_key() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    for key in [None, Some(alice.key.as_str()), Some(""), Some(&MASTER_KEY[1..])] {
        let answer = relay.get("/v1/admin/agents", key).await;
        answer.assert_problem(ProblemType::Unauthorized);
        let path = "/v1/admin/agents/alice/suspend";
        let answer = relay.call(Method::POST, path, key, None).await;
        answer.assert_problem(ProblemType::Unauthorized);
    }
    // And the master key is no agent's.
    let answer = relay.get("/v1/agents/me", Some(MASTER_KEY)).await;
    answer.assert_problem(ProblemType::Unauthorized);
    let unknown: Handle = "nobody".parse().unwrap();
    let path = format!("/v1/admin/agents/{unknown}/suspend");
    let answer = relay.call(Method::POST, &path, Some(MASTER_KEY), None).await;
    answer.assert_problem(ProblemType::NotFound);
}

/// What another node replaces, this one hears of within seconds: the old key is over and the new one is not.
#[tokio::test]
async fn key_that_another_node_replaced_ends_the_sockets_that_came_with_the_old_one() {
    use crate::{accounts::credential::Credential, store::UsedChallenge, testing::SeededRandom};
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let mut old = TestSocket::open(&relay, &alice.key).await;
    let key = Credential::new_api_key(&SeededRandom::new(7)).unwrap();
    let challenge = UsedChallenge {
        hash: key.hash(),
        expires_at: NOW + 60_000,
    };
    let store = &relay.relay.delivery.store;
    let replaced = store.replace_key(alice.handle.clone(), alice.id, key.hash(), challenge);
    replaced.await.unwrap();
    let mut new = TestSocket::open(&relay, key.expose_text()).await;
    assert!(matches!(old.next().await, Got::Closed { code: 1008, .. }));
    relay.send(&bob.key, &envelope(alice.id, 1, b"x")).await;
    assert!(matches!(new.next().await, Got::Deliver { .. }));
}

/// `waxwire-relay admin` runs in another process; a serving relay follows within seconds.
#[tokio::test]
async fn change_by_another_process_ends_access() {
    use crate::{admin, cli::AdminCommand, clock::Clock, store::DatabaseUrl, testing::SeededRandom};
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let mut socket = TestSocket::open(&relay, &alice.key).await;
    let url = DatabaseUrl::Sqlite(relay.database());
    let command = AdminCommand::Suspend {
        handle: alice.handle.clone(),
    };
    let said = admin::run(&url, command, Clock::System, &SeededRandom::new(3)).await;
    assert_eq!(said.unwrap(), "alice: suspended");
    assert!(matches!(socket.next().await, Got::Closed { code: 1008, .. }));
    let me = relay.get("/v1/agents/me", Some(&alice.key)).await;
    me.assert_problem(ProblemType::Suspended);
}
