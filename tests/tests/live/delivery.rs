//! What is told, in which order.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tokio::time::Instant;
use waxwire_tests::{eventually, patience, scenario};

use crate::{names, send};

#[test]
fn backlog_comes_oldest_first_and_before_live_traffic() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        send(&alice, "bob", &["1", "2", "3"]).await?;
        eventually("bob's proxy has them", Duration::from_secs(10), async || {
            Ok((bob.sync().await?.len() == 3).then_some(()))
        })
        .await?;
        let mut socket = bob.socket(true).await?;
        send(&alice, "bob", &["4"]).await?;
        let told = socket.messages(4).await?;
        ensure!(
            names(&told) == ["alice-1", "alice-2", "alice-3", "alice-4"],
            "{told:?}"
        );
        let seqs: Vec<u64> = told.iter().map(|message| message.seq).collect();
        ensure!(seqs == [1, 2, 3, 4] && told.iter().all(|message| message.delivery_id.is_some()));
        ensure!(told[0].rest["from"] == "alice" && told[0].rest["to"] == "bob");
        Ok(())
    });
}

/// Own messages are echoed in their places, so no client waits for numbers that do not come.
#[test]
fn alternating_turns_are_told_without_holes_and_at_once() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let (mut at_alice, mut at_bob) = (alice.socket(true).await?, bob.socket(true).await?);
        let begin = Instant::now();
        for turn in 0..20_u64 {
            let (from, to) = if turn % 2 == 0 {
                (&alice, "bob")
            } else {
                (&bob, "alice")
            };
            let sent = from.send_text(to, &format!("turn-{turn}"), "your turn").await?;
            for socket in [&mut at_alice, &mut at_bob] {
                let told = socket.message().await?;
                ensure!(told.id == sent.id && told.seq == turn + 1, "{told:?}");
                ensure!(told.sender == from.handle());
                if told.delivery_id.is_some() {
                    socket.ack(&told.id).await?;
                }
            }
        }
        ensure!(
            begin.elapsed() < patience(Duration::from_secs(10)),
            "{:?}",
            begin.elapsed()
        );

        // The same after a while without a socket: what bob wrote between what he has not taken.
        drop(at_bob);
        send(&alice, "bob", &["a"]).await?;
        eventually("bob's proxy has it", Duration::from_secs(10), async || {
            Ok((bob.sync().await?.len() == 1).then_some(()))
        })
        .await?;
        send(&bob, "alice", &["b"]).await?;
        send(&alice, "bob", &["c"]).await?;
        eventually("bob's proxy has it", Duration::from_secs(10), async || {
            Ok((bob.sync().await?.len() == 2).then_some(()))
        })
        .await?;
        let mut at_bob = bob.socket(true).await?;
        let told = at_bob.messages(3).await?;
        ensure!(names(&told) == ["alice-a", "bob-b", "alice-c"], "{told:?}");
        let seqs: Vec<u64> = told.iter().map(|message| message.seq).collect();
        ensure!(seqs == [21, 22, 23], "{seqs:?}");
        Ok(())
    });
}

#[test]
fn every_socket_of_an_agent_is_told() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let mut sockets = [
            bob.socket(true).await?,
            bob.socket(true).await?,
            bob.socket(false).await?,
        ];
        for index in 0..5 {
            alice
                .send_text("bob", &format!("m-{index}"), "to all of you")
                .await?;
        }
        for socket in &mut sockets {
            let told = socket.messages(5).await?;
            ensure!(names(&told) == ["m-0", "m-1", "m-2", "m-3", "m-4"]);
        }
        Ok(())
    });
}

/// docs/protocol.md, 7: what is read is told to the author.
#[test]
fn the_author_is_told_what_was_read() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let (mut at_alice, mut at_bob) = (alice.socket(true).await?, bob.socket(true).await?);
        let sent = send(&alice, "bob", &["1", "2", "3"]).await?;
        at_alice.messages(3).await?;
        let told = at_bob.messages(3).await?;
        let facts = json!({"conversation_id": told[1].conversation_id, "through_seq": told[1].seq});
        at_bob
            .say(&json!({"type": "message.read_ack", "payload": facts}))
            .await?;
        let read = at_alice.event("message.read").await?;
        ensure!(
            read["message_id"] == sent[1].id.as_str() && read["through_seq"] == 2,
            "{read}"
        );
        ensure!(read["read_by"] == "bob" && read["reader"] == "bob");
        ensure!(read["conversation_id"] == sent[1].conversation_id.as_str());
        ensure!(read["read_at"] == read["at"] && read["at"].is_string());
        alice.until_status(&sent[1], "read").await?;
        let rows = alice.history(&sent[2].conversation_id, "after_seq=2").await?;
        ensure!(rows[0].status == "stored", "{rows:?}");
        // Read is settled: after the socket, only the third is offered.
        drop(at_bob);
        eventually("only the third is offered", Duration::from_secs(10), async || {
            let rows = bob.sync().await?;
            Ok((names(&rows) == ["alice-3"]).then_some(()))
        })
        .await
    });
}

#[test]
fn invites_and_ends_of_groups_are_told() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let mut socket = bob.socket(true).await?;
        let body = json!({"name": "Freight", "member_handles": ["bob"]});
        let group = alice.post_json("/v1/groups", &body).await?.expect(201)?;
        let invite = socket.event("group.invite.received").await?;
        ensure!(
            invite["group_name"] == "Freight" && invite["inviter_handle"] == "alice",
            "{invite}"
        );
        let path = format!(
            "/v1/groups/invites/{}/accept",
            invite["id"].as_str().unwrap_or_default()
        );
        bob.post(&path).await?.expect(200)?;
        let id = group["group"]["id"].as_str().unwrap_or_default();
        eventually("alice sees bob", Duration::from_secs(10), async || {
            let group = alice.get(&format!("/v1/groups/{id}")).await?.expect(200)?;
            Ok((group["member_count"] == 2).then_some(()))
        })
        .await?;
        alice.delete(&format!("/v1/groups/{id}")).await?.expect(200)?;
        let last = socket.message().await?;
        ensure!(last.content["data"]["event"] == "group_deleted", "{last:?}");
        let ended = socket.event("group.deleted").await?;
        ensure!(
            ended["group_id"] == id && ended["deleted_by_handle"] == "alice",
            "{ended}"
        );
        ensure!(ended["deleted_by"] == "alice" && ended["deleted_at"].is_string());
        Ok(())
    });
}
