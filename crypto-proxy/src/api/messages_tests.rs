use serde_json::{Value, json};

use super::*;
use crate::{
    api::testing::{Api, fingerprint, message},
    model::{MessageId, Refusal, Sent},
};

fn body(changes: Value) -> String {
    let mut body = json!({ "to": "bob", "client_msg_id": "c-1", "content": { "text": "hello" } });
    for (key, value) in changes.as_object().unwrap() {
        body[key] = value.clone();
    }
    body.to_string()
}

#[tokio::test]
async fn send_answers_201_with_the_message() {
    let api = Api::new();
    let answer = api.post("/v1/messages", body(json!({}))).await;
    assert_eq!(answer.status, 201);
    let expected = json!({
        "id": MessageId([1; 16]).to_string(),
        "conversation_id": "conv_01010101010101010101010101010101",
        "sender": "alice",
        "client_msg_id": "c-1",
        "seq": 1,
        "type": "text",
        "message_type": "text",
        "content": { "text": "hello" },
        "metadata": {},
        "reply_to": null,
        "context": {
            "sender": { "handle": "alice", "display_name": null, "kind": "agent" },
            "conversation": { "type": "direct", "group_name": null, "member_count": null },
            "mentions": [],
        },
        "status": "stored",
        "created_at": "2026-11-22T17:39:08.007Z",
        "delivered_at": null,
        "read_at": null,
        "expires_at": null,
        "security": {
            "verified": true,
            "sender_fingerprint": fingerprint(2).to_string(),
            "trust": "pinned",
            "gap": null,
            "broadcast": false,
        },
        "encryption_metadata": { "scheme": "nacl-sealedbox", "key_type": "direct" },
    });
    assert_eq!(answer.json(), expected);
    let sent = api.backend.sent();
    assert_eq!(sent.to, Destination::Peer("bob".parse().unwrap()));
    assert_eq!(
        (sent.client_msg_id.as_str(), sent.message_type.as_str()),
        ("c-1", "text")
    );
    assert_eq!(
        (sent.content.as_str(), sent.metadata),
        (r#"{"text":"hello"}"#, None)
    );
}

#[tokio::test]
async fn send_again_answers_200() {
    let api = Api::new();
    api.backend.answers(|_| {
        Ok(Reply::Sent(Box::new(Sent {
            message: message(1),
            repeated: true,
            earlier: false,
            backlog: None,
            skipped: Vec::new(),
        })))
    });
    let answer = api.post("/v1/messages", body(json!({}))).await;
    assert_eq!((answer.status, answer.json().get("sent_earlier")), (200, None));
    api.backend.answers(|_| {
        Ok(Reply::Sent(Box::new(Sent {
            message: message(1),
            repeated: true,
            earlier: true,
            backlog: None,
            skipped: Vec::new(),
        })))
    });
    let answer = api.post("/v1/messages", body(json!({}))).await;
    assert_eq!(
        (answer.status, &answer.json()["sent_earlier"]),
        (200, &json!(true))
    );
}

#[tokio::test]
async fn send_takes_every_spelling_of_a_recipient() {
    let key = fingerprint(2);
    for (to, with) in [
        ("bob".to_owned(), None),
        ("@bob".to_owned(), None),
        ("@Bob".to_owned(), None),
        (format!("bob#{key}"), Some(key)),
        (format!("@BOB#{}", key.to_string().to_uppercase()), Some(key)),
    ] {
        let api = Api::new();
        let answer = api.post("/v1/messages", body(json!({ "to": to }))).await;
        assert_eq!(answer.status, 201, "{to}");
        let expected = waxwire_shared::fingerprint::Address {
            handle: "bob".parse().unwrap(),
            fingerprint: with,
        };
        assert_eq!(api.backend.sent().to, Destination::Peer(expected));
    }
    for kind in ["conv", "grp"] {
        let api = Api::new();
        let id = format!("{kind}_00112233445566778899aabbccddeeff");
        let text = body(json!({ "to": null, "conversation_id": id }));
        assert_eq!(api.post("/v1/messages", text).await.status, 201);
        let to = Destination::Conversation(id.parse().unwrap());
        assert_eq!(api.backend.sent().to, to);
    }
}

#[tokio::test]
async fn send_refuses_wrong_fields_by_name() {
    let api = Api::new();
    let cases = [
        (json!({ "to": null }), vec!["to"]),
        (
            json!({ "conversation_id": "conv_00112233445566778899aabbccddeeff" }),
            vec!["to"],
        ),
        (json!({ "to": "" }), vec!["to"]),
        (json!({ "to": "@" }), vec!["to"]),
        (json!({ "to": "not_a_handle" }), vec!["to"]),
        (json!({ "to": "bob#12" }), vec!["to"]),
        (json!({ "to": ["bob"] }), vec!["to"]),
        (json!({ "to": 1 }), vec!["to"]),
        (json!({ "client_msg_id": null }), vec!["client_msg_id"]),
        (json!({ "client_msg_id": "" }), vec!["client_msg_id"]),
        (json!({ "client_msg_id": 7 }), vec!["client_msg_id"]),
        (json!({ "type": "system" }), vec!["type"]),
        (json!({ "type": "System" }), vec!["type"]),
        (json!({ "type": "" }), vec!["type"]),
        (json!({ "type": "1a" }), vec!["type"]),
        (json!({ "type": "a b" }), vec!["type"]),
        (json!({ "type": "a\u{e9}" }), vec!["type"]),
        (json!({ "type": format!("a{}", "b".repeat(32)) }), vec!["type"]),
        (json!({ "content": null }), vec!["content"]),
        (json!({ "content": 1 }), vec!["content"]),
        (json!({ "content": ["a"] }), vec!["content"]),
        (json!({ "content": true }), vec!["content"]),
        (json!({ "content": {} }), vec!["content"]),
        (json!({ "content": { "foo": 1 } }), vec!["content"]),
        (json!({ "content": { "text": null } }), vec!["content"]),
        (json!({ "content": { "text": 1 } }), vec!["content", "text"]),
        (json!({ "content": { "data": [] } }), vec!["content", "data"]),
        (
            json!({ "content": { "text": "a", "data": "b" } }),
            vec!["content", "data"],
        ),
        (
            json!({ "content": { "attachment_id": {} } }),
            vec!["content", "attachment_id"],
        ),
        (
            json!({ "content": { "text": "a", "attachment_id": 5 } }),
            vec!["content", "attachment_id"],
        ),
        (json!({ "metadata": "a" }), vec!["metadata"]),
        (json!({ "metadata": [] }), vec!["metadata"]),
        (json!({ "reply_to": {} }), vec!["reply_to"]),
        (json!({ "expires_at": "tomorrow" }), vec!["expires_at"]),
        (json!({ "expires_at": 1_795_369_148 }), vec!["expires_at"]),
    ];
    for (changes, path) in cases {
        let answer = api.post("/v1/messages", body(changes.clone())).await;
        assert_eq!(answer.status, 400, "{changes}: {answer:?}");
        answer.assert_invalid(&path);
    }
    let no_such = body(json!({ "to": null, "conversation_id": "the one with bob" }));
    assert_eq!(
        api.post("/v1/messages", no_such).await.code(),
        "CONVERSATION_NOT_FOUND"
    );
    let no_such = body(json!({ "reply_to": "1" }));
    assert_eq!(
        api.post("/v1/messages", no_such).await.code(),
        "MESSAGE_NOT_FOUND"
    );
    let no_such = body(json!({ "content": { "attachment_id": "att_1" } }));
    assert_eq!(
        api.post("/v1/messages", no_such).await.code(),
        "ATTACHMENT_NOT_FOUND"
    );
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn send_cites_an_attachment_and_is_then_a_file() {
    let id = format!("att_{}", "0a".repeat(16));
    for (kind, expected) in [(json!(null), "file"), (json!("report"), "report")] {
        let api = Api::new();
        let changes = json!({ "content": { "attachment_id": id, "text": "see" }, "type": kind });
        assert_eq!(api.post("/v1/messages", body(changes)).await.status, 201);
        let sent = api.backend.sent();
        assert_eq!(sent.attachment, Some(id.parse().unwrap()));
        assert_eq!(sent.message_type, expected);
    }
}

#[tokio::test]
async fn send_refuses_what_is_not_json() {
    let api = Api::new();
    for bad in [
        "",
        "null",
        "[]",
        "\"text\"",
        "{",
        "{\"to\":\"bob\"",
        "{'to':'bob'}",
        r#"{"to":"bob","client_msg_id":"c","content":{"data":{"x":NaN}}}"#,
        r#"{"to":"bob","client_msg_id":"c","content":{"data":{"x":Infinity}}}"#,
        r#"{"to":"bob","client_msg_id":"c","content":{"data":{"x":-Infinity}}}"#,
        r#"{"to":"bob","client_msg_id":"c","content":{"data":{"x":01}}}"#,
        r#"{"to":"bob","client_msg_id":"c","content":{"text":"\ud800"}}"#,
        r#"{"to":"bob","client_msg_id":"c","content":{"text":"\udc00\ud800"}}"#,
        r#"{"to":"bob","client_msg_id":"c","content":{"text":"a"}} {}"#,
        "{\"to\":\"bob\",\"client_msg_id\":\"c\",\"content\":{\"text\":\"\n\"}}",
    ] {
        api.post("/v1/messages", bad).await.assert_invalid(&[]);
    }
    api.post("/v1/messages", vec![b'{', b'"', 0xff, b'"', b'}'])
        .await
        .assert_invalid(&[]);
    for twice in [
        r#"{"to":"bob","to":"eve","client_msg_id":"c","content":"a"}"#,
        r#"{"to":"bob","\u0074o":"eve","client_msg_id":"c","content":"a"}"#,
    ] {
        api.post("/v1/messages", twice).await.assert_invalid(&["to"]);
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

/// Neither numbers nor keys nor text of any plane change on their way through.
#[tokio::test]
async fn content_is_carried_verbatim() {
    let planes = "a\u{7f}\u{80}é\u{7ff}\u{800}\u{2028}\u{feff}\u{fffd}\u{ffff}\u{10000}😀\u{1f9ff}\u{2f800}\u{e0041}\u{f0000}\u{10ffff}";
    let escaped: String = planes
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    for text in [planes, escaped.as_str()] {
        let api = Api::new();
        let content = format!(
            r#" {{ "text" : "{text}" , "data":{{"n":1.10, "big":123456789012345678901234567890,"e":1E400,"neg":-0.0,"k":1,"k":2, "":[ ]}} }} "#
        );
        let body = format!(r#"{{"to":"bob","client_msg_id":"c","content":{content}}}"#);
        let answer = api.post("/v1/messages", body).await;
        let expected = format!(
            r#"{{"text":"{planes}","data":{{"n":1.10,"big":123456789012345678901234567890,"e":1E400,"neg":-0.0,"k":1,"k":2,"":[]}}}}"#
        );
        assert_eq!(api.backend.sent().content, expected);
        assert!(
            answer.text.contains(&format!("\"content\":{expected},")),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_bare_string_is_text() {
    let api = Api::new();
    let answer = api
        .post("/v1/messages", body(json!({ "content": "a \"quoted\" \n 😀" })))
        .await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["content"], json!({ "text": "a \"quoted\" \n 😀" }));
    let extra = json!({ "content": { "type": "text", "text": "t" }, "future_field": { "x": 1 } });
    let answer = Api::new().post("/v1/messages", body(extra)).await;
    assert_eq!(answer.json()["content"], json!({ "type": "text", "text": "t" }));
}

#[tokio::test]
async fn optional_fields_reach_the_engine() {
    let api = Api::new();
    let fields = json!({
        "type": "trade.offer-1_a",
        "metadata": { "replyTo": "msg_x", "n": 1 },
        "reply_to": MessageId([7; 16]).to_string(),
        "expires_at": "2026-11-22T19:39:08.5+02:00",
    });
    let answer = api.post("/v1/messages", body(fields)).await;
    let sent = api.backend.sent();
    assert_eq!(sent.message_type, "trade.offer-1_a");
    let metadata: Value = serde_json::from_str(sent.metadata.as_ref().unwrap()).unwrap();
    assert_eq!(metadata, json!({ "replyTo": "msg_x", "n": 1 }));
    assert_eq!(sent.reply_to, Some(MessageId([7; 16])));
    assert_eq!(sent.expires_at, Some(1_795_369_148_500));
    let message = answer.json();
    assert_eq!(
        (&message["type"], &message["message_type"]),
        (&json!("structured"), &json!("trade.offer-1_a"))
    );
    assert_eq!(message["reply_to"], json!(MessageId([7; 16]).to_string()));
    assert_eq!(message["expires_at"], json!("2026-11-22T17:39:08.500Z"));
}

#[tokio::test]
async fn limits_are_exact_and_named() {
    let api = Api::new();
    let scalars = |count: usize, one: &str| body(json!({ "content": { "text": one.repeat(count) } }));
    for one in ["a", "é", "😀", "\n"] {
        assert_eq!(
            api.post("/v1/messages", scalars(10_000, one)).await.status,
            201,
            "{one}"
        );
        let over = api.post("/v1/messages", scalars(10_001, one)).await;
        over.assert_limit("text", 10_000, Some(10_001));
        over.assert_invalid(&["content", "text"]);
    }
    // {"data":{"x":"..."}} is 17 bytes around the text.
    let content = |bytes: usize| body(json!({ "content": { "data": { "x": "y".repeat(bytes - 17) } } }));
    assert_eq!(api.post("/v1/messages", content(49_152)).await.status, 201);
    api.post("/v1/messages", content(49_153))
        .await
        .assert_limit("content", 49_152, Some(49_153));
    // {"x":"..."} is 8 bytes around the text.
    let metadata = |bytes: usize| body(json!({ "metadata": { "x": "y".repeat(bytes - 8) } }));
    assert_eq!(api.post("/v1/messages", metadata(4_096)).await.status, 201);
    api.post("/v1/messages", metadata(4_097))
        .await
        .assert_limit("metadata", 4_096, Some(4_097));
    let id = |count: usize| body(json!({ "client_msg_id": "é".repeat(count) }));
    assert_eq!(api.post("/v1/messages", id(128)).await.status, 201);
    api.post("/v1/messages", id(129))
        .await
        .assert_limit("client_msg_id", 128, Some(129));
    // The limit is on the compact form.
    let spacious = format!(
        r#"{{"to":"bob","client_msg_id":"c","content":{{"text":{}"a"}}}}"#,
        " ".repeat(100_000)
    );
    assert_eq!(api.post("/v1/messages", spacious).await.status, 201);
    // A text that is repeated is measured each time.
    let twice = format!(
        r#"{{"to":"bob","client_msg_id":"c","content":{{"text":"{}","text":"a"}}}}"#,
        "a".repeat(10_001)
    );
    api.post("/v1/messages", twice)
        .await
        .assert_limit("text", 10_000, Some(10_001));
}

#[tokio::test]
async fn hostile_documents_are_refused() {
    let api = Api::new();
    let data =
        |value: String| format!(r#"{{"to":"bob","client_msg_id":"c","content":{{"data":{{"x":{value}}}}}}}"#);
    let deep = data(format!("{}{}", "[".repeat(200), "]".repeat(200)));
    api.post("/v1/messages", deep)
        .await
        .assert_limit("depth", crate::json::DEPTH, None);
    let long = data("9".repeat(5_000));
    api.post("/v1/messages", long)
        .await
        .assert_limit("number", crate::json::NUMBER, Some(5_000));
    let max = 512 * 1024;
    let body = |length: usize| {
        let text = r#"{"to":"bob","client_msg_id":"c","content":"a"}"#;
        format!("{text}{}", " ".repeat(length - text.len()))
    };
    assert_eq!(api.post("/v1/messages", body(max)).await.status, 201);
    api.post("/v1/messages", body(max + 1))
        .await
        .assert_limit("body", max, Some(max + 1));
}

#[tokio::test]
async fn refusals_of_the_engine_have_their_codes() {
    let api = Api::new();
    for (refusal, status, code) in [
        (Refusal::AgentNotFound, 404, "AGENT_NOT_FOUND"),
        (Refusal::Blocked, 403, "BLOCKED"),
        (Refusal::FingerprintRequired, 400, "VALIDATION_ERROR"),
        (
            Refusal::IdentityChanged {
                handle: "bob".parse().unwrap(),
                pinned: fingerprint(1),
                shown: fingerprint(2),
                proven: false,
            },
            409,
            "IDENTITY_CHANGED",
        ),
        (Refusal::RateLimited { retry_after: 9 }, 429, "RATE_LIMITED"),
        (
            Refusal::RelayUnreachable { queued: true },
            503,
            "RELAY_UNREACHABLE",
        ),
        (Refusal::Stopping, 503, "STOPPING"),
    ] {
        api.backend.refuses(refusal);
        let answer = api.post("/v1/messages", body(json!({}))).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert_eq!(
            answer.headers.contains_key("retry-after"),
            matches!(status, 429 | 503)
        );
    }
}

#[tokio::test]
async fn read_answers_the_message_and_needs_no_body() {
    let api = Api::new();
    let id = MessageId([1; 16]);
    api.backend.messages.lock().unwrap().push(message(1));
    let answer = api.bare("POST", &format!("/v1/messages/{id}/read")).await;
    assert_eq!(
        (answer.status, answer.json()["id"].as_str().unwrap()),
        (200, id.to_string().as_str())
    );
    assert!(answer.json().get("delivery_id").is_none());
    assert!(matches!(api.backend.command(), Command::MarkRead(read) if read == id));

    api.backend.refuses(Refusal::MessageNotFound);
    let answer = api.bare("POST", &format!("/v1/messages/{id}/read")).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (404, "MESSAGE_NOT_FOUND")
    );
}

#[tokio::test]
async fn delete_hides() {
    let api = Api::new();
    let id = MessageId([1; 16]);
    let answer = api.bare("DELETE", &format!("/v1/messages/{id}")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.json()["message"].is_string());
    assert!(matches!(api.backend.command(), Command::Delete(hidden) if hidden == id));
}

#[tokio::test]
async fn ids_that_are_none_name_nothing() {
    let api = Api::new();
    for id in [
        "x",
        "msg_",
        "msg_00",
        "MSG_00112233445566778899aabbccddeeff",
        "%00",
        "..%2f..",
        "%F0%9F%98%80",
    ] {
        for (method, path) in [
            ("DELETE", format!("/v1/messages/{id}")),
            ("POST", format!("/v1/messages/{id}/read")),
        ] {
            let answer = api.bare(method, &path).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (404, "MESSAGE_NOT_FOUND"),
                "{path}"
            );
        }
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}
