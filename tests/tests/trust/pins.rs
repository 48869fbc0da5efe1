//! Files of pins: headless proxies that know whom they will meet.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use waxwire_shared::api::rest::{Base64Bytes, BundleAnswer};
use waxwire_tests::{Insider, Proxy, scenario, tap::Outcome, world::World};

use super::{command, json_of};

/// What a proxy exports, in a file.
async fn exported(world: &World, proxy: &Proxy, include: &str) -> anyhow::Result<(Value, PathBuf)> {
    let (pins, success) = json_of(proxy, "trust", &["export", "--include", include]).await?;
    ensure!(success, "{pins}");
    let file = world.folder().join(format!("{}-{include}.pins", proxy.handle()));
    fs::write(&file, pins.to_string())?;
    Ok((pins, file))
}

/// The relay shows an agent another key than the one that it was given beforehand: nothing is sealed to it, the
/// agent is told, and what the false one writes is not shown. The genuine one is met at once, and is verified.
#[test]
fn first_key_that_is_not_the_one_of_the_file_is_refused() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let bob_proxy = world.proxy(&relay, "bob").await?;
        let bob = bob_proxy.agent()?;
        let (_, file) = exported(world, &bob_proxy, "own").await?;
        let file = file.to_string_lossy().into_owned();
        let policy = ["--trust-policy", "verified", "--verified-pins", &file];
        let mallory = Insider::registered(relay.http(), "mallory", world.canaries()).await?;
        let mut false_bundle = mallory.bundle_of("mallory").await?;
        false_bundle.handle = "bob".parse()?;
        let answer = serde_json::to_vec(&BundleAnswer {
            agent_id: mallory.stranger.id(),
            bundle: Base64Bytes(mallory.stranger.signed(&false_bundle)),
            successions: Vec::new(),
            log: None,
        })?;

        let mut alice_proxy = world.proxy_with(&relay, "alice", policy).await?;
        let alice = alice_proxy.agent()?;
        alice_proxy
            .tap()
            .on_request(move |asked| match asked.path.as_str() {
                "/v1/agents/bob/bundle" => Outcome::Answer {
                    status: 200,
                    media_type: "application/json",
                    body: answer.clone(),
                },
                _ => Outcome::Pass,
            });
        let details = alice
            .try_text("bob", "m1", "for bob alone")
            .await?
            .refused(409, "FINGERPRINT_MISMATCH")?;
        ensure!(details["handle"] == "bob", "{details}");
        alice.until_alert("pin_mismatch").await?;
        bob.send_text("alice", "held", "from bob himself").await?;
        ensure!(alice.sync_after(None, 2).await?.is_empty());

        alice_proxy.tap().calm();
        alice.send_text("bob", "m1", "for bob alone").await?;
        ensure!(bob.receive().await?.text() == "for bob alone");
        ensure!(alice.receive().await?.text() == "from bob himself");
        ensure!(alice.identity("bob").await?["state"] == "verified");
        // The same file at every start.
        alice_proxy.terminate().await?;
        alice_proxy.start().await?;
        alice.until_ready().await?;
        ensure!(alice.identity("bob").await?["state"] == "verified");
        Ok(())
    });
}

/// Files go from proxy to proxy; what the reader makes of them is its operator's decision, and nothing is taken of one
/// that contradicts what is known.
#[test]
fn files_are_exported_and_imported_whole_or_not_at_all() {
    scenario(async |world| {
        let relay = world.relay().await?;
        let alice = world.proxy(&relay, "alice").await?;
        let bob = world.proxy(&relay, "bob").await?;
        let carol = world.proxy(&relay, "carol").await?;
        let (own, file) = exported(world, &bob, "own").await?;
        ensure!(
            own["pins"].as_array().is_some_and(|pins| pins.len() == 1),
            "{own}"
        );
        let file = file.to_string_lossy().into_owned();
        let (taken, success) = json_of(&alice, "trust", &["import", &file, "--verified"]).await?;
        ensure!(
            success && taken == json!({ "known": 0, "expected": 1 }),
            "{taken}"
        );
        ensure!(alice.agent()?.identity("bob").await?["state"] == "verified");

        // Carol trusts alice's file less than alice does.
        let (pins, file) = exported(world, &alice, "verified").await?;
        let handles: Vec<&Value> = pins["pins"].as_array().context("no pins")?.iter().collect();
        ensure!(handles.len() == 2 && handles[1]["state"] == "verified", "{pins}");
        let words = ["import", &file.to_string_lossy()];
        let (taken, success) = json_of(&carol, "trust", &words).await?;
        ensure!(
            success && taken == json!({ "known": 0, "expected": 2 }),
            "{taken}"
        );
        let agent = carol.agent()?;
        ensure!(agent.identity("bob").await?["state"] == "pinned");

        // One wrong line, and nothing of the file holds.
        let mut false_file = pins.clone();
        false_file["pins"][0] =
            json!({ "handle": "dave", "fingerprint": "ab".repeat(32), "state": "pinned" });
        false_file["pins"][1]["fingerprint"] = json!("cd".repeat(32));
        fs::write(&file, false_file.to_string())?;
        let (refusal, success) = json_of(&carol, "trust", &words).await?;
        ensure!(!success && refusal["code"] == "FINGERPRINT_MISMATCH", "{refusal}");
        let dave = world.proxy(&relay, "dave").await?;
        agent.send_text("dave", "m1", "he is nobody's pin").await?;
        dave.agent()?.receive().await?;

        // Strict: a field that nobody knows, a handle twice, another relay, no JSON.
        let mut unknown = pins.clone();
        unknown["comment"] = json!("from alice");
        let mut twice = pins.clone();
        twice["pins"][0] = twice["pins"][1].clone();
        let mut elsewhere = pins.clone();
        elsewhere["relay"] = json!("ef".repeat(32));
        for text in [
            unknown.to_string(),
            twice.to_string(),
            elsewhere.to_string(),
            "pins".to_owned(),
        ] {
            fs::write(&file, text)?;
            let refused = command(&carol, "trust", &words).await?.refusal()?;
            ensure!(refused.contains("VALIDATION_ERROR"), "{refused}");
        }
        Ok(())
    });
}

/// A proxy does not start beside a file that contradicts what it knows.
#[test]
fn proxy_does_not_start_with_pins_that_contradict_its_own() {
    scenario(async |world| {
        let mut pair = world.pair().await?;
        pair.alice
            .agent()?
            .send_text("bob", "m1", "bob is pinned by this")
            .await?;
        let (mut pins, file) = exported(world, &pair.bob, "own").await?;
        pins["pins"][0]["fingerprint"] = json!("ab".repeat(32));
        fs::write(&file, pins.to_string())?;
        pair.alice.terminate().await?;
        pair.alice.arguments(["--pins", &file.to_string_lossy()]);
        let refused = pair.alice.start().await;
        let refused = format!("{:#}", refused.err().context("it has started")?);
        ensure!(refused.contains("are not taken"), "{refused}");
        Ok(())
    });
}
