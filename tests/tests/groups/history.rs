//! What those who join later may read: nothing older, unless a member shows it to them.

use anyhow::ensure;
use serde_json::{Value, json};
use waxwire_tests::{Agent, Message, circle::all_talk, scenario, unique};

use crate::no_alerts;

/// A group of alice and bob with messages of both, in two epochs.
async fn with_a_past(alice: &Agent, bob: &Agent) -> anyhow::Result<String> {
    let group = alice.gather(&unique("past")?, &[bob]).await?.id;
    for (writer, reader, text) in [(alice, bob, "old one"), (bob, alice, "old two")] {
        writer.send_to_group(&group, text, text).await?;
        reader.until_text(&group, text).await?;
    }
    let epoch = alice.rekey(&group).await?;
    bob.until_epoch(&group, epoch).await?;
    for (writer, reader, text) in [
        (alice, bob, "new one"),
        (bob, alice, "new two"),
        (alice, bob, "new three"),
    ] {
        writer.send_to_group(&group, text, text).await?;
        reader.until_text(&group, text).await?;
    }
    Ok(group)
}

async fn invite_and_join(
    alice: &Agent,
    joiner: &Agent,
    group: &str,
    share: Option<Value>,
) -> anyhow::Result<()> {
    let mut body = json!({"handle": joiner.handle()});
    if let Some(share) = share {
        body["share_current"] = share;
    }
    alice.try_invite(group, &body).await?.expect(201)?;
    joiner.join(group).await?;
    Ok(())
}

/// The texts that were shown to an agent, and those that it read for itself.
async fn shown_and_read(agent: &Agent, group: &str) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let rows = agent.history(group, "after_seq=0&limit=200").await?;
    let rows: Vec<Message> = rows.into_iter().filter(|row| row.kind != "system").collect();
    for row in &rows {
        let by = row.security.granted_by.as_deref();
        ensure!(
            row.security.verified && by.is_none_or(|by| by == "alice"),
            "{row:?}"
        );
    }
    let (shown, read): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .partition(|row| row.security.granted_by.is_some());
    let texts = |rows: Vec<Message>| rows.iter().map(|row| row.text().to_owned()).collect();
    Ok((texts(shown), texts(read)))
}

/// docs/protocol.md, 6.10: joiners read nothing older than their first epoch.
#[test]
fn attack_16_joiner_reads_nothing_older() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = with_a_past(&alice, &bob).await?;
        circle.proxy("carol")?.tap().record();
        invite_and_join(&alice, &carol, &group, None).await?;
        all_talk(&[&alice, &bob, &carol], &group, "with the new one").await?;
        let (shown, read) = shown_and_read(&carol, &group).await?;
        ensure!(shown.is_empty() && read.len() == 3, "{shown:?} {read:?}");
        ensure!(
            read.iter().all(|text| text.contains("with the new one")),
            "{read:?}"
        );
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// `share_current: true` shows what the inviter has of the epoch, and not one message more.
#[test]
fn share_of_the_current_epoch_is_exactly_that() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = with_a_past(&alice, &bob).await?;
        invite_and_join(&alice, &carol, &group, Some(json!(true))).await?;
        carol.until_text(&group, "new three").await?;
        all_talk(&[&alice, &bob, &carol], &group, "after the grant").await?;
        let (shown, read) = shown_and_read(&carol, &group).await?;
        assert_eq!(shown, ["new one", "new two", "new three"]);
        assert_eq!(read.len(), 3);
        // Each under its author's name, not under that of whoever showed it.
        let two = carol.until_text(&group, "new two").await?;
        assert_eq!(
            (two.sender.as_str(), two.security.granted_by.as_deref()),
            ("bob", Some("alice"))
        );
        // What was shown is the same message, by its id.
        assert_eq!(two.id, alice.until_text(&group, "new two").await?.id);
        no_alerts(&[&alice, &bob, &carol]).await
    });
}

/// `share_current: {"after_seq": N}` shows what stands above N at the inviter, and survives a crash
/// between invite and acceptance.
#[test]
fn share_of_a_range_is_exactly_that() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = with_a_past(&alice, &bob).await?;
        let from = alice.until_text(&group, "old two").await?.seq;
        let body = json!({"handle": "carol", "share_current": {"after_seq": from - 1}});
        alice.try_invite(&group, &body).await?.expect(201)?;
        circle.proxy("alice")?.crash().await?;
        carol.join(&group).await?;
        carol.until_text(&group, "new three").await?;
        let (shown, _) = shown_and_read(&carol, &group).await?;
        assert_eq!(shown, ["old two", "new one", "new two", "new three"]);
        all_talk(&[&alice, &bob, &carol], &group, "after the grant").await?;
        no_alerts(&[&alice, &bob, &carol]).await
    });
}
