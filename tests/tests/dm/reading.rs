//! History, inbox, sync and conversations.

use std::time::Duration;

use serde_json::{Value, json};
use waxwire_tests::{eventually, scenario, text_to};

use crate::agents;

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
        eventually("bob has two", Duration::from_secs(10), async || {
            Ok((bob.sync().await?.len() == 2).then_some(()))
        })
        .await?;
        carol.send_text("bob", "c1", "from carol").await?;
        let rows = eventually("bob has three", Duration::from_secs(10), async || {
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
        eventually(
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
        let rows = eventually("bob has five", Duration::from_secs(10), async || {
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
