//! Nobody is always there: recipients that are off, relays that are down, answers that get lost.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use waxwire_shared::api::frames::{ClientFrame, RelayFrame};
use waxwire_tests::{
    Agent, Answer, Message, eventually, scenario, scenario_within,
    tap::{Fate, Frame, Side, Way},
    unique,
};

/// Longer than the ten seconds for which the proxy itself waits for an outcome.
const ANSWER: Duration = Duration::from_secs(20);

async fn send(agent: &Agent, to: &str, id: &str, text: &str) -> anyhow::Result<Answer> {
    let body = waxwire_tests::text_to(to, id, text);
    agent
        .ask(agent.request("POST", "/v1/messages").json(&body).limit(ANSWER))
        .await
}

/// Repeats a send until its outcome is known; it has to be 200 then, the message of the first try.
async fn outcome(agent: &Agent, to: &str, id: &str, text: &str) -> anyhow::Result<Message> {
    let what = format!("the outcome of {id}");
    eventually(&what, Duration::from_secs(60), async || {
        let answer = send(agent, to, id, text).await?;
        if answer.status == 503 {
            answer.refused(503, "RELAY_UNREACHABLE")?;
            return Ok(None);
        }
        ensure!(
            answer.status == 200,
            "expected 200, got {}: {}",
            answer.status,
            answer.text()
        );
        Ok(Some(answer.parse()?))
    })
    .await
}

/// Exactly one message with this id, and nothing twice.
async fn exactly_once(agent: &Agent, id: &str, message: &Message) -> anyhow::Result<()> {
    let got = agent.receive().await?;
    assert_eq!(
        (got.client_msg_id.as_str(), got.id.as_str()),
        (id, message.id.as_str())
    );
    assert!(agent.sync_after(None, 2).await?.is_empty());
    assert_eq!(agent.history(&got.conversation_id, "").await?.len(), 1);
    Ok(())
}

#[test]
fn offline_recipient_catches_up_in_order() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "first", "while bob is there").await?;
        bob.receive().await?;
        assert!(pair.bob.terminate().await?.success());
        for n in 0..30 {
            alice
                .send_text("bob", &format!("off-{n}"), &unique("off")?)
                .await?;
        }
        pair.bob.start().await?;
        let got = bob.take_all(30, Duration::from_secs(20)).await?;
        let ids: Vec<String> = got.iter().map(|message| message.client_msg_id.clone()).collect();
        assert_eq!(ids, (0..30).map(|n| format!("off-{n}")).collect::<Vec<_>>());
        assert_eq!(
            got.iter().map(|message| message.seq).collect::<Vec<_>>(),
            (2..32).collect::<Vec<_>>()
        );
        assert!(got.iter().all(|message| message.security.gap.is_none()));
        assert!(bob.sync().await?.is_empty());
        Ok(())
    });
}

#[test]
fn unsettled_messages_survive_the_recipients_crash() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        for n in 0..3 {
            alice.send_text("bob", &format!("m{n}"), &unique("kept")?).await?;
        }
        let rows = eventually("three rows", Duration::from_secs(10), async || {
            Ok(Some(bob.sync().await?).filter(|rows| rows.len() == 3))
        })
        .await?;
        bob.ack(rows[0].delivery_id.as_deref().unwrap_or_default())
            .await?;
        pair.bob.crash().await?;
        assert_eq!(bob.sync().await?, rows[1..]);
        Ok(())
    });
}

/// docs/operations/running.md, Watching: 503 with `queued: true` goes on by itself, and its id asks for
/// the outcome.
#[test]
fn send_while_the_relay_is_down_is_queued_and_stored_later_once() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.identity("bob").await?;
        pair.relay.kill()?;
        let (id, text) = (unique("queued")?, unique("queued text")?);
        let details = send(&alice, "bob", &id, &text)
            .await?
            .refused(503, "RELAY_UNREACHABLE")?;
        assert_eq!(details["queued"], true);
        assert_eq!(alice.get("/readyz").await?.status, 503);
        pair.relay.start().await?;
        let message = outcome(&alice, "bob", &id, &text).await?;
        assert_eq!(message.text(), text);
        exactly_once(&bob, &id, &message).await
    });
}

/// docs/protocol.md, 4.3, using one: the cached bundle serves while the relay cannot be asked, however old
/// it is; before the message goes out, the relay is asked.
#[test]
fn queued_message_survives_the_senders_crash() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        pair.alice.terminate().await?;
        pair.alice.arguments(["--bundle-age", "0"]);
        pair.alice.start().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.until_ready().await?;
        alice.identity("bob").await?;
        pair.relay.kill()?;
        let (id, text) = (unique("queued")?, unique("queued text")?);
        let details = send(&alice, "bob", &id, &text)
            .await?
            .refused(503, "RELAY_UNREACHABLE")?;
        assert_eq!(details["queued"], true);
        pair.alice.crash().await?;
        pair.relay.start().await?;
        // Nobody asks: the proxy goes on by itself.
        let got = bob.take_all(1, Duration::from_secs(60)).await?;
        assert_eq!(got[0].client_msg_id, id);
        assert_eq!(outcome(&alice, "bob", &id, &text).await?.id, got[0].id);
        Ok(())
    });
}

#[test]
fn first_contact_without_a_relay_is_not_queued() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        pair.relay.kill()?;
        let details = send(&alice, "bob", "too-early", "nothing is known of bob").await?;
        assert_eq!(details.refused(503, "RELAY_UNREACHABLE")?["queued"], false);
        pair.relay.start().await?;
        alice.until_ready().await?;
        alice.send_text("bob", "too-early", "now it is").await?;
        assert_eq!(bob.receive().await?.text(), "now it is");
        Ok(())
    });
}

fn is_stored(frame: Frame<'_>) -> bool {
    matches!(frame.relay(), Some(RelayFrame::Stored { .. }))
}

/// docs/protocol.md, 5.5: the relay answers a repeated `mid` with the first outcome.
/// The 503 was in truth a 201: the relay stored it, its answer got lost.
#[test]
fn lost_answer_is_found_again_and_nothing_is_delivered_twice() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.identity("bob").await?;
        pair.alice
            .tap()
            .on_frame(|frame| if is_stored(frame) { Fate::Drop } else { Fate::Pass });
        let (id, text) = (unique("lost")?, unique("lost text")?);
        let details = send(&alice, "bob", &id, &text)
            .await?
            .refused(503, "RELAY_UNREACHABLE")?;
        assert_eq!(details["queued"], true);
        let got = bob.receive().await?;
        assert_eq!(got.client_msg_id, id);
        pair.alice.tap().calm();
        let message = outcome(&alice, "bob", &id, &text).await?;
        assert_eq!((message.id.as_str(), message.seq), (got.id.as_str(), 1));
        alice.until_status(&message, "delivered").await?;
        alice
            .send_text("bob", "after", "nothing is lost after it")
            .await?;
        let next = bob.receive().await?;
        assert_eq!((next.client_msg_id.as_str(), next.security.gap), ("after", None));
        Ok(())
    });
}

/// The socket breaks at the worst moments; the agent that waits is answered all the same.
#[test]
fn send_is_answered_although_the_socket_breaks_around_it() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.identity("bob").await?;
        let is_send = |frame: Frame<'_>| matches!(frame.client(), Some(ClientFrame::Send { .. }));
        type Moment = (&'static str, fn(Frame<'_>) -> bool, Fate);
        let moments: [Moment; 4] = [
            ("before-the-relay", is_send, Fate::Cut),
            ("after-the-relay", is_send, Fate::PassThenCut),
            ("before-the-proxy", is_stored, Fate::Cut),
            ("after-the-proxy", is_stored, Fate::PassThenCut),
        ];
        for (id, at, fate) in moments {
            let mut once = Some(fate);
            pair.alice.tap().on_frame(move |frame| {
                if at(frame) {
                    once.take().unwrap_or(Fate::Pass)
                } else {
                    Fate::Pass
                }
            });
            let answer = send(&alice, "bob", id, &unique(id)?).await?;
            ensure!(answer.status == 201, "{id}: {} {}", answer.status, answer.text());
            assert_eq!(bob.receive().await?.client_msg_id, id);
        }
        assert!(bob.sync_after(None, 1).await?.is_empty());
        Ok(())
    });
}

/// The relay pushes again what was not acknowledged; the agent sees it once.
#[test]
fn lost_acks_deliver_nothing_twice() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let is_ack = |frame: Frame<'_>| matches!(frame.client(), Some(ClientFrame::Ack(_)));
        pair.bob
            .tap()
            .on_frame(move |frame| if is_ack(frame) { Fate::Drop } else { Fate::Pass });
        for n in 0..5 {
            alice.send_text("bob", &format!("m{n}"), &unique("once")?).await?;
        }
        assert_eq!(bob.take_all(5, Duration::from_secs(20)).await?.len(), 5);
        for _ in 0..3 {
            let before = pair.bob.tap().sockets();
            pair.bob.tap().cut();
            eventually("bob is linked again", Duration::from_secs(30), async || {
                Ok((pair.bob.tap().sockets() > before).then_some(()))
            })
            .await?;
            assert!(bob.sync_after(None, 1).await?.is_empty());
        }
        pair.bob.tap().calm();
        alice.send_text("bob", "last", "after the acks came back").await?;
        assert_eq!(bob.receive().await?.client_msg_id, "last");
        Ok(())
    });
}

#[test]
fn repeated_deliveries_are_shown_once() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let mut past: Vec<Vec<u8>> = Vec::new();
        pair.bob.tap().on_frame(move |frame| {
            if matches!(frame.relay(), Some(RelayFrame::Deliver(_))) {
                past.push(frame.bytes.to_vec());
                // This one twice, and everything before it again.
                return Fate::Replace([past.as_slice(), past.as_slice()].concat());
            }
            Fate::Pass
        });
        for n in 0..4 {
            alice
                .send_text("bob", &format!("m{n}"), &unique("again")?)
                .await?;
        }
        let got = bob.take_all(4, Duration::from_secs(20)).await?;
        let ids: Vec<&str> = got.iter().map(|message| message.client_msg_id.as_str()).collect();
        assert_eq!(ids, ["m0", "m1", "m2", "m3"]);
        assert!(got.iter().all(|message| message.security.gap.is_none()));
        assert!(bob.sync_after(None, 1).await?.is_empty());
        Ok(())
    });
}

/// Attack 44: what a relay reorders is put right or flagged exactly, never shown as if in order.
#[test]
fn reordered_deliveries_are_put_right_or_flagged() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.send_text("bob", "first", "sets the numbers").await?;
        bob.receive().await?;
        let mut held: Vec<Vec<u8>> = Vec::new();
        pair.bob.tap().on_frame(move |frame| {
            let delivery = matches!(frame.relay(), Some(RelayFrame::Deliver(_)));
            if !delivery || held.len() >= 4 {
                return Fate::Pass;
            }
            held.push(frame.bytes.to_vec());
            if held.len() < 4 {
                return Fate::Drop;
            }
            Fate::Replace(held.iter().rev().cloned().collect())
        });
        for n in 0..4 {
            alice
                .send_text("bob", &format!("m{n}"), &unique("shuffled")?)
                .await?;
        }
        alice.send_text("bob", "last", "after the others").await?;
        let mut got = Vec::new();
        eventually("the last one", Duration::from_secs(20), async || {
            got.extend(bob.take(1).await?);
            Ok(got
                .iter()
                .any(|message: &Message| message.client_msg_id == "last")
                .then_some(()))
        })
        .await?;
        let mut next = 2;
        for message in &got {
            let n = match message.client_msg_id.as_str() {
                "last" => 6,
                id => id[1..].parse::<u64>()? + 2,
            };
            let missing = message.security.gap.map_or(0, |gap| gap.missing);
            ensure!(n == next + missing, "{n} after {next}, gap {missing}");
            next = n + 1;
        }
        Ok(())
    });
}

/// A partition: nobody hangs up, nothing moves.
#[test]
fn partition_heals_without_loss() {
    scenario_within(Duration::from_secs(180), async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        alice.identity("bob").await?;
        pair.alice.tap().set(Way::Stalled);
        let details = send(&alice, "bob", "in-the-dark", "queued in the partition").await?;
        assert_eq!(details.refused(503, "RELAY_UNREACHABLE")?["queued"], true);
        pair.alice.tap().set(Way::Open);
        let message = outcome(&alice, "bob", "in-the-dark", "queued in the partition").await?;
        exactly_once(&bob, "in-the-dark", &message).await
    });
}

#[test]
fn slow_way_is_slow_and_nothing_else() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        pair.alice.tap().set(Way::Slow(Duration::from_millis(50)));
        pair.bob.tap().set(Way::Slow(Duration::from_millis(50)));
        for n in 0..5 {
            alice
                .send_text("bob", &format!("slow-{n}"), &unique("slow")?)
                .await?;
        }
        let got = bob.take_all(5, Duration::from_secs(20)).await?;
        assert_eq!(
            got.iter().map(|message| message.seq).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5]
        );
        Ok(())
    });
}

/// What is no frame costs the socket, never the proxy.
#[test]
fn malformed_frames_end_the_socket_and_nothing_is_lost() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        for garbage in [vec![], vec![0x83, 0x01], vec![0x00; 200_000]] {
            let before = pair.bob.tap().sockets();
            pair.bob.tap().inject(Side::Relay, garbage.clone());
            eventually("bob is linked anew", Duration::from_secs(60), async || {
                Ok((pair.bob.tap().sockets() > before).then_some(()))
            })
            .await?;
            bob.until_ready().await?;
        }
        alice.send_text("bob", "after", "after all that noise").await?;
        assert_eq!(bob.receive().await?.client_msg_id, "after");
        assert_eq!(
            alice.get("/v1/inbox/unread-count").await?.expect(200)?,
            json!({ "unread": 0 })
        );
        Ok(())
    });
}

/// docs/protocol.md, 5.8: after `expires` a message is delivered as expired.
/// A message that has lost its meaning by the time it arrives is delivered, and marked.
#[test]
fn attack_48_message_that_arrives_after_its_time_is_marked_expired() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        pair.bob.kill()?;
        for (id, expires_at) in [
            ("short", "2026-01-01T00:00:00Z"),
            ("long", "2099-01-01T00:00:00Z"),
        ] {
            let mut body = waxwire_tests::text_to("bob", id, "kept for bob");
            body["expires_at"] = expires_at.into();
            alice.send(&body).await?.expect(201)?;
        }
        pair.bob.start().await?;
        let messages = bob.take_all(2, ANSWER).await?;
        let marked: Vec<_> = messages
            .iter()
            .map(|message| {
                (
                    message.client_msg_id.as_str(),
                    message.rest.get("expired").cloned(),
                )
            })
            .collect();
        assert_eq!(marked, [("short", Some(true.into())), ("long", None)]);
        Ok(())
    });
}
