//! What the relay and the disks hold of a group: nothing that was said, and not what it is called.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use waxwire_shared::{
    api::frames::{Cursor, Delivery, Queue, RelayFrame},
    wire::{Document as _, Envelope, GroupHeader},
};
use waxwire_tests::{
    Database,
    canary::files,
    circle::all_talk,
    eventually, scenario,
    tap::{Fate, Outcome, Side},
    unique,
};

/// Every envelope to a group that a relay's database holds, as the relay would deliver it.
async fn deliveries(database: &Database) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    for (position, bytes) in database.envelopes().await? {
        let header = Envelope::split(&bytes)
            .ok()
            .map(|parts| GroupHeader::decode(parts.header));
        if let Some(Ok(header)) = header {
            let frame = RelayFrame::Deliver(Delivery {
                cursor: Cursor {
                    queue: Queue::Group(header.group),
                    position,
                },
                envelope_id: position,
                stored_at: 0,
                object: &bytes,
            });
            frames.push(frame.encode());
        }
    }
    Ok(frames)
}

/// docs/protocol.md, 6.5: who was removed, and is given whatever the relay holds, opens nothing of the new
/// epoch; neither while it believes that it is a member, nor once it knows.
#[test]
fn former_member_with_every_byte_of_the_relay_opens_nothing_new() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let group = alice.gather(&unique("former")?, &[&bob, &carol]).await?.id;
        all_talk(&[&alice, &bob, &carol], &group, "before").await?;
        let known = carol.texts_in(&group).await?;
        // Carol is not shown that she is out.
        let tap = circle.proxy("carol")?.tap();
        tap.on_frame(|frame| match frame.relay() {
            Some(RelayFrame::Deliver(delivery)) if matches!(delivery.cursor.queue, Queue::Log(_)) => {
                Fate::Drop
            }
            _ => Fate::Pass,
        });
        tap.on_request(|asked| {
            if asked.path.contains("/queues/log-") {
                Outcome::Cut
            } else {
                Outcome::Pass
            }
        });
        alice.remove(&group, "carol").await?;
        all_talk(&[&alice, &bob], &group, "without carol").await?;
        let held = deliveries(circle.relay.store()).await?;
        let given = held.len();
        let tap = circle.proxy("carol")?.tap();
        for frame in held {
            tap.inject(Side::Relay, frame);
        }
        let what = format!("carol holds some of {given} envelopes");
        eventually(&what, Duration::from_secs(20), async || {
            let metrics = carol.get("/metrics").await?.text();
            let mut lines = metrics.lines();
            let held = lines.find(|line| line.contains("receives_total{outcome=\"held\"}"));
            Ok(held.filter(|line| !line.ends_with(" 0")).map(str::to_owned))
        })
        .await?;
        assert_eq!(carol.texts_in(&group).await?, known);
        // Now she is, and given everything once more.
        circle.proxy("carol")?.tap().calm();
        circle.proxy("carol")?.tap().cut();
        carol.until_event(&group, "member_removed", "carol").await?;
        carol.until_ready().await?;
        let frames = deliveries(circle.relay.store()).await?;
        for frame in frames {
            circle.proxy("carol")?.tap().inject(Side::Relay, frame);
        }
        circle.proxy("carol")?.crash().await?;
        carol.until_ready().await?;
        assert_eq!(carol.texts_in(&group).await?, known);
        let state = rusqlite::Connection::open(circle.proxy("carol")?.state().join("state.db"))?;
        let chains: u64 = state.query_row("SELECT count(*) FROM chain", [], |row| {
            row.get::<_, i64>(0).map(i64::cast_unsigned)
        })?;
        ensure!(chains == 0, "{chains} chains are left");
        let last = bob.texts_in(&group).await?.pop();
        ensure!(
            !known.contains(&last.context("a text")?),
            "nothing new was written"
        );
        Ok(())
    });
}

/// Name, topic, texts, metadata and ids are looked for on the wire, in the relay's database with its
/// write-ahead log, in every state folder and every log at level trace.
#[test]
fn nothing_of_a_group_lies_anywhere_in_clear() {
    scenario(async |world| {
        let mut relay = world.new_relay("relay")?;
        relay.log_level("trace");
        relay.start().await?;
        let mut proxies = Vec::new();
        for handle in ["alice", "bob", "carol"] {
            let mut proxy = world.new_proxy(&relay, handle).await?;
            proxy.init().await?;
            proxy.log_level("trace");
            proxy.tap().record();
            proxy.start().await?;
            proxy.agent()?.until_ready().await?;
            proxies.push(proxy);
        }
        let [alice, bob, carol] = [proxies[0].agent()?, proxies[1].agent()?, proxies[2].agent()?];
        let secrets = [
            unique("name")?,
            unique("topic")?,
            unique("renamed")?,
            unique("avatar")?,
            unique("data")?,
        ];
        for secret in &secrets {
            world.canaries().forbid(secret);
            world.canaries().forbid(&hex::encode(secret));
        }
        let [name, topic, renamed, avatar, data] = &secrets;
        let body = json!({"name": name, "description": topic, "member_handles": ["bob"]});
        let made = alice.post_json("/v1/groups", &body).await?.expect(201)?;
        let group = made["group"]["id"].as_str().unwrap_or_default().to_owned();
        bob.join(&group).await?;
        let body = json!({"name": renamed, "avatar_url": avatar});
        alice
            .patch_json(&format!("/v1/groups/{group}"), &body)
            .await?
            .expect(200)?;
        let body = json!({
            "conversation_id": group, "client_msg_id": unique("id")?,
            "content": {"data": {"deep": [data]}}, "metadata": {"note": data},
        });
        alice.send(&body).await?.expect(201)?;
        // History that is shown travels through the relay as well.
        let body = json!({"handle": "carol", "share_current": {"after_seq": 0}});
        alice.try_invite(&group, &body).await?.expect(201)?;
        carol.join(&group).await?;
        all_talk(&[&alice, &bob, &carol], &group, "secrecy").await?;
        bob.leave(&group).await?;
        all_talk(&[&alice, &carol], &group, "without bob").await?;

        world.check()?;
        for proxy in &mut proxies {
            let recorded = proxy.tap().recorded();
            ensure!(recorded.len() > 10_000, "the tap recorded nothing");
            assert_eq!(
                world.canaries().find(&recorded),
                None,
                "on the wire of {}",
                proxy.handle()
            );
        }
        relay.crash().await?;
        world.check()?;
        for proxy in &mut proxies {
            ensure!(proxy.terminate().await?.success());
        }
        ensure!(relay.terminate().await?.success());
        relay.store().dump(relay.folder()).await?;
        world.check()?;
        // The search looked where the group is: its id is public, and there.
        let id = hex::decode(&group["grp_".len()..])?;
        let mut found = false;
        for file in files(relay.folder())? {
            found |= std::fs::read(file)?.windows(id.len()).any(|window| window == id);
        }
        ensure!(found, "the relay's files do not even name the group");
        Ok(())
    });
}
