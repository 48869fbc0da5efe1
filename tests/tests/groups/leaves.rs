//! Leaves that are no share of a key: whose fault it is, and how a member comes to a key all the same
//! (docs/protocol.md, 6.5).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use waxwire_shared::wire::{Change, Leaf};
use waxwire_tests::{
    Agent, Answer, Insider,
    circle::{all_talk, settled},
    eventually,
    insider::spoil_box,
    scenario,
    tap::Outcome,
    unique,
};

use crate::no_alerts;

async fn alert(agent: &Agent, kind: &str) -> anyhow::Result<Value> {
    eventually(kind, Duration::from_secs(20), async || {
        let alerts = agent.alerts().await?;
        Ok(alerts.into_iter().find(|alert| alert["type"] == kind))
    })
    .await
}

/// The relay gives a leaf that is not part of the rekey: the relay is named, nobody rekeys, and the leaf
/// that it gives next is taken.
#[test]
fn leaf_that_the_relay_forges_is_asked_for_again() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("forged")?, &[&bob]).await?.id;
        let before = settled(&[&alice, &bob], &group).await?.epoch;
        let forged = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&forged);
        circle.proxy("bob")?.tap().on_request(move |asked| {
            if asked.path.contains("/leaves/") && count.fetch_add(1, Ordering::SeqCst) < 2 {
                return Outcome::Rewrite(Box::new(|answer: &mut Answer| {
                    let mut body = answer.body.to_vec();
                    if let Some(byte) = body.last_mut() {
                        *byte ^= 1;
                    }
                    answer.body = body.into();
                }));
            }
            Outcome::Pass
        });
        alice.rekey(&group).await?;
        all_talk(&[&alice, &bob], &group, "a forged leaf").await?;
        ensure!(forged.load(Ordering::SeqCst) >= 3, "the leaf was asked for again");
        let told = alert(&bob, "leaf_forged").await?;
        ensure!(
            told.get("peer").is_none_or(Value::is_null),
            "the relay's fault: {told}"
        );
        let alerts = bob.alerts().await?;
        ensure!(
            alerts.iter().all(|alert| alert["type"] == "leaf_forged"),
            "{alerts:?}"
        );
        assert_eq!(settled(&[&alice, &bob], &group).await?.epoch, before + 1);
        no_alerts(&[&alice]).await
    });
}

/// A member replaces the key with a leaf for bob that gives none. Bob names that member, replaces the key
/// himself, and gets what was written meanwhile.
#[test]
fn attack_14_false_leaf_names_its_maker_and_is_healed() {
    scenario(async |world| {
        let circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("false")?, &[&bob]).await?.id;
        let mallory = Insider::registered(circle.relay.http(), "mallory", world.canaries()).await?;
        alice.invite(&group, "mallory").await?;
        let mut log = mallory.read_log(circle.relay.store().only_group().await?).await?;
        let accept = Change::Accept {
            invite: mallory.invite(&log)?,
        };
        let mut members = log.roster.members().iter();
        let victim = members.find(|member| member.handle.as_str() == "bob");
        let victim = victim.context("bob")?.identity.clone();
        mallory
            .append_with_rekey(&mut log, &[accept], &|leaf: &mut Leaf| {
                if leaf.identity == victim {
                    spoil_box(leaf);
                }
            })
            .await?;
        let false_epoch = log.roster.epoch();
        let text = unique("meanwhile")?;
        alice.send_to_group(&group, &unique("id")?, &text).await?;
        let told = alert(&bob, "leaf_false").await?;
        ensure!(told.to_string().contains("mallory"), "{told}");
        bob.until_epoch(&group, false_epoch + 1).await?;
        let got = bob.until_text(&group, &text).await?;
        ensure!(got.security.verified && got.sender == "alice", "{got:?}");
        all_talk(&[&alice, &bob], &group, "healed").await?;
        // The maker is a member like any other until somebody removes it.
        mallory.follow(&mut log).await?;
        let epoch = mallory.adopt(&log).await?;
        assert_eq!(epoch.number, false_epoch + 1);
        no_alerts(&[&alice]).await
    });
}
