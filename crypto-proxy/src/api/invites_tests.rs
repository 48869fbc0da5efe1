use serde_json::json;
use waxwire_shared::ids::GroupId;

use super::*;
use crate::{
    api::testing::{Api, NOW, group_id},
    model::{InviteId, Refusal},
};

const ID: InviteId = InviteId([0xab; 16]);

#[tokio::test]
async fn invites_are_a_bare_list() {
    let api = Api::new();
    assert_eq!(api.get("/v1/groups/invites").await.json(), json!([]));
    let invitation = Invitation {
        id: ID,
        group: group_id(1),
        group_id: GroupId::from_bytes([1; 32]),
        name: "Freight".to_owned(),
        inviter: "bob".parse().unwrap(),
        received_at: NOW,
    };
    api.backend.invitations.lock().unwrap().push(invitation);
    let expected = json!([{
        "id": format!("inv_{}", "ab".repeat(16)),
        "group_id": group_id(1).to_string(),
        "group_name": "Freight",
        "group_description": null,
        "group_avatar_url": null,
        "group_member_count": 0,
        "inviter_handle": "bob",
        "created_at": "2026-11-22T17:39:08.007Z",
    }]);
    assert_eq!(api.get("/v1/groups/invites").await.json(), expected);
}

#[tokio::test]
async fn accept_answers_with_the_group() {
    let api = Api::new();
    let answer = api.bare("POST", &format!("/v1/groups/invites/{ID}/accept")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["id"], group_id(1).to_string());
    assert!(matches!(api.backend.group_command(), GroupCommand::Accept(id) if id == ID));
}

#[tokio::test]
async fn reject_reaches_the_engine() {
    let api = Api::new();
    let answer = api.bare("DELETE", &format!("/v1/groups/invites/{ID}")).await;
    assert_eq!((answer.status, &answer.json()["ok"]), (200, &json!(true)));
    assert!(matches!(api.backend.group_command(), GroupCommand::Reject(id) if id == ID));
}

#[tokio::test]
async fn unknown_invites_are_404() {
    let api = Api::new();
    for id in ["x", "inv_", "grp_1", "inv_%00", &ID.to_string().to_uppercase()] {
        for (method, rest) in [("POST", "/accept"), ("DELETE", "")] {
            let answer = api.bare(method, &format!("/v1/groups/invites/{id}{rest}")).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (404, "INVITE_NOT_FOUND"),
                "{id}"
            );
        }
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
    api.backend.refuses(Refusal::InviteNotFound);
    let answer = api.bare("POST", &format!("/v1/groups/invites/{ID}/accept")).await;
    assert_eq!(answer.code(), "INVITE_NOT_FOUND");
}
