//! Server-sent events.

use std::time::Duration;

use anyhow::ensure;
use waxwire_tests::{Agent, eventually, http::host, scenario};

use crate::send;

/// Opens a stream and reads it until nothing comes for a second.
async fn read(agent: &Agent, headers: &str) -> anyhow::Result<String> {
    let head = format!(
        "GET /v1/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n{headers}\r\n",
        host(&agent.http().address()?),
        agent.token()
    );
    let answer = agent.http().raw(head.as_bytes()).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Ids of the events, in order.
fn ids(stream: &str) -> Vec<&str> {
    stream
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect()
}

#[test]
fn events_carry_the_frames_and_settle_nothing() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        let sent = send(&alice, "bob", &["1", "2"]).await?;
        eventually("bob's proxy has them", Duration::from_secs(10), async || {
            Ok((bob.sync().await?.len() == 2).then_some(()))
        })
        .await?;
        let stream = read(&bob, "").await?;
        ensure!(stream.contains("content-type: text/event-stream"), "{stream}");
        let order = ["\"hello.ok\"", sent[0].id.as_str(), sent[1].id.as_str()];
        let places: Vec<usize> = order.iter().filter_map(|part| stream.find(part)).collect();
        ensure!(places.len() == 3 && places.is_sorted(), "{stream}");
        let rows = bob.sync().await?;
        ensure!(rows.len() == 2);
        let offered: Vec<&str> = rows.iter().filter_map(|row| row.delivery_id.as_deref()).collect();
        ensure!(ids(&stream) == offered, "{stream}");

        // It goes on behind the last event that was seen, whatever became of that; own messages count.
        bob.ack(offered[1]).await?;
        let own = send(&bob, "alice", &["3"]).await?;
        let stream = read(&bob, &format!("last-event-id: {}\r\n", offered[0])).await?;
        ensure!(
            !stream.contains(&sent[0].id) && stream.contains(&sent[1].id),
            "{stream}"
        );
        ensure!(stream.contains(&own[0].id), "{stream}");
        let last = ids(&stream)[1].to_owned();
        let stream = read(&bob, &format!("last-event-id: {last}\r\n")).await?;
        ensure!(ids(&stream).is_empty(), "{stream}");
        bob.http()
            .ask(waxwire_tests::Ask::new("GET", "/v1/events"))
            .await?
            .refused(401, "UNAUTHORIZED")?;
        Ok(())
    });
}
