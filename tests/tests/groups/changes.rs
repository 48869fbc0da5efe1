//! Invites, roles, removals, the profile.

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{eventually, scenario, unique};

use crate::Trio;

/// docs/protocol.md, 6.4: nobody is a member without its own word.
#[test]
fn nobody_joins_without_accepting() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let name = unique("freight of grain")?;
        let group = alice.create_group(&name, &["bob"]).await?;
        assert_eq!(group.handles(), ["alice"]);
        let invitation = bob.until_invited(&group.id).await?;
        assert_eq!(
            (invitation.group_name.as_str(), invitation.inviter_handle.as_str()),
            (name.as_str(), "alice")
        );
        assert!(invitation.id.starts_with("inv_"));
        bob.get(&format!("/v1/groups/{}", group.id))
            .await?
            .refused(404, "GROUP_NOT_FOUND")?;

        bob.delete(&format!("/v1/groups/invites/{}", invitation.id))
            .await?
            .expect(200)?;
        ensure!(bob.invitations().await?.is_empty(), "the invite is still there");
        bob.try_accept(&invitation.id)
            .await?
            .refused(404, "INVITE_NOT_FOUND")?;
        assert_eq!(alice.group(&group.id).await?.handles(), ["alice"]);
        Ok(())
    });
}

/// docs/protocol.md, 6.4: a withdrawn invite is not open.
#[test]
fn withdrawn_invite_cannot_be_accepted() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let group = alice.create_group(&unique("withdrawn")?, &["bob"]).await?;
        let invitation = bob.until_invited(&group.id).await?;
        alice.remove(&group.id, "bob").await?;
        let answer = bob.try_accept(&invitation.id).await?;
        answer.refused(404, "INVITE_NOT_FOUND")?;
        // A second one is a fresh one.
        alice.invite(&group.id, "bob").await?;
        let what = "bob is invited again";
        let again = eventually(what, std::time::Duration::from_secs(20), async || {
            let invitations = bob.invitations().await?;
            Ok(invitations.into_iter().find(|again| again.id != invitation.id))
        });
        bob.try_accept(&again.await?.id).await?.expect(200)?;
        alice.until_members(&group.id, &["alice", "bob"]).await?;
        Ok(())
    });
}

/// docs/protocol.md, 6.3: only admins invite, remove, promote; the only admin cannot be demoted.
#[test]
fn roles_decide_who_may_do_what() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        let path = |rest: &str| format!("/v1/groups/{id}{rest}");
        trio.bob.try_invite(id, &json!({ "handle": "alice" })).await?;
        trio.bob
            .delete(&path("/members/carol"))
            .await?
            .refused(403, "NOT_ADMIN")?;
        trio.bob
            .post(&path("/members/bob/promote"))
            .await?
            .refused(403, "NOT_ADMIN")?;
        let rename = json!({ "name": "mine" });
        trio.bob
            .patch_json(&path(""), &rename)
            .await?
            .refused(403, "NOT_ADMIN")?;
        trio.alice
            .post(&path("/members/alice/demote"))
            .await?
            .refused(400, "LAST_ADMIN")?;
        trio.alice
            .post(&path("/members/nobody/promote"))
            .await?
            .refused(404, "NOT_MEMBER")?;

        for _ in 0..2 {
            trio.alice
                .post(&path("/members/bob/promote"))
                .await?
                .expect(200)?;
        }
        let told = trio.carol.until_event(id, "admin_promoted", "bob").await?;
        assert_eq!(told.actor_handle.as_deref(), Some("alice"));
        trio.bob.until_event(id, "admin_promoted", "bob").await?;
        trio.bob.post(&path("/members/alice/demote")).await?.expect(200)?;
        trio.alice.until_event(id, "admin_demoted", "alice").await?;
        trio.alice
            .patch_json(&path(""), &rename)
            .await?
            .refused(403, "NOT_ADMIN")?;
        Ok(())
    });
}

/// docs/protocol.md, 6.2: a removal is a rekey; the removed reads nothing more.
#[test]
fn removed_member_reads_nothing_more() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        let epoch = trio.alice.group_security(id).await?.epoch;
        for _ in 0..2 {
            trio.alice.remove(id, "carol").await?;
        }
        let security = trio.alice.group_security(id).await?;
        assert!(security.epoch > epoch && security.debt.is_none(), "{security:?}");
        let told = trio.bob.until_event(id, "member_removed", "carol").await?;
        assert_eq!(told.actor_handle.as_deref(), Some("alice"));
        let text = trio.says(&trio.bob, &[&trio.alice]).await?;
        trio.carol
            .get(&format!("/v1/groups/{id}"))
            .await?
            .refused(404, "GROUP_NOT_FOUND")?;
        ensure!(!trio.carol.texts_in(id).await?.contains(&text), "carol reads on");
        Ok(())
    });
}

/// docs/protocol.md, 6.10: the profile is sealed, an admin's, and told to who joins later.
#[test]
fn profile_reaches_all_and_who_joins_later() {
    scenario(async |world| {
        let trio = Trio::gather(world).await?;
        let id = &trio.group.id;
        let (name, description) = (unique("another name")?, unique("what it is about")?);
        world.canaries().forbid(&name);
        world.canaries().forbid(&description);
        let body = json!({ "name": name, "description": description });
        let changed = trio
            .alice
            .patch_json(&format!("/v1/groups/{id}"), &body)
            .await?
            .expect(200)?;
        assert_eq!(
            (&changed["name"], &changed["description"]),
            (&json!(name), &json!(description))
        );
        let dave_proxy = world.proxy(&trio.relay, "dave").await?;
        let dave = dave_proxy.agent()?;
        trio.alice.invite(id, "dave").await?;
        dave.join(id).await?;
        for who in [&trio.bob, &trio.carol, &dave] {
            let what = format!("{} sees the new profile", who.handle());
            eventually(&what, std::time::Duration::from_secs(20), async || {
                let group = who.group(id).await?;
                let same = group.name == name && group.description.as_ref() == Some(&description);
                Ok(same.then_some(()))
            })
            .await?;
        }
        let row = trio.bob.get("/v1/conversations").await?.expect(200)?;
        let group = row
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["id"] == id.as_str()));
        assert_eq!(
            group.map(|row| (&row["group_name"], &row["group_member_count"])),
            Some((&json!(name), &json!(4)))
        );
        Ok(())
    });
}
