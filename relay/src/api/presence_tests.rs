//! Presence through the real router and sockets (docs/relay-api.md, Presence).

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use waxwire_shared::{
    api::{frames::ClientFrame, problem::ProblemType},
    wire::Lane,
};

use crate::{
    config::Limits,
    delivery::Timing,
    metrics::Passed,
    testing::{Got, NOW, Setup, TestAgent, TestRelay, TestSocket, envelope_in},
};

/// A relay for which an agent is gone soon after its last socket.
async fn impatient(absence: Duration) -> TestRelay {
    TestRelay::start_with(Setup {
        timing: Timing {
            absence,
            ..Timing::default()
        },
        ..Setup::default()
    })
    .await
}

const SOON: Duration = Duration::from_millis(50);

async fn relate(relay: &TestRelay, agent: &TestAgent, path: &str, body: Option<&str>) {
    let body = body.map(|body| ("application/json", body.as_bytes().to_vec()));
    let answer = relay.call(Method::PUT, path, Some(&agent.key), body).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{path}");
}

async fn hold(relay: &TestRelay, agent: &TestAgent, contact: &str) {
    relate(relay, agent, &format!("/v1/contacts/{contact}"), None).await;
}

async fn block(relay: &TestRelay, agent: &TestAgent, other: &str, known: bool) {
    let body = json!({ "known": known }).to_string();
    relate(relay, agent, &format!("/v1/blocks/{other}"), Some(&body)).await;
}

/// What an agent may see of some others.
async fn presences(relay: &TestRelay, agent: &TestAgent, handles: &[&str]) -> Vec<Value> {
    let body = json!({ "handles": handles });
    let answer = relay.post_json("/v1/presence", Some(&agent.key), &body).await;
    assert_eq!(answer.status, StatusCode::OK);
    let mut presences = answer.json::<Value>()["presences"].as_array().unwrap().clone();
    presences.sort_by_key(|presence| presence["handle"].to_string());
    presences
}

fn presence(handle: &str, online: bool, last_seen: Option<u64>) -> Value {
    json!({"handle": handle, "online": online, "last_seen": last_seen})
}

/// Waits until an agent is seen as online, or not.
async fn until(relay: &TestRelay, by: &TestAgent, handle: &str, online: bool) -> Value {
    let seen = async {
        loop {
            let seen = presences(relay, by, &[handle]).await.remove(0);
            if seen["online"] == online {
                return seen;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap()
}

/// Attack 34: asking for many at once, or by way of contacts, is paid for one by one.
#[tokio::test]
async fn misses_are_paid_for_before_they_are_answered() {
    let relay = TestRelay::limited(Limits {
        lookup_misses_per_minute: 3,
        ..Limits::default()
    })
    .await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    assert_eq!(presences(&relay, &alice, &["bob", "no-1", "no-2"]).await.len(), 1);
    let ask = async |agent: &TestAgent, handles: &[&str]| {
        let body = json!({ "handles": handles });
        relay.post_json("/v1/presence", Some(&agent.key), &body).await
    };
    let many = ask(&alice, &["bob", "no-3", "no-4"]).await;
    many.assert_problem(ProblemType::RateLimited);
    ask(&alice, &["bob"])
        .await
        .assert_problem(ProblemType::RateLimited);
    for contact in ["alice", "no-1", "no-2", "no-3"] {
        hold(&relay, &bob, contact).await;
    }
    let path = "/v1/contacts/no-4";
    let refused = relay.call(Method::PUT, path, Some(&bob.key), None).await;
    refused.assert_problem(ProblemType::RateLimited);
}

async fn shown(relay: &TestRelay, agent: &TestAgent) -> TestSocket {
    let mut socket = TestSocket::open(relay, &agent.key).await;
    socket.write(&ClientFrame::Presence { shown: true }).await;
    socket
}

/// The next frame about somebody, whatever else comes.
async fn next_seen(socket: &mut TestSocket) -> (String, bool) {
    loop {
        if let Got::Seen(seen) = socket.next().await {
            return (seen.handle.to_string(), seen.online);
        }
    }
}

#[tokio::test]
async fn agent_is_online_while_a_socket_of_it_says_so() {
    let relay = impatient(SOON).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let never = presence("bob", false, None);
    assert_eq!(
        presences(&relay, &alice, &["bob", "nobody"]).await,
        std::slice::from_ref(&never)
    );
    let silent = TestSocket::open(&relay, &bob.key).await;
    assert_eq!(presences(&relay, &alice, &["bob"]).await, [never]);
    let mut socket = shown(&relay, &bob).await;
    let seen = until(&relay, &alice, "bob", true).await;
    assert_eq!(seen, presence("bob", true, None));
    socket.write(&ClientFrame::Presence { shown: false }).await;
    until(&relay, &alice, "bob", false).await;
    socket.write(&ClientFrame::Presence { shown: true }).await;
    until(&relay, &alice, "bob", true).await;
    relay.advance(90_500);
    drop(socket);
    let seen = until(&relay, &alice, "bob", false).await;
    assert_eq!(seen, presence("bob", false, Some(NOW + 60_000)), "to the minute");
    drop(silent);
}

/// Whoever holds the agent as a contact is told, and finds out at the beginning who is there.
#[tokio::test]
async fn holders_are_told_who_comes_and_goes() {
    let relay = impatient(SOON).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    hold(&relay, &alice, "bob").await;
    let mut holder = TestSocket::open(&relay, &alice.key).await;
    let mut other = shown(&relay, &bob).await;
    assert_eq!(next_seen(&mut holder).await, ("bob".to_owned(), true));
    let mut second = TestSocket::resume(&relay, &alice.key, Vec::new()).await;
    assert_eq!(next_seen(&mut second).await, ("bob".to_owned(), true));
    // Bob does not hold alice.
    holder.write(&ClientFrame::Presence { shown: true }).await;
    until(&relay, &bob, "alice", true).await;
    assert!(other.is_silent().await);
    drop(other);
    for socket in [&mut holder, &mut second] {
        assert_eq!(next_seen(socket).await, ("bob".to_owned(), false));
    }
}

/// While the database is away nobody can say who holds whom; what is so is told as soon as it is back.
#[tokio::test]
async fn holders_are_told_once_the_database_is_back() {
    let relay = impatient(SOON).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    hold(&relay, &alice, "bob").await;
    let mut holder = TestSocket::open(&relay, &alice.key).await;
    let database = rusqlite::Connection::open(relay.database()).unwrap();
    let rename = |from, to| {
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        database.execute(&statement, []).unwrap();
    };
    let mut socket = TestSocket::open(&relay, &bob.key).await;
    rename("contact", "away");
    socket.write(&ClientFrame::Presence { shown: true }).await;
    assert!(holder.is_silent().await);
    rename("away", "contact");
    assert_eq!(next_seen(&mut holder).await, ("bob".to_owned(), true));
    rename("contact", "away");
    drop(socket);
    assert!(holder.is_silent().await);
    rename("away", "contact");
    assert_eq!(next_seen(&mut holder).await, ("bob".to_owned(), false));
}

#[tokio::test]
async fn whoever_is_held_from_now_on_is_introduced() {
    let relay = impatient(SOON).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let _there = shown(&relay, &bob).await;
    until(&relay, &alice, "bob", true).await;
    let mut holder = TestSocket::open(&relay, &alice.key).await;
    hold(&relay, &alice, "nobody").await;
    hold(&relay, &alice, "alice").await;
    assert!(holder.is_silent().await);
    hold(&relay, &alice, "bob").await;
    assert_eq!(next_seen(&mut holder).await, ("bob".to_owned(), true));
}

#[tokio::test]
async fn reconnection_is_no_news() {
    let relay = impatient(Duration::from_secs(30)).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    hold(&relay, &alice, "bob").await;
    let mut holder = TestSocket::open(&relay, &alice.key).await;
    let first = shown(&relay, &bob).await;
    assert_eq!(next_seen(&mut holder).await, ("bob".to_owned(), true));
    drop(first);
    let _second = shown(&relay, &bob).await;
    assert!(holder.is_silent().await);
    assert_eq!(
        presences(&relay, &alice, &["bob"]).await,
        [presence("bob", true, None)]
    );
}

/// Neither sees the other, by neither way, whatever the blocked one may know of the block.
#[tokio::test]
async fn blocked_pair_does_not_exist_for_one_another() {
    for known in [true, false] {
        let relay = impatient(SOON).await;
        let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
        hold(&relay, &alice, "bob").await;
        hold(&relay, &bob, "alice").await;
        block(&relay, &alice, "bob", known).await;
        let mut one = shown(&relay, &alice).await;
        let mut other = shown(&relay, &bob).await;
        until(&relay, &alice, "alice", true).await;
        until(&relay, &bob, "bob", true).await;
        assert_eq!(presences(&relay, &alice, &["bob"]).await, Vec::<Value>::new());
        assert_eq!(presences(&relay, &bob, &["alice"]).await, Vec::<Value>::new());
        for (from, to) in [(&mut one, &bob), (&mut other, &alice)] {
            let sent = envelope_in(to.id, Lane::Control, 1, b"typing");
            from.write(&ClientFrame::Transient(&sent)).await;
        }
        assert!(one.is_silent().await && other.is_silent().await);
        assert_eq!(relay.relay.delivery.metrics.passed(Passed::Blocked), 2);
        let mut again = TestSocket::open(&relay, &bob.key).await;
        assert!(again.is_silent().await, "nobody is greeted across a block");
    }
}

/// When somebody was last there survives a restart, also of those who are there at its end.
#[tokio::test]
async fn last_seen_survives_a_restart() {
    let relay = impatient(SOON).await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let socket = shown(&relay, &bob).await;
    until(&relay, &alice, "bob", true).await;
    relay.advance(125_000);
    let folder = relay.stop().await;
    drop(socket);
    let relay = TestRelay::start_with(Setup {
        folder,
        ..Setup::default()
    })
    .await;
    let seen = presences(&relay, &alice, &["bob", "alice"]).await;
    assert_eq!(
        seen,
        [
            presence("alice", false, None),
            presence("bob", false, Some(NOW + 120_000))
        ]
    );
}

#[tokio::test]
async fn question_is_bounded_and_needs_an_api_key() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    let many = vec!["alice"; 101];
    for body in [
        json!({ "handles": many }),
        json!({"handles": ["Alice"]}),
        json!({}),
    ] {
        let answer = relay.post_json("/v1/presence", Some(&alice.key), &body).await;
        answer.assert_problem(ProblemType::BadRequest);
    }
    let body = json!({"handles": ["alice"]});
    let answer = relay.post_json("/v1/presence", None, &body).await;
    answer.assert_problem(ProblemType::Unauthorized);
}
