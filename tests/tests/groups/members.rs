//! Who is in a group, who is an admin, and what becomes of those who are not any more.

use anyhow::ensure;
use serde_json::{Value, json};
use waxwire_tests::{
    Agent,
    circle::{all_talk, settled},
    scenario, unique,
};

use crate::no_alerts;

fn member(group: &str, handle: &str, act: &str) -> String {
    format!("/v1/groups/{group}/members/{handle}{act}")
}

async fn role(agent: &Agent, group: &str, handle: &str, role: &str) -> anyhow::Result<()> {
    let what = format!("{} sees {handle} as {role}", agent.handle());
    waxwire_tests::eventually(&what, std::time::Duration::from_secs(20), async || {
        let group = agent.group(group).await?;
        let mut members = group.members.iter();
        Ok(members
            .any(|it| it.handle == handle && it.role == role)
            .then_some(()))
    })
    .await
}

/// docs/protocol.md, 6.3: roles, and what they allow.
#[test]
fn roles_are_given_and_taken() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("roles")?, &[&bob]).await?.id;
        let promote = member(&group, "bob", "/promote");
        let demote = member(&group, "bob", "/demote");
        bob.post(&promote).await?.refused(403, "NOT_ADMIN")?;
        bob.try_invite(&group, &json!({"handle": "carol"}))
            .await?
            .refused(403, "NOT_ADMIN")?;
        bob.delete(&member(&group, "alice", ""))
            .await?
            .refused(403, "NOT_ADMIN")?;
        bob.patch_json(&format!("/v1/groups/{group}"), &json!({"name": "x"}))
            .await?
            .refused(403, "NOT_ADMIN")?;
        alice
            .post(&member(&group, "alice", "/demote"))
            .await?
            .refused(400, "LAST_ADMIN")?;
        alice
            .post(&member(&group, "carol", "/promote"))
            .await?
            .refused(404, "NOT_MEMBER")?;
        alice
            .delete(&member(&group, "alice", ""))
            .await?
            .refused(400, "VALIDATION_ERROR")?;

        assert_eq!(alice.post(&promote).await?.expect(200)?["ok"], true);
        alice.post(&promote).await?.expect(200)?;
        role(&bob, &group, "bob", "admin").await?;
        let told = bob.until_event(&group, "admin_promoted", "bob").await?;
        assert_eq!(told.actor_handle.as_deref(), Some("alice"));

        // An admin invites; the invite dies with the inviter's role.
        bob.invite(&group, "carol").await?;
        let dead = carol.until_invited(&group).await?;
        alice.post(&demote).await?.expect(200)?;
        alice.post(&demote).await?.expect(200)?;
        role(&bob, &group, "bob", "member").await?;
        carol
            .try_accept(&dead.id)
            .await?
            .refused(404, "INVITE_NOT_FOUND")?;
        let told = bob.until_event(&group, "admin_demoted", "bob").await?;
        assert_eq!(told.actor_handle.as_deref(), Some("alice"));
        // Roles change no key.
        assert_eq!(settled(&[&alice, &bob], &group).await?.epoch, 2);
        all_talk(&[&alice, &bob], &group, "after changes of roles").await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// docs/protocol.md, 6.2: who is removed is told so, finds nothing any more, and the key is another.
#[test]
fn removed_member_is_out_at_once() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("removal")?, &[&bob, &carol]).await?.id;
        all_talk(&[&alice, &bob, &carol], &group, "before the removal").await?;
        let before = settled(&[&alice, &bob, &carol], &group).await?;
        let removed = alice.delete(&member(&group, "carol", "")).await?.expect(200)?;
        assert_eq!(removed["ok"], true);
        // Repeating changes nothing, and neither does removing who never was one.
        alice.delete(&member(&group, "carol", "")).await?.expect(200)?;
        alice
            .delete(&member(&group, "nobody-at-all", ""))
            .await?
            .expect(200)?;
        bob.until_members(&group, &["alice", "bob"]).await?;
        let told = bob.until_event(&group, "member_removed", "carol").await?;
        assert_eq!(told.actor_handle.as_deref(), Some("alice"));
        let after = settled(&[&alice, &bob], &group).await?;
        assert_eq!(after.epoch, before.epoch + 1);
        all_talk(&[&alice, &bob], &group, "after the removal").await?;

        let told = carol.until_event(&group, "member_removed", "carol").await?;
        assert_eq!(told.actor_handle.as_deref(), Some("alice"));
        shut_out(&carol, &group).await?;
        assert_eq!(carol.texts_in(&group).await?.len(), 3);
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// For who is no member any more, the group is not there.
async fn shut_out(agent: &Agent, group: &str) -> anyhow::Result<()> {
    let path = format!("/v1/groups/{group}");
    agent.get(&path).await?.refused(404, "GROUP_NOT_FOUND")?;
    agent
        .get(&format!("{path}/security"))
        .await?
        .refused(404, "GROUP_NOT_FOUND")?;
    agent
        .post(&format!("{path}/rekey"))
        .await?
        .refused(404, "GROUP_NOT_FOUND")?;
    agent
        .try_invite(group, &json!({"handle": "bob"}))
        .await?
        .refused(404, "GROUP_NOT_FOUND")?;
    let sent = agent
        .try_group_text(group, &unique("shut out")?, "let me in")
        .await?;
    sent.refused(404, "GROUP_NOT_FOUND").map(drop)
}

/// docs/protocol.md, 6.6: a leave is a debt that the next sender pays, before anything is sealed.
#[test]
fn leave_is_paid_by_the_next_sender() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("leave")?, &[&bob, &carol]).await?.id;
        let before = settled(&[&alice, &bob, &carol], &group).await?.epoch;
        assert_eq!(carol.leave(&group).await?, None);
        shut_out(&carol, &group).await?;
        let sent = bob
            .send_to_group(&group, &unique("payer")?, &unique("paid")?)
            .await?;
        let read = alice.until_text(&group, sent.text()).await?;
        ensure!(read.security.epoch > Some(before), "{read:?}");
        bob.until_event(&group, "member_left", "carol").await?;
        assert_eq!(settled(&[&alice, &bob], &group).await?.epoch, before + 1);
        all_talk(&[&alice, &bob], &group, "after the leave").await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// docs/protocol.md, 6.6: nobody sends; somebody who is online pays all the same.
#[test]
fn attack_09_leave_is_paid_by_somebody_if_nobody_sends() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("quiet")?, &[&bob, &carol]).await?.id;
        let before = settled(&[&alice, &bob, &carol], &group).await?.epoch;
        carol.leave(&group).await?;
        for agent in [&alice, &bob] {
            agent.until_event(&group, "member_left", "carol").await?;
        }
        let after = settled(&[&alice, &bob], &group).await?;
        assert_eq!(after.epoch, before + 1);
        no_alerts(&[&alice, &bob]).await
    });
}

/// docs/protocol.md, 6.3: a group is never without an admin; whoever leaves last ends it.
#[test]
fn admin_leaves_and_the_first_member_follows() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("heirs")?, &[&bob, &carol]).await?.id;
        assert_eq!(alice.leave(&group).await?.as_deref(), Some("bob"));
        role(&bob, &group, "bob", "admin").await?;
        role(&carol, &group, "bob", "admin").await?;
        let told = carol.until_event(&group, "admin_promoted", "bob").await?;
        assert_eq!(told.actor_handle, None);
        let body = json!({"description": unique("the heir writes")?});
        bob.patch_json(&format!("/v1/groups/{group}"), &body)
            .await?
            .expect(200)?;
        all_talk(&[&bob, &carol], &group, "under the heir").await?;
        assert_eq!(bob.leave(&group).await?.as_deref(), Some("carol"));
        carol.until_members(&group, &["carol"]).await?;
        carol
            .send_to_group(&group, &unique("alone")?, "to nobody")
            .await?;
        assert_eq!(carol.leave(&group).await?, None);
        shut_out(&carol, &group).await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// Who comes back is a new member: what was said meanwhile stays unread, what was read stays.
#[test]
fn member_comes_back() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("return")?, &[&bob]).await?.id;
        alice.send_to_group(&group, "one", "before").await?;
        bob.until_text(&group, "before").await?;
        bob.leave(&group).await?;
        alice.send_to_group(&group, "two", "meanwhile").await?;
        alice.invite(&group, "bob").await?;
        bob.join(&group).await?;
        alice.send_to_group(&group, "three", "afterwards").await?;
        let last = bob.until_text(&group, "afterwards").await?;
        ensure!(last.security.gap.is_none(), "{last:?}");
        assert_eq!(bob.texts_in(&group).await?, ["before", "afterwards"]);
        all_talk(&[&alice, &bob], &group, "after the return").await?;
        no_alerts(&[&alice, &bob]).await
    });
}

/// What the security page says: keys, confirmations, a rekey on demand.
#[test]
fn security_tells_of_keys_and_members() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("security")?, &[&bob]).await?.id;
        let first = settled(&[&alice, &bob], &group).await?;
        assert_eq!(bob.rekey(&group).await?, first.epoch + 1);
        let second = settled(&[&alice, &bob], &group).await?;
        ensure!(
            second.roster_head != first.roster_head && second.roster_head.len() == 64,
            "{second:?}"
        );
        assert_eq!(second.roster_length, first.roster_length + 1);
        all_talk(&[&alice, &bob], &group, "under the new key").await?;
        for (who, of) in [(&alice, "bob"), (&bob, "alice")] {
            let security = who.group_security(&group).await?;
            let other = security.members.iter().find(|it| it.handle == of);
            let other = other.map(|it| (it.state.as_str(), it.confirmed_epoch));
            assert_eq!(other, Some(("pinned", Some(second.epoch))));
        }

        let identity = alice.identity("bob").await?;
        let body = json!({"state": "verified", "fingerprint": identity["fingerprint"]});
        alice.put_json("/v1/agents/bob/trust", &body).await?.expect(200)?;
        let security = alice.group_security(&group).await?;
        ensure!(
            security.members.iter().any(|it| it.state == "verified"),
            "{security:?}"
        );
        let listed: Value = alice
            .get(&format!("/v1/groups/{group}/security"))
            .await?
            .expect(200)?;
        assert_eq!(
            (&listed["debt"], &listed["forked"]),
            (&Value::Null, &json!(false))
        );
        Ok(())
    });
}

/// Who comes and goes too often is told when to come back, and may leave whenever it likes.
#[test]
fn joins_and_leaves_have_a_quota() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.limit("joins_and_leaves_per_hour", 2);
        relay.start().await?;
        let circle = world.circle_around(relay, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("quota")?, &[&bob]).await?.id;
        bob.leave(&group).await?;
        alice.until_members(&group, &["alice"]).await?;
        let invite = alice.invite(&group, "bob").await?;
        bob.until_invited(&group).await?;
        let refused = bob.try_accept(&invite).await?;
        let after: u64 = refused.header("retry-after").unwrap_or_default().parse()?;
        ensure!((1_700..=1_800).contains(&after), "{after}");
        refused.refused(429, "RATE_LIMITED")?;
        // The invite is open still, and nothing stands in the way of others.
        alice.send_to_group(&group, &unique("id")?, "without bob").await?;
        assert_eq!(bob.invitations().await?.len(), 1);
        no_alerts(&[&alice, &bob]).await
    });
}
