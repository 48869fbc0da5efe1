use serde_json::json;

use super::*;
use crate::{
    api::testing::{Api, NOW, fingerprint, group, group_id},
    model::GroupEnd,
};

const NOW_TEXT: &str = "2026-11-22T17:39:08.007Z";

fn with_group() -> Api {
    let api = Api::new();
    let lookup = GroupLookup::Member(Box::new(group(1)));
    api.backend.groups.lock().unwrap().push(lookup);
    api
}

fn path(rest: &str) -> String {
    format!("/v1/groups/{}{rest}", group_id(1))
}

async fn create(body: Value) -> NewGroup {
    let api = Api::new();
    let answer = api.post("/v1/groups", body.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    match api.backend.group_command() {
        GroupCommand::Create(new) => *new,
        other => panic!("{other:?}"),
    }
}

async fn update(body: Value) -> ProfileChange {
    let api = Api::new();
    let answer = api.json("PATCH", &path(""), body.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    match api.backend.group_command() {
        GroupCommand::Update(id, change) => {
            assert_eq!(id, group_id(1));
            change
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn group_has_all_that_the_sdks_read() {
    let api = with_group();
    let answer = api.get(&path("")).await;
    let member = |handle: &str, role: &str| json!({ "handle": handle, "display_name": null, "role": role, "joined_at": NOW_TEXT });
    let expected = json!({
        "id": group_id(1).to_string(),
        "name": "Freight",
        "description": "who carries what",
        "avatar_url": null,
        "created_by": "alice",
        "settings": { "who_can_invite": "admin" },
        "member_count": 2,
        "created_at": NOW_TEXT,
        "last_message_at": NOW_TEXT,
        "members": [member("alice", "admin"), member("bob", "member")],
        "your_role": "admin",
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test]
async fn create_founds_and_invites() {
    let api = Api::new();
    let body = json!({
        "name": "Grain", "description": "wheat", "avatar_url": "https://x.example/a.png",
        "member_handles": ["@Bob", "carol"], "settings": { "who_can_invite": "admin" },
    });
    let answer = api.post("/v1/groups", body.to_string()).await;
    assert_eq!(answer.status, 201);
    let answer = answer.json();
    assert_eq!(answer["group"]["name"], "Grain");
    assert_eq!(answer["group"]["members"][0]["handle"], "alice");
    let invited = |handle: &str| json!({ "handle": handle, "outcome": "invited", "invite_id": format!("inv_{}", "05".repeat(16)) });
    assert_eq!(answer["add_results"], json!([invited("bob"), invited("carol")]));
    let GroupCommand::Create(new) = api.backend.group_command() else {
        panic!("another command")
    };
    let profile = GroupProfile {
        name: "Grain".to_owned(),
        description: Some("wheat".to_owned()),
        avatar: Some("https://x.example/a.png".to_owned()),
    };
    assert_eq!(new.profile, profile);
}

#[tokio::test]
async fn create_takes_a_name_alone() {
    for body in [
        json!({ "name": "x" }),
        json!({ "name": "x", "description": null, "avatar_url": null, "member_handles": null, "settings": null }),
        json!({ "name": "x", "description": "", "avatar_url": "", "members": [], "settings": {} }),
    ] {
        let new = create(body).await;
        let profile = GroupProfile {
            name: "x".to_owned(),
            ..GroupProfile::default()
        };
        let members = Vec::new();
        assert_eq!(
            new,
            NewGroup {
                profile,
                members,
                channel: None
            }
        );
    }
}

/// A bad handle is left out and not fatal; everybody is invited once, this agent never.
#[tokio::test]
async fn create_leaves_out_bad_handles_repeats_and_oneself() {
    let bob = fingerprint(2);
    let handles = json!([
        "bob",
        "b_b",
        "",
        "@ALICE",
        "@bob",
        format!("Bob#{bob}"),
        "x",
        "carol"
    ]);
    for field in ["member_handles", "members"] {
        let new = create(json!({ "name": "x", field: handles })).await;
        let names: Vec<&str> = new
            .members
            .iter()
            .map(|address| address.handle.as_str())
            .collect();
        assert_eq!(names, ["bob", "carol"]);
        assert_eq!(new.members[0].fingerprint, Some(bob));
    }
}

#[tokio::test]
async fn create_refuses_what_must_not_pass_unseen() {
    let (one, other) = (fingerprint(2), fingerprint(3));
    let cases = [
        (json!({}), vec!["name"]),
        (json!({ "name": "" }), vec!["name"]),
        (json!({ "name": " \t\u{2003}" }), vec!["name"]),
        (json!({ "name": 7 }), vec!["name"]),
        (json!({ "name": "x", "description": {} }), vec!["description"]),
        (json!({ "name": "x", "avatar_url": [] }), vec!["avatar_url"]),
        (
            json!({ "name": "x", "member_handles": "bob" }),
            vec!["member_handles"],
        ),
        (
            json!({ "name": "x", "member_handles": [1] }),
            vec!["member_handles"],
        ),
        (
            json!({ "name": "x", "member_handles": ["bob#12"] }),
            vec!["member_handles"],
        ),
        (
            json!({ "name": "x", "members": [format!("bob#{one}"), format!("bob#{other}")] }),
            vec!["members"],
        ),
        (
            json!({ "name": "x", "members": [], "member_handles": [] }),
            vec!["members"],
        ),
        (json!({ "name": "x", "settings": "admin" }), vec!["settings"]),
        (
            json!({ "name": "x", "settings": { "who_can_invite": "member" } }),
            vec!["settings", "who_can_invite"],
        ),
    ];
    for (body, path) in cases {
        let api = Api::new();
        api.post("/v1/groups", body.to_string())
            .await
            .assert_invalid(&path);
        assert!(api.backend.commands.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn limits_are_counted_in_bytes() {
    let api = with_group();
    for (field, max) in [("name", 256), ("description", 4_096), ("avatar_url", 2_048)] {
        // Two bytes each.
        let longest = "é".repeat(max / 2);
        let fits = api
            .json("PATCH", &path(""), json!({ field: longest }).to_string())
            .await;
        assert_eq!(fits.status, 200, "{field}");
        let text = format!("{longest}x");
        let answer = api
            .json("PATCH", &path(""), json!({ field: text }).to_string())
            .await;
        answer.assert_limit(field, max, Some(max + 1));
        let body = json!({ "name": "x", "description": "x", field: text });
        let answer = api.post("/v1/groups", body.to_string()).await;
        answer.assert_limit(field, max, Some(max + 1));
    }
    let handles = |count: usize| json!({ "name": "x", "member_handles": vec!["bob"; count] }).to_string();
    assert_eq!(api.post("/v1/groups", handles(256)).await.status, 201);
    let answer = api.post("/v1/groups", handles(257)).await;
    answer.assert_limit("member_handles", 256, Some(257));
}

#[tokio::test]
async fn update_changes_what_is_given() {
    let expected = ProfileChange {
        name: Some("Grain".to_owned()),
        description: None,
        avatar: None,
    };
    let body = json!({ "name": "Grain", "description": null, "avatar_url": null, "settings": null });
    assert_eq!(update(body).await, expected);
    let expected = ProfileChange {
        name: None,
        description: Some(Some("wheat".to_owned())),
        avatar: Some(None),
    };
    assert_eq!(
        update(json!({ "description": "wheat", "avatar_url": "" })).await,
        expected
    );
}

#[tokio::test]
async fn update_of_nothing_asks_nobody() {
    let api = with_group();
    for body in [json!({}), json!({ "settings": { "who_can_invite": "admin" } })] {
        let answer = api.json("PATCH", &path(""), body.to_string()).await;
        assert_eq!((answer.status, &answer.json()["name"]), (200, &json!("Freight")));
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
    for body in [
        json!({ "name": " " }),
        json!({ "settings": { "who_can_invite": "all" } }),
    ] {
        let answer = api.json("PATCH", &path(""), body.to_string()).await;
        assert_eq!(answer.code(), "VALIDATION_ERROR");
    }
}

#[tokio::test]
async fn disband_tells_when() {
    let api = with_group();
    let answer = api.bare("DELETE", &path("")).await;
    assert_eq!(
        (answer.status, &answer.json()["deleted_at"]),
        (200, &json!(NOW_TEXT))
    );
    assert!(matches!(api.backend.group_command(), GroupCommand::Disband(id) if id == group_id(1)));
}

/// Method, path below the group, body.
const ROUTES: [(&str, &str, &str); 10] = [
    ("GET", "", ""),
    ("PATCH", "", r#"{"name":"x"}"#),
    ("DELETE", "", ""),
    ("POST", "/members", r#"{"handle":"bob"}"#),
    ("DELETE", "/members/bob", ""),
    ("POST", "/members/bob/promote", ""),
    ("POST", "/members/bob/demote", ""),
    ("POST", "/leave", ""),
    ("GET", "/security", ""),
    ("POST", "/rekey", ""),
];

async fn ask(
    api: &Api,
    id: &str,
    (method, rest, body): (&str, &str, &'static str),
) -> crate::api::testing::Answer {
    let path = format!("/v1/groups/{id}{rest}");
    if body.is_empty() {
        api.bare(method, &path).await
    } else {
        api.json(method, &path, body).await
    }
}

#[tokio::test]
async fn ended_group_is_410_on_every_route() {
    let end = GroupEnd {
        id: group_id(1),
        by: "bob".parse().unwrap(),
        at: NOW,
    };
    let api = Api::new();
    api.backend
        .groups
        .lock()
        .unwrap()
        .push(GroupLookup::Ended(end.clone()));
    api.backend.refuses(Refusal::GroupDeleted(Box::new(end)));
    let details = json!({
        "group_id": group_id(1).to_string(),
        "deleted_by_handle": "bob",
        "deleted_at": NOW_TEXT,
    });
    for route in ROUTES {
        let answer = ask(&api, &group_id(1).to_string(), route).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (410, "GROUP_DELETED"),
            "{route:?}"
        );
        assert_eq!(answer.json()["details"], details, "{route:?}");
    }
    let accept = format!("/v1/groups/invites/inv_{}/accept", "00".repeat(16));
    assert_eq!(api.bare("POST", &accept).await.status, 410);
}

/// Who is no member learns nothing, not even that there is such a group.
#[tokio::test]
async fn unknown_group_is_404_on_every_route() {
    let api = Api::new();
    api.backend.refuses(Refusal::GroupNotFound);
    for route in ROUTES {
        let answer = ask(&api, &group_id(9).to_string(), route).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "GROUP_NOT_FOUND"),
            "{route:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_group_id_reaches_nobody() {
    let api = with_group();
    let direct = group_id(1).to_string().replace("grp_", "conv_");
    for id in [direct.as_str(), "x", "grp_", "%00", "Grp_1", "@bob"] {
        for route in ROUTES {
            let answer = ask(&api, id, route).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (404, "GROUP_NOT_FOUND"),
                "{id}"
            );
        }
    }
    assert!(api.backend.commands.lock().unwrap().is_empty());
}

#[tokio::test]
async fn unreadable_state_is_503() {
    let api = with_group();
    api.backend.breaks();
    for rest in ["", "/security"] {
        assert_eq!(api.get(&path(rest)).await.code(), "STORAGE_UNAVAILABLE");
    }
    assert_eq!(api.get("/v1/groups/invites").await.code(), "STORAGE_UNAVAILABLE");
}

#[tokio::test]
async fn refusals_of_the_engine_come_through() {
    let api = with_group();
    let fork = Refusal::RosterFork { group: group_id(1) };
    for (refusal, status, code) in [
        (Refusal::NotAdmin, 403, "NOT_ADMIN"),
        (Refusal::LastAdmin, 400, "LAST_ADMIN"),
        (Refusal::GroupFull, 403, "GROUP_FULL"),
        (Refusal::EpochPending { retry_after: 3 }, 503, "EPOCH_PENDING"),
        (fork, 409, "ROSTER_FORK"),
        (Refusal::RateLimited { retry_after: 3 }, 429, "RATE_LIMITED"),
    ] {
        api.backend.refuses(refusal);
        let answer = api.bare("POST", &path("/members/bob/demote")).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }
}
