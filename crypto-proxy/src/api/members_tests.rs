use serde_json::{Value, json};

use super::*;
use crate::api::testing::{Api, fingerprint, group_id};

fn path(rest: &str) -> String {
    format!("/v1/groups/{}{rest}", group_id(1))
}

async fn add(api: &Api, body: Value) -> crate::api::testing::Answer {
    api.post(&path("/members"), body.to_string()).await
}

#[tokio::test]
async fn add_invites() {
    let api = Api::new();
    let answer = add(&api, json!({ "handle": format!("@Bob#{}", fingerprint(2)) })).await;
    let expected =
        json!({ "handle": "bob", "outcome": "invited", "invite_id": format!("inv_{}", "05".repeat(16)) });
    assert_eq!((answer.status, answer.json()), (201, expected));
    match api.backend.group_command() {
        GroupCommand::Add(id, whom, None) => {
            assert_eq!((id, whom.handle.as_str()), (group_id(1), "bob"));
            assert_eq!(whom.fingerprint, Some(fingerprint(2)));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn add_of_a_member_is_200_without_an_invite() {
    let api = Api::new();
    api.backend.answers(|_| {
        Ok(Reply::Added(Added {
            handle: "bob".parse().unwrap(),
            outcome: AddOutcome::AlreadyMember,
        }))
    });
    let answer = add(&api, json!({ "handle": "bob" })).await;
    let expected = json!({ "handle": "bob", "outcome": "already_member" });
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test]
async fn add_shares_what_is_asked_for() {
    for (share, expected) in [
        (json!(null), None),
        (json!(false), None),
        (json!(true), Some(HistoryShare::Current)),
        (json!({ "after_seq": 0 }), Some(HistoryShare::AfterSeq(0))),
        (json!({ "after_seq": 17 }), Some(HistoryShare::AfterSeq(17))),
    ] {
        let api = Api::new();
        let answer = add(&api, json!({ "handle": "bob", "share_current": share })).await;
        assert_eq!(answer.status, 201, "{share}");
        let command = api.backend.group_command();
        assert!(
            matches!(command, GroupCommand::Add(_, _, found) if found == expected),
            "{command:?}"
        );
    }
}

#[tokio::test]
async fn add_refuses_what_is_not_clear() {
    let api = Api::new();
    for (body, field) in [
        (json!({}), "handle"),
        (json!({ "handle": null }), "handle"),
        (json!({ "handle": ["bob"] }), "handle"),
        (json!({ "handle": "b_b" }), "handle"),
        (json!({ "handle": "bob#12" }), "handle"),
        (
            json!({ "handle": "bob", "share_current": "yes" }),
            "share_current",
        ),
        (json!({ "handle": "bob", "share_current": 1 }), "share_current"),
        (json!({ "handle": "bob", "share_current": {} }), "share_current"),
        (
            json!({ "handle": "bob", "share_current": { "after_seq": -1 } }),
            "share_current",
        ),
        (
            json!({ "handle": "bob", "share_current": { "after_seq": "1" } }),
            "share_current",
        ),
        (json!({ "handle": "bob", "share_current": [] }), "share_current"),
    ] {
        add(&api, body).await.assert_invalid(&[field]);
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn add_of_nobody_is_404() {
    let api = Api::new();
    api.backend.refuses(Refusal::AgentNotFound);
    let answer = add(&api, json!({ "handle": "bob" })).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "AGENT_NOT_FOUND"));
}

#[tokio::test]
async fn remove_reaches_the_engine() {
    let api = Api::new();
    let answer = api.bare("DELETE", &path("/members/%40Bob")).await;
    assert_eq!((answer.status, &answer.json()["ok"]), (200, &json!(true)));
    let command = api.backend.group_command();
    assert!(
        matches!(&command, GroupCommand::Remove(id, handle) if *id == group_id(1) && handle.as_str() == "bob"),
        "{command:?}"
    );
}

/// The SDKs repeat a DELETE whose answer was lost.
#[tokio::test]
async fn remove_of_no_member_is_200() {
    let api = Api::new();
    api.backend.refuses(Refusal::NotMember);
    let answer = api.bare("DELETE", &path("/members/bob")).await;
    assert_eq!((answer.status, &answer.json()["ok"]), (200, &json!(true)));
    api.backend.refuses(Refusal::NotAdmin);
    assert_eq!(
        api.bare("DELETE", &path("/members/bob")).await.code(),
        "NOT_ADMIN"
    );
}

#[tokio::test]
async fn promote_and_demote_set_the_role() {
    for (act, expected) in [("promote", Role::Admin), ("demote", Role::Member)] {
        let api = Api::new();
        let answer = api.bare("POST", &path(&format!("/members/bob/{act}"))).await;
        assert_eq!(answer.status, 200);
        assert!(answer.json()["message"].is_string());
        let command = api.backend.group_command();
        assert!(
            matches!(&command, GroupCommand::SetRole(id, handle, role)
                if *id == group_id(1) && handle.as_str() == "bob" && *role == expected),
            "{command:?}"
        );
        api.backend.refuses(Refusal::NotMember);
        let answer = api.bare("POST", &path(&format!("/members/bob/{act}"))).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "NOT_MEMBER"));
    }
}

/// A typing error must not be answered like a removal, and a fingerprint not be passed over.
#[tokio::test]
async fn path_names_a_member_by_handle_alone() {
    let api = Api::new();
    for (method, rest) in [("DELETE", ""), ("POST", "/promote"), ("POST", "/demote")] {
        for name in ["b_b", "x", "%40", "%20bob"] {
            let answer = api.bare(method, &path(&format!("/members/{name}{rest}"))).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (404, "NOT_MEMBER"),
                "{name}"
            );
        }
        for name in [format!("bob%23{}", fingerprint(2)), "bob%2312".to_owned()] {
            let answer = api.bare(method, &path(&format!("/members/{name}{rest}"))).await;
            answer.assert_invalid(&["handle"]);
        }
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn leave_tells_who_was_promoted() {
    let api = Api::new();
    let answer = api.bare("POST", &path("/leave")).await;
    assert_eq!(
        (answer.status, &answer.json()["promoted_handle"]),
        (200, &json!("bob"))
    );
    assert!(matches!(api.backend.group_command(), GroupCommand::Leave(id) if id == group_id(1)));
    api.backend.answers(|_| Ok(Reply::Left(None)));
    let answer = api.bare("POST", &path("/leave")).await.json();
    assert_eq!(answer["promoted_handle"], Value::Null);
    assert!(answer["message"].is_string());
}
