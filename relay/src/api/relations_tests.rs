//! Contacts and blocks through the real router (docs/relay-api.md, Contacts and blocks).

use http::{Method, StatusCode};
use waxwire_shared::{
    api::{frames::ClientFrame, problem::ProblemType},
    wire::{JoinPolicy, Lane},
};

use crate::{
    config::Limits,
    testing::{
        Answer, Got, TestAgent, TestRelay, TestSocket, envelope, envelope_in,
        groups::{TestGroup, invite, sign_first, sign_next},
    },
};

const JSON: &str = "application/json";

async fn block(relay: &TestRelay, by: &TestAgent, other: &str, known: bool) -> Answer {
    let body = format!("{{\"known\": {known}}}");
    let path = format!("/v1/blocks/{other}");
    relay
        .call(Method::PUT, &path, Some(&by.key), Some((JSON, body.into_bytes())))
        .await
}

/// Answers of two requests, request ids aside.
#[track_caller]
fn assert_same(one: &Answer, other: &Answer) {
    let shape = |answer: &Answer| {
        let mut problem: serde_json::Value = answer.json();
        problem.as_object_mut().unwrap().remove("instance");
        (answer.status, problem, answer.headers.len())
    };
    assert_eq!(shape(one), shape(other));
}

#[tokio::test]
async fn blocked_stranger_is_answered_like_one_who_asks_for_nobody() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    assert_eq!(
        block(&relay, &alice, "bob", false).await.status,
        StatusCode::NO_CONTENT
    );
    let nobody = TestAgent::new(&relay, "nobody");
    for lane in [Lane::Mail, Lane::Control] {
        let hidden = relay.send(&bob.key, &envelope_in(alice.id, lane, 1, b"x")).await;
        hidden.assert_problem(ProblemType::NotFound);
        let unknown = relay.send(&bob.key, &envelope_in(nobody.id, lane, 1, b"x")).await;
        assert_same(&hidden, &unknown);
    }
    for path in ["", "/bundle"] {
        let hidden = relay
            .get(&format!("/v1/agents/alice{path}"), Some(&bob.key))
            .await;
        hidden.assert_problem(ProblemType::NotFound);
        let unknown = relay
            .get(&format!("/v1/agents/nobody{path}"), Some(&bob.key))
            .await;
        assert_same(&hidden, &unknown);
    }
    // Nor does bob find out by what it may hold of others.
    for other in ["alice", "nobody"] {
        assert_eq!(
            block(&relay, &bob, other, true).await.status,
            StatusCode::NO_CONTENT
        );
        for method in [Method::PUT, Method::DELETE] {
            let path = format!("/v1/contacts/{other}");
            let answer = relay.call(method, &path, Some(&bob.key), None).await;
            assert_eq!(answer.status, StatusCode::NO_CONTENT);
        }
        let hidden = relay.send(&bob.key, &envelope(alice.id, 2, b"x")).await;
        hidden.assert_problem(ProblemType::NotFound);
    }
}

#[tokio::test]
async fn blocked_correspondent_is_told_on_http_and_socket() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    block(&relay, &alice, "bob", true).await;
    let mut socket = TestSocket::open(&relay, &bob.key).await;
    for (from, to) in [(&bob, &alice), (&alice, &bob)] {
        let answer = relay.send(&from.key, &envelope(to.id, 1, b"x")).await;
        answer.assert_problem(ProblemType::Blocked);
    }
    let envelope = envelope(alice.id, 2, b"x");
    let send = ClientFrame::Send {
        request: 7,
        envelope: &envelope,
    };
    socket.write(&send).await;
    let Got::Refused { request: 7, problem } = socket.next().await else {
        panic!("not refused");
    };
    assert_eq!(problem.problem_type(), Some(ProblemType::Blocked));
    let bundle = relay.get("/v1/agents/alice/bundle", Some(&bob.key)).await;
    bundle.assert_problem(ProblemType::Blocked);
    let own = relay.get("/v1/agents/bob/bundle", Some(&alice.key)).await;
    assert_eq!(own.status, StatusCode::OK);
    let path = "/v1/blocks/bob";
    let lifted = relay.call(Method::DELETE, path, Some(&alice.key), None).await;
    assert_eq!(lifted.status, StatusCode::NO_CONTENT);
    let answer = relay.send(&bob.key, &envelope).await;
    assert_eq!(answer.status, StatusCode::CREATED);
}

#[tokio::test]
async fn common_group_goes_on_across_a_block_and_nobody_invites_across_it() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let mut group = TestGroup::with(&relay, &alice, &[&bob]).await;
    block(&relay, &bob, "alice", true).await;
    group.say(&relay, &alice, 1).await;
    group.say(&relay, &bob, 1).await;
    let bundle = relay.get("/v1/agents/bob/bundle", Some(&alice.key)).await;
    assert_eq!(bundle.status, StatusCode::OK);
    group.append(&relay, &alice, Vec::new(), true).await;
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        let first = sign_first(from, JoinPolicy::Invite, vec![invite(to)]);
        let answer = relay.post_octets("/v1/groups", &from.key, &first.body()).await;
        answer.assert_problem(ProblemType::Blocked);
        let other = TestGroup::create_with(&relay, from, JoinPolicy::Open, Vec::new()).await;
        let next = sign_next(&other.roster, from, vec![invite(to)], false);
        let answer = other.post(&relay, from, &next).await;
        answer.assert_problem(ProblemType::Blocked);
    }
}

#[tokio::test]
async fn limits_name_themselves() {
    let relay = TestRelay::limited(Limits {
        contacts: 1,
        blocks: 1,
        ..Limits::default()
    })
    .await;
    let alice = relay.register("alice").await;
    for handle in ["bob", "carol"] {
        relay.register(handle).await;
    }
    assert_eq!(
        block(&relay, &alice, "bob", true).await.status,
        StatusCode::NO_CONTENT
    );
    let put = async |handle: &str| {
        let path = format!("/v1/contacts/{handle}");
        relay.call(Method::PUT, &path, Some(&alice.key), None).await
    };
    assert_eq!(put("bob").await.status, StatusCode::NO_CONTENT);
    for (name, answer) in [
        ("blocks", block(&relay, &alice, "carol", true).await),
        ("contacts", put("carol").await),
    ] {
        let limit = answer.assert_problem(ProblemType::Forbidden).limit.unwrap();
        assert_eq!((limit.name.as_str(), limit.max, limit.actual), (name, 1, 2));
    }
    put("NO HANDLE".replace(' ', "%20").as_str())
        .await
        .assert_problem(ProblemType::NotFound);
}
