use serde_json::json;

use super::*;
use crate::{api::testing::Api, model::Refusal};

#[tokio::test]
async fn search_asks_the_relay_and_adds_what_only_this_agent_knows() {
    let api = Api::new();
    let answer = api.get("/v1/directory?q=%40Bo&limit=500&offset=3").await;
    let expected = json!({
        "agents": [{
            "handle": "bob", "display_name": "Bob", "description": null,
            "created_at": "2026-11-22T17:39:08.007Z", "in_contacts": true,
        }],
        "total": 7, "limit": 100, "offset": 3,
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
    let ContactCommand::Search {
        prefix,
        limit,
        offset,
    } = api.backend.contact_command()
    else {
        panic!("no search");
    };
    assert_eq!((prefix.as_str(), limit, offset), ("bo", 100, 3));
}

#[tokio::test]
async fn what_is_in_no_handle_is_not_asked_for() {
    let api = Api::new();
    for q in ["b%26limit=9", "b%2Fc", "b%00", "b%C3%B6", "a_b", "a+b"] {
        let answer = api.get(&format!("/v1/directory?q={q}")).await;
        let nobody = json!({ "agents": [], "total": 0, "limit": 20, "offset": 0 });
        assert_eq!((answer.status, answer.json()), (200, nobody), "{q}");
    }
    for q in ["", "a", "%40a", &"a".repeat(51)] {
        let answer = api.get(&format!("/v1/directory?q={q}")).await;
        answer.assert_invalid(&["query", "q"]);
    }
    api.get("/v1/directory").await.assert_invalid(&["query", "q"]);
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn too_many_searches_are_429() {
    let api = Api::new();
    api.backend.refuses(Refusal::RateLimited { retry_after: 9 });
    let answer = api.get("/v1/directory?q=bob").await;
    assert_eq!(
        (answer.code().as_str(), answer.header("retry-after")),
        ("RATE_LIMITED", "9")
    );
}
