//! A relay that lies about a channel: another group under its slug, a log that is not the group's, or less of it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::ensure;
use bytes::Bytes;
use serde_json::json;
use waxwire_shared::api::rest::ChannelAnswer;
use waxwire_tests::{
    Answer, Tap, eventually, scenario, scenario_within,
    tap::{Asked, Outcome},
    unique,
};

use super::{ENTERED, alerted, entered, no_alerts};

fn is_log(asked: &Asked) -> bool {
    asked.path.starts_with("/v1/queues/log-")
}

/// Changes what the relay says of a slug.
fn rewrite_channel(tap: &Tap, change: impl Fn(&mut ChannelAnswer) + Send + Sync + Clone + 'static) {
    tap.on_request(move |asked| {
        if !asked.path.starts_with("/v1/channels/") {
            return Outcome::Pass;
        }
        let change = change.clone();
        Outcome::Rewrite(Box::new(move |answer: &mut Answer| {
            if let Ok(mut channel) = serde_json::from_slice::<ChannelAnswer>(&answer.body) {
                change(&mut channel);
                answer.body = serde_json::to_vec(&channel).unwrap_or_default().into();
            }
        }))
    });
}

/// The first commit of a body of frames, each with its length before it.
fn first_frame(body: &Bytes) -> Bytes {
    let length = body.first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
    body.slice(..body.len().min(4 + length as usize))
}

#[test]
fn attack_102_group_that_does_not_claim_the_slug_is_not_joined() {
    scenario(async |world| {
        let mut circle = world.unlimited_circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let bank = alice.create_channel("bank", &unique("bank")?, "open").await?.id;
        let trap = alice.create_channel("trap", &unique("trap")?, "open").await?.id;
        let lure = circle.relay.store().group_of("trap").await?;
        rewrite_channel(circle.proxy("bob")?.tap(), move |channel| channel.group_id = lure);
        let details = bob
            .try_join_channel("bank")
            .await?
            .refused(409, "RELAY_MISBEHAVED")?;
        assert_eq!(details, json!({ "slug": "bank" }));
        alerted(&bob, "channel_false").await?;
        assert_eq!(alice.group(&trap).await?.handles(), ["alice"]);
        assert_eq!(bob.get("/v1/conversations").await?.expect(200)?, json!([]));
        // Nor is another slug taken for the one that was asked for.
        rewrite_channel(circle.proxy("bob")?.tap(), |channel| {
            channel.slug = "trap".parse().unwrap_or_else(|_| channel.slug.clone());
        });
        bob.try_join_channel("bank")
            .await?
            .refused(409, "RELAY_MISBEHAVED")?;
        circle.proxy("bob")?.tap().calm();
        assert_eq!(entered(&bob, "bank").await?.id, bank);
        // Within the channel a lie changes nothing: nobody is asked.
        rewrite_channel(circle.proxy("bob")?.tap(), move |channel| channel.group_id = lure);
        assert_eq!(bob.join_channel("bank").await?.id, bank);
        no_alerts(&[&alice]).await
    });
}

#[test]
fn attack_103_log_that_does_not_verify_is_not_joined() {
    scenario(async |world| {
        let mut circle = world.unlimited_circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        alice.create_channel("plaza", &unique("plaza")?, "open").await?;
        entered(&carol, "plaza").await?;
        let tap = circle.proxy("bob")?.tap();
        tap.on_request(|asked| {
            if !is_log(asked) {
                return Outcome::Pass;
            }
            Outcome::Rewrite(Box::new(|answer: &mut Answer| {
                let mut body = first_frame(&answer.body).to_vec();
                if let Some(last) = body.last_mut() {
                    *last ^= 1;
                }
                answer.body = body.into();
            }))
        });
        bob.try_join_channel("plaza")
            .await?
            .refused(409, "RELAY_MISBEHAVED")?;
        alerted(&bob, "invalid_commit").await?;
        ensure!(bob.channels("joined=true").await?.channels.is_empty());
        circle.proxy("bob")?.tap().calm();
        entered(&bob, "plaza").await?;
        no_alerts(&[&alice, &carol]).await
    });
}

/// A log without its end verifies. A join on it does not continue the head, and whoever asked is told that it
/// takes too long; once the relay shows all of it, the agent is in.
#[test]
fn log_without_its_end_lets_nobody_in() {
    scenario_within(2 * ENTERED, async |world| {
        let mut circle = world.unlimited_circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let id = alice.create_channel("plaza", &unique("plaza")?, "open").await?.id;
        entered(&carol, "plaza").await?;
        let refused = Arc::new(AtomicU64::new(0));
        let conflicts = Arc::clone(&refused);
        circle.proxy("bob")?.tap().on_request(move |asked| {
            if asked.path.ends_with("/commits") {
                conflicts.fetch_add(1, Ordering::SeqCst);
                return Outcome::Pass;
            }
            if !is_log(asked) {
                return Outcome::Pass;
            }
            let whole = asked.path.contains("after=0&");
            Outcome::Rewrite(Box::new(move |answer: &mut Answer| {
                answer
                    .headers
                    .insert("x-waxwire-head", http::HeaderValue::from_static("1"));
                answer.body = if whole {
                    first_frame(&answer.body)
                } else {
                    Bytes::new()
                };
            }))
        });
        bob.try_join_channel("plaza")
            .await?
            .refused(503, "EPOCH_PENDING")?;
        ensure!(refused.load(Ordering::SeqCst) > 0, "no join was tried");
        assert_eq!(alice.group(&id).await?.handles(), ["alice", "carol"]);
        circle.proxy("bob")?.tap().calm();
        entered(&bob, "plaza").await?;
        alice.until_members(&id, &["alice", "carol", "bob"]).await?;
        no_alerts(&[&alice, &carol, &bob]).await
    });
}

/// A group by invite is not entered because the relay calls it open.
#[test]
fn attack_104_closed_channel_that_is_shown_as_open_stays_closed() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let id = alice
            .create_channel("council", &unique("council")?, "invite")
            .await?
            .id;
        let group = circle.relay.store().group_of("council").await?;
        circle.proxy("bob")?.tap().on_request(move |asked| {
            if asked.path != "/v1/channels/council" {
                return Outcome::Pass;
            }
            let lie = json!({ "slug": "council", "group_id": group, "open": true, "members": 1 });
            Outcome::Answer {
                status: 200,
                media_type: "application/json",
                body: lie.to_string().into_bytes(),
            }
        });
        // The log is not shown to strangers.
        bob.try_join_channel("council")
            .await?
            .refused(404, "CHANNEL_NOT_FOUND")?;
        // It is once he is invited, but strangers' invites are none to him.
        let strict = json!({ "settings": { "group_invite_policy": "contacts_only" } });
        bob.patch_json("/v1/agents/bob", &strict).await?.expect(200)?;
        alice.invite(&id, "bob").await?;
        bob.try_join_channel("council")
            .await?
            .refused(403, "INVITE_REQUIRED")?;
        assert_eq!(alice.group(&id).await?.handles(), ["alice"]);
        no_alerts(&[&alice]).await
    });
}

#[test]
fn slug_that_names_another_group_later_is_told() {
    scenario_within(2 * ENTERED, async |world| {
        let mut circle = world.unlimited_circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let first = alice.create_channel("plaza", &unique("first")?, "open").await?.id;
        let other = alice.create_channel("other", &unique("other")?, "open").await?.id;
        entered(&bob, "plaza").await?;
        bob.leave(&first).await?;
        let lure = circle.relay.store().group_of("other").await?;
        rewrite_channel(circle.proxy("bob")?.tap(), move |channel| channel.group_id = lure);
        let details = bob
            .try_join_channel("plaza")
            .await?
            .refused(409, "CHANNEL_CHANGED")?;
        assert_eq!(
            details,
            json!({ "slug": "plaza", "known": first, "shown": other })
        );
        alerted(&bob, "channel_changed").await?;
        // Also by its id it is not what its log says that it is not.
        let refused = bob.try_join_exactly("plaza", &other).await?;
        refused.refused(409, "RELAY_MISBEHAVED")?;
        let refused = bob.try_join_exactly("plaza", &first).await?;
        refused.refused(409, "CHANNEL_CHANGED")?;
        circle.proxy("bob")?.tap().calm();

        // That may be right: the first has ended while bob was no member.
        alice.disband(&first).await?;
        let second = carol
            .create_channel("plaza", &unique("second")?, "open")
            .await?
            .id;
        let details = bob
            .try_join_channel("plaza")
            .await?
            .refused(409, "CHANNEL_CHANGED")?;
        assert_eq!(
            details,
            json!({ "slug": "plaza", "known": first, "shown": second })
        );
        ensure!(bob.channels("joined=true").await?.channels.is_empty());
        let joined = eventually("bob joins the second", ENTERED, async || {
            let answer = bob.try_join_exactly("plaza", &second).await?;
            Ok((answer.status != 503).then_some(answer))
        });
        joined.await?.expect_status(200)?;
        assert_eq!(bob.join_channel("plaza").await?.id, second);
        no_alerts(&[&alice, &carol]).await
    });
}
