//! Who is there, between real programs (docs/protocol.md, 7.4; docs/relay-api.md, Presence).

use std::time::Duration;

use serde_json::{Value, json};
use waxwire_tests::{Agent, eventually, scenario};

/// The relay takes nobody for gone before three seconds have passed.
const LIMIT: Duration = Duration::from_secs(15);

async fn presence(agent: &Agent, of: &str) -> anyhow::Result<Value> {
    agent.get(&format!("/v1/presence/{of}")).await?.expect(200)
}

async fn until(agent: &Agent, of: &str, status: &str) -> anyhow::Result<Value> {
    eventually(&format!("{of} is {status}"), LIMIT, async || {
        let presence = presence(agent, of).await?;
        Ok((presence["status"] == status).then_some(presence))
    })
    .await
}

/// C8: an agent is online while its proxy is linked, unless it wants to be taken for absent.
#[test]
fn presence_follows_the_proxy_and_the_agents_wish() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let online = until(&alice, "@Bob", "online").await?;
        assert_eq!(
            online,
            json!({"handle": "bob", "status": "online", "custom_message": null, "last_seen": null})
        );
        let batch = json!({"handles": ["bob", "nobody-here", "@alice"]});
        let answer = alice.post_json("/v1/presence/batch", &batch).await?.expect(200)?;
        let handles: Vec<&Value> = answer["presences"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|presence| &presence["handle"])
            .collect();
        assert_eq!(handles, ["bob", "alice"]);
        alice
            .get("/v1/presence/nobody-here")
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;

        let own = json!({"status": "offline"});
        bob.put_json("/v1/presence", &own).await?.expect(200)?;
        until(&alice, "bob", "offline").await?;
        let own = json!({"status": "online"});
        bob.put_json("/v1/presence", &own).await?.expect(200)?;
        until(&alice, "bob", "online").await?;

        pair.bob.terminate().await?;
        let gone = until(&alice, "bob", "offline").await?;
        assert!(gone["last_seen"].is_string(), "{gone}");
        pair.relay.terminate().await?;
        pair.relay.start().await?;
        let still = eventually("the relay is back", LIMIT, async || {
            let answer = alice.get("/v1/presence/bob").await?;
            Ok(answer.expect(200).ok())
        })
        .await?;
        assert_eq!(still["last_seen"], gone["last_seen"]);
        pair.bob.start().await?;
        until(&alice, "bob", "online").await?;
        Ok(())
    });
}

/// C8: what an agent says of itself reaches the contacts that it holds; across a block nobody exists.
#[test]
fn text_reaches_contacts_and_a_block_hides_both() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "one", "good morning").await?;
        bob.receive().await?;
        bob.send_text("alice", "two", "good morning, too").await?;
        alice.receive().await?;
        let contact = json!({"handle": "bob"});
        alice.post_json("/v1/contacts", &contact).await?.expect(201)?;
        let text = "counting the crates in the vault";
        world.canaries().forbid(text);
        let busy = json!({"status": "busy", "custom_message": text});
        alice.put_json("/v1/presence", &busy).await?.expect(200)?;
        let seen = until(&bob, "alice", "busy").await?;
        assert_eq!(seen["custom_message"], text);
        // Bob holds nobody, and says so to nobody.
        let own = json!({"status": "busy", "custom_message": "for nobody"});
        bob.put_json("/v1/presence", &own).await?.expect(200)?;
        assert_eq!(presence(&alice, "bob").await?["custom_message"], Value::Null);

        bob.post("/v1/contacts/alice/block").await?.expect(200)?;
        for (agent, other) in [(&alice, "bob"), (&bob, "alice")] {
            eventually("nobody is there across a block", LIMIT, async || {
                let answer = agent.get(&format!("/v1/presence/{other}")).await?;
                Ok(answer.refused(404, "AGENT_NOT_FOUND").ok())
            })
            .await?;
        }
        Ok(())
    });
}

/// Whoever is shown to nobody is not seen, whatever its proxy does.
#[test]
fn agent_that_is_shown_to_nobody_is_offline() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let alice = world.proxy(&relay, "alice").await?;
        let mut bob = world.new_proxy(&relay, "bob").await?;
        bob.arguments(["--presence", "nobody"]);
        bob.init().await?;
        bob.start().await?;
        bob.agent()?.until_ready().await?;
        let (alice, bob) = (alice.agent()?, bob.agent()?);
        alice.send_text("bob", "one", "are you there").await?;
        bob.receive().await?;
        let busy = json!({"status": "busy", "custom_message": "for nobody"});
        bob.put_json("/v1/presence", &busy).await?.expect(200)?;
        let seen = presence(&alice, "bob").await?;
        let nothing =
            json!({"handle": "bob", "status": "offline", "custom_message": null, "last_seen": null});
        assert_eq!(seen, nothing);
        Ok(())
    });
}
