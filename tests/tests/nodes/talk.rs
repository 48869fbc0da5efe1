//! Agents whose crypto proxies are at different nodes.

use std::time::Duration;

use anyhow::ensure;
use waxwire_tests::{
    Agent, Stranger,
    circle::{all_talk, same_history, settled},
    eventually, scenario, unique,
};

use super::spread;

#[test]
fn messages_go_from_node_to_node_both_ways() {
    scenario(async |world| {
        let circle = spread(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        for round in 0..20 {
            for (from, to) in [(&alice, &bob), (&bob, &alice)] {
                let text = unique("over nodes")?;
                let sent = from.send_text(to.handle(), &format!("{round}"), &text).await?;
                let got = to.receive().await?;
                ensure!((got.id.as_str(), got.text()) == (sent.id.as_str(), text.as_str()));
                ensure!(got.security.verified && got.security.gap.is_none());
            }
        }
        let first = alice.history(&alice_and_bob(&alice).await?, "").await?;
        alice.until_status(&first[0], "delivered").await?;
        Ok(())
    });
}

async fn alice_and_bob(agent: &Agent) -> anyhow::Result<String> {
    let conversations = agent.get("/v1/conversations").await?.expect(200)?;
    Ok(conversations[0]["id"].as_str().unwrap_or_default().to_owned())
}

/// Members at two nodes: joining, writing, rotating and removal.
#[test]
fn group_lives_on_two_nodes() {
    scenario(async |world| {
        let circle = spread(world, ["alice", "bob", "carol", "dave"]).await?;
        let [alice, bob, carol, dave] = circle.agents(["alice", "bob", "carol", "dave"])?;
        let all = [&alice, &bob, &carol, &dave];
        let group = alice.gather("over nodes", &all[1..]).await?.id;
        settled(&all, &group).await?;
        all_talk(&all, &group, "the first round").await?;
        // Two at a time, at two nodes: one of them comes second and goes on by itself.
        tokio::try_join!(alice.rekey(&group), bob.rekey(&group))?;
        settled(&all, &group).await?;
        all_talk(&all, &group, "the second round").await?;
        alice.remove(&group, "dave").await?;
        let left = [&alice, &bob, &carol];
        settled(&left, &group).await?;
        all_talk(&left, &group, "the third round").await?;
        eventually("dave is out", Duration::from_secs(20), async || {
            let answer = dave.try_group_text(&group, &unique("late")?, "no longer").await?;
            ensure!(answer.status >= 400, "a former member has written");
            Ok((answer.status == 404).then_some(()))
        })
        .await?;
        same_history(&left, &group).await?;
        Ok(())
    });
}

/// Every connection and request of one proxy goes to another node than the one before.
#[test]
fn proxy_may_come_to_another_node_with_every_request() {
    scenario(async |world| {
        let mut circle = spread(world, ["alice", "bob"]).await?;
        for proxy in circle.proxies() {
            proxy.tap().scatter();
        }
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        for agent in [&alice, &bob] {
            agent.until_ready().await?;
        }
        let group = alice.gather("scattered", &[&bob]).await?.id;
        all_talk(&[&alice, &bob], &group, "the round").await?;
        let bytes = vec![7; 3 * 1024 * 1024];
        let attachment = alice.upload("scattered.csv", &bytes).await?;
        alice.send_file(&group, "file", &attachment).await?;
        let got = bob.until_file(&group).await?;
        ensure!(bob.download(got.attachment()).await?.body == bytes);
        Ok(())
    });
}

/// A proxy that is put at another node costs nobody anything.
#[test]
fn proxy_that_is_moved_goes_on_where_it_was() {
    scenario(async |world| {
        let mut circle = spread(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        for round in 0..6 {
            circle.proxy("bob")?.tap().put_at(round);
            let text = unique("moved")?;
            alice.send_text("bob", &format!("{round}"), &text).await?;
            ensure!(bob.receive().await?.text() == text);
        }
        ensure!(bob.alerts().await?.is_empty());
        Ok(())
    });
}

/// The transparency log is one, whichever node an agent asks.
#[test]
fn nodes_have_one_transparency_log() {
    scenario(async |world| {
        let mut relay = world.new_nodes(2, None)?;
        relay.transparency(1);
        relay.start().await?;
        let circle = world.circle_around(relay, ["alice", "bob", "carol"]).await?;
        let agents = circle.agents(["alice", "bob", "carol"])?;
        let asker = Stranger::registered(circle.relay.http(), "asker", world.canaries()).await?;
        let head = async |node: usize| {
            let ask = asker.request("GET", "/v1/log/head");
            circle.relay.http_of(node).ask(ask).await
        };
        eventually("both nodes show one head", Duration::from_secs(20), async || {
            let (one, two) = (head(0).await?, head(1).await?);
            Ok((one.status == 200 && one.body == two.body).then_some(()))
        })
        .await?;
        for agent in &agents {
            ensure!(agent.alerts().await?.is_empty());
        }
        Ok(())
    });
}
