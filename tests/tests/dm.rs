//! Direct messages between two agents, each seen through its own crypto proxy.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::time::Instant;
use waxwire_tests::{Agent, Pair, patience, scenario, text_to, unique};

/// Longest turn of an alternating conversation; a stall would be two seconds or more.
const TURN: Duration = Duration::from_millis(1_500);

fn agents(pair: &Pair) -> anyhow::Result<(Agent, Agent)> {
    Ok((pair.alice.agent()?, pair.bob.agent()?))
}

/// Nothing went wrong that an operator would have to know.
async fn no_alerts(agents: [&Agent; 2]) -> anyhow::Result<()> {
    for agent in agents {
        let alerts = agent.alerts().await?;
        ensure!(alerts.is_empty(), "{} has alerts: {alerts:?}", agent.handle());
    }
    Ok(())
}

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

/// delivery.md, Numbers: own sends take numbers, and nobody waits for them.
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

/// Characters of every plane: controls, combining marks, right-to-left marks, noncharacters.
fn every_plane() -> String {
    let mut text: String =
        "\0\u{1}\t\r\n\"\\/\u{7f}\u{200b}\u{202e}\u{2028}\u{feff}e\u{301}🧑\u{200d}💻".to_owned();
    let planes = (0_u32..=0x10).flat_map(|plane| {
        [0x0041, 0x0300, 0xe000, 0xf8ff, 0xfffd, 0xfffe, 0xffff].map(|low| plane << 16 | low)
    });
    let all: Vec<char> = planes.filter_map(char::from_u32).collect();
    text.extend(all.iter().cycle().take(10_000 - text.chars().count()));
    text
}

#[test]
fn ten_thousand_characters_of_every_plane_arrive_byte_for_byte() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let text = every_plane();
        assert_eq!(text.chars().count(), 10_000);
        alice.send_text("bob", "planes", &text).await?;
        let got = bob.receive().await?;
        assert_eq!(got.text().as_bytes(), text.as_bytes());
        let kept = bob.history(&got.conversation_id, "limit=1").await?;
        assert_eq!(kept[0].text(), text);

        let longer = format!("{text}x");
        let answer = alice.try_text("bob", "longer", &longer).await?;
        let details = answer.refused(400, "VALIDATION_ERROR")?;
        assert_eq!(
            (&details["limit"], &details["max"], &details["actual"]),
            (&json!("text"), &json!(10_000), &json!(10_001))
        );
        no_alerts([&alice, &bob]).await
    });
}

/// Metadata of exactly `length` bytes as compact JSON.
fn metadata(length: usize) -> Value {
    json!({ "k": "m".repeat(length - r#"{"k":""}"#.len()) })
}

#[test]
fn metadata_of_4096_bytes_is_accepted_and_one_more_refused_by_name() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let mut body = text_to("bob", "metadata", &unique("with metadata")?);
        body["metadata"] = metadata(4_096);
        body["type"] = json!("trade.offer");
        alice.send(&body).await?.expect(201)?;
        let got = bob.receive().await?;
        assert_eq!(got.metadata, body["metadata"]);
        assert_eq!(
            (got.kind.as_str(), got.message_type.as_deref()),
            ("structured", Some("trade.offer"))
        );

        body["client_msg_id"] = json!("one-more");
        body["metadata"] = metadata(4_097);
        let details = alice.send(&body).await?.refused(400, "VALIDATION_ERROR")?;
        assert_eq!(
            (&details["limit"], &details["max"], &details["actual"]),
            (&json!("metadata"), &json!(4_096), &json!(4_097))
        );
        assert!(bob.sync().await?.is_empty());
        Ok(())
    });
}

#[test]
fn content_of_48_kib_is_accepted_and_more_refused_by_name() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let of =
            |length: usize| json!({ "data": { "d": "x".repeat(length - r#"{"data":{"d":""}}"#.len()) } });
        let mut body = json!({ "to": "bob", "client_msg_id": "large", "content": of(48 * 1024), "metadata": metadata(4_096) });
        alice.send(&body).await?.expect(201)?;
        assert_eq!(bob.receive().await?.content, body["content"]);
        body["client_msg_id"] = json!("larger");
        body["content"] = of(48 * 1024 + 1);
        let details = alice.send(&body).await?.refused(400, "VALIDATION_ERROR")?;
        assert_eq!(
            (&details["limit"], &details["max"]),
            (&json!("content"), &json!(48 * 1024))
        );
        Ok(())
    });
}

/// B5: `client_msg_id` makes a send idempotent, durably.
#[test]
fn repeated_client_msg_id_answers_the_first_message_also_after_restarts() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let (id, text) = (unique("idempotent")?, unique("once")?);
        let first = alice.send_text("bob", &id, &text).await?;
        let repeat = async |to: &str, text: &str| {
            let again = alice.try_text(to, &id, text).await?;
            ensure!(
                again.status == 200,
                "expected 200, got {}: {}",
                again.status,
                again.text()
            );
            again.parse::<waxwire_tests::Message>()
        };
        assert_eq!(repeat("bob", &text).await?.id, first.id);
        let other = repeat("bob", "other content under the same id").await?;
        assert_eq!(
            (other.id.as_str(), other.text()),
            (first.id.as_str(), text.as_str())
        );

        pair.alice.crash().await?;
        assert_eq!(repeat("bob", &text).await?.id, first.id);
        pair.relay.crash().await?;
        alice.until_ready().await?;
        assert_eq!(repeat("bob", &text).await?.id, first.id);
        assert_eq!(bob.receive().await?.id, first.id);
        alice
            .send_text("bob", "next", "a marker that comes after")
            .await?;
        assert_eq!(bob.receive().await?.client_msg_id, "next");
        Ok(())
    });
}

#[test]
fn repeats_at_the_same_time_make_one_message() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        let body = text_to("bob", "all-at-once", &unique("once")?);
        let sends = (0..12).map(|_| alice.send(&body));
        let answers = futures_util::future::try_join_all(sends).await?;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(created, 1);
        for answer in &answers {
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
            assert_eq!(answer.ok::<Value>()?["id"], answers[0].ok::<Value>()?["id"]);
        }
        bob.receive().await?;
        assert!(bob.sync_after(None, 1).await?.is_empty());
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

#[test]
fn history_ranges_are_exact() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        for n in 1..=10 {
            alice
                .send_text("bob", &format!("n{n}"), &format!("number {n}"))
                .await?;
        }
        let got = bob.take_all(10, Duration::from_secs(20)).await?;
        let conversation = got[0].conversation_id.clone();
        for agent in [&alice, &bob] {
            let seqs = async |query: &str| {
                let rows = agent.history(&conversation, query).await?;
                anyhow::Ok(rows.iter().map(|row| row.seq).collect::<Vec<_>>())
            };
            assert_eq!(seqs("").await?, (1..=10).rev().collect::<Vec<_>>());
            assert_eq!(seqs("limit=3").await?, [10, 9, 8]);
            assert_eq!(seqs("before_seq=4").await?, [3, 2, 1]);
            assert_eq!(seqs("before_seq=4&limit=1").await?, [3]);
            assert_eq!(seqs("after_seq=7").await?, [8, 9, 10]);
            assert_eq!(seqs("after_seq=7&limit=2").await?, [8, 9]);
            assert_eq!(seqs("after_seq=2&before_seq=5").await?, [3, 4]);
            assert_eq!(seqs("after_seq=10").await?, [] as [u64; 0]);
            let around = format!("around_message_id={}&limit=3", got[4].id);
            assert!(seqs(&around).await?.contains(&5));
        }
        let foreign = format!("/v1/messages/conv_{}", "f".repeat(32));
        alice
            .get(&foreign)
            .await?
            .refused(404, "CONVERSATION_NOT_FOUND")?;
        Ok(())
    });
}

#[test]
fn inbox_filters_counts_and_clears() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let carol = world.proxy(&pair.relay, "carol").await?;
        let (alice, bob) = agents(&pair)?;
        let carol = carol.agent()?;
        let inbox = async |query: &str| bob.get(&format!("/v1/inbox?{query}")).await?.expect(200);
        let ids = |page: &Value| {
            let rows = page["messages"].as_array().cloned().unwrap_or_default();
            let ids = rows
                .iter()
                .map(|row| row["client_msg_id"].as_str().unwrap_or_default().to_owned());
            ids.collect::<Vec<_>>()
        };
        alice.send_text("bob", "a1", "from alice").await?;
        let mut offer = text_to("bob", "a2", "an offer");
        offer["type"] = json!("trade");
        alice.send(&offer).await?.expect(201)?;
        waxwire_tests::eventually("bob has two", Duration::from_secs(10), async || {
            Ok((bob.sync().await?.len() == 2).then_some(()))
        })
        .await?;
        carol.send_text("bob", "c1", "from carol").await?;
        let rows = waxwire_tests::eventually("bob has three", Duration::from_secs(10), async || {
            Ok(Some(bob.sync().await?).filter(|rows| rows.len() == 3))
        })
        .await?;

        let page = inbox("").await?;
        assert_eq!(
            (ids(&page), &page["total"], &page["limit"]),
            (vec!["c1".into(), "a2".into(), "a1".into()], &json!(3), &json!(50))
        );
        assert_eq!(ids(&inbox("limit=1&offset=1").await?), ["a2"]);
        assert_eq!(ids(&inbox("from=@alice").await?), ["a2", "a1"]);
        assert_eq!(ids(&inbox("type=trade").await?), ["a2"]);
        let since = rows[1].delivery_id.clone().unwrap_or_default();
        assert_eq!(ids(&inbox(&format!("since={since}")).await?), ["c1"]);

        let unread = async || bob.get("/v1/inbox/unread-count").await?.expect(200);
        assert_eq!(unread().await?, json!({ "unread": 3 }));
        let read = bob
            .post(&format!("/v1/messages/{}/read", rows[0].id))
            .await?
            .expect(200)?;
        assert_eq!(read["status"], "read");
        assert_eq!(unread().await?, json!({ "unread": 2 }));
        assert_eq!(ids(&inbox("unread=true").await?), ["c1", "a2"]);

        inbox("clear=true&from=carol").await?;
        waxwire_tests::eventually(
            "cleared and read ones left sync",
            Duration::from_secs(10),
            async || {
                let left = bob.sync().await?;
                Ok((left.len() == 1 && left[0].client_msg_id == "a2").then_some(()))
            },
        )
        .await?;
        Ok(())
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
fn sync_is_not_destructive_and_ack_is_positional_and_idempotent() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        for n in 0..5 {
            alice
                .send_text("bob", &format!("m{n}"), &format!("message {n}"))
                .await?;
        }
        let rows = waxwire_tests::eventually("bob has five", Duration::from_secs(10), async || {
            Ok(Some(bob.sync().await?).filter(|rows| rows.len() == 5))
        })
        .await?;
        assert_eq!(bob.sync().await?, rows);
        let delivery = |n: usize| rows[n].delivery_id.clone().unwrap_or_default();
        let after = bob.sync_after(Some(&delivery(2)), 0).await?;
        assert_eq!(after, rows[3..]);
        assert_eq!(bob.sync().await?.len(), 5);
        assert_eq!(bob.ack(&delivery(2)).await?, 3);
        assert_eq!(bob.ack(&delivery(2)).await?, 0);
        assert_eq!(bob.ack(&delivery(0)).await?, 0);
        assert_eq!(bob.ack(&format!("del_{}", "0".repeat(32))).await?, 0);
        assert_eq!(bob.ack("del_of_another_store").await?, 0);
        assert_eq!(bob.sync().await?, rows[3..]);
        assert_eq!(bob.ack(&delivery(4)).await?, 2);
        assert!(bob.sync().await?.is_empty());
        Ok(())
    });
}

#[test]
fn conversations_list_hide_and_come_back() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = agents(&pair)?;
        assert_eq!(bob.get("/v1/conversations").await?.expect(200)?, json!([]));
        let sent = alice.send_text("bob", "one", "hello bob").await?;
        let got = bob.receive().await?;
        let list = bob.get("/v1/conversations").await?.expect(200)?;
        assert_eq!(list[0]["id"], got.conversation_id.as_str());
        assert_eq!(
            (&list[0]["type"], &list[0]["unread_count"]),
            (&json!("direct"), &json!(1))
        );
        assert_eq!(list[0]["participants"][0]["handle"], "alice");
        let path = format!("/v1/conversations/{}", got.conversation_id);
        let context = bob.get(&format!("{path}/context")).await?.expect(200)?;
        assert_eq!(
            (&context["counterparty"]["handle"], &context["unread"]["count"]),
            (&json!("alice"), &json!(1))
        );
        let participants = alice
            .get(&format!(
                "/v1/conversations/{}/participants",
                sent.conversation_id
            ))
            .await?;
        assert_eq!(participants.expect(200)?[0]["handle"], "bob");

        bob.delete(&path).await?.expect(200)?;
        assert_eq!(bob.get("/v1/conversations").await?.expect(200)?, json!([]));
        alice.send_text("bob", "two", "hello again").await?;
        let again = bob.receive().await?;
        assert_eq!(
            (again.conversation_id.as_str(), again.seq),
            (got.conversation_id.as_str(), 2)
        );
        assert_eq!(
            bob.get("/v1/conversations")
                .await?
                .expect(200)?
                .as_array()
                .map(Vec::len),
            Some(1)
        );

        let foreign = format!("/v1/conversations/conv_{}", "0".repeat(32));
        bob.delete(&foreign)
            .await?
            .refused(404, "CONVERSATION_NOT_FOUND")?;
        bob.delete(&format!("/v1/messages/{}", again.id))
            .await?
            .expect(200)?;
        let rows = bob.history(&got.conversation_id, "").await?;
        assert!(rows.iter().all(|row| row.id != again.id));
        assert!(
            alice
                .history(&sent.conversation_id, "")
                .await?
                .iter()
                .any(|row| row.id == again.id)
        );
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
