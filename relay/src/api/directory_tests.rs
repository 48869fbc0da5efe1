//! Profiles and the directory through the real router (docs/relay-api.md, Profiles and directory).

use http::{Method, StatusCode};
use serde_json::json;
use waxwire_shared::{
    api::{
        problem::ProblemType,
        profile::{DirectoryAnswer, ProfileAnswer},
    },
    limits,
};

use crate::{
    config::Limits,
    testing::{Answer, NOW, TestAgent, TestRelay},
};

async fn put(relay: &TestRelay, agent: &TestAgent, body: &serde_json::Value) -> Answer {
    let body = Some(("application/json", serde_json::to_vec(body).unwrap()));
    relay
        .call(Method::PUT, "/v1/agents/me/profile", Some(&agent.key), body)
        .await
}

async fn search(relay: &TestRelay, agent: &TestAgent, query: &str) -> Answer {
    relay
        .get(&format!("/v1/directory?{query}"), Some(&agent.key))
        .await
}

fn profile(name: &str) -> serde_json::Value {
    json!({ "display_name": name, "description": null, "listed": true })
}

#[tokio::test]
async fn profile_is_shown_and_found() {
    let relay = TestRelay::start().await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let answer = put(&relay, &bob, &profile("Bob 🤖")).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    let expected = ProfileAnswer {
        handle: bob.handle.clone(),
        display_name: Some("Bob 🤖".to_owned()),
        description: None,
        registered_at: NOW,
    };
    let shown = relay.get("/v1/agents/bob", Some(&alice.key)).await;
    assert_eq!(shown.json::<ProfileAnswer>(), expected);
    let found: DirectoryAnswer = search(&relay, &alice, "q=bo").await.json();
    assert_eq!((found.agents, found.total), (vec![expected], 1));
    let none: DirectoryAnswer = search(&relay, &bob, "q=al&limit=5&offset=0").await.json();
    assert_eq!((none.agents.len(), none.total), (0, 0));
    for unknown in ["nobody", "NOBODY", "%00", "b"] {
        let answer = relay
            .get(&format!("/v1/agents/{unknown}"), Some(&alice.key))
            .await;
        answer.assert_problem(ProblemType::NotFound);
    }
}

#[tokio::test]
async fn profiles_are_read_strictly() {
    let relay = TestRelay::start().await;
    let alice = relay.register("alice").await;
    for bad in [
        json!({}),
        json!({ "listed": "yes" }),
        json!({ "display_name": "a", "description": "b", "listed": true, "admin": true }),
        profile(""),
        profile(" "),
        profile("a\u{202e}b"),
        profile("a\u{0}b"),
        profile(&"x".repeat(limits::DISPLAY_NAME + 1)),
        json!({ "display_name": null, "description": "x".repeat(limits::DESCRIPTION + 1), "listed": false }),
    ] {
        put(&relay, &alice, &bad)
            .await
            .assert_problem(ProblemType::BadRequest);
    }
    for bad in [
        "",
        "q=a",
        "q=",
        "limit=3",
        "q=%00%00",
        "q=al%0a",
        "q=al&limit=-1",
        "q=al&offset=x",
        "q=al&who=me",
        &format!("q={}", "a".repeat(51)),
    ] {
        search(&relay, &alice, bad)
            .await
            .assert_problem(ProblemType::BadRequest);
    }
    for fine in ["q=%25%25", "q=al&limit=0", "q=al&limit=18446744073709551615"] {
        assert_eq!(
            search(&relay, &alice, fine).await.status,
            StatusCode::OK,
            "{fine}"
        );
    }
}

/// Whoever pages through the directory to learn who is there is slowed down.
#[tokio::test]
async fn searches_are_limited_by_minute_and_day() {
    let relay = TestRelay::limited(Limits {
        directory_per_minute: 2,
        directory_per_day: 3,
        ..Limits::default()
    })
    .await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let status = async |agent| search(&relay, agent, "q=bo").await;
    for _ in 0..2 {
        assert_eq!(status(&alice).await.status, StatusCode::OK);
    }
    let refused = status(&alice).await.assert_problem(ProblemType::RateLimited);
    assert!(refused.retry_after.unwrap() <= 60);
    assert_eq!(status(&bob).await.status, StatusCode::OK);
    relay.advance(60_000);
    assert_eq!(status(&alice).await.status, StatusCode::OK);
    relay.advance(60_000);
    let refused = status(&alice).await.assert_problem(ProblemType::RateLimited);
    assert!(refused.retry_after.unwrap() > 3_600);
    relay.advance(24 * 3_600_000);
    assert_eq!(status(&alice).await.status, StatusCode::OK);
}

/// Attack 34: whoever tries handles until some are there is slowed down, and by then is answered alike for all.
#[tokio::test]
async fn lookups_of_handles_that_nobody_has_are_limited() {
    let relay = TestRelay::limited(Limits {
        lookup_misses_per_minute: 3,
        lookup_misses_per_day: 5,
        ..Limits::default()
    })
    .await;
    let (alice, bob) = (relay.register("alice").await, relay.register("bob").await);
    let ask = async |agent: &TestAgent, path: &str| {
        relay.get(&format!("/v1/agents/{path}"), Some(&agent.key)).await
    };
    let body = Some(("application/json", br#"{"known":false}"#.to_vec()));
    let block = relay
        .call(Method::PUT, "/v1/blocks/alice", Some(&bob.key), body)
        .await;
    assert_eq!(block.status, StatusCode::NO_CONTENT);
    // Known handles cost nothing.
    for _ in 0..10 {
        assert_eq!(ask(&bob, "bob/bundle").await.status, StatusCode::OK);
        assert_eq!(ask(&alice, "alice").await.status, StatusCode::OK);
    }
    // None, none that can be, one that hides.
    let mut answers = Vec::new();
    for path in ["nobody/bundle", "No%20Handle", "bob"] {
        let answer = ask(&alice, path).await;
        answer.assert_problem(ProblemType::NotFound);
        let mut body: serde_json::Value = answer.json();
        body["instance"] = json!(null);
        answers.push(body);
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    for path in ["nobody/bundle", "bob/bundle", "alice/bundle", "alice"] {
        let refused = ask(&alice, path).await.assert_problem(ProblemType::RateLimited);
        assert_eq!(refused.retry_after, Some(20), "{path}");
    }
    ask(&bob, "nobody").await.assert_problem(ProblemType::NotFound);
    // Asking who is there is a lookup, too, of each handle once.
    let body = br#"{"handles":["bob","nobody","nobody","none"]}"#.to_vec();
    let presences = async |agent: &TestAgent| {
        let body = Some(("application/json", body.clone()));
        relay
            .call(Method::POST, "/v1/presence", Some(&agent.key), body)
            .await
    };
    presences(&alice).await.assert_problem(ProblemType::RateLimited);
    assert_eq!(presences(&bob).await.status, StatusCode::OK);
    presences(&bob).await.assert_problem(ProblemType::RateLimited);
    relay.advance(20_000);
    assert_eq!(ask(&alice, "alice").await.status, StatusCode::OK);
    ask(&alice, "nobody").await.assert_problem(ProblemType::NotFound);
    ask(&alice, "alice")
        .await
        .assert_problem(ProblemType::RateLimited);
    relay.advance(60_000);
    ask(&alice, "nobody").await.assert_problem(ProblemType::NotFound);
    relay.advance(60_000);
    let refused = ask(&alice, "nobody")
        .await
        .assert_problem(ProblemType::RateLimited);
    assert!(refused.retry_after.unwrap() > 3_600);
}
