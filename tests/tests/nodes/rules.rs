//! What the relay promises holds whichever node is asked.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use waxwire_tests::{
    Answer, Relay, Stranger, World, canary::random, eventually, program::run, scenario, scenario_within,
};

use super::{SHORT, two};

async fn strangers(world: &World, relay: &Relay) -> anyhow::Result<(Stranger, Stranger)> {
    let alice = Stranger::registered(relay.http_of(0), "alice", world.canaries()).await?;
    let bob = Stranger::registered(relay.http_of(1), "bob", world.canaries()).await?;
    Ok((alice, bob))
}

async fn post_at(relay: &Relay, node: usize, from: &Stranger, envelope: &[u8]) -> anyhow::Result<Answer> {
    let ask = from.request("POST", "/v1/envelopes").body(envelope.to_vec());
    let ask = ask.header("content-type", "application/octet-stream");
    relay.http_of(node).ask(ask).await
}

fn id(answer: &Answer) -> anyhow::Result<String> {
    let body: serde_json::Value = answer.parse()?;
    Ok(body["envelope_id"].as_str().context("no id")?.to_owned())
}

/// C10 over nodes: whoever is answered that a block holds is written to by nobody any more.
#[test]
fn block_at_one_node_counts_at_the_other_at_once() {
    scenario(async |world| {
        let relay = two(world).await?;
        let (alice, bob) = strangers(world, &relay).await?;
        let block = |method| {
            let ask = alice.request(method, "/v1/blocks/bob");
            if method == "PUT" {
                ask.json(&json!({ "known": true }))
            } else {
                ask
            }
        };
        for round in 0..20 {
            let (one, other) = (round % 2, (round + 1) % 2);
            let envelope = bob.envelope(alice.id(), &random::<560>()?)?;
            relay.http_of(one).ask(block("PUT")).await?.expect_status(204)?;
            let refused = post_at(&relay, other, &bob, &envelope).await?;
            ensure!(refused.status == 403, "{} {}", refused.status, refused.text());
            relay
                .http_of(one)
                .ask(block("DELETE"))
                .await?
                .expect_status(204)?;
            post_at(&relay, other, &bob, &envelope)
                .await?
                .expect_status(201)?;
        }
        Ok(())
    });
}

/// docs/operations/nodes.md: what an administrator does counts everywhere within seconds.
#[test]
fn suspension_counts_at_every_node() {
    scenario(async |world| {
        let relay = two(world).await?;
        let (alice, bob) = strangers(world, &relay).await?;
        // Both nodes know the key by heart.
        for node in 0..2 {
            let envelope = alice.envelope(bob.id(), &random::<560>()?)?;
            post_at(&relay, node, &alice, &envelope)
                .await?
                .expect_status(201)?;
        }
        run(relay.tool(["admin", "suspend", "alice"])?, SHORT)
            .await?
            .success()?;
        for node in 0..2 {
            eventually("the agent is shut out", SHORT, async || {
                let ask = alice.request("GET", "/v1/queues/mail/envelopes");
                Ok((relay.http_of(node).ask(ask).await?.status == 403).then_some(()))
            })
            .await?;
        }
        Ok(())
    });
}

/// Attack 42 over nodes: one envelope at both at the same time is one envelope.
#[test]
fn envelope_that_comes_to_two_nodes_is_stored_once() {
    scenario(async |world| {
        let relay = two(world).await?;
        let (alice, bob) = strangers(world, &relay).await?;
        for _ in 0..50 {
            let envelope = alice.envelope(bob.id(), &random::<560>()?)?;
            let (one, two) = tokio::try_join!(
                post_at(&relay, 0, &alice, &envelope),
                post_at(&relay, 1, &alice, &envelope)
            )?;
            let statuses = HashSet::from([one.status, two.status]);
            ensure!(statuses == HashSet::from([200, 201]), "{statuses:?}");
            ensure!(id(&one)? == id(&two)?);
        }
        ensure!(relay.store().envelopes().await?.len() == 50);
        Ok(())
    });
}

/// No two nodes make one id, also if they are killed and others take their numbers.
#[test]
fn ids_are_unique_over_nodes_and_kills() {
    const SENDERS: usize = 8;
    const EACH: usize = 250;
    scenario_within(Duration::from_secs(180), async |world| {
        let mut relay = two(world).await?;
        let (_, bob) = strangers(world, &relay).await?;
        let mut senders = Vec::new();
        for number in 0..SENDERS {
            let handle = format!("sender-{number}");
            senders.push(Stranger::registered(relay.http_of(number % 2), &handle, world.canaries()).await?);
        }
        let https = [relay.http_of(0).clone(), relay.http_of(1).clone()];
        let send = async |number: usize, from: &Stranger| {
            let mut ids = Vec::new();
            for round in 0..EACH {
                let envelope = from.envelope(bob.id(), &random::<560>()?)?;
                let stored = eventually("the outcome is known", SHORT, async || {
                    let ask = from.request("POST", "/v1/envelopes").body(envelope.clone());
                    let ask = ask.header("content-type", "application/octet-stream");
                    // As through a load balancer: to the other one if this one is away.
                    let Ok(answer) = https[(number + round) % 2].ask(ask.clone()).await else {
                        return Ok(None);
                    };
                    Ok(matches!(answer.status, 200 | 201).then_some(answer))
                });
                ids.push(id(&stored.await?)?);
            }
            anyhow::Ok(ids)
        };
        let kills = async {
            for round in 0..4 {
                tokio::time::sleep(Duration::from_millis(400)).await;
                relay.kill_node(round % 2)?;
                relay.start_node(round % 2).await?;
            }
            anyhow::Ok(())
        };
        let sends = try_join_all(
            senders
                .iter()
                .enumerate()
                .map(|(number, from)| send(number, from)),
        );
        let (ids, ()) = tokio::try_join!(sends, kills)?;
        let ids: Vec<String> = ids.into_iter().flatten().collect();
        let unique: HashSet<&String> = ids.iter().collect();
        ensure!((ids.len(), unique.len()) == (SENDERS * EACH, SENDERS * EACH));
        let positions: Vec<u64> = relay
            .store()
            .envelopes()
            .await?
            .into_iter()
            .map(|row| row.0)
            .collect();
        let distinct: HashSet<u64> = positions.iter().copied().collect();
        ensure!(
            distinct == (1..=(SENDERS * EACH) as u64).collect(),
            "a position is missing"
        );
        ensure!(positions.len() == distinct.len(), "a position was given twice");
        Ok(())
    });
}
