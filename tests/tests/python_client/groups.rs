//! Groups: their logs, keys and messages.

use anyhow::ensure;
use serde_json::json;
use waxwire_tests::{Agent, Message, eventually, scenario, unique};

use crate::{Client, SPREAD, content, having, text};

/// What an agent sees of a message of the client.
async fn shown(agent: &Agent, group: &str, words: &str, epoch: u64) -> anyhow::Result<Message> {
    let message = agent.until_text(group, words).await?;
    assert_eq!(message.sender, "carl");
    assert_eq!(message.security.epoch, Some(epoch));
    ensure!(message.security.verified && message.security.gap.is_none());
    Ok(message)
}

/// What the client sees of a message of an agent, and nothing else.
async fn reads(carl: &mut Client, sent: &Message, words: &str, epoch: u64) -> anyhow::Result<()> {
    let told = eventually("the client reads its group", SPREAD, async || {
        Ok(having(carl.receive_from_group().await?, "messages"))
    })
    .await?;
    let message = &told["messages"][0];
    assert_eq!(told["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(text(message, "message_id")?, sent.id);
    assert_eq!(text(message, "content")?, content(words));
    assert_eq!(
        (&message["sender"], &message["missing"]),
        (&json!(sent.sender), &json!(0))
    );
    assert_eq!(message["epoch"], json!(epoch));
    assert_eq!(told["refused"], json!([]));
    Ok(())
}

/// docs/protocol.md, 6.2 to 6.8: the client verifies the log from its first commit, joins with a rekey,
/// talks, replaces the key, removes a member and leaves; the proxies follow each step without an alert.
#[test]
fn client_joins_talks_rekeys_removes_and_leaves() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let (mut carl, _) = Client::registered(world, &circle.relay.url()?, "carl").await?;
        let name = unique("group")?;
        let group = alice.gather(&name, &[&bob]).await?.id;
        alice.invite(&group, "carl").await?;
        let invited = eventually("the client is invited", SPREAD, async || {
            Ok(having(carl.receive("control").await?, "invites"))
        })
        .await?;
        assert_eq!(
            (&invited["invites"][0]["name"], &invited["invites"][0]["by"]),
            (&json!(name), &json!("alice"))
        );

        // Epochs: 1 founded, 2 bob joined, 3 carl joined.
        let joined = carl.ask(json!({"do": "accept"})).await?;
        assert_eq!(
            (&joined["members"], &joined["epoch"]),
            (&json!(["alice", "bob", "carl"]), &json!(3))
        );
        alice.until_members(&group, &["alice", "bob", "carl"]).await?;
        let security = alice.until_epoch(&group, 3).await?;
        assert_eq!(security.roster_head, text(&joined, "head")?);
        ensure!(security.debt.is_none(), "{:?}", security.debt);

        let words = unique("to all three")?;
        let sent = alice.send_to_group(&group, "first", &words).await?;
        reads(&mut carl, &sent, &words, 3).await?;
        // Who invited sends the profile again, for the one who joined.
        eventually("the client knows the group's name", SPREAD, async || {
            carl.receive_from_group().await?;
            let roster = carl.ask(json!({"do": "roster"})).await?;
            Ok((roster["name"] == json!(name)).then_some(()))
        })
        .await?;

        let words = unique("from outside")?;
        let id = carl.say(None, "one", &words).await?;
        assert_eq!(shown(&alice, &group, &words, 3).await?.id, id);
        let rekeyed = carl.ask(json!({"do": "rekey"})).await?;
        assert_eq!(rekeyed["epoch"], json!(4));
        let words = unique("under another key")?;
        carl.say(None, "two", &words).await?;
        shown(&bob, &group, &words, 4).await?;
        let words = unique("so do I")?;
        let sent = bob.send_to_group(&group, "answer", &words).await?;
        reads(&mut carl, &sent, &words, 4).await?;

        let promote = format!("/v1/groups/{group}/members/carl/promote");
        alice.post(&promote).await?.expect(200)?;
        let removed = carl.ask(json!({"do": "remove", "handle": "bob"})).await?;
        assert_eq!(
            (&removed["members"], &removed["epoch"]),
            (&json!(["alice", "carl"]), &json!(5))
        );
        let told = bob.until_event(&group, "member_removed", "bob").await?;
        assert_eq!(told.actor_handle.as_deref(), Some("carl"));
        alice.until_epoch(&group, 5).await?;
        let words = unique("to the two of us")?;
        let sent = alice.send_to_group(&group, "last", &words).await?;
        reads(&mut carl, &sent, &words, 5).await?;

        carl.ask(json!({"do": "leave"})).await?;
        alice.until_members(&group, &["alice"]).await?;
        // The key that carl had is not used again.
        assert_eq!(alice.rekey(&group).await?, 6);
        for agent in [&alice, &bob] {
            let alerts = agent.alerts().await?;
            ensure!(alerts.is_empty(), "{}: {alerts:?}", agent.handle());
        }
        Ok(())
    });
}
