//! Own encryption keys and API keys over the life of a proxy (docs/protocol.md, 4.3 and 4.7).

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use waxwire_tests::{Agent, Relay, eventually, program::run, scenario};

const SOON: Duration = Duration::from_secs(30);

/// Number of a peer's key as the agent knows it.
async fn key_number(agent: &Agent, peer: &str) -> anyhow::Result<u64> {
    let identity = agent.identity(peer).await?;
    identity["key_number"].as_u64().context("no key number")
}

/// Keys are replaced while messages come, and both the old and the new ones open.
#[test]
fn key_is_replaced_beside_messages_and_none_is_lost() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let alice_proxy = world.proxy(&relay, "alice").await?;
        let alice = alice_proxy.agent()?;
        let mut bob = world.proxy_with(&relay, "bob", ["--key-rotation", "2"]).await?;
        let first = key_number(&alice, "bob").await?;
        let mut sent = Vec::new();
        for number in 0..12 {
            let id = format!("during-{number}");
            alice.send_text("bob", &id, "while keys are replaced").await?;
            sent.push(id);
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let agent = bob.agent()?;
        let mut received: Vec<String> = agent
            .take_all(sent.len(), SOON)
            .await?
            .into_iter()
            .map(|m| m.client_msg_id)
            .collect();
        received.sort();
        sent.sort();
        assert_eq!(received, sent);

        // Who asks now learns a newer key; who knows the old one still reaches the agent.
        let carol_proxy = world.proxy(&relay, "carol").await?;
        let carol = carol_proxy.agent()?;
        assert!(key_number(&carol, "bob").await? > first);
        assert_eq!(key_number(&alice, "bob").await?, first);
        bob.crash().await?;
        alice
            .send_text("bob", "old-key", "sealed to the first key")
            .await?;
        assert_eq!(agent.receive().await?.client_msg_id, "old-key");
        carol.send_text("bob", "new-key", "sealed to a later key").await?;
        assert_eq!(agent.receive().await?.client_msg_id, "new-key");
        // And what bob writes under his new bundle is believed.
        agent.send_text("alice", "back", "under a later bundle").await?;
        assert!(alice.receive().await?.security.verified);
        Ok(())
    });
}

/// A replaced key is gone after its time, from the key store too. What is sealed to it all the same
/// does not open, and its author seals it again.
#[test]
fn erased_key_opens_nothing_and_its_message_is_sealed_again() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let alice_proxy = world.proxy(&relay, "alice").await?;
        let alice = alice_proxy.agent()?;
        let arguments = ["--key-rotation", "3", "--key-retention", "1"];
        let mut bob = world.proxy_with(&relay, "bob", arguments).await?;
        let agent = bob.agent()?;
        alice
            .send_text("bob", "before", "in time for the first key")
            .await?;
        assert_eq!(agent.receive().await?.client_msg_id, "before");
        let log = world.folder().join("logs").join("bob.log");
        eventually("the first key is erased", SOON, async || {
            let log = std::fs::read_to_string(&log)?;
            Ok(log.contains("an encryption key is erased").then_some(()))
        })
        .await?;
        bob.arguments([]);
        bob.crash().await?;
        agent.until_ready().await?;
        alice
            .send_text("bob", "after", "too late for the first key")
            .await?;
        until_alert(&agent, "key_erased").await?;
        let repaired = agent.take_all(1, SOON).await?;
        assert_eq!(repaired[0].client_msg_id, "after");
        Ok(())
    });
}

/// Whichever of the two files is behind after a crash, the agent has the key that peers seal to.
#[test]
fn crash_at_any_step_of_a_rotation_costs_no_message() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let alice_proxy = world.proxy(&relay, "alice").await?;
        let alice = alice_proxy.agent()?;
        let mut bob = world.proxy_with(&relay, "bob", []).await?;
        let agent = bob.agent()?;
        key_number(&alice, "bob").await?;
        for (index, fault) in [
            "bundle.committed",
            "bundle.durable",
            "bundle.published",
            "keys.saved",
        ]
        .into_iter()
        .enumerate()
        {
            bob.kill()?;
            bob.arguments(["--key-rotation", "1"]);
            bob.start_with_fault(fault).await?;
            bob.aborted().await.context(fault)?;
            bob.arguments([]);
            bob.start().await?;
            agent.until_ready().await?;
            let late_proxy = world.proxy(&relay, &format!("late-{index}")).await?;
            let late = late_proxy.agent()?;
            for (sender, id) in [(&alice, format!("{fault}-old")), (&late, format!("{fault}-new"))] {
                sender
                    .send_text("bob", &id, "sealed to whatever was published")
                    .await?;
                assert_eq!(agent.receive().await.context(fault)?.client_msg_id, id);
            }
        }
        Ok(())
    });
}

/// Runs a command of the relay's operator.
async fn operator<const N: usize>(relay: &Relay, arguments: [&str; N]) -> anyhow::Result<()> {
    run(relay.tool(arguments)?, SOON).await?.success().map(drop)
}

async fn until_alert(agent: &Agent, kind: &str) -> anyhow::Result<Value> {
    eventually(&format!("the alert {kind}"), SOON, async || {
        let alerts = agent.alerts().await?;
        Ok(alerts.into_iter().find(|alert| alert["type"] == kind))
    })
    .await
}

#[test]
fn revoked_api_key_is_replaced_on_proof_of_identity_and_kept() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        operator(&pair.relay, ["admin", "revoke", "bob"]).await?;
        until_alert(&bob, "api_key_replaced").await?;
        bob.until_ready().await?;
        alice.send_text("bob", "to-bob", "after the revocation").await?;
        assert_eq!(bob.receive().await?.client_msg_id, "to-bob");
        bob.send_text("alice", "from-bob", "under the new key").await?;
        alice.receive().await?;
        // The key is in the store: a new process is let in by it.
        pair.bob.crash().await?;
        bob.until_ready().await?;
        let alerts = bob.alerts().await?;
        let replaced = alerts.iter().filter(|alert| alert["type"] == "api_key_replaced");
        assert_eq!(replaced.count(), 1);
        Ok(())
    });
}

#[test]
fn suspended_agent_gets_no_new_key() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let bob = pair.bob.agent()?;
        operator(&pair.relay, ["admin", "suspend", "bob"]).await?;
        operator(&pair.relay, ["admin", "revoke", "bob"]).await?;
        let alert = until_alert(&bob, "relay_unauthorized").await?;
        assert!(
            alert["reason"].as_str().unwrap_or_default().contains("suspended"),
            "{alert}"
        );
        assert_eq!(bob.get("/readyz").await?.status, 503);
        let log = std::fs::read_to_string(world.folder().join("logs").join("relay.log"))?;
        assert!(!log.contains("API key replaced"));
        Ok(())
    });
}
