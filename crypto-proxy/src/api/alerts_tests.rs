use serde_json::json;

use super::*;
use crate::api::testing::{Api, NOW, conversation_id};

fn alert(id: u64) -> Alert {
    Alert {
        id,
        at: NOW,
        kind: "identity_changed".to_owned(),
        severity: Severity::Critical,
        conversation: (id > 1).then(|| conversation_id(1)),
        peer: (id > 1).then(|| "bob".parse().unwrap()),
        reason: "another identity is shown".to_owned(),
    }
}

#[tokio::test]
async fn alerts_come_with_the_next_cursor() {
    let api = Api::new();
    assert_eq!(
        api.get("/v1/alerts").await.json(),
        json!({ "alerts": [], "next": 0 })
    );
    assert_eq!(
        api.get("/v1/alerts?after=9").await.json(),
        json!({ "alerts": [], "next": 9 })
    );
    api.backend
        .alerts
        .lock()
        .unwrap()
        .extend([alert(1), alert(2), alert(3)]);
    let first = json!({
        "id": 1,
        "at": "2026-11-22T17:39:08.007Z",
        "type": "identity_changed",
        "severity": "critical",
        "reason": "another identity is shown",
    });
    let body = api.get("/v1/alerts?limit=2").await.json();
    assert_eq!((&body["alerts"][0], &body["next"]), (&first, &json!(2)));
    assert_eq!(body["alerts"][1]["peer"], "bob");
    assert_eq!(
        body["alerts"][1]["conversation_id"],
        conversation_id(1).to_string()
    );
    assert_eq!(api.get("/v1/alerts?after=2").await.json()["next"], 3);
}

#[tokio::test]
async fn alerts_refuse_wrong_queries() {
    let api = Api::new();
    for query in ["after=-1", "after=x", "limit=0", "after=1&after=2", "after=%FF"] {
        let answer = api.get(&format!("/v1/alerts?{query}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "VALIDATION_ERROR"),
            "{query}"
        );
    }
    api.backend.breaks();
    assert_eq!(api.get("/v1/alerts").await.code(), "STORAGE_UNAVAILABLE");
}
