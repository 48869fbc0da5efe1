use serde_json::json;

use super::*;
use crate::{
    api::testing::{Api, fingerprint, peer},
    model::Refusal,
};

#[tokio::test]
async fn me_is_the_own_record_and_wins_over_a_handle() {
    let api = Api::new();
    let answer = api.get("/v1/agents/me").await;
    assert_eq!(
        answer.json(),
        json!({
            "id": format!("agt_{}", "ab".repeat(16)),
            "handle": "alice",
            "email": "",
            "display_name": null,
            "description": null,
            "avatar_url": null,
            "is_system": false,
            "status": "active",
            "paused_by_owner": "none",
            "settings": { "inbox_mode": "contacts_only", "group_invite_policy": "open", "listed": false },
            "fingerprint": fingerprint(1).to_string(),
            "code": format!("waxwire:v1:{}:alice:{}", api.state.me().relay, fingerprint(1)),
            "created_at": "2026-11-22T17:39:08.007Z",
            "updated_at": "2026-11-22T17:39:08.007Z",
        })
    );
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn profile_takes_every_spelling_of_a_handle() {
    for path in ["bob", "@bob", "%40bob", "%40Bob", "BOB"] {
        let api = Api::new();
        let answer = api.get(&format!("/v1/agents/{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        let body = answer.json();
        assert_eq!(
            (&body["handle"], &body["status"]),
            (&json!("bob"), &json!("active"))
        );
        assert_eq!(body["created_at"], "2026-11-22T17:39:08.007Z");
        let commands = api.backend.commands.lock().unwrap();
        assert!(matches!(
            commands.as_slice(),
            [Command::LookUp(address), Command::Contact(ContactCommand::Profile(handle))]
                if address.handle.as_str() == "bob" && handle.as_str() == "bob"
        ));
        assert_eq!(body["display_name"], "Bob");
    }
    let api = Api::new();
    assert_eq!(api.get("/v1/agents/%40alice").await.json()["handle"], "alice");
    assert!(
        api.backend.commands.lock().unwrap().is_empty(),
        "nobody looks itself up"
    );
    let path = format!("/v1/agents/bob%23{}", fingerprint(2));
    assert_eq!(api.get(&path).await.status, 200);
    let commands = api.backend.commands.lock().unwrap();
    assert!(matches!(&commands[0], Command::LookUp(address) if address.fingerprint == Some(fingerprint(2))));
}

#[tokio::test]
async fn update_sets_what_is_there_and_answers_the_own_record() {
    let api = Api::new();
    let body = json!({
        "display_name": "Alice", "description": "",
        "settings": { "inbox_mode": "contacts_only", "group_invite_policy": "contacts_only", "listed": true },
    });
    let answer = api.json("PATCH", "/v1/agents/%40Alice", body.to_string()).await;
    assert_eq!((answer.status, &answer.json()["handle"]), (200, &json!("alice")));
    let Command::Contact(ContactCommand::SetProfile(change)) = api.backend.command() else {
        panic!("not set");
    };
    let expected = OwnProfileChange {
        display_name: Some("Alice".to_owned()),
        description: Some(String::new()),
        listed: Some(true),
        inbox_mode: Some(InboxMode::ContactsOnly),
        invite_policy: Some(InvitePolicy::ContactsOnly),
    };
    assert_eq!(*change, expected);
    let api = Api::new();
    api.json(
        "PATCH",
        "/v1/agents/alice",
        r#"{"settings":null,"display_name":null}"#,
    )
    .await;
    assert!(matches!(
        api.backend.command(),
        Command::Contact(ContactCommand::SetProfile(change)) if *change == OwnProfileChange::default()
    ));
}

#[tokio::test]
async fn update_refuses_other_agents_and_what_breaks_a_rule() {
    let api = Api::new();
    let answer = api.json("PATCH", "/v1/agents/bob", "{}").await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "FORBIDDEN"));
    let patch = async |body: serde_json::Value| api.json("PATCH", "/v1/agents/alice", body.to_string()).await;
    for (name, max) in [
        ("display_name", limits::DISPLAY_NAME),
        ("description", limits::DESCRIPTION),
    ] {
        let long = json!({ name: "é".repeat(max + 1) });
        patch(long).await.assert_limit(name, max, Some(max + 1));
        for bad in [json!(" "), json!("a\u{202e}b"), json!("a\u{0}b"), json!(7)] {
            patch(json!({ name: bad })).await.assert_invalid(&[name]);
        }
    }
    patch(json!({ "settings": [] }))
        .await
        .assert_invalid(&["settings"]);
    for name in ["inbox_mode", "group_invite_policy"] {
        let answer = patch(json!({ "settings": { name: "token" } })).await;
        answer.assert_invalid(&["settings", name]);
    }
    patch(json!({ "settings": { "listed": "yes" } }))
        .await
        .assert_invalid(&["settings", "listed"]);
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn names_that_nobody_can_have_are_404() {
    let api = Api::new();
    for name in [
        "x",
        "not_a_handle",
        "%40",
        "%40%40bob",
        "%20bob",
        "%00",
        "b%C3%B6b",
        "..%2f..%2fetc",
    ] {
        for rest in ["", "/identity"] {
            let answer = api.get(&format!("/v1/agents/{name}{rest}")).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (404, "AGENT_NOT_FOUND"),
                "{name}{rest}"
            );
        }
    }
    api.get("/v1/agents/bob%2312").await.assert_invalid(&["handle"]);
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn identity_is_what_people_compare() {
    let api = Api::new();
    let expected = json!({
        "handle": "bob",
        "fingerprint": fingerprint(2).to_string(),
        "safety_number": peer().safety_number,
        "code": format!("waxwire:v1:{}:bob:{}", api.state.me().relay, fingerprint(2)),
        "state": "pinned",
        "key_number": 7,
        "not_after": "2026-11-22T17:39:08.007Z",
        "changed": null,
        "former": [],
    });
    assert_eq!(api.get("/v1/agents/bob/identity").await.json(), expected);
    let mismatch = Refusal::FingerprintMismatch {
        handle: "bob".parse().unwrap(),
        actual: fingerprint(3),
    };
    api.backend.refuses(mismatch);
    let answer = api.get("/v1/agents/bob/identity").await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (409, "FINGERPRINT_MISMATCH")
    );
    api.backend.refuses(Refusal::RelayUnreachable { queued: false });
    let answer = api.get("/v1/agents/bob/identity").await;
    assert_eq!(
        (answer.status, &answer.json()["details"]),
        (503, &json!({ "queued": false }))
    );
}

#[tokio::test]
async fn trust_reaches_the_engine() {
    for (name, decision) in [
        ("verified", TrustDecision::Verified),
        ("pinned", TrustDecision::Pinned),
        ("blocked", TrustDecision::Blocked),
    ] {
        let api = Api::new();
        let spaced = fingerprint(2).to_string().to_uppercase();
        let body = json!({ "state": name, "fingerprint": spaced }).to_string();
        let answer = api.json("PUT", "/v1/agents/@bob/trust", body).await;
        assert_eq!((answer.status, &answer.json()["handle"]), (200, &json!("bob")));
        match api.backend.command() {
            Command::SetTrust(handle, set, key, resend) => {
                assert_eq!(
                    (handle.as_str(), set, key, resend),
                    ("bob", decision, fingerprint(2), false)
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn trust_says_whether_what_is_pending_is_sent_again() {
    let api = Api::new();
    let body =
        json!({ "state": "pinned", "fingerprint": fingerprint(2).to_string(), "resend_pending": true });
    let answer = api.json("PUT", "/v1/agents/bob/trust", body.to_string()).await;
    assert_eq!(answer.status, 200);
    assert!(matches!(api.backend.command(), Command::SetTrust(_, _, _, true)));
    let body = json!({ "state": "pinned", "fingerprint": fingerprint(2).to_string(), "resend_pending": 1 });
    api.json("PUT", "/v1/agents/bob/trust", body.to_string())
        .await
        .assert_invalid(&["resend_pending"]);
}

#[tokio::test]
async fn trust_refuses_wrong_bodies() {
    let api = Api::new();
    let key = fingerprint(2).to_string();
    for (body, field) in [
        (json!({}), "state"),
        (json!({ "state": "new", "fingerprint": key }), "state"),
        (json!({ "state": "Verified", "fingerprint": key }), "state"),
        (json!({ "state": 1, "fingerprint": key }), "state"),
        (json!({ "state": "pinned" }), "fingerprint"),
        (json!({ "state": "pinned", "fingerprint": null }), "fingerprint"),
        (json!({ "state": "pinned", "fingerprint": "12" }), "fingerprint"),
        (
            json!({ "state": "pinned", "fingerprint": format!("{key}0") }),
            "fingerprint",
        ),
    ] {
        api.json("PUT", "/v1/agents/bob/trust", body.to_string())
            .await
            .assert_invalid(&[field]);
    }
    let other = format!("/v1/agents/bob%23{}/trust", fingerprint(3));
    let body = json!({ "state": "pinned", "fingerprint": key }).to_string();
    api.json("PUT", &other, body.clone())
        .await
        .assert_invalid(&["fingerprint"]);
    assert_eq!(
        api.json("PUT", "/v1/agents/x_y/trust", body).await.code(),
        "AGENT_NOT_FOUND"
    );
    assert_eq!(api.bare("PUT", "/v1/agents/bob/trust").await.status, 400);
    assert!(api.backend.commands.lock().unwrap().is_empty());
}
