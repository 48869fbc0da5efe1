//! Registration, keys and direct messages.

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{eventually, scenario, unique};

use crate::{Client, SPREAD, content, having, text};

/// docs/protocol.md, 4.7, 5.6, 5.7 and 7.3: both sides take each other's keys, messages and receipts for
/// genuine, and agree on ids.
#[test]
fn client_registers_and_talks_with_an_agent_behind_a_proxy() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let proxy = world.proxy(&relay, "alice").await?;
        let alice = proxy.agent()?;
        let (mut carl, fingerprint) = Client::registered(world, &relay.url()?, "carl").await?;
        assert_eq!(alice.identity("carl").await?["fingerprint"], *fingerprint);
        let me = alice.get("/v1/agents/me").await?.expect(200)?;
        let other = "00".repeat(32);
        let asked = json!({"do": "look_up", "handle": "alice", "fingerprint": other});
        assert_eq!(carl.refusal(asked).await?, "FINGERPRINT_MISMATCH");
        let asked = json!({"do": "look_up", "handle": "alice", "fingerprint": me["fingerprint"]});
        carl.ask(asked).await?;

        let words = unique("hello from outside")?;
        let id = carl.say(Some("alice"), "first", &words).await?;
        // Under the same id it is the same message, wherever it was lost.
        assert_eq!(carl.say(Some("alice"), "first", &words).await?, id);
        let received = alice.receive().await?;
        assert_eq!((received.id.as_str(), received.text()), (id.as_str(), &*words));
        assert_eq!(
            (received.sender.as_str(), &*received.client_msg_id),
            ("carl", "first")
        );
        assert_eq!(received.security.sender_fingerprint, fingerprint);
        ensure!(received.security.verified && received.security.gap.is_none());

        // A later bundle that continues the first changes nothing.
        carl.ask(json!({"do": "publish"})).await?;
        carl.say(Some("alice"), "second", &unique("again from outside")?)
            .await?;
        ensure!(alice.receive().await?.security.gap.is_none());

        let words = unique("hello from inside")?;
        let answer = alice.send_text("carl", "answer", &words).await?;
        let told = eventually("the client gets the answer", SPREAD, async || {
            Ok(having(carl.receive("mail").await?, "messages"))
        })
        .await?;
        let message = &told["messages"][0];
        assert_eq!(text(message, "message_id")?, answer.id);
        assert_eq!(text(message, "content")?, content(&words));
        assert_eq!(
            (&message["sender"], &message["n"], &message["missing"]),
            (&json!("alice"), &json!(1), &json!(0))
        );
        assert_eq!(told["refused"], json!([]));
        // What has come to alice is said by her message, or by a receipt if she took longer to write it.
        let mut acknowledged = told["acknowledged"].clone();
        eventually("the client knows that both have come", SPREAD, async || {
            if acknowledged
                .as_array()
                .is_some_and(|numbers| numbers.contains(&json!(2)))
            {
                return Ok(Some(()));
            }
            acknowledged = carl.receive("control").await?["acknowledged"].clone();
            Ok(None)
        })
        .await?;
        alice.until_status(&answer, "delivered").await?;
        let alerts = alice.alerts().await?;
        ensure!(alerts.is_empty(), "{alerts:?}");
        Ok(())
    });
}
