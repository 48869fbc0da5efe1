//! What is called, in which order, and what a success means.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::time::Instant;
use waxwire_tests::{
    Manner, Receiver, certificate::trusting, eventually, patience, scenario, scenario_within,
};

use crate::{LIMIT, register, until_dead};

const OK: Manner = Manner::Status("204 No Content");

/// Messages come in order, signed, as the socket's frames have them; a success settles.
#[test]
fn messages_are_told_in_order_signed_and_settled() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let receiver = Receiver::start(OK).await?;
        let (_, secret) = register(&bob, &receiver.url(), &["message.new"]).await?;
        world.canaries().forbid(&secret);
        let mut socket = bob.socket(false).await?;
        let mut sent = Vec::new();
        for number in 0..10 {
            sent.push(
                alice
                    .send_text("bob", &format!("m-{number}"), "to a webhook")
                    .await?,
            );
        }
        let calls = receiver.until(10, LIMIT).await?;
        for (call, message) in calls.iter().zip(&sent) {
            call.verify(&secret)?;
            ensure!(call.line == "POST /hook HTTP/1.1", "{call:?}");
            ensure!(call.header("x-agentchat-event") == "message.new");
            ensure!(call.header("content-type") == "application/json");
            ensure!(call.header("x-agentchat-delivery").starts_with("whd_"));
            ensure!(call.body["event"] == "message.new" && call.body["timestamp"].is_string());
            ensure!(call.body["data"]["id"] == message.id.as_str(), "{call:?}");
            let mut told = socket.event("message.new").await?;
            // When it was settled differs.
            let mut data = call.body["data"].clone();
            for facts in [&mut told, &mut data] {
                facts["status"] = Value::Null;
                facts["delivered_at"] = Value::Null;
            }
            ensure!(data == told, "{data}\n{told}");
        }
        for message in &sent {
            alice.until_status(message, "delivered").await?;
        }
        ensure!(bob.sync().await?.is_empty());
        // An own message is not told.
        bob.send_text("alice", "own", "not to an own webhook").await?;
        alice.send_text("bob", "last", "the last one").await?;
        let calls = receiver.until(11, LIMIT).await?;
        ensure!(
            calls[10].body["data"]["client_msg_id"] == "last",
            "{:?}",
            calls[10]
        );
        Ok(())
    });
}

/// While a socket that acknowledges carries a message, a webhook's success does not settle it.
#[test]
fn success_does_not_settle_what_a_socket_carries() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let receiver = Receiver::start(OK).await?;
        let (webhook, _) = register(&bob, &receiver.url(), &["message.new"]).await?;
        let mut socket = bob.socket(true).await?;
        let sent = alice.send_text("bob", "leased", "carried by a socket").await?;
        receiver.until(1, LIMIT).await?;
        let told = socket.message().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let rows = alice.history(&sent.conversation_id, "after_seq=0").await?;
        ensure!(rows[0].status == "stored", "{rows:?}");
        socket.ack(&told.id).await?;
        alice.until_status(&sent, "delivered").await?;
        drop(socket);
        bob.delete(&format!("/v1/webhooks/{webhook}"))
            .await?
            .expect(200)?;
        alice.send_text("bob", "unheard", "nobody is called").await?;
        bob.receive().await?;
        ensure!(receiver.calls().len() == 1);
        Ok(())
    });
}

/// Other events have the payload of the socket's frame and settle nothing; mutes suppress.
#[test]
fn other_events_are_told_and_muted_ones_are_not() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let receiver = Receiver::start(OK).await?;
        let events = ["message.read", "group.invite.received", "group.deleted"];
        let (_, secret) = register(&bob, &receiver.url(), &events).await?;
        let sent = bob.send_text("alice", "read-me", "please read it").await?;
        let taken = alice.receive().await?;
        alice
            .post(&format!("/v1/messages/{}/read", taken.id))
            .await?
            .expect(200)?;
        let calls = receiver.until(1, LIMIT).await?;
        calls[0].verify(&secret)?;
        let data = &calls[0].body["data"];
        ensure!(
            calls[0].body["event"] == "message.read" && data["message_id"] == sent.id.as_str(),
            "{data}"
        );
        ensure!(data["read_by"] == "alice");

        let body = json!({ "name": "told", "member_handles": ["bob"] });
        let group = alice.post_json("/v1/groups", &body).await?.expect(201)?;
        let id = group["group"]["id"].as_str().unwrap_or_default().to_owned();
        let calls = receiver.until(2, LIMIT).await?;
        ensure!(calls[1].body["event"] == "group.invite.received");
        ensure!(calls[1].body["data"]["group_id"] == id.as_str(), "{:?}", calls[1]);
        let invite = calls[1].body["data"]["id"].as_str().unwrap_or_default();
        bob.post(&format!("/v1/groups/invites/{invite}/accept"))
            .await?
            .expect(200)?;
        alice.delete(&format!("/v1/groups/{id}")).await?.expect(200)?;
        let calls = receiver.until(3, LIMIT).await?;
        ensure!(calls[2].body["event"] == "group.deleted", "{:?}", calls[2]);

        let mute = json!({ "target_kind": "agent", "target_handle": "alice" });
        bob.post_json("/v1/mutes", &mute).await?.expect(201)?;
        let (_, _) = register(&bob, &receiver.url(), &["message.new"]).await?;
        alice.send_text("bob", "muted", "not to be pushed").await?;
        eventually("sync has it", LIMIT, async || {
            Ok(bob
                .sync()
                .await?
                .iter()
                .any(|row| row.client_msg_id == "muted")
                .then_some(()))
        })
        .await?;
        ensure!(receiver.calls().len() == 3);
        Ok(())
    });
}

/// A receiver that never answers holds up its own queue only.
#[test]
fn slow_receiver_delays_nobody() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let (slow, quick) = (
            Receiver::start(Manner::Silence).await?,
            Receiver::start(OK).await?,
        );
        register(&bob, &slow.url(), &["message.new"]).await?;
        register(&bob, &quick.url(), &["message.new"]).await?;
        let mut socket = bob.socket(false).await?;
        alice.send_text("bob", "0", "the first one").await?;
        slow.until(1, LIMIT).await?;
        let begin = Instant::now();
        for number in 1..6 {
            alice.send_text("bob", &number.to_string(), "one of some").await?;
        }
        ensure!(socket.messages(6).await?.len() == 6);
        let calls = quick.until(6, LIMIT).await?;
        let names: Vec<&Value> = calls
            .iter()
            .map(|call| &call.body["data"]["client_msg_id"])
            .collect();
        ensure!(names == ["0", "1", "2", "3", "4", "5"], "{names:?}");
        ensure!(
            begin.elapsed() < patience(Duration::from_secs(5)),
            "{:?}",
            begin.elapsed()
        );
        ensure!(slow.calls().len() == 1);
        // After ten seconds it is left, and the same one is tried again.
        let calls = slow.until(2, Duration::from_secs(30)).await?;
        ensure!(calls[1].at - calls[0].at > Duration::from_secs(10));
        ensure!(calls[0].header("x-agentchat-delivery") == calls[1].header("x-agentchat-delivery"));
        Ok(())
    });
}

/// Over https a receiver is told if this machine trusts its certificate, and else learns nothing.
#[test]
fn receiver_over_https_is_told_if_its_certificate_is_trusted() {
    scenario_within(Duration::from_secs(240), async |world| {
        let mut pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        let receiver = Receiver::start_tls(OK).await?;
        let (webhook, secret) = register(&pair.bob.agent()?, &receiver.url(), &["message.new"]).await?;
        alice.send_text("bob", "one", "not for a stranger's ears").await?;
        let letters = until_dead(&pair.bob.agent()?, &webhook, 1).await?;
        ensure!(letters[0]["reason"] == "tls failed", "{letters:?}");
        ensure!(receiver.calls().is_empty(), "{:?}", receiver.calls());

        pair.bob.terminate().await?;
        let command = trusting(pair.bob.run_command("127.0.0.1:0")?);
        pair.bob.start_by(command).await?;
        alice.send_text("bob", "two", "for a receiver over https").await?;
        let calls = receiver.until(1, LIMIT).await?;
        ensure!(calls[0].body["data"]["client_msg_id"] == "two", "{calls:?}");
        calls[0].verify(&secret)?;
        Ok(())
    });
}
