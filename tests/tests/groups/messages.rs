//! Messages of a group as agents see them.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_tests::{Agent, Message, circle::settled, eventually, scenario, unique};

use crate::no_alerts;

/// Every field of a message to a group, at its author and at its readers.
#[test]
fn message_arrives_as_it_was_written() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let name = unique("messages")?;
        let group = alice.gather(&name, &[&bob, &carol]).await?.id;
        let epoch = settled(&[&alice, &bob, &carol], &group).await?.epoch;
        let body = json!({
            "conversation_id": group, "client_msg_id": unique("id")?, "type": "trade.offer",
            "content": {"text": format!("@bob, {}", unique("text")?), "data": {"price": 1.10}},
            "metadata": {"desk": unique("desk")?},
        });
        let sent: Message = alice.send(&body).await?.ok()?;
        for reader in [&bob, &carol] {
            let got = reader.until_text(&group, sent.text()).await?;
            check_fields(&got, &sent, &body, epoch, &name)?;
        }
        let repeated = alice.send(&body).await?;
        assert_eq!(
            (repeated.status, repeated.parse::<Message>()?.id),
            (200, sent.id.clone())
        );

        let reply = json!({
            "conversation_id": group, "client_msg_id": "reply", "content": "agreed", "reply_to": sent.id,
        });
        bob.send(&reply).await?.expect(201)?;
        for reader in [&alice, &carol] {
            let got = reader.until_text(&group, "agreed").await?;
            assert_eq!(got.rest["reply_to"], sent.id.as_str());
        }
        assert_eq!(alice.texts_in(&group).await?, [sent.text(), "agreed"]);
        // docs/protocol.md, 7.3: each recipient proves that it has read it.
        for reader in [&bob, &carol] {
            reader
                .post(&format!("/v1/messages/{}/read", sent.id))
                .await?
                .expect(200)?;
        }
        let read = alice.until_status(&sent, "read").await?;
        let by = |handle: &str| json!({"handle": handle, "status": "read"});
        assert_eq!(read.rest["recipients"], json!([by("bob"), by("carol")]));
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

fn check_fields(got: &Message, sent: &Message, body: &Value, epoch: u64, name: &str) -> anyhow::Result<()> {
    assert_eq!(
        (&got.id, &got.client_msg_id, &got.sender),
        (&sent.id, &sent.client_msg_id, &sent.sender)
    );
    assert_eq!(
        (got.kind.as_str(), got.message_type.as_deref()),
        ("structured", Some("trade.offer"))
    );
    assert_eq!(
        (&got.content, &got.metadata),
        (&body["content"], &body["metadata"])
    );
    ensure!(
        got.security.verified && got.security.gap.is_none() && !got.security.late,
        "{got:?}"
    );
    assert_eq!(
        (got.security.epoch, &got.security.granted_by),
        (Some(epoch), &None)
    );
    assert_eq!(got.security.trust, "pinned");
    let scheme = json!({"scheme": "xchacha20-poly1305", "key_type": "group"});
    assert_eq!(
        (
            &got.rest["encryption_metadata"],
            &sent.rest["encryption_metadata"]
        ),
        (&scheme, &scheme)
    );
    let context = &got.rest["context"];
    assert_eq!(
        context["conversation"],
        json!({"type": "group", "group_name": name, "member_count": 3})
    );
    assert_eq!(
        (&context["sender"]["handle"], &context["mentions"]),
        (&json!("alice"), &json!(["bob"]))
    );
    Ok(())
}

/// The same `client_msg_id` is one message, whatever the key is by then.
#[test]
fn repeat_is_the_first_message_under_any_key() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("once")?, &[&bob]).await?.id;
        let (id, text) = (unique("id")?, unique("once")?);
        let first = alice.send_to_group(&group, &id, &text).await?;
        alice.rekey(&group).await?;
        let again = alice
            .try_group_text(&group, &id, "something else")
            .await?
            .expect(200)?;
        assert_eq!(
            (&again["id"], &again["content"]),
            (&json!(first.id), &json!({"text": text}))
        );
        bob.until_text(&group, &text).await?;
        alice.send_to_group(&group, "last", "last").await?;
        bob.until_text(&group, "last").await?;
        assert_eq!(bob.texts_in(&group).await?, [text.as_str(), "last"]);
        Ok(())
    });
}

/// Sync, inbox, read and conversations show a group like any other conversation.
#[test]
fn group_is_a_conversation_among_others() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let name = unique("conversation")?;
        let group = alice.gather(&name, &[&bob]).await?.id;
        bob.take(0).await?;
        let direct = alice.send_text("bob", "direct", "to you alone").await?;
        let sent = alice.send_to_group(&group, "group", "to all").await?;
        let taken = bob.take_all(2, Duration::from_secs(20)).await?;
        let texts: Vec<&str> = taken.iter().map(Message::text).collect();
        ensure!(
            texts.contains(&"to all") && texts.contains(&"to you alone"),
            "{texts:?}"
        );

        let inbox = bob.get("/v1/inbox?from=alice&type=text").await?.expect(200)?;
        assert_eq!(inbox["total"], 2);
        let got = bob.until_text(&group, "to all").await?;
        bob.post(&format!("/v1/messages/{}/read", got.id))
            .await?
            .expect(200)?;
        assert_eq!(
            bob.get("/v1/inbox/unread-count").await?.expect(200)?["unread"],
            unread(&bob).await?
        );

        let listed = conversation(&bob, &group).await?;
        assert_eq!(
            (&listed["type"], &listed["group_name"]),
            (&json!("group"), &json!(name))
        );
        assert_eq!(
            (&listed["group_member_count"], &listed["unread_count"]),
            (&json!(2), &json!(0))
        );
        let others = bob
            .get(&format!("/v1/conversations/{group}/participants"))
            .await?
            .expect(200)?;
        assert_eq!(others, json!([{"handle": "alice", "display_name": null}]));
        let context = bob
            .get(&format!("/v1/conversations/{group}/context"))
            .await?
            .expect(200)?;
        assert_eq!(context["group"]["your_role"], "member");
        assert_eq!(
            (&context["type"], &context["group"]["member_count"]),
            (&json!("group"), &json!(2))
        );

        // One conversation for each, and nothing of one in the other.
        let rows = alice.history(&direct.conversation_id, "after_seq=0").await?;
        assert_eq!(rows.len(), 1);
        bob.delete(&format!("/v1/messages/{}", got.id))
            .await?
            .expect(200)?;
        assert_eq!(bob.texts_in(&group).await?, [] as [&str; 0]);
        assert_eq!(alice.texts_in(&group).await?, [sent.text()]);
        Ok(())
    });
}

async fn conversation(agent: &Agent, id: &str) -> anyhow::Result<Value> {
    let all = agent.get("/v1/conversations").await?.expect(200)?;
    let mut all = all.as_array().context("a list")?.iter();
    let found = all.find(|it| it["id"] == id).cloned();
    found.with_context(|| format!("{id} is not listed"))
}

/// What is unread by the rows themselves.
async fn unread(agent: &Agent) -> anyhow::Result<usize> {
    let inbox = agent.get("/v1/inbox?unread=true&limit=100").await?.expect(200)?;
    Ok(inbox["messages"].as_array().context("messages")?.len())
}

/// A long conversation in both directions at once, with keys that change meanwhile: everything
/// arrives once, each author's messages in order.
#[test]
fn crowded_group_loses_nothing_while_keys_change() {
    const EACH: usize = 40;
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("crowd")?, &[&bob, &carol]).await?.id;
        let rekeys = async {
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                carol.rekey(&group).await?;
            }
            anyhow::Ok(())
        };
        let writes = |agent: Agent, group: String| async move {
            for number in 0..EACH {
                let text = format!("{} {number}", agent.handle());
                agent
                    .send_to_group(&group, &format!("{}-{number}", agent.handle()), &text)
                    .await?;
            }
            anyhow::Ok(())
        };
        let done = tokio::join!(
            rekeys,
            writes(alice.clone(), group.clone()),
            writes(bob.clone(), group.clone()),
        );
        done.0?;
        done.1?;
        done.2?;
        for reader in [&alice, &bob, &carol] {
            let texts = eventually("all is read", Duration::from_secs(30), async || {
                let texts = reader.texts_in(&group).await?;
                Ok((texts.len() >= 2 * EACH).then_some(texts))
            })
            .await?;
            for author in ["alice", "bob"] {
                let of_author: Vec<&String> = texts.iter().filter(|it| it.starts_with(author)).collect();
                let expected: Vec<String> = (0..EACH).map(|number| format!("{author} {number}")).collect();
                assert_eq!(of_author, expected.iter().collect::<Vec<_>>());
            }
        }
        no_alerts(&[&alice, &bob, &carol]).await
    });
}
