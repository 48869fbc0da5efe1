//! A group from its founding to its end.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_tests::{
    Agent, Group, Invitation,
    circle::{all_talk, same_history, settled},
    eventually, scenario, unique,
};

use crate::no_alerts;

/// docs/protocol.md, 6.3 and 6.4: founded, invited, accepted, and everybody reads everybody.
#[test]
fn group_is_founded_and_joined() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let name = unique("freight")?;
        world.canaries().forbid(&name);
        let body = json!({
            "name": name, "description": "crates", "settings": {"who_can_invite": "admin"},
            "member_handles": ["@Bob", "carol", "nobody-at-all", "alice", "carol"],
        });
        let answer = alice.post_json("/v1/groups", &body).await?.expect(201)?;
        let results = answer["add_results"].as_array().context("add_results")?;
        let results: Vec<_> = results.iter().map(|it| (&it["handle"], &it["outcome"])).collect();
        let (bobs, carols, invited) = (json!("bob"), json!("carol"), json!("invited"));
        assert_eq!(results, [(&bobs, &invited), (&carols, &invited)]);
        let id = text(&answer["group"], "id")?;
        check_new_group(&answer["group"], &name)?;

        let invitation = bob.until_invited(&id).await?;
        assert_eq!(answer["add_results"][0]["invite_id"], invitation.id.as_str());
        let inviter = (invitation.group_name.as_str(), invitation.inviter_handle.as_str());
        assert_eq!(inviter, (name.as_str(), "alice"));
        let joined: Group = bob.try_accept(&invitation.id).await?.ok()?;
        assert_eq!(
            (joined.handles(), joined.your_role.as_str()),
            (vec!["alice", "bob"], "member")
        );
        ensure!(bob.invitations().await?.is_empty(), "the invite still waits");

        carol.join(&id).await?;
        for agent in [&alice, &bob, &carol] {
            let group = agent.until_members(&id, &["alice", "bob", "carol"]).await?;
            assert_eq!((group.created_by.as_str(), group.member_count), ("alice", 3));
        }
        named(&[&alice, &bob, &carol], &id, &name, Some("crates")).await?;
        let security = settled(&[&alice, &bob, &carol], &id).await?;
        // One epoch of the founder, and one of each who came in.
        assert_eq!((security.epoch, security.roster_length), (3, 3));
        ensure!(security.confidential_from_relay, "{security:?}");
        all_talk(&[&alice, &bob, &carol], &id, "a new group").await?;
        assert_eq!(same_history(&[&alice, &bob, &carol], &id).await?, 3);
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    let text = value[field].as_str().map(str::to_owned);
    text.with_context(|| format!("no {field} in {value}"))
}

fn check_new_group(group: &Value, name: &str) -> anyhow::Result<()> {
    ensure!(text(group, "id")?.starts_with("grp_"), "{group}");
    assert_eq!(group["name"], name);
    assert_eq!(group["description"], "crates");
    assert_eq!(group["avatar_url"], Value::Null);
    assert_eq!(group["created_by"], "alice");
    assert_eq!(group["settings"], json!({"who_can_invite": "admin"}));
    assert_eq!(group["member_count"], 1);
    assert_eq!(group["your_role"], "admin");
    let members = group["members"].as_array().context("members")?;
    assert_eq!(
        (&members[0]["handle"], &members[0]["role"]),
        (&json!("alice"), &json!("admin"))
    );
    assert_eq!(members[0]["joined_at"], group["created_at"]);
    Ok(())
}

/// Waits until all show this name and description.
async fn named(agents: &[&Agent], id: &str, name: &str, description: Option<&str>) -> anyhow::Result<()> {
    for agent in agents {
        let what = format!("{} sees the name {name}", agent.handle());
        eventually(&what, std::time::Duration::from_secs(20), async || {
            let group = agent.group(id).await?;
            let seen = group.name == name && group.description.as_deref() == description;
            Ok(seen.then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// docs/protocol.md, 6.4: an invite waits until it is accepted, declined, withdrawn or made again.
#[test]
fn invite_is_declined_withdrawn_and_made_again() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.create_group(&unique("invites")?, &["bob"]).await?.id;
        let first = bob.until_invited(&group).await?;
        // It outlives the proxy.
        circle.proxy("bob")?.crash().await?;
        assert_eq!(bob.invitations().await?, std::slice::from_ref(&first));
        let declined = bob.delete(&invite_path(&first)).await?.expect(200)?;
        assert_eq!(declined["ok"], true);
        bob.delete(&invite_path(&first)).await?.expect(200)?;
        bob.try_accept(&first.id)
            .await?
            .refused(404, "INVITE_NOT_FOUND")?;
        assert_eq!(bob.invitations().await?, []);

        alice.remove(&group, "bob").await?;
        let second = alice.invite(&group, "bob").await?;
        assert_ne!(second, first.id);
        let waiting = bob.until_invited(&group).await?;
        assert_eq!(waiting.id, second);
        alice.remove(&group, "bob").await?;
        bob.try_accept(&second).await?.refused(404, "INVITE_NOT_FOUND")?;
        assert_eq!(bob.invitations().await?, []);

        alice.invite(&group, "bob").await?;
        bob.join(&group).await?;
        alice.until_members(&group, &["alice", "bob"]).await?;
        let again = alice
            .try_invite(&group, &json!({"handle": "@Bob"}))
            .await?
            .expect(200)?;
        assert_eq!(
            (&again["handle"], &again["outcome"]),
            (&json!("bob"), &json!("already_member"))
        );
        all_talk(&[&alice, &bob], &group, "after three invites").await?;
        no_alerts(&[&alice, &bob]).await
    });
}

fn invite_path(invitation: &Invitation) -> String {
    format!("/v1/groups/invites/{}", invitation.id)
}

/// Who has declined is told again when the admin invites again.
#[test]
fn invite_that_is_made_again_is_told_again() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.create_group(&unique("again")?, &["bob"]).await?.id;
        let first = bob.until_invited(&group).await?;
        bob.delete(&invite_path(&first)).await?.expect(200)?;
        assert_eq!(alice.invite(&group, "bob").await?, first.id);
        bob.join(&group).await?;
        all_talk(&[&alice, &bob], &group, "after a second thought").await
    });
}

/// A lost answer is asked for again: accepting twice is accepting.
#[test]
fn accept_can_be_repeated() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.create_group(&unique("repeat")?, &["bob"]).await?.id;
        let invitation = bob.until_invited(&group).await?;
        let first: Group = bob.try_accept(&invitation.id).await?.ok()?;
        let second: Group = bob.try_accept(&invitation.id).await?.ok()?;
        assert_eq!(first.members, second.members);
        // The invite is used up: it does not lead back.
        bob.leave(&group).await?;
        bob.try_accept(&invitation.id)
            .await?
            .refused(404, "INVITE_NOT_FOUND")?;
        Ok(())
    });
}

/// docs/protocol.md, 6.10: what an admin changes of the profile reaches everybody, also who joins later.
#[test]
fn profile_reaches_all() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("before")?, &[&bob]).await?.id;
        let (name, topic) = (unique("after")?, unique("topic")?);
        world.canaries().forbid(&name);
        world.canaries().forbid(&topic);
        let path = format!("/v1/groups/{group}");
        let body = json!({"name": name, "description": topic, "avatar_url": "https://example.org/a.png"});
        let changed = alice.patch_json(&path, &body).await?.expect(200)?;
        assert_eq!(
            (&changed["name"], &changed["description"]),
            (&json!(name), &json!(topic))
        );
        named(&[&alice, &bob], &group, &name, Some(&topic)).await?;
        let shown = bob.get(&path).await?.expect(200)?;
        assert_eq!(shown["avatar_url"], "https://example.org/a.png");
        let told: Vec<String> = bob
            .events_in(&group)
            .await?
            .into_iter()
            .map(|it| it.event)
            .collect();
        assert_eq!(told, ["name_changed", "description_changed", "avatar_changed"]);
        let renamed = &bob.events_in(&group).await?[0];
        assert_eq!(
            (&renamed.rest["new_name"], &renamed.actor_handle),
            (&json!(name), &Some("alice".into()))
        );

        // Whoever comes later gets what is true then, and no story of how it came about.
        alice.invite(&group, "carol").await?;
        carol.join(&group).await?;
        named(&[&carol], &group, &name, Some(&topic)).await?;
        assert_eq!(carol.events_in(&group).await?, []);
        let body = json!({"description": "", "name": null});
        alice.patch_json(&path, &body).await?.expect(200)?;
        named(&[&alice, &bob, &carol], &group, &name, None).await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// A group ends for all of its members, for ever: 410, and what was said in it stays readable.
#[test]
fn ended_group_is_gone_for_its_members() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol", "dave"]).await?;
        let [alice, bob, carol, dave] = circle.agents(["alice", "bob", "carol", "dave"])?;
        let group = alice.gather(&unique("short-lived")?, &[&bob, &carol]).await?.id;
        all_talk(&[&alice, &bob, &carol], &group, "a group that ends").await?;
        carol.leave(&group).await?;
        let path = format!("/v1/groups/{group}");
        bob.delete(&path).await?.refused(403, "NOT_ADMIN")?;
        let ended = alice.delete(&path).await?.expect(200)?;
        let again = alice.delete(&path).await?.expect(200)?;
        assert_eq!(ended["deleted_at"], again["deleted_at"]);

        eventually(
            "bob learns of the end",
            std::time::Duration::from_secs(20),
            async || Ok((bob.get(&path).await?.status == 410).then_some(())),
        )
        .await?;
        for agent in [&alice, &bob] {
            let details = agent.get(&path).await?.refused(410, "GROUP_DELETED")?;
            assert_eq!(details["group_id"], group.as_str());
            assert_eq!(details["deleted_by_handle"], "alice");
            assert_eq!(details["deleted_at"], ended["deleted_at"]);
            agent
                .try_group_text(&group, &unique("late")?, "too late")
                .await?
                .refused(410, "GROUP_DELETED")?;
            agent
                .get(&format!("{path}/security"))
                .await?
                .refused(410, "GROUP_DELETED")?;
            agent.post(&format!("{path}/leave")).await?.expect(200)?;
            assert_eq!(agent.texts_in(&group).await?.len(), 3);
        }
        let last = bob.events_in(&group).await?.pop().context("an event")?;
        assert_eq!(
            (last.event.as_str(), last.actor_handle.as_deref()),
            ("group_deleted", Some("alice"))
        );
        // Who had left, and who never was in it, is told nothing.
        for agent in [&carol, &dave] {
            agent.get(&path).await?.refused(404, "GROUP_NOT_FOUND")?;
        }
        circle.proxy("bob")?.crash().await?;
        bob.get(&path).await?.refused(410, "GROUP_DELETED")?;
        Ok(())
    });
}
