//! What an honest relay's log is good for.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use waxwire_tests::{Proxy, eventually, program::run, scenario};

use super::{audit, known, logged, reader, report, size, unalarmed, until_proved, write, write_text};

/// docs/protocol.md, 10: the bundle that a lookup shows is proved to be in the log; the owner finds its own there.
#[test]
fn lookups_are_proved_and_owners_find_their_bundles() {
    scenario(async |world| {
        let mut circle = logged(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        until_proved(&alice, "bob", 2).await?;
        let bobs = circle.proxy("bob")?;
        let (sound, found) = report(bobs, &[]).await?;
        ensure!(sound, "{found}");
        ensure!(
            found["own_bundles"] == 1 && found["current_bundle_logged"] == true,
            "{found}"
        );
        ensure!(
            found["scanned"] == found["head"]["size"] && found["failure"].is_null(),
            "{found}"
        );
        let shown = audit(bobs, &[]).await?.success()?.stdout;
        ensure!(
            shown.contains("own bundles") && shown.contains("in the log"),
            "{shown}"
        );
        write(&alice, &bob).await?;
        unalarmed(&alice).await?;
        unalarmed(&bob).await
    });
}

/// docs/protocol.md, 10: every key that the agent has had is its own, and a scan reads on where it was.
#[test]
fn every_bundle_of_an_agent_is_in_the_log() {
    scenario(async |world| {
        let mut circle = logged(world, ["alice", "bob"]).await?;
        let bobs = circle.proxy("bob")?;
        report(bobs, &[]).await?;
        bobs.terminate().await?;
        bobs.arguments(["--key-rotation", "2"]);
        bobs.start().await?;
        let found = until_own(bobs, 3).await?;
        ensure!(
            found["rogue_bundles"].as_array().is_some_and(Vec::is_empty),
            "{found}"
        );
        ensure!(
            found["unaccounted_bundles"].as_array().is_some_and(Vec::is_empty),
            "{found}"
        );
        unalarmed(&bobs.agent()?).await
    });
}

/// docs/protocol.md, 10: what an agent signed before it lost everything is not taken for somebody else's.
#[test]
fn bundle_from_before_a_recovery_is_unaccounted() {
    scenario(async |world| {
        let circle = logged(world, []).await?;
        let mut lost = world.new_proxy(&circle.relay, "alice").await?;
        let key = world.folder().join("recovery");
        let key = key.to_str().context("a path in UTF-8")?;
        lost.init_with(&["--recovery-file", key]).await?;
        lost.start().await?;
        lost.agent()?.until_ready().await?;
        until_own(&lost, 1).await?;
        lost.kill()?;
        let mut found = world.other_host(&circle.relay, "alice", "elsewhere").await?;
        let (url, next) = (found.tap().url(), format!("{key}-next"));
        let arguments = ["--relay", &url, "--handle", "alice", "--recovery-file", key];
        let arguments = [&arguments[..], &["--new-recovery-file", &next]].concat();
        run(found.tool("recover", &arguments)?, Duration::from_secs(60))
            .await?
            .success()?;
        found.start().await?;
        found.agent()?.until_ready().await?;
        let report = until_own(&found, 1).await?;
        let count = |name: &str| report[name].as_array().map(Vec::len);
        ensure!(count("unaccounted_bundles") == Some(1), "{report}");
        ensure!(count("rogue_bundles") == Some(0), "{report}");
        found.agent()?.until_alert("bundle_unaccounted").await?;
        unalarmed(&found.agent()?).await
    });
}

/// Audits until so many own bundles are in the log; all is sound.
async fn until_own(proxy: &Proxy, least: u64) -> anyhow::Result<Value> {
    eventually(
        "own bundles are in the log",
        Duration::from_secs(60),
        async || {
            let (sound, found) = report(proxy, &[]).await?;
            ensure!(sound || found["failure"] == "no_log", "{found}");
            Ok(Some(found).filter(|found| found["own_bundles"].as_u64() >= Some(least)))
        },
    )
    .await
}

/// docs/protocol.md, 10: a log goes on after the relay was killed, and proxies go on with it.
#[test]
fn log_goes_on_after_a_crash_of_relay_and_proxy() {
    scenario(async |world| {
        let mut circle = logged(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        let before = until_proved(&alice, "bob", 2).await?;
        circle.relay.crash().await?;
        circle.proxy("alice")?.crash().await?;
        alice.until_ready().await?;
        bob.until_ready().await?;
        reader(world, &circle).await?;
        until_proved(&alice, "reader", before + 1).await?;
        let (sound, found) = report(circle.proxy("alice")?, &[]).await?;
        ensure!(sound && found["own_bundles"] == 1, "{found}");
        write(&alice, &bob).await?;
        unalarmed(&alice).await
    });
}

/// docs/protocol.md, 5.3 and 10: the newest head goes along with a message, and the recipient has it proved.
#[test]
fn heads_travel_with_messages() {
    scenario(async |world| {
        let circle = logged(world, ["alice", "bob"]).await?;
        let [alice, bob] = circle.agents(["alice", "bob"])?;
        until_proved(&alice, "bob", 2).await?;
        // Bob has asked the relay for nothing but alice, whom he has to look up.
        write(&alice, &bob).await?;
        reader(world, &circle).await?;
        let newest = until_proved(&alice, "reader", 3).await?;
        // Long enough for a bucket in which there is room for a head.
        write_text(&alice, &bob, &"and on ".repeat(30)).await?;
        eventually("bob knows the head", Duration::from_secs(20), async || {
            Ok((size(&bob).await? >= newest).then_some(()))
        })
        .await?;
        ensure!(
            bob.metric("log_heads_total{outcome=\"compared\"}").await? > 0,
            "no head came"
        );
        unalarmed(&bob).await
    });
}

/// docs/protocol.md, 10: a relay that keeps no log is no reason for an alarm.
#[test]
fn relay_without_a_log_is_told_by_the_audit_alone() {
    scenario(async |world| {
        let pair = world.pair().await?;
        let (alice, bob) = (pair.alice.agent()?, pair.bob.agent()?);
        write(&alice, &bob).await?;
        let (sound, found) = report(&pair.alice, &[]).await?;
        ensure!(!sound && found["failure"] == "no_log", "{found}");
        ensure!(known(&alice).await?["head"].is_null(), "a head of nothing");
        unalarmed(&alice).await
    });
}
