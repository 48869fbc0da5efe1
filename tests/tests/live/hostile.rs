//! Clients that misbehave cost themselves, nobody else.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message as Frame;
use waxwire_tests::{Agent, eventually, scenario};

use crate::{names, send};

#[test]
fn floods_and_odd_frames_are_passed_over() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let mut socket = bob.socket(true).await?;
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let odd = [
            Frame::binary(vec![0xff; 1_000]),
            Frame::text(""),
            Frame::text("{\"type\":\"ack\""),
            Frame::text(deep),
            Frame::text(json!({"type": "ack", "message_id": "msg_00000000000000000000000000000000"}).to_string()),
            Frame::text(json!({"type": "message.send", "payload": {"to": "alice"}}).to_string()),
            Frame::text(json!({"type": "hello", "token": "wx_wrong"}).to_string()),
            Frame::text(
                json!({"type": "message.read_ack",
                    "payload": {"conversation_id": "conv_00000000000000000000000000000000", "through_seq": 7}})
                .to_string(),
            ),
            Frame::text("x".repeat(100_000)),
            Frame::Ping(vec![1; 100].into()),
        ];
        for _ in 0..300 {
            for frame in &odd {
                socket.write(frame.clone()).await?;
            }
        }
        let sent = send(&alice, "bob", &["1"]).await?;
        let told = socket.message().await?;
        ensure!(told.id == sent[0].id);
        socket.ack(&told.id).await?;
        alice.until_status(&sent[0], "delivered").await?;
        bob.until_ready().await
    });
}

#[test]
fn a_frame_that_is_too_large_ends_its_socket_only() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let (mut first, mut second) = (bob.socket(true).await?, bob.socket(true).await?);
        // Written in part at most.
        drop(first.write(Frame::text("x".repeat(8 * 1024 * 1024))).await);
        first.closed(Duration::from_secs(5)).await?;
        send(&alice, "bob", &["1"]).await?;
        ensure!(names(&second.messages(1).await?) == ["alice-1"]);
        Ok(())
    });
}

/// Sends messages that are as large as they may be, some at the same time.
async fn send_large(from: &Agent, to: &str, count: usize) -> anyhow::Result<()> {
    let mut sending = JoinSet::new();
    for lane in 0..8 {
        let (from, to) = (from.clone(), to.to_owned());
        sending.spawn(async move {
            for index in (lane..count).step_by(8) {
                let content = json!({"data": {"filler": "x".repeat(48_000)}});
                let body = json!({"to": to, "client_msg_id": format!("large-{index}"), "content": content});
                from.post_json("/v1/messages", &body).await?.expect_status(201)?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}

/// Memory of a process that is in use, in KiB.
fn memory(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}

#[test]
fn a_slow_reader_is_closed_and_loses_nothing() {
    const MESSAGES: usize = 96;
    scenario(async |world| {
        let mut pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let process = pair.bob.program()?.id();
        let mut slow = bob.socket(true).await?;
        let before = memory(process)?;
        send_large(&alice, "bob", MESSAGES).await?;
        // Its lease ends when the proxy gives it up.
        eventually(
            "everything is offered again",
            Duration::from_secs(30),
            async || Ok((bob.sync().await?.len() == MESSAGES).then_some(())),
        )
        .await?;
        let grown = memory(process)?.saturating_sub(before);
        ensure!(grown < 30 * 1024, "a slow reader cost {grown} KiB");
        let closed = slow.closed(Duration::from_secs(10)).await?;
        ensure!(closed.code == Some(1013), "{:?}", closed.code);
        ensure!(closed.types.len() < MESSAGES, "it was never slow");

        let mut again = bob.socket(true).await?;
        let told = again.messages(MESSAGES).await?;
        ensure!(told.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
        Ok(())
    });
}
