use serde_json::json;

use super::*;
use crate::{
    api::testing::{Api, NOW, fingerprint},
    model::Refusal,
};

#[tokio::test]
async fn requests_list_who_waits() {
    let api = Api::new();
    assert_eq!(api.get("/v1/requests").await.json(), json!({ "requests": [] }));
    let request = ContactRequest {
        handle: "eve".parse().unwrap(),
        fingerprint: fingerprint(3),
        count: 2,
        first_at: NOW,
    };
    api.backend.requests.lock().unwrap().push(request);
    let expected = json!({ "requests": [{
        "handle": "eve",
        "fingerprint": fingerprint(3).to_string(),
        "count": 2,
        "first_at": "2026-11-22T17:39:08.007Z",
    }] });
    assert_eq!(api.get("/v1/requests").await.json(), expected);
}

#[tokio::test]
async fn accept_and_reject_reach_the_engine() {
    let api = Api::new();
    let answer = api.bare("POST", "/v1/requests/%40Eve/accept").await;
    assert_eq!((answer.status, &answer.json()["ok"]), (200, &json!(true)));
    assert!(matches!(api.backend.command(), Command::AcceptRequest(handle) if handle.as_str() == "eve"));
    let api = Api::new();
    let answer = api.bare("DELETE", "/v1/requests/eve").await;
    assert_eq!((answer.status, &answer.json()["ok"]), (200, &json!(true)));
    assert!(matches!(api.backend.command(), Command::RejectRequest(handle) if handle.as_str() == "eve"));
}

#[tokio::test]
async fn requests_of_nobody_are_404() {
    let api = Api::new();
    api.backend.refuses(Refusal::AgentNotFound);
    for (method, path) in [
        ("POST", "/v1/requests/eve/accept"),
        ("DELETE", "/v1/requests/eve"),
        ("POST", "/v1/requests/e_e/accept"),
        ("DELETE", "/v1/requests/%00"),
    ] {
        assert_eq!(
            api.bare(method, path).await.code(),
            "AGENT_NOT_FOUND",
            "{method} {path}"
        );
    }
}
