use serde_json::json;

use crate::{
    api::testing::{Api, conversation, conversation_id, message},
    engine::Command,
    model::Refusal,
};

fn with_conversations() -> Api {
    let api = Api::new();
    api.backend
        .conversations
        .lock()
        .unwrap()
        .extend((1..=3).map(conversation));
    api
}

#[tokio::test]
async fn conversations_are_a_bare_list() {
    let api = with_conversations();
    let rows = api.get("/v1/conversations").await.json();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert_eq!(
        rows[0],
        json!({
            "id": conversation_id(1).to_string(),
            "type": "direct",
            "participants": [{ "handle": "bob", "display_name": null }],
            "group_name": null,
            "group_avatar_url": null,
            "group_member_count": null,
            "last_message_at": "2026-11-22T17:39:08.007Z",
            "updated_at": "2026-11-22T17:39:08.007Z",
            "is_muted": false,
            "unread_count": 0,
        })
    );
    let rows = api.get("/v1/conversations?limit=1&offset=2").await.json();
    assert_eq!(rows[0]["id"], conversation_id(3).to_string());
    assert_eq!(
        api.get("/v1/conversations?offset=18446744073709551615")
            .await
            .text,
        "[]"
    );
    for query in ["limit=0", "limit=-1", "offset=-1", "offset=x"] {
        assert_eq!(
            api.get(&format!("/v1/conversations?{query}")).await.status,
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn participants_are_the_others() {
    let api = with_conversations();
    let answer = api
        .get(&format!("/v1/conversations/{}/participants", conversation_id(1)))
        .await;
    assert_eq!(answer.json(), json!([{ "handle": "bob", "display_name": null }]));
}

#[tokio::test]
async fn hide_reaches_the_engine() {
    let api = with_conversations();
    let answer = api
        .bare("DELETE", &format!("/v1/conversations/{}", conversation_id(1)))
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "ok": true, "hidden": true }))
    );
    assert!(matches!(api.backend.command(), Command::HideConversation(id) if id == conversation_id(1)));
    api.backend.refuses(Refusal::ConversationNotFound);
    let answer = api
        .bare("DELETE", &format!("/v1/conversations/{}", conversation_id(9)))
        .await;
    assert_eq!(answer.code(), "CONVERSATION_NOT_FOUND");
}

#[tokio::test]
async fn context_tells_the_counterparty_and_what_is_unread() {
    let api = with_conversations();
    let path = format!("/v1/conversations/{}/context", conversation_id(1));
    let nothing = json!({
        "conversation_id": conversation_id(1).to_string(),
        "type": "direct",
        "group": null,
        "counterparty": { "handle": "bob", "display_name": null, "avatar_url": null },
        "relationship": { "is_contact": false, "added_at": null, "note": null },
        "unread": { "count": 0, "oldest_seq": null, "newest_seq": null },
    });
    assert_eq!(api.get(&path).await.json(), nothing);

    api.backend.messages.lock().unwrap().extend((4..=6).map(message));
    api.backend.conversations.lock().unwrap()[0].unread = 3;
    let unread = json!({ "count": 3, "oldest_seq": 4, "newest_seq": 6 });
    assert_eq!(api.get(&path).await.json()["unread"], unread);
}

#[tokio::test]
async fn unknown_conversations_are_404() {
    let api = with_conversations();
    for id in [
        conversation_id(9).to_string(),
        "bob".to_owned(),
        "conv_".to_owned(),
        "%20".to_owned(),
    ] {
        for rest in ["/participants", "/context"] {
            let answer = api.get(&format!("/v1/conversations/{id}{rest}")).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (404, "CONVERSATION_NOT_FOUND"),
                "{id}"
            );
        }
    }
    assert_eq!(
        api.bare("DELETE", "/v1/conversations/x").await.code(),
        "CONVERSATION_NOT_FOUND"
    );
}
