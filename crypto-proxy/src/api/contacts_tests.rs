use serde_json::json;

use super::*;
use crate::{
    api::testing::{Api, contact},
    model::Refusal,
};

#[tokio::test]
async fn add_answers_201_with_the_contact() {
    let api = Api::new();
    let answer = api.post("/v1/contacts", r#"{"handle":"@Bob"}"#).await;
    assert_eq!(answer.status, 201);
    let expected = json!({
        "handle": "bob", "status": "active", "display_name": "Bob", "description": null, "avatar_url": null,
        "notes": "owes us a crate", "added_at": "2026-11-22T17:39:08.007Z",
    });
    assert_eq!(answer.json(), expected);
    assert!(matches!(
        api.backend.contact_command(),
        ContactCommand::Add(address) if address.handle.as_str() == "bob"
    ));
    for (body, path) in [
        ("{}", "handle"),
        (r#"{"handle":7}"#, "handle"),
        (r#"{"handle":"x"}"#, "handle"),
    ] {
        api.post("/v1/contacts", body).await.assert_invalid(&[path]);
    }
}

#[tokio::test]
async fn list_pages_and_tells_the_total() {
    let api = Api::new();
    let empty = json!({ "contacts": [], "total": 0, "limit": 100, "offset": 0 });
    assert_eq!(api.get("/v1/contacts").await.json(), empty);
    for handle in ["ann", "bob", "cid"] {
        api.backend.contacts.lock().unwrap().push(contact(handle));
    }
    let page = api.get("/v1/contacts?limit=2&offset=1").await.json();
    assert_eq!(page["total"], 3);
    assert_eq!((&page["limit"], &page["offset"]), (&json!(2), &json!(1)));
    let handles: Vec<_> = page["contacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["handle"])
        .collect();
    assert_eq!(handles, ["bob", "cid"]);
    assert_eq!(api.get("/v1/contacts?limit=9999").await.json()["limit"], 500);
    api.get("/v1/contacts?limit=0")
        .await
        .assert_invalid(&["query", "limit"]);
}

#[tokio::test]
async fn check_is_200_for_any_handle() {
    let api = Api::new();
    api.backend.contacts.lock().unwrap().push(contact("bob"));
    let expected =
        json!({ "is_contact": true, "added_at": "2026-11-22T17:39:08.007Z", "notes": "owes us a crate" });
    assert_eq!(api.get("/v1/contacts/%40bob").await.json(), expected);
    let none = json!({ "is_contact": false, "added_at": null, "notes": null });
    assert_eq!(api.get("/v1/contacts/carol").await.json(), none);
    assert_eq!(api.get("/v1/contacts/x").await.code(), "AGENT_NOT_FOUND");
}

#[tokio::test]
async fn notes_are_set_cleared_and_bounded() {
    for (body, expected) in [(r#"{"notes":"x"}"#, Some("x")), (r#"{"notes":null}"#, None)] {
        let api = Api::new();
        let answer = api.json("PATCH", "/v1/contacts/bob", body).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })));
        assert!(matches!(
            api.backend.contact_command(),
            ContactCommand::Note(_, notes) if notes.as_deref() == expected
        ));
    }
    let api = Api::new();
    let patch = async |body: String| api.json("PATCH", "/v1/contacts/bob", body).await;
    patch("{}".to_owned()).await.assert_invalid(&["notes"]);
    patch(r#"{"notes":[]}"#.to_owned())
        .await
        .assert_invalid(&["notes"]);
    let long = json!({ "notes": "é".repeat(NOTES + 1) });
    patch(long.to_string())
        .await
        .assert_limit("notes", NOTES, Some(NOTES + 1));
    assert!(api.backend.commands.lock().unwrap().is_empty());
    assert_eq!(
        patch(json!({ "notes": "é".repeat(NOTES) }).to_string())
            .await
            .status,
        200
    );
    api.backend.refuses(Refusal::AgentNotFound);
    assert_eq!(patch(r#"{"notes":"x"}"#.to_owned()).await.status, 404);
}

#[tokio::test]
async fn block_unblock_and_report_tell_whether_the_relay_knows() {
    for (method, path) in [("POST", "block"), ("DELETE", "block"), ("POST", "report")] {
        for informed in [true, false] {
            let api = Api::new();
            api.backend.answers(move |_| Ok(Reply::Declared(informed)));
            let answer = api.bare(method, &format!("/v1/contacts/%40bob/{path}")).await;
            assert_eq!(answer.status, 200, "{method} {path}");
            assert_eq!(answer.json(), json!({ "ok": true, "relay_informed": informed }));
            let command = api.backend.contact_command();
            assert_eq!(matches!(command, ContactCommand::Block(_)), method == "POST");
        }
    }
}

#[tokio::test]
async fn report_reads_its_reason_and_drops_it() {
    let api = Api::new();
    let answer = api.post("/v1/contacts/bob/report", r#"{"reason":"spam"}"#).await;
    assert_eq!(answer.status, 200);
    for (body, path) in [("[", None), (r#"{"reason":7}"#, Some("reason"))] {
        let answer = api.post("/v1/contacts/bob/report", body).await;
        answer.assert_invalid(&path.into_iter().collect::<Vec<_>>());
    }
    assert!(matches!(api.backend.contact_command(), ContactCommand::Block(_)));
}

#[tokio::test]
async fn remove_reaches_the_engine() {
    let api = Api::new();
    let answer = api.bare("DELETE", "/v1/contacts/bob").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })));
    assert!(matches!(
        api.backend.contact_command(),
        ContactCommand::Remove(handle) if handle.as_str() == "bob"
    ));
}
