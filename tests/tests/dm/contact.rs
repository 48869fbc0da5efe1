//! First contact, turns, status.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use waxwire_tests::{patience, scenario, text_to, unique};

use crate::{agents, no_alerts};

/// Longest turn of an alternating conversation; a stall would be two seconds or more.
const TURN: Duration = Duration::from_millis(1_500);

/// Flow 2: the first message pins both sides, arrives verified and settles back to the author.
#[test]
fn first_contact_arrives_verified_and_settles() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let text = unique("first contact")?;
        let id = unique("id")?;
        let sent = alice.send_text("@Bob", &id, &text).await?;
        assert_eq!(
            (sent.sender.as_str(), sent.text(), sent.seq),
            ("alice", text.as_str(), 1)
        );
        assert_eq!((sent.status.as_str(), sent.kind.as_str()), ("stored", "text"));
        assert!(sent.conversation_id.starts_with("conv_") && sent.id.starts_with("msg_"));

        let got = bob.receive().await?;
        assert_eq!(
            (got.id.as_str(), got.client_msg_id.as_str()),
            (sent.id.as_str(), id.as_str())
        );
        assert_eq!(
            (got.sender.as_str(), got.text(), got.seq),
            ("alice", text.as_str(), 1)
        );
        assert_eq!(got.created_at, sent.created_at);
        assert!(got.security.verified && got.security.gap.is_none());
        assert_eq!(got.security.trust, "pinned");
        assert_eq!(got.rest["context"]["sender"]["handle"], "alice");
        let me = alice.get("/v1/agents/me").await?.expect(200)?;
        assert_eq!(me["fingerprint"], got.security.sender_fingerprint.as_str());

        let settled = alice.until_status(&sent, "delivered").await?;
        assert!(settled.delivered_at.is_some() && settled.read_at.is_none());
        assert!(bob.sync().await?.is_empty());
        no_alerts([&alice, &bob]).await
    });
}

/// docs/proxy-api.md: own sends take local numbers, and nobody waits for them.
#[test]
fn alternate_turns_do_not_stall() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        alice
            .send_text("bob", "warm-up", "the first lookup is not a turn")
            .await?;
        bob.receive().await?;
        let mut seqs = (Vec::new(), Vec::new());
        for turn in 0..20 {
            let (from, to) = if turn % 2 == 0 {
                (&bob, &alice)
            } else {
                (&alice, &bob)
            };
            let (id, text) = (format!("turn-{turn}"), unique("turn")?);
            let begin = Instant::now();
            let waiting = to.sync_after(None, 10);
            let sending = from.send_text(to.handle(), &id, &text);
            let (got, sent) = tokio::try_join!(waiting, sending)?;
            let took = begin.elapsed();
            assert!(took < patience(TURN), "turn {turn} took {took:?}");
            assert_eq!(got.len(), 1, "{got:?}");
            assert_eq!(got[0].text(), text);
            to.ack(got[0].delivery_id.as_deref().unwrap_or_default()).await?;
            seqs.0.push(sent.seq);
            seqs.1.push(got[0].seq);
        }
        assert_eq!(seqs.0, (2..22).collect::<Vec<_>>());
        assert_eq!(seqs.1, (2..22).collect::<Vec<_>>());
        no_alerts([&alice, &bob]).await
    });
}

/// C6: stored, delivered, read, never backwards, proved by the recipient.
#[test]
fn status_moves_to_read_and_the_author_learns_it() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let sent = alice.send_text("bob", "to-be-read", "please read").await?;
        let got = bob.receive().await?;
        alice.until_status(&sent, "delivered").await?;
        let read_path = format!("/v1/messages/{}/read", got.id);
        for _ in 0..2 {
            bob.post(&read_path).await?.expect(200)?;
        }
        let read = alice.until_status(&sent, "read").await?;
        assert!(read.read_at.is_some() && read.delivered_at.is_some());
        // An ack after the read takes nothing back.
        assert_eq!(bob.ack(got.delivery_id.as_deref().unwrap_or_default()).await?, 0);
        alice.until_status(&sent, "read").await?;
        // One cannot read what one wrote, nor what does not exist.
        alice.post(&read_path).await?.refused(404, "MESSAGE_NOT_FOUND")?;
        let none = format!("/v1/messages/msg_{}/read", "0".repeat(32));
        bob.post(&none).await?.refused(404, "MESSAGE_NOT_FOUND")?;
        Ok(())
    });
}

#[test]
fn replies_name_the_same_message_at_both_ends() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let sent = alice.send_text("bob", "question", "what is it, @carol?").await?;
        let got = bob.receive().await?;
        assert_eq!(got.rest["context"]["mentions"], json!(["carol"]));
        let reply = json!({
            "conversation_id": got.conversation_id,
            "client_msg_id": "answer",
            "content": "a bare string",
            "reply_to": got.id,
        });
        bob.send(&reply).await?.expect(201)?;
        let answer = alice.receive().await?;
        assert_eq!(
            (answer.text(), answer.rest["reply_to"].as_str()),
            ("a bare string", Some(sent.id.as_str()))
        );
        Ok(())
    });
}

#[test]
fn impossible_recipients_are_refused_by_code() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        for oneself in ["alice", "@alice", "@ALICE"] {
            alice
                .try_text(oneself, "self", "to myself")
                .await?
                .refused(400, "VALIDATION_ERROR")?;
        }
        alice
            .try_text("nobody-here", "unknown", "to nobody")
            .await?
            .refused(404, "AGENT_NOT_FOUND")?;
        let mut body = text_to("bob", "foreign", "to a conversation");
        body["conversation_id"] = json!(format!("conv_{}", "0".repeat(32)));
        alice.send(&body).await?.refused(400, "VALIDATION_ERROR")?;
        if let Some(fields) = body.as_object_mut() {
            fields.remove("to");
        }
        alice.send(&body).await?.refused(404, "CONVERSATION_NOT_FOUND")?;
        // A refused id is free: the same one works for a recipient who exists.
        alice.send_text("bob", "unknown", "to bob after all").await?;
        assert_eq!(bob.receive().await?.client_msg_id, "unknown");
        Ok(())
    });
}
