use serde_json::json;

use super::*;
use crate::api::testing::{Api, NOW, conversation, conversation_id};

fn entry(kind: &str, target: &str, until: Option<&str>) -> serde_json::Value {
    json!({
        "muter_agent_id": format!("agt_{}", "ab".repeat(16)), "target_kind": kind, "target_id": target,
        "muted_until": until, "created_at": "2026-11-22T17:39:08.007Z",
    })
}

#[tokio::test]
async fn mute_of_an_agent_or_a_conversation_is_201() {
    let api = Api::new();
    let answer = api
        .post(
            "/v1/mutes",
            r#"{"target_kind":"agent","target_handle":"@Bob","muted_until":null}"#,
        )
        .await;
    assert_eq!((answer.status, answer.json()), (201, entry("agent", "bob", None)));
    assert!(matches!(
        api.backend.contact_command(),
        ContactCommand::Mute(MuteTarget::Agent(handle), None) if handle.as_str() == "bob"
    ));
    let api = Api::new();
    api.backend.conversations.lock().unwrap().push(conversation(1));
    let id = conversation_id(1).to_string();
    let until = "2199-01-01T00:00:00.000Z";
    let body = json!({ "target_kind": "conversation", "target_id": id, "muted_until": until });
    let answer = api.post("/v1/mutes", body.to_string()).await;
    let expected = entry("conversation", &id, Some(until));
    assert_eq!((answer.status, answer.json()), (201, expected));
}

#[tokio::test]
async fn mutes_that_make_no_sense_are_refused() {
    let api = Api::new();
    for (body, path) in [
        (json!({}), "target_kind"),
        (json!({ "target_kind": "group" }), "target_kind"),
        (json!({ "target_kind": "agent" }), "target_handle"),
        (
            json!({ "target_kind": "agent", "target_handle": "!" }),
            "target_handle",
        ),
        (json!({ "target_kind": "conversation" }), "target_id"),
        (
            json!({ "target_kind": "agent", "target_handle": "bob", "muted_until": "2001-01-01T00:00:00Z" }),
            "muted_until",
        ),
        (
            json!({ "target_kind": "agent", "target_handle": "bob", "muted_until": "tomorrow" }),
            "muted_until",
        ),
    ] {
        api.post("/v1/mutes", body.to_string())
            .await
            .assert_invalid(&[path]);
    }
    for id in ["conv_1".to_owned(), conversation_id(7).to_string()] {
        let body = json!({ "target_kind": "conversation", "target_id": id });
        let answer = api.post("/v1/mutes", body.to_string()).await;
        assert_eq!(answer.code(), "CONVERSATION_NOT_FOUND");
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn mutes_are_listed_by_kind_and_found_one_by_one() {
    let api = Api::new();
    let id = conversation_id(1);
    for target in [
        MuteTarget::Agent("bob".parse().unwrap()),
        MuteTarget::Conversation(id),
    ] {
        api.backend.mutes.lock().unwrap().push(Mute {
            target,
            until: None,
            created_at: NOW,
        });
    }
    let (agent, talk) = (
        entry("agent", "bob", None),
        entry("conversation", &id.to_string(), None),
    );
    let all = json!({ "mutes": [agent, talk] });
    assert_eq!(api.get("/v1/mutes").await.json(), all);
    assert_eq!(
        api.get("/v1/mutes?kind=agent").await.json(),
        json!({ "mutes": [agent] })
    );
    assert_eq!(
        api.get("/v1/mutes?kind=conversation").await.json(),
        json!({ "mutes": [talk] })
    );
    api.get("/v1/mutes?kind=all")
        .await
        .assert_invalid(&["query", "kind"]);
    assert_eq!(api.get("/v1/mutes/agent/%40bob").await.json(), agent);
    assert_eq!(
        api.get(&format!("/v1/mutes/conversation/{id}")).await.json(),
        talk
    );
}

#[tokio::test]
async fn what_is_not_muted_is_404() {
    let api = Api::new();
    let talk = format!("/v1/mutes/conversation/{}", conversation_id(1));
    for path in ["/v1/mutes/agent/bob", &talk] {
        assert_eq!(api.get(path).await.code(), "NOT_MUTED");
        assert_eq!(api.bare("DELETE", path).await.json(), json!({ "ok": true }));
    }
    api.backend.refuses(Refusal::NotMuted);
    for path in ["/v1/mutes/agent/bob", &talk] {
        let answer = api.bare("DELETE", path).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "NOT_MUTED"));
    }
    assert_eq!(api.get("/v1/mutes/conversation/x").await.status, 404);
    assert_eq!(api.get("/v1/mutes/agent/x").await.status, 404);
}
