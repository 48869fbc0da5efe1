use serde_json::{Value, json};

use crate::{
    api::testing::{Api, conversation, conversation_id, group, group_id, message},
    engine::Command,
    model::{GroupLookup, MessageGroup, Refusal, Standing},
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
            "group_standing": null,
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

/// A group of alice, bob and carol with messages 4 to 6 from bob and carol, and 7 from alice.
fn with_group() -> Api {
    let api = Api::new();
    let mut row = conversation(1);
    row.id = group_id(1);
    row.participants.push("carol".parse().unwrap());
    row.group = Some(MessageGroup {
        name: Some("Freight".to_owned()),
        members: 3,
    });
    row.standing = Some(Standing::Member);
    row.unread = 3;
    api.backend.conversations.lock().unwrap().push(row);
    let lookup = GroupLookup::Member(Box::new(group(1)));
    api.backend.groups.lock().unwrap().push(lookup);
    let mut messages: Vec<_> = (4..=7).rev().map(message).collect();
    for message in &mut messages {
        message.conversation = group_id(1);
    }
    messages[0].own = true;
    messages[1].sender = "carol".parse().unwrap();
    *api.backend.messages.lock().unwrap() = messages;
    api
}

#[tokio::test]
async fn group_is_a_conversation_with_a_name() {
    let api = with_group();
    let row = api.get("/v1/conversations").await.json()[0].clone();
    assert_eq!(
        (&row["type"], &row["id"]),
        (&json!("group"), &json!(group_id(1).to_string()))
    );
    assert_eq!(row["group_name"], "Freight");
    assert_eq!(row["group_avatar_url"], Value::Null);
    assert_eq!(row["group_member_count"], 3);
    assert_eq!(row["group_standing"], "member");
    let participant = |handle: &str| json!({ "handle": handle, "display_name": null });
    assert_eq!(
        row["participants"],
        json!([participant("bob"), participant("carol")])
    );
    let path = format!("/v1/conversations/{}/participants", group_id(1));
    assert_eq!(api.get(&path).await.json(), row["participants"]);
    for (standing, shown) in [
        (Standing::Entering, "entering"),
        (Standing::Left, "left"),
        (Standing::Removed, "removed"),
        (Standing::Ended, "ended"),
    ] {
        api.backend.conversations.lock().unwrap()[0].standing = Some(standing);
        let rows = api.get("/v1/conversations").await.json();
        assert_eq!(rows[0]["group_standing"], shown);
    }
}

#[tokio::test]
async fn context_of_a_group_tells_the_group_and_what_is_unread() {
    let api = with_group();
    let path = format!("/v1/conversations/{}/context", group_id(1));
    let expected = json!({
        "conversation_id": group_id(1).to_string(),
        "type": "group",
        "group": {
            "name": "Freight", "description": "who carries what", "member_count": 2, "your_role": "admin",
        },
        "counterparty": null,
        "relationship": null,
        "unread": { "count": 3, "oldest_seq": 4, "newest_seq": 6 },
    });
    assert_eq!(api.get(&path).await.json(), expected);

    // More than were looked through.
    api.backend.conversations.lock().unwrap()[0].unread = 900;
    let unread = json!({ "count": 900, "oldest_seq": null, "newest_seq": 6 });
    assert_eq!(api.get(&path).await.json()["unread"], unread);
}

#[tokio::test]
async fn context_of_a_group_that_was_left_has_no_group() {
    let api = with_group();
    api.backend.groups.lock().unwrap().clear();
    api.backend.conversations.lock().unwrap()[0].unread = 0;
    let path = format!("/v1/conversations/{}/context", group_id(1));
    let answer = api.get(&path).await.json();
    assert_eq!(
        (&answer["group"], &answer["counterparty"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        answer["unread"],
        json!({ "count": 0, "oldest_seq": null, "newest_seq": null })
    );
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
