//! Blocks: both directions, told or hidden, groups, restarts, a relay that is away.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{Agent, eventually, scenario, unique};

use super::{block, unblock};

/// Two who have talked are told that there is a block; the third knows nothing of it.
#[test]
fn block_refuses_both_sides_and_touches_nobody_else() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        alice.send_text("bob", "before", &unique("before")?).await?;
        bob.receive().await?;
        let verified =
            json!({ "state": "verified", "fingerprint": bob.identity("alice").await?["fingerprint"] });
        bob.put_json("/v1/agents/alice/trust", &verified)
            .await?
            .expect(200)?;

        for _ in 0..2 {
            block(&bob, "%40Alice").await?;
        }
        alice.try_text("bob", "a1", "no").await?.refused(403, "BLOCKED")?;
        bob.try_text("alice", "b1", "no").await?.refused(403, "BLOCKED")?;
        // What was sent before is answered as before.
        let again = alice.try_text("bob", "before", "again").await?;
        ensure!(again.status == 200, "{}", again.text());
        ensure!(bob.identity("alice").await?["state"] == "blocked");
        for (from, to) in [(&alice, &carol), (&carol, &alice), (&bob, &carol), (&carol, &bob)] {
            from.send_text(to.handle(), &unique("id")?, &unique("still")?)
                .await?;
            to.receive().await?;
        }
        nothing_told(&[&alice, &bob, &carol]).await?;

        unblock(&bob, "alice").await?;
        ensure!(bob.identity("alice").await?["state"] == "verified");
        alice.send_text("bob", "a1", &unique("after")?).await?;
        bob.receive().await?;
        bob.send_text("alice", "b1", &unique("after")?).await?;
        alice.receive().await?;
        Ok(())
    });
}

async fn nothing_told(agents: &[&Agent]) -> anyhow::Result<()> {
    for agent in agents {
        let alerts = agent.alerts().await?;
        ensure!(alerts.is_empty(), "{} was told: {alerts:?}", agent.handle());
    }
    Ok(())
}

/// Whoever was blocked without a conversation cannot tell the agent from one that does not exist.
#[test]
fn attack_34_blocked_stranger_gets_what_one_gets_who_asks_for_nobody() {
    scenario(async |world| {
        let circle = world.circle(["alice", "mallory"]).await?;
        let [alice, mallory] = circle.agents(["alice", "mallory"])?;
        block(&alice, "mallory").await?;
        let shape = |answer: &waxwire_tests::Answer| {
            let text = answer.text().replace("alice", "nobody");
            (answer.status, answer.media_type().to_owned(), text)
        };
        for path in ["/v1/agents/{}", "/v1/agents/{}/identity", "/v1/directory?q={}"] {
            let hidden = mallory.get(&path.replace("{}", "alice")).await?;
            let unknown = mallory.get(&path.replace("{}", "nobody")).await?;
            ensure!(shape(&hidden) == shape(&unknown), "{path}: {}", hidden.text());
        }
        for (index, call) in ["block", "report"].iter().enumerate() {
            let hidden = mallory.post(&format!("/v1/contacts/alice/{call}")).await?;
            let unknown = mallory.post(&format!("/v1/contacts/nobody/{call}")).await?;
            hidden.refused(404, "AGENT_NOT_FOUND")?;
            ensure!(shape(&hidden) == shape(&unknown), "{call}");
            let id = format!("id-{index}");
            let hidden = mallory.try_text("alice", &id, "is it you?").await?;
            let unknown = mallory.try_text("nobody", &id, "is it you?").await?;
            hidden.refused(404, "AGENT_NOT_FOUND")?;
            ensure!(shape(&hidden) == shape(&unknown), "send");
        }
        for other in ["alice", "nobody"] {
            let contact = mallory
                .post_json("/v1/contacts", &json!({ "handle": other }))
                .await?;
            contact.refused(404, "AGENT_NOT_FOUND")?;
            let group = json!({ "name": unique("trap")?, "member_handles": [other] });
            let answer = mallory.post_json("/v1/groups", &group).await?.expect(201)?;
            ensure!(answer["add_results"] == json!([]), "{answer}");
        }
        Ok(())
    });
}

/// A known sender with a key in its cache meets the same wall at the relay.
#[test]
fn stranger_that_was_looked_up_before_is_answered_404() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.identity("bob").await?;
        block(&bob, "alice").await?;
        alice
            .try_text("bob", "a1", "no")
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;
        alice
            .get("/v1/agents/bob")
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;
        Ok(())
    });
}

/// In a common group a block changes nothing; invites across it are refused.
#[test]
fn common_group_goes_on_and_nobody_invites_across_a_block() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        alice.send_text("bob", "hello", &unique("hello")?).await?;
        bob.receive().await?;
        let group = carol.gather(&unique("plans")?, &[&alice, &bob]).await?;
        block(&bob, "alice").await?;
        for (index, writer) in [&alice, &bob, &carol].into_iter().enumerate() {
            let text = unique("to all")?;
            writer
                .send_to_group(&group.id, &format!("id-{index}"), &text)
                .await?;
            for reader in [&alice, &bob, &carol] {
                let got = reader.until_text(&group.id, &text).await?;
                let blocked = reader.handle() == "bob" && writer.handle() == "alice";
                ensure!((got.security.trust == "blocked") == blocked, "{got:?}");
                ensure!(got.security.gap.is_none());
            }
        }
        // A new key reaches the blocked one, too.
        let epoch = alice.rekey(&group.id).await?;
        bob.until_epoch(&group.id, epoch).await?;
        let text = unique("under a new key")?;
        bob.send_to_group(&group.id, "rekeyed", &text).await?;
        alice.until_text(&group.id, &text).await?;

        let own = alice.create_group(&unique("of alice")?, &[]).await?;
        let invite = json!({ "handle": "bob" });
        alice
            .try_invite(&own.id, &invite)
            .await?
            .refused(403, "BLOCKED")?;
        let other = bob.create_group(&unique("of bob")?, &[]).await?;
        let invite = json!({ "handle": "alice" });
        bob.try_invite(&other.id, &invite)
            .await?
            .refused(403, "BLOCKED")?;
        ensure!(bob.invitations().await?.is_empty() && alice.invitations().await?.is_empty());
        unblock(&bob, "alice").await?;
        alice.invite(&own.id, "bob").await?;
        bob.join(&own.id).await?;
        Ok(())
    });
}

/// The block is durable at both programs.
#[test]
fn block_survives_the_crash_of_relay_and_proxy() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "before", &unique("before")?).await?;
        bob.receive().await?;
        block(&bob, "alice").await?;
        pair.relay.crash().await?;
        pair.bob.crash().await?;
        let bob = pair.bob.agent()?;
        alice.until_ready().await?;
        bob.until_ready().await?;
        alice.try_text("bob", "a1", "no").await?.refused(403, "BLOCKED")?;
        bob.try_text("alice", "b1", "no").await?.refused(403, "BLOCKED")?;
        unblock(&bob, "alice").await?;
        pair.relay.crash().await?;
        alice.until_ready().await?;
        alice.send_text("bob", "a1", &unique("after")?).await?;
        Ok(())
    });
}

/// Without a relay a block holds here at once; the relay is told when it is back, also by the next run.
#[test]
fn block_without_a_relay_holds_here_and_reaches_it_later() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "before", &unique("before")?).await?;
        bob.receive().await?;
        pair.relay.terminate().await?;
        let answer = bob.post("/v1/contacts/alice/block").await?.expect(200)?;
        ensure!(
            answer == json!({ "ok": true, "relay_informed": false }),
            "{answer}"
        );
        bob.try_text("alice", "b1", "no").await?.refused(403, "BLOCKED")?;
        pair.bob.crash().await?;
        let bob = pair.bob.agent()?;
        ensure!(bob.get("/v1/contacts/alice").await?.status == 200);
        pair.relay.start().await?;
        alice.until_ready().await?;
        bob.until_ready().await?;
        let limit = Duration::from_secs(20);
        eventually("the relay refuses alice", limit, async || {
            let id = unique("id")?;
            let answer = alice.try_text("bob", &id, "no").await?;
            Ok((answer.status == 403).then_some(()))
        })
        .await?;
        // What slipped through before is not shown.
        ensure!(bob.sync().await?.is_empty());
        Ok(())
    });
}
