//! Hooks of agents: each node notes what it stores, one calls.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use waxwire_shared::hook;
use waxwire_tests::{Manner, Receiver, Relay, Stranger, canary::random, scenario, unique};

const LIMIT: Duration = Duration::from_secs(20);

async fn store_at(relay: &Relay, node: usize, from: &Stranger, to: &Stranger) -> anyhow::Result<()> {
    let ask = from.request("POST", "/v1/envelopes");
    let ask = ask.header("content-type", "application/octet-stream");
    let envelope = from.envelope(to.id(), &random::<560>()?)?;
    relay
        .http_of(node)
        .ask(ask.body(envelope))
        .await?
        .expect_status(201)
}

#[test]
fn hook_is_called_once_whichever_node_stores() {
    scenario(async |world| {
        let mut relay = world.new_nodes(2, None)?;
        relay.arguments(["--hook-allow", "127.0.0.1"]);
        relay.start().await?;
        let alice = Stranger::registered(relay.http_of(0), "alice", world.canaries()).await?;
        let bob = Stranger::registered(relay.http_of(1), "bob", world.canaries()).await?;
        let receiver = Receiver::start(Manner::Status("204 No Content")).await?;
        let secret = unique("secret")?;
        let hook = json!({ "url": receiver.url(), "secret": secret });
        let ask = bob.request("PUT", "/v1/agents/me/hook").json(&hook);
        relay.http_of(0).ask(ask).await?.expect_status(204)?;
        for count in 1..5 {
            store_at(&relay, count % 2, &alice, &bob).await?;
            let calls = receiver.until(count, LIMIT).await?;
            let call = calls.last().context("no call")?;
            call.verify_in(hook::HEADER, &secret)?;
            // Longer than the pause between two calls for one agent.
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            ensure!(receiver.calls().len() == count, "called twice for one thing");
        }
        // Whoever had the calls to make is gone.
        for node in 0..2 {
            relay.kill_node(node)?;
            store_at(&relay, 1 - node, &alice, &bob).await?;
            receiver.until(5 + node, LIMIT).await?;
            relay.start_node(node).await?;
        }
        Ok(())
    });
}
