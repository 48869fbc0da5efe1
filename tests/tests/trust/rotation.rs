//! `rotate-now`: new keys at once, for direct messages and for every group.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_tests::{Agent, GroupSecurity, circle::all_talk, eventually, scenario, tap::Outcome, unique};

use super::{LIMIT, json_of};

async fn key_number(agent: &Agent, peer: &str) -> anyhow::Result<u64> {
    let identity = agent.identity(peer).await?;
    identity["key_number"].as_u64().context("no key number")
}

/// Waits until a message is there, whatever else is.
async fn gets(agent: &Agent, id: &str) -> anyhow::Result<()> {
    eventually(&format!("{id} arrives"), LIMIT, async || {
        let rows = agent.sync().await?;
        Ok(rows.iter().any(|row| row.client_msg_id == id).then_some(()))
    })
    .await
}

fn epoch_in(rotated: &Value, group: &str) -> anyhow::Result<u64> {
    let groups = rotated["groups"].as_array().context("no groups")?;
    let rekeyed = groups.iter().find(|rekeyed| rekeyed["group_id"] == group);
    let rekeyed = rekeyed.with_context(|| format!("{group} is not among {rotated}"))?;
    rekeyed["epoch"]
        .as_u64()
        .with_context(|| format!("no epoch: {rekeyed}"))
}

/// docs/protocol.md, 11: the rotation and then the rekey of every group heal at once. What was sealed to the
/// former key is read all the same.
#[test]
fn rotation_now_replaces_the_key_and_those_of_all_groups() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob", "carol"]).await?;
        let [alice, bob, carol] = circle.agents(["alice", "bob", "carol"])?;
        let first = alice.gather(&unique("first")?, &[&bob, &carol]).await?.id;
        let second = bob.gather(&unique("second")?, &[&carol]).await?.id;
        let left = alice.gather(&unique("left")?, &[&bob]).await?.id;
        bob.leave(&left).await?;
        alice.send_text("bob", "before", "to the first key").await?;
        gets(&bob, "before").await?;
        let before = key_number(&alice, "bob").await?;
        let mut epochs: Vec<GroupSecurity> = Vec::new();
        for group in [&first, &second] {
            epochs.push(bob.group_security(group).await?);
        }

        let (rotated, success) = json_of(circle.proxy("bob")?, "rotate-now", &[]).await?;
        ensure!(success, "{rotated}");
        let number = rotated["key_number"].as_u64().context("no key number")?;
        ensure!(number > before);
        ensure!(
            rotated["groups"]
                .as_array()
                .is_some_and(|groups| groups.len() == 2),
            "{rotated}"
        );
        for (group, before) in [&first, &second].into_iter().zip(&epochs) {
            let epoch = epoch_in(&rotated, group)?;
            ensure!(epoch > before.epoch, "{rotated}");
            carol.until_epoch(group, epoch).await?;
        }
        // Whoever asks now is given the new key; who does not know of it still reaches the agent.
        ensure!(key_number(&carol, "bob").await? >= before);
        alice.send_text("bob", "after", "to the former key").await?;
        gets(&bob, "after").await?;
        all_talk(&[&alice, &bob, &carol], &first, "healed").await?;
        all_talk(&[&bob, &carol], &second, "healed").await?;
        let (status, _) = json_of(circle.proxy("bob")?, "status", &[]).await?;
        ensure!(status["readiness"]["ready"] == json!(true), "{status}");
        Ok(())
    });
}

/// Each key is held until its time is over, so there are not many in an hour; and a refusal is one for scripts.
#[test]
fn rotations_are_limited() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let alice = pair.alice.agent()?;
        for _ in 0..6 {
            alice.post("/v1/keys/rotate").await?.expect(200)?;
        }
        let answer = alice.post("/v1/keys/rotate").await?;
        let details = answer.refused(429, "RATE_LIMITED")?;
        ensure!(
            details["retry_after_ms"]
                .as_u64()
                .is_some_and(|ms| ms > 3_000_000),
            "{details}"
        );
        let (refusal, success) = json_of(&pair.alice, "rotate-now", &[]).await?;
        ensure!(!success && refusal["code"] == "RATE_LIMITED", "{refusal}");
        Ok(())
    });
}

/// A relay that takes the key and no commit: the key is new, the command says which groups are not, and nothing is
/// sealed in them before they are, also over a restart.
#[test]
fn group_that_the_relay_does_not_rekey_is_named_and_kept_shut() {
    scenario(async |world| {
        let mut circle = world.circle(["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let group = alice.gather(&unique("stuck")?, &[&bob]).await?.id;
        all_talk(&[&alice, &bob], &group, "before").await?;
        let before = bob.group_security(&group).await?.epoch;
        circle.proxy("bob")?.tap().on_request(|asked| {
            if asked.path.ends_with("/commits") {
                Outcome::Cut
            } else {
                Outcome::Pass
            }
        });
        let (rotated, success) = json_of(circle.proxy("bob")?, "rotate-now", &[]).await?;
        ensure!(!success && rotated["key_number"].is_u64(), "{rotated}");
        ensure!(rotated["groups"][0]["code"] == "EPOCH_PENDING", "{rotated}");
        bob.try_group_text(&group, "shut", "not under the old key")
            .await?
            .refused(503, "EPOCH_PENDING")?;
        circle.proxy("bob")?.crash().await?;
        circle.proxy("bob")?.tap().calm();
        bob.until_ready().await?;
        let sent = bob.send_to_group(&group, "open", "under the new key").await?;
        ensure!(
            sent.security.epoch.is_some_and(|epoch| epoch > before),
            "{sent:?}"
        );
        alice.until_text(&group, "under the new key").await?;
        Ok(())
    });
}
