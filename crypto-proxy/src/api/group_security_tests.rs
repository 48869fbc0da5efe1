use serde_json::{Value, json};
use waxwire_shared::{hash::sha256, wire::Role};

use super::*;
use crate::{
    api::testing::{Api, NOW, group, group_id},
    model::{GroupLookup, Trust},
};

fn security() -> GroupSecurity {
    let member = |handle: &str, trust: Trust, confirmed_epoch: Option<u64>| GroupMember {
        handle: handle.parse().unwrap(),
        role: Role::Member,
        joined_at: NOW,
        trust,
        confirmed_epoch,
    };
    GroupSecurity {
        epoch: 7,
        roster_head: sha256(b"head"),
        roster_length: 12,
        members: vec![
            member("alice", Trust::Verified, Some(7)),
            member("bob", Trust::New, None),
        ],
        debt: None,
        confidential_from_relay: true,
        forked: false,
        confirmation: Confirmation::default(),
        unconfirmed: Vec::new(),
    }
}

fn with(security: GroupSecurity) -> Api {
    let api = Api::new();
    let lookup = GroupLookup::Member(Box::new(group(1)));
    api.backend.groups.lock().unwrap().push(lookup);
    let securities = &api.backend.securities;
    securities.lock().unwrap().push((group_id(1), security));
    api
}

fn path(rest: &str) -> String {
    format!("/v1/groups/{}/{rest}", group_id(1))
}

#[tokio::test]
async fn security_tells_epoch_log_and_members() {
    let answer = with(security()).get(&path("security")).await;
    let expected = json!({
        "epoch": 7,
        "roster_head": sha256(b"head").to_string(),
        "roster_length": 12,
        "members": [
            { "handle": "alice", "state": "verified", "confirmed_epoch": 7 },
            { "handle": "bob", "state": "new", "confirmed_epoch": null },
        ],
        "debt": null,
        "confidential_from_relay": true,
        "forked": false,
        "confirmation": { "require_confirmed": "nobody", "members": [], "confirm": false, "missing": [] },
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test]
async fn security_tells_what_is_wrong() {
    for (kind, name) in [(DebtKind::Hard, "hard"), (DebtKind::Soft, "soft")] {
        let api = with(GroupSecurity {
            debt: Some((kind, NOW)),
            confidential_from_relay: false,
            forked: true,
            ..security()
        });
        let answer = api.get(&path("security")).await.json();
        let debt = json!({ "kind": name, "since": "2026-11-22T17:39:08.007Z" });
        assert_eq!(answer["debt"], debt);
        assert_eq!(answer["confidential_from_relay"], Value::Bool(false));
        assert_eq!(answer["forked"], Value::Bool(true));
    }
}

#[tokio::test]
async fn group_that_was_just_left_is_404() {
    let api = with(security());
    api.backend.securities.lock().unwrap().clear();
    assert_eq!(api.get(&path("security")).await.code(), "GROUP_NOT_FOUND");
}

#[tokio::test]
async fn rekey_tells_the_new_epoch() {
    let api = with(security());
    let answer = api.bare("POST", &path("rekey")).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "epoch": 8 })));
    assert!(matches!(api.backend.group_command(), GroupCommand::Rekey(id) if id == group_id(1)));
    api.backend.refuses(Refusal::EpochPending { retry_after: 4 });
    let answer = api.bare("POST", &path("rekey")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "EPOCH_PENDING"));
    assert_eq!(answer.header("retry-after"), "4");
}

#[tokio::test]
async fn required_confirmations_are_set_and_shown() {
    let bob: Handle = "bob".parse().unwrap();
    for (body, required, confirms) in [
        (
            json!({ "require_confirmed": "everybody" }),
            Required::Everybody,
            true,
        ),
        (
            json!({ "require_confirmed": "everybody", "confirm": false }),
            Required::Everybody,
            false,
        ),
        (json!({ "require_confirmed": "nobody" }), Required::Nobody, false),
        (
            json!({ "require_confirmed": "nobody", "confirm": true }),
            Required::Nobody,
            true,
        ),
        (
            json!({ "require_confirmed": "listed", "members": ["bob"] }),
            Required::Listed(vec![bob.clone()]),
            true,
        ),
    ] {
        let api = with(security());
        let answer = api.json("PUT", &path("confirmation"), body.to_string()).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        let wanted = Confirmation { required, confirms };
        match api.backend.group_command() {
            GroupCommand::SetConfirmation(id, set) => assert_eq!((id, set), (group_id(1), wanted)),
            other => panic!("{other:?}"),
        }
    }
    let api = with(GroupSecurity {
        confirmation: Confirmation {
            required: Required::Listed(vec![bob.clone()]),
            confirms: true,
        },
        unconfirmed: vec![bob],
        ..security()
    });
    let shown =
        json!({ "require_confirmed": "listed", "members": ["bob"], "confirm": true, "missing": ["bob"] });
    assert_eq!(api.get(&path("security")).await.json()["confirmation"], shown);
}

#[tokio::test]
async fn confirmations_that_make_no_sense_are_refused() {
    let api = with(security());
    let many: Vec<String> = (0..257).map(|n| format!("member-{n}")).collect();
    for body in [
        json!({}),
        json!({ "require_confirmed": "some" }),
        json!({ "require_confirmed": "listed" }),
        json!({ "require_confirmed": "listed", "members": [] }),
        json!({ "require_confirmed": "listed", "members": "bob" }),
        json!({ "require_confirmed": "listed", "members": ["No Handle"] }),
        json!({ "require_confirmed": "listed", "members": many }),
        json!({ "require_confirmed": "everybody", "members": ["bob"] }),
        json!({ "require_confirmed": "everybody", "confirm": "yes" }),
    ] {
        let answer = api.json("PUT", &path("confirmation"), body.to_string()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "VALIDATION_ERROR"),
            "{body}"
        );
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}
