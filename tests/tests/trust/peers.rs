//! Identities, pins and decisions on them, as agents see them.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use waxwire_tests::{Agent, eventually, scenario};

fn text<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    value[name]
        .as_str()
        .with_context(|| format!("no {name} in {value}"))
}

async fn decide(
    agent: &Agent,
    peer: &str,
    state: &str,
    fingerprint: &str,
) -> anyhow::Result<waxwire_tests::Answer> {
    let body = json!({ "state": state, "fingerprint": fingerprint });
    agent.put_json(&format!("/v1/agents/{peer}/trust"), &body).await
}

/// docs/protocol.md, 4.1 and 4.4: safety numbers agree; a lookup alone is no pin.
/// D7: both ends show the same safety number, and a lookup alone pins nothing.
#[test]
fn safety_numbers_are_equal_and_a_lookup_pins_nothing() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let (of_bob, of_alice) = (alice.identity("bob").await?, bob.identity("@Alice").await?);
        assert_eq!(of_bob["safety_number"], of_alice["safety_number"]);
        let digits = text(&of_bob, "safety_number")?
            .chars()
            .filter(char::is_ascii_digit)
            .count();
        assert_eq!(digits, 60);
        assert_eq!(
            (&of_bob["state"], &of_bob["handle"]),
            (&json!("new"), &json!("bob"))
        );
        let me = bob.get("/v1/agents/me").await?.expect(200)?;
        assert_eq!(me["fingerprint"], of_bob["fingerprint"]);
        alice.send_text("bob", "pins", "by use").await?;
        assert_eq!(alice.identity("bob").await?["state"], "pinned");
        alice
            .get("/v1/agents/nobody-here/identity")
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;
        alice.get("/v1/agents/alice").await?.expect(200)?;
        assert_eq!(alice.get("/v1/agents/bob").await?.expect(200)?["handle"], "bob");
        Ok(())
    });
}

#[test]
fn trust_is_decided_on_the_current_fingerprint_only() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let identity = alice.identity("bob").await?;
        let fingerprint = text(&identity, "fingerprint")?;
        let wrong = "0".repeat(64);
        let details = decide(&alice, "bob", "verified", &wrong)
            .await?
            .refused(409, "FINGERPRINT_MISMATCH")?;
        assert_eq!(details["actual"], fingerprint);
        decide(&alice, "bob", "verified", "not hexadecimal")
            .await?
            .refused(400, "VALIDATION_ERROR")?;
        decide(&alice, "bob", "trusted", fingerprint)
            .await?
            .refused(400, "VALIDATION_ERROR")?;
        decide(&alice, "nobody-here", "verified", fingerprint)
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;
        assert_eq!(alice.identity("bob").await?["state"], "new");

        assert_eq!(
            decide(&alice, "bob", "verified", fingerprint)
                .await?
                .expect(200)?["state"],
            "verified"
        );
        pair.alice.crash().await?;
        assert_eq!(alice.identity("bob").await?["state"], "verified");
        alice
            .send_text("bob", "to-verified", "compared by people")
            .await?;
        bob.receive().await?;
        Ok(())
    });
}

#[test]
fn blocked_peers_are_neither_written_to_nor_heard() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "before", "before the block").await?;
        bob.receive().await?;
        let identity = bob.identity("alice").await?;
        let fingerprint = text(&identity, "fingerprint")?;
        assert_eq!(
            decide(&bob, "alice", "blocked", fingerprint).await?.expect(200)?["state"],
            "blocked"
        );
        bob.try_text("alice", "to-blocked", "not to be sent")
            .await?
            .refused(403, "BLOCKED")?;
        alice.try_text("bob", "from-blocked", "not to be seen").await?;
        assert!(bob.sync_after(None, 2).await?.is_empty());
        decide(&bob, "alice", "pinned", fingerprint).await?.expect(200)?;
        bob.send_text("alice", "after", "after the block").await?;
        assert_eq!(alice.receive().await?.client_msg_id, "after");
        Ok(())
    });
}

/// Flow 2, step 1: a fingerprint in the address must match, at first contact and later.
#[test]
fn address_with_fingerprint_must_match() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let me = bob.get("/v1/agents/me").await?.expect(200)?;
        let fingerprint = text(&me, "fingerprint")?;
        let wrong = format!("bob#{}", "a".repeat(64));
        alice
            .try_text(&wrong, "wrong", "to somebody else")
            .await?
            .refused(409, "FINGERPRINT_MISMATCH")?;
        alice
            .try_text("bob#123", "short", "no fingerprint")
            .await?
            .refused(400, "VALIDATION_ERROR")?;
        alice
            .send_text(&format!("@Bob#{fingerprint}"), "right", "to bob himself")
            .await?;
        assert_eq!(bob.receive().await?.client_msg_id, "right");
        assert_eq!(alice.identity("bob").await?["state"], "pinned");
        alice
            .try_text(&wrong, "wrong", "still somebody else")
            .await?
            .refused(409, "FINGERPRINT_MISMATCH")?;
        let encoded = format!("/v1/agents/bob%23{}/identity", "a".repeat(64));
        alice.get(&encoded).await?.refused(409, "FINGERPRINT_MISMATCH")?;
        alice
            .get(&format!("/v1/agents/%40bob%23{fingerprint}/identity"))
            .await?
            .expect(200)?;
        assert!(bob.sync_after(None, 1).await?.is_empty());
        Ok(())
    });
}

#[test]
fn open_inbox_has_no_requests() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice
            .send_text("bob", "stranger", "straight to the inbox")
            .await?;
        bob.receive().await?;
        assert_eq!(
            bob.get("/v1/requests").await?.expect(200)?,
            json!({ "requests": [] })
        );
        bob.post("/v1/requests/nobody-here/accept")
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;
        Ok(())
    });
}

/// docs/protocol.md, 4.5: strangers wait, and learn nothing meanwhile.
/// Flow 2, step 3: a stranger waits in the requests and learns nothing until it is let in.
#[test]
fn strangers_wait_in_requests_when_only_contacts_may_write() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let writer = world.proxy(&relay, "alice").await?;
        let mut proxy = world.new_proxy(&relay, "bob").await?;
        proxy.init().await?;
        proxy.arguments(["--inbox-mode", "contacts_only"]);
        proxy.start().await?;
        let (alice, bob) = (writer.agent()?, proxy.agent()?);
        bob.until_ready().await?;
        let me = bob.get("/v1/agents/me").await?.expect(200)?;
        assert_eq!(me["settings"]["inbox_mode"], "contacts_only");
        let first = alice.send_text("bob", "knock", "knock, knock").await?;
        alice.send_text("bob", "again", "anybody there?").await?;
        let request = eventually("alice waits", Duration::from_secs(10), async || {
            let requests = bob.get("/v1/requests").await?.expect(200)?;
            Ok(Some(requests["requests"][0].clone()).filter(|request| request["count"] == 2))
        })
        .await?;
        let of_alice = alice.get("/v1/agents/me").await?.expect(200)?;
        assert_eq!(
            (&request["handle"], &request["fingerprint"]),
            (&json!("alice"), &of_alice["fingerprint"])
        );
        assert_eq!(bob.get("/v1/inbox").await?.expect(200)?["total"], 0);
        assert!(bob.sync_after(None, 1).await?.is_empty());
        proxy.crash().await?;
        bob.until_ready().await?;
        bob.post("/v1/requests/@Alice/accept").await?.expect(200)?;
        let got = bob.take_all(2, Duration::from_secs(10)).await?;
        let ids: Vec<&str> = got.iter().map(|message| message.client_msg_id.as_str()).collect();
        assert_eq!(ids, ["knock", "again"]);
        alice.until_status(&first, "delivered").await?;
        assert_eq!(
            bob.get("/v1/requests").await?.expect(200)?,
            json!({ "requests": [] })
        );
        alice.send_text("bob", "inside", "as one who was let in").await?;
        assert_eq!(bob.receive().await?.client_msg_id, "inside");
        Ok(())
    });
}

#[test]
fn rejected_strangers_are_dropped_and_may_knock_again() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let alice = world.proxy(&relay, "alice").await?;
        let mut bob = world.new_proxy(&relay, "bob").await?;
        bob.init().await?;
        bob.arguments(["--inbox-mode", "contacts_only"]);
        bob.start().await?;
        let (alice, bob) = (alice.agent()?, bob.agent()?);
        bob.until_ready().await?;
        let waits = async |count: u64| {
            eventually("a request", Duration::from_secs(10), async || {
                let requests = bob.get("/v1/requests").await?.expect(200)?;
                Ok((requests["requests"][0]["count"] == count).then_some(()))
            })
            .await
        };
        alice.send_text("bob", "knock", "to be dropped").await?;
        waits(1).await?;
        bob.delete("/v1/requests/alice").await?.expect(200)?;
        assert_eq!(
            bob.get("/v1/requests").await?.expect(200)?,
            json!({ "requests": [] })
        );
        alice.send_text("bob", "again", "another try").await?;
        waits(1).await?;
        bob.post("/v1/requests/alice/accept").await?.expect(200)?;
        assert_eq!(bob.receive().await?.client_msg_id, "again");
        Ok(())
    });
}

/// docs/protocol.md, 4.4: the policy `pinned`.
/// protocol.md 4: the policy `pinned` wants a fingerprint at first contact.
#[test]
fn pinned_policy_refuses_first_contact_without_fingerprint() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        pair.alice.terminate().await?;
        pair.alice.arguments(["--trust-policy", "pinned"]);
        pair.alice.start().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.until_ready().await?;
        alice
            .try_text("bob", "bare", "without a fingerprint")
            .await?
            .refused(400, "VALIDATION_ERROR")?;
        // A lookup makes no contact.
        alice.identity("bob").await?;
        alice
            .try_text("bob", "bare", "without a fingerprint")
            .await?
            .refused(400, "VALIDATION_ERROR")?;
        let me = bob.get("/v1/agents/me").await?.expect(200)?;
        let address = format!("bob#{}", text(&me, "fingerprint")?);
        alice.send_text(&address, "bare", "with it").await?;
        assert_eq!(bob.receive().await?.text(), "with it");
        alice.send_text("bob", "later", "it is pinned now").await?;
        assert_eq!(bob.receive().await?.client_msg_id, "later");
        Ok(())
    });
}
