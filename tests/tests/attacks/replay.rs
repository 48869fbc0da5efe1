//! Order, loss, repetition and delay (42 to 49).

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, ensure};
use waxwire_shared::api::frames::Queue;
use waxwire_tests::{Agent, Message, eventually, lane::Dice, scenario, unique};

use super::{REPEATED, acquaint};

const SOON: Duration = Duration::from_secs(30);

/// Sends so many texts one after the other; their ids, in order.
async fn send_many(agent: &Agent, to: &str, count: usize) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = unique("many")?;
        agent.send_text(to, &id, &unique("text")?).await?;
        ids.push(id);
    }
    Ok(ids)
}

/// Takes messages until all these have come; all that came, in their order.
async fn take_until(agent: &Agent, ids: &[String]) -> anyhow::Result<Vec<Message>> {
    let mut taken: Vec<Message> = Vec::new();
    eventually("all have come", SOON, async || {
        taken.extend(agent.take(0).await?);
        let came: BTreeSet<&str> = taken
            .iter()
            .map(|message| message.client_msg_id.as_str())
            .collect();
        Ok(ids.iter().all(|id| came.contains(id.as_str())).then_some(()))
    })
    .await?;
    Ok(taken)
}

/// Whatever was shown stands in its author's order, or a hole before it is named exactly. `first` is the
/// author's number of the first id.
fn in_order_or_flagged(taken: &[Message], ids: &[String], first: u64) -> anyhow::Result<()> {
    let mut highest = first - 1;
    for message in taken {
        let index = ids.iter().position(|id| *id == message.client_msg_id);
        let n = index.context("nobody sent it")? as u64 + first;
        let gap = message.security.gap.map(|gap| (gap.after, gap.missing));
        let hole = (n > highest + 1).then(|| (highest, n - highest - 1));
        ensure!(gap == hole, "{n} after {highest} with {gap:?}");
        highest = highest.max(n);
    }
    let all: BTreeSet<&str> = taken
        .iter()
        .map(|message| message.client_msg_id.as_str())
        .collect();
    ensure!(all.len() == taken.len(), "one came twice");
    Ok(())
}

/// Attack 42: an envelope is delivered again as a new one: at once, after a crash, after more has come, and
/// to a program that was stopped and started.
#[test]
fn attack_42_replay_is_shown_once_whenever_it_comes() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let envelope = acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        let again = std::slice::from_ref(&envelope);
        scene.evil("bob")?.show(Queue::Mail, again);
        bob.until_metric(REPEATED, 1).await?;
        scene.proxy("bob")?.crash().await?;
        bob.until_ready().await?;
        scene.evil("bob")?.show(Queue::Mail, again);
        bob.until_metric(REPEATED, 1).await?;
        let ids = send_many(&alice, "bob", 5).await?;
        take_until(&bob, &ids).await?;
        scene.evil("bob")?.show(Queue::Mail, again);
        bob.until_metric(REPEATED, 2).await?;
        scene.proxy("bob")?.terminate().await?;
        scene.proxy("bob")?.start().await?;
        bob.until_ready().await?;
        let everything = scene.evil("bob")?.seen(Queue::Mail);
        scene.evil("bob")?.show(Queue::Mail, &everything);
        bob.until_metric(REPEATED, everything.len() as u64).await?;
        ensure!(bob.sync().await?.is_empty(), "something is shown again");
        scene.aftermath().await
    });
}

/// Attack 44: a hundred messages come in an order that the relay has chosen.
#[test]
fn attack_44_shuffled_messages_are_put_in_order_or_flagged() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        scene.evil("bob")?.hold(Queue::Mail);
        let ids = send_many(&alice, "bob", 100).await?;
        scene.evil("bob")?.until_held(Queue::Mail, 100).await?;
        let mut dice = Dice::new(44);
        scene.evil("bob")?.release(Queue::Mail, |held| {
            for last in (1..held.len()).rev() {
                let other = usize::try_from(dice.roll(last as u64 + 1)).unwrap_or(0);
                held.swap(last, other);
            }
        });
        let taken = take_until(&bob, &ids).await?;
        in_order_or_flagged(&taken, &ids, 2)?;
        scene.aftermath().await
    });
}

/// Attacks 45 and 49: a message in the middle is lost, and the relay says that there was nothing more. The
/// next one shows the hole, exactly; its author is asked and fills it.
#[test]
fn attack_45_49_lost_message_is_named_and_comes_from_its_author() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        scene.evil("bob")?.hold(Queue::Mail);
        let ids = send_many(&alice, "bob", 5).await?;
        scene.evil("bob")?.until_held(Queue::Mail, 5).await?;
        scene.evil("bob")?.release(Queue::Mail, |held| {
            held.remove(2);
        });
        let taken = take_until(&bob, &ids).await?;
        in_order_or_flagged(&taken, &ids, 2)?;
        let flagged = taken.iter().find_map(|message| message.security.gap);
        let gap = flagged.context("no hole was shown")?;
        ensure!((gap.after, gap.missing) == (3, 1), "{gap:?}");
        let last = taken.last().context("a message")?;
        ensure!(
            last.client_msg_id == ids[2],
            "the missing one came last: {last:?}"
        );
        scene.aftermath().await
    });
}

/// Attack 46: the last messages are lost and nothing follows. Their author goes on seeing that nobody has
/// confirmed them; what follows at last brings them back.
#[test]
fn attack_46_lost_tail_is_never_shown_as_delivered() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        acquaint(&scene, "alice", "bob").await?;
        let [alice, bob] = scene.agents(["alice", "bob"])?;
        scene.evil("bob")?.hold(Queue::Mail);
        let mut sent = Vec::new();
        for _ in 0..5 {
            sent.push(alice.send_text("bob", &unique("id")?, &unique("tail")?).await?);
        }
        scene.evil("bob")?.until_held(Queue::Mail, 5).await?;
        scene.evil("bob")?.release(Queue::Mail, |held| held.truncate(2));
        let ids: Vec<String> = sent.iter().map(|message| message.client_msg_id.clone()).collect();
        take_until(&bob, &ids[..2]).await?;
        alice.until_status(&sent[1], "delivered").await?;
        let after = format!("after_seq={}&limit=3", sent[1].seq);
        let rows = alice.history(&sent[0].conversation_id, &after).await?;
        ensure!(
            rows.len() == 3 && rows.iter().all(|row| row.status == "stored"),
            "{rows:?}"
        );
        let last = unique("at last")?;
        alice.send_text("bob", &last, &unique("at last")?).await?;
        take_until(&bob, &[&ids[2..], &[last]].concat()).await?;
        alice.until_status(&sent[4], "delivered").await?;
        scene.aftermath().await
    });
}

/// Attack 47: ten thousand copies.
#[test]
fn attack_47_ten_thousand_copies_are_one_message() {
    scenario(async |world| {
        let mut scene = world.scene(["alice", "bob"]).await?;
        let envelope = acquaint(&scene, "alice", "bob").await?;
        let [bob] = scene.agents(["bob"])?;
        // What it says about each would be most of the work.
        scene.proxy("bob")?.terminate().await?;
        scene.proxy("bob")?.log_level("info");
        scene.proxy("bob")?.start().await?;
        bob.until_ready().await?;
        let state = scene.proxy("bob")?.state();
        let before = bytes_in(&state)?;
        scene
            .evil("bob")?
            .show(Queue::Mail, &vec![envelope.clone(); 10_000]);
        bob.until_metric(REPEATED, 10_000).await?;
        ensure!(bob.sync().await?.is_empty(), "one is shown again");
        let grown = bytes_in(&state)?.saturating_sub(before);
        // Less than what came; the write-ahead log is cut back at 4 MiB.
        let came = 10_000 * envelope.len() as u64;
        ensure!(grown < came, "{grown} bytes more after {came}");
        scene.aftermath().await
    });
}

fn bytes_in(folder: &std::path::Path) -> anyhow::Result<u64> {
    let files = waxwire_tests::canary::files(folder)?;
    let lengths = files.iter().map(|file| Ok(std::fs::metadata(file)?.len()));
    lengths.sum()
}
