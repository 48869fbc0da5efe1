use serde_json::json;

use super::*;
use crate::{
    api::testing::{Api, NOW},
    model::Refusal,
};

fn bob(status: PresenceStatus) -> PeerPresence {
    PeerPresence {
        handle: "bob".parse().unwrap(),
        status,
        custom_message: Some("in a call".into()),
        last_seen: Some(NOW),
    }
}

#[tokio::test]
async fn presence_of_one_agent() {
    let api = Api::new();
    api.backend
        .answers(|_| Ok(Reply::Presences(vec![bob(PresenceStatus::Busy)])));
    let expected = json!({
        "handle": "bob",
        "status": "busy",
        "custom_message": "in a call",
        "last_seen": "2026-11-22T17:39:08.007Z",
    });
    assert_eq!(api.get("/v1/presence/%40Bob").await.json(), expected);
    assert!(matches!(api.backend.command(), Command::Presences(handles) if handles[0].as_str() == "bob"));
}

#[tokio::test]
async fn presence_of_nobody_is_404_and_without_a_relay_503() {
    let api = Api::new();
    api.backend.answers(|_| Ok(Reply::Presences(Vec::new())));
    for path in ["/v1/presence/nobody", "/v1/presence/no_handle"] {
        assert_eq!(api.get(path).await.code(), "AGENT_NOT_FOUND", "{path}");
    }
    api.backend.refuses(Refusal::RelayUnreachable { queued: false });
    assert_eq!(api.get("/v1/presence/bob").await.code(), "RELAY_UNREACHABLE");
}

#[tokio::test]
async fn own_presence_is_set_with_either_spelling() {
    for (body, status, text) in [
        (json!({"status": "online"}), PresenceStatus::Online, None),
        (
            json!({"status": "busy", "custom_message": "in a call"}),
            PresenceStatus::Busy,
            Some("in a call"),
        ),
        (
            json!({"status": "offline", "custom_status": "gone"}),
            PresenceStatus::Offline,
            Some("gone"),
        ),
        (
            json!({"status": "busy", "custom_message": null}),
            PresenceStatus::Busy,
            None,
        ),
    ] {
        let api = Api::new();
        api.backend
            .answers(move |_| Ok(Reply::Presences(vec![bob(status)])));
        let answer = api.json("PUT", "/v1/presence", body.to_string()).await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (200, &json!(status.name()))
        );
        let Command::SetPresence(set, said) = api.backend.command() else {
            panic!("not set");
        };
        assert_eq!((set, said.as_deref()), (status, text));
    }
}

#[tokio::test]
async fn malformed_own_presence_is_refused() {
    let api = Api::new();
    for body in [
        json!({}),
        json!({"status": "away"}),
        json!({"status": 1}),
        json!({"status": "busy", "custom_message": 1}),
        json!({"status": "busy", "custom_message": "t".repeat(201)}),
    ] {
        let answer = api.json("PUT", "/v1/presence", body.to_string()).await;
        assert_eq!(answer.code(), "VALIDATION_ERROR", "{body}");
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
    let longest = json!({"status": "busy", "custom_message": "ü".repeat(200)});
    api.backend
        .answers(|_| Ok(Reply::Presences(vec![bob(PresenceStatus::Busy)])));
    assert_eq!(
        api.json("PUT", "/v1/presence", longest.to_string()).await.status,
        200
    );
}

#[tokio::test]
async fn batch_asks_once_and_passes_names_over_that_nobody_can_have() {
    let api = Api::new();
    api.backend
        .answers(|_| Ok(Reply::Presences(vec![bob(PresenceStatus::Offline)])));
    let body = json!({"handles": ["@bob", "no_handle", "carol"]});
    let answer = api.post("/v1/presence/batch", body.to_string()).await.json();
    assert_eq!(answer["presences"][0]["status"], "offline");
    let Command::Presences(handles) = api.backend.command() else {
        panic!("nobody was asked about");
    };
    assert_eq!(handles, ["bob".parse().unwrap(), "carol".parse().unwrap()]);
}

#[tokio::test]
async fn malformed_batch_is_refused() {
    let api = Api::new();
    let many = vec!["bob"; 101];
    for body in [
        json!({}),
        json!({"handles": "bob"}),
        json!({"handles": [1]}),
        json!({ "handles": many }),
    ] {
        let answer = api.post("/v1/presence/batch", body.to_string()).await;
        assert_eq!(answer.code(), "VALIDATION_ERROR", "{body}");
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}
