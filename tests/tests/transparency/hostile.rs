//! Relays that lie about their log (attack 24).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use waxwire_shared::{
    handle_tag::handle_tag,
    hash::sha256,
    ids::Hash,
    wire::{LogHead, LogLeaf},
};
use waxwire_tests::{
    Agent, FalseLog,
    clock::unix_ms,
    eventually,
    false_log::{is_lookup, with_proof},
    scenario,
    tap::Outcome,
};

use super::{audit, known, logged, reader, report, until_proved, write};

/// A leaf that no agent has anything to do with.
fn nobodys(n: u8) -> LogLeaf {
    LogLeaf {
        handle_tag: Hash::from_bytes([n; 32]),
        number: 1,
        bundle: sha256(&[n]),
    }
}

/// The proof that an agent keeps, as anybody can check it: two heads that the relay has signed.
async fn evidence(agent: &Agent, log: &FalseLog, kind: &str) -> anyhow::Result<[LogHead; 2]> {
    let known = known(agent).await?;
    let evidence = &known["evidence"][0];
    ensure!(evidence["type"] == kind, "{known}");
    let head = |name: &str| -> anyhow::Result<LogHead> {
        let text = evidence[name].as_str().context("no head")?;
        log.verify(&URL_SAFE_NO_PAD.decode(text)?)
    };
    Ok([head("first")?, head("second")?])
}

/// docs/protocol.md, 10: a proof of another bundle is none.
#[test]
fn attack_24_proof_of_another_bundle_is_told() {
    scenario(async |world| {
        let mut circle = logged(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        until_proved(&alice, "bob", 2).await?;
        let log = FalseLog::genuine(&circle.relay, &reader(world, &circle).await?).await?;
        circle.proxy("alice")?.tap().on_request(move |asked| {
            if !is_lookup(asked) {
                return Outcome::Pass;
            }
            let log = log.clone();
            with_proof(move |shown| {
                let hash = sha256(&shown.bundle.0);
                let other = log.leaves.iter().position(|leaf| leaf.bundle != hash)?;
                Some(log.proof(other as u64))
            })
        });
        write(&alice, &bob).await?;
        let alert = alice.until_alert("log_proof_false").await?;
        ensure!(
            alert["peer"] == "bob" && alert["severity"] == "critical",
            "{alert}"
        );
        write(&alice, &bob).await
    });
}

/// docs/protocol.md, 10: no log goes back.
#[test]
fn attack_24_rolled_back_log_is_a_fork() {
    scenario(async |world| {
        let mut circle = logged(world, ["alice", "bob", "carol"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let highest = until_proved(&alice, "bob", 3).await?;
        let mut log = FalseLog::genuine(&circle.relay, &reader(world, &circle).await?).await?;
        // Shorter than what alice has seen, and with another leaf before bob's.
        let tag = handle_tag(&log.relay(), &"bob".parse()?)?;
        log.leaves.retain(|leaf| leaf.handle_tag == tag);
        log.leaves.insert(0, nobodys(1));
        ensure!(log.size() < highest, "{} of {highest}", log.size());
        circle.proxy("alice")?.tap().show_log(&log);
        write(&alice, &bob).await?;
        alice.until_alert("log_fork").await?;
        let [first, second] = evidence(&alice, &log, "fork").await?;
        ensure!(
            first.log == second.log && first.root != second.root,
            "{first:?} {second:?}"
        );
        write(&alice, &bob).await?;
        let (sound, found) = report(circle.proxy("alice")?, &[]).await?;
        ensure!(!sound && found["forked"] == true, "{found}");
        Ok(())
    });
}

/// docs/protocol.md, 10: agents that are shown two logs find out when they talk.
#[test]
fn attack_24_split_directory_is_found_when_agents_talk() {
    scenario(async |world| {
        let mut circle = logged(world, ["alice", "bob"]).await?;
        let reader = reader(world, &circle).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let log = eventually("the log is whole", Duration::from_secs(30), async || {
            let log = FalseLog::genuine(&circle.relay, &reader).await.ok();
            Ok(log.filter(|log| log.size() >= 3))
        })
        .await?;
        // For bob there is a leaf that alice never sees, and for alice another.
        for (agent, n) in [("alice", 1), ("bob", 2)] {
            let mut split = log.clone();
            split.leaves.push(nobodys(n));
            circle.proxy(agent)?.tap().show_log(&split);
        }
        write(&alice, &bob).await?;
        write(&bob, &alice).await?;
        write(&alice, &bob).await?;
        let deceived = eventually("one of them knows", Duration::from_secs(30), async || {
            for agent in [&alice, &bob] {
                let alerts = agent.alerts().await?;
                if alerts.iter().any(|alert| alert["type"] == "log_fork") {
                    return Ok(Some(agent));
                }
            }
            Ok(None)
        })
        .await?;
        let [first, second] = evidence(deceived, &log, "fork").await?;
        ensure!(
            first.size == second.size && first.root != second.root,
            "{first:?} {second:?}"
        );
        write(&alice, &bob).await?;
        write(&bob, &alice).await
    });
}

/// docs/protocol.md, 10: who reads the log finds the bundle that the relay has made up for others.
#[test]
fn attack_24_rogue_bundle_is_found_by_its_owner() {
    scenario(async |world| {
        let mut circle = logged(world, ["alice", "bob"]).await?;
        let reader = reader(world, &circle).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        until_proved(&alice, "bob", 2).await?;
        let mut log = FalseLog::genuine(&circle.relay, &reader).await?;
        log.leaves.push(LogLeaf {
            handle_tag: handle_tag(&log.relay(), &"bob".parse()?)?,
            number: unix_ms(),
            bundle: sha256(b"made up"),
        });
        circle.proxy("bob")?.tap().show_log(&log);
        let finished = audit(circle.proxy("bob")?, &[]).await?;
        ensure!(!finished.status.success(), "{}", finished.stdout);
        ensure!(finished.stdout.contains("rogue"), "{}", finished.stdout);
        let alert = bob.until_alert("rogue_bundle").await?;
        ensure!(alert["severity"] == "critical", "{alert}");
        let (_, found) = report(circle.proxy("bob")?, &[]).await?;
        ensure!(
            found["rogue_bundles"][0]["bundle"] == sha256(b"made up").to_string(),
            "{found}"
        );
        ensure!(found["own_bundles"] == 1, "{found}");
        write(&alice, &bob).await
    });
}

/// docs/protocol.md, 10: who has kept a log and shows nothing of it any more is told.
#[test]
fn attack_24_withheld_proofs_are_told() {
    scenario(async |world| {
        let mut circle = logged(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        until_proved(&alice, "bob", 2).await?;
        let proxy = circle.proxy("alice")?;
        proxy.terminate().await?;
        proxy.arguments(["--bundle-age", "0", "--log-within", "1"]);
        proxy.tap().on_request(|asked| match is_lookup(asked) {
            true => with_proof(|_| None),
            false if asked.path.starts_with("/v1/log/") => Outcome::Cut,
            false => Outcome::Pass,
        });
        proxy.start().await?;
        alice.until_ready().await?;
        // Nobody asks again; the proxy does.
        alice.identity("bob").await?;
        let alert = alice.until_alert("log_withheld").await?;
        ensure!(alert["peer"] == "bob", "{alert}");
        let (sound, found) = report(circle.proxy("alice")?, &[]).await?;
        ensure!(!sound && found["failure"] == "relay_unreachable", "{found}");
        write(&alice, &bob).await
    });
}

/// docs/protocol.md, 10: another log is another log, until the operator says that it is right.
#[test]
fn attack_24_other_log_waits_for_the_operator() {
    scenario(async |world| {
        let mut circle = logged(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        until_proved(&alice, "bob", 2).await?;
        let mut log = FalseLog::genuine(&circle.relay, &reader(world, &circle).await?).await?;
        log.id = Hash::from_bytes([7; 32]);
        let id = log.id.to_string();
        circle.proxy("alice")?.tap().show_log(&log);
        write(&alice, &bob).await?;
        alice.until_alert("log_replaced").await?;
        let [first, second] = evidence(&alice, &log, "other_log").await?;
        ensure!(first.log != second.log, "{first:?} {second:?}");
        let (sound, found) = report(circle.proxy("alice")?, &[]).await?;
        ensure!(!sound && found["failure"] == "halted", "{found}");
        ensure!(found["other_log"]["log_id"] == id.as_str(), "{found}");
        let (sound, _) = report(circle.proxy("alice")?, &["--accept-new-log", &"08".repeat(32)]).await?;
        ensure!(!sound, "a log was accepted that nobody has shown");
        let (sound, found) = report(circle.proxy("alice")?, &["--accept-new-log", &id]).await?;
        ensure!(sound && found["head"]["log_id"] == id.as_str(), "{found}");
        ensure!(
            found["own_bundles"] == 1 && found["other_log"].is_null(),
            "{found}"
        );
        write(&alice, &bob).await
    });
}
