//! Lease and settlement: who offers a message, and when its author is told that it was delivered.

use std::time::Duration;

use anyhow::ensure;
use waxwire_tests::{Agent, eventually, scenario};

use crate::{names, send};

/// Waits until sync offers exactly these.
async fn until_offered(agent: &Agent, expected: &[&str]) -> anyhow::Result<()> {
    eventually(
        &format!("sync offers {expected:?}"),
        Duration::from_secs(10),
        async || {
            let rows = agent.sync().await?;
            Ok((names(&rows) == expected).then_some(()))
        },
    )
    .await
}

#[test]
fn what_a_socket_carries_is_offered_by_nobody_else() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let sent = send(&alice, "bob", &["1", "2", "3"]).await?;
        until_offered(&bob, &["alice-1", "alice-2", "alice-3"]).await?;

        let mut first = bob.socket(true).await?;
        ensure!(bob.sync().await?.is_empty(), "leased with the hello");
        let told = first.messages(3).await?;
        let mut second = bob.socket(true).await?;
        second.quiet(Duration::from_millis(300)).await?;
        let sent_live = send(&alice, "bob", &["4"]).await?;
        ensure!(names(&second.messages(1).await?) == ["alice-4"]);
        ensure!(names(&first.messages(1).await?) == ["alice-4"]);
        ensure!(bob.sync().await?.is_empty());

        // One ack settles; the author is told so, and not before.
        let before = alice.history(&sent[1].conversation_id, "after_seq=0").await?;
        ensure!(before.iter().all(|row| row.status == "stored"), "{before:?}");
        first.ack(&told[1].id).await?;
        alice.until_status(&sent[1], "delivered").await?;
        second.ack(&sent_live[0].id).await?;
        alice.until_status(&sent_live[0], "delivered").await?;

        // The first dies: what it had not acknowledged is back, in order. The fourth is settled.
        drop(first);
        until_offered(&bob, &["alice-1", "alice-3"]).await?;
        second.quiet(Duration::from_millis(300)).await?;
        let rows = bob.sync().await?;
        let last = rows[1].delivery_id.clone().unwrap_or_default();
        ensure!(bob.ack(&last).await? == 2);
        alice.until_status(&sent[2], "delivered").await?;
        drop(second);
        let mut third = bob.socket(true).await?;
        third.quiet(Duration::from_millis(300)).await
    });
}

#[test]
fn a_lease_ends_with_the_last_socket_that_carries_it() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let (mut first, mut second) = (bob.socket(true).await?, bob.socket(true).await?);
        send(&alice, "bob", &["1"]).await?;
        let told = (first.message().await?, second.message().await?);
        ensure!(told.0.id == told.1.id);
        first.close().await?;
        ensure!(bob.sync().await?.is_empty());
        // A long poll hears of it at once.
        let asking = bob.clone();
        let poll = tokio::spawn(async move { asking.sync_after(None, 20).await });
        second.close().await?;
        ensure!(names(&poll.await??) == ["alice-1"]);
        // Acknowledged later, by a socket that never carried it.
        let mut third = bob.socket(true).await?;
        let again = third.message().await?;
        ensure!(again.id == told.0.id && again.delivery_id == told.0.delivery_id);
        drop(third);
        until_offered(&bob, &["alice-1"]).await?;
        let mut fourth = bob.socket(false).await?;
        fourth.message().await?;
        until_offered(&bob, &[]).await
    });
}

/// A sync ack past a leased delivery settles it, and so does a read.
#[test]
fn a_leased_message_can_be_settled_elsewhere() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let mut socket = bob.socket(true).await?;
        let sent = send(&alice, "bob", &["1", "2", "3"]).await?;
        let told = socket.messages(3).await?;
        ensure!(
            bob.ack(told[0].delivery_id.as_deref().unwrap_or_default())
                .await?
                == 1
        );
        bob.post(&format!("/v1/messages/{}/read", told[1].id))
            .await?
            .expect(200)?;
        alice.until_status(&sent[0], "delivered").await?;
        alice.until_status(&sent[1], "read").await?;
        drop(socket);
        until_offered(&bob, &["alice-3"]).await
    });
}

/// Without the capability, what was written and flushed is settled.
#[test]
fn a_socket_that_acknowledges_nothing_settles_what_it_is_told() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let backlog = send(&alice, "bob", &["1"]).await?;
        until_offered(&bob, &["alice-1"]).await?;
        let mut socket = bob.socket(false).await?;
        let live = send(&alice, "bob", &["2"]).await?;
        ensure!(names(&socket.messages(2).await?) == ["alice-1", "alice-2"]);
        alice.until_status(&backlog[0], "delivered").await?;
        alice.until_status(&live[0], "delivered").await?;
        ensure!(bob.sync().await?.is_empty());
        Ok(())
    });
}

/// An ack that the proxy has taken holds over a crash; a lease does not.
#[test]
fn a_crash_ends_leases_and_keeps_acks() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let mut socket = bob.socket(true).await?;
        let sent = send(&alice, "bob", &["1", "2"]).await?;
        socket.messages(2).await?;
        socket.ack(&sent[0].id).await?;
        alice.until_status(&sent[0], "delivered").await?;
        pair.bob.crash().await?;
        let mut socket = bob.socket(true).await?;
        ensure!(names(&socket.messages(1).await?) == ["alice-2"]);
        socket.quiet(Duration::from_millis(300)).await
    });
}
