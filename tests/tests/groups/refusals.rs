//! What requests about groups are refused with.

use std::time::Duration;

use serde_json::{Value, json};
use waxwire_tests::{Agent, Ask, scenario, tap::Way, unique};

use crate::NO_GROUP;

/// Method, path below the group, body.
const ROUTES: [(&str, &str, Option<&str>); 11] = [
    ("GET", "", None),
    ("PATCH", "", Some(r#"{"name": "other"}"#)),
    ("DELETE", "", None),
    ("POST", "/members", Some(r#"{"handle": "bob"}"#)),
    ("DELETE", "/members/alice", None),
    ("POST", "/members/alice/promote", None),
    ("POST", "/members/alice/demote", None),
    ("POST", "/leave", None),
    ("GET", "/security", None),
    ("POST", "/rekey", None),
    ("GET", "/nothing", None),
];

fn ask(agent: &Agent, group: &str, (method, rest, body): (&str, &str, Option<&str>)) -> Ask {
    let ask = agent.request(method, format!("/v1/groups/{group}{rest}"));
    match body {
        Some(body) => ask
            .header("content-type", "application/json")
            .body(body.to_owned()),
        None => ask,
    }
}

/// An outsider cannot tell a group that exists from one that does not, nor from what is no id.
#[test]
fn outsider_finds_no_group() {
    scenario(async |world| {
        let circle = world.circle(["alice", "eve"]).await?;
        let [alice, eve] = circle.agents(["alice", "eve"])?;
        let group = alice.create_group(&unique("hidden")?, &[]).await?.id;
        for route in ROUTES {
            let code = if route.1 == "/nothing" {
                "NOT_FOUND"
            } else {
                "GROUP_NOT_FOUND"
            };
            let mut answers = Vec::new();
            for id in [group.as_str(), NO_GROUP, "grp_1", "conv_1"] {
                let answer = eve.ask(ask(&eve, id, route)).await?;
                answer.refused(404, code)?;
                answers.push(answer.text());
            }
            assert!(
                answers.iter().all(|it| *it == answers[0]),
                "{route:?}: {answers:?}"
            );
        }
        for id in [group.as_str(), NO_GROUP] {
            let sent = eve.try_group_text(id, &unique("eve")?, "hello").await?;
            assert!(sent.status == 404, "{}", sent.text());
            for rest in ["", "/participants", "/context"] {
                let path = if rest.is_empty() {
                    format!("/v1/messages/{id}")
                } else {
                    format!("/v1/conversations/{id}{rest}")
                };
                eve.get(&path).await?.refused(404, "CONVERSATION_NOT_FOUND")?;
            }
        }
        let accept = format!("/v1/groups/invites/inv_{}/accept", &NO_GROUP[4..]);
        eve.post(&accept).await?.refused(404, "INVITE_NOT_FOUND")?;
        Ok(())
    });
}

#[test]
fn bodies_that_are_wrong_are_named() {
    scenario(async |world| {
        let circle = world.circle(["alice"]).await?;
        let [alice] = circle.agents(["alice"])?;
        let group = alice.create_group(&unique("bodies")?, &[]).await?.id;
        for (body, path) in [
            (json!({}), "name"),
            (json!({"name": "  "}), "name"),
            (json!({"name": "n".repeat(257)}), "name"),
            (json!({"name": 7}), "name"),
            (
                json!({"name": "n", "description": "d".repeat(4_097)}),
                "description",
            ),
            (
                json!({"name": "n", "avatar_url": "a".repeat(2_049)}),
                "avatar_url",
            ),
            (json!({"name": "n", "member_handles": "bob"}), "member_handles"),
            (
                json!({"name": "n", "member_handles": vec!["bob"; 257]}),
                "member_handles",
            ),
            (
                json!({"name": "n", "settings": {"who_can_invite": "anyone"}}),
                "settings",
            ),
        ] {
            let refused = alice.post_json("/v1/groups", &body).await?;
            let details = refused.refused(400, "VALIDATION_ERROR")?;
            assert_eq!(details["issues"][0]["path"][0], path, "{details}");
        }
        let members = format!("/v1/groups/{group}/members");
        for body in [
            json!({}),
            json!({"handle": "no handle"}),
            json!({"handle": "alice"}),
        ] {
            alice
                .post_json(&members, &body)
                .await?
                .refused(400, "VALIDATION_ERROR")?;
        }
        let nobody = json!({"handle": "nobody-at-all"});
        alice
            .post_json(&members, &nobody)
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;
        let share = json!({"handle": "nobody-at-all", "share_current": "yes"});
        alice
            .post_json(&members, &share)
            .await?
            .refused(400, "VALIDATION_ERROR")?;
        let untouched = alice.group_security(&group).await?;
        assert_eq!((untouched.epoch, untouched.roster_length), (1, 1));
        Ok(())
    });
}

/// Without the relay, changes are refused and nothing half done stays; reads go on.
#[test]
fn changes_wait_for_the_relay_and_say_so() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("outage")?, &[&bob]).await?.id;
        alice.send_to_group(&group, "before", "before").await?;
        circle.proxy("alice")?.tap().set(Way::Down);
        let long = Duration::from_secs(25);
        let requests = [
            ("POST", "/rekey", None),
            ("DELETE", "/members/bob", None),
            ("POST", "/members/bob/promote", None),
        ]
        .map(|route| alice.ask(ask(&alice, &group, route).limit(long)));
        for answer in futures_util::future::join_all(requests).await {
            let details = answer?.refused(503, "RELAY_UNREACHABLE")?;
            assert_eq!(details["queued"], false);
        }
        assert_eq!(alice.texts_in(&group).await?, ["before"]);
        alice.group(&group).await?;
        circle.proxy("alice")?.tap().set(Way::Open);
        alice.until_ready().await?;
        // Asked again, it happens.
        let promoted = alice
            .post(&format!("/v1/groups/{group}/members/bob/promote"))
            .await?;
        assert_eq!(promoted.expect(200)?["ok"], Value::Bool(true));
        Ok(())
    });
}
