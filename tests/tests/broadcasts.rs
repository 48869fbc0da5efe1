//! One message to many readers, none of whom learns of another (B1; docs/protocol.md, 7.1).

use std::{collections::HashSet, time::Duration};

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use waxwire_shared::wire::Kind;
use waxwire_tests::{Agent, Insider, scenario, scenario_within, unique};

fn outcomes(answer: &Value) -> Vec<(&str, &str)> {
    let results = answer["results"].as_array().into_iter().flatten();
    results
        .filter_map(|row| Some((row["handle"].as_str()?, row["outcome"].as_str()?)))
        .collect()
}

async fn broadcast(agent: &Agent, to: &[&str], id: &str, text: &str) -> anyhow::Result<Value> {
    let body = json!({"to": to, "client_msg_id": id, "content": {"text": text}});
    agent.post_json("/v1/broadcasts", &body).await?.expect(201)
}

#[test]
fn each_reader_has_its_copy_and_learns_of_no_other() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol", "dave"]).await?;
        let [alice, bob, carol, dave] = circle.agents(["alice", "bob", "carol", "dave"])?;
        dave.post("/v1/contacts/alice/block").await?.expect(200)?;
        let text = unique("to everybody")?;
        world.canaries().forbid(&text);
        let readers = ["bob", "@carol", "dave", "nobody", "bob"];
        let answer = broadcast(&alice, &readers, "b-1", &text).await?;
        let expected = [
            ("bob", "sent"),
            ("carol", "sent"),
            ("dave", "AGENT_NOT_FOUND"),
            ("nobody", "AGENT_NOT_FOUND"),
        ];
        assert_eq!(outcomes(&answer), expected);
        let mut shown = Vec::new();
        for reader in [&bob, &carol] {
            let message = reader.receive().await?;
            assert_eq!((message.text(), message.sender.as_str()), (&*text, "alice"));
            let history = reader
                .get(&format!("/v1/messages/{}", message.conversation_id))
                .await?;
            let row = history.expect(200)?[0].clone();
            assert_eq!(row["security"]["broadcast"], true);
            assert_eq!(row["client_msg_id"], answer["id"]);
            assert_eq!(row["context"]["conversation"]["type"], "direct");
            shown.push(row.to_string());
        }
        ensure!(
            !shown[0].contains("carol") && !shown[1].contains("bob"),
            "{shown:?}"
        );
        assert_eq!(dave.sync().await?.len(), 0);

        // A repeat sends nothing twice, and what was not sent may pass now.
        dave.delete("/v1/contacts/alice/block").await?.expect(200)?;
        let again = broadcast(&alice, &["bob", "dave"], "b-1", &text).await?;
        assert_eq!(outcomes(&again), [("bob", "sent"), ("dave", "sent")]);
        assert_eq!(
            again["results"][0]["message_id"],
            answer["results"][0]["message_id"]
        );
        assert_eq!(dave.receive().await?.text(), text);
        assert_eq!(bob.sync().await?.len(), 0);
        // The same id may be that of a direct message.
        alice.send_text("bob", "b-1", &unique("alone")?).await?;

        for bad in [
            json!({"client_msg_id": "b-2", "content": {"text": "x"}}),
            json!({"to": [], "client_msg_id": "b-2", "content": {"text": "x"}}),
            json!({"to": "bob", "client_msg_id": "b-2", "content": {"text": "x"}}),
            json!({"to": ["Not A Handle"], "client_msg_id": "b-2", "content": {"text": "x"}}),
            json!({"to": ["bob"], "client_msg_id": "b-2"}),
            json!({"to": vec!["bob"; 1_001], "client_msg_id": "b-2", "content": {"text": "x"}}),
        ] {
            let answer = alice.post_json("/v1/broadcasts", &bad).await?;
            answer.refused(400, "VALIDATION_ERROR")?;
        }
        Ok(())
    });
}

/// One upload, and every reader fetches and opens it for itself.
#[test]
fn readers_get_the_attachment_that_a_broadcast_cites() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let canary = unique("to everybody")?;
        world.canaries().forbid(&canary);
        // Some chunks, the last of them not full.
        let bytes = canary.repeat(200_000 / canary.len()).into_bytes();
        let upload = alice.upload("all.csv", &bytes).await?;
        let body = json!({
            "to": ["bob", "carol"],
            "client_msg_id": "with-file",
            "type": "file",
            "content": { "attachment_id": upload },
        });
        let answer = alice.post_json("/v1/broadcasts", &body).await?.expect(201)?;
        assert_eq!(outcomes(&answer), [("bob", "sent"), ("carol", "sent")]);
        let mut ids = HashSet::new();
        for reader in [&bob, &carol] {
            let message = reader.receive().await?;
            assert_eq!(message.content["filename"], "all.csv");
            assert_eq!(message.content["size"], bytes.len());
            let got = reader.download(message.attachment()).await?;
            got.expect_status(200)?;
            ensure!(got.body == bytes, "{} got other bytes", reader.handle());
            ids.insert(message.attachment().to_owned());
        }
        // Each has a name of its own for it, by which nobody else can ask.
        ensure!(ids.len() == 2 && !ids.contains(&upload), "{ids:?}");
        for id in &ids {
            let path = format!("/v1/attachments/{id}");
            let both = [bob.get(&path).await?.status, carol.get(&path).await?.status];
            ensure!(both.contains(&302) && both.contains(&404), "{both:?}");
        }
        Ok(())
    });
}

/// Readers without proxies: each opens what the relay gives it with its own key, and verifies it alone.
#[test]
fn thousand_readers_verify_their_copies_alone() {
    const READERS: usize = 1_000;
    scenario_within(Duration::from_secs(300), async |world| {
        let relay = world.relay().await?;
        let proxy = world.proxy(&relay, "alice").await?;
        let alice = proxy.agent()?;
        let handles: Vec<String> = (0..READERS).map(|number| format!("reader-{number}")).collect();
        let readers: Vec<Insider> = stream::iter(&handles)
            .map(|handle| Insider::registered(relay.http(), handle, world.canaries()))
            .buffered(8)
            .try_collect()
            .await?;
        let to: Vec<&str> = handles.iter().map(String::as_str).collect();
        let text = unique("to a thousand")?;
        let answer = broadcast(&alice, &to, "thousand", &text).await?;
        let sent = outcomes(&answer);
        ensure!(
            sent.len() == READERS && sent.iter().all(|(_, outcome)| *outcome == "sent"),
            "{answer}"
        );

        let mut keys = HashSet::new();
        for (handle, reader) in handles.iter().zip(&readers) {
            let mail = reader.mail().await?;
            let [(context, core)] = &mail[..] else {
                anyhow::bail!("{} messages for {handle}", mail.len());
            };
            assert_eq!(core.kind, Kind::Broadcast);
            ensure!(
                String::from_utf8_lossy(&core.content).contains(&text),
                "another text"
            );
            // It names this reader and nobody else.
            let named = context.recipient_handle.as_ref().map(|handle| handle.as_str());
            assert_eq!(named, Some(handle.as_str()));
            assert_eq!(context.recipient.as_ref(), Some(&reader.stranger.identity()));
            keys.insert(core.conversation);
        }
        assert_eq!(keys.len(), READERS, "a conversation of its own for each");
        Ok(())
    });
}
