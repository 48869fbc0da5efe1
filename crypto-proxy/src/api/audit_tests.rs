use serde_json::json;

use crate::api::testing::Api;

#[tokio::test]
async fn audit_tells_what_is_known_and_keeps_the_kinds_of_bundles_apart() {
    let api = Api::new();
    let time = "2026-11-22T17:39:08.007Z";
    let head = |log: &str| json!({ "log_id": log.repeat(32), "size": 7, "signed_at": time });
    let bundle = |index| json!({ "index": index, "number": index * 10, "bundle": "04".repeat(32) });
    let expected = json!({
        "running": false, "scanned": 7, "head": head("01"), "finished_at": time, "failure": "halted",
        "own_bundles": 1, "current_bundle_logged": true, "rogue_bundles": [bundle(3)],
        "unaccounted_bundles": [bundle(2)], "forked": true, "other_log": head("02"),
        "evidence": [{ "at": time, "type": "fork", "first": "AQ", "second": "AgM" }],
    });
    assert_eq!(api.get("/v1/audit").await.json(), expected);
    let started = api.post("/v1/audit", "").await;
    assert_eq!((started.status, &started.json()["running"]), (200, &json!(true)));
}

#[tokio::test]
async fn log_is_accepted_by_its_id_only() {
    let api = Api::new();
    let accept = async |body: serde_json::Value| api.post("/v1/audit/accept", body.to_string()).await;
    let known = accept(json!({ "log_id": "02".repeat(32) })).await;
    assert_eq!((known.status, known.json()["scanned"].clone()), (200, json!(7)));
    for body in [
        json!({}),
        json!({ "log_id": "02" }),
        json!({ "log_id": "0G".repeat(32) }),
    ] {
        accept(body).await.assert_invalid(&["log_id"]);
    }
    let unknown = accept(json!({ "log_id": "09".repeat(32) })).await;
    assert_eq!(
        (unknown.status, unknown.code().as_str()),
        (400, "VALIDATION_ERROR")
    );
}
